package fake

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/roamkey/roamkey/drivers/neighbors"
	"github.com/roamkey/roamkey/ipv6"
)

var (
	addr = netip.MustParseAddr("2001:db8:1::7")
	hw   = ipv6.LinkAddr{2, 0, 0, 0, 0, 7}
)

func TestFakeBehavesAsTheDriver(t *testing.T) {
	n := New()
	n.Own(neighbors.Owned{Link: 3, Addr: addr, Route: true}, 128)
	if n.Ask(3, addr) {
		t.Error("it asks about a link that is not taken")
	}
	if err := n.SetEntry(3, addr, hw, false); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.Take(3), n.Take(3)); err != nil || !n.Taken(3) {
		t.Fatal(err)
	}
	if _, ok := n.Entry(3, addr); ok {
		t.Error("Take forgets nothing")
	}
	if !n.Ask(3, addr) {
		t.Error("it does not ask")
	}
	if got := <-n.Asked(); got != (neighbors.Ask{Link: 3, Addr: addr, Missing: true}) {
		t.Errorf("asked %v", got)
	}
	if err := errors.Join(n.SetEntry(3, addr, hw, true), n.AddAddress(3, netip.PrefixFrom(addr, 64))); err != nil {
		t.Fatal(err)
	}
	if e, ok := n.Entry(3, addr); !ok || e != (Entry{hw, true}) {
		t.Errorf("entry %v", e)
	}
	if p, ok := n.Address(3, addr); !ok || p.Bits() != 64 || !n.Routed(3, addr) {
		t.Errorf("address %v", p)
	}
	want := []neighbors.Owned{{Link: 3, Addr: addr}, {Link: 3, Addr: addr, Route: true}}
	if got, err := n.Owned(); err != nil || !slices.Equal(got, want) {
		t.Errorf("owned %v, %v", got, err)
	}
	if err := errors.Join(n.RemoveEntry(3, addr), n.RemoveAddress(3, addr), n.RemoveRoute(3, addr), n.Release(3)); err != nil {
		t.Fatal(err)
	}
	if got, _ := n.Owned(); len(got) != 0 || n.Taken(3) {
		t.Errorf("something is left: %v", got)
	}

	for _, err := range []error{
		n.SetEntry(3, ipv6.AllNodes(), hw, true), n.SetEntry(3, addr, ipv6.LinkAddr{}, true), n.Take(0),
		n.AddRoute(3, netip.MustParseAddr("fe80::1")), n.AddAddress(3, netip.Prefix{}),
	} {
		if err == nil {
			t.Error("something was taken that the kernel would refuse")
		}
	}
	broken := errors.New("broken")
	n.Fail(broken)
	if err := n.Take(4); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	n.Fail(nil)
	if err := errors.Join(n.Take(4), n.Close()); err != nil || n.Taken(4) || !n.Closed() {
		t.Errorf("closed: %v", err)
	}
	if err := n.Take(4); err == nil {
		t.Error("a closed driver takes a link")
	}
}
