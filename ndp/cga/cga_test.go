package cga_test

import (
	"bytes"
	"errors"
	"math"
	"net/netip"
	"testing"

	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// Every octet of the parameters counts: with each one changed, whichever bit, reading or verifying fails at the step that
// it belongs to.
func TestChangedOctet(t *testing.T) {
	p, _ := official(t)
	p.Extensions = unhex(t, "fffd0003010203")
	addr := p.Address(0) // the extension has changed Hash2 as well
	if err := cga.Verify(addr, p); err != nil {
		t.Fatal(err)
	}
	whole := p.Append(nil)
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			q, err := cga.Parse(b)
			if err == nil {
				err = cga.Verify(addr, q)
			}
			want := []error{cga.ErrHash1}
			switch {
			case i >= 16 && i < 24:
				want = []error{cga.ErrPrefix}
			case i == 24 && bit > 0:
				want = []error{cga.ErrHash1, cga.ErrCollisionCount}
			case i >= 25:
				want = []error{cga.ErrHash1, cga.ErrPublicKey, cga.ErrExtension}
			}
			if !isOneOf(err, want) {
				t.Errorf("octet %d, bit %d: %v", i, bit, err)
			}
		}
	}
}

func isOneOf(err error, want []error) bool {
	for _, w := range want {
		if errors.Is(err, w) {
			return true
		}
	}
	return false
}

func withSec(addr netip.Addr, sec uint8) netip.Addr {
	a := addr.As16()
	a[8] = a[8]&0x1f | sec<<5
	return netip.AddrFrom16(a)
}

// RFC 3972 section 5: every bit of the address counts but u and g. The bits of Sec say how much work is asked for: the
// work of the example is enough for 1, and so for 0, and for no larger value up to 7.
func TestChangedAddress(t *testing.T) {
	p, addr := official(t)
	for i := range 16 {
		for bit := range 8 {
			a := addr.As16()
			a[i] ^= 1 << bit
			changed := netip.AddrFrom16(a)
			want := cga.ErrHash1
			switch {
			case i < 8:
				want = cga.ErrPrefix
			case i == 8 && bit < 2:
				want = nil
			case i == 8 && bit >= 5:
				want = cga.ErrHash2
				if cga.Sec(changed) == 0 {
					want = nil
				}
			}
			if err := cga.Verify(changed, p); !errors.Is(err, want) {
				t.Errorf("%v: %v, want %v", changed, err, want)
			}
		}
	}
	for sec := range uint8(8) {
		changed := withSec(addr, sec)
		if cga.Sec(changed) != sec || p.Address(sec) != changed {
			t.Errorf("Sec %d: read %d, address %v", sec, cga.Sec(changed), p.Address(sec))
		}
		var want error
		if sec > 1 {
			want = cga.ErrHash2
		}
		if err := cga.Verify(changed, p); !errors.Is(err, want) {
			t.Errorf("Sec %d: %v", sec, err)
		}
	}
}

// The steps come in the order of RFC 3972 section 5: of an address with all faults the first is told.
func TestVerifyStopsAtTheFirstFault(t *testing.T) {
	p, addr := official(t)
	a := addr.As16()
	a[0], a[15], a[8] = 0x20, a[15]^1, a[8]|0xe0
	p.Collisions = 3
	for _, want := range []error{cga.ErrCollisionCount, cga.ErrPrefix, cga.ErrHash1, cga.ErrHash2, nil} {
		if err := cga.Verify(netip.AddrFrom16(a), p); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		switch want {
		case cga.ErrCollisionCount:
			p.Collisions = 0
		case cga.ErrPrefix:
			a[0] = 0xfe
		case cga.ErrHash1:
			a[15] ^= 1
		case cga.ErrHash2:
			a[8] &= 0x3f
		}
	}
	p.Prefix = [8]byte{} // that of ::, and of an IPv4 address written as an IPv6 one
	for _, other := range []netip.Addr{{}, netip.MustParseAddr("192.0.2.1")} {
		if err := cga.Verify(other, p); !errors.Is(err, cga.ErrPrefix) {
			t.Errorf("%v: %v", other, err)
		}
	}
}

