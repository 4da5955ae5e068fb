package fmip

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// nodeRouter is the router that the node uses.
type nodeRouter struct {
	linkLocal netip.Addr // the zero Addr as long as it is known from a proxy advertisement alone
	hw        ipv6.LinkAddr
	global    netip.Addr   // from a prefix with the R flag: where Fast Binding Updates go; the zero Addr if it does not tell
	prefix    netip.Prefix // that the care-of address is in
	until     time.Time    // end of the router lifetime
	secured   bool         // it speaks SEND
}

// nodePlace is where the node is attached.
type nodePlace struct {
	attached    bool
	heard       bool // a router was heard since the link came up
	provisional bool // the router is the one that a proxy advertisement has told of, and was not heard yet
	solicits    int  // router solicitations sent since
	gap         time.Duration
	solicitAt   time.Time // of the next one

	router     nodeRouter
	careOf     netip.Addr
	usable     bool
	wanting    bool // a handover key is asked for
	deprecated bool // the router said that careOf should not be used any more

	collided   netip.Prefix // where duplicate addresses were found, and ...
	collisions uint8        // ... how many
}

// ready reports whether the node can speak from its care-of address: between links it waits.
func (n *Node) ready() bool {
	l := &n.place
	return l.attached && l.usable && (l.heard || l.provisional)
}

// attach begins on what may be another link. Where a move was prepared the node is at its end, and says so before anything
// else; otherwise only an advertisement tells.
func (n *Node) attach() {
	l := &n.place
	l.attached, l.heard, l.provisional = true, false, false
	l.solicits, l.solicitAt = 0, n.now
	n.proxy.interrupt(n.now)
	n.announce = nodeAnnounce{}
	if n.prepared.stage == preparedAsking {
		n.prepared = nodePrepared{}
	}
	if n.prepared.stage != preparedNothing && n.prepared.home == l.careOf {
		n.arrivePrepared()
	}
}

func (n *Node) detach() {
	l := &n.place
	l.attached, l.heard, l.provisional, l.solicitAt = false, false, false, time.Time{}
	n.proxy.interrupt(n.now)
	n.announce = nodeAnnounce{}
	n.prepared.stayUntil = time.Time{}
	if n.prepared.stage == preparedAsking {
		n.stop("the node left before it knew where to")
	}
}

// solicit sends a router solicitation (RFC 4861 section 6.3.7, RFC 7559). Its random delay is against many hosts that start
// at once; after a handover it would be the handover's own delay. The address is used before the end of Duplicate Address
// Detection: with a signature it says nothing that is not so (RFC 4429 section 3.2).
func (n *Node) solicit() {
	l := &n.place
	l.solicits++
	switch {
	case l.solicits == 1 && l.provisional:
		l.gap = nodeArrivalGap
	case l.solicits < nodeSolicits:
		l.gap = nodeSolicitGap
	default:
		l.gap = min(2*l.gap, nodeSolicitMax)
	}
	l.solicitAt = n.now.Add(l.gap)
	dst := ipv6.AllRouters()
	n.sendND(ipv6.MulticastLinkAddr(dst), n.linkLocal, dst,
		ndp.AppendRouterSolicit(nil, n.linkLocal, dst, ndp.SourceLinkOption(n.cfg.Hardware)))
	n.count(nodeSolicited)
}

