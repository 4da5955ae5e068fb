package neighbors

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/ipv6"
)

// The other tests would show nothing if the kernel were silent anyway.
func TestKernelSolicitsWithoutTheDriver(t *testing.T) {
	n := newNetwork(t)
	n.open() // which takes nothing
	n.forward(hostAddr, 1)
	for {
		p, err := n.wire.Next(netlabtest.Patience)
		n.must(err)
		if p == nil {
			t.Fatal("the kernel solicits nobody")
		}
		if typ, target := discovery(p); typ == 135 && target == hostAddr {
			return
		}
	}
}

// With a link taken a packet that is forwarded makes the kernel ask this process, not the link; the entry lets it flow.
func TestForwardedPacketMakesTheKernelAsk(t *testing.T) {
	n := newNetwork(t)
	d := n.open()
	n.take(d)
	n.take(d) // no error
	p := n.forward(hostAddr, 1)
	n.asked(d, hostAddr)
	n.must(d.SetEntry(n.lan, hostAddr, hostHW, true))
	n.quiet(n.arrives(p))
	p = n.forward(hostAddr, 2)
	n.quiet(n.arrives(p))
	if got := netlabtest.Counter(t, d, "entries_set"); got != 1 {
		t.Errorf("entries_set = %d, want 1", got)
	}
	if got := netlabtest.Counter(t, d, "asked"); got != 1 {
		t.Errorf("asked = %d, want 1", got)
	}

	n.must(d.RemoveEntry(n.lan, hostAddr))
	n.must(d.RemoveEntry(n.lan, hostAddr)) // no error
	n.forward(hostAddr, 3)
	n.asked(d, hostAddr)
}

// A question without an answer is asked three times; then the kernel gives up until the next packet. No question
// gets to the link.
func TestQuestionWithoutAnAnswer(t *testing.T) {
	n := newNetwork(t)
	n.must(n.router.SetSysctl("net/ipv6/neigh/lan0/retrans_time_ms", "50"))
	d := n.open()
	n.take(d)
	n.forward(hostAddr, 1)
	for range 3 {
		n.asked(d, hostAddr)
	}
	select {
	case a := <-d.Asked():
		t.Errorf("asked once more about %v", a)
	case <-time.After(150 * time.Millisecond): // time for two more
	}
	n.forward(hostAddr, 2)
	n.asked(d, hostAddr)
	before, _ := n.heard(nil, 100*time.Millisecond)
	n.quiet(before)
}

// An entry that has grown old is asked for again while it is used: confirmed or not to begin with. So it is an ordinary
// entry, which the kernel goes on to age.
func TestKernelAsksAgainForAnOldEntry(t *testing.T) {
	for name, reachable := range map[string]bool{"reachable": true, "stale": false} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			n.must(n.router.SetSysctl("net/ipv6/neigh/lan0/base_reachable_time_ms", "40"))
			n.must(n.router.SetSysctl("net/ipv6/neigh/lan0/retrans_time_ms", "50"))
			n.must(n.delay("lan0", 20))
			d := n.open()
			n.take(d)
			n.must(d.SetEntry(n.lan, hostAddr, hostHW, reachable))
			asked := false
			for number := byte(0); !asked; number++ {
				n.quiet(n.arrives(n.forward(hostAddr, number))) // at once: there is an entry
				select {
				case a := <-d.Asked():
					asked = a == (Ask{Link: n.lan, Addr: hostAddr}) // to confirm what it has
				case <-time.After(10 * time.Millisecond):
				}
				if number == 200 {
					t.Fatal("the kernel never asks again")
				}
			}
			n.must(d.SetEntry(n.lan, hostAddr, hostHW, true))
			n.quiet(n.arrives(n.forward(hostAddr, 201)))
		})
	}
}

// delay sets DELAY_FIRST_PROBE_TIME in milliseconds, for which the file is too coarse.
func (n *network) delay(link string, ms uint64) error {
	l, err := n.router.Link(link)
	n.must(err)
	ae := netlink.NewAttributeEncoder()
	ae.String(ndtaName, ndisc)
	ae.Nested(ndtaParms, func(parms *netlink.AttributeEncoder) error {
		parms.Uint32(ndtpaIfindex, uint32(l.Index))
		parms.Uint64(7, ms) // NDTPA_DELAY_PROBE_TIME
		return nil
	})
	b, err := ae.Encode()
	n.must(err)
	return n.router.Request(unix.NETLINK_ROUTE, netlink.Message{
		Header: netlink.Header{Type: unix.RTM_SETNEIGHTBL},
		Data:   append([]byte{unix.AF_INET6, 0, 0, 0}, b...),
	})
}

