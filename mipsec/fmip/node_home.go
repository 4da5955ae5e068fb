package fmip

import (
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// updateHome has the care-of address registered with the home agent (RFC 6275 section 11.7.1), or deregistered where the
// node is at home. runHome sends the update.
func (n *Node) updateHome() {
	l, b := &n.place, &n.home
	if !n.cfg.HomeAgent.IsValid() || !l.careOf.IsValid() || l.careOf == n.cfg.HomeAddress && !b.inUse() ||
		b.inUse() && b.careOf == l.careOf {
		return
	}
	if !n.homeSeq {
		n.homeSeq, b.seq = true, n.random16()
	}
	b.ask(l.careOf, n.now, nodeHomeUpdateGap)
}

// sendHomeUpdate sends a Binding Update to the home agent by the routing table, where IPsec applies. It has the Alternate
// Care-of Address option, for ESP does not cover the source address.
func (n *Node) sendHomeUpdate() {
	b := &n.home
	m := mobility.BindingUpdate{Seq: b.advance(n.now), Flags: mobility.FlagAck | mobility.FlagHome}
	header := ipv6.Header{Src: b.careOf, Dst: n.cfg.HomeAgent, HopLimit: routedHops}
	if b.careOf != n.cfg.HomeAddress {
		header.HomeAddress = n.cfg.HomeAddress
		m.AlternateCareOf = b.careOf
		m.Lifetime = nodeMaxSeconds
	}
	mh := m.Append(nil)
	mobility.FixChecksum(mh, n.cfg.HomeAddress, n.cfg.HomeAgent)
	n.emit(NodeEffect{Kind: EffectNodeSend, Packet: ipv6.Append(nil, header, ipv6.ProtoMobility, mh)})
	n.count(nodeHomeUpdates)
	n.report(NodeEvent{Kind: NodeEventHomeUpdated, Home: n.cfg.HomeAddress, Router: n.cfg.HomeAgent, CareOf: b.careOf})
}

// homeAck takes the home agent's acknowledgement. What protects it is IPsec, before it comes here.
func (n *Node) homeAck(p *ipv6.Packet, h mobility.Header) {
	b := &n.home
	home := p.Dst
	if p.RoutingHome.IsValid() {
		home = p.RoutingHome
	}
	if !n.cfg.HomeAgent.IsValid() || p.Src != n.cfg.HomeAgent || home != n.cfg.HomeAddress || p.Dst != n.place.careOf {
		n.count(nodeDropAckUnknown)
		return
	}
	m, err := mobility.ParseBindingAck(h, mobility.DefaultCodePoints())
	if err != nil {
		n.count(nodeDropAckMalformed)
		return
	}
	if m.Status == mobility.StatusSequence {
		n.followHome(m.Seq)
		return
	}
	if !b.outstanding || !b.answers(m.Seq) {
		n.count(nodeDropAckUnasked)
		return
	}
	tunnel := Binding{Home: n.cfg.HomeAddress, Router: n.cfg.HomeAgent, CareOf: b.careOf, Link: n.cfg.Link}
	event := NodeEvent{Home: tunnel.Home, Router: tunnel.Router, CareOf: tunnel.CareOf}
	switch {
	case b.careOf == n.cfg.HomeAddress:
		b.outstanding, b.active = false, false
		n.emit(NodeEffect{Kind: EffectUntunnel, Home: tunnel.Home, Binding: tunnel})
		event.Kind, event.Detail = NodeEventUnbound, "the node is at home"
	case m.Status >= mobility.StatusUnspecified || m.Lifetime == 0:
		n.count(nodeRefused)
		b.gap, b.next = nodeUpdateMax, n.now.Add(nodeUpdateMax)
		event.Kind, event.Detail = NodeEventRefused, "the home agent refused the binding update"
	default:
		b.grant(time.Duration(m.Lifetime) * nodeHomeUnit)
		n.emit(NodeEffect{Kind: EffectTunnel, Home: tunnel.Home, Binding: tunnel})
		n.count(nodeHomeBound)
		event.Kind = NodeEventHomeBound
		n.report(event)
		n.handOver()
		return
	}
	n.report(event)
}

// followHome takes the number that the home agent gives as the last one accepted, if it can be the answer to an update that
// is outstanding.
func (n *Node) followHome(last uint16) {
	b := &n.home
	if !b.outstanding || b.sent == 0 || last-b.first > 0x8000 || b.follows >= nodeFollows {
		n.count(nodeDropAckUnasked)
		return
	}
	if last-b.first > b.seq-b.first {
		b.seq = last
	}
	b.first, b.sent = b.seq+1, 0
	b.follows++
	n.sendHomeUpdate()
}

// handOver leaves the previous addresses to their end: Mobile IPv6 has the new one, and their keys go (HK-MN-8).
func (n *Node) handOver() {
	for _, b := range n.bindings {
		if b.home == n.place.careOf || b.previous {
			continue
		}
		b.outstanding, b.refresh = false, time.Time{}
		n.emit(NodeEffect{Kind: EffectDiscardKey, Home: b.home})
	}
}

func (n *Node) runHome() {
	b := &n.home
	if b.active && n.due(b.until) {
		b.active = false
		home := Binding{Home: n.cfg.HomeAddress, Router: n.cfg.HomeAgent, CareOf: b.bound, Link: n.cfg.Link}
		n.emit(NodeEffect{Kind: EffectUntunnel, Home: home.Home, Binding: home})
		n.report(NodeEvent{
			Kind: NodeEventUnbound, Home: home.Home, Router: home.Router, CareOf: home.CareOf, Detail: "its lifetime is over",
		})
	}
	if !n.canAskHome() {
		return
	}
	switch {
	case b.outstanding && n.due(b.next):
		n.sendHomeUpdate()
	case !b.outstanding && b.active && n.due(b.refresh):
		b.ask(n.place.careOf, n.now, nodeHomeUpdateGap)
		n.sendHomeUpdate()
	}
}

// canAskHome reports whether the care-of address that is asked for is in use.
func (n *Node) canAskHome() bool {
	return n.ready() && !n.place.provisional && (!n.home.outstanding || n.home.careOf == n.place.careOf)
}

func (n *Node) homeDeadline() (at time.Time) {
	b := &n.home
	if b.active {
		at = b.until
	}
	if n.canAskHome() {
		if b.outstanding {
			at = soonest(at, b.next)
		} else if b.active {
			at = soonest(at, b.refresh)
		}
	}
	return at
}
