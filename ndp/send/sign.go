package send

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// Overhead is how many octets signing adds to a message at most: CGA option with a public key of spkiLen octets,
// timestamp, nonce, and signature option with modulusLen octets of signature. Extension fields in the CGA parameters come
// on top.
func Overhead(spkiLen, modulusLen int) int {
	return padded(keyAt+spkiLen) + timestampOctets + padded(optionHead+maxNonce) + padded(signatureAt+modulusLen)
}

func padded(n int) int { return (n + optionUnit - 1) / optionUnit * optionUnit }

// ownAddress is an address of ours with its CGA option.
type ownAddress struct {
	addr   netip.Addr
	option []byte
}

// maxOwn bounds the addresses whose options are kept.
const maxOwn = 32

// maxCollisions is the largest collision count of a CGA (RFC 3972 section 3).
const maxCollisions = 2

// identify forgets what was made of an earlier key.
func (e *Endpoint) identify() {
	e.own, e.keyHash = nil, [16]byte{}
	if key := e.cfg.Identity.Params.PublicKey; len(key) > 0 {
		e.keyHash = cga.KeyHash(key)
	}
}

// ownOption gives the CGA option of addr, nil if it is no CGA of the own key.
func (e *Endpoint) ownOption(addr netip.Addr) []byte {
	for i := range e.own {
		if e.own[i].addr == addr {
			return e.own[i].option
		}
	}
	id := &e.cfg.Identity
	if id.ModulusLen == 0 || !addr.Is6() {
		return nil
	}
	params := id.Params.In(netip.PrefixFrom(addr, 64))
	for ; params.Collisions <= maxCollisions; params.Collisions++ {
		if params.Address(id.Sec) != addr {
			continue
		}
		option := cga.Option(params)
		if len(option) == 0 {
			return nil
		}
		if len(e.own) == maxOwn {
			e.own = slices.Delete(e.own, 0, 1)
		}
		e.own = append(e.own, ownAddress{addr: addr, option: option})
		return option
	}
	return nil
}

// send completes a message of ours up to the signature option and asks for the signature (RFC 3971 sections 5.1.1, 5.2.1
// and 5.3.3).
func (e *Endpoint) send(now time.Duration, in *Input) {
	var p ipv6.Packet
	var m message
	if ipv6.Parse(in.Octets, &p) != ipv6.OK || classify(&p, &m) != ndp.ReasonNone || m.kind >= messageCount ||
		len(p.Raw) != ipv6.HeaderLen+len(p.Payload) {
		e.notSent(countSendForm, p.Src, "it is no well-formed message of Neighbour Discovery")
		return
	}
	if m.cga.Octets != nil || m.timestamp.Octets != nil || m.nonce.Octets != nil || m.signature.Octets != nil {
		e.notSent(countSendOptions, p.Src, "it has options of SEND already")
		return
	}
	claimed := m.claimed(&p)
	var option []byte
	signs := !claimed.IsUnspecified() // all but router solicitations from ::
	if signs {
		option = e.ownOption(claimed)
		switch {
		case m.kind == MessageNeighborAdvert && p.Src != m.target, option == nil && p.Src.IsUnspecified():
			// For another's address: nothing that we could sign would prove it.
			e.count.add(countSentProxy)
			e.emitSend(in, slices.Clone(p.Raw), nil)
			return
		case option == nil && e.cfg.Secured:
			e.notSent(countSendAddress, claimed, "its source is not a CGA of our key, and the link is secured-only")
			return
		case option == nil:
			// Who has not heard of SEND has to reach such an address all the same.
			e.count.add(countSentPlain)
			e.report(Event{Kind: EventNotSigned, Addr: claimed, Detail: "its source is not a CGA of our key: it left unsigned"})
			e.emitSend(in, slices.Clone(p.Raw), nil)
			return
		}
		limit, part := e.cfg.MaxPending, e.cfg.MaxPending
		if !in.Source.IsZero() {
			// What others ask for leaves room for what we say of ourselves.
			limit, part = max(limit-share(limit), 1), share(limit)
		}
		if reason := e.signing.room(in.Source, limit, part); reason != ReasonNone {
			if reason == ReasonBusy {
				e.count.add(countSignBusy)
			} else {
				e.count.add(countSignFull)
			}
			return
		}
	}
	nonce, slot := in.Answers, 0
	if len(nonce) > maxNonce || m.kind == MessageRedirect {
		nonce = nil
	}
	if m.solicits() {
		var err error
		if slot, err = e.nonces.add(now, expected(&p, &m), e.cfg.Rand, e.scratch[:]); err != nil {
			e.notSent(countSendRandom, claimed, "no random octets for its nonce")
			return
		}
		nonce = e.scratch[:]
	}
	signature := 0
	if signs {
		signature = e.cfg.Identity.ModulusLen
	}
	b := make([]byte, 0, len(p.Raw)+len(option)+timestampOctets+padded(optionHead+len(nonce))+padded(signatureAt+signature))
	b = append(append(b, p.Raw...), option...)
	b = e.appendTimestamp(b, now, in.Wall)
	nonceAt := len(b) + optionHead
	if len(nonce) > 0 {
		b = ndp.AppendNonce(b, nonce)
	}
	finish(b, p.Src, p.Dst)
	own := signing{
		link: e.cfg.Link, linkDst: in.LinkDst, packet: b, signature: signature, keyHash: e.keyHash, cookie: in.Cookie,
	}
	if m.solicits() {
		own.nonceAt, own.nonceSlot = nonceAt, slot
	}
	if !signs {
		e.count.add(countSentUnsigned)
		e.emitSend(in, b, own.nonce())
		return
	}
	p.Raw, p.Payload = b, b[ipv6.HeaderLen:]
	digest := e.signer.digest(&p, len(p.Payload), binary.BigEndian.Uint16(p.Payload[checksumAt:checksumEnd]))
	e.lastJob++
	at := e.signing.put(e.lastJob, jobSign, in.Source, now+jobWait, own)
	e.wakeAt(at.deadline)
	e.count.add(countSignJobs)
	e.emit(Effect{Kind: EffectSign, Job: at.job, Source: in.Source, Digest: digest})
}

