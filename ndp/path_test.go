package ndp_test

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// RFC 3971 sections 6.4.1 and 6.4.2, octet for octet.
func TestPathMessages(t *testing.T) {
	anchor := ndp.TrustAnchor{NameType: ndp.NameX501, Name: unhex(t, "3000")}.Append(nil)
	b := ndp.PathSolicit{Identifier: 0x1234, Component: ndp.AllComponents}.Append([]byte("abc"), linkLocal, ipv6.AllRouters(), anchor)[3:]
	p := received(t, linkLocal, ipv6.AllRouters(), b)
	s, reason := ndp.ParsePathSolicit(p)
	if reason != ndp.ReasonNone || s.Identifier != 0x1234 || s.Component != 65535 || find(t, s.Options, ndp.OptTrustAnchor).Offset != 8 {
		t.Errorf("solicitation: %+v, %v", s, reason)
	}
	wire := bytes.Clone(b)
	copy(wire[2:4], []byte{0, 0})
	same(t, wire, unhex(t, "9400 0000 1234 ffff 0f01 01 02 3000 0000"))

	certificate := ndp.CertificateOption(unhex(t, "30020500"))
	b = ndp.PathAdvert{Identifier: 0x1234, All: 3, Component: 2}.Append([]byte("abc"), linkLocal, group, certificate, anchor)[3:]
	a, reason := ndp.ParsePathAdvert(received(t, linkLocal, group, b))
	if reason != ndp.ReasonNone || a.Identifier != 0x1234 || a.All != 3 || a.Component != 2 || find(t, a.Options, ndp.OptCertificate).Offset != 12 {
		t.Errorf("advertisement: %+v, %v", a, reason)
	}
	copy(b[2:4], []byte{0, 0})
	same(t, b, unhex(t, "9500 0000 1234 0003 0002 0000 1001 01 00 30020500 0f01 01 02 3000 0000"))
}

// RFC 3971 sections 6.4.1, 6.4.2, 6.4.5 and 6.4.6: addresses and identifiers that the messages can have.
func TestPathValidity(t *testing.T) {
	for _, tt := range []struct {
		name            string
		src, dst        netip.Addr
		identifier      uint16
		solicit, advert ndp.Reason
	}{
		{"link-local to a group", linkLocal, group, 7, ndp.ReasonNone, ndp.ReasonNone},
		{"link-local to a group, without identifier", linkLocal, group, 0, ndp.ReasonIdentifier, ndp.ReasonIdentifier},
		{"to all routers", linkLocal, ipv6.AllRouters(), 7, ndp.ReasonNone, ndp.ReasonDestination},
		{"to a router", linkLocal, linkLocal, 7, ndp.ReasonNone, ndp.ReasonDestination},
		{"to all nodes", linkLocal, ipv6.AllNodes(), 0, ndp.ReasonDestination, ndp.ReasonNone},
		{"to all nodes, with an identifier", linkLocal, ipv6.AllNodes(), 7, ndp.ReasonDestination, ndp.ReasonIdentifier},
		{"from ::", none, ipv6.AllRouters(), 7, ndp.ReasonNone, ndp.ReasonSource},
		{"from a global address", node, group, 7, ndp.ReasonSource, ndp.ReasonSource},
		{"from a group", group, group, 7, ndp.ReasonSource, ndp.ReasonSource},
	} {
		b := ndp.PathSolicit{Identifier: tt.identifier}.Append(nil, tt.src, tt.dst)
		if _, got := ndp.ParsePathSolicit(received(t, tt.src, tt.dst, b)); got != tt.solicit {
			t.Errorf("solicitation %s: %v", tt.name, got)
		}
		b = ndp.PathAdvert{Identifier: tt.identifier}.Append(nil, tt.src, tt.dst)
		if _, got := ndp.ParsePathAdvert(received(t, tt.src, tt.dst, b)); got != tt.advert {
			t.Errorf("advertisement %s: %v", tt.name, got)
		}
	}
}

