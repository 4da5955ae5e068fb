package certpath_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ndp/certpath"
	"github.com/roamkey/roamkey/ndp/cga"
)

var (
	site = prefixes("2001:db8:1::/48")
	lan  = prefixes("2001:db8:1:1::/64")
)

func strict(anchors []certpath.Anchor) certpath.Options {
	return certpath.Options{Anchors: anchors, At: wall}
}

func lax(anchors []certpath.Anchor) certpath.Options {
	return certpath.Options{Anchors: anchors, At: wall, Profile: certpath.RFC3971}
}

// RFC 3971 section 6.3.1, RFC 3779 section 2.3: a path of three gives the router's key and prefixes, and ends with the shortest
// of all validities.
func TestVerifyPath(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	isp := anchor.issue(t, "isp", prefixes("2001:db8::/36"), authority)
	branch := isp.issue(t, "branch", site, authority, func(c *x509.Certificate) { c.NotAfter = wall.Add(time.Minute) })
	router := branch.issue(t, "router", lan)
	path, err := certpath.Verify(der(isp, branch, router), strict(anchor.anchors()))
	if err != nil {
		t.Fatal(err)
	}
	if !samePrefixes(path.Prefixes, "2001:db8:1:1::/64") || path.Purposes != certpath.PurposeRouter {
		t.Errorf("%v for %v", path.Purposes, path.Prefixes)
	}
	if !slices.Equal(path.SPKI, spki(t, &router.key.PublicKey)) || path.KeyHash != cga.KeyHash(path.SPKI) {
		t.Error("not the router's key")
	}
	if !path.NotAfter.Equal(branch.cert.NotAfter) || !path.NotBefore.Equal(router.cert.NotBefore) || !path.ValidAt(wall) ||
		path.ValidAt(wall.Add(2*time.Minute)) || path.ValidAt(wall.Add(-2*time.Hour)) {
		t.Errorf("valid from %v to %v", path.NotBefore, path.NotAfter)
	}
	// The anchor itself should not be sent, and may be.
	if _, err := certpath.Verify(der(anchor, isp, branch, router), strict(anchor.anchors())); err != nil {
		t.Errorf("with the anchor: %v", err)
	}
}

// RFC 6494 section 4.1: "inherit" stands for what the issuer has.
func TestVerifyInherit(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	isp := anchor.issue(t, "isp", nil, authority)
	branch := isp.issue(t, "branch", site, authority)
	router := branch.issue(t, "router", nil)
	if path, err := certpath.Verify(der(isp, branch, router), strict(anchor.anchors())); err != nil || !samePrefixes(path.Prefixes, "2001:db8:1::/48") {
		t.Errorf("%v, %v", path.Prefixes, err)
	}
	direct := anchor.issue(t, "router", nil)
	if path, err := certpath.Verify(der(direct), strict(anchor.anchors())); err != nil || !samePrefixes(path.Prefixes, "2001:db8::/32", "fd00::/8") {
		t.Errorf("from the anchor: %v, %v", path.Prefixes, err)
	}
}

