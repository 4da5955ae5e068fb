package lke

import (
	"math"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

const (
	// Error acknowledgements that cannot be authenticated go to whatever address a stranger wrote (resolution j).
	errorAckInterval = time.Second / 10
	errorAckBurst    = 20

	// maxUpdateRate is RFC 6275's MAX_UPDATE_RATE (section 12), a second: as many authenticated refusals are sent.
	maxUpdateRate = 3

	// maxForwards bounds the binding updates of one node whose forwarding is being installed at one time.
	maxForwards = 8

	// forwardPatience is how long an EffectBind may take.
	forwardPatience = 5 * time.Second

	ackRepeatInterval = time.Second
	ackRepeats        = 2
)

// updateRun is a binding update that was accepted and whose forwarding is being installed.
type updateRun struct {
	careOf   netip.Addr
	seq      uint16
	lifetime uint16 // granted, in units of 4 s
	until    pacing.Time
	nonce    uint32
}

// bindingUpdate handles a Binding Update to one of the router's global addresses.
func (r *Router) bindingUpdate(now pacing.Time, p *ipv6.Packet) {
	if p.RoutingHome.IsValid() {
		r.count.add(dropUpdateRouting)
		return
	}
	h, fault := mobility.Check(p, mobility.MinHeaderLen)
	if fault != mobility.FaultNone {
		r.count.faults[fault]++
		r.answerFault(now, p, fault)
		return
	}
	m, err := mobility.ParseBindingUpdate(h)
	switch {
	case err != nil:
		r.count.add(dropUpdateMalformed)
		return
	case !ipv6.IsRoutableUnicast(p.Src) && !r.isNeighbour(p):
		r.count.add(dropUpdateSource) // there is nobody to answer
		return
	}
	home := p.Src
	if p.HomeAddress.IsValid() {
		home = p.HomeAddress
	}
	n := r.nodes[home]
	if n == nil || n.lbsa == nil || n.lbsa.router != p.Dst {
		// Also one whose detection is not over: it authorizes nothing (LKE-AR-27).
		r.refuseStranger(now, n, p, m.Seq, mobility.StatusNotHomeAgent, dropUpdateUnknown)
		return
	}
	if !mobility.VerifyBAD(h.Octets, n.lbsa.key[:], p.Src, p.Dst) { // LKE-AR-19
		r.refuseStranger(now, n, p, m.Seq, mobility.StatusUnspecified, dropUpdateMAC)
		return
	}
	r.authenticUpdate(now, n, p, m)
	r.settle(n)
}

// isNeighbour reports whether p came from a link-local address on a served link, to which an answer can be framed.
func (r *Router) isNeighbour(p *ipv6.Packet) bool {
	return p.Src.IsLinkLocalUnicast() && p.LinkSource.IsUnicast() && r.byIndex[p.Interface] != nil
}

// authenticUpdate goes on with a binding update whose authenticator is right.
func (r *Router) authenticUpdate(now pacing.Time, n *routerNode, p *ipv6.Packet, m mobility.BindingUpdate) {
	a := n.lbsa
	deregister := m.Lifetime == 0 || p.Src == n.home
	granted := min(time.Duration(m.Lifetime)*secondsPerUnit*time.Second, a.expires.Sub(now), r.cfg.MaxBinding)
	lifetime := lifetimeUnits(granted)
	switch {
	case m.AlternateCareOf.IsValid(): // resolutions h and u
		r.refuse(now, n, p, m.Seq, mobility.StatusUnspecified, dropUpdateAlternate)
	case m.Flags&mobility.FlagHome == 0: // resolution i; a missing A changes nothing: it is acknowledged all the same
		r.refuse(now, n, p, m.Seq, mobility.StatusHomeRegistration, dropUpdateFlags)
	case a.updated && !sequenceAfter(m.Seq, a.updateSeq): // resolution t
		r.refuse(now, n, p, a.updateSeq, mobility.StatusSequence, dropUpdateSequence)
	case !r.validCareOf(n, p, deregister):
		r.refuse(now, n, p, m.Seq, mobility.StatusInvalidCareOf, dropUpdateCareOf)
	case deregister:
		r.deregister(n, p, m.Seq)
	case lifetime == 0:
		r.refuse(now, n, p, m.Seq, mobility.StatusNotHomeAgent, dropUpdateLifetime) // the association is all but over
	case n.forwards >= maxForwards:
		r.refuse(now, n, p, m.Seq, mobility.StatusResources, dropUpdateBusy)
	default:
		nonce, ok := r.random32()
		if !ok {
			r.refuse(now, n, p, m.Seq, mobility.StatusResources, dropNoRandom)
			return
		}
		r.accept(now, n, &updateRun{
			careOf: p.Src, seq: m.Seq, lifetime: lifetime, nonce: nonce,
			until: now.Add(time.Duration(lifetime) * secondsPerUnit * time.Second),
		})
	}
}

// validCareOf reports whether the update's source can be the care-of address (resolutions h and u): routable, not on the
// link that the node has left, not an address of ours, and not itself the home address of a binding, which could make
// a loop. The home address itself may ask for its binding to end, where it belongs.
func (r *Router) validCareOf(n *routerNode, p *ipv6.Packet, deregister bool) bool {
	if deregister && p.Src == n.home {
		return n.link.present && p.Interface == n.link.Index
	}
	if !ipv6.IsRoutableUnicast(p.Src) || r.isRouter(p.Src) {
		return false
	}
	if _, ok := n.link.prefixOf(p.Src); ok {
		return false
	}
	other := r.nodes[p.Src]
	return other == nil || !other.bound()
}

// accept starts to forward n's home address. The sequence number is kept before all else: no answer of ours may be
// followed by a second life of the same update. There is no DAD (LKE-AR-23).
func (r *Router) accept(now pacing.Time, n *routerNode, u *updateRun) {
	r.count.add(countUpdates)
	a := n.lbsa
	a.updateSeq, a.updated = u.seq, true
	// A renewal that is under way would replace the association that the binding stands on.
	if n.dad != nil {
		r.failDAD(n, dropDADBound, "the node moved on")
	}
	r.save(n)
	n.update = u
	r.forward(now, n, u.careOf)
	r.report(r.event(EventUpdated, n, ""))
}

// forward asks for n's home address to be forwarded to careOf.
func (r *Router) forward(now pacing.Time, n *routerNode, careOf netip.Addr) {
	n.forwards++
	n.forwardBy = now.Add(forwardPatience)
	r.emit(Effect{Kind: EffectBind, Link: n.link.Index, Home: n.home, Binding: r.binding(n, careOf)})
}

func (r *Router) binding(n *routerNode, careOf netip.Addr) Binding {
	return Binding{Home: n.home, Router: n.lbsa.router, CareOf: careOf, Link: n.link.Index}
}

// forwarding handles the answer to an EffectBind.
func (r *Router) forwarding(now pacing.Time, home netip.Addr, failed bool) {
	n := r.nodes[home]
	switch {
	case n == nil || n.forwards == 0 && !failed:
		r.count.add(dropForwardingUnasked)
		return
	case n.forwards > 1:
		n.forwards--
		r.count.add(dropForwardingSuperseded) // a newer update stands behind this one
		return
	}
	n.forwards, n.forwardBy = 0, pacing.Never
	switch {
	case failed && !n.bound():
		r.count.add(dropForwardingUnasked)
	case failed:
		r.forwardingFailed(n)
	case n.update != nil:
		r.complete(now, n)
	}
	r.settle(n)
}

// forwardingLate takes an EffectBind that nobody answered for failed, where a node waits for it.
func (r *Router) forwardingLate(n *routerNode) {
	n.forwards, n.forwardBy = 0, pacing.Never
	if n.update != nil {
		r.forwardingFailed(n)
	}
}

// forwardingFailed ends what was forwarded for n, and tells the node if it waits for an acknowledgement.
func (r *Router) forwardingFailed(n *routerNode) {
	r.count.add(dropUpdateForwarding)
	u := n.update
	careOf := r.unbind(n, EventUnbound, "forwarding failed")
	r.save(n)
	if u != nil {
		r.refuseTo(n, careOf, u.seq, mobility.StatusResources)
	}
}

// complete ends a binding update whose forwarding stands: the acknowledgement leaves after the record (LKE-AR-20,
// LKE-AR-22), and the link hears where the address is now.
func (r *Router) complete(now pacing.Time, n *routerNode) {
	a, u := n.lbsa, n.update
	old := a.binding
	b := &routerBinding{
		careOf: u.careOf, until: u.until, seq: u.seq, lifetime: u.lifetime, nonce: u.nonce,
		finishBy: pacing.Never, repeatAt: pacing.Never,
	}
	same := old != nil && old.careOf == b.careOf
	b.verified = !r.cfg.RequestFinished || same && old.verified
	n.update, a.binding, a.advert = nil, b, nil // LKE-AR-18
	packet := r.bindingAck(ackTo{dst: b.careOf, routingHome: n.home}, n, mobility.BindingAck{
		Status: mobility.StatusAccepted, Seq: u.seq, Lifetime: b.lifetime,
		FinishedRequest: !b.verified, FinishedNonce: b.nonce,
	})
	if !b.verified {
		b.finishBy = now.Add(r.cfg.FinishedTimeout)
		if same {
			b.finishBy = min(b.finishBy, old.finishBy) // asking again does not put it off
		}
		b.ack, b.repeats = packet, ackRepeats
		b.repeatAt = now.Add(ackRepeatInterval)
	}
	r.count.add(countBound)
	r.save(n)
	r.route(packet)
	if old == nil {
		r.announce(n)
	}
	r.report(r.event(EventBound, n, ""))
}

// deregister ends n's binding at the node's wish (LKE-AR-24: only under the association).
func (r *Router) deregister(n *routerNode, p *ipv6.Packet, seq uint16) {
	a := n.lbsa
	a.updateSeq, a.updated, a.advert = seq, true, nil
	r.count.add(countDeregistered)
	if n.bound() {
		r.unbind(n, EventUnbound, "the node asked for it")
	}
	r.save(n)
	to := ackTo{dst: p.Src, routingHome: p.HomeAddress}
	if p.Src == n.home {
		to.link, to.linkDst = n.link.Index, p.LinkSource
	}
	r.sendAck(to, r.bindingAck(to, n, mobility.BindingAck{Status: mobility.StatusAccepted, Seq: seq}))
}

// unbind ends the forwarding of n's home address and gives the care-of address that it had.
func (r *Router) unbind(n *routerNode, kind EventKind, detail string) netip.Addr {
	e := r.event(kind, n, detail)
	r.count.add(countUnbound)
	r.emit(Effect{Kind: EffectUnbind, Link: n.link.Index, Home: n.home, Binding: r.binding(n, e.CareOf)})
	n.update, n.lbsa.binding = nil, nil
	r.report(e)
	return e.CareOf
}

// Release gives up the binding of home because another protocol has bound it: the newest authentic binding counts. There is no
// EffectUnbind among the effects, for what is forwarded now is the other's. The association stays.
func (r *Router) Release(now time.Time, home netip.Addr) []Effect {
	r.runTimers(r.clock.At(now))
	if n := r.nodes[home]; n != nil && n.lbsa != nil && n.bound() {
		e := r.event(EventUnbound, n, "another protocol forwards the address")
		r.count.add(countUnbound)
		n.update, n.lbsa.binding = nil, nil
		r.report(e)
		r.save(n)
		r.settle(n)
	}
	return r.takeEffects()
}

// bindingDue does what the moment asks for of n's binding.
func (r *Router) bindingDue(now pacing.Time, n *routerNode) {
	b := n.lbsa.binding
	switch {
	case b.until <= now:
		r.unbind(n, EventUnbound, "its lifetime is over")
		r.save(n)
	case b.finishBy <= now:
		r.count.add(countUnreachable)
		r.unbind(n, EventUnreachable, "no Finished message came")
		r.save(n)
	case b.repeatAt <= now:
		r.count.add(countAckRepeated)
		b.repeats--
		b.repeatAt = now.Add(ackRepeatInterval)
		if b.repeats == 0 {
			b.repeatAt = pacing.Never
		}
		r.route(b.ack)
	}
}

// ackTo is where a binding acknowledgement goes: by the routing table, or as a frame where link is not 0.
type ackTo struct {
	dst         netip.Addr
	routingHome netip.Addr // the zero Addr where the update had no Home Address option
	link        int
	linkDst     ipv6.LinkAddr
}

func (r *Router) sendAck(to ackTo, packet []byte) {
	if to.link != 0 {
		r.send(to.link, to.linkDst, packet)
		return
	}
	r.route(packet)
}

// bindingAck builds the packet with an acknowledgement under n's association. The authenticator covers source, then
// destination (resolution i).
func (r *Router) bindingAck(to ackTo, n *routerNode, m mobility.BindingAck) []byte {
	m.HasAuth = true
	src := n.lbsa.router
	mh := m.Append(nil, r.cfg.CodePoints)
	if mobility.SignBAD(mh, n.lbsa.key[:], src, to.dst) != nil {
		return nil // cannot happen: the option is there
	}
	return ackPacket(to, src, mh)
}

func ackPacket(to ackTo, src netip.Addr, mh []byte) []byte {
	final := to.dst
	if to.routingHome.IsValid() {
		final = to.routingHome
	}
	mobility.FixChecksum(mh, src, final)
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: to.dst, HopLimit: routedHops, RoutingHome: to.routingHome},
		ipv6.ProtoMobility, mh)
}

