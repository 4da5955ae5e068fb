package forward

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/conntrack"
	"github.com/roamkey/roamkey/drivers/conntrack/conntracktest"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rtnl"
)

// needTunnels skips a test on a kernel without ip6_tunnel. Debian's has it, and `make lab` runs these tests on that.
func needTunnels(t *testing.T) {
	t.Helper()
	_, ns := netlabtest.New(t, "probe")
	if err := ns[0].Do(func() error {
		nl, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer nl.Close()
		return noTunnel(nl.AddTunnel("probe0", careOf, routerAddr))
	}); err != nil {
		if os.Getenv("ROAMKEY_LAB") == "1" {
			t.Fatal(err)
		}
		t.Skipf("%v; `make lab` runs this test on a kernel that has it", err)
	}
}

// newTunnelNetwork is newNetwork on a kernel that has ip6_tunnel.
func newTunnelNetwork(t *testing.T) *network {
	t.Helper()
	needTunnels(t)
	return newNetwork(t)
}

func (n *network) guard() *guard.Guard {
	n.t.Helper()
	var g *guard.Guard
	n.must(n.ar.Do(func() (err error) { g, err = guard.Open(); return err }))
	n.t.Cleanup(func() { g.Close(false) })
	n.must(g.SetRouters([]netip.Addr{routerAddr}, []string{"lan0"}))
	return g
}

// open opens a forwarder on ar.
func (n *network) open(cfg Config, g *guard.Guard) Forwarder {
	n.t.Helper()
	var f Forwarder
	n.must(n.ar.Do(func() (err error) { f, err = Open(cfg, g); return err }))
	n.t.Cleanup(func() { f.Close(false) })
	return f
}

// kernelWays are the ways in which the kernel forwards.
var kernelWays = []struct {
	name    string
	backend Backend
	guarded bool
}{{"external", External, true}, {"plain", Plain, true}, {"plain without guard", Plain, false}}

// eachWay runs a test in each way, with a network and an open forwarder.
func eachWay(t *testing.T, test func(t *testing.T, n *network, f Forwarder, g *guard.Guard)) {
	needTunnels(t)
	for _, way := range kernelWays {
		t.Run(way.name, func(t *testing.T) {
			n := newTunnelNetwork(t)
			n.deaf()
			var g *guard.Guard
			if way.guarded {
				g = n.guard()
			}
			f := n.open(Config{Backend: way.backend}, g)
			if got := f.Describe().Backend; got != way.backend {
				t.Fatalf("backend %s, want %s", got, way.backend)
			}
			test(t, n, f, g)
		})
	}
}

func TestKernelForwardsOnceBound(t *testing.T) {
	eachWay(t, func(t *testing.T, n *network, f Forwarder, _ *guard.Guard) {
		start := time.Now()
		n.must(f.Bind(bound))
		first := time.Since(start)
		sent := udp(peer, homeAddr, 64, "forwarded")
		n.inject(n.cn, sent)
		p := n.mnIn.wait("the tunnelled packet", isTunnel(routerAddr, careOf, "forwarded"))
		sent[7]-- // RFC 2473 section 3.1: the forwarding router counts once
		if !bytes.Equal(p[headerLen:], sent) || p[7] != outerHopLimit {
			t.Errorf("tunnel packet %x, want hop limit %d and the inner packet %x", p, outerHopLimit, sent)
		}
		moved := bound
		moved.CareOf = careOfTwo
		start = time.Now()
		n.must(f.Bind(moved))
		t.Logf("the first Bind took %v, the next %v", first, time.Since(start))
		n.must(f.Bind(moved)) // a refresh
		n.inject(n.cn, udp(peer, homeAddr, 64, "moved"))
		n.mnIn.wait("the packet at the new care-of address", isTunnel(routerAddr, careOfTwo, "moved"))
		if got := counters(f); got["bindings"] != 1 || got["out_packets"] == 0 || got["out_octets"] == 0 {
			t.Errorf("counters %v", got)
		}

		n.must(f.Unbind(homeAddr))
		n.must(f.Unbind(homeAddr)) // no error
		n.inject(n.cn, udp(peer, homeAddr, 64, "unbound"))
		n.mnIn.silent("a packet after Unbind", func(p []byte) bool { return bytes.Contains(p, []byte("unbound")) })
		if got := n.routesOfOurs(); len(got) != 0 {
			t.Errorf("routes after Unbind: %v", got)
		}
	})
}

