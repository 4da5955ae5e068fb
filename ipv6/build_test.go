package ipv6_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
)

// The extension headers of a built packet are those of RFC 6275 sections 6.3 and 6.4, octet for octet.
func TestAppend(t *testing.T) {
	payload := octets(t, upper)
	for _, tt := range []struct {
		name          string
		home, routing netip.Addr
		want          []byte
	}{
		{"no extension header", netip.Addr{}, netip.Addr{}, chain(t, link{135, upper})},
		{"home address option", home, netip.Addr{}, chain(t, link{60, homeAddress}, link{135, upper})},
		{"type 2 routing header", netip.Addr{}, home, chain(t, link{43, routingType2}, link{135, upper})},
		{"both, routing header first", home, home, chain(t, link{43, routingType2}, link{60, homeAddress}, link{135, upper})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := ipv6.Header{
				Src: mobile, Dst: router, TrafficClass: 0xac, HopLimit: 255, HomeAddress: tt.home, RoutingHome: tt.routing,
			}
			got := ipv6.Append([]byte("before"), h, ipv6.ProtoMobility, payload)
			if !bytes.Equal(got, append([]byte("before"), tt.want...)) {
				t.Errorf("got  %x\nwant %x", got[6:], tt.want)
			}
		})
	}
}

func TestAppendRefusesWhatDoesNotFit(t *testing.T) {
	h := ipv6.Header{Src: mobile, Dst: router, HomeAddress: home}
	if got := ipv6.Append(nil, h, 59, make([]byte, 65535-24)); len(got) != 40+65535 {
		t.Errorf("longest payload: %d octets", len(got))
	}
	if got := ipv6.Append([]byte{1}, h, 59, make([]byte, 65535-23)); len(got) != 1 {
		t.Errorf("payload that is one octet too long: %d octets", len(got))
	}
}

// The checksum is that of RFC 1071: here a sum of the plainest kind is the oracle, over the pseudo-header as RFC 8200
// draws it.
func TestChecksum(t *testing.T) {
	oracle := func(src, dst netip.Addr, proto uint8, payload []byte) uint16 {
		s, d := src.As16(), dst.As16()
		b := append(append(s[:], d[:]...), binary.BigEndian.AppendUint32(nil, uint32(len(payload)))...)
		b = append(append(b, 0, 0, 0, proto), payload...)
		if len(b)%2 == 1 {
			b = append(b, 0)
		}
		sum := 0
		for i := 0; i < len(b); i += 2 {
			sum += int(b[i])<<8 + int(b[i+1])
			if sum > 0xffff {
				sum -= 0xffff
			}
		}
		return ^uint16(sum)
	}
	long := bytes.Repeat([]byte{0xff}, 65535)
	for _, payload := range [][]byte{nil, {0xff}, {1, 2, 3}, octets(t, upper), long} {
		if got, want := ipv6.Checksum(mobile, home, 135, payload), oracle(mobile, home, 135, payload); got != want {
			t.Errorf("%d octets: %#04x, want %#04x", len(payload), got, want)
		}
	}
}

// A payload with its checksum in place gives zero, and any single bit that flips does not.
func TestChecksumOfReceived(t *testing.T) {
	mh := octets(t, upper)
	binary.BigEndian.PutUint16(mh[4:6], ipv6.Checksum(home, router, 135, mh))
	if got := ipv6.Checksum(home, router, 135, mh); got != 0 {
		t.Fatalf("right checksum gives %#04x", got)
	}
	if ipv6.Checksum(mobile, router, 135, mh) == 0 {
		t.Error("the source address is not in the sum")
	}
	for i := range len(mh) * 8 {
		mh[i/8] ^= 1 << (i % 8)
		if ipv6.Checksum(home, router, 135, mh) == 0 {
			t.Errorf("bit %d does not count", i)
		}
		mh[i/8] ^= 1 << (i % 8)
	}
}

func TestAddresses(t *testing.T) {
	hw := ipv6.LinkAddr{0x02, 0x01, 0x02, 0x03, 0x04, 0x05}
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"all nodes", ipv6.AllNodes(), addr("ff02::1")},
		{"all routers", ipv6.AllRouters(), addr("ff02::2")},
		{"solicited node", ipv6.SolicitedNode(addr("2001:db8::1234:5678:9abc")), addr("ff02::1:ff78:9abc")},
		{"group on Ethernet", ipv6.MulticastLinkAddr(addr("ff02::1:ff78:9abc")), ipv6.LinkAddr{0x33, 0x33, 0xff, 0x78, 0x9a, 0xbc}},
		{"link-local of an interface", ipv6.LinkLocalFrom(hw), addr("fe80::1:2ff:fe03:405")},
		{"EUI-64 under a prefix", ipv6.WithEUI64(addr("2001:db8:1::"), hw), addr("2001:db8:1::1:2ff:fe03:405")},
		{"link-layer address in print", hw.String(), "02:01:02:03:04:05"},
		{"station", hw.IsUnicast(), true},
		{"group is no station", ipv6.LinkAddr{0x33, 0x33, 0, 0, 0, 1}.IsUnicast(), false},
		{"zero is no station", ipv6.LinkAddr{}.IsUnicast(), false},
		{"zero", ipv6.LinkAddr{}.IsZero(), true},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}
