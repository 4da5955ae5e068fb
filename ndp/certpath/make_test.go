package certpath_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ndp/certpath"
)

func TestMakeRefuses(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	good := certpath.Request{Name: "router", Prefixes: lan, NotBefore: wall, NotAfter: wall.Add(time.Hour)}
	many := good
	for i := range 100 {
		p := prefixes("2001:db8::/64")[0].Addr().As16()
		p[6], p[7] = 1, byte(2*i)
		many.Prefixes = append(many.Prefixes, prefixOf(p))
	}
	for _, tt := range []struct {
		name   string
		change func(r *certpath.Request)
		router string
		signer string
		says   string
	}{
		{"no name", func(r *certpath.Request) { r.Name = "" }, "router", "anchor", "cannot be the name"},
		{"a name of other letters", func(r *certpath.Request) { r.Name = "r_1" }, "router", "anchor", "cannot be the name"},
		{"a long name", func(r *certpath.Request) { r.Name = strings.Repeat("x", 65) }, "router", "anchor", "cannot be the name"},
		{"no time", func(r *certpath.Request) { r.NotAfter = r.NotBefore }, "router", "anchor", "end before it begins"},
		{"longer than the anchor", func(r *certpath.Request) { r.NotAfter = wall.AddDate(2, 0, 0) }, "router", "anchor", "take fewer days"},
		{"IPv4", func(r *certpath.Request) { r.Prefixes = prefixes("10.0.0.0/8") }, "router", "anchor", "no IPv6 prefix"},
		{"bits behind", func(r *certpath.Request) { r.Prefixes = prefixes("2001:db8::1/64") }, "router", "anchor", "no IPv6 prefix"},
		{"another's prefix", func(r *certpath.Request) { r.Prefixes = prefixes("2001:db9::/64") }, "router", "anchor", certpath.ReasonAddresses.Error()},
		{"too many prefixes for a message", func(r *certpath.Request) { r.Prefixes = many.Prefixes }, "router", "anchor", "more than the 1400 that fit in one message"},
		{"the anchor's own key", func(r *certpath.Request) {}, "anchor", "anchor", "each needs one of its own"},
		{"another signer", func(r *certpath.Request) {}, "router", "impostor", "not that of the trust anchor"},
	} {
		r := good
		tt.change(&r)
		_, err := certpath.NewRouterCertificate(rand.Reader, anchor.anchors()[0], keyOf(t, tt.signer), &keyOf(t, tt.router).PublicKey, r)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}
	if _, err := certpath.NewAnchor(rand.Reader, anchor.key, certpath.Request{Name: "a", NotBefore: wall, NotAfter: wall.Add(1)}); err == nil {
		t.Error("an anchor without prefixes was made")
	}
}

// Certificates that hold beyond 2049 tell their time with four digits of the year (RFC 5280 section 4.1.2.5), and all have a
// serial number of their own.
func TestMakeTimesAndNumbers(t *testing.T) {
	key := keyOf(t, "anchor")
	r := certpath.Request{Name: "anchor", Prefixes: site, NotBefore: wall, NotAfter: wall.AddDate(100, 0, 0)}
	one, err := certpath.NewAnchor(rand.Reader, key, r)
	if err != nil {
		t.Fatal(err)
	}
	two, err := certpath.NewAnchor(rand.Reader, key, r)
	if err != nil {
		t.Fatal(err)
	}
	a, b := read(t, one), read(t, two)
	if !a.NotBefore.Equal(wall) || !a.NotAfter.Equal(wall.AddDate(100, 0, 0)) || !bytes.Contains(one, []byte("\x17\x0d261120143110Z\x18\x0f21261120143110Z")) {
		t.Errorf("from %v until %v", a.NotBefore, a.NotAfter)
	}
	if a.SerialNumber.Cmp(b.SerialNumber) == 0 || a.SerialNumber.Sign() <= 0 {
		t.Errorf("serial numbers %v and %v", a.SerialNumber, b.SerialNumber)
	}
	if a.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || !a.IsCA || a.MaxPathLen != -1 || a.CheckSignatureFrom(a) != nil {
		t.Errorf("%+v", a)
	}
}

// x509's own CreateCertificate, asked for the same, gives the same octets.
func TestMadeAsByX509(t *testing.T) {
	anchorKey, routerKey := keyOf(t, "anchor"), keyOf(t, "router")
	r := certpath.Request{Name: "Roamkey anchor 1", Prefixes: site, NotBefore: wall, NotAfter: wall.AddDate(100, 0, 0)}
	made, err := certpath.NewAnchor(rand.Reader, anchorKey, r)
	if err != nil {
		t.Fatal(err)
	}
	anchor := node{read(t, made), anchorKey}
	template := &x509.Certificate{
		SerialNumber: anchor.cert.SerialNumber, Subject: pkix.Name{CommonName: r.Name}, NotBefore: r.NotBefore, NotAfter: r.NotAfter,
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId: certpath.KeyID(spki(t, &anchorKey.PublicKey)), SignatureAlgorithm: x509.SHA256WithRSA,
		ExtraExtensions: []pkix.Extension{addressBlocks(t, site...)},
	}
	theirs, err := x509.CreateCertificate(rand.Reader, template, template, &anchorKey.PublicKey, anchorKey)
	if err != nil || !bytes.Equal(made, theirs) {
		t.Errorf("%v\nthe anchor's %x\nx509 makes   %x", err, made, theirs)
	}
	r = certpath.Request{Name: "router (1)", NotBefore: wall, NotAfter: wall.AddDate(1, 0, 0)}
	if made, err = certpath.NewRouterCertificate(rand.Reader, anchor.anchors()[0], anchorKey, &routerKey.PublicKey, r); err != nil {
		t.Fatal(err)
	}
	template = &x509.Certificate{
		SerialNumber: read(t, made).SerialNumber, Subject: pkix.Name{CommonName: r.Name}, NotBefore: r.NotBefore, NotAfter: r.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, UnknownExtKeyUsage: []asn1.ObjectIdentifier{oidSend},
		SubjectKeyId: certpath.KeyID(spki(t, &routerKey.PublicKey)), SignatureAlgorithm: x509.SHA256WithRSA,
		ExtraExtensions: []pkix.Extension{addressBlocks(t)},
	}
	theirs, err = x509.CreateCertificate(rand.Reader, template, anchor.cert, &routerKey.PublicKey, anchorKey)
	if err != nil || !bytes.Equal(made, theirs) {
		t.Errorf("%v\nthe router's %x\nx509 makes   %x", err, made, theirs)
	}
}
