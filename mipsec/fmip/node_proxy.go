package fmip

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// nodeProxy is what the node asks of its router about others, and what it was told.
type nodeProxy struct {
	asks   [2]nodeAsk
	sentAt [nodeProxyRate]time.Time // the last ones, the oldest at next
	next   int
	lastID uint16
	begun  bool // lastID was drawn
	mute   time.Time
	tuples []nodeTuple // the newest last
}

// The questions that can be under way at one time.
const (
	askForKey  = iota // with a handover key request, for all access points nearby
	askForMove        // for one access point
)

// nodeAsk is one RtSolPr and its repetitions.
type nodeAsk struct {
	active       bool
	id           uint16
	point        ipv6.LinkAddr // zero: all
	option       []byte        // handover key request
	pair         uint64
	router, home netip.Addr
	sent         int
	at           time.Time // of the next one
	gap          time.Duration
}

// nodeTuple is what the router says of one access point.
type nodeTuple struct {
	ndp.ProxyTuple
	previous bool // there nodes use the previous care-of address until they have an address by DHCP (code 5)
	until    time.Time
}

// interrupt ends the question about a move, and asks for the key from the beginning when the link is there again: it may be
// the same.
func (p *nodeProxy) interrupt(now time.Time) {
	p.asks[askForMove] = nodeAsk{}
	if a := &p.asks[askForKey]; a.active {
		a.sent, a.at, a.gap = 0, now, nodeKeyGap
	}
}

// forget ends all questions, and forgets what another router has said.
func (p *nodeProxy) forget() {
	p.asks = [2]nodeAsk{}
	p.tuples, p.mute = nil, time.Time{}
}

// nodeMute is how long nothing is asked of a router that did not answer. RFC 5568 section 5.1 has no end of that, but a
// router that is started anew would be given up for ever.
const nodeMute = time.Minute

// requestKey sends the handover key machine's request (HK-MN-2), as soon as the link is there.
func (n *Node) requestKey(in *NodeInput) {
	l := &n.place
	if in.Home != l.careOf || in.Router != l.router.global {
		n.count(nodeDropKeyRequest)
		return
	}
	n.solicitProxy(askForKey, nodeAsk{option: in.Option, pair: in.Pair, router: in.Router, home: in.Home, gap: nodeKeyGap})
}

// solicitProxy begins to ask.
func (n *Node) solicitProxy(which int, a nodeAsk) {
	p := &n.proxy
	if !p.begun {
		p.begun, p.lastID = true, n.random16()
	}
	p.lastID++
	if p.lastID == 0 {
		p.lastID++ // zero is that of unsolicited advertisements
	}
	a.active, a.id, a.at = true, p.lastID, n.now
	p.asks[which] = a
}

func (n *Node) runProxy() {
	for i := range n.proxy.asks {
		a := &n.proxy.asks[i]
		switch {
		case !a.active || !n.due(a.at) || !n.ready():
		case a.sent > nodeProxyRetries:
			n.proxyFailed(i)
		default:
			n.sendProxy(a)
		}
	}
}

func (n *Node) proxyDeadline() (at time.Time) {
	if !n.ready() {
		return at
	}
	for i := range n.proxy.asks {
		if a := &n.proxy.asks[i]; a.active {
			at = soonest(at, a.at)
		}
	}
	return at
}

// sendProxy sends an RtSolPr, never more than MAX_RTSOLPR_RATE in a second.
func (n *Node) sendProxy(a *nodeAsk) {
	p, l := &n.proxy, &n.place
	if oldest := p.sentAt[p.next]; !oldest.IsZero() && n.now.Before(oldest.Add(time.Second)) {
		a.at = oldest.Add(time.Second)
		return
	}
	p.sentAt[p.next] = n.now
	p.next = (p.next + 1) % len(p.sentAt)
	m := ndp.ProxySolicit{Identifier: a.id, SourceLink: n.cfg.Hardware, Wildcard: a.point.IsZero()}
	if !m.Wildcard {
		m.Points.Add(a.point)
	}
	// To the router itself where its link-local address is known: then nobody else has to check the signature.
	dst, linkDst := l.router.linkLocal, l.router.hw
	if !dst.IsValid() {
		dst, linkDst = ipv6.AllRouters(), ipv6.MulticastLinkAddr(ipv6.AllRouters())
	}
	packet := discoveryMessage(l.careOf, dst, m.Append(nil, l.careOf, dst, a.option))
	n.emit(NodeEffect{
		Kind: EffectNodeSendND, Link: n.cfg.Link, LinkDst: linkDst, Packet: packet, Unsigned: !n.owns(l.careOf),
		Pair: a.pair, Router: a.router, Home: a.home,
	})
	if a.sent == 0 {
		n.report(NodeEvent{Kind: NodeEventSolicited, Home: l.careOf, Router: l.router.name(), Point: a.point})
	}
	n.count(nodeProxySolicits)
	a.sent++
	a.at = n.now.Add(a.gap)
	a.gap *= 2
}

