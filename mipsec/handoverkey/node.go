package handoverkey

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// Defaults of NodeConfig (RFC 5269 section 3.7).
const (
	DefaultPairLifetime  = 12 * time.Hour // HKEPK-LIFETIME
	DefaultPairHandovers = 10             // HKEPK-HANDOVERS

	// nonceLife is for how long an answer to a solicitation may take, and maxAsked how many wait for one.
	nonceLife = 10 * time.Second
	maxAsked  = 16
	// maxNodeKeys bounds the keys of routers that were left; the oldest goes first.
	maxNodeKeys = 16
	// askAgain is the wait after a router gave no key.
	askAgain = 30 * time.Second
)

// NodeConfig is what a Node is told once.
type NodeConfig struct {
	AT            uint8 // preferred algorithm type; 0 or 1
	Bits          int   // of the key pairs: those of the node's SEND key
	PairLifetime  time.Duration
	PairHandovers int
}

// Node asks routers for keys and keeps them: a pure state machine that one goroutine owns.
type Node struct {
	cfg NodeConfig

	pairs    []nodePair // the newest last
	lastPair uint64
	making   bool
	wanted   []nodeWanted
	asked    []nodeAsked
	jobs     map[uint64]nodeJob
	lastJob  uint64
	keys     []nodeKey // the newest last
	count    [nodeCounterCount]uint64
	effects  []NodeEffect
}

// nodePair is one key pair for encryption.
type nodePair struct {
	number    uint64
	publicKey []byte
	made      time.Time
	handovers int
}

type nodeWanted struct {
	router, home netip.Addr
	next         time.Time // when to ask
}

// nodeAsked is one solicitation that left (HK-MN-2); a reply finds its key pair by the nonce (HK-MN-4).
type nodeAsked struct {
	nonce        []byte
	router, home netip.Addr
	pair         uint64
	until        time.Time
}

type nodeJob struct {
	router, home netip.Addr
	at           uint8
	lifetime     time.Duration
	expires      time.Time
}

type nodeKey struct {
	router, home netip.Addr
	key          [MaxKeyLen]byte
	at           uint8
	expires      time.Time
}

// NewNode gives a node without keys.
func NewNode(cfg NodeConfig) *Node {
	if cfg.PairLifetime <= 0 {
		cfg.PairLifetime = DefaultPairLifetime
	}
	if cfg.PairHandovers <= 0 {
		cfg.PairHandovers = DefaultPairHandovers
	}
	return &Node{cfg: cfg, jobs: make(map[uint64]nodeJob)}
}

// String names the node; it keeps its keys from %v.
func (n *Node) String() string { return "handover keys of a node" }

// GoString keeps the keys from %#v.
func (n *Node) GoString() string { return n.String() }

// Step handles one input that arrived at now. It returns the effects to carry out, in order.
func (n *Node) Step(now time.Time, in NodeInput) []NodeEffect {
	n.expire(now)
	switch in.Kind {
	case InWanted:
		n.want(now, in.Router, in.Home)
	case InUnwanted:
		n.wanted = slices.DeleteFunc(n.wanted, func(w nodeWanted) bool { return w.router == in.Router && w.home == in.Home })
	case InPair:
		n.paired(now, &in)
	case InAsked:
		n.ask(now, &in)
	case InReply:
		n.reply(now, &in)
	case InDecrypted:
		n.decrypted(&in)
	case InHandover:
		if len(n.pairs) > 0 {
			n.pairs[len(n.pairs)-1].handovers++
		}
	case InBound:
		n.discard(in.Home)
	}
	n.request(now)
	effects := n.effects
	n.effects = nil
	return effects
}

// Deadline is when Step wants an InNodeTick next; the zero Time if never.
func (n *Node) Deadline() time.Time {
	var next time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for i := range n.wanted {
		if !n.making {
			earlier(n.wanted[i].next)
		}
	}
	for i := range n.keys {
		earlier(n.keys[i].expires)
	}
	for i := range n.asked {
		earlier(n.asked[i].until)
	}
	return next
}

// HandoverKey gives the key of router for home (HK-MN-7). The octets are the node's.
func (n *Node) HandoverKey(router, home netip.Addr) (key []byte, mac mobility.FastMAC, ok bool) {
	for i := range n.keys {
		if k := &n.keys[i]; k.router == router && k.home == home {
			return k.key[:KeyLen(k.at)], mobility.FastMAC(k.at), true
		}
	}
	return nil, 0, false
}

