package ndp

import (
	"encoding/binary"
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// Reason says why a Neighbour Discovery message is not valid (RFC 4861 sections 6.1 and 7.1, RFC 6980). The zero value
// means that it is.
type Reason uint8

// Reasons of the Parse functions.
const (
	ReasonNone        Reason = iota
	ReasonType               // not ICMPv6, or a message of another type or subtype
	ReasonFragment           // came with a fragment header (RFC 6980 section 5)
	ReasonExtension          // came with a Home Address option or a routing header
	ReasonHopLimit           // hop limit not 255: it may come from another link
	ReasonLength             // shorter than the fixed part of its message
	ReasonChecksum           // wrong ICMPv6 checksum
	ReasonCode               // code not 0, in a proxy router advertisement over 5
	ReasonSource             // source address that the message cannot have, or a link-layer address with source ::
	ReasonDestination        // destination address that the message cannot have
	ReasonTarget             // target is a multicast address
	ReasonOption             // option with length zero, or over the end of the message
	ReasonRedirect           // redirect of a multicast address, or to a target that is neither a router nor the destination itself
	ReasonIdentifier         // identifier zero where there must be one, or one where it must be zero
	reasonCount
)

// Reasons is the number of Reason values, for tables of counters.
const Reasons = int(reasonCount)

// String gives the counter name of the reason.
func (r Reason) String() string {
	switch r {
	case ReasonNone:
		return "ok"
	case ReasonType:
		return "nd_other_type"
	case ReasonFragment:
		return "nd_fragment"
	case ReasonExtension:
		return "nd_extension_header"
	case ReasonHopLimit:
		return "nd_bad_hop_limit"
	case ReasonLength:
		return "nd_bad_length"
	case ReasonChecksum:
		return "nd_bad_checksum"
	case ReasonCode:
		return "nd_bad_code"
	case ReasonSource:
		return "nd_bad_source"
	case ReasonDestination:
		return "nd_bad_destination"
	case ReasonTarget:
		return "nd_bad_target"
	case ReasonOption:
		return "nd_bad_option"
	case ReasonRedirect:
		return "nd_bad_redirect"
	case ReasonIdentifier:
		return "nd_bad_identifier"
	}
	return "nd_unknown"
}

// check makes the tests that all messages of Neighbour Discovery share, with fixed as the length of the fixed part.
func check(p *ipv6.Packet, typ uint8, fixed int) Reason { return checkCode(p, typ, fixed, 0) }

// checkCode is check for a message whose code may be up to most. Only certification path advertisements may have come in
// fragments (RFC 6980 section 5).
func checkCode(p *ipv6.Packet, typ uint8, fixed int, most uint8) Reason {
	msg := p.Payload
	switch {
	case p.Proto != ipv6.ProtoICMPv6 || len(msg) == 0 || msg[0] != typ:
		return ReasonType
	case p.Fragmented && typ != TypePathAdvert:
		return ReasonFragment
	case p.HomeAddress.IsValid() || p.RoutingHome.IsValid():
		return ReasonExtension
	case p.HopLimit != 255:
		return ReasonHopLimit
	case len(msg) < fixed:
		return ReasonLength
	case ipv6.Checksum(p.Src, p.Dst, ipv6.ProtoICMPv6, msg) != 0:
		return ReasonChecksum
	case msg[1] > most:
		return ReasonCode
	}
	options := OptionsAt(msg, fixed)
	for _, ok := options.Next(); ok; _, ok = options.Next() {
	}
	if options.Err() != nil {
		return ReasonOption
	}
	return ReasonNone
}

// optionsOf gives the options of a message that has been checked, as far as they count.
func optionsOf(msg []byte, fixed int) Options { return OptionsAt(msg, fixed).UpToSignature() }

// target reads the address at octet 8 of a neighbour solicitation or advertisement.
func target(msg []byte) netip.Addr { return netip.AddrFrom16([16]byte(msg[8:24])) }

// NeighborSolicit is a neighbour solicitation (RFC 4861 section 4.3). One from source :: asks whether its target is in
// use (duplicate address detection).
type NeighborSolicit struct {
	Target     netip.Addr
	SourceLink ipv6.LinkAddr // zero if there is no such option
	Nonce      []byte        // of the Nonce option, without type and length; shares memory with the packet; nil if none
	Options    Options       // from the first option
}

// ParseNeighborSolicit reads a neighbour solicitation and validates it (RFC 4861 section 7.1.1).
func ParseNeighborSolicit(p *ipv6.Packet) (NeighborSolicit, Reason) {
	if reason := check(p, TypeNeighborSolicit, nsOctets); reason != ReasonNone {
		return NeighborSolicit{}, reason
	}
	m := NeighborSolicit{Target: target(p.Payload), Options: optionsOf(p.Payload, nsOctets)}
	if m.Target.IsMulticast() {
		return NeighborSolicit{}, ReasonTarget
	}
	if p.Src.IsMulticast() {
		return NeighborSolicit{}, ReasonSource
	}
	if p.Src.IsUnspecified() && !isSolicitedNode(p.Dst) {
		return NeighborSolicit{}, ReasonDestination
	}
	options := m.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		switch o.Type {
		case OptSourceLink:
			if p.Src.IsUnspecified() {
				return NeighborSolicit{}, ReasonSource
			}
			if hw, ok := linkAddr(o); ok && m.SourceLink.IsZero() {
				m.SourceLink = hw
			}
		case OptNonce:
			if m.Nonce == nil {
				m.Nonce = o.Body()
			}
		}
	}
	return m, ReasonNone
}

