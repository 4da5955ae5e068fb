package fmip

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
	"github.com/roamkey/roamkey/ndp"
)

// assignTries is how many random addresses are tried before an assigned one is given up.
const assignTries = 4

// arrival is all that the router has, as NAR, about one node that is awaited.
type arrival struct {
	link     *servedLink
	peer     *peer // the node's previous router; nil: ourselves
	seq      uint16
	node     ipv6.LinkAddr
	previous netip.Addr // previous care-of address
	proposed netip.Addr // new care-of address, as the node would have it
	careOf   netip.Addr // as it was given; the zero Addr with code 3
	code     uint8      // of the HAck

	held, proxied, routed bool
	present               bool // the node was there before the HI
	announced             bool // the node has come
	conflict              bool // the new care-of address is another's

	solicits   int // of duplicate address detection, that are left
	nextDAD    pacing.Time
	graceUntil pacing.Time // the node is on the link: its packets go without its UNA then
	until      pacing.Time

	timer pacing.Timer
}

// Wake gives a's place in the heap of timers.
func (a *arrival) Wake() *pacing.Timer { return &a.timer }

// watched is the address that packets are kept for, and that the node announces.
func (a *arrival) watched() netip.Addr {
	if a.careOf.IsValid() {
		return a.careOf
	}
	return a.previous
}

// arrivalRequest is what an HI asks for.
type arrivalRequest struct {
	peer             *peer
	local            netip.Addr // our address that the HI came to: the one that the peer tunnels to
	seq              uint16
	code             uint8
	assigned, buffer bool
	node             ipv6.LinkAddr
	previous, careOf netip.Addr
	neighbour        ipv6.LinkAddr // that the neighbour cache has for careOf
}

// handoverInitiate handles an HI. What is authentic is always answered (RFC 5568 section 6.2.1.2).
func (r *Router) handoverInitiate(now pacing.Time, in *Input) {
	p := in.Packet
	par, h, ok := r.fromPeer(in)
	if !ok {
		return
	}
	m, err := mobility.ParseHandoverInitiate(h)
	if err != nil {
		r.count.add(dropPeerMalformed)
		return
	}
	if !r.authentic(par, in, h, &m.Auth, m.HasNumber) {
		return
	}
	ack := mobility.HandoverAck{Seq: m.Seq}
	if par.Protection == ProtectKey {
		if !r.fresh(par, m.Number) {
			r.staleNumber(now, par, p, &m)
			return
		}
		ack.Number, ack.HasNumber, ack.Auth = m.Number, true, pairAuth()
	}
	r.count.add(countInitiatesTaken)
	ack.Code, ack.NewCareOf = r.accept(now, arrivalRequest{
		peer: par, local: p.Dst, seq: m.Seq, code: m.Code, assigned: m.Assigned, buffer: m.Buffer && r.cfg.Buffer,
		node: m.LinkAddr, previous: m.PreviousCareOf, careOf: m.NewCareOf, neighbour: in.Neighbour,
	})
	r.count.add(countAcksToPeers)
	r.sendToPeer(par, p.Dst, ack.Append(nil))
	r.report(Event{
		Kind: EventHandoverAck, Home: m.PreviousCareOf, CareOf: m.NewCareOf, Router: par.Router, Node: m.LinkAddr,
		Detail: codeText(ack.Code),
	})
}

// staleNumber answers an HI whose number was taken already, is older than what is remembered, or is far from our clock:
// with the highest number that we know, so that a neighbour that lost its own goes on from there.
func (r *Router) staleNumber(now pacing.Time, par *peer, p *ipv6.Packet, m *mobility.HandoverInitiate) {
	r.count.add(dropInitiateNumber)
	if !par.stale.Allows(now, answerInterval, answerBurst) {
		r.count.add(dropAnswerLimited)
		return
	}
	par.stale.Take(now, answerInterval)
	number := par.received
	if !par.known {
		number = r.wallNumber(now)
	}
	ack := mobility.HandoverAck{Seq: m.Seq, Code: mobility.HandoverRefused, Number: number, HasNumber: true, Auth: pairAuth()}
	r.sendToPeer(par, p.Dst, ack.Append(nil))
	r.report(Event{Kind: EventPeerRefused, Router: par.Router, Home: m.PreviousCareOf, Detail: "the number of its message is old, or far from our clock"})
}

