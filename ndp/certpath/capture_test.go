package certpath_test

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
	"github.com/roamkey/roamkey/ndp/cga"
)

const captures = "../../testdata/captures/"

// captured gives the packets of one ICMPv6 type in a capture of another implementation.
func captured(t testing.TB, typ uint8) (packets []*ipv6.Packet, at []time.Time) {
	t.Helper()
	frames, err := pcap.ReadFile(captures + "send-ra-cps-cpa.pcap")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		var p ipv6.Packet
		if raw := f.IPv6(); raw == nil || ipv6.Parse(raw, &p) != ipv6.OK || p.Proto != ipv6.ProtoICMPv6 || p.Payload[0] != typ {
			continue
		}
		copy(p.LinkSource[:], f.Octets[6:12])
		packets, at = append(packets, &p), append(at, f.At)
	}
	if packets == nil {
		t.Fatalf("no message of type %d in the capture", typ)
	}
	return packets, at
}

func capturedAnchor(t testing.TB) []certpath.Anchor {
	t.Helper()
	text, err := os.ReadFile(captures + "send-trust-anchor.pem")
	if err != nil {
		t.Fatal(err)
	}
	anchors, err := certpath.LoadAnchors(text)
	if err != nil {
		t.Fatal(err)
	}
	return anchors
}

// capturedCertificate is what an independent router sent, and when.
func capturedCertificate(t testing.TB) (der []byte, at time.Time) {
	t.Helper()
	packets, times := captured(t, ndp.TypePathAdvert)
	m, reason := ndp.ParsePathAdvert(packets[0])
	if reason != ndp.ReasonNone || m.All != 1 || m.Component != 0 {
		t.Fatalf("%+v, %v", m, reason)
	}
	for o, ok := m.Options.Next(); ok; o, ok = m.Options.Next() {
		if o.Type == ndp.OptCertificate {
			cert, err := ndp.ParseCertificate(o)
			if err != nil {
				t.Fatal(err)
			}
			return bytes.Clone(cert), times[0]
		}
	}
	t.Fatal("no certificate in the advertisement")
	return nil, time.Time{}
}

