package send_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp/send"
)

// Whatever comes in, the endpoint neither fails nor writes to it, keeps its bounds, and calls nothing secured that has a
// signer without asking for RSA.
func FuzzReceived(f *testing.F) {
	v := readVectors(f)
	f.Add(join(v.NS.Src, v.NS.Dst, v.NS.ICMPv6), true, false)
	f.Add(join(v.DAD.Src, v.DAD.Dst, v.DAD.ICMPv6), false, true)
	for _, c := range signedMessages(f) {
		f.Add(c.octets, false, false)
	}
	p := newPair(f)
	f.Add(p.a.say(routerSolicit(unspecified)), true, true)
	f.Add(p.a.say(redirect(p.a.local, p.b.local, p.a.global, p.a.global)), false, false)
	f.Add(p.a.say(proxySolicit(p.a.global, p.b.local)), false, true)
	f.Add(p.a.say(proxyAdvert(p.a.local, p.b.global)), false, false)
	f.Fuzz(func(t *testing.T, octets []byte, only, router bool) {
		l := newLab(t)
		l.wall = time.Unix(1795184972, 0) // the captures'
		n := l.node(otherKey(), func(cfg *send.Config) { cfg.Secured, cfg.Router, cfg.MaxPending = only, router, 8 })
		n.hold = true
		var packet ipv6.Packet
		if ipv6.Parse(recheck(bytes.Clone(octets)), &packet) != ipv6.OK {
			return
		}
		n.hear(stranger, packet.Raw)
		for _, d := range n.delivered {
			if d.security.Secured && (d.security.PublicKey != nil || !packet.Src.IsUnspecified()) {
				t.Fatalf("secured without RSA: %+v", d.security)
			}
			if d.security.Secured != (d.security.Why == send.ReasonNone) {
				t.Fatalf("%+v", d.security)
			}
		}
		jobs := n.jobs
		n.hold, n.jobs = false, nil
		for _, e := range jobs {
			if e.Kind == send.EffectVerify {
				n.step(send.Input{Kind: send.InVerified, Job: e.Job, OK: true})
			}
		}
		for _, path := range n.paths {
			n.step(send.Input{Kind: send.InPath, KeyHash: path.KeyHash, OK: true, PublicKey: vectorKey().spki})
		}
		for _, d := range n.delivered {
			if only && !d.security.Secured && d.packet.Payload[0] != 148 && d.packet.Payload[0] != 149 {
				t.Fatalf("unsecured where that is not allowed: %+v", d.security)
			}
			if len(d.packet.Payload) > 0 && d.packet.Payload[0] != 148 && d.packet.Payload[0] != 149 &&
				ipv6.Checksum(d.packet.Src, d.packet.Dst, ipv6.ProtoICMPv6, d.packet.Payload) != 0 {
				t.Fatal("delivered with a wrong checksum")
			}
		}
		if waits, _ := n.end.Waiting(); waits != 0 {
			t.Fatalf("%d wait still", waits)
		}
	})
}

// Own messages of any form are signed or refused.
func FuzzSend(f *testing.F) {
	p := newPair(f)
	for _, msg := range [][]byte{
		solicit(p.a.local, p.b.local), solicit(unspecified, p.a.global), advert(p.a.local, ipv6.AllNodes()),
		routerSolicit(unspecified), routerAdvert(p.a.local, ipv6.AllNodes()), proxySolicit(p.a.global, p.b.local),
		redirect(p.a.local, p.b.local, p.b.global, p.b.global),
	} {
		f.Add(msg, []byte("abcdef"))
	}
	f.Fuzz(func(t *testing.T, octets, nonce []byte) {
		l := newLab(t)
		a, b := l.node(vectorKey()), l.node(otherKey())
		a.step(send.Input{Kind: send.InSend, Octets: recheck(bytes.Clone(octets)), Answers: nonce})
		for _, e := range a.sent {
			if _, own := a.end.Waiting(); own != 0 {
				t.Fatal("it waits still")
			}
			if a.counters()["sent_signed"] == 1 {
				b.hear(stranger, e.Packet)
				if c := b.counters(); c["secured"] != 1 && c["dropped_nonce"] != 1 {
					t.Fatalf("what was signed is not taken: %s", b.nonzero())
				}
			}
		}
	})
}
