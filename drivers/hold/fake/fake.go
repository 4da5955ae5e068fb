// Package fake holds packets back in memory, for tests of what stands above drivers/hold.
package fake

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/roamkey/roamkey/drivers/hold"
)

// Holder is a hold.Holder that only remembers. A drain goes on until Finish.
type Holder struct {
	Fail func(netip.Addr) error // what Hold is to return; nil: no error

	mu      sync.Mutex
	held    map[netip.Addr]hold.Status
	calls   []string
	drained chan netip.Addr
	closed  bool
}

var _ hold.Holder = (*Holder)(nil)

// New gives a Holder that holds nothing.
func New() *Holder {
	return &Holder{held: make(map[netip.Addr]hold.Status), drained: make(chan netip.Addr, 1024)}
}

// Hold implements hold.Holder.
func (f *Holder) Hold(addr netip.Addr, copy bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Fail != nil {
		if err := f.Fail(addr); err != nil {
			return err
		}
	}
	what := "hold "
	if copy {
		what = "copy "
	}
	f.calls = append(f.calls, what+addr.String())
	s, there := f.held[addr]
	if !there {
		s = hold.Status{Addr: addr, Since: time.Now()}
	}
	s.Copy, s.Draining = copy, false
	f.held[addr] = s
	return nil
}

// Drain implements hold.Holder.
func (f *Holder) Drain(addr netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "drain "+addr.String())
	s, there := f.held[addr]
	if !there {
		f.tell(addr)
		return nil
	}
	s.Copy, s.Draining = false, true
	f.held[addr] = s
	return nil
}

// Finish ends a drain. It fails if there is none.
func (f *Holder) Finish(addr netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.held[addr].Draining {
		return fmt.Errorf("%s does not drain", addr)
	}
	delete(f.held, addr)
	f.tell(addr)
	return nil
}

func (f *Holder) tell(addr netip.Addr) {
	select {
	case f.drained <- addr:
	default:
	}
}

// Keep makes the queue of an address hold so many packets and octets, for status.
func (f *Holder) Keep(addr netip.Addr, packets, octets int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, there := f.held[addr]; there {
		s.Packets, s.Octets, s.Highest = packets, octets, max(s.Highest, packets)
		f.held[addr] = s
	}
}

// Freeze implements hold.Holder.
func (f *Holder) Freeze(addr netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "freeze "+addr.String())
	if s, there := f.held[addr]; there {
		s.Copy = false
		f.held[addr] = s
	}
	return nil
}

// Discard implements hold.Holder.
func (f *Holder) Discard(addr netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "discard "+addr.String())
	delete(f.held, addr)
	return nil
}

// Drained implements hold.Holder.
func (f *Holder) Drained() <-chan netip.Addr { return f.drained }

// Held implements hold.Holder, in the order of the addresses.
func (f *Holder) Held(yield func(hold.Status) bool) {
	f.mu.Lock()
	var all []hold.Status
	for _, s := range f.held {
		all = append(all, s)
	}
	f.mu.Unlock()
	slices.SortFunc(all, func(a, b hold.Status) int { return a.Addr.Compare(b.Addr) })
	for _, s := range all {
		if !yield(s) {
			return
		}
	}
}

// Status gives what is held for an address.
func (f *Holder) Status(addr netip.Addr) (hold.Status, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, there := f.held[addr]
	return s, there
}

// Calls lists what was asked for, in order: "hold", "copy", "drain", "freeze" or "discard", and the address.
func (f *Holder) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Counters yields the number of holds.
func (f *Holder) Counters(yield func(name string, value uint64)) {
	f.mu.Lock()
	n := len(f.held)
	f.mu.Unlock()
	yield("holds", uint64(n))
}

// Closed reports whether Close was called.
func (f *Holder) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// Close forgets all.
func (f *Holder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	clear(f.held)
	return nil
}
