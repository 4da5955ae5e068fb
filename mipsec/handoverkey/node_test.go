package handoverkey

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

func routerAddr() netip.Addr { return netip.MustParseAddr("2001:db8:1::ffff") }

// mobile is a Node, its time, and what it asked for last.
type mobile struct {
	*testing.T
	node    *Node
	now     time.Time
	effects []NodeEffect
}

func newMobile(t *testing.T, change func(*NodeConfig)) *mobile {
	t.Helper()
	cfg := NodeConfig{AT: 1, Bits: 2048}
	if change != nil {
		change(&cfg)
	}
	return &mobile{T: t, node: NewNode(cfg), now: start}
}

func (m *mobile) step(in NodeInput) []NodeEffect {
	m.effects = m.node.Step(m.now, in)
	return m.effects
}

func (m *mobile) one(kind NodeEffectKind) NodeEffect {
	m.Helper()
	var found []NodeEffect
	for _, e := range m.effects {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		m.Fatalf("%d effects of kind %d among %d", len(found), kind, len(m.effects))
	}
	return found[0]
}

func (m *mobile) none(kind NodeEffectKind) {
	m.Helper()
	if slices.ContainsFunc(m.effects, func(e NodeEffect) bool { return e.Kind == kind }) {
		m.Errorf("an effect of kind %d", kind)
	}
}

func (m *mobile) counter(name string) (value uint64) {
	m.node.Counters(func(n string, v uint64) {
		if n == name {
			value = v
		}
	})
	return value
}

// wants has the node want a key, with a pair made for it, and gives the request.
func (m *mobile) wants(home netip.Addr) NodeEffect {
	m.Helper()
	m.step(NodeInput{Kind: InWanted, Router: routerAddr(), Home: home})
	if slices.ContainsFunc(m.effects, func(e NodeEffect) bool { return e.Kind == EffectMakePair }) {
		p := m.one(EffectMakePair)
		m.step(NodeInput{Kind: InPair, Pair: p.Pair, PublicKey: spki(m, p.Bits, byte(p.Pair))})
	}
	for _, e := range m.effects {
		if e.Kind == EffectRequest && e.Home == home {
			return e
		}
	}
	m.Fatal("no request")
	return NodeEffect{}
}

// reply gives an advertisement with a key of algorithm type at that answers nonce.
func (m *mobile) reply(nonce []byte, at uint8, change func(*NodeInput)) {
	in := NodeInput{
		Kind: InReply, Router: routerAddr(), Secured: true, Authorized: true, Nonce: nonce, HasReply: true,
		Reply: option(ndp.KeyReply{AT: at, Lifetime: 1000, EncryptedKey: bytes.Repeat([]byte{9}, 256)}.Append(nil)),
	}
	if change != nil {
		change(&in)
	}
	m.step(in)
}

// obtain goes all the way to a key.
func (m *mobile) obtain(home netip.Addr, key byte) {
	m.Helper()
	r := m.wants(home)
	nonce := []byte{key, 1, 2, 3, 4, 5}
	m.step(NodeInput{Kind: InAsked, Router: r.Router, Home: r.Home, Pair: r.Pair, Nonce: nonce})
	m.reply(nonce, 1, nil)
	d := m.one(EffectDecrypt)
	m.step(NodeInput{Kind: InDecrypted, Job: d.Job, Octets: bytes.Repeat([]byte{key}, d.KeyLen)})
	m.one(EffectKey)
}

