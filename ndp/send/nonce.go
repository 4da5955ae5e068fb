package send

import (
	"bytes"
	"io"
	"net/netip"
	"time"
)

const (
	// ownNonce is the length of our nonces: with type and length one unit.
	ownNonce = optionUnit - optionHead
	// nonceLifetime is for how long answers are recognized. One nonce is good for all answers until then, since several
	// routers may answer one solicitation (HK-resolution-g).
	nonceLifetime = 10 * time.Second
)

// asked is one solicitation of ours.
type asked struct {
	nonce [ownNonce]byte
	kind  Message       // of the answers
	from  netip.Addr    // who must answer; the zero Addr if anyone may
	until time.Duration // zero: the slot is free
}

// nonces remembers our solicitations; a new one puts out the oldest.
type nonces struct {
	slots []asked
	next  int
	bound int
}

// resize sets the bound. Where that changes, what was asked is forgotten.
func (n *nonces) resize(bound int) {
	if bound != n.bound {
		*n = nonces{bound: bound}
	}
}

// add makes a nonce and remembers it. It fails with the random source.
func (n *nonces) add(now time.Duration, a asked, random io.Reader, scratch []byte) (slot int, err error) {
	if _, err := io.ReadFull(random, scratch[:ownNonce]); err != nil {
		return 0, err
	}
	copy(a.nonce[:], scratch)
	a.until = now + nonceLifetime
	if len(n.slots) < n.bound {
		n.slots = append(n.slots, a)
		return len(n.slots) - 1, nil
	}
	slot = n.next
	n.slots[slot] = a
	n.next = (slot + 1) % n.bound
	return slot, nil
}

// sent lets the lifetime begin when the solicitation leaves; lost forgets one that does not.
func (n *nonces) sent(now time.Duration, slot int, nonce []byte) {
	if slot < len(n.slots) && bytes.Equal(n.slots[slot].nonce[:], nonce) {
		n.slots[slot].until = now + nonceLifetime
	}
}

func (n *nonces) lost(slot int, nonce []byte) {
	if slot < len(n.slots) && bytes.Equal(n.slots[slot].nonce[:], nonce) {
		n.slots[slot].until = 0
	}
}

// ours reports whether nonce is one that we asked with.
func (n *nonces) ours(now time.Duration, nonce []byte) bool {
	if len(nonce) != ownNonce {
		return false
	}
	for i := range n.slots {
		if a := &n.slots[i]; a.until > now && a.nonce == [ownNonce]byte(nonce) {
			return true
		}
	}
	return false
}

// answered reports whether an advertisement of this kind from src with nonce answers a solicitation of ours.
func (n *nonces) answered(now time.Duration, nonce []byte, kind Message, src netip.Addr) bool {
	if len(nonce) != ownNonce {
		return false
	}
	for i := range n.slots {
		a := &n.slots[i]
		if a.until > now && a.nonce == [ownNonce]byte(nonce) && a.kind == kind && (!a.from.IsValid() || a.from == src) {
			return true
		}
	}
	return false
}
