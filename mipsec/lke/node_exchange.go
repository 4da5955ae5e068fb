package lke

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// nodePhase is how far a key exchange has come.
type nodePhase uint8

const (
	nodeIdle       nodePhase = iota
	nodeEncrypting           // the encryption of the key is under way
	nodeAsking               // requests go out until the router's DAD solicitation is answered
)

// nodeExchange is the node's one key exchange: the key, and the requests that carried it. It lasts until the router's
// solicitation has been answered and not only until the acknowledgement, for one of the two may be lost, and a router
// that hears nothing in its DAD period has no association.
type nodeExchange struct {
	phase      nodePhase
	at         time.Time // nodeEncrypting: when to ask again for the encryption; nodeAsking: of the next request
	notBefore  time.Time // no request before this
	gap        time.Duration
	job        uint64
	key        [KeyLen]byte
	ciphertext []byte

	seq         uint64 // of the last request, of any exchange; the message has the lower 16 bits
	first, last uint16 // requests of this exchange
	firstAt     time.Time
	lastAt      time.Time
	lifetime    uint16 // requested, seconds

	acked    bool
	ackedSeq uint16

	// early is a solicitation that is authentic under the key of this exchange, but overtook the acknowledgement.
	early struct {
		at     time.Time
		nonce  uint32
		router netip.Addr
	}
}

// abandon ends the exchange and wipes its key. The pace of requests stays.
func (x *nodeExchange) abandon() {
	x.phase, x.at, x.acked = nodeIdle, time.Time{}, false
	x.key, x.ciphertext = [KeyLen]byte{}, nil
	x.early.at = time.Time{}
	x.job++ // an answer that is still to come is stale
}

// forgetPace begins anew with the first gap, as towards another router or after a success.
func (x *nodeExchange) forgetPace() { x.gap, x.notBefore = nodeRequestGap, time.Time{} }

// outstanding reports whether seq is a request that still waits for its acknowledgement.
func (x *nodeExchange) outstanding(seq uint16) bool {
	if x.phase != nodeAsking || !within(seq, x.first, x.last) {
		return false
	}
	return !x.acked || !within(seq, x.first, x.ackedSeq)
}

// restart begins again with another key (LKE-MN-7, LKE-MN-9), at the pace of the requests before: a forger of
// acknowledgements must not get a key exchange for each of them.
func (n *Node) restart() {
	n.exchange.abandon()
	n.count(nodeRestarts)
}

// exchangeDue gives the time at which the next key exchange is to begin, and whether there is any.
func (n *Node) exchangeDue() (time.Time, bool) {
	l, x := &n.link, &n.exchange
	if !n.ready() || l.router.publicKey == nil || x.phase != nodeIdle {
		return time.Time{}, false
	}
	// LKE-MN-2: the home agent comes first, and its acknowledgement shows that the router routes (draft section 6.1).
	if n.cfg.HomeAgent.IsValid() && l.careOf != n.cfg.HomeAddress && !n.home.boundTo(l.careOf) {
		return time.Time{}, false
	}
	at := later(x.notBefore, l.arrived)
	for _, a := range n.associations {
		switch {
		case a.home == l.careOf && a.binding.inUse():
			return time.Time{}, false // deregistered first: a router refuses a request for a bound address (resolution p)
		case a.home == l.careOf && a.at(&l.router):
			at = later(at, a.renewAt)
		case a.binding.outstanding:
			at = later(at, l.arrived.Add(nodeHandoverWait))
		}
	}
	return at, true
}

func (n *Node) runExchange() {
	x := &n.exchange
	switch x.phase {
	case nodeIdle:
		if at, ok := n.exchangeDue(); ok && !n.now.Before(at) {
			n.startExchange()
		}
	case nodeEncrypting:
		if n.due(x.at) {
			x.abandon()
			n.count(nodeJobFailed)
		}
	case nodeAsking:
		if n.ready() && n.due(x.at) {
			n.request()
		}
	}
}

func (n *Node) exchangeDeadline() time.Time {
	x := &n.exchange
	switch {
	case x.phase == nodeIdle:
		at, _ := n.exchangeDue()
		return at
	case x.phase == nodeAsking && !n.ready():
		return time.Time{}
	}
	return x.at
}

// startExchange makes a key and has it encrypted (LKE-MN-3).
func (n *Node) startExchange() {
	l, x := &n.link, &n.exchange
	x.abandon()
	if !n.random(x.key[:]) {
		x.notBefore = n.now.Add(x.gap)
		return
	}
	if a := n.association(l.careOf); a != nil && a.at(&l.router) {
		n.count(nodeRenewals)
	}
	x.phase, x.at = nodeEncrypting, n.now.Add(nodeRequestMax)
	x.notBefore = n.now.Add(x.gap) // also if no request comes of it
	n.emit(Effect{Kind: EffectEncrypt, Job: x.job, PublicKey: l.router.publicKey, Key: x.key})
}

