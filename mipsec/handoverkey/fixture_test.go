package handoverkey

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// counting gives octets that never repeat, so that each key is another.
type counting struct{ n byte }

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		if i%32 == 0 {
			c.n++
		}
		b[i] = c.n
	}
	return len(b), nil
}

// spki gives the public key that a number stands for; nobody has the private one.
func spki(t testing.TB, bits int, number byte) []byte {
	t.Helper()
	modulus := bytes.Repeat([]byte{number}, bits/8)
	modulus[0], modulus[len(modulus)-1] = 0x80|number, 1
	der, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: modulus, Exponent: 65537})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

var (
	start   = time.Unix(1_000_000, 0)
	station = ipv6.LinkAddr{2, 0, 0, 0, 0, 1}
)

func home(n byte) netip.Addr {
	a := netip.MustParseAddr("2001:db8:1::").As16()
	a[15] = n
	return netip.AddrFrom16(a)
}

// bench is a Router, its time, and what it gave so far.
type bench struct {
	*testing.T
	router  *Router
	now     time.Time
	effects []Effect
	cookie  uint64
	random  *counting
}

func newBench(t *testing.T, change func(*RouterConfig)) *bench {
	t.Helper()
	b := &bench{T: t, now: start, random: &counting{}}
	cfg := RouterConfig{Rand: b.random}
	if change != nil {
		change(&cfg)
	}
	b.router = NewRouter(cfg)
	return b
}

func (b *bench) step(in Input) []Effect {
	b.Helper()
	b.effects = b.router.Step(b.now, in)
	return b.effects
}

// ask is a request of a node whose CGA key and encryption key have the same size.
func (b *bench) ask(home netip.Addr, at uint8, change func(*Input)) []Effect {
	b.Helper()
	b.cookie++
	cgaKey := spki(b, 2048, 3)
	in := Input{
		Kind: InRequest, Cookie: b.cookie, Home: home, Secured: true, CGAKey: cgaKey, KeyHash: cga.KeyHash(cgaKey), Source: station,
		Request: option(ndp.KeyRequest{AT: at, PublicKey: spki(b, 2048, 5)}.Append(nil)),
	}
	if change != nil {
		change(&in)
	}
	return b.step(in)
}

func option(octets []byte) ndp.Option { return ndp.Option{Type: octets[0], Octets: octets} }

// grant asks, has the encryption done, and gives the key and the reply.
func (b *bench) grant(home netip.Addr, at uint8) (key []byte, reply ndp.KeyReply) {
	b.Helper()
	encrypt := one(b, b.ask(home, at, nil), EffectEncrypt)
	key = bytes.Clone(encrypt.Plain)
	granted := one(b, b.step(Input{Kind: InEncrypted, Job: encrypt.Job, Octets: bytes.Repeat([]byte{7}, 256)}), EffectGrant)
	if granted.Cookie != b.cookie || granted.Option == nil {
		b.Fatalf("granted %d with %d octets, asked %d", granted.Cookie, len(granted.Option), b.cookie)
	}
	reply, err := ndp.ParseKeyReply(option(granted.Option))
	if err != nil {
		b.Fatal(err)
	}
	return key, reply
}

// one gives the only effect of a kind.
func one(t testing.TB, effects []Effect, kind EffectKind) Effect {
	t.Helper()
	var found []Effect
	for _, e := range effects {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d effects of kind %d among %d", len(found), kind, len(effects))
	}
	return found[0]
}

func has(effects []Effect, kind EffectKind) bool {
	return slices.ContainsFunc(effects, func(e Effect) bool { return e.Kind == kind })
}

func (b *bench) counter(name string) uint64 {
	b.Helper()
	value, known := uint64(0), false
	b.router.Counters(func(n string, v uint64) {
		if n == name {
			value, known = v, true
		}
	})
	if !known {
		b.Fatalf("there is no counter %s", name)
	}
	return value
}

// refused asserts that the last step answered the last request without a key, for the reason that a counter names, and that
// the key of home is still what it was.
func (b *bench) refused(reason string, home netip.Addr, key []byte) {
	b.Helper()
	if g := one(b, b.effects, EffectGrant); g.Cookie != b.cookie || g.Option != nil {
		b.Errorf("answered %d with %d octets", g.Cookie, len(g.Option))
	}
	if has(b.effects, EffectEncrypt) || has(b.effects, EffectSave) || has(b.effects, EffectForget) {
		b.Error("something else was done")
	}
	if b.counter(reason) == 0 {
		b.Errorf("%s was not counted", reason)
	}
	if now, _, _ := b.router.HandoverKey(home); !bytes.Equal(now, key) {
		b.Error("the key has changed")
	}
}

// pair makes a real key pair.
func pair(t testing.TB, bits int) (*rsa.PrivateKey, []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	der, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// effectsOfStore gives what is saved when home is given a key.
func effectsOfStore(b *bench, home netip.Addr) []Effect {
	b.Helper()
	k := b.router.keys[home]
	if k == nil {
		k = &routerKey{home: home, at: 1, key: [MaxKeyLen]byte(bytes.Repeat([]byte{1}, MaxKeyLen))}
	}
	record := b.router.record(k)
	return []Effect{{Kind: EffectSave, Home: home, Record: &record}}
}

// station2 is no address that a node can have.
func station2() netip.Addr { return netip.MustParseAddr("fe80::2") }
