package fmip

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
	"github.com/roamkey/roamkey/ndp"
)

const defaultRouterLifetime = 30 * time.Minute // RFC 4861 section 6.2.1

// neighborMessage handles a neighbour advertisement, or a solicitation of duplicate address detection, for an address that
// a node is awaited at.
func (r *Router) neighborMessage(now pacing.Time, in *Input) {
	p := in.Packet
	if p.Payload[0] == ndp.TypeNeighborSolicit {
		r.heardProbe(in)
		return
	}
	m, reason := ndp.ParseNeighborAdvert(p)
	if reason != ndp.ReasonNone {
		r.count.nd[reason]++
		return
	}
	a := r.arrivals[m.Target]
	source := m.TargetLink
	if source.IsZero() {
		source = p.LinkSource
	}
	switch {
	case p.LinkSource == a.link.Hardware || !source.IsUnicast() || source != p.LinkSource:
		r.count.add(dropAnnounceLink)
	case !in.Secured && a.link.RequireSecuredUNA:
		r.count.add(dropAnnounceUnsecured) // it changes nothing that an authentic HI has made
	case in.Repeat:
		r.count.add(dropAnnounceRepeat)
	case p.Src != m.Target:
		r.count.add(dropAnnounceSource)
	case source == a.node || in.Secured:
		// The HI's link-layer address, or the owner's signature: a node may have another link-layer address on each link.
		r.announced(now, a, source, in.Secured)
	case !m.Override && !m.Solicited && !m.Router:
		r.stranger(now, a, p, source)
	default:
		r.conflict(a)
	}
}

// heardProbe handles a solicitation from :: for an address that is awaited. It is the node's own, which comes after its
// UNA, or another's, who is about to take the address.
func (r *Router) heardProbe(in *Input) {
	p := in.Packet
	m, reason := ndp.ParseNeighborSolicit(p)
	if reason != ndp.ReasonNone {
		r.count.nd[reason]++
		return
	}
	a := r.arrivals[m.Target]
	switch {
	case p.LinkSource == a.link.Hardware || !p.LinkSource.IsUnicast():
		r.count.add(dropAnnounceLink)
	case p.LinkSource == a.node || in.Secured:
		r.count.add(dropProbeOwn)
	case a.link.RequireSecuredUNA:
		r.count.add(dropAnnounceUnsecured)
	default:
		r.conflict(a)
	}
}

// conflict notes that somebody else has the address, or is about to take it, while it is not defended yet. What is kept
// must not reach them: it stays until the node comes or its time is over.
func (r *Router) conflict(a *arrival) {
	if a.conflict || a.announced || a.nextDAD == never {
		r.count.add(dropConflictLate)
		return
	}
	r.count.add(countConflicts)
	a.conflict = true
	a.nextDAD, a.graceUntil = never, never
	r.report(Event{Kind: EventConflict, Home: a.previous, CareOf: a.careOf, Node: a.node, Link: a.link.Index})
	r.settleArrival(a)
}

// announced handles the node's UNA (RFC 5568 section 6.3).
func (r *Router) announced(now pacing.Time, a *arrival, source ipv6.LinkAddr, secured bool) {
	if a.conflict {
		r.refuseArrival(a, source)
		return
	}
	r.letIn(now, a, source, secured, "")
}

// welcome lets in a node of which somebody else says that it is there: no message of its own has proved its address.
func (r *Router) welcome(now pacing.Time, a *arrival, source ipv6.LinkAddr, detail string) {
	r.letIn(now, a, source, false, detail)
}

