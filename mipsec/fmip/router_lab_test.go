package fmip_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// The network of the routers' tests, in memory and on a clock that only the test moves:
//
//	 2001:db8:1::/64 lan0 (1) --[ PAR 2001:db8:1::1 ]-- uplink (9) --[ NAR 2001:db8:2::1 ]-- lan0 (1) 2001:db8:2::/64
//	2001:db8:11::/64 lan1 (2) --'
//
// A node leaves the PAR's lan0 and goes to the NAR's. Every message takes a millisecond.
const (
	labLink   = 1
	labLink2  = 2
	labUplink = 9
	labHop    = time.Millisecond
)

var (
	parAddr  = netip.MustParseAddr("2001:db8:1::1")
	parAddr2 = netip.MustParseAddr("2001:db8:11::1")
	parLocal = netip.MustParseAddr("fe80::1")
	narAddr  = netip.MustParseAddr("2001:db8:2::1")
	narLocal = netip.MustParseAddr("fe80::2")
	labHome  = netip.MustParseAddr("2001:db8:1::100")
	labNew   = netip.MustParseAddr("2001:db8:2::100")
	labNew2  = netip.MustParseAddr("2001:db8:11::100")

	parLink  = ipv6.LinkAddr{2, 0, 0, 0, 0, 1}
	parLink2 = ipv6.LinkAddr{2, 0, 0, 0, 0, 0x11}
	narLink  = ipv6.LinkAddr{2, 0, 0, 0, 0, 2}
	nodeLink = ipv6.LinkAddr{2, 0, 0, 0, 1, 0}
	parPoint = ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 1}
	parPnt2  = ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 0x11}
	narPoint = ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 2}

	labKey     = []byte("handover key of 20.o")
	labPairKey = []byte("a key of thirty-two octets, pair")
	labBase    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// labKeys are handover keys by home address.
type labKeys map[netip.Addr][]byte

func (k labKeys) HandoverKey(home netip.Addr) ([]byte, mobility.FastMAC, bool) {
	key, ok := k[home]
	return key, mobility.HMACSHA1, ok
}

// labSide is one router with what its effects have made.
type labSide struct {
	name    string
	cfg     fmip.RouterConfig
	router  *fmip.Router
	address netip.Addr
	keys    labKeys
	wall    time.Duration // how far its wall clock is off

	held    map[netip.Addr]bool // value: copying
	kept    map[netip.Addr][][]byte
	bound   map[netip.Addr]fmip.Binding
	proxied map[netip.Addr]bool
	routes  map[netip.Addr]fmip.Binding
	entries map[netip.Addr]ipv6.LinkAddr // the neighbour cache
	saved   map[string]fmip.Record
	grant   []byte // answer to EffectKeyRequest
	noGrant bool   // leave EffectKeyRequest unanswered

	failForwarding, holdForwarding bool
}

type labDelivery struct {
	at  time.Time
	run func()
}

// lab is the network.
type lab struct {
	t        testing.TB
	now      time.Time
	par, nar *labSide
	at       *labSide // where the node is; nil: nowhere
	atLink   int
	queue    []labDelivery
	trace    []string
	lose     func(message string) bool // a message for which it is true is lost
	acks     []mobility.FastBindingAck // that the node got
	adverts  []ndp.ProxyAdvert
	naacks   []ndp.NeighborAck
	careOf   netip.Addr                // of the last update
	packets  int                       // packets from the correspondent that the node got
	nonces   [][]byte                  // of EffectSendND
	hi       mobility.HandoverInitiate // the last that was sent
	sent     [][]byte                  // every packet of the routers
	rand     *rand.ChaCha8
}

func parConfig() fmip.RouterConfig {
	return fmip.RouterConfig{
		Address: parAddr,
		Links: []fmip.Link{
			{
				Name: "lan0", Index: labLink, Hardware: parLink, LinkLocal: parLocal, AccessPoints: []ipv6.LinkAddr{parPoint}, MTU: 1500,
				Prefixes: []fmip.LinkPrefix{{Prefix: netip.MustParsePrefix("2001:db8:1::/64"), Router: parAddr}},
			},
			{
				Name: "lan1", Index: labLink2, Hardware: parLink2, LinkLocal: netip.MustParseAddr("fe80::11"), AccessPoints: []ipv6.LinkAddr{parPnt2}, MTU: 1500,
				Prefixes: []fmip.LinkPrefix{{Prefix: netip.MustParsePrefix("2001:db8:11::/64"), Router: parAddr2}},
			},
		},
		Neighbors: []fmip.Neighbor{{
			Name: "nar", Router: narAddr, RouterLink: narLink, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:2::/64")},
			AccessPoints: []ipv6.LinkAddr{narPoint}, Fast: true, Key: labPairKey,
		}},
		MaxNodes: 16, Buffer: true,
	}
}

