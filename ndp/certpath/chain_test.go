package certpath_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
)

func pemOf(nodes ...node) []byte { return certpath.EncodePEM(der(nodes...)...) }

// A file holds the path in any order, with the anchor and without; the order in which it is sent follows from names and keys.
func TestLoadChain(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	isp := anchor.issue(t, "isp", site, authority)
	branch := isp.issue(t, "branch", site, authority)
	router := branch.issue(t, "router", lan)
	want := der(isp, branch, router)
	for name, tt := range map[string]struct {
		file      []node
		hasAnchor bool
	}{
		"anchor first":       {[]node{anchor, isp, branch, router}, true},
		"router first":       {[]node{router, branch, isp, anchor}, true},
		"mixed":              {[]node{branch, anchor, router, isp}, true},
		"without the anchor": {[]node{router, branch, isp}, false},
	} {
		chain, err := certpath.LoadChain(append([]byte("# text before\n"), pemOf(tt.file...)...), certpath.RFC6494)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !slices.EqualFunc(chain.Certificates, want, bytes.Equal) || chain.HasAnchor != tt.hasAnchor {
			t.Errorf("%s: %d certificates in another order", name, len(chain.Certificates))
		}
		if !samePrefixes(chain.Prefixes, "2001:db8:1:1::/64") || !bytes.Equal(chain.SPKI, spki(t, &router.key.PublicKey)) || !chain.ValidAt(wall) {
			t.Errorf("%s: %+v", name, chain.Path)
		}
		if !bytes.Equal(chain.AnchorName, anchor.cert.RawSubject) || !bytes.Equal(chain.AnchorKeyID, anchor.cert.SubjectKeyId) {
			t.Errorf("%s: another anchor", name)
		}
	}
}

func TestLoadChainRefuses(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	isp := anchor.issue(t, "isp", site, authority)
	router := isp.issue(t, "router", lan)
	loop := isp.issue(t, "branch", site, authority)
	back := loop.issue(t, "isp", site, authority)
	impostor := isp.as(func(c *x509.Certificate) {})
	impostor.key = keyOf(t, "impostor")
	headless := isp.issue(t, "router", nil)
	for _, tt := range []struct {
		name string
		text []byte
		says string
	}{
		{"nothing", nil, "no certificate in it"},
		{"a key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), "no certificate in it"},
		{"garbage", certpath.EncodePEM([]byte{1, 2, 3}), "certificate 1 of the file"},
		{"an anchor alone", pemOf(anchor), "roamkeyd ca router"},
		{"authorities alone", pemOf(anchor, isp), "roamkeyd ca router"},
		{"two routers", pemOf(anchor, isp, router, isp.issue(t, "other", lan)), "two certificates of routers"},
		{"one too many", pemOf(anchor, router, isp, newAnchor(t, "other")), "not on the way"},
		{"one between left out", pemOf(anchor, router), "not on the way"},
		{"twice the same", pemOf(router, isp, isp), "not on the way"},
		{"issuers that issue each other", pemOf(loop, back, loop.issue(t, "router", lan)), "issued each other"},
		{"signed by another", pemOf(anchor, isp, impostor.issue(t, "router", lan)), certpath.ReasonSignature.Error()},
		{"addresses of another", pemOf(anchor, isp, isp.issue(t, "router", prefixes("2001:db8:2::/64"))), certpath.ReasonAddresses.Error()},
		{"addresses inherited from one that is not there", pemOf(headless), "put the anchor's certificate into the file"},
		{"no purpose, no anchor", pemOf(isp.issue(t, "router", lan, bare)), certpath.ReasonKeyUsage.Error()},
	} {
		if _, err := certpath.LoadChain(tt.text, certpath.RFC6494); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want one that says %q", tt.name, err, tt.says)
		}
	}
}

