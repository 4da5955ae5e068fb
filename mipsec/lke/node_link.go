package lke

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// nodeRouter is a router as its advertisement shows it.
type nodeRouter struct {
	linkLocal   netip.Addr
	hw          ipv6.LinkAddr
	global      netip.Addr    // from a prefix with the R flag; the zero Addr if it does not tell
	until       time.Time     // end of the router lifetime
	publicKey   []byte        // SPKI; nil where the router does not speak LKE
	modulusLen  int           // octets
	maxLifetime uint16        // seconds, of an association
	retrans     time.Duration // RetransTimer of the link
}

func (r *nodeRouter) same(o *nodeRouter) bool { return r.linkLocal == o.linkLocal && r.hw == o.hw }

// nodeLink is where the node is attached.
type nodeLink struct {
	attached  bool
	heard     bool // a router was heard since the link came up
	solicits  int  // router solicitations sent since
	gap       time.Duration
	solicitAt time.Time // of the next one

	router     nodeRouter
	careOf     netip.Addr
	usable     bool
	arrived    time.Time // when careOf became usable
	routeUntil time.Time // what the last EffectConfigure said
	deprecated bool      // the router said that careOf should not be used any more
	duplicate  netip.Addr
}

// ready reports whether the node can speak from its care-of address: between links it waits.
func (n *Node) ready() bool { return n.link.attached && n.link.heard && n.link.usable }

// attach begins on what may be another link: only an advertisement tells.
func (n *Node) attach() {
	l := &n.link
	l.attached, l.heard = true, false
	l.duplicate = netip.Addr{}
	l.solicits, l.solicitAt = 0, n.now
}

// solicit sends a router solicitation (RFC 4861 section 6.3.7, RFC 7559). Its random delay is against many hosts that start
// at once; after a handover it would be the handover's own delay.
func (n *Node) solicit() {
	l := &n.link
	l.solicits++
	if l.solicits < nodeSolicits {
		l.gap = nodeSolicitGap
	} else {
		l.gap = min(2*l.gap, nodeSolicitMax)
	}
	l.solicitAt = n.now.Add(l.gap)
	dst := ipv6.AllRouters()
	msg := ndp.AppendRouterSolicit(nil, n.cfg.LinkLocal, dst, ndp.SourceLinkOption(n.cfg.Hardware))
	header := ipv6.Header{Src: n.cfg.LinkLocal, Dst: dst, HopLimit: 255}
	n.sendOnLink(ipv6.MulticastLinkAddr(dst), ipv6.Append(nil, header, ipv6.ProtoICMPv6, msg))
	n.count(nodeSolicited)
}

// routerAdvert takes an advertisement. The first one after an attachment is used, whoever sends it, so that the node has
// an address at once; one that speaks LKE replaces one that does not (LKE-MN-1).
func (n *Node) routerAdvert(p *ipv6.Packet) {
	ra, reason := ndp.ParseRouterAdvert(p)
	if reason != ndp.ReasonNone {
		n.counters.reasons[reason]++
		return
	}
	l := &n.link
	if !l.attached {
		n.count(nodeDropAdvertDetached)
		return
	}
	r := n.readRouter(p, &ra)
	if !r.hw.IsUnicast() || r.hw == n.cfg.Hardware || r.linkLocal == n.cfg.LinkLocal {
		n.count(nodeDropAdvertSender)
		return
	}
	current := l.router.same(&r)
	if ra.Lifetime == 0 {
		n.count(nodeDropAdvertCeased)
		if current {
			n.routerGone()
		}
		return
	}
	known := l.router.linkLocal.IsValid()
	if l.heard && known && !current && (l.router.publicKey != nil || r.publicKey == nil) {
		n.count(nodeDropAdvertRouter)
		return
	}
	n.useRouter(r, &ra)
}

