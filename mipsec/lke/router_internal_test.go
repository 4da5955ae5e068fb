package lke

import (
	"crypto/sha256"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// The heap gives its nodes in the order of their moments, also after any of them was moved or taken out.
func TestRouterTimersOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h routerTimers
	nodes := make([]*routerNode, 200)
	for i := range nodes {
		nodes[i] = &routerNode{place: -1, wake: routerNever}
	}
	for range 5000 {
		n := nodes[random.IntN(len(nodes))]
		switch random.IntN(4) {
		case 0:
			h.set(n, routerNever)
		default:
			h.set(n, routerTime(random.IntN(1000)))
		}
	}
	var want []routerTime
	for _, n := range nodes {
		if (n.place >= 0) != (n.wake != routerNever) {
			t.Fatalf("place %d, moment %d", n.place, n.wake)
		}
		if n.place >= 0 {
			want = append(want, n.wake)
		}
	}
	slices.Sort(want)
	var got []routerTime
	for n := h.first(); n != nil; n = h.first() {
		got = append(got, n.wake)
		h.remove(n)
	}
	if !slices.Equal(got, want) || len(want) < 50 {
		t.Errorf("%d moments come out of order", len(want))
	}
}

// The bounded table keeps what was put last, whatever its bound becomes.
func TestRouterTable(t *testing.T) {
	var table routerTable[int, string]
	table.resize(3)
	for i := range 5 {
		*table.put(i) = string(rune('a' + i))
		table.put(1)
	}
	present := func() (keys []int) {
		for i := range 10 {
			if table.get(i) != nil {
				keys = append(keys, i)
			}
		}
		return keys
	}
	if got := present(); !slices.Equal(got, []int{1, 3, 4}) {
		t.Errorf("the table holds %v, want 1, 3 and 4", got)
	}
	table.resize(2)
	if got := present(); !slices.Equal(got, []int{1, 4}) {
		t.Errorf("with a bound of 2 the table holds %v, want 1 and 4", got)
	}
	table.resize(4)
	*table.put(8), *table.put(9) = "i", "j"
	if got := present(); !slices.Equal(got, []int{1, 4, 8, 9}) || *table.get(4) != "e" {
		t.Errorf("with a bound of 4 the table holds %v", got)
	}
	if len(table.slots) != 4 || len(table.index) != 4 {
		t.Errorf("%d slots, %d keys", len(table.slots), len(table.index))
	}
}

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
	begin := func(r *Router, n *routerNode, now routerTime) *association {
		r.lastJob++
		n.request = &keyRequest{
			job: r.lastJob, source: ipv6.LinkAddr{2}, nodeLocal: netip.MustParseAddr("fe80::5"), lifetime: 3600, expires: routerNever,
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
	r.clock(base)
	a := begin(r, n, 0)
	r.Step(base.Add(2*time.Second), Input{Kind: InTick})
	gone(a, "after a detection that nobody answered")

	r, n = make2()
	r.clock(base)
	a = begin(r, n, 0)
	b := begin(r, n, 1)
	gone(a, "after a newer request took its place")
	b.advert = []byte{1}
	r.Step(base.Add(2*time.Second), Input{Kind: InTick})
	if n.lbsa != b {
		t.Fatal("not valid")
	}
	c := begin(r, n, routerTime(10*time.Second))
	c.advert = []byte{1}
	r.Step(base.Add(12*time.Second), Input{Kind: InTick})
	gone(b, "after a newer association took its place")
	r.Step(base.Add(2*time.Hour), Input{Kind: InTick})
	gone(c, "after expiry")
	if len(r.nodes) != 0 || len(r.jobs) != 0 || len(r.timers) != 0 {
		t.Errorf("left over: %d nodes, %d jobs, %d timers", len(r.nodes), len(r.jobs), len(r.timers))
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

// Moments far away do not wrap.
func TestRouterTimeSaturates(t *testing.T) {
	for _, at := range []routerTime{0, 1, -5, routerTime(time.Hour), routerNever - 1, routerNever} {
		if got := at.add(time.Duration(routerNever)); got < at {
			t.Errorf("%d + forever = %d", at, got)
		}
	}
	if got := routerTime(5).add(3); got != 8 {
		t.Errorf("5 + 3 = %d", got)
	}
}

// A stream of stations that come and go takes no more memory than those whose back-off still counts (LKE-AR-11).
func TestIdlePairsMakeRoom(t *testing.T) {
	cfg := RouterConfig{RequestInterval: 3 * time.Second, RequestBackoffMax: 48 * time.Second}
	var l requestLimits
	l.resize(100_000)
	now := routerTime(0).add(time.Hour)
	for i := range 1000 {
		key := pairKey{stationKey: stationKey{link: 1, source: ipv6.LinkAddr{2, 0, 0, byte(i >> 8), byte(i)}}}
		if why := l.allow(now, key, &cfg); why != countNone {
			t.Fatalf("station %d: %v", i, why)
		}
		l.succeeded(key, cfg.RequestInterval)
		now = now.add(time.Second)
	}
	if n := len(l.pairs.slots); n > 5 {
		t.Fatalf("%d pairs are remembered, 3 count", n)
	}
	if n := len(l.pairs.index); n > 5 {
		t.Fatalf("%d pairs are indexed", n)
	}
}
