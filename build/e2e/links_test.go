package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

var (
	otherAddr   = netip.MustParseAddr("2001:db8:5::1") // of the router, in a prefix that comes later
	otherPrefix = netip.PrefixFrom(otherAddr, 64).Masked()
)

// gone reports whether an advertisement tells hosts to forget a prefix, or to use it for nothing new.
func gone(a advert, p netip.Prefix) bool {
	told, ok := a.prefixes[p]
	return ok && told.Preferred == 0
}

func inUse(a advert, p netip.Prefix, router netip.Addr) bool {
	told, ok := a.prefixes[p]
	return ok && told.Preferred > 0 && told.Valid >= told.Preferred && told.Address == router && told.RouterAddress
}

// TestAddressComesAndGoes: the prefix of an address is advertised as soon as the address is there, nodes get keys for it, and
// hosts are told when it is gone (RFC 9096 section 3.5).
func TestAddressComesAndGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.awaitAdvert(0, "the first prefix alone", func(a advert) bool { return len(a.prefixes) == 1 && inUse(a, lanPrefix, routerAddr) })
	mark := w.nodes.mark()
	check(t, w.router.AddAddress("lan0", netip.PrefixFrom(otherAddr, 64)))
	w.awaitAdvert(mark, "both prefixes", func(a advert) bool { return inUse(a, lanPrefix, routerAddr) && inUse(a, otherPrefix, otherAddr) })

	n := w.node()
	n.Router.Addr, n.Home = otherAddr, ipv6.WithEUI64(otherPrefix.Addr(), n.Hardware)
	w.associate(n)
	if s, _ := w.status(); association(s, n).Router != otherAddr {
		t.Errorf("LKE-AR-8: association %+v names no router address in its prefix", association(s, n))
	}

	mark = w.nodes.mark()
	check(t, w.router.DeleteAddress("lan0", netip.PrefixFrom(otherAddr, 64)))
	w.awaitAdvert(mark, "the prefix told as gone", func(a advert) bool { return inUse(a, lanPrefix, routerAddr) && gone(a, otherPrefix) })
	s := w.await("a stale prefix in the status", func(s control.Snapshot) bool {
		for _, p := range s.Links[0].Prefixes {
			if p.Prefix == otherPrefix {
				return p.Stale && p.Valid > control.Seconds(time.Hour)
			}
		}
		return false
	})
	// It is no prefix of this link any more (LKE-resolution-r), and what was agreed on stays.
	if stateOf(s, n) != "valid" {
		t.Errorf("association is %q", stateOf(s, n))
	}
	before, _ := w.status()
	late := w.node()
	late.Home = ipv6.WithEUI64(otherPrefix.Addr(), late.Hardware)
	w.request(late)
	w.await("a refusal", func(s control.Snapshot) bool { return changes(before, s)["lke/request_not_in_prefix"] == 1 })
}

// TestRenumbering changes the link's only prefix while a node of the old one is away.
func TestRenumbering(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	n := w.node()
	w.associate(n)
	w.move(n, 1000)
	mark := w.nodes.mark()
	check(t, w.router.AddAddress("lan0", netip.PrefixFrom(otherAddr, 64)))
	check(t, w.router.DeleteAddress("lan0", netip.PrefixFrom(routerAddr, 64)))
	w.awaitAdvert(mark, "the new prefix, and the old one as gone", func(a advert) bool {
		return inUse(a, otherPrefix, otherAddr) && gone(a, lanPrefix) && a.capability != nil && a.HomeAgent
	})
	// The tunnel's end is gone with the address, and comes back with it; the binding stands.
	p := w.peer()
	before, _ := w.status()
	p.send(n, "lost")
	w.await("the datagram to be counted", func(s control.Snapshot) bool {
		return stateOf(s, n) == "bound" && changes(before, s)["forward/out_send_error"] == 1
	})
	check(t, w.router.AddAddress("lan0", netip.PrefixFrom(routerAddr, 128)))
	away := w.away.mark()
	p.send(n, "to the old address")
	w.away.hear(away, "the datagram in the tunnel", inTunnel(datagramTo(n.Home, "to the old address")))
	newcomer := w.node()
	newcomer.Router.Addr, newcomer.Home = otherAddr, ipv6.WithEUI64(otherPrefix.Addr(), newcomer.Hardware)
	w.associate(newcomer)
}

