package mobility

import (
	"encoding/binary"
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

const (
	answerHopLimit = 64
	// minMTU bounds an error message together with the packet that it quotes (RFC 4443 section 2.4 (c)).
	minMTU = 1280

	icmpParameterProblem = 4 // RFC 4443 section 3.4
	icmpHeaderOctets     = 8
)

// Answer builds the whole IPv6 packet that fault f of packet p asks for, sent from self: a Binding Error with status 2
// for an unknown type, an ICMPv6 Parameter Problem that points at the field for the others (RFC 6275 section 9.2). It is
// nil for faults that are dropped silently, and where nothing may be answered: to a packet that was sent to a group or
// from an address that is no unicast one. The caller limits the rate.
func Answer(p *ipv6.Packet, f Fault, self netip.Addr) []byte {
	switch f {
	case FaultType:
		return AnswerBindingError(p, ErrorUnrecognizedType, self)
	case FaultProto:
		return parameterProblem(p, len(p.Raw)-len(p.Payload), self)
	case FaultLength:
		return parameterProblem(p, len(p.Raw)-len(p.Payload)+1, self)
	}
	return nil
}

// AnswerBindingError builds the whole IPv6 packet with a Binding Error about p (RFC 6275 section 9.3.3): to the source
// address as it stood in the fixed header, with the address of the Home Address option, or ::, in its Home Address
// field. It is nil where nothing may be answered.
func AnswerBindingError(p *ipv6.Packet, status uint8, self netip.Addr) []byte {
	if !answerable(p, self) {
		return nil
	}
	mh := BindingError{Status: status, HomeAddress: p.HomeAddress}.Append(make([]byte, 0, 24))
	FixChecksum(mh, self, p.Src)
	return ipv6.Append(nil, ipv6.Header{Src: self, Dst: p.Src, HopLimit: answerHopLimit}, ipv6.ProtoMobility, mh)
}

// parameterProblem builds a Parameter Problem with code 0 (erroneous header field), whose pointer is the offset of the
// octet in the invoking packet, which it quotes as far as the least MTU of IPv6 allows.
func parameterProblem(p *ipv6.Packet, pointer int, self netip.Addr) []byte {
	if !answerable(p, self) {
		return nil
	}
	quoted := p.Raw[:min(len(p.Raw), minMTU-ipv6.HeaderLen-icmpHeaderOctets)]
	msg := make([]byte, icmpHeaderOctets, icmpHeaderOctets+len(quoted))
	msg[0] = icmpParameterProblem
	binary.BigEndian.PutUint32(msg[4:8], uint32(pointer))
	msg = append(msg, quoted...)
	binary.BigEndian.PutUint16(msg[2:4], ipv6.Checksum(self, p.Src, ipv6.ProtoICMPv6, msg))
	return ipv6.Append(nil, ipv6.Header{Src: self, Dst: p.Src, HopLimit: answerHopLimit}, ipv6.ProtoICMPv6, msg)
}

// answerable reports whether an error about p may be sent at all (RFC 4443 section 2.4 (e), RFC 6275 section 9.3.3).
func answerable(p *ipv6.Packet, self netip.Addr) bool {
	unicast := p.Src.Is6() && !p.Src.IsUnspecified() && !p.Src.IsMulticast() && !p.Src.IsLoopback()
	return unicast && !p.Dst.IsMulticast() && self.Is6() && !self.IsMulticast() && !self.IsUnspecified()
}
