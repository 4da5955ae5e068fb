package nodeload

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/frames"
	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/firmware/internal/testrouter"
)

func TestMain(m *testing.M) { os.Exit(netlabtest.Main(m)) }

// network is two routers, joined by their uplinks, and the load generator's namespace with an interface on each link.
type network struct {
	nodes    *netlab.Namespace
	par, nar *testrouter.Router
}

func build(t *testing.T) *network {
	t.Helper()
	lab, ns := netlabtest.New(t, "nodes", "par", "nar")
	nodes, par, nar := ns[0], ns[1], ns[2]
	if err := errors.Join(
		lab.Veth(netlab.End{NS: nodes, Name: "one"}, netlab.End{NS: par, Name: "lan0"}),
		lab.Veth(netlab.End{NS: nodes, Name: "two"}, netlab.End{NS: nar, Name: "lan0"}),
		lab.Veth(netlab.End{NS: par, Name: "wan0"}, netlab.End{NS: nar, Name: "wan0"}),
		par.SetSysctl("net/ipv6/conf/all/forwarding", "1"),
		nar.SetSysctl("net/ipv6/conf/all/forwarding", "1"),
		par.AddAddress("lan0", netip.MustParsePrefix("2001:db8:1::1/64")),
		nar.AddAddress("lan0", netip.MustParsePrefix("2001:db8:2::1/64")),
		par.AddAddress("wan0", netip.MustParsePrefix("2001:db8:f::1/64")),
		nar.AddAddress("wan0", netip.MustParsePrefix("2001:db8:f::2/64")),
		par.AddRoute(netip.MustParsePrefix("2001:db8:2::/64"), netip.MustParseAddr("2001:db8:f::2"), "wan0"),
		nar.AddRoute(netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParseAddr("2001:db8:f::1"), "wan0"),
	); err != nil {
		t.Fatal(err)
	}
	return &network{nodes, router(t, par, "2001:db8:1::1/64"), router(t, nar, "2001:db8:2::1/64")}
}

func router(t *testing.T, ns *netlab.Namespace, address string) *testrouter.Router {
	t.Helper()
	device, err := ns.Link("lan0")
	if err != nil {
		t.Fatal(err)
	}
	link := rawip.Link{Index: device.Index, Name: "lan0", Hardware: device.Hardware}
	conn := netlabtest.Open(t, ns, func() (*rawip.Socket, error) { return rawip.Open(rawip.Config{Links: []rawip.Link{link}}) })
	return testrouter.New(t, conn, link, netip.MustParsePrefix(address))
}

func (n *network) open(t *testing.T, name string) wire {
	t.Helper()
	return netlabtest.Open(t, n.nodes, func() (*frames.Socket, error) { return frames.Open(name) })
}

// Forty nodes agree on keys with one router, prove their addresses, move to another, and are forwarded by the first.
func TestManyNodesMove(t *testing.T) {
	n := build(t)
	const nodes = 40
	cfg := Config{Interface: "one", MoveTo: "two", Nodes: nodes, Window: 8, Limit: 8 * time.Second}
	r, err := run(t.Context(), cfg, []wire{n.open(t, "one"), n.open(t, "two")})
	if err != nil {
		t.Fatal(err)
	}
	if r.Attached != nodes || r.Exchange.Done() != nodes || r.Valid != nodes || r.Moved != nodes || r.Update.Done() != nodes {
		t.Fatalf("of %d nodes: %d attached, %d exchanged keys, %d proved their address, %d moved, %d are forwarded",
			nodes, r.Attached, r.Exchange.Done(), r.Valid, r.Moved, r.Update.Done())
	}
	bound := make(map[netip.Addr]netip.Addr)
	for range nodes {
		select {
		case b := <-n.par.Bound():
			bound[b.Home] = b.CareOf
		case <-time.After(time.Second):
			t.Fatalf("the router bound %d addresses", len(bound))
		}
	}
	for home, careOf := range bound {
		if !n.par.Prefix.Contains(home) || !n.nar.Prefix.Contains(careOf) {
			t.Errorf("%v is forwarded to %v", home, careOf)
		}
	}
	if len(bound) != nodes {
		t.Errorf("%d different addresses are forwarded", len(bound))
	}
	if r.Exchange.Rate() <= 0 || r.Exchange.Percentile(50) <= 0 || r.Exchange.Percentile(50) > r.Exchange.Percentile(100) {
		t.Errorf("the exchange's figures are %v", r.Exchange)
	}
}

// A link without a router gives nothing, within the limit.
func TestNobodyAnswers(t *testing.T) {
	lab, ns := netlabtest.New(t, "alone")
	if err := lab.Veth(netlab.End{NS: ns[0], Name: "one"}, netlab.End{NS: ns[0], Name: "other"}); err != nil {
		t.Fatal(err)
	}
	n := &network{nodes: ns[0]}
	begin := time.Now()
	r, err := run(t.Context(), Config{Interface: "one", Nodes: 3, Window: 1, Limit: 100 * time.Millisecond}, []wire{n.open(t, "one")})
	if err != nil || r.Attached != 0 || r.Exchange.Done() != 0 {
		t.Errorf("%v, %+v", err, r)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestPercentiles(t *testing.T) {
	var p Phase
	for _, v := range []time.Duration{30, 10, 20, 50, 40} {
		p.add(v)
	}
	for percent, want := range map[float64]time.Duration{0: 10, 20: 10, 50: 30, 80: 40, 81: 50, 99: 50, 100: 50} {
		if got := p.Percentile(percent); got != want {
			t.Errorf("percentile %v is %d, want %d", percent, got, want)
		}
	}
	if (Phase{}).Percentile(50) != 0 || (Phase{}).Rate() != 0 {
		t.Error("nothing has figures")
	}
}

func TestSettingsThatMakeNoSense(t *testing.T) {
	good := Config{Interface: "one", Nodes: 1, Window: 1, Limit: time.Second}
	if err := good.check(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for name, change := range map[string]func(*Config){
		"no interface":   func(c *Config) { c.Interface = "" },
		"same interface": func(c *Config) { c.MoveTo = c.Interface },
		"no nodes":       func(c *Config) { c.Nodes = 0 },
		"too many":       func(c *Config) { c.Nodes = MaxNodes + 1 },
		"no window":      func(c *Config) { c.Window = 0 },
		"no time":        func(c *Config) { c.Limit = 0 },
	} {
		c := good
		change(&c)
		if c.check() == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