func TestParseMalformed(t *testing.T) {
	good, _ := official(t)
	head := good.Append(nil)[:25]
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	count := func(n byte) []byte { return join(head[:24], []byte{n}, good.PublicKey) }
	long := join([]byte{0x30, 0x82, 0x08, 0x00}, make([]byte, 2048))
	for _, tt := range []struct {
		name   string
		octets []byte
		want   error
	}{
		{"whole", join(head, good.PublicKey), nil},
		{"empty", nil, cga.ErrShort},
		{"without a key", head, cga.ErrShort},
		{"collision count 1", count(1), nil},
		{"collision count 2", count(2), nil},
		{"collision count 3", count(3), cga.ErrCollisionCount},
		{"collision count 255", count(255), cga.ErrCollisionCount},
		{"key that is no SEQUENCE", join(head, []byte{0x02, 1, 1}), cga.ErrPublicKey},
		{"key cut off", join(head, good.PublicKey[:93]), cga.ErrPublicKey},
		{"key of indefinite length", join(head, []byte{0x30, 0x80, 0, 0}), cga.ErrPublicKey},
		{"key with a length that is longer than it must be", join(head, []byte{0x30, 0x81, 2, 5, 0}), cga.ErrPublicKey},
		{"key of 4 GiB", join(head, []byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0}), cga.ErrPublicKey},
		{"key longer than any option", join(head, long), nil},
		{"extension without data", join(head, good.PublicKey, []byte{0xff, 0xfd, 0, 0}), nil},
		{"two extensions", join(head, good.PublicKey, []byte{0xff, 0xfd, 0, 1, 9, 0xff, 0xfe, 0, 2, 8, 7}), nil},
		{"extension of 300 octets", join(head, good.PublicKey, []byte{0xff, 0xfd, 1, 44}, make([]byte, 300)), nil},
		{"extension cut in its head", join(head, good.PublicKey, []byte{0xff, 0xfd, 0}), cga.ErrExtension},
		{"extension cut in its data", join(head, good.PublicKey, []byte{0xff, 0xfd, 0, 2, 1}), cga.ErrExtension},
		{"second extension cut", join(head, good.PublicKey, []byte{0xff, 0xfd, 0, 0, 1}), cga.ErrExtension},
	} {
		p, err := cga.Parse(tt.octets)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			continue
		}
		if err == nil && !bytes.Equal(p.Append(nil), tt.octets) {
			t.Errorf("%s: written again %x", tt.name, p.Append(nil))
		}
		addr := p.Address(0)
		if allocs := testing.AllocsPerRun(5, func() { _, _ = cga.Parse(tt.octets); _ = cga.Verify(addr, p) }); allocs != 0 && len(tt.octets) < 2037 {
			t.Errorf("%s: %v allocations", tt.name, allocs)
		}
	}
}

// RFC 4581: extensions of any type are kept, in the parameters and in both hashes.
func TestExtensionsAreHashed(t *testing.T) {
	plain, _ := official(t)
	seen := map[netip.Addr]bool{plain.Address(0): true}
	for _, extension := range []string{"fffd0000", "fffe0000", "fffd000101", "fffd000102", "0001000101"} {
		b := append(plain.Append(nil), unhex(t, extension)...)
		p, err := cga.Parse(b)
		if err != nil || !bytes.Equal(p.Extensions, unhex(t, extension)) || !bytes.Equal(p.PublicKey, plain.PublicKey) {
			t.Fatalf("%s: %x, %v", extension, p.Extensions, err)
		}
		addr := p.Address(0)
		if seen[addr] {
			t.Errorf("%s: address %v once more", extension, addr)
		}
		seen[addr] = true
		if err := cga.Verify(withSec(addr, 1), p); !errors.Is(err, cga.ErrHash2) {
			t.Errorf("%s: the work was done for parameters without it: %v", extension, err)
		}
		if err := cga.Verify(addr, plain); !errors.Is(err, cga.ErrHash1) {
			t.Errorf("%s left out: %v", extension, err)
		}
	}
}