// NodeKey is what can be told of one key of a node.
type NodeKey struct {
	Router, Home netip.Addr
	AT           uint8
	Expires      time.Time
}

// Keys gives the keys that there are, the oldest first.
func (n *Node) Keys(yield func(NodeKey) bool) {
	for i := range n.keys {
		k := &n.keys[i]
		if !yield(NodeKey{k.router, k.home, k.at, k.expires}) {
			return
		}
	}
}

func (n *Node) want(now time.Time, router, home netip.Addr) {
	for i := range n.wanted {
		if w := &n.wanted[i]; w.router == router && w.home == home {
			return
		}
	}
	// A key that was given here before counts only when the router gives it again (HK-MN-8).
	n.drop(func(k *nodeKey) bool { return k.router == router && k.home == home })
	n.wanted = append(n.wanted, nodeWanted{router: router, home: home, next: now})
}

// request asks for what is due, with a key pair that is neither too old nor used too often (HK-MN-1).
func (n *Node) request(now time.Time) {
	for i := range n.wanted {
		w := &n.wanted[i]
		if w.next.After(now) {
			continue
		}
		pair := n.pair(now)
		if pair == nil {
			return // InPair goes on
		}
		w.next = now.Add(askAgain)
		option := ndp.KeyRequest{AT: n.cfg.AT, PublicKey: pair.publicKey}.Append(nil)
		n.count[countAsked]++
		n.effects = append(n.effects, NodeEffect{Kind: EffectRequest, Router: w.router, Home: w.home, Pair: pair.number, Option: option})
	}
}

// pair gives a key pair that may be used, or has one made and gives nil.
func (n *Node) pair(now time.Time) *nodePair {
	if len(n.pairs) > 0 {
		p := &n.pairs[len(n.pairs)-1]
		if now.Sub(p.made) < n.cfg.PairLifetime && p.handovers < n.cfg.PairHandovers {
			return p
		}
	}
	if !n.making {
		n.making = true
		n.lastPair++
		n.effects = append(n.effects, NodeEffect{Kind: EffectMakePair, Pair: n.lastPair, Bits: n.cfg.Bits})
	}
	return nil
}

func (n *Node) paired(now time.Time, in *NodeInput) {
	if !n.making || in.Pair != n.lastPair {
		n.count[dropPairUnasked]++
		return
	}
	n.making = false
	if in.Failed {
		n.count[dropPair]++
		for i := range n.wanted {
			n.wanted[i].next = now.Add(askAgain)
		}
		return
	}
	n.count[countPairs]++
	n.pairs = append(n.pairs, nodePair{number: in.Pair, publicKey: bytes.Clone(in.PublicKey), made: now})
	n.retire()
}

// retire ends key pairs that are not the newest and of which no answer is waited for.
func (n *Node) retire() {
	if len(n.pairs) == 0 {
		return
	}
	newest := n.pairs[len(n.pairs)-1].number
	n.pairs = slices.DeleteFunc(n.pairs, func(p nodePair) bool {
		if p.number == newest || slices.ContainsFunc(n.asked, func(a nodeAsked) bool { return a.pair == p.number }) {
			return false
		}
		n.effects = append(n.effects, NodeEffect{Kind: EffectDropPair, Pair: p.number})
		return true
	})
}

func (n *Node) ask(now time.Time, in *NodeInput) {
	if len(in.Nonce) == 0 {
		return
	}
	if len(n.asked) == maxAsked {
		n.asked = slices.Delete(n.asked, 0, 1)
	}
	n.asked = append(n.asked, nodeAsked{bytes.Clone(in.Nonce), in.Router, in.Home, in.Pair, now.Add(nonceLife)})
}