// readRouter reads what counts here of an advertisement. Its key shares memory with the packet.
func (n *Node) readRouter(p *ipv6.Packet, ra *ndp.RouterAdvert) nodeRouter {
	r := nodeRouter{
		linkLocal: p.Src,
		hw:        p.LinkSource,
		until:     n.now.Add(time.Duration(ra.Lifetime) * time.Second),
		retrans:   nodeRetransTimer,
	}
	if !r.hw.IsUnicast() {
		r.hw = ra.SourceLink
	}
	if ra.Retrans != 0 {
		r.retrans = time.Duration(ra.Retrans) * time.Millisecond
	}
	if !ra.HomeAgent {
		return r // LKE-AR-1 and LKE-AR-2: without the H flag the option means nothing
	}
	options := ra.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != n.cfg.NDCodePoints.Capability {
			continue
		}
		capability, err := ndp.ParseCapability(o)
		if err != nil {
			continue
		}
		key, _, err := ndp.ParseSPKI(capability.PublicKey)
		if err != nil || key.Bits() < n.cfg.MinBits || capability.MaximumLifetime == 0 {
			n.count(nodeDropAdvertKey)
			continue
		}
		r.publicKey, r.modulusLen = capability.PublicKey, len(key.Modulus)
		r.maxLifetime = min(capability.MaximumLifetime, ra.Lifetime)
		if ra.HasHomeAgentInfo {
			r.maxLifetime = min(r.maxLifetime, ra.HomeAgentLifetime)
		}
		break
	}
	if r.maxLifetime < nodeMinSeconds {
		r.publicKey = nil
	}
	return r
}

// useRouter makes r the node's router, or takes over what is new in its advertisement.
func (n *Node) useRouter(r nodeRouter, ra *ndp.RouterAdvert) {
	l := &n.link
	careOf, global, ok := n.chooseAddress(ra)
	stays := l.heard && l.router.same(&r) && l.careOf.IsValid() // on the link that is known
	if !ok && !stays {
		n.count(nodeDropAdvertPrefix)
		return
	}
	if stays && (!ok || careOf != l.careOf && !l.deprecated) {
		// An advertisement need not hold all prefixes (RFC 4861 section 6.2.3).
		careOf, global = l.careOf, l.router.global
	}
	r.global = global

	first := !l.heard
	moved := careOf != l.careOf
	other := !l.router.same(&r)
	rekeyed := !bytes.Equal(r.publicKey, l.router.publicKey)
	if moved {
		n.leave()
	}
	if moved || other || rekeyed {
		n.exchange.abandon()
	}
	if other {
		n.exchange.forgetPace()
	}
	if rekeyed {
		r.publicKey = bytes.Clone(r.publicKey)
	} else {
		r.publicKey = l.router.publicKey
	}
	l.router = r
	l.heard, l.solicitAt = true, time.Time{}
	if moved {
		l.careOf, l.usable, l.deprecated = careOf, false, false
	}
	if moved || other {
		n.count(nodeRouters)
		detail := "the router does not speak LKE"
		if r.publicKey != nil {
			detail = "the router speaks LKE"
		}
		n.report(Event{Kind: EventRouterFound, CareOf: careOf, Router: r.name(), Detail: detail})
	}
	if first || moved || other || l.routeUntil.Sub(n.now) < r.until.Sub(n.now)/2 {
		l.routeUntil = r.until
		n.emit(Effect{
			Kind: EffectConfigure, Link: n.cfg.Link, Home: careOf, Router: r.linkLocal, LinkDst: r.hw, Lifetime: r.until.Sub(n.now),
		})
	}
}

// name is the router's global address where it tells it.
func (r *nodeRouter) name() netip.Addr {
	if r.global.IsValid() {
		return r.global
	}
	return r.linkLocal
}

// routerGone forgets the router. What was agreed on with it stays until it expires.
func (n *Node) routerGone() {
	l := &n.link
	if l.careOf.IsValid() {
		n.emit(Effect{Kind: EffectConfigure, Link: n.cfg.Link, Home: l.careOf, Router: l.router.linkLocal, LinkDst: l.router.hw})
	}
	l.router = nodeRouter{}
	l.solicits, l.solicitAt = 0, n.now
	n.exchange.abandon()
	n.exchange.forgetPace()
}