// expected says who may answer a solicitation of ours, and how.
func expected(p *ipv6.Packet, m *message) asked {
	a := asked{kind: MessageNeighborAdvert, from: m.target}
	switch m.kind {
	case MessageRouterSolicit:
		a.kind = MessageRouterAdvert
	case MessageProxySolicit:
		a.kind = MessageProxyAdvert
	}
	// Routers answer from their link-local address, whichever they were asked at.
	if m.kind != MessageNeighborSolicit && p.Dst.IsLinkLocalUnicast() {
		a.from = p.Dst
	}
	return a
}

// appendTimestamp appends a Timestamp option (RFC 3971 section 5.3.1).
func (e *Endpoint) appendTimestamp(b []byte, now time.Duration, wall time.Time) []byte {
	s, stepped := e.clock.next(now, wall, e.cfg.Delta/2)
	if stepped {
		e.report(Event{
			Kind:   EventClockBack,
			Detail: "the clock was put back: peers will refuse what they did not ask for, until they have forgotten us",
		})
	}
	b = append(b, ndp.OptTimestamp, timestampOctets/optionUnit, 0, 0, 0, 0, 0, 0)
	return binary.BigEndian.AppendUint64(b, uint64(s))
}

// finish puts payload length and checksum of the ICMPv6 packet b right.
func finish(b []byte, src, dst netip.Addr) {
	binary.BigEndian.PutUint16(b[4:6], uint16(len(b)-ipv6.HeaderLen))
	ndp.FixChecksum(b[ipv6.HeaderLen:], src, dst)
}

// signed sends the message whose signature is there.
func (e *Endpoint) signed(now time.Duration, job uint64, signature []byte) {
	at := e.signing.find(job)
	if at == nil {
		e.count.add(countUnknownJob)
		return
	}
	own := &at.what
	if len(signature) != own.signature {
		e.count.add(countSignLength)
		e.dropSigning(at)
		return
	}
	b := ndp.Signature{KeyHash: own.keyHash, Octets: signature}.Append(own.packet)
	finish(b, address(b[8:]), address(b[24:]))
	nonce := own.nonce()
	if nonce != nil {
		e.nonces.sent(now, own.nonceSlot, nonce)
	}
	e.count.add(countSigned)
	e.emit(Effect{Kind: EffectSend, Link: own.link, LinkDst: own.linkDst, Packet: b, Nonce: nonce, Cookie: own.cookie})
	e.signing.free(at)
}

// nonce gives the nonce that the message asks with, nil if none.
func (s *signing) nonce() []byte {
	if s.nonceAt == 0 {
		return nil
	}
	return s.packet[s.nonceAt : s.nonceAt+ownNonce : s.nonceAt+ownNonce]
}

func (e *Endpoint) emitSend(in *Input, packet, nonce []byte) {
	e.emit(Effect{
		Kind: EffectSend, Link: e.cfg.Link, LinkDst: in.LinkDst, Packet: packet, Nonce: nonce, Cookie: in.Cookie,
	})
}

// dropSigning forgets a message of ours that will not be sent, and its nonce.
func (e *Endpoint) dropSigning(at *place[signing]) {
	if nonce := at.what.nonce(); nonce != nil {
		e.nonces.lost(at.what.nonceSlot, nonce)
	}
	e.signing.free(at)
}

func (e *Endpoint) notSent(why counter, addr netip.Addr, detail string) {
	e.count.add(why)
	e.report(Event{Kind: EventNotSigned, Addr: addr, Detail: detail})
}
