package ndp

import (
	"errors"
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// ErrNeighborAck is what ParseNeighborAck fails with.
var ErrNeighborAck = errors.New("neighbour advertisement acknowledgment has a length or code that it cannot have, or no unicast address")

// Option-Codes of an access point's Link-Layer Address option (RFC 5568 section 6.4.3).
const (
	PointNew     = 1 // with it the rest of its tuple
	PointCurrent = 5 // on the router's own interface: no other care-of address is needed
	PointUnknown = 6 // no prefix information
	PointNoFast  = 7 // its router does no fast handover
)

// Other Option-Codes of the Link-Layer Address option, and those of the IP Address/Prefix option (section 6.4.1).
const (
	linkWildcard = 0
	linkRouter   = 3
	linkSource   = 4

	addressNewCareOf = 2
	addressRouter    = 3
	addressPrefix    = 4
)

const (
	fastLinkOctets    = 16 // type, length, code, address of 6 octets, padding of 7
	fastLinkOffset    = 3
	fastAddressOctets = 24 // type, length, code, prefix length, reserved (4), address
	fastAddressOffset = 8
)

// fastLink reads the address of a Link-Layer Address option. The option does not say how long the address is; one whose
// length is not that of an IEEE 802 address, or that is zero, is none of ours.
func fastLink(o Option) (a ipv6.LinkAddr, ok bool) {
	if len(o.Octets) != fastLinkOctets {
		return a, false
	}
	copy(a[:], o.Octets[fastLinkOffset:])
	return a, !a.IsZero()
}

func appendFastLink(b []byte, code uint8, a ipv6.LinkAddr) []byte {
	return append(b, OptLinkLayer, fastLinkOctets/optionUnit, code, a[0], a[1], a[2], a[3], a[4], a[5], 0, 0, 0, 0, 0, 0, 0)
}

// fastAddress reads an IP Address/Prefix option.
func fastAddress(o Option) (a netip.Addr, bits uint8, ok bool) {
	if len(o.Octets) != fastAddressOctets || o.Octets[3] > maxPrefixLen {
		return a, 0, false
	}
	return netip.AddrFrom16([16]byte(o.Octets[fastAddressOffset:])), o.Octets[3], true
}

func appendFastAddress(b []byte, code, bits uint8, a netip.Addr) []byte {
	b = append(b, OptAddress, fastAddressOctets/optionUnit, code, bits, 0, 0, 0, 0)
	octets := a.As16()
	return append(b, octets[:]...)
}

// isUnicast reports whether a node can have the address a on a link.
func isUnicast(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast()
}

// Status values of a neighbour advertisement acknowledgment (RFC 5568 section 6.4.6).
const (
	AckConfigure        = 1   // the new care-of address is invalid: configure one
	AckUseSupplied      = 2   // it is invalid: use Address
	AckUseRouter        = 3   // it is invalid: name the new router's address in the FBU
	AckPreviousSupplied = 4   // the previous care-of address is supplied: send no FBU
	AckUnknownLink      = 128 // the link-layer address is not recognized
)

// NeighborAck is a Neighbor Advertisement Acknowledgment, NAACK, an option of router advertisements (RFC 5568 section
// 6.4.6): Type (1 octet), Length (1), Option-Code (1), Status (1), Reserved (4), address (16) if there is one.
type NeighborAck struct {
	Status  uint8
	Address netip.Addr // supplied care-of address; the zero Addr if none
}

const (
	ackOctets        = 8
	ackAddressOctets = ackOctets + 16
	ackOptionOctets  = ackOctets + fastAddressOctets
)

// Append appends the whole option to b: 8 octets, or 24 with an address.
func (a NeighborAck) Append(b []byte) []byte {
	if !a.Address.IsValid() {
		return append(b, OptNeighborAck, ackOctets/optionUnit, 0, a.Status, 0, 0, 0, 0)
	}
	b = append(b, OptNeighborAck, ackAddressOctets/optionUnit, 0, a.Status, 0, 0, 0, 0)
	octets := a.Address.As16()
	return append(b, octets[:]...)
}

// ParseNeighborAck reads a Neighbor Advertisement Acknowledgment option; the caller has compared its type. RFC 5568 gives
// length 3 to an option with an address, but calls that address an IP Address option, with which the length is 4: both are
// read. It fails with ErrNeighborAck.
func ParseNeighborAck(o Option) (NeighborAck, error) {
	if len(o.Octets) < ackOctets || o.Octets[2] != 0 {
		return NeighborAck{}, ErrNeighborAck
	}
	a := NeighborAck{Status: o.Octets[3]}
	switch len(o.Octets) {
	case ackOctets:
		return a, nil
	case ackAddressOctets:
		a.Address = netip.AddrFrom16([16]byte(o.Octets[ackOctets:]))
	case ackOptionOctets:
		inner := Option{Type: o.Octets[ackOctets], Octets: o.Octets[ackOctets:]}
		supplied, _, ok := fastAddress(inner)
		if !ok || inner.Type != OptAddress || inner.Octets[1] != fastAddressOctets/optionUnit {
			return NeighborAck{}, ErrNeighborAck
		}
		a.Address = supplied
	default:
		return NeighborAck{}, ErrNeighborAck
	}
	if !isUnicast(a.Address) {
		return NeighborAck{}, ErrNeighborAck
	}
	return a, nil
}
