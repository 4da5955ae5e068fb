package ndp

import (
	"encoding/binary"
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// Subtypes of ICMPv6 type 154 (RFC 5568 section 6.1).
const (
	SubtypeProxySolicit = 2 // RtSolPr
	SubtypeProxyAdvert  = 3 // PrRtAdv
)

// Codes of a proxy router advertisement (RFC 5568 section 6.1.2).
const (
	ProxySolicited     = 0 // the tuples that were asked for
	ProxyTrigger       = 1 // unsolicited: move now
	ProxyNoInformation = 2 // no tuple says where a router is
	ProxySubset        = 3 // some tuples say it
	ProxyNeighborhood  = 4 // unsolicited, no trigger
	ProxyDHCP          = 5 // as 0, and the node needs DHCP at the new router
	maxProxyCode       = 5
)

const fastOctets = 8 // type, code, checksum, subtype, reserved, identifier

// MaxPoints bounds the access points that are read from one message.
const MaxPoints = 8

// PointList is a list of access points' link-layer addresses. It holds no pointers and is compared with ==.
type PointList struct {
	n    int
	at   [MaxPoints]ipv6.LinkAddr
	More bool // there were others, for which there was no room, or whose identifier is no IEEE 802 address
}

// Len is the number of access points.
func (l *PointList) Len() int { return l.n }

// At gives access point i, from 0 to Len-1; zero for any other i.
func (l *PointList) At(i int) ipv6.LinkAddr {
	if i < 0 || i >= l.n {
		return ipv6.LinkAddr{}
	}
	return l.at[i]
}

// Add puts a at the end. Without room it sets More and reports false.
func (l *PointList) Add(a ipv6.LinkAddr) bool {
	if l.n >= MaxPoints {
		l.More = true
		return false
	}
	l.at[l.n] = a
	l.n++
	return true
}

// ProxySolicit is a router solicitation for proxy advertisement, RtSolPr (RFC 5568 section 6.1.1): Type 154, Code 0,
// Checksum, Subtype 2, Reserved (1 octet), Identifier (2), options.
type ProxySolicit struct {
	Identifier    uint16
	SourceLink    ipv6.LinkAddr // of the sender; zero if there is no such option
	Wildcard      bool          // all access points nearby are asked for; then Points do not count
	Points        PointList     // access points that are asked for, in order
	Nonce         []byte        // of the Nonce option, without type and length; shares memory with the packet; nil if none
	KeyRequest    Option        // RFC 5269, for ParseKeyRequest
	HasKeyRequest bool
	Options       Options // from the first option
}

// ParseProxySolicit reads an RtSolPr and validates it. A message that asks for no access point at all is not as RFC 5568
// has it, but can carry a key request, and is given as it is. Of repeated options the first counts, access points apart.
func ParseProxySolicit(p *ipv6.Packet) (ProxySolicit, Reason) {
	if reason := checkFast(p, SubtypeProxySolicit, 0); reason != ReasonNone {
		return ProxySolicit{}, reason
	}
	if p.Src.IsMulticast() || p.Src.IsUnspecified() {
		return ProxySolicit{}, ReasonSource
	}
	if p.Dst.IsMulticast() && p.Dst != ipv6.AllRouters() {
		return ProxySolicit{}, ReasonDestination
	}
	m := ProxySolicit{
		Identifier: binary.BigEndian.Uint16(p.Payload[6:8]),
		Options:    optionsOf(p.Payload, fastOctets),
	}
	options := m.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		switch o.Type {
		case OptLinkLayer:
			hw, readable := fastLink(o)
			switch code := o.Octets[2]; {
			case code == linkWildcard:
				m.Wildcard = true
			case code == PointNew && readable:
				m.Points.Add(hw)
			case code == PointNew:
				m.Points.More = true
			case code == linkSource && readable && m.SourceLink.IsZero():
				m.SourceLink = hw
			}
		case OptNonce:
			if m.Nonce == nil {
				m.Nonce = o.Body()
			}
		case OptKeyRequest:
			if !m.HasKeyRequest {
				m.KeyRequest, m.HasKeyRequest = o, true
			}
		}
	}
	return m, ReasonNone
}