// RFC 3972 section 4: the modifier serves under other prefixes; a collision gives another address.
func TestOtherPrefixes(t *testing.T) {
	p, linkLocal := official(t)
	global := p.In(netip.MustParsePrefix("2001:db8:1:2::/64"))
	addr := global.Address(1)
	if err := cga.Verify(addr, global); err != nil || !netip.MustParsePrefix("2001:db8:1:2::/64").Contains(addr) {
		t.Errorf("%v: %v", addr, err)
	}
	if err := cga.Verify(addr, p); !errors.Is(err, cga.ErrPrefix) {
		t.Errorf("%v with the link-local parameters: %v", addr, err)
	}
	if a, b := addr.As16(), linkLocal.As16(); [8]byte(a[8:]) == [8]byte(b[8:]) {
		t.Error("the interface identifier does not depend on the prefix")
	}
	seen := map[netip.Addr]bool{}
	for count := range uint8(3) {
		global.Collisions = count
		addr := global.Address(1)
		if err := cga.Verify(addr, global); err != nil || seen[addr] {
			t.Errorf("count %d: %v, %v", count, addr, err)
		}
		seen[addr] = true
	}
	if again := global.In(netip.MustParsePrefix("fe80::/10")); again.Collisions != 0 || again.Address(1) != linkLocal {
		t.Errorf("back under fe80::/64: %v", again.Address(1))
	}
	if short := global.In(netip.MustParsePrefix("2001:db8:1:2ff::/56")); short.Prefix != [8]byte(unhex(t, "20010db800010200")) {
		t.Errorf("bits behind the prefix: %x", short.Prefix)
	}
	host := global.In(netip.MustParsePrefix("2001:db8:1:2:3::1/128"))
	if host.Prefix != global.Prefix {
		t.Errorf("of a long prefix the first 64 bits count: %x", host.Prefix)
	}
}

// RFC 3971 section 5.1. The lengths are those of RSA keys with 1024, 2048 and 4096 bits.
func TestOption(t *testing.T) {
	for _, tt := range []struct{ key, units, pad int }{{94, 16, 5}, {162, 24, 1}, {294, 41, 5}, {550, 73, 5}, {2011, 255, 0}} {
		key := append([]byte{0x30, 0x82, uint8((tt.key - 4) >> 8), uint8(tt.key - 4)}, bytes.Repeat([]byte{7}, tt.key-4)...)
		if tt.key < 256 {
			key = append([]byte{0x30, 0x81, uint8(tt.key - 3)}, bytes.Repeat([]byte{7}, tt.key-3)...)
		}
		if tt.key < 128 {
			key = append([]byte{0x30, uint8(tt.key - 2)}, bytes.Repeat([]byte{7}, tt.key-2)...)
		}
		p := cga.Params{Modifier: [16]byte{1}, Prefix: [8]byte{2}, Collisions: 2, PublicKey: key}
		b := cga.Option(p)
		if len(b) != tt.units*8 || int(b[1]) != tt.units || int(b[2]) != tt.pad || b[0] != ndp.OptCGA || b[3] != 0 {
			t.Fatalf("key of %d octets: option of %d, %x", tt.key, len(b), b[:4])
		}
		if got := cga.AppendOption([]byte("abc"), p); string(got[:3]) != "abc" || !bytes.Equal(got[3:], b) {
			t.Errorf("key of %d octets: appended %x", tt.key, got)
		}
		options := ndp.OptionsAt(append(b, ndp.SourceLinkOption([6]byte{2})...), 0)
		o, _ := options.Next()
		got, err := cga.ParseOption(o)
		if err != nil || got.Modifier != p.Modifier || got.Prefix != p.Prefix || got.Collisions != 2 ||
			!bytes.Equal(got.PublicKey, key) || got.Extensions != nil {
			t.Errorf("key of %d octets: read %+v, %v", tt.key, got, err)
		}
		addr := got.Address(0)
		if allocs := testing.AllocsPerRun(5, func() { _, _ = cga.ParseOption(o); _ = cga.Verify(addr, got) }); allocs != 0 {
			t.Errorf("key of %d octets: %v allocations", tt.key, allocs)
		}
		for pad := range 256 {
			octets := bytes.Clone(b)
			octets[2] = uint8(pad)
			want := pad == tt.pad || pad == tt.pad-4 // four zeros are an extension field of type 0
			if _, err := cga.ParseOption(ndp.Option{Type: ndp.OptCGA, Octets: octets}); (err == nil) != want {
				t.Errorf("key of %d octets, pad length %d: %v", tt.key, pad, err)
			}
		}
	}
	if b := cga.Option(cga.Params{PublicKey: make([]byte, 2012)}); b != nil {
		t.Errorf("longer than an option can be: %d octets", len(b))
	}
	for _, octets := range [][]byte{nil, {11, 1}, {11, 1, 5, 0, 0, 0, 0, 0}, {11, 1, 255, 0, 0, 0, 0, 0}} {
		if _, err := cga.ParseOption(ndp.Option{Type: ndp.OptCGA, Octets: octets}); !errors.Is(err, cga.ErrOption) {
			t.Errorf("%x: %v", octets, err)
		}
	}
	if _, err := cga.ParseOption(ndp.Option{Type: ndp.OptCGA, Octets: []byte{11, 1, 4, 0, 0, 0, 0, 0}}); !errors.Is(err, cga.ErrShort) {
		t.Errorf("padding alone: %v", err)
	}
}

