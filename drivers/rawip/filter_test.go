package rawip

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/roamkey/roamkey/ipv6"
)

var (
	global    = netip.MustParseAddr("2001:db8:1::1")
	elsewhere = netip.MustParseAddr("2001:db8:2::99")
	linkLocal = netip.MustParseAddr("fe80::1")
	allNodes  = ipv6.AllNodes()
)

// packet builds an IPv6 packet to dst with the given extension headers before its upper layer. A header is eight octets
// long; a fragment header bears the fragment word.
func packet(dst netip.Addr, chain []uint8, fragment uint16, proto uint8, upper ...byte) []byte {
	next := append(append([]uint8(nil), chain...), proto)
	p := ipv6.Append(nil, ipv6.Header{Src: elsewhere, Dst: dst, HopLimit: 255}, next[0], nil)
	for i, h := range chain {
		switch h {
		case ipv6.ProtoFragment:
			p = binary.BigEndian.AppendUint32(append(p, next[i+1], 0, byte(fragment>>8), byte(fragment)), 1)
		case ipv6.ProtoRouting: // type 2, with a home address
			home := global.As16()
			p = append(append(p, next[i+1], 2, 2, 1, 0, 0, 0, 0), home[:]...)
		default:
			p = append(p, next[i+1], 0, 1, 4, 0, 0, 0, 0) // a PadN of six octets
		}
	}
	p = append(p, upper...)
	binary.BigEndian.PutUint16(p[4:6], uint16(len(p)-ipv6.HeaderLen))
	return p
}

// mobility is a binding update without options.
var mobility = []byte{59, 1, 5, 0, 0, 0, 0, 1, 0xc0, 0, 0, 9, 1, 2, 0, 0}

func icmp(typ byte) []byte { return []byte{typ, 0, 0, 0, 0, 0, 0, 0} }

// accepts runs the part of a filter that looks at octets; the part that asks the kernel about a packet is tested by the
// kernel.
func accepts(t testing.TB, class Class, raw []byte) bool {
	t.Helper()
	base := uint32(0)
	if class == OnLink {
		base = frameHeader
		raw = append(make([]byte, frameHeader), raw...)
	}
	vm, err := bpf.NewVM(contents(class, base))
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(raw)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func TestFiltersSortPackets(t *testing.T) {
	const (
		hop, dest, routing, frag = ipv6.ProtoHopByHop, ipv6.ProtoDestination, ipv6.ProtoRouting, ipv6.ProtoFragment
	)
	for _, test := range []struct {
		name string
		raw  []byte
		want Class
	}{
		{"router solicitation", packet(ipv6.AllRouters(), nil, 0, ipv6.ProtoICMPv6, icmp(133)...), OnLink},
		{"redirect", packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, icmp(137)...), OnLink},
		{"solicitation for a global address", packet(global, nil, 0, ipv6.ProtoICMPv6, icmp(135)...), OnLink},
		{"echo request", packet(global, nil, 0, ipv6.ProtoICMPv6, icmp(128)...), Ignored},
		{"MLD report", packet(allNodes, nil, 0, ipv6.ProtoICMPv6, icmp(132)...), Ignored},
		{"certification path solicitation", packet(allNodes, nil, 0, ipv6.ProtoICMPv6, icmp(148)...), OnLink},
		{"certification path advertisement", packet(allNodes, nil, 0, ipv6.ProtoICMPv6, icmp(149)...), OnLink},
		{"fast handover", packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, icmp(154)...), OnLink},
		{"type before the path solicitation", packet(allNodes, nil, 0, ipv6.ProtoICMPv6, icmp(147)...), Ignored},
		{"type after the path advertisement", packet(allNodes, nil, 0, ipv6.ProtoICMPv6, icmp(150)...), Ignored},
		{"types beside the fast handover", packet(allNodes, nil, 0, ipv6.ProtoICMPv6, icmp(153)...), Ignored},
		{"type after the fast handover", packet(allNodes, nil, 0, ipv6.ProtoICMPv6, icmp(155)...), Ignored},
		{"type after the redirect", packet(allNodes, nil, 0, ipv6.ProtoICMPv6, icmp(138)...), Ignored},
		{"UDP", packet(global, nil, 0, 17, 0, 1, 0, 2, 0, 8, 0, 0), Ignored},
		{"binding update", packet(global, nil, 0, ipv6.ProtoMobility, mobility...), Urgent},
		{"binding update with options before it", packet(global, []uint8{dest}, 0, ipv6.ProtoMobility, mobility...), Urgent},
		{"binding update with a chain", packet(global, []uint8{hop, routing, dest}, 0, ipv6.ProtoMobility, mobility...), Urgent},
		{"five headers", packet(global, []uint8{hop, dest, frag, routing, dest}, 0, ipv6.ProtoMobility, mobility...), Urgent},
		{"seven headers", packet(global, []uint8{hop, dest, dest, dest, dest, dest, dest}, 0, ipv6.ProtoMobility, mobility...), Ignored},
		{"key exchange request", packet(linkLocal, []uint8{dest}, 0, ipv6.ProtoMobility, mobility...), OnLink},
		{"end of the link-local range", packet(netip.MustParseAddr("febf::1"), nil, 0, ipv6.ProtoMobility, mobility...), OnLink},
		{"beyond the link-local range", packet(netip.MustParseAddr("fec0::1"), nil, 0, ipv6.ProtoMobility, mobility...), Urgent},
		{"multicast mobility header", packet(allNodes, nil, 0, ipv6.ProtoMobility, mobility...), Ignored},
		{"solicitation behind an option", packet(allNodes, []uint8{hop}, 0, ipv6.ProtoICMPv6, icmp(135)...), OnLink},
		{"options before UDP", packet(global, []uint8{dest}, 0, 17, 0, 1, 0, 2, 0, 8, 0, 0), Ignored},
		{"nothing but a header", packet(global, nil, 0, ipv6.ProtoNoNext), Ignored},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, class := range []Class{OnLink, Urgent} {
				if got, want := accepts(t, class, test.raw), class == test.want; got != want {
					t.Errorf("filter of class %d: accepted %v, want %v", class, got, want)
				}
			}
			var p ipv6.Packet
			got := Ignored
			if ipv6.Parse(test.raw, &p) == ipv6.OK {
				got = Classify(&p)
			}
			if got != test.want {
				t.Errorf("Classify: %d, want %d", got, test.want)
			}
		})
	}
}