// encrypted takes the encrypted key and sends the first request.
func (n *Node) encrypted(in Input) {
	x := &n.exchange
	if x.phase != nodeEncrypting || in.Job != x.job {
		n.count(nodeDropStaleJob)
		return
	}
	if in.Failed || len(in.Octets) != n.link.router.modulusLen {
		n.count(nodeJobFailed)
		x.abandon()
		x.notBefore = n.now.Add(x.gap)
		x.gap = min(2*x.gap, nodeRequestMax)
		return
	}
	x.ciphertext = append([]byte(nil), in.Octets...)
	x.phase, x.at = nodeAsking, n.now
	// LKE-MN-4: numbers increase. A clock that counts seconds gives a node that was started again a number beyond those it
	// used before, as long as it asks no more than once a second, which a router would not answer.
	if now := n.now.Unix(); now > 0 && uint64(now) > x.seq+1 {
		x.seq = uint64(now) - 1
	}
	x.first, x.firstAt = uint16(x.seq+1), n.now
	x.lifetime = n.link.router.maxLifetime
	if wanted := int64(n.cfg.Lifetime / time.Second); wanted > 0 && wanted < int64(x.lifetime) {
		x.lifetime = uint16(wanted)
	}
	x.lifetime = max(x.lifetime, nodeMinSeconds)
}

// request sends a Key Exchange Request (draft section 3.2.1): the first one, or again with the same key and the next
// number (LKE-MN-5).
func (n *Node) request() {
	l, x := &n.link, &n.exchange
	x.seq++
	x.last, x.lastAt = uint16(x.seq), n.now
	x.at = n.now.Add(x.gap)
	x.notBefore = x.at
	x.gap = min(2*x.gap, nodeRequestMax)

	message := mobility.KeyExchangeRequest{Seq: x.last, Data: x.ciphertext, Lifetime: x.lifetime}
	mh := message.Append(nil, n.cfg.CodePoints)
	mobility.FixChecksum(mh, l.careOf, l.router.linkLocal)
	header := ipv6.Header{
		Src: n.cfg.LinkLocal, Dst: l.router.linkLocal, TrafficClass: trafficClassNode, HopLimit: 255, HomeAddress: l.careOf,
	}
	n.sendOnLink(l.router.hw, ipv6.Append(nil, header, ipv6.ProtoMobility, mh))
	n.count(nodeRequests)
	n.report(Event{Kind: EventRequested, Home: l.careOf, Router: l.router.name()})
}

// trafficClassNode is the draft's priority 15, a field of four bits in the IPv6 of RFC 1883.
const trafficClassNode = 0xf0

// keyExchangeAck takes a Key Exchange Acknowledgement (draft section 3.2.2). What is not the answer to a request that is
// outstanding, from the router that was asked, is dropped without effect.
func (n *Node) keyExchangeAck(p *ipv6.Packet, h mobility.Header) {
	l, x := &n.link, &n.exchange
	switch {
	case p.HopLimit != 255:
		n.count(nodeDropAckHopLimit)
		return
	case p.Dst != n.cfg.LinkLocal || p.HomeAddress.IsValid():
		n.count(nodeDropAckAddress)
		return
	case x.phase != nodeAsking || !l.usable:
		n.count(nodeDropAckUnasked)
		return
	case p.Src != l.router.linkLocal || p.LinkSource != l.router.hw:
		n.count(nodeDropAckRouter)
		return
	case p.RoutingHome != l.careOf:
		n.count(nodeDropAckHome)
		return
	}
	m, err := mobility.ParseKeyExchangeAck(h, n.cfg.CodePoints)
	if err != nil {
		n.count(nodeDropAckMalformed)
		return
	}
	if !x.outstanding(m.Seq) {
		if x.acked && within(m.Seq, x.first, x.ackedSeq) {
			n.count(nodeDropAckDuplicate)
		} else {
			n.count(nodeDropAckUnasked)
		}
		return
	}
	a := n.association(l.careOf)
	if a != nil && !a.at(&l.router) {
		a = nil
	}
	if !mobility.VerifyKeyExchangeAck(h.Octets, x.key[:], p.Src, p.Dst, l.careOf) {
		// LKE-MN-7
		n.count(nodeDropAckUnverified)
		if a != nil {
			n.remove(a, EventLost, "an acknowledgement of the router could not be verified")
		}
		n.restart()
		return
	}
	if m.Status >= mobility.StatusUnspecified || m.Lifetime == 0 || !ipv6.IsRoutableUnicast(m.Router) {
		// The router will not, now: an earlier association stays, and the next request comes at its time.
		n.count(nodeDropAckRefused)
		n.report(Event{Kind: EventRefused, Home: l.careOf, Router: l.router.name(), Detail: "the router refused a key"})
		return
	}
	n.count(nodeAcks)
	n.acknowledged(a, m)
}

// acknowledged makes the association, or renews it, from a verified acknowledgement (LKE-MN-6).
func (n *Node) acknowledged(a *nodeAssociation, m mobility.KeyExchangeAck) {
	l, x := &n.link, &n.exchange
	// The router's clock started between request and acknowledgement.
	start := x.firstAt
	if m.Seq == x.last {
		start = x.lastAt
	}
	granted := min(time.Duration(m.Lifetime)*nodeLifetimeUnit, time.Duration(x.lifetime)*time.Second)
	x.ackedSeq = m.Seq
	if !x.acked || a == nil {
		x.acked = true
		a = n.associate(m.Router)
		n.report(Event{Kind: EventAcknowledge, Home: a.home, Router: a.router})
	}
	a.expires = start.Add(granted)
	jitter := granted / 16 * time.Duration(n.random16()) / 0x10000
	a.renewAt = start.Add(granted*3/4 - jitter)
	a.homeBy = a.expires.Add(-min(nodeHomeMargin, granted/4))
	if early := x.early; !early.at.IsZero() && early.router == a.router && n.now.Sub(early.at) < l.router.retrans {
		n.answerDAD(a, early.nonce)
	}
}
