package ladderlab

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke/ladder"
	"github.com/roamkey/roamkey/ndp"
)

// host is a host that has an address and defends it.
type host struct {
	ladder.Host
	link *link
	addr netip.Addr
}

func (h *host) name() string             { return h.Name }
func (h *host) hardware() ipv6.LinkAddr  { return ladder.Hardware(h.Number) }
func (h *host) has(addr netip.Addr) bool { return addr == h.addr }

func (h *host) hears(dst ipv6.LinkAddr) bool {
	return dst == h.hardware() || dst == ipv6.MulticastLinkAddr(ipv6.AllNodes()) ||
		dst == ipv6.MulticastLinkAddr(ipv6.SolicitedNode(h.addr))
}

// receive defends the address. An option that the host does not know it skips (RFC 4861 section 4.6).
func (h *host) receive(p *ipv6.Packet) {
	switch m, reason := ndp.ParseNeighborSolicit(p); {
	case reason == ndp.ReasonNone && m.Target == h.addr && p.Src.IsUnspecified():
		h.link.say(h, h.hardware(), ipv6.MulticastLinkAddr(ipv6.AllNodes()), defence(h.addr, h.hardware()))
	case reason == ndp.ReasonNone:
		resolve(h, h.link, p)
	case p.Dst == h.addr:
		h.link.world.got(h, p)
	}
}

// intruder says anything, and hears all but what is for another station: that is encrypted for that one on a radio link.
// It is a ladder.Station.
type intruder struct {
	world  *World
	called string
	number uint16
	link   *link
	hear   func(p *ipv6.Packet)
}

// Intruder puts an intruder on a link.
func (w *World) Intruder(name, on string, number uint16) ladder.Station {
	s := &intruder{world: w, called: name, number: number}
	s.Move(on)
	return s
}

func (s *intruder) name() string                 { return s.called }
func (s *intruder) hardware() ipv6.LinkAddr      { return ladder.Hardware(s.number) }
func (s *intruder) has(netip.Addr) bool          { return false }
func (s *intruder) hears(dst ipv6.LinkAddr) bool { return dst == s.hardware() || !dst.IsUnicast() }

// Hardware is its link-layer address.
func (s *intruder) Hardware() ipv6.LinkAddr { return s.hardware() }

// Hear calls f for each packet on the link from now on.
func (s *intruder) Hear(f func(p *ipv6.Packet)) { s.hear = f }

// Send sends a packet in a frame.
func (s *intruder) Send(src, dst ipv6.LinkAddr, packet []byte) { s.link.say(s, src, dst, packet) }

func (s *intruder) receive(p *ipv6.Packet) {
	if s.hear != nil {
		s.hear(p)
	}
}

// Move takes it to another link.
func (s *intruder) Move(to string) {
	if s.link != nil {
		s.link.leave(s)
	}
	s.link = s.world.links[to]
	s.link.join(s)
}