// What the kernel has learned unsigned counts no more when a link is taken; what an administrator has entered does.
func TestTakeForgetsWhatTheKernelHasLearned(t *testing.T) {
	n := newNetwork(t)
	static := netip.MustParseAddr("2001:db8:1::53")
	n.must(n.router.AddNeighbour("lan0", static, hostHW))
	n.solicit(hostAddr, routerAddr)
	d := n.open()
	p := n.forward(hostAddr, 1)
	n.arrives(p) // the kernel has learned the host's address from its solicitation
	n.take(d)
	n.forward(hostAddr, 2)
	n.asked(d, hostAddr)
	n.quiet(n.arrives(n.forward(static, 3)))
}

// With the guard the kernel of the router says nothing of Neighbour Discovery on the link, and learns nothing.
func TestKernelIsSilentBetweenGuardAndDriver(t *testing.T) {
	n := newNetwork(t)
	d := n.open()
	var g *guard.Guard
	n.must(n.router.Do(func() (err error) { g, err = guard.Open(); return err }))
	defer g.Close(false)
	n.solicit(hostAddr, routerAddr)
	p := n.forward(hostAddr, 0)
	if before := n.arrives(p); !slices.ContainsFunc(before, func(p []byte) bool { typ, _ := discovery(p); return typ == 136 }) {
		t.Fatal("the kernel answers no solicitation, so that this test shows nothing")
	}

	n.must(g.SetSecured([]string{"lan0"}))
	n.take(d)
	n.solicit(hostAddr, routerAddr)
	n.solicit(hostAddr, routerLink)
	n.solicit(netip.IPv6Unspecified(), routerAddr) // Duplicate Address Detection for its addresses
	n.solicit(netip.IPv6Unspecified(), routerLink)
	p = n.forward(hostAddr, 1)
	n.asked(d, hostAddr) // not learned from the solicitations
	n.must(d.SetEntry(n.lan, hostAddr, hostHW, true))
	n.quiet(n.arrives(p))
	before, _ := n.heard(nil, 50*time.Millisecond)
	n.quiet(before)
	if got := netlabtest.Counter(t, g, "secured_unsigned"); got != 0 {
		t.Errorf("the kernel tried to say something unsigned %d times", got)
	}
	if got := netlabtest.Counter(t, g, "secured_neighbour_solicitation"); got != 4 {
		t.Errorf("secured_neighbour_solicitation = %d, want 4", got)
	}
}

// An address comes without Duplicate Address Detection: all that is heard of it are multicast listener reports.
func TestAddressesComeSilently(t *testing.T) {
	n := newNetwork(t)
	n.must(n.router.SetSysctl("net/ipv6/conf/lan0/accept_dad", "1"))
	d := n.open()
	n.take(d)
	for _, prefix := range []string{"2001:db8:1:0:1234:5678:9abc:def0/64", "fe80::1234:5678:9abc:def0/64"} {
		own := netip.MustParsePrefix(prefix)
		n.must(d.AddAddress(n.lan, own))
		n.must(d.AddAddress(n.lan, own)) // no error
		reported := false
		for !reported {
			p, err := n.wire.Next(netlabtest.Patience)
			n.must(err)
			if p == nil {
				t.Fatalf("%s: no multicast listener report", own)
			}
			n.quiet([][]byte{p})
			group := ipv6.SolicitedNode(own.Addr()).As16()
			reported = p[6] == ipv6.ProtoHopByHop && strings.Contains(string(p), string(group[:]))
		}
		a := n.address(d, own.Addr())
		if a.flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED|unix.IFA_F_DEPRECATED) != 0 || a.flags&unix.IFA_F_PERMANENT == 0 || a.bits != 64 {
			t.Errorf("address %s is there as %+v", own, a)
		}
		if !a.ours() {
			t.Errorf("address %s does not bear our mark: %+v", own, a)
		}
	}
	if got, _ := d.Owned(); len(got) != 2 || got[0].Route || got[0].Link != n.lan {
		t.Errorf("owned: %v, want both addresses", got)
	}
	n.must(d.RemoveAddress(n.lan, netip.MustParseAddr("2001:db8:1:0:1234:5678:9abc:def0")))
	n.must(d.RemoveAddress(n.lan, netip.MustParseAddr("2001:db8:1:0:1234:5678:9abc:def0"))) // no error
	if got, _ := d.Owned(); len(got) != 1 {
		t.Errorf("owned: %v, want one address", got)
	}

	// Addresses of others are neither taken over nor removed.
	n.must(d.AddAddress(n.lan, netip.PrefixFrom(routerAddr, 64)))
	n.must(d.RemoveAddress(n.lan, routerAddr))
	if a := n.address(d, routerAddr); a.ours() {
		t.Errorf("the administrator's address became ours: %+v", a)
	}
	n.must(d.Close())
	after := n.open()
	if got, _ := after.Owned(); len(got) != 0 {
		t.Errorf("after Close there is still %v", got)
	}
	n.address(after, routerAddr)
}

