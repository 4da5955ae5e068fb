package rawip

import (
	"errors"
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

var (
	errNoUnicast = errors.New("both addresses must be unicast addresses that are not link-local")
	errNoHeader  = errors.New("these octets are no mobility header")
)

// Mobility header types that Protected gives: Handover Initiate and Handover Acknowledge (RFC 5568 sections 6.2.1.1 and
// 6.2.1.2).
const (
	typeHI   = 14
	typeHAck = 15
)

// IsProtected reports whether a packet is one for Protected: a Handover Initiate or Acknowledge to a unicast address.
func IsProtected(p *ipv6.Packet) bool {
	return p.Proto == ipv6.ProtoMobility && len(p.Payload) > 2 && (p.Payload[2] == typeHI || p.Payload[2] == typeHAck) &&
		!p.Dst.IsMulticast()
}

// CheckProtected looks at what SendProtected is given.
func CheckProtected(src, dst netip.Addr, mh []byte) error {
	for _, a := range [...]netip.Addr{src, dst} {
		if !a.Is6() || a.Is4In6() || a.Zone() != "" || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
			return errNoUnicast
		}
	}
	if len(mh) < 8 || len(mh) != 8*(1+int(mh[1])) {
		return errNoHeader
	}
	return nil
}
