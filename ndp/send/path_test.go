package send_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/send"
)

// hosts gives a router and a host, which takes what routers say by certification path.
func hosts(t testing.TB, change ...func(*send.Config)) (l *lab, router, h *node) {
	l = newLab(t)
	return l, l.node(vectorKey()), l.node(otherKey(), append([]func(*send.Config){host}, change...)...)
}

var certified = []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/48")}

// certify tells the host the path of a router, or that there is none.
func (n *node) certify(router *node, ok bool, prefixes ...netip.Prefix) []delivery {
	n.lab.t.Helper()
	before := len(n.delivered)
	in := send.Input{Kind: send.InPath, OK: ok, KeyHash: cga.KeyHash(router.key.spki), Prefixes: prefixes}
	if ok {
		in.PublicKey = router.key.spki
	}
	n.step(in)
	return n.delivered[before:]
}

// A router advertisement of a key without path is verified, then held until the path is known, and then delivered once.
func TestPathIsAskedFor(t *testing.T) {
	_, router, h := hosts(t, secured)
	ra := router.say(routerAdvert(router.local, ipv6.AllNodes()))
	if got := h.hear(stranger, ra); len(got) != 0 {
		t.Fatalf("delivered without path: %+v", got)
	}
	if len(h.paths) != 1 || h.paths[0].KeyHash != cga.KeyHash(router.key.spki) || h.paths[0].Router != router.local {
		t.Fatalf("asked for %+v", h.paths)
	}
	if h.end.Deadline().IsZero() {
		t.Error("it would wait for ever")
	}
	// A second answer about its signature changes nothing.
	h.step(send.Input{Kind: send.InVerified, Job: 1 << 17, OK: false})
	h.step(send.Input{Kind: send.InVerified, Job: 1 << 17, OK: true})
	if waits, _ := h.end.Waiting(); waits != 1 || h.counters()["job_unknown"] != 2 || len(h.delivered) != 0 {
		t.Errorf("%d wait; %s", waits, h.nonzero())
	}
	// Another one meanwhile asks for no second path.
	h.hear(stranger, router.say(routerAdvert(router.local, ipv6.AllNodes())))
	if len(h.paths) != 1 {
		t.Errorf("asked %d times", len(h.paths))
	}
	got := h.certify(router, true, certified...)
	if len(got) != 2 {
		t.Fatalf("delivered %+v; %s", got, h.nonzero())
	}
	for _, d := range got {
		s := d.security
		if !s.Fresh() || !s.Authorized || !s.CGA || !s.Covers(netip.MustParsePrefix("2001:db8:1:7::/64")) ||
			s.Covers(netip.MustParsePrefix("2001:db8:2::/64")) || s.Covers(netip.MustParsePrefix("2001:db8::/32")) {
			t.Errorf("%+v", s)
		}
	}
	if d := h.secured(router.say(routerAdvert(router.local, ipv6.AllNodes()))); !d.security.Authorized {
		t.Errorf("%+v", d.security)
	}
	if waits, _ := h.end.Waiting(); waits != 0 || !h.end.Deadline().IsZero() {
		t.Errorf("%d wait still", waits)
	}
}

// Without CGA option the key is that of the path, and is verified with it when it is known.
func TestPathTellsTheKey(t *testing.T) {
	_, router, h := hosts(t, secured)
	bare := router.key.lacking(t, router.say(routerAdvert(router.local, ipv6.AllNodes())), ndp.OptCGA)
	if got := h.hear(stranger, bare); len(got) != 0 || len(h.paths) != 1 {
		t.Fatalf("%+v, asked %d", got, len(h.paths))
	}
	got := h.certify(router, true, certified...)
	if len(got) != 1 || !got[0].security.Authorized || got[0].security.CGA ||
		!bytes.Equal(got[0].security.PublicKey, router.key.spki) {
		t.Fatalf("%+v; %s", got, h.nonzero())
	}
	// The same with a wrong signature: the path does not make it better.
	forged := router.key.lacking(t, router.say(routerAdvert(router.local, ipv6.AllNodes())), ndp.OptCGA)
	forged[len(forged)-30] ^= 1
	h.drops(recheck(forged), "dropped_bad_signature")
}

