package certpath

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// InputKind says what happened.
type InputKind uint8

// Inputs. The comment names the fields of Input that count beside it.
const (
	InTick   InputKind = iota // a deadline passed: Wall for the client
	InPacket                  // a packet was received: Packet, and Wall for the client
	InWanted                  // client: a message names a key whose path is wanted: KeyHash, Router, RouterLink, Wall
)

// Input is one thing that happened.
type Input struct {
	Kind   InputKind
	Packet *ipv6.Packet // used during Step only
	Wall   time.Time    // by the clock on the wall, against which certificates are valid

	KeyHash [16]byte   // as the message names the key (RFC 3971 section 5.2)
	Router  netip.Addr // link-local address that it came from
	// RouterLink is the link-layer address of Router where it is known and the node wants to ask that router alone at first,
	// as RFC 3971 section 6.4.6 says for a default router; zero asks all routers.
	RouterLink ipv6.LinkAddr
}

// EffectKind says what is to be done.
type EffectKind uint8

// Effects. The comment names the fields of Effect that count beside it.
const (
	// EffectSend sends Packet, a whole IPv6 packet, as a frame to LinkDst on Link. It is not signed: neither solicitations nor
	// advertisements of paths are.
	EffectSend EffectKind = iota + 1
	// EffectPath answers InWanted: KeyHash, OK. With OK there is a valid path: SPKI is the key, Prefixes may be advertised by
	// it, Purposes is what it is certified for, and the path is valid until Until by the wall clock. Without OK none can be had
	// for now.
	EffectPath
)

// Effect is one thing to do. Which fields count depends on Kind.
type Effect struct {
	Kind EffectKind

	Link    int
	LinkDst ipv6.LinkAddr
	Packet  []byte

	KeyHash  [16]byte
	OK       bool
	SPKI     []byte
	Prefixes []netip.Prefix
	Purposes Purpose
	Until    time.Time
}

// bucket is a token bucket: so many at once, and one more in each interval.
type bucket struct{ full time.Time } // when it would be full again

// allows tells whether one more may be taken now.
func (b *bucket) allows(now time.Time, each time.Duration, burst int) bool {
	return !b.next(each, burst).After(now)
}

// next tells when one more may be taken.
func (b *bucket) next(each time.Duration, burst int) time.Time {
	return b.full.Add(-time.Duration(burst-1) * each)
}

func (b *bucket) take(now time.Time, each time.Duration) {
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(each)
}
