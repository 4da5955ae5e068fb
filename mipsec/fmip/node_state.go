package fmip

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// NodeState is what a [Node] shows of itself. It holds no key.
type NodeState struct {
	Attached bool // a link is up
	Confirm  bool // the router is the one that was expected, and was not heard yet

	CareOf       netip.Addr // the address on the link; Usable says that it can be used already
	Usable       bool
	Router       netip.Addr // link-local address of the default router; the zero Addr while it is not known
	RouterGlobal netip.Addr // where Fast Binding Updates go
	RouterLink   ipv6.LinkAddr
	Secured      bool // the router speaks SEND
	Wanting      bool // a handover key is asked for
	Keyed        bool // and there is one

	// Prepared is "" where no move is prepared, else "asking", "updating" or "ready". Target is the access point and Next the
	// address there.
	Prepared string
	Target   ipv6.LinkAddr
	Next     netip.Addr

	Points   int  // access points of which a router is known
	HomeBusy bool // a Binding Update to the home agent is outstanding

	HomeBound bool // the home agent has acknowledged CareOf
	HomeUntil time.Time

	Bindings []NodeBinding // the oldest first
}

// NodeBinding is one previous care-of address.
type NodeBinding struct {
	Home, Router, CareOf netip.Addr

	// State is "updating" (an update is outstanding), "bound", "leaving" (the node is back, and has said so) or "idle".
	State string
	Until time.Time // if it is bound
}

var preparedNames = [...]string{preparedAsking: "asking", preparedUpdate: "updating", preparedReady: "ready"}

// State gives what the node shows of itself.
func (n *Node) State() NodeState {
	l := &n.place
	_, _, keyed := n.key(l.router.global, l.careOf)
	s := NodeState{
		Attached: l.attached, Confirm: l.provisional,
		CareOf: l.careOf, Usable: l.usable && (l.heard || l.provisional),
		Router: l.router.linkLocal, RouterGlobal: l.router.global, RouterLink: l.router.hw, Secured: l.router.secured,
		Wanting: l.wanting, Keyed: keyed,
		Prepared: preparedNames[n.prepared.stage], Target: n.prepared.target, Next: n.prepared.careOf,
		HomeBusy: n.home.outstanding,
	}
	for _, t := range n.proxy.tuples {
		if t.Router.IsValid() {
			s.Points++
		}
	}
	if n.home.active && n.home.bound == l.careOf {
		s.HomeBound, s.HomeUntil = true, n.home.until
	}
	for _, b := range n.bindings {
		shown := NodeBinding{Home: b.home, Router: b.router, CareOf: b.careOf, State: "idle"}
		switch {
		case b.outstanding && b.careOf == b.home:
			shown.State = "leaving"
		case b.outstanding:
			shown.State = "updating"
		case b.active:
			shown.State, shown.CareOf, shown.Until = "bound", b.bound, b.until
		}
		s.Bindings = append(s.Bindings, shown)
	}
	return s
}