func TestKernelTwoHomesOfOneNode(t *testing.T) {
	eachWay(t, func(t *testing.T, n *network, f Forwarder, _ *guard.Guard) {
		two := Binding{Home: homeTwo, Router: routerAddr, CareOf: careOf}
		n.must(f.Bind(bound))
		n.must(f.Bind(two))
		n.must(f.Unbind(homeAddr))
		n.inject(n.cn, udp(peer, homeTwo, 64, "second"))
		n.mnIn.wait("the packet of the other binding", isTunnel(routerAddr, careOf, "second"))
		n.inject(n.mn, tunnelled(careOf, routerAddr, -1, udp(homeTwo, peer, 64, "from the second")))
		n.cnIn.wait("a reverse-tunnelled packet of the other binding", isUDP("from the second"))
		n.inject(n.mn, tunnelled(careOf, routerAddr, -1, udp(homeAddr, peer, 64, "from the first")))
		n.cnIn.silent("a packet of the binding that ended", isUDP("from the first"))
	})
}

// TestKernelReverse: RFC 6275 section 10.4.5, LKE-AR-26.
func TestKernelReverse(t *testing.T) {
	eachWay(t, func(t *testing.T, n *network, f Forwarder, g *guard.Guard) {
		n.must(f.Bind(bound))
		n.must(f.Bind(Binding{Home: homeTwo, Router: routerAddr, CareOf: careOfTwo}))
		for _, limit := range []int{-1, 4} {
			for _, c := range []struct {
				name         string
				outer, inner netip.Addr
				passes       bool
			}{
				{"bound pair", careOf, homeAddr, true},
				{"other bound pair", careOfTwo, homeTwo, true},
				{"outer source of another", careOfTwo, homeAddr, false},
				{"inner source of another", careOf, homeTwo, false},
				{"wrong outer source", stranger, homeAddr, false},
				{"wrong inner source", careOf, peer, false},
				{"inner source is the care-of address", careOf, careOf, false},
			} {
				text := fmt.Sprintf("%s, limit %d", c.name, limit)
				before := guardCount(g)
				n.inject(n.mn, tunnelled(c.outer, routerAddr, limit, udp(c.inner, peer, 64, text)))
				p := n.cnIn.next(time.Duration(map[bool]int{true: 3000, false: 60}[c.passes])*time.Millisecond, isUDP(text))
				if (p != nil) != c.passes {
					t.Errorf("%s: packet at the correspondent: %x", text, p)
				}
				if p != nil && p[7] != 63 {
					t.Errorf("%s: hop limit %d, want 63: this router counts once", text, p[7])
				}
				if got := guardCount(g) - before; g != nil && (got == 1) == c.passes {
					t.Errorf("%s: the guard counted %d", text, got)
				}
			}
		}
		if got := netlabtest.Counter(t, f, "in_packets"); got < 4 {
			t.Errorf("in_packets = %d, want at least 4", got)
		}
	})
}

func guardCount(g *guard.Guard) (count uint64) {
	g.Counters(func(name string, value uint64) {
		if name == "tunnel_source" {
			count = value
		}
	})
	return count
}