// Each thing that a certificate may have wrong makes its path fail for that reason, under the profile of RFC 6494.
func TestVerifyRefuses(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	isp := anchor.issue(t, "isp", site, authority)
	impostor := node{isp.cert, keyOf(t, "impostor")}
	set := func(change func(c *x509.Certificate)) [][]byte { return der(isp, isp.issue(t, "router", lan, change)) }
	above := func(change func(c *x509.Certificate)) [][]byte {
		n := anchor.issue(t, "isp", site, authority, change)
		return der(n, n.issue(t, "router", lan))
	}
	constraints := func(critical bool, value ...byte) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: critical, Value: value}
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := *isp.issue(t, "router", lan).cert
	ec.ExtraExtensions = []pkix.Extension{addressBlocks(t, lan...)}
	ec.SubjectKeyId = nil
	ecSPKI, err := x509.MarshalPKIXPublicKey(&ecKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ec.SubjectKeyId = certpath.KeyID(ecSPKI)
	long := []node{anchor.issue(t, "isp", site, authority)}
	for range certpath.MaxCertificates - 1 {
		long = append(long, long[len(long)-1].issue(t, "isp", site, authority))
	}
	r0 := isp.issue(t, "r0", lan)
	loop := isp.issue(t, "branch", site, authority)
	back := loop.issue(t, "isp", site, authority)
	keyOfBits(t, "long", 2056)

	for _, tt := range []struct {
		name string
		path [][]byte
		want certpath.Reason
	}{
		{"no certificate", nil, certpath.ReasonEmpty},
		{"the anchor alone", der(anchor), certpath.ReasonEmpty},
		{"eleven certificates", der(append(long, long[9].issue(t, "router", lan))...), certpath.ReasonTooLong},
		{"a path that loops", der(isp, loop, back, loop, back, loop, back, loop, back, loop, back, loop), certpath.ReasonTooLong},
		{"a loop that ends in an authority", der(isp, loop, back), certpath.ReasonAuthority},
		{"garbage", [][]byte{isp.cert.Raw, {0x30, 3, 2, 1, 1}}, certpath.ReasonParse},
		{"padding behind", [][]byte{append(slices.Clone(isp.cert.Raw), 0)}, certpath.ReasonParse},
		{"of another anchor", der(newAnchor(t, "other").issue(t, "router", lan)), certpath.ReasonAnchor},
		{"the anchor's name, another's key", der(node{anchor.cert, keyOf(t, "impostor")}.issue(t, "router", lan)), certpath.ReasonSignature},
		{"order exchanged", der(isp.issue(t, "router", lan), isp), certpath.ReasonAnchor},
		{"one left out", der(isp, loop.issue(t, "router", lan)), certpath.ReasonIssuer},
		{"issued by a router", der(isp, r0, r0.issue(t, "router", lan)), certpath.ReasonNoAuthority},
		{"signed with another key", der(isp, impostor.issue(t, "router", lan)), certpath.ReasonSignature},
		{"SHA-1", set(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }), certpath.ReasonAlgorithm},
		{"SHA-512", set(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA512WithRSA }), certpath.ReasonAlgorithm},
		{"PSS", set(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA256WithRSAPSS }), certpath.ReasonAlgorithm},
		{"not valid yet", set(func(c *x509.Certificate) { c.NotBefore = wall.Add(time.Minute) }), certpath.ReasonNotYet},
		{"expired", set(func(c *x509.Certificate) { c.NotAfter = wall.Add(-time.Minute) }), certpath.ReasonExpired},
		{"issuer expired", above(func(c *x509.Certificate) { c.NotAfter = wall.Add(-time.Minute) }), certpath.ReasonExpired},
		{"unknown critical extension", set(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}), certpath.ReasonCritical},
		{"name constraints", above(func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.com"}
		}), certpath.ReasonCritical},
		{"issuer without basic constraints", above(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = false, false }), certpath.ReasonNoAuthority},
		{"issuer whose basic constraints are not critical", above(func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = false, false
			c.ExtraExtensions = append(c.ExtraExtensions, constraints(false, 0x30, 3, 1, 1, 0xff))
		}), certpath.ReasonNoAuthority},
		{"an authority at the end", der(isp), certpath.ReasonAuthority},
		{"issuer with a path length", above(func(c *x509.Certificate) { c.MaxPathLen = 3 }), certpath.ReasonProfile},
		{"issuer that may not sign certificates", above(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), certpath.ReasonKeyUsage},
		{"issuer that may sign more", above(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageDigitalSignature }), certpath.ReasonKeyUsage},
		{"issuer without key usage", above(func(c *x509.Certificate) { c.KeyUsage = 0 }), certpath.ReasonKeyUsage},
		{"issuer with a key purpose", above(func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidSend} }), certpath.ReasonProfile},
		{"router with basic constraints", set(func(c *x509.Certificate) { c.BasicConstraintsValid = true }), certpath.ReasonProfile},
		{"no key usage", set(func(c *x509.Certificate) { c.KeyUsage = 0 }), certpath.ReasonKeyUsage},
		{"key usage too wide", set(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }), certpath.ReasonKeyUsage},
		{"no key purpose", set(func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }), certpath.ReasonNoPurpose},
		{"any key purpose", set(func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		}), certpath.ReasonNoPurpose},
		{"a purpose deeper in the tree", set(func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{append(slices.Clone(oidSend), 23)}
		}), certpath.ReasonNoPurpose},
		{"an owner's purpose", set(func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidOwner} }), certpath.ReasonPurpose},
		{"critical key purposes", set(func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = nil
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
				Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: unhex(t, "300a 0608 2b06010505070317"),
			})
		}), certpath.ReasonProfile},
		{"no subject key identifier", set(func(c *x509.Certificate) { c.SubjectKeyId = nil }), certpath.ReasonKeyID},
		{"another's subject key identifier", set(func(c *x509.Certificate) { c.SubjectKeyId = isp.cert.SubjectKeyId }), certpath.ReasonKeyID},
		{"the issuer's key under another identifier", der(isp, isp.as(func(c *x509.Certificate) { c.SubjectKeyId = []byte("another one") }).issue(t, "router", lan)), certpath.ReasonKeyID},
		{"no authority key identifier", der(isp, isp.as(func(c *x509.Certificate) { c.SubjectKeyId = nil }).issue(t, "router", lan)), certpath.ReasonKeyID},
		{"not an RSA key", der(isp, isp.sign(t, &ec, &ecKey.PublicKey, nil)), certpath.ReasonKeyType},
		{"a key over the limit", der(isp, isp.issue(t, "long", lan)), certpath.ReasonKeySize},
		{"no addresses", set(func(c *x509.Certificate) { c.ExtraExtensions = nil }), certpath.ReasonNoAddresses},
		{"addresses not critical", set(func(c *x509.Certificate) { c.ExtraExtensions[0].Critical = false }), certpath.ReasonNoAddresses},
		{"addresses malformed", set(func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte{0x30, 0} }), certpath.ReasonAddressBlocks},
		{"IPv4 only", set(func(c *x509.Certificate) {
			c.ExtraExtensions[0].Value = unhex(t, "300e 300c 0402 0001 3006 0304 00 0a0000")
		}), certpath.ReasonAddressBlocks},
		{"a subsequent family", set(func(c *x509.Certificate) { c.ExtraExtensions[0].Value = unhex(t, "3009 3007 0403 000201 0500") }), certpath.ReasonProfile},
		{"addresses of another", der(isp, isp.issue(t, "router", prefixes("2001:db8:2:1::/64"))), certpath.ReasonAddresses},
		{"more addresses than the issuer", der(isp, isp.issue(t, "router", prefixes("2001:db8:1:1::/64", "2001:db8:2::/64"))), certpath.ReasonAddresses},
		{"everything", der(isp, isp.issue(t, "router", prefixes("::/0"))), certpath.ReasonAddresses},
	} {
		_, err := certpath.Verify(tt.path, strict(anchor.anchors()))
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}

	wide := anchor.issue(t, "isp", prefixes("2001::/16"), authority)
	if _, err := certpath.Verify(der(wide, wide.issue(t, "router", lan)), strict(anchor.anchors())); !errors.Is(err, certpath.ReasonAddresses) {
		t.Errorf("an issuer with more addresses than the anchor: %v", err)
	}
	o := strict(anchor.anchors())
	o.At = anchor.cert.NotAfter.Add(time.Second)
	if _, err := certpath.Verify(der(isp, isp.issue(t, "router", lan)), o); !errors.Is(err, certpath.ReasonExpired) {
		t.Errorf("an anchor that expired: %v", err)
	}
	o = strict(anchor.anchors())
	o.MinBits = 2048
	if _, err := certpath.Verify(der(isp, isp.issue(t, "router", lan)), o); !errors.Is(err, certpath.ReasonKeySize) {
		t.Errorf("a key below minbits: %v", err)
	}
	o = strict(anchor.anchors())
	o.Purpose = certpath.PurposeOwner
	owner := isp.issue(t, "router", lan, func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidOwner, oidSend} })
	if path, err := certpath.Verify(der(isp, owner), o); err != nil || path.Purposes != certpath.PurposeOwner|certpath.PurposeRouter {
		t.Errorf("a node that is asked for as an owner: %v, %v", path.Purposes, err)
	}
}

