package send_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/send"
)

// A source that floods gets a quarter of the places; others get theirs. All together get no more than there are.
func TestWaitingIsShared(t *testing.T) {
	p := newPair(t, func(cfg *send.Config) { cfg.MaxPending = 16 })
	p.b.hold = true
	greedy := ipv6.LinkAddr{2, 0, 0, 0, 1, 1}
	for range 100 {
		p.b.hear(greedy, p.a.say(solicit(p.a.local, p.b.local)))
	}
	if waits, _ := p.b.end.Waiting(); waits != 4 || p.b.counters()["dropped_source_limit"] != 96 {
		t.Fatalf("%d wait; %s", waits, p.b.nonzero())
	}
	p.b.hear(stranger, p.a.say(solicit(p.a.local, p.b.local)))
	if waits, _ := p.b.end.Waiting(); waits != 5 {
		t.Fatalf("%d wait", waits)
	}
	for i := range 100 {
		p.b.hear(ipv6.LinkAddr{2, 0, 0, 0, 2, byte(i)}, p.a.say(solicit(p.a.local, p.b.local)))
	}
	if waits, _ := p.b.end.Waiting(); waits != 16 || p.b.counters()["dropped_limit"] != 89 || len(p.b.jobs) != 16 {
		t.Fatalf("%d wait; %s", waits, p.b.nonzero())
	}
	p.b.work()
	if waits, _ := p.b.end.Waiting(); waits != 0 || len(p.b.delivered) != 16 {
		t.Errorf("%d wait, %d delivered", waits, len(p.b.delivered))
	}
	if !p.b.end.Deadline().IsZero() {
		t.Error("a deadline for nothing")
	}
}

// A job that is lost or never answered frees its place; an answer to it later changes nothing.
func TestJobsThatAreLost(t *testing.T) {
	p := newPair(t)
	p.b.hold = true
	p.b.hear(stranger, p.a.say(solicit(p.a.local, p.b.local)))
	p.b.hear(stranger, p.a.say(solicit(p.a.local, p.b.local)))
	lost, late := p.b.jobs[0], p.b.jobs[1]
	p.b.step(send.Input{Kind: send.InLost, Job: lost.Job})
	p.advance(11 * time.Second)
	if at := p.b.end.Deadline(); at.IsZero() || at.After(p.now) {
		t.Errorf("deadline %v", at)
	}
	p.b.step(send.Input{Kind: send.InTick})
	c := p.b.counters()
	if waits, _ := p.b.end.Waiting(); waits != 0 || c["dropped_queue_full"] != 1 || c["dropped_too_late"] != 1 {
		t.Errorf("%d wait; %s", waits, p.b.nonzero())
	}
	p.b.work()
	p.b.step(send.Input{Kind: send.InVerified, Job: 0, OK: true})
	p.b.step(send.Input{Kind: send.InVerified, Job: late.Job + 1<<17, OK: true})
	p.b.step(send.Input{Kind: send.InLost, Job: 1 << 60})
	p.b.step(send.Input{Kind: send.InSigned, Job: lost.Job})
	if len(p.b.delivered) != 0 || p.b.end.Peers() != 0 || p.b.counters()["job_unknown"] != 6 {
		t.Errorf("delivered %d; %s", len(p.b.delivered), p.b.nonzero())
	}
}

// The same for own messages: what strangers ask for is bounded, each to a quarter, and leaves room for what we say of
// ourselves.
func TestSigningIsShared(t *testing.T) {
	p := newPair(t, func(cfg *send.Config) { cfg.MaxPending = 16 })
	p.a.hold = true
	ask := func(source ipv6.LinkAddr) {
		p.a.step(send.Input{Kind: send.InSend, Octets: advert(p.a.local, p.b.local), Answers: make([]byte, 6), Source: source})
	}
	for range 10 {
		ask(stranger)
	}
	if _, own := p.a.end.Waiting(); own != 4 || p.a.counters()["not_sent_source_limit"] != 6 {
		t.Fatalf("%d wait; %s", own, p.a.nonzero())
	}
	for i := range 50 {
		ask(ipv6.LinkAddr{2, 0, 0, 0, 3, byte(i)})
	}
	if _, own := p.a.end.Waiting(); own != 12 || p.a.counters()["not_sent_limit"] != 42 {
		t.Fatalf("%d wait; %s", own, p.a.nonzero())
	}
	for range 5 {
		ask(ipv6.LinkAddr{}) // ourselves
	}
	if _, own := p.a.end.Waiting(); own != 16 {
		t.Fatalf("%d wait; %s", own, p.a.nonzero())
	}
	jobs := p.a.jobs
	p.a.step(send.Input{Kind: send.InLost, Job: jobs[0].Job})
	p.a.step(send.Input{Kind: send.InSigned, Job: jobs[1].Job, Signature: make([]byte, 256)})
	p.advance(10 * time.Second)
	p.a.step(send.Input{Kind: send.InTick})
	c := p.a.counters()
	if _, own := p.a.end.Waiting(); own != 0 || c["not_sent_queue_full"] != 1 || c["not_sent_signature_length"] != 1 ||
		c["not_sent_too_late"] != 14 || len(p.a.sent) != 0 {
		t.Errorf("%d wait; %s", own, p.a.nonzero())
	}
	if !p.a.end.Deadline().IsZero() {
		t.Error("a deadline for nothing")
	}
}

