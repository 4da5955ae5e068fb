package lke

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// nodeRegistration is what the node asked of one agent, a previous router or the home agent, and what was granted: the
// binding of one home address to a care-of address.
type nodeRegistration struct {
	outstanding bool       // a binding update waits for its acknowledgement
	careOf      netip.Addr // asked for; the home address itself: deregistration
	first, seq  uint16     // updates sent for it
	sent        int        // how many
	follows     int        // changes of the number by status 135
	sentAt      time.Time  // the last one
	next        time.Time  // of the next one
	gap         time.Duration
	refused     bool // the last one was answered with an error that bears no authenticator
	refusals    int  // such answers, one for each update, in a row

	active  bool       // acknowledged ...
	bound   netip.Addr // ... for this care-of address
	until   time.Time
	refresh time.Time
}

// ask begins to ask for careOf.
func (b *nodeRegistration) ask(careOf netip.Addr, now time.Time, gap time.Duration) {
	b.outstanding, b.careOf = true, careOf
	b.first, b.sent = b.seq+1, 0
	b.next, b.gap = now, gap
	b.refused, b.refusals, b.follows = false, 0, 0
}

// inUse reports whether the agent has, or may have, a binding.
func (b *nodeRegistration) inUse() bool { return b.outstanding || b.active }

func (b *nodeRegistration) boundTo(careOf netip.Addr) bool { return b.active && b.bound == careOf }

// advance counts one more update at now and gives its sequence number.
func (b *nodeRegistration) advance(now time.Time) uint16 {
	b.seq++
	b.sent++
	b.sentAt, b.refused = now, false
	b.next = now.Add(b.gap)
	b.gap = min(2*b.gap, nodeUpdateMax)
	return b.seq
}

// grant notes an acknowledgement for seconds*4, and reports whether it says anything new.
func (b *nodeRegistration) grant(lifetime time.Duration) (news bool) {
	news = b.outstanding || !b.boundTo(b.careOf)
	b.outstanding, b.active, b.bound = false, true, b.careOf
	b.until = b.sentAt.Add(lifetime)
	b.refresh = b.sentAt.Add(lifetime * 3 / 4)
	return news
}

// follow takes the number that an authentic status 135 gives as the last one accepted, and reports whether it can be the
// answer to an update that is outstanding: an agent refuses a number that equals its last or is one of the 32768 before.
// Anything else is an answer from long ago.
func (b *nodeRegistration) follow(last uint16) bool {
	if !b.outstanding || b.sent == 0 || last-b.first > 0x8000 {
		return false
	}
	if !within(last, b.first, b.seq) {
		b.seq = last
	}
	b.first, b.sent = b.seq+1, 0
	b.follows++
	return true
}

// updateBindings tells all previous routers where the node is now. The last one comes first: traffic still goes there.
// Where the node is back on the link of an address, that address is deregistered.
func (n *Node) updateBindings() {
	for i := len(n.associations) - 1; i >= 0; i-- {
		a := n.associations[i]
		switch {
		case a.home == n.link.careOf && a.binding.inUse():
		case a.home == n.link.careOf || a.at(&n.link.router):
			continue // on its own link there is nothing to forward
		}
		a.binding.ask(n.link.careOf, n.now, nodeUpdateGap)
		if n.ready() {
			n.sendUpdate(a)
		}
	}
}

// sendUpdate sends a Binding Update (draft section 2.1 (a), LKE-MN-11).
func (n *Node) sendUpdate(a *nodeAssociation) {
	b := &a.binding
	message := mobility.BindingUpdate{
		Seq: b.advance(n.now), Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: n.updateLifetime(a), HasAuth: true,
	}
	n.sendAuthenticated(a, message.Append(nil))
	n.count(nodeUpdates)
	n.report(Event{Kind: EventUpdated, Home: a.home, Router: a.router, CareOf: b.careOf})
}