// accept decides about a node that is to arrive, and prepares for it. supplied is the address that it is to have.
func (r *Router) accept(now pacing.Time, q arrivalRequest) (code uint8, supplied netip.Addr) {
	code, supplied, why := r.decide(now, &q)
	if why != countNone {
		r.count.add(why)
	}
	return code, supplied
}

func (r *Router) decide(now pacing.Time, q *arrivalRequest) (code uint8, supplied netip.Addr, why routerCounter) {
	link, _ := r.linkOf(q.careOf)
	switch {
	case q.peer != nil && !q.peer.Fast:
		return mobility.HandoverProhibited, netip.Addr{}, dropAcceptNoFast
	case q.code > 1:
		return mobility.HandoverRefused, netip.Addr{}, dropAcceptCode
	case !q.node.IsUnicast():
		return mobility.HandoverRefused, netip.Addr{}, dropAcceptNode
	case link == nil:
		return mobility.HandoverRefused, netip.Addr{}, dropAcceptPrefix
	case link.Refuse:
		return mobility.HandoverProhibited, netip.Addr{}, dropAcceptRefused
	case q.code == 1:
		return r.vouch(now, q, link)
	}
	if old := r.visits[visitKey{q.previous, q.node}]; old != nil {
		switch {
		case old.peer == q.peer && old.seq == q.seq && old.proposed == q.careOf:
			r.count.add(countArrivalsAgain) // the HI came again: so does the answer
			return old.code, old.supplied(), countNone
		case old.goesOn(q):
			r.expectAgain(now, old, q)
			return old.code, old.supplied(), countNone
		}
		r.endArrival(old, "a newer handover of the node")
	}
	if len(r.arrivals) >= r.cfg.MaxNodes {
		return mobility.HandoverResources, netip.Addr{}, dropAcceptNodes
	}
	a := &arrival{
		link: link, peer: q.peer, seq: q.seq, node: q.node, previous: q.previous, proposed: q.careOf,
		nextDAD: never, graceUntil: never, until: now.Add(r.cfg.ProxyLifetime),
	}
	switch usable := !link.PreviousOnly && r.usable(link, q); {
	case usable && q.assigned:
		a.code, a.careOf = mobility.HandoverAddressAssigned, q.careOf
	case usable:
		a.code, a.careOf = mobility.HandoverAccepted, q.careOf
	case q.assigned && !link.PreviousOnly && !link.RequireSecuredUNA && r.assign(link, a):
		a.code = mobility.HandoverAddressAssigned // never on a link where the node could not sign for it
	case r.canRoute(link, q):
		a.code = mobility.HandoverUsePrevious
	default:
		return mobility.HandoverAddressInvalid, netip.Addr{}, dropAcceptAddress
	}
	r.expect(now, a, q)
	return a.code, a.supplied(), countNone
}

// supplied is the address that an HAck says.
func (a *arrival) supplied() netip.Addr {
	if a.code == mobility.HandoverAddressAssigned {
		return a.careOf
	}
	return netip.Addr{}
}

// visitKey is what a node is known by that is to arrive: one of its addresses, and its link-layer address.
type visitKey struct {
	previous netip.Addr
	node     ipv6.LinkAddr
}

// goesOn reports whether a new HI asks for what is prepared already: then what is kept must not be lost.
func (a *arrival) goesOn(q *arrivalRequest) bool {
	return a.peer == q.peer && a.proposed == q.careOf && q.assigned == (a.code == mobility.HandoverAddressAssigned) &&
		!a.announced && !a.present && !a.conflict
}

