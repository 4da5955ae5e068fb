package fmip

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

// exchange is one Handover Initiate that waits for its acknowledgement.
type exchange struct {
	peer     *peer
	m        mobility.HandoverInitiate
	numbers  [maxHIRetries + 2]uint64 // of each time it was sent
	sent     int
	retries  int
	wait     time.Duration
	next     pacing.Time // it is sent again, or given up
	adjusted bool        // our numbers were put forward for it
}

// initiate sends an HI for n's update under way to the new router: code 0 if the update came from the old link (RFC 5568
// section 6.2.1.1).
func (r *Router) initiate(now pacing.Time, n *leaver, nar *peer, node ipv6.LinkAddr, code uint8) {
	m := mobility.HandoverInitiate{
		Code: code, LinkAddr: node, PreviousCareOf: n.home, NewCareOf: n.run.careOf,
		Assigned: code == 0 && r.cfg.AssignAddresses, Buffer: code == 0 && r.cfg.Buffer,
	}
	if !r.startExchange(now, n, nar, m) && n.run.predictive {
		r.refuse(n, mobility.StatusResources)
	}
}

// startExchange sends m and waits for its acknowledgement.
func (r *Router) startExchange(now pacing.Time, n *leaver, nar *peer, m mobility.HandoverInitiate) bool {
	r.endExchange(n)
	seq, ok := r.nextSeq()
	if !ok || !r.cfg.Address.IsValid() {
		r.count.add(dropInitiateBusy)
		return false
	}
	m.Seq = seq
	n.exchange = &exchange{peer: nar, m: m, wait: r.cfg.HITimeout, next: now.Add(r.cfg.HITimeout)}
	r.initiations[seq] = n
	r.count.add(countInitiates)
	r.report(Event{Kind: EventInitiated, Home: n.home, CareOf: m.NewCareOf, Router: nar.Router, Node: m.LinkAddr, Link: n.link.Index})
	r.sendInitiate(now, n.exchange)
	return true
}

// nextSeq gives a sequence number that no HI under way has.
func (r *Router) nextSeq() (uint16, bool) {
	if !r.seqSet {
		first, ok := r.random32()
		if !ok {
			return 0, false
		}
		r.lastSeq, r.seqSet = uint16(first), true
	}
	if len(r.initiations) >= 1<<15 {
		return 0, false
	}
	for {
		r.lastSeq++
		if r.initiations[r.lastSeq] == nil {
			return r.lastSeq, true
		}
	}
}

// sendInitiate sends the HI with a number of its own, so that no copy of it can be taken for it.
func (r *Router) sendInitiate(now pacing.Time, x *exchange) {
	m := x.m
	m.Number = r.seal(now, x.peer, &m.HasNumber, &m.Auth)
	if x.sent < len(x.numbers) {
		x.numbers[x.sent] = m.Number
		x.sent++
	}
	r.sendToPeer(x.peer, r.cfg.Address, m.Append(nil))
}

// endExchange gives up the exchange that n waits for.
func (r *Router) endExchange(n *leaver) {
	if n.exchange != nil {
		delete(r.initiations, n.exchange.m.Seq)
		n.exchange = nil
	}
}

// initiateAgain sends the HI once more, or gives it up: then the node's packets go on where they went, and the node is
// told, so that it asks again from its new link, from where no HI is needed.
func (r *Router) initiateAgain(now pacing.Time, n *leaver) {
	x := n.exchange
	if x.retries >= r.cfg.HIRetries {
		r.initiateFailed(now, n, mobility.StatusUnspecified, dropInitiateUnanswered)
		return
	}
	x.retries++
	x.wait *= 2
	x.next = now.Add(x.wait)
	r.count.add(countInitiatesAgain)
	r.sendInitiate(now, x)
}

// initiateFailed ends an exchange without a handover. An update that waits for it is refused; one that does not (reactive)
// goes on without.
func (r *Router) initiateFailed(now pacing.Time, n *leaver, status uint8, why routerCounter) {
	r.count.add(why)
	r.endExchange(n)
	if n.run != nil && n.run.predictive && !n.run.forwarding {
		if n.gone {
			n.holdUntil = now.Add(r.cfg.LeaveHold)
		}
		r.refuse(n, status)
	}
}