// updateLifetime is what a Binding Update asks for, in units of 4 seconds: no more than the association has left.
func (n *Node) updateLifetime(a *nodeAssociation) uint16 {
	if a.binding.careOf == a.home {
		return 0
	}
	left := a.expires.Sub(n.now)
	if a.usePrior {
		left = a.prior.expires.Sub(n.now)
	}
	return uint16(max(1, min(left/nodeLifetimeUnit, nodeMaxSeconds)))
}

// sendAuthenticated signs mh with the association's key and sends it from the care-of address, with the home address as
// Home Address option; from the home address itself where that is the care-of address.
func (n *Node) sendAuthenticated(a *nodeAssociation, mh []byte) {
	careOf := a.binding.careOf
	if err := mobility.SignBAD(mh, a.updateKey(), careOf, a.router); err != nil {
		return // mh was made with the option
	}
	mobility.FixChecksum(mh, a.home, a.router)
	header := ipv6.Header{Src: careOf, Dst: a.router, HopLimit: 64}
	if careOf != a.home {
		header.HomeAddress = a.home
	}
	n.sendRouted(ipv6.Append(nil, header, ipv6.ProtoMobility, mh))
}

// bindingAck takes a Binding Acknowledgement.
func (n *Node) bindingAck(p *ipv6.Packet, h mobility.Header) {
	home := p.Dst
	if p.RoutingHome.IsValid() {
		home = p.RoutingHome
	}
	if p.HomeAddress.IsValid() || !n.link.usable || p.Dst != n.link.careOf {
		n.count(nodeDropUpdateAckUnknown)
		return
	}
	m, err := mobility.ParseBindingAck(h, n.cfg.CodePoints)
	if err != nil {
		n.count(nodeDropUpdateAckMalformed)
		return
	}
	if a := n.association(home); a != nil && p.Src == a.router && a.binding.careOf == p.Dst {
		n.routerAck(a, p, h, m)
		return
	}
	if home == n.cfg.HomeAddress && p.Src == n.cfg.HomeAgent && n.home.careOf == p.Dst {
		n.homeAck(m)
		return
	}
	n.count(nodeDropUpdateAckUnknown)
}

// routerAck takes the acknowledgement of a previous router.
func (n *Node) routerAck(a *nodeAssociation, p *ipv6.Packet, h mobility.Header, m mobility.BindingAck) {
	b := &a.binding
	asked := b.sent > 0 && within(m.Seq, b.first, b.seq)
	if !m.HasAuth {
		n.plainAck(a, m, asked)
		return
	}
	// The MAC covers source and destination as the packet has them, here the router first (resolution i).
	if !mobility.VerifyBAD(h.Octets, a.updateKey(), p.Src, p.Dst) {
		other := a.key[:]
		if !a.usePrior {
			other = a.prior.key[:]
		}
		if !a.prior.set || !mobility.VerifyBAD(h.Octets, other, p.Src, p.Dst) {
			n.count(nodeDropUpdateAckMAC)
			return
		}
		a.usePrior = !a.usePrior
	}
	switch {
	case m.Status == mobility.StatusSequence:
		if !b.follow(m.Seq) {
			n.count(nodeDropUpdateAckStale)
			return
		}
		if b.follows <= nodeMaxFollows {
			n.sendUpdate(a)
		}
	case !asked || !b.inUse():
		n.count(nodeDropUpdateAckUnasked)
	case m.Status >= mobility.StatusUnspecified:
		n.updateRefused(a, m.Status)
	case b.careOf == a.home:
		n.deregistered(a, m)
	case m.Lifetime == 0:
		n.updateRefused(a, mobility.StatusUnspecified)
	default:
		n.updateAccepted(a, m)
	}
}

// plainAck takes an acknowledgement without authenticator. Anyone can send it, so it is never believed; but a router that
// has no association, or another key, can answer in no other way (resolution j). After several in a row, one to each of
// the updates, the association is given up.
func (n *Node) plainAck(a *nodeAssociation, m mobility.BindingAck, asked bool) {
	b := &a.binding
	if m.Status < mobility.StatusUnspecified {
		n.count(nodeDropUpdateAckPlain)
		return
	}
	n.count(nodeDropUpdateAckError)
	if !asked || !b.outstanding || b.refused || m.Seq != b.seq {
		return
	}
	b.refused = true
	b.refusals++
	if a.prior.set {
		a.usePrior = !a.usePrior // the DAD of the renewal may have failed at the router
	}
	if b.refusals >= nodeMaxErrors {
		n.remove(a, EventLost, "the router knows no such association")
	}
}

