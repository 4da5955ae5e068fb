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
	State        string // "acknowledged", "dad", "valid", "updating", "bound" or "leaving"
	Expires      time.Time
	CareOf       netip.Addr // of the binding that was acknowledged
	BoundUntil   time.Time
	UpdateSeq    uint16 // of the last Binding Update sent
}

// State gives what the node shows of itself.
func (n *Node) State() NodeState { return NodeState{} }
