package fmip

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// NodeInputKind says what happened to a Node.
type NodeInputKind uint8

// Inputs of a Node. The comment names the fields of NodeInput that count beside it.
const (
	InNodeTick   NodeInputKind = iota // a deadline passed
	InNodePacket                      // a packet was received: Packet, and of Neighbour Discovery what SEND says of it
	InAttached                        // the link came up, or is another one
	InDetached                        // the link went down
	InAddress                         // the answer to an EffectAddress, which can come twice: Addr, Failed (another has it)
	InMove                            // prepare for a move to the access point Target, and say when to leave
	InKeyRequest                      // the handover key machine asks: Router, Home, Pair, Option (27, encoded)
	InKey                             // there is a handover key of Router for Home
)

// NodeInput is one thing that happened to a Node.
type NodeInput struct {
	Kind NodeInputKind

	Packet     *ipv6.Packet
	Secured    bool           // SEND: every rule of RFC 3971 is fulfilled, and the message may make new state
	Authorized bool           // SEND: the signer's key is certified, or certificates are not asked for
	Covered    []netip.Prefix // SEND: what the certification path lets the signer advertise

	Addr   netip.Addr
	Failed bool

	Target ipv6.LinkAddr

	Router, Home netip.Addr
	Pair         uint64
	Option       []byte
}

// NodeEffectKind says what a Node wants to be done.
type NodeEffectKind uint8

// Effects of a Node. The comment names the fields of NodeEffect that count beside it.
const (
	// EffectNodeSend sends Packet, a mobility header: as a frame to LinkDst on Link, or, where Link is 0, by the routing table.
	EffectNodeSend NodeEffectKind = iota + 1
	// EffectNodeSendND sends Packet, a whole unsigned packet of Neighbour Discovery, to LinkDst on Link, signed. One with
	// Unsigned goes as it is: its source is no CGA. One with Pair has a handover key request in it: Router, Home and Pair go to
	// the handover key machine with the nonce that the packet leaves with.
	EffectNodeSendND
	// EffectAddress gives the interface Addr, of a /64 on the link, usable at once, and starts Duplicate Address Detection. The
	// answer is InAddress; it comes again where a duplicate is found later. EffectRelease takes Addr off the interface.
	EffectAddress
	EffectRelease
	// EffectDefaultRouter makes Router, whose link-layer address is LinkDst, the default router for Lifetime. With 0 it is none
	// any more. Router is a global address as long as the link-local one is not known.
	EffectDefaultRouter
	// EffectWantKey asks for the handover key of Router for Home as long as EffectUnwantKey does not end that; InKey tells when
	// it is there.
	EffectWantKey
	EffectUnwantKey
	// EffectKeyReply gives the handover key machine what a proxy advertisement of Router says: Router, Home, Nonce, Secured,
	// Authorized, Reply if HasReply.
	EffectKeyReply
	// EffectDiscardKey tells the handover key machine that Mobile IPv6 has taken over for Home.
	EffectDiscardKey
	// EffectHandover tells that the node moved, after which key pairs are counted.
	EffectHandover
	// EffectTunnel opens the node's end of the tunnel for Binding, in place of an older one of its home address;
	// EffectUntunnel closes that of Home.
	EffectTunnel
	EffectUntunnel
	// EffectNodeReport tells people: Event.
	EffectNodeReport
)

// NodeEffect is one thing to do. Which fields count depends on Kind.
type NodeEffect struct {
	Kind NodeEffectKind

	Link     int
	LinkDst  ipv6.LinkAddr
	Packet   []byte
	Unsigned bool

	Addr         netip.Addr
	Router, Home netip.Addr
	Lifetime     time.Duration
	Pair         uint64

	Nonce               []byte // shares memory with the packet of the input
	Secured, Authorized bool
	Reply               ndp.Option // shares memory with the packet of the input
	HasReply            bool

	Binding Binding
	Event   NodeEvent
}