// A certificate must not say whom it belongs to by its name alone: two anchors of one name are told apart by their keys.
func TestVerifyAnchorsOfOneName(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	der2, err := certpath.NewAnchor(rand.Reader, keyOf(t, "second"), certpath.Request{
		Name: "anchor", Prefixes: site, NotBefore: wall.AddDate(-1, 0, 0), NotAfter: wall.AddDate(1, 0, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	second := node{read(t, der2), keyOf(t, "second")}
	both := strict(append(second.anchors(), anchor.anchors()...))
	for _, a := range []node{anchor, second} {
		path, err := certpath.Verify(der(a.issue(t, "router", lan)), both)
		if err != nil || !bytes.Equal(path.Anchor.Certificate.Raw, a.cert.Raw) {
			t.Errorf("%v", err)
		}
	}
	if _, err := certpath.Verify(der(second.issue(t, "router", lan)), strict(anchor.anchors())); !errors.Is(err, certpath.ReasonKeyID) {
		t.Errorf("issued by another of that name: %v", err)
	}
}

// The lax profile: RFC 3971 section 6.3.1, without what RFC 6494 added.
func TestVerifyLax(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	laxAuthority := func(c *x509.Certificate) { bare(c); c.IsCA, c.BasicConstraintsValid, c.MaxPathLen = true, true, -1 }
	isp := anchor.issue(t, "isp", site, laxAuthority)
	without := func(c *x509.Certificate) { c.ExtraExtensions = nil }
	sha1 := func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }
	empty := func(c *x509.Certificate) { c.BasicConstraintsValid = true }

	for _, tt := range []struct {
		name   string
		router node
		want   []string
		reason certpath.Reason
	}{
		{"bare", isp.issue(t, "router", lan, bare), []string{"2001:db8:1:1::/64"}, 0},
		{"SHA-1", isp.issue(t, "router", lan, bare, sha1), []string{"2001:db8:1:1::/64"}, 0},
		{"as of RFC 6494", isp.issue(t, "router", lan), []string{"2001:db8:1:1::/64"}, 0},
		{"basic constraints", isp.issue(t, "router", lan, bare, empty), []string{"2001:db8:1:1::/64"}, 0},
		{"no addresses: the issuer's", isp.issue(t, "router", nil, bare, without), []string{"2001:db8:1::/48"}, 0},
		{"::/0: the issuer's", isp.issue(t, "router", prefixes("::/0"), bare), []string{"2001:db8:1::/48"}, 0},
		{"some of another: the others", isp.issue(t, "router", prefixes("2001:db8:1:1::/64", "2001:db8:2::/48"), bare), []string{"2001:db8:1:1::/64"}, 0},
		{"all of another", isp.issue(t, "router", prefixes("2001:db8:2::/48"), bare), nil, certpath.ReasonAddresses},
		{"not critical", isp.issue(t, "router", lan, func(c *x509.Certificate) { c.ExtraExtensions[0].Critical = false }), []string{"2001:db8:1:1::/64"}, 0},
		{"malformed", isp.issue(t, "router", lan, func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte{5, 0} }), nil, certpath.ReasonAddressBlocks},
		{"key usage of another kind", isp.issue(t, "router", lan, bare, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), nil, certpath.ReasonKeyUsage},
		{"key purpose of another kind", isp.issue(t, "router", lan, bare, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), nil, certpath.ReasonNoPurpose},
		{"any key purpose", isp.issue(t, "router", lan, bare, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), []string{"2001:db8:1:1::/64"}, 0},
		{"signed with another key", node{isp.cert, keyOf(t, "impostor")}.issue(t, "router", lan, bare), nil, certpath.ReasonSignature},
		{"SHA-1 with another key", node{isp.cert, keyOf(t, "impostor")}.issue(t, "router", lan, bare, sha1), nil, certpath.ReasonSignature},
		{"SHA-384", isp.issue(t, "router", lan, bare, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA384WithRSA }), nil, certpath.ReasonAlgorithm},
	} {
		path, err := certpath.Verify(der(isp, tt.router), lax(anchor.anchors()))
		if tt.reason != 0 && !errors.Is(err, tt.reason) || tt.reason == 0 && (err != nil || !samePrefixes(path.Prefixes, tt.want...)) {
			t.Errorf("%s: %v, %v, want %v %v", tt.name, path.Prefixes, err, tt.want, tt.reason)
		}
	}
	if _, err := certpath.Verify(der(isp, isp.issue(t, "router", lan, bare)), strict(anchor.anchors())); err == nil {
		t.Error("the profile of RFC 6494 took a bare path")
	}
}

