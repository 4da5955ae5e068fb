package cga

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/roamkey/roamkey/ndp"
)

// Errors of Parse and ParseOption.
var (
	ErrShort          = errors.New("CGA parameters have less than 26 octets: no room for a public key")
	ErrCollisionCount = errors.New("CGA parameters: collision count is not 0, 1 or 2")
	ErrPublicKey      = errors.New("CGA parameters hold no public key in DER, or one that runs over their end")
	ErrExtension      = errors.New("CGA parameters: extension field runs over their end")
	ErrOption         = errors.New("CGA option: pad length runs over the start of the parameters")
)

const (
	modifierOctets = 16
	prefixOctets   = 8
	prefixOffset   = modifierOctets
	countOffset    = prefixOffset + prefixOctets
	keyOffset      = countOffset + 1

	maxCollisions = 2

	extensionHead = 4 // type (2 octets), length (2)

	optionUnit   = 8
	optionOffset = 4 // type, length, pad length, reserved
	maxInOption  = ndp.MaxOptionOctets - optionOffset
)

// Params are the CGA parameters (RFC 3972 section 3): Modifier (16 octets), Subnet Prefix (8), Collision Count (1), Public
// Key, Extension Fields.
type Params struct {
	Modifier   [16]byte
	Prefix     [8]byte
	Collisions uint8  // 0 to 2: how often duplicate address detection has found the address taken
	PublicKey  []byte // SubjectPublicKeyInfo in DER, exactly
	Extensions []byte // each Type (2 octets), Length of the data (2), data (RFC 4581); all of them are part of every hash
}

// Parse reads CGA parameters, exactly as long as they are. The length in the DER of the public key decides where extension
// fields begin; of the key no more than that is looked at. What it gives shares memory with b. It fails with ErrShort,
// ErrCollisionCount, ErrPublicKey or ErrExtension.
func Parse(b []byte) (Params, error) {
	if len(b) <= keyOffset {
		return Params{}, ErrShort
	}
	p := Params{
		Modifier:   [16]byte(b[:prefixOffset]),
		Prefix:     [8]byte(b[prefixOffset:countOffset]),
		Collisions: b[countOffset],
	}
	if p.Collisions > maxCollisions {
		return Params{}, ErrCollisionCount
	}
	rest := cryptobyte.String(b[keyOffset:])
	var key cryptobyte.String
	if !rest.ReadASN1Element(&key, asn1.SEQUENCE) {
		return Params{}, ErrPublicKey
	}
	p.PublicKey = key[:len(key):len(key)]
	if len(rest) > 0 {
		p.Extensions = rest[:len(rest):len(rest)]
	}
	for len(rest) > 0 {
		if len(rest) < extensionHead {
			return Params{}, ErrExtension
		}
		n := extensionHead + int(binary.BigEndian.Uint16(rest[2:extensionHead]))
		if n > len(rest) {
			return Params{}, ErrExtension
		}
		rest = rest[n:]
	}
	return p, nil
}

// Append appends the parameters to b, 25 octets, the key and the extensions.
func (p Params) Append(b []byte) []byte {
	b = append(b, p.Modifier[:]...)
	b = append(b, p.Prefix[:]...)
	b = append(b, p.Collisions)
	b = append(b, p.PublicKey...)
	return append(b, p.Extensions...)
}

// In gives the parameters of an address under another prefix, of which the first 64 bits count. The modifier stays, for it
// does not depend on the prefix, and so addresses with the same key can be told to belong together; the collision count
// begins anew.
func (p Params) In(prefix netip.Prefix) Params {
	a := prefix.Masked().Addr().As16()
	p.Prefix = [8]byte(a[:prefixOctets])
	p.Collisions = 0
	return p
}

// Option gives an encoded CGA option (RFC 3971 section 5.1): Type 11 (1 octet), Length (1), Pad Length (1), Reserved (1),
// the parameters, padding. It gives nil if the parameters are longer than the 2,036 octets that fit.
func Option(p Params) []byte { return AppendOption(nil, p) }

// AppendOption appends what Option gives to b.
func AppendOption(b []byte, p Params) []byte {
	n := optionOffset + keyOffset + len(p.PublicKey) + len(p.Extensions)
	whole := (n + optionUnit - 1) / optionUnit * optionUnit
	if whole > ndp.MaxOptionOctets {
		return b
	}
	if b == nil {
		b = make([]byte, 0, whole)
	}
	b = p.Append(append(b, ndp.OptCGA, uint8(whole/optionUnit), uint8(whole-n), 0))
	for range whole - n {
		b = append(b, 0)
	}
	return b
}

// ParseOption reads a CGA option; the caller has compared its type. What it gives shares memory with the option. It fails
// as Parse does, or with ErrOption.
func ParseOption(o ndp.Option) (Params, error) {
	if len(o.Octets) < optionUnit {
		return Params{}, ErrOption
	}
	end := len(o.Octets) - int(o.Octets[2])
	if end < optionOffset {
		return Params{}, ErrOption
	}
	return Parse(o.Octets[optionOffset:end])
}
