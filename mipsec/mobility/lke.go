package mobility

import (
	"encoding/binary"
	"net/netip"
)

// KeyExchangeRequest is LKE's Key Exchange Request (draft-liu-mobileip-lke-01 section 3.2.1): Seq# (2 octets), Key
// Exchange Data (as long as the RSA modulus), options.
type KeyExchangeRequest struct {
	Seq      uint16
	Data     []byte // the encrypted key, as long as the modulus; after parsing it shares memory with the header
	Lifetime uint16 // seconds: the draft compares it with the advertised Maximum Lifetime
}

// Append appends the whole mobility header to b, with a checksum of zero. Data of more than 2,036 octets does not fit
// in a mobility header: then nothing is appended.
func (m KeyExchangeRequest) Append(b []byte, cp CodePoints) []byte {
	start := len(b)
	b = begin(b, cp.KeyExchangeRequest)
	b = binary.BigEndian.AppendUint16(b, m.Seq)
	b = append(b, m.Data...)
	b = append(b, cp.OptLifetime, 2)
	b = binary.BigEndian.AppendUint16(b, m.Lifetime)
	return finish(b, start, 1)
}

// ParseKeyExchangeRequest reads a Key Exchange Request made for a key whose modulus has modulusLen octets, which the
// message itself does not tell. It fails with ErrType, ErrLength, ErrOption, or ErrMissing without a lifetime.
func ParseKeyExchangeRequest(h Header, modulusLen int, cp CodePoints) (KeyExchangeRequest, error) {
	if h.Type != cp.KeyExchangeRequest {
		return KeyExchangeRequest{}, ErrType
	}
	if modulusLen < 0 || len(h.Octets) < unit || len(h.Octets)-keyExchangeData < modulusLen {
		return KeyExchangeRequest{}, ErrLength
	}
	end := keyExchangeData + modulusLen
	m := KeyExchangeRequest{
		Seq:  binary.BigEndian.Uint16(h.Octets[6:8]),
		Data: h.Octets[keyExchangeData:end:end],
	}
	found := false
	options := OptionsAt(h.Octets, end)
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != cp.OptLifetime {
			continue
		}
		if len(o.Data) != 2 || found {
			return KeyExchangeRequest{}, ErrOption
		}
		found = true
		m.Lifetime = binary.BigEndian.Uint16(o.Data)
	}
	if options.Err() != nil {
		return KeyExchangeRequest{}, options.Err()
	}
	if !found {
		return KeyExchangeRequest{}, ErrMissing
	}
	return m, nil
}

// KeyExchangeAck is LKE's Key Exchange Acknowledgement (draft section 3.2.2).
type KeyExchangeAck struct {
	Status   uint8
	Seq      uint16     // copied from the request
	Lifetime uint16     // granted, in units of 4 seconds
	Router   netip.Addr // global address of the access router, for binding updates
}

// Append appends the whole mobility header to b, 56 octets laid out as the draft draws them, with a checksum and an HMAC
// of zero.
func (m KeyExchangeAck) Append(b []byte, cp CodePoints) []byte {
	start := len(b)
	b = begin(b, cp.KeyExchangeAck)
	b = append(b, m.Status, 0)
	b = binary.BigEndian.AppendUint16(b, m.Seq)
	b = binary.BigEndian.AppendUint16(b, m.Lifetime)
	b = append(b, cp.OptRouter, 16)
	b = appendAddr(b, m.Router)
	// The draft draws two zero octets after each of the options; as options they are two Pad1 each.
	b = append(b, OptPad1, OptPad1, cp.OptHMAC, keyExchangeMACOctets)
	b = append(b, make([]byte, keyExchangeMACOctets)...)
	b = append(b, OptPad1, OptPad1)
	return finish(b, start, 6)
}

// ParseKeyExchangeAck reads a Key Exchange Acknowledgement. It fails with ErrType, ErrLength, ErrOption, or ErrMissing
// without a router address or an HMAC that is the last option.
func ParseKeyExchangeAck(h Header, cp CodePoints) (KeyExchangeAck, error) {
	if h.Type != cp.KeyExchangeAck {
		return KeyExchangeAck{}, ErrType
	}
	if len(h.Octets) < 2*unit {
		return KeyExchangeAck{}, ErrLength
	}
	m := KeyExchangeAck{
		Status:   h.Octets[6],
		Seq:      binary.BigEndian.Uint16(h.Octets[8:10]),
		Lifetime: binary.BigEndian.Uint16(h.Octets[10:12]),
	}
	macLast := false
	options := OptionsAt(h.Octets, bindingOctets)
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		macLast = false
		switch o.Type {
		case cp.OptRouter:
			if len(o.Data) != 16 || m.Router.IsValid() {
				return KeyExchangeAck{}, ErrOption
			}
			m.Router = o.addr(0)
		case cp.OptHMAC:
			if len(o.Data) != keyExchangeMACOctets {
				return KeyExchangeAck{}, ErrOption
			}
			macLast = true
		}
	}
	if options.Err() != nil {
		return KeyExchangeAck{}, options.Err()
	}
	if !m.Router.IsValid() || !macLast {
		return KeyExchangeAck{}, ErrMissing
	}
	return m, nil
}

// Finished is LKE's Finished message (draft section 3.2.4), which shows that the mobile node is reachable at its new
// care-of address.
type Finished struct {
	Status   uint8
	Seq      uint16 // these three are copied from the BindingAck
	Lifetime uint16 // units of 4 seconds
	Nonce    uint32
	HasAuth  bool // as in BindingUpdate
	AuthLast bool
}

// Append appends the whole mobility header to b, with a checksum of zero.
func (m Finished) Append(b []byte, cp CodePoints) []byte {
	start := len(b)
	b = begin(b, cp.Finished)
	b = append(b, m.Status, 0)
	b = binary.BigEndian.AppendUint16(b, m.Seq)
	b = binary.BigEndian.AppendUint16(b, m.Lifetime)
	b = binary.BigEndian.AppendUint32(b, m.Nonce)
	if m.HasAuth {
		b = appendAuth(b, start)
	}
	return finish(b, start, 1)
}

// ParseFinished reads a Finished message. Options that it does not know are skipped. It fails with ErrType, ErrLength or
// ErrOption.
func ParseFinished(h Header, cp CodePoints) (Finished, error) {
	if h.Type != cp.Finished {
		return Finished{}, ErrType
	}
	if len(h.Octets) < finishedOctets {
		return Finished{}, ErrLength
	}
	m := Finished{
		Status:   h.Octets[6],
		Seq:      binary.BigEndian.Uint16(h.Octets[8:10]),
		Lifetime: binary.BigEndian.Uint16(h.Octets[10:12]),
		Nonce:    binary.BigEndian.Uint32(h.Octets[12:16]),
	}
	options := OptionsAt(h.Octets, finishedOctets)
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != OptBindingAuth {
			continue
		}
		if len(o.Data) != authenticatorOctets {
			return Finished{}, ErrOption
		}
		m.AuthLast = !m.HasAuth && endsHeader(h, o)
		m.HasAuth = true
	}
	if options.Err() != nil {
		return Finished{}, options.Err()
	}
	return m, nil
}
