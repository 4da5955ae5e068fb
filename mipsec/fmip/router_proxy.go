package fmip

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/pacing"
	"github.com/roamkey/roamkey/ndp"
)

const (
	// maxSolicits bounds the RtSolPr that wait for a handover key, and maxNonce the nonce that is remembered of each.
	maxSolicits = 64
	maxNonce    = 128

	// What the parts of a PrRtAdv take up: IPv6 and fixed header with the source's link-layer address, then of each tuple the
	// options of its access point and of its router (RFC 5568 sections 6.4.1 and 6.4.3).
	adverOctets  = ipv6.HeaderLen + 8 + 16
	pointOctets  = 16
	routerOctets = 16 + 24
	prefixOctets = 24
)

// stationKey is one link-layer source on one link.
type stationKey struct {
	link   int
	source ipv6.LinkAddr
}

// solicit is one RtSolPr whose answer waits for a handover key.
type solicit struct {
	cookie  uint64
	link    *servedLink
	home    netip.Addr // whom to answer
	linkDst ipv6.LinkAddr
	advert  ndp.ProxyAdvert
	nonce   []byte
	timer   pacing.Timer
}

// Wake gives s's place in the heap of timers.
func (s *solicit) Wake() *pacing.Timer { return &s.timer }

// Admit makes the cheap tests of an RtSolPr, its rate among them, before the work of checking a signature (HK-AR-20). What it
// lets through is to be given to Step with Admitted. Other packets it lets through as they are.
func (r *Router) Admit(now time.Time, p *ipv6.Packet) bool {
	if r.classify(p) != messageSolicit {
		return true
	}
	return r.admit(r.clock.At(now), p, false)
}

// admit applies the rate limits: of one link-layer source, and of all. Signed messages have a share of their own in the
// latter, so that a flood of others leaves room for them.
func (r *Router) admit(now pacing.Time, p *ipv6.Packet, signed bool) bool {
	if p.HopLimit != localHops || !p.LinkSource.IsUnicast() {
		r.count.add(dropSolicitSource)
		return false
	}
	key := stationKey{p.Interface, p.LinkSource}
	each := time.Second / time.Duration(r.cfg.RequestRate)
	if b := r.sources.Get(key); b != nil && !b.Allows(now, each, r.cfg.RequestRate) {
		r.count.add(dropSolicitRateSource)
		return false
	}
	total, all := &r.total[0], time.Second/time.Duration(r.cfg.TotalRate)
	if signed || looksSigned(p) {
		total = &r.total[1]
	}
	if !total.Allows(now, all, r.cfg.TotalRate) {
		r.count.add(dropSolicitRate)
		return false
	}
	total.Take(now, all)
	r.sources.Reuse(func(b *pacing.Bucket) bool { return b.Allows(now, 0, 1) })
	r.sources.Put(key).Take(now, each)
	return true
}

// looksSigned reports whether p has a signature, be it right or wrong.
func looksSigned(p *ipv6.Packet) bool {
	options := ndp.OptionsAt(p.Payload, 8)
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type == ndp.OptSignature {
			return true
		}
	}
	return false
}

// proxySolicit answers an RtSolPr (RFC 5568 section 6.1.1).
func (r *Router) proxySolicit(now pacing.Time, in *Input) {
	p := in.Packet
	link := r.byIndex[p.Interface]
	m, reason := ndp.ParseProxySolicit(p)
	if reason != ndp.ReasonNone {
		r.count.nd[reason]++
		return
	}
	if !r.canSolicit(link, p) {
		r.count.add(dropSolicitSource)
		return
	}
	if !in.Admitted && !r.admit(now, p, in.Secured) {
		return
	}
	r.count.add(countSolicits)
	s := solicit{link: link, home: p.Src, linkDst: p.LinkSource}
	if in.Secured {
		s.nonce = in.Nonce // HK-AR-9; an answer to what SEND did not accept has none (HK-AR-2)
	}
	reserve := 0
	wanted := r.wantsKey(in, &m, p)
	if wanted {
		reserve = len(m.KeyRequest.Octets) // the reply is not longer: a key is at least as long as what it encrypts
	}
	s.advert = r.resolve(link, &m, reserve)
	s.advert.Identifier = m.Identifier
	if !wanted || !r.askKey(now, in, &m, s) {
		r.answer(&s, nil)
	}
}

// canSolicit reports whether p's source can be a node on link.
func (r *Router) canSolicit(link *servedLink, p *ipv6.Packet) bool {
	if r.isRouter(p.Src) || !p.LinkSource.IsUnicast() || link.Refuse {
		return false
	}
	if p.Src.IsLinkLocalUnicast() {
		return true
	}
	_, ok := link.prefixOf(p.Src)
	return ok
}

