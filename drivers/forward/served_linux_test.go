package forward

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rtnl"
	"github.com/roamkey/roamkey/ipv6"
)

// The lab of the tests of Serve: ar is the new access router of a node on the link lan0 that keeps the address which it has of
// the previous router. That one is where careOf is; the way to its prefix leads there.
var (
	pcoa    = netip.MustParseAddr("2001:db8:9::7")
	pcoaTwo = netip.MustParseAddr("2001:db8:9::8")
	par     = careOf
	parTwo  = careOfTwo
)

// hostMetric is the metric of host routes that drivers/neighbors makes.
const hostMetric = 83

// nar makes the node come to ar's link lan0, and gives how it is to be served.
func (n *network) nar() Binding {
	n.t.Helper()
	n.deaf()
	node := n.oldIn.ns
	n.must(node.AddAddress("wl0", netip.MustParsePrefix("2001:db8:1::50/64")))
	for _, a := range []netip.Addr{pcoa, pcoaTwo} {
		n.must(node.AddAddress("wl0", netip.PrefixFrom(a, 128)))
	}
	n.must(node.AddRoute(netip.PrefixFrom(netip.IPv6Unspecified(), 0), routerAddr, "wl0"))
	n.must(n.ar.AddRoute(netip.MustParsePrefix("2001:db8:9::/64"), stranger, "up0"))
	n.host(pcoa, true)
	n.host(pcoaTwo, true)
	link, err := n.ar.Link("lan0")
	n.must(err)
	return Binding{Home: pcoa, Router: routerAddr, CareOf: par, Link: link.Index}
}

// host makes or removes the node's host route.
func (n *network) host(addr netip.Addr, on bool) {
	n.t.Helper()
	n.must(n.ar.Do(func() error {
		nl, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer nl.Close()
		link, err := nl.Device("lan0")
		if err != nil {
			return err
		}
		rt := rtnl.Route{Dst: netip.PrefixFrom(addr, 128), Device: link.Index, Metric: hostMetric}
		if on {
			return nl.SetRoute(rt)
		}
		return nl.DeleteRoute(rt)
	}))
}

// serving runs a test with the TUN backend and, on kernels that have them, with the kernel's ways.
func serving(t *testing.T, test func(t *testing.T, n *network, b Binding, f Forwarder)) {
	t.Run("tun", func(t *testing.T) {
		n := newNetwork(t)
		b := n.nar()
		test(t, n, b, n.router(Config{Backend: TUN}))
	})
	for _, way := range kernelWays {
		t.Run(way.name, func(t *testing.T) {
			n := newTunnelNetwork(t)
			b := n.nar()
			cfg := Config{Backend: way.backend}
			if !way.guarded {
				test(t, n, b, n.open(cfg, nil))
				return
			}
			test(t, n, b, n.open(cfg, n.guard()))
		})
	}
}

// RFC 5568 section 6.2.1.2: the node's packets come by the tunnel from the previous router, and go back through it.
func TestServeCarriesBothWays(t *testing.T) {
	serving(t, func(t *testing.T, n *network, b Binding, f Forwarder) {
		node := n.oldIn.ns
		if !f.Describe().Serves {
			t.Fatalf("Describe() = %+v", f.Describe())
		}
		n.inject(n.mn, tunnelled(par, routerAddr, -1, udp(peer, pcoa, 64, "before")))
		n.oldIn.silent("a tunnelled packet for a node that is not served", isUDP("before"))

		n.must(f.Serve(b))
		n.must(f.Serve(b)) // a refresh
		for _, limit := range []int{-1, 4} {
			n.inject(n.mn, tunnelled(par, routerAddr, limit, udp(peer, pcoa, 64, "to the node")))
			if p := n.oldIn.wait("the packet for the node", isUDP("to the node")); p[7] != 63 {
				t.Errorf("hop limit %d, want 63: this router counts once", p[7])
			}
		}
		sent := udp(pcoa, peer, 64, "from the node")
		n.inject(node, sent)
		p := n.mnIn.wait("the packet from the node", isTunnel(routerAddr, par, "from the node"))
		sent[7]--
		if !bytes.Equal(p[headerLen:], sent) || p[7] != outerHopLimit {
			t.Errorf("tunnel packet %x, want hop limit %d and the inner packet %x", p, outerHopLimit, sent)
		}
		n.cnIn.silent("the packet from the node, past the tunnel", isUDP("from the node"))
		if got := netlabtest.Counter(t, f, "served"); got != 1 {
			t.Errorf("served = %d, want 1", got)
		}
		if got := counters(f); got["in_packets"] < 2 || got["out_packets"] == 0 {
			t.Errorf("counters %v", got)
		}

		n.must(f.Unserve(pcoa))
		n.must(f.Unserve(pcoa)) // no error
		n.inject(n.mn, tunnelled(par, routerAddr, -1, udp(peer, pcoa, 64, "after")))
		n.oldIn.silent("a tunnelled packet for a node that is not served any more", isUDP("after"))
		n.inject(node, udp(pcoa, peer, 64, "from it after"))
		n.cnIn.wait("a packet of a node that is not served any more", isUDP("from it after"))
		if got := netlabtest.Counter(t, f, "served"); got != 0 {
			t.Errorf("served = %d, want 0", got)
		}
	})
}

