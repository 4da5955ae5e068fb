package hold

import (
	"net/netip"
	"slices"
	"sync"
)

// teller tells of addresses without waiting for who listens.
type teller struct {
	out  chan netip.Addr
	kick chan struct{}

	mu      sync.Mutex
	pending []netip.Addr // in their order, each once
	offered netip.Addr   // is being told; perhaps somebody has it already
	dropped uint64
}

// maxPending bounds what nobody listens to.
const maxPending = 4096

func newTeller() *teller {
	return &teller{out: make(chan netip.Addr), kick: make(chan struct{}, 1)}
}

func (t *teller) tell(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case slices.Contains(t.pending, addr):
	case len(t.pending) == maxPending:
		t.dropped++
	default:
		t.pending = append(t.pending, addr)
		t.wake()
	}
}

// untell takes back what was not told yet.
func (t *teller) untell(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := slices.Index(t.pending, addr); at >= 0 {
		t.pending = slices.Delete(t.pending, at, at+1)
	}
	if t.offered == addr {
		t.offered = netip.Addr{}
		t.wake()
	}
}

func (t *teller) wake() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// run hands out what is told until done is closed.
func (t *teller) run(done <-chan struct{}) {
	for {
		var out chan netip.Addr // nil: nothing to tell
		addr := t.offer()
		if addr.IsValid() {
			out = t.out
		}
		select {
		case out <- addr:
			t.had(addr)
		case <-t.kick:
		case <-done:
			return
		}
	}
}

// offer gives what is to be told next.
func (t *teller) offer() netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.offered.IsValid() && len(t.pending) > 0 {
		t.offered = t.pending[0]
		t.pending = slices.Delete(t.pending, 0, 1)
		if len(t.pending) == 0 {
			t.pending = nil
		}
	}
	return t.offered
}

func (t *teller) had(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.offered == addr {
		t.offered = netip.Addr{}
	}
}

func (t *teller) lost() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropped
}
