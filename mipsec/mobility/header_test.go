package mobility_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

var (
	careOf = netip.MustParseAddr("2001:db8:2::beef")
	router = netip.MustParseAddr("2001:db8:1::1")
	home   = netip.MustParseAddr("2001:db8:1::abcd")
	other  = netip.MustParseAddr("2001:db8:3::3")
	kbm    = []byte("sixteen octets..")
)

// unhex joins hex fragments, in which blanks do not count.
func unhex(t testing.TB, fragments ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(fragments, ""), " ", ""))
	if err != nil {
		t.Fatalf("fragment: %v", err)
	}
	return b
}

// packet parses a packet from careOf to router that holds mh after home's Home Address option.
func packet(t testing.TB, mh []byte) ipv6.Packet {
	t.Helper()
	h := ipv6.Header{Src: careOf, Dst: router, HopLimit: 64, HomeAddress: home}
	var p ipv6.Packet
	if problem := ipv6.Parse(ipv6.Append(nil, h, ipv6.ProtoMobility, mh), &p); problem != ipv6.OK {
		t.Fatal(problem)
	}
	return p
}

// header cuts a header out of octets that are known to hold one.
func header(t testing.TB, mh []byte) mobility.Header {
	t.Helper()
	h, err := mobility.ParseHeader(mh)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestParseHeader(t *testing.T) {
	b := unhex(t, "3b 01 05 00 beef 0001", "8000 0010 01020000", "ffff")
	h, err := mobility.ParseHeader(b)
	if err != nil || h.Proto != 59 || h.Type != mobility.TypeBU || !bytes.Equal(h.Octets, b[:16]) {
		t.Errorf("read %+v, %v", h, err)
	}
	if cap(h.Octets) != 16 {
		t.Error("appending to the header would write over what follows")
	}
	for n := range 16 {
		if _, err := mobility.ParseHeader(b[:n]); !errors.Is(err, mobility.ErrTruncated) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

// The tests of RFC 6275 section 9.2, in their order: each header here has the fault that is named and all those after it.
func TestCheckOrder(t *testing.T) {
	// An unknown type, a wrong Payload Proto, and (as a Binding Error) a Header Len that is too small.
	unknown := unhex(t, "29 01 63 00 0000 0001", "8000 0010 01020000")
	proto := unhex(t, "29 01 07 00 0000 0200", "8000 0010 01020000")
	length := unhex(t, "3b 01 07 00 0000 0200", "8000 0010 01020000")
	good := unhex(t, "3b 02 07 00 0000 0200", "20010db8000100000000000000000001")
	checksummed := func(mh []byte) []byte {
		mh = bytes.Clone(mh)
		mobility.FixChecksum(mh, home, router)
		return mh
	}
	for _, tt := range []struct {
		name string
		mh   []byte
		want mobility.Fault
	}{
		{"cut", checksummed(unknown)[:15], mobility.FaultTruncated},
		{"checksum", unknown, mobility.FaultChecksum},
		{"type", checksummed(unknown), mobility.FaultType},
		{"payload proto", checksummed(proto), mobility.FaultProto},
		{"header len", checksummed(length), mobility.FaultLength},
		{"good", checksummed(good), mobility.FaultNone},
	} {
		p := packet(t, tt.mh)
		if _, got := mobility.Check(&p, mobility.MinHeaderLen); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if allocs := testing.AllocsPerRun(10, func() { mobility.Check(&p, mobility.MinHeaderLen) }); allocs != 0 {
			t.Errorf("%s: %v allocations", tt.name, allocs)
		}
	}
	p := packet(t, checksummed(good))
	p.Proto = ipv6.ProtoICMPv6
	if _, got := mobility.Check(&p, mobility.MinHeaderLen); got != mobility.FaultTruncated {
		t.Errorf("not a mobility header: %v", got)
	}
}

// RFC 6275 section 6.1.1: the pseudo-header has the home address of the Home Address option as source, and that of the
// type 2 routing header as destination; what follows the header is not in the sum.
func TestChecksumAddresses(t *testing.T) {
	for _, tt := range []struct {
		name     string
		h        ipv6.Header
		src, dst netip.Addr
	}{
		{"plain", ipv6.Header{Src: careOf, Dst: router}, careOf, router},
		{"home address option", ipv6.Header{Src: careOf, Dst: router, HomeAddress: home}, home, router},
		{"type 2 routing header", ipv6.Header{Src: router, Dst: careOf, RoutingHome: home}, router, home},
		{"both", ipv6.Header{Src: careOf, Dst: router, HomeAddress: home, RoutingHome: other}, home, other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mh := mobility.BindingUpdate{Seq: 1}.Append(nil)
			mobility.FixChecksum(mh, tt.src, tt.dst)
			check := func(mh []byte) mobility.Fault {
				var p ipv6.Packet
				if problem := ipv6.Parse(ipv6.Append(nil, tt.h, ipv6.ProtoMobility, append(mh, 0xff, 0xff)), &p); problem != ipv6.OK {
					t.Fatal(problem)
				}
				_, fault := mobility.Check(&p, mobility.MinHeaderLen)
				return fault
			}
			if got := check(mh); got != mobility.FaultNone {
				t.Error(got)
			}
			mobility.FixChecksum(mh, tt.src, netip.MustParseAddr("2001:db8::bad"))
			if got := check(mh); got != mobility.FaultChecksum {
				t.Errorf("under another destination: %v", got)
			}
			mobility.FixChecksum(mh, netip.MustParseAddr("2001:db8::bad"), tt.dst)
			if got := check(mh); got != mobility.FaultChecksum {
				t.Errorf("under another source: %v", got)
			}
		})
	}
	mobility.FixChecksum([]byte{1, 2, 3}, careOf, router) // too short to have one: nothing happens
}

// The least Header Len of each of IANA's types (RFC 6275 section 6.1, RFC 5568 section 6.2, RFC 5142 section 4).
func TestMinHeaderLen(t *testing.T) {
	want := []uint8{0, 1, 1, 2, 2, 1, 1, 2, 1, 1, 0, 0, 0, 1, 1, 1}
	for typ := range 256 {
		n, known := mobility.MinHeaderLen(uint8(typ))
		if known != (typ < len(want)) || known && n != want[typ] {
			t.Errorf("type %d: %d, %v", typ, n, known)
		}
	}
	cp := mobility.CodePoints{KeyExchangeRequest: 100, KeyExchangeAck: 101, Finished: 102}
	for typ, want := range map[uint8]uint8{100: 17, 101: 6, 102: 3} {
		if n, known := cp.MinHeaderLen(typ); !known || n != want {
			t.Errorf("LKE type %d: %d, %v", typ, n, known)
		}
	}
	if _, known := cp.MinHeaderLen(8); known {
		t.Error("LKE still knows a type number that was given away")
	}
}

// Each fault has its own counter name.
func TestFaultNames(t *testing.T) {
	seen := map[string]bool{}
	for i := range mobility.Faults {
		name := mobility.Fault(i).String()
		if name == "mh_unknown" || seen[name] {
			t.Errorf("fault %d is called %q", i, name)
		}
		seen[name] = true
	}
}

// RFC 6275 sections 9.2 and 9.3.3: an unknown type is answered with a Binding Error to the address in the fixed header,
// with the home address from the wire.
func TestAnswerBindingError(t *testing.T) {
	mh := unhex(t, "3b 00 63 00 0000 0000")
	for _, tt := range []struct {
		name       string
		home, want netip.Addr
	}{
		{"with Home Address option", home, home},
		{"without", netip.Addr{}, netip.IPv6Unspecified()},
	} {
		p := packet(t, mh)
		p.HomeAddress = tt.home
		var answer ipv6.Packet
		if problem := ipv6.Parse(mobility.Answer(&p, mobility.FaultType, router), &answer); problem != ipv6.OK {
			t.Fatal(problem)
		}
		if answer.Src != router || answer.Dst != careOf || answer.HomeAddress.IsValid() || answer.RoutingHome.IsValid() {
			t.Errorf("%s: %v > %v", tt.name, answer.Src, answer.Dst)
		}
		h, fault := mobility.Check(&answer, mobility.MinHeaderLen)
		m, err := mobility.ParseBindingError(h)
		if fault != mobility.FaultNone || err != nil || m.Status != mobility.ErrorUnrecognizedType || m.HomeAddress != tt.want {
			t.Errorf("%s: %v, %+v, %v", tt.name, fault, m, err)
		}
	}
}

// RFC 6275 section 9.2, RFC 4443 section 3.4: Parameter Problem with code 0, which points at the octet and quotes the
// packet as far as 1,280 octets allow.
func TestAnswerParameterProblem(t *testing.T) {
	for _, size := range []int{16, 2048} {
		mh := make([]byte, size)
		mh[0], mh[1], mh[2] = 41, uint8(size/8-1), mobility.TypeBU
		p := packet(t, mh)
		for fault, pointer := range map[mobility.Fault]uint32{
			mobility.FaultProto:  40 + 24, // fixed header, destination options
			mobility.FaultLength: 40 + 24 + 1,
		} {
			raw := mobility.Answer(&p, fault, router)
			var answer ipv6.Packet
			if problem := ipv6.Parse(raw, &answer); problem != ipv6.OK {
				t.Fatal(problem)
			}
			msg := answer.Payload
			if answer.Src != router || answer.Dst != careOf || answer.Proto != ipv6.ProtoICMPv6 || len(raw) > 1280 {
				t.Errorf("%v > %v, protocol %d, %d octets", answer.Src, answer.Dst, answer.Proto, len(raw))
			}
			if msg[0] != 4 || msg[1] != 0 || binary.BigEndian.Uint32(msg[4:8]) != pointer {
				t.Errorf("%v: type %d, code %d, pointer %d, want %d", fault, msg[0], msg[1], msg[4:8], pointer)
			}
			if ipv6.Checksum(answer.Src, answer.Dst, ipv6.ProtoICMPv6, msg) != 0 {
				t.Error("wrong checksum")
			}
			if quoted := msg[8:]; !bytes.HasPrefix(p.Raw, quoted) || len(quoted) != min(len(p.Raw), 1280-48) {
				t.Errorf("quotes %d of %d octets", len(quoted), len(p.Raw))
			}
		}
	}
}

// RFC 4443 section 2.4 (e) and RFC 6275 section 9.3.3: what is never answered.
func TestAnswerSilence(t *testing.T) {
	group := netip.MustParseAddr("ff02::1")
	for _, tt := range []struct {
		name           string
		fault          mobility.Fault
		src, dst, self netip.Addr
	}{
		{"good", mobility.FaultNone, careOf, router, router},
		{"truncated", mobility.FaultTruncated, careOf, router, router},
		{"wrong checksum", mobility.FaultChecksum, careOf, router, router},
		{"source ::", mobility.FaultType, netip.IPv6Unspecified(), router, router},
		{"source multicast", mobility.FaultProto, group, router, router},
		{"source loopback", mobility.FaultProto, netip.IPv6Loopback(), router, router},
		{"sent to a group", mobility.FaultLength, careOf, group, router},
		{"from a group", mobility.FaultType, careOf, router, group},
		{"from nobody", mobility.FaultType, careOf, router, netip.Addr{}},
	} {
		p := packet(t, unhex(t, "3b 00 63 00 0000 0000"))
		p.Src, p.Dst = tt.src, tt.dst
		if raw := mobility.Answer(&p, tt.fault, tt.self); raw != nil {
			t.Errorf("%s: answered with %x", tt.name, raw)
		}
	}
}
