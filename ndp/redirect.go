package ndp

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// redirectOctets is the length of the fixed part: type, code, checksum, reserved (4), target (16), destination (16).
const redirectOctets = 40

// Redirect is a redirect (RFC 4861 section 4.5): a router says that Target is a better next hop to Destination. With both
// equal, Destination is a neighbour.
type Redirect struct {
	Target      netip.Addr
	Destination netip.Addr
	TargetLink  ipv6.LinkAddr // zero if there is no such option
	Options     Options       // from the first option
}

// ParseRedirect reads a redirect and validates it (RFC 4861 section 8.1). Whether its source is the first hop to the
// destination only the host knows.
func ParseRedirect(p *ipv6.Packet) (Redirect, Reason) {
	if reason := check(p, TypeRedirect, redirectOctets); reason != ReasonNone {
		return Redirect{}, reason
	}
	if !p.Src.IsLinkLocalUnicast() {
		return Redirect{}, ReasonSource
	}
	m := Redirect{
		Target:      target(p.Payload),
		Destination: netip.AddrFrom16([16]byte(p.Payload[24:redirectOctets])),
		Options:     optionsOf(p.Payload, redirectOctets),
	}
	if m.Destination.IsMulticast() || m.Target != m.Destination && !m.Target.IsLinkLocalUnicast() {
		return Redirect{}, ReasonRedirect
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

// AppendRedirect appends a whole redirect to b, with its checksum under src and dst. opts are encoded options.
func AppendRedirect(b []byte, src, dst, target, destination netip.Addr, opts ...[]byte) []byte {
	start := len(b)
	b = append(b, TypeRedirect, 0, 0, 0, 0, 0, 0, 0)
	t, d := target.As16(), destination.As16()
	b = append(b, t[:]...)
	return finish(append(b, d[:]...), start, src, dst, opts)
}
