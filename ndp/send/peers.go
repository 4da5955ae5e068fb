package send

import (
	"time"
)

// peer is what is remembered of a peer's last accepted message (RFC 3971 section 5.3.4.2).
type peer struct {
	received time.Duration // RDlast, on the caller's clock
	stamp    stamp         // TSlast
	nonce    [maxNonce]byte
	nonceLen uint8
	digest   [20]byte // of its signed data
}

// peers is the timestamp cache. When it is full it prefers the peers that it has: a new one gets in only where one was
// silent for so long that nothing it said can be replayed any more (twice Delta).
type peers struct {
	bound           int
	index           map[[16]byte]int32
	slots           []peerSlot
	newest, longest int32 // ends of the list by time of reception; -1 when empty
}

type peerSlot struct {
	addr         [16]byte
	peer         peer
	newer, older int32
}

// resize sets the bound; those that were silent longest go first.
func (t *peers) resize(bound int) {
	if t.index == nil {
		t.index, t.newest, t.longest = make(map[[16]byte]int32), -1, -1
	}
	old := *t
	t.bound = bound
	if len(t.slots) <= bound {
		return
	}
	*t = peers{}
	t.resize(bound)
	skip := len(old.slots) - bound
	for i := old.longest; i >= 0; i = old.slots[i].newer {
		if skip > 0 {
			skip--
			continue
		}
		*t.put(old.slots[i].addr, 0, 0) = old.slots[i].peer
	}
}

// get gives what is known of addr, nil if nothing. The pointer is good until the next put.
func (t *peers) get(addr [16]byte) *peer {
	i, ok := t.index[addr]
	if !ok {
		return nil
	}
	return &t.slots[i].peer
}

// put gives the entry of addr to be written to, as the newest; a new one has no nonce. It is nil where the cache is full:
// no peer in it was silent for as long as idle.
func (t *peers) put(addr [16]byte, now, idle time.Duration) *peer {
	i, ok := t.index[addr]
	switch {
	case ok:
		t.unlink(i)
	case t.longest >= 0 && idle > 0 && now-t.slots[t.longest].peer.received > idle:
		i = t.longest
		t.unlink(i)
		delete(t.index, t.slots[i].addr)
		t.slots[i] = peerSlot{addr: addr}
		t.index[addr] = i
	case len(t.slots) < t.bound:
		i = int32(len(t.slots))
		t.slots = append(t.slots, peerSlot{addr: addr})
		t.index[addr] = i
	default:
		return nil
	}
	s := &t.slots[i]
	s.newer, s.older = -1, t.newest
	if t.newest >= 0 {
		t.slots[t.newest].newer = i
	} else {
		t.longest = i
	}
	t.newest = i
	return &s.peer
}

func (t *peers) unlink(i int32) {
	s := &t.slots[i]
	if s.newer >= 0 {
		t.slots[s.newer].older = s.older
	} else {
		t.newest = s.older
	}
	if s.older >= 0 {
		t.slots[s.older].newer = s.newer
	} else {
		t.longest = s.newer
	}
}

// repeats reports whether a message with this timestamp and nonce is the last accepted one once more.
func (p *peer) repeats(s stamp, nonce []byte) bool {
	return p.stamp == s && string(p.nonce[:p.nonceLen]) == string(nonce)
}

// accept notes a message that goes on from the last one.
func (p *peer) accept(received time.Duration, s stamp, nonce []byte, digest [20]byte) {
	p.received, p.stamp, p.digest = received, s, digest
	p.nonceLen = uint8(copy(p.nonce[:], nonce))
}
