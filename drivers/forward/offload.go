package forward

import (
	"encoding/binary"

	"github.com/roamkey/roamkey/ipv6"
)

// A kernel that receives tunnel packets merges TCP segments in them before a socket sees them (generic receive offload),
// and a sender on the same machine leaves checksums to a network card that is not there. Either way the checksum
// field holds the sum of the pseudo-header alone. A packet that goes on from here has to be one that could have come
// from a wire.

const (
	protoTCP = 6
	protoUDP = 17

	tcpChecksum, udpChecksum = 16, 6 // offsets of the checksum field
	tcpMinLen, udpMinLen     = 20, 8

	tcpFIN, tcpPSH, tcpCWR = 0x01, 0x08, 0x80
)

// unfinished reports whether b, a whole packet, holds TCP or UDP whose checksum is still to be computed, and where that
// begins.
func unfinished(b []byte) (proto uint8, at int, ok bool) {
	proto, at = b[6], headerLen
	for range maxExtensionHeaders {
		switch proto {
		case protoTCP:
			return proto, at, len(b) >= at+tcpMinLen && partial(b, at, proto, tcpChecksum)
		case protoUDP:
			return proto, at, len(b) >= at+udpMinLen && partial(b, at, proto, udpChecksum)
		case ipv6.ProtoHopByHop, ipv6.ProtoDestination:
			if len(b) < at+8 || len(b) < at+8*(1+int(b[at+1])) {
				return 0, 0, false
			}
			proto, at = b[at], at+8*(1+int(b[at+1]))
		default:
			return 0, 0, false
		}
	}
	return 0, 0, false
}

func partial(b []byte, at int, proto uint8, field int) bool {
	pseudo := pseudoSum(b, len(b)-at, proto)
	if binary.BigEndian.Uint16(b[at+field:]) != fold(pseudo) {
		return false
	}
	// One right checksum in 65,536 looks the same: it is right, then.
	return fold(sum(pseudo, b[at:])) != 0xffff
}

// finish computes the checksum of what begins at at in b.
func finish(b []byte, at int, proto uint8) {
	field := b[at+tcpChecksum : at+tcpChecksum+2]
	if proto == protoUDP {
		field = b[at+udpChecksum : at+udpChecksum+2]
	}
	field[0], field[1] = 0, 0
	check := ^fold(sum(pseudoSum(b, len(b)-at, proto), b[at:]))
	if check == 0 && proto == protoUDP {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(field, check)
}

func pseudoSum(b []byte, length int, proto uint8) uint32 {
	return sum(uint32(length>>16)+uint32(length&0xffff)+uint32(proto), b[8:40])
}

func sum(start uint32, b []byte) uint32 {
	for len(b) >= 2 {
		start += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	return start
}

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// segments cuts the TCP packet b, whose TCP header begins at at, into packets of at most size octets with their
// checksums, and hands each to emit, built in scratch. The size that the sender chose is lost when segments are merged;
// a size that every path takes is the only one that can be chosen here. It reports false where b is not sound.
func segments(b []byte, at, size int, scratch []byte, emit func([]byte)) bool {
	head := at + 4*int(b[at+12]>>4)
	if head < at+tcpMinLen || head > len(b) || head >= size || size > len(scratch) {
		return false
	}
	seq, flags := binary.BigEndian.Uint32(b[at+4:]), b[at+13]
	for data, first := b[head:], true; first || len(data) > 0; first = false {
		n := min(len(data), size-head)
		p := scratch[:head+n]
		copy(p, b[:head])
		copy(p[head:], data[:n])
		data = data[n:]
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-headerLen))
		binary.BigEndian.PutUint32(p[at+4:], seq)
		seq += uint32(n)
		f := flags
		if len(data) > 0 {
			f &^= tcpFIN | tcpPSH
		}
		if !first {
			f &^= tcpCWR
		}
		p[at+13] = f
		finish(p, at, protoTCP)
		emit(p)
	}
	return true
}
