package ndp_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// octets is hex in the vectors.
type octets []byte

func (o *octets) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*o = b
	return err
}

// vectors are messages that an implementation apart from this one has made.
type vectors struct {
	SignedNS struct {
		Src, Dst netip.Addr
		ICMPv6   octets
	} `json:"send_ns"`
	SignedDAD struct {
		Src, Dst, Target netip.Addr
		ICMPv6           octets
	} `json:"send_dad_ns"`
	LKE struct {
		Kbm, SPKI octets
		Addresses struct {
			CareOf netip.Addr `json:"coa"`
			Router netip.Addr `json:"ar"`
		}
		Option6 struct {
			MaximumLifetime uint16 `json:"maximum_lifetime_s"`
			Octets          octets
		}
		Solicit struct {
			ICMPv6 octets
		} `json:"dad_ns"`
		Advert struct {
			ICMPv6 octets
		} `json:"dad_na"`
	}
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	text, err := os.ReadFile("../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// unhex joins hex fragments, in which blanks do not count.
func unhex(t testing.TB, fragments ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(fragments, ""), " ", ""))
	if err != nil {
		t.Fatalf("fragment: %v", err)
	}
	return b
}

// received parses a packet that holds an ICMPv6 message.
func received(t testing.TB, src, dst netip.Addr, msg []byte) *ipv6.Packet {
	t.Helper()
	var p ipv6.Packet
	raw := ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
	if problem := ipv6.Parse(raw, &p); problem != ipv6.OK {
		t.Fatal(problem)
	}
	return &p
}

func same(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("built octets\ngot  %x\nwant %x", got, want)
	}
}

// find gives the first option of type typ.
func find(t testing.TB, options ndp.Options, typ uint8) ndp.Option {
	t.Helper()
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type == typ {
			return o
		}
	}
	t.Fatalf("no option %d", typ)
	return ndp.Option{}
}

// LKE-AR-1, LKE-resolution-b: the capability with the public key as SubjectPublicKeyInfo.
func TestVectorCapability(t *testing.T) {
	v := readVectors(t).LKE
	cp := ndp.DefaultCodePoints()
	same(t, ndp.Capability{MaximumLifetime: v.Option6.MaximumLifetime, PublicKey: v.SPKI}.Append(nil, cp), v.Option6.Octets)

	options := ndp.OptionsAt(v.Option6.Octets, 0)
	c, err := ndp.ParseCapability(find(t, options, cp.Capability))
	if err != nil || c.MaximumLifetime != 7200 || !bytes.Equal(c.PublicKey, v.SPKI) {
		t.Errorf("read %d s, key %x, %v", c.MaximumLifetime, c.PublicKey, err)
	}
}

