package certpath_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ndp/certpath"
)

// openssl runs the program of that name. One that is missing fails the test: then nobody has judged.
func openssl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
			t.Skipf("asks openssl, which does not run where tests are emulated (this is %s)", runtime.GOARCH)
		}
		t.Fatalf("openssl is needed (apt-get install openssl): %v", err)
	}
	out, err := exec.Command("openssl", args...).CombinedOutput()
	return string(out), err
}

func save(t *testing.T, name string, certificates ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, certpath.EncodePEM(certificates...), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// What is made here openssl reads as it was meant, and verifies with its own implementation of RFC 3779.
func TestMadeCertificatesByOpenSSL(t *testing.T) {
	anchorKey, routerKey := keyOf(t, "anchor"), keyOfBits(t, "router2048", 2048)
	from := time.Now().Add(-time.Hour)
	anchorDER, err := certpath.NewAnchor(rand.Reader, anchorKey, certpath.Request{
		Name: "Roamkey anchor", Prefixes: prefixes("2001:db8::/32", "fd00:1::/33"), NotBefore: from, NotAfter: from.AddDate(10, 0, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	anchor := node{read(t, anchorDER), anchorKey}
	request := certpath.Request{Name: "router 1", Prefixes: prefixes("2001:db8:1:1::/64", "2001:db8:1:2::/63"), NotBefore: from, NotAfter: from.AddDate(1, 0, 0)}
	routerDER, err := certpath.NewRouterCertificate(rand.Reader, anchor.anchors()[0], anchorKey, &routerKey.PublicKey, request)
	if err != nil {
		t.Fatal(err)
	}
	if len(routerDER) > 1000 {
		t.Errorf("%d octets: one message should hold an RSA-2048 certificate with ease", len(routerDER))
	}
	request.Prefixes = nil
	heirDER, err := certpath.NewRouterCertificate(rand.Reader, anchor.anchors()[0], anchorKey, &routerKey.PublicKey, request)
	if err != nil {
		t.Fatal(err)
	}

	anchorFile, routerFile, heirFile := save(t, "anchor.pem", anchorDER), save(t, "router.pem", routerDER), save(t, "heir.pem", heirDER)
	for _, tt := range []struct {
		file string
		says []string
	}{
		{anchorFile, []string{
			"Version: 3", "sha256WithRSAEncryption", "Subject: CN = Roamkey anchor", "Issuer: CN = Roamkey anchor",
			"X509v3 Basic Constraints: critical\nCA:TRUE", "X509v3 Key Usage: critical\nCertificate Sign, CRL Sign",
			"sbgp-ipAddrBlock: critical\nIPv6:\n2001:db8::/32\nfd00:1::/33", "X509v3 Subject Key Identifier:",
		}},
		{routerFile, []string{
			"Subject: CN = router 1", "Issuer: CN = Roamkey anchor", "X509v3 Key Usage: critical\nDigital Signature\n",
			"X509v3 Extended Key Usage:\n1.3.6.1.5.5.7.3.23\n", "sbgp-ipAddrBlock: critical\nIPv6:\n2001:db8:1:1::-2001:db8:1:3:ffff:ffff:ffff:ffff\n",
			"X509v3 Authority Key Identifier:", "Public-Key: (2048 bit)",
		}},
		{heirFile, []string{"sbgp-ipAddrBlock: critical\nIPv6: inherit"}},
	} {
		text, err := openssl(t, "x509", "-in", tt.file, "-noout", "-text")
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		// Other versions indent otherwise, and name the purpose.
		var lines []string
		for line := range strings.Lines(text) {
			lines = append(lines, strings.TrimSpace(line))
		}
		plain := strings.NewReplacer("Send Router", "1.3.6.1.5.5.7.3.23", "CN=", "CN = ").Replace(strings.Join(lines, "\n"))
		for _, want := range tt.says {
			if !strings.Contains(plain, want) {
				t.Errorf("openssl does not say %q of\n%s", want, plain)
			}
		}
		if tt.file != anchorFile && strings.Contains(plain, "Basic Constraints") {
			t.Error("a router with basic constraints")
		}
	}
	for _, file := range []string{routerFile, heirFile} {
		if out, err := openssl(t, "verify", "-x509_strict", "-CAfile", anchorFile, file); err != nil || !strings.Contains(out, "OK") {
			t.Errorf("openssl refuses: %v\n%s", err, out)
		}
	}
}

// Both judge alike what is made by hand: addresses outside of the issuer's, "inherit" between, another signer, ranges.
func TestVerifyAgreesWithOpenSSL(t *testing.T) {
	anchor := newAnchor(t, "anchor")
	isp := anchor.issue(t, "isp", site, authority)
	heir := anchor.issue(t, "heir", nil, authority)
	impostor := node{isp.cert, keyOf(t, "impostor")}
	for name, tt := range map[string]struct {
		above, router node
	}{
		"good":                {isp, isp.issue(t, "router", lan)},
		"inherit":             {heir, heir.issue(t, "router", nil)},
		"under inherit":       {heir, heir.issue(t, "router", lan)},
		"a range":             {isp, isp.issue(t, "router", prefixes("2001:db8:1:1::/64", "2001:db8:1:2::/64", "2001:db8:1:4::/64"))},
		"foreign":             {isp, isp.issue(t, "router", prefixes("2001:db8:2:1::/64"))},
		"a bit more":          {isp, isp.issue(t, "router", prefixes("2001:db8::/47"))},
		"foreign for an heir": {heir, heir.issue(t, "router", prefixes("2001:db7::/64"))},
		"another signer":      {isp, impostor.issue(t, "router", lan)},
	} {
		out, theirs := openssl(t, "verify", "-x509_strict", "-attime", fmt.Sprint(wall.Unix()), "-CAfile", save(t, "anchor.pem", anchor.cert.Raw),
			"-untrusted", save(t, "between.pem", tt.above.cert.Raw), save(t, "router.pem", tt.router.cert.Raw))
		_, ours := certpath.Verify(der(tt.above, tt.router), strict(anchor.anchors()))
		if (theirs == nil) != (ours == nil) {
			t.Errorf("%s: here %v, openssl %v\n%s", name, ours, theirs, out)
		}
	}
}