// handoverAck handles an HAck of a neighbour.
func (r *Router) handoverAck(now pacing.Time, in *Input) {
	p := in.Packet
	nar, h, ok := r.fromPeer(in)
	if !ok {
		return
	}
	m, err := mobility.ParseHandoverAck(h)
	if err != nil {
		r.count.add(dropPeerMalformed)
		return
	}
	if !r.authentic(nar, in, h, &m.Auth, m.HasNumber) {
		return
	}
	if m.Code == mobility.HandoverUnsolicited {
		r.unsolicitedAck(now, nar, &m)
		return
	}
	n := r.initiations[m.Seq]
	if n == nil || n.exchange.peer != nar || p.Dst != r.cfg.Address {
		r.count.add(dropAckUnasked)
		return
	}
	x := n.exchange
	if nar.Protection == ProtectKey && !x.has(m.Number) {
		r.adjust(now, n, &m)
		return
	}
	r.count.add(countHandoverAcks)
	r.endExchange(n)
	r.report(Event{
		Kind: EventHandoverAck, Home: n.home, CareOf: x.m.NewCareOf, Router: nar.Router, Node: x.m.LinkAddr,
		Link: n.link.Index, Detail: codeText(m.Code),
	})
	if x.m.Code == 0 && n.run != nil && !n.run.forwarding {
		r.agreed(now, n, nar, m.Code, m.NewCareOf)
	} else if m.Code >= mobility.HandoverRefused {
		r.count.add(dropAckRefused) // a reactive binding stands: the node is where it is
	}
	r.settleNode(n)
}

// has reports whether number is that of one of the HIs that were sent.
func (x *exchange) has(number uint64) bool {
	for _, sent := range x.numbers[:x.sent] {
		if sent == number {
			return true
		}
	}
	return false
}

// adjust handles a refusal that says which number of ours the neighbour has seen already: ours go on from there, and the HI
// is sent again. It happens after we have lost ours, or if our clock was put back.
func (r *Router) adjust(now pacing.Time, n *leaver, m *mobility.HandoverAck) {
	x := n.exchange
	if m.Code != mobility.HandoverRefused || x.adjusted || m.Number <= x.numbers[x.sent-1] || m.Number > maxNumber {
		r.count.add(dropAckNumber)
		return
	}
	r.count.add(countAdjusted)
	x.adjusted = true
	x.peer.sent = max(x.peer.sent, m.Number)
	r.report(Event{Kind: EventPeerAdjusted, Router: x.peer.Router, Home: n.home})
	r.sendInitiate(now, x)
}

// agreed acts on what the new router says to an HI with code 0 (RFC 5568 sections 6.2.1.2 and 6.2.3). nar is nil for
// ourselves.
func (r *Router) agreed(now pacing.Time, n *leaver, nar *peer, code uint8, supplied netip.Addr) {
	run := n.run
	switch code {
	case mobility.HandoverAccepted, mobility.HandoverAddressInvalid, mobility.HandoverAddressAssigned:
		if !supplied.IsValid() && code != mobility.HandoverAddressInvalid {
			break
		}
		if !r.canSupply(n, nar, supplied) || supplied == run.careOf && code == mobility.HandoverAddressInvalid {
			// It accepts the node, but there is no address to forward to. The node finds one on the new link, and asks from there.
			r.count.add(dropAckNoAddress)
			r.refuse(n, mobility.StatusUnspecified)
			return
		}
		run.assigned, run.exit = supplied, supplied
	case mobility.HandoverUsePrevious:
		if nar == nil {
			r.count.add(dropAckNoAddress)
			r.refuse(n, mobility.StatusUnspecified)
			return
		}
		run.assigned, run.exit = n.home, nar.Router // the tunnel ends there, and a host route goes on
	case mobility.HandoverProhibited:
		r.count.add(dropAckRefused)
		r.refuse(n, mobility.StatusProhibited)
		return
	case mobility.HandoverResources:
		r.count.add(dropAckRefused)
		r.refuse(n, mobility.StatusResources)
		return
	default:
		r.count.add(dropAckRefused)
		r.refuse(n, mobility.StatusUnspecified)
		return
	}
	r.forward(now, n, &run.binding)
	run.forwarding = true
}

// canSupply reports whether the new router may give the node the address: it must be one of its own link.
func (r *Router) canSupply(n *leaver, nar *peer, addr netip.Addr) bool {
	if !addr.IsValid() || !ipv6.IsRoutableUnicast(addr) || addr == n.home || r.isRouter(addr) {
		return false
	}
	link, _ := r.linkOf(addr)
	if nar == nil {
		return link != nil && link != n.link
	}
	return link == nil && r.neighborOf(addr) == nar
}

