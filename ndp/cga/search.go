package cga

import (
	"crypto/sha1"
	"math"
)

// Search looks for a modifier with which a public key can have addresses of a Sec value (RFC 3972 section 4, steps 1 to
// 3), some attempts at a time, so that the caller can do other things in between and tell of progress. Sec 1 takes 65,536
// attempts on average, Sec 2 as many times as much.
type Search struct {
	sec   uint8
	found bool
	tried uint64
	// octets are the parameters with prefix and collision count zero. The modifier stands first, so that no part of the
	// hash can be kept from one attempt to the next.
	octets []byte
}

// NewSearch begins a search at the modifier start, which should be random. spki and extensions are copied. A sec over 7 is
// taken for 7.
func NewSearch(spki, extensions []byte, sec uint8, start [16]byte) *Search {
	p := Params{Modifier: start, PublicKey: spki, Extensions: extensions}
	return &Search{
		sec:    min(sec, MaxSec),
		octets: p.Append(make([]byte, 0, keyOffset+len(spki)+len(extensions))),
	}
}

// Try makes up to n attempts, and gives the modifier once it is found; then it makes no more. It allocates nothing.
func (s *Search) Try(n int) (modifier [16]byte, found bool) {
	for ; n > 0 && !s.found; n-- {
		if s.tried > 0 {
			s.next()
		}
		s.tried++
		if s.sec == 0 {
			s.found = true
			break
		}
		hash2 := sha1.Sum(s.octets)
		s.found = hasWork(&hash2, s.sec)
	}
	if !s.found {
		return [16]byte{}, false
	}
	return [16]byte(s.octets[:modifierOctets]), true
}

// next adds 1 to the modifier, modulo 2 to the power of 128.
func (s *Search) next() {
	for i := modifierOctets - 1; i >= 0; i-- {
		s.octets[i]++
		if s.octets[i] != 0 {
			return
		}
	}
}

// Tried is the number of attempts made.
func (s *Search) Tried() uint64 { return s.tried }

// Expected is the number of attempts that a search takes on average; for Sec 4 and more the largest number there is.
func (s *Search) Expected() uint64 {
	const perSec = 16
	if s.sec >= 64/perSec {
		return math.MaxUint64
	}
	return 1 << (perSec * s.sec)
}
