package cga_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// octets is hex in the vectors.
type octets []byte

func (o *octets) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*o = b
	return err
}

// vectors are addresses and messages that an implementation apart from this one has made.
type vectors struct {
	Sec0 struct {
		Modifier, SPKI, KeyHash octets
		Prefix                  netip.Prefix
		Address                 netip.Addr
	} `json:"cga_sec0"`
	Sec1 struct {
		Start      octets     `json:"start_modifier"`
		Final      octets     `json:"final_modifier"`
		Iterations uint64     `json:"iterations_after_first"`
		Address0   netip.Addr `json:"address_cc0"`
		Address1   netip.Addr `json:"address_cc1"`
	} `json:"cga_sec1"`
	SignedNS struct {
		Src, Dst netip.Addr
		ICMPv6   octets
	} `json:"send_ns"`
	SignedDAD struct {
		Src, Dst, Target netip.Addr
		ICMPv6           octets
	} `json:"send_dad_ns"`
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	text, err := os.ReadFile("../../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// official is the example of RFC 3972 appendix A, with a 512-bit key and Sec 1.
func official(t testing.TB) (p cga.Params, addr netip.Addr) {
	p = cga.Params{
		Modifier: [16]byte(unhex(t, "89a8a8b2e858d8b8f2633f44d2d4ce9b")),
		Prefix:   [8]byte(unhex(t, "fe80000000000000")),
		PublicKey: unhex(t, "305c300d06092a864886f70d0101010500034b003048024100c2c2f137305454f10bd9cea36844b530e9211a4b262b"+
			"16467cb7dfba1f595c0194f275be5a4d386f2c3c2382508773c7867f9b3b9e63a09c7bc48f7a54ebefaf0203010001"),
	}
	return p, netip.MustParseAddr("fe80::3c4a:5bf6:ffb4:ca6c")
}

// RFC 3972 appendix A: the search makes two attempts, and the address, its hash and its check come out.
func TestOfficialVector(t *testing.T) {
	p, addr := official(t)
	start := p.Modifier
	start[15]--
	s := cga.NewSearch(p.PublicKey, nil, 1, start)
	if _, found := s.Try(1); found {
		t.Error("the first modifier is taken, whose Hash2 is 436b...")
	}
	if m, found := s.Try(100); !found || m != p.Modifier || s.Tried() != 2 {
		t.Errorf("modifier %x, %v after %d attempts", m, found, s.Tried())
	}
	if got := p.Address(1); got != addr {
		t.Errorf("address %v, want %v", got, addr)
	}
	if err := cga.Verify(addr, p); err != nil {
		t.Error(err)
	}
	if got := cga.KeyHash(p.PublicKey); !bytes.Equal(got[:], unhex(t, "2ccba7cb07398e018b791e06b9f72c6f")) {
		t.Errorf("key hash %x", got)
	}
}

// Addresses with Sec 0 and Sec 1, with collision counts 0 and 1, and the modifier that the search finds.
func TestVectorAddresses(t *testing.T) {
	v := readVectors(t)
	zero := cga.Params{Modifier: [16]byte(v.Sec0.Modifier), PublicKey: v.Sec0.SPKI}.In(v.Sec0.Prefix)
	if got := zero.Address(0); got != v.Sec0.Address || cga.Verify(got, zero) != nil {
		t.Errorf("Sec 0: %v, want %v; %v", got, v.Sec0.Address, cga.Verify(got, zero))
	}
	if got := cga.KeyHash(v.Sec0.SPKI); !bytes.Equal(got[:], v.Sec0.KeyHash) {
		t.Errorf("key hash %x", got)
	}
	s := cga.NewSearch(v.Sec0.SPKI, nil, 1, [16]byte(v.Sec1.Start))
	one := zero
	for {
		m, found := s.Try(1000)
		if one.Modifier = m; found {
			break
		}
	}
	if one.Modifier != [16]byte(v.Sec1.Final) || s.Tried() != v.Sec1.Iterations+1 {
		t.Errorf("Sec 1: modifier %x after %d attempts", one.Modifier, s.Tried())
	}
	for count, want := range []netip.Addr{v.Sec1.Address0, v.Sec1.Address1} {
		one.Collisions = uint8(count)
		if got := one.Address(1); got != want || cga.Sec(got) != 1 || cga.Verify(got, one) != nil {
			t.Errorf("Sec 1, count %d: %v, want %v; %v", count, got, want, cga.Verify(got, one))
		}
	}
}

// heard is a message with a CGA option.
type heard struct {
	name   string
	addr   netip.Addr // that the parameters are for: source, with source :: the target
	option ndp.Option
}

// allHeard gives the messages of the vectors and of the captures that have a CGA option.
func allHeard(t testing.TB) (all []heard) {
	t.Helper()
	add := func(name string, p *ipv6.Packet) {
		fixed := map[uint8]int{133: 8, 134: 16, 135: 24, 136: 24, 137: 40}
		if p.Proto != ipv6.ProtoICMPv6 || fixed[p.Payload[0]] == 0 {
			return
		}
		addr := p.Src
		if addr.IsUnspecified() {
			addr = netip.AddrFrom16([16]byte(p.Payload[8:24]))
		}
		options := ndp.OptionsAt(p.Payload, fixed[p.Payload[0]])
		for o, ok := options.Next(); ok; o, ok = options.Next() {
			if o.Type == ndp.OptCGA {
				all = append(all, heard{name, addr, o})
			}
		}
	}
	v := readVectors(t)
	add("signed NS", &ipv6.Packet{Proto: ipv6.ProtoICMPv6, Src: v.SignedNS.Src, Payload: v.SignedNS.ICMPv6})
	add("signed DAD NS", &ipv6.Packet{Proto: ipv6.ProtoICMPv6, Src: v.SignedDAD.Src, Payload: v.SignedDAD.ICMPv6})
	for _, file := range []string{"send-ns-na.pcap", "send-ra-cps-cpa.pcap"} {
		frames, err := pcap.ReadFile("../../testdata/captures/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			var p ipv6.Packet
			if problem := ipv6.Parse(f.IPv6(), &p); problem != ipv6.OK {
				t.Fatalf("%s: %v", file, problem)
			}
			add(file, &p)
		}
	}
	return all
}

// Every address that another implementation has made and shown verifies, and its option is written again as it was.
func TestHeardAddresses(t *testing.T) {
	all := allHeard(t)
	if len(all) < 24 {
		t.Fatalf("only %d messages with CGA parameters", len(all))
	}
	for _, h := range all {
		p, err := cga.ParseOption(h.option)
		if err != nil {
			t.Errorf("%s, %v: %v", h.name, h.addr, err)
			continue
		}
		if err := cga.Verify(h.addr, p); err != nil {
			t.Errorf("%s, %v: %v", h.name, h.addr, err)
		}
		if got := p.Address(cga.Sec(h.addr)); got != h.addr {
			t.Errorf("%s: %v is made to %v", h.name, h.addr, got)
		}
		if _, _, err := ndp.ParseSPKI(p.PublicKey); err != nil {
			t.Errorf("%s, %v: %v", h.name, h.addr, err)
		}
		if got := cga.Option(p); !bytes.Equal(got, h.option.Octets) {
			t.Errorf("%s, %v: written\n%x\nwas\n%x", h.name, h.addr, got, h.option.Octets)
		}
	}
}
