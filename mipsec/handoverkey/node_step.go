package handoverkey

import (
	"net/netip"

	"github.com/roamkey/roamkey/ndp"
)

// NodeInputKind says what happened to a Node.
type NodeInputKind uint8

// Inputs of a Node. The comment names the fields of NodeInput that count beside it.
const (
	InNodeTick  NodeInputKind = iota // a deadline passed
	InWanted                         // a key is needed from Router for Home, and goes on being needed
	InUnwanted                       // no more key is needed of Router for Home; the one that is there stays until it ends
	InPair                           // a key pair is made: Pair, PublicKey (Failed if it could not be done)
	InAsked                          // a solicitation left that has the option of EffectRequest: Router, Home, Pair, Nonce
	InReply                          // an advertisement came: Router, Secured, Authorized, Nonce, Reply if HasReply
	InDecrypted                      // a decryption is done: Job, Octets
	InHandover                       // the node moved (HKEPK-HANDOVERS)
	InBound                          // Mobile IPv6 has the new address: the keys for Home are not needed any more
)

// NodeInput is one thing that happened to a Node.
type NodeInput struct {
	Kind NodeInputKind

	Router netip.Addr // to which Fast Binding Updates will go
	Home   netip.Addr // the node's CGA on the router's link

	Pair      uint64
	PublicKey []byte // SPKI in DER
	Failed    bool
	Nonce     []byte

	Secured    bool // SEND accepted the advertisement
	Authorized bool // a certification path covers its signer
	Reply      ndp.Option
	HasReply   bool

	Job    uint64
	Octets []byte
}

// String tells what the input is, without the key that it may hold.
func (in NodeInput) String() string { return "input for the handover key of " + in.Home.String() }

// GoString hides the key from %#v.
func (in NodeInput) GoString() string { return in.String() }

// NodeEffectKind says what a Node wants to be done.
type NodeEffectKind uint8

// Effects of a Node. The comment names the fields of NodeEffect that count beside it.
const (
	// EffectMakePair asks for an RSA key pair of Bits bits that is to be known as Pair; the answer is InPair. The private half
	// never comes here. EffectDropPair ends one.
	EffectMakePair NodeEffectKind = iota + 1
	EffectDropPair
	// EffectRequest asks Router for a key for Home: a Router Solicitation for Proxy Advertisement with Option in it and Home as
	// its source. Each time that one leaves: InAsked.
	EffectRequest
	// EffectDecrypt asks for the RSA private operation of Pair on Ciphertext. The answer is InDecrypted with KeyLen octets: those
	// found, or random ones where padding or length were wrong (HK-resolution-l).
	EffectDecrypt
	// EffectKey tells that there is a key of Router for Home.
	EffectKey
	// EffectNodeReport tells people: Event.
	EffectNodeReport
)

// NodeEffect is one thing that a Node wants to be done. Which fields count depends on Kind.
type NodeEffect struct {
	Kind NodeEffectKind

	Router, Home netip.Addr
	Pair         uint64
	Bits         int
	Option       []byte

	Job        uint64
	Ciphertext []byte
	KeyLen     int

	Event Event
}