// isSolicitedNode reports whether a is in ff02::1:ff00:0/104.
func isSolicitedNode(a netip.Addr) bool { return a.Is6() && a == ipv6.SolicitedNode(a) }

// NAFlags are the flags of a neighbour advertisement.
type NAFlags uint8

// Flags of a neighbour advertisement (RFC 4861 section 4.4).
const (
	FlagRouter    NAFlags = 0x80 // R
	FlagSolicited NAFlags = 0x40 // S
	FlagOverride  NAFlags = 0x20 // O
)

// NeighborAdvert is a neighbour advertisement (RFC 4861 section 4.4).
type NeighborAdvert struct {
	Router, Solicited, Override bool
	Target                      netip.Addr
	TargetLink                  ipv6.LinkAddr // zero if there is no such option
	Options                     Options       // from the first option
}

// ParseNeighborAdvert reads a neighbour advertisement and validates it (RFC 4861 section 7.1.2).
func ParseNeighborAdvert(p *ipv6.Packet) (NeighborAdvert, Reason) {
	if reason := check(p, TypeNeighborAdvert, nsOctets); reason != ReasonNone {
		return NeighborAdvert{}, reason
	}
	flags := NAFlags(p.Payload[4])
	m := NeighborAdvert{
		Router:    flags&FlagRouter != 0,
		Solicited: flags&FlagSolicited != 0,
		Override:  flags&FlagOverride != 0,
		Target:    target(p.Payload),
		Options:   optionsOf(p.Payload, nsOctets),
	}
	if m.Target.IsMulticast() {
		return NeighborAdvert{}, ReasonTarget
	}
	if p.Src.IsMulticast() || p.Src.IsUnspecified() {
		return NeighborAdvert{}, ReasonSource
	}
	if m.Solicited && p.Dst.IsMulticast() {
		return NeighborAdvert{}, ReasonDestination
	}
	options := m.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != OptTargetLink {
			continue
		}
		if hw, ok := linkAddr(o); ok && m.TargetLink.IsZero() {
			m.TargetLink = hw
		}
	}
	return m, ReasonNone
}

// RouterSolicit is a router solicitation (RFC 4861 section 4.1).
type RouterSolicit struct {
	SourceLink ipv6.LinkAddr // zero if there is no such option
	Options    Options       // from the first option
}

// ParseRouterSolicit reads a router solicitation and validates it (RFC 4861 section 6.1.1).
func ParseRouterSolicit(p *ipv6.Packet) (RouterSolicit, Reason) {
	if reason := check(p, TypeRouterSolicit, rsOctets); reason != ReasonNone {
		return RouterSolicit{}, reason
	}
	m := RouterSolicit{Options: optionsOf(p.Payload, rsOctets)}
	if p.Src.IsMulticast() {
		return RouterSolicit{}, ReasonSource
	}
	options := m.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != OptSourceLink {
			continue
		}
		if p.Src.IsUnspecified() {
			return RouterSolicit{}, ReasonSource
		}
		if hw, ok := linkAddr(o); ok && m.SourceLink.IsZero() {
			m.SourceLink = hw
		}
	}
	return m, ReasonNone
}

// FixChecksum computes the ICMPv6 checksum of msg under src and dst and stores it.
func FixChecksum(msg []byte, src, dst netip.Addr) {
	if len(msg) < checksumEnd {
		return
	}
	msg[checksumOffset], msg[checksumOffset+1] = 0, 0
	binary.BigEndian.PutUint16(msg[checksumOffset:checksumEnd], ipv6.Checksum(src, dst, ipv6.ProtoICMPv6, msg))
}

// AppendNeighborSolicit appends a whole neighbour solicitation to b, with its checksum under src and dst. opts are encoded
// options.
func AppendNeighborSolicit(b []byte, src, dst, target netip.Addr, opts ...[]byte) []byte {
	start := len(b)
	b = append(b, TypeNeighborSolicit, 0, 0, 0, 0, 0, 0, 0)
	t := target.As16()
	return finish(append(b, t[:]...), start, src, dst, opts)
}

// AppendNeighborAdvert appends a whole neighbour advertisement to b, with its checksum under src and dst. opts are encoded
// options.
func AppendNeighborAdvert(b []byte, src, dst netip.Addr, flags NAFlags, target netip.Addr, opts ...[]byte) []byte {
	start := len(b)
	b = append(b, TypeNeighborAdvert, 0, 0, 0, uint8(flags), 0, 0, 0)
	t := target.As16()
	return finish(append(b, t[:]...), start, src, dst, opts)
}

// AppendRouterSolicit appends a whole router solicitation to b, with its checksum under src and dst. opts are encoded
// options.
func AppendRouterSolicit(b []byte, src, dst netip.Addr, opts ...[]byte) []byte {
	start := len(b)
	b = append(b, TypeRouterSolicit, 0, 0, 0, 0, 0, 0, 0)
	return finish(b, start, src, dst, opts)
}

// finish appends the options to the message that starts at b[start] and sets its checksum.
func finish(b []byte, start int, src, dst netip.Addr, opts [][]byte) []byte {
	for _, o := range opts {
		b = append(b, o...)
	}
	FixChecksum(b[start:], src, dst)
	return b
}
