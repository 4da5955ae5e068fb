package handoverkey

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// TestRouterGivesAKey: HK-AR-5 (random, of the algorithm's strength: HK-resolution-b), HK-AR-6 (encrypted under the request's key), HK-AR-7
// (lifetime), HK-AR-12 (stored by CGA with AT and lifetime), HK-AR-15 (found by the home address).
func TestRouterGivesAKey(t *testing.T) {
	for _, c := range []struct {
		at  uint8
		len int
		mac mobility.FastMAC
	}{{0, 20, mobility.HMACSHA1}, {1, 32, mobility.HMACSHA256}} {
		b := newBench(t, func(c *RouterConfig) { c.Lifetime = time.Hour })
		encrypt := one(b, b.ask(home(1), c.at, nil), EffectEncrypt)
		if len(encrypt.Plain) != c.len || !bytes.Equal(encrypt.PublicKey, spki(t, 2048, 5)) || encrypt.Source != station {
			t.Errorf("AT %d: encrypts %d octets for %v", c.at, len(encrypt.Plain), encrypt.Source)
		}
		if _, _, ok := b.router.HandoverKey(home(1)); ok {
			t.Error("a key counts before the node can have it")
		}
		b.now = b.now.Add(time.Second)
		effects := b.step(Input{Kind: InEncrypted, Job: encrypt.Job, Octets: bytes.Repeat([]byte{7}, 256)})
		if effects[0].Kind != EffectSave || effects[1].Kind != EffectGrant {
			t.Error("the answer leaves before the key is remembered")
		}
		r, err := ndp.ParseKeyReply(option(one(t, effects, EffectGrant).Option))
		if err != nil || r.AT != c.at || r.Lifetime != 3599 || !bytes.Equal(r.EncryptedKey, bytes.Repeat([]byte{7}, 256)) {
			t.Errorf("AT %d: %+v %v", c.at, r, err)
		}
		key, mac, ok := b.router.HandoverKey(home(1))
		if !ok || mac != c.mac || !bytes.Equal(key, encrypt.Plain) {
			t.Errorf("AT %d: found %v, algorithm %d", c.at, ok, mac)
		}
		record := one(t, effects, EffectSave).Record
		if record.Home != home(1) || record.AT != c.at || !record.Expires.Equal(start.Add(time.Hour)) || record.KeyLen != c.len || !bytes.Equal(record.Key[:c.len], key) {
			t.Errorf("AT %d: record %v", c.at, record)
		}
		if _, _, ok := b.router.HandoverKey(home(2)); ok {
			t.Error("another address has a key")
		}
	}
}

// TestRouterKeysAreUnrelated: HK-AR-5, HK-resolution-h: one key for each CGA.
func TestRouterKeysAreUnrelated(t *testing.T) {
	b := newBench(t, nil)
	first, _ := b.grant(home(1), 1)
	second, _ := b.grant(home(2), 1)
	if bytes.Equal(first, second) {
		t.Error("two nodes have one key")
	}
}

// TestRouterGivesTheSameKeyAgain: HK-AR-4, HK-AR-19 and HK-resolution-i, with what is left of its lifetime (HK-AR-7).
func TestRouterGivesTheSameKeyAgain(t *testing.T) {
	b := newBench(t, func(c *RouterConfig) { c.Lifetime = time.Hour })
	first, _ := b.grant(home(1), 1)
	b.now = b.now.Add(20 * time.Minute)
	encrypt := one(b, b.ask(home(1), 1, func(in *Input) {
		in.Request = option(ndp.KeyRequest{AT: 1, PublicKey: spki(t, 2048, 9)}.Append(nil))
	}), EffectEncrypt)
	if !bytes.Equal(encrypt.Plain, first) || !bytes.Equal(encrypt.PublicKey, spki(t, 2048, 9)) {
		t.Error("another encryption key gives another handover key")
	}
	effects := b.step(Input{Kind: InEncrypted, Job: encrypt.Job, Octets: make([]byte, 256)})
	r, err := ndp.ParseKeyReply(option(one(t, effects, EffectGrant).Option))
	if err != nil || r.Lifetime != 2400 || has(effects, EffectSave) {
		t.Errorf("lifetime %d, %v", r.Lifetime, err)
	}
	if n := b.counter("keys_given_again"); n != 1 {
		t.Errorf("keys_given_again %d", n)
	}
	// One whose end is near is of no use.
	b.now = start.Add(time.Hour - time.Second)
	if next, _ := b.grant(home(1), 1); bytes.Equal(next, first) {
		t.Error("a key that ends in a second is given")
	}
}

