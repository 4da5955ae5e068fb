package cga

import (
	"crypto/sha1"
	"errors"
	"net/netip"
)

// Errors of Verify, one for each step that can fail beside ErrCollisionCount.
var (
	ErrPrefix = errors.New("the address is under another prefix than its CGA parameters say")
	ErrHash1  = errors.New("the interface identifier is not the hash of the CGA parameters")
	ErrHash2  = errors.New("the modifier of the CGA parameters does not make the work that Sec of the address asks for")
)

// MaxSec is the largest Sec value of an address.
const MaxSec = 7

const (
	secShift  = 5
	hash1Mask = 0x1c // of the first octet: neither Sec, nor the u and g bits
	secOctets = 2    // of Hash2 that each Sec makes zero
)

// Sec gives the Sec value that addr has if it is a CGA: the first three bits of its interface identifier.
func Sec(addr netip.Addr) uint8 {
	a := addr.As16()
	return a[prefixOctets] >> secShift
}

// KeyHash gives the name of a public key in RSA Signature options (RFC 3971 section 5.2): the first 128 bits of the SHA-1
// over its SubjectPublicKeyInfo.
func KeyHash(spki []byte) [16]byte {
	sum := sha1.Sum(spki)
	return [16]byte(sum[:16])
}

// hash gives the SHA-1 over the parameters. It does not allocate for any that fit in an option.
func (p Params) hash() [sha1.Size]byte {
	var buf [maxInOption]byte
	return sha1.Sum(p.Append(buf[:0]))
}

// hash2 gives the hash that the work is in, of which 112 bits count.
func (p Params) hash2() [sha1.Size]byte {
	p.Prefix, p.Collisions = [8]byte{}, 0
	return p.hash()
}

// Address gives the address of the parameters with a Sec value from 0 to 7 (RFC 3972 section 4, steps 5 to 7). It is a
// valid CGA if a [Search] with that Sec has found the modifier.
func (p Params) Address(sec uint8) netip.Addr {
	hash1 := p.hash()
	var a [16]byte
	copy(a[:], p.Prefix[:])
	copy(a[prefixOctets:], hash1[:prefixOctets])
	a[prefixOctets] = a[prefixOctets]&hash1Mask | sec<<secShift
	return netip.AddrFrom16(a)
}

// Verify reports whether addr is the CGA of the parameters (RFC 3972 section 5), by the first step that fails: with
// ErrCollisionCount, ErrPrefix, ErrHash1 or ErrHash2.
func Verify(addr netip.Addr, p Params) error {
	if p.Collisions > maxCollisions {
		return ErrCollisionCount
	}
	a := addr.As16()
	if !addr.Is6() || [8]byte(a[:prefixOctets]) != p.Prefix {
		return ErrPrefix
	}
	hash1 := p.hash()
	if (hash1[0]^a[prefixOctets])&hash1Mask != 0 || [7]byte(hash1[1:8]) != [7]byte(a[prefixOctets+1:]) {
		return ErrHash1
	}
	hash2 := p.hash2()
	if !hasWork(&hash2, Sec(addr)) {
		return ErrHash2
	}
	return nil
}

// hasWork reports whether the first 16 times sec bits are zero.
func hasWork(hash2 *[sha1.Size]byte, sec uint8) bool {
	var all byte
	for _, octet := range hash2[:secOctets*int(sec)] {
		all |= octet
	}
	return all == 0
}
