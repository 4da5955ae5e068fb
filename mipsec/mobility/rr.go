package mobility

import "net/netip"

// BindingError is RFC 6275's Binding Error (section 6.1.9).
type BindingError struct {
	Status      uint8      // ErrorUnknownBinding or ErrorUnrecognizedType
	HomeAddress netip.Addr // of the Home Address option; the zero Addr or :: if there was none
}

// Append appends the whole mobility header to b, with a checksum of zero.
func (m BindingError) Append(b []byte) []byte {
	start := len(b)
	b = begin(b, TypeBE)
	b = append(b, m.Status, 0)
	b = appendAddr(b, m.HomeAddress)
	return finish(b, start, 2)
}

// ParseBindingError reads a Binding Error. It fails with ErrType or ErrLength.
func ParseBindingError(h Header) (BindingError, error) {
	if h.Type != TypeBE {
		return BindingError{}, ErrType
	}
	if len(h.Octets) < 24 {
		return BindingError{}, ErrLength
	}
	return BindingError{Status: h.Octets[6], HomeAddress: netip.AddrFrom16([16]byte(h.Octets[8:24]))}, nil
}
