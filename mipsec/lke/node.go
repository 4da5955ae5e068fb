package lke

import (
	"io"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// NodeConfig is what a [Node] is told once.
type NodeConfig struct {
	Link      int           // index of the interface on which the node attaches
	Hardware  ipv6.LinkAddr // its link-layer address
	LinkLocal netip.Addr    // its link-local address

	// HomeAgent and HomeAddress are set where the node has a home agent in the sense of RFC 6275. Its binding updates go
	// out without an authenticator: IPsec, outside of this package, protects them and the acknowledgements.
	HomeAgent, HomeAddress netip.Addr

	Lifetime time.Duration // requested for an association; 0: the most that the router grants
	MinBits  int           // least RSA modulus accepted, in bits; 0: 1024

	// InterfaceID is the lower half of the node's addresses; 0: the modified EUI-64 of Hardware.
	InterfaceID uint64

	// AnswerSolicitations makes the node answer neighbour solicitations for its link-local and care-of address itself,
	// for where no kernel has these addresses.
	AnswerSolicitations bool

	CodePoints   mobility.CodePoints // zero: DefaultCodePoints
	NDCodePoints ndp.CodePoints      // zero: DefaultCodePoints
	Rand         io.Reader           // cryptographically strong
}

// Node is the mobile node's side of Local Key Exchange.
type Node struct {
	cfg NodeConfig
}

// NewNode gives a node that is not attached to any link yet.
func NewNode(cfg NodeConfig) *Node { return &Node{cfg: cfg} }

// Step handles one input that arrived at now. It returns the effects to carry out, in order.
func (n *Node) Step(now time.Time, in Input) []Effect { return nil }

// Deadline is when Step wants a Tick next; the zero Time if never.
func (n *Node) Deadline() time.Time { return time.Time{} }

// Counters yields each counter of the node, in an order that stays the same.
func (n *Node) Counters(yield func(name string, value uint64)) {}
