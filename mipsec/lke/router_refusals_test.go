package lke_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// labDrop is one way in which a request fails a cheap test: it costs no RSA, no memory, and changes nothing.
type labDrop struct {
	name    string
	counter string
	config  func(*lke.RouterConfig)
	prepare func(l *routerLab, mn *labHost) // before the request
	packet  func(l *routerLab, mn *labHost) *ipv6.Packet
	input   func(*lke.Input)
}

// plain is the request that would be taken.
func plain(_ *routerLab, mn *labHost) *ipv6.Packet { return mn.request() }

// with gives a request with changed headers.
func with(change labChange) func(*routerLab, *labHost) *ipv6.Packet {
	return func(_ *routerLab, mn *labHost) *ipv6.Packet { return mn.request(change) }
}

// claiming gives a request for another home address.
func claiming(home string) func(*routerLab, *labHost) *ipv6.Packet {
	return with(func(h *ipv6.Header) { h.HomeAddress = labAddr(home) })
}

// body gives a request with a mobility header of the test's own.
func body(build func(mn *labHost) []byte) func(*routerLab, *labHost) *ipv6.Packet {
	return func(_ *routerLab, mn *labHost) *ipv6.Packet {
		return mn.mobility(build(mn), ipv6.Header{
			Src: mn.local, Dst: labLocal, HopLimit: 255, TrafficClass: 0xf0, HomeAddress: mn.home,
		})
	}
}

func requestBody(data int, lifetime uint16) []byte {
	return mobility.KeyExchangeRequest{
		Seq: 7, Data: bytes.Repeat([]byte{1}, data), Lifetime: lifetime,
	}.Append(nil, mobility.DefaultCodePoints())
}

