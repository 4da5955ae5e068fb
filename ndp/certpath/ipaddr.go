package certpath

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// ErrAddressBlocks is what the errors of ParseAddressBlocks wrap.
var ErrAddressBlocks = errors.New("not an IP address delegation extension in canonical form (RFC 3779 section 2.2.3)")

// Address family identifiers (IANA), and the subsequent one of unicast forwarding.
const (
	afiIPv6     = 2
	safiUnicast = 1
)

const addrBits = 128

// AddressBlocks is what an IP address delegation extension says of IPv6 (RFC 3779 section 2.2).
type AddressBlocks struct {
	Inherit bool // the addresses are those of the issuer; Set is empty then
	Set     AddressSet
	SAFI    bool // the family was written with a subsequent identifier, which RFC 6487 section 4.8.10 forbids
}

// ParseAddressBlocks reads the value of an IP address delegation extension: SEQUENCE OF { addressFamily, inherit | SEQUENCE OF
// (prefix | range) }. Families other than IPv6 are read over. It takes nothing but the one canonical form: families in order and
// no two of a kind, addresses in order, neither overlapping nor adjacent, a prefix wherever a range is one, bit strings as short
// as they can be. A value without IPv6 is an error, too (RFC 6494 section 4). All errors wrap ErrAddressBlocks.
func ParseAddressBlocks(der []byte) (AddressBlocks, error) {
	fail := func(what string) (AddressBlocks, error) {
		return AddressBlocks{}, fmt.Errorf("%w: %s", ErrAddressBlocks, what)
	}
	input := cryptobyte.String(der)
	var families cryptobyte.String
	if !input.ReadASN1(&families, asn1.SEQUENCE) || !input.Empty() || families.Empty() {
		return fail("not one sequence of families")
	}
	var found AddressBlocks
	have := false
	last := ""
	for !families.Empty() {
		var family, number cryptobyte.String
		if !families.ReadASN1(&family, asn1.SEQUENCE) || !family.ReadASN1(&number, asn1.OCTET_STRING) ||
			len(number) < 2 || len(number) > 3 {
			return fail("a family without its number")
		}
		if string(number) <= last {
			return fail("families out of order, or twice the same")
		}
		last = string(number)
		if number[0] != 0 || number[1] != afiIPv6 || len(number) == 3 && number[2] != safiUnicast {
			continue
		}
		if have {
			return fail("IPv6 with and without a subsequent identifier")
		}
		have, found.SAFI = true, len(number) == 3
		var value cryptobyte.String
		var tag asn1.Tag
		if !family.ReadAnyASN1(&value, &tag) || !family.Empty() {
			return fail("a family without one choice of addresses")
		}
		switch {
		case tag == asn1.NULL && value.Empty():
			found.Inherit = true
		case tag == asn1.SEQUENCE:
			var err error
			if found.Set, err = parseSet(value); err != nil {
				return AddressBlocks{}, fmt.Errorf("%w: %w", ErrAddressBlocks, err)
			}
		default:
			return fail("neither inherit nor addresses")
		}
	}
	if !have {
		return fail("no IPv6 addresses in it")
	}
	return found, nil
}

func parseSet(list cryptobyte.String) (AddressSet, error) {
	if list.Empty() {
		return AddressSet{}, errors.New("a family without addresses")
	}
	var set AddressSet
	for !list.Empty() {
		r, err := parseRange(&list)
		if err != nil {
			return AddressSet{}, err
		}
		if n := len(set.ranges); n > 0 {
			// Next gives the zero Addr, which is less than all, after the last address.
			if next := set.ranges[n-1].To.Next(); !next.IsValid() || r.From.Compare(next) <= 0 {
				return AddressSet{}, errors.New("addresses out of order, overlapping, or not combined")
			}
		}
		set.ranges = append(set.ranges, r)
	}
	return set, nil
}