// TestNodeAsks: HK-MN-1 (a key pair of its own, of the size of the SEND key), HK-MN-2 (option 27 with the preferred algorithm).
func TestNodeAsks(t *testing.T) {
	for at := range uint8(2) {
		m := newMobile(t, func(c *NodeConfig) { c.AT, c.Bits = at, 1024 })
		m.step(NodeInput{Kind: InWanted, Router: routerAddr(), Home: home(1)})
		if p := m.one(EffectMakePair); p.Bits != 1024 {
			t.Errorf("a pair of %d bits", p.Bits)
		}
		m.none(EffectRequest)
		public := spki(t, 1024, 5)
		m.step(NodeInput{Kind: InPair, Pair: 1, PublicKey: public})
		r := m.one(EffectRequest)
		k, err := ndp.ParseKeyRequest(option(r.Option))
		if err != nil || k.AT != at || !bytes.Equal(k.PublicKey, public) || r.Home != home(1) || r.Router != routerAddr() {
			t.Errorf("asks %+v of %v for %v: %v", k, r.Router, r.Home, err)
		}
	}
}

// TestNodeTakesAKey: HK-MN-4: the pair is found by the nonce; the key is known by router and own address, with the returned
// algorithm (HK-MN-7).
func TestNodeTakesAKey(t *testing.T) {
	m := newMobile(t, func(c *NodeConfig) { c.AT = 0 })
	r := m.wants(home(1))
	m.step(NodeInput{Kind: InAsked, Router: r.Router, Home: r.Home, Pair: r.Pair, Nonce: []byte{1, 2, 3, 4, 5, 6}})
	m.reply([]byte{1, 2, 3, 4, 5, 6}, 1, nil) // stronger than asked for
	d := m.one(EffectDecrypt)
	if d.Pair != r.Pair || d.KeyLen != 32 || !bytes.Equal(d.Ciphertext, bytes.Repeat([]byte{9}, 256)) {
		t.Errorf("decrypts %d octets to %d with pair %d", len(d.Ciphertext), d.KeyLen, d.Pair)
	}
	if _, _, ok := m.node.HandoverKey(routerAddr(), home(1)); ok {
		t.Error("there is a key before it is decrypted")
	}
	m.step(NodeInput{Kind: InDecrypted, Job: d.Job, Octets: bytes.Repeat([]byte{4}, 32)})
	if e := m.one(EffectKey); e.Router != routerAddr() || e.Home != home(1) {
		t.Errorf("a key of %v for %v", e.Router, e.Home)
	}
	key, mac, ok := m.node.HandoverKey(routerAddr(), home(1))
	if !ok || mac != mobility.HMACSHA256 || !bytes.Equal(key, bytes.Repeat([]byte{4}, 32)) {
		t.Error("it is another key")
	}
	for _, other := range [][2]netip.Addr{{routerAddr(), home(2)}, {home(9), home(1)}} {
		if _, _, ok := m.node.HandoverKey(other[0], other[1]); ok {
			t.Errorf("a key of %v for %v", other[0], other[1])
		}
	}
}

// TestNodeDropsReplies: HK-MN-3 (certified router), HK-MN-4 (nonce, algorithm).
func TestNodeDropsReplies(t *testing.T) {
	for _, c := range []struct {
		reason string
		change func(in *NodeInput)
	}{
		{"key_reply_not_secured", func(in *NodeInput) { in.Secured = false }},
		{"key_reply_not_certified", func(in *NodeInput) { in.Authorized = false }},
		{"key_reply_not_asked_for", func(in *NodeInput) { in.Nonce = []byte{1, 2, 3, 4, 5, 7} }},
		{"key_reply_not_asked_for", func(in *NodeInput) { in.Nonce = nil }},
		{"key_reply_without_key", func(in *NodeInput) { in.HasReply = false }},
		{"key_reply_malformed", func(in *NodeInput) { in.Reply = option([]byte{ndp.OptKeyReply, 1, 250, 0x10, 0, 1, 0, 0}) }},
		{"key_reply_malformed", func(in *NodeInput) {
			in.Reply = option(ndp.KeyReply{AT: 1, EncryptedKey: make([]byte, 256)}.Append(nil))
		}},
		{"key_reply_unknown_algorithm", func(in *NodeInput) {
			in.Reply = option(ndp.KeyReply{AT: 7, Lifetime: 10, EncryptedKey: make([]byte, 256)}.Append(nil))
		}},
		{"key_reply_weaker_algorithm", func(in *NodeInput) {
			in.Reply = option(ndp.KeyReply{AT: 0, Lifetime: 10, EncryptedKey: make([]byte, 256)}.Append(nil))
		}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			m := newMobile(t, nil)
			r := m.wants(home(1))
			nonce := []byte{1, 2, 3, 4, 5, 6}
			m.step(NodeInput{Kind: InAsked, Router: r.Router, Home: r.Home, Pair: r.Pair, Nonce: nonce})
			m.reply(nonce, 1, c.change)
			m.none(EffectDecrypt)
			if m.counter(c.reason) != 1 {
				t.Errorf("%s was not counted", c.reason)
			}
			m.reply(nonce, 1, nil) // the right one counts still
			m.one(EffectDecrypt)
		})
	}
}