// wantsKey reports whether a handover key is to be asked for. SEND comes first: without it there is no key, and nothing is
// made for one (HK-AR-1 to HK-AR-3).
func (r *Router) wantsKey(in *Input, m *ndp.ProxySolicit, p *ipv6.Packet) bool {
	switch {
	case !m.HasKeyRequest:
	case !in.Secured:
		r.count.add(dropKeyUnsecured)
	case in.Repeat:
		r.count.add(dropKeyRepeat)
	case !ipv6.IsRoutableUnicast(p.Src):
		r.count.add(dropKeySource) // the key goes with a care-of address
	case len(in.Nonce) == 0 || len(in.Nonce) > maxNonce:
		r.count.add(dropKeyNonce)
	case r.cfg.Keys == nil:
	default:
		return true
	}
	return false
}

// askKey asks for a handover key and keeps the answer until then. It reports false where there is no room.
func (r *Router) askKey(now pacing.Time, in *Input, m *ndp.ProxySolicit, s solicit) bool {
	if old := r.soliciting[s.home]; old != nil {
		r.count.add(dropSolicitSuperseded) // its sender has asked again, with another nonce
		r.dropSolicit(old.cookie)
	}
	if len(r.solicits) >= maxSolicits {
		r.count.add(dropKeyPending)
		return false
	}
	r.lastCookie++
	s.cookie = r.lastCookie
	s.nonce = bytes.Clone(s.nonce)
	kept := &s
	r.solicits[s.cookie], r.soliciting[s.home] = kept, kept
	r.solicitTimers.Set(kept, now.Add(r.cfg.GrantPatience))
	r.count.add(countKeyRequests)
	option := m.KeyRequest
	option.Octets = bytes.Clone(option.Octets)
	r.emit(Effect{
		Kind: EffectKeyRequest, Cookie: s.cookie, Home: s.home, CGAKey: bytes.Clone(in.CGAKey), Option: option, Source: s.linkDst,
		Link: s.link.Index,
	})
	return true
}

// granted answers the RtSolPr that waited for a handover key, with the option for it or without.
func (r *Router) granted(now pacing.Time, cookie uint64, option []byte) {
	s := r.solicits[cookie]
	if s == nil {
		r.count.add(dropGrantUnknown)
		return
	}
	r.dropSolicit(cookie)
	if len(option) == 0 {
		r.count.add(dropKeyRefused)
		r.answer(s, nil)
		return
	}
	r.count.add(countKeys)
	r.remember(now, s.link, s.linkDst, s.home)
	r.answer(s, option)
}

// solicitLate answers without a handover key: the node can ask again, but needs to know where it could go.
func (r *Router) solicitLate(s *solicit) {
	r.count.add(dropKeyLate)
	r.dropSolicit(s.cookie)
	r.answer(s, nil)
}

func (r *Router) dropSolicit(cookie uint64) {
	s := r.solicits[cookie]
	if s == nil {
		return
	}
	r.solicitTimers.Remove(s)
	delete(r.solicits, cookie)
	if r.soliciting[s.home] == s {
		delete(r.soliciting, s.home)
	}
}

// answer sends the PrRtAdv to the source of the RtSolPr (HK-AR-11), from our link-local address (RFC 5568 section 6.1.2).
func (r *Router) answer(s *solicit, key []byte) {
	r.count.add(countAdverts)
	r.sendAdvert(s.link, s.home, s.linkDst, s.advert, key, bytes.Clone(s.nonce))
	r.report(Event{Kind: EventAdvertised, Home: s.home, Node: s.linkDst, Link: s.link.Index, Detail: advertText(len(key) > 0)})
}

func advertText(key bool) string {
	if key {
		return "with a handover key"
	}
	return "without a handover key"
}

func (r *Router) sendAdvert(link *servedLink, dst netip.Addr, linkDst ipv6.LinkAddr, m ndp.ProxyAdvert, key, nonce []byte) {
	m.SourceLink = link.Hardware
	icmp := m.Append(nil, link.LinkLocal, dst, key)
	r.emit(Effect{
		Kind: EffectSendND, Link: link.Index, LinkDst: linkDst, Answers: nonce,
		Packet: discoveryPacket(link.LinkLocal, dst, icmp),
	})
}

// resolve gives the tuples that are asked for, and the code that goes with them (RFC 5568 sections 4 and 6.1.2). reserve is
// what other options take up.
func (r *Router) resolve(link *servedLink, m *ndp.ProxySolicit, reserve int) ndp.ProxyAdvert {
	if m.Wildcard {
		return r.neighborhood(link, reserve)
	}
	room := link.room(reserve)
	var tuples tupleSet
	for i := range m.Points.Len() {
		if !tuples.add(r.tuple(link, m.Points.At(i)), &room) {
			break
		}
	}
	return tuples.advert()
}

