package ndp

import (
	"encoding/binary"
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// RouterAdvert is a router advertisement (RFC 4861 section 4.2) with the extensions of RFC 6275 section 7.
type RouterAdvert struct {
	HopLimit   uint8         // 0: unspecified
	Managed    bool          // M
	Other      bool          // O
	HomeAgent  bool          // H
	Lifetime   uint16        // seconds; 0: no default router
	Reachable  uint32        // milliseconds; 0: unspecified
	Retrans    uint32        // milliseconds; 0: unspecified
	SourceLink ipv6.LinkAddr // zero if there is no such option
	MTU        uint32        // 0 if there is no such option
	Interval   uint32        // milliseconds, of the Advertisement Interval option; 0 if there is none

	HasHomeAgentInfo    bool // a Home Agent Information option is there, and the H flag, without which it says nothing
	HomeAgentPreference uint16
	HomeAgentLifetime   uint16 // seconds

	Options Options // from the first option
}

const (
	raFlagManaged   = 0x80
	raFlagOther     = 0x40
	raFlagHomeAgent = 0x20 // RFC 6275 section 7.1

	prefixOctets      = 32
	prefixFlagOnLink  = 0x80
	prefixFlagAuto    = 0x40
	prefixFlagRouter  = 0x20 // RFC 6275 section 7.2
	unitOptionOctets  = 8    // MTU, Advertisement Interval, Home Agent Information
	maxPrefixLen      = 128
	prefixAddrOffset  = 16
	prefixValidOffset = 4
)

// ParseRouterAdvert reads a router advertisement and validates it (RFC 4861 section 6.1.2). Options of a length that they
// cannot have are skipped, as unknown ones are; of repeated ones the first counts, prefixes apart.
func ParseRouterAdvert(p *ipv6.Packet) (RouterAdvert, Reason) {
	if reason := check(p, TypeRouterAdvert, raOctets); reason != ReasonNone {
		return RouterAdvert{}, reason
	}
	if !p.Src.IsLinkLocalUnicast() {
		return RouterAdvert{}, ReasonSource
	}
	msg := p.Payload
	m := RouterAdvert{
		HopLimit:  msg[4],
		Managed:   msg[5]&raFlagManaged != 0,
		Other:     msg[5]&raFlagOther != 0,
		HomeAgent: msg[5]&raFlagHomeAgent != 0,
		Lifetime:  binary.BigEndian.Uint16(msg[6:8]),
		Reachable: binary.BigEndian.Uint32(msg[8:12]),
		Retrans:   binary.BigEndian.Uint32(msg[12:16]),
		Options:   optionsOf(msg, raOctets),
	}
	options := m.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if len(o.Octets) != unitOptionOctets {
			continue
		}
		switch o.Type {
		case OptSourceLink:
			if m.SourceLink.IsZero() {
				m.SourceLink, _ = linkAddr(o)
			}
		case OptMTU:
			if m.MTU == 0 {
				m.MTU = binary.BigEndian.Uint32(o.Octets[4:8])
			}
		case OptAdvertisementInterval:
			if m.Interval == 0 {
				m.Interval = binary.BigEndian.Uint32(o.Octets[4:8])
			}
		case OptHomeAgentInformation:
			if m.HomeAgent && !m.HasHomeAgentInfo {
				m.HasHomeAgentInfo = true
				m.HomeAgentPreference = binary.BigEndian.Uint16(o.Octets[4:6])
				m.HomeAgentLifetime = binary.BigEndian.Uint16(o.Octets[6:8])
			}
		}
	}
	return m, ReasonNone
}

// Prefix is a Prefix Information option (RFC 4861 section 4.6.2).
type Prefix struct {
	Prefix        netip.Prefix // masked
	Address       netip.Addr   // the prefix field as sent: with RouterAddress the router's own address
	OnLink        bool         // L
	Autonomous    bool         // A
	RouterAddress bool         // R, RFC 6275 section 7.2
	Valid         uint32       // seconds; 0xffffffff: without end
	Preferred     uint32       // seconds
}

// Prefixes gives a walker over the message's prefixes, which allocates nothing:
//
//	prefixes := m.Prefixes()
//	for p, ok := prefixes.Next(); ok; p, ok = prefixes.Next() {
func (m *RouterAdvert) Prefixes() Prefixes { return Prefixes{options: m.Options} }

// Prefixes walks over the prefixes of a router advertisement.
type Prefixes struct{ options Options }

// Next gives the next Prefix Information option that is well formed, and false at the end.
func (w *Prefixes) Next() (Prefix, bool) {
	for o, ok := w.options.Next(); ok; o, ok = w.options.Next() {
		if o.Type != OptPrefix || len(o.Octets) != prefixOctets || o.Octets[2] > maxPrefixLen {
			continue
		}
		flags := o.Octets[3]
		addr := netip.AddrFrom16([16]byte(o.Octets[prefixAddrOffset : prefixAddrOffset+16]))
		return Prefix{
			Prefix:        netip.PrefixFrom(addr, int(o.Octets[2])).Masked(),
			Address:       addr,
			OnLink:        flags&prefixFlagOnLink != 0,
			Autonomous:    flags&prefixFlagAuto != 0,
			RouterAddress: flags&prefixFlagRouter != 0,
			Valid:         binary.BigEndian.Uint32(o.Octets[prefixValidOffset : prefixValidOffset+4]),
			Preferred:     binary.BigEndian.Uint32(o.Octets[prefixValidOffset+4 : prefixValidOffset+8]),
		}, true
	}
	return Prefix{}, false
}