// routerAdvert takes an advertisement. An unsecured one is used only while no secured router serves, and never says
// anything about one that was secured (RFC 3971 section 8).
func (n *Node) routerAdvert(in *NodeInput) {
	p := in.Packet
	ra, reason := ndp.ParseRouterAdvert(p)
	if reason != ndp.ReasonNone {
		n.counters.reasons[reason]++
		return
	}
	l := &n.place
	r := nodeRouter{linkLocal: p.Src, hw: p.LinkSource, secured: in.Secured}
	r.until = n.now.Add(time.Duration(ra.Lifetime) * time.Second)
	if !r.hw.IsUnicast() {
		r.hw = ra.SourceLink
	}
	same := l.router.linkLocal == r.linkLocal && l.router.hw == r.hw
	expected := l.provisional && l.router.hw == r.hw
	switch {
	case !l.attached:
		n.count(nodeDropAdvertDetached)
		return
	case !r.hw.IsUnicast() || r.hw == n.cfg.Hardware || r.linkLocal == n.linkLocal:
		n.count(nodeDropAdvertSender)
		return
	case !in.Secured && (n.cfg.SecuredOnly || l.router.secured && (l.heard || l.provisional || l.router.linkLocal == r.linkLocal)):
		n.count(nodeDropAdvertUnsecured)
		return
	case ra.Lifetime == 0:
		n.count(nodeDropAdvertCeased)
		if same {
			n.routerGone()
		}
		return
	case l.heard && !same && (l.router.secured || !r.secured):
		n.count(nodeDropAdvertRouter)
		return
	}
	if n.neighborAck(in, &ra, same || expected) {
		return
	}
	n.useRouter(r, &ra, in)
}

// useRouter makes r the node's router, or takes over what is new in its advertisement.
func (n *Node) useRouter(r nodeRouter, ra *ndp.RouterAdvert, in *NodeInput) {
	l := &n.place
	careOf, prefix, global, ok := n.chooseAddress(ra, in)
	same := l.router.linkLocal == r.linkLocal && l.router.hw == r.hw
	keeps := n.keepsPrevious()
	stays := (l.heard && same || keeps) && l.careOf.IsValid() // on the link that is known
	if keeps {
		ok = false // the previous address serves as long as it is forwarded here
	}
	if !ok && !stays {
		n.count(nodeDropAdvertPrefix)
		return
	}
	if stays && (!ok || careOf != l.careOf && !l.deprecated) {
		// An advertisement need not hold all prefixes (RFC 4861 section 6.2.3).
		careOf, prefix, global = l.careOf, l.router.prefix, l.router.global
	}
	r.prefix, r.global = prefix, global
	first := !l.heard
	moved := careOf != l.careOf
	if moved {
		n.leave()
	} else if l.router.global != r.global || l.router.secured != r.secured {
		n.unwant()
	}
	if moved || !same {
		n.proxy.forget()
	}
	l.router = r
	l.heard, l.provisional, l.solicitAt = true, false, time.Time{}
	if moved || !same {
		n.count(nodeRouters)
		detail := "it does not sign: anybody can say what it says"
		if r.secured {
			detail = "it signs what it says"
		}
		n.report(NodeEvent{Kind: NodeEventRouter, CareOf: careOf, Router: r.name(), Detail: detail})
	}
	if moved {
		if b := n.binding(careOf); b != nil {
			n.closeTunnel(b) // the address is on the link again
		}
		l.careOf, l.usable, l.deprecated = careOf, false, false
		n.emit(NodeEffect{Kind: EffectAddress, Link: n.cfg.Link, Addr: careOf})
	}
	n.setRouter()
	switch {
	case !moved && first && l.usable:
		n.settle()
	case !moved && l.usable:
		n.want()
	}
}

// name is what people know the router by.
func (r *nodeRouter) name() netip.Addr {
	if r.global.IsValid() {
		return r.global
	}
	return r.linkLocal
}

// setRouter has the router made the default one.
func (n *Node) setRouter() {
	r := &n.place.router
	gateway := r.linkLocal
	if !gateway.IsValid() {
		gateway = r.global
	}
	n.emit(NodeEffect{
		Kind: EffectDefaultRouter, Link: n.cfg.Link, Router: gateway, LinkDst: r.hw, Lifetime: r.until.Sub(n.now),
	})
}

// routerGone acts on the end of the router's service. The address stays: the link may be the same.
func (n *Node) routerGone() {
	l := &n.place
	r := l.router
	n.unwant()
	if !r.linkLocal.IsValid() {
		r.linkLocal = r.global
	}
	n.emit(NodeEffect{Kind: EffectDefaultRouter, Link: n.cfg.Link, Router: r.linkLocal, LinkDst: r.hw})
	l.router = nodeRouter{}
	l.heard, l.provisional = false, false
	n.proxy.forget()
	n.report(NodeEvent{Kind: NodeEventRouterLost, Router: r.name()})
	if l.attached {
		l.solicits, l.solicitAt = 0, n.now
	}
}

