package certpath_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
)

func FuzzClient(f *testing.F) {
	anchor, path := three(f)
	for i, n := range path {
		f.Add(ndp.PathAdvert{All: 3, Component: uint16(2 - i)}.Append(nil, routerAddr, ipv6.AllNodes(), ndp.CertificateOption(n.cert.Raw)), uint8(1))
	}
	f.Add(ndp.PathAdvert{All: 3}.Append(nil, routerAddr, ipv6.AllNodes(), ndp.CertificateOption(path[0].cert.Raw), ndp.CertificateOption(path[1].cert.Raw)), uint8(3))
	f.Add(ndp.PathAdvert{}.Append(nil, routerAddr, ipv6.AllNodes(), x501(anchor)), uint8(0))
	router := hashOf(f, path[2])
	f.Fuzz(func(t *testing.T, msg []byte, cut uint8) {
		if len(msg) < 12 || len(msg) > 65000 {
			return
		}
		msg = bytes.Clone(msg)
		msg[0], msg[1], msg[4], msg[5] = ndp.TypePathAdvert, 0, 0, 0
		ndp.FixChecksum(msg, routerAddr, ipv6.AllNodes())
		c := newClient(t, certpath.ClientConfig{Anchors: anchor.anchors(), MaxOctets: 4096})
		c.Step(start, want([16]byte{1}))
		for i := range 4 {
			for _, e := range c.Step(start.Add(time.Duration(i)*time.Second), heard(packet(t, routerAddr, ipv6.AllNodes(), routerHW, msg))) {
				if e.Kind == certpath.EffectPath && e.OK && e.KeyHash != router {
					t.Fatalf("a path for a key that has none: %+v", e)
				}
			}
			if c.Octets() > 4096 || c.Gatherings() > 8 {
				t.Fatal("without a bound")
			}
			if i == 1 && len(msg) > 12 { // then without some of its octets
				msg = append(msg[:12:12], msg[12+int(cut)%(len(msg)-12):]...)
				ndp.FixChecksum(msg, routerAddr, ipv6.AllNodes())
			}
		}
		c.Step(start.Add(time.Minute), certpath.Input{})
		if !c.Deadline().IsZero() || c.Octets() != 0 {
			t.Fatal("it never ends")
		}
	})
}

func FuzzServer(f *testing.F) {
	anchor := newAnchor(f, "anchor")
	chain := chainOf(f, anchor.issue(f, "router", lan), anchor)
	fqdn := ndp.TrustAnchor{NameType: ndp.NameDNS, Name: []byte("\x02ta\x00")}.Append(nil)
	for _, options := range [][][]byte{{x501(anchor)}, {x501(anchor), fqdn}, {fqdn}, nil} {
		f.Add(solicit(f, hostAddr, ndp.AllComponents, options...).Packet.Payload)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) < 8 || len(msg) > 65000 {
			return
		}
		msg = bytes.Clone(msg)
		msg[0], msg[1] = ndp.TypePathSolicit, 0
		ndp.FixChecksum(msg, hostAddr, ipv6.AllRouters())
		s := newServer(t, certpath.ServerConfig{Chains: []certpath.Chain{chain}})
		for _, a := range adverts(t, s.Step(start, certpath.Input{Kind: certpath.InPacket, Packet: packet(t, hostAddr, ipv6.AllRouters(), hostHW, msg)})) {
			if len(a.certs) > 1 || len(a.certs) == 1 && (a.all != 1 || a.number != 0 || len(a.anchors) == 0) {
				t.Fatalf("%+v", a)
			}
		}
	})
}