// TestNodeKeepsSeveralKeys: HK-MN-6, HK-resolution-g: several routers answer one solicitation.
func TestNodeKeepsSeveralKeys(t *testing.T) {
	m := newMobile(t, nil)
	r := m.wants(home(1))
	nonce := []byte{1, 2, 3, 4, 5, 6}
	m.step(NodeInput{Kind: InAsked, Router: r.Router, Home: r.Home, Pair: r.Pair, Nonce: nonce})
	for i, router := range []netip.Addr{home(200), home(201)} {
		m.reply(nonce, 1, func(in *NodeInput) { in.Router = router })
		m.step(NodeInput{Kind: InDecrypted, Job: m.one(EffectDecrypt).Job, Octets: bytes.Repeat([]byte{byte(i)}, 32)})
	}
	for i, router := range []netip.Addr{home(200), home(201)} {
		if key, _, ok := m.node.HandoverKey(router, home(1)); !ok || key[0] != byte(i) {
			t.Errorf("router %d: %v", i, ok)
		}
	}
	m.now = m.now.Add(nonceLife)
	m.step(NodeInput{Kind: InNodeTick})
	m.reply(nonce, 1, nil)
	m.none(EffectDecrypt)
}

// TestNodeRenews: HK-MN-5.
func TestNodeRenews(t *testing.T) {
	m := newMobile(t, nil)
	m.obtain(home(1), 4)
	for range 20 { // nonces and the like come before
		at := m.node.Deadline()
		if at.IsZero() || at.After(start.Add(1000*time.Second)) {
			t.Fatalf("deadline %v", at)
		}
		m.now = at
		m.step(NodeInput{Kind: InNodeTick})
		if len(m.effects) > 0 {
			break
		}
	}
	if m.one(EffectRequest); !m.now.Equal(start.Add(900 * time.Second)) {
		t.Errorf("asked again after %v", m.now.Sub(start))
	}
	if _, _, ok := m.node.HandoverKey(routerAddr(), home(1)); !ok {
		t.Error("the old key ended early")
	}
	// Nobody answers: it asks again, and the key ends in time.
	m.now = m.now.Add(askAgain)
	m.step(NodeInput{Kind: InNodeTick})
	m.one(EffectRequest)
	m.now = start.Add(1000 * time.Second)
	m.step(NodeInput{Kind: InNodeTick})
	if _, _, ok := m.node.HandoverKey(routerAddr(), home(1)); ok {
		t.Error("the key outlives its lifetime")
	}
	m.step(NodeInput{Kind: InUnwanted, Router: routerAddr(), Home: home(1)})
	m.now = m.now.Add(time.Hour)
	m.step(NodeInput{Kind: InNodeTick})
	m.none(EffectRequest)
}