// The key of the vectors, read here and by crypto/x509.
func TestVectorSPKI(t *testing.T) {
	v := readVectors(t).LKE
	text, err := os.ReadFile("../testdata/vectors-key1024.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	want := private.(*rsa.PrivateKey).PublicKey
	key, length, err := ndp.ParseSPKI(v.SPKI)
	if err != nil || length != len(v.SPKI) || !bytes.Equal(key.Modulus, want.N.Bytes()) || key.Exponent != want.E || key.Bits() != 1024 {
		t.Errorf("read %+v, %d octets, %v", key, length, err)
	}
	der, err := ndp.MarshalSPKI(key)
	if err != nil {
		t.Fatal(err)
	}
	same(t, der, v.SPKI)
}

// LKE-AR-12, LKE-resolution-e: the solicitation by which the router asks whether the care-of address is in use.
func TestVectorDADSolicit(t *testing.T) {
	v := readVectors(t).LKE
	cp, src, dst := ndp.DefaultCodePoints(), netip.IPv6Unspecified(), ipv6.SolicitedNode(v.Addresses.CareOf)
	auth := ndp.DADAuth{Nonce: 0x01020304, Router: v.Addresses.Router}

	msg := ndp.AppendNeighborSolicit(nil, src, dst, v.Addresses.CareOf, auth.Append(nil, cp.AuthRequest))
	if err := ndp.SignDADAuth(msg, v.Kbm, src, dst, 24); err != nil {
		t.Fatal(err)
	}
	same(t, msg, v.Solicit.ICMPv6)

	p := received(t, src, dst, v.Solicit.ICMPv6)
	m, reason := ndp.ParseNeighborSolicit(p)
	if reason != ndp.ReasonNone || m.Target != v.Addresses.CareOf {
		t.Fatalf("read %+v, %v", m, reason)
	}
	o := find(t, m.Options, cp.AuthRequest)
	got, err := ndp.ParseDADAuth(o)
	if err != nil || got.Nonce != auth.Nonce || got.Router != auth.Router {
		t.Errorf("read %+v, %v", got, err)
	}
	if !ndp.VerifyDADAuth(p.Payload, v.Kbm, p.Src, p.Dst, o) {
		t.Error("HMAC of the vector refused")
	}
}

// LKE-MN-8, LKE-AR-16: the advertisement by which the mobile node answers.
func TestVectorDADAdvert(t *testing.T) {
	v := readVectors(t).LKE
	cp, src, dst := ndp.DefaultCodePoints(), v.Addresses.CareOf, ipv6.AllNodes()
	link := ipv6.LinkAddr{2, 1, 2, 3, 4, 5}
	auth := ndp.DADAuth{Nonce: 0x01020304, Router: v.Addresses.Router}

	msg := ndp.AppendNeighborAdvert(nil, src, dst, ndp.FlagOverride, src, ndp.TargetLinkOption(link), auth.Append(nil, cp.AuthReply))
	if err := ndp.SignDADAuth(msg, v.Kbm, src, dst, 32); err != nil {
		t.Fatal(err)
	}
	same(t, msg, v.Advert.ICMPv6)

	p := received(t, src, dst, v.Advert.ICMPv6)
	m, reason := ndp.ParseNeighborAdvert(p)
	if reason != ndp.ReasonNone || m.Target != src || m.TargetLink != link || !m.Override || m.Solicited || m.Router {
		t.Fatalf("read %+v, %v", m, reason)
	}
	o := find(t, m.Options, cp.AuthReply)
	if o.Offset != 32 || !ndp.VerifyDADAuth(p.Payload, v.Kbm, p.Src, p.Dst, o) {
		t.Errorf("HMAC of the vector refused, option at %d", o.Offset)
	}
}

// The octets of signed messages come through whole: their options with type, offset and length.
func TestVectorSignedSolicits(t *testing.T) {
	all := readVectors(t)
	m, reason := ndp.ParseNeighborSolicit(received(t, all.SignedNS.Src, all.SignedNS.Dst, all.SignedNS.ICMPv6))
	if reason != ndp.ReasonNone || m.SourceLink.IsZero() || len(m.Nonce) != 6 {
		t.Fatalf("read %+v, %v", m, reason)
	}
	type option struct {
		typ          uint8
		offset, size int
	}
	var got []option
	for o, ok := m.Options.Next(); ok; o, ok = m.Options.Next() {
		got = append(got, option{o.Type, o.Offset, len(o.Octets)})
	}
	want := []option{{1, 24, 8}, {11, 32, 192}, {13, 224, 16}, {14, 240, 8}, {12, 248, 152}}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("options %v, want %v", got, want)
		}
	}
	dad, reason := ndp.ParseNeighborSolicit(received(t, all.SignedDAD.Src, all.SignedDAD.Dst, all.SignedDAD.ICMPv6))
	if reason != ndp.ReasonNone || dad.Target != all.SignedDAD.Target || !bytes.Equal(dad.Nonce, m.Nonce) {
		t.Errorf("DAD: read %+v, %v", dad, reason)
	}
}
