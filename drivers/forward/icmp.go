package forward

import (
	"encoding/binary"
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// ICMPv6 errors that a tunnel's entry sends to the source of a packet (RFC 2473 section 8.2, RFC 4443).
const (
	icmpUnreachable   = 1 // code 3: address unreachable
	icmpPacketTooBig  = 2
	icmpParameter     = 4 // code 0: erroneous header field
	icmpRedirect      = 137
	codeAddress       = 3
	icmpHeaderLen     = 8
	icmpInformational = 0x80
)

// report is an ICMPv6 error about a packet.
type report struct {
	Type, Code uint8
	Value      uint32 // MTU or pointer
}

// appendReport appends to b the packet that tells the source of about what r says: at most 1280 octets, with as much of
// about as fits (RFC 4443 section 2.4 (c)). from is the address it is sent from. It allocates nothing if b has room.
func appendReport(b []byte, from addr, r report, about []byte) []byte {
	about = about[:min(len(about), minMTU-headerLen-icmpHeaderLen)]
	start := len(b)
	b = append(b, 6<<4, 0, 0, 0, 0, 0, ipv6.ProtoICMPv6, outerHopLimit)
	binary.BigEndian.PutUint16(b[start+4:], uint16(icmpHeaderLen+len(about)))
	b = append(b, from[:]...)
	b = append(b, about[8:24]...)
	b = append(b, r.Type, r.Code, 0, 0)
	b = binary.BigEndian.AppendUint32(b, r.Value)
	b = append(b, about...)
	payload := b[start+headerLen:]
	sum := ipv6.Checksum(netip.AddrFrom16(from), netip.AddrFrom16(addr(about[8:24])), ipv6.ProtoICMPv6, payload)
	binary.BigEndian.PutUint16(payload[2:], sum)
	return b
}

// mayReport says whether an ICMPv6 error about the packet b may be sent at all (RFC 4443 section 2.4 (e)): not about
// another error or a redirect, nor to a source that is not one node. b may be cut off behind its fixed header.
func mayReport(b []byte) bool {
	src, dst := source(b), destination(b)
	if !routable(&src) || dst[0] == 0xff {
		return false
	}
	next, at := b[6], headerLen
	for range maxExtensionHeaders {
		switch next {
		case ipv6.ProtoICMPv6:
			return len(b) > at && b[at]&icmpInformational != 0 && b[at] != icmpRedirect
		case ipv6.ProtoFragment:
			if len(b) < at+8 {
				return false
			}
			if binary.BigEndian.Uint16(b[at+2:])&0xfff8 != 0 {
				// Not the first fragment: it does not show what it is a part of, but an error message is never this long.
				return true
			}
			next, at = b[at], at+8
		case ipv6.ProtoHopByHop, ipv6.ProtoRouting, ipv6.ProtoDestination:
			if len(b) < at+8 {
				return false
			}
			next, at = b[at], at+8*(1+int(b[at+1]))
		default:
			return true
		}
	}
	return false
}

// limiter bounds the ICMPv6 errors that are sent (RFC 4443 section 2.4 (f)): a token bucket for each destination, as far
// as a small table tells them apart, and one for all.
type limiter struct {
	all   bucket
	slots [limiterSlots]bucket
}

const (
	limiterSlots = 256

	reportInterval, reportBurst       = 100e6, 5 // for each destination: ten a second, five at once
	reportAllInterval, reportAllBurst = 5e6, 50  // for all: 200 a second, 50 at once
)

// bucket is a token bucket in its leaky form: when it would be empty again, in nanoseconds.
type bucket struct{ full int64 }

func (k *bucket) take(now, interval, burst int64) bool {
	start := max(k.full, now)
	if start+interval-now > interval*burst {
		return false
	}
	k.full = start + interval
	return true
}

// allow reports whether an error may go to dst now (nanoseconds on any clock that never goes back).
func (l *limiter) allow(dst *addr, now int64) bool {
	h := binary.LittleEndian.Uint64(dst[:8])*0x9e3779b97f4a7c15 ^ binary.LittleEndian.Uint64(dst[8:])*0xc2b2ae3d27d4eb4f
	slot := &l.slots[h>>56]
	return slot.take(now, reportInterval, reportBurst) && l.all.take(now, reportAllInterval, reportAllBurst)
}
