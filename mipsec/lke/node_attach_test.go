package lke

import (
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// LKE-MN-1: a router that speaks LKE is preferred; without one the node is a plain mobile node.
func TestNodePrefersRouterWithKeyExchange(t *testing.T) {
	spki := nodeTestSPKI(t)
	plain, speaks, second := newNodePeer(t, 1, nil), newNodePeer(t, 2, spki), newNodePeer(t, 3, spki)

	b := newNodeBench(t)
	b.attached(plain)
	if s := b.n.State(); s.RouterKeyExchange || s.Router != plain.linkLocal || !s.Usable {
		t.Fatalf("LKE-MN-1: the first router is to be used at once, whatever it speaks: %+v", s)
	}
	b.advance(10 * time.Second)
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 0 {
		t.Fatal("LKE-MN-1: a request to a router that does not speak LKE")
	}
	old := b.n.State().CareOf
	b.take()

	b.receive(speaks.advert())
	s := b.n.State()
	if s.Router != speaks.linkLocal || !s.RouterKeyExchange || !speaks.prefix.Contains(s.CareOf) {
		t.Fatalf("LKE-MN-1: a router that speaks LKE is to be preferred: %+v", s)
	}
	if e, ok := b.effect(EffectRelease); !ok || e.Home != old {
		t.Error("the address of the plain router was not given up")
	}
	if e, ok := b.effect(EffectUnbind); !ok || e.Home != old {
		t.Error("the address of the plain router is kept, though there is no association for it")
	}
	if p := b.lastRequest(); p.Dst != speaks.linkLocal || p.HomeAddress != s.CareOf {
		t.Errorf("LKE-MN-1: request to %v for %v", p.Dst, p.HomeAddress)
	}

	// Whoever comes later, with or without LKE, does not take its place.
	b.drops("drop_ra_other_router", func() { b.receive(second.advert()) })
	b.drops("drop_ra_other_router", func() { b.receive(plain.advert()) })
}

// Each router that the node takes is reported once, with whether it speaks LKE.
func TestNodeReportsRouters(t *testing.T) {
	plain, speaks := newNodePeer(t, 1, nil), newNodePeer(t, 2, nodeTestSPKI(t))
	b := newNodeBench(t).attached(plain)
	b.receive(plain.advert())
	b.receive(speaks.advert())
	b.receive(speaks.advert())
	var found []Event
	for _, e := range b.effects {
		if e.Kind == EffectReport && e.Event.Kind == EventRouterFound {
			found = append(found, e.Event)
		}
	}
	if len(found) != 2 || found[0].Router != plain.global || found[1].Router != speaks.global ||
		found[0].Detail == found[1].Detail || found[1].Node != nodeTestHardware || found[1].Link != nodeTestLink {
		t.Errorf("reports %+v", found)
	}
}

// LKE-MN-1: what makes a router one that speaks LKE (LKE-AR-1, LKE-AR-2 from the node's side). LKE-resolution-b: its key
// is an RSA key of 1024 bits or more in SubjectPublicKeyInfo.
func TestNodeCapability(t *testing.T) {
	spki := nodeTestSPKI(t)
	broken := append([]byte(nil), spki...)
	broken[9] ^= 1 // another algorithm
	for _, c := range []struct {
		name    string
		spki    []byte
		advert  func(*nodeAdvert)
		minBits int
		want    bool
	}{
		{name: "as it should be", spki: spki, want: true},
		{name: "H flag not set", spki: spki, advert: func(a *nodeAdvert) { a.noHome = true }},
		{name: "no key"},
		{name: "key of another algorithm", spki: broken},
		{name: "key too short for this node", spki: spki, minBits: 2048},
		{name: "maximum lifetime zero", spki: spki, advert: func(a *nodeAdvert) { a.maximum = 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newNodeBench(t, func(cfg *NodeConfig) { cfg.MinBits = c.minBits })
			r := newNodePeer(t, 1, c.spki)
			b.step(Input{Kind: InAttached})
			if c.advert == nil {
				c.advert = func(*nodeAdvert) {}
			}
			b.receive(r.advert(c.advert))
			if s := b.n.State(); s.RouterKeyExchange != c.want || !s.Usable {
				t.Errorf("LKE-MN-1, LKE-resolution-b: %+v, want RouterKeyExchange %v and an address", s, c.want)
			}
			if got := len(nodeOnly(b.sent, nodeSentKEReq)); got != map[bool]int{true: 1}[c.want] {
				t.Errorf("LKE-MN-1: %d requests", got)
			}
		})
	}
}

// A router on the same prefix that speaks LKE takes over without a change of address.
func TestNodeSecondRouterOfOnePrefix(t *testing.T) {
	plain, speaks := newNodePeer(t, 1, nil), newNodePeer(t, 2, nodeTestSPKI(t))
	b := newNodeBench(t).attached(plain)
	careOf := b.n.State().CareOf
	b.take()
	b.receive(speaks.advert(func(a *nodeAdvert) { a.prefix = plain.prefix }))
	if s := b.n.State(); s.CareOf != careOf || s.Router != speaks.linkLocal {
		t.Fatalf("LKE-MN-1: %+v, want address %v by the router that speaks LKE", s, careOf)
	}
	if _, ok := b.effect(EffectRelease); ok {
		t.Error("the address was given up")
	}
	if p := b.lastRequest(); p.Dst != speaks.linkLocal || p.HomeAddress != careOf {
		t.Errorf("request to %v for %v", p.Dst, p.HomeAddress)
	}
}

func TestNodeSolicitation(t *testing.T) {
	b := newNodeBench(t)
	if !b.n.Deadline().IsZero() {
		t.Error("a node that is not attached has a deadline")
	}
	b.step(Input{Kind: InAttached})
	b.advance(70 * time.Second)
	sent := nodeOnly(b.take(), nodeSentRS)
	for i, s := range sent {
		want := []time.Duration{0, 4, 8, 16, 32, 64}[i] * time.Second
		if got := s.at.Sub(nodeTestStart); got != want {
			t.Errorf("solicitation %d at %v, want %v (RFC 4861 section 6.3.7, RFC 7559)", i, got, want)
		}
	}
	if len(sent) != 6 {
		t.Errorf("%d solicitations, want 6", len(sent))
	}
	b.advance(24 * time.Hour)
	if got := len(nodeOnly(b.take(), nodeSentRS)); got < 24 || got > 32 {
		t.Errorf("%d solicitations in a day, want about one an hour", got)
	}
	// A router that speaks up late is used all the same, and ends the solicitation of the next attachment.
	b.attached(newNodePeer(t, 1, nil))
	b.advance(60 * time.Second)
	if got := len(nodeOnly(b.sent, nodeSentRS)); got != 1 {
		t.Errorf("%d solicitations with an answer to the first, want 1", got)
	}
}

func TestNodeBadAdvertisements(t *testing.T) {
	r := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t)
	b.drops("drop_ra_not_attached", func() { b.receive(r.advert()) })
	b.step(Input{Kind: InAttached})
	b.take()

	p := r.advert()
	p.HopLimit = 254
	b.drops("drop_nd_bad_hop_limit", func() { b.receive(p) })
	p = r.advert()
	p.Payload[6] ^= 1
	b.drops("drop_nd_bad_checksum", func() { b.receive(p) })
	p = r.advert()
	p.LinkSource = nodeTestHardware
	b.drops("drop_ra_sender", func() { b.receive(p) })
	p = r.advert()
	p.Interface = nodeTestLink + 1
	b.drops("drop_other_link", func() { b.receive(p) })
	b.drops("drop_ra_no_prefix", func() { b.receive(r.advert(func(a *nodeAdvert) { a.noPrefix = true })) })
	b.drops("drop_ra_no_prefix", func() { b.receive(r.advert(func(a *nodeAdvert) { a.preferred = 0 })) })
	b.drops("drop_ra_no_prefix", func() {
		b.receive(r.advert(func(a *nodeAdvert) { a.prefix = netip.MustParsePrefix("fe80::/64") }))
	})
	b.drops("drop_ra_ceased", func() { b.receive(r.advert(func(a *nodeAdvert) { a.lifetime = 0 })) })

	// Where the link has no link-layer source, the option tells it.
	p = r.advert(func(a *nodeAdvert) { a.linkOption = r.hw })
	p.LinkSource = ipv6.LinkAddr{}
	b.receive(p)
	if s := b.n.State(); s.RouterLink != r.hw {
		t.Errorf("router %v, want %v", s.RouterLink, r.hw)
	}
}