// A solicitation that is not sent expects no answer.
func TestLostSolicitation(t *testing.T) {
	p := newPair(t)
	p.a.hold = true
	p.a.step(send.Input{Kind: send.InSend, Octets: solicit(p.a.local, p.b.local), Cookie: 77})
	job := p.a.jobs[0]
	p.a.jobs, p.a.hold = nil, false
	// Nobody else can know the nonce: the test takes it from the generator, whose seed it knows.
	probe := p.lab.node(vectorKey(), func(cfg *send.Config) { cfg.Rand = p.lab.sameRand(1) })
	probe.say(solicit(p.a.local, p.b.local), func(in *send.Input) { in.Cookie = 78 })
	nonce := probe.sent[0].Nonce
	if probe.sent[0].Cookie != 78 {
		t.Errorf("cookie %d", probe.sent[0].Cookie)
	}
	answer := p.b.say(advert(p.b.local, p.a.local), answering(nonce))
	if d := p.a.secured(answer); !d.security.Reply {
		t.Fatalf("%+v", d.security)
	}
	p.a.step(send.Input{Kind: send.InLost, Job: job.Job})
	p.a.drops(answer, "dropped_nonce")
}

// crowd makes the n-th of many addresses of one key, as an attacker can at no cost.
func crowd(k *rsaKey, n int) cga.Params {
	params := k.in("fe80::/64")
	binary.BigEndian.PutUint32(params.Modifier[:], uint32(n))
	return params
}

// A flood of well-signed messages from ever new addresses fills the timestamp cache, not more; who is known stays known,
// and is let in again by the silence of others only.
func TestPeersAreBounded(t *testing.T) {
	p := newPair(t, secured, func(cfg *send.Config) { cfg.MaxPeers = 20 })
	first := p.a.say(advert(p.a.local, ipv6.AllNodes()))
	p.b.secured(first)
	from := func(i int) []byte {
		params := crowd(strangeKey(), i)
		na := advert(params.Address(0), ipv6.AllNodes())
		return strangeKey().seal(t, with(t, na, cga.Option(params), stampOption(p.lab)))
	}
	for i := range 50 {
		if d := p.b.secured(from(i)); !d.security.Fresh() {
			t.Fatalf("%+v", d.security)
		}
	}
	if p.b.end.Peers() != 20 || p.b.counters()["peers_full"] != 31 {
		t.Errorf("%d peers; %s", p.b.end.Peers(), p.b.nonzero())
	}
	p.advance(5 * time.Second)
	p.b.drops(first, "dropped_replayed") // still known
	p.advance(2*300*time.Second - 5*time.Second)
	p.b.secured(p.a.say(advert(p.a.local, ipv6.AllNodes())))
	p.advance(time.Second)
	p.b.secured(from(1000)) // in the place of one that was silent for 600 s
	if p.b.end.Peers() != 20 || p.b.counters()["peers_full"] != 31 {
		t.Errorf("%d peers; %s", p.b.end.Peers(), p.b.nonzero())
	}
	// A smaller cache keeps those that were heard last.
	cfg := p.b.cfg
	cfg.MaxPeers = 2
	if err := p.b.end.Reconfigure(p.now, cfg); err != nil {
		t.Fatal(err)
	}
	last := from(1000)
	if d := p.b.secured(last); p.b.end.Peers() != 2 || !d.security.Repeat {
		t.Errorf("%d peers, %+v", p.b.end.Peers(), d.security)
	}
}