// answerTo gives where the answer to p goes. A link-local source is reached as a frame only.
func (r *Router) answerTo(p *ipv6.Packet) ackTo {
	to := ackTo{dst: p.Src, routingHome: p.HomeAddress}
	if p.Src.IsLinkLocalUnicast() {
		to.link, to.linkDst = p.Interface, p.LinkSource
	}
	return to
}

// refuse answers an authentic binding update with an error (LKE-AR-21). It changes nothing but the count of such
// answers: an old update that is sent again and again must not make a stream of them.
func (r *Router) refuse(now pacing.Time, n *routerNode, p *ipv6.Packet, seq uint16, status uint8, why routerCounter) {
	r.count.add(why)
	a := n.lbsa
	if a.refusals == 0 || now >= a.refusing.Add(time.Second) {
		a.refusals, a.refusing = 0, now
	}
	if a.refusals >= maxUpdateRate {
		r.count.add(dropAnswerLimited)
		return
	}
	a.refusals++
	to := r.answerTo(p)
	r.count.add(countErrorAcks)
	r.sendAck(to, r.bindingAck(to, n, mobility.BindingAck{Status: status, Seq: seq}))
	r.reportRefusal(n, p.Src, status)
}

// refuseTo sends an error about an update that had been accepted.
func (r *Router) refuseTo(n *routerNode, careOf netip.Addr, seq uint16, status uint8) {
	r.count.add(countErrorAcks)
	r.route(r.bindingAck(ackTo{dst: careOf, routingHome: n.home}, n, mobility.BindingAck{Status: status, Seq: seq}))
	r.reportRefusal(n, careOf, status)
}

