package lke

import (
	"crypto/sha256"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

// Keys do not outlive their associations: they are overwritten when a detection fails, when another association takes the
// place, and at expiry.
func TestRouterWipesKeys(t *testing.T) {
	home := netip.MustParseAddr("2001:db8:1::5")
	router := netip.MustParseAddr("2001:db8:1::1")
	make2 := func() (*Router, *routerNode) {
		r := NewRouter(RouterConfig{
			Links: []Link{{Name: "lan0", Index: 1, LinkLocal: netip.MustParseAddr("fe80::1"),
				Prefixes: []LinkPrefix{{Prefix: netip.MustParsePrefix("2001:db8:1::/64"), Router: router}}}},
			Rand: rand.NewChaCha8(sha256.Sum256(nil)),
		})
		n := r.node(home, r.byIndex[1])
		return r, n
	}
	begin := func(r *Router, n *routerNode, now pacing.Time) *association {
		r.lastJob++
		n.request = &keyRequest{
			job: r.lastJob, source: ipv6.LinkAddr{2}, nodeLocal: netip.MustParseAddr("fe80::5"), lifetime: 3600, expires: pacing.Never,
		}
		r.jobs[r.lastJob] = n
		r.keyFound(now, r.lastJob, [KeyLen]byte{1, 2, 3})
		if n.dad == nil || n.dad.candidate.key[0] != 1 {
			t.Fatal("no detection began")
		}
		return n.dad.candidate
	}
	gone := func(a *association, when string) {
		t.Helper()
		if a.key != [KeyLen]byte{} {
			t.Errorf("the key is still there %s", when)
		}
	}
	base := time.Unix(1e9, 0)

	r, n := make2()
	r.clock.At(base)
	a := begin(r, n, 0)
	r.Step(base.Add(2*time.Second), Input{Kind: InTick})
	gone(a, "after a detection that nobody answered")

	r, n = make2()
	r.clock.At(base)
	a = begin(r, n, 0)
	b := begin(r, n, 1)
	gone(a, "after a newer request took its place")
	b.advert = []byte{1}
	r.Step(base.Add(2*time.Second), Input{Kind: InTick})
	if n.lbsa != b {
		t.Fatal("not valid")
	}
	c := begin(r, n, pacing.Time(10*time.Second))
	c.advert = []byte{1}
	r.Step(base.Add(12*time.Second), Input{Kind: InTick})
	gone(b, "after a newer association took its place")
	r.Step(base.Add(2*time.Hour), Input{Kind: InTick})
	gone(c, "after expiry")
	if len(r.nodes) != 0 || len(r.jobs) != 0 || r.timers.Len() != 0 {
		t.Errorf("left over: %d nodes, %d jobs, %d timers", len(r.nodes), len(r.jobs), r.timers.Len())
	}
}

// Each counter has a name of its own.
func TestRouterCounterNames(t *testing.T) {
	seen := map[string]bool{}
	NewRouter(RouterConfig{}).Counters(func(name string, value uint64) {
		if name == "" || seen[name] || value != 0 {
			t.Errorf("counter %q, %d", name, value)
		}
		for _, c := range name {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
				t.Errorf("counter %q is not in snake case", name)
			}
		}
		seen[name] = true
	})
	if len(seen) < 80 {
		t.Errorf("%d counters", len(seen))
	}
}

// A stream of stations that come and go takes no more memory than those whose back-off still counts (LKE-AR-11).
func TestIdlePairsMakeRoom(t *testing.T) {
	cfg := RouterConfig{RequestInterval: 3 * time.Second, RequestBackoffMax: 48 * time.Second}
	var l requestLimits
	l.resize(100_000)
	now := pacing.Time(0).Add(time.Hour)
	for i := range 1000 {
		key := pairKey{stationKey: stationKey{link: 1, source: ipv6.LinkAddr{2, 0, 0, byte(i >> 8), byte(i)}}}
		if why := l.allow(now, key, &cfg); why != countNone {
			t.Fatalf("station %d: %v", i, why)
		}
		l.succeeded(key, cfg.RequestInterval)
		now = now.Add(time.Second)
	}
	if n := l.pairs.Len(); n > 5 {
		t.Fatalf("%d pairs are remembered, 3 count", n)
	}
}
