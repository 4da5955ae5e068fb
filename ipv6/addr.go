package ipv6

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
)

// LinkAddr is an IEEE 802 link-layer address. The zero value means that there is none or that it is not known.
type LinkAddr [6]byte

// IsZero reports whether a is the zero value.
func (a LinkAddr) IsZero() bool { return a == LinkAddr{} }

// IsUnicast reports whether a can be one station's address: not zero and not a group address.
func (a LinkAddr) IsUnicast() bool { return !a.IsZero() && a[0]&1 == 0 }

// String gives the usual form with colons.
func (a LinkAddr) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3], a[4], a[5])
}

// ErrLinkAddr is what ParseLinkAddr fails with.
var ErrLinkAddr = errors.New("a link-layer address is six pairs of hexadecimal digits with colons between, such as 02:00:00:00:02:01")

// ParseLinkAddr reads the form that String gives, in capital letters, too.
func ParseLinkAddr(text string) (LinkAddr, error) {
	const length = 3*len(LinkAddr{}) - 1
	var a LinkAddr
	if len(text) != length {
		return LinkAddr{}, ErrLinkAddr
	}
	for i := range a {
		if i > 0 && text[3*i-1] != ':' {
			return LinkAddr{}, ErrLinkAddr
		}
		if _, err := hex.Decode(a[i:i+1], []byte(text[3*i:3*i+2])); err != nil {
			return LinkAddr{}, ErrLinkAddr
		}
	}
	return a, nil
}

// MarshalText gives the usual form, and nothing for the zero value.
func (a LinkAddr) MarshalText() ([]byte, error) {
	if a.IsZero() {
		return nil, nil
	}
	return []byte(a.String()), nil
}

// UnmarshalText reads what MarshalText gives. It fails with ErrLinkAddr.
func (a *LinkAddr) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*a = LinkAddr{}
		return nil
	}
	parsed, err := ParseLinkAddr(string(text))
	if err == nil {
		*a = parsed
	}
	return err
}

// AllNodes is ff02::1, AllRouters ff02::2 (RFC 4291 section 2.7.1).
func AllNodes() netip.Addr { return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 1}) }

// AllRouters is ff02::2.
func AllRouters() netip.Addr { return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 2}) }

// SolicitedNode gives the solicited-node multicast address of a (RFC 4291 section 2.7.1).
func SolicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// MulticastLinkAddr gives the Ethernet group address of a multicast address (RFC 2464 section 7).
func MulticastLinkAddr(a netip.Addr) LinkAddr {
	b := a.As16()
	return LinkAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// LinkLocalFrom gives the link-local address with the modified EUI-64 interface identifier of hw (RFC 2464 section 5).
func LinkLocalFrom(hw LinkAddr) netip.Addr {
	return WithEUI64(netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80}), hw)
}

// WithEUI64 gives the address that has the first 64 bits of prefix and the modified EUI-64 identifier of hw.
func WithEUI64(prefix netip.Addr, hw LinkAddr) netip.Addr {
	b := prefix.As16()
	copy(b[8:], []byte{hw[0] ^ 2, hw[1], hw[2], 0xff, 0xfe, hw[3], hw[4], hw[5]})
	return netip.AddrFrom16(b)
}