// TestKernelPacketTooBig: RFC 2473 sections 7.1 and 8.2.
func TestKernelPacketTooBig(t *testing.T) {
	eachWay(t, func(t *testing.T, n *network, f Forwarder, _ *guard.Guard) {
		n.must(n.ar.SetMTU("up0", 1400))
		n.must(f.Bind(bound))
		sized := func(size int) []byte { return udp(peer, homeAddr, 64, strings.Repeat("x", size-48)) }
		n.inject(n.cn, sized(1360))
		n.mnIn.wait("the packet that just fits", isTunnel(routerAddr, careOf, "xxx"))
		n.inject(n.cn, sized(1361))
		p := n.cnIn.wait("Packet Too Big", isICMP(icmpPacketTooBig))
		if mtu := binary.BigEndian.Uint32(p[44:]); mtu != 1360 || destination(p[48:]) != homeAddr.As16() {
			t.Errorf("Packet Too Big says %d about a packet to %x, want 1360 about one to %s", mtu, destination(p[48:]), homeAddr)
		}
		n.must(n.ar.SetMTU("up0", 1280))
		n.inject(n.cn, sized(1300))
		p = n.cnIn.wait("Packet Too Big", isICMP(icmpPacketTooBig))
		if mtu := binary.BigEndian.Uint32(p[44:]); mtu != minMTU {
			t.Errorf("Packet Too Big says %d, want %d", mtu, minMTU)
		}
		// A packet of 1280 octets would have to be sent in fragments here. The kernel (6.1) sends Packet Too Big for that,
		// too: it does not fragment what it forwards into a tunnel.
	})
}

// state is what there is of ours, and of others', at ar.
func (n *network) state() (s struct {
	devices, routes, rules []string
}) {
	n.t.Helper()
	n.must(n.ar.Do(func() error {
		nl, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer nl.Close()
		devices, err1 := nl.Devices()
		for _, d := range devices {
			if d.Alias == Alias {
				s.devices = append(s.devices, d.Name)
			}
		}
		routes, err2 := nl.Routes()
		for _, rt := range routes {
			s.routes = append(s.routes, rt.Dst.String())
		}
		rules, err3 := nl.Rules()
		for _, ru := range rules {
			s.rules = append(s.rules, ru.String())
		}
		return errors.Join(err1, err2, err3)
	}))
	return s
}

func (n *network) nothingOfOurs(when string) {
	n.t.Helper()
	if s := n.state(); len(s.devices)+len(s.routes)+len(s.rules) != 0 {
		n.t.Errorf("%s: %+v is left", when, s)
	}
}

func TestKernelIsGoneAfterClose(t *testing.T) {
	eachWay(t, func(t *testing.T, n *network, f Forwarder, g *guard.Guard) {
		n.must(f.Bind(bound))
		n.must(f.Bind(Binding{Home: homeTwo, Router: routerAddr, CareOf: careOfTwo}))
		n.must(f.Close(false))
		n.must(f.Close(false)) // no error
		n.nothingOfOurs("after Close")
		if got := g.Tunnels(); len(got) != 0 {
			t.Errorf("pairs after Close: %v", got)
		}
		if err := f.Bind(bound); !errors.Is(err, errClosed) {
			t.Errorf("Bind after Close: %v", err)
		}
	})
}