// RFC 3971 section 6.4.3: the pad length tells where the name ends.
func TestTrustAnchor(t *testing.T) {
	for _, n := range []int{1, 4, 5, 12, 20, 300, 2036} {
		want := ndp.TrustAnchor{NameType: ndp.NameKeySHA1, Name: bytes.Repeat([]byte{0xee}, n)}
		b := want.Append([]byte("abc"))[3:]
		if len(b)%8 != 0 || len(b) != int(b[1])*8 || b[0] != ndp.OptTrustAnchor || b[2] != 3 || int(b[3]) != len(b)-4-n || b[3] > 7 {
			t.Fatalf("name of %d octets: %d octets, %x", n, len(b), b[:4])
		}
		got, err := ndp.ParseTrustAnchor(ndp.Option{Octets: b})
		if err != nil || got.NameType != want.NameType || !bytes.Equal(got.Name, want.Name) {
			t.Errorf("name of %d octets: %+v, %v", n, got, err)
		}
	}
	if b := (ndp.TrustAnchor{Name: make([]byte, 2037)}).Append([]byte("abc")); string(b) != "abc" {
		t.Errorf("longer than an option can be: %d octets", len(b))
	}
	for _, octets := range []string{"", "0f01", "0f01 01 04 30000000", "0f01 01 ff 30000000"} {
		if _, err := ndp.ParseTrustAnchor(ndp.Option{Octets: unhex(t, octets)}); !errors.Is(err, ndp.ErrTrustAnchor) {
			t.Errorf("%q: %v", octets, err)
		}
	}
}

// RFC 3971 section 6.4.4: the DER tells where the certificate ends, whatever stands behind it.
func TestCertificate(t *testing.T) {
	for _, n := range []int{0, 1, 5, 100, 127, 128, 255, 256, 600, 2032} {
		der := append([]byte{0x30, 0x82, uint8(n >> 8), uint8(n)}, make([]byte, n)...)
		if n < 128 {
			der = append([]byte{0x30, uint8(n)}, make([]byte, n)...)
		} else if n < 256 {
			der = append([]byte{0x30, 0x81, uint8(n)}, make([]byte, n)...)
		}
		b := ndp.CertificateOption(der)
		if len(b)%8 != 0 || len(b) != int(b[1])*8 || b[0] != ndp.OptCertificate || b[2] != 1 || b[3] != 0 {
			t.Fatalf("%d octets: %x", len(der), b[:4])
		}
		for i := 4 + len(der); i < len(b); i++ {
			b[i] = 0xff
		}
		o := ndp.Option{Octets: b}
		got, err := ndp.ParseCertificate(o)
		if err != nil || !bytes.Equal(got, der) {
			t.Errorf("%d octets: read %d, %v", len(der), len(got), err)
		}
		if allocs := testing.AllocsPerRun(5, func() { _, _ = ndp.ParseCertificate(o) }); allocs != 0 {
			t.Errorf("%v allocations", allocs)
		}
	}
	if b := ndp.CertificateOption(make([]byte, 2037)); b != nil {
		t.Errorf("longer than an option can be: %d octets", len(b))
	}
	for octets, want := range map[string]error{
		"":                      ndp.ErrCertificate,
		"1001":                  ndp.ErrCertificate,
		"1001 02 00 30020500":   ndp.ErrCertificateType,
		"1001 00 00 30020500":   ndp.ErrCertificateType,
		"1001 01 00 31020500":   ndp.ErrCertificate,
		"1001 01 00 30030500":   ndp.ErrCertificate,
		"1001 01 00 30800000":   ndp.ErrCertificate,
		"1001 01 ff 30020500":   nil, // reserved
		"1001 01 00 3000 ffff":  nil,
		"1001 01 00 3084ffffff": ndp.ErrCertificate,
	} {
		if _, err := ndp.ParseCertificate(ndp.Option{Octets: unhex(t, octets)}); !errors.Is(err, want) {
			t.Errorf("%q: %v", octets, err)
		}
	}
}
