// Package frames sends and receives whole Ethernet frames with any source address, as many stations would: it is for the
// load generator, which plays nodes that the kernel knows nothing of. Programs that are one station use drivers/rawip.
package frames

import "github.com/roamkey/roamkey/ipv6"

// HeaderLen is the length of the Ethernet header in octets: destination (6), source (6), type (2).
const HeaderLen = 14

// EtherType of IPv6.
const EtherType = 0x86dd

// Append appends a frame that carries packet, a whole IPv6 packet, to b.
func Append(b []byte, dst, src ipv6.LinkAddr, packet []byte) []byte {
	b = append(b, dst[:]...)
	b = append(b, src[:]...)
	b = append(b, EtherType>>8, EtherType&0xff)
	return append(b, packet...)
}

// Split takes a frame with an IPv6 packet apart; ok is false for any other.
func Split(frame []byte) (dst, src ipv6.LinkAddr, packet []byte, ok bool) {
	if len(frame) < HeaderLen || frame[12] != EtherType>>8 || frame[13] != EtherType&0xff {
		return dst, src, nil, false
	}
	return ipv6.LinkAddr(frame[0:6]), ipv6.LinkAddr(frame[6:12]), frame[HeaderLen:], true
}