func narConfig() fmip.RouterConfig {
	return fmip.RouterConfig{
		Links: []fmip.Link{{
			Name: "lan0", Index: labLink, Hardware: narLink, LinkLocal: narLocal, AccessPoints: []ipv6.LinkAddr{narPoint},
			Prefixes: []fmip.LinkPrefix{{Prefix: netip.MustParsePrefix("2001:db8:2::/64"), Router: narAddr}},
		}},
		Neighbors: []fmip.Neighbor{{
			Name: "par", Router: parAddr, RouterLink: parLink, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/64")},
			AccessPoints: []ipv6.LinkAddr{parPoint}, Fast: true, Key: labPairKey,
		}},
		MaxNodes: 16, Buffer: true, DADTransmits: -1,
	}
}

// newLab makes the network; change may alter the two configurations.
func newLab(t testing.TB, change ...func(par, nar *fmip.RouterConfig)) *lab {
	l := &lab{t: t, now: labBase, rand: rand.NewChaCha8(sha256.Sum256([]byte(t.Name())))}
	par, nar := parConfig(), narConfig()
	for _, f := range change {
		f(&par, &nar)
	}
	l.par = l.side("PAR", par, parAddr)
	l.nar = l.side("NAR", nar, narAddr)
	l.par.keys[labHome] = labKey
	l.at, l.atLink = l.par, labLink
	l.par.entries[labHome] = nodeLink
	return l
}

func (l *lab) side(name string, cfg fmip.RouterConfig, address netip.Addr) *labSide {
	s := &labSide{name: name, cfg: cfg, address: address, keys: labKeys{}, saved: map[string]fmip.Record{}, entries: map[netip.Addr]ipv6.LinkAddr{}}
	s.cfg.Keys, s.cfg.Rand = s.keys, l.rand
	l.start(s)
	return s
}

// start starts a router anew, as after a crash: what it has saved is restored, and tunnels stand.
func (l *lab) start(s *labSide) {
	s.router = fmip.NewRouter(s.cfg)
	s.held, s.kept = map[netip.Addr]bool{}, map[netip.Addr][][]byte{}
	s.proxied, s.routes = map[netip.Addr]bool{}, map[netip.Addr]fmip.Binding{}
	if s.bound == nil {
		s.bound = map[netip.Addr]fmip.Binding{}
	}
	var records []fmip.Record
	for _, r := range s.saved {
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b fmip.Record) int { return a.Addr.Compare(b.Addr) })
	l.do(s, s.router.Restore(l.now, records))
}

func (l *lab) note(format string, args ...any) {
	l.trace = append(l.trace, fmt.Sprintf(format, args...))
}

// step gives an input to a router and carries out its effects.
func (l *lab) step(s *labSide, in fmip.Input) {
	in.Wall = l.now.Add(s.wall)
	l.do(s, s.router.Step(l.now, in))
}

func recordKey(r *fmip.Record) string { return fmt.Sprint(r.Kind, r.Addr) }

