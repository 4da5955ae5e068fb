package ndp

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Errors of ParseCapability and ParseDADAuth.
var (
	ErrCapability = errors.New("capability option holds no public key, or more than padding after it")
	ErrDADAuth    = errors.New("authentication option is not 48 octets long")
)

const (
	capabilityKeyOffset = 4

	dadAuthOctets    = 48
	dadNonceOffset   = 4
	dadRouterOffset  = 8
	dadMACOffset     = 24
	dadPaddingOffset = dadMACOffset + sha1.Size
)

// Capability is LKE's option of router advertisements (draft-liu-mobileip-lke-01 section 3.1.1): Type (1 octet), Length
// (1), Maximum Lifetime (2), Public Key, padding.
type Capability struct {
	MaximumLifetime uint16 // seconds
	PublicKey       []byte // SubjectPublicKeyInfo in DER, exactly; after parsing it shares memory with the option
}

// Append appends the whole option to b, padded with zeros. A key of more than 2,036 octets does not fit in an option: then
// nothing is appended.
func (c Capability) Append(b []byte, cp CodePoints) []byte {
	n := (capabilityKeyOffset + len(c.PublicKey) + optionUnit - 1) / optionUnit * optionUnit
	if n > MaxOptionOctets {
		return b
	}
	end := len(b) + n
	b = append(b, cp.Capability, uint8(n/optionUnit))
	b = binary.BigEndian.AppendUint16(b, c.MaximumLifetime)
	b = append(b, c.PublicKey...)
	for len(b) < end {
		b = append(b, 0)
	}
	return b
}

// ParseCapability reads a capability option; the caller has compared its type. The key is cut by its DER length, and what
// follows must be less than 8 octets of padding; ParseSPKI reads the key itself. It fails with ErrCapability.
func ParseCapability(o Option) (Capability, error) {
	if len(o.Octets) < optionUnit {
		return Capability{}, ErrCapability
	}
	rest := cryptobyte.String(o.Octets[capabilityKeyOffset:])
	var key cryptobyte.String
	if !rest.ReadASN1Element(&key, asn1.SEQUENCE) || len(rest) >= optionUnit {
		return Capability{}, ErrCapability
	}
	return Capability{MaximumLifetime: binary.BigEndian.Uint16(o.Octets[2:4]), PublicKey: key}, nil
}

// DADAuth is LKE's DAD Authentication Request, in neighbour solicitations, and Reply, in neighbour advertisements (draft
// sections 3.1.2 and 3.1.3): Type (1 octet), Length (1), Reserved (2), Nonce (4), AR Address (16), HMAC-SHA1 (20), and 4
// octets of padding, which the draft does not draw but which make whole units of 8.
type DADAuth struct {
	Nonce  uint32
	Router netip.Addr // the access router's global address, by which the LBSA is known
	MAC    [sha1.Size]byte
}

// Append appends the whole option to b, 48 octets; typ is the AuthRequest or AuthReply of the CodePoints.
func (a DADAuth) Append(b []byte, typ uint8) []byte {
	b = append(b, typ, dadAuthOctets/optionUnit, 0, 0)
	b = binary.BigEndian.AppendUint32(b, a.Nonce)
	router := a.Router.As16()
	b = append(b, router[:]...)
	b = append(b, a.MAC[:]...)
	return append(b, 0, 0, 0, 0)
}

// ParseDADAuth reads an authentication option; the caller has compared its type. It fails with ErrDADAuth.
func ParseDADAuth(o Option) (DADAuth, error) {
	if len(o.Octets) != dadAuthOctets {
		return DADAuth{}, ErrDADAuth
	}
	return DADAuth{
		Nonce:  binary.BigEndian.Uint32(o.Octets[dadNonceOffset:dadRouterOffset]),
		Router: netip.AddrFrom16([16]byte(o.Octets[dadRouterOffset:dadMACOffset])),
		MAC:    [sha1.Size]byte(o.Octets[dadMACOffset:dadPaddingOffset]),
	}, nil
}

// SignDADAuth computes the HMAC of the authentication option that begins at octet offset of the ICMPv6 message msg, stores
// it there, and sets the message's checksum. The HMAC covers src | dst | msg up to the end of the option, its padding
// included, with the checksum and the HMAC itself as zero. Options that follow, those of secure Neighbour Discovery, are
// left out, so that they can be added later. It fails with ErrDADAuth if there is no such option at offset.
func SignDADAuth(msg, key []byte, src, dst netip.Addr, offset int) error {
	if offset < checksumEnd || offset > len(msg)-dadAuthOctets || msg[offset+1] != dadAuthOctets/optionUnit {
		return ErrDADAuth
	}
	copy(msg[offset+dadMACOffset:], dadMAC(msg, key, src, dst, offset))
	FixChecksum(msg, src, dst)
	return nil
}

// VerifyDADAuth reports whether the HMAC that SignDADAuth would store is in option o of msg. It takes the same time
// whichever octets differ and does not write to msg.
func VerifyDADAuth(msg, key []byte, src, dst netip.Addr, o Option) bool {
	if len(o.Octets) != dadAuthOctets || o.Offset < checksumEnd || o.Offset > len(msg)-dadAuthOctets {
		return false
	}
	return hmac.Equal(dadMAC(msg, key, src, dst, o.Offset), msg[o.Offset+dadMACOffset:o.Offset+dadPaddingOffset])
}

func dadMAC(msg, key []byte, src, dst netip.Addr, offset int) []byte {
	mac := hmac.New(sha1.New, key)
	s, d := src.As16(), dst.As16()
	mac.Write(s[:])
	mac.Write(d[:])
	mac.Write(msg[:checksumOffset])
	mac.Write([]byte{0, 0})
	mac.Write(msg[checksumEnd : offset+dadMACOffset])
	mac.Write(make([]byte, sha1.Size))
	mac.Write(msg[offset+dadPaddingOffset : offset+dadAuthOctets])
	return mac.Sum(nil)
}
