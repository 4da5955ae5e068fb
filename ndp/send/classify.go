package send

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// message is what classify finds in a packet. Its options share memory with the packet; one whose Octets are nil is not
// there. Only options before the first signature are seen (RFC 3971 section 5.2.2), of repeated ones the first.
type message struct {
	kind                             Message
	cga, timestamp, nonce, signature ndp.Option
	target                           netip.Addr // of solicitation and advertisement for neighbours, and of redirects
	destination                      netip.Addr // of redirects
	handoverKey                      bool       // RtSolPr with option 27, PrRtAdv with option 28 (RFC 5269)
	malformed                        bool       // signed: an option of SEND stands there that can't be read
}

// Where the fields of messages and options stand, in octets.
const (
	hopLimit = 255

	shortHeader    = 8 // router solicitation, RtSolPr, PrRtAdv, CPS
	advertHeader   = 16
	neighborHeader = 24
	redirectHeader = 40

	checksumAt    = 2
	checksumEnd   = 4
	subtypeAt     = 4
	targetAt      = 8
	destinationAt = 24

	optionUnit      = 8
	optionHead      = 2
	timestampOctets = 16
	timestampAt     = 8
	minNonce        = 6
	maxNonce        = 30 // longer ones are not answered: the nonce is copied into the answer
	paramsAt        = 4  // of the CGA parameters in their option
	keyAt           = paramsAt + 25
	signatureHashAt = 4
	signatureAt     = 20
)

// Owns reports whether p is a message that has to go through an Endpoint: router and neighbour solicitations and
// advertisements, redirects, RtSolPr and PrRtAdv, and those of delegation discovery, which are just passed on.
func Owns(p *ipv6.Packet) bool {
	if p.Proto != ipv6.ProtoICMPv6 || len(p.Payload) == 0 {
		return false
	}
	switch p.Payload[0] {
	case ndp.TypeRouterSolicit, ndp.TypeRouterAdvert, ndp.TypeNeighborSolicit, ndp.TypeNeighborAdvert, ndp.TypeRedirect,
		ndp.TypeFast, ndp.TypePathSolicit, ndp.TypePathAdvert:
		return true
	}
	return false
}

// classify reads a packet, makes the tests that all messages share (RFC 4861, RFC 6980), and notes the options that count
// here. Messages of delegation discovery are not tested: fragments of theirs are allowed, and they are not signed.
func classify(p *ipv6.Packet, m *message) ndp.Reason {
	msg := p.Payload
	if p.Proto != ipv6.ProtoICMPv6 || len(msg) == 0 {
		return ndp.ReasonType
	}
	fixed, codes := shortHeader, uint8(0)
	switch msg[0] {
	case ndp.TypePathSolicit, ndp.TypePathAdvert:
		m.kind = messagePath
		return ndp.ReasonNone
	case ndp.TypeRouterSolicit:
		m.kind = MessageRouterSolicit
	case ndp.TypeRouterAdvert:
		m.kind, fixed = MessageRouterAdvert, advertHeader
	case ndp.TypeNeighborSolicit:
		m.kind, fixed = MessageNeighborSolicit, neighborHeader
	case ndp.TypeNeighborAdvert:
		m.kind, fixed = MessageNeighborAdvert, neighborHeader
	case ndp.TypeRedirect:
		m.kind, fixed = MessageRedirect, redirectHeader
	case ndp.TypeFast:
		m.kind = messageOther
		if len(msg) > subtypeAt {
			switch msg[subtypeAt] {
			case ndp.SubtypeProxySolicit:
				m.kind = MessageProxySolicit
			case ndp.SubtypeProxyAdvert:
				m.kind, codes = MessageProxyAdvert, 255 // its parser knows the codes
			}
		}
	default:
		return ndp.ReasonType
	}
	switch {
	case p.Fragmented:
		return ndp.ReasonFragment
	case p.HomeAddress.IsValid() || p.RoutingHome.IsValid():
		return ndp.ReasonExtension
	case p.HopLimit != hopLimit:
		return ndp.ReasonHopLimit
	case len(msg) < fixed:
		return ndp.ReasonLength
	case ipv6.Checksum(p.Src, p.Dst, ipv6.ProtoICMPv6, msg) != 0:
		return ndp.ReasonChecksum
	case msg[1] > codes:
		return ndp.ReasonCode
	}
	if reason := m.addresses(p); reason != ndp.ReasonNone {
		return reason
	}
	return m.options(msg, fixed)
}

