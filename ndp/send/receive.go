package send

import (
	"errors"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// receive takes a packet through all tests that cost little, and then has its signature verified.
func (e *Endpoint) receive(now time.Duration, in *Input) {
	p := in.Packet
	if p == nil {
		return
	}
	if e.cfg.Link != 0 && p.Interface != 0 && p.Interface != e.cfg.Link {
		e.count.add(countOtherLink)
		return
	}
	var m message
	if reason := classify(p, &m); reason != ndp.ReasonNone {
		e.count.form[reason]++
		return
	}
	e.count.add(countReceived)
	if m.kind == messagePath {
		e.count.add(countPathMessages)
		e.deliver(p, Security{Why: ReasonUnsigned})
		return
	}
	var w waiting
	if reason := e.examine(now, in.Wall, p, &m, &w); reason != ReasonNone {
		e.refuse(p, &m, reason)
		return
	}
	if w.repeat {
		e.count.add(countKnownRepeats)
		w.capture(p, &m)
		e.complete(now, &w)
		return
	}
	if p.Src.IsUnspecified() && m.kind == MessageRouterSolicit {
		e.count.add(countSecured)
		e.deliverUnverified(p, &m, Security{Secured: true, Nonce: m.nonce.Body()})
		return
	}
	if reason := e.received.room(p.LinkSource, e.cfg.MaxPending, share(e.cfg.MaxPending)); reason != ReasonNone {
		e.refuse(p, &m, reason)
		return
	}
	if w.state == waitKey && !e.wantPath(now, &w) {
		e.refuse(p, &m, ReasonPaths)
		return
	}
	w.capture(p, &m)
	wait := jobWait
	if w.state == waitKey {
		wait = pathWait
	}
	e.lastJob++
	at := e.received.put(e.lastJob, jobVerify, p.LinkSource, now+wait, w)
	e.wakeAt(at.deadline)
	if w.state == waitRSA {
		e.askVerify(at)
	}
}

// examine makes all cheap tests and fills in w.
func (e *Endpoint) examine(now time.Duration, wall time.Time, p *ipv6.Packet, m *message, w *waiting) Reason {
	nonce := m.nonce.Body()
	switch {
	case m.solicits() && e.nonces.ours(now, nonce):
		return ReasonLooped
	case m.kind == MessageRouterSolicit && p.Src.IsUnspecified():
		if m.timestamp.Octets == nil && m.nonce.Octets == nil {
			return ReasonUnmarked
		}
		if m.malformed {
			return ReasonMalformed
		}
		return ReasonNone // a signature can't be anybody's and is not looked at
	case m.signature.Octets == nil || m.kind == messageOther:
		return ReasonUnsigned
	case m.malformed:
		return ReasonMalformed
	case m.timestamp.Octets == nil:
		return ReasonNoTimestamp
	case m.solicits() && m.nonce.Octets == nil:
		return ReasonNoNonce
	case m.kind == MessageNeighborAdvert && p.Src != m.target:
		return ReasonProxy // SEND can't authorize one to speak for another (RFC 3971 section 7.4)
	}
	w.kind, w.src, w.nonce, w.received = m.kind, p.Src, nonce, now
	w.stamp = readStamp(m.timestamp)
	if m.kind == MessageRedirect && m.target == m.destination {
		w.neighbour = m.destination
	}
	if reason := e.examineKey(now, p, m, w); reason != ReasonNone {
		return reason
	}
	if reason := e.examineAge(now, wall, p, m, w); reason != ReasonNone {
		return reason
	}
	w.digest = e.signer.digest(p, m.signature.Offset, shortChecksum(p, m.signature.Offset))
	w.repeat = e.verifiedBefore(now, m, w)
	return ReasonNone
}

// verifiedBefore reports whether these very octets are the last accepted message of their peer, so that RSA would say
// nothing new. The key has to be among them: the key hash in the signature option is not signed.
func (e *Endpoint) verifiedBefore(now time.Duration, m *message, w *waiting) bool {
	if m.cga.Octets == nil {
		return false
	}
	if w.anchored {
		if known := e.paths.find(now, w.keyHash); known == nil || known.state != pathKnown {
			return false
		}
	}
	last := e.peers.get(w.claimed)
	return last != nil && last.digest == w.digest
}

// examineKey finds the key of the message and tests it against address, bounds, key hash and signature.
func (e *Endpoint) examineKey(now time.Duration, p *ipv6.Packet, m *message, w *waiting) Reason {
	method := e.cfg.Methods[m.kind]
	named := [16]byte(m.signature.Octets[signatureHashAt:signatureAt])
	claimed := m.claimed(p)
	w.claimed = claimed.As16()
	w.keyHash, w.signature = named, m.signature.Octets[signatureAt:]
	if m.cga.Octets != nil {
		params, err := cga.ParseOption(m.cga)
		if err != nil {
			return ReasonCGAFormat
		}
		w.key = params.PublicKey
		w.cga = cga.Verify(claimed, params) == nil
		if !w.cga && (m.mustHaveCGA() || method.needsCGA()) {
			return ReasonCGA
		}
	} else if m.mustHaveCGA() || method.needsCGA() {
		return ReasonNoCGA
	}
	w.anchored = method.needsPath(w.cga)
	known := e.paths.find(now, named)
	if w.key == nil {
		switch {
		case known == nil || known.state == pathAsked:
			w.state = waitKey // all else is tested when the path is there
			return ReasonNone
		case known.state == pathNone || known.key == nil:
			return ReasonNoPath
		}
		w.key = known.key
	}
	if reason := e.examineRSA(w); reason != ReasonNone {
		return reason
	}
	if m.cga.Octets != nil && cga.KeyHash(w.key) != named {
		return ReasonKeyHash
	}
	if w.anchored && known != nil && known.state == pathNone {
		return ReasonNoPath
	}
	return ReasonNone
}

// examineRSA tests the size of the key and cuts the signature from its padding.
func (e *Endpoint) examineRSA(w *waiting) Reason {
	key, n, err := ndp.ParseSPKI(w.key)
	switch {
	case errors.Is(err, ndp.ErrKeySize) && len(w.key) < spkiBetween:
		return ReasonKeySmall
	case errors.Is(err, ndp.ErrKeySize):
		return ReasonKeyLarge
	case err != nil || n != len(w.key):
		return ReasonKey
	case key.Bits() < e.cfg.MinBits:
		return ReasonKeySmall
	case key.Bits() > e.cfg.MaxBits:
		return ReasonKeyLarge
	case len(w.signature) < len(key.Modulus):
		return ReasonSignatureLength
	}
	w.signature = w.signature[:len(key.Modulus)]
	return ReasonNone
}

// spkiBetween is longer than the SPKI of every key under 1024 bits, and shorter than that of every key over 4096.
const spkiBetween = 300

// examineAge tests nonce and timestamp (RFC 3971 section 5.3.4).
func (e *Endpoint) examineAge(now time.Duration, wall time.Time, p *ipv6.Packet, m *message, w *waiting) Reason {
	set := isSet(wall)
	within := w.stamp.within(wall, e.cfg.Delta)
	w.timely = within || !set && w.stamp < maxStamp
	if m.advertises() && m.nonce.Octets != nil {
		w.reply = e.nonces.answered(now, w.nonce, m.kind, p.Src)
		if w.reply {
			return ReasonNone
		}
		if !p.Dst.IsMulticast() {
			return ReasonNonce
		}
		// To all nodes, it may answer someone else: for us it is unsolicited.
	}
	known := e.peers.get(w.claimed)
	switch {
	case known != nil && !goesOn(w.stamp, known.stamp, now-known.received, &e.cfg):
		return ReasonReplayed
	case within, !set && known != nil:
		return ReasonNone
	case m.kind == MessageNeighborSolicit, !set && m.solicits():
		w.stale = true // so that nodes whose clocks are far apart can talk at all
		return ReasonNone
	}
	return ReasonTimestamp
}

// refuse drops a message that failed, or delivers it as unsecured.
func (e *Endpoint) refuse(p *ipv6.Packet, m *message, why Reason) {
	if e.cfg.Secured || why.final() {
		e.count.dropped[why]++
		return
	}
	e.count.unsecured[why]++
	e.deliverUnverified(p, m, Security{Why: why})
}

// deliverUnverified delivers a message without having verified it: the packet itself, or a copy that ends before the
// signature option.
func (e *Endpoint) deliverUnverified(p *ipv6.Packet, m *message, s Security) {
	if m.signature.Octets == nil {
		e.deliver(p, s)
		return
	}
	var w waiting
	w.nonce = s.Nonce
	w.capture(p, m)
	s.Nonce = w.nonce
	e.deliverWaiting(&w, s)
}

func (e *Endpoint) deliver(p *ipv6.Packet, s Security) {
	e.emit(Effect{Kind: EffectDeliver, Received: p, Security: s})
}

// capture makes a copy of p that ends before the signature option, and makes key, nonce and signature point into memory
// of its own.
func (w *waiting) capture(p *ipv6.Packet, m *message) {
	payload := len(p.Raw) - len(p.Payload)
	cut := payload + m.signature.Offset
	signature, key := w.signature, w.key
	b := make([]byte, cut+len(signature))
	copy(b, p.Raw[:cut])
	copy(b[cut:], signature)
	w.link, w.source = p.Interface, p.LinkSource
	w.raw, w.signature = b[:cut:cut], b[cut:]
	shorten(w.raw, payload, shortChecksum(p, m.signature.Offset))
	if m.nonce.Octets != nil && w.nonce != nil {
		at := payload + m.nonce.Offset + optionHead
		w.nonce = w.raw[at : at+len(w.nonce) : at+len(w.nonce)]
	}
	if m.cga.Octets != nil && key != nil {
		at := payload + m.cga.Offset + keyAt
		w.key = w.raw[at : at+len(key) : at+len(key)]
	}
}
