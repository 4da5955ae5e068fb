package ndp_test

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

const (
	prefixOption = "0304 40e0 00015180 00003840 00000000 20010db8000100000000000000000001" // /64, L, A, R
	otherPrefix  = "0304 3080 ffffffff ffffffff 00000000 20010db80002ffffffffffffffffffff" // /48, L, bits after the prefix
)

// routerAdvert parses a router advertisement with the options.
func routerAdvert(t testing.TB, head string, options ...string) ndp.RouterAdvert {
	t.Helper()
	msg := unhex(t, append([]string{head}, options...)...)
	ndp.FixChecksum(msg, linkLocal, ipv6.AllNodes())
	m, reason := ndp.ParseRouterAdvert(received(t, linkLocal, ipv6.AllNodes(), msg))
	if reason != ndp.ReasonNone {
		t.Fatal(reason)
	}
	return m
}

// RFC 4861 section 4.2 and RFC 6275 section 7. One advertisement holds options 6, 7 and 8 in the meaning that they have
// there.
func TestRouterAdvert(t *testing.T) {
	capability := ndp.Capability{MaximumLifetime: 7200, PublicKey: readVectors(t).LKE.SPKI}.Append(nil, ndp.DefaultCodePoints())
	m := routerAdvert(t, advert, "0101 020102030405", "0501 0000 000005dc", "0701 0000 00000bb8", "0801 0000 000a 0e10",
		prefixOption, string(hexOf(capability)))
	options := m.Options
	m.Options = ndp.Options{}
	want := ndp.RouterAdvert{
		HopLimit: 64, Managed: true, Other: true, HomeAgent: true, Lifetime: 1800, Reachable: 30000, Retrans: 1000,
		SourceLink: hw, MTU: 1500, Interval: 3000,
		HasHomeAgentInfo: true, HomeAgentPreference: 10, HomeAgentLifetime: 3600,
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("read %+v\nwant %+v", m, want)
	}
	c, err := ndp.ParseCapability(find(t, options, ndp.DefaultCodePoints().Capability))
	if err != nil || c.MaximumLifetime != 7200 {
		t.Errorf("capability: %+v, %v", c, err)
	}
}

func TestRouterAdvertFlags(t *testing.T) {
	for head, want := range map[string]ndp.RouterAdvert{
		"86000000 00000000 00000000 00000000": {},
		"86000000 00800000 00000000 00000000": {Managed: true},
		"86000000 00400000 00000000 00000000": {Other: true},
		"86000000 00200000 00000000 00000000": {HomeAgent: true},
		"86000000 001f0000 00000000 00000000": {}, // router preference and reserved bits
	} {
		m := routerAdvert(t, head)
		m.Options = ndp.Options{}
		if !reflect.DeepEqual(m, want) {
			t.Errorf("%s: %+v", head, m)
		}
	}
}

// RFC 6275 section 7.4: home agent information counts only beside the H flag (LKE-AR-3 rests on its lifetime).
func TestHomeAgentInformationNeedsFlag(t *testing.T) {
	m := routerAdvert(t, "86000000 40000708 00000000 00000000", "0801 0000 000a 0e10")
	if m.HasHomeAgentInfo || m.HomeAgentLifetime != 0 {
		t.Errorf("read %+v", m)
	}
}

// Options of a length that they cannot have are skipped; the first of repeated ones counts.
func TestRouterAdvertOddOptions(t *testing.T) {
	m := routerAdvert(t, advert, "0502 0000 00000001 0000000000000000", "0501 0000 000005dc", "0501 0000 00000500",
		"0802 0000 0001 0001 0000000000000000", "0801 0000 0002 0002", "0801 0000 0003 0003")
	if m.MTU != 1500 || m.HomeAgentPreference != 2 || m.HomeAgentLifetime != 2 {
		t.Errorf("read %+v", m)
	}
}

func TestPrefixes(t *testing.T) {
	tooLong := "0304 81c0 00015180 00003840 00000000 20010db8000100000000000000000000" // /129
	m := routerAdvert(t, advert, prefixOption, "fa01 000000000000", tooLong, "0301 40c000000000", otherPrefix)
	want := []ndp.Prefix{
		{
			Prefix: netip.MustParsePrefix("2001:db8:1::/64"), Address: router,
			OnLink: true, Autonomous: true, RouterAddress: true, Valid: 86400, Preferred: 14400,
		},
		{
			Prefix: netip.MustParsePrefix("2001:db8:2::/48"), Address: netip.MustParseAddr("2001:db8:2:ffff:ffff:ffff:ffff:ffff"),
			OnLink: true, Valid: 0xffffffff, Preferred: 0xffffffff,
		},
	}
	for range 2 { // each walk begins anew
		prefixes, n := m.Prefixes(), 0
		for p, ok := prefixes.Next(); ok; p, ok = prefixes.Next() {
			if n >= len(want) || p != want[n] {
				t.Errorf("prefix %d: %+v", n, p)
			}
			n++
		}
		if n != len(want) {
			t.Errorf("%d prefixes", n)
		}
	}
}

func TestRouterAdvertAllocatesNothing(t *testing.T) {
	msg := unhex(t, advert, prefixOption, otherPrefix, "0501 0000 000005dc")
	ndp.FixChecksum(msg, linkLocal, ipv6.AllNodes())
	p := received(t, linkLocal, ipv6.AllNodes(), msg)
	read := 0
	allocs := testing.AllocsPerRun(50, func() {
		m, _ := ndp.ParseRouterAdvert(p)
		prefixes := m.Prefixes()
		for _, ok := prefixes.Next(); ok; _, ok = prefixes.Next() {
			read++
		}
	})
	if allocs != 0 || read == 0 {
		t.Errorf("%v allocations, %d prefixes", allocs, read)
	}
}
