package hold

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/conntrack"
	"github.com/roamkey/roamkey/drivers/rtnl"
	"github.com/roamkey/roamkey/drivers/tun"
)

const (
	// deviceMTU lets every packet in: whether one is too big is for the way it takes from here.
	deviceMTU = 65535

	// readBatch is how many packets are read before others may have the buffer.
	readBatch = 64
	// readAll is enough to find all that stands in the device.
	readAll = 2048

	// retryRoute is when a route that could not be removed is tried again.
	retryRoute = 100 * millisecond
	// leastWait keeps a hold that may not end yet from being looked at all the time.
	leastWait = 50_000
)

var (
	errClosed = errors.New("the buffer is closed")
	errGone   = errors.New("the buffer's device is gone: somebody removed it; a restart makes it again")
)

// Hold is a Holder in this process.
type Hold struct {
	nl    *rtnl.Conn
	ct    *conntrack.Table // nil: the kernel tracks no connections, or does not let us
	tun   *os.File
	fd    int // of tun
	index int
	rule  rtnl.Rule
	start time.Time
	told  *teller

	mu       sync.Mutex
	buffer   *buffer
	room     []byte // that packets are read into
	wake     int64  // when runDrain wakes by itself
	failures uint64 // of routes that could not be removed
	gone     bool
	closed   bool

	kick chan struct{} // wakes runDrain
	done chan struct{}
	wg   sync.WaitGroup
}

var _ Holder = (*Hold)(nil)

// Open makes the device, and removes what a process that died left. All that it needs of the network namespace it opens on
// the calling thread.
func Open(cfg Config) (*Hold, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if err := tun.CheckName(cfg.Device); err != nil {
		return nil, err
	}
	nl, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	// First the device: where another process has it, nothing of that one is removed.
	file, index, err := tun.Open(nl, cfg.Device, rtnl.HoldAlias, deviceMTU)
	if err != nil {
		nl.Close()
		return nil, fmt.Errorf("buffer: %w", err)
	}
	h := &Hold{
		nl: nl, tun: file, index: index, start: time.Now(), told: newTeller(), room: make([]byte, deviceMTU), wake: math.MaxInt64,
		rule: rtnl.Rule{Device: cfg.Device, Not: true, Table: rtnl.HoldTable, Priority: rtnl.HoldPriority},
		kick: make(chan struct{}, 1), done: make(chan struct{}),
	}
	h.buffer = newBuffer(cfg, h.write)
	raw, err := file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { h.fd = int(fd) })
	}
	if err == nil {
		prepare(cfg.Device)
		_, err = removeMarks(nl)
	}
	if err == nil {
		err = explainRule(nl.AddRule(h.rule))
	}
	if err != nil {
		file.Close()
		nl.Close()
		return nil, fmt.Errorf("buffer: %w", err)
	}
	// Flows that were handed to a flow table or to hardware come this way, and go their own again, when their entries are
	// gone. Where that does not work, forwarding says so: it needs the same.
	h.ct, _ = conntrack.Open()
	h.wg.Add(3)
	go h.runRead(raw)
	go h.runDrain()
	go func() {
		defer h.wg.Done()
		h.told.run(h.done)
	}()
	return h, nil
}

func explainRule(err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("%w (the kernel needs CONFIG_IPV6_MULTIPLE_TABLES)", err)
	}
	return err
}

// prepare sets what new devices may have otherwise by default. A kernel that lacks one of these does without, and one that
// refuses IPv6 on the device says so at the first route.
func prepare(device string) {
	for _, s := range [...]struct{ name, value string }{
		{"disable_ipv6", "0"}, {"accept_ra", "0"}, {"forwarding", "1"},
	} {
		_ = os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", device, s.name), []byte(s.value), 0)
	}
}

func (h *Hold) now() int64 { return int64(time.Since(h.start)) }

func (h *Hold) route(addr netip.Addr) rtnl.Route {
	return rtnl.Route{Dst: netip.PrefixFrom(addr, 128), Device: h.index, Table: rtnl.HoldTable}
}

// Hold implements Holder.
func (h *Hold) Hold(addr netip.Addr, copy bool) error {
	if err := check(addr); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return errClosed
	case h.gone:
		return errGone
	}
	before := h.buffer.holds[addr]
	fresh := before == nil || before.state == ended
	held := h.buffer.hold(addr, copy, time.Now())
	// Also for one that is held already: somebody may have taken the route away.
	if err := h.nl.SetRoute(h.route(addr)); err != nil {
		if fresh {
			h.buffer.end(held, h.now())
		}
		return fmt.Errorf("hold packets: %w", err)
	}
	if fresh {
		h.ct.Forget(addr)
	}
	h.told.untell(addr) // of the hold before this one
	return nil
}

// Drain implements Holder.
func (h *Hold) Drain(addr netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	if !h.buffer.drain(addr, h.now()) {
		h.told.tell(addr)
		return nil
	}
	h.alarm()
	return nil
}

