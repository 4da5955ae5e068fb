package fmip

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

const (
	// Answers that strangers can cause go out this often at most.
	answerInterval = time.Second / 10
	answerBurst    = 20
)

// fastUpdate handles a Fast Binding Update to one of our global addresses. What is not authentic changes nothing and is
// not answered at all: a node that has a key knows how to use it, and an answer without a key could not be believed
// (HK-AR-16).
func (r *Router) fastUpdate(now pacing.Time, in *Input) {
	p := in.Packet
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
	m, err := mobility.ParseFastBindingUpdate(h)
	if err != nil {
		r.count.add(dropUpdateMalformed)
		return
	}
	link, why := r.checkUpdate(in, &m)
	if why != countNone {
		r.count.add(why)
		return
	}
	key, mac, ok := r.key(p.HomeAddress)
	if !ok {
		r.count.add(dropUpdateKey)
		return
	}
	n, tag := r.nodes[p.HomeAddress], tagOf(key)
	repeated := n != nil && n.hasSeq && n.keyTag == tag && n.seq == m.Seq
	if n != nil && n.hasSeq && n.keyTag == tag && !repeated && !sequenceAfter(m.Seq, n.seq) {
		r.count.add(dropUpdateSequence)
		return
	}
	if !mobility.VerifyBADF(h.Octets, key, updateCareOf(m, p.HomeAddress, p.Src), p.Dst, mac) {
		r.count.add(dropUpdateMAC)
		return
	}
	if repeated {
		r.repeatUpdate(now, n, p, &m)
		r.settleNode(n)
		return
	}
	if n == nil {
		n = r.leaver(p.HomeAddress, link)
	}
	if n == nil {
		r.count.add(dropUpdateNodes)
		r.refuseFull(p, &m, mobility.StatusResources)
		return
	}
	if !n.updates.Allows(now, updateInterval, updateBurst) || n.forwards >= maxForwards {
		r.count.add(dropUpdateRate)
		return
	}
	n.updates.Take(now, updateInterval)
	n.link, n.keyTag, n.seq, n.hasSeq, n.last = link, tag, m.Seq, true, fastAnswer{}
	if n.node.IsZero() {
		n.node = in.Neighbour
	}
	r.authenticUpdate(now, n, p, &m)
	r.settleNode(n)
}

// sequenceAfter reports whether seq is newer than last modulo 2^16: last itself and the 32,768 values before it are not
// (RFC 6275 section 9.5.1).
func sequenceAfter(seq, last uint16) bool { return last-seq > 1<<15 }

// checkUpdate makes the tests that need no key, and gives the link that the home address is on.
func (r *Router) checkUpdate(in *Input, m *mobility.FastBindingUpdate) (*servedLink, routerCounter) {
	const must, may = mobility.FlagAck | mobility.FlagHome, mobility.FlagLinkLocal | mobility.FlagKey
	p := in.Packet
	home := p.HomeAddress
	switch {
	case !home.IsValid():
		return nil, dropUpdateHome
	case m.Flags&must != must || m.Flags&^(must|may) != 0:
		return nil, dropUpdateFlags
	case !m.Auth.Present || !m.Auth.Last || m.Auth.SPI != mobility.SPIHandoverKey:
		return nil, dropUpdateAuth
	}
	link, _ := r.linkOf(home)
	switch {
	case link == nil || link.Refuse || r.isRouter(home) || link.isAnycast(home):
		return nil, dropUpdatePrefix
	case p.Src == home:
		if p.Interface != link.Index || !p.LinkSource.IsUnicast() {
			return nil, dropUpdateLink
		}
		if !in.Neighbour.IsZero() && in.Neighbour != p.LinkSource {
			return nil, dropUpdateNeighbour
		}
		if m.Lifetime != 0 && !m.AlternateCareOf.IsValid() {
			return nil, dropUpdateAlternate
		}
		return link, countNone
	case !ipv6.IsRoutableUnicast(p.Src) || r.isRouter(p.Src):
		return nil, dropUpdateSource
	case m.AlternateCareOf.IsValid() && m.AlternateCareOf != p.Src:
		return nil, dropUpdateAlternate
	}
	if _, same := link.prefixOf(p.Src); same {
		return nil, dropUpdateSource // it is still on the link: there is nothing to forward to
	}
	return link, countNone
}

