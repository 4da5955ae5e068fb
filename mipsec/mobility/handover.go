package mobility

import (
	"encoding/binary"
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// HandoverInitiate is RFC 5568's Handover Initiate (section 6.2.1.1), from the previous to the new access router.
//
// RFC 5568 has IPsec protect it (its section 8). For routers without IPsec there is an authenticator keyed for the pair of
// them, in the form of the BADF option, and a number against replays, in the form of RFC 4285's Mobility Message Replay
// Protection option; see [SignHandover].
type HandoverInitiate struct {
	Seq            uint16
	Assigned       bool          // S: asks for an assigned address
	Buffer         bool          // U: asks for packets to be kept
	Code           uint8         // 0: the FBU came from the previous care-of address; 1: from another
	LinkAddr       ipv6.LinkAddr // of the mobile node; zero if there is no such option
	PreviousCareOf netip.Addr    // the zero Addr if there is no such option
	NewCareOf      netip.Addr    // the zero Addr if there is no such option

	// Number is that of the message against replays: a sender's only grow. HasNumber says that there is the option.
	Number    uint64
	HasNumber bool

	Auth FastAuth // with SPIPairKey and HMACSHA256
}

// Append appends the whole mobility header to b, with a checksum of zero.
func (m HandoverInitiate) Append(b []byte) []byte {
	start := len(b)
	var flags uint8
	if m.Assigned {
		flags |= handoverFlagAssigned
	}
	if m.Buffer {
		flags |= handoverFlagBuffer
	}
	b = binary.BigEndian.AppendUint16(begin(b, TypeHI), m.Seq)
	b = append(b, flags, m.Code)
	return handoverOptions{m.LinkAddr, m.PreviousCareOf, m.NewCareOf, m.Number, m.HasNumber, m.Auth}.finish(b, start)
}

// ParseHandoverInitiate reads a Handover Initiate. Options that it does not know are skipped. It fails with ErrType,
// ErrLength or ErrOption.
func ParseHandoverInitiate(h Header) (HandoverInitiate, error) {
	if h.Type != TypeHI {
		return HandoverInitiate{}, ErrType
	}
	o, err := parseHandoverOptions(h)
	if err != nil {
		return HandoverInitiate{}, err
	}
	return HandoverInitiate{
		Seq:            binary.BigEndian.Uint16(h.Octets[6:8]),
		Assigned:       h.Octets[8]&handoverFlagAssigned != 0,
		Buffer:         h.Octets[8]&handoverFlagBuffer != 0,
		Code:           h.Octets[9],
		LinkAddr:       o.link,
		PreviousCareOf: o.previous,
		NewCareOf:      o.next,
		Number:         o.number,
		HasNumber:      o.hasNumber,
		Auth:           o.auth,
	}, nil
}

// HandoverAck is RFC 5568's Handover Acknowledge (section 6.2.1.2).
type HandoverAck struct {
	Seq            uint16        // copied from the HandoverInitiate
	Code           uint8         // HandoverAccepted and the like
	LinkAddr       ipv6.LinkAddr // as in HandoverInitiate
	PreviousCareOf netip.Addr
	NewCareOf      netip.Addr
	Number         uint64
	HasNumber      bool
	Auth           FastAuth
}

// Append appends the whole mobility header to b, with a checksum of zero.
func (m HandoverAck) Append(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint16(begin(b, TypeHAck), m.Seq)
	b = append(b, 0, m.Code)
	return handoverOptions{m.LinkAddr, m.PreviousCareOf, m.NewCareOf, m.Number, m.HasNumber, m.Auth}.finish(b, start)
}

// ParseHandoverAck reads a Handover Acknowledge. Options that it does not know are skipped. It fails with ErrType,
// ErrLength or ErrOption.
func ParseHandoverAck(h Header) (HandoverAck, error) {
	if h.Type != TypeHAck {
		return HandoverAck{}, ErrType
	}
	o, err := parseHandoverOptions(h)
	if err != nil {
		return HandoverAck{}, err
	}
	return HandoverAck{
		Seq:            binary.BigEndian.Uint16(h.Octets[6:8]),
		Code:           h.Octets[9],
		LinkAddr:       o.link,
		PreviousCareOf: o.previous,
		NewCareOf:      o.next,
		Number:         o.number,
		HasNumber:      o.hasNumber,
		Auth:           o.auth,
	}, nil
}

// handoverOptions are the options of HI and HAck.
type handoverOptions struct {
	link           ipv6.LinkAddr
	previous, next netip.Addr
	number         uint64
	hasNumber      bool
	auth           FastAuth
}

func (m handoverOptions) finish(b []byte, start int) []byte {
	if !m.link.IsZero() {
		b = appendLink(b, m.link)
	}
	if m.previous.IsValid() {
		b = appendAddressPrefix(b, start, addressPreviousCareOf, m.previous)
	}
	if m.next.IsValid() {
		b = appendAddressPrefix(b, start, addressNewCareOf, m.next)
	}
	if m.hasNumber {
		b = append(align(b, start, 2), OptReplayProtection, replayData)
		b = binary.BigEndian.AppendUint64(b, m.number)
	}
	if m.auth.Present {
		b = m.auth.append(b, start)
	}
	return finish(b, start, 1)
}

// addressPrefixData is the length of the data of an IPv6 Address/Prefix option: Option-Code, Prefix Length, address.
const addressPrefixData = 18

func appendAddressPrefix(b []byte, start int, code uint8, addr netip.Addr) []byte {
	b = align(b, start, 4)
	b = append(b, OptIPv6AddressPrefix, addressPrefixData, code, 128)
	return appendAddr(b, addr)
}

func parseHandoverOptions(h Header) (handoverOptions, error) {
	if len(h.Octets) < 2*unit {
		return handoverOptions{}, ErrLength
	}
	var m handoverOptions
	options := OptionsAt(h.Octets, handoverOctets)
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		switch o.Type {
		case OptLinkLayerAddress:
			m.link = linkAddr(o, m.link)
		case OptIPv6AddressPrefix, optIPv6AddressMisprinted:
			if len(o.Data) != addressPrefixData {
				continue // under 17 IANA has something else
			}
			switch o.Data[0] {
			case addressPreviousCareOf:
				m.previous = o.addr(2)
			case addressNewCareOf:
				m.next = o.addr(2)
			}
		case OptReplayProtection:
			if len(o.Data) != replayData || m.hasNumber {
				return handoverOptions{}, ErrOption
			}
			m.number, m.hasNumber = binary.BigEndian.Uint64(o.Data), true
		case OptFastBindingAuth:
			m.auth = parseFastAuth(h.Octets, o)
			return m, nil
		}
	}
	return m, options.Err()
}
