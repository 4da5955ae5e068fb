package ladderlab

import (
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke/ladder"
	"github.com/roamkey/roamkey/ndp"
)

// station is what a frame on a link can come to, beside the router.
type station interface {
	name() string
	hardware() ipv6.LinkAddr
	// hears reports whether a frame to dst gets in; receive handles it.
	hears(dst ipv6.LinkAddr) bool
	receive(p *ipv6.Packet)
	// has reports whether the station has the address on its link.
	has(addr netip.Addr) bool
}

func (l *link) join(s station) { l.stations = append(l.stations, s) }

func (l *link) leave(s station) {
	l.stations = slices.DeleteFunc(l.stations, func(other station) bool { return other == s })
}

// arrive takes a frame that a router sent.
func (w *World) arrive(f frame) {
	switch {
	case f.uplink && !w.routable(f.packet):
	case f.uplink && f.link.has(f.packet.Src) && w.notable(f.link, f.packet):
		w.send(f.at, f.link.Name, w.ownerOf(f.packet.Dst), "", f.packet, func() { w.route(f.packet) })
	case f.uplink:
		w.route(f.packet)
	case f.link.says(f.packet) && w.notable(f.link, f.packet):
		w.send(f.at, f.link.Name, f.link.nameOf(f.to), f.link.Name, f.packet, func() { f.link.hear(nil, f.to, f.packet) })
	default:
		f.link.hear(nil, f.to, f.packet)
	}
}

// routable leaves aside what the router says to its neighbours on the uplink.
func (w *World) routable(p *ipv6.Packet) bool {
	return ipv6.IsRoutableUnicast(p.Dst) && !p.Dst.IsLinkLocalUnicast()
}

// notable reports whether a message belongs into the transcript: no data, no address resolution, and of a router's
// advertisements those that somebody has asked for.
func (w *World) notable(l *link, p *ipv6.Packet) bool {
	switch ladder.NameOf(p) {
	case ladder.Other:
		return false
	case ladder.NeighborSolicit:
		return false
	case ladder.NeighborAdvert:
		m, reason := ndp.ParseNeighborAdvert(p)
		return reason != ndp.ReasonNone || !m.Solicited
	case ladder.RouterSolicitation:
		l.asked = true
	case ladder.RouterAdvertisement, ladder.RouterAdvertLKE:
		asked := l.asked
		l.asked = false
		return asked
	}
	return true
}

// send notes a message and decides its fate: arrive is called for each copy that gets through.
func (w *World) send(at time.Time, from, to, on string, p *ipv6.Packet, arrive func()) {
	m := ladder.Message{
		Number: len(w.transcript), At: at.Sub(w.start), From: from, To: to, Link: on, Name: ladder.NameOf(p), Packet: p,
	}
	w.transcript = append(w.transcript, m)
	if w.fate == nil {
		arrive()
		return
	}
	for _, delay := range w.fate(m) {
		if delay == 0 {
			arrive()
		} else {
			w.after(delay, arrive)
		}
	}
}

// say sends a packet of a station in a frame.
func (l *link) say(s station, src, dst ipv6.LinkAddr, packet []byte) {
	w := l.world
	p := new(ipv6.Packet)
	if problem := ipv6.Parse(append([]byte(nil), packet...), p); problem != ipv6.OK {
		w.t.Errorf("%s sent a packet that does not parse: %v", s.name(), problem)
		return
	}
	p.LinkSource = src
	if !w.notable(l, p) {
		l.hear(s, dst, p)
		return
	}
	to := l.nameOf(dst)
	if dst == ladder.RouterHardware(l.Number) && !l.has(p.Dst) {
		to = w.ownerOf(p.Dst)
	}
	w.send(time.Now(), s.name(), to, l.Name, p, func() { l.hear(s, dst, p) })
}

// hear gives a frame to all that are on the link now: to the router unless it is from there (from is nil then), and to
// every station that lets it in.
func (l *link) hear(from station, dst ipv6.LinkAddr, p *ipv6.Packet) {
	if from != nil && (!dst.IsUnicast() || dst == ladder.RouterHardware(l.Number)) {
		l.world.check(l.lan.Send(p.LinkSource, dst, p.Raw))
	}
	for _, s := range slices.Clone(l.stations) {
		if s != from && s.hears(dst) {
			received := *p
			s.receive(&received)
		}
	}
}

// nameOf names the station of a link that a frame is for.
func (l *link) nameOf(dst ipv6.LinkAddr) string {
	if dst == ladder.RouterHardware(l.Number) {
		return l.Name
	}
	for _, s := range l.stations {
		if s.hardware() == dst {
			return s.name()
		}
	}
	return "*"
}

// says reports whether a packet that came from the router is its own, and not one that it has forwarded. It sends for
// others only in Neighbour Discovery, which no router forwards.
func (l *link) says(p *ipv6.Packet) bool {
	return l.has(p.Src) || p.Proto == ipv6.ProtoICMPv6 && p.HopLimit == 255
}
