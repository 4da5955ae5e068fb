package ipv6_test

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
)

var (
	mobile = netip.MustParseAddr("2001:db8:2::beef") // care-of address
	router = netip.MustParseAddr("2001:db8:1::1")
	home   = netip.MustParseAddr("2001:db8:1::abcd")
)

// Extension headers as hex, with NN where the number of the next header goes.
const (
	homeAddress  = "NN02 01020000 c910 20010db800010000000000000000abcd"   // PadN, Home Address option
	routingType2 = "NN02 02 01 00000000 20010db800010000000000000000abcd"  // segments left 1
	atomic       = "NN00 0000 01020304"                                    // fragment header, offset 0, last
	routerAlert  = "NN00 05020000 0100"                                    // router alert, PadN
	encapLimit   = "NN00 040104 010100"                                    // tunnel encapsulation limit, PadN
	emptyOptions = "NN00 000000000000"                                     // six Pad1
	longOptions  = "NN01 010c 000000000000000000000000"                    // PadN over two units
	doneRouting  = "NN02 00 00 00000000 20010db800010000000000000000abcd"  // type 0, no segments left
	upper        = "3b00050000000001"                                      // stands for an upper-layer header
	twoHomes     = "NN05 01020000 c910 20010db800010000000000000000abcd" + // two Home Address options in one header
		"01020000 c910 20010db800010000000000000000abcd0000"
)

// octets joins hex fragments, in which blanks do not count.
func octets(t testing.TB, fragments ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(fragments, ""), " ", ""))
	if err != nil {
		t.Fatalf("fragment: %v", err)
	}
	return b
}

// link is one header of a chain: its number and its octets.
type link struct {
	proto  uint8
	octets string
}

// chain builds a packet from mobile to router with the headers in their order; the last is the upper layer.
func chain(t testing.TB, links ...link) []byte {
	t.Helper()
	var rest []byte
	next := ""
	for i := len(links) - 1; i >= 0; i-- {
		rest = append(octets(t, strings.ReplaceAll(links[i].octets, "NN", next)), rest...)
		next = hex.EncodeToString([]byte{links[i].proto})
	}
	b := octets(t, "6ac00000", "0000", next, "ff", "20010db800020000000000000000beef", "20010db8000100000000000000000001")
	b[4], b[5] = uint8(len(rest)>>8), uint8(len(rest))
	return append(b, rest...)
}

