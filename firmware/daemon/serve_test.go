package daemon

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/drivers/forward"
	forwardfake "github.com/roamkey/roamkey/drivers/forward/fake"
	"github.com/roamkey/roamkey/drivers/neighbors"
	neighborsfake "github.com/roamkey/roamkey/drivers/neighbors/fake"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/mipsec/fmip"
)

// A node that keeps its previous care-of address has both a host route and the tunnel, or neither (RFC 5568, HAck code 3).
func TestServesWithRouteAndTunnelAlike(t *testing.T) {
	home := netip.MustParseAddr("2001:db8:9::7")
	binding := fmip.Binding{
		Home: home, Router: netip.MustParseAddr("2001:db8:1::1"), CareOf: netip.MustParseAddr("2001:db8:9::1"), Link: 3, ToRouter: true,
	}
	route := []fmip.Effect{{Kind: fmip.EffectRoute, Addr: home, Link: 3, Binding: binding}}
	f, n := new(forwardfake.Forwarder), neighborsfake.New()
	d := &Daemon{
		forward: f, neighbors: n, log: slog.New(slog.NewTextHandler(io.Discard, nil)), config: &config.Config{},
		now: bootTime, said: make(map[string]time.Time),
	}
	check := func(when string, served bool) {
		t.Helper()
		var want []forward.Binding
		var routes []neighbors.Owned
		if served {
			want = []forward.Binding{{Home: home, Router: binding.Router, CareOf: binding.CareOf, Link: 3, Served: true}}
			routes = []neighbors.Owned{{Link: 3, Addr: home, Route: true}}
		}
		owned, err := n.Owned()
		if got := f.Served(); !slices.Equal(got, want) || !slices.Equal(owned, routes) || err != nil {
			t.Errorf("%s: served %v, routes %v, %v; want %v and %v", when, got, owned, err, want, routes)
		}
	}
	d.carryFast(route)
	check("expected", true)
	d.carryFast([]fmip.Effect{{Kind: fmip.EffectUnroute, Addr: home, Link: 3}})
	check("gone", false)

	f.Fail = func(forward.Binding) error { return errors.New("no tunnel") }
	d.carryFast(route)
	check("without a tunnel", false)
	f.Fail = nil
	n.Fail(errors.New("no route"))
	d.carryFast(route)
	n.Fail(nil)
	check("without a route", false)
}

// Nobody is told to keep its address where the kernel can't do it.
func TestServesWhereTheKernelCan(t *testing.T) {
	d := &Daemon{config: &config.Config{}, neighbors: neighborsfake.New()}
	for _, old := range []bool{false, true} {
		d.forward = &forwardfake.Forwarder{Old: old}
		if got := d.fastConfig().HostRoutes; got == old {
			t.Errorf("without policy routing %v: host routes %v", old, got)
		}
	}
	d.forward, d.neighbors = new(forwardfake.Forwarder), nil
	if d.fastConfig().HostRoutes {
		t.Error("host routes without anybody who makes them")
	}
}
