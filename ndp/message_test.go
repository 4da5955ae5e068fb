package ndp_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

var (
	linkLocal = netip.MustParseAddr("fe80::1:2ff:fe03:405")
	node      = netip.MustParseAddr("2001:db8:1::abcd")
	router    = netip.MustParseAddr("2001:db8:1::1")
	none      = netip.IPv6Unspecified()
	group     = netip.MustParseAddr("ff02::1:ff00:abcd") // solicited-node group of node
	hw        = ipv6.LinkAddr{0x02, 1, 2, 3, 4, 5}
)

// proxyAdvert stands for PrRtAdv, which has the ICMPv6 type of RtSolPr.
const proxyAdvert = 0

// parse reads p as a message of type typ.
func parse(p *ipv6.Packet, typ uint8) ndp.Reason {
	var reason ndp.Reason
	switch typ {
	case ndp.TypeRouterSolicit:
		_, reason = ndp.ParseRouterSolicit(p)
	case ndp.TypeRouterAdvert:
		_, reason = ndp.ParseRouterAdvert(p)
	case ndp.TypeNeighborSolicit:
		_, reason = ndp.ParseNeighborSolicit(p)
	case ndp.TypeNeighborAdvert:
		_, reason = ndp.ParseNeighborAdvert(p)
	case ndp.TypeRedirect:
		_, reason = ndp.ParseRedirect(p)
	case ndp.TypePathSolicit:
		_, reason = ndp.ParsePathSolicit(p)
	case ndp.TypePathAdvert:
		_, reason = ndp.ParsePathAdvert(p)
	case ndp.TypeFast:
		_, reason = ndp.ParseProxySolicit(p)
	case proxyAdvert:
		_, reason = ndp.ParseProxyAdvert(p)
	}
	return reason
}

// advert is a router advertisement without options.
const advert = "86000000 40e00708 00007530 000003e8"

// good gives a valid packet of each type.
func good(t testing.TB) map[uint8]*ipv6.Packet {
	ra := append(unhex(t, advert), ndp.SourceLinkOption(hw)...)
	ndp.FixChecksum(ra, linkLocal, ipv6.AllNodes())
	return map[uint8]*ipv6.Packet{
		ndp.TypeRouterSolicit: received(t, linkLocal, ipv6.AllRouters(),
			ndp.AppendRouterSolicit(nil, linkLocal, ipv6.AllRouters(), ndp.SourceLinkOption(hw))),
		ndp.TypeRouterAdvert: received(t, linkLocal, ipv6.AllNodes(), ra),
		ndp.TypeNeighborSolicit: received(t, linkLocal, group,
			ndp.AppendNeighborSolicit(nil, linkLocal, group, node, ndp.SourceLinkOption(hw))),
		ndp.TypeNeighborAdvert: received(t, node, linkLocal,
			ndp.AppendNeighborAdvert(nil, node, linkLocal, ndp.FlagSolicited|ndp.FlagOverride, node, ndp.TargetLinkOption(hw))),
		ndp.TypeRedirect: received(t, linkLocal, node,
			ndp.AppendRedirect(nil, linkLocal, node, linkLocal, router, ndp.TargetLinkOption(hw))),
		ndp.TypePathSolicit: received(t, linkLocal, ipv6.AllRouters(),
			ndp.PathSolicit{Identifier: 7, Component: 1}.Append(nil, linkLocal, ipv6.AllRouters(), unhex(t, "0f01 03 00 01020304"))),
		ndp.TypePathAdvert: received(t, linkLocal, group,
			ndp.PathAdvert{Identifier: 7, All: 2, Component: 1}.Append(nil, linkLocal, group, unhex(t, "1001 01 00 30020500"))),
		ndp.TypeFast: received(t, node, linkLocal,
			ndp.ProxySolicit{Identifier: 7, Wildcard: true}.Append(nil, node, linkLocal)),
		proxyAdvert: received(t, linkLocal, node,
			ndp.ProxyAdvert{Identifier: 7, Code: ndp.ProxyDHCP, SourceLink: hw}.Append(nil, linkLocal, node)),
	}
}