// TestRouterOneKeyForRequestsAtOnce: a solicitation that was repeated while the first was worked on.
func TestRouterOneKeyForRequestsAtOnce(t *testing.T) {
	b := newBench(t, nil)
	one1 := one(b, b.ask(home(1), 1, nil), EffectEncrypt)
	one2 := one(b, b.ask(home(1), 1, nil), EffectEncrypt)
	if !bytes.Equal(one1.Plain, one2.Plain) {
		t.Error("two keys for one node")
	}
	b.step(Input{Kind: InEncrypted, Job: one2.Job, Octets: make([]byte, 256)})
	b.step(Input{Kind: InEncrypted, Job: one1.Job, Octets: make([]byte, 256)})
	if b.router.Len() != 1 {
		t.Errorf("%d keys", b.router.Len())
	}
}

// TestRouterChoosesTheAlgorithm: HK-AR-8 and HK-resolution-a: the node's preference, else a stronger one, never a weaker one.
func TestRouterChoosesTheAlgorithm(t *testing.T) {
	for _, c := range []struct {
		offered []uint8
		asked   uint8
		want    int // -1: none
	}{
		{nil, 0, 0}, {nil, 1, 1}, {[]uint8{0}, 0, 0}, {[]uint8{0}, 1, -1}, {[]uint8{1}, 0, 1}, {[]uint8{1}, 1, 1},
		{nil, 2, 1}, {nil, 15, 1}, {[]uint8{0}, 7, 0},
	} {
		b := newBench(t, func(rc *RouterConfig) { rc.Algorithms = c.offered })
		effects := b.ask(home(1), c.asked, nil)
		if c.want < 0 {
			b.refused("request_algorithm_too_strong", home(1), nil)
			continue
		}
		if e := one(t, effects, EffectEncrypt); len(e.Plain) != KeyLen(uint8(c.want)) {
			t.Errorf("offered %v, asked for %d: a key of %d octets", c.offered, c.asked, len(e.Plain))
		}
	}
}

// TestRouterChangesTheAlgorithm: HK-resolution-j. A stored key as strong as what is asked for stays; a stronger request makes a
// new key, which replaces the old one only when the answer leaves.
func TestRouterChangesTheAlgorithm(t *testing.T) {
	b := newBench(t, nil)
	strong, _ := b.grant(home(1), 1)
	if again, r := b.grant(home(1), 0); !bytes.Equal(again, strong) || r.AT != 1 {
		t.Error("a weaker request changed the key")
	}
	b = newBench(t, nil)
	weak, _ := b.grant(home(1), 0)
	encrypt := one(b, b.ask(home(1), 1, nil), EffectEncrypt)
	if now, _, _ := b.router.HandoverKey(home(1)); !bytes.Equal(now, weak) {
		t.Error("the old key ended before the new one was given")
	}
	b.step(Input{Kind: InEncrypted, Job: encrypt.Job, Octets: make([]byte, 256)})
	if now, mac, _ := b.router.HandoverKey(home(1)); !bytes.Equal(now, encrypt.Plain) || mac != mobility.HMACSHA256 {
		t.Error("the new key does not count")
	}
}