// Nothing comes out of the tunnel but what the previous router sends for the node, and nothing goes in but what the node
// sends from its link.
func TestServeLetsNothingElseThrough(t *testing.T) {
	serving(t, func(t *testing.T, n *network, b Binding, f Forwarder) {
		inTUN := f.Describe().Backend == TUN
		unguarded := !inTUN && strings.Contains(strings.Join(f.Describe().Reasons, "\n"), "without nftables")
		n.must(f.Serve(b))
		two := Binding{Home: pcoaTwo, Router: routerAddr, CareOf: parTwo, Link: b.Link}
		n.must(f.Serve(two))
		for _, c := range []struct {
			name                     string
			outer, to, inner, inner2 netip.Addr
			counter                  string
			passes                   bool
			tunOnly                  bool
			guarded                  bool // only with a guard, or in this process
		}{
			{name: "served", outer: par, inner: peer, inner2: pcoa, counter: "in_packets", passes: true},
			{name: "the other one", outer: parTwo, inner: peer, inner2: pcoaTwo, counter: "in_packets", passes: true},
			{name: "from the previous router itself", outer: par, inner: par, inner2: pcoa, counter: "in_packets", passes: true},
			{name: "wrong outer source", outer: stranger, inner: peer, inner2: pcoa, counter: "in_wrong_outer"},
			{name: "another previous router", outer: parTwo, inner: peer, inner2: pcoa, counter: "in_wrong_outer"},
			{name: "another node of that router", outer: par, inner: peer, inner2: pcoaTwo, counter: "in_wrong_outer"},
			{name: "wrong inner destination", outer: par, inner: peer, inner2: netip.MustParseAddr("2001:db8:1::50"), counter: "in_no_binding"},
			{name: "its address as the inner source", outer: par, inner: pcoa, inner2: netip.MustParseAddr("2001:db8:1::50"), counter: "in_no_binding"},
			{name: "wrong outer destination", outer: par, to: netip.MustParseAddr("2001:db8:2::1"), inner: peer, inner2: pcoa,
				counter: "in_wrong_outer", tunOnly: true},
			{name: "the node's own address as the source", outer: par, inner: pcoa, inner2: pcoa, counter: "in_loop", tunOnly: true},
			{name: "the router's own address as the source", outer: par, inner: routerAddr, inner2: pcoa, counter: "in_loop", guarded: true},
			{name: "a link-local source", outer: par, inner: netip.MustParseAddr("fe80::7"), inner2: pcoa, counter: "in_bad_scope", tunOnly: true},
		} {
			if c.tunOnly && !inTUN || c.guarded && unguarded {
				continue // neither the guard nor rules look at these
			}
			if !c.to.IsValid() {
				c.to = routerAddr
			}
			before := netlabtest.Counter(t, f, "in_packets")
			if inTUN {
				before = netlabtest.Counter(t, f, c.counter)
			}
			n.inject(n.mn, tunnelled(c.outer, c.to, -1, udp(c.inner, c.inner2, 64, c.name)))
			if inTUN {
				for end := time.Now().Add(3 * time.Second); counters(f)[c.counter] == before && time.Now().Before(end); {
					time.Sleep(time.Millisecond)
				}
				if counters(f)[c.counter] == before {
					t.Errorf("%s: %s did not rise: %v", c.name, c.counter, counters(f))
				}
			}
			p := n.oldIn.next(map[bool]time.Duration{true: 3 * time.Second, false: 60 * time.Millisecond}[c.passes], isUDP(c.name))
			if (p != nil) != c.passes {
				t.Errorf("%s: packet at the node: %x", c.name, p)
			}
		}

		// The node's address as the source of what comes from elsewhere opens no way into the tunnel.
		n.inject(n.cn, udp(pcoa, stranger, 64, "spoofed"))
		n.mnIn.wait("a packet with the node's address from elsewhere, as any other", isUDP("spoofed"))
		// Nor do other addresses of the link.
		n.inject(n.oldIn.ns, udp(netip.MustParseAddr("2001:db8:1::50"), peer, 64, "own"))
		n.cnIn.wait("a packet from an address of the link", isUDP("own"))
	})
}

