package handoverkey

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// InputKind says what happened to a Router.
type InputKind uint8

// Inputs. The comment names the fields of Input that count beside it.
const (
	InTick InputKind = iota // a deadline passed
	// InRequest: a Router Solicitation for Proxy Advertisement with option 27 came. Cookie, Home, Secured, Repeat, CGAKey,
	// KeyHash, Request, Source.
	InRequest
	InEncrypted // an encryption is done: Job, Octets (Failed if it could not be done)
	InLost      // the full queue dropped an encryption: Job
	InTimedOut  // forwarding for Home ended because its lifetime did (HK-AR-18)
)

// Input is one thing that happened. It is one concrete struct, so that no input costs an allocation.
type Input struct {
	Kind InputKind

	Cookie  uint64     // names the request; it comes back with EffectGrant
	Home    netip.Addr // source of the solicitation, the node's care-of CGA
	Secured bool       // SEND accepted the solicitation: nothing may be done without
	Repeat  bool       // SEND has had this very solicitation before
	CGAKey  []byte     // SPKI of the CGA, in DER
	KeyHash [16]byte   // of CGAKey
	Request ndp.Option // the Handover Key Request option
	Source  ipv6.LinkAddr

	Job    uint64
	Octets []byte
	Failed bool
}

// EffectKind says what is to be done.
type EffectKind uint8

// Effects. The comment names the fields of Effect that count beside it.
const (
	// EffectEncrypt asks for Plain to be encrypted under PublicKey (SPKI DER) by RSAES-PKCS1-v1_5; Source is whom a fair queue
	// counts it to. The answer is InEncrypted, or InLost.
	EffectEncrypt EffectKind = iota + 1
	// EffectGrant answers the request of Cookie: with Option, the encoded Handover Key Reply option, or without one if it is nil.
	EffectGrant
	// EffectSave makes Record last before any later effect of the same step; EffectForget forgets that of Home.
	EffectSave
	EffectForget
	// EffectReport tells people: Event.
	EffectReport
)

// Effect is one thing to do. Which fields count depends on Kind.
type Effect struct {
	Kind EffectKind

	Job       uint64
	Source    ipv6.LinkAddr
	PublicKey []byte
	Plain     []byte

	Cookie uint64
	Option []byte

	Home   netip.Addr
	Record *Record
	Event  Event
}

// String tells what the effect is, without the key that it may hold.
func (e Effect) String() string { return "effect of the handover key of " + e.Home.String() }

// GoString hides the key from %#v.
func (e Effect) GoString() string { return e.String() }

// EventKind names what an operator wants to see.
type EventKind uint8

// Events.
const (
	EventGranted EventKind = iota + 1 // a node was given a key
	EventRefused                      // a node got no key: Detail says why
	EventExpired                      // a key ended
	EventMissed                       // node: no key came: Detail says why
)

// String is the name used in logs, status and the timeline.
func (k EventKind) String() string {
	switch k {
	case EventGranted:
		return "handover-key"
	case EventRefused:
		return "handover-key-refused"
	case EventExpired:
		return "handover-key-expired"
	case EventMissed:
		return "handover-key-missed"
	}
	return "unknown"
}

// Event is one thing worth telling a person. It never holds a key.
type Event struct {
	Kind   EventKind
	Home   netip.Addr
	Router netip.Addr    // node: whose key it is
	Node   ipv6.LinkAddr // router: who asked
	Detail string        // a constant sentence fragment
}