// expectAgain waits for the node once more.
func (r *Router) expectAgain(now pacing.Time, a *arrival, q *arrivalRequest) {
	r.count.add(countArrivalsAgain)
	a.seq, a.until = q.seq, now.Add(r.cfg.ProxyLifetime)
	r.keep(a, q.buffer)
	r.settleArrival(a)
}

// keep has packets for the node kept.
func (r *Router) keep(a *arrival, buffer bool) {
	if !buffer || a.present || a.held {
		return
	}
	a.held = true
	r.count.add(countArrivalHolds)
	r.emit(Effect{Kind: EffectHold, Addr: a.watched(), Link: a.link.Index})
	r.report(Event{Kind: EventHeld, Home: a.previous, CareOf: a.watched(), Node: a.node, Link: a.link.Index})
}

// usable reports whether nothing is known against the new care-of address. An entry of the neighbour cache with the node's
// own link-layer address says that it is there already (RFC 5568 section 4).
func (r *Router) usable(link *servedLink, q *arrivalRequest) bool {
	if !ipv6.IsRoutableUnicast(q.careOf) || r.isRouter(q.careOf) || link.isAnycast(q.careOf) || q.careOf == q.previous {
		return false
	}
	if !q.neighbour.IsZero() && q.neighbour != q.node {
		return false
	}
	if r.arrivals[q.careOf] != nil {
		return false // another node's
	}
	n := r.nodes[q.careOf]
	return n == nil || n.binding == nil && n.run == nil // else it is away, and may come back
}

// assign finds an address for a.
func (r *Router) assign(link *servedLink, a *arrival) bool {
	p, ok := link.prefixOf(a.proposed)
	if !ok || p.Prefix.Bits() > 64 {
		return false
	}
	for range assignTries {
		octets := p.Prefix.Masked().Addr().As16()
		if !r.random(octets[8:]) {
			return false
		}
		octets[8] &^= 3 // neither universal nor a group's
		addr := netip.AddrFrom16(octets)
		q := arrivalRequest{node: a.node, previous: a.previous, careOf: addr}
		if r.usable(link, &q) {
			a.careOf = addr
			return true
		}
	}
	return false
}

// canRoute reports whether a host route for the node's previous care-of address can be made: not for one that belongs here,
// nor for one that another node has brought along.
func (r *Router) canRoute(link *servedLink, q *arrivalRequest) bool {
	if !r.cfg.HostRoutes && !link.PreviousOnly || q.peer == nil || !ipv6.IsRoutableUnicast(q.previous) || r.isRouter(q.previous) {
		return false
	}
	if ours, _ := r.linkOf(q.previous); ours != nil || r.neighborOf(q.previous) != q.peer {
		return false // only the peer's own nodes come from there
	}
	return r.arrivals[q.previous] == nil
}

// expect prepares for the node: its packets are kept, and its address is asked about and then defended until it comes.
func (r *Router) expect(now pacing.Time, a *arrival, q *arrivalRequest) {
	r.count.add(countArrivals)
	r.arrivals[a.watched()] = a
	r.visits[visitKey{a.previous, a.node}] = a
	index := a.link.Index
	r.report(Event{
		Kind: EventInitiated, Home: a.previous, CareOf: a.watched(), Node: a.node, Link: index, Router: a.router(),
		Detail: codeText(a.code),
	})
	if a.code == mobility.HandoverUsePrevious {
		a.routed = true
		b := Binding{Home: a.previous, Router: q.local, CareOf: a.peer.Router, Link: index, ToRouter: true}
		r.emit(Effect{Kind: EffectRoute, Addr: a.previous, Link: index, Binding: b})
	}
	a.present = a.careOf == q.careOf && q.neighbour == q.node
	r.keep(a, q.buffer)
	switch {
	case a.present || a.code == mobility.HandoverUsePrevious:
	case r.cfg.DADTransmits <= 0:
		r.proxy(a)
	default:
		a.solicits = r.cfg.DADTransmits
		a.nextDAD = now
		r.detect(now, a)
	}
	r.settleArrival(a)
}

func (a *arrival) router() netip.Addr {
	if a.peer == nil {
		return netip.Addr{}
	}
	return a.peer.Router
}