// Nothing that is dropped costs memory: the reasons before RSA, in secured-only mode.
func TestDropsDoNotAllocate(t *testing.T) {
	p := newPair(t, secured)
	packets := failing(t, p)
	delete(packets, send.ReasonSignature) // that one has to wait
	good := p.a.say(solicit(p.a.local, p.b.local))
	packets[send.ReasonNoTimestamp] = p.a.key.lacking(t, good, ndp.OptTimestamp)
	packets[send.ReasonNoNonce] = p.a.key.lacking(t, good, ndp.OptNonce)
	packets[send.ReasonNonce] = p.a.say(advert(p.a.local, p.b.local), answering([]byte("abcdef")))
	packets[send.ReasonTimestamp] = p.a.key.at(t, advert(p.a.local, p.b.local), p.wall.Add(-time.Hour), nil)
	packets[send.ReasonKeyHash] = strangeKey().seal(t, without(t, good, ndp.OptSignature))
	packets[send.ReasonLooped] = p.b.say(solicit(unspecified, p.b.local))
	known := p.a.say(advert(p.a.global, ipv6.AllNodes()))
	p.b.secured(known)
	packets[send.ReasonReplayed] = known
	checksum := bytes.Clone(good)
	checksum[60] ^= 1
	packets[send.ReasonNone] = checksum
	p.advance(4 * time.Second)
	p.b.hold = true
	for range 16 { // so that its source is busy
		p.b.hear(stranger, p.a.say(routerSolicit(p.a.global)))
	}
	packets[send.ReasonBusy] = p.a.say(routerSolicit(p.a.global))
	for why, octets := range packets {
		packet := parse(t, octets, stranger)
		in := send.Input{Kind: send.InReceived, Packet: packet, Wall: p.wall}
		if n := testing.AllocsPerRun(20, func() {
			if effects := p.b.end.Step(p.now, in); effects != nil {
				t.Fatalf("%v: %+v", why, effects)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations", why, n)
		}
		if why != send.ReasonNone && p.b.counters()["dropped_"+why.String()] == 0 {
			t.Errorf("%v: not dropped for that: %s", why, p.b.nonzero())
		}
	}
}

// Signing costs one allocation: the packet.
func TestSigningAllocatesThePacketOnly(t *testing.T) {
	p := newPair(t)
	octets, signature := advert(p.a.local, p.b.local), make([]byte, 128)
	answers := make([]byte, 6)
	n := testing.AllocsPerRun(100, func() {
		effects := p.a.end.Step(p.now, send.Input{Kind: send.InSend, Octets: octets, Answers: answers, Wall: p.wall})
		job := effects[0].Job
		p.a.end.Recycle(effects)
		effects = p.a.end.Step(p.now, send.Input{Kind: send.InSigned, Job: job, Signature: signature})
		if effects[0].Kind != send.EffectSend {
			t.Fatal(effects)
		}
		p.a.end.Recycle(effects)
	})
	if n > 1 {
		t.Errorf("%v allocations for each signed message", n)
	}
}

// Overhead is what signing adds, at most.
func TestOverhead(t *testing.T) {
	p := newPair(t)
	for _, nonce := range [][]byte{nil, make([]byte, 6), make([]byte, 14), make([]byte, 30), make([]byte, 38)} {
		plain := advert(p.a.local, p.b.local)
		msg := p.a.say(plain, answering(nonce))
		added := len(msg) - len(plain)
		most := send.Overhead(len(p.a.key.spki), 128)
		if added > most || len(nonce) == 30 && added != most {
			t.Errorf("nonce of %d: %d octets, at most %d", len(nonce), added, most)
		}
		if len(nonce) == 38 && nonceOf(t, msg) != nil {
			t.Error("a nonce that is too long is copied")
		}
	}
	if got := send.Overhead(294, 256); got != 41*8+16+32+35*8 {
		t.Errorf("RSA-2048: %d", got)
	}
}

// Addresses with collision count 1 and 2, and under any prefix, are ours (RFC 3972 section 4).
func TestOwnAddresses(t *testing.T) {
	p := newPair(t)
	for count := range 3 {
		params := p.a.key.in("2001:db8:5:6::/64")
		params.Collisions = uint8(count)
		msg := p.a.say(advert(params.Address(0), ipv6.AllNodes()))
		if got, err := cga.ParseOption(option(t, msg, ndp.OptCGA)); err != nil || int(got.Collisions) != count {
			t.Errorf("%+v %v", got, err)
		}
		signedBy(t, p.b.secured(msg), p.a.key)
	}
	// With Sec 1 (testdata/vectors.json, cga_sec1).
	v := readVectors(t)
	first := p.lab.node(vectorKey(), func(cfg *send.Config) {
		cfg.Identity.Params.Modifier, cfg.Identity.Sec = [16]byte(v.Sec1.Modifier), 1
	})
	signedBy(t, p.b.secured(first.say(advert(v.Sec1.Address, ipv6.AllNodes()))), vectorKey())
	// More addresses than are remembered.
	for i := range 100 {
		prefix := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 9, byte(i)}), 64)
		p.a.say(advert(p.a.key.params().In(prefix).Address(0), ipv6.AllNodes()))
	}
}