// refuseStranger answers a binding update that nothing authenticates: without an authenticator of our own, and seldom
// (resolution j).
func (r *Router) refuseStranger(now pacing.Time, n *routerNode, p *ipv6.Packet, seq uint16, status uint8, why routerCounter) {
	r.count.add(why)
	if !r.errorAcks.Allows(now, errorAckInterval, errorAckBurst) {
		r.count.add(dropErrorAckLimited)
		return
	}
	r.errorAcks.Take(now, errorAckInterval)
	r.count.add(countErrorAcks)
	to := r.answerTo(p)
	mh := mobility.BindingAck{Status: status, Seq: seq}.Append(nil, r.cfg.CodePoints)
	r.sendAck(to, ackPacket(to, p.Dst, mh))
	if n != nil {
		r.reportRefusal(n, p.Src, status)
	}
}

// answerFault sends what RFC 6275 section 9.2 asks for, as seldom as the answers to strangers.
func (r *Router) answerFault(now pacing.Time, p *ipv6.Packet, fault mobility.Fault) {
	if fault == mobility.FaultTruncated || fault == mobility.FaultChecksum {
		return
	}
	if !r.errorAcks.Allows(now, errorAckInterval, errorAckBurst) {
		r.count.add(dropErrorAckLimited)
		return
	}
	packet := mobility.Answer(p, fault, p.Dst)
	if packet == nil || p.Src.IsLinkLocalUnicast() {
		return
	}
	r.errorAcks.Take(now, errorAckInterval)
	r.count.add(countErrorAnswers)
	r.route(packet)
}

func (r *Router) reportRefusal(n *routerNode, careOf netip.Addr, status uint8) {
	e := r.event(EventRefused, n, refusalText(status))
	e.CareOf = careOf
	r.report(e)
}

// refusalText names a status for people.
func refusalText(status uint8) string {
	switch status {
	case mobility.StatusUnspecified:
		return "status 128: not authentic, or an alternate care-of address"
	case mobility.StatusResources:
		return "status 130: it could not be forwarded"
	case mobility.StatusHomeRegistration:
		return "status 131: the H flag is missing"
	case mobility.StatusNotHomeAgent:
		return "status 133: no valid association"
	case mobility.StatusSequence:
		return "status 135: sequence number out of window"
	case mobility.StatusInvalidCareOf:
		return "status 174: not a care-of address that can be used"
	}
	return "refused"
}

// unitsOf gives seconds in units of 4 s.
func unitsOf(seconds uint32) uint16 { return uint16(min(seconds/secondsPerUnit, math.MaxUint16)) }