// chooseAddress picks the care-of address from the prefixes of an advertisement: the one in use, else one that the node
// had before and that is still forwarded, else one in the router's own prefix, for Fast Binding Updates go to the address
// that the router gives in it. A prefix that the router's certificates do not cover is an unsecured one (RFC 3971 section 8).
func (n *Node) chooseAddress(ra *ndp.RouterAdvert, in *NodeInput) (careOf netip.Addr, chosen netip.Prefix, global netip.Addr, ok bool) {
	l := &n.place
	best := 0
	prefixes := ra.Prefixes()
	for p, more := prefixes.Next(); more; p, more = prefixes.Next() {
		if !p.Autonomous || p.Prefix.Bits() != 64 || p.Valid == 0 || p.Preferred > p.Valid || !ipv6.IsRoutableUnicast(p.Prefix.Addr()) {
			continue
		}
		covered := !in.Secured || !n.cfg.Anchored || covers(in.Covered, p.Prefix)
		if !covered && n.cfg.SecuredOnly {
			n.count(nodeDropPrefixUncovered)
			continue
		}
		addr, known := n.addressIn(p.Prefix)
		if !addr.IsValid() {
			continue // all addresses there were found taken
		}
		if addr == l.careOf {
			l.deprecated = p.Preferred == 0
		}
		rank := 3
		switch {
		case addr == l.careOf && p.Preferred == 0:
			rank = 1 // only if there is nothing better
		case p.Preferred == 0:
			continue
		case !covered:
			rank = 2
		case addr == l.careOf:
			rank = 6
		case known:
			rank = 5
		case p.RouterAddress:
			rank = 4
		}
		if rank > best {
			best, chosen, careOf, ok = rank, p.Prefix, addr, true
		}
	}
	prefixes = ra.Prefixes()
	for p, more := prefixes.Next(); more; p, more = prefixes.Next() {
		if ok && p.RouterAddress && p.Prefix == chosen && ipv6.IsRoutableUnicast(p.Address) {
			global = p.Address
		}
	}
	return careOf, chosen, global, ok
}

