package fmip_test

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/ndp"
)

// solicitation is an RtSolPr that the lab's node sends on the PAR's lan0.
type solicitation struct {
	id       uint16
	points   []ipv6.LinkAddr
	wildcard bool
	request  bool // with option 27
	secured  bool
	repeat   bool
	src      netip.Addr    // the zero Addr: labHome
	source   ipv6.LinkAddr // zero: nodeLink
	hops     uint8         // 0: 255
}

var labNonce = []byte{1, 2, 3, 4, 5, 6}

func (s solicitation) packet(t testing.TB) *ipv6.Packet {
	if !s.src.IsValid() {
		s.src = labHome
	}
	if s.source.IsZero() {
		s.source = nodeLink
	}
	if s.hops == 0 {
		s.hops = 255
	}
	m := ndp.ProxySolicit{Identifier: s.id, SourceLink: s.source, Wildcard: s.wildcard}
	for _, p := range s.points {
		m.Points.Add(p)
	}
	var options [][]byte
	if s.request {
		options = append(options, ndp.KeyRequest{AT: 0, PublicKey: bytes.Repeat([]byte{7}, 162)}.Append(nil))
	}
	icmp := m.Append(nil, s.src, ipv6.AllRouters(), options...)
	raw := ipv6.Append(nil, ipv6.Header{Src: s.src, Dst: ipv6.AllRouters(), HopLimit: s.hops}, ipv6.ProtoICMPv6, icmp)
	p := &ipv6.Packet{Interface: labLink, LinkSource: s.source}
	if problem := ipv6.Parse(raw, p); problem != ipv6.OK {
		t.Fatal(problem)
	}
	return p
}

func (l *lab) solicit(s solicitation) {
	p := s.packet(l.t)
	l.receive(l.par, p, func(in *fmip.Input) {
		in.Secured, in.Repeat = s.secured, s.repeat
		in.Nonce, in.CGAKey = labNonce, bytes.Repeat([]byte{7}, 162)
	})
}

// ask sends one RtSolPr and gives the answer.
func (l *lab) ask(s solicitation) ndp.ProxyAdvert {
	l.t.Helper()
	l.adverts, l.nonces, l.trace = nil, nil, nil
	l.solicit(s)
	l.run(10 * time.Millisecond)
	if len(l.adverts) != 1 {
		l.t.Fatalf("%d answers", len(l.adverts))
	}
	return l.adverts[0]
}