// TestAnotherRouterSpeaks: it is told once in the log and stays in the status, which is not healthy then.
func TestAnotherRouterSpeaks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	if s, code := w.status(); code != 0 {
		t.Errorf("exit code %d before: %+v", code, s.Findings)
	}
	other := netip.MustParseAddr("fe80::bad")
	speak := func(src netip.Addr, hopLimit byte) {
		msg := append([]byte{ndp.TypeRouterAdvert, 0, 0, 0, hopLimit, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}, ndp.OptSourceLink, 1, 2, 0, 0, 0, 0xba, 0xd)
		ndp.FixChecksum(msg, src, ipv6.AllNodes())
		w.nodes.send(ipv6.LinkAddr{2, 0, 0, 0, 0xba, 0xd}, ipv6.MulticastLinkAddr(ipv6.AllNodes()), icmp(src, ipv6.AllNodes(), msg))
	}
	for range 5 {
		speak(other, 33)
	}
	s := w.await("the other router", func(s control.Snapshot) bool { return len(s.Links[0].RA.Others) == 1 })
	if o := s.Links[0].RA.Others[0]; o.Router != other || o.Hardware != "02:00:00:00:ba:0d" {
		t.Errorf("status shows %+v", o)
	}
	if _, code := w.status(); code != 1 {
		t.Errorf("exit code %d with another router on the link, want 1", code)
	}
	w.awaitLog("other-router", "router=fe80::bad", "hardware=02:00:00:00:ba:0d", "1800 s")
	w.awaitLog("advert-conflict", "hop limit", "33")
	if n := strings.Count(w.d.Log(), "other-router"); n != 1 {
		t.Errorf("it is told %d times", n)
	}
	speak(w.access.Local, 64)
	w.awaitLog("advert-impersonated", "hardware=02:00:00:00:ba:0d")
}

// TestCarrierComesAndGoes unplugs the link: nobody loses a key or a binding, and hosts hear of no lost prefix.
func TestCarrierComesAndGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	n, here := w.node(), w.node()
	w.associate(n)
	w.associate(here)
	w.move(n, 1000)
	mark := w.nodes.mark()
	check(t, w.cell.SetDown("cell0"))
	s := w.await("the link to be down", func(s control.Snapshot) bool { return !s.Links[0].Served })
	if !strings.Contains(s.Links[0].Waiting, "lan0 is down") || stateOf(s, n) != "bound" || stateOf(s, here) != "valid" {
		t.Errorf("link %+v, associations %+v", s.Links[0], s.LBSAs.List)
	}
	p := w.peer()
	away := w.away.mark()
	p.send(n, "meanwhile")
	w.away.hear(away, "the datagram in the tunnel", inTunnel(datagramTo(n.Home, "meanwhile")))

	check(t, w.cell.SetUp("cell0"))
	w.await("the link to be served", rig.Serves)
	w.awaitAdvert(mark, "an advertisement", func(a advert) bool { return inUse(a, lanPrefix, routerAddr) })
	for _, a := range w.adverts(mark) {
		if a.Lifetime == 0 || gone(a, lanPrefix) || a.capability == nil {
			t.Errorf("advertisement %+v with %v", a.RouterAdvert, a.prefixes)
		}
	}
	w.associate(w.node())
	before, _ := w.status()
	w.nodes.send(proberHW, ipv6.MulticastLinkAddr(ipv6.SolicitedNode(here.Home)), competing(here))
	w.await("the address to be defended", func(s control.Snapshot) bool { return changes(before, s)["lke/adverts_replayed"] == 1 })
}

// TestInterfaceIsTakenDown loses its addresses with that, as the kernel does it. They come back after the link does: in
// between hosts are not told that their prefix is gone.
func TestInterfaceIsTakenDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	n := w.node()
	w.associate(n)
	check(t, w.router.SetDown("lan0"))
	w.await("the link to be down", func(s control.Snapshot) bool { return !s.Links[0].Served })
	mark := w.nodes.mark()
	check(t, w.router.SetUp("lan0"))
	w.await("the link to be held back", func(s control.Snapshot) bool {
		return strings.Contains(s.Links[0].Waiting, "no address in 2001:db8:1::/64 yet")
	})
	check(t, w.router.AddAddress("lan0", netip.PrefixFrom(routerAddr, 64)))
	s := w.await("the link to be served", rig.Serves)
	if stateOf(s, n) != "valid" {
		t.Errorf("association is %q", stateOf(s, n))
	}
	w.awaitAdvert(mark, "an advertisement", func(a advert) bool { return inUse(a, lanPrefix, routerAddr) })
	for _, a := range w.adverts(mark) {
		if gone(a, lanPrefix) || a.capability == nil {
			t.Errorf("advertisement %+v with %v", a.RouterAdvert, a.prefixes)
		}
	}
	w.move(n, 100)
}