func covers(prefixes []netip.Prefix, p netip.Prefix) bool {
	for _, q := range prefixes {
		if q.Bits() <= p.Bits() && q.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// addressIn gives the node's address in prefix, and whether it had that one before; the zero Addr where all that it could
// have there are taken.
func (n *Node) addressIn(prefix netip.Prefix) (addr netip.Addr, known bool) {
	l := &n.place
	if l.careOf.IsValid() && prefix.Contains(l.careOf) {
		return l.careOf, true
	}
	for i := len(n.bindings) - 1; i >= 0; i-- {
		if home := n.bindings[i].home; prefix.Contains(home) {
			return home, true
		}
	}
	if n.cfg.HomeAddress.IsValid() && prefix.Contains(n.cfg.HomeAddress) {
		return n.cfg.HomeAddress, true
	}
	var collisions uint8
	if l.collided == prefix {
		collisions = l.collisions
	}
	if collisions > nodeMaxCollisions {
		return netip.Addr{}, false
	}
	return n.address(prefix, collisions), false
}

// leave gives up the care-of address on the link. Where there is a handover key for it, traffic to it can be had by a Fast
// Binding Update; otherwise it is of no use any more.
func (n *Node) leave() {
	l := &n.place
	old := l.careOf
	if !old.IsValid() {
		return
	}
	n.unwant()
	usable := l.usable
	l.careOf, l.usable = netip.Addr{}, false
	n.announce = nodeAnnounce{}
	n.prepared = nodePrepared{}
	n.emit(NodeEffect{Kind: EffectRelease, Link: n.cfg.Link, Addr: old})
	if n.binding(old) != nil {
		return
	}
	if _, _, ok := n.key(l.router.global, old); ok {
		n.depart(old)
		return
	}
	if usable {
		n.report(NodeEvent{Kind: NodeEventLost, Home: old, Router: l.router.name(), Detail: "there is no handover key for it: nothing is forwarded"})
	}
}

// addressReady begins what comes with a new care-of address, or ends it: an address is used before it is known that nobody
// else has it (RFC 4429).
func (n *Node) addressReady(addr netip.Addr, failed bool) {
	l := &n.place
	switch {
	case addr == n.linkLocal && failed:
		n.linkLocalTaken()
	case !addr.IsValid() || addr != l.careOf || l.usable && !failed:
	case failed:
		n.addressTaken("another node has it")
	default:
		l.usable = true
		n.report(NodeEvent{Kind: NodeEventAddress, Home: addr, Router: l.router.name()})
		if len(n.bindings) > 0 {
			n.emit(NodeEffect{Kind: EffectHandover})
			n.announceAddress()
		}
		n.updateBindings()
		n.settle()
	}
}

// settle does what needs a router that was heard.
func (n *Node) settle() {
	n.updateHome()
	if b := n.binding(n.place.careOf); b != nil && b.inUse() && !b.predictive && !b.previous && n.prepared.stage == preparedNothing {
		n.comeBack(b)
	}
	n.want()
}

// addressTaken takes the next address that the node can have on the link, up to the third (RFC 3972 section 4, step 8).
func (n *Node) addressTaken(detail string) {
	l := &n.place
	taken, prefix := l.careOf, l.router.prefix
	n.count(nodeDuplicates)
	n.report(NodeEvent{Kind: NodeEventDuplicate, Home: taken, Router: l.router.name(), Detail: detail})
	n.unwant()
	n.prepared, n.announce = nodePrepared{}, nodeAnnounce{}
	n.emit(NodeEffect{Kind: EffectRelease, Link: n.cfg.Link, Addr: taken})
	if b := n.binding(taken); b != nil {
		n.remove(b, "another node has the address")
	}
	l.careOf, l.usable = netip.Addr{}, false
	if l.collided != prefix {
		l.collided, l.collisions = prefix, 0
	}
	l.collisions++
	next, _ := n.addressIn(prefix)
	if !prefix.IsValid() || !next.IsValid() || next == taken {
		n.report(NodeEvent{Kind: NodeEventLost, Home: taken, Router: l.router.name(), Detail: "three addresses were taken: this is no accident"})
		return
	}
	l.careOf = next
	n.emit(NodeEffect{Kind: EffectAddress, Link: n.cfg.Link, Addr: next})
}

// linkLocalTaken does the same for the link-local address.
func (n *Node) linkLocalTaken() {
	taken := n.linkLocal
	prefix := netip.PrefixFrom(taken, 64).Masked()
	n.count(nodeDuplicates)
	n.report(NodeEvent{Kind: NodeEventDuplicate, Home: taken, Detail: "another node has it"})
	for c := range uint8(nodeMaxCollisions) {
		if n.address(prefix, c) == taken {
			n.linkLocal = n.address(prefix, c+1)
			n.emit(NodeEffect{Kind: EffectRelease, Link: n.cfg.Link, Addr: taken})
			n.emit(NodeEffect{Kind: EffectAddress, Link: n.cfg.Link, Addr: n.linkLocal})
			return
		}
	}
}

// want asks for a handover key with the router, if it can be had and the last one is not still needed to come back
// (HK-MN-5, HK-MN-8).
func (n *Node) want() {
	l := &n.place
	if l.wanting || !n.ready() || l.provisional || !l.router.secured || !l.router.global.IsValid() {
		return
	}
	if b := n.binding(l.careOf); b != nil && b.inUse() {
		if _, _, ok := n.key(b.router, b.home); ok {
			return
		}
	}
	l.wanting = true
	n.emit(NodeEffect{Kind: EffectWantKey, Router: l.router.global, Home: l.careOf})
}

func (n *Node) unwant() {
	l := &n.place
	if l.wanting {
		l.wanting = false
		n.emit(NodeEffect{Kind: EffectUnwantKey, Router: l.router.global, Home: l.careOf})
	}
}

func (n *Node) runPlace() {
	l := &n.place
	if !l.router.until.IsZero() && n.due(l.router.until) {
		n.routerGone()
	}
	if l.attached && n.due(l.solicitAt) {
		n.solicit()
	}
}