// authenticUpdate goes on with an update whose authenticator is right, and whose sequence number is new. That number is
// saved before all else: no answer may be followed by a second life of the same update.
func (r *Router) authenticUpdate(now pacing.Time, n *leaver, p *ipv6.Packet, m *mobility.FastBindingUpdate) {
	r.count.add(countUpdates)
	r.endExchange(n) // a new update supersedes (RFC 5568 section 5.6)
	if n.run != nil && n.run.forwarding {
		b := n.run.binding // it stands or is about to, whatever becomes of the new one
		n.binding = &b
	}
	seconds := min(m.Lifetime, uint16(min(r.cfg.MaxLifetime/time.Second, 1<<16-1)))
	run := &updateRun{seq: m.Seq, predictive: p.Src == n.home, linkDst: p.LinkSource, binding: binding{
		router: p.Dst, careOf: updateCareOf(*m, n.home, p.Src), lifetime: seconds,
		until: now.Add(time.Duration(seconds) * time.Second),
	}}
	run.exit = run.careOf
	n.run = run
	if run.predictive {
		n.node = p.LinkSource
		n.gone = false
	}
	r.save(n)
	r.report(r.event(EventUpdated, n, updateText(run)))
	if m.Lifetime == 0 {
		r.deregister(n, p)
		return
	}
	nar, status, why := r.newRouter(n, run)
	if why != countNone {
		r.count.add(why)
		r.refuse(n, status)
		return
	}
	node := n.node
	if m.LinkAddr.IsUnicast() {
		node = m.LinkAddr
	}
	if !run.predictive {
		// The node is where it says: it has signed that from there. So forwarding begins at once, and an HI only tells the new
		// router whom it serves (RFC 5568 section 6.2.3): it leaves behind the acknowledgement, for which the node waits.
		n.gone = true
		if nar != nil && nar.Fast && node.IsUnicast() {
			run.tell, run.node = nar, node
		}
		r.forward(now, n, &run.binding)
		run.forwarding = true
		if nar == nil && node.IsUnicast() {
			r.accept(now, arrivalRequest{seq: m.Seq, code: 1, node: node, previous: n.home, careOf: run.careOf})
		}
		return
	}
	if r.cfg.Buffer {
		n.holdUntil = never
		r.hold(n, true)
	}
	if nar == nil {
		r.initiateHere(now, n, node)
		return
	}
	r.initiate(now, n, nar, node, 0)
}

func updateText(run *updateRun) string {
	switch {
	case run.lifetime == 0:
		return "lifetime 0"
	case run.predictive:
		return "predictive"
	}
	return "reactive"
}

// newRouter finds the router that the new care-of address is at: a neighbour, or nil for ourselves. Nothing is forwarded to
// any other address (RFC 5568 section 10).
func (r *Router) newRouter(n *leaver, run *updateRun) (nar *peer, status uint8, why routerCounter) {
	careOf := run.careOf
	if !ipv6.IsRoutableUnicast(careOf) || careOf == n.home || r.isRouter(careOf) {
		return nil, mobility.StatusUnspecified, dropUpdateCareOf
	}
	if other := r.nodes[careOf]; other != nil && (other.binding != nil || other.run != nil) {
		return nil, mobility.StatusUnspecified, dropUpdateCareOf // it could make a loop
	}
	if link, _ := r.linkOf(careOf); link != nil {
		if link == n.link {
			return nil, mobility.StatusUnspecified, dropUpdateCareOf
		}
		return nil, 0, countNone
	}
	nar = r.neighborOf(careOf)
	switch {
	case nar == nil && r.isInterfaceID(careOf):
		return nil, mobility.FastStatusInterfaceID, dropUpdateInterfaceID
	case nar == nil:
		return nil, mobility.StatusUnspecified, dropUpdateNeighbor
	case run.predictive && !nar.Fast:
		return nil, mobility.StatusProhibited, dropUpdateNoFast
	}
	return nar, 0, countNone
}

// deregister ends n's binding: the node is back, or wants no more (RFC 5568 section 5.6).
func (r *Router) deregister(n *leaver, p *ipv6.Packet) {
	if p.Src != n.home && (n.binding == nil || n.binding.target() != p.Src) {
		r.count.add(dropUpdateSource)
		n.run = nil
		return
	}
	r.count.add(countReturned)
	r.report(r.event(EventReturned, n, ""))
	run := n.run
	n.run, n.forwards, n.forwardBy = nil, 0, never
	r.unbind(n, false, "the node asked for it")
	r.release(n, true)
	r.save(n)
	n.last = fastAnswer{valid: true, binding: run.binding}
	r.sendAck(n, p.Src, p.LinkSource)
}

// repeatUpdate answers an authentic update that was accepted before: it does nothing again. One that comes from the new
// link while the new router has not answered yet says that the node is there already.
func (r *Router) repeatUpdate(now pacing.Time, n *leaver, p *ipv6.Packet, m *mobility.FastBindingUpdate) {
	careOf := updateCareOf(*m, n.home, p.Src)
	switch run := n.run; {
	case run != nil && p.Src != n.home && careOf == run.careOf && !run.forwarding:
		r.count.add(countUpdateMoved)
		run.predictive, n.gone = false, true
		r.endExchange(n)
		r.forward(now, n, &run.binding)
		run.forwarding = true
	case run != nil:
		r.count.add(dropUpdatePending)
	case !n.last.valid || n.last.careOf != careOf || n.last.router != p.Dst:
		r.count.add(dropUpdateSequence)
	case !n.updates.Allows(now, updateInterval, updateBurst):
		r.count.add(dropUpdateRate)
	default:
		n.updates.Take(now, updateInterval)
		r.count.add(countUpdateRepeated)
		r.sendAck(n, p.Src, p.LinkSource)
	}
}