// addresses makes those tests of addresses that a later parser would make in vain after RSA.
func (m *message) addresses(p *ipv6.Packet) ndp.Reason {
	if p.Src.IsMulticast() || p.Src.IsUnspecified() && m.kind != MessageNeighborSolicit && m.kind != MessageRouterSolicit {
		return ndp.ReasonSource
	}
	switch m.kind {
	case MessageRouterAdvert, MessageRedirect, MessageProxyAdvert:
		if !p.Src.IsLinkLocalUnicast() {
			return ndp.ReasonSource
		}
	}
	switch m.kind {
	case MessageRedirect:
		m.destination = address(p.Payload[destinationAt:])
		m.target = address(p.Payload[targetAt:])
	case MessageNeighborSolicit, MessageNeighborAdvert:
		m.target = address(p.Payload[targetAt:])
		if m.target.IsMulticast() {
			return ndp.ReasonTarget
		}
	}
	if m.kind == MessageNeighborSolicit && p.Src.IsUnspecified() && p.Dst != ipv6.SolicitedNode(m.target) {
		return ndp.ReasonDestination
	}
	return ndp.ReasonNone
}

func address(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b[:16])) }

// options notes the options up to the first signature and tests the form of all.
func (m *message) options(msg []byte, fixed int) ndp.Reason {
	options := ndp.OptionsAt(msg, fixed)
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if m.signature.Octets != nil {
			continue
		}
		switch o.Type {
		case ndp.OptCGA:
			note(&m.cga, o)
		case ndp.OptTimestamp:
			note(&m.timestamp, o)
			m.malformed = m.malformed || len(o.Octets) != timestampOctets
		case ndp.OptNonce:
			note(&m.nonce, o)
			m.malformed = m.malformed || len(o.Body()) > maxNonce
		case ndp.OptSignature:
			m.signature = o
			m.malformed = m.malformed || len(o.Octets) <= signatureAt
		case ndp.OptKeyRequest:
			m.handoverKey = m.handoverKey || m.kind == MessageProxySolicit
		case ndp.OptKeyReply:
			m.handoverKey = m.handoverKey || m.kind == MessageProxyAdvert
		}
	}
	if options.Err() != nil {
		return ndp.ReasonOption
	}
	return ndp.ReasonNone
}

func note(field *ndp.Option, o ndp.Option) {
	if field.Octets == nil {
		*field = o
	}
}

// solicits reports whether m is a solicitation, advertises whether it is an advertisement: redirects are neither.
func (m *message) solicits() bool {
	return m.kind == MessageRouterSolicit || m.kind == MessageNeighborSolicit || m.kind == MessageProxySolicit
}

func (m *message) advertises() bool {
	return m.kind == MessageRouterAdvert || m.kind == MessageNeighborAdvert || m.kind == MessageProxyAdvert
}

// mustHaveCGA reports whether a CGA option must be there, whatever authorizes the sender (table of RFC 3971 section 5.1.1,
// and RFC 5269 section 3).
func (m *message) mustHaveCGA() bool {
	switch m.kind {
	case MessageNeighborSolicit, MessageNeighborAdvert, MessageRouterSolicit:
		return true
	}
	return m.handoverKey
}

// claimed is the address that has to be a CGA of the key: the source; the target where there is none.
func (m *message) claimed(p *ipv6.Packet) netip.Addr {
	if m.kind == MessageNeighborSolicit && p.Src.IsUnspecified() {
		return m.target
	}
	return p.Src
}