// TestRouterRefuses: HK-AR-1, HK-AR-2, HK-AR-3, HK-AR-13, HK-AR-14, HK-AR-20. The answer goes without a key, and the one that
// the node has stays.
func TestRouterRefuses(t *testing.T) {
	for _, c := range []struct {
		reason string
		change func(in *Input)
	}{
		{"request_not_secured", func(in *Input) { in.Secured = false }},
		{"request_repeated", func(in *Input) { in.Repeat = true }},
		{"request_malformed", func(in *Input) { in.Request = option([]byte{ndp.OptKeyRequest, 1, 0, 0, 0, 0, 0, 0}) }},
		{"request_bad_public_key", func(in *Input) {
			octets := bytes.Clone(in.Request.Octets)
			octets[20] ^= 0xff // in the algorithm of the public key
			in.Request = option(octets)
		}},
		{"request_other_key_size", func(in *Input) {
			in.Request = option(ndp.KeyRequest{AT: 1, PublicKey: spki(t, 1024, 5)}.Append(nil))
		}},
		{"request_other_key_size", func(in *Input) { in.CGAKey = spki(t, 1024, 3) }},
		{"request_cga_key_for_encryption", func(in *Input) {
			in.Request = option(ndp.KeyRequest{AT: 1, PublicKey: in.CGAKey}.Append(nil))
		}},
	} {
		for _, known := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, known %v", c.reason, known), func(t *testing.T) {
				b := newBench(t, nil)
				var key []byte
				if known {
					key, _ = b.grant(home(1), 1)
				}
				drawn := b.random.n
				b.ask(home(1), 1, c.change)
				b.refused(c.reason, home(1), key)
				if b.random.n != drawn {
					t.Error("a key was generated") // HK-AR-3
				}
			})
		}
	}
}

// TestRouterBounds: HK-AR-20.
func TestRouterBounds(t *testing.T) {
	b := newBench(t, func(c *RouterConfig) { c.MaxKeys, c.PerSecond = 3, 1000 })
	for i := byte(1); i <= 3; i++ {
		b.grant(home(i), 1)
	}
	b.ask(home(4), 1, nil)
	b.refused("request_too_many_keys", home(4), nil)
	b.grant(home(2), 1) // who has a key is served on

	b = newBench(t, func(c *RouterConfig) { c.PerSecond = 5 })
	asked := 0
	for i := range byte(50) {
		if has(b.ask(home(i), 1, nil), EffectEncrypt) {
			asked++
		}
	}
	if asked != 5 {
		t.Errorf("%d encryptions at once, 5 a second are allowed", asked)
	}
	b.refused("request_rate_limited", home(49), nil)
	b.now = b.now.Add(200 * time.Millisecond)
	if !has(b.ask(home(60), 1, nil), EffectEncrypt) {
		t.Error("no encryption a fifth of a second later")
	}

	b = newBench(t, func(c *RouterConfig) { c.PerSecond = 1 << 20 })
	for i := range 2 * maxPending {
		b.ask(home(byte(i)), 1, nil)
	}
	if len(b.router.pending) != maxPending {
		t.Errorf("%d requests wait", len(b.router.pending))
	}
}

// TestRouterLosesAnEncryption: the answer goes without a key, and none is stored.
func TestRouterLosesAnEncryption(t *testing.T) {
	for name, in := range map[string]Input{
		"encryption_lost":   {Kind: InLost},
		"encryption_failed": {Kind: InEncrypted, Failed: true},
	} {
		b := newBench(t, nil)
		in.Job = one(b, b.ask(home(1), 1, nil), EffectEncrypt).Job
		b.step(in)
		b.refused(name, home(1), nil)
		if b.step(in); len(b.effects) != 0 {
			t.Errorf("%s: twice", name)
		}
	}
	b := newBench(t, nil)
	if b.step(Input{Kind: InEncrypted, Job: 99, Octets: make([]byte, 256)}); len(b.effects) != 0 || b.counter("encryption_not_asked_for") != 1 {
		t.Error("an encryption that nobody asked for")
	}
}