// detect sends the next solicitation of duplicate address detection (RFC 4862 section 5.4), or defends the address after
// the last. It goes on behind the HAck: what it finds is told at the UNA.
func (r *Router) detect(now pacing.Time, a *arrival) {
	if a.solicits == 0 {
		a.nextDAD = never
		r.proxy(a)
		return
	}
	a.solicits--
	a.nextDAD = now.Add(r.cfg.RetransTimer)
	dst := ipv6.SolicitedNode(a.careOf)
	src := netip.IPv6Unspecified()
	r.count.add(countDADSolicits)
	r.emit(Effect{
		Kind: EffectSendND, Link: a.link.Index, LinkDst: ipv6.MulticastLinkAddr(dst), Addr: a.careOf,
		Packet: discoveryPacket(src, dst, ndp.AppendNeighborSolicit(nil, src, dst, a.careOf)),
	})
}

// proxy defends the address for the node.
func (r *Router) proxy(a *arrival) {
	a.proxied = true
	r.count.add(countArrivalProxied)
	r.emit(Effect{Kind: EffectProxy, Addr: a.careOf, Link: a.link.Index})
}

// vouch handles an HI with code 1: the previous router knows the node, which is here already (RFC 5568 section 4). Nothing
// is prepared; but if the node was awaited, it has come.
func (r *Router) vouch(now pacing.Time, q *arrivalRequest, link *servedLink) (uint8, netip.Addr, routerCounter) {
	if a := r.arrivals[q.careOf]; a != nil && a.link == link && a.node == q.node && a.previous == q.previous {
		if !a.conflict {
			r.welcome(now, a, a.node, "its previous router says so")
		}
		return mobility.HandoverAccepted, netip.Addr{}, countVouched
	}
	if !r.vouchable(link, q) {
		return mobility.HandoverRefused, netip.Addr{}, dropAcceptAddress
	}
	return mobility.HandoverAccepted, netip.Addr{}, countVouched
}

// vouchable reports whether the node can be at that address.
func (r *Router) vouchable(link *servedLink, q *arrivalRequest) bool {
	return ipv6.IsRoutableUnicast(q.careOf) && !r.isRouter(q.careOf) && !link.isAnycast(q.careOf) &&
		(q.neighbour.IsZero() || q.neighbour == q.node) && r.arrivals[q.careOf] == nil
}

// settleArrival sets a's timer after a change.
func (r *Router) settleArrival(a *arrival) {
	r.arrivalTimers.Set(a, min(a.nextDAD, a.graceUntil, a.until))
}

// arrivalDue does what a's moment asks for.
func (r *Router) arrivalDue(now pacing.Time, a *arrival) {
	if a.until <= now {
		if !a.announced && !a.present {
			r.count.add(countArrivalExpired)
		}
		r.endArrival(a, "the node did not come")
		return
	}
	if a.graceUntil <= now {
		a.graceUntil = never
		r.welcome(now, a, a.node, "it is on the link")
	}
	if a.nextDAD <= now {
		r.detect(now, a)
	}
	r.settleArrival(a)
}

// endArrival undoes what stands for a.
func (r *Router) endArrival(a *arrival, detail string) {
	if r.arrivals[a.watched()] != a {
		return
	}
	index := a.link.Index
	if a.proxied {
		r.emit(Effect{Kind: EffectUnproxy, Addr: a.careOf, Link: index})
	}
	if a.held {
		r.emit(Effect{Kind: EffectDiscard, Addr: a.watched(), Link: index})
	}
	if a.routed {
		r.emit(Effect{Kind: EffectUnroute, Addr: a.previous, Link: index})
	}
	if !a.announced && !a.present {
		r.report(Event{Kind: EventExpired, Home: a.previous, CareOf: a.watched(), Node: a.node, Link: index, Detail: detail})
	}
	a.proxied, a.held, a.routed = false, false, false
	delete(r.arrivals, a.watched())
	delete(r.visits, visitKey{a.previous, a.node})
	r.arrivalTimers.Remove(a)
}
