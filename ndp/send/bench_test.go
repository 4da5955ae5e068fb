package send_test

import (
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp/send"
)

// What an endpoint itself costs for each signed answer, RSA apart.
func BenchmarkSend(b *testing.B) {
	p := newPair(b)
	octets, answers, signature := advert(p.a.local, p.b.local), make([]byte, 6), make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		effects := p.a.end.Step(p.now, send.Input{Kind: send.InSend, Octets: octets, Answers: answers, Wall: p.wall})
		job := effects[0].Job
		p.a.end.Recycle(effects)
		p.a.end.Recycle(p.a.end.Step(p.now, send.Input{Kind: send.InSigned, Job: job, Signature: signature}))
	}
}

// What it costs for each signed message that is heard, RSA apart.
func BenchmarkReceive(b *testing.B) {
	p := newPair(b)
	packet := parse(b, p.a.say(advert(p.a.local, ipv6.AllNodes())), stranger)
	b.ReportAllocs()
	for b.Loop() {
		effects := p.b.end.Step(p.now, send.Input{Kind: send.InReceived, Packet: packet, Wall: p.wall})
		job := effects[0].Job
		p.b.end.Recycle(effects)
		p.b.end.Recycle(p.b.end.Step(p.now, send.Input{Kind: send.InVerified, Job: job}))
	}
}

// What it costs for each that is forged, up to the test that is the dearest before RSA: the address against the key.
func BenchmarkDrop(b *testing.B) {
	p := newPair(b, secured)
	msg := p.a.say(advert(p.a.local, ipv6.AllNodes()))
	msg[ipv6.HeaderLen+24+4] ^= 1 // of the CGA modifier
	packet := parse(b, recheck(msg), stranger)
	b.ReportAllocs()
	for b.Loop() {
		p.b.end.Step(p.now, send.Input{Kind: send.InReceived, Packet: packet, Wall: p.wall})
	}
}