// proxyFailed acts on a router that does not answer: it does no fast handover (RFC 5568 section 5.1).
func (n *Node) proxyFailed(which int) {
	n.proxy.asks[which] = nodeAsk{}
	n.proxy.mute = n.now.Add(nodeMute)
	n.count(nodeProxyUnanswered)
	if which == askForMove && n.prepared.stage == preparedAsking {
		n.stop("the router does not answer: it does no fast handover")
	}
}

// proxyAdvert takes a PrRtAdv. Of a router that signs only what is signed counts (HK-MN-3).
func (n *Node) proxyAdvert(in *NodeInput) {
	p := in.Packet
	m, reason := ndp.ParseProxyAdvert(p)
	if reason != ndp.ReasonNone {
		n.counters.reasons[reason]++
		return
	}
	l := &n.place
	switch {
	case !n.ready() || p.Src != l.router.linkLocal || p.LinkSource != l.router.hw || p.Dst != l.careOf && p.Dst != n.linkLocal:
		n.count(nodeDropProxySender)
		return
	case !in.Secured && (n.cfg.SecuredOnly || l.router.secured):
		n.count(nodeDropProxyUnsecured)
		return
	}
	asked := -1
	for i := range n.proxy.asks {
		if a := &n.proxy.asks[i]; a.active && a.sent > 0 && a.id == m.Identifier {
			asked = i
		}
	}
	unsolicited := m.Code == ndp.ProxyTrigger || m.Code == ndp.ProxyNeighborhood
	if m.HasKeyReply || asked == askForKey {
		// The nonce tells what it answers (HK-MN-4), also an earlier question.
		n.emit(NodeEffect{
			Kind: EffectKeyReply, Router: l.router.global, Home: l.careOf, Nonce: m.Nonce, Secured: in.Secured, Authorized: in.Authorized,
			Reply: m.KeyReply, HasReply: m.HasKeyReply,
		})
	}
	if unsolicited && m.Identifier != 0 || !unsolicited && asked < 0 {
		n.count(nodeDropProxyUnasked)
		return
	}
	n.count(nodeProxyAdverts)
	for i := range m.Tuples.Len() {
		n.remember(m.Tuples.At(i), m.Code == ndp.ProxyDHCP)
	}
	event := NodeEvent{Kind: NodeEventAdvertised, Home: l.careOf, Router: l.router.name(), Detail: proxyTexts[m.Code]}
	if m.Tuples.Len() == 1 {
		event.Point = m.Tuples.At(0).Point
	}
	if m.Code == ndp.ProxyTrigger {
		event.Kind = NodeEventTriggered
	}
	n.report(event)
	if asked >= 0 {
		n.proxy.asks[asked] = nodeAsk{}
	}
	switch {
	case m.Code == ndp.ProxyTrigger:
		n.triggered(m.Tuples.At(0))
	case n.prepared.stage == preparedAsking:
		n.answered(asked == askForMove)
	}
}

var proxyTexts = [...]string{
	ndp.ProxySolicited:     "it names the routers of the access points",
	ndp.ProxyTrigger:       "it asks for a move",
	ndp.ProxyNoInformation: "it knows no router behind them",
	ndp.ProxySubset:        "it names the routers of some of the access points",
	ndp.ProxyNeighborhood:  "it tells what is nearby",
	ndp.ProxyDHCP:          "it names the routers; addresses there are given by DHCP",
}

// remember keeps a tuple in place of an older one of the same access point, up to nodeMaxTuples of them.
func (n *Node) remember(t ndp.ProxyTuple, dhcp bool) {
	tuples := n.proxy.tuples[:0]
	for _, old := range n.proxy.tuples {
		if old.Point != t.Point && n.now.Before(old.until) {
			tuples = append(tuples, old)
		}
	}
	if len(tuples) == nodeMaxTuples {
		tuples = append(tuples[:0], tuples[1:]...)
	}
	n.proxy.tuples = append(tuples, nodeTuple{ProxyTuple: t, previous: dhcp, until: n.now.Add(nodeTupleLife)})
}

// tuple gives what is known of an access point.
func (n *Node) tuple(point ipv6.LinkAddr) (nodeTuple, bool) {
	for _, t := range n.proxy.tuples {
		if t.Point == point && n.now.Before(t.until) {
			return t, true
		}
	}
	return nodeTuple{}, false
}