// RFC 5280 section 6.1.4: a path length constraint counts the authorities below.
func TestVerifyPathLength(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	limited := func(n int) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, true }
	}
	for limit, ok := range map[int]bool{0: false, 1: true, 2: true, 1<<31 - 1: true} {
		a := anchor.issue(t, "isp", site, authority, limited(limit))
		b := a.issue(t, "branch", site, authority)
		_, err := certpath.Verify(der(a, b, b.issue(t, "router", lan)), lax(anchor.anchors()))
		if ok && err != nil || !ok && !errors.Is(err, certpath.ReasonPathLength) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	a := anchor.issue(t, "isp", site, authority, limited(0))
	if _, err := certpath.Verify(der(a, a.issue(t, "router", lan)), lax(anchor.anchors())); err != nil {
		t.Errorf("a router right below a limit of 0: %v", err)
	}
	b := a.issue(t, "branch", site, authority)
	if _, err := certpath.Verify(der(b, b.issue(t, "router", lan)), lax(a.anchors())); !errors.Is(err, certpath.ReasonPathLength) {
		t.Errorf("an authority below an anchor with a limit of 0: %v", err)
	}
}

// The four purposes of RFC 6494 section 7, and none beside them.
func TestPurposes(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	for arc, want := range map[int]certpath.Purpose{
		22: 0, 23: certpath.PurposeRouter, 24: certpath.PurposeProxiedRouter, 25: certpath.PurposeOwner, 26: certpath.PurposeProxiedOwner, 27: 0,
	} {
		n := anchor.issue(t, "router", lan, func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 99}, {1, 3, 6, 1, 5, 5, 7, 3, arc}}
		})
		if got := certpath.Purposes(n.anchors()[0].Certificate); got != want {
			t.Errorf("id-kp %d: %v", arc, got)
		}
	}
}

// x509's own Verify, told that the addresses are dealt with, takes what is taken here.
func TestVerifyAgreesWithX509(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	isp := anchor.issue(t, "isp", site, authority)
	router := isp.issue(t, "router", lan)
	impostor := node{isp.cert, keyOf(t, "impostor")}.issue(t, "router", lan)
	handled := func(n node) *x509.Certificate {
		c := *n.cert
		c.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(c.UnhandledCriticalExtensions), oidIP.Equal)
		return &c
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(handled(anchor))
	between.AddCert(handled(isp))
	for _, n := range []node{router, impostor} {
		_, theirs := handled(n).Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: between, CurrentTime: wall, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		_, ours := certpath.Verify(der(isp, n), strict(anchor.anchors()))
		if (theirs == nil) != (ours == nil) {
			t.Errorf("x509 says %v, here %v", theirs, ours)
		}
	}
}

// Each reason has its own counter name and its own text.
func TestReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for i := range certpath.Reasons {
		r := certpath.Reason(i)
		if r.String() == "" || r.Error() == "" || seen[r.String()] || seen[r.Error()] {
			t.Errorf("reason %d is called %q, %q", i, r, r.Error())
		}
		seen[r.String()], seen[r.Error()] = true, true
	}
}