// A link that comes up again is the same link if the same prefix is advertised: nothing of what was agreed on is lost.
func TestNodeAttachesToTheSameLink(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).associated(par)
	before := b.n.State()
	b.step(Input{Kind: InAttached})
	if got := len(nodeOnly(b.sent, nodeSentRS)); got != 1 {
		t.Errorf("%d router solicitations, want 1", got)
	}
	b.receive(par.advert())
	after := b.n.State()
	if after.CareOf != before.CareOf || len(after.Associations) != 1 || after.Associations[0] != before.Associations[0] {
		t.Errorf("state changed from %+v to %+v", before, after)
	}
	if e, ok := b.effect(EffectConfigure); !ok || e.Home != before.CareOf || e.Router != par.linkLocal {
		t.Error("the address was not configured again: a kernel may have lost it with the link")
	}
	b.advance(time.Minute)
	for _, s := range b.sent {
		if s.p.Proto == ipv6.ProtoMobility {
			t.Errorf("the node sent %+v", s.p)
		}
	}
}

// What an advertisement says of several prefixes: the address that the node has, or had there, comes first; then one in
// the router's own prefix.
func TestNodeChoosesAddress(t *testing.T) {
	par, nar := newNodePeer(t, 1, nodeTestSPKI(t)), newNodePeer(t, 2, nil)
	other := func(a *nodeAdvert) { a.before = netip.MustParsePrefix("2001:db8:99::/64") }
	b := newNodeBench(t)
	b.step(Input{Kind: InAttached})
	b.receive(par.advert(other))
	home := b.n.State().CareOf
	if !par.prefix.Contains(home) {
		t.Fatalf("address %v, want one in the router's own prefix", home)
	}
	if _, ok := b.effect(EffectRelease); ok {
		t.Error("no address was given up: there was none")
	}
	b.exchange(par, 1)
	b.step(Input{Kind: InAttached})
	b.receive(par.advert(other, func(a *nodeAdvert) { a.noRouter = true }))
	if got := b.n.State().CareOf; got != home {
		t.Errorf("address %v on the same link, want %v", got, home)
	}
	b.step(Input{Kind: InAttached})
	b.receive(par.advert(func(a *nodeAdvert) { a.preferred = 0 }))
	if s := b.n.State(); s.CareOf != home || !b.n.ready() {
		t.Errorf("a deprecated address is the only one, and is not used: %+v", s)
	}
	b.n.cfg.InterfaceID = 0x1234
	b.moved(nar)
	if got := b.n.State().CareOf; got == home || b.n.association(home) == nil {
		t.Fatalf("address %v", got)
	}
	b.moved(par)
	if got := b.n.State().CareOf; got != home {
		t.Errorf("address %v back on the link of an association, want that of the association, %v", got, home)
	}
}

