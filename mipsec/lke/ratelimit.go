package lke

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// routerBucket limits a rate (generic cell rate algorithm): burst events at once, then one an interval.
type routerBucket struct {
	due routerTime // when the events so far would have been spread out evenly
}

// allows reports whether an event may happen at now.
func (b *routerBucket) allows(now routerTime, interval time.Duration, burst int) bool {
	return b.due <= now || b.due.sub(now) <= interval*time.Duration(burst-1)
}

// take counts an event that allows has permitted.
func (b *routerBucket) take(now routerTime, interval time.Duration) {
	b.due = max(b.due, now).add(interval)
}

// stationKey is one link-layer source on one link.
type stationKey struct {
	link   int
	source ipv6.LinkAddr
}

// station is what the router remembers of a link-layer source: how many requests it made, and the sequence number of its
// last one, which outlasts a DAD that failed (LKE-AR-11).
type station struct {
	requests routerBucket
	seqUntil routerTime
	seq      uint16
}

// pairKey is the pair that the draft's limit is about: link-layer source and link-local source (LKE-AR-11).
type pairKey struct {
	stationKey
	local netip.Addr
}

// pair is the back-off of one pair.
type pair struct {
	last      routerTime
	notBefore routerTime
	interval  time.Duration // 0: no request since an association became valid
}

// idle reports whether p holds nothing any more that a pair which was never heard of would not have.
func (p *pair) idle(now routerTime, backoffMax time.Duration) bool {
	if p.interval == 0 {
		return now >= p.notBefore
	}
	return now >= p.notBefore.add(backoffMax)
}

// stationBurst is how many requests one link-layer source gets through in a RequestInterval, whatever link-local
// addresses it uses.
const stationBurst = 4

// requestLimits decides which requests reach RSA.
type requestLimits struct {
	stations routerTable[stationKey, station]
	pairs    routerTable[pairKey, pair]
}

// resize bounds the tables for a router of so many nodes.
func (l *requestLimits) resize(nodes int) {
	bound := 2*nodes + 256
	l.stations.resize(bound)
	l.pairs.resize(bound)
}

// replayed reports whether a request with seq is no newer than the last of this source, which is remembered for one
// maximum lifetime (LKE-AR-9, resolution k).
func (l *requestLimits) replayed(now routerTime, key stationKey, seq uint16) bool {
	s := l.stations.get(key)
	return s != nil && now < s.seqUntil && !sequenceAfter(seq, s.seq)
}

// sequenceAfter reports whether seq is newer than last modulo 2^16: last itself and the 32,768 values before it are not
// (RFC 6275 section 9.5.1).
func sequenceAfter(seq, last uint16) bool { return last-seq > 1<<15 }

// allow takes one request of the pair, or says why it must not reach RSA. It changes nothing then.
func (l *requestLimits) allow(now routerTime, key pairKey, cfg *RouterConfig) routerCounter {
	each := cfg.RequestInterval / stationBurst
	if s := l.stations.get(key.stationKey); s != nil && !s.requests.allows(now, each, stationBurst) {
		return dropRequestRateLink
	}
	p := l.pairs.get(key)
	if p != nil && now < p.notBefore {
		return dropRequestRate
	}
	l.stations.put(key.stationKey).requests.take(now, each)
	l.pairs.reuse(func(old *pair) bool { return old.idle(now, cfg.RequestBackoffMax) })
	p = l.pairs.put(key)
	switch {
	case p.idle(now, cfg.RequestBackoffMax):
		p.interval = cfg.RequestInterval
	default:
		p.interval = min(2*p.interval, cfg.RequestBackoffMax)
	}
	p.last, p.notBefore = now, now.add(p.interval)
	return countNone
}

// remember keeps the sequence number of a request that was taken.
func (l *requestLimits) remember(now routerTime, key stationKey, seq uint16, lifetime time.Duration) {
	s := l.stations.put(key)
	s.seq, s.seqUntil = seq, now.add(lifetime)
}

// succeeded ends the back-off of a pair whose association became valid.
func (l *requestLimits) succeeded(key pairKey, interval time.Duration) {
	if p := l.pairs.get(key); p != nil {
		p.interval, p.notBefore = 0, p.last.add(interval)
	}
}

// routerTable is a map with a bound: a new key puts out the one that was put longest ago.
type routerTable[K comparable, V any] struct {
	bound       int
	index       map[K]int32
	slots       []routerSlot[K, V]
	newest, old int32 // ends of the list of slots; -1 when empty
	spent       bool  // the oldest slot may be taken by the next new key
}

type routerSlot[K comparable, V any] struct {
	key          K
	value        V
	newer, older int32
}

// resize sets the bound. Entries over a smaller bound are put out.
func (t *routerTable[K, V]) resize(bound int) {
	if t.index == nil {
		t.index, t.newest, t.old = make(map[K]int32), -1, -1
	}
	if len(t.slots) > bound {
		keep := routerTable[K, V]{}
		keep.resize(bound)
		for i := t.old; i >= 0; i = t.slots[i].newer {
			*keep.put(t.slots[i].key) = t.slots[i].value
		}
		*t = keep
	}
	t.bound = bound
}

// reuse makes the next put of a new key take the place of the oldest one, if that is stale. So the table grows only while
// what it holds still counts.
func (t *routerTable[K, V]) reuse(stale func(*V) bool) {
	t.spent = len(t.slots) > 0 && stale(&t.slots[t.old].value)
}

// get gives the value of key, nil if there is none. The pointer is good until the next put.
func (t *routerTable[K, V]) get(key K) *V {
	i, ok := t.index[key]
	if !ok {
		return nil
	}
	return &t.slots[i].value
}

// put gives the value of key, a zero one if there was none, and makes it the newest.
func (t *routerTable[K, V]) put(key K) *V {
	i, ok := t.index[key]
	switch {
	case ok:
		t.unlink(i)
	case len(t.slots) < t.bound && !t.spent:
		i = int32(len(t.slots))
		t.slots = append(t.slots, routerSlot[K, V]{key: key})
		t.index[key] = i
	default:
		i = t.old
		t.unlink(i)
		delete(t.index, t.slots[i].key)
		t.slots[i] = routerSlot[K, V]{key: key}
		t.index[key] = i
	}
	t.spent = false
	s := &t.slots[i]
	s.newer, s.older = -1, t.newest
	if t.newest >= 0 {
		t.slots[t.newest].newer = i
	} else {
		t.old = i
	}
	t.newest = i
	return &s.value
}

func (t *routerTable[K, V]) unlink(i int32) {
	s := &t.slots[i]
	if s.newer >= 0 {
		t.slots[s.newer].older = s.older
	} else {
		t.newest = s.older
	}
	if s.older >= 0 {
		t.slots[s.older].newer = s.newer
	} else {
		t.old = s.newer
	}
}
