package mobility

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// Errors of the Parse functions. They are fixed values, so that a packet that is dropped costs no memory.
var (
	ErrTruncated = errors.New("mobility header is shorter than its Header Len says")
	ErrLength    = errors.New("mobility header is too short for its message")
	ErrType      = errors.New("mobility header is of another type")
	ErrOption    = errors.New("mobility option is malformed or repeated")
	ErrMissing   = errors.New("mobility option that the message needs is missing")
)

// Header is one mobility header: Payload Proto (1 octet), Header Len (1), MH Type (1), Reserved (1), Checksum (2),
// message data (RFC 6275 section 6.1.1).
type Header struct {
	Proto, Type uint8
	Octets      []byte // the whole header, exactly (Header Len + 1) * 8 octets, cut from what follows
}

// ParseHeader cuts the mobility header from the start of b. It fails with ErrTruncated if b does not hold all of it.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < unit {
		return Header{}, ErrTruncated
	}
	n := unit * (1 + int(b[1]))
	if len(b) < n {
		return Header{}, ErrTruncated
	}
	return Header{Proto: b[0], Type: b[2], Octets: b[:n:n]}, nil
}

// Fault is the verdict of [Check]. The zero value means that the header can be read.
type Fault uint8

// Faults, in the order in which Check looks for them.
const (
	FaultNone      Fault = iota
	FaultTruncated       // shorter than its Header Len says, or not a mobility header at all: silent
	FaultChecksum        // wrong checksum: silent
	FaultType            // unknown type: Binding Error with status 2
	FaultProto           // Payload Proto other than 59: ICMPv6 Parameter Problem
	FaultLength          // Header Len under the least of the type: ICMPv6 Parameter Problem
	faultCount
)

// Faults is the number of Fault values, for tables of counters.
const Faults = int(faultCount)

// String gives the counter name of the fault.
func (f Fault) String() string {
	switch f {
	case FaultNone:
		return "ok"
	case FaultTruncated:
		return "mh_truncated"
	case FaultChecksum:
		return "mh_bad_checksum"
	case FaultType:
		return "mh_unknown_type"
	case FaultProto:
		return "mh_bad_payload_proto"
	case FaultLength:
		return "mh_bad_header_len"
	}
	return "mh_unknown"
}

// Check makes the tests of RFC 6275 section 9.2 in their order: checksum, known type, Payload Proto, Header Len. The
// checksum's pseudo-header has the home address of a Home Address option as source and that of a type 2 routing header
// as destination. minLen gives the least Header Len of a type and whether the type is known in this context; it is
// [MinHeaderLen] where no other numbers are in use. The Header is filled in also with a fault other than FaultTruncated.
func Check(p *ipv6.Packet, minLen func(typ uint8) (n uint8, known bool)) (Header, Fault) {
	if p.Proto != ipv6.ProtoMobility {
		return Header{}, FaultTruncated
	}
	h, err := ParseHeader(p.Payload)
	if err != nil {
		return Header{}, FaultTruncated
	}
	src, dst := p.Src, p.Dst
	if p.HomeAddress.IsValid() {
		src = p.HomeAddress
	}
	if p.RoutingHome.IsValid() {
		dst = p.RoutingHome
	}
	if ipv6.Checksum(src, dst, ipv6.ProtoMobility, h.Octets) != 0 {
		return h, FaultChecksum
	}
	n, known := minLen(h.Type)
	switch {
	case !known:
		return h, FaultType
	case h.Proto != payloadProtoNone:
		return h, FaultProto
	case h.Octets[1] < n:
		return h, FaultLength
	}
	return h, FaultNone
}

// FixChecksum computes the checksum of mh and stores it. src and dst are those of the pseudo-header: the home address
// stands for the packet's own source if it goes into a Home Address option, and for its own destination if it goes into
// a type 2 routing header.
func FixChecksum(mh []byte, src, dst netip.Addr) {
	if len(mh) < headOctets {
		return
	}
	mh[4], mh[5] = 0, 0
	binary.BigEndian.PutUint16(mh[4:6], ipv6.Checksum(src, dst, ipv6.ProtoMobility, mh))
}

// begin appends the head of a mobility header of type typ; finish fills in its Header Len.
func begin(b []byte, typ uint8) []byte {
	return append(b, payloadProtoNone, 0, typ, 0, 0, 0)
}

// finish pads the header that starts at b[start] to a multiple of 8 octets (16 at least where minLen is 1, and so on) and
// sets its Header Len. A header of more than 2,048 octets cannot be expressed: it is taken back, and b ends at start.
func finish(b []byte, start int, minLen uint8) []byte {
	n := len(b) - start
	want := max((n+unit-1)/unit*unit, unit*(1+int(minLen)))
	if want > maxHeaderOctets {
		return b[:start]
	}
	b = appendPad(b, want-n)
	b[start+1] = uint8(want/unit - 1)
	return b
}

// appendAddr appends the 16 octets of a, zeros if a is not an IPv6 address.
func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.Is6() {
		return append(b, make([]byte, 16)...)
	}
	octets := a.As16()
	return append(b, octets[:]...)
}
