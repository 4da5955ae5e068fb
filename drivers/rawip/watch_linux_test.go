package rawip

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/ipv6"
)

var watched = netip.MustParseAddr("2001:db8:1::abcd:1234")

// snoopingBridge makes br0 in ns, that keeps multicast from who has not joined: snooping, with a querier that is heard from
// the start.
func snoopingBridge(t *testing.T, ns *netlab.Namespace) {
	t.Helper()
	check(t, ns.Bridge("br0"))
	for _, setting := range []struct{ name, value string }{
		{"multicast_query_response_interval", "1"}, // in 1/100 s; so long a new querier is not believed
		{"multicast_querier", "1"},
		{"multicast_snooping", "1"},
	} {
		check(t, ns.Set("/sys/class/net/br0/bridge/"+setting.name, setting.value))
	}
}

// dadSolicitation is what a host sends that wants addr: its destination is the solicited-node group.
func dadSolicitation(addr netip.Addr) []byte {
	return ipv6.Append(nil, ipv6.Header{Src: netip.IPv6Unspecified(), Dst: ipv6.SolicitedNode(addr), HopLimit: 255}, ipv6.ProtoICMPv6, icmp(135))
}

// hears reports whether a solicitation for addr from the station reaches r. A packet to all nodes follows it, which snooping
// lets through: when that comes alone, the solicitation was kept back.
func hears(t *testing.T, r *Socket, station *Socket, eth Link, addr netip.Addr, n byte) bool {
	t.Helper()
	check(t, station.SendLink(eth.Index, ipv6.MulticastLinkAddr(ipv6.SolicitedNode(addr)), dadSolicitation(addr)))
	all := packet(allNodes, nil, 0, ipv6.ProtoICMPv6, 136, 0, 0, 0, 's', 0, 0, n)
	check(t, station.SendLink(eth.Index, ipv6.MulticastLinkAddr(allNodes), all))
	heard := false
	for {
		p := next(t, r.Packets())
		end := p.Packet.Dst == allNodes && len(p.Packet.Payload) == 8 && p.Packet.Payload[7] == n
		heard = heard || p.Packet.Dst == ipv6.SolicitedNode(addr)
		p.Release()
		if end {
			return heard
		}
	}
}

// watchTest shows that solicitations for an address are kept back, heard while it is watched, and kept back again.
func watchTest(t *testing.T, ns *netlab.Namespace, r *Socket, link Link, station *Socket, eth Link) {
	n := byte(0)
	heard := func() bool { n++; return hears(t, r, station, eth, watched, n) }
	netlabtest.Await(t, "the bridge keeps back what nobody joined", func() bool { return !heard() })
	check(t, watch(ns, r, link, watched))
	if p := netlabtest.Counter(t, r, "watch_promiscuous"); p != 0 {
		t.Fatalf("%d groups by promiscuous mode: the kernel took no membership", p)
	}
	netlabtest.Await(t, "the solicitation of a watched address is heard", heard)

	// Another address with the same group, and the same address once more, do not add up to less.
	twin := netip.MustParseAddr("2001:db8:2::ff:abcd:1234")
	check(t, watch(ns, r, link, twin))
	check(t, watch(ns, r, link, watched))
	if w := netlabtest.Counter(t, r, "watched"); w != 2 {
		t.Errorf("%d addresses are watched, want 2", w)
	}
	check(t, r.Unwatch(link.Index, watched))
	check(t, r.Unwatch(link.Index, watched))
	if !heard() {
		t.Error("the group was left while an address of it is watched")
	}
	check(t, r.Unwatch(link.Index, twin))
	if w := netlabtest.Counter(t, r, "watched"); w != 0 {
		t.Errorf("%d addresses are watched, want 0", w)
	}
}

// watch calls Watch in the namespace of the socket: what it opens has to be there.
func watch(ns *netlab.Namespace, s *Socket, link Link, addr netip.Addr) error {
	return ns.Do(func() error { return s.Watch(link.Index, addr) })
}