// Where there is no path the message is not secured, and is not asked for again at once.
func TestNoPath(t *testing.T) {
	for _, mixed := range []bool{false, true} {
		l, router, h := hosts(t, func(cfg *send.Config) { cfg.Secured = !mixed })
		h.hear(stranger, router.say(routerAdvert(router.local, ipv6.AllNodes())))
		got := h.certify(router, false)
		if mixed != (len(got) == 1) {
			t.Fatalf("mixed %v: %+v", mixed, got)
		}
		if mixed && (got[0].security.Secured || got[0].security.Why != send.ReasonNoPath) {
			t.Errorf("%+v", got[0].security)
		}
		if len(h.events) != 1 || h.events[0].Kind != send.EventNoPath || h.events[0].Addr != router.local {
			t.Errorf("events %+v", h.events)
		}
		ra := router.say(routerAdvert(router.local, ipv6.AllNodes()))
		jobs := h.counters()["verify_jobs"]
		if mixed {
			h.unsecured(ra, send.ReasonNoPath)
		} else {
			h.drops(ra, "dropped_no_path")
		}
		if h.counters()["verify_jobs"] != jobs || len(h.paths) != 1 {
			t.Errorf("RSA for a key that has no path; asked %d times", len(h.paths))
		}
		l.advance(time.Minute)
		h.hear(stranger, router.say(routerAdvert(router.local, ipv6.AllNodes())))
		if len(h.paths) != 2 {
			t.Errorf("asked %d times", len(h.paths))
		}
		// Nobody answers: it does not wait for ever.
		l.advance(20 * time.Second)
		before := len(h.delivered)
		h.step(send.Input{Kind: send.InTick})
		if waits, _ := h.end.Waiting(); waits != 0 || mixed != (len(h.delivered) == before+1) {
			t.Errorf("%d wait, %d delivered", waits, len(h.delivered)-before)
		}
	}
}

// A copy of a message that waits for its path waits, too; once it is known, a copy with another's key hash is verified,
// for that field is not signed.
func TestCopiesOfRouters(t *testing.T) {
	_, router, h := hosts(t)
	ra := router.say(routerAdvert(router.local, ipv6.AllNodes()))
	for range 2 {
		if got := h.hear(stranger, ra); len(got) != 0 {
			t.Fatalf("%+v", got)
		}
	}
	if got := h.certify(router, true, certified...); len(got) != 2 || !got[0].security.Fresh() || !got[1].security.Repeat {
		t.Fatalf("%+v", got)
	}
	other := &node{key: strangeKey()}
	h.certify(other, true, certified...)
	bare := router.key.lacking(t, router.say(routerAdvert(router.local, ipv6.AllNodes())), ndp.OptCGA)
	h.secured(bare)
	hash := cga.KeyHash(strangeKey().spki)
	copy(bare[ipv6.HeaderLen+option(t, bare, ndp.OptSignature).Offset+4:], hash[:])
	h.unsecured(recheck(bare), send.ReasonSignature)
}

// A path that is over is asked for anew, and one that is taken back counts no more.
func TestPathEnds(t *testing.T) {
	l, router, h := hosts(t, secured)
	h.certify(router, true, certified...)
	h.secured(router.say(routerAdvert(router.local, ipv6.AllNodes())))
	l.advance(time.Hour)
	if got := h.hear(stranger, router.say(routerAdvert(router.local, ipv6.AllNodes()))); len(got) != 0 || len(h.paths) != 1 {
		t.Errorf("%+v, asked %d", got, len(h.paths))
	}
	h.certify(router, true, certified...)
	h.certify(router, false)
	h.drops(router.say(routerAdvert(router.local, ipv6.AllNodes())), "dropped_no_path")
}

// A redirect that makes its destination a neighbour is for prefixes of the path only (RFC 3971 section 7.2).
func TestRedirectRange(t *testing.T) {
	_, router, h := hosts(t)
	h.certify(router, true, certified...)
	inside, outside := netip.MustParseAddr("2001:db8:1::9"), netip.MustParseAddr("2001:db8:2::9")
	h.secured(router.say(redirect(router.local, h.local, inside, inside)))
	h.unsecured(router.say(redirect(router.local, h.local, outside, outside)), send.ReasonRange)
	// To another router everything can be redirected.
	h.secured(router.say(redirect(router.local, h.local, netip.MustParseAddr("fe80::5"), outside)))
	// A path without prefixes covers none.
	h.certify(router, true)
	h.unsecured(router.say(redirect(router.local, h.local, inside, inside)), send.ReasonRange)
}

