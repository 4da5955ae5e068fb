package daemon

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/mipsec/lke"
)

// keptHandovers is how many of the last handovers status shows.
const keptHandovers = 16

// handover is what is remembered of one binding that was put in place.
type handover struct {
	protocol     string // "lke" or "fmip"
	home, careOf netip.Addr
	at           time.Time     // boot clock
	router       time.Duration // from the (Fast) Binding Update read to forwarding in place
	finished     time.Duration // from then to the Finished message; 0 while it is missing
	ended        string        // why it ended; empty while it stands
}

// handovers is a ring of the last ones.
type handovers struct {
	ring [keptHandovers]handover
	n    int // all that there were
	now  func() time.Time
}

func (h *handovers) forwarding(protocol string, home, careOf netip.Addr, took time.Duration) {
	h.ring[h.n%keptHandovers] = handover{protocol: protocol, home: home, careOf: careOf, at: h.now(), router: took}
	h.n++
}

// event notes what became of the latest handover of the event's address.
func (h *handovers) event(e lke.Event) {
	switch e.Kind {
	case lke.EventFinished:
		if latest := h.latest(e.Home); latest != nil && latest.ended == "" {
			latest.finished = h.now().Sub(latest.at)
		}
	case lke.EventUnreachable, lke.EventUnbound, lke.EventExpired:
		h.end(e.Home, e.Kind.String())
	}
}

// end notes why the latest handover of an address ended.
func (h *handovers) end(home netip.Addr, why string) {
	if latest := h.latest(home); latest != nil && latest.ended == "" {
		latest.ended = why
	}
}

func (h *handovers) latest(home netip.Addr) *handover {
	for i := h.n - 1; i >= 0 && i >= h.n-keptHandovers; i-- {
		if e := &h.ring[i%keptHandovers]; e.home == home {
			return e
		}
	}
	return nil
}

// each gives the kept ones, the latest first.
func (h *handovers) each(yield func(*handover)) {
	for i := h.n - 1; i >= 0 && i >= h.n-keptHandovers; i-- {
		yield(&h.ring[i%keptHandovers])
	}
}