// The access point's own bridge is the served link.
func TestWatchOnOwnBridge(t *testing.T) {
	lab, ns := netlabtest.New(t, "ap", "station")
	ap, sta := ns[0], ns[1]
	snoopingBridge(t, ap)
	check(t, lab.Veth(netlab.End{NS: ap, Name: "wlan0"}, netlab.End{NS: sta, Name: "eth0"}))
	check(t, ap.SetMaster("wlan0", "br0"))
	r, s := openIn(t, ap, Config{}, "br0"), openIn(t, sta, Config{}, "eth0")
	watchTest(t, ap, r, linkOf(t, ap, "br0"), s, linkOf(t, sta, "eth0"))
}

// A switch between the router and the station snoops: the membership has to be reported on the wire.
func TestWatchBehindASwitch(t *testing.T) {
	lab, ns := netlabtest.New(t, "router", "switch", "station")
	router, sw, sta := ns[0], ns[1], ns[2]
	snoopingBridge(t, sw)
	check(t, lab.Veth(netlab.End{NS: sw, Name: "p1"}, netlab.End{NS: router, Name: "lan0"}))
	check(t, lab.Veth(netlab.End{NS: sw, Name: "p2"}, netlab.End{NS: sta, Name: "eth0"}))
	check(t, sw.SetMaster("p1", "br0"))
	check(t, sw.SetMaster("p2", "br0"))
	r, s := openIn(t, router, Config{}, "lan0"), openIn(t, sta, Config{}, "eth0")
	watchTest(t, router, r, linkOf(t, router, "lan0"), s, linkOf(t, sta, "eth0"))
}

// The kernel bounds one socket's memberships: more than that many are spread over several.
func TestWatchMany(t *testing.T) {
	w := newWire(t, Config{})
	const many = 3000
	addr := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 13: 1, 14: byte(i >> 8), 15: byte(i)})
	}
	check(t, w.router.Do(func() error { // the sockets are opened as they are needed
		for i := range many {
			if err := w.r.Watch(w.lan.Index, addr(i)); err != nil {
				return err
			}
		}
		return nil
	}))
	if n, p := len(w.r.watch.sockets), netlabtest.Counter(t, w.r, "watch_promiscuous"); n < 2 || p != 0 {
		t.Errorf("%d sockets, %d groups by promiscuous mode: want several sockets and none", n, p)
	}
	for i := range many {
		check(t, w.r.Unwatch(w.lan.Index, addr(i)))
	}
	if len(w.r.watch.groups) != 0 || len(w.r.watch.addrs) != 0 {
		t.Error("memberships are left")
	}
}

// Where the kernel takes no membership, all frames are received instead.
func TestWatchFallsBackToPromiscuous(t *testing.T) {
	w := newWire(t, Config{})
	check(t, w.router.SetMTU("lan0", 1000)) // too small for IPv6: the kernel has none on the link
	check(t, watch(w.router, w.r, w.lan, watched))
	if p := netlabtest.Counter(t, w.r, "watch_promiscuous"); p != 1 {
		t.Errorf("watch_promiscuous = %d, want 1", p)
	}
	if !isPromiscuous(t, w.router, "lan0") {
		t.Error("the interface does not receive all frames")
	}
	check(t, w.r.Unwatch(w.lan.Index, watched))
	if p := netlabtest.Counter(t, w.r, "watch_promiscuous"); p != 0 || isPromiscuous(t, w.router, "lan0") {
		t.Error("the interface still receives all frames")
	}
}

func isPromiscuous(t *testing.T, ns *netlab.Namespace, name string) bool {
	t.Helper()
	var text []byte
	check(t, ns.Do(func() (err error) {
		text, err = os.ReadFile(fmt.Sprintf("/sys/class/net/%s/flags", name))
		return err
	}))
	flags, err := strconv.ParseUint(strings.TrimSpace(string(text)), 0, 32)
	check(t, err)
	return flags&unix.IFF_PROMISC != 0
}

// What is watched on a link that is served no more is forgotten with it.
func TestWatchEndsWithTheLink(t *testing.T) {
	w := newWire(t, Config{})
	check(t, watch(w.router, w.r, w.lan, watched))
	check(t, w.r.SetLinks(nil))
	if n := netlabtest.Counter(t, w.r, "watched"); n != 0 || len(w.r.watch.groups) != 0 {
		t.Errorf("%d addresses are still watched", n)
	}
	if w.r.Watch(w.lan.Index, watched) == nil {
		t.Error("watched on a link that is not served")
	}
	check(t, w.r.Unwatch(w.lan.Index, watched))
}