// letIn lets what arrived for the node go to it: its neighbour entry becomes stale with its link-layer address, the proxy
// ends, and what was kept is sent. secured says whether the owner of the address has signed where it is.
func (r *Router) letIn(now pacing.Time, a *arrival, source ipv6.LinkAddr, secured bool, detail string) {
	if a.announced {
		r.count.add(countAnnouncedAgain)
		return
	}
	r.count.add(countAnnounced)
	a.announced = true
	a.nextDAD, a.graceUntil = never, never
	index := a.link.Index
	r.emit(Effect{Kind: EffectNeighbour, Addr: a.watched(), Link: index, LinkAddr: source, Secured: secured})
	if a.proxied {
		a.proxied = false
		r.emit(Effect{Kind: EffectUnproxy, Addr: a.careOf, Link: index})
	}
	r.report(Event{Kind: EventAnnounced, Home: a.previous, CareOf: a.watched(), Node: source, Link: index, Router: a.router(), Detail: detail})
	if a.held {
		a.held = false
		r.emit(Effect{Kind: EffectDrain, Addr: a.watched(), Link: index})
		r.report(Event{Kind: EventDrained, Home: a.previous, CareOf: a.watched(), Node: source, Link: index})
	}
	// An HI that comes again is still known for a while; a host route lasts as long as a binding can.
	a.until = now.Add(r.cfg.ProxyLifetime)
	if a.routed {
		a.until = now.Add(r.cfg.MaxLifetime)
	}
	r.settleArrival(a)
}

// stranger answers a UNA whose link-layer address is not that of the node which the address is kept for. Nothing that is
// kept changes.
func (r *Router) stranger(now pacing.Time, a *arrival, p *ipv6.Packet, source ipv6.LinkAddr) {
	r.count.add(dropAnnounceStranger)
	if a.announced {
		return // the neighbour cache deals with it
	}
	if !r.answers.Allows(now, answerInterval, answerBurst) {
		r.count.add(dropAnswerLimited)
		return
	}
	r.answers.Take(now, answerInterval)
	r.sendNeighborAck(a.link, p.Src, source, ndp.NeighborAck{Status: ndp.AckUnknownLink})
}

// refuseArrival tells the node that its new care-of address is another's (NAACK), and gives up what was prepared. It
// proposes no other address: the previous router tunnels to the one that the node has chosen, so that the node has to tell
// it another anyway.
func (r *Router) refuseArrival(a *arrival, source ipv6.LinkAddr) {
	r.sendNeighborAck(a.link, a.careOf, source, ndp.NeighborAck{Status: ndp.AckConfigure})
	r.endArrival(a, "its address is another's")
}

// sendNeighborAck sends a router advertisement with a NAACK to the source of a UNA (RFC 5568 sections 4 and 6.4.6). It is a
// router advertisement like any other to who receives it, so that it has the link's router lifetime: with 0 the node would
// give up its default router. All else is left unspecified.
func (r *Router) sendNeighborAck(link *servedLink, dst netip.Addr, linkDst ipv6.LinkAddr, ack ndp.NeighborAck) {
	lifetime := link.Lifetime
	if lifetime == 0 {
		lifetime = defaultRouterLifetime
	}
	seconds := uint16(min(max(lifetime, 0)/time.Second, 9000))
	icmp := []byte{ndp.TypeRouterAdvert, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(icmp[6:8], seconds)
	icmp = append(icmp, ndp.SourceLinkOption(link.Hardware)...)
	icmp = ack.Append(icmp)
	ndp.FixChecksum(icmp, link.LinkLocal, dst)
	r.count.add(countNeighborAcks)
	r.emit(Effect{
		Kind: EffectSendND, Link: link.Index, LinkDst: linkDst, Packet: discoveryPacket(link.LinkLocal, dst, icmp),
	})
}

// fastAnnounce handles the Fast Neighbor Advertisement of RFC 4068, which RFC 5568 lets a router take for a UNA. It is not
// signed.
func (r *Router) fastAnnounce(now pacing.Time, in *Input) {
	p := in.Packet
	h, fault := mobility.Check(p, mobility.MinHeaderLen)
	if fault != mobility.FaultNone {
		r.count.faults[fault]++
		return
	}
	m, err := mobility.ParseFastNeighborAdvert(h)
	a := r.arrivals[p.Src]
	switch {
	case err != nil:
		r.count.add(dropAnnounceMalformed)
	case p.RoutingHome.IsValid():
		r.count.add(dropAnnounceLink)
	case a == nil || a.link.Index != p.Interface || !a.link.present:
		r.count.add(dropAnnounceUnknown)
	case m.LinkAddr != a.node || p.LinkSource != a.node:
		r.count.add(dropAnnounceLink)
	case a.link.RequireSecuredUNA:
		r.count.add(dropAnnounceUnsecured)
	default:
		r.announced(now, a, a.node, false)
	}
}