// Between two links nothing is said from an address that may not be there.
func TestNodeIsSilentBetweenLinks(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).attached(par)
	b.take()
	b.step(Input{Kind: InAttached})
	b.advance(time.Minute)
	if got := len(nodeOnly(b.take(), nodeSentKEReq)); got != 0 {
		t.Errorf("%d requests while no router was heard, want 0", got)
	}
	b.receive(par.advert())
	if got := len(nodeOnly(b.sent, nodeSentKEReq)); got != 1 {
		t.Errorf("%d requests on the same link again, want 1: the exchange goes on", got)
	}
}

func TestNodeDuplicateAddress(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t)
	b.holdDAD = true
	b.step(Input{Kind: InAttached})
	b.receive(par.advert())
	careOf := b.n.State().CareOf
	b.step(Input{Kind: InAddress, Home: netip.MustParseAddr("2001:db8::1")})
	if b.n.State().Usable {
		t.Error("another address was taken for the care-of address")
	}
	b.step(Input{Kind: InAddress, Home: careOf, Failed: true})
	if s := b.n.State(); s.CareOf.IsValid() || s.Usable || !b.has(EventLost) {
		t.Errorf("a duplicate address is still used: %+v, events %v", s, b.events())
	}
	b.drops("drop_ra_no_prefix", func() { b.receive(par.advert()) })
	b.advance(time.Minute)
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 0 {
		t.Error("a request for a duplicate address")
	}

	// An optimistic address is in use when it turns out to be a duplicate.
	b = newNodeBench(t).associated(par)
	b.step(Input{Kind: InAddress, Home: careOf, Failed: true})
	if s := b.n.State(); s.CareOf.IsValid() || s.Usable || len(s.Associations) != 0 {
		t.Errorf("a duplicate address is still used: %+v", s)
	}
	b.advance(time.Hour)
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 0 {
		t.Error("a request for a duplicate address")
	}
}