func TestLoadAnchors(t *testing.T) {
	anchor, other := newAnchor(t, "anchor"), newAnchor(t, "other")
	anchors, err := certpath.LoadAnchors(pemOf(anchor, other))
	if err != nil || len(anchors) != 2 || !bytes.Equal(anchors[1].Certificate.Raw, other.cert.Raw) {
		t.Fatalf("%d, %v", len(anchors), err)
	}
	// One that another issued is an anchor, too, if a person wants it to be one.
	if _, err := certpath.LoadAnchors(pemOf(anchor.issue(t, "isp", site, authority))); err != nil {
		t.Errorf("an authority: %v", err)
	}
	forged := bytes.Clone(anchor.cert.Raw)
	forged[len(forged)-1] ^= 1
	for _, tt := range []struct {
		name string
		text []byte
		want error
	}{
		{"a router", pemOf(anchor.issue(t, "router", lan)), certpath.ReasonNoAuthority},
		{"changed", certpath.EncodePEM(forged), certpath.ReasonSignature},
		{"bad addresses", pemOf(anchor.issue(t, "isp", site, authority, func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte{5, 0} })), certpath.ReasonAddressBlocks},
	} {
		if _, err := certpath.LoadAnchors(tt.text); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := certpath.LoadAnchors(nil); err == nil {
		t.Error("no anchors were loaded")
	}
}

// RFC 3971 section 6.4.5, RFC 6495 section 4: an anchor is found by its name, a name of its own in DNS, or its key.
func TestChainMatches(t *testing.T) {
	plain := newAnchor(t, "anchor")
	named := plain.issue(t, "named", site, authority, func(c *x509.Certificate) {
		c.DNSNames = []string{"ta.example.com", "other.example"}
	})
	self := node{named.as(func(c *x509.Certificate) { c.RawSubject = nil }).cert, named.key}
	template := *self.cert
	template.RawSubject, template.RawIssuer, template.Issuer = nil, nil, template.Subject
	template.ExtraExtensions = self.cert.Extensions
	anchor := self.as(func(c *x509.Certificate) { c.Subject = template.Subject }).sign(t, &template, &named.key.PublicKey, named.key)
	router := anchor.issue(t, "router", lan)
	chain, err := certpath.LoadChain(pemOf(router, anchor), certpath.RFC6494)
	if err != nil || !chain.HasAnchor {
		t.Fatal(err, chain.HasAnchor)
	}
	headless, err := certpath.LoadChain(pemOf(router), certpath.RFC6494)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(spki(t, &anchor.key.PublicKey))
	for _, tt := range []struct {
		name     string
		typ      uint8
		value    string
		with     bool
		headless bool
	}{
		{"X.501", ndp.NameX501, string(anchor.cert.RawSubject), true, true},
		{"X.501 of another", ndp.NameX501, string(router.cert.RawSubject), false, false},
		{"X.501 cut", ndp.NameX501, string(anchor.cert.RawSubject[:10]), false, false},
		{"FQDN", ndp.NameDNS, "\x02ta\x07example\x03com\x00", true, false},
		{"FQDN in capitals", ndp.NameDNS, "\x02TA\x07Example\x03COM\x00", true, false},
		{"second FQDN", ndp.NameDNS, "\x05other\x07example\x00", true, false},
		{"FQDN of another", ndp.NameDNS, "\x02tb\x07example\x03com\x00", false, false},
		{"FQDN without its end", ndp.NameDNS, "\x02ta\x07example\x03com", false, false},
		{"FQDN with more behind", ndp.NameDNS, "\x02ta\x07example\x03com\x00\x00", false, false},
		{"FQDN with a label over the end", ndp.NameDNS, "\x02ta\x07example\x03co\x00", false, false},
		{"FQDN with a pointer", ndp.NameDNS, "\xc0\x00", false, false},
		{"FQDN that is the root", ndp.NameDNS, "\x00", false, false},
		{"key identifier", ndp.NameKeySHA1, string(anchor.cert.SubjectKeyId), true, true},
		{"key identifier of another", ndp.NameKeySHA1, string(router.cert.SubjectKeyId), false, false},
		{"key identifier under another hash", ndp.NameKeySHA256, string(anchor.cert.SubjectKeyId), false, false},
		{"key identifier of SHA-256", ndp.NameKeySHA256, string(sum[:]), false, false},
		{"no name type", 0, string(anchor.cert.RawSubject), false, false},
		{"private name type", 253, string(anchor.cert.RawSubject), false, false},
	} {
		name := ndp.TrustAnchor{NameType: tt.typ, Name: []byte(tt.value)}
		if got := chain.Matches(name); got != tt.with {
			t.Errorf("%s: %v", tt.name, got)
		}
		if got := headless.Matches(name); got != tt.headless {
			t.Errorf("%s, anchor not known: %v", tt.name, got)
		}
	}
}
