package send

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

const (
	// jobWait is for how long an RSA operation is waited for. The queue has to answer each; this is for when it does not.
	jobWait = 10 * time.Second
	// shares is into how many parts a pool is divided: one source gets one at most.
	shares = 4
)

// pool is a bounded set of places for what waits. One link-layer source gets a quarter of it, so that it can't keep others
// out.
type pool[T any] struct {
	places []place[T]
	busy   int
}

type place[T any] struct {
	job      uint64 // 0: free
	source   ipv6.LinkAddr
	deadline time.Duration
	what     T
}

// room says why nothing can be put in for source, if so; limit is how many places there are for it and all others.
func (p *pool[T]) room(source ipv6.LinkAddr, limit, share int) Reason {
	if p.busy >= limit {
		return ReasonFull
	}
	for i := range p.places {
		if p.places[i].job != 0 && p.places[i].source == source {
			if share--; share <= 0 {
				return ReasonBusy
			}
		}
	}
	return ReasonNone
}

// share is the part of a pool of size bound that one source gets.
func share(bound int) int { return max(bound/shares, 1) }

// put takes a free place. The number of a job is made of a sequence number, the place, and one bit that tells pools apart.
func (p *pool[T]) put(seq uint64, kind uint64, source ipv6.LinkAddr, deadline time.Duration, what T) *place[T] {
	at := -1
	for i := range p.places {
		if p.places[i].job == 0 {
			at = i
			break
		}
	}
	if at < 0 {
		at = len(p.places)
		p.places = append(p.places, place[T]{})
	}
	p.busy++
	p.places[at] = place[T]{job: seq<<17 | uint64(at)<<1 | kind, source: source, deadline: deadline, what: what}
	return &p.places[at]
}

const (
	jobVerify = 0
	jobSign   = 1
)

// find gives the place of a job, nil if it is not awaited any more.
func (p *pool[T]) find(job uint64) *place[T] {
	at := job >> 1 & (maxBound - 1)
	if job == 0 || at >= uint64(len(p.places)) || p.places[at].job != job {
		return nil
	}
	return &p.places[at]
}

// free gives back a place.
func (p *pool[T]) free(at *place[T]) {
	*at = place[T]{}
	p.busy--
}

// earliest gives the least of wake and all deadlines; a wake of 0 is none.
func (p *pool[T]) earliest(wake time.Duration) time.Duration {
	for i := range p.places {
		if at := &p.places[i]; at.job != 0 && (wake == 0 || at.deadline < wake) {
			wake = at.deadline
		}
	}
	return wake
}

// waitState says what a received message waits for.
type waitState uint8

const (
	waitRSA  waitState = iota
	waitPath           // verified already
	waitKey            // for a path, which tells the key
)

// waiting is a received message that passed all cheap tests.
type waiting struct {
	state     waitState
	kind      Message
	link      int
	source    ipv6.LinkAddr
	raw       []byte // the packet up to the signature option, its length and checksum put right
	signature []byte // with padding until the key is known
	src       netip.Addr
	neighbour netip.Addr // of a redirect to a neighbour: its address

	claimed  [16]byte // address that the key has to be authorized for
	key      []byte   // SPKI
	keyHash  [16]byte
	nonce    []byte
	stamp    stamp
	digest   [20]byte
	received time.Duration

	cga      bool // claimed is a CGA of key
	anchored bool // a certification path is needed
	reply    bool
	stale    bool
	repeat   bool
	timely   bool // the timestamp can be remembered
}

// signing is a message of ours that waits for its signature.
type signing struct {
	link      int
	linkDst   ipv6.LinkAddr
	packet    []byte // with room for the signature option
	signature int    // octets that it has to have
	keyHash   [16]byte
	nonceAt   int // octet of the packet; 0: it has none of its own
	nonceSlot int
	cookie    uint64
}