func parseRange(list *cryptobyte.String) (Range, error) {
	if list.PeekASN1Tag(asn1.BIT_STRING) {
		bits, n, ok := readBits(list)
		if !ok {
			return Range{}, errors.New("a prefix that is no bit string of at most 128 bits")
		}
		return rangeOf(netip.PrefixFrom(netip.AddrFrom16(bits), n)), nil
	}
	var ends cryptobyte.String
	if !list.ReadASN1(&ends, asn1.SEQUENCE) {
		return Range{}, errors.New("neither a prefix nor a range")
	}
	from, fromLen, ok := readBits(&ends)
	to, toLen, ok2 := readBits(&ends)
	if !ok || !ok2 || !ends.Empty() {
		return Range{}, errors.New("a range that is not two bit strings of at most 128 bits")
	}
	// The lower end has lost its zeros, so that its last bit is one, and the upper end its ones.
	if fromLen > 0 && !bit(from, fromLen-1) || toLen > 0 && bit(to, toLen-1) {
		return Range{}, errors.New("an end of a range that is not as short as it can be")
	}
	for i := toLen; i < addrBits; i++ {
		to[i/8] |= 0x80 >> (i % 8)
	}
	r := Range{From: netip.AddrFrom16(from), To: netip.AddrFrom16(to)}
	if r.To.Less(r.From) {
		return Range{}, errors.New("a range that ends before it begins")
	}
	if _, ok := r.prefix(); ok {
		return Range{}, errors.New("a range that is a prefix and not written as one")
	}
	return r, nil
}

// readBits reads a BIT STRING of at most 128 bits as the first bits of an address.
func readBits(s *cryptobyte.String) (addr [16]byte, n int, ok bool) {
	var octets cryptobyte.String
	if !s.ReadASN1(&octets, asn1.BIT_STRING) || len(octets) < 1 || len(octets) > 17 {
		return addr, 0, false
	}
	unused := int(octets[0])
	octets = octets[1:]
	if unused > 7 || unused > 0 && (len(octets) == 0 || octets[len(octets)-1]&(1<<unused-1) != 0) {
		return addr, 0, false
	}
	copy(addr[:], octets)
	return addr, 8*len(octets) - unused, true
}

func bit(addr [16]byte, i int) bool { return addr[i/8]&(0x80>>(i%8)) != 0 }

// Marshal gives the value of the extension in DER. It fails if there is neither an address nor inherit.
func (b AddressBlocks) Marshal() ([]byte, error) {
	if b.Inherit == !b.Set.IsEmpty() {
		return nil, errors.New("an IP address delegation needs either addresses or inherit")
	}
	out := cryptobyte.NewBuilder(nil)
	out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
		out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
			family := []byte{0, afiIPv6}
			if b.SAFI {
				family = append(family, safiUnicast)
			}
			out.AddASN1OctetString(family)
			if b.Inherit {
				out.AddASN1NULL()
				return
			}
			out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
				for _, r := range b.Set.ranges {
					r.marshal(out)
				}
			})
		})
	})
	return out.Bytes()
}

func (r Range) marshal(out *cryptobyte.Builder) {
	if p, ok := r.prefix(); ok {
		addBits(out, p.Addr().As16(), p.Bits())
		return
	}
	from, to := r.From.As16(), r.To.As16()
	fromLen, toLen := addrBits, addrBits
	for fromLen > 0 && !bit(from, fromLen-1) {
		fromLen--
	}
	for toLen > 0 && bit(to, toLen-1) {
		toLen--
	}
	out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
		addBits(out, from, fromLen)
		addBits(out, to, toLen)
	})
}

// addBits adds a BIT STRING of the first n bits of addr.
func addBits(out *cryptobyte.Builder, addr [16]byte, n int) {
	octets := (n + 7) / 8
	unused := 8*octets - n
	out.AddASN1(asn1.BIT_STRING, func(out *cryptobyte.Builder) {
		out.AddUint8(uint8(unused))
		if octets > 0 {
			addr[octets-1] &^= 1<<unused - 1
			out.AddBytes(addr[:octets])
		}
	})
}
