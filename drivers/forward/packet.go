package forward

import (
	"encoding/binary"

	"github.com/roamkey/roamkey/drivers/rtnl"
	"github.com/roamkey/roamkey/ipv6"
)

const (
	headerLen = ipv6.HeaderLen

	// minMTU is the least MTU of any IPv6 link (RFC 8200 section 5): a tunnel never asks a sender for less, and sends
	// packets up to it in fragments if it has to (RFC 2473 section 7.1).
	minMTU = 1280

	// maxDeviceMTU bounds the tunnel device's MTU, and with it the buffers.
	maxDeviceMTU = 9216

	// outerHopLimit is the hop limit of tunnel packets (RFC 2473 section 6.3): the recommended default of hosts.
	outerHopLimit = rtnl.OuterHopLimit

	// maxNesting is how deep tunnel packets may lie in a packet that enters a tunnel. A packet that goes round through two
	// routers that point at each other gets one header more each time, and new hop limits with them, so that only this
	// ends it (RFC 2473 section 4.1.3).
	maxNesting = 4

	// maxExtensionHeaders bounds the walk along a packet's headers.
	maxExtensionHeaders = 8
)

// addr is an IPv6 address as it stands in a packet: a map key without a pointer in it.
type addr = [16]byte

// reason says what became of a packet. The zero value means that it passed.
type reason uint8

// Reasons why a packet does not pass.
const (
	passed       reason = iota
	malformed           // not an IPv6 packet, or not as long as its header says
	badScope            // a source or destination that no router forwards
	noBinding           // no binding has this home address
	wrongOuter          // the outer source and destination are not those of the binding (RFC 6275 section 10.4.5)
	loops               // it would come back: to itself, to its own care-of address or to the tunnel's ends
	tooNested           // too many tunnel headers in it
	limitReached        // its encapsulation limit is used up (RFC 2473 section 4.1.1)
	tooBig              // larger than the tunnel's MTU: answered with Packet Too Big
	notECN              // congestion was marked on the tunnel and the packet cannot carry the mark (RFC 6040 section 4.2)
	notSent             // the kernel would not send it
	queueFull           // the kernel's queue was full
	notDelivered        // the kernel would not take it from the tunnel device
	oversized           // longer than any packet that can be passed on
	reasonCount
)

var reasonNames = [reasonCount]string{
	passed: "packets", malformed: "malformed", badScope: "bad_scope", noBinding: "no_binding", wrongOuter: "wrong_outer",
	loops: "loop", tooNested: "nested", limitReached: "encapsulation_limit", tooBig: "too_big", notECN: "congested",
	notSent: "send_error", queueFull: "queue_full", notDelivered: "not_delivered", oversized: "oversized",
}

// whole reports whether b is one IPv6 packet, no more and no less.
func whole(b []byte) bool {
	return len(b) >= headerLen && b[0]>>4 == 6 && headerLen+int(binary.BigEndian.Uint16(b[4:6])) == len(b)
}

func source(b []byte) addr      { return addr(b[8:24]) }
func destination(b []byte) addr { return addr(b[24:40]) }

func trafficClass(b []byte) uint8 { return b[0]<<4 | b[1]>>4 }

func setTrafficClass(b []byte, tc uint8) {
	b[0] = b[0]&0xf0 | tc>>4
	b[1] = b[1]&0x0f | tc<<4
}

// routable reports whether a packet from or to a may leave its link: no multicast, link-local, loopback, unspecified or
// IPv4-mapped address. RFC 6275 section 10.4.2 forbids to tunnel link-scope packets, and without membership control
// (section 10.4.3) there is no other multicast to tunnel.
func routable(a *addr) bool {
	if a[0] == 0xff || (a[0] == 0xfe && a[1]&0xc0 == 0x80) {
		return false
	}
	if a[0] != 0 {
		return true
	}
	for _, b := range a[:10] {
		if b != 0 {
			return true
		}
	}
	// ::, ::1, IPv4-compatible and IPv4-mapped addresses: nothing that is routed starts with 80 zero bits.
	return false
}

// limit finds the tunnel encapsulation limit of a whole packet that is to enter a tunnel (RFC 2473 section 4.1.1), and
// where in the packet it stands. Without one offset is 0. deep is how many tunnel packets lie in the packet.
func limit(b []byte) (value uint8, offset, deep int) {
	next, at := b[6], headerLen
	for range maxExtensionHeaders {
		switch next {
		case ipv6.ProtoIPv6:
			deep++
			if deep > maxNesting || len(b) < at+headerLen {
				return value, offset, deep
			}
			next, at = b[at+6], at+headerLen
			continue
		case ipv6.ProtoHopByHop, ipv6.ProtoRouting, ipv6.ProtoDestination:
		default:
			return value, offset, deep
		}
		if len(b) < at+8 || len(b) < at+8*(1+int(b[at+1])) {
			return value, offset, deep
		}
		end := at + 8*(1+int(b[at+1]))
		if next == ipv6.ProtoDestination && deep == 0 && offset == 0 {
			if o := findLimit(b[at+2 : end]); o >= 0 {
				offset = at + 2 + o + 2
				value = b[offset]
			}
		}
		next, at = b[at], end
	}
	return value, offset, deep
}

// findLimit gives the offset of a well-formed Tunnel Encapsulation Limit option in the options b, or -1.
func findLimit(b []byte) int {
	for i := 0; i < len(b); {
		if b[i] == 0 { // Pad1
			i++
			continue
		}
		if i+2 > len(b) || i+2+int(b[i+1]) > len(b) {
			return -1
		}
		if b[i] == optEncapLimit && b[i+1] == 1 {
			return i
		}
		i += 2 + int(b[i+1])
	}
	return -1
}

const optEncapLimit = 4

// decapsulateECN puts the congestion mark of the tunnel header on the packet that was in it (RFC 6040 section 4.2). It
// reports false where the packet has to be dropped instead.
func decapsulateECN(outer uint8, b []byte) bool {
	const mask, notCapable, ect1, marked = 3, 0, 1, 3
	inner := trafficClass(b)
	switch {
	case outer&mask == marked:
		if inner&mask == notCapable {
			return false
		}
		setTrafficClass(b, inner|marked)
	case outer&mask == ect1 && inner&mask == 2:
		setTrafficClass(b, inner&^mask|ect1)
	}
	return true
}
