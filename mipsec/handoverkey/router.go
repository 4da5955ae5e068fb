package handoverkey

import (
	"bytes"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
	"github.com/roamkey/roamkey/ndp"
)

// Defaults of RouterConfig.
const (
	DefaultLifetime  = 43200 * time.Second // HK-LIFETIME (RFC 5269 section 3.7)
	DefaultMaxKeys   = 1024
	DefaultPerSecond = 100
	// maxPending bounds the requests whose encryption is not done; a node that gets no answer asks again.
	maxPending = 256
	// leastLife is what a key must still have left to be given away.
	leastLife = 2 * time.Second
)

// RouterConfig is what a Router is told.
type RouterConfig struct {
	Lifetime   time.Duration // of a key; 0: DefaultLifetime. At most 65535 s
	Algorithms []uint8       // AT values that are offered; none: all
	MaxKeys    int           // 0: DefaultMaxKeys
	PerSecond  int           // requests that lead to an encryption; 0: DefaultPerSecond
	Rand       io.Reader     // cryptographically strong
}

func (c *RouterConfig) complete() {
	if c.Lifetime <= 0 {
		c.Lifetime = DefaultLifetime
	}
	c.Lifetime = min(c.Lifetime.Truncate(time.Second), 65535*time.Second)
	if c.MaxKeys <= 0 {
		c.MaxKeys = DefaultMaxKeys
	}
	if c.PerSecond <= 0 {
		c.PerSecond = DefaultPerSecond
	}
}

// Router gives keys to nodes and finds them again: a pure state machine that one goroutine owns.
type Router struct {
	cfg     RouterConfig
	offered algorithms

	keys    map[netip.Addr]*routerKey
	pending map[uint64]*pendingGrant // by job
	lastJob uint64
	rate    pacing.Bucket
	timers  pacing.Timers[*routerKey]
	clock   pacing.Clock
	count   [routerCounterCount]uint64
	effects []Effect
}

// routerKey is the handover key of one care-of address.
type routerKey struct {
	home    netip.Addr
	key     [MaxKeyLen]byte
	at      uint8
	hash    [16]byte
	expires pacing.Time
	timer   pacing.Timer
}

// Wake is where the key's expiry stands in the heap.
func (k *routerKey) Wake() *pacing.Timer { return &k.timer }

func (k *routerKey) octets() []byte { return k.key[:KeyLen(k.at)] }

// pendingGrant is a request whose encryption is under way. Its key counts only when the encryption is done.
type pendingGrant struct {
	cookie uint64
	key    routerKey
	source ipv6.LinkAddr
}

// NewRouter gives a router that knows no key.
func NewRouter(cfg RouterConfig) *Router {
	r := &Router{keys: make(map[netip.Addr]*routerKey), pending: make(map[uint64]*pendingGrant)}
	r.configure(cfg)
	return r
}

func (r *Router) configure(cfg RouterConfig) {
	cfg.complete()
	r.cfg, r.offered = cfg, makeSet(cfg.Algorithms)
}

// Reconfigure does from now on what cfg says. Keys that were given stay as they are, whatever their lifetime.
func (r *Router) Reconfigure(_ time.Time, cfg RouterConfig) { r.configure(cfg) }

// Step handles one input that arrived at now. It returns the effects to carry out, in order; nil where there is nothing to do.
func (r *Router) Step(now time.Time, in Input) []Effect {
	t := r.clock.At(now)
	r.expire(t)
	switch in.Kind {
	case InRequest:
		r.request(t, &in)
	case InEncrypted:
		r.encrypted(t, &in)
	case InLost:
		if p := r.take(in.Job); p != nil {
			r.count[dropLost]++
			r.emit(Effect{Kind: EffectGrant, Cookie: p.cookie})
		}
	case InTimedOut:
		if k := r.keys[in.Home]; k != nil {
			r.count[countTimedOut]++
			r.forget(k, "forwarding timed out")
		}
	}
	effects := r.effects
	r.effects = nil
	return effects
}

// Deadline is when Step wants an InTick next; the zero Time if never.
func (r *Router) Deadline() time.Time {
	k, ok := r.timers.First()
	if !ok {
		return time.Time{}
	}
	return r.clock.Moment(k.timer.At())
}