func (l *lab) do(s *labSide, effects []fmip.Effect) {
	for i := range effects {
		e := effects[i]
		switch e.Kind {
		case fmip.EffectSend, fmip.EffectSendND:
			l.send(s, e)
			continue
		case fmip.EffectKeyRequest:
			l.note("%s asks for the key of %v", s.name, e.Home)
			if !s.noGrant {
				l.step(s, fmip.Input{Kind: fmip.InGrant, Cookie: e.Cookie, Octets: s.grant})
			}
			continue
		case fmip.EffectBind:
			s.bound[e.Binding.Home] = e.Binding
			l.note("%s bind %v to %v", s.name, e.Binding.Home, e.Binding.CareOf)
			if !s.holdForwarding {
				l.after(0, func() { l.step(s, fmip.Input{Kind: fmip.InForwarding, Home: e.Home, Failed: s.failForwarding}) })
			}
			continue
		case fmip.EffectUnbind:
			delete(s.bound, e.Home)
			if e.Expired {
				delete(s.keys, e.Home) // HK-AR-18: as the daemon does
			}
			l.note("%s unbind %v expired=%v", s.name, e.Home, e.Expired)
			continue
		case fmip.EffectHold:
			s.held[e.Addr] = e.Copy
			l.note("%s hold %v copy=%v", s.name, e.Addr, e.Copy)
			continue
		case fmip.EffectDrain:
			kept := s.kept[e.Addr]
			delete(s.held, e.Addr)
			delete(s.kept, e.Addr)
			for _, packet := range kept {
				l.deliver(s, packet)
			}
			l.after(0, func() { l.step(s, fmip.Input{Kind: fmip.InDrained, Home: e.Addr}) })
		case fmip.EffectFreeze:
			delete(s.held, e.Addr)
		case fmip.EffectDiscard:
			delete(s.held, e.Addr)
			delete(s.kept, e.Addr)
		case fmip.EffectProxy:
			s.proxied[e.Addr] = true
		case fmip.EffectUnproxy:
			delete(s.proxied, e.Addr)
		case fmip.EffectRoute:
			s.routes[e.Addr] = e.Binding
		case fmip.EffectUnroute:
			delete(s.routes, e.Addr)
		case fmip.EffectNeighbour:
			s.entries[e.Addr] = e.LinkAddr
		case fmip.EffectSave:
			s.saved[recordKey(e.Record)] = *e.Record
			continue
		case fmip.EffectForget:
			delete(s.saved, recordKey(e.Record))
			continue
		case fmip.EffectReport:
			continue
		}
		l.note("%s %v %v", s.name, e.Kind, e.Addr)
	}
	s.router.Recycle(effects)
}

// describe names the message in a packet, shortly.
func describe(t testing.TB, p *ipv6.Packet) string {
	if p.Proto == ipv6.ProtoICMPv6 {
		switch {
		case p.Payload[0] == ndp.TypeFast && p.Payload[4] == ndp.SubtypeProxyAdvert:
			return fmt.Sprintf("PrRtAdv %d", p.Payload[1])
		case p.Payload[0] == ndp.TypeRouterAdvert:
			return "RA"
		case p.Payload[0] == ndp.TypeNeighborSolicit:
			return "NS"
		}
		return "ICMPv6"
	}
	if p.Proto != ipv6.ProtoMobility {
		return "data"
	}
	h, err := mobility.ParseHeader(p.Payload)
	if err != nil {
		t.Errorf("not a mobility header: %v", err)
		return "?"
	}
	switch h.Type {
	case mobility.TypeHI:
		m, _ := mobility.ParseHandoverInitiate(h)
		return fmt.Sprintf("HI %d", m.Code)
	case mobility.TypeHAck:
		m, _ := mobility.ParseHandoverAck(h)
		return fmt.Sprintf("HAck %d", m.Code)
	case mobility.TypeFBack:
		m, _ := mobility.ParseFastBindingAck(h)
		return fmt.Sprintf("FBack %d", m.Status)
	case mobility.TypeFBU:
		return "FBU"
	}
	return fmt.Sprintf("MH %d", h.Type)
}

// send carries a packet that a router sends.
func (l *lab) send(s *labSide, e fmip.Effect) {
	var p ipv6.Packet
	if problem := ipv6.Parse(e.Packet, &p); problem != ipv6.OK {
		l.t.Fatalf("%s sends what does not parse: %v", s.name, problem)
	}
	what := describe(l.t, &p)
	if strings.HasPrefix(what, "HI") {
		h, _ := mobility.ParseHeader(p.Payload)
		l.hi, _ = mobility.ParseHandoverInitiate(h)
	}
	l.sent = append(l.sent, slices.Clone(e.Packet))
	way := "routed"
	if e.Link != 0 {
		way = fmt.Sprintf("on %d", e.Link)
	}
	text := fmt.Sprintf("%s %s to %v %s", s.name, what, p.Dst, way)
	if e.Kind == fmip.EffectSendND {
		l.nonces = append(l.nonces, e.Answers)
		if p.HopLimit != 255 || e.Link == 0 {
			l.t.Errorf("%s: hop limit %d, link %d", text, p.HopLimit, e.Link)
		}
	}
	if e.Protect {
		text += " by ESP"
	}
	if l.lose != nil && l.lose(s.name+" "+what) {
		l.note("%s LOST", text)
		return
	}
	l.note("%s", text)
	packet := slices.Clone(e.Packet)
	l.after(labHop, func() {
		if e.Link != 0 {
			if l.at == s && l.atLink == e.Link {
				l.nodeGets(packet)
			}
			return
		}
		l.routePacket(packet, e.Protect)
	})
}

