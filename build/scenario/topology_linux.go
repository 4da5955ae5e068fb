package scenario

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/ipv6"
)

// Names of interfaces.
const (
	uplink = "wan0"  // of a router, of the home agent, and of the correspondent
	access = "lan0"  // of a router: its cell
	radio  = "wlan0" // of the node
)

// Router is one access router.
type Router struct {
	Name    string
	NS      *netlab.Namespace
	Prefix  netip.Prefix // of its cell
	Address netip.Addr   // its own in it; with SEND one that follows from its key
	Uplink  netip.Addr
	cell    string // the bridge in the air

	Hardware, AccessPoint ipv6.LinkAddr // of its interface there, and of the access point
}

// Topology is the small internet.
type Topology struct {
	Correspondent, Core, Air, Node *netlab.Namespace
	Home                           *netlab.Namespace // nil without a home agent
	PAR, NAR                       *Router           // the previous and the new access router

	CorrespondentAddress netip.Addr
	HomeAgent            netip.Addr // the zero Addr if there is none
	NodeHardware         ipv6.LinkAddr
}

// nodePort is the end of the node's cable in the air.
const nodePort = "node"

// Addresses are those of the documentation prefix.
const (
	correspondentNet = "2001:db8:c::"
	parNet           = "2001:db8:1::"
	narNet           = "2001:db8:2::"
	parUplinkNet     = "2001:db8:f1::"
	narUplinkNet     = "2001:db8:f2::"
	homeNet          = "2001:db8:40::"
)

// allNet holds all of them.
var allNet = netip.MustParsePrefix("2001:db8::/32")

// hostIn gives address n of a /64.
func hostIn(network string, n byte) netip.Addr {
	b := netip.MustParseAddr(network).As16()
	b[15] = n
	return netip.AddrFrom16(b)
}

func prefixOf(network string) netip.Prefix {
	return netip.PrefixFrom(netip.MustParseAddr(network), 64)
}

// Distances are those of long lines, one way.
type Distances struct {
	Home  time.Duration // of the home network; 0: there is none
	Apart time.Duration // of the new router from all else
}

// Build makes the namespaces and their links. The node is plugged into the cell of PAR.
func Build(lab *netlab.Lab, away Distances) (*Topology, error) {
	t := &Topology{
		PAR: &Router{
			Name: "par", Prefix: prefixOf(parNet), Address: hostIn(parNet, 1), Uplink: hostIn(parUplinkNet, 2), cell: "cell-par",
		},
		NAR: &Router{
			Name: "nar", Prefix: prefixOf(narNet), Address: hostIn(narNet, 1), Uplink: hostIn(narUplinkNet, 2), cell: "cell-nar",
		},
		CorrespondentAddress: hostIn(correspondentNet, 2),
		NodeHardware:         ipv6.LinkAddr{0x02, 0, 0x5e, 0, 0, 0x99},
	}
	var err error
	for _, n := range []struct {
		name string
		ns   **netlab.Namespace
	}{
		{"correspondent", &t.Correspondent}, {"core", &t.Core}, {"par", &t.PAR.NS}, {"nar", &t.NAR.NS}, {"air", &t.Air}, {"node", &t.Node},
	} {
		if *n.ns, err = lab.Namespace(n.name); err != nil {
			return nil, err
		}
	}
	if away.Home > 0 {
		if t.Home, err = lab.Namespace("home"); err != nil {
			return nil, err
		}
		t.HomeAgent = hostIn(homeNet, 1)
	}
	steps := []func() error{
		// What stands for the air has no voice of its own.
		func() error { return t.Air.SetSysctl("net/ipv6/conf/default/disable_ipv6", "1") },
		func() error { return forwarding(t.Core) },
		func() error { return forwarding(t.PAR.NS) },
		func() error { return forwarding(t.NAR.NS) },
		func() error { return t.wireCorrespondent(lab) },
		func() error { return t.wireRouter(lab, t.PAR, parUplinkNet, "par", 0x11, 0) },
		func() error { return t.wireRouter(lab, t.NAR, narUplinkNet, "nar", 0x22, away.Apart) },
		func() error { return t.wireNode(lab) },
		func() error { return t.wireHome(lab, away.Home) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, fmt.Errorf("build the network: %w", err)
		}
	}
	return t, nil
}

func forwarding(ns *netlab.Namespace) error { return ns.SetSysctl("net/ipv6/conf/all/forwarding", "1") }