// updateAccepted takes a success, or its repetition by a router that still waits for the Finished message.
func (n *Node) updateAccepted(a *nodeAssociation, m mobility.BindingAck) {
	b := &a.binding
	a.proved()
	lifetime := min(time.Duration(m.Lifetime)*nodeLifetimeUnit, a.expires.Sub(b.sentAt))
	news := b.grant(lifetime)
	if a.expires.Sub(b.until) < 2*nodeLifetimeUnit {
		b.refresh = time.Time{} // no more can be had: lifetimes are cut to whole units
	}
	if news {
		n.emit(Effect{Kind: EffectBind, Home: a.home, Binding: n.binding(a)})
		n.count(nodeBound)
		n.report(Event{Kind: EventBound, Home: a.home, Router: a.router, CareOf: b.careOf})
	}
	if m.FinishedRequest {
		n.finish(a, m, news)
	}
}

// finish sends the Finished message (draft section 3.2.4, LKE-MN-12).
func (n *Node) finish(a *nodeAssociation, m mobility.BindingAck, news bool) {
	message := mobility.Finished{Seq: m.Seq, Lifetime: m.Lifetime, Nonce: m.FinishedNonce, HasAuth: true}
	n.sendAuthenticated(a, message.Append(nil, n.cfg.CodePoints))
	n.count(nodeFinished)
	if news {
		n.report(Event{Kind: EventFinished, Home: a.home, Router: a.router, CareOf: a.binding.careOf})
	}
}

// updateRefused takes an authentic refusal: what was bound is not bound any more. Where the care-of address was the cause
// the next link may do, and where resources were the next attempt; otherwise the association is of no use.
func (n *Node) updateRefused(a *nodeAssociation, status uint8) {
	b := &a.binding
	n.count(nodeUpdateRefused)
	if b.active || b.careOf == a.home {
		n.unbind(a)
	}
	b.active = false
	detail := "the router refused the binding update"
	switch status {
	case mobility.StatusInvalidCareOf:
		b.outstanding = false
		detail = "the router refused the care-of address"
	case mobility.StatusResources:
		detail = "the router has no resources for a binding"
		if !b.outstanding {
			b.ask(b.careOf, n.now, nodeUpdateMax)
			b.next = n.now.Add(nodeUpdateMax)
		}
		if b.careOf == a.home {
			b.outstanding = false
		}
	default:
		b.outstanding = false
	}
	n.report(Event{Kind: EventRefused, Home: a.home, Router: a.router, CareOf: b.careOf, Detail: detail})
	if b.careOf != a.home && status != mobility.StatusInvalidCareOf && status != mobility.StatusResources {
		n.remove(a, EventLost, "the router refused the binding update")
	}
}

// deregistered ends the binding of an address that is on the node's link again.
func (n *Node) deregistered(a *nodeAssociation, m mobility.BindingAck) {
	b := &a.binding
	a.proved()
	if m.FinishedRequest {
		n.finish(a, m, true)
	}
	b.outstanding, b.active = false, false
	n.unbind(a)
	n.count(nodeDeregistered)
	n.report(Event{Kind: EventUnbound, Home: a.home, Router: a.router, CareOf: b.careOf, Detail: "the address is on the link again"})
}

// proved notes that the router accepted the key that updates are signed with.
func (a *nodeAssociation) proved() {
	if a.usePrior {
		a.swap()
	} else {
		a.forgetPrior()
	}
}

func (n *Node) binding(a *nodeAssociation) Binding {
	return Binding{Home: a.home, Router: a.router, CareOf: a.binding.careOf, Link: n.cfg.Link}
}

func (n *Node) unbind(a *nodeAssociation) {
	n.emit(Effect{Kind: EffectUnbind, Home: a.home, Binding: n.binding(a)})
}