// neighborhood gives as many tuples with a router as fit, and without any those of this link.
func (r *Router) neighborhood(link *servedLink, reserve int) ndp.ProxyAdvert {
	room := link.room(reserve)
	var tuples tupleSet
	for _, n := range r.neighbors {
		for _, point := range n.AccessPoints {
			if t := r.tuple(link, point); t.Code == ndp.PointNew {
				tuples.add(t, &room)
			}
		}
	}
	for _, other := range r.served {
		for _, point := range other.AccessPoints {
			if t := r.tuple(link, point); t.Code == ndp.PointNew {
				tuples.add(t, &room)
			}
		}
	}
	if tuples.n == 0 {
		for _, point := range link.AccessPoints {
			tuples.add(r.tuple(link, point), &room)
		}
	}
	return tuples.advert()
}

// room gives how many octets of tuples a message on the link can have.
func (l *servedLink) room(reserve int) int { return l.MTU - l.Reserve - adverOctets - reserve }

// tuple says what is known of one access point, for a node on link.
func (r *Router) tuple(link *servedLink, point ipv6.LinkAddr) routerTuple {
	if link.has(point) {
		return routerTuple{ProxyTuple: ndp.ProxyTuple{Code: ndp.PointCurrent, Point: point}}
	}
	for _, n := range r.neighbors {
		for _, a := range n.AccessPoints {
			if a == point {
				return n.tuple(point)
			}
		}
	}
	for _, other := range r.served {
		if !other.has(point) {
			continue
		}
		p, ok := other.router()
		switch {
		case other.Refuse:
			return routerTuple{ProxyTuple: ndp.ProxyTuple{Code: ndp.PointNoFast, Point: point}}
		case ok:
			return routerTuple{dhcp: other.PreviousOnly, ProxyTuple: ndp.ProxyTuple{
				Code: ndp.PointNew, Point: point, RouterLink: other.Hardware, Router: p.Router, RouterBits: uint8(p.Prefix.Bits()),
			}}
		}
	}
	return routerTuple{ProxyTuple: ndp.ProxyTuple{Code: ndp.PointUnknown, Point: point}}
}

// tuple says what is known of one of the neighbour's access points.
func (p *peer) tuple(point ipv6.LinkAddr) routerTuple {
	t := routerTuple{dhcp: p.DHCP, ProxyTuple: ndp.ProxyTuple{Code: ndp.PointUnknown, Point: point}}
	switch {
	case !p.Fast:
		t.Code = ndp.PointNoFast
		return t
	case !p.Router.IsValid() || len(p.Prefixes) == 0 || p.RouterLink.IsZero():
		return t
	}
	t.Code, t.RouterLink, t.Router = ndp.PointNew, p.RouterLink, p.Router
	for _, prefix := range p.Prefixes {
		if prefix.Contains(p.Router) {
			t.RouterBits = uint8(prefix.Bits())
			return t
		}
	}
	t.RouterBits, t.Prefix = 128, p.Prefixes[0].Masked()
	return t
}

// routerTuple is a tuple, and whether nodes need DHCP there.
type routerTuple struct {
	ndp.ProxyTuple
	dhcp bool
}

func (t *routerTuple) octets() int {
	n := pointOctets
	if t.Code == ndp.PointNew {
		n += routerOctets
		if t.Prefix.IsValid() {
			n += prefixOctets
		}
	}
	return n
}

// tupleSet collects the tuples of one message.
type tupleSet struct {
	n  int
	at [ndp.MaxPoints]routerTuple
}

// add takes t up if it fits.
func (s *tupleSet) add(t routerTuple, room *int) bool {
	if s.n == len(s.at) || t.octets() > *room {
		return false
	}
	*room -= t.octets()
	s.at[s.n] = t
	s.n++
	return true
}

// advert gives the message, with the code that says what of it is there: 0 if all tuples have a router, 2 if none has, else
// 3; and 5 in place of 0 if the nodes need DHCP behind all of them. The code is one for all tuples: next to others, those
// with DHCP are given as unknown, so that a node does without their addresses.
func (s *tupleSet) advert() ndp.ProxyAdvert {
	with, dhcp := 0, 0
	for i := range s.n {
		if s.at[i].Code == ndp.PointNew {
			with++
			if s.at[i].dhcp {
				dhcp++
			}
		}
	}
	mixed := dhcp > 0 && dhcp < s.n
	var m ndp.ProxyAdvert
	for i := range s.n {
		t := s.at[i].ProxyTuple
		if mixed && s.at[i].dhcp && t.Code == ndp.PointNew {
			t = ndp.ProxyTuple{Code: ndp.PointUnknown, Point: t.Point}
			with--
		}
		m.Tuples.Add(t)
	}
	switch {
	case with == 0:
		m.Code = ndp.ProxyNoInformation
	case with < s.n:
		m.Code = ndp.ProxySubset
	case dhcp == s.n:
		m.Code = ndp.ProxyDHCP
	default:
		m.Code = ndp.ProxySolicited
	}
	return m
}