// TestNodeChangesItsPair: HK-MN-1: after HKEPK-LIFETIME, or HKEPK-HANDOVERS.
func TestNodeChangesItsPair(t *testing.T) {
	m := newMobile(t, nil)
	first := m.wants(home(1)).Pair
	m.now = m.now.Add(DefaultPairLifetime - time.Minute)
	if p := m.wants(home(2)).Pair; p != first {
		t.Error("a pair is good for its lifetime")
	}
	m.now = m.now.Add(time.Minute)
	if p := m.wants(home(3)).Pair; p == first {
		t.Error("a pair outlives its lifetime")
	}
	m = newMobile(t, nil)
	first = m.wants(home(1)).Pair
	for i := range DefaultPairHandovers {
		if p := m.wants(home(byte(10 + i))).Pair; p != first {
			t.Fatalf("another pair after %d handovers", i)
		}
		m.step(NodeInput{Kind: InHandover})
	}
	m.step(NodeInput{Kind: InWanted, Router: routerAddr(), Home: home(2)})
	next := m.one(EffectMakePair)
	m.step(NodeInput{Kind: InPair, Pair: next.Pair, PublicKey: spki(t, 2048, 8)})
	if p := m.one(EffectRequest).Pair; p == first {
		t.Error("the same pair after ten handovers")
	}
	if dropped := m.one(EffectDropPair); dropped.Pair != first {
		t.Errorf("dropped pair %d", dropped.Pair)
	}
}

// TestNodeKeepsAPairWhileAnAnswerIsDue: the nonce leads to the old pair.
func TestNodeKeepsAPairWhileAnAnswerIsDue(t *testing.T) {
	m := newMobile(t, func(c *NodeConfig) { c.PairHandovers = 1 })
	r := m.wants(home(1))
	nonce := []byte{1, 2, 3, 4, 5, 6}
	m.step(NodeInput{Kind: InAsked, Router: r.Router, Home: r.Home, Pair: r.Pair, Nonce: nonce})
	m.step(NodeInput{Kind: InHandover})
	m.wants(home(2))
	m.none(EffectDropPair)
	m.reply(nonce, 1, nil)
	if d := m.one(EffectDecrypt); d.Pair != r.Pair {
		t.Errorf("decrypts with pair %d", d.Pair)
	}
	m.now = m.now.Add(nonceLife)
	m.step(NodeInput{Kind: InNodeTick})
	if dropped := m.one(EffectDropPair); dropped.Pair != r.Pair {
		t.Errorf("dropped pair %d", dropped.Pair)
	}
}

// TestNodeForgets: HK-MN-8: a key of before counts only when it came again, and none after Mobile IPv6 has done its work.
func TestNodeForgets(t *testing.T) {
	m := newMobile(t, nil)
	m.obtain(home(1), 4)
	m.step(NodeInput{Kind: InUnwanted, Router: routerAddr(), Home: home(1)})
	if _, _, ok := m.node.HandoverKey(routerAddr(), home(1)); !ok {
		t.Error("the key of the router that was left is needed for the move")
	}
	m.wants(home(1)) // it came back
	if _, _, ok := m.node.HandoverKey(routerAddr(), home(1)); ok {
		t.Error("the old key is taken for good")
	}
	m.obtain(home(2), 5)
	m.step(NodeInput{Kind: InBound, Home: home(2)})
	if _, _, ok := m.node.HandoverKey(routerAddr(), home(2)); ok {
		t.Error("a key that is not needed any more is there")
	}
}

// TestNodeBounds: keys, nonces and jobs do not grow without end.
func TestNodeBounds(t *testing.T) {
	m := newMobile(t, func(c *NodeConfig) { c.PairHandovers = 1000 })
	for i := range byte(60) {
		m.obtain(home(i), i)
		m.step(NodeInput{Kind: InUnwanted, Router: routerAddr(), Home: home(i)})
		m.reply([]byte{i, 1, 2, 3, 4, 5}, 1, nil) // never decrypted
	}
	if len(m.node.keys) > maxNodeKeys || len(m.node.asked) > maxAsked || len(m.node.jobs) > maxAsked+1 {
		t.Errorf("%d keys, %d nonces, %d jobs", len(m.node.keys), len(m.node.asked), len(m.node.jobs))
	}
	if s := fmt.Sprintf("%v %#v", m.node, m.node); strings.Contains(s, "59") {
		t.Errorf("shows its keys: %s", s)
	}
}