// Append appends the whole message to b, with its checksum under src and dst. opts are encoded options, which stand behind
// the message's own. Nonce and Options are not looked at: the nonce belongs to secure Neighbour Discovery, which adds it
// as it signs. With Wildcard no Points are written.
func (m ProxySolicit) Append(b []byte, src, dst netip.Addr, opts ...[]byte) []byte {
	start := len(b)
	b = append(b, TypeFast, 0, 0, 0, SubtypeProxySolicit, 0)
	b = binary.BigEndian.AppendUint16(b, m.Identifier)
	if !m.SourceLink.IsZero() {
		b = appendFastLink(b, linkSource, m.SourceLink)
	}
	if m.Wildcard {
		b = appendFastLink(b, linkWildcard, ipv6.LinkAddr{})
	} else {
		for i := range m.Points.Len() {
			b = appendFastLink(b, PointNew, m.Points.At(i))
		}
	}
	if m.HasKeyRequest {
		b = append(b, m.KeyRequest.Octets...)
	}
	return finish(b, start, src, dst, opts)
}

// ProxyTuple is what a proxy router advertisement says of one access point: [AP-ID, AR-Info] of RFC 5568.
type ProxyTuple struct {
	Code       uint8         // PointNew, PointCurrent, PointUnknown or PointNoFast
	Point      ipv6.LinkAddr // of the access point
	RouterLink ipv6.LinkAddr // of its router; zero if not said
	Router     netip.Addr    // of its router; the zero Addr if not said
	RouterBits uint8         // length of the prefix of Router; 0 if not said
	Prefix     netip.Prefix  // masked; zero where Router's own prefix counts
	CareOf     netip.Addr    // that the node is to take; the zero Addr if none is assigned
}

// NetPrefix gives the prefix on the link of the access point: Prefix, or Router's own; zero if neither is said.
func (t ProxyTuple) NetPrefix() netip.Prefix {
	switch {
	case t.Prefix.IsValid():
		return t.Prefix
	case t.RouterBits == 0:
		return netip.Prefix{}
	}
	return netip.PrefixFrom(t.Router, int(t.RouterBits)).Masked() // zero if there is no Router, or more bits than it has
}

// TupleList is a list of tuples. It is compared with ==.
type TupleList struct {
	n    int
	at   [MaxPoints]ProxyTuple
	More bool // there were others, for which there was no room, or whose identifier is no IEEE 802 address
}

// Len is the number of tuples.
func (l *TupleList) Len() int { return l.n }

// At gives tuple i, from 0 to Len-1; zero for any other i.
func (l *TupleList) At(i int) ProxyTuple {
	if i < 0 || i >= l.n {
		return ProxyTuple{}
	}
	return l.at[i]
}

// Add puts t at the end. Without room it sets More and reports false.
func (l *TupleList) Add(t ProxyTuple) bool {
	if l.n >= MaxPoints {
		l.More = true
		return false
	}
	l.at[l.n] = t
	l.n++
	return true
}

// ProxyAdvert is a proxy router advertisement, PrRtAdv (RFC 5568 section 6.1.2): Type 154, Code, Checksum, Subtype 3,
// Reserved (1 octet), Identifier (2), options.
type ProxyAdvert struct {
	Code        uint8         // ProxySolicited to ProxyDHCP
	Identifier  uint16        // of the solicitation; 0 if unsolicited
	SourceLink  ipv6.LinkAddr // of the sender; zero if there is no such option
	Tuples      TupleList     // in order
	Nonce       []byte        // of the Nonce option, without type and length; shares memory with the packet; nil if none
	KeyReply    Option        // RFC 5269, for ParseKeyReply
	HasKeyReply bool
	Options     Options // from the first option
}

