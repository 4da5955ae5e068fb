package netlab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrClosed is returned by what is asked of a namespace after its Close.
var ErrClosed = errors.New("network namespace is closed")

// Lab owns namespaces and ends them together.
type Lab struct {
	mu     sync.Mutex
	spaces []*Namespace
	index  int // of the interface made last
}

// New gives an empty lab.
func New() *Lab { return &Lab{} }

// Close ends every namespace of the lab, the last made first, with the programs that still run in them.
func (l *Lab) Close() error {
	l.mu.Lock()
	spaces := l.spaces
	l.spaces = nil
	l.mu.Unlock()
	var all error
	for i := len(spaces) - 1; i >= 0; i-- {
		all = errors.Join(all, spaces[i].Close())
	}
	return all
}

// Namespace makes a network namespace that has nothing but its loopback interface, which is up. Interfaces made in it do
// no Duplicate Address Detection unless told to (accept_dad), so that they can be used at once. The name is for messages.
func (l *Lab) Namespace(name string) (*Namespace, error) {
	ns, err := newNamespace(name)
	if err != nil {
		return nil, err
	}
	ns.lab = l
	l.mu.Lock()
	l.spaces = append(l.spaces, ns)
	l.mu.Unlock()
	if err := ns.SetUp("lo"); err != nil {
		return nil, err
	}
	if err := ns.SetSysctl("net/ipv6/conf/default/accept_dad", "0"); err != nil {
		return nil, err
	}
	return ns, nil
}

// nextIndex gives each interface of the lab an index of its own. Where the two ends of a veth pair have the same one, the
// kernel takes the end for a device that stands on itself and reports changes of its carrier up to a second late.
func (l *Lab) nextIndex() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index++
	return 10 + l.index
}

// Namespace is one network namespace, with a mount namespace of its own so that its /sys shows its own devices.
type Namespace struct {
	lab   *Lab
	name  string
	file  *os.File // /proc/thread-self/ns/net of the thread that holds it
	work  chan func()
	ended chan struct{}

	mu       sync.Mutex
	closed   bool
	programs []*Program
}

func newNamespace(name string) (*Namespace, error) {
	ns := &Namespace{name: name, work: make(chan func()), ended: make(chan struct{})}
	ready := make(chan error, 1)
	go ns.hold(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	return ns, nil
}

// hold is the thread of the namespace. It never goes back to the pool: when the goroutine ends, so does the thread.
func (ns *Namespace) hold(ready chan<- error) {
	defer close(ns.ended)
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		ready <- fmt.Errorf("unshare: %w", err)
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		ready <- fmt.Errorf("make mounts private: %w", err)
		return
	}
	// A sysfs shows the devices of the namespace it was mounted in. Some containers refuse the mount; then programs see
	// the /sys of the host, which only hides bridge details from them.
	_ = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		ready <- err
		return
	}
	ns.file = file
	ready <- nil
	for f := range ns.work {
		f()
	}
}

// Name is what the namespace was called when it was made.
func (ns *Namespace) Name() string { return ns.name }

// FD is a descriptor of the namespace, for netlink.Config.NetNS and the like. It is valid until Close.
func (ns *Namespace) FD() int { return int(ns.file.Fd()) }

// Do runs f on the namespace's own thread: sockets it opens and programs it starts belong to the namespace for good, but
// goroutines it starts do not run there. Calls are run one after the other; f must not call Do of the same namespace.
func (ns *Namespace) Do(f func() error) error {
	ns.mu.Lock()
	if ns.closed {
		ns.mu.Unlock()
		return fmt.Errorf("%s: %w", ns.name, ErrClosed)
	}
	done := make(chan error, 1)
	job := func() { done <- f() }
	ns.mu.Unlock()
	select {
	case ns.work <- job:
	case <-ns.ended:
		return fmt.Errorf("%s: %w", ns.name, ErrClosed)
	}
	select {
	case err := <-done:
		return err
	case <-ns.ended: // f ended its goroutine, as a test's FailNow does
		return fmt.Errorf("%s: %w", ns.name, ErrClosed)
	}
}

// Close kills the programs that run in the namespace and lets go of it. The kernel removes it, and every device in it,
// with the last socket and process.
func (ns *Namespace) Close() error {
	ns.mu.Lock()
	if ns.closed {
		ns.mu.Unlock()
		return nil
	}
	ns.closed = true
	programs := ns.programs
	ns.mu.Unlock()
	for _, p := range programs {
		p.Kill()
	}
	// An empty job after which the loop ends: closing the channel would race with a Do that is about to send.
	select {
	case ns.work <- runtime.Goexit:
	case <-ns.ended:
	}
	<-ns.ended
	return ns.file.Close()
}
