package send

import (
	"encoding/binary"
	"hash"

	"github.com/roamkey/roamkey/ipv6"
)

// typeTag is the CGA message type tag of SEND (RFC 3971 section 5.2).
var typeTag = [16]byte{0x08, 0x6f, 0xca, 0x5e, 0x10, 0xb2, 0x00, 0xc9, 0x9c, 0x8c, 0xe0, 0x01, 0x64, 0x27, 0x7c, 0x08}

// signer computes digests of signed data without allocating.
type signer struct {
	sha  hash.Hash
	head [addressesEnd + checksumEnd]byte // tag, source, destination, type, code, checksum
	sum  [20]byte
}

const addressesEnd = 48

// shortChecksum gives the checksum that the first cut octets of the ICMPv6 message p.Payload have as a message of their
// own: the one that is signed.
func shortChecksum(p *ipv6.Packet, cut int) uint16 {
	msg := p.Payload[:cut]
	// The field itself is in the sum and is taken out again. In one's complement zero has two forms; a sum that has the
	// pseudo-header in it never is the positive one.
	sum := uint32(^ipv6.Checksum(p.Src, p.Dst, ipv6.ProtoICMPv6, msg)) +
		uint32(^binary.BigEndian.Uint16(msg[checksumAt:checksumEnd]))
	return ^uint16(sum>>16 + sum&0xffff)
}

// digest gives the SHA-1 of the signed data of p: type tag (16 octets) | source (16) | destination (16) | type (1) | code
// (1) | checksum (2) | the rest up to the signature option, which stands at octet cut of the message.
func (s *signer) digest(p *ipv6.Packet, cut int, checksum uint16) [20]byte {
	src, dst := p.Src.As16(), p.Dst.As16()
	copy(s.head[:], typeTag[:])
	copy(s.head[16:], src[:])
	copy(s.head[32:], dst[:])
	copy(s.head[addressesEnd:], p.Payload[:checksumAt])
	binary.BigEndian.PutUint16(s.head[addressesEnd+checksumAt:], checksum)
	s.sha.Reset()
	s.sha.Write(s.head[:])
	s.sha.Write(p.Payload[checksumEnd:cut])
	s.sha.Sum(s.sum[:0])
	return s.sum
}

// shorten makes raw, a whole IPv6 packet whose last octets are an ICMPv6 message from octet payload on, say its own length
// and the message's checksum.
func shorten(raw []byte, payload int, checksum uint16) {
	binary.BigEndian.PutUint16(raw[4:6], uint16(len(raw)-ipv6.HeaderLen))
	binary.BigEndian.PutUint16(raw[payload+checksumAt:payload+checksumEnd], checksum)
}