// A packet for a bound address does not go to another router because its source is a served node's.
func TestServeDoesNotDivertWhatIsBound(t *testing.T) {
	serving(t, func(t *testing.T, n *network, b Binding, f Forwarder) {
		n.must(f.Serve(b))
		n.must(f.Bind(Binding{Home: homeAddr, Router: routerAddr, CareOf: parTwo}))
		n.inject(n.cn, udp(pcoa, homeAddr, 64, "bound"))
		n.mnIn.wait("the packet for the bound address", isTunnel(routerAddr, parTwo, "bound"))
		n.inject(n.mn, tunnelled(parTwo, routerAddr, -1, udp(homeAddr, pcoa, 64, "from bound to served")))
		n.oldIn.wait("the packet from the bound address", isUDP("from bound to served"))
	})
}

// What came from the previous router never goes back there: where the host route is gone, it ends here.
func TestServeSendsNothingBack(t *testing.T) {
	serving(t, func(t *testing.T, n *network, b Binding, f Forwarder) {
		n.must(f.Serve(b))
		n.host(pcoa, false)
		n.inject(n.mn, tunnelled(par, routerAddr, -1, udp(peer, pcoa, 64, "nowhere")))
		n.cnIn.wait("Destination Unreachable", isICMP(icmpUnreachable))
		n.mnIn.silent("the packet on its way back", func(p []byte) bool {
			return p[6] != ipv6.ProtoICMPv6 && bytes.Contains(p, []byte("nowhere")) // without a guard tunnel6 complains
		})
		n.host(pcoa, true)
		n.inject(n.mn, tunnelled(par, routerAddr, -1, udp(peer, pcoa, 64, "somewhere")))
		n.oldIn.wait("the packet for the node", isUDP("somewhere"))
	})
}

// TestServePacketTooBig: RFC 2473 sections 7.1 and 8.2.
func TestServePacketTooBig(t *testing.T) {
	serving(t, func(t *testing.T, n *network, b Binding, f Forwarder) {
		n.must(n.ar.SetMTU("up0", 1400))
		n.must(f.Serve(b))
		node := n.oldIn.ns
		sized := func(size int) []byte { return udp(pcoa, peer, 64, strings.Repeat("x", size-48)) }
		n.inject(node, sized(1360))
		n.mnIn.wait("the packet that just fits", isTunnel(routerAddr, par, "xxx"))
		sent := sized(1361)
		n.inject(node, sent)
		p := n.oldIn.wait("Packet Too Big", isICMP(icmpPacketTooBig))
		if mtu := binary.BigEndian.Uint32(p[44:]); mtu != 1360 || destination(p) != pcoa.As16() {
			t.Errorf("Packet Too Big to %x says %d, want 1360 to %s", destination(p), mtu, pcoa)
		}
	})
}

// Errors from inside the tunnel come back to the node: RFC 2473 section 8.
func TestServePassesErrorsOn(t *testing.T) {
	n := newNetwork(t)
	b := n.nar()
	f := n.router(Config{Backend: TUN})
	n.must(f.Serve(b))
	node := n.oldIn.ns
	n.inject(node, udp(pcoa, peer, 64, strings.Repeat("b", 1400-48)))
	outer := n.mnIn.wait("the tunnel packet", isTunnel(routerAddr, par, "bbb"))
	narrow := appendReport(nil, netip.MustParseAddr("2001:db8:2::101").As16(), report{Type: icmpPacketTooBig, Value: 1350}, outer)
	n.inject(n.mn, narrow)
	p := n.oldIn.wait("Packet Too Big", isICMP(icmpPacketTooBig))
	checkReport(t, p, routerAddr, pcoa, 0, 1310, narrow[48+headerLen:])
	n.inject(n.mn, appendReport(nil, careOfTwo.As16(), report{Type: icmpUnreachable}, outer))
	n.oldIn.wait("Destination Unreachable", isICMP(icmpUnreachable))
}

