package mobility

import (
	"encoding/binary"
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// FastMAC names the algorithm of the authenticator in FMIPv6's messages, by the AT value that goes with the handover key.
// RFC 5269 leaves the values open; these are this project's.
type FastMAC uint8

// Algorithms of the authenticator.
const (
	HMACSHA1   FastMAC = 0 // first 96 bits, RFC 5568's own
	HMACSHA256 FastMAC = 1 // first 128 bits
)

// Octets is the length of the authenticator: 12 or 16, and 0 for an unknown algorithm.
func (m FastMAC) Octets() int {
	switch m {
	case HMACSHA1:
		return 12
	case HMACSHA256:
		return 16
	}
	return 0
}

// FastAuth is the Binding Authorization Data for FMIPv6 option (BADF, RFC 5568 section 6.4.5): Type 21 (1 octet), Option
// Length (1), SPI (4), Authenticator.
type FastAuth struct {
	Present bool
	Last    bool    // it ends the header, as it must; Append does not look at it
	SPI     uint32  // SPIHandoverKey or SPIPairKey
	MAC     FastMAC // told by the octets that remain in the header
	// Short: the Option Length counts the authenticator alone, as RFC 5568 has it in words. Otherwise it counts the SPI,
	// too, as every walker over options needs it.
	Short bool
}

// fastAuthSPI is the length of the SPI.
const fastAuthSPI = 4

// append writes the option with an empty authenticator where it ends at a multiple of 8 octets.
func (a FastAuth) append(b []byte, start int) []byte {
	n := fastAuthSPI + a.MAC.Octets()
	b = align(b, start, unit-(2+n)%unit)
	length := n
	if a.Short {
		length -= fastAuthSPI
	}
	b = append(b, OptFastBindingAuth, uint8(length))
	b = binary.BigEndian.AppendUint32(b, a.SPI)
	return append(b, make([]byte, a.MAC.Octets())...)
}

// parseFastAuth reads option o, with which a walk over the options of mh must end: its length may be the short one, so
// that only the octets that remain tell where it ends.
func parseFastAuth(mh []byte, o Option) FastAuth {
	a := FastAuth{Present: true}
	rest := len(mh) - o.Offset - 2
	if rest >= fastAuthSPI {
		a.SPI = binary.BigEndian.Uint32(mh[o.Offset+2 : o.Offset+2+fastAuthSPI])
	}
	for _, mac := range [...]FastMAC{HMACSHA1, HMACSHA256} {
		if rest != fastAuthSPI+mac.Octets() {
			continue
		}
		a.MAC = mac
		a.Short = len(o.Data) == mac.Octets()
		a.Last = a.Short || len(o.Data) == rest
	}
	return a
}

// FastBindingUpdate is RFC 5568's Fast Binding Update (section 6.2.2).
type FastBindingUpdate struct {
	Seq             uint16
	Flags           uint16        // FlagAck and FlagHome must be set, all others but FlagLinkLocal and FlagKey be zero
	Lifetime        uint16        // seconds, unlike a BindingUpdate's
	AlternateCareOf netip.Addr    // the new care-of address; the zero Addr if there is no such option
	LinkAddr        ipv6.LinkAddr // of the mobile node; zero if there is no such option
	Auth            FastAuth
}

// Append appends the whole mobility header to b, with a checksum of zero.
func (m FastBindingUpdate) Append(b []byte) []byte {
	start := len(b)
	b = begin(b, TypeFBU)
	b = binary.BigEndian.AppendUint16(b, m.Seq)
	b = binary.BigEndian.AppendUint16(b, m.Flags)
	b = binary.BigEndian.AppendUint16(b, m.Lifetime)
	return fastOptions{careOf: m.AlternateCareOf, link: m.LinkAddr, auth: m.Auth}.finish(b, start)
}

// ParseFastBindingUpdate reads a Fast Binding Update. Options that it does not know are skipped. It fails with ErrType,
// ErrLength or ErrOption.
func ParseFastBindingUpdate(h Header) (FastBindingUpdate, error) {
	if h.Type != TypeFBU {
		return FastBindingUpdate{}, ErrType
	}
	o, err := parseFastOptions(h)
	if err != nil {
		return FastBindingUpdate{}, err
	}
	return FastBindingUpdate{
		Seq:             binary.BigEndian.Uint16(h.Octets[6:8]),
		Flags:           binary.BigEndian.Uint16(h.Octets[8:10]),
		Lifetime:        binary.BigEndian.Uint16(h.Octets[10:12]),
		AlternateCareOf: o.careOf,
		LinkAddr:        o.link,
		Auth:            o.auth,
	}, nil
}

// FastBindingAck is RFC 5568's Fast Binding Acknowledgment (section 6.2.3).
type FastBindingAck struct {
	Status          uint8
	KeyManagement   bool
	Seq             uint16
	Lifetime        uint16     // seconds
	AlternateCareOf netip.Addr // the address to use instead, with FastStatusUseSupplied; the zero Addr if there is none
	Auth            FastAuth
}

// Append appends the whole mobility header to b, with a checksum of zero.
func (m FastBindingAck) Append(b []byte) []byte {
	start := len(b)
	var flags uint8
	if m.KeyManagement {
		flags = ackFlagKey
	}
	b = append(begin(b, TypeFBack), m.Status, flags)
	b = binary.BigEndian.AppendUint16(b, m.Seq)
	b = binary.BigEndian.AppendUint16(b, m.Lifetime)
	return fastOptions{careOf: m.AlternateCareOf, auth: m.Auth}.finish(b, start)
}

// ParseFastBindingAck reads a Fast Binding Acknowledgment. Options that it does not know are skipped. It fails with
// ErrType, ErrLength or ErrOption.
func ParseFastBindingAck(h Header) (FastBindingAck, error) {
	if h.Type != TypeFBack {
		return FastBindingAck{}, ErrType
	}
	o, err := parseFastOptions(h)
	if err != nil {
		return FastBindingAck{}, err
	}
	return FastBindingAck{
		Status:          h.Octets[6],
		KeyManagement:   h.Octets[7]&ackFlagKey != 0,
		Seq:             binary.BigEndian.Uint16(h.Octets[8:10]),
		Lifetime:        binary.BigEndian.Uint16(h.Octets[10:12]),
		AlternateCareOf: o.careOf,
		Auth:            o.auth,
	}, nil
}

// fastOptions are the options of FBU and FBack.
type fastOptions struct {
	careOf netip.Addr
	link   ipv6.LinkAddr
	auth   FastAuth
}

func (f fastOptions) finish(b []byte, start int) []byte {
	if f.careOf.IsValid() {
		b = align(b, start, 6)
		b = append(b, OptAlternateCareOf, 16)
		b = appendAddr(b, f.careOf)
	}
	if !f.link.IsZero() {
		b = appendLink(b, f.link)
	}
	if f.auth.Present {
		b = f.auth.append(b, start)
	}
	return finish(b, start, 1)
}

func parseFastOptions(h Header) (fastOptions, error) {
	if len(h.Octets) < 2*unit {
		return fastOptions{}, ErrLength
	}
	var f fastOptions
	options := OptionsAt(h.Octets, bindingOctets)
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		switch o.Type {
		case OptAlternateCareOf:
			if len(o.Data) != 16 || f.careOf.IsValid() {
				return fastOptions{}, ErrOption
			}
			f.careOf = o.addr(0)
		case OptLinkLayerAddress:
			f.link = linkAddr(o, f.link)
		case OptFastBindingAuth:
			f.auth = parseFastAuth(h.Octets, o)
			return f, nil
		}
	}
	return f, options.Err()
}