// routePacket brings a packet to the router that its destination is at, or through it.
func (l *lab) routePacket(packet []byte, esp bool) {
	var p ipv6.Packet
	ipv6.Parse(packet, &p)
	for _, s := range []*labSide{l.par, l.nar} {
		if p.Dst == s.address || s == l.par && p.Dst == parAddr2 {
			p.Interface = labUplink
			l.receive(s, &p, func(in *fmip.Input) { in.IPsec = esp })
			return
		}
	}
	for _, s := range []*labSide{l.par, l.nar} {
		for _, link := range s.cfg.Links {
			if link.Prefixes[0].Prefix.Contains(p.Dst) {
				l.arrive(s, packet)
			}
		}
	}
}

// arrive is a packet for an address behind s, or one that s tunnels.
func (l *lab) arrive(s *labSide, packet []byte) {
	var p ipv6.Packet
	ipv6.Parse(packet, &p)
	copying, held := s.held[p.Dst]
	if held {
		s.kept[p.Dst] = append(s.kept[p.Dst], packet)
		if !copying {
			return
		}
	}
	l.deliver(s, packet)
}

func (l *lab) deliver(s *labSide, packet []byte) {
	var p ipv6.Packet
	ipv6.Parse(packet, &p)
	if b, ok := s.bound[p.Dst]; ok {
		exit := l.par
		if netip.MustParsePrefix("2001:db8:2::/64").Contains(b.CareOf) {
			exit = l.nar
		}
		l.after(labHop, func() {
			copying, held := exit.held[b.CareOf]
			if b.ToRouter {
				copying, held = exit.held[p.Dst]
			}
			if held {
				at := b.CareOf
				if b.ToRouter {
					at = p.Dst
				}
				exit.kept[at] = append(exit.kept[at], packet)
			}
			if !held || copying {
				l.toNode(exit, packet)
			}
		})
		return
	}
	l.toNode(s, packet)
}

func (l *lab) toNode(s *labSide, packet []byte) {
	if l.at == s {
		l.nodeGets(packet)
	}
}

func (l *lab) receive(s *labSide, p *ipv6.Packet, change func(in *fmip.Input)) {
	in := fmip.Input{Kind: fmip.InPacket, Packet: p}
	if !s.router.Owns(p) {
		l.note("%s: not for the core: %s", s.name, describe(l.t, p))
		return
	}
	if _, addr, ok := s.router.NeighbourWanted(p); ok {
		in.Neighbour = s.entries[addr]
	}
	if change != nil {
		change(&in)
	}
	l.step(s, in)
}

// nodeGets takes a packet in at the node.
func (l *lab) nodeGets(packet []byte) {
	var p ipv6.Packet
	ipv6.Parse(packet, &p)
	switch what := describe(l.t, &p); {
	case strings.HasPrefix(what, "FBack"):
		h, fault := mobility.Check(&p, mobility.MinHeaderLen)
		m, err := mobility.ParseFastBindingAck(h)
		if fault != mobility.FaultNone || err != nil {
			l.t.Errorf("FBack: %v, %v", fault, err)
			return
		}
		l.acks = append(l.acks, m)
		l.checkAck(&p, h, m)
	case strings.HasPrefix(what, "PrRtAdv"):
		m, reason := ndp.ParseProxyAdvert(&p)
		if reason != ndp.ReasonNone {
			l.t.Errorf("PrRtAdv: %v", reason)
			return
		}
		l.adverts = append(l.adverts, m)
	case what == "RA":
		m, reason := ndp.ParseRouterAdvert(&p)
		if reason != ndp.ReasonNone {
			l.t.Errorf("RA: %v", reason)
			return
		}
		if m.Lifetime == 0 {
			l.t.Error("the RA with a NAACK takes the default router away")
		}
		for o, ok := m.Options.Next(); ok; o, ok = m.Options.Next() {
			if o.Type == ndp.OptNeighborAck {
				a, err := ndp.ParseNeighborAck(o)
				if err != nil {
					l.t.Error(err)
				}
				l.naacks = append(l.naacks, a)
			}
		}
	case what == "data":
		l.packets++
	}
}