// A node that comes again from another router, or to another link, is served as it was said last.
func TestServeFollows(t *testing.T) {
	serving(t, func(t *testing.T, n *network, b Binding, f Forwarder) {
		n.must(f.Serve(b))
		moved := b
		moved.CareOf = parTwo
		n.must(f.Serve(moved))
		n.inject(n.oldIn.ns, udp(pcoa, peer, 64, "moved"))
		n.mnIn.wait("the packet from the node", isTunnel(routerAddr, parTwo, "moved"))
		n.inject(n.mn, tunnelled(parTwo, routerAddr, -1, udp(peer, pcoa, 64, "by the other")))
		n.oldIn.wait("the packet by the other router", isUDP("by the other"))
		n.inject(n.mn, tunnelled(par, routerAddr, -1, udp(peer, pcoa, 64, "by the old one")))
		n.oldIn.silent("a packet by the old router", isUDP("by the old one"))

		link, err := n.ar.Link("cn0")
		n.must(err)
		moved.Link = link.Index
		n.must(f.Serve(moved))
		n.inject(n.oldIn.ns, udp(pcoa, peer, 64, "from the old link"))
		n.cnIn.wait("a packet from the link that the node has left", isUDP("from the old link"))
		n.inject(n.cn, udp(pcoa, stranger, 64, "from the new link"))
		n.mnIn.wait("the packet from the new link", isTunnel(routerAddr, parTwo, "from the new link"))

		n.must(f.Serve(Binding{Home: pcoaTwo, Router: routerAddr, CareOf: par, Link: b.Link}))
		n.must(f.Keep([]netip.Addr{pcoaTwo}))
		n.inject(n.cn, udp(pcoa, stranger, 64, "not kept"))
		n.mnIn.wait("a packet of a node that was not kept", isUDP("not kept"))
		n.inject(n.oldIn.ns, udp(pcoaTwo, peer, 64, "kept"))
		n.mnIn.wait("a packet of the node that was kept", isTunnel(routerAddr, par, "kept"))

		n.host(pcoa, false)
		n.host(pcoaTwo, false)
		n.must(f.Close(false))
		n.nothingOfOurs("after Close")
	})
}