// appendLink appends an MH-LLA option (RFC 5568 section 6.4.4), which has no alignment.
func appendLink(b []byte, link ipv6.LinkAddr) []byte {
	b = append(b, OptLinkLayerAddress, uint8(1+len(link)), linkLayerOfMobileNode)
	return append(b, link[:]...)
}

// linkAddr reads an MH-LLA option, and gives before if it is not one with an IEEE 802 address of a mobile node.
func linkAddr(o Option, before ipv6.LinkAddr) ipv6.LinkAddr {
	if len(o.Data) != 1+len(before) || o.Data[0] != linkLayerOfMobileNode {
		return before
	}
	return ipv6.LinkAddr(o.Data[1:])
}

// FastNeighborAdvert is RFC 4068's Fast Neighbor Advertisement, which RFC 5568 deprecates. With a Fast Binding Update
// piggybacked on it (Payload Proto 41) it does not pass Check, as RFC 6275 wants it.
type FastNeighborAdvert struct {
	LinkAddr ipv6.LinkAddr // of the mobile node; zero if there is no such option
}

// Append appends the whole mobility header to b, with a checksum of zero.
func (m FastNeighborAdvert) Append(b []byte) []byte {
	start := len(b)
	b = append(begin(b, TypeFNA), 0, 0)
	if !m.LinkAddr.IsZero() {
		b = appendLink(b, m.LinkAddr)
	}
	return finish(b, start, 0)
}

// ParseFastNeighborAdvert reads a Fast Neighbor Advertisement. It fails with ErrType, ErrLength or ErrOption.
func ParseFastNeighborAdvert(h Header) (FastNeighborAdvert, error) {
	if h.Type != TypeFNA {
		return FastNeighborAdvert{}, ErrType
	}
	options, err := walkable(h, 8)
	if err != nil {
		return FastNeighborAdvert{}, err
	}
	var m FastNeighborAdvert
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type == OptLinkLayerAddress {
			m.LinkAddr = linkAddr(o, m.LinkAddr)
		}
	}
	return m, nil
}
