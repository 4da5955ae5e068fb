package ladderlab

import (
	"crypto/rand"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/firmware/mobilenode"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/lke/ladder"
	"github.com/roamkey/roamkey/ndp"
)

// nodeInterface is the index of a node's interface, which no kernel knows.
const nodeInterface = 3

// detection is how long a kernel waits for somebody who defends an address (RFC 4862: RETRANS_TIMER).
const detection = time.Second

// node is a mobile node: its core, and what a kernel does for it. That uses optimistic addresses (RFC 4429).
type node struct {
	ladder.Node
	world   *World
	core    *lke.Node
	link    *link               // nil at first
	addrs   map[netip.Addr]bool // on the link; true while tentative
	tunnels map[netip.Addr]lke.Binding
}

func newNode(w *World, n ladder.Node, homeAgent bool) *node {
	cfg := lke.NodeConfig{
		Link: nodeInterface, Hardware: ladder.Hardware(n.Number), InterfaceID: n.InterfaceID, Lifetime: time.Hour, Rand: rand.Reader,
	}
	if homeAgent {
		cfg.HomeAgent, cfg.HomeAddress = ladder.HomeAgent(), ladder.HomeAddress(n.Number)
	}
	return &node{
		Node: n, world: w, core: lke.NewNode(cfg), addrs: make(map[netip.Addr]bool), tunnels: make(map[netip.Addr]lke.Binding),
	}
}

func (n *node) name() string            { return n.Name }
func (n *node) hardware() ipv6.LinkAddr { return ladder.Hardware(n.Number) }

func (n *node) has(addr netip.Addr) bool {
	_, on := n.addrs[addr]
	return on || addr == ipv6.LinkLocalFrom(n.hardware())
}

func (n *node) hears(dst ipv6.LinkAddr) bool {
	if dst == n.hardware() || dst == ipv6.MulticastLinkAddr(ipv6.AllNodes()) ||
		dst == ipv6.MulticastLinkAddr(ipv6.SolicitedNode(ipv6.LinkLocalFrom(n.hardware()))) {
		return true
	}
	for addr := range n.addrs {
		if dst == ipv6.MulticastLinkAddr(ipv6.SolicitedNode(addr)) {
			return true
		}
	}
	return false
}

func (n *node) move(l *link) {
	if n.link != nil {
		n.link.leave(n)
	}
	n.link = l
	l.join(n)
	n.step(lke.Input{Kind: lke.InAttached})
}

// receive takes a packet from the link. What is in a tunnel is taken only where the node has an end of it.
func (n *node) receive(p *ipv6.Packet) {
	p.Interface = nodeInterface
	if p.Proto == ipv6.ProtoICMPv6 {
		n.kernel(p)
	}
	for p.Proto == ipv6.ProtoIPv6 {
		inner := new(ipv6.Packet)
		if ipv6.Parse(p.Payload, inner) != ipv6.OK {
			return
		}
		b, ok := n.tunnels[inner.Dst]
		if !ok || b.Router != p.Src || b.CareOf != p.Dst {
			return
		}
		inner.Interface, inner.LinkSource = p.Interface, p.LinkSource
		p = inner
	}
	n.world.got(n, p)
	n.step(lke.Input{Kind: lke.InPacket, Packet: p})
}

// kernel is Neighbour Discovery as a kernel does it. It is kept from answering the one solicitation with a request.
func (n *node) kernel(p *ipv6.Packet) {
	switch ladder.NameOf(p) {
	case ladder.NeighborSolicit:
		resolve(n, n.link, p)
	case ladder.DADSolicitation:
		m, reason := ndp.ParseNeighborSolicit(p)
		if reason != ndp.ReasonNone || p.LinkSource == n.hardware() {
			return
		}
		if tentative, on := n.addrs[m.Target]; on && !tentative {
			n.link.say(n, n.hardware(), ipv6.MulticastLinkAddr(ipv6.AllNodes()), defence(m.Target, n.hardware()))
		} else if on {
			n.duplicate(m.Target)
		}
	case ladder.NeighborAdvert, ladder.DADReply:
		m, reason := ndp.ParseNeighborAdvert(p)
		if reason == ndp.ReasonNone && p.LinkSource != n.hardware() && n.addrs[m.Target] {
			n.duplicate(m.Target)
		}
	}
}

func (n *node) duplicate(addr netip.Addr) {
	delete(n.addrs, addr)
	n.world.after(0, func() { n.step(lke.Input{Kind: lke.InAddress, Home: addr, Failed: true}) })
}

// resolve answers who asks for the link-layer address of one of the station's addresses.
func resolve(s station, l *link, p *ipv6.Packet) {
	m, reason := ndp.ParseNeighborSolicit(p)
	if reason != ndp.ReasonNone || !s.has(m.Target) {
		return
	}
	msg := ndp.AppendNeighborAdvert(nil, m.Target, p.Src, ndp.FlagSolicited|ndp.FlagOverride, m.Target, ndp.TargetLinkOption(s.hardware()))
	l.say(s, s.hardware(), p.LinkSource, neighbourly(m.Target, p.Src, msg))
}

// defence is what a kernel answers to duplicate address detection.
func defence(addr netip.Addr, hw ipv6.LinkAddr) []byte {
	dst := ipv6.AllNodes()
	return neighbourly(addr, dst, ndp.AppendNeighborAdvert(nil, addr, dst, ndp.FlagOverride, addr, ndp.TargetLinkOption(hw)))
}

func neighbourly(src, dst netip.Addr, msg []byte) []byte {
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
}

func (n *node) step(in lke.Input) {
	for _, e := range n.core.Step(time.Now(), in) {
		n.carryOut(&e)
	}
}

func (n *node) carryOut(e *lke.Effect) {
	switch e.Kind {
	case lke.EffectSend: // by the routing table, too: in a frame to the default router
		n.link.say(n, n.hardware(), e.LinkDst, e.Packet)
	case lke.EffectEncrypt:
		octets, err := mobilenode.Encrypt(e.PublicKey, e.Key, false)
		in := lke.Input{Kind: lke.InCiphertext, Job: e.Job, Octets: octets, Failed: err != nil}
		n.world.after(0, func() { n.step(in) })
	case lke.EffectConfigure:
		if e.Lifetime > 0 {
			n.configure(e.Home)
		}
	case lke.EffectRelease:
		delete(n.addrs, e.Home)
	case lke.EffectBind:
		n.tunnels[e.Home] = e.Binding
	case lke.EffectUnbind:
		delete(n.tunnels, e.Home)
	case lke.EffectReport:
	default:
		n.world.t.Errorf("node %s: effect %v is none of a node", n.Name, e.Kind)
	}
}

// configure gives the interface an address that can be used at once, and looks for a duplicate meanwhile.
func (n *node) configure(addr netip.Addr) {
	if _, on := n.addrs[addr]; !on {
		n.addrs[addr] = true
		src, dst := netip.IPv6Unspecified(), ipv6.SolicitedNode(addr)
		n.link.say(n, n.hardware(), ipv6.MulticastLinkAddr(dst), neighbourly(src, dst, ndp.AppendNeighborSolicit(nil, src, dst, addr)))
		n.world.after(detection, func() {
			if n.addrs[addr] {
				n.addrs[addr] = false
			}
		})
	}
	n.world.after(0, func() { n.step(lke.Input{Kind: lke.InAddress, Home: addr}) })
}