// TestRouterEndsKeys: HK-AR-17 (use does not end a key), HK-AR-18 (the end of its lifetime, and forwarding that timed out, do).
func TestRouterEndsKeys(t *testing.T) {
	b := newBench(t, func(c *RouterConfig) { c.Lifetime = time.Hour })
	b.grant(home(1), 1)
	b.grant(home(2), 1)
	for range 3 {
		if _, _, ok := b.router.HandoverKey(home(1)); !ok {
			t.Fatal("looking a key up ended it")
		}
	}
	if forgotten := one(t, b.step(Input{Kind: InTimedOut, Home: home(2)}), EffectForget); forgotten.Home != home(2) {
		t.Errorf("forgot %v", forgotten.Home)
	}
	if _, _, ok := b.router.HandoverKey(home(2)); ok {
		t.Error("forwarding timed out, and the key is there")
	}
	if b.step(Input{Kind: InTimedOut, Home: home(2)}); len(b.effects) != 0 {
		t.Error("ended twice")
	}
	if at := b.router.Deadline(); !at.Equal(start.Add(time.Hour)) {
		t.Errorf("deadline %v", at)
	}
	b.now = start.Add(time.Hour - 1)
	b.step(Input{Kind: InTick})
	if _, _, ok := b.router.HandoverKey(home(1)); !ok {
		t.Error("ended early")
	}
	b.now = start.Add(time.Hour)
	if forgotten := one(t, b.step(Input{Kind: InTick}), EffectForget); forgotten.Home != home(1) {
		t.Errorf("forgot %v", forgotten.Home)
	}
	if _, _, ok := b.router.HandoverKey(home(1)); ok || !b.router.Deadline().IsZero() {
		t.Error("a key lives on")
	}
}

// TestRouterRestart: the key survives a restart of the daemon; what is expired or makes no sense does not.
func TestRouterRestart(t *testing.T) {
	b := newBench(t, func(c *RouterConfig) { c.Lifetime = time.Hour })
	key, _ := b.grant(home(1), 1)
	record := *effectsOfStore(b, home(1))[0].Record
	expired, odd, foreign := record, record, record
	expired.Home, expired.Expires = home(2), start
	odd.Home, odd.KeyLen = home(3), 20
	foreign.Home = station2()
	next := NewRouter(RouterConfig{Rand: &counting{n: 100}})
	effects := next.Restore(start.Add(time.Minute), []Record{record, expired, odd, foreign})
	if got, mac, ok := next.HandoverKey(home(1)); !ok || mac != mobility.HMACSHA256 || !bytes.Equal(got, key) {
		t.Error("the key is not there")
	}
	if len(effects) != 3 || next.Len() != 1 {
		t.Errorf("%d forgotten, %d keys", len(effects), next.Len())
	}
	if at := next.Deadline(); !at.Equal(start.Add(time.Hour)) {
		t.Errorf("deadline %v", at)
	}
}

// TestRouterWithoutRandomness makes no key at all.
func TestRouterWithoutRandomness(t *testing.T) {
	b := newBench(t, func(c *RouterConfig) { c.Rand = failing{} })
	b.ask(home(1), 1, nil)
	b.refused("request_no_randomness", home(1), nil)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

// TestNothingShowsAKey: keys never stand in what is printed.
func TestNothingShowsAKey(t *testing.T) {
	b := newBench(t, nil)
	effects := b.ask(home(1), 1, nil)
	e := one(t, effects, EffectEncrypt)
	save := effectsOfStore(b, home(1))[0]
	for _, v := range []any{e, save, *save.Record, save.Record} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, "1, 1, 1") || strings.Contains(s, "1 1 1") || strings.Contains(s, "0x1, 0x1") {
				t.Errorf("%s of %T shows a key", verb, v)
			}
		}
	}
}