// all runs steps until one fails.
func all(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

var anywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)

func (t *Topology) wireCorrespondent(lab *netlab.Lab) error {
	gateway := hostIn(correspondentNet, 1)
	return all(
		func() error {
			return lab.Veth(netlab.End{NS: t.Correspondent, Name: uplink}, netlab.End{NS: t.Core, Name: "correspondent"})
		},
		func() error {
			return t.Correspondent.AddAddress(uplink, netip.PrefixFrom(t.CorrespondentAddress, 64))
		},
		func() error { return t.Core.AddAddress("correspondent", netip.PrefixFrom(gateway, 64)) },
		func() error { return t.Correspondent.AddRoute(anywhere, gateway, uplink) },
	)
}

// wireHome connects the home network by a long line.
func (t *Topology) wireHome(lab *netlab.Lab, distance time.Duration) error {
	if t.Home == nil {
		return nil
	}
	return all(
		func() error { return forwarding(t.Home) },
		func() error {
			_, err := lab.Line(netlab.End{NS: t.Home, Name: uplink}, netlab.End{NS: t.Core, Name: "home"}, distance)
			return err
		},
		func() error { return t.Home.AddAddress("lo", netip.PrefixFrom(t.HomeAgent, 128)) },
		func() error { return t.Home.AddRoute(anywhere, netip.Addr{}, uplink) },
		func() error { return t.Core.AddRoute(prefixOf(homeNet), netip.Addr{}, "home") },
	)
}

// wireRouter connects a router to the core, by a long line if it is away, and to its cell.
func (t *Topology) wireRouter(lab *netlab.Lab, r *Router, network, port string, mac byte, away time.Duration) error {
	gateway := hostIn(network, 1)
	r.Hardware = ipv6.LinkAddr{0x02, 0, 0x5e, 0, 0, mac}
	// The access point has an address of its own, by which nodes know it.
	r.AccessPoint = ipv6.LinkAddr{0x02, 0, 0x5e, 0, 0x10, mac}
	return all(
		func() error {
			if away > 0 {
				_, err := lab.Line(netlab.End{NS: r.NS, Name: uplink}, netlab.End{NS: t.Core, Name: port}, away)
				return err
			}
			return lab.Veth(netlab.End{NS: r.NS, Name: uplink}, netlab.End{NS: t.Core, Name: port})
		},
		func() error { return r.NS.AddAddress(uplink, netip.PrefixFrom(r.Uplink, 64)) },
		func() error { return t.Core.AddAddress(port, netip.PrefixFrom(gateway, 64)) },
		func() error { return r.NS.AddRoute(anywhere, gateway, uplink) },
		func() error { return t.Core.AddRoute(r.Prefix, r.Uplink, port) },
		func() error { return t.Air.Bridge(r.cell) },
		func() error {
			return lab.Veth(netlab.End{NS: r.NS, Name: access, Hardware: [6]byte(r.Hardware)}, netlab.End{NS: t.Air, Name: port})
		},
		func() error { return t.Air.SetMaster(port, r.cell) },
		func() error { return r.NS.AddAddress(access, netip.PrefixFrom(r.Address, 64)) },
	)
}

func (t *Topology) wireNode(lab *netlab.Lab) error {
	return all(
		func() error {
			return lab.Veth(netlab.End{NS: t.Node, Name: radio, Hardware: t.NodeHardware}, netlab.End{NS: t.Air, Name: nodePort})
		},
		func() error { return t.Air.SetMaster(nodePort, t.PAR.cell) },
		func() error { return t.Node.SetSysctl("net/ipv6/conf/"+radio+"/accept_ra", "0") },
	)
}

// Plug puts the node into a router's cell, with the carrier away for a moment: a fresh start, not a move that is measured.
func (t *Topology) Plug(r *Router) error {
	_, _, err := t.Air.Replug(nodePort, r.cell, 10*time.Millisecond)
	return err
}

// Move moves the node into a router's cell, as a radio does that is between two access points for the given time.
func (t *Topology) Move(r *Router, between time.Duration) (down, up time.Time, err error) {
	return t.Air.Replug(nodePort, r.cell, between)
}

// HomeAddress is the node's address at home; the zero Addr where it has no home agent.
func (t *Topology) HomeAddress() netip.Addr {
	if t.Home == nil {
		return netip.Addr{}
	}
	return hostIn(homeNet, 0x99)
}
