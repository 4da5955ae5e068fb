package fmip

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

// Messages between routers have a number in the form of RFC 4285's timestamp: the wall clock in units of 1/65536 s since
// 1970. A sender's numbers only grow. A receiver takes each number once, and none that is older than those it remembers. Of
// a neighbour that it has never heard of it takes one near its own clock. To any other it answers with the highest number
// that it has seen, so that a sender which has lost its own goes on from there. The answer to an HI has the number of the
// HI: no other answer can stand for it.
const (
	numberSecond = 1 << 16
	numberWindow = 300 * numberSecond // how far a first number may be from the own clock
	numberAhead  = 60 * numberSecond  // recorded in advance, so that not each message needs a record
	numberSlack  = numberSecond       // how much older than the first number what follows it may be
	maxNumber    = 1<<63 - 1          // beyond is nonsense: a sender could not go on

	// seenNumbers is how many numbers of one neighbour are remembered: messages may overtake each other by as many.
	seenNumbers = 64
)

// peer is one neighbour, with the state of the numbers.
type peer struct {
	Neighbor

	sent     uint64 // our last number
	reserved uint64 // in our record: no number above it was used

	known    bool   // a number was taken
	received uint64 // highest
	floor    uint64 // what is not above it is too old
	seen     [seenNumbers]uint64
	oldest   int // place in seen that is used next
	count    int

	asked pacing.Bucket // HIs that it asks for
	stale pacing.Bucket // answers about its numbers
}

// clockNumber gives the number of a wall-clock time.
func clockNumber(wall time.Time) uint64 {
	if wall.IsZero() || wall.Unix() < 0 {
		return 0
	}
	return uint64(wall.Unix())*numberSecond + uint64(wall.Nanosecond())*numberSecond/uint64(time.Second)
}

// wallNumber gives the number of the present, as far as it was ever told.
func (r *Router) wallNumber(now pacing.Time) uint64 {
	if r.wall.IsZero() {
		return 0
	}
	return clockNumber(r.wall.Add(now.Sub(r.wallAt)))
}

// next gives the next number of ours, and whether the record has to go on first.
func (p *peer) next(clock uint64) (number uint64, record bool) {
	p.sent = max(p.sent+1, clock)
	if p.sent > p.reserved {
		p.reserved = p.sent + numberAhead
		return p.sent, true
	}
	return p.sent, false
}

// take notes a number of the neighbour's and reports whether it is a new one.
func (p *peer) take(number, clock uint64) bool {
	if number > maxNumber {
		return false
	}
	if !p.known {
		if number+numberWindow < clock || number > clock+numberWindow {
			return false
		}
		p.known, p.floor = true, max(number, numberSlack)-numberSlack
	}
	if number <= p.floor {
		return false
	}
	for _, seen := range p.seen[:p.count] {
		if seen == number {
			return false
		}
	}
	if p.count < len(p.seen) {
		p.count++
	} else {
		p.floor = max(p.floor, p.seen[p.oldest])
	}
	p.seen[p.oldest] = number
	p.oldest = (p.oldest + 1) % len(p.seen)
	p.received = max(p.received, number)
	return true
}

// fresh takes a number of the neighbour's and makes it last that it was taken.
func (r *Router) fresh(p *peer, number uint64) bool {
	before := p.received
	if !p.take(number, r.wallNumber(r.now)) {
		return false
	}
	if p.received != before {
		r.savePeer(p)
	}
	return true
}

func (r *Router) savePeer(p *peer) {
	r.emit(Effect{Kind: EffectSave, Record: &Record{Kind: RecordPeer, Addr: p.Router, Sent: p.reserved, Received: p.received}})
}

// seal gives what protects a message to the neighbour: the number, and the option for the authenticator, which sendToPeer
// fills in.
func (r *Router) seal(now pacing.Time, p *peer, hasNumber *bool, auth *mobility.FastAuth) uint64 {
	if p.Protection != ProtectKey {
		return 0
	}
	*hasNumber = true
	*auth = pairAuth()
	number, record := p.next(r.wallNumber(now))
	if record {
		r.savePeer(p)
	}
	return number
}

// pairAuth is the option for an authenticator under the key of two routers.
func pairAuth() mobility.FastAuth {
	return mobility.FastAuth{Present: true, SPI: mobility.SPIPairKey, MAC: mobility.HMACSHA256}
}

// sendToPeer signs a message and sends it to the neighbour.
func (r *Router) sendToPeer(p *peer, src netip.Addr, mh []byte) {
	if p.Protection == ProtectKey {
		if len(p.Key) < minPeerKey || mobility.SignHandover(mh, p.Key, src, p.Router) != nil {
			r.count.add(dropPeerNoKey)
			return
		}
	}
	r.emit(Effect{Kind: EffectSend, Packet: mobilityPacket(src, p.Router, mh), Protect: p.Protection == ProtectIPsec})
}

// fromPeer makes the tests that HI and HAck share, before any of cost. Strangers get no answer.
func (r *Router) fromPeer(in *Input) (*peer, mobility.Header, bool) {
	q := in.Packet
	p := r.peers[q.Src]
	switch {
	case p == nil:
		r.count.add(dropPeerStranger)
	case q.HomeAddress.IsValid() || q.RoutingHome.IsValid():
		r.count.add(dropPeerExtension)
	case p.Protection == ProtectIPsec && !in.IPsec:
		r.count.add(dropPeerNoIPsec)
	case p.Protection == ProtectKey && len(p.Key) < minPeerKey:
		r.count.add(dropPeerNoKey)
	default:
		h, fault := mobility.Check(q, mobility.MinHeaderLen)
		if fault == mobility.FaultNone {
			return p, h, true
		}
		r.count.faults[fault]++
	}
	return nil, mobility.Header{}, false
}

// authentic reports whether a message comes from the neighbour. Whether it is new its number has to say.
func (r *Router) authentic(p *peer, in *Input, h mobility.Header, auth *mobility.FastAuth, hasNumber bool) bool {
	if p.Protection != ProtectKey {
		return true // ESP was there, or nothing is asked for
	}
	switch {
	case !auth.Present || !auth.Last || auth.SPI != mobility.SPIPairKey || !hasNumber:
		r.count.add(dropPeerNoAuth)
	case !mobility.VerifyHandover(h.Octets, p.Key, in.Packet.Src, in.Packet.Dst):
		r.count.add(dropPeerMAC)
	default:
		return true
	}
	return false
}