// What RFC 4861 sections 6.1 and 7.1 and RFC 6980 ask of every message.
func TestValidity(t *testing.T) {
	fix := func(p *ipv6.Packet) { ndp.FixChecksum(p.Payload, p.Src, p.Dst) }
	for _, tt := range []struct {
		name  string
		spoil func(p *ipv6.Packet)
		want  ndp.Reason
	}{
		{"good", func(p *ipv6.Packet) {}, ndp.ReasonNone},
		{"hop limit 254", func(p *ipv6.Packet) { p.HopLimit = 254 }, ndp.ReasonHopLimit},
		{"checksum", func(p *ipv6.Packet) { p.Payload[2] ^= 1 }, ndp.ReasonChecksum},
		{"octet changed", func(p *ipv6.Packet) { p.Payload[len(p.Payload)-1] ^= 1 }, ndp.ReasonChecksum},
		{"code 6", func(p *ipv6.Packet) { p.Payload[1] = 6; fix(p) }, ndp.ReasonCode},
		{"code 255", func(p *ipv6.Packet) { p.Payload[1] = 255; fix(p) }, ndp.ReasonCode},
		{"another type", func(p *ipv6.Packet) { p.Payload[0] = 1; fix(p) }, ndp.ReasonType},
		{"another protocol", func(p *ipv6.Packet) { p.Proto = 59 }, ndp.ReasonType},
		{"no octets", func(p *ipv6.Packet) { p.Payload = nil }, ndp.ReasonType},
		{"4 octets", func(p *ipv6.Packet) { p.Payload = p.Payload[:4]; fix(p) }, ndp.ReasonLength},
		{"RFC 6980: fragment header", func(p *ipv6.Packet) { p.Fragmented = true }, ndp.ReasonFragment},
		{"home address option", func(p *ipv6.Packet) { p.HomeAddress = node }, ndp.ReasonExtension},
		{"routing header", func(p *ipv6.Packet) { p.RoutingHome = node }, ndp.ReasonExtension},
		{"option of length zero", func(p *ipv6.Packet) { p.Payload = append(p.Payload, 0xfa, 0, 0, 0, 0, 0, 0, 0); fix(p) }, ndp.ReasonOption},
		{"option over the end", func(p *ipv6.Packet) { p.Payload = append(p.Payload, 0xfa, 2, 0, 0, 0, 0, 0, 0); fix(p) }, ndp.ReasonOption},
		{"four octets of an option", func(p *ipv6.Packet) { p.Payload = append(p.Payload, 0xfa, 1, 0, 0); fix(p) }, ndp.ReasonOption},
		{"type of an option alone", func(p *ipv6.Packet) { p.Payload = append(p.Payload, 0xfa); fix(p) }, ndp.ReasonOption},
		{"unknown option", func(p *ipv6.Packet) { p.Payload = append(p.Payload, 0xfa, 1, 0, 0, 0, 0, 0, 0); fix(p) }, ndp.ReasonNone},
	} {
		for typ, p := range good(t) {
			tt.spoil(p)
			want := tt.want
			if want == ndp.ReasonFragment && typ == ndp.TypePathAdvert {
				want = ndp.ReasonNone // RFC 6980 section 5: the one message that may come in fragments
			}
			if got := parse(p, typ); got != want {
				t.Errorf("type %d, %s: %v, want %v", typ, tt.name, got, want)
			}
			if allocs := testing.AllocsPerRun(5, func() { parse(p, typ) }); allocs != 0 {
				t.Errorf("type %d, %s: %v allocations", typ, tt.name, allocs)
			}
		}
	}
}

// Code 1 is a proxy router advertisement's alone.
func TestCodes(t *testing.T) {
	for typ, p := range good(t) {
		want := ndp.ReasonCode
		if typ == proxyAdvert {
			want = ndp.ReasonNone
		}
		p.Payload[1] = 1
		ndp.FixChecksum(p.Payload, p.Src, p.Dst)
		if got := parse(p, typ); got != want {
			t.Errorf("type %d: %v, want %v", typ, got, want)
		}
	}
}

// Each message cut to any length is refused or read, and never read beyond.
func TestTruncated(t *testing.T) {
	least := map[uint8]int{
		ndp.TypeRouterSolicit: 8, ndp.TypeRouterAdvert: 16, ndp.TypeNeighborSolicit: 24, ndp.TypeNeighborAdvert: 24,
		ndp.TypeRedirect: 40, ndp.TypePathSolicit: 8, ndp.TypePathAdvert: 12, ndp.TypeFast: 8, proxyAdvert: 8,
	}
	for typ, p := range good(t) {
		whole := p.Payload
		if len(whole) <= least[typ] {
			t.Fatalf("type %d has no option to cut", typ)
		}
		for n := 1; n < len(whole); n++ {
			p.Payload = bytes.Clone(whole[:n:n])
			ndp.FixChecksum(p.Payload, p.Src, p.Dst)
			want := ndp.ReasonOption
			if n < least[typ] {
				want = ndp.ReasonLength
			} else if n == least[typ] {
				want = ndp.ReasonNone
			}
			if got := parse(p, typ); got != want {
				t.Errorf("type %d cut to %d octets: %v, want %v", typ, n, got, want)
			}
		}
	}
}

