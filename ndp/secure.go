package ndp

import (
	"encoding/binary"
	"errors"
	"time"
)

// Errors of ParseTimestamp and ParseSignature.
var (
	ErrTimestamp = errors.New("timestamp option is not 16 octets long")
	ErrSignature = errors.New("signature option is too short for a key hash and a signature")
)

const (
	timestampOctets = 16
	timestampOffset = 8
	fractions       = 1 << 16 // in a second
	maxSeconds      = 1<<48 - 1

	signatureHashOffset = 4
	signatureOffset     = 20
)

// TimestampOption gives an encoded Timestamp option (RFC 3971 section 5.3.1): Type (1 octet), Length (1), Reserved (6),
// seconds since 1970 (48 bits), and 1/65536 of a second (16 bits), rounded down. Times before 1970 become 1970.
func TimestampOption(t time.Time) []byte { return AppendTimestamp(make([]byte, 0, timestampOctets), t) }

// AppendTimestamp appends what TimestampOption gives to b.
func AppendTimestamp(b []byte, t time.Time) []byte {
	seconds, fraction := t.Unix(), uint64(t.Nanosecond())*fractions/uint64(time.Second)
	switch {
	case seconds < 0:
		seconds, fraction = 0, 0
	case seconds > maxSeconds:
		seconds, fraction = maxSeconds, fractions-1
	}
	b = append(b, OptTimestamp, timestampOctets/optionUnit, 0, 0, 0, 0, 0, 0)
	return binary.BigEndian.AppendUint64(b, uint64(seconds)<<16|fraction)
}

// ParseTimestamp reads a Timestamp option; the caller has compared its type. Two options with the same timestamp give
// equal times, and TimestampOption of one gives the timestamp again. It fails with ErrTimestamp.
func ParseTimestamp(o Option) (time.Time, error) {
	if len(o.Octets) != timestampOctets {
		return time.Time{}, ErrTimestamp
	}
	v := binary.BigEndian.Uint64(o.Octets[timestampOffset:])
	// Rounded up, since the way back rounds down.
	nanoseconds := (v%fractions*uint64(time.Second) + fractions - 1) / fractions
	return time.Unix(int64(v/fractions), int64(nanoseconds)), nil
}

// AppendNonce appends what NonceOption gives to b; nothing if nonce is longer than 2,038 octets.
func AppendNonce(b, nonce []byte) []byte {
	n := max(padded(optionHead+len(nonce)), optionUnit)
	if n > MaxOptionOctets {
		return b
	}
	end := len(b) + n
	b = append(b, OptNonce, uint8(n/optionUnit))
	return zeros(append(b, nonce...), end)
}

// Signature is an RSA Signature option (RFC 3971 section 5.2): Type (1 octet), Length (1), Reserved (2), Key Hash (16),
// Digital Signature, padding.
type Signature struct {
	KeyHash [16]byte // leftmost 128 bits of the SHA-1 of the public key
	// Octets are the signature. After parsing they have the padding at their end, for the option does not tell it apart:
	// the signature is as long as the key's modulus. They share memory with the message.
	Octets []byte
}

// Append appends the whole option to b, padded with zeros. A signature of more than 2,020 octets does not fit in an
// option: then nothing is appended.
func (s Signature) Append(b []byte) []byte {
	n := padded(signatureOffset + len(s.Octets))
	if n > MaxOptionOctets {
		return b
	}
	end := len(b) + n
	b = append(b, OptSignature, uint8(n/optionUnit), 0, 0)
	b = append(b, s.KeyHash[:]...)
	return zeros(append(b, s.Octets...), end)
}

// ParseSignature reads an RSA Signature option; the caller has compared its type. It fails with ErrSignature.
func ParseSignature(o Option) (Signature, error) {
	if len(o.Octets) <= signatureOffset {
		return Signature{}, ErrSignature
	}
	return Signature{
		KeyHash: [16]byte(o.Octets[signatureHashOffset:signatureOffset]),
		Octets:  o.Octets[signatureOffset:],
	}, nil
}

// padded rounds n up to whole units of options.
func padded(n int) int { return (n + optionUnit - 1) / optionUnit * optionUnit }

// zeros appends zeros to b up to the length end.
func zeros(b []byte, end int) []byte {
	for len(b) < end {
		b = append(b, 0)
	}
	return b
}
