package ipv6

import (
	"encoding/binary"
	"net/netip"
)

// Upper-layer protocol and extension header numbers (IANA protocol numbers).
const (
	ProtoHopByHop    = 0
	ProtoIPv6        = 41
	ProtoRouting     = 43
	ProtoFragment    = 44
	ProtoICMPv6      = 58
	ProtoNoNext      = 59
	ProtoDestination = 60
	ProtoMobility    = 135
)

// HeaderLen is the length of the fixed IPv6 header in octets.
const HeaderLen = 40

const (
	optPad1        = 0x00
	optPadN        = 0x01
	optEncapLimit  = 0x04 // RFC 2473 section 4.1.1
	optHomeAddress = 0xc9 // RFC 6275 section 6.3

	routingType2 = 2

	// maxExtensionHeaders bounds the walk: each message of this project needs two at the most.
	maxExtensionHeaders = 6
)

// Packet is one received IPv6 packet, parsed once. Payload and Raw share memory with the octets given to Parse.
type Packet struct {
	Interface  int      // index of the interface it was received on; 0 if not known
	LinkSource LinkAddr // link-layer source; zero where the link has none (tunnels, PPP)

	Src, Dst     netip.Addr // of the fixed header
	TrafficClass uint8
	HopLimit     uint8

	HomeAddress netip.Addr // of the Home Address destination option; the zero Addr if there is none
	RoutingHome netip.Addr // of the type 2 routing header; the zero Addr if there is none
	Fragmented  bool       // a fragment header was present (an atomic fragment; others do not parse)

	Proto   uint8  // upper-layer protocol
	Payload []byte // from the upper-layer header to the end of the IPv6 payload, link padding cut
	Raw     []byte // the whole IPv6 packet, link padding cut
}

// Problem says why octets are no packet that can be processed. The zero value means there is none.
type Problem uint8

// Problems that Parse finds.
const (
	OK             Problem = iota
	Truncated              // shorter than its headers say
	BadVersion             // not IPv6
	BadExtension           // an extension header is malformed, out of place or repeated, or the chain is too long
	BadHomeAddress         // Home Address option malformed, repeated, or not a unicast routable address
	BadRouting             // routing header that is no well-formed type 2 (RFC 6275 section 6.4) and has segments left
	UnknownOption          // destination option whose type asks for the packet to be discarded
	IsFragment             // part of a fragmented packet
	problemCount
)

// Problems is the number of Problem values, for tables of counters.
const Problems = int(problemCount)

// String gives the counter name of the problem.
func (p Problem) String() string {
	switch p {
	case OK:
		return "ok"
	case Truncated:
		return "truncated"
	case BadVersion:
		return "bad_version"
	case BadExtension:
		return "bad_extension_header"
	case BadHomeAddress:
		return "bad_home_address_option"
	case BadRouting:
		return "bad_routing_header"
	case UnknownOption:
		return "unknown_destination_option"
	case IsFragment:
		return "fragment"
	}
	return "unknown"
}

// Parse reads one IPv6 packet from raw, which may be followed by link padding. It fills in all of p but Interface and
// LinkSource, allocates nothing, and keeps references into raw. With a problem, what p holds is not to be used.
func Parse(raw []byte, p *Packet) Problem {
	if len(raw) < HeaderLen {
		return Truncated
	}
	if raw[0]>>4 != 6 {
		return BadVersion
	}
	total := HeaderLen + int(binary.BigEndian.Uint16(raw[4:6]))
	if len(raw) < total {
		return Truncated
	}
	raw = raw[:total]
	p.Raw = raw
	p.TrafficClass = raw[0]<<4 | raw[1]>>4
	p.HopLimit = raw[7]
	p.Src = netip.AddrFrom16([16]byte(raw[8:24]))
	p.Dst = netip.AddrFrom16([16]byte(raw[24:40]))
	p.HomeAddress, p.RoutingHome, p.Fragmented = netip.Addr{}, netip.Addr{}, false
	p.Proto, p.Payload = 0, nil
	return walk(raw[HeaderLen:], raw[6], p)
}

// walk follows the extension header chain in b, which starts with a header of type next.
func walk(b []byte, next uint8, p *Packet) Problem {
	for n := 0; ; n++ {
		switch next {
		case ProtoHopByHop, ProtoDestination, ProtoRouting, ProtoFragment:
		default:
			p.Proto, p.Payload = next, b
			return OK
		}
		if n == maxExtensionHeaders || next == ProtoHopByHop && n > 0 {
			return BadExtension // hop-by-hop options come first or not at all (RFC 8200 section 4.1)
		}
		if len(b) < 8 {
			return Truncated
		}
		size := 8
		if next != ProtoFragment {
			size = 8 * (1 + int(b[1]))
		}
		if len(b) < size {
			return Truncated
		}
		problem := OK
		switch next {
		case ProtoRouting:
			problem = parseRouting(b[:size], p)
		case ProtoFragment:
			// Offset and M flag both zero: an atomic fragment, whole in itself (RFC 8200 section 4.5).
			switch {
			case binary.BigEndian.Uint16(b[2:4])&0xfff9 != 0:
				return IsFragment
			case p.Fragmented:
				return BadExtension
			}
			p.Fragmented = true
		default:
			problem = parseOptions(b[2:size], next == ProtoDestination, p)
		}
		if problem != OK {
			return problem
		}
		next, b = b[0], b[size:]
	}
}

func parseRouting(b []byte, p *Packet) Problem {
	if b[2] != routingType2 && b[3] == 0 {
		return OK // of whatever type, it has done its work (RFC 8200 section 4.4)
	}
	if len(b) != 24 || b[2] != routingType2 || b[3] != 1 || p.RoutingHome.IsValid() {
		return BadRouting
	}
	home := netip.AddrFrom16([16]byte(b[8:24]))
	if !IsRoutableUnicast(home) {
		return BadRouting
	}
	p.RoutingHome = home
	return OK
}

func parseOptions(b []byte, destination bool, p *Packet) Problem {
	for len(b) > 0 {
		if b[0] == optPad1 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return BadExtension
		}
		typ, data := b[0], b[2:2+int(b[1])]
		b = b[2+int(b[1]):]
		switch {
		case typ == optPadN || typ == optEncapLimit:
		case typ == optHomeAddress && destination:
			if len(data) != 16 || p.HomeAddress.IsValid() {
				return BadHomeAddress
			}
			home := netip.AddrFrom16([16]byte(data))
			if !IsRoutableUnicast(home) {
				return BadHomeAddress
			}
			p.HomeAddress = home
		case typ>>6 != 0: // RFC 8200 section 4.2: 00 skip, all others discard
			return UnknownOption
		}
	}
	return OK
}

// IsRoutableUnicast reports whether a is a unicast address of global scope that can be a home or care-of address: not
// unspecified, loopback, multicast, link-local or IPv4-mapped (RFC 6275 sections 9.3.1 and 9.5.1).
func IsRoutableUnicast(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}