func TestParse(t *testing.T) {
	mh := link{ipv6.ProtoMobility, upper}
	for _, tt := range []struct {
		name       string
		links      []link
		home       netip.Addr
		routing    netip.Addr
		fragmented bool
	}{
		{"upper layer alone", []link{mh}, netip.Addr{}, netip.Addr{}, false},
		{"home address option", []link{{60, homeAddress}, mh}, home, netip.Addr{}, false},
		{"type 2 routing header", []link{{43, routingType2}, mh}, netip.Addr{}, home, false},
		{"both", []link{{43, routingType2}, {60, homeAddress}, mh}, home, home, false},
		{"atomic fragment", []link{{44, atomic}, mh}, netip.Addr{}, netip.Addr{}, true},
		{"home address option before an atomic fragment", []link{{60, homeAddress}, {44, atomic}, mh}, home, netip.Addr{}, true},
		{"hop-by-hop options with router alert", []link{{0, routerAlert}, mh}, netip.Addr{}, netip.Addr{}, false},
		{"tunnel encapsulation limit", []link{{60, encapLimit}, mh}, netip.Addr{}, netip.Addr{}, false},
		{"padding only", []link{{60, emptyOptions}, {60, longOptions}, mh}, netip.Addr{}, netip.Addr{}, false},
		{"routing header that is used up", []link{{43, doneRouting}, {60, homeAddress}, mh}, home, netip.Addr{}, false},
		{"unknown option that may be skipped", []link{{60, "NN00 3e 04 00000000"}, mh}, netip.Addr{}, netip.Addr{}, false},
		{
			"six extension headers",
			[]link{{0, routerAlert}, {60, encapLimit}, {43, routingType2}, {60, homeAddress}, {44, atomic}, {60, emptyOptions}, mh},
			home, home, true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := chain(t, tt.links...)
			padded := append(bytes.Clone(raw), 0xaa, 0xbb) // a short Ethernet frame is padded
			p := ipv6.Packet{Interface: 7, LinkSource: ipv6.LinkAddr{2, 1, 2, 3, 4, 5}}
			if problem := ipv6.Parse(padded, &p); problem != ipv6.OK {
				t.Fatalf("problem %v", problem)
			}
			if p.Src != mobile || p.Dst != router || p.HopLimit != 255 || p.TrafficClass != 0xac {
				t.Errorf("fixed header: %v > %v, hop limit %d, traffic class %#x", p.Src, p.Dst, p.HopLimit, p.TrafficClass)
			}
			if p.HomeAddress != tt.home || p.RoutingHome != tt.routing || p.Fragmented != tt.fragmented {
				t.Errorf("home %v, routing %v, fragmented %v", p.HomeAddress, p.RoutingHome, p.Fragmented)
			}
			if p.Proto != ipv6.ProtoMobility || !bytes.Equal(p.Payload, octets(t, upper)) {
				t.Errorf("protocol %d, payload %x", p.Proto, p.Payload)
			}
			if !bytes.Equal(p.Raw, raw) {
				t.Errorf("link padding is in the packet: %x", p.Raw)
			}
			if p.Interface != 7 || p.LinkSource != (ipv6.LinkAddr{2, 1, 2, 3, 4, 5}) {
				t.Error("Parse changed what the driver had filled in")
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	mh := link{ipv6.ProtoMobility, upper}
	whole := chain(t, link{60, homeAddress}, mh)
	ipv4 := bytes.Clone(whole)
	ipv4[0] = 0x45
	for _, tt := range []struct {
		name string
		raw  []byte
		want ipv6.Problem
	}{
		{"nothing", nil, ipv6.Truncated},
		{"fixed header cut", whole[:39], ipv6.Truncated},
		{"payload cut", whole[:len(whole)-1], ipv6.Truncated},
		{"IPv4", ipv4, ipv6.BadVersion},
		{"extension header cut", chain(t, link{60, "8702"}), ipv6.Truncated},
		{"extension header longer than the packet", chain(t, link{60, "8703 01020000 c910 20010db800010000000000000000abcd"}), ipv6.Truncated},
		{"fragment header cut", chain(t, link{44, "87000000"}), ipv6.Truncated},
		{"option over the end of its header", chain(t, link{60, "NN00 01 05 00000000"}, mh), ipv6.BadExtension},
		{"option without a length", chain(t, link{60, "NN00 0000000000 01"}, mh), ipv6.BadExtension},
		{"hop-by-hop options in second place", chain(t, link{60, encapLimit}, link{0, routerAlert}, mh), ipv6.BadExtension},
		{"two fragment headers", chain(t, link{44, atomic}, link{44, atomic}, mh), ipv6.BadExtension},
		{
			"seven extension headers",
			chain(t, link{60, encapLimit}, link{60, encapLimit}, link{60, encapLimit}, link{60, encapLimit}, link{60, encapLimit},
				link{60, encapLimit}, link{60, encapLimit}, mh),
			ipv6.BadExtension,
		},
		{"home address of 15 octets", chain(t, link{60, "NN02 01030000 00 c90f 20010db800010000000000000000ab"}, mh), ipv6.BadHomeAddress},
		{"two home addresses", chain(t, link{60, homeAddress}, link{60, homeAddress}, mh), ipv6.BadHomeAddress},
		{"two home addresses in one header", chain(t, link{60, twoHomes}, mh), ipv6.BadHomeAddress},
		{"home address link-local", chain(t, link{60, "NN02 01020000 c910 fe80000000000000000000000000abcd"}, mh), ipv6.BadHomeAddress},
		{"home address multicast", chain(t, link{60, "NN02 01020000 c910 ff02000000000000000000000000abcd"}, mh), ipv6.BadHomeAddress},
		{"home address unspecified", chain(t, link{60, "NN02 01020000 c910 00000000000000000000000000000000"}, mh), ipv6.BadHomeAddress},
		{"home address in hop-by-hop options", chain(t, link{0, homeAddress}, mh), ipv6.UnknownOption},
		{"unknown option that asks for a discard", chain(t, link{60, "NN00 7e 04 00000000"}, mh), ipv6.UnknownOption},
		{"routing header type 0", chain(t, link{43, "NN02 00 01 00000000 20010db800010000000000000000abcd"}, mh), ipv6.BadRouting},
		{"type 2 without segments left", chain(t, link{43, "NN02 02 00 00000000 20010db800010000000000000000abcd"}, mh), ipv6.BadRouting},
		{"type 2 with two segments left", chain(t, link{43, "NN02 02 02 00000000 20010db800010000000000000000abcd"}, mh), ipv6.BadRouting},
		{"type 2 of 8 octets", chain(t, link{43, "NN00 02 01 00000000"}, mh), ipv6.BadRouting},
		{"type 2 of 40 octets", chain(t, link{43, "NN04 02 01 00000000" + strings.Repeat("20010db800010000000000000000abcd", 2)}, mh), ipv6.BadRouting},
		{"two type 2", chain(t, link{43, routingType2}, link{43, routingType2}, mh), ipv6.BadRouting},
		{"type 2 with a link-local address", chain(t, link{43, "NN02 02 01 00000000 fe80000000000000000000000000abcd"}, mh), ipv6.BadRouting},
		{"first fragment", chain(t, link{44, "NN00 0001 01020304"}, mh), ipv6.IsFragment},
		{"last fragment", chain(t, link{44, "NN00 0008 01020304"}, mh), ipv6.IsFragment},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p ipv6.Packet
			if got := ipv6.Parse(tt.raw, &p); got != tt.want {
				t.Errorf("problem %v, want %v", got, tt.want)
			}
			if allocs := testing.AllocsPerRun(10, func() { ipv6.Parse(tt.raw, &p) }); allocs != 0 {
				t.Errorf("a packet that is dropped costs %v allocations", allocs)
			}
		})
	}
}

// A Packet is used again for the next packet; nothing of the one before may shine through.
func TestParseForgets(t *testing.T) {
	var p ipv6.Packet
	both := chain(t, link{43, routingType2}, link{60, homeAddress}, link{44, atomic}, link{ipv6.ProtoMobility, upper})
	if problem := ipv6.Parse(both, &p); problem != ipv6.OK {
		t.Fatal(problem)
	}
	if problem := ipv6.Parse(chain(t, link{ipv6.ProtoICMPv6, upper}), &p); problem != ipv6.OK {
		t.Fatal(problem)
	}
	if p.HomeAddress.IsValid() || p.RoutingHome.IsValid() || p.Fragmented || p.Proto != ipv6.ProtoICMPv6 {
		t.Errorf("left over: %+v", p)
	}
	if problem := ipv6.Parse(chain(t, link{44, "NN00 0001 01020304"}, link{58, upper}), &p); problem != ipv6.IsFragment {
		t.Fatal(problem)
	}
	if p.Payload != nil || p.Proto != 0 {
		t.Errorf("payload of the packet before: protocol %d, %x", p.Proto, p.Payload)
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	raw := chain(t, link{43, routingType2}, link{60, homeAddress}, link{ipv6.ProtoMobility, upper})
	var p ipv6.Packet
	if allocs := testing.AllocsPerRun(100, func() { ipv6.Parse(raw, &p) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// Each problem has its own counter name.
func TestProblemNames(t *testing.T) {
	seen := map[string]bool{}
	for i := range ipv6.Problems {
		name := ipv6.Problem(i).String()
		if name == "unknown" || seen[name] {
			t.Errorf("problem %d is called %q", i, name)
		}
		seen[name] = true
	}
}

func TestIsRoutableUnicast(t *testing.T) {
	for addr, want := range map[string]bool{
		"2001:db8::1":        true,
		"fd00::1":            true, // unique local addresses have global scope
		"::":                 false,
		"::1":                false,
		"ff02::1":            false,
		"ff0e::1":            false,
		"fe80::1":            false,
		"::ffff:192.0.2.1":   false,
		"192.0.2.1":          false,
		"2001:db8::1:0:0:ff": true,
	} {
		if got := ipv6.IsRoutableUnicast(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	if ipv6.IsRoutableUnicast(netip.Addr{}) {
		t.Error("the zero Addr")
	}
}

func FuzzParse(f *testing.F) {
	mh := link{ipv6.ProtoMobility, upper}
	f.Add(chain(f, mh))
	f.Add(chain(f, link{43, routingType2}, link{60, homeAddress}, mh))
	f.Add(chain(f, link{0, routerAlert}, link{60, encapLimit}, link{44, atomic}, mh))
	f.Add(chain(f, link{60, twoHomes}, mh))
	f.Add(chain(f, link{43, doneRouting}, mh)[:60])
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		var p ipv6.Packet
		problem := ipv6.Parse(raw, &p)
		if !bytes.Equal(raw, before) {
			t.Fatal("Parse wrote to the packet")
		}
		if problem != ipv6.OK {
			return
		}
		if len(p.Raw) > len(raw) || !bytes.HasSuffix(p.Raw, p.Payload) {
			t.Fatalf("payload %x is not the end of packet %x", p.Payload, p.Raw)
		}
		for _, a := range []netip.Addr{p.HomeAddress, p.RoutingHome} {
			if a.IsValid() && !ipv6.IsRoutableUnicast(a) {
				t.Fatalf("home address %v", a)
			}
		}
		// What was read builds a packet that reads the same.
		again := ipv6.Append(nil, ipv6.Header{
			Src: p.Src, Dst: p.Dst, TrafficClass: p.TrafficClass, HopLimit: p.HopLimit,
			HomeAddress: p.HomeAddress, RoutingHome: p.RoutingHome,
		}, p.Proto, p.Payload)
		if again == nil {
			return // the two headers in their usual form are longer than those that were there
		}
		var q ipv6.Packet
		if problem := ipv6.Parse(again, &q); problem != ipv6.OK {
			t.Fatalf("built packet: %v", problem)
		}
		q.Raw, p.Raw, p.Fragmented = nil, nil, false
		if q.Src != p.Src || q.Dst != p.Dst || q.HomeAddress != p.HomeAddress || q.RoutingHome != p.RoutingHome ||
			q.Proto != p.Proto || q.HopLimit != p.HopLimit || q.TrafficClass != p.TrafficClass || !bytes.Equal(q.Payload, p.Payload) {
			t.Fatalf("read %+v, built and read again %+v", p, q)
		}
	})
}
