package mobility

import (
	"encoding/binary"
	"net/netip"
)

// NonceIndices is the Nonce Indices option of return routability (RFC 6275 section 6.2.6).
type NonceIndices struct {
	Present      bool
	Home, CareOf uint16
}

// BindingUpdate is RFC 6275's Binding Update (section 6.1.7), also that of LKE.
type BindingUpdate struct {
	Seq             uint16
	Flags           uint16     // FlagAck and the like
	Lifetime        uint16     // units of 4 seconds; 0 asks for the binding to be removed
	AlternateCareOf netip.Addr // the zero Addr if there is no such option
	NonceIndices    NonceIndices
	HasAuth         bool // there is a Binding Authorization Data option; Append writes it with an empty authenticator
	AuthLast        bool // it is there once, and ends the header as it must; Append does not look at it
}

// Append appends the whole mobility header to b, with a checksum of zero.
func (m BindingUpdate) Append(b []byte) []byte {
	start := len(b)
	b = begin(b, TypeBU)
	b = binary.BigEndian.AppendUint16(b, m.Seq)
	b = binary.BigEndian.AppendUint16(b, m.Flags)
	b = binary.BigEndian.AppendUint16(b, m.Lifetime)
	if m.AlternateCareOf.IsValid() {
		b = align(b, start, 6)
		b = append(b, OptAlternateCareOf, 16)
		b = appendAddr(b, m.AlternateCareOf)
	}
	if m.NonceIndices.Present {
		b = append(b, OptNonceIndices, 4)
		b = binary.BigEndian.AppendUint16(b, m.NonceIndices.Home)
		b = binary.BigEndian.AppendUint16(b, m.NonceIndices.CareOf)
	}
	if m.HasAuth {
		b = appendAuth(b, start)
	}
	return finish(b, start, 1)
}

// ParseBindingUpdate reads a Binding Update. Options that it does not know are skipped (RFC 6275 section 6.2.1). It fails
// with ErrType, ErrLength or ErrOption.
func ParseBindingUpdate(h Header) (BindingUpdate, error) {
	if h.Type != TypeBU {
		return BindingUpdate{}, ErrType
	}
	if len(h.Octets) < 2*unit {
		return BindingUpdate{}, ErrLength
	}
	m := BindingUpdate{
		Seq:      binary.BigEndian.Uint16(h.Octets[6:8]),
		Flags:    binary.BigEndian.Uint16(h.Octets[8:10]),
		Lifetime: binary.BigEndian.Uint16(h.Octets[10:12]),
	}
	options := OptionsAt(h.Octets, bindingOctets)
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		switch o.Type {
		case OptAlternateCareOf:
			if len(o.Data) != 16 || m.AlternateCareOf.IsValid() {
				return BindingUpdate{}, ErrOption
			}
			m.AlternateCareOf = o.addr(0)
		case OptNonceIndices:
			if len(o.Data) != 4 || m.NonceIndices.Present {
				return BindingUpdate{}, ErrOption
			}
			m.NonceIndices = NonceIndices{
				Present: true,
				Home:    binary.BigEndian.Uint16(o.Data[0:2]),
				CareOf:  binary.BigEndian.Uint16(o.Data[2:4]),
			}
		case OptBindingAuth:
			if len(o.Data) != authenticatorOctets {
				return BindingUpdate{}, ErrOption
			}
			m.AuthLast = !m.HasAuth && endsHeader(h, o)
			m.HasAuth = true
		}
	}
	if options.Err() != nil {
		return BindingUpdate{}, options.Err()
	}
	return m, nil
}

// endsHeader reports whether nothing, not even padding, follows o.
func endsHeader(h Header, o Option) bool { return o.Offset+2+len(o.Data) == len(h.Octets) }

// BindingAck is RFC 6275's Binding Acknowledgement (section 6.1.8), with the Finished Request option of LKE (draft
// section 3.2.3).
type BindingAck struct {
	Status          uint8
	KeyManagement   bool   // the K flag
	Seq             uint16 // copied from the BindingUpdate
	Lifetime        uint16 // units of 4 seconds
	FinishedRequest bool   // there is a Finished Request option and its r bit is set
	FinishedNonce   uint32 // of that option
	RefreshAdvice   uint16 // units of 4 seconds; 0 if there is no such option
	HasAuth         bool   // as in BindingUpdate
	AuthLast        bool
}

// Append appends the whole mobility header to b, with a checksum of zero.
func (m BindingAck) Append(b []byte, cp CodePoints) []byte {
	start := len(b)
	b = begin(b, TypeBA)
	var flags uint8
	if m.KeyManagement {
		flags = ackFlagKey
	}
	b = append(b, m.Status, flags)
	b = binary.BigEndian.AppendUint16(b, m.Seq)
	b = binary.BigEndian.AppendUint16(b, m.Lifetime)
	if m.RefreshAdvice != 0 {
		b = append(b, OptRefreshAdvice, 2)
		b = binary.BigEndian.AppendUint16(b, m.RefreshAdvice)
	}
	if m.FinishedRequest {
		b = append(b, cp.OptFinishedRequest, finishedRequestData, finishedRequestBit, 0)
		b = binary.BigEndian.AppendUint32(b, m.FinishedNonce)
	}
	if m.HasAuth {
		b = appendAuth(b, start)
	}
	return finish(b, start, 1)
}

const (
	ackFlagKey         = 0x80
	finishedRequestBit = 0x80
)

// ParseBindingAck reads a Binding Acknowledgement. Options that it does not know are skipped, and so is one with the
// number of the Finished Request but another length, which is somebody else's. It fails with ErrType, ErrLength or
// ErrOption.
func ParseBindingAck(h Header, cp CodePoints) (BindingAck, error) {
	if h.Type != TypeBA {
		return BindingAck{}, ErrType
	}
	if len(h.Octets) < 2*unit {
		return BindingAck{}, ErrLength
	}
	m := BindingAck{
		Status:        h.Octets[6],
		KeyManagement: h.Octets[7]&ackFlagKey != 0,
		Seq:           binary.BigEndian.Uint16(h.Octets[8:10]),
		Lifetime:      binary.BigEndian.Uint16(h.Octets[10:12]),
	}
	requested := false
	options := OptionsAt(h.Octets, bindingOctets)
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		switch {
		case o.Type == OptRefreshAdvice:
			if len(o.Data) != 2 {
				return BindingAck{}, ErrOption
			}
			m.RefreshAdvice = binary.BigEndian.Uint16(o.Data)
		case o.Type == OptBindingAuth:
			if len(o.Data) != authenticatorOctets {
				return BindingAck{}, ErrOption
			}
			m.AuthLast = !m.HasAuth && endsHeader(h, o)
			m.HasAuth = true
		case o.Type == cp.OptFinishedRequest && len(o.Data) == finishedRequestData:
			if requested {
				return BindingAck{}, ErrOption
			}
			requested = true
			m.FinishedRequest = o.Data[0]&finishedRequestBit != 0
			m.FinishedNonce = binary.BigEndian.Uint32(o.Data[2:6])
		}
	}
	if options.Err() != nil {
		return BindingAck{}, options.Err()
	}
	return m, nil
}