// TestNodePairFails: it tries again later, and a pair that nobody asked for is not taken.
func TestNodePairFails(t *testing.T) {
	m := newMobile(t, nil)
	m.step(NodeInput{Kind: InWanted, Router: routerAddr(), Home: home(1)})
	m.step(NodeInput{Kind: InPair, Pair: m.one(EffectMakePair).Pair, Failed: true})
	m.none(EffectMakePair)
	m.now = m.node.Deadline()
	if m.now.Sub(start) != askAgain {
		t.Errorf("tries again after %v", m.now.Sub(start))
	}
	m.step(NodeInput{Kind: InNodeTick})
	pair := m.one(EffectMakePair).Pair
	m.step(NodeInput{Kind: InPair, Pair: pair + 1, PublicKey: spki(t, 2048, 5)})
	m.none(EffectRequest)
	m.step(NodeInput{Kind: InPair, Pair: pair, PublicKey: spki(t, 2048, 5)})
	m.one(EffectRequest)
}

// TestBothSides crosses the two machines with real RSA: the key that the node decrypts is the router's. Wrong octets give
// another key, and nothing else (HK-resolution-l).
func TestBothSides(t *testing.T) {
	private, public := pair(t, 1024)
	cgaKey := spki(t, 1024, 3)
	for _, broken := range []bool{false, true} {
		m := newMobile(t, func(c *NodeConfig) { c.Bits = 1024 })
		b := newBench(t, nil)
		m.step(NodeInput{Kind: InWanted, Router: routerAddr(), Home: home(1)})
		m.step(NodeInput{Kind: InPair, Pair: m.one(EffectMakePair).Pair, PublicKey: public})
		r := m.one(EffectRequest)
		nonce := []byte{1, 2, 3, 4, 5, 6}
		m.step(NodeInput{Kind: InAsked, Router: r.Router, Home: r.Home, Pair: r.Pair, Nonce: nonce})
		encrypt := one(t, b.step(Input{
			Kind: InRequest, Cookie: 1, Home: r.Home, Secured: true, CGAKey: cgaKey, KeyHash: cga.KeyHash(cgaKey), Request: option(r.Option),
		}), EffectEncrypt)
		key, _, err := ndp.ParseSPKI(encrypt.PublicKey)
		if err != nil || !bytes.Equal(key.Modulus, private.N.Bytes()) {
			t.Fatal("another key to encrypt under")
		}
		ciphertext, err := rsa.EncryptPKCS1v15(rand.Reader, &private.PublicKey, encrypt.Plain) //nolint:staticcheck // RFC 5269 says so
		if err != nil {
			t.Fatal(err)
		}
		if broken {
			ciphertext[5] ^= 1
		}
		granted := one(t, b.step(Input{Kind: InEncrypted, Job: encrypt.Job, Octets: ciphertext}), EffectGrant)
		m.step(NodeInput{Kind: InReply, Router: routerAddr(), Secured: true, Authorized: true, Nonce: nonce, HasReply: true, Reply: option(granted.Option)})
		d := m.one(EffectDecrypt)
		found := make([]byte, d.KeyLen)
		_, _ = rand.Read(found)
		if err := rsa.DecryptPKCS1v15SessionKey(nil, private, d.Ciphertext, found); err != nil { //nolint:staticcheck // RFC 5269 says so
			t.Fatal(err)
		}
		m.step(NodeInput{Kind: InDecrypted, Job: d.Job, Octets: found})
		nodes, nodeMAC, _ := m.node.HandoverKey(routerAddr(), home(1))
		routers, routerMAC, _ := b.router.HandoverKey(home(1))
		if bytes.Equal(nodes, routers) == broken || nodeMAC != routerMAC {
			t.Errorf("broken %v: keys of %d and %d octets", broken, len(nodes), len(routers))
		}
	}
}
