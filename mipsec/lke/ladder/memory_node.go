package ladder

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// memoryNode is a mobile node: its core, and what a kernel does for it. The kernel uses optimistic addresses (RFC 4429).
type memoryNode struct {
	m       *Memory
	node    Node
	core    *lke.Node
	link    *memoryLink
	addrs   map[netip.Addr]bool // on the link; true while tentative
	tunnels map[netip.Addr]lke.Binding
	kept    map[netip.Addr]bool // released from the link, for tunnels
}

func newMemoryNode(m *Memory, node Node, homeAgent bool) *memoryNode {
	cfg := lke.NodeConfig{
		Link: nodeIf, Hardware: Hardware(node.Number), Lifetime: time.Hour, InterfaceID: node.InterfaceID, Rand: m.rand,
	}
	if homeAgent {
		cfg.HomeAgent, cfg.HomeAddress = HomeAgent(), HomeAddress(node.Number)
	}
	return &memoryNode{
		m: m, node: node, core: lke.NewNode(cfg),
		addrs: map[netip.Addr]bool{}, tunnels: map[netip.Addr]lke.Binding{}, kept: map[netip.Addr]bool{},
	}
}

func (n *memoryNode) name() string            { return n.node.Name }
func (n *memoryNode) hardware() ipv6.LinkAddr { return Hardware(n.node.Number) }
func (n *memoryNode) local() netip.Addr       { return ipv6.LinkLocalFrom(n.hardware()) }

func (n *memoryNode) has(addr netip.Addr) bool {
	_, on := n.addrs[addr]
	return on || addr == n.local()
}

func (n *memoryNode) hears(dst ipv6.LinkAddr, p *ipv6.Packet) bool {
	if dst == n.hardware() || dst == ipv6.MulticastLinkAddr(ipv6.AllNodes()) {
		return true
	}
	for addr := range n.addrs {
		if dst == ipv6.MulticastLinkAddr(ipv6.SolicitedNode(addr)) {
			return true
		}
	}
	return false
}

func (n *memoryNode) tick() { n.step(lke.Input{Kind: lke.InTick}) }

func (n *memoryNode) step(in lke.Input) { n.carryOut(n.core.Step(n.m.now, in)) }

func (n *memoryNode) move(l *memoryLink) {
	if n.link != nil {
		n.link.leave(n)
	}
	n.link = l
	l.stations = append(l.stations, n)
	n.step(lke.Input{Kind: lke.InAttached})
}

func (n *memoryNode) receive(p *ipv6.Packet) {
	received := *p
	received.Interface = nodeIf
	n.kernel(&received)
	n.step(lke.Input{Kind: lke.InPacket, Packet: &received})
}

// kernel defends the node's addresses, without the reply option: it is kept from the one solicitation that has a request.
func (n *memoryNode) kernel(p *ipv6.Packet) {
	switch NameOf(p) {
	case DADSolicitation:
		m, reason := ndp.ParseNeighborSolicit(p)
		if reason != ndp.ReasonNone || p.LinkSource == n.hardware() {
			return
		}
		if tentative, on := n.addrs[m.Target]; on && !tentative {
			n.m.frame(n, n.link, n.hardware(), ipv6.MulticastLinkAddr(ipv6.AllNodes()), defence(m.Target, n.hardware()))
		} else if on {
			n.duplicate(m.Target)
		}
	case NeighborAdvert, DADReply:
		m, reason := ndp.ParseNeighborAdvert(p)
		if reason == ndp.ReasonNone && p.LinkSource != n.hardware() && n.addrs[m.Target] {
			n.duplicate(m.Target)
		}
	}
}

func (n *memoryNode) duplicate(addr netip.Addr) {
	delete(n.addrs, addr)
	n.m.after(0, func() { n.step(lke.Input{Kind: lke.InAddress, Home: addr, Failed: true}) })
}