func (n *network) address(d *Neighbors, addr netip.Addr) (a address) {
	n.t.Helper()
	n.must(d.do(func() error {
		var there bool
		var err error
		if a, there, err = d.find(n.lan, addr); err == nil && !there {
			err = errors.New("address " + addr.String() + " is not there")
		}
		return err
	}))
	return a
}

// TestPrefixRouteGoesWithTheAddress: where the administrator has an address in the prefix, the kernel would leave the route that
// it made for ours.
func TestPrefixRouteGoesWithTheAddress(t *testing.T) {
	n := newNetwork(t)
	d := n.open()
	n.take(d)
	routes := func() (all []uint32) {
		t.Helper()
		n.must(d.do(func() error {
			dump, err := d.dump(unix.RTM_GETROUTE, unix.SizeofRtMsg)
			for _, b := range dump {
				ad, err := netlink.NewAttributeDecoder(b[unix.SizeofRtMsg:])
				if err != nil {
					return err
				}
				dst, link, metric := netip.Addr{}, 0, uint32(0)
				for ad.Next() {
					switch ad.Type() {
					case unix.RTA_DST:
						dst, _ = netip.AddrFromSlice(ad.Bytes())
					case unix.RTA_OIF:
						link = int(ad.Uint32())
					case unix.RTA_PRIORITY:
						metric = ad.Uint32()
					}
				}
				if b[1] == 64 && b[4] == unix.RT_TABLE_MAIN && link == n.lan && dst == netip.MustParseAddr("2001:db8:1::") {
					all = append(all, metric)
				}
			}
			return err
		}))
		slices.Sort(all)
		return all
	}
	before := routes()
	one, two := netip.MustParsePrefix("2001:db8:1:0:1234:5678:9abc:def0/64"), netip.MustParsePrefix("2001:db8:1:0:1234:5678:9abc:def1/64")
	n.must(d.AddAddress(n.lan, one))
	n.must(d.AddAddress(n.lan, two))
	with := append(slices.Clone(before), AddressMetric)
	if got := routes(); !slices.Equal(got, with) {
		t.Fatalf("routes with the metrics %v, want %v", got, with)
	}
	n.must(d.RemoveAddress(n.lan, one.Addr()))
	if got := routes(); !slices.Equal(got, with) {
		t.Errorf("with one address left there are routes with the metrics %v, want %v", got, with)
	}
	n.must(d.RemoveAddress(n.lan, two.Addr()))
	if got := routes(); !slices.Equal(got, before) {
		t.Errorf("without an address there are routes with the metrics %v, want %v", got, before)
	}
}

// Older kernels have no IFA_PROTO: the metric is the mark by which they show an address as ours.
func TestMarkOfOlderKernels(t *testing.T) {
	n := newNetwork(t)
	d := n.open()
	own := netip.MustParsePrefix("2001:db8:1::abcd/64")
	n.must(d.AddAddress(n.lan, own))
	a := n.address(d, own.Addr())
	if a.metric != AddressMetric {
		t.Errorf("metric %d, want %d", a.metric, AddressMetric)
	}
	a.proto = 0
	if !a.ours() {
		t.Error("without a protocol number the address is not recognized")
	}
}