// unsolicitedAck handles an HAck with code 4, by which a neighbour asks for an HI (RFC 5568 section 6.2.1.2): it has the
// node, but does not know of it, or not any more.
func (r *Router) unsolicitedAck(now pacing.Time, nar *peer, m *mobility.HandoverAck) {
	if nar.Protection == ProtectKey && !r.fresh(nar, m.Number) {
		r.count.add(dropAckNumber)
		return
	}
	if !nar.asked.Allows(now, answerInterval, answerBurst) {
		r.count.add(dropAnswerLimited)
		return
	}
	nar.asked.Take(now, answerInterval)
	n := r.nodes[m.PreviousCareOf]
	if n == nil || n.binding == nil || n.run != nil || n.exchange != nil || r.neighborOf(n.binding.careOf) != nar {
		r.count.add(dropAckUnasked)
		return
	}
	node := n.node
	if m.LinkAddr.IsUnicast() {
		node = m.LinkAddr
	}
	hi := mobility.HandoverInitiate{Code: 1, LinkAddr: node, PreviousCareOf: n.home, NewCareOf: n.binding.target()}
	if n.binding.exit == nar.Router {
		hi.Code, hi.NewCareOf = 0, n.binding.careOf // it needs the host route
	}
	r.count.add(countInitiatesAsked)
	r.startExchange(now, n, nar, hi)
	r.settleNode(n)
}

// initiateHere hands n over to another link of this router, without a message to anybody.
func (r *Router) initiateHere(now pacing.Time, n *leaver, node ipv6.LinkAddr) {
	code, supplied := r.accept(now, arrivalRequest{
		seq: n.run.seq, node: node, previous: n.home, careOf: n.run.careOf, buffer: r.cfg.Buffer,
	})
	r.agreed(now, n, nil, code, supplied)
}

// forward asks for n's home address to be forwarded as b says.
func (r *Router) forward(now pacing.Time, n *leaver, b *binding) {
	n.forwards++
	n.forwardBy = now.Add(forwardPatience)
	r.emit(Effect{Kind: EffectBind, Home: n.home, Link: n.link.Index, Binding: r.outward(n, b)})
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
	n.forwards, n.forwardBy = 0, never
	switch {
	case failed:
		r.forwardingFailed(n)
	case n.run != nil && n.run.forwarding:
		r.complete(n)
	}
	r.settleNode(n)
}

// forwardingFailed ends what was forwarded for n, and tells the node if it waits for an answer.
func (r *Router) forwardingFailed(n *leaver) {
	waits := n.run != nil && n.run.forwarding
	if !waits && n.binding == nil {
		r.count.add(dropForwardingUnasked)
		return
	}
	r.count.add(dropForwardingFailed)
	if n.binding == nil {
		n.binding = &binding{} // what the failed one left is taken away
	}
	r.unbind(n, false, "it could not be forwarded")
	r.save(n)
	if waits {
		r.endExchange(n)
		r.refuse(n, mobility.StatusResources)
	}
}

// complete ends an update whose forwarding stands: the acknowledgements leave after the record, on both links where the
// node could still be on the old one, and what was kept follows.
func (r *Router) complete(n *leaver) {
	run := n.run
	b := run.binding
	n.run, n.binding = nil, &b
	n.last = fastAnswer{valid: true, binding: b}
	r.count.add(countBound)
	r.save(n)
	if run.predictive && !n.gone {
		r.sendAck(n, n.home, run.linkDst)
	}
	r.sendAck(n, b.target(), ipv6.LinkAddr{})
	r.report(r.event(EventBound, n, updateText(run)))
	if n.held && n.copying && !n.gone {
		r.freeze(n)
	} else {
		r.release(n, true)
	}
	if run.tell != nil {
		m := mobility.HandoverInitiate{Code: 1, LinkAddr: run.node, PreviousCareOf: n.home, NewCareOf: b.careOf}
		r.startExchange(r.now, n, run.tell, m)
	}
}

// unbind ends the forwarding of n's home address; with expired because its time is over, which also ends the key
// (HK-AR-18). Otherwise the key stays (HK-AR-17).
func (r *Router) unbind(n *leaver, expired bool, detail string) {
	if n.binding == nil {
		return
	}
	r.count.add(countUnbound)
	r.emit(Effect{Kind: EffectUnbind, Home: n.home, Link: n.link.Index, Binding: r.outward(n, n.binding), Expired: expired})
	r.report(r.event(EventUnbound, n, detail))
	n.binding = nil
	n.last = fastAnswer{}
}

// codeText names the code of an HAck for people.
func codeText(code uint8) string {
	switch code {
	case mobility.HandoverAccepted:
		return "code 0: accepted"
	case mobility.HandoverAddressInvalid:
		return "code 1: accepted, but the new care-of address cannot be used"
	case mobility.HandoverAddressAssigned:
		return "code 2: accepted, with an assigned address"
	case mobility.HandoverUsePrevious:
		return "code 3: accepted, with the previous care-of address"
	case mobility.HandoverRefused:
		return "code 128: not accepted"
	case mobility.HandoverProhibited:
		return "code 129: prohibited"
	case mobility.HandoverResources:
		return "code 130: no room"
	}
	return "unknown code"
}