// The modifier counts up over all its octets and around their end; attempts are counted; a search that has found stays so.
func TestSearch(t *testing.T) {
	p, _ := official(t)
	s := cga.NewSearch(p.PublicKey, nil, 0, p.Modifier)
	if m, found := s.Try(0); found || m != [16]byte{} || s.Tried() != 0 || s.Expected() != 1 {
		t.Errorf("no attempts: %x, %v", m, found)
	}
	if m, found := s.Try(10); !found || m != p.Modifier || s.Tried() != 1 {
		t.Errorf("Sec 0: %x, %v, %d", m, found, s.Tried())
	}
	if m, found := s.Try(10); !found || m != p.Modifier || s.Tried() != 1 {
		t.Errorf("once more: %x, %v, %d", m, found, s.Tried())
	}
	for sec, want := range []uint64{1, 1 << 16, 1 << 32, 1 << 48, math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64} {
		if got := cga.NewSearch(p.PublicKey, nil, uint8(sec), p.Modifier).Expected(); got != want {
			t.Errorf("Sec %d: %d attempts expected", sec, got)
		}
	}

	// Around the end: what is found is where the count from there leads.
	begin := [16]byte(bytes.Repeat([]byte{0xff}, 16))
	begin[15]--
	s = cga.NewSearch(p.PublicKey, p.Extensions, 1, begin)
	m, found := s.Try(1 << 21)
	if !found || m[15] == 0xff && m[0] == 0xff {
		t.Fatalf("nothing found in %d attempts", s.Tried())
	}
	want := s.Tried() - 3 // ff..fe, ff..ff, 0
	var low uint64
	for _, octet := range m[8:] {
		low = low<<8 | uint64(octet)
	}
	if low != want || [8]byte(m[:8]) != [8]byte{} {
		t.Errorf("modifier %x after %d attempts", m, s.Tried())
	}
	p.Modifier = m
	if err := cga.Verify(p.Address(1), p); err != nil {
		t.Error(err)
	}

	// The key given to it can be overwritten.
	key := bytes.Clone(p.PublicKey)
	s = cga.NewSearch(key, nil, 2, begin)
	clear(key)
	if allocs := testing.AllocsPerRun(2, func() { s.Try(100) }); allocs != 0 {
		t.Errorf("%v allocations in 100 attempts", allocs)
	}
	if s.Tried() != 300 {
		t.Errorf("%d attempts counted", s.Tried())
	}
}

// A search with extensions finds a modifier that serves with them.
func TestSearchWithExtensions(t *testing.T) {
	p, _ := official(t)
	p.Extensions = unhex(t, "fffd0003010203")
	s := cga.NewSearch(p.PublicKey, p.Extensions, 1, [16]byte{})
	m, found := s.Try(1 << 21)
	if !found {
		t.Fatal("nothing found")
	}
	p.Modifier = m
	if err := cga.Verify(p.Address(1), p); err != nil {
		t.Error(err)
	}
	p.Extensions = nil
	if err := cga.Verify(p.Address(1), p); !errors.Is(err, cga.ErrHash2) {
		t.Errorf("without them: %v", err)
	}
}

func BenchmarkTry(b *testing.B) {
	p, _ := official(b)
	p.PublicKey = append([]byte{0x30, 0x82, 1, 34}, make([]byte, 290)...) // as long as an RSA-2048 key
	s := cga.NewSearch(p.PublicKey, nil, 7, p.Modifier)
	s.Try(b.N)
}

func BenchmarkVerify(b *testing.B) {
	p, _ := official(b)
	p.PublicKey = append([]byte{0x30, 0x82, 1, 34}, make([]byte, 290)...)
	addr := p.Address(0)
	b.ReportAllocs()
	for b.Loop() {
		if err := cga.Verify(addr, p); err != nil {
			b.Fatal(err)
		}
	}
}
