package advertise

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"github.com/roamkey/roamkey/ndp"
)

// Option types that only router advertisements have.
const (
	optRoute   = 24 // RFC 4191 section 2.3
	optServers = 25 // RFC 8106 section 5.1
	optSearch  = 31 // RFC 8106 section 5.2
)

const (
	flagOnLink     = 0x80
	flagAutonomous = 0x40
	flagRouter     = 0x20 // RFC 6275 section 7.2

	// serversPerOption and searchOctets keep each option small enough that options can be spread over advertisements, and
	// under 256 octets, where some receivers fail. One domain name may be longer.
	serversPerOption = 8
	searchOctets     = 248
)

// seconds gives a lifetime field: whole seconds that have begun to run out count as gone.
func seconds(d time.Duration) uint32 {
	switch {
	case d == Infinite:
		return 1<<32 - 1
	case d <= 0:
		return 0
	}
	return uint32(min(d, maxLifetime) / time.Second)
}

// prefixOption encodes a Prefix Information option (RFC 4861 section 4.6.2); with router (RFC 6275 section 7.2) the prefix
// field holds the whole address.
func prefixOption(p netip.Prefix, router netip.Addr, onLink, autonomous bool, valid, preferred time.Duration) []byte {
	b := make([]byte, 32)
	b[0], b[1], b[2] = ndp.OptPrefix, 4, uint8(p.Bits())
	addr := p.Addr()
	if onLink {
		b[3] |= flagOnLink
	}
	if autonomous {
		b[3] |= flagAutonomous
	}
	if router.IsValid() {
		b[3] |= flagRouter
		addr = router
	}
	binary.BigEndian.PutUint32(b[4:], seconds(valid))
	binary.BigEndian.PutUint32(b[8:], seconds(preferred))
	a := addr.As16()
	copy(b[16:], a[:])
	return b
}

// mtuOption encodes an MTU option (RFC 4861 section 4.6.4).
func mtuOption(mtu uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{ndp.OptMTU, 1, 0, 0}, mtu)
}

// intervalOption encodes an Advertisement Interval option (RFC 6275 section 7.3), with the slack that short intervals need
// (section 7.5).
func intervalOption(longest time.Duration) []byte {
	if longest < intervalSlackBelow {
		longest += intervalSlack
	}
	return binary.BigEndian.AppendUint32([]byte{ndp.OptAdvertisementInterval, 1, 0, 0}, uint32(longest/time.Millisecond))
}

// homeAgentOption encodes a Home Agent Information option (RFC 6275 section 7.4).
func homeAgentOption(info *HomeAgentInfo) []byte {
	b := binary.BigEndian.AppendUint16([]byte{ndp.OptHomeAgentInformation, 1, 0, 0}, info.Preference)
	return binary.BigEndian.AppendUint16(b, uint16(info.Lifetime/time.Second))
}

// routeOption encodes a Route Information option (RFC 4191 section 2.3), as short as the prefix allows.
func routeOption(p netip.Prefix, preference Preference, lifetime time.Duration) []byte {
	octets := (p.Bits() + 63) / 64 * 8
	b := make([]byte, 8+octets)
	b[0], b[1], b[2], b[3] = optRoute, uint8(len(b)/8), uint8(p.Bits()), uint8(preference)<<3
	binary.BigEndian.PutUint32(b[4:], seconds(lifetime))
	a := p.Addr().As16()
	copy(b[8:], a[:octets])
	return b
}

// serversOptions encodes Recursive DNS Server options (RFC 8106 section 5.1).
func serversOptions(list [][]byte, addrs []netip.Addr, lifetime time.Duration) [][]byte {
	for len(addrs) > 0 {
		n := min(len(addrs), serversPerOption)
		b := binary.BigEndian.AppendUint32([]byte{optServers, uint8(1 + 2*n), 0, 0}, seconds(lifetime))
		for _, addr := range addrs[:n] {
			a := addr.As16()
			b = append(b, a[:]...)
		}
		list, addrs = append(list, b), addrs[n:]
	}
	return list
}

// searchOptions encodes DNS Search List options (RFC 8106 section 5.2): uncompressed names, padded with zeros.
func searchOptions(list [][]byte, domains []string, lifetime time.Duration) [][]byte {
	var names []byte
	flush := func() {
		if len(names) == 0 {
			return
		}
		b := make([]byte, (8+len(names)+7)/8*8)
		b[0], b[1] = optSearch, uint8(len(b)/8)
		binary.BigEndian.PutUint32(b[4:], seconds(lifetime))
		copy(b[8:], names)
		list, names = append(list, b), names[:0]
	}
	for _, domain := range domains {
		name := domainName(domain)
		if 8+len(names)+len(name) > searchOctets {
			flush()
		}
		names = append(names, name...)
	}
	flush()
	return list
}

// domainName encodes a domain name as RFC 1035 section 3.1 does.
func domainName(d string) []byte {
	var b []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(d, "."), ".") {
		b = append(b, uint8(len(label)))
		b = append(b, label...)
	}
	return append(b, 0)
}
