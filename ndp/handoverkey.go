package ndp

import (
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Errors of ParseKeyRequest and ParseKeyReply.
var (
	ErrKeyRequest = errors.New("handover key request holds no public key, or its pad length is not what follows the key")
	ErrKeyReply   = errors.New("handover key reply holds no key: pad length over the end of the option")
)

const (
	keyRequestOffset = 4
	keyReplyOffset   = 6
)

// KeyRequest is the Handover Key Request option of an RtSolPr (RFC 5269 section 4.1): Type (1 octet), Length (1), Pad
// Length (1), AT (4 bits), Reserved (4 bits), Handover Key Encryption Public Key, padding.
type KeyRequest struct {
	AT        uint8  // algorithm type, 0 to 15
	PublicKey []byte // SubjectPublicKeyInfo in DER, exactly; after parsing it shares memory with the option
}

// Append appends the whole option to b, padded with zeros. A key of more than 2,036 octets does not fit in an option: then
// nothing is appended.
func (k KeyRequest) Append(b []byte) []byte {
	n := keyRequestOffset + len(k.PublicKey)
	whole := padded(n)
	if whole > MaxOptionOctets {
		return b
	}
	end := len(b) + whole
	b = append(b, OptKeyRequest, uint8(whole/optionUnit), uint8(whole-n), k.AT<<4)
	return zeros(append(b, k.PublicKey...), end)
}

// ParseKeyRequest reads a Handover Key Request option; the caller has compared its type. What the pad length leaves must
// be one DER SEQUENCE, whole; ParseSPKI reads the key itself. It fails with ErrKeyRequest.
func ParseKeyRequest(o Option) (KeyRequest, error) {
	if len(o.Octets) < optionUnit {
		return KeyRequest{}, ErrKeyRequest
	}
	end := len(o.Octets) - int(o.Octets[2])
	if end < keyRequestOffset {
		return KeyRequest{}, ErrKeyRequest
	}
	rest := cryptobyte.String(o.Octets[keyRequestOffset:end:end])
	var key cryptobyte.String
	if !rest.ReadASN1Element(&key, asn1.SEQUENCE) || !rest.Empty() {
		return KeyRequest{}, ErrKeyRequest
	}
	return KeyRequest{AT: o.Octets[3] >> 4, PublicKey: key}, nil
}

// KeyReply is the Handover Key Reply option of a PrRtAdv (RFC 5269 section 4.2): Type (1 octet), Length (1), Pad Length
// (1), AT (4 bits), Reserved (4 bits), Key Lifetime (2), Encrypted Handover Key, padding.
type KeyReply struct {
	AT           uint8  // algorithm type, 0 to 15
	Lifetime     uint16 // seconds
	EncryptedKey []byte // RSAES-PKCS1-v1_5, as long as the modulus; after parsing it shares memory with the option
}

// Append appends the whole option to b, padded with zeros. A key of more than 2,034 octets does not fit in an option: then
// nothing is appended.
func (k KeyReply) Append(b []byte) []byte {
	n := keyReplyOffset + len(k.EncryptedKey)
	whole := padded(n)
	if whole > MaxOptionOctets {
		return b
	}
	end := len(b) + whole
	b = append(b, OptKeyReply, uint8(whole/optionUnit), uint8(whole-n), k.AT<<4)
	b = binary.BigEndian.AppendUint16(b, k.Lifetime)
	return zeros(append(b, k.EncryptedKey...), end)
}

// ParseKeyReply reads a Handover Key Reply option; the caller has compared its type. It fails with ErrKeyReply.
func ParseKeyReply(o Option) (KeyReply, error) {
	if len(o.Octets) < optionUnit {
		return KeyReply{}, ErrKeyReply
	}
	end := len(o.Octets) - int(o.Octets[2])
	if end <= keyReplyOffset {
		return KeyReply{}, ErrKeyReply
	}
	return KeyReply{
		AT:           o.Octets[3] >> 4,
		Lifetime:     binary.BigEndian.Uint16(o.Octets[4:keyReplyOffset]),
		EncryptedKey: o.Octets[keyReplyOffset:end:end],
	}, nil
}
