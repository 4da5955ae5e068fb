package rig_test

import (
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/send"
)

var accessRouter = rig.Router{
	Addr: netip.MustParseAddr("2001:db8:1::1"), Local: netip.MustParseAddr("fe80::1"), Hardware: ipv6.LinkAddr{2, 0, 0, 0, 0, 1},
}

// What a node says passes all that a router tests; what it forges passes all but RSA, and so costs the router as much.
func TestSecureNodeIsVerified(t *testing.T) {
	keys, err := rig.NewKeyPairs(1024)
	if err != nil {
		t.Fatal(err)
	}
	point := ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 2}
	for i, test := range []struct {
		name  string
		say   func(*rig.SecureNode) ([]byte, error)
		right bool
	}{
		{"solicitation", (*rig.SecureNode).Solicit, true},
		{"forged solicitation", (*rig.SecureNode).ForgedSolicit, false},
		{"RtSolPr", func(m *rig.SecureNode) ([]byte, error) { return m.ProxySolicit(point) }, true},
		{"forged RtSolPr", func(m *rig.SecureNode) ([]byte, error) { return m.ForgedProxySolicit(point) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := rig.NewSecureNode(i, accessRouter, keys)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := test.say(m)
			if err != nil {
				t.Fatal(err)
			}
			var p ipv6.Packet
			if problem := ipv6.Parse(raw, &p); problem != ipv6.OK {
				t.Fatal(problem)
			}
			p.LinkSource = m.Hardware
			router, err := send.NewEndpoint(send.Config{Router: true, Secured: true, Rand: rand.Reader})
			if err != nil {
				t.Fatal(err)
			}
			rsa := engine.NewSoftware(nil, nil, engine.PKCS1v15, rand.Reader)
			asked, secured := false, false
			for _, e := range router.Step(time.Now(), send.Input{Kind: send.InReceived, Packet: &p, Wall: time.Now()}) {
				if e.Kind != send.EffectVerify {
					continue
				}
				asked = true
				ok := rsa.Verify(e.PublicKey, e.Digest, e.Signature)
				for _, e := range router.Step(time.Now(), send.Input{Kind: send.InVerified, Job: e.Job, OK: ok}) {
					secured = secured || e.Kind == send.EffectDeliver && e.Security.Fresh()
				}
			}
			if !asked || secured != test.right {
				t.Errorf("RSA was asked: %v; the message was taken as secured: %v", asked, secured)
			}
			if p.Payload[0] != ndp.TypeFast {
				return
			}
			if s, reason := ndp.ParseProxySolicit(&p); reason != ndp.ReasonNone || !s.HasKeyRequest || s.Points.At(0) != point {
				t.Errorf("RtSolPr %+v, %v", s, reason)
			}
		})
	}
}