// ParseProxyAdvert reads a PrRtAdv and validates it. A tuple begins with the option of its access point; what the message
// says before the first, or of one that is not in Tuples, is skipped, and so are addresses that cannot be a node's. Which
// parts a tuple must have follows from the codes and is left to the caller. Of repeated options in a tuple the first
// counts.
func ParseProxyAdvert(p *ipv6.Packet) (ProxyAdvert, Reason) {
	if reason := checkFast(p, SubtypeProxyAdvert, maxProxyCode); reason != ReasonNone {
		return ProxyAdvert{}, reason
	}
	if !p.Src.IsLinkLocalUnicast() {
		return ProxyAdvert{}, ReasonSource
	}
	if p.Dst.IsMulticast() {
		return ProxyAdvert{}, ReasonDestination
	}
	m := ProxyAdvert{
		Code:       p.Payload[1],
		Identifier: binary.BigEndian.Uint16(p.Payload[6:8]),
		Options:    optionsOf(p.Payload, fastOctets),
	}
	var tuple *ProxyTuple // that the options now speak of; nil if none
	options := m.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		switch o.Type {
		case OptLinkLayer:
			hw, readable := fastLink(o)
			switch code := o.Octets[2]; code {
			case PointNew, PointCurrent, PointUnknown, PointNoFast:
				tuple = nil
				if !readable {
					m.Tuples.More = true
				} else if m.Tuples.Add(ProxyTuple{Code: code, Point: hw}) {
					tuple = &m.Tuples.at[m.Tuples.n-1]
				}
			case linkRouter:
				if readable && tuple != nil && tuple.RouterLink.IsZero() {
					tuple.RouterLink = hw
				}
			case linkSource:
				if readable && m.SourceLink.IsZero() {
					m.SourceLink = hw
				}
			}
		case OptAddress:
			if tuple != nil {
				tuple.read(o)
			}
		case OptNonce:
			if m.Nonce == nil {
				m.Nonce = o.Body()
			}
		case OptKeyReply:
			if !m.HasKeyReply {
				m.KeyReply, m.HasKeyReply = o, true
			}
		}
	}
	return m, ReasonNone
}

// read takes an IP Address/Prefix option into the tuple.
func (t *ProxyTuple) read(o Option) {
	a, bits, ok := fastAddress(o)
	if !ok {
		return
	}
	switch code := o.Octets[2]; {
	case code == addressRouter && !t.Router.IsValid() && isUnicast(a):
		t.Router, t.RouterBits = a, bits
	case code == addressPrefix && !t.Prefix.IsValid():
		t.Prefix = netip.PrefixFrom(a, int(bits)).Masked()
	case code == addressNewCareOf && !t.CareOf.IsValid() && isUnicast(a):
		t.CareOf = a
	}
}

// Append appends the whole message to b, with its checksum under src and dst, its options in the order of RFC 5568. opts
// are encoded options, which stand behind the message's own. Nonce and Options are not looked at: the nonce belongs to
// secure Neighbour Discovery, which adds it as it signs.
func (m ProxyAdvert) Append(b []byte, src, dst netip.Addr, opts ...[]byte) []byte {
	start := len(b)
	b = append(b, TypeFast, m.Code, 0, 0, SubtypeProxyAdvert, 0)
	b = binary.BigEndian.AppendUint16(b, m.Identifier)
	if !m.SourceLink.IsZero() {
		b = appendFastLink(b, linkSource, m.SourceLink)
	}
	for i := range m.Tuples.Len() {
		t := m.Tuples.At(i)
		b = appendFastLink(b, t.Code, t.Point)
		if !t.RouterLink.IsZero() {
			b = appendFastLink(b, linkRouter, t.RouterLink)
		}
		if t.Router.IsValid() {
			b = appendFastAddress(b, addressRouter, t.RouterBits, t.Router)
		}
		if t.Prefix.IsValid() {
			b = appendFastAddress(b, addressPrefix, uint8(t.Prefix.Bits()), t.Prefix.Masked().Addr())
		}
		if t.CareOf.IsValid() {
			b = appendFastAddress(b, addressNewCareOf, maxPrefixLen, t.CareOf)
		}
	}
	if m.HasKeyReply {
		b = append(b, m.KeyReply.Octets...)
	}
	return finish(b, start, src, dst, opts)
}

// checkFast makes the tests of check for type 154, and compares the subtype first of all.
func checkFast(p *ipv6.Packet, subtype, most uint8) Reason {
	if len(p.Payload) > checksumEnd && p.Payload[checksumEnd] != subtype {
		return ReasonType
	}
	return checkCode(p, TypeFast, fastOctets, most)
}
