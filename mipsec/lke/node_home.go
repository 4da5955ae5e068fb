package lke

import (
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// updateHome has the care-of address registered with the home agent (RFC 6275 section 11.7.1), or deregistered where the
// node is at home. runHome sends the update.
func (n *Node) updateHome() {
	if !n.cfg.HomeAgent.IsValid() || !n.link.careOf.IsValid() {
		return
	}
	b := &n.home
	if n.link.careOf == n.cfg.HomeAddress && !b.inUse() {
		return
	}
	if !n.homeBegun {
		n.homeBegun, b.seq = true, n.random16()
	}
	b.ask(n.link.careOf, n.now, nodeHomeUpdateGap)
}

// sendHomeUpdate sends a Binding Update to the home agent. It has the Alternate Care-of Address option, for ESP does not
// cover the source address.
func (n *Node) sendHomeUpdate() {
	b := &n.home
	message := mobility.BindingUpdate{Seq: b.advance(n.now), Flags: mobility.FlagAck | mobility.FlagHome}
	header := ipv6.Header{Src: b.careOf, Dst: n.cfg.HomeAgent, HopLimit: 64}
	if b.careOf != n.cfg.HomeAddress {
		header.HomeAddress = n.cfg.HomeAddress
		message.AlternateCareOf = b.careOf
		message.Lifetime = n.homeLifetime()
	}
	mh := message.Append(nil)
	mobility.FixChecksum(mh, n.cfg.HomeAddress, n.cfg.HomeAgent)
	n.sendRouted(ipv6.Append(nil, header, ipv6.ProtoMobility, mh))
	n.count(nodeHomeUpdates)
	n.report(Event{Kind: EventUpdated, Home: n.cfg.HomeAddress, Router: n.cfg.HomeAgent, CareOf: b.careOf})
}

func (n *Node) homeLifetime() uint16 {
	if n.cfg.Lifetime <= 0 {
		return nodeMaxSeconds
	}
	return uint16(max(1, min(n.cfg.Lifetime/nodeLifetimeUnit, nodeMaxSeconds)))
}

// homeAck takes the home agent's acknowledgement. What protects it is IPsec, before it comes here.
func (n *Node) homeAck(m mobility.BindingAck) {
	b := &n.home
	if m.Status == mobility.StatusSequence {
		if !b.follow(m.Seq) {
			n.count(nodeDropUpdateAckStale)
			return
		}
		if b.follows <= nodeMaxFollows {
			n.sendHomeUpdate()
		}
		return
	}
	if b.sent == 0 || !within(m.Seq, b.first, b.seq) || !b.outstanding {
		n.count(nodeDropUpdateAckUnasked)
		return
	}
	home := Binding{Home: n.cfg.HomeAddress, Router: n.cfg.HomeAgent, CareOf: b.careOf, Link: n.cfg.Link}
	event := Event{Home: home.Home, Router: home.Router, CareOf: home.CareOf}
	switch {
	case b.careOf == n.cfg.HomeAddress:
		b.outstanding, b.active = false, false
		n.emit(Effect{Kind: EffectUnbind, Home: home.Home, Binding: home})
		event.Kind, event.Detail = EventUnbound, "the node is at home"
	case m.Status >= mobility.StatusUnspecified || m.Lifetime == 0:
		n.count(nodeUpdateRefused)
		b.gap, b.next = nodeUpdateMax, n.now.Add(nodeUpdateMax)
		event.Kind, event.Detail = EventRefused, "the home agent refused the binding update"
	default:
		b.grant(time.Duration(m.Lifetime) * nodeLifetimeUnit)
		n.emit(Effect{Kind: EffectBind, Home: home.Home, Binding: home})
		n.count(nodeHomeBound)
		event.Kind = EventHomeBound
	}
	n.report(event)
}

func (n *Node) runHome() {
	b := &n.home
	if b.active && n.due(b.until) {
		b.active = false
		home := Binding{Home: n.cfg.HomeAddress, Router: n.cfg.HomeAgent, CareOf: b.bound, Link: n.cfg.Link}
		n.emit(Effect{Kind: EffectUnbind, Home: home.Home, Binding: home})
		n.report(Event{
			Kind: EventUnbound, Home: home.Home, Router: home.Router, CareOf: home.CareOf, Detail: "the binding expired",
		})
	}
	if !n.ready() {
		return
	}
	switch {
	case b.outstanding && n.due(b.next):
		n.sendHomeUpdate()
	case !b.outstanding && b.active && n.due(b.refresh):
		n.updateHome()
	}
}

func (n *Node) homeDeadline() (at time.Time) {
	b := &n.home
	if b.active {
		at = b.until
	}
	if n.ready() {
		if b.outstanding {
			at = earlier(at, b.next)
		} else if b.active {
			at = earlier(at, b.refresh)
		}
	}
	return at
}