// The path that another implementation sent verifies under the lax profile at the time of the capture, and not before its
// certificates were made, not under the strict one, not from another anchor.
func TestCapturedPath(t *testing.T) {
	cert, at := capturedCertificate(t)
	anchors := capturedAnchor(t)
	o := certpath.Options{Anchors: anchors, Profile: certpath.RFC3971, At: at}
	path, err := certpath.Verify([][]byte{cert}, o)
	if err != nil || !samePrefixes(path.Prefixes, "2001:db8:1::/48") {
		t.Fatalf("%v, %v", path.Prefixes, err)
	}
	// The router advertisements of the capture name the certified key.
	adverts, _ := captured(t, ndp.TypeRouterAdvert)
	ra, reason := ndp.ParseRouterAdvert(adverts[0])
	if reason != ndp.ReasonNone {
		t.Fatal(reason)
	}
	named := false
	options := ra.Options
	for op, ok := options.Next(); ok; op, ok = options.Next() {
		if op.Type == ndp.OptSignature {
			s, err := ndp.ParseSignature(op)
			named = err == nil && s.KeyHash == path.KeyHash
		}
	}
	if !named {
		t.Error("the advertisements are signed with another key than the certified one")
	}
	for _, tt := range []struct {
		name   string
		change func(o *certpath.Options)
		want   certpath.Reason
	}{
		{"strict profile: SHA-1", func(o *certpath.Options) { o.Profile = certpath.RFC6494 }, certpath.ReasonAlgorithm},
		{"before it was made", func(o *certpath.Options) { o.At = at.AddDate(0, 0, -1) }, certpath.ReasonNotYet},
		{"eleven years later", func(o *certpath.Options) { o.At = at.AddDate(11, 0, 0) }, certpath.ReasonExpired},
		{"another anchor", func(o *certpath.Options) { o.Anchors = newAnchor(t, "anchor").anchors() }, certpath.ReasonAnchor},
		{"no anchor", func(o *certpath.Options) { o.Anchors = nil }, certpath.ReasonAnchor},
		{"an anchor of that name", func(o *certpath.Options) { o.Anchors = newAnchor(t, "ta1").anchors() }, certpath.ReasonAnchor},
		{"2048 bits wanted", func(o *certpath.Options) { o.MinBits = 2048 }, certpath.ReasonKeySize},
	} {
		changed := o
		tt.change(&changed)
		if _, err := certpath.Verify([][]byte{cert}, changed); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// One changed octet in each field of the captured certificate makes it fail: in its structure, its issuer, or else under the
// signature, which comes before all that the certificate says of itself.
func TestCapturedCertificateChanged(t *testing.T) {
	cert, at := capturedCertificate(t)
	o := certpath.Options{Anchors: capturedAnchor(t), Profile: certpath.RFC3971, At: at}
	parsed := read(t, cert)
	for _, tt := range []struct {
		name  string
		field []byte // its octets; the last one is changed
		want  certpath.Reason
	}{
		{"serial number", parsed.SerialNumber.Bytes(), certpath.ReasonSignature},
		{"issuer", parsed.RawIssuer, certpath.ReasonAnchor},
		{"subject", parsed.RawSubject, certpath.ReasonSignature},
		{"not before", []byte("261120143040Z")[:12], certpath.ReasonSignature},
		{"not after", []byte("361117143040Z")[:12], certpath.ReasonSignature},
		{"public key", parsed.RawSubjectPublicKeyInfo[:100], certpath.ReasonSignature},
		{"exponent", parsed.RawSubjectPublicKeyInfo, certpath.ReasonSignature},
		{"addresses", unhex(t, "0307 00 20010db80001"), certpath.ReasonSignature},
		{"subject key identifier", parsed.SubjectKeyId, certpath.ReasonSignature},
		{"authority key identifier", parsed.AuthorityKeyId, certpath.ReasonKeyID},
		{"signature", parsed.Signature, certpath.ReasonSignature},
		{"tag of the whole", cert[:1], certpath.ReasonParse},
		{"length", cert[:4], certpath.ReasonParse},
		{"version", unhex(t, "a003020102"), certpath.ReasonParse},
		{"signature algorithm", unhex(t, "06092a864886f70d010105"), certpath.ReasonParse}, // that of the inside: the two differ then
	} {
		i := bytes.Index(cert, tt.field)
		if i < 0 {
			t.Fatalf("%s is not in the certificate", tt.name)
		}
		changed := bytes.Clone(cert)
		changed[i+len(tt.field)-1] ^= 1
		if _, err := certpath.Verify([][]byte{changed}, o); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	// And no octet at all can be changed.
	for i := range cert {
		changed := bytes.Clone(cert)
		changed[i] ^= 0x10
		if _, err := certpath.Verify([][]byte{changed}, o); err == nil {
			t.Errorf("octet %d does not count", i)
		}
	}
}

// The anchor is named as the captured solicitation names it.
func TestCapturedAnchorLoads(t *testing.T) {
	anchors := capturedAnchor(t)
	if len(anchors) != 1 || anchors[0].Certificate.Subject.String() != "CN=ta1" {
		t.Fatalf("%d anchors", len(anchors))
	}
	solicits, _ := captured(t, ndp.TypePathSolicit)
	m, _ := ndp.ParsePathSolicit(solicits[0])
	o, _ := m.Options.Next()
	if !bytes.Equal(o.Octets, anchors[0].Option()) {
		t.Errorf("the captured solicitation names the anchor %x, here it is %x", o.Octets, anchors[0].Option())
	}
}

// The path of the capture, in the very message in which an independent router sent it, at its time.
func TestClientTakesCapturedAdvertisement(t *testing.T) {
	solicits, _ := captured(t, ndp.TypePathSolicit)
	answers, times := captured(t, ndp.TypePathAdvert)
	solicit, _ := ndp.ParsePathSolicit(solicits[0])
	cert, _ := capturedCertificate(t)
	hash := cga.KeyHash(read(t, cert).RawSubjectPublicKeyInfo)
	c, err := certpath.NewClient(certpath.ClientConfig{
		LinkLocal: solicits[0].Src, Anchors: capturedAnchor(t), Profile: certpath.RFC3971,
		Rand: bytes.NewReader([]byte{byte(solicit.Identifier >> 8), byte(solicit.Identifier)}),
	})
	if err != nil {
		t.Fatal(err)
	}
	effects := c.Step(start, certpath.Input{
		Kind: certpath.InWanted, KeyHash: hash, Router: answers[0].Src, RouterLink: answers[0].LinkSource, Wall: times[0],
	})
	// Our solicitation is theirs, octet for octet.
	var p ipv6.Packet
	if len(effects) != 1 || ipv6.Parse(effects[0].Packet, &p) != ipv6.OK || p.Dst != solicits[0].Dst || !bytes.Equal(p.Payload, solicits[0].Payload) {
		t.Fatalf("got  %x\nwant %x", p.Payload, solicits[0].Payload)
	}
	_, paths := split(t, c.Step(start, certpath.Input{Kind: certpath.InPacket, Packet: answers[0], Wall: times[0]}))
	if len(paths) != 1 || !paths[0].OK || paths[0].KeyHash != hash || !samePrefixes(paths[0].Prefixes, "2001:db8:1::/48") {
		t.Fatalf("%+v", paths)
	}
	// A day before its certificates were made the very same message gives nothing.
	c, _ = certpath.NewClient(certpath.ClientConfig{
		LinkLocal: solicits[0].Src, Anchors: capturedAnchor(t), Profile: certpath.RFC3971,
		Rand: bytes.NewReader([]byte{byte(solicit.Identifier >> 8), byte(solicit.Identifier)}),
	})
	early := times[0].AddDate(0, 0, -1)
	c.Step(start, certpath.Input{Kind: certpath.InWanted, KeyHash: hash, Wall: early})
	if effects := c.Step(start, certpath.Input{Kind: certpath.InPacket, Packet: answers[0], Wall: early}); effects != nil || counter(c, "certificate_not_yet_valid") != 1 {
		t.Errorf("%+v", effects)
	}
}