// TestInterfaceIsMadeAnew has another index under the same name.
func TestInterfaceIsMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	n := w.node()
	w.associate(n)
	check(t, w.router.DeleteLink("lan0"))
	s := w.await("no link", func(s control.Snapshot) bool { return !s.Links[0].Served })
	if !strings.Contains(s.Links[0].Waiting, "there is no interface lan0") || stateOf(s, n) != "valid" {
		t.Errorf("link %+v, association %q", s.Links[0], stateOf(s, n))
	}
	check(t, w.lab.Veth(netlab.End{NS: w.cell, Name: "cell0"}, netlab.End{NS: w.router, Name: "lan0", Hardware: w.access.Hardware}))
	check(t, w.router.AddAddress("lan0", netip.PrefixFrom(routerAddr, 64)))
	w.nodes = openStation(t, w.cell, "cell0")
	w.await("the new link to be served", rig.Serves)
	w.awaitAdvert(0, "an advertisement", func(a advert) bool { return inUse(a, lanPrefix, routerAddr) })
	before, _ := w.status()
	w.nodes.send(proberHW, ipv6.MulticastLinkAddr(ipv6.SolicitedNode(n.Home)), competing(n))
	w.await("the address to be defended on it", func(s control.Snapshot) bool { return changes(before, s)["lke/adverts_replayed"] == 1 })
	w.associate(w.node())
	w.move(n, 100)
}

// TestIsolatedPorts is LKE-resolution-w: where stations do not see each other's duplicate address detection nobody gets a
// key, which is said, unless the operator wants it so.
func TestIsolatedPorts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// The link is a bridge now, with the cell on one port and an empty cell on another.
	check(t, w.router.DeleteAddress("lan0", netip.PrefixFrom(routerAddr, 64)))
	check(t, w.router.Bridge("br-lan"))
	// With br_netfilter the frames of a bridge pass netfilter before they reach the bridge itself: the guard has to let them.
	if _, err := w.router.Sysctl("net/bridge/bridge-nf-call-ip6tables"); err == nil {
		check(t, w.router.SetSysctl("net/bridge/bridge-nf-call-ip6tables", "1"))
	}
	empty := w.namespace("empty")
	check(t, w.lab.Veth(netlab.End{NS: empty, Name: "cell1"}, netlab.End{NS: w.router, Name: "lan1"}))
	for _, port := range []string{"lan0", "lan1"} {
		check(t, w.router.SetMaster(port, "br-lan"))
		check(t, w.router.SetIsolated(port, true))
	}
	check(t, w.router.AddAddress("br-lan", netip.PrefixFrom(routerAddr, 64)))
	w.options.Settings = replace(settings, "'lan0'", "'br-lan'")
	s := w.start()
	w.access.Hardware, w.access.Local = w.link("br-lan").Hardware, s.Links[0].LinkLocal
	if s.Links[0].Refused == "" || len(s.Findings) != 2 {
		t.Errorf("link %+v, findings %+v", s.Links[0], s.Findings)
	}
	for _, f := range s.Findings {
		if f.Level != control.Warning || !strings.Contains(f.What, "/brport/isolated is 1") || !strings.Contains(f.Fix, "isolated off") {
			t.Errorf("finding %+v", f)
		}
	}
	if _, code := w.status(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	w.awaitAdvert(0, "an advertisement that offers no key", func(a advert) bool { return a.capability == nil && a.Lifetime > 0 })
	n := w.node()
	w.request(n)
	s = w.await("a refusal", func(s control.Snapshot) bool { return s.Counters["lke"]["request_link_refused"] == 1 })
	if s.Counters["engine"]["engine_submitted"] != 0 {
		t.Error("LKE-resolution-w: it cost an RSA operation")
	}

	mark := w.nodes.mark()
	w.reload(replace(w.options.Settings, "option device 'br-lan'", "option device 'br-lan'\n\toption allow_hidden_dad '1'"))
	w.awaitAdvert(mark, "an advertisement that offers keys", func(a advert) bool { return a.capability != nil })
	w.associate(n)
	s, code := w.status()
	if s.Links[0].Refused != "" || code != 0 || len(s.Findings) != 2 || s.Findings[0].Level != control.Note {
		t.Errorf("exit code %d, link %+v, findings %+v", code, s.Links[0], s.Findings)
	}

	// What the operator repairs is seen by itself; the override is not needed any more.
	w.reload(w.options.Settings)
	w.await("LKE to be refused again", func(s control.Snapshot) bool { return s.Links[0].Refused != "" })
	check(t, w.router.SetIsolated("lan1", false))
	w.await("LKE without override", func(s control.Snapshot) bool { return s.Links[0].Refused == "" && len(s.Findings) == 0 })
	w.associate(w.node())
}