// The kernel's own Duplicate Address Detection, of the link-local address it makes when the link comes up, would be
// unsigned.
func TestLinkComesUpSilently(t *testing.T) {
	for _, taken := range []bool{false, true} {
		n := newNetwork(t)
		n.must(n.router.SetSysctl("net/ipv6/conf/lan0/accept_dad", "1"))
		n.must(n.router.SetSysctl("net/ipv6/conf/lan0/ndisc_notify", "1"))
		n.must(n.router.SetSysctl("net/ipv6/conf/lan0/router_solicitation_delay", "0"))
		d := n.open()
		if taken {
			n.take(d)
		}
		n.must(n.router.SetDown("lan0"))
		n.must(n.router.SetUp("lan0"))
		eui := ipv6.LinkLocalFrom(routerHW)
		netlabtest.Await(t, "the link-local address", func() bool {
			var a address
			_ = d.do(func() error { a, _, _ = d.find(n.lan, eui); return nil })
			return a.addr.IsValid() && a.flags&unix.IFA_F_TENTATIVE == 0
		})
		heard, _ := n.heard(nil, 50*time.Millisecond)
		spoke := slices.ContainsFunc(heard, func(p []byte) bool { typ, _ := discovery(p); return typ != 0 })
		if spoke == taken {
			t.Errorf("taken %v: Neighbour Discovery was heard: %v", taken, spoke)
		}
	}
}

func TestReleasePutsAllBack(t *testing.T) {
	n := newNetwork(t)
	odd := probes{app: 1, unicast: 4, multicast: 5}
	for name, value := range map[string]string{
		"neigh/lan0/app_solicit": "1", "neigh/lan0/ucast_solicit": "4", "neigh/lan0/mcast_solicit": "5",
		"conf/lan0/dad_transmits": "2", "conf/lan0/ndisc_notify": "1", "conf/lan0/suppress_frag_ndisc": "0",
	} {
		n.must(n.router.SetSysctl("net/ipv6/"+name, value))
	}
	d := n.open()
	n.take(d)
	if got := n.probes(); got != ourProbes() {
		t.Errorf("taken: %+v", got)
	}
	for _, s := range linkSettings() {
		if got := n.sysctl("conf/lan0/" + s.name); got != s.value {
			t.Errorf("taken: %s = %s, want %s", s.name, got, s.value)
		}
	}
	n.must(d.Release(n.lan))
	n.must(d.Release(n.lan)) // no error
	expect := func(when string) {
		t.Helper()
		if got := n.probes(); got != odd {
			t.Errorf("%s: %+v, want %+v", when, got, odd)
		}
		for name, want := range map[string]string{"dad_transmits": "2", "ndisc_notify": "1", "suppress_frag_ndisc": "0"} {
			if got := n.sysctl("conf/lan0/" + name); got != want {
				t.Errorf("%s: %s = %s, want %s", when, name, got, want)
			}
		}
	}
	expect("released")
	n.forward(hostAddr, 1)
	for {
		p, err := n.wire.Next(netlabtest.Patience)
		n.must(err)
		if p == nil {
			t.Fatal("the kernel of a released link solicits nobody")
		}
		if typ, target := discovery(p); typ == 135 && target == hostAddr {
			break
		}
	}
	n.take(d)
	n.must(d.Close())
	expect("closed")
}

// A process that dies leaves the link taken. The next one takes it over with its entries, and knows what links usually
// have.
func TestTakenLinkOutlivesACrash(t *testing.T) {
	n := newNetwork(t)
	first := n.open()
	n.take(first)
	n.must(first.SetEntry(n.lan, hostAddr, hostHW, true))
	n.must(first.AddAddress(n.lan, netip.MustParsePrefix("2001:db8:1::abcd/64")))
	elsewhere := netip.MustParseAddr("2001:db8:9::7")
	n.must(first.AddRoute(n.lan, elsewhere))
	n.must(first.Leave()) // what a process that died leaves, too
	if got := n.probes(); got != ourProbes() {
		t.Errorf("left: %+v", got)
	}

	second := n.open()
	n.take(second)
	n.quiet(n.arrives(n.forward(hostAddr, 1))) // by the entry of the first
	got, err := second.Owned()
	n.must(err)
	want := []Owned{{Link: n.lan, Addr: netip.MustParseAddr("2001:db8:1::abcd")}, {Link: n.lan, Addr: elsewhere, Route: true}}
	if !slices.Equal(got, want) {
		t.Errorf("owned: %v, want %v", got, want)
	}
	n.must(second.Release(n.lan))
	if got := n.probes(); got != usualProbes() {
		t.Errorf("released: %+v, want %+v", got, usualProbes())
	}
	if got := n.sysctl("conf/lan0/dad_transmits"); got != "1" {
		t.Errorf("dad_transmits = %s, want 1", got)
	}
}

