package lke

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// neighbour handles a solicitation or advertisement on a served link.
func (r *Router) neighbour(n *routerNode, p *ipv6.Packet) {
	link := r.byIndex[p.Interface]
	switch {
	case n == nil:
		r.count.add(dropNDOtherTarget)
	case n.link != link:
		r.count.add(dropNDOtherLink)
	case p.LinkSource == link.Hardware:
		r.count.add(dropNDOwn) // resolution m
	case p.Payload[0] == ndp.TypeNeighborSolicit:
		m, reason := ndp.ParseNeighborSolicit(p)
		if reason != ndp.ReasonNone {
			r.count.nd[reason]++
			return
		}
		r.solicited(n, p, m)
	default:
		m, reason := ndp.ParseNeighborAdvert(p)
		switch {
		case reason != ndp.ReasonNone:
			r.count.nd[reason]++
		case n.dad == nil:
			r.count.add(dropNDUnasked)
		default:
			r.dadAdvert(n, p, m)
		}
	}
}

// neighbourTarget gives the entry of the target of a solicitation or advertisement, nil if there is none.
func (r *Router) neighbourTarget(p *ipv6.Packet) *routerNode {
	if len(p.Payload) < 24 {
		return nil
	}
	return r.nodes[netip.AddrFrom16([16]byte(p.Payload[8:24]))]
}

// solicited handles a solicitation for n's home address: another station's detection for it ends ours, and the address is
// defended for a node that is here (by its cached advertisement) or has moved on (by proxy).
func (r *Router) solicited(n *routerNode, p *ipv6.Packet, m ndp.NeighborSolicit) {
	detection := p.Src.IsUnspecified()
	a := n.lbsa
	if n.dad != nil && detection && p.LinkSource != n.dad.candidate.source && !r.ownSolicit(n, p, m) {
		r.failDAD(n, dropDADCompeting, "another station wants the address")
		if a == nil {
			r.settle(n)
			return
		}
		defer r.settle(n)
	}
	switch {
	case a == nil:
		r.count.add(dropNDNoDefence)
	case p.LinkSource == a.source:
		// A node that reconnects or returns would fail its own detection (resolution v).
		r.count.add(dropNDFromNode)
	case a.binding != nil:
		r.proxy(n, p, m, detection)
	case a.advert != nil && detection:
		// LKE-AR-17: unchanged, for its authentication covers source and destination.
		r.count.add(countReplayed)
		r.send(n.link.Index, ipv6.MulticastLinkAddr(ipv6.AllNodes()), a.advert)
		r.report(r.event(EventReplayed, n, ""))
	default:
		r.count.add(dropNDNoDefence)
	}
}

// proxy answers for a node that has moved on (RFC 6275 section 10.4.1, RFC 4861 section 7.2.8).
func (r *Router) proxy(n *routerNode, p *ipv6.Packet, m ndp.NeighborSolicit, detection bool) {
	r.count.add(countProxied)
	if detection {
		r.announce(n)
		return
	}
	to := m.SourceLink
	if to.IsZero() {
		to = p.LinkSource
	}
	r.send(n.link.Index, to, r.proxyAdvert(n, p.Src, ndp.FlagSolicited))
}

// announce tells the whole link that n's home address is at the router now.
func (r *Router) announce(n *routerNode) {
	if !n.link.present {
		return
	}
	r.send(n.link.Index, ipv6.MulticastLinkAddr(ipv6.AllNodes()), r.proxyAdvert(n, ipv6.AllNodes(), ndp.FlagOverride))
}

func (r *Router) proxyAdvert(n *routerNode, dst netip.Addr, flags ndp.NAFlags) []byte {
	src := n.link.LinkLocal
	msg := ndp.AppendNeighborAdvert(nil, src, dst, flags, n.home, ndp.TargetLinkOption(n.link.Hardware))
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: neighbourHops}, ipv6.ProtoICMPv6, msg)
}
