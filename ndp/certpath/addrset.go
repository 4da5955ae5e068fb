package certpath

import (
	"net/netip"
	"slices"
	"strings"
)

// Range is the IPv6 addresses from From to To, both included.
type Range struct{ From, To netip.Addr }

// rangeOf gives the addresses of a prefix.
func rangeOf(p netip.Prefix) Range {
	p = p.Masked()
	to := p.Addr().As16()
	for i := p.Bits(); i < addrBits; i++ {
		to[i/8] |= 0x80 >> (i % 8)
	}
	return Range{From: p.Addr(), To: netip.AddrFrom16(to)}
}

// prefix gives r as a prefix, and false if it is none.
func (r Range) prefix() (netip.Prefix, bool) {
	from, to := r.From.As16(), r.To.As16()
	n := 0
	for n < addrBits && bit(from, n) == bit(to, n) {
		n++
	}
	for i := n; i < addrBits; i++ {
		if bit(from, i) || !bit(to, i) {
			return netip.Prefix{}, false
		}
	}
	return netip.PrefixFrom(r.From, n), true
}

// String is the prefix, or both ends.
func (r Range) String() string {
	if p, ok := r.prefix(); ok {
		return p.String()
	}
	return r.From.String() + "-" + r.To.String()
}

// AddressSet is a set of IPv6 addresses. The zero value is empty.
type AddressSet struct {
	ranges []Range // in order, neither overlapping nor adjacent
}

// NewAddressSet gives the set of all addresses in prefixes, which may overlap. Prefixes that are not IPv6 are left out.
func NewAddressSet(prefixes ...netip.Prefix) AddressSet {
	ranges := make([]Range, 0, len(prefixes))
	for _, p := range prefixes {
		if p.IsValid() && p.Addr().Is6() {
			ranges = append(ranges, rangeOf(netip.PrefixFrom(p.Addr().WithZone(""), p.Bits())))
		}
	}
	slices.SortFunc(ranges, func(a, b Range) int { return a.From.Compare(b.From) })
	var set AddressSet
	for _, r := range ranges {
		if n := len(set.ranges); n > 0 {
			last := &set.ranges[n-1]
			if next := last.To.Next(); !next.IsValid() || r.From.Compare(next) <= 0 {
				if last.To.Less(r.To) {
					last.To = r.To
				}
				continue
			}
		}
		set.ranges = append(set.ranges, r)
	}
	return set
}

// everything is ::/0.
func everything() AddressSet { return NewAddressSet(netip.PrefixFrom(netip.IPv6Unspecified(), 0)) }

// IsEmpty reports whether s has no address.
func (s AddressSet) IsEmpty() bool { return len(s.ranges) == 0 }

// IsEverything reports whether s has all addresses.
func (s AddressSet) IsEverything() bool {
	if len(s.ranges) != 1 {
		return false
	}
	p, ok := s.ranges[0].prefix()
	return ok && p.Bits() == 0
}

// Ranges yields the ranges of s in order, neither overlapping nor adjacent.
func (s AddressSet) Ranges(yield func(Range) bool) {
	for _, r := range s.ranges {
		if !yield(r) {
			return
		}
	}
}

// Contains reports whether all addresses of t are in s.
func (s AddressSet) Contains(t AddressSet) bool {
	i := 0
	for _, r := range t.ranges {
		for i < len(s.ranges) && s.ranges[i].To.Less(r.From) {
			i++
		}
		// As the ranges of s do not touch, one of them has to hold all of r.
		if i == len(s.ranges) || r.From.Less(s.ranges[i].From) || s.ranges[i].To.Less(r.To) {
			return false
		}
	}
	return true
}

// ContainsPrefix reports whether all addresses of p are in s.
func (s AddressSet) ContainsPrefix(p netip.Prefix) bool {
	t := NewAddressSet(p)
	return !t.IsEmpty() && s.Contains(t)
}

// Intersect gives what s and t have in common.
func (s AddressSet) Intersect(t AddressSet) AddressSet {
	var both AddressSet
	for i, j := 0, 0; i < len(s.ranges) && j < len(t.ranges); {
		a, b := s.ranges[i], t.ranges[j]
		r := a
		if a.From.Less(b.From) {
			r.From = b.From
		}
		if b.To.Less(a.To) {
			r.To = b.To
		}
		if !r.To.Less(r.From) {
			both.ranges = append(both.ranges, r)
		}
		if a.To.Less(b.To) {
			i++
		} else {
			j++
		}
	}
	return both
}

// Prefixes gives s as the fewest prefixes, in order, and false if these are more than limit.
func (s AddressSet) Prefixes(limit int) ([]netip.Prefix, bool) {
	var prefixes []netip.Prefix
	for _, r := range s.ranges {
		for from := r.From; ; {
			if len(prefixes) == limit {
				return nil, false
			}
			p := largest(from, r.To)
			prefixes = append(prefixes, p)
			to := rangeOf(p).To
			if to == r.To {
				break
			}
			from = to.Next()
		}
	}
	return prefixes, true
}

// largest gives the largest prefix that begins with from and does not go beyond to.
func largest(from, to netip.Addr) netip.Prefix {
	n := addrBits
	for n > 0 {
		p := netip.PrefixFrom(from, n-1)
		if p.Masked().Addr() != from || to.Less(rangeOf(p).To) {
			break
		}
		n--
	}
	return netip.PrefixFrom(from, n)
}

// String lists prefixes and ranges, with commas between them.
func (s AddressSet) String() string {
	var b strings.Builder
	for i, r := range s.ranges {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(r.String())
	}
	return b.String()
}