// checkAck verifies the authenticator of an FBack as a node does (HK-AR-21).
func (l *lab) checkAck(p *ipv6.Packet, h mobility.Header, m mobility.FastBindingAck) {
	careOf := l.careOf
	if m.AlternateCareOf.IsValid() {
		careOf = m.AlternateCareOf
	}
	for _, key := range l.par.keys {
		if mobility.VerifyBADF(h.Octets, key, careOf, p.Src, mobility.HMACSHA1) {
			return
		}
	}
	l.t.Errorf("HK-AR-21: the FBack with status %d has no right authenticator", m.Status)
}

func (l *lab) after(d time.Duration, run func()) {
	l.queue = append(l.queue, labDelivery{l.now.Add(d), run})
}

// run moves the clock on by d, and does all that falls into that time.
func (l *lab) run(d time.Duration) {
	end := l.now.Add(d)
	for turns := 0; ; turns++ {
		if turns > 100_000 {
			l.t.Fatal("time stands still")
		}
		next, what := end, -1
		for i, q := range l.queue {
			if q.at.Before(next) || what < 0 && q.at.Equal(next) {
				next, what = q.at, i
			}
		}
		var tick *labSide
		for _, s := range []*labSide{l.par, l.nar} {
			if at := s.router.Deadline(); !at.IsZero() && !at.After(next) {
				next, what, tick = at, -1, s
			}
		}
		if next.After(l.now) {
			l.now = next
		}
		switch {
		case tick != nil:
			l.step(tick, fmip.Input{Kind: fmip.InTick})
		case what >= 0:
			q := l.queue[what]
			l.queue = slices.Delete(l.queue, what, what+1)
			q.run()
		default:
			return
		}
	}
}

// move takes the node off its link; attach puts it on another.
func (l *lab) move()                       { l.at = nil }
func (l *lab) attach(s *labSide, link int) { l.at, l.atLink = s, link }
func (l *lab) event(s *labSide, e fmip.LinkEvent, target ipv6.LinkAddr) {
	l.step(s, fmip.Input{Kind: fmip.InLinkEvent, Link: labLink, Node: nodeLink, Event: e, Target: target})
}

// una has the node announce itself at the NAR.
func (l *lab) una() {
	l.note("MN UNA")
	p := naPacket(l.t, labNew, labNew, 0, nodeLink)
	l.after(labHop, func() {
		if l.nar.router.Owns(p) {
			l.step(l.nar, fmip.Input{Kind: fmip.InPacket, Packet: p})
		}
	})
}

// data sends a packet from a correspondent to the node's old address.
func (l *lab) data() {
	raw := ipv6.Append(nil, ipv6.Header{Src: netip.MustParseAddr("2001:db8:99::1"), Dst: labHome, HopLimit: 60}, 253, []byte("data"))
	l.arrive(l.par, raw)
}

// expect compares what happened since the last time.
func (l *lab) expect(want ...string) {
	l.t.Helper()
	got := l.trace
	l.trace = nil
	if slices.Equal(got, want) {
		return
	}
	l.t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
}

// counter gives one counter of a router.
func (s *labSide) counter(name string) (value uint64) {
	found := false
	s.router.Counters(func(n string, v uint64) {
		if n == name {
			value, found = v, true
		}
	})
	if !found {
		panic("no counter " + name)
	}
	return value
}

// wantCounter checks one counter.
func (l *lab) wantCounter(s *labSide, name string, want uint64) {
	l.t.Helper()
	if got := s.counter(name); got != want {
		l.t.Errorf("%s: %s is %d, want %d", s.name, name, got, want)
	}
}