// defence is what a kernel answers to duplicate address detection.
func defence(addr netip.Addr, hw ipv6.LinkAddr) []byte {
	dst := ipv6.AllNodes()
	msg := ndp.AppendNeighborAdvert(nil, addr, dst, ndp.FlagOverride, addr, ndp.TargetLinkOption(hw))
	return ipv6.Append(nil, ipv6.Header{Src: addr, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
}

func (n *memoryNode) carryOut(effects []lke.Effect) {
	for _, e := range effects {
		switch e.Kind {
		case lke.EffectSend:
			n.send(e)
		case lke.EffectEncrypt:
			n.encrypt(e)
		case lke.EffectConfigure:
			if e.Lifetime > 0 {
				n.configure(e.Home)
			}
		case lke.EffectRelease:
			delete(n.addrs, e.Home)
			n.kept[e.Home] = true
		case lke.EffectBind:
			n.tunnels[e.Home] = e.Binding
		case lke.EffectUnbind:
			delete(n.tunnels, e.Home)
			delete(n.kept, e.Home)
		case lke.EffectReport:
		default:
			n.m.t.Errorf("node %s: effect %v is none of a node", n.name(), e.Kind)
		}
	}
}

func (n *memoryNode) send(e lke.Effect) {
	if e.Link == nodeIf {
		n.m.frame(n, n.link, n.hardware(), e.LinkDst, e.Packet)
		return
	}
	// By the routing table: in a frame to the default router, which takes it or forwards it.
	link := n.link
	p := new(ipv6.Packet)
	if ipv6.Parse(e.Packet, p) != ipv6.OK {
		n.m.t.Errorf("node %s routed a packet that does not parse", n.name())
		return
	}
	n.m.send(n.name(), n.m.ownerOf(p.Dst), link.Name, linkDelay, e.Packet, func(p *ipv6.Packet) {
		n.m.hear(n, link, n.hardware(), e.LinkDst, p)
	})
}

func (n *memoryNode) encrypt(e lke.Effect) {
	public, err := x509.ParsePKIXPublicKey(e.PublicKey)
	if err != nil {
		n.m.t.Fatal(err)
	}
	// The draft's RSA encryption is PKCS #1 v1.5 (LKE-resolution-a).
	octets, err := rsa.EncryptPKCS1v15(rand.Reader, public.(*rsa.PublicKey), e.Key[:])
	n.m.after(time.Millisecond, func() {
		n.step(lke.Input{Kind: lke.InCiphertext, Job: e.Job, Octets: octets, Failed: err != nil})
	})
}

// configure gives the interface an address that can be used at once, and looks for a duplicate meanwhile.
func (n *memoryNode) configure(addr netip.Addr) {
	delete(n.kept, addr)
	if _, on := n.addrs[addr]; !on {
		n.addrs[addr] = true
		src, dst := netip.IPv6Unspecified(), ipv6.SolicitedNode(addr)
		msg := ndp.AppendNeighborSolicit(nil, src, dst, addr)
		packet := ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
		n.m.frame(n, n.link, n.hardware(), ipv6.MulticastLinkAddr(dst), packet)
		n.m.after(time.Second, func() {
			if n.addrs[addr] {
				n.addrs[addr] = false
			}
		})
	}
	n.m.after(0, func() { n.step(lke.Input{Kind: lke.InAddress, Home: addr}) })
}

// memoryHost is a host that has an address and defends it.
type memoryHost struct {
	Host
	m    *Memory
	link *memoryLink
	addr netip.Addr
}

func (h *memoryHost) name() string             { return h.Name }
func (h *memoryHost) hardware() ipv6.LinkAddr  { return Hardware(h.Number) }
func (h *memoryHost) has(addr netip.Addr) bool { return addr == h.addr }

func (h *memoryHost) hears(dst ipv6.LinkAddr, p *ipv6.Packet) bool {
	return dst == h.hardware() || dst == ipv6.MulticastLinkAddr(ipv6.AllNodes()) ||
		dst == ipv6.MulticastLinkAddr(ipv6.SolicitedNode(h.addr))
}

// receive defends the address. An option that the host does not know it skips (RFC 4861 section 4.6).
func (h *memoryHost) receive(p *ipv6.Packet) {
	m, reason := ndp.ParseNeighborSolicit(p)
	if reason == ndp.ReasonNone && m.Target == h.addr && p.Src.IsUnspecified() {
		h.m.frame(h, h.link, h.hardware(), ipv6.MulticastLinkAddr(ipv6.AllNodes()), defence(h.addr, h.hardware()))
	}
}

// memoryAgent is a home agent: it takes every binding update, which IPsec has verified before.
type memoryAgent struct {
	m        *Memory
	bindings map[netip.Addr]netip.Addr
}

func (a *memoryAgent) receive(p *ipv6.Packet) {
	h, fault := mobility.Check(p, mobility.MinHeaderLen)
	update, err := mobility.ParseBindingUpdate(h)
	if fault != mobility.FaultNone || err != nil {
		return
	}
	ack := mobility.BindingAck{Seq: update.Seq, Lifetime: update.Lifetime}.Append(nil, mobility.DefaultCodePoints())
	header := ipv6.Header{Src: HomeAgent(), Dst: p.Src, HopLimit: 64, RoutingHome: p.HomeAddress}
	final := p.Src
	if p.HomeAddress.IsValid() {
		final = p.HomeAddress
	}
	a.bindings[final] = p.Src
	if update.Lifetime == 0 {
		delete(a.bindings, final)
	}
	mobility.FixChecksum(ack, HomeAgent(), final)
	a.m.route("HA", ipv6.Append(nil, header, ipv6.ProtoMobility, ack))
}

// memoryIntruder hears and says anything.
type memoryIntruder struct {
	m      *Memory
	called string
	number uint16
	link   *memoryLink
	hear   func(p *ipv6.Packet)
}

// Intruder puts an intruder on a link.
func (m *Memory) Intruder(name, link string, number uint16) Station {
	s := &memoryIntruder{m: m, called: name, number: number}
	s.Move(link)
	return s
}

func (s *memoryIntruder) name() string                           { return s.called }
func (s *memoryIntruder) hardware() ipv6.LinkAddr                { return Hardware(s.number) }
func (s *memoryIntruder) has(netip.Addr) bool                    { return false }
func (s *memoryIntruder) hears(ipv6.LinkAddr, *ipv6.Packet) bool { return true }
func (s *memoryIntruder) Hardware() ipv6.LinkAddr                { return s.hardware() }
func (s *memoryIntruder) Hear(f func(p *ipv6.Packet))            { s.hear = f }
func (s *memoryIntruder) Send(src, dst ipv6.LinkAddr, raw []byte) {
	s.m.frame(s, s.link, src, dst, raw)
}

func (s *memoryIntruder) receive(p *ipv6.Packet) {
	if s.hear != nil {
		s.hear(p)
	}
}

func (s *memoryIntruder) Move(link string) {
	if s.link != nil {
		s.link.leave(s)
	}
	s.link = s.m.links[link]
	s.link.stations = append(s.link.stations, s)
}
