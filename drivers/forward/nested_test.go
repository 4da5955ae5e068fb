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
