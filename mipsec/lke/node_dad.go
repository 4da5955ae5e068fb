package lke

import (
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// neighborSolicit takes a solicitation for the care-of address. One with an authentication request is the router's DAD
// and is answered (LKE-MN-8); all others are the kernel's, unless the node has to answer for itself.
func (n *Node) neighborSolicit(p *ipv6.Packet) {
	m, reason := ndp.ParseNeighborSolicit(p)
	if reason != ndp.ReasonNone {
		n.counters.reasons[reason]++
		return
	}
	l := &n.link
	mine := m.Target == l.careOf && l.usable
	if !mine && m.Target != n.cfg.LinkLocal {
		n.count(nodeDropSolicitTarget)
		return
	}
	if mine && p.Src.IsUnspecified() {
		options := m.Options
		for o, ok := options.Next(); ok; o, ok = options.Next() {
			if o.Type == n.cfg.NDCodePoints.AuthRequest {
				n.dadRequest(p, m, o)
				return
			}
		}
	}
	if !n.cfg.AnswerSolicitations || p.LinkSource == n.cfg.Hardware {
		n.count(nodeDropSolicitPlain)
		return
	}
	n.answerPlain(p, m)
}

// answerPlain answers a solicitation as a kernel would (RFC 4861 section 7.2.4).
func (n *Node) answerPlain(p *ipv6.Packet, m ndp.NeighborSolicit) {
	dst, link, flags := p.Src, p.LinkSource, ndp.FlagSolicited|ndp.FlagOverride
	if dst.IsUnspecified() {
		dst, flags = ipv6.AllNodes(), ndp.FlagOverride
		link = ipv6.MulticastLinkAddr(dst)
	} else if !link.IsUnicast() {
		link = m.SourceLink
	}
	msg := ndp.AppendNeighborAdvert(nil, m.Target, dst, flags, m.Target, ndp.TargetLinkOption(n.cfg.Hardware))
	n.sendOnLink(link, ipv6.Append(nil, ipv6.Header{Src: m.Target, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg))
	n.count(nodeAnswers)
}

// dadRequest handles a solicitation for the care-of address with the authentication request o.
func (n *Node) dadRequest(p *ipv6.Packet, m ndp.NeighborSolicit, o ndp.Option) {
	if p.LinkSource == n.cfg.Hardware {
		n.count(nodeDropSolicitPlain)
		return
	}
	if n.authenticRequest(p, o) {
		return
	}
	// Another station has asked for a key for this node's address, and it is that station's request which is authentic.
	// Nobody else can defend the address: the kernel is kept from answering solicitations of this kind. An answer as any
	// host gives it makes the router drop that association (LKE-AR-13, draft section 6.4).
	n.answerPlain(p, m)
	n.count(nodeDADDefended)
}

// authenticRequest answers a request that is authentic under the node's own key, and reports whether it is.
func (n *Node) authenticRequest(p *ipv6.Packet, o ndp.Option) bool {
	request, err := ndp.ParseDADAuth(o)
	if err != nil {
		n.count(nodeDropDADMalformed)
		return false
	}
	l, x := &n.link, &n.exchange
	a := n.association(l.careOf)
	if a != nil && a.at(&l.router) && ndp.VerifyDADAuth(p.Payload, a.key[:], p.Src, p.Dst, o) {
		switch {
		case request.Router != a.router:
			n.count(nodeDropDADRouter)
		case a.answered && request.Nonce == a.nonce && n.now.Sub(a.answeredAt) < nodeAdvertGap:
			n.count(nodeDropDADLimited)
		default:
			n.answerDAD(a, request.Nonce)
		}
		return true
	}
	if x.phase != nodeAsking || x.acked {
		if a == nil {
			n.count(nodeDropDADUnknown)
		} else {
			n.count(nodeDropDADMAC)
		}
		return false
	}
	if !ndp.VerifyDADAuth(p.Payload, x.key[:], p.Src, p.Dst, o) {
		n.count(nodeDropDADMAC)
		return false
	}
	// The solicitation overtook the acknowledgement, without which there is no association to answer by (LKE-MN-6).
	x.early.at, x.early.nonce, x.early.router = n.now, request.Nonce, request.Router
	n.count(nodeDropDADEarly)
	return true
}

// answerDAD multicasts the advertisement with the authentication reply (draft section 3.1.3). The router says nothing
// about what it hears, so that a lost advertisement would cost the association: it is sent twice.
func (n *Node) answerDAD(a *nodeAssociation, nonce uint32) {
	dst := ipv6.AllNodes()
	reply := ndp.DADAuth{Nonce: nonce, Router: a.router}
	target := ndp.TargetLinkOption(n.cfg.Hardware)
	msg := ndp.AppendNeighborAdvert(nil, a.home, dst, ndp.FlagOverride, a.home, target,
		reply.Append(nil, n.cfg.NDCodePoints.AuthReply))
	offset := len(msg) - dadReplyOctets
	if err := ndp.SignDADAuth(msg, a.key[:], a.home, dst, offset); err != nil {
		n.count(nodeDropDADMalformed)
		return
	}
	again := a.answered && nonce == a.nonce
	a.advert = ipv6.Append(nil, ipv6.Header{Src: a.home, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
	a.answered, a.nonce, a.answeredAt = true, nonce, n.now
	a.settleAt = n.now.Add(n.link.router.retrans + nodeSettleMargin)
	a.repeatAt = n.now.Add(nodeAdvertRepeat)
	if x := &n.exchange; x.phase == nodeAsking && x.acked {
		x.abandon() // it is complete
	}
	n.sendOnLink(ipv6.MulticastLinkAddr(dst), a.advert)
	n.count(nodeDADAnswers)
	if !again {
		n.report(Event{Kind: EventDADStarted, Home: a.home, Router: a.router})
	}
}

// dadReplyOctets is the length of the authentication option.
const dadReplyOctets = 48

// repeatAnswer sends the advertisement a second time, octet for octet.
func (n *Node) repeatAnswer(a *nodeAssociation) {
	a.repeatAt = time.Time{}
	if a.advert == nil || a.home != n.link.careOf || !n.ready() {
		a.advert = nil
		return
	}
	n.sendOnLink(ipv6.MulticastLinkAddr(ipv6.AllNodes()), a.advert)
	a.advert = nil
	n.count(nodeDADRepeats)
}

// neighborAdvert looks for another node that claims the care-of address. One that it answers the router's DAD with makes
// the router drop the association, and so does the node (LKE-MN-9).
func (n *Node) neighborAdvert(p *ipv6.Packet) {
	m, reason := ndp.ParseNeighborAdvert(p)
	if reason != ndp.ReasonNone {
		n.counters.reasons[reason]++
		return
	}
	l := &n.link
	if m.Target != l.careOf || !l.usable {
		n.count(nodeDropNeighborTarget)
		return
	}
	if p.LinkSource == n.cfg.Hardware {
		n.count(nodeDropNeighborOwn)
		return
	}
	a := n.association(l.careOf)
	// While the address is bound or being deregistered it is the router itself that answers for it.
	if a == nil || !a.at(&l.router) || a.binding.inUse() {
		n.count(nodeDropNeighborIdle)
		return
	}
	options := m.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != n.cfg.NDCodePoints.AuthReply {
			continue
		}
		// The router replays the node's own advertisement to whom it finds configuring the address.
		if ndp.VerifyDADAuth(p.Payload, a.key[:], p.Src, p.Dst, o) ||
			a.prior.set && ndp.VerifyDADAuth(p.Payload, a.prior.key[:], p.Src, p.Dst, o) {
			n.count(nodeDropNeighborAuthentic)
			return
		}
	}
	n.count(nodeNeighborConflict)
	n.remove(a, EventLost, "another node claims the care-of address")
	n.restart()
}
