package lke

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// NodeState is what a [Node] shows of itself. It holds no key.
type NodeState struct {
	Attached bool // a link is up

	// CareOf is the address on the link, Usable says that it can be used already. Router is the link-local address of the
	// default router and RouterLink its link-layer address; RouterKeyExchange says that it speaks LKE. All are zero while
	// no router has been heard.
	CareOf            netip.Addr
	Usable            bool
	Router            netip.Addr
	RouterLink        ipv6.LinkAddr
	RouterKeyExchange bool

	HomeBound bool      // the home agent has acknowledged CareOf
	HomeUntil time.Time // until when

	Associations []NodeAssociation // the oldest first
}

// NodeAssociation is one association of a node, without its key.
type NodeAssociation struct {
	Home, Router netip.Addr

	// State is "acknowledged" (the router has the key), "dad" (its solicitation was answered), "valid" (its DAD period is
	// over), "updating" (a binding update is outstanding), "bound" (it was acknowledged) or "leaving" (deregistration).
	State      string
	Expires    time.Time
	CareOf     netip.Addr // of the binding that was acknowledged; the zero Addr without one
	BoundUntil time.Time
	UpdateSeq  uint16 // of the last Binding Update sent
}

// State gives what the node shows of itself.
func (n *Node) State() NodeState {
	l := &n.link
	s := NodeState{
		Attached: l.attached, CareOf: l.careOf, Usable: l.usable,
		Router: l.router.linkLocal, RouterLink: l.router.hw, RouterKeyExchange: l.router.publicKey != nil,
	}
	if l.careOf.IsValid() && n.home.boundTo(l.careOf) {
		s.HomeBound, s.HomeUntil = true, n.home.until
	}
	for _, a := range n.associations {
		b := &a.binding
		shown := NodeAssociation{Home: a.home, Router: a.router, State: a.state(), Expires: a.expires, UpdateSeq: b.seq}
		if b.active {
			shown.CareOf, shown.BoundUntil = b.bound, b.until
		}
		s.Associations = append(s.Associations, shown)
	}
	return s
}

func (a *nodeAssociation) state() string {
	b := &a.binding
	switch {
	case b.outstanding && b.careOf == a.home:
		return "leaving"
	case b.outstanding:
		return "updating"
	case b.active:
		return "bound"
	case a.settled:
		return "valid"
	case a.answered:
		return "dad"
	}
	return "acknowledged"
}
