package forward

import (
	"net/netip"
	"testing"
)

// The home agent sends to the care-of address that the node has left until it knows the new one: at the node its tunnel lies
// in that of the router there. A router refuses such a thing: resolution u, a tunnel loop.
func TestNodesTunnelsMayLieInEachOther(t *testing.T) {
	addr := netip.MustParseAddr
	home := Binding{Home: addr("2001:db8:40::9"), Router: addr("2001:db8:40::1"), CareOf: addr("2001:db8:1::9")}
	left := Binding{Home: home.CareOf, Router: addr("2001:db8:1::1"), CareOf: addr("2001:db8:2::9")}
	l := newLedger()
	for _, b := range []Binding{home, left} {
		if err := l.checkNode(b); err != nil {
			t.Fatalf("%v: %v", b, err)
		}
		l.put(b)
	}
	if err := l.check(Binding{Home: left.CareOf, Router: addr("2001:db8:2::1"), CareOf: addr("2001:db8:3::9")}); err == nil {
		t.Error("a router binds an address that is a care-of address")
	}
	circle := Binding{Home: left.CareOf, Router: addr("2001:db8:2::1"), CareOf: home.Home}
	if err := l.checkNode(circle); err == nil {
		t.Error("a circle of tunnels is taken")
	}
}

// When a router learns where the node is now, what it sent to the place before is still under way: at a thousand packets a second
// one or two of them.
func TestNodeTakesWhatWasUnderWayToItsLastAddress(t *testing.T) {
	addr := netip.MustParseAddr
	home, router, peer := addr("2001:db8:40::9"), addr("2001:db8:40::1"), addr("2001:db8:c::2")
	places := []netip.Addr{addr("2001:db8:1::9"), addr("2001:db8:2::9"), addr("2001:db8:3::9")}
	packet := udp(peer, home, 64, "x")
	from := func(tab *table, router, to netip.Addr) reason {
		src, dst := addrOf(router), addrOf(to)
		return tab.inbound(&src, &dst, packet)
	}
	tab := newTable(nodeSide)
	for i, at := range places {
		tab.set(Binding{Home: home, Router: router, CareOf: at}, 1400)
		tab.set(Binding{Home: home, Router: router, CareOf: at}, 1400) // a refresh
		for j, to := range places {
			want := wrongOuter
			if j == i || j == i-1 {
				want = passed
			}
			if got := from(tab, router, to); got != want {
				t.Errorf("at place %d, a packet to place %d: %v, want %v", i, j, got, want)
			}
		}
	}
	tab.set(Binding{Home: home, Router: peer, CareOf: places[0]}, 1400)
	if got := from(tab, peer, places[2]); got != wrongOuter {
		t.Errorf("another router's packet to the last place: %v, want %v", got, wrongOuter)
	}
	// It expects to be known at another place, by that router alone.
	tab.expect(Binding{Home: home, Router: peer, CareOf: places[1]})
	tab.expect(Binding{Home: home, Router: router, CareOf: places[2]})
	tab.expect(Binding{Home: addr("2001:db8:40::8"), Router: peer, CareOf: places[2]})
	for j, want := range []reason{passed, passed, wrongOuter} {
		if got := from(tab, peer, places[j]); got != want {
			t.Errorf("while place 1 is expected, a packet to place %d: %v, want %v", j, got, want)
		}
	}
	tab.set(Binding{Home: home, Router: peer, CareOf: places[1]}, 1400)
	for j, want := range []reason{passed, passed, wrongOuter} {
		if got := from(tab, peer, places[j]); got != want {
			t.Errorf("bound to place 1, a packet to place %d: %v, want %v", j, got, want)
		}
	}
	tab.remove(home)
	if got := from(tab, peer, places[0]); got != noBinding {
		t.Errorf("after the end: %v, want %v", got, noBinding)
	}
}

func addrOf(a netip.Addr) addr { return a.As16() }