// The codes of a PrRtAdv and of each access point in it (RFC 5568 sections 4 and 6.1.2).
func TestProxyAdvertCodes(t *testing.T) {
	unknown := ipv6.LinkAddr{2, 9, 9, 9, 9, 9}
	slow, dhcp := ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 3}, ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 4}
	setup := func(par, _ *fmip.RouterConfig) {
		par.Neighbors = append(par.Neighbors,
			fmip.Neighbor{Name: "slow", Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:3::/64")}, AccessPoints: []ipv6.LinkAddr{slow}},
			fmip.Neighbor{Name: "dhcp", Router: netip.MustParseAddr("2001:db8:4::1"), RouterLink: narLink, DHCP: true, Fast: true,
				Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:4::/64")}, AccessPoints: []ipv6.LinkAddr{dhcp}})
	}
	for _, c := range []struct {
		name   string
		points []ipv6.LinkAddr
		code   uint8
		each   []uint8
	}{
		{"known", []ipv6.LinkAddr{narPoint}, 0, []uint8{1}},
		{"two known, in order", []ipv6.LinkAddr{parPnt2, narPoint}, 0, []uint8{1, 1}},
		{"on the current interface", []ipv6.LinkAddr{parPoint}, 2, []uint8{5}},
		{"unknown", []ipv6.LinkAddr{unknown}, 2, []uint8{6}},
		{"no fast handover", []ipv6.LinkAddr{slow}, 2, []uint8{7}},
		{"a subset", []ipv6.LinkAddr{unknown, narPoint, slow, parPoint}, 3, []uint8{6, 1, 7, 5}},
		{"DHCP", []ipv6.LinkAddr{dhcp}, 5, []uint8{1}},
		{"DHCP beside another", []ipv6.LinkAddr{dhcp, narPoint}, 3, []uint8{6, 1}},
		{"DHCP and unknown", []ipv6.LinkAddr{dhcp, unknown}, 2, []uint8{6, 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, setup)
			m := l.ask(solicitation{id: 0x1234, points: c.points})
			if m.Code != c.code || m.Identifier != 0x1234 || m.SourceLink != parLink {
				t.Errorf("code %d, identifier %#x, source %v", m.Code, m.Identifier, m.SourceLink)
			}
			var each []uint8
			for i := range m.Tuples.Len() {
				tuple := m.Tuples.At(i)
				each = append(each, tuple.Code)
				if tuple.Point != c.points[i] {
					t.Errorf("tuple %d is of %v", i, tuple.Point)
				}
				if has := tuple.Router.IsValid() && !tuple.RouterLink.IsZero() && tuple.NetPrefix().IsValid(); has != (tuple.Code == ndp.PointNew) {
					t.Errorf("tuple %d with code %d: %+v", i, tuple.Code, tuple)
				}
			}
			if !slices.Equal(each, c.each) {
				t.Errorf("access points %v, want %v", each, c.each)
			}
			l.expect("PAR PrRtAdv " + string(rune('0'+c.code)) + " to 2001:db8:1::100 on 1")
		})
	}
}

// The tuple of a neighbour: its router's addresses, and its prefix in an option of its own where the router's address is
// not in it.
func TestProxyTuple(t *testing.T) {
	l := newLab(t)
	first := func(point ipv6.LinkAddr) ndp.ProxyTuple {
		m := l.ask(solicitation{points: []ipv6.LinkAddr{point}})
		return m.Tuples.At(0)
	}
	got := first(narPoint)
	want := ndp.ProxyTuple{Code: ndp.PointNew, Point: narPoint, RouterLink: narLink, Router: narAddr, RouterBits: 64}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	far := netip.MustParsePrefix("2001:db8:20::/64")
	l = newLab(t, func(par, _ *fmip.RouterConfig) { par.Neighbors[0].Prefixes = []netip.Prefix{far} })
	if got := first(narPoint); got.Prefix != far || got.NetPrefix() != far || got.Router != narAddr {
		t.Errorf("got %+v", got)
	}
	// Another link of this router: we are the new router ourselves.
	got = first(parPnt2)
	if got.Router != parAddr2 || got.RouterLink != parLink2 || got.NetPrefix() != netip.MustParsePrefix("2001:db8:11::/64") {
		t.Errorf("got %+v", got)
	}
}

// A wildcard gets what fits the link's MTU, and eight at most (RFC 5568 section 4).
func TestProxyWildcard(t *testing.T) {
	many := func(par *fmip.RouterConfig, n int) {
		par.Neighbors[0].AccessPoints = nil
		for i := range n {
			par.Neighbors[0].AccessPoints = append(par.Neighbors[0].AccessPoints, ipv6.LinkAddr{2, 1, 0, 0, 0, byte(i)})
		}
	}
	l := newLab(t)
	if m := l.ask(solicitation{wildcard: true}); m.Code != 0 || m.Tuples.Len() != 2 {
		t.Errorf("code %d, %d tuples", m.Code, m.Tuples.Len())
	}
	l = newLab(t, func(par, _ *fmip.RouterConfig) { many(par, 20) })
	if m := l.ask(solicitation{wildcard: true}); m.Code != 0 || m.Tuples.Len() != ndp.MaxPoints {
		t.Errorf("code %d, %d tuples", m.Code, m.Tuples.Len())
	}
	l = newLab(t, func(par, _ *fmip.RouterConfig) {
		many(par, 20)
		par.Links[0].MTU, par.Links[0].Reserve = 1280, 1000
	})
	if m := l.ask(solicitation{wildcard: true}); m.Code != 0 || m.Tuples.Len() != 3 { // (1280 - 1000 - 64) / 56
		t.Errorf("code %d, %d tuples", m.Code, m.Tuples.Len())
	}
	// What a key takes up is left free: option 27 has 168 octets here.
	if m := l.ask(solicitation{wildcard: true, secured: true, request: true}); m.Code != 2 || m.Tuples.Len() != 0 && m.Tuples.At(0).Code == ndp.PointNew {
		t.Errorf("code %d, %d tuples beside a key", m.Code, m.Tuples.Len())
	}
	l = newLab(t, func(par, _ *fmip.RouterConfig) { par.Neighbors, par.Links = nil, par.Links[:1] })
	if m := l.ask(solicitation{wildcard: true}); m.Code != 2 || m.Tuples.Len() != 1 || m.Tuples.At(0).Code != ndp.PointCurrent {
		t.Errorf("code %d, %+v", m.Code, m.Tuples)
	}
}

// HK-AR-1, HK-AR-2, HK-AR-3, HK-AR-9, HK-AR-11: a handover key is asked for only after SEND's verdict; the tuples are
// answered always (HK-resolution-k).
func TestKeyRequests(t *testing.T) {
	option := append([]byte{28, 2}, make([]byte, 14)...)
	t.Run("HK-AR-1 secured", func(t *testing.T) {
		l := newLab(t)
		l.par.grant = option
		m := l.ask(solicitation{secured: true, request: true, points: []ipv6.LinkAddr{narPoint}})
		l.expect("PAR asks for the key of 2001:db8:1::100", "PAR PrRtAdv 0 to 2001:db8:1::100 on 1") // HK-AR-11
		if !m.HasKeyReply || !bytes.Equal(m.KeyReply.Octets, option) || m.Tuples.Len() != 1 {
			t.Errorf("the answer has no option 28: %+v", m)
		}
		if !bytes.Equal(l.nonces[0], labNonce) {
			t.Errorf("HK-AR-9: nonce %x", l.nonces[0])
		}
	})
	for _, c := range []struct {
		name    string
		change  func(s *solicitation)
		counter string
		nonce   bool
	}{
		{"HK-AR-2 not secured", func(s *solicitation) { s.secured = false }, "key_request_not_secured", false},
		{"HK-AR-3 repeated", func(s *solicitation) { s.repeat = true }, "key_request_repeated", true},
		{"from a link-local address", func(s *solicitation) { s.src = netip.MustParseAddr("fe80::100") }, "key_request_source", true},
		{"HK-resolution-k: no option 27", func(s *solicitation) { s.request = false }, "key_requests_passed_on", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.par.grant = option
			s := solicitation{secured: true, request: true, points: []ipv6.LinkAddr{narPoint}}
			c.change(&s)
			m := l.ask(s)
			if m.HasKeyReply || m.Tuples.Len() != 1 {
				t.Errorf("answer %+v", m)
			}
			if len(l.trace) != 1 {
				t.Errorf("more than an answer: %v", l.trace)
			}
			if has := l.nonces[0] != nil; has != c.nonce {
				t.Errorf("nonce %x", l.nonces[0])
			}
			if c.counter != "key_requests_passed_on" {
				l.wantCounter(l.par, c.counter, 1)
			}
			l.wantCounter(l.par, "key_requests_passed_on", 0)
		})
	}
	t.Run("no answer in time", func(t *testing.T) {
		l := newLab(t)
		l.par.noGrant = true
		l.solicit(solicitation{secured: true, request: true, points: []ipv6.LinkAddr{narPoint}})
		l.run(1900 * time.Millisecond)
		if len(l.adverts) != 0 {
			t.Fatal("answered too early")
		}
		l.run(200 * time.Millisecond)
		if len(l.adverts) != 1 || l.adverts[0].HasKeyReply || !bytes.Equal(l.nonces[0], labNonce) {
			t.Errorf("answers %+v", l.adverts)
		}
		l.wantCounter(l.par, "key_request_too_late", 1)
		l.step(l.par, fmip.Input{Kind: fmip.InGrant, Cookie: 1, Octets: option})
		l.wantCounter(l.par, "key_grant_not_awaited", 1)
	})
	t.Run("refused", func(t *testing.T) {
		l := newLab(t)
		if m := l.ask(solicitation{secured: true, request: true, points: []ipv6.LinkAddr{narPoint}}); m.HasKeyReply {
			t.Error("a key out of nothing")
		}
		l.wantCounter(l.par, "key_request_refused", 1)
	})
}

