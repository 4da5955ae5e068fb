package ipv6

import (
	"encoding/binary"
	"net/netip"
)

// Header is what a packet to be sent says before its upper layer.
type Header struct {
	Src, Dst     netip.Addr
	TrafficClass uint8
	HopLimit     uint8
	HomeAddress  netip.Addr // sent as a Home Address destination option when valid
	RoutingHome  netip.Addr // sent as a type 2 routing header when valid
}

// maxPayload is what the Payload Length field can say.
const maxPayload = 1<<16 - 1

// Append appends a whole IPv6 packet to b: h, its extension headers in the order of RFC 6275 section 6.3 (routing header,
// then destination options), and payload, whose protocol is proto. The payload's checksum must be in place. A payload that
// does not fit under the 65,535 octets of the Payload Length is not sent: then nothing is appended.
func Append(b []byte, h Header, proto uint8, payload []byte) []byte {
	ext := 0
	first := proto
	if h.HomeAddress.IsValid() {
		ext += 24
		first = ProtoDestination
	}
	if h.RoutingHome.IsValid() {
		ext += 24
		first = ProtoRouting
	}
	if ext+len(payload) > maxPayload {
		return b
	}
	var fixed [HeaderLen]byte
	fixed[0] = 6<<4 | h.TrafficClass>>4
	fixed[1] = h.TrafficClass << 4
	binary.BigEndian.PutUint16(fixed[4:6], uint16(ext+len(payload)))
	fixed[6], fixed[7] = first, h.HopLimit
	src, dst := h.Src.As16(), h.Dst.As16()
	copy(fixed[8:24], src[:])
	copy(fixed[24:40], dst[:])
	b = append(b, fixed[:]...)
	if h.RoutingHome.IsValid() {
		next := proto
		if h.HomeAddress.IsValid() {
			next = ProtoDestination
		}
		home := h.RoutingHome.As16()
		b = append(b, next, 2, routingType2, 1, 0, 0, 0, 0)
		b = append(b, home[:]...)
	}
	if h.HomeAddress.IsValid() {
		home := h.HomeAddress.As16()
		// The option is aligned at 8n+6: a PadN of four octets stands before it.
		b = append(b, proto, 2, optPadN, 2, 0, 0, optHomeAddress, 16)
		b = append(b, home[:]...)
	}
	return append(b, payload...)
}

// Checksum is the Internet checksum of payload, whose protocol is proto, under the pseudo-header of RFC 8200 section 8.1.
// Over a payload whose checksum field is zero it gives the field's value; over a received payload it gives zero when the
// checksum is right. With a Home Address option src is the home address; with a type 2 routing header dst is the
// address in it (RFC 6275 section 6.1.1).
func Checksum(src, dst netip.Addr, proto uint8, payload []byte) uint16 {
	s, d := src.As16(), dst.As16()
	sum := sum16(s[:]) + sum16(d[:]) + uint32(len(payload)>>16) + uint32(len(payload)&0xffff) + uint32(proto) + sum16(payload)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// sum16 adds up 16-bit words; an IPv6 payload is at most 65,535 octets, so that 32 bits hold the sum.
func sum16(b []byte) uint32 {
	var sum uint32
	for len(b) >= 2 {
		sum += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}
