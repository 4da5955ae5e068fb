package advertise

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// InputKind says what happened.
type InputKind uint8

// Inputs of a Speaker.
const (
	InTick   InputKind = iota // a deadline passed
	InPacket                  // a packet was received on the link: Packet; router solicitations and advertisements count
	InStart                   // the link is up and served: begin to advertise
	InStop                    // a real stop: say so with final advertisements; tick until Deadline is zero
	InHalt                    // a restart, or the link went down: fall silent at once
)

// Input is one thing that happened.
type Input struct {
	Kind   InputKind
	Packet *ipv6.Packet
}

// EffectKind says what is to be done.
type EffectKind uint8

// Effects of a Speaker.
const (
	EffectSend   EffectKind = iota + 1 // send Packet, a whole IPv6 packet, as a frame to LinkDst on Link
	EffectReport                       // tell people: Event
)

// Effect is one thing to do. Which fields count depends on Kind.
type Effect struct {
	Kind    EffectKind
	Link    int
	LinkDst ipv6.LinkAddr
	Packet  []byte
	Event   Event
}

// EventKind names what an operator wants to see.
type EventKind uint8

// Events of a Speaker.
const (
	EventOtherRouter  EventKind = iota + 1 // another router speaks on the link
	EventConflict                          // it says something that contradicts us: Detail
	EventImpersonated                      // somebody else advertises from our address
	EventNoAddress                         // no prefix has an address of ours: not a home agent, no LKE, until one has
)

// String is the name used in logs and status.
func (k EventKind) String() string {
	switch k {
	case EventOtherRouter:
		return "other-router"
	case EventConflict:
		return "advert-conflict"
	case EventImpersonated:
		return "advert-impersonated"
	case EventNoAddress:
		return "no-router-address"
	}
	return "unknown"
}

// Event is one thing worth telling a person.
type Event struct {
	Kind     EventKind
	Link     int
	Router   netip.Addr    // who said it
	Hardware ipv6.LinkAddr // its link-layer address, if known
	Detail   string
}

// Phase is what a Speaker is about.
type Phase uint8

// Phases.
const (
	Silent      Phase = iota // not started, halted, or all final advertisements are sent
	Advertising              // an advertising interface (RFC 4861 section 6.2.2)
	Ceasing                  // final advertisements go out
)

// String is the word used in status.
func (p Phase) String() string {
	switch p {
	case Advertising:
		return "advertising"
	case Ceasing:
		return "ceasing"
	}
	return "silent"
}

// Record is one prefix that hosts may hold because it was advertised here. It outlasts a restart so that a prefix which is
// gone by then can be told as stale (RFC 9096 section 3.5).
type Record struct {
	Prefix             netip.Prefix
	OnLink, Autonomous bool
	Until              time.Time // when the last host forgets it; zero: never
}

// Other is another router that speaks on the link.
type Other struct {
	Router      netip.Addr
	Hardware    ipv6.LinkAddr // source of its frames, or else its Source Link-Layer Address option; may be zero
	First, Last time.Time     // heard
	Adverts     uint32
	Lifetime    uint16 // seconds, as last said
	HomeAgent   bool
	Conflicts   Conflict // with what we say, in its last advertisement
}