var labDrops = []labDrop{
	{name: "on a link that is not served", counter: "request_link_not_served",
		packet: func(_ *routerLab, mn *labHost) *ipv6.Packet {
			p := mn.request()
			p.Interface = 5
			return p
		}},
	{name: "LKE-resolution-w: on a link where DAD does not reach everyone", counter: "request_link_refused",
		config: func(c *lke.RouterConfig) { c.Links[0].Refuse = true }, packet: plain},
	{name: "LKE-AR-5: hop limit 254", counter: "request_hop_limit",
		packet: with(func(h *ipv6.Header) { h.HopLimit = 254 })},
	{name: "LKE-AR-5: from a global address", counter: "request_source",
		packet: with(func(h *ipv6.Header) { h.Src = labAddr("2001:db8:1::77") })},
	{name: "LKE-AR-5: to the router's global address", counter: "request_destination",
		packet: with(func(h *ipv6.Header) { h.Dst = labRouter })},
	{name: "LKE-AR-5: to another router's link-local address", counter: "request_destination",
		packet: with(func(h *ipv6.Header) { h.Dst = labAddr("fe80::99") })},
	{name: "LKE-AR-5: to all routers", counter: "request_destination",
		packet: with(func(h *ipv6.Header) { h.Dst = ipv6.AllRouters() })},
	{name: "LKE-resolution-f: with a routing header", counter: "request_routing_header",
		packet: with(func(h *ipv6.Header) { h.RoutingHome = labAddr("2001:db8:1::77") })},
	{name: "LKE-resolution-g: without a Home Address option", counter: "request_no_home_address",
		packet: with(func(h *ipv6.Header) { h.HomeAddress = labNone })},
	{name: "from a group link-layer address", counter: "request_link_source",
		packet: func(_ *routerLab, mn *labHost) *ipv6.Packet {
			p := mn.request()
			p.LinkSource = ipv6.LinkAddr{0x33, 0x33, 0, 0, 0, 1}
			return p
		}},
	{name: "without a link-layer source", counter: "request_link_source",
		packet: func(_ *routerLab, mn *labHost) *ipv6.Packet {
			p := mn.request()
			p.LinkSource = ipv6.LinkAddr{}
			return p
		}},
	{name: "from the router's own link-layer address", counter: "request_link_source",
		packet: func(_ *routerLab, mn *labHost) *ipv6.Packet {
			p := mn.request()
			p.LinkSource = labHardware
			return p
		}},
	{name: "LKE-resolution-g: checksum over the link-local source", counter: "mh_bad_checksum",
		packet: func(_ *routerLab, mn *labHost) *ipv6.Packet {
			p := mn.request()
			mobility.FixChecksum(p.Payload, p.Src, p.Dst)
			return p
		}},
	{name: "cut short", counter: "mh_truncated",
		packet: body(func(*labHost) []byte { return requestBody(labModulus, 3600)[:136] })},
	{name: "LKE-resolution-d: with a payload behind it", counter: "mh_bad_payload_proto",
		packet: body(func(*labHost) []byte {
			b := requestBody(labModulus, 3600)
			b[0] = 17
			return b
		})},
	{name: "shorter than any RSA key", counter: "mh_bad_header_len",
		packet: body(func(*labHost) []byte { return requestBody(64, 3600) })},
	{name: "made for a shorter modulus", counter: "request_malformed",
		config: func(c *lke.RouterConfig) { c.ModulusLen = 256 }, packet: plain},
	{name: "without a lifetime", counter: "request_malformed",
		packet: body(func(*labHost) []byte {
			b := requestBody(labModulus, 3600)
			b[8+labModulus] = 0x77 // an option that nobody knows
			return b
		})},
	{name: "with a lifetime of another length", counter: "request_malformed",
		packet: body(func(*labHost) []byte {
			b := requestBody(labModulus, 3600)
			b[8+labModulus+1] = 4
			return b
		})},
	{name: "with an option that runs over the end", counter: "request_malformed",
		packet: body(func(*labHost) []byte {
			b := requestBody(labModulus, 3600)
			b[8+labModulus+1] = 200
			return b
		})},
	{name: "for less than the unit of lifetimes", counter: "request_lifetime",
		packet: body(func(*labHost) []byte { return requestBody(labModulus, 3) })},
	{name: "LKE-resolution-r: for any address of the internet", counter: "request_not_in_prefix",
		packet: claiming("2001:db8:dead::1")},
	{name: "LKE-resolution-r: for an address of another served link", counter: "request_not_in_prefix",
		packet: claiming("2001:db8:2::77")},
	{name: "LKE-resolution-r: for the router's own address", counter: "request_router_address",
		packet: claiming("2001:db8:1::1")},
	{name: "LKE-resolution-r: for an address that is proxied here", counter: "request_router_address",
		packet: claiming("2001:db8:1::53")},
	{name: "LKE-resolution-r: for the Subnet-Router anycast address", counter: "request_anycast_address",
		packet: claiming("2001:db8:1::")},
	{name: "LKE-resolution-r: for the first reserved anycast address", counter: "request_anycast_address",
		packet: claiming("2001:db8:1::fdff:ffff:ffff:ff80")},
	{name: "LKE-resolution-r: for the last reserved anycast address", counter: "request_anycast_address",
		packet: claiming("2001:db8:1::fdff:ffff:ffff:ffff")},
	{name: "LKE-resolution-p: for an address that is bound, from its own node", counter: "request_address_bound",
		prepare: func(l *routerLab, mn *labHost) {
			mn.attach()
			mn.bind()
			l.now = l.now.Add(time.Second / 2)
		}, packet: plain},
	{name: "LKE-resolution-p: for an address whose forwarding is being installed", counter: "request_address_bound",
		prepare: func(l *routerLab, mn *labHost) {
			mn.attach()
			l.holdForwarding = true
			l.receive(mn.update())
		}, packet: plain},
	{name: "LKE-resolution-r: for an address that the neighbour cache gives to another", counter: "request_neighbour_mismatch",
		packet: plain, input: func(in *lke.Input) { in.Neighbour = ipv6.LinkAddr{2, 9, 9, 9, 9, 9} }},
	{name: "LKE-AR-10: from a node with an IPsec security association", counter: "request_has_ipsec",
		packet: plain, input: func(in *lke.Input) { in.IPsec = true }},
	{name: "LKE-resolution-p: for an address whose live association another station has", counter: "request_other_link_source",
		prepare: func(l *routerLab, mn *labHost) {
			mn.attach()
			mn.hw, mn.local = l.host(2).hw, l.host(2).local
		}, packet: plain},
	{name: "LKE-resolution-p: for an address that another station is just proving", counter: "request_other_link_source",
		prepare: func(l *routerLab, mn *labHost) {
			mn.exchange(mn.request())
			mn.hw, mn.local = l.host(2).hw, l.host(2).local
		}, packet: plain},
	{name: "LKE-resolution-p: for an address whose key is being decrypted for another station", counter: "request_other_link_source",
		prepare: func(l *routerLab, mn *labHost) {
			l.receive(mn.request())
			mn.hw, mn.local = l.host(2).hw, l.host(2).local
		}, packet: plain},
	{name: "LKE-resolution-p: for an address with a live association on another link", counter: "request_other_link_source",
		config: func(c *lke.RouterConfig) { c.Links[1].Prefixes = c.Links[0].Prefixes },
		prepare: func(l *routerLab, mn *labHost) {
			mn.attach()
			mn.link = labLink2
		}, packet: plain},
	{name: "LKE-AR-9: the same request again", counter: "request_replayed",
		prepare: func(l *routerLab, mn *labHost) {
			mn.attach()
			l.advance(time.Minute)
			mn.seq = 7
		}, packet: plain},
	{name: "LKE-AR-9: an older request", counter: "request_replayed",
		prepare: func(l *routerLab, mn *labHost) {
			mn.attach()
			l.advance(time.Minute)
			mn.seq = 6
		}, packet: plain},
	{name: "LKE-AR-9: a replay after the detection failed", counter: "request_replayed",
		prepare: func(l *routerLab, mn *labHost) {
			mn.exchange(mn.request())
			l.advance(time.Minute)
			mn.seq = 7
		}, packet: plain},
	{name: "LKE-AR-9: a replay with another home address", counter: "request_replayed",
		prepare: func(l *routerLab, mn *labHost) {
			mn.attach()
			l.advance(time.Minute)
			mn.seq, mn.home = 7, labAddr("2001:db8:1::4242")
		}, packet: plain},
	{name: "more nodes than the limit", counter: "request_node_limit",
		config: func(c *lke.RouterConfig) { c.MaxNodes = 1 },
		prepare: func(l *routerLab, _ *labHost) {
			l.host(2).attach()
		}, packet: plain},
	{name: "LKE-AR-11: again within 3 s", counter: "request_rate",
		prepare: func(l *routerLab, mn *labHost) {
			mn.exchange(mn.request())
			l.advance(2999 * time.Millisecond)
		}, packet: plain},
	{name: "LKE-resolution-q: a fifth link-local address of one station", counter: "request_rate_link_source",
		prepare: func(l *routerLab, mn *labHost) {
			for i := range 4 {
				mn.local = netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: byte(i + 1)})
				mn.home = netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 5: 1, 15: byte(i + 0x80)})
				l.receive(mn.request())
			}
			mn.local, mn.home = labAddr("fe80::5"), labAddr("2001:db8:1::85")
		}, packet: plain},
}