type brokenRand struct{}

func (brokenRand) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

// Without randomness nothing is asked, and that is told.
func TestNoRandomness(t *testing.T) {
	l := newLab(t)
	n := l.node(vectorKey(), func(cfg *send.Config) { cfg.Rand = brokenRand{} })
	n.step(send.Input{Kind: send.InSend, Octets: solicit(n.local, n.global)})
	if len(n.sent) != 0 || n.counters()["not_sent_no_random"] != 1 || len(n.events) != 1 {
		t.Error(n.nonzero())
	}
	n.say(advert(n.local, ipv6.AllNodes()))
}

// What can't be configured is refused, and changes nothing.
func TestConfig(t *testing.T) {
	p := newPair(t)
	for name, change := range map[string]func(*send.Config){
		"no randomness":      func(c *send.Config) { c.Rand = nil },
		"small keys":         func(c *send.Config) { c.MinBits = 512 },
		"large keys":         func(c *send.Config) { c.MaxBits = 8192 },
		"min above max":      func(c *send.Config) { c.MinBits, c.MaxBits = 2048, 1024 },
		"delta":              func(c *send.Config) { c.Delta = 48 * time.Hour },
		"negative delta":     func(c *send.Config) { c.Delta = -1 },
		"fuzz above delta":   func(c *send.Config) { c.Fuzz = time.Hour },
		"drift":              func(c *send.Config) { c.DriftPercent = 100 },
		"pending":            func(c *send.Config) { c.MaxPending = 1 << 20 },
		"negative peers":     func(c *send.Config) { c.MaxPeers = -1 },
		"method":             func(c *send.Config) { c.Methods[0] = 9 },
		"identity":           func(c *send.Config) { c.Identity.Params.PublicKey = []byte{1} },
		"identity, modulus":  func(c *send.Config) { c.Identity.ModulusLen = 256 },
		"identity, sec":      func(c *send.Config) { c.Identity.Sec = 8 },
		"identity, no work":  func(c *send.Config) { c.Identity.Sec = 1 },
		"identity, trailing": func(c *send.Config) { c.Identity.Params.PublicKey = append(bytes.Clone(p.a.key.spki), 0) },
	} {
		cfg := p.a.cfg
		change(&cfg)
		if _, err := send.NewEndpoint(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if err := p.a.end.Reconfigure(p.now, cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	p.b.secured(p.a.say(solicit(p.a.local, p.b.local)))
	cfg := p.a.cfg
	cfg.Identity.Params.PublicKey = []byte{1}
	if _, err := send.NewEndpoint(cfg); !errors.Is(err, send.ErrIdentity) {
		t.Errorf("%v", err)
	}
	// Without an identity it listens only.
	deaf := p.lab.node(vectorKey(), secured, func(c *send.Config) { c.Identity = send.Identity{} })
	deaf.secured(p.b.say(solicit(p.b.local, p.a.local)))
	deaf.step(send.Input{Kind: send.InSend, Octets: advert(deaf.local, ipv6.AllNodes())})
	if deaf.counters()["not_sent_no_cga"] != 1 {
		t.Error(deaf.nonzero())
	}
}

// A changed key signs from then on; what waits for the old one is sent as it was begun, or not at all.
func TestKeyChanges(t *testing.T) {
	p := newPair(t, secured)
	p.a.hold = true
	p.a.step(send.Input{Kind: send.InSend, Octets: advert(p.a.local, ipv6.AllNodes())})
	cfg := p.a.cfg
	cfg.Identity.Params = strangeKey().params()
	if err := p.a.end.Reconfigure(p.now, cfg); err != nil {
		t.Fatal(err)
	}
	p.a.work()
	signedBy(t, p.b.secured(p.a.sent[0].Packet), vectorKey())
	p.a.step(send.Input{Kind: send.InSend, Octets: advert(p.a.local, ipv6.AllNodes())})
	if p.a.counters()["not_sent_no_cga"] != 1 {
		t.Error(p.a.nonzero())
	}
	p.a.key = strangeKey()
	signedBy(t, p.b.secured(p.a.say(advert(strangeKey().in("fe80::/64").Address(0), ipv6.AllNodes()))), strangeKey())
}
