package ndp_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// captured gives what another implementation of secure Neighbour Discovery has sent, all that is not echo.
func captured(t testing.TB) (all []*ipv6.Packet) {
	t.Helper()
	for _, file := range []string{"send-ns-na.pcap", "send-ra-cps-cpa.pcap"} {
		frames, err := pcap.ReadFile("../testdata/captures/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			var p ipv6.Packet
			if problem := ipv6.Parse(f.IPv6(), &p); problem != ipv6.OK {
				t.Fatalf("%s: %v", file, problem)
			}
			if p.Payload[0] >= ndp.TypeRouterSolicit {
				all = append(all, &p)
			}
		}
	}
	return all
}

// Each captured message is valid, and its options can be read: those of RFC 3971 section 5, and of delegation discovery.
func TestCaptures(t *testing.T) {
	seen := map[uint8]int{}
	var subject []byte // that the solicitation asks for
	for i, p := range captured(t) {
		typ := p.Payload[0]
		seen[typ]++
		if reason := parse(p, typ); reason != ndp.ReasonNone {
			t.Errorf("message %d, type %d: %v", i, typ, reason)
			continue
		}
		switch typ {
		case ndp.TypePathSolicit:
			m, _ := ndp.ParsePathSolicit(p)
			a, err := ndp.ParseTrustAnchor(find(t, m.Options, ndp.OptTrustAnchor))
			if err != nil || a.NameType != ndp.NameX501 || m.Identifier == 0 || m.Component != ndp.AllComponents {
				t.Errorf("path solicitation %+v: %+v, %v", m, a, err)
			}
			subject = a.Name
		case ndp.TypePathAdvert:
			m, _ := ndp.ParsePathAdvert(p)
			der, err := ndp.ParseCertificate(find(t, m.Options, ndp.OptCertificate))
			if err != nil || m.Identifier == 0 || m.All != 1 || m.Component != 0 {
				t.Errorf("path advertisement %+v: %v", m, err)
			}
			certificate, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(certificate.RawIssuer, subject) {
				t.Errorf("the certificate is of %x, asked for was %x", certificate.RawIssuer, subject)
			}
		default:
			checkSecured(t, p)
		}
	}
	for typ, want := range map[uint8]int{133: 1, 134: 14, 135: 5, 136: 3, 148: 1, 149: 1} {
		if seen[typ] != want {
			t.Errorf("type %d: %d messages, want %d", typ, seen[typ], want)
		}
	}
}

// checkSecured reads the options that secure p.
func checkSecured(t *testing.T, p *ipv6.Packet) {
	t.Helper()
	fixed := map[uint8]int{133: 8, 134: 16, 135: 24, 136: 24}[p.Payload[0]]
	options := ndp.OptionsAt(p.Payload, fixed).UpToSignature()
	at, err := ndp.ParseTimestamp(find(t, options, ndp.OptTimestamp))
	if day := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC); err != nil || at.Before(day) || at.After(day.AddDate(0, 0, 1)) {
		t.Errorf("type %d: time %v, %v", p.Payload[0], at, err)
	}
	s, err := ndp.ParseSignature(find(t, options, ndp.OptSignature))
	if err != nil || len(s.Octets) != 132 { // of 1024 bits, and padding
		t.Errorf("type %d: signature of %d octets, %v", p.Payload[0], len(s.Octets), err)
	}
	key := find(t, options, ndp.OptCGA).Octets[29:]
	_, n, err := ndp.ParseSPKI(key)
	if err != nil {
		t.Fatalf("type %d: %v", p.Payload[0], err)
	}
	if hash := sha1.Sum(key[:n]); s.KeyHash != [16]byte(hash[:16]) {
		t.Errorf("type %d: key hash %x, want %x", p.Payload[0], s.KeyHash, hash)
	}
}
