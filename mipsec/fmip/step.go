package fmip

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// InputKind says what happened to a Router.
type InputKind uint8

// Inputs of a Router. The comment names the fields of Input that count beside it.
const (
	InTick       InputKind = iota // a deadline passed
	InPacket                      // a packet was received: Packet and all that stands under it in Input
	InGrant                       // the answer to an EffectKeyRequest: Cookie, Octets (option 28 encoded; nil: none)
	InForwarding                  // an EffectBind was carried out: Home, Failed
	InLinkEvent                   // the radio says something of a station: Link, Node, Event, Target
	InDrained                     // what was held for an address has been sent: Home
)

// LinkEvent is what the radio says of a station.
type LinkEvent uint8

// Link events.
const (
	LinkWeak       LinkEvent = iota + 1 // its signal is weak: a handover is likely, to Target if that is known
	LinkLeaving                         // it is about to leave, or is leaving: to Target if that is known
	LinkGone                            // it has left
	LinkAuthorised                      // it has arrived, and may send and receive
)

// Input is one thing that happened to a Router. It is one concrete struct, so that no input costs an allocation.
type Input struct {
	Kind InputKind

	Packet     *ipv6.Packet
	Secured    bool          // SEND: every rule of RFC 3971 is fulfilled
	Repeat     bool          // SEND: a repetition, which must make no new state
	Authorized bool          // SEND: a certification path covers the signer
	Nonce      []byte        // SEND: of the message, nil if none
	KeyHash    [16]byte      // SEND: of the signer's key
	CGAKey     []byte        // SEND: the signer's key, SPKI DER
	IPsec      bool          // it came through ESP
	Neighbour  ipv6.LinkAddr // the neighbour cache's entry for the address that NeighbourWanted names; zero if none
	Admitted   bool          // RtSolPr: Admit has let it through, so that it is not counted again
	Wall       time.Time     // wall-clock time; must not be zero for messages of other routers

	Cookie uint64
	Octets []byte
	Home   netip.Addr
	Failed bool

	Link   int
	Node   ipv6.LinkAddr
	Event  LinkEvent
	Target ipv6.LinkAddr // an access point; zero if not known
}

// EffectKind says what a Router wants to be done.
type EffectKind uint8

// Effects of a Router. The comment names the fields of Effect that count beside it.
const (
	// EffectSend sends Packet, a mobility header: as a frame to LinkDst on Link, or, where Link is 0, by the routing table;
	// with Protect through the protocol-135 raw socket, where ESP applies.
	EffectSend EffectKind = iota + 1
	// EffectSendND sends Packet, a whole unsigned packet of Neighbour Discovery, to LinkDst on Link, signed where the link
	// is secured. Answers is the nonce to copy, nil if none.
	EffectSendND
	// EffectKeyRequest asks the handover key machine for option 28: Cookie, Home, CGAKey, Option (27), Source. The answer
	// is InGrant.
	EffectKeyRequest
	// EffectBind makes Binding's home address be forwarded, replacing what was there; the answer is InForwarding.
	// EffectUnbind ends it, with Expired because its lifetime ran out (which also ends the handover key).
	EffectBind
	EffectUnbind
	// EffectHold keeps what arrives for Addr on its way to Link; with Copy it is sent on as well. EffectDrain sends what is
	// kept; the answer is InDrained. EffectDiscard throws it away.
	EffectHold
	EffectDrain
	EffectDiscard
	// EffectFreeze keeps no more for Addr. What is kept stays, for EffectDrain or EffectDiscard.
	EffectFreeze
	// EffectProxy makes solicitations for Addr on Link be answered; EffectUnproxy ends it.
	EffectProxy
	EffectUnproxy
	// EffectRoute makes a host route for Addr on Link, by which nothing is resolved before the node shows itself: Addr,
	// Link. Binding has the ends of the reverse tunnel: Home is Addr, Router our own address, CareOf the previous router's.
	// EffectUnroute ends it.
	EffectRoute
	EffectUnroute
	// EffectNeighbour writes the neighbour entry of Addr on Link: LinkAddr, stale; Secured if the owner of the address has
	// signed that (RFC 3971 section 8: what is unsecured must not make a secured entry).
	EffectNeighbour
	// EffectSave makes Record last before any later effect of the same step; EffectForget forgets the one that has the Kind
	// and Addr of Record.
	EffectSave
	EffectForget
	// EffectReport tells people: Event.
	EffectReport
)

// Effect is one thing to do. Which fields count depends on Kind.
type Effect struct {
	Kind EffectKind

	Link     int
	LinkDst  ipv6.LinkAddr
	Packet   []byte
	Protect  bool
	Answers  []byte
	Addr     netip.Addr
	LinkAddr ipv6.LinkAddr
	Secured  bool
	Copy     bool

	Cookie uint64
	Home   netip.Addr
	CGAKey []byte
	Option ndp.Option
	Source ipv6.LinkAddr

	Binding Binding
	Expired bool
	Record  *Record
	Event   Event
}

// Binding is one previous care-of address that is forwarded. On the router Home is the node's address on the served link
// Link, Router the router's own global address, CareOf the other end of the tunnel: the node's new care-of address, or
// with ToRouter the new access router. The node uses the same struct for its end of the tunnel.
type Binding struct {
	Home, Router, CareOf netip.Addr
	Link                 int
	ToRouter             bool
}

// RecordKind says what a Record is of.
type RecordKind uint8

// Kinds of records. A record is known by its kind and its address.
const (
	RecordNode RecordKind = iota + 1 // a mobile node that we are the previous router of
	RecordPeer                       // a neighbouring router
)

// Record is what has to outlast a restart of the daemon. It holds no key.
//
// Of a node that is its last sequence number, without which an old Fast Binding Update could be sent again, and its
// binding, so that forwarding that still stands goes on. Of a neighbouring router it is the numbers of its messages and
// ours, so that none is taken twice and none of ours is taken for an old one.
type Record struct {
	Kind RecordKind
	Addr netip.Addr // RecordNode: previous care-of address. RecordPeer: the peer's global address

	Link     string // RecordNode: name of the link: indexes change
	Node     ipv6.LinkAddr
	KeyTag   [8]byte // tells whether the handover key is still the one that Seq goes with; no key can be had from it
	Seq      uint16
	Bound    bool // what follows counts
	Router   netip.Addr
	CareOf   netip.Addr // the node's new care-of address, which authenticators go over
	Assigned netip.Addr // the address that the new router has in its place, zero if none
	Exit     netip.Addr // the other end of the tunnel: CareOf or Assigned, or the new router
	Until    time.Time
	Lifetime uint16 // as granted, in seconds

	Sent     uint64 // RecordPeer: no number of ours above it was used
	Received uint64 // highest number taken from the peer, 0 if none
}