func TestCleanup(t *testing.T) {
	n := newNetwork(t)
	d := n.open()
	n.take(d)
	n.must(d.AddAddress(n.lan, netip.MustParsePrefix("2001:db8:1::abcd/64")))
	n.must(d.AddRoute(n.lan, netip.MustParseAddr("2001:db8:9::7")))
	n.must(d.Leave())
	cleanup := func() (done []string) {
		n.must(n.router.Do(func() (err error) { done, err = Cleanup(); return err }))
		return done
	}
	want := []string{"address 2001:db8:1::abcd", "route to 2001:db8:9::7", "settings of the neighbours of lan0"}
	if got := cleanup(); !slices.Equal(got, want) {
		t.Errorf("Cleanup says %q, want %q", got, want)
	}
	if got := cleanup(); len(got) != 0 {
		t.Errorf("a second Cleanup says %q, want nothing", got)
	}
	if got := n.probes(); got != usualProbes() {
		t.Errorf("cleaned up: %+v, want %+v", got, usualProbes())
	}
	n.address(n.open(), routerAddr)
}

// A host route leads packets for an address of another link to this one, where the kernel asks for it (RFC 5568: a
// node keeps its previous care-of address at the new router).
func TestHostRoute(t *testing.T) {
	n := newNetwork(t)
	d := n.open()
	n.take(d)
	previous := netip.MustParseAddr("2001:db8:9::7")
	n.must(d.AddRoute(n.lan, previous))
	n.must(d.AddRoute(n.lan, previous)) // no error
	p := n.forward(previous, 1)
	n.asked(d, previous)
	n.must(d.SetEntry(n.lan, previous, hostHW, false))
	n.quiet(n.arrives(p))
	n.must(d.RemoveRoute(n.lan, previous))
	n.must(d.RemoveRoute(n.lan, previous)) // no error
	p = n.forward(previous, 2)
	if _, came := n.heard(p, 50*time.Millisecond); came {
		t.Error("a packet came by a route that was removed")
	}
}

func TestWhatCannotBe(t *testing.T) {
	n := newNetwork(t)
	d := n.open()
	group := ipv6.AllNodes()
	for name, err := range map[string]error{
		"an entry of a group":           d.SetEntry(n.lan, group, hostHW, true),
		"an entry without an address":   d.SetEntry(n.lan, hostAddr, ipv6.LinkAddr{}, true),
		"an entry with a group's":       d.SetEntry(n.lan, hostAddr, ipv6.LinkAddr{0x33, 0x33, 0, 0, 0, 1}, true),
		"an entry of IPv4":              d.SetEntry(n.lan, netip.MustParseAddr("192.0.2.1"), hostHW, true),
		"an entry on no link":           d.SetEntry(9999, hostAddr, hostHW, true),
		"an address of a group":         d.AddAddress(n.lan, netip.PrefixFrom(group, 64)),
		"no address":                    d.AddAddress(n.lan, netip.Prefix{}),
		"an address on no link":         d.AddAddress(9999, netip.PrefixFrom(hostAddr, 64)),
		"a route to a link-local one":   d.AddRoute(n.lan, netip.MustParseAddr("fe80::5")),
		"no link":                       d.Take(0),
		"a link that is not there":      d.Take(9999),
		"removing the entry of a group": d.RemoveEntry(n.lan, group),
	} {
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := d.Take(9999); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a link that is not there: %v", err)
	}
	if got := netlabtest.Counter(t, d, "failures"); got == 0 {
		t.Error("failures are not counted")
	}
	n.take(d)
	n.must(n.host.DeleteLink("wl0")) // and lan0 with it
	n.must(d.Release(n.lan))
	n.must(d.Close())
	n.must(d.Close())
	if err := d.Take(n.lan); err == nil {
		t.Error("a closed driver takes a link")
	}
}
