package neighbor

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// InputKind says what happened.
type InputKind uint8

// Inputs. The comment names the fields of Input that count beside it.
const (
	InTick    InputKind = iota // a deadline passed
	InPacket                   // a message of Neighbour Discovery came: Packet (only looked at during Step), Secured, Repeat, Stale, Reply, OwnKey, Nonce
	InAsk                      // the kernel wants a neighbour resolved or probed: Addr, Missing
	InOwn                      // take an own address: Addr, Attempt, Optimistic, Plain, InUse
	InDisown                   // give it up: Addr
	InProxy                    // answer for another's address: Addr, Neighbour (its owner, zero if not known)
	InUnproxy                  // stop that: Addr
	InKnown                    // a protocol has told of a neighbour: Addr, Neighbour, Secured
)

// Input is one thing that happened. It is one concrete struct, so that no input costs an allocation.
type Input struct {
	Kind   InputKind
	Packet *ipv6.Packet

	// What SEND says of the packet: that every rule of RFC 3971 is fulfilled; that it is the last message once more, or that
	// its time can't be judged (both may be answered and make no state); that it answers a nonce of ours; that this
	// host's own key has signed it; the nonce that a secured answer has to copy.
	Secured, Repeat, Stale, Reply, OwnKey bool
	Nonce                                 []byte

	Addr      netip.Addr
	Neighbour ipv6.LinkAddr

	// Missing: the kernel has no link-layer address for Addr. Otherwise it has one, and wants it confirmed.
	Missing bool

	// Attempt is how many addresses were duplicates before: the collision count of a CGA. From the second one on
	// unsecured messages do not count. Optimistic: the address is used during Duplicate Address Detection (RFC 4429).
	// Plain: it is no CGA of the own key, so that what is said for it can't be signed. InUse: there is nothing to detect, for
	// it has been in use before.
	Attempt                  int
	Optimistic, Plain, InUse bool
}

// EffectKind says what is to be done.
type EffectKind uint8

// Effects. The comment names the fields of Effect that count beside it.
const (
	// EffectSend sends Packet, a whole unsigned IPv6 packet, to LinkDst. Where Unsigned is not set SEND signs it: Answers is
	// the nonce to copy, Solicits says that it wants one of its own, Source whom a fair queue counts the signature to (zero:
	// ourselves).
	EffectSend EffectKind = iota + 1
	// EffectEntry writes the kernel's entry of Addr: Neighbour, State, Secured. With StateFailed the entry is removed.
	EffectEntry
	// EffectAddress says whether the own address Addr may be used (OK) or is a duplicate, which is given up.
	EffectAddress
	// EffectWatch makes the solicited-node group of Addr be heard, EffectUnwatch ends that.
	EffectWatch
	EffectUnwatch
	// EffectRedirect (hosts): the router at Router says that Target is the next hop to Addr, with link-layer address
	// Neighbour if that is not zero; Secured. Whether Router is the first hop to Addr is for the host to see; it tells of the
	// neighbour by InKnown if it follows.
	EffectRedirect
	// EffectReport tells people: Event.
	EffectReport
)

// Effect is one thing to do. Which fields count depends on Kind.
type Effect struct {
	Kind EffectKind

	LinkDst  ipv6.LinkAddr
	Packet   []byte
	Answers  []byte
	Solicits bool
	Unsigned bool
	Source   ipv6.LinkAddr

	Addr      netip.Addr
	Neighbour ipv6.LinkAddr
	State     State
	OK        bool

	Router, Target netip.Addr
	Secured        bool

	Event Event
}

// State is that of an entry (RFC 4861 section 7.3.2).
type State uint8

// States. To the kernel go StateReachable, StateStale and StateFailed only: it counts DELAY by itself.
const (
	StateIncomplete State = iota // it is being resolved
	StateReachable               // it was confirmed a short while ago
	StateStale                   // it is to be confirmed when it is used
	StateProbe                   // it is being confirmed
	StateFailed                  // it does not answer
)

var stateNames = [...]string{
	StateIncomplete: "incomplete", StateReachable: "reachable", StateStale: "stale", StateProbe: "probe", StateFailed: "failed",
}

// String is the name used in status.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// Entry is one neighbour, for status.
type Entry struct {
	Addr      netip.Addr
	Neighbour ipv6.LinkAddr // zero while it is not known
	Secured   bool
	Router    bool
	State     State
	Since     time.Time // when it got into its state
}

// Address is one own address, for status.
type Address struct {
	Addr                         netip.Addr
	Tentative, Optimistic, Plain bool
}

// EventKind names what an operator wants to see.
type EventKind uint8

// Events.
const (
	EventDuplicate EventKind = iota + 1 // the own address Addr is another's: Neighbour, Secured
	EventConflict                       // somebody speaks for the own address Addr, which was found free: Neighbour, Secured
	EventFull                           // there is no room for another neighbour
)

var eventNames = [...]string{
	EventDuplicate: "address-duplicate", EventConflict: "address-conflict", EventFull: "neighbours-full",
}

// String is the name used in logs and status.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && eventNames[k] != "" {
		return eventNames[k]
	}
	return "unknown"
}

// Event is one thing worth telling a person.
type Event struct {
	Kind      EventKind
	Link      int
	Addr      netip.Addr
	Neighbour ipv6.LinkAddr
	Secured   bool
}