// Discard implements Holder.
func (h *Hold) Discard(addr netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	held := h.buffer.holds[addr]
	if held == nil || held.state == ended {
		return nil
	}
	h.buffer.drop(held)
	if err := h.turn(held); err != nil {
		// What still comes is sent, and the route tried again.
		h.failures++
		h.buffer.drain(addr, h.now())
		h.alarm()
		return err
	}
	h.buffer.end(held, h.now())
	h.pump(readAll)
	h.ct.Forget(addr)
	h.alarm()
	return nil
}

// Freeze implements Holder.
func (h *Hold) Freeze(addr netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	held := h.buffer.holds[addr]
	if held == nil || held.state != holding {
		return nil
	}
	if err := h.turn(held); err != nil {
		h.failures++
		return err
	}
	h.buffer.freeze(held)
	h.ct.Forget(addr)
	return nil
}

// turn lets what comes for a held address pass the device by. What stands in the device came before, and goes on before: the less
// of it there is at the moment of the turn, the fewer packets can be overtaken.
func (h *Hold) turn(held *held) error {
	read := func() { h.pump(readAll) }
	_, err := h.nl.DeleteRouteWhen(h.route(held.addr), func() bool { read(); return true }, read)
	return err
}

// Drained implements Holder.
func (h *Hold) Drained() <-chan netip.Addr { return h.told.out }

// Held implements Holder.
func (h *Hold) Held(yield func(Status) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, held := range h.buffer.holds {
		if held.state != ended && !yield(held.status()) {
			return
		}
	}
}

// Counters implements Holder.
func (h *Hold) Counters(yield func(name string, value uint64)) {
	var lost uint64 // for want of a reader
	if d, err := h.nl.Device(h.rule.Device); err == nil && d.Index == h.index {
		lost = d.Stats.OutDropped
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buffer.counters(yield)
	yield("dropped_device", lost)
	yield("route_failed", h.failures)
	yield("untold", h.told.lost())
	h.ct.Counters(yield)
}

// Close implements Holder.
func (h *Hold) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	failed := h.nl.DeleteRule(h.rule) // the routes go with the device
	for _, held := range h.buffer.holds {
		h.buffer.drop(held)
	}
	h.mu.Unlock()
	close(h.done)
	// A deadline wakes the reader; the file is closed when nobody uses it any more.
	_ = h.tun.SetDeadline(time.Unix(1, 0))
	h.wg.Wait()
	h.ct.Close()
	return errors.Join(failed, h.tun.Close(), h.nl.Close())
}

// write gives a packet to the kernel, as if it arrived by the device.
func (h *Hold) write(p []byte) bool {
	for {
		n, err := unix.Write(h.fd, p)
		if err != unix.EINTR {
			return err == nil && n == len(p)
		}
	}
}

// pump reads what stands in the device, up to a number of packets, and says how many there were. It needs the lock, so that
// nobody else has read what comes before.
func (h *Hold) pump(most int) int {
	for n := 0; n < most; {
		length, err := unix.Read(h.fd, h.room)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return n
		case err != nil:
			h.gone = true
			return n
		}
		h.buffer.arrive(h.room[:length], h.now())
		n++
	}
	return most
}

// runRead reads packets as they come.
func (h *Hold) runRead(raw interface {
	Read(func(uintptr) bool) error
}) {
	defer h.wg.Done()
	for over := false; !over; {
		err := raw.Read(func(uintptr) bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.closed || h.gone {
				over = true
				return true
			}
			n := h.pump(readBatch)
			h.alarm()
			return n > 0 || h.gone
		})
		if err != nil {
			return
		}
	}
}

// alarm wakes runDrain if something is due earlier than it knows. It needs the lock.
func (h *Hold) alarm() {
	if at, any := h.buffer.next(); any && at < h.wake {
		h.wake = at
		select {
		case h.kick <- struct{}{}:
		default:
		}
	}
}

// runDrain sends what is due, and ends the holds whose queue is empty.
func (h *Hold) runDrain() {
	defer h.wg.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(h.work())
		select {
		case <-h.done:
			return
		case <-h.kick:
		case <-timer.C:
		}
	}
}

// work does what is due, and says how long there is nothing to do then.
func (h *Hold) work() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return time.Hour
	}
	for {
		empty := h.buffer.run(h.now())
		if empty == nil {
			break
		}
		h.finish(empty)
	}
	at, any := h.buffer.next()
	if !any {
		h.wake = math.MaxInt64
		return time.Hour
	}
	h.wake = at
	return time.Duration(max(at-h.now(), 0))
}

// finish ends a hold whose queue is empty, if this is the moment to.
func (h *Hold) finish(held *held) {
	ready := func() bool {
		h.pump(readAll)
		now := h.now()
		if held.queue.n > 0 {
			return false // it is in the timetable for that
		}
		if yes, again := held.quiet(now); !yes {
			h.buffer.schedule(held, max(again, now+leastWait))
			return false
		}
		held.state = ended
		return true
	}
	// What stands in the device when the route goes is sent at once: what comes from then on does not come here.
	done, err := h.nl.DeleteRouteWhen(h.route(held.addr), ready, func() { h.pump(readAll) })
	switch {
	case err != nil:
		h.failures++
		held.state = draining
		h.buffer.schedule(held, h.now()+retryRoute)
	case done:
		h.buffer.end(held, h.now())
		h.ct.Forget(held.addr)
		h.told.tell(held.addr)
	}
}