// The four methods of RFC 3971 section 5.2.3, for an advertisement of a router with a CGA and of one without, whose key has
// a path or has none.
func TestMethods(t *testing.T) {
	for _, c := range []struct {
		method               send.Method
		cgaOnly, path, both  bool
		neither              send.Reason
		withoutPath, without send.Reason // CGA without path; path without CGA
	}{
		{send.ByCGA, true, false, true, send.ReasonNoCGA, 0, send.ReasonNoCGA},
		{send.ByAnchor, false, true, true, send.ReasonNoPath, send.ReasonNoPath, 0},
		{send.ByAnchorAndCGA, false, false, true, send.ReasonNoCGA, send.ReasonNoPath, send.ReasonNoCGA},
		{send.ByAnchorOrCGA, true, true, true, send.ReasonNoPath, 0, 0},
	} {
		for _, path := range []bool{false, true} {
			_, router, h := hosts(t, func(cfg *send.Config) { cfg.Methods[send.MessageRouterAdvert] = c.method })
			h.certify(router, path, certified...)
			ra := router.say(routerAdvert(router.local, ipv6.AllNodes()))
			bare := router.key.lacking(t, ra, ndp.OptCGA)
			switch {
			case path && !c.both, !path && !c.cgaOnly:
				h.unsecured(ra, c.withoutPath)
			default:
				if d := h.secured(ra); d.security.Authorized != path || !d.security.CGA {
					t.Errorf("%+v", d.security)
				}
			}
			switch {
			case path && c.path:
				h.secured(bare)
			case path:
				h.unsecured(bare, c.without)
			default:
				h.unsecured(bare, c.neither)
			}
		}
	}
	// By anchor, an address that is no CGA of the key makes no difference; with "and" it does.
	for method, ok := range map[send.Method]bool{send.ByAnchor: true, send.ByAnchorOrCGA: true, send.ByAnchorAndCGA: false} {
		_, router, h := hosts(t, func(cfg *send.Config) { cfg.Methods[send.MessageRouterAdvert] = method })
		h.certify(router, true, certified...)
		plain := netip.MustParseAddr("fe80::ff:fe00:1")
		ra := router.key.at(t, routerAdvert(plain, ipv6.AllNodes()), h.lab.wall, nil)
		if ok {
			if d := h.secured(ra); d.security.CGA {
				t.Errorf("%+v", d.security)
			}
		} else {
			h.unsecured(ra, send.ReasonCGA)
		}
	}
}

// Keys that are made up ask for no more paths than a few, and put out none that is known.
func TestPathsAreBounded(t *testing.T) {
	l, router, h := hosts(t)
	h.certify(router, true, certified...)
	ra := router.key.lacking(t, router.say(routerAdvert(router.local, ipv6.AllNodes())), ndp.OptCGA)
	at := ipv6.HeaderLen + option(t, ra, ndp.OptSignature).Offset + 4
	for i := range 1000 {
		flood := bytes.Clone(ra)
		flood[at], flood[at+1] = byte(i), byte(i>>8)
		h.hear(ipv6.LinkAddr{2, 0, 0, 1, byte(i >> 8), byte(i)}, recheck(flood))
		if i%10 == 0 {
			l.advance(time.Second)
			h.certify(&node{key: &rsaKey{spki: []byte{byte(i)}}}, false)
		}
	}
	if waits, _ := h.end.Waiting(); waits > 64 {
		t.Errorf("%d wait", waits)
	}
	if asked := len(h.paths); asked > 8*(100/18+2) {
		t.Errorf("asked for %d paths in 100 s", asked)
	}
	if h.counters()["unsecured_path_limit"] == 0 {
		t.Error(h.nonzero())
	}
	if d := h.secured(router.say(routerAdvert(router.local, ipv6.AllNodes()))); !d.security.Authorized {
		t.Errorf("%+v", d.security)
	}
}
