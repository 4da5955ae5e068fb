package ndp

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Errors of ParseSPKI and MarshalSPKI.
var (
	ErrSPKI        = errors.New("public key is not a SubjectPublicKeyInfo in DER")
	ErrAlgorithm   = errors.New("public key is not an RSA key (rsaEncryption)")
	ErrKeySize     = errors.New("RSA modulus has less than 1024 or more than 4096 bits; make a key of 2048")
	ErrKeyExponent = errors.New("RSA exponent is even, under 3 or over 2^31-1, or the modulus is even; use exponent 65537")
)

// MinKeyBits and MaxKeyBits bound the RSA modulus.
const (
	MinKeyBits = 1024
	MaxKeyBits = 4096
)

// PublicKey is an RSA public key.
type PublicKey struct {
	Modulus  []byte // big-endian, without leading zeros; after parsing it shares memory with the DER
	Exponent int
}

// rsaEncryption is the object identifier 1.2.840.113549.1.1.1 with its DER head, and the NULL parameters after it (RFC
// 3279 section 2.3.1).
var rsaEncryption = [...]byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00}

// ParseSPKI reads the SubjectPublicKeyInfo (RFC 5280 section 4.1) at the start of der: SEQUENCE { SEQUENCE {
// rsaEncryption, NULL }, BIT STRING { SEQUENCE { modulus, exponent } } }. length is the number of octets it takes up; more
// may follow. It fails with ErrSPKI, ErrAlgorithm, ErrKeySize or ErrKeyExponent.
func ParseSPKI(der []byte) (key PublicKey, length int, err error) {
	rest := cryptobyte.String(der)
	var info, algorithm, octets, numbers, modulus, exponent cryptobyte.String
	if !rest.ReadASN1(&info, asn1.SEQUENCE) || !info.ReadASN1(&algorithm, asn1.SEQUENCE) {
		return PublicKey{}, 0, ErrSPKI
	}
	if string(algorithm) != string(rsaEncryption[:]) {
		return PublicKey{}, 0, ErrAlgorithm
	}
	var unused uint8
	if !info.ReadASN1(&octets, asn1.BIT_STRING) || !info.Empty() || !octets.ReadUint8(&unused) || unused != 0 ||
		!octets.ReadASN1(&numbers, asn1.SEQUENCE) || !octets.Empty() ||
		!numbers.ReadASN1(&modulus, asn1.INTEGER) || !numbers.ReadASN1(&exponent, asn1.INTEGER) || !numbers.Empty() {
		return PublicKey{}, 0, ErrSPKI
	}
	n, ok := positive(modulus)
	if !ok {
		return PublicKey{}, 0, ErrSPKI
	}
	e, ok := positive(exponent)
	if !ok {
		return PublicKey{}, 0, ErrSPKI
	}
	if len(e) > 4 {
		return PublicKey{}, 0, ErrKeyExponent
	}
	var wide [8]byte
	copy(wide[8-len(e):], e)
	value := binary.BigEndian.Uint64(wide[:])
	if value > maxExponent {
		return PublicKey{}, 0, ErrKeyExponent
	}
	key = PublicKey{Modulus: n, Exponent: int(value)}
	if err := key.check(); err != nil {
		return PublicKey{}, 0, err
	}
	return key, len(der) - len(rest), nil
}

const maxExponent = 1<<31 - 1

// positive gives the octets of a DER INTEGER's magnitude without a leading zero, and false if it is negative, zero, or not
// in its shortest form.
func positive(b []byte) (magnitude []byte, ok bool) {
	switch {
	case len(b) == 0 || b[0]&0x80 != 0:
		return nil, false
	case b[0] != 0:
		return b, true
	case len(b) == 1 || b[1]&0x80 == 0:
		return nil, false
	}
	return b[1:], true
}

// Bits is the length of the modulus in bits.
func (k PublicKey) Bits() int {
	if len(k.Modulus) == 0 {
		return 0
	}
	return 8*(len(k.Modulus)-1) + bits.Len8(k.Modulus[0])
}

func (k PublicKey) check() error {
	if n := k.Bits(); len(k.Modulus) == 0 || k.Modulus[0] == 0 || n < MinKeyBits || n > MaxKeyBits {
		return ErrKeySize
	}
	if k.Exponent < 3 || k.Exponent > maxExponent || k.Exponent&1 == 0 || k.Modulus[len(k.Modulus)-1]&1 == 0 {
		return ErrKeyExponent
	}
	return nil
}

// MarshalSPKI gives the SubjectPublicKeyInfo of key in DER. It fails with ErrKeySize or ErrKeyExponent.
func MarshalSPKI(key PublicKey) ([]byte, error) {
	if err := key.check(); err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(rsaEncryption[:]) })
		b.AddASN1(asn1.BIT_STRING, func(b *cryptobyte.Builder) {
			b.AddUint8(0) // no unused bits
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) {
					if key.Modulus[0]&0x80 != 0 {
						b.AddUint8(0)
					}
					b.AddBytes(key.Modulus)
				})
				b.AddASN1Int64(int64(key.Exponent))
			})
		})
	})
	return b.Bytes()
}
