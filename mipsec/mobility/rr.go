package mobility

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"net/netip"
)

// Token is a keygen token or a cookie of return routability: 64 bits.
type Token [8]byte

// HomeKeygenToken is First(64, HMAC_SHA1(kcn, home | nonce | 0)) (RFC 6275 section 5.2.5). kcn is the correspondent's own
// key of 20 octets.
func HomeKeygenToken(kcn []byte, home netip.Addr, nonce []byte) Token {
	return keygenToken(kcn, home, nonce, 0)
}

// CareOfKeygenToken is First(64, HMAC_SHA1(kcn, careOf | nonce | 1)).
func CareOfKeygenToken(kcn []byte, careOf netip.Addr, nonce []byte) Token {
	return keygenToken(kcn, careOf, nonce, 1)
}

func keygenToken(kcn []byte, addr netip.Addr, nonce []byte, kind byte) Token {
	mac := hmac.New(sha1.New, kcn)
	a := addr.As16()
	mac.Write(a[:])
	mac.Write(nonce)
	mac.Write([]byte{kind})
	return Token(mac.Sum(nil)[:len(Token{})])
}

// BindingKey is the Kbm of return routability: SHA1(home token | care-of token) (RFC 6275 section 5.2.5).
func BindingKey(home, careOf Token) [sha1.Size]byte {
	return sha1.Sum(append(home[:], careOf[:]...))
}

// DeletionKey is the Kbm that removes a binding: SHA1(home token).
func DeletionKey(home Token) [sha1.Size]byte { return sha1.Sum(home[:]) }

// BindingRefreshRequest is RFC 6275's Binding Refresh Request (section 6.1.2). It says nothing but its type.
type BindingRefreshRequest struct {
	Options Options // after parsing
}

// Append appends the whole mobility header to b, with a checksum of zero. options are encoded options.
func (m BindingRefreshRequest) Append(b []byte, options ...[]byte) []byte {
	start := len(b)
	b = append(begin(b, TypeBRR), 0, 0)
	return finish(appendOptions(b, options), start, 0)
}

// ParseBindingRefreshRequest reads a Binding Refresh Request. It fails with ErrType, ErrLength or ErrOption.
func ParseBindingRefreshRequest(h Header) (BindingRefreshRequest, error) {
	if h.Type != TypeBRR {
		return BindingRefreshRequest{}, ErrType
	}
	options, err := walkable(h, 8)
	return BindingRefreshRequest{Options: options}, err
}

// TestInit is a Home Test Init or a Care-of Test Init (RFC 6275 sections 6.1.3 and 6.1.4).
type TestInit struct {
	Type    uint8 // TypeHoTI or TypeCoTI
	Cookie  Token
	Options Options // after parsing; Append takes them encoded
}

// Append appends the whole mobility header to b, with a checksum of zero. options are encoded options.
func (m TestInit) Append(b []byte, options ...[]byte) []byte {
	start := len(b)
	b = append(begin(b, m.Type), 0, 0)
	b = append(b, m.Cookie[:]...)
	return finish(appendOptions(b, options), start, 1)
}

// ParseTestInit reads a Home Test Init or a Care-of Test Init. It fails with ErrType, ErrLength or ErrOption.
func ParseTestInit(h Header) (TestInit, error) {
	if h.Type != TypeHoTI && h.Type != TypeCoTI {
		return TestInit{}, ErrType
	}
	options, err := walkable(h, 16)
	if err != nil {
		return TestInit{}, err
	}
	return TestInit{Type: h.Type, Cookie: Token(h.Octets[8:16]), Options: options}, nil
}

// Test is a Home Test or a Care-of Test (RFC 6275 sections 6.1.5 and 6.1.6).
type Test struct {
	Type       uint8 // TypeHoT or TypeCoT
	NonceIndex uint16
	Cookie     Token // copied from the TestInit
	Token      Token
	Options    Options // after parsing; Append takes them encoded
}

// Append appends the whole mobility header to b, with a checksum of zero. options are encoded options.
func (m Test) Append(b []byte, options ...[]byte) []byte {
	start := len(b)
	b = begin(b, m.Type)
	b = binary.BigEndian.AppendUint16(b, m.NonceIndex)
	b = append(b, m.Cookie[:]...)
	b = append(b, m.Token[:]...)
	return finish(appendOptions(b, options), start, 2)
}

// ParseTest reads a Home Test or a Care-of Test. It fails with ErrType, ErrLength or ErrOption.
func ParseTest(h Header) (Test, error) {
	if h.Type != TypeHoT && h.Type != TypeCoT {
		return Test{}, ErrType
	}
	options, err := walkable(h, 24)
	if err != nil {
		return Test{}, err
	}
	return Test{
		Type:       h.Type,
		NonceIndex: binary.BigEndian.Uint16(h.Octets[6:8]),
		Cookie:     Token(h.Octets[8:16]),
		Token:      Token(h.Octets[16:24]),
		Options:    options,
	}, nil
}

// BindingError is RFC 6275's Binding Error (section 6.1.9).
type BindingError struct {
	Status      uint8      // ErrorUnknownBinding or ErrorUnrecognizedType
	HomeAddress netip.Addr // of the Home Address option; :: (or, to Append, the zero Addr) if there was none
}

// Append appends the whole mobility header to b, with a checksum of zero.
func (m BindingError) Append(b []byte) []byte {
	start := len(b)
	b = append(begin(b, TypeBE), m.Status, 0)
	return finish(appendAddr(b, m.HomeAddress), start, 2)
}

// ParseBindingError reads a Binding Error. It fails with ErrType, ErrLength or ErrOption.
func ParseBindingError(h Header) (BindingError, error) {
	if h.Type != TypeBE {
		return BindingError{}, ErrType
	}
	if _, err := walkable(h, 24); err != nil {
		return BindingError{}, err
	}
	return BindingError{Status: h.Octets[6], HomeAddress: netip.AddrFrom16([16]byte(h.Octets[8:24]))}, nil
}

// walkable gives a walker over the options of h, whose fixed part has fixed octets, when all of them are well formed.
func walkable(h Header, fixed int) (Options, error) {
	if len(h.Octets) < fixed {
		return Options{}, ErrLength
	}
	options := OptionsAt(h.Octets, fixed)
	for o := options; ; {
		if _, ok := o.Next(); !ok {
			return options, o.Err()
		}
	}
}

// appendOptions appends encoded options.
func appendOptions(b []byte, options [][]byte) []byte {
	for _, o := range options {
		b = append(b, o...)
	}
	return b
}