// A fragmented packet comes once, by its first fragment, so that it can be counted.
func TestFilterTakesTheFirstFragmentOnly(t *testing.T) {
	chain := []uint8{ipv6.ProtoFragment}
	if !accepts(t, Urgent, packet(global, chain, 1, ipv6.ProtoMobility, mobility...)) {
		t.Error("the first fragment was not taken")
	}
	if accepts(t, Urgent, packet(global, chain, 8<<3|1, ipv6.ProtoMobility, mobility...)) {
		t.Error("a later fragment was taken")
	}
}

func TestFiltersStandTruncation(t *testing.T) {
	whole := packet(global, []uint8{ipv6.ProtoHopByHop, ipv6.ProtoDestination}, 0, ipv6.ProtoMobility, mobility...)
	for n := range ipv6.HeaderLen + 8 + 2 {
		if accepts(t, Urgent, whole[:n]) {
			t.Errorf("accepted %d octets, that do not tell what comes after the second header", n)
		}
	}
}

// FuzzFilters shows that no packet is of both classes, and that the filters and Classify agree on each that parses.
func FuzzFilters(f *testing.F) {
	f.Add(packet(global, nil, 0, ipv6.ProtoMobility, mobility...))
	f.Add(packet(linkLocal, []uint8{ipv6.ProtoDestination}, 0, ipv6.ProtoMobility, mobility...))
	f.Add(packet(allNodes, []uint8{ipv6.ProtoHopByHop}, 0, ipv6.ProtoICMPv6, icmp(135)...))
	f.Add(packet(global, []uint8{0, 43, 44, 60, 60}, 0, ipv6.ProtoMobility, mobility...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		onLink, urgent := accepts(t, OnLink, raw), accepts(t, Urgent, raw)
		if onLink && urgent {
			t.Fatal("accepted twice")
		}
		var p ipv6.Packet
		if ipv6.Parse(raw, &p) != ipv6.OK || len(p.Raw) != len(raw) {
			return // link padding may pass for contents: the reader looks again
		}
		if class := Classify(&p); onLink != (class == OnLink) || urgent != (class == Urgent) {
			t.Fatalf("class %d, but the filters say on link %v, urgent %v", class, onLink, urgent)
		}
	})
}