// TestKernelOutlivesItsProcess: what forwards goes on after a crash, is adopted, and ends where no record backs it.
func TestKernelOutlivesItsProcess(t *testing.T) {
	needTunnels(t)
	for _, way := range kernelWays {
		for _, next := range kernelWays {
			t.Run(way.name+", then "+next.name, func(t *testing.T) {
				n := newTunnelNetwork(t)
				n.deaf()
				open := func(backend Backend, guarded bool) (Forwarder, *guard.Guard) {
					var g *guard.Guard
					if guarded {
						g = n.guard()
					}
					return n.open(Config{Backend: backend}, g), g
				}
				two := Binding{Home: homeTwo, Router: routerAddr, CareOf: careOfTwo}
				crossing := func(when string) {
					t.Helper()
					for _, b := range []Binding{bound, two} {
						text := when + " " + b.Home.String()
						n.inject(n.cn, udp(peer, b.Home, 64, text))
						n.mnIn.wait(text, isTunnel(routerAddr, b.CareOf, text))
						n.inject(n.mn, tunnelled(b.CareOf, routerAddr, -1, udp(b.Home, peer, 64, text)))
						n.cnIn.wait(text, isUDP(text))
					}
				}
				f, g := open(way.backend, way.guarded)
				n.must(f.Bind(bound))
				n.must(f.Bind(two))
				n.must(f.Close(true)) // what a process that dies leaves, too
				n.must(g.Close(true))
				crossing("nobody runs")

				if way.guarded && !next.guarded {
					return // that needs the guard's table to be removed: Cleanup's business
				}
				f, g = open(next.backend, next.guarded)
				crossing("not adopted yet")
				left, err := f.Adopt()
				n.must(err)
				slices.SortFunc(left, func(a, b Binding) int { return a.Home.Compare(b.Home) })
				if want := []Binding{bound, two}; !slices.Equal(left, want) {
					t.Fatalf("adopted %v, want %v", left, want)
				}
				crossing("adopted")

				n.must(f.Keep([]netip.Addr{homeTwo}))
				n.inject(n.cn, udp(peer, homeAddr, 64, "not kept"))
				n.mnIn.silent("a packet of a binding that was not kept", isTunnel(routerAddr, careOf, "not kept"))
				n.inject(n.mn, tunnelled(careOf, routerAddr, -1, udp(homeAddr, peer, 64, "not kept")))
				n.cnIn.silent("a packet of a binding that was not kept", isUDP("not kept"))
				n.inject(n.cn, udp(peer, homeTwo, 64, "kept"))
				n.mnIn.wait("a packet of the binding that was kept", isTunnel(routerAddr, careOfTwo, "kept"))
				if got := g.Tunnels(); g != nil && len(got) != 1 {
					t.Errorf("pairs %v, want one", got)
				}
				n.must(f.Close(false))
				n.nothingOfOurs("after Close")
			})
		}
	}
}