// HK-AR-20: RtSolPr are answered three times a second for each link-layer source, and so often in all; those that wait for
// a key are bounded. Signed ones have their own share.
func TestSolicitRates(t *testing.T) {
	l := newLab(t)
	for range 30 {
		l.solicit(solicitation{points: []ipv6.LinkAddr{narPoint}})
		l.run(100 * time.Millisecond)
	}
	if n := len(l.adverts); n < 9 || n > 12 {
		t.Errorf("%d answers in 3 s, want 3 a second after a burst of 3", n)
	}
	if l.par.counter("solicit_rate_source") == 0 {
		t.Error("not counted")
	}
	l = newLab(t)
	flood := func(i int) solicitation {
		return solicitation{
			points: []ipv6.LinkAddr{narPoint}, source: ipv6.LinkAddr{2, 7, 0, byte(i >> 16), byte(i >> 8), byte(i)},
			src: netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 8: 7, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}),
		}
	}
	for i := range 10_000 {
		l.solicit(flood(i))
	}
	if n := l.par.counter("proxy_adverts_sent"); n != 100 {
		t.Errorf("%d answers to a flood at one time, want 100", n)
	}
	l.wantCounter(l.par, "solicit_rate", 9900)
	l.run(5 * time.Millisecond)
	m := l.ask(solicitation{secured: true, points: []ipv6.LinkAddr{narPoint}})
	if m.Tuples.Len() != 1 {
		t.Error("a signed message suffers from a flood of others")
	}
	l = newLab(t, func(par, _ *fmip.RouterConfig) { par.TotalRate = 1000 })
	l.par.noGrant = true
	for i := range 200 {
		s := flood(i)
		s.secured, s.request = true, true
		l.solicit(s)
	}
	l.wantCounter(l.par, "key_requests_passed_on", 64)
	l.wantCounter(l.par, "key_request_no_room", 136)
	// Admit makes the same tests before a signature is checked, and counts once.
	l = newLab(t)
	p := solicitation{points: []ipv6.LinkAddr{narPoint}}.packet(t)
	admitted := 0
	for range 10 {
		if l.par.router.Admit(l.now, p) {
			admitted++
			l.receive(l.par, p, func(in *fmip.Input) { in.Admitted = true })
		}
	}
	l.wantCounter(l.par, "proxy_adverts_sent", 3)
	if admitted != 3 {
		t.Errorf("%d admitted", admitted)
	}
	other := naPacket(t, labNew, labNew, 0, nodeLink)
	if !l.par.router.Admit(l.now, other) {
		t.Error("a message of another kind is not let through")
	}
}