// reply takes an advertisement. One that is not signed by the router's certified key gives no key (HK-MN-3), nor does one
// that answers nothing (HK-MN-4). Several routers may answer one nonce (HK-resolution-g).
func (n *Node) reply(now time.Time, in *NodeInput) {
	var a *nodeAsked
	for i := range n.asked {
		if bytes.Equal(n.asked[i].nonce, in.Nonce) {
			a = &n.asked[i]
		}
	}
	switch {
	case !in.Secured:
		n.count[dropReplyUnsecured]++
		return
	case !in.Authorized:
		n.count[dropReplyUnauthorized]++
		return
	case a == nil:
		n.count[dropReplyNonce]++
		return
	case !in.HasReply:
		n.count[dropReplyNone]++
		n.miss(a.router, a.home, "the router gave none")
		return
	}
	r, err := ndp.ParseKeyReply(in.Reply)
	keyLen := KeyLen(r.AT)
	switch {
	case err != nil:
		n.count[dropReplyMalformed]++
		return
	case keyLen == 0:
		n.count[dropReplyAlgorithm]++
		n.miss(a.router, a.home, "the router chose an algorithm that is not known")
		return
	case r.AT < n.cfg.AT:
		// Weaker than what was asked for, which a router must not choose (HK-AR-8): a bid down.
		n.count[dropReplyWeaker]++
		n.miss(a.router, a.home, "the router chose a weaker algorithm")
		return
	case r.Lifetime == 0:
		n.count[dropReplyMalformed]++
		return
	}
	lifetime := time.Duration(r.Lifetime) * time.Second
	n.lastJob++
	n.jobs[n.lastJob] = nodeJob{in.Router, a.home, r.AT, lifetime, now.Add(lifetime)}
	if len(n.jobs) > maxAsked {
		delete(n.jobs, n.lastJob-maxAsked)
	}
	n.effects = append(n.effects, NodeEffect{
		Kind: EffectDecrypt, Router: in.Router, Home: a.home, Job: n.lastJob, Pair: a.pair, Ciphertext: bytes.Clone(r.EncryptedKey), KeyLen: keyLen,
	})
}

func (n *Node) miss(router, home netip.Addr, why string) {
	n.effects = append(n.effects, NodeEffect{Kind: EffectNodeReport, Event: Event{Kind: EventMissed, Router: router, Home: home, Detail: why}})
}

func (n *Node) decrypted(in *NodeInput) {
	j, ok := n.jobs[in.Job]
	delete(n.jobs, in.Job)
	if !ok || len(in.Octets) != KeyLen(j.at) {
		n.count[dropDecryption]++
		return
	}
	n.drop(func(k *nodeKey) bool { return k.router == j.router && k.home == j.home })
	if len(n.keys) == maxNodeKeys {
		clear(n.keys[0].key[:])
		n.keys = slices.Delete(n.keys, 0, 1)
	}
	k := nodeKey{router: j.router, home: j.home, at: j.at, expires: j.expires}
	copy(k.key[:], in.Octets)
	n.keys = append(n.keys, k)
	clear(k.key[:])
	n.count[countNodeKeys]++
	for i := range n.wanted {
		if w := &n.wanted[i]; w.router == j.router && w.home == j.home {
			// A tenth of the lifetime before its end, so that there is time to ask more than once (HK-MN-5).
			w.next = j.expires.Add(-j.lifetime / 10)
		}
	}
	n.effects = append(n.effects,
		NodeEffect{Kind: EffectKey, Router: j.router, Home: j.home},
		NodeEffect{Kind: EffectNodeReport, Event: Event{Kind: EventGranted, Router: j.router, Home: j.home}})
}

// discard ends the keys for home, whoever gave them: Mobile IPv6 does not need them any more (HK-MN-8).
func (n *Node) discard(home netip.Addr) {
	n.count[countDiscarded] += uint64(n.drop(func(k *nodeKey) bool { return k.home == home }))
	n.wanted = slices.DeleteFunc(n.wanted, func(w nodeWanted) bool { return w.home == home })
}

// drop ends the keys that end says, and gives their number.
func (n *Node) drop(end func(k *nodeKey) bool) int {
	before := len(n.keys)
	n.keys = slices.DeleteFunc(n.keys, func(k nodeKey) bool { return end(&k) }) // which clears what becomes free
	return before - len(n.keys)
}

func (n *Node) expire(now time.Time) {
	gone := n.drop(func(k *nodeKey) bool {
		if k.expires.After(now) {
			return false
		}
		n.effects = append(n.effects, NodeEffect{Kind: EffectNodeReport, Event: Event{Kind: EventExpired, Router: k.router, Home: k.home, Detail: "its lifetime is over"}})
		return true
	})
	n.count[countNodeExpired] += uint64(gone)
	waiting := len(n.asked)
	n.asked = slices.DeleteFunc(n.asked, func(a nodeAsked) bool { return !a.until.After(now) })
	if len(n.asked) < waiting {
		n.retire()
	}
}