// LKE-resolution-q, and "Bad input": each request that a cheap test refuses costs no RSA job, no memory and no answer, and
// changes nothing but its counter.
func TestRouterRefusesRequestsBeforeRSA(t *testing.T) {
	for _, row := range labDrops {
		t.Run(row.name, func(t *testing.T) {
			var change []func(*lke.RouterConfig)
			if row.config != nil {
				change = append(change, row.config)
			}
			l := newRouterLab(t, change...)
			mn := l.host(1)
			if row.prepare != nil {
				row.prepare(l, mn)
			}
			in := lke.Input{Kind: lke.InPacket, Packet: row.packet(l, mn)}
			if row.input != nil {
				row.input(&in)
			}
			before, had := l.snapshot(row.counter), l.counter(row.counter)
			if !l.router.Owns(in.Packet) {
				t.Error("the packet is not even taken for LKE's")
			}
			l.expect(l.step(in))
			if got := l.counter(row.counter); got != had+1 {
				t.Errorf("counter %s is %d, want %d; all: %v", row.counter, got, had+1, l.counters())
			}
			if n := testing.AllocsPerRun(20, func() { l.router.Step(l.now, in) }); n != 0 {
				t.Errorf("%v allocations for a request that is dropped", n)
			}
			if after := l.snapshot(row.counter); after != before {
				t.Errorf("state changed:\n%s\nwas:\n%s", after, before)
			}
		})
	}
}

// Each of those rows fails for its own reason alone: the request that they start from is taken.
func TestRouterTakesTheRequestThatTheRowsStartFrom(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	l.expect(l.receive(mn.request()), "decrypt for "+mn.hw.String())
	l.expect(l.step(lke.Input{Kind: lke.InPacket, Packet: l.host(2).request(), Neighbour: l.host(2).hw}),
		"decrypt for "+l.host(2).hw.String()) // LKE-resolution-r: the neighbour cache agrees
}

// snapshot describes all that the router tells about itself, without one counter.
func (l *routerLab) snapshot(without string) string {
	counters := l.counters()
	delete(counters, without)
	return fmt.Sprint(l.associations(), l.router.Deadline(), counters)
}