// What is not a valid RtSolPr of a node on the link is dropped and counted.
func TestSolicitRefused(t *testing.T) {
	for name, c := range map[string]struct {
		s       solicitation
		counter string
	}{
		"hop limit":       {solicitation{hops: 254}, "nd_bad_hop_limit"},
		"foreign source":  {solicitation{src: netip.MustParseAddr("2001:db8:66::1")}, "solicit_source"},
		"router's source": {solicitation{src: parAddr}, "solicit_source"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			c.s.points = []ipv6.LinkAddr{narPoint}
			l.solicit(c.s)
			l.run(10 * time.Millisecond)
			if len(l.adverts) != 0 {
				t.Error("answered")
			}
			l.wantCounter(l.par, c.counter, 1)
		})
	}
}

// The network can ask a node to move (RFC 5568 section 3.3): code 1 with a target, code 4 without one. Nothing changes for
// its packets until its FBU comes.
func TestTrigger(t *testing.T) {
	l := newLab(t)
	keyed(l)
	l.event(l.par, fmip.LinkWeak, narPoint)
	l.run(10 * time.Millisecond)
	l.expect("PAR PrRtAdv 1 to 2001:db8:1::100 on 1")
	if m := l.adverts[0]; m.Identifier != 0 || m.Tuples.Len() != 1 || m.Tuples.At(0).Router != narAddr {
		t.Errorf("PrRtAdv %+v", m)
	}
	l.event(l.par, fmip.LinkWeak, ipv6.LinkAddr{})
	l.run(10 * time.Millisecond)
	l.expect("PAR PrRtAdv 4 to 2001:db8:1::100 on 1")
	l.event(l.par, fmip.LinkWeak, narPoint)
	l.run(10 * time.Millisecond)
	l.expect()
	l.wantCounter(l.par, "trigger_rate", 1)
	l.run(5 * time.Second)
	l.event(l.par, fmip.LinkWeak, parPoint) // on the same link: no handover
	l.expect()
	l.wantCounter(l.par, "trigger_unknown_target", 1)

	effects, err := l.par.router.Trigger(l.now, labHome, narPoint)
	if err != nil || len(effects) != 2 {
		t.Errorf("Trigger: %v, %v", effects, err)
	}
	if _, err := l.par.router.Trigger(l.now, labHome, ipv6.LinkAddr{2, 9}); !errors.Is(err, fmip.ErrUnknownPoint) {
		t.Errorf("Trigger to an unknown access point: %v", err)
	}
	if _, err := l.par.router.Trigger(l.now, labHome.Next(), narPoint); !errors.Is(err, fmip.ErrUnknownNode) {
		t.Errorf("Trigger of an unknown node: %v", err)
	}
	// A station that nobody knows gets nothing.
	l.step(l.par, fmip.Input{Kind: fmip.InLinkEvent, Link: labLink, Node: ipv6.LinkAddr{2, 8}, Event: fmip.LinkWeak, Target: narPoint})
	l.expect()
	l.wantCounter(l.par, "event_unknown_station", 1)
}