// HandoverKey gives the key of home and the algorithm that goes with it (HK-AR-15). The octets are the router's: they are
// not to be kept or changed.
func (r *Router) HandoverKey(home netip.Addr) (key []byte, mac mobility.FastMAC, ok bool) {
	k := r.keys[home]
	if k == nil {
		return nil, 0, false
	}
	return k.octets(), mobility.FastMAC(k.at), true
}

// Grant is what can be told of one key: everything but the key.
type Grant struct {
	Home    netip.Addr
	AT      uint8
	Expires time.Time
}

// Grants gives all that have a key, by address.
func (r *Router) Grants(yield func(Grant) bool) {
	homes := make([]netip.Addr, 0, len(r.keys))
	for home := range r.keys {
		homes = append(homes, home)
	}
	slices.SortFunc(homes, netip.Addr.Compare)
	for _, home := range homes {
		k := r.keys[home]
		if !yield(Grant{Home: home, AT: k.at, Expires: r.clock.Moment(k.expires)}) {
			return
		}
	}
}

// Len is the number of keys.
func (r *Router) Len() int { return len(r.keys) }

// request answers one request. Everything that is not in order is answered without a key, and changes none (HK-AR-2).
func (r *Router) request(now pacing.Time, in *Input) {
	refuse := func(why routerCounter) {
		r.count[why]++
		r.emit(Effect{Kind: EffectGrant, Cookie: in.Cookie})
	}
	r.count[countRequests]++
	switch {
	case !in.Secured:
		refuse(dropUnsecured) // HK-AR-1, 3
		return
	case in.Repeat:
		refuse(dropRepeat)
		return
	}
	request, err := ndp.ParseKeyRequest(in.Request)
	if err != nil {
		refuse(dropMalformed)
		return
	}
	if why := checkKey(request.PublicKey, in.CGAKey); why != countNone {
		refuse(why)
		return
	}
	at, ok := r.offered.choose(request.AT)
	if !ok {
		refuse(dropAlgorithm)
		return
	}
	known := r.keys[in.Home]
	switch {
	case known == nil && len(r.keys) >= r.cfg.MaxKeys:
		refuse(dropFull)
		return
	case len(r.pending) >= maxPending || !r.rate.Allows(now, time.Second/time.Duration(r.cfg.PerSecond), r.cfg.PerSecond):
		refuse(dropRate)
		return
	}
	p := &pendingGrant{cookie: in.Cookie, source: in.Source}
	if !r.choose(now, p, in, at) {
		refuse(dropNoRandom)
		return
	}
	r.rate.Take(now, time.Second/time.Duration(r.cfg.PerSecond))
	r.lastJob++
	r.pending[r.lastJob] = p
	r.emit(Effect{Kind: EffectEncrypt, Home: in.Home, Job: r.lastJob, Source: in.Source, PublicKey: bytes.Clone(request.PublicKey), Plain: bytes.Clone(p.key.octets())})
}

// checkKey holds a node's encryption key to what RFC 5269 sections 3.1 and 4.1 ask of it: the algorithm and size of its CGA
// key, and yet another key (HK-AR-14, HK-MN-1).
func checkKey(encryption, cga []byte) routerCounter {
	theirs, n, err := ndp.ParseSPKI(encryption)
	if err != nil || n != len(encryption) {
		return dropPublicKey
	}
	own, _, err := ndp.ParseSPKI(cga)
	switch {
	case err != nil || own.Bits() != theirs.Bits():
		return dropKeySize
	case bytes.Equal(own.Modulus, theirs.Modulus):
		return dropSameKey
	}
	return countNone
}

// choose gives p the key that the node is to have: the one that it has already, if that is as strong as what it asks for and
// lives on (HK-AR-4, 19; HK-resolution-j), the one that is being encrypted for it, or a new one (HK-AR-5).
func (r *Router) choose(now pacing.Time, p *pendingGrant, in *Input, at uint8) bool {
	if k := r.keys[in.Home]; k != nil && k.at >= at && k.expires.Sub(now) >= leastLife {
		p.key = *k
		p.key.timer = pacing.Timer{}
		return true
	}
	for _, other := range r.pending {
		if other.key.home == in.Home && other.key.at >= at {
			p.key = other.key
			return true
		}
	}
	p.key = routerKey{home: in.Home, at: at, hash: in.KeyHash, expires: now.Add(r.cfg.Lifetime)}
	_, err := io.ReadFull(r.cfg.Rand, p.key.octets())
	return err == nil
}

