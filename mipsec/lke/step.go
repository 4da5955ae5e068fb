package lke

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// KeyLen is the length of the binding management key Kbm in octets (draft section 2.1).
const KeyLen = 16

// InputKind says what happened.
type InputKind uint8

// Inputs. The comment names the fields of Input that count beside it.
const (
	InTick       InputKind = iota // a deadline passed
	InPacket                      // a packet was received: Packet, and for the router Neighbour and IPsec
	InKey                         // router: a decryption is done: Job, Key
	InKeyLost                     // router: a decryption was dropped by the full queue: Job
	InForwarding                  // router: an EffectBind was carried out: Home, Failed
	InCiphertext                  // node: an encryption is done: Job, Octets (Failed if it could not be done)
	InAttached                    // node: the link came up on what may be another link
	InAddress                     // node: an address of EffectConfigure can be used now (Failed: it is a duplicate): Home
)

// Input is one thing that happened. It is one concrete struct, so that no input costs an allocation.
type Input struct {
	Kind   InputKind
	Packet *ipv6.Packet

	// Neighbour is the link-layer address that the router's neighbour cache has for the packet's home address on the link
	// it came from; zero if none. IPsec says that a security association with that address exists.
	Neighbour ipv6.LinkAddr
	IPsec     bool

	Job    uint64
	Key    [KeyLen]byte
	Octets []byte
	Home   netip.Addr
	Failed bool
}

// EffectKind says what is to be done.
type EffectKind uint8

// Effects. The comment names the fields of Effect that count beside it.
const (
	// EffectSend sends Packet: as a frame to LinkDst on Link, or, where Link is 0, by the routing table.
	EffectSend EffectKind = iota + 1
	// EffectDecrypt asks for the RSA private operation on Ciphertext; Source is whom a fair queue counts it to. The
	// answer is InKey with the 16 octets found, or with 16 random octets where padding or length were wrong: the two must
	// not be distinguishable. Where no job can be queued: InKeyLost.
	EffectDecrypt
	// EffectEncrypt asks for Key to be encrypted under PublicKey (SPKI DER); the answer is InCiphertext.
	EffectEncrypt
	// EffectBind makes Binding's home address be forwarded to its care-of address, replacing what was there; the answer is
	// InForwarding. EffectUnbind ends it.
	EffectBind
	EffectUnbind
	// EffectSave makes Record last before any later effect of the same step; EffectForget forgets that of Home.
	EffectSave
	EffectForget
	// EffectWatch makes solicitations for Home on Link be heard (its solicited-node group); EffectUnwatch ends it.
	EffectWatch
	EffectUnwatch
	// EffectConfigure (node): give the interface the address Home (a /64), and Router (link-local) as default router for
	// Lifetime. The answer is InAddress. EffectRelease takes the address off the link but keeps it for tunnelled traffic.
	EffectConfigure
	EffectRelease
	// EffectReport tells people: Event.
	EffectReport
)

// Effect is one thing to do. Which fields count depends on Kind.
type Effect struct {
	Kind EffectKind

	Link    int
	LinkDst ipv6.LinkAddr
	Packet  []byte

	Job        uint64
	Source     ipv6.LinkAddr
	Ciphertext []byte
	PublicKey  []byte
	Key        [KeyLen]byte

	Home     netip.Addr
	Router   netip.Addr
	Lifetime time.Duration
	Binding  Binding
	Record   *Record
	Event    Event
}

// Binding is one home address that is forwarded. On the router Home is the node's address on the served link Link (its
// previous care-of address), Router the router's own global address, CareOf where the node is now. The node uses the
// same struct for its end of the tunnel.
type Binding struct {
	Home, Router, CareOf netip.Addr
	Link                 int
}

// Record is what of one association has to outlast a restart of the daemon. It holds the key: it is never logged.
type Record struct {
	Home, Router netip.Addr
	Link         string // name of the link: indexes change
	Node         ipv6.LinkAddr
	NodeLocal    netip.Addr // the node's link-local address
	Key          [KeyLen]byte
	RequestSeq   uint16    // of the last Key Exchange Request
	Expires      time.Time // of the association
	UpdateSeq    uint16    // last accepted Binding Update sequence number (resolution t) ...
	Updated      bool      // ... if there was one
	Advert       []byte    // the cached advertisement, a whole IPv6 packet; nil after a binding update

	Bound        bool
	CareOf       netip.Addr
	BoundUntil   time.Time
	Verified     bool // the Finished message came
	BoundSeconds uint32
}

// String hides the key from %v and from any logger.
func (r Record) String() string { return "record of " + r.Home.String() }

// GoString hides the key from %#v.
func (r Record) GoString() string { return r.String() }
