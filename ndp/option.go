package ndp

import (
	"errors"

	"github.com/roamkey/roamkey/ipv6"
)

// ICMPv6 types of Neighbour Discovery (RFC 4861 section 4).
const (
	TypeRouterSolicit   = 133
	TypeRouterAdvert    = 134
	TypeNeighborSolicit = 135
	TypeNeighborAdvert  = 136
	TypeRedirect        = 137
)

// ICMPv6 types of what stands on Neighbour Discovery: delegation discovery (RFC 3971 section 6.4) and FMIPv6 (RFC 5568
// section 6.1).
const (
	TypePathSolicit = 148
	TypePathAdvert  = 149
	TypeFast        = 154 // with a subtype: RtSolPr, PrRtAdv
)

// Option types that mean the same in every message that may have them.
const (
	OptSourceLink = 1  // RFC 4861 section 4.6.1
	OptTargetLink = 2  // section 4.6.1
	OptPrefix     = 3  // section 4.6.2
	OptRedirected = 4  // section 4.6.3
	OptMTU        = 5  // section 4.6.4
	OptCGA        = 11 // RFC 3971 section 5.1
	OptSignature  = 12 // section 5.2
	OptTimestamp  = 13 // section 5.3.1
	OptNonce      = 14 // section 5.3.2, RFC 7527
)

// Option types of delegation discovery (RFC 3971 sections 6.4.3 and 6.4.4), in messages 148 and 149.
const (
	OptTrustAnchor = 15
	OptCertificate = 16
)

// Option types of FMIPv6 (RFC 5568 section 6.4) and its handover keys (RFC 5269 section 4), in messages 154; the
// acknowledgment is one of router advertisements.
const (
	OptAddress     = 17
	OptLinkLayer   = 19
	OptNeighborAck = 20
	OptKeyRequest  = 27
	OptKeyReply    = 28
)

// Option types of router advertisements with the extensions of RFC 6275 (sections 7.3 and 7.4). LKE gives the same
// numbers to options of other messages.
const (
	OptAdvertisementInterval = 7
	OptHomeAgentInformation  = 8
)

// MaxOptionOctets is the length of the longest option: 255 units of 8 octets.
const MaxOptionOctets = 255 * optionUnit

const (
	optionUnit       = 8
	optionHead       = 2 // type and length
	checksumOffset   = 2
	checksumEnd      = 4
	nsOctets         = 24 // fixed part of a neighbour solicitation and advertisement
	rsOctets         = 8
	raOctets         = 16
	linkOptionOctets = 8
)

// CodePoints are the option numbers of Local Key Exchange, which IANA gave to others in other messages, so that they
// can be configured.
type CodePoints struct {
	Capability  uint8 // in router advertisements
	AuthRequest uint8 // in neighbour solicitations
	AuthReply   uint8 // in neighbour advertisements
}

// DefaultCodePoints gives the numbers of draft-liu-mobileip-lke-01: 6, 7 and 8.
func DefaultCodePoints() CodePoints { return CodePoints{Capability: 6, AuthRequest: 7, AuthReply: 8} }

// ErrOption is what a walk over options ends with when one has a length of zero or runs over the end of the message.
var ErrOption = errors.New("option has length zero or runs over the end of the message")

// Option is one Neighbour Discovery option: Type (1 octet), Length in units of 8 octets (1), body.
type Option struct {
	Type   uint8
	Octets []byte // the whole option, a multiple of 8 octets; shares memory with the message
	Offset int    // of the type octet, from the start of the ICMPv6 message
}

// Body is what follows type and length.
func (o Option) Body() []byte {
	if len(o.Octets) < optionHead {
		return nil
	}
	return o.Octets[optionHead:]
}

// Options walks over the options of a message without allocating. The zero value has none. A copy of a walker walks on
// its own.
type Options struct {
	msg      []byte
	offset   int
	toSigned bool // end with the first RSA Signature option
	err      error
}

// OptionsAt gives a walker over the options of the ICMPv6 message msg, the first of which starts at offset.
func OptionsAt(msg []byte, offset int) Options {
	if offset < 0 || offset > len(msg) {
		return Options{err: ErrOption}
	}
	return Options{msg: msg, offset: offset}
}

// UpToSignature gives a walker that ends with the first RSA Signature option. What stands behind it is signed by nobody,
// and receivers ignore it (RFC 3971 section 5.2.2); all Parse functions of this package do.
func (o Options) UpToSignature() Options {
	o.toSigned = true
	return o
}

// Next gives the next option, and false at the end of the message or at an option that Err then tells of.
func (o *Options) Next() (Option, bool) {
	if o.err != nil || o.offset >= len(o.msg) {
		return Option{}, false
	}
	at := o.offset
	if len(o.msg)-at < optionUnit {
		o.err = ErrOption
		return Option{}, false
	}
	n := optionUnit * int(o.msg[at+1])
	if n == 0 || n > len(o.msg)-at {
		o.err = ErrOption
		return Option{}, false
	}
	o.offset = at + n
	if o.toSigned && o.msg[at] == OptSignature {
		o.offset = len(o.msg)
	}
	return Option{Type: o.msg[at], Octets: o.msg[at : at+n : at+n], Offset: at}, true
}

// Err reports ErrOption if the walk ended at a malformed option.
func (o *Options) Err() error { return o.err }

// linkAddr reads a link-layer address option. One whose length is not that of an IEEE 802 address is none of ours.
func linkAddr(o Option) (a ipv6.LinkAddr, ok bool) {
	if len(o.Octets) != linkOptionOctets {
		return a, false
	}
	copy(a[:], o.Octets[optionHead:])
	return a, true
}

// SourceLinkOption gives an encoded Source Link-Layer Address option.
func SourceLinkOption(hw ipv6.LinkAddr) []byte { return linkOption(OptSourceLink, hw) }

// TargetLinkOption gives an encoded Target Link-Layer Address option.
func TargetLinkOption(hw ipv6.LinkAddr) []byte { return linkOption(OptTargetLink, hw) }

func linkOption(typ uint8, hw ipv6.LinkAddr) []byte {
	return []byte{typ, 1, hw[0], hw[1], hw[2], hw[3], hw[4], hw[5]}
}

// NonceOption gives an encoded Nonce option (RFC 3971 section 5.3.2), nil if nonce is longer than 2,038 octets. A nonce
// has 6 octets at least and fills up whole units of 8 with type and length; one of another length is followed by zeros.
func NonceOption(nonce []byte) []byte {
	return encode(OptNonce, nonce)
}

// encode gives an option with the body and zeros up to a multiple of 8 octets; nil if it is longer than an option can be.
func encode(typ uint8, body []byte) []byte {
	n := max((optionHead+len(body)+optionUnit-1)/optionUnit*optionUnit, optionUnit)
	if n > MaxOptionOctets {
		return nil
	}
	b := make([]byte, n)
	b[0], b[1] = typ, uint8(n/optionUnit)
	copy(b[optionHead:], body)
	return b
}