// foreign makes what others may have at ar, and gives a check that it is still there.
func (n *network) foreign(external bool) (check func()) {
	n.t.Helper()
	var before []string
	list := func() (all []string) {
		n.must(n.ar.Do(func() error {
			nl, err := rtnl.Dial()
			if err != nil {
				return err
			}
			defer nl.Close()
			devices, err := nl.Devices()
			if err != nil {
				return err
			}
			for _, d := range devices {
				all = append(all, fmt.Sprintf("device %s %s %s", d.Name, d.Kind, d.Alias))
			}
			routes, err := nl.RoutesOf(0)
			for _, rt := range routes {
				all = append(all, fmt.Sprintf("route %v %d", rt.Dst, rt.Protocol))
			}
			return err
		}))
		slices.Sort(all)
		return all
	}
	n.must(n.ar.Do(func() error {
		nl, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer nl.Close()
		if external {
			if err := nl.AddTunnel("theirs0", netip.Addr{}, netip.Addr{}); err != nil {
				return err
			}
		} else if err := nl.AddTunnel("theirs0", routerAddr, peer); err != nil {
			return err
		}
		d, err := nl.Device("theirs0")
		if err != nil {
			return err
		}
		return nl.Configure(d.Index, rtnl.Settings{Alias: "not roamkey", MTU: 1400})
	}))
	// Somebody's own route to the very address that is bound later.
	n.must(n.ar.AddRoute(netip.PrefixFrom(homeAddr, 128), netip.MustParseAddr("2001:db8:1::77"), "lan0"))
	n.must(n.ar.AddRoute(netip.MustParsePrefix("2001:db8:77::/48"), netip.Addr{}, "theirs0"))
	before = list()
	return func() {
		n.t.Helper()
		if after := list(); !slices.Equal(before, after) {
			n.t.Errorf("of others there was\n%s, now there is\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
	}
}

func TestKernelFallsBackFromAnothersExternalDevice(t *testing.T) {
	n := newTunnelNetwork(t)
	n.deaf()
	check := n.foreign(true)
	f := n.open(Config{}, n.guard())
	info := f.Describe()
	if info.Backend != Plain || len(info.Reasons) == 0 || !strings.Contains(info.Reasons[0], "theirs0") {
		t.Errorf("Describe() = %+v, want %s because of theirs0", info, Plain)
	}
	n.must(f.Bind(bound))
	n.inject(n.cn, udp(peer, homeAddr, 64, "forwarded"))
	n.mnIn.wait("the tunnelled packet", isTunnel(routerAddr, careOf, "forwarded"))
	n.must(f.Close(false))
	check()
}

func TestKernelNeedsTheGuardForExternal(t *testing.T) {
	n := newTunnelNetwork(t)
	f := n.open(Config{Backend: Kernel}, nil)
	info := f.Describe()
	if info.Backend != Plain || !strings.Contains(strings.Join(info.Reasons, "\n"), "accepts any outer source") {
		t.Errorf("Describe() = %+v, want %s and why", info, Plain)
	}
	n.must(n.ar.Do(func() error {
		if f, err := Open(Config{Backend: External}, nil); err == nil {
			f.Close(false)
			t.Error("an external device without a guard was opened")
		}
		return nil
	}))
}

func TestKernelDoesNotTakeAnothersDevice(t *testing.T) {
	n := newTunnelNetwork(t)
	n.must(n.ar.Bridge(DefaultDevice))
	f := n.open(Config{Backend: Kernel}, n.guard())
	info := f.Describe()
	if info.Backend != Plain || !strings.Contains(info.Reasons[0], "not Roamkey's") {
		t.Errorf("Describe() = %+v", info)
	}
	n.must(f.Bind(bound))
	n.must(f.Close(false))
	if _, err := n.ar.Link(DefaultDevice); err != nil {
		t.Errorf("the foreign device: %v", err)
	}
}

func TestCleanupOfKernelTunnels(t *testing.T) {
	eachWay(t, func(t *testing.T, n *network, f Forwarder, g *guard.Guard) {
		n.must(f.Close(false))
		check := n.foreign(false)
		f = n.open(Config{Backend: f.Describe().Backend}, g)
		n.must(f.Bind(bound))
		n.must(f.Bind(Binding{Home: homeTwo, Router: routerAddr, CareOf: careOfTwo}))
		n.must(f.Close(true))
		n.must(g.Close(true))

		clean := func() (removed []string) {
			n.must(n.ar.Do(func() (err error) { removed, err = Cleanup(); return err }))
			return removed
		}
		removed := clean()
		all := strings.Join(removed, "\n")
		want := []string{"route to " + homeAddr.String(), "route to " + homeTwo.String(), "device rktun"}
		if g != nil {
			want = append(want, "table ip6 roamkey")
		}
		for _, w := range want {
			if !strings.Contains(all, w) {
				t.Errorf("Cleanup does not say %q:\n%s", w, all)
			}
		}
		n.nothingOfOurs("after Cleanup")
		check()
		if again := clean(); len(again) != 0 {
			t.Errorf("a second Cleanup removes %v", again)
		}
	})
}

func TestKernelForgetsConnections(t *testing.T) {
	eachWay(t, func(t *testing.T, n *network, f Forwarder, _ *guard.Guard) {
		var ct *conntrack.Table
		n.must(n.ar.Do(func() (err error) { ct, err = conntrack.Open(); return err }))
		if ct == nil {
			t.Skip("this kernel tracks no connections")
		}
		defer ct.Close()
		n.must(n.ar.Do(func() error { return conntracktest.Track(peer, homeAddr, 4000) }))
		n.must(f.Bind(bound))
		waitCount(t, f, "conntrack_deleted", 1)
		if got := ct.Entries(); got != 0 {
			t.Errorf("%d connections are tracked, want none", got)
		}
	})
}