// chooseAddress picks the care-of address from the prefixes of an advertisement: the one in use, else one for which there
// is an association already, else one in the router's own prefix, for the address that the router gives for binding
// updates should have that prefix (draft section 3.2.2).
func (n *Node) chooseAddress(ra *ndp.RouterAdvert) (careOf, global netip.Addr, ok bool) {
	best := 0
	var chosen netip.Prefix
	prefixes := ra.Prefixes()
	for p, more := prefixes.Next(); more; p, more = prefixes.Next() {
		if !p.Autonomous || p.Prefix.Bits() != 64 || p.Valid == 0 || p.Preferred > p.Valid ||
			!ipv6.IsRoutableUnicast(p.Prefix.Addr()) {
			continue
		}
		addr, known := n.addressIn(p.Prefix)
		if addr == n.link.careOf {
			n.link.deprecated = p.Preferred == 0
		}
		rank := 2
		switch {
		case addr == n.link.duplicate:
			continue
		case addr == n.link.careOf && p.Preferred == 0:
			rank = 1 // only if there is nothing better
		case p.Preferred == 0:
			continue
		case addr == n.link.careOf:
			rank = 5
		case known:
			rank = 4
		case p.RouterAddress:
			rank = 3
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
	return careOf, global, ok
}

// addressIn gives the node's address in prefix, and whether it had that one before.
func (n *Node) addressIn(prefix netip.Prefix) (addr netip.Addr, known bool) {
	for i := len(n.associations) - 1; i >= 0; i-- {
		if home := n.associations[i].home; prefix.Contains(home) {
			return home, true
		}
	}
	if n.cfg.HomeAddress.IsValid() && prefix.Contains(n.cfg.HomeAddress) {
		return n.cfg.HomeAddress, true
	}
	if n.cfg.InterfaceID != 0 {
		b := prefix.Addr().As16()
		binary.BigEndian.PutUint64(b[8:], n.cfg.InterfaceID)
		return netip.AddrFrom16(b), false
	}
	return ipv6.WithEUI64(prefix.Addr(), n.cfg.Hardware), false
}

// leave gives up the care-of address on the link. Where there is an association for it, traffic to it can be had by a
// binding update; otherwise it is of no use any more.
func (n *Node) leave() {
	l := &n.link
	old := l.careOf
	if !old.IsValid() {
		return
	}
	l.careOf, l.usable = netip.Addr{}, false
	n.emit(Effect{Kind: EffectRelease, Link: n.cfg.Link, Home: old})
	a := n.association(old)
	if a == nil {
		n.emit(Effect{Kind: EffectUnbind, Home: old, Binding: Binding{Home: old, Link: n.cfg.Link}})
		return
	}
	a.advert, a.repeatAt = nil, time.Time{}
	if a.answered {
		return
	}
	if a.prior.set {
		a.swap()
		a.forgetPrior() // the key of the renewal was never of use
		return
	}
	n.remove(a, EventLost, "the link was left before duplicate address detection")
}

// addressReady begins what comes with a new care-of address. The answer may come twice: a program that uses optimistic
// addresses (RFC 4429) learns of a duplicate when the address is in use already.
func (n *Node) addressReady(addr netip.Addr, failed bool) {
	l := &n.link
	if addr != l.careOf || !addr.IsValid() || l.usable && !failed {
		return
	}
	if failed {
		if a := n.association(addr); a != nil {
			n.remove(a, EventLost, "another node has the care-of address")
		}
		n.exchange.abandon()
		l.duplicate, l.careOf, l.usable = addr, netip.Addr{}, false
		n.report(Event{Kind: EventLost, CareOf: addr, Router: l.router.name(), Detail: "another node has the care-of address"})
		return
	}
	l.usable, l.arrived = true, n.now
	n.updateBindings()
	n.updateHome()
}

func (n *Node) runLink() {
	l := &n.link
	if l.router.linkLocal.IsValid() && n.due(l.router.until) {
		n.routerGone()
	}
	if l.attached && n.due(l.solicitAt) {
		n.solicit()
	}
}

func (n *Node) linkDeadline() time.Time { return earlier(n.link.solicitAt, n.link.router.until) }