func TestServeWhatCannotBe(t *testing.T) {
	n := newNetwork(t)
	b := n.nar()
	f := n.router(Config{Backend: TUN})
	n.must(f.Serve(b))
	n.must(f.Bind(bound))
	with := func(change func(*Binding)) Binding {
		c := Binding{Home: pcoaTwo, Router: routerAddr, CareOf: par, Link: b.Link}
		change(&c)
		return c
	}
	for name, err := range map[string]error{
		"no link":                          f.Serve(with(func(c *Binding) { c.Link = 0 })),
		"a link that is not there":         f.Serve(with(func(c *Binding) { c.Link = 9999 })),
		"a link-local address":             f.Serve(with(func(c *Binding) { c.Home = netip.MustParseAddr("fe80::1") })),
		"no router":                        f.Serve(with(func(c *Binding) { c.CareOf = netip.Addr{} })),
		"our own address":                  f.Serve(with(func(c *Binding) { c.Home = routerAddr })),
		"the previous router's address":    f.Serve(with(func(c *Binding) { c.Home = par })),
		"an address that is bound":         f.Serve(with(func(c *Binding) { c.Home = homeAddr })),
		"a previous router that is bound":  f.Serve(with(func(c *Binding) { c.CareOf = homeAddr })),
		"a previous router that is served": f.Serve(with(func(c *Binding) { c.CareOf = pcoa })),
		"binding what is served":           f.Bind(Binding{Home: pcoa, Router: routerAddr, CareOf: parTwo}),
		"binding a previous router":        f.Bind(Binding{Home: par, Router: routerAddr, CareOf: parTwo}),
	} {
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if got := netlabtest.Counter(t, f, "served"); got != 1 {
		t.Errorf("served = %d, want 1", got)
	}
	n.must(f.Close(false))
	for name, err := range map[string]error{"Serve": f.Serve(b), "Unserve": f.Unserve(pcoa)} {
		if err == nil {
			t.Errorf("%s after Close gives no error", name)
		}
	}
}

// What a process that died has left is removed by the next one that has no use for it.
func TestServeLeavesNothingBehind(t *testing.T) {
	n := newNetwork(t)
	n.nar()
	n.host(pcoa, false)
	n.host(pcoaTwo, false)
	leave := func() {
		n.must(n.ar.Do(func() error {
			nl, err := rtnl.Dial()
			if err != nil {
				return err
			}
			defer nl.Close()
			return lead(nl, servedNode{Binding: Binding{Home: pcoa}, link: "lan0", table: servedTable})
		}))
	}
	leave()
	if s := n.state(); len(s.routes) != 1 || len(s.rules) != 1 {
		t.Fatalf("there is %+v, want a route and a rule", s)
	}
	f := n.router(Config{Backend: TUN})
	if s := n.state(); len(s.routes)+len(s.rules) != 0 {
		t.Errorf("the next process keeps %+v", s)
	}
	n.must(f.Close(false))
	leave()
	n.must(n.ar.Do(func() error {
		removed, err := cleanup(NodeAlias)
		if len(removed) != 0 {
			t.Errorf("cleanup for a mobile node removes %q", removed)
		}
		return err
	}))
	var removed []string
	n.must(n.ar.Do(func() (err error) { removed, err = Cleanup(); return err }))
	want := []string{"route to " + pcoa.String() + "/128", "routing rule from " + pcoa.String() + " iif lan0 lookup 8000"}
	if !slices.Equal(removed, want) {
		t.Errorf("Cleanup removes %q, want %q", removed, want)
	}
	n.nothingOfOurs("after Cleanup")
}

// TestServeOutlivesItsProcess: what is served goes on when no process runs, is adopted, and ends where it is not kept.
func TestServeOutlivesItsProcess(t *testing.T) {
	needTunnels(t)
	for _, way := range kernelWays {
		for _, next := range kernelWays {
			if way.guarded && !next.guarded {
				continue // that needs the guard's table to be removed: Cleanup's business
			}
			t.Run(way.name+", then "+next.name, func(t *testing.T) {
				n := newTunnelNetwork(t)
				b := n.nar()
				two := Binding{Home: pcoaTwo, Router: routerAddr, CareOf: parTwo, Link: b.Link}
				open := func(backend Backend, guarded bool) (Forwarder, *guard.Guard) {
					var g *guard.Guard
					if guarded {
						g = n.guard()
					}
					return n.open(Config{Backend: backend}, g), g
				}
				crossing := func(when string, all ...Binding) {
					t.Helper()
					for _, b := range all {
						text := when + " " + b.Home.String()
						n.inject(n.mn, tunnelled(b.CareOf, routerAddr, -1, udp(peer, b.Home, 64, text)))
						n.oldIn.wait(text, isUDP(text))
						n.inject(n.oldIn.ns, udp(b.Home, peer, 64, text))
						n.mnIn.wait(text, isTunnel(routerAddr, b.CareOf, text))
						// Nothing else gets out of the tunnel meanwhile.
						n.inject(n.mn, tunnelled(stranger, routerAddr, -1, udp(peer, b.Home, 64, "bad "+text)))
						n.oldIn.silent("a packet from a stranger", isUDP("bad "+text))
					}
				}
				f, g := open(way.backend, way.guarded)
				n.must(f.Serve(b))
				n.must(f.Serve(two))
				n.must(f.Bind(Binding{Home: homeAddr, Router: routerAddr, CareOf: par}))
				n.must(f.Close(true)) // what a process that dies leaves, too
				n.must(g.Close(true))
				crossing("nobody runs", b, two)
				f, g = open(next.backend, next.guarded)
				crossing("not adopted yet", b, two)
				left, err := f.Adopt()
				n.must(err)
				want := []Binding{{Home: homeAddr, Router: routerAddr, CareOf: par}, b, two}
				want[1].Served, want[2].Served = true, true
				slices.SortFunc(left, func(a, b Binding) int { return a.Home.Compare(b.Home) })
				if !slices.Equal(left, want) {
					t.Fatalf("adopted %v, want %v", left, want)
				}
				crossing("adopted", b, two)
				n.must(f.Keep([]netip.Addr{pcoaTwo}))
				crossing("kept", two)
				if got := g.Served(); g != nil && !slices.Equal(got, []guard.Pair{{Outer: parTwo, Inner: pcoaTwo}}) {
					t.Errorf("the guard admits %v", got)
				}
				n.inject(n.mn, tunnelled(par, routerAddr, -1, udp(peer, pcoa, 64, "not kept")))
				n.oldIn.silent("a packet of a node that was not kept", isUDP("not kept"))
				n.inject(n.oldIn.ns, udp(pcoa, peer, 64, "from it"))
				n.cnIn.wait("a packet of a node that was not kept, past the tunnel", isUDP("from it"))
				n.host(pcoa, false)
				n.host(pcoaTwo, false)
				n.must(f.Close(false))
				n.nothingOfOurs("after Close")
			})
		}
	}
}
