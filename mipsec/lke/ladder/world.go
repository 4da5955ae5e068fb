// Package ladder plays exchanges of Local Key Exchange between whole nodes and routers, as the draft's figures draw them,
// and says what must come of them. The plays know the network only as a [World]: [NewMemory] is one on virtual time, and
// real programs in network namespaces (build/ladderlab) are another, so that the same plays are run over both.
package ladder

import (
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// Topology is the network of a play. Everything is joined by a core, to which a correspondent is attached, too:
//
//	correspondent --- core --- home agent
//	                 /  |  \
//	              PAR  NAR  ...      a router for each link
//	               |    |    |
//	              MN -> MN -> ...    nodes, hosts and intruders
type Topology struct {
	Links     []Link
	Nodes     []Node
	Hosts     []Host
	HomeAgent bool // nodes have a home agent and register with it first
}

// Link is one link with its router.
type Link struct {
	Name        string // also the router's name
	Number      byte   // its prefix is 2001:db8:Number::/64
	KeyExchange bool   // the router speaks LKE
	Finished    bool   // it asks for the Finished message
}

// Node is a mobile node that is on no link yet.
type Node struct {
	Name        string
	Number      uint16 // makes its link-layer address, and its home address
	InterfaceID uint64 // 0: from its link-layer address
}

// Host is a host without mobility that has an address on a link and defends it.
type Host struct {
	Name, Link string
	Number     uint16 // makes its link-layer address
	ID         uint64 // lower half of its address
}

// Prefix is the prefix of the link with that number.
func Prefix(number byte) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0, number}), 64)
}

// RouterAddress is the global address of the router of the link with that number.
func RouterAddress(number byte) netip.Addr { return withID(Prefix(number), 1) }

// RouterHardware is its link-layer address there.
func RouterHardware(number byte) ipv6.LinkAddr { return ipv6.LinkAddr{2, 0xff, 0, 0, 0, number} }

// Hardware is the link-layer address of the station with that number.
func Hardware(number uint16) ipv6.LinkAddr {
	return ipv6.LinkAddr{2, 1, 0, 0, byte(number >> 8), byte(number)}
}

// HomeAgent and HomeAddress are those of nodes in a topology with a home agent.
func HomeAgent() netip.Addr { return netip.MustParseAddr("2001:db8:ff00::1") }

// HomeAddress is the home address of the node with that number.
func HomeAddress(number uint16) netip.Addr {
	return withID(netip.PrefixFrom(HomeAgent(), 64).Masked(), 0x1000+uint64(number))
}

// Address is the address with that lower half on the link with that number.
func Address(number byte, id uint64) netip.Addr { return withID(Prefix(number), id) }

func withID(prefix netip.Prefix, id uint64) netip.Addr {
	b := prefix.Addr().As16()
	for i := range 8 {
		b[15-i] = byte(id >> (8 * i))
	}
	return netip.AddrFrom16(b)
}

// World is where a play takes place.
type World interface {
	// Now is the world's clock.
	Now() time.Time
	// Move takes a node's radio to another link.
	Move(node, link string)
	// Run lets time go by.
	Run(d time.Duration)
	// Node and Router tell what a machine shows of itself. Router gives its associations by home address.
	Node(name string) lke.NodeState
	Router(link string) []lke.Association
	// Transcript is every message so far, in the order in which they were sent: Neighbour Discovery and mobility, without
	// the resolution of addresses and without advertisements that nobody asked for.
	Transcript() []Message
	// Reaches gives the name of the station that a packet of the correspondent to dst comes to; "" if it gets lost.
	Reaches(dst netip.Addr) string
}

// RealTime is a World on a real clock. A play that watches for hours does so for seconds there.
type RealTime interface {
	World
	RealTime()
}

// span gives how long a play watches: long on virtual time, short on a real clock.
func span(w World, long, short time.Duration) time.Duration {
	if _, real := w.(RealTime); real {
		return short
	}
	return long
}

// Interferer is a World whose messages can be lost, doubled and delayed.
type Interferer interface {
	// Interfere asks for the fate of each message from now on: the delays of its copies, none for a lost one.
	Interfere(fate func(Message) []time.Duration)
}

// Restarter is a World whose routers can die at any time and come back with what they had saved.
type Restarter interface {
	Kill(link string)
	Start(link string)
	// Forwards reports whether what a router forwards goes on while it is dead, as the kernel's tunnels do.
	Forwards(link string) bool
}

// Hostile is a World with intruders.
type Hostile interface {
	Intruder(name, link string, number uint16) Station
	// Count is one counter of the router of a link.
	Count(link, counter string) uint64
}

// Station is an intruder on a link: it hears whatever is for it or for all, if not everything, and sends anything.
type Station interface {
	Hardware() ipv6.LinkAddr
	// Send sends a packet in a frame to dst, under the link-layer address src: its own or any other.
	Send(src, dst ipv6.LinkAddr, packet []byte)
	// Hear calls f for each packet on the link from now on.
	Hear(f func(p *ipv6.Packet))
	// Move takes it to another link.
	Move(link string)
}

// await runs w until done, at most for limit.
func await(t testing.TB, w World, limit time.Duration, what string, done func() bool) {
	t.Helper()
	const step = 10 * time.Millisecond
	for start := w.Now(); !done(); {
		if w.Now().Sub(start) > limit {
			t.Fatalf("not within %v: %s\n%s", limit, what, Draw(w.Transcript(), 60))
		}
		w.Run(step)
	}
}

// association gives the router's association for home.
func association(w World, link string, home netip.Addr) (lke.Association, bool) {
	for _, a := range w.Router(link) {
		if a.Home == home {
			return a, true
		}
	}
	return lke.Association{}, false
}

// nodeAssociation gives the node's association for home.
func nodeAssociation(w World, node string, home netip.Addr) (lke.NodeAssociation, bool) {
	for _, a := range w.Node(node).Associations {
		if a.Home == home {
			return a, true
		}
	}
	return lke.NodeAssociation{}, false
}