// RFC 4861 section 7.1.1.
func TestNeighborSolicitValidity(t *testing.T) {
	for _, tt := range []struct {
		name             string
		src, dst, target netip.Addr
		options          []byte
		want             ndp.Reason
	}{
		{"resolution", linkLocal, group, node, ndp.SourceLinkOption(hw), ndp.ReasonNone},
		{"unicast probe", linkLocal, node, node, nil, ndp.ReasonNone},
		{"DAD", none, group, node, nil, ndp.ReasonNone},
		{"DAD with a nonce (RFC 7527)", none, group, node, ndp.NonceOption([]byte{1, 2, 3, 4, 5, 6}), ndp.ReasonNone},
		{"DAD with a link-layer address", none, group, node, ndp.SourceLinkOption(hw), ndp.ReasonSource},
		{"DAD with a link-layer address of another length", none, group, node, unhex(t, "0102 000000000000 0000000000000000"), ndp.ReasonSource},
		{"DAD to all nodes", none, ipv6.AllNodes(), node, nil, ndp.ReasonDestination},
		{"DAD to a unicast address", none, node, node, nil, ndp.ReasonDestination},
		{"target multicast", linkLocal, group, group, nil, ndp.ReasonTarget},
		{"source multicast", group, group, node, nil, ndp.ReasonSource},
	} {
		msg := ndp.AppendNeighborSolicit(nil, tt.src, tt.dst, tt.target, tt.options)
		if _, got := ndp.ParseNeighborSolicit(received(t, tt.src, tt.dst, msg)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// RFC 4861 section 7.1.2.
func TestNeighborAdvertValidity(t *testing.T) {
	for _, tt := range []struct {
		name             string
		src, dst, target netip.Addr
		flags            ndp.NAFlags
		want             ndp.Reason
	}{
		{"answer", node, linkLocal, node, ndp.FlagSolicited, ndp.ReasonNone},
		{"answer to DAD", node, ipv6.AllNodes(), node, ndp.FlagOverride, ndp.ReasonNone},
		{"solicited to a group", node, ipv6.AllNodes(), node, ndp.FlagSolicited, ndp.ReasonDestination},
		{"target multicast", node, linkLocal, group, 0, ndp.ReasonTarget},
		{"source ::", none, linkLocal, node, 0, ndp.ReasonSource},
		{"source multicast", group, linkLocal, node, 0, ndp.ReasonSource},
	} {
		msg := ndp.AppendNeighborAdvert(nil, tt.src, tt.dst, tt.flags, tt.target)
		if _, got := ndp.ParseNeighborAdvert(received(t, tt.src, tt.dst, msg)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// RFC 4861 sections 6.1.1 and 6.1.2.
func TestRouterMessagesValidity(t *testing.T) {
	for _, tt := range []struct {
		name    string
		src     netip.Addr
		options []byte
		want    ndp.Reason
	}{
		{"from an address", linkLocal, ndp.SourceLinkOption(hw), ndp.ReasonNone},
		{"from ::", none, nil, ndp.ReasonNone},
		{"from :: with a link-layer address", none, ndp.SourceLinkOption(hw), ndp.ReasonSource},
		{"from a group", group, nil, ndp.ReasonSource},
	} {
		msg := ndp.AppendRouterSolicit(nil, tt.src, ipv6.AllRouters(), tt.options)
		m, got := ndp.ParseRouterSolicit(received(t, tt.src, ipv6.AllRouters(), msg))
		if got != tt.want || got == ndp.ReasonNone && tt.options != nil && m.SourceLink != hw {
			t.Errorf("solicitation %s: %v, want %v, link %v", tt.name, got, tt.want, m.SourceLink)
		}
	}
	for _, src := range []netip.Addr{router, none, group} {
		msg := unhex(t, advert)
		ndp.FixChecksum(msg, src, ipv6.AllNodes())
		if _, got := ndp.ParseRouterAdvert(received(t, src, ipv6.AllNodes(), msg)); got != ndp.ReasonSource {
			t.Errorf("advertisement from %v: %v", src, got)
		}
	}
}

// Of repeated options the first counts, and one of a length that it cannot have is skipped.
func TestRepeatedOptions(t *testing.T) {
	long := unhex(t, "0102 aaaaaaaaaaaa 0000000000000000")
	second := ndp.SourceLinkOption(ipv6.LinkAddr{9, 9, 9, 9, 9, 9})
	msg := ndp.AppendNeighborSolicit(nil, linkLocal, group, node, long, ndp.SourceLinkOption(hw), second,
		ndp.NonceOption([]byte("nonce1")), ndp.NonceOption([]byte("nonce2")))
	m, reason := ndp.ParseNeighborSolicit(received(t, linkLocal, group, msg))
	if reason != ndp.ReasonNone || m.SourceLink != hw || string(m.Nonce) != "nonce1" {
		t.Errorf("read %+v, %v", m, reason)
	}
}

// Each reason has its own counter name.
func TestReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for i := range ndp.Reasons {
		name := ndp.Reason(i).String()
		if name == "nd_unknown" || seen[name] {
			t.Errorf("reason %d is called %q", i, name)
		}
		seen[name] = true
	}
}

// What is appended to stays as it is.
func TestAppendKeepsWhatStandsBefore(t *testing.T) {
	b := ndp.AppendNeighborSolicit([]byte("abc"), linkLocal, group, node, ndp.SourceLinkOption(hw))
	same(t, b, append([]byte("abc"), ndp.AppendNeighborSolicit(nil, linkLocal, group, node, ndp.SourceLinkOption(hw))...))
	ndp.FixChecksum([]byte{1, 2, 3}, linkLocal, group) // too short to have one: nothing happens
}
