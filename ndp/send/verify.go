package send

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// askVerify asks for the public operation on a message that waits.
func (e *Endpoint) askVerify(at *place[waiting]) {
	w := &at.what
	e.count.add(countVerifyJobs)
	e.emit(Effect{
		Kind: EffectVerify, Job: at.job, Source: at.source, PublicKey: w.key, Digest: w.digest, Signature: w.signature,
	})
}

// verified goes on with the message whose signature was right or wrong. From here on the peer is known to have said it.
func (e *Endpoint) verified(now time.Duration, job uint64, ok bool) {
	at := e.received.find(job)
	if at == nil || at.what.state != waitRSA {
		e.count.add(countUnknownJob)
		return
	}
	if !ok {
		e.giveUp(at, ReasonSignature)
		return
	}
	e.count.add(countVerified)
	w := &at.what
	if reason := e.remember(w); reason != ReasonNone {
		e.giveUp(at, reason)
		return
	}
	if w.anchored && e.paths.find(now, w.keyHash) == nil && !e.wantPath(now, w) {
		e.giveUp(at, ReasonPaths)
		return
	}
	if known := e.paths.find(now, w.keyHash); w.anchored && known.state == pathAsked {
		w.state, at.deadline = waitPath, now+pathWait
		e.wakeAt(at.deadline)
		return
	}
	found := *w
	e.received.free(at)
	e.complete(now, &found)
}

// remember takes the timestamp of a verified message into the cache. While RSA ran another message of the peer may have
// come: so its age is tested again.
func (e *Endpoint) remember(w *waiting) Reason {
	known := e.peers.get(w.claimed)
	if known != nil {
		if !w.reply && !w.stale && !goesOn(w.stamp, known.stamp, w.received-known.received, &e.cfg) {
			return ReasonReplayed
		}
		if w.repeat = known.repeats(w.stamp, w.nonce); w.repeat {
			return ReasonNone
		}
	}
	if w.stale || !w.timely || known != nil && w.stamp <= known.stamp {
		return ReasonNone
	}
	p := e.peers.put(w.claimed, w.received, 2*e.cfg.Delta)
	if p == nil {
		e.count.add(countPeersFull)
		return ReasonNone
	}
	p.accept(w.received, w.stamp, w.nonce, w.digest)
	return ReasonNone
}

// complete delivers a verified message, if its path allows it.
func (e *Endpoint) complete(now time.Duration, w *waiting) {
	s := Security{
		Secured: true, Repeat: w.repeat, Stale: w.stale, Reply: w.reply, CGA: w.cga, KeyHash: w.keyHash, PublicKey: w.key,
		Nonce: w.nonce,
	}
	if known := e.paths.find(now, w.keyHash); known != nil && known.state == pathKnown {
		s.Authorized, s.Prefixes = true, known.prefixes
	}
	switch {
	case !w.anchored:
	case !s.Authorized:
		e.refuseWaiting(w, ReasonNoPath)
		return
	case w.neighbour.IsValid() && !covers(s.Prefixes, netip.PrefixFrom(w.neighbour, w.neighbour.BitLen())):
		e.refuseWaiting(w, ReasonRange) // RFC 3971 section 7.2
		return
	}
	e.count.add(countSecured)
	if s.Reply {
		e.count.add(countReplies)
	}
	if s.Repeat {
		e.count.add(countRepeats)
	}
	if s.Stale {
		e.count.add(countStale)
	}
	e.deliverWaiting(w, s)
}

// giveUp frees the place of a message that failed and refuses it.
func (e *Endpoint) giveUp(at *place[waiting], why Reason) {
	w := at.what
	e.received.free(at)
	e.refuseWaiting(&w, why)
}

func (e *Endpoint) refuseWaiting(w *waiting, why Reason) {
	if e.cfg.Secured || why.final() {
		e.count.dropped[why]++
		return
	}
	e.count.unsecured[why]++
	e.deliverWaiting(w, Security{Why: why})
}

func (e *Endpoint) deliverWaiting(w *waiting, s Security) {
	p := new(ipv6.Packet)
	if ipv6.Parse(w.raw, p) != ipv6.OK {
		return // it did parse with its signature
	}
	p.Interface, p.LinkSource = w.link, w.source
	e.deliver(p, s)
}

// wantPath makes sure that a path for the key of w is looked for. It is false when too many are.
func (e *Endpoint) wantPath(now time.Duration, w *waiting) bool {
	if e.paths.find(now, w.keyHash) != nil {
		return true
	}
	if !e.paths.ask(now, w.keyHash) {
		return false
	}
	e.count.add(countPathsAsked)
	e.emit(Effect{Kind: EffectPath, KeyHash: w.keyHash, Router: w.src})
	return true
}

// pathFound notes a path, or that there is none, and goes on with the messages that waited for it.
func (e *Endpoint) pathFound(now time.Duration, in *Input) {
	found := path{keyHash: in.KeyHash, state: pathNone, until: now + noPathLifetime}
	if in.OK {
		lifetime := in.Lifetime
		if lifetime <= 0 {
			lifetime = pathLifetime
		}
		found.state, found.until = pathKnown, now+min(lifetime, maxPathLifetime)
		found.prefixes, found.key = in.Prefixes, in.PublicKey
	}
	if e.paths.learn(now, found) == nil {
		e.count.add(countPathsFull)
	}
	told := false
	for i := range e.received.places {
		at := &e.received.places[i]
		w := &at.what
		if at.job == 0 || w.keyHash != in.KeyHash || w.state == waitRSA {
			continue
		}
		if !in.OK && !told {
			told = true
			e.report(Event{Kind: EventNoPath, Addr: w.src, Detail: "no trust anchor of ours certifies this router's key"})
		}
		switch {
		case !in.OK, w.state == waitKey && in.PublicKey == nil:
			e.giveUp(at, ReasonNoPath)
		case w.state == waitPath:
			done := *w
			e.received.free(at)
			e.complete(now, &done)
		default:
			w.key = in.PublicKey
			if reason := e.examineRSA(w); reason != ReasonNone {
				e.giveUp(at, reason)
				continue
			}
			w.state, at.deadline = waitRSA, now+jobWait
			e.wakeAt(at.deadline)
			e.askVerify(at)
		}
	}
}