// refuse answers the update under way with an error. What was forwarded before stays as it is.
func (r *Router) refuse(n *leaver, status uint8) {
	run := n.run
	n.run = nil
	n.last = fastAnswer{valid: true, status: status, binding: run.binding}
	n.last.lifetime, n.last.assigned = 0, netip.Addr{}
	r.count.add(countRefusals)
	r.report(Event{Kind: EventRefused, Home: n.home, CareOf: run.careOf, Node: n.node, Link: n.link.Index, Detail: statusText(status)})
	if n.gone {
		n.holdUntil = min(n.holdUntil, r.now.Add(r.cfg.LeaveHold)) // it will ask again from where it is
	} else {
		r.release(n, true)
	}
	if run.predictive {
		r.sendAck(n, n.home, run.linkDst)
		return
	}
	r.sendAck(n, run.careOf, ipv6.LinkAddr{})
}

// refuseFull answers an authentic update for which there is no room.
func (r *Router) refuseFull(p *ipv6.Packet, m *mobility.FastBindingUpdate, status uint8) {
	if !r.answers.Allows(r.now, answerInterval, answerBurst) {
		r.count.add(dropAnswerLimited)
		return
	}
	r.answers.Take(r.now, answerInterval)
	r.count.add(countRefusals)
	full := leaver{home: p.HomeAddress, link: r.byIndex[p.Interface], seq: m.Seq}
	if full.link == nil {
		full.link, _ = r.linkOf(full.home)
	}
	full.last = fastAnswer{valid: true, status: status, binding: binding{
		router: p.Dst, careOf: updateCareOf(*m, p.HomeAddress, p.Src),
	}}
	r.sendAck(&full, p.Src, p.LinkSource)
}

// sendAck sends n's last answer to dst: as a frame to linkDst where that is the home address, which a route may lead into
// the tunnel already, else by the routing table. Its authenticator is made with the same key (HK-AR-21).
func (r *Router) sendAck(n *leaver, dst netip.Addr, linkDst ipv6.LinkAddr) {
	key, mac, ok := r.key(n.home)
	if !ok {
		r.count.add(dropAckKey)
		return
	}
	a := &n.last
	ack := mobility.FastBindingAck{
		Status: a.status, Seq: n.seq, Lifetime: a.lifetime,
		Auth: mobility.FastAuth{Present: true, MAC: mac},
	}
	if a.assigned.IsValid() {
		ack.AlternateCareOf = a.assigned // it is given also where it is what the node wanted (section 5.2)
		if a.assigned != a.careOf {
			ack.Status = mobility.FastStatusUseSupplied
		}
	}
	mh := ack.Append(nil)
	if mobility.SignBADF(mh, key, ackCareOf(ack, a.careOf), a.router, mac) != nil {
		r.count.add(dropAckKey)
		return
	}
	e := Effect{Kind: EffectSend, Home: n.home, Packet: mobilityPacket(a.router, dst, mh)}
	if dst == n.home && linkDst.IsUnicast() && n.link.present {
		e.Link, e.LinkDst = n.link.Index, linkDst
	}
	r.count.add(countAcks)
	r.emit(e)
}

// answerFault sends what RFC 6275 section 9.2 asks for, seldom.
func (r *Router) answerFault(now pacing.Time, p *ipv6.Packet, fault mobility.Fault) {
	if fault == mobility.FaultTruncated || fault == mobility.FaultChecksum {
		return
	}
	if !r.answers.Allows(now, answerInterval, answerBurst) {
		r.count.add(dropAnswerLimited)
		return
	}
	packet := mobility.Answer(p, fault, p.Dst)
	if packet == nil {
		return
	}
	r.answers.Take(now, answerInterval)
	r.count.add(countErrorAnswers)
	r.emit(Effect{Kind: EffectSend, Packet: packet})
}

// statusText names a status for people.
func statusText(status uint8) string {
	switch status {
	case mobility.StatusUnspecified:
		return "status 128: no router is known for the new care-of address, or it did not accept the node"
	case mobility.StatusProhibited:
		return "status 129: the new router does no fast handover for it"
	case mobility.StatusResources:
		return "status 130: no room, or it could not be forwarded"
	case mobility.FastStatusInterfaceID:
		return "status 131: interface identifier of a wrong length"
	}
	return "refused"
}
