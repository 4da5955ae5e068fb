package forward

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	outBatchLen = 64
	inBatchLen  = 16

	// inRoom takes any packet: the kernel may hand over TCP segments merged to the length of the largest packet.
	inRoom = 65535 + headerLen

	socketBuffer = 1 << 20 // octets, of each direction

	// refreshInterval is how often the path MTUs of all bindings are asked for again, so that one that a router on the
	// path lowered can rise again (RFC 8201 section 4 wants ten minutes or more before a larger packet is tried, and
	// the kernel counts those).
	refreshInterval = 60 * time.Second
)

// engine moves packets between a TUN device and a raw socket for protocol 41: the tunnel of RFC 2473 in this process.
//
// Packets that the kernel routes into the device have passed the kernel's forwarding already, which took one off their
// hop limit; those that come out of the tunnel will pass it. So the engine itself leaves hop limits alone.
type engine struct {
	table *table
	mtu   int // of the device

	tun     *os.File
	in, out *os.File // protocol-41 sockets: one receives, with errors; one sends and receives nothing
	icmp    *os.File // sends whole packets
	probe   *pathProbe

	count struct {
		out, in             [reasonCount]atomic.Uint64
		outOctets, inOctets atomic.Uint64
		reports, unreported atomic.Uint64
		repaired            atomic.Uint64
	}

	limiterMu sync.Mutex
	limiter   limiter
	start     time.Time

	done chan struct{}
	wg   sync.WaitGroup
}

// newEngine opens the sockets in the network namespace of this thread and starts to move packets. It owns tun from then
// on, also when it fails.
func newEngine(t *table, tun *os.File, mtu int) (*engine, error) {
	e := &engine{table: t, mtu: mtu, tun: tun, start: time.Now(), done: make(chan struct{})}
	if err := e.open(); err != nil {
		e.closeFiles()
		return nil, err
	}
	e.wg.Add(3)
	go e.runOut()
	go e.runIn()
	go e.runRefresh()
	return e, nil
}

func (e *engine) open() (err error) {
	if e.in, err = rawSocket("tunnel-in", unix.IPPROTO_IPV6, func(fd int) error {
		for _, option := range [...]int{unix.IPV6_RECVPKTINFO, unix.IPV6_RECVTCLASS, unix.IPV6_RECVERR} {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, option, 1); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if e.out, err = rawSocket("tunnel-out", unix.IPPROTO_IPV6, func(fd int) error {
		// What the other socket receives this one would too: it takes nothing.
		nothing := [...]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(nothing)), Filter: &nothing[0]})
	}); err != nil {
		return err
	}
	if e.icmp, err = rawSocket("tunnel-icmp", unix.IPPROTO_RAW, nil); err != nil {
		return err
	}
	e.probe, err = newPathProbe()
	return err
}

// rawSocket opens a raw IPv6 socket that is in Go's poller. prepare, if not nil, sets its options.
func rawSocket(name string, proto int, prepare func(fd int) error) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("open a raw socket: %w (CAP_NET_RAW is needed)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open a raw socket: %w", err)
	}
	if prepare != nil {
		if err := prepare(fd); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("set up the %s socket: %w", name, err)
		}
	}
	for _, o := range [...][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], socketBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], socketBuffer)
		}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (e *engine) closeFiles() {
	for _, f := range []*os.File{e.tun, e.in, e.out, e.icmp} {
		if f != nil {
			f.Close()
		}
	}
	if e.probe != nil {
		e.probe.Close()
	}
}

// Close stops the engine and closes the device, which the kernel then removes.
func (e *engine) Close() {
	close(e.done)
	// A deadline wakes the readers; the files are closed when nobody uses them any more.
	_ = e.tun.SetDeadline(time.Unix(1, 0))
	_ = e.in.SetDeadline(time.Unix(1, 0))
	e.wg.Wait()
	e.closeFiles()
}

func (e *engine) now() int64 { return int64(time.Since(e.start)) }

// pathMTU asks the kernel for the tunnel MTU towards an address: that of the path less the tunnel header, and no more
// than the device's.
func (e *engine) pathMTU(remote addr) int {
	path := e.probe.mtu(remote)
	if path <= 0 {
		return e.mtu
	}
	return min(max(path, minMTU)-headerLen, e.mtu)
}

func (e *engine) runRefresh() {
	defer e.wg.Done()
	tick := time.NewTicker(refreshInterval)
	defer tick.Stop()
	for {
		select {
		case <-e.done:
			return
		case <-tick.C:
			e.refresh()
		}
	}
}

func (e *engine) refresh() {
	for _, n := range e.table.all() {
		n.mtu.Store(uint32(e.pathMTU(n.remote)))
	}
}

// Counters yields packets and octets that passed, and drops by reason, for each direction.
func (e *engine) Counters(yield func(name string, value uint64)) {
	for why := range reasonCount {
		yield("out_"+reasonNames[why], e.count.out[why].Load())
		if why == passed {
			yield("out_octets", e.count.outOctets.Load())
		}
	}
	for why := range reasonCount {
		yield("in_"+reasonNames[why], e.count.in[why].Load())
		if why == passed {
			yield("in_octets", e.count.inOctets.Load())
		}
	}
	yield("icmp_sent", e.count.reports.Load())
	yield("icmp_withheld", e.count.unreported.Load())
	yield("in_repaired", e.count.repaired.Load())
}