// A router that ceases to be one is given up, and another one looked for; what was agreed on with it stays.
func TestNodeRouterCeases(t *testing.T) {
	par, nar := newNodePeer(t, 1, nodeTestSPKI(t)), newNodePeer(t, 2, nil)
	for name, cease := range map[string]func(b *nodeBench){
		"by lifetime zero": func(b *nodeBench) { b.receive(par.advert(func(a *nodeAdvert) { a.lifetime = 0 })) },
		"by silence":       func(b *nodeBench) { b.advance(2 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newNodeBench(t).associated(par)
			b.receive(par.advert(func(a *nodeAdvert) { a.lifetime = 60 }))
			b.take()
			cease(b)
			if s := b.n.State(); s.Router.IsValid() || len(s.Associations) != 1 {
				t.Errorf("state %+v, want no router, and the association", s)
			}
			if e, ok := b.effect(EffectConfigure); !ok || e.Lifetime != 0 || e.Router != par.linkLocal {
				t.Error("the default route was not withdrawn")
			}
			if len(nodeOnly(b.sent, nodeSentRS)) == 0 {
				t.Error("no other router was asked for")
			}
			b.receive(nar.advert())
			if s := b.n.State(); s.Router != nar.linkLocal {
				t.Errorf("router %v, want the one that came instead, %v", s.Router, nar.linkLocal)
			}
			if len(nodeOnly(b.sent, nodeSentBU)) != 1 {
				t.Error("no binding update to the router that ceased: it may still forward")
			}
		})
	}
}

// A prefix that is deprecated makes room for another one of the same advertisement's router.
func TestNodeRenumbering(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	other := netip.MustParsePrefix("2001:db8:99::/64")
	b := newNodeBench(t).associated(par)
	old := b.n.State().CareOf
	b.receive(par.advert(func(a *nodeAdvert) { a.prefix = other }))
	b.receive(par.advert(func(a *nodeAdvert) { a.noPrefix = true }))
	if got := b.n.State().CareOf; got != old {
		t.Fatalf("the address was given up for a prefix that is advertised beside its own: %v", got)
	}
	b.receive(par.advert(func(a *nodeAdvert) { a.preferred = 0 }))
	b.receive(par.advert())
	b.receive(par.advert(func(a *nodeAdvert) { a.prefix = other }))
	if got := b.n.State().CareOf; got != old {
		t.Fatalf("the address was given up though it is preferred again: %v", got)
	}
	b.receive(par.advert(func(a *nodeAdvert) { a.preferred = 0 }))
	if got := b.n.State().CareOf; got != old {
		t.Fatalf("a deprecated address was given up for nothing better: %v", got)
	}
	b.receive(par.advert(func(a *nodeAdvert) { a.prefix = other }))
	if got := b.n.State().CareOf; !other.Contains(got) {
		t.Fatalf("care-of address %v, want one in %v", got, other)
	}
	if len(nodeOnly(b.sent, nodeSentBU)) != 0 {
		t.Error("LKE-resolution-u: a binding update to the router on whose link the new address is")
	}
	b.advance(2 * time.Second) // requests to one router keep their pace, whatever they are for
	if p := b.lastRequest(); !other.Contains(p.HomeAddress) {
		t.Errorf("request for %v, want the new address", p.HomeAddress)
	}
}

// The default route is refreshed before it runs out, and not with each advertisement.
func TestNodeRefreshesRoute(t *testing.T) {
	r := newNodePeer(t, 1, nil)
	b := newNodeBench(t).attached(r)
	b.take()
	long := func(a *nodeAdvert) { a.lifetime = 1800 }
	b.receive(r.advert(long))
	b.advance(time.Minute)
	b.receive(r.advert(long))
	if _, ok := b.effect(EffectConfigure); ok {
		t.Error("the route was set again though it lasts")
	}
	b = newNodeBench(t)
	b.step(Input{Kind: InAttached})
	b.receive(r.advert(long))
	b.take()
	b.advance(1000 * time.Second)
	b.receive(r.advert(long))
	if e, ok := b.effect(EffectConfigure); !ok || e.Lifetime != 1800*time.Second {
		t.Errorf("the route was not refreshed at half of its lifetime: %+v", e)
	}
}