// take gives the grant that waits for a job, and nil if none does.
func (r *Router) take(job uint64) *pendingGrant {
	p := r.pending[job]
	delete(r.pending, job)
	return p
}

// encrypted gives a node its key, and remembers it before that (HK-AR-6, 7, 12).
func (r *Router) encrypted(now pacing.Time, in *Input) {
	p := r.take(in.Job)
	switch {
	case p == nil:
		r.count[dropUnasked]++
		return
	case in.Failed || len(in.Octets) == 0:
		r.count[dropEncryption]++
		r.emit(Effect{Kind: EffectGrant, Cookie: p.cookie})
		return
	case p.key.expires <= now:
		r.count[dropLost]++
		r.emit(Effect{Kind: EffectGrant, Cookie: p.cookie})
		return
	}
	k := r.keys[p.key.home]
	if k == nil && len(r.keys) >= r.cfg.MaxKeys {
		r.count[dropFull]++
		r.emit(Effect{Kind: EffectGrant, Cookie: p.cookie})
		return
	}
	if k == nil || k.key != p.key.key {
		r.store(p.key)
		r.count[countKeys]++
	} else {
		r.count[countReturned]++
	}
	left := p.key.expires.Sub(now) / time.Second
	option := ndp.KeyReply{AT: p.key.at, Lifetime: uint16(left), EncryptedKey: in.Octets}.Append(nil)
	r.emit(Effect{Kind: EffectGrant, Cookie: p.cookie, Option: option})
	r.emit(Effect{Kind: EffectReport, Home: p.key.home, Event: Event{Kind: EventGranted, Home: p.key.home, Node: p.source}})
}

// store makes k the key of its address.
func (r *Router) store(k routerKey) {
	if old := r.keys[k.home]; old != nil {
		r.timers.Set(old, pacing.Never)
		clear(old.key[:])
	}
	n := k
	n.timer = pacing.Timer{}
	r.keys[k.home] = &n
	r.timers.Set(&n, n.expires)
	record := r.record(&n)
	r.emit(Effect{Kind: EffectSave, Home: n.home, Record: &record})
}

func (r *Router) record(k *routerKey) Record {
	return Record{Home: k.home, Key: k.key, KeyLen: KeyLen(k.at), AT: k.at, Expires: r.clock.Moment(k.expires), KeyHash: k.hash}
}

// expire ends the keys whose lifetime is over (HK-AR-18).
func (r *Router) expire(now pacing.Time) {
	for k, ok := r.timers.Due(now); ok; k, ok = r.timers.Due(now) {
		r.count[countExpired]++
		r.forget(k, "its lifetime is over")
	}
}

func (r *Router) forget(k *routerKey, why string) {
	r.timers.Set(k, pacing.Never)
	delete(r.keys, k.home)
	clear(k.key[:])
	r.emit(Effect{Kind: EffectForget, Home: k.home})
	r.emit(Effect{Kind: EffectReport, Home: k.home, Event: Event{Kind: EventExpired, Home: k.home, Detail: why}})
}

// Restore takes up keys that an earlier process gave. Those that are expired or make no sense are forgotten.
func (r *Router) Restore(now time.Time, records []Record) []Effect {
	t := r.clock.At(now)
	for i := range records {
		rec := &records[i]
		expires := r.clock.At(rec.Expires)
		if KeyLen(rec.AT) == 0 || rec.KeyLen != KeyLen(rec.AT) || !ipv6.IsRoutableUnicast(rec.Home) || expires <= t || len(r.keys) >= r.cfg.MaxKeys {
			r.count[countForgotten]++
			r.emit(Effect{Kind: EffectForget, Home: rec.Home})
			continue
		}
		k := &routerKey{home: rec.Home, key: rec.Key, at: rec.AT, hash: rec.KeyHash, expires: expires}
		if old := r.keys[k.home]; old != nil {
			r.timers.Set(old, pacing.Never)
		}
		r.keys[k.home] = k
		r.timers.Set(k, expires)
		r.count[countRestored]++
	}
	effects := r.effects
	r.effects = nil
	return effects
}

func (r *Router) emit(e Effect) { r.effects = append(r.effects, e) }
