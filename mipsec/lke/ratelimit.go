package lke

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

// stationKey is one link-layer source on one link.
type stationKey struct {
	link   int
	source ipv6.LinkAddr
}

// station is what the router remembers of a link-layer source: how many requests it made, and the sequence number of its
// last one, which outlasts a DAD that failed (LKE-AR-11).
type station struct {
	requests pacing.Bucket
	seqUntil pacing.Time
	seq      uint16
}

// pairKey is the pair that the draft's limit is about: link-layer source and link-local source (LKE-AR-11).
type pairKey struct {
	stationKey
	local netip.Addr
}

// pair is the back-off of one pair.
type pair struct {
	last      pacing.Time
	notBefore pacing.Time
	interval  time.Duration // 0: no request since an association became valid
}

// idle reports whether p holds nothing any more that a pair which was never heard of would not have.
func (p *pair) idle(now pacing.Time, backoffMax time.Duration) bool {
	if p.interval == 0 {
		return now >= p.notBefore
	}
	return now >= p.notBefore.Add(backoffMax)
}

// stationBurst is how many requests one link-layer source gets through in a RequestInterval, whatever link-local
// addresses it uses.
const stationBurst = 4

// requestLimits decides which requests reach RSA.
type requestLimits struct {
	stations pacing.Table[stationKey, station]
	pairs    pacing.Table[pairKey, pair]
}

// resize bounds the tables for a router of so many nodes.
func (l *requestLimits) resize(nodes int) {
	bound := 2*nodes + 256
	l.stations.Resize(bound)
	l.pairs.Resize(bound)
}

// replayed reports whether a request with seq is no newer than the last of this source, which is remembered for one
// maximum lifetime (LKE-AR-9, resolution k).
func (l *requestLimits) replayed(now pacing.Time, key stationKey, seq uint16) bool {
	s := l.stations.Get(key)
	return s != nil && now < s.seqUntil && !sequenceAfter(seq, s.seq)
}

// sequenceAfter reports whether seq is newer than last modulo 2^16: last itself and the 32,768 values before it are not
// (RFC 6275 section 9.5.1).
func sequenceAfter(seq, last uint16) bool { return last-seq > 1<<15 }

// allow takes one request of the pair, or says why it must not reach RSA. It changes nothing then.
func (l *requestLimits) allow(now pacing.Time, key pairKey, cfg *RouterConfig) routerCounter {
	each := cfg.RequestInterval / stationBurst
	if s := l.stations.Get(key.stationKey); s != nil && !s.requests.Allows(now, each, stationBurst) {
		return dropRequestRateLink
	}
	p := l.pairs.Get(key)
	if p != nil && now < p.notBefore {
		return dropRequestRate
	}
	l.stations.Put(key.stationKey).requests.Take(now, each)
	l.pairs.Reuse(func(old *pair) bool { return old.idle(now, cfg.RequestBackoffMax) })
	p = l.pairs.Put(key)
	switch {
	case p.idle(now, cfg.RequestBackoffMax):
		p.interval = cfg.RequestInterval
	default:
		p.interval = min(2*p.interval, cfg.RequestBackoffMax)
	}
	p.last, p.notBefore = now, now.Add(p.interval)
	return countNone
}

// remember keeps the sequence number of a request that was taken.
func (l *requestLimits) remember(now pacing.Time, key stationKey, seq uint16, lifetime time.Duration) {
	s := l.stations.Put(key)
	s.seq, s.seqUntil = seq, now.Add(lifetime)
}

// succeeded ends the back-off of a pair whose association became valid.
func (l *requestLimits) succeeded(key pairKey, interval time.Duration) {
	if p := l.pairs.Get(key); p != nil {
		p.interval, p.notBefore = 0, p.last.Add(interval)
	}
}
