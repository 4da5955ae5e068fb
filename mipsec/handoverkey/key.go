package handoverkey

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/mipsec/mobility"
)

// MaxKeyLen is the length in octets of the longest handover key.
const MaxKeyLen = 32

// KeyLen gives the length in octets of the handover keys of algorithm type at, and 0 for a type that nothing is known of
// (RFC 5269 section 3.6; HK-resolution-a, HK-resolution-b).
func KeyLen(at uint8) int {
	switch at {
	case uint8(mobility.HMACSHA1):
		return 20
	case uint8(mobility.HMACSHA256):
		return 32
	}
	return 0
}

// algorithms is a set of algorithm types. The greater of two known types is the stronger one.
type algorithms uint16

func (a algorithms) has(at uint8) bool { return at < 16 && a&(1<<at) != 0 }

// choose gives the algorithm to use where a node prefers at: that one, else a stronger one. Of a preference that nobody has
// defined nothing is known, so that the strongest of all is chosen. ok is false where all are weaker than asked for
// (HK-AR-8).
func (a algorithms) choose(at uint8) (chosen uint8, ok bool) {
	if KeyLen(at) != 0 {
		for c := at; c < 16; c++ {
			if a.has(c) {
				return c, true
			}
		}
		return 0, false
	}
	for c := uint8(15); ; c-- {
		if a.has(c) {
			return c, true
		}
		if c == 0 {
			return 0, false
		}
	}
}

// makeSet gives the set of those types of list that are known: all, if none is listed.
func makeSet(list []uint8) algorithms {
	var set algorithms
	for _, at := range list {
		if KeyLen(at) != 0 {
			set |= 1 << at
		}
	}
	if set == 0 {
		set = 1<<mobility.HMACSHA1 | 1<<mobility.HMACSHA256
	}
	return set
}

// Record is one handover key of a router, to outlast a restart of the daemon (HK-AR-12). It holds the key: it is never logged.
type Record struct {
	Home    netip.Addr // the node's care-of CGA, by which the key is known
	Key     [MaxKeyLen]byte
	KeyLen  int // octets of Key that count
	AT      uint8
	Expires time.Time
	KeyHash [16]byte // of the node's CGA key
}

// String hides the key from %v and from any logger.
func (r Record) String() string { return "record of the handover key of " + r.Home.String() }

// GoString hides the key from %#v.
func (r Record) GoString() string { return r.String() }
