package certpath_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/roamkey/roamkey/ndp/certpath"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func prefixes(text ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range text {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// The encodings that RFC 3779 and RFC 3971 lead to: read as what they mean, and written as they were.
func TestAddressBlocks(t *testing.T) {
	for _, tt := range []struct{ name, der, want string }{
		{"a /64", "3013 3011 0402 0002 300b 03 09 00 20010db8cafebebe", "2001:db8:cafe:bebe::/64"},
		{"RFC 3779: 2001:0:2::/48", "3011 300f 0402 0002 3009 03 07 00 200100000002", "2001:0:2::/48"},
		{"RFC 3779 section 2.1.1: 2001:0:200::/39", "3010 300e 0402 0002 3008 03 06 01 2001000002", "2001:0:200::/39"},
		{"everything", "300b 3009 0402 0002 3003 030100", "::/0"},
		{"one address", "301b 3019 0402 0002 3013 03 11 00 20010db8000000000000000000000001", "2001:db8::1/128"},
		{
			"two prefixes", "301a 3018 0402 0002 3012 03 07 00 20010db80001 03 07 00 20010db80003",
			"2001:db8:1::/48, 2001:db8:3::/48",
		},
		{
			"a range", "301d 301b 0402 0002 3015 3013 03 07 00 20010db80001 03 08 00 20010db8000300",
			"2001:db8:1::-2001:db8:3:ff:ffff:ffff:ffff:ffff",
		},
		{"a range up to the end", "3011 300f 0402 0002 3009 3007 0302 0640 0301 00", "4000::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	} {
		blocks, err := certpath.ParseAddressBlocks(unhex(t, tt.der))
		if err != nil || blocks.Inherit || blocks.Set.String() != tt.want {
			t.Errorf("%s: %v, %v", tt.name, blocks.Set, err)
			continue
		}
		if again, err := blocks.Marshal(); err != nil || !bytes.Equal(again, unhex(t, tt.der)) {
			t.Errorf("%s: written as %x, %v", tt.name, again, err)
		}
	}
}

func TestAddressBlocksInherit(t *testing.T) {
	der := unhex(t, "3008 3006 0402 0002 0500")
	blocks, err := certpath.ParseAddressBlocks(der)
	if err != nil || !blocks.Inherit || !blocks.Set.IsEmpty() {
		t.Fatalf("%+v, %v", blocks, err)
	}
	if again, err := blocks.Marshal(); err != nil || !bytes.Equal(again, der) {
		t.Errorf("written as %x, %v", again, err)
	}
	if _, err := (certpath.AddressBlocks{}).Marshal(); err == nil {
		t.Error("neither addresses nor inherit was written")
	}
}

// Families other than IPv6 are read over: IPv4 before it, and another subsequent family behind it.
func TestAddressBlocksOtherFamilies(t *testing.T) {
	blocks, err := certpath.ParseAddressBlocks(unhex(t, "302b 300c 0402 0001 3006 0304 00 0a0000 300f 0402 0002 3009 0307 00 20010db80001 300a 0403 000280 3003 030100"))
	if err != nil || blocks.Set.String() != "2001:db8:1::/48" || blocks.SAFI {
		t.Errorf("%+v, %v", blocks, err)
	}
	blocks, err = certpath.ParseAddressBlocks(unhex(t, "300c 300a 0403 000201 3003 030100"))
	if err != nil || !blocks.SAFI || !blocks.Set.IsEverything() {
		t.Errorf("unicast IPv6: %+v, %v", blocks, err)
	}
}

// Only the one canonical form is taken (RFC 3779 section 2.2.3).
func TestAddressBlocksRefused(t *testing.T) {
	for _, tt := range []struct{ name, der, says string }{
		{"nothing", "", "one sequence"},
		{"no family", "3000", "one sequence"},
		{"more behind", "3008 3006 0402 0002 0500 00", "one sequence"},
		{"indefinite length", "3080 3006 0402 0002 0500 0000", "one sequence"},
		{"length in long form", "308108 3006 0402 0002 0500", "one sequence"},
		{"family of one octet", "3007 3005 0401 02 0500", "number"},
		{"family of four octets", "300a 3008 0404 00020101 0500", "number"},
		{"IPv4 alone", "300e 300c 0402 0001 3006 0304 00 0a0000", "no IPv6"},
		{"IPv6 before IPv4", "3010 3006 0402 0002 0500 3006 0402 0001 0500", "order"},
		{"IPv6 twice", "3010 3006 0402 0002 0500 3006 0402 0002 0500", "order"},
		{"IPv6 with and without unicast", "3011 3006 0402 0002 0500 3007 0403 000201 0500", "with and without"},
		{"no choice", "3006 3004 0402 0002", "one choice"},
		{"two choices", "300a 3008 0402 0002 0500 0500", "one choice"},
		{"NULL with contents", "3009 3007 0402 0002 050100", "neither"},
		{"an integer", "3009 3007 0402 0002 020100", "neither"},
		{"no addresses", "3008 3006 0402 0002 3000", "without addresses"},
		{"an integer among them", "300b 3009 0402 0002 3003 020100", "neither a prefix"},
		{"a prefix of 129 bits", "301c 301a 0402 0002 3014 0312 07 20010db800000000000000000000000180", "128 bits"},
		{"unused bits set", "300c 300a 0402 0002 3004 0302 0721", "128 bits"},
		{"8 unused bits", "300c 300a 0402 0002 3004 0302 0800", "128 bits"},
		{"unused bits of no octet", "300b 3009 0402 0002 3003 030101", "128 bits"},
		{"a bit string without its first octet", "300a 3008 0402 0002 3002 0300", "128 bits"},
		{"out of order", "301a 3018 0402 0002 3012 03 07 00 20010db80003 03 07 00 20010db80001", "order"},
		{"twice", "301a 3018 0402 0002 3012 03 07 00 20010db80003 03 07 00 20010db80003", "order"},
		{"one in the other", "3018 3016 0402 0002 3010 03 05 00 20010db8 03 07 00 20010db80003", "overlapping"},
		{"adjacent", "301a 3018 0402 0002 3012 03 07 00 20010db80002 03 07 00 20010db80003", "combined"},
		{"behind the end", "3015 3013 0402 0002 300d 3007 0302 0640 0301 00 0302 00ff", "order"},
		{"after everything", "3010 300e 0402 0002 3008 030100 0303 00 2001", "order"},
		{"a range that is a prefix", "3018 3016 0402 0002 3010 300e 0305 03 20010db8 0305 00 20010db8", "prefix"},
		{"a range that is everything", "3010 300e 0402 0002 3008 3006 0301 00 0301 00", "prefix"},
		{"lower end with zeros", "301e 301c 0402 0002 3016 3014 03 08 00 20010db8000100 03 08 00 20010db8000300", "short"},
		{"upper end with ones", "3016 3014 0402 0002 300e 300c 03 03 00 2001 03 05 00 200107ff", "short"},
		{"ends exchanged", "3018 3016 0402 0002 3010 300e 03 05 00 20020db9 03 05 00 20010db8", "before it begins"},
		{"a range of one end", "300f 300d 0402 0002 3007 3005 03 03 00 2001", "two bit strings"},
		{"a range of three ends", "3014 3012 0402 0002 300c 300a 0302 0640 0302 0640 0300", "two bit strings"},
	} {
		_, err := certpath.ParseAddressBlocks(unhex(t, tt.der))
		if !errors.Is(err, certpath.ErrAddressBlocks) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want one that says %q", tt.name, err, tt.says)
		}
	}
}

func TestAddressSets(t *testing.T) {
	set := certpath.NewAddressSet(prefixes("2001:db8:3::/48", "2001:db8::/47", "2001:db8:2::/48", "2001:db8:2:1::/64", "fd00::/8")...)
	if set.String() != "2001:db8::/46, fd00::/8" {
		t.Errorf("overlapping and adjacent ones become %v", set)
	}
	for text, want := range map[string]bool{
		"2001:db8::/46": true, "2001:db8:3:ffff::/64": true, "2001:db8:4::/64": false, "2001:db8::/45": false,
		"fd12::/16": true, "fc00::/7": false, "2001:db7:ffff::/48": false, "ffff::/16": false,
	} {
		if got := set.ContainsPrefix(netip.MustParsePrefix(text)); got != want {
			t.Errorf("%s is in: %v", text, got)
		}
	}
	if set.ContainsPrefix(netip.MustParsePrefix("10.0.0.0/8")) || set.ContainsPrefix(netip.Prefix{}) {
		t.Error("what is no IPv6 prefix is in a set")
	}
	all := certpath.NewAddressSet(prefixes("::/1", "8000::/1")...)
	if !all.IsEverything() || !all.Contains(set) || set.Contains(all) || set.IsEverything() || !set.Contains(certpath.AddressSet{}) {
		t.Errorf("everything is %v", all)
	}
	both := set.Intersect(certpath.NewAddressSet(prefixes("2001:db8:1::/48", "2001:db8:3:8000::/49", "fd00:1::/32", "fe80::/10")...))
	if both.String() != "2001:db8:1::/48, 2001:db8:3:8000::/49, fd00:1::/32" {
		t.Errorf("in both: %v", both)
	}
	if both := set.Intersect(certpath.NewAddressSet(prefixes("2001:db8::/32", "fd00::/9")...)); both.String() != "2001:db8::/46, fd00::/9" {
		t.Errorf("in both: %v", both)
	}
	if both := set.Intersect(certpath.NewAddressSet(prefixes("2001:db8:4::/48")...)); !both.IsEmpty() {
		t.Errorf("in both: %v", both)
	}
}

// A range becomes the fewest prefixes, and no more than one wants to have.
func TestRangesToPrefixes(t *testing.T) {
	blocks, err := certpath.ParseAddressBlocks(unhex(t, "301d 301b 0402 0002 3015 3013 03 07 00 20010db80001 03 08 00 20010db8000300"))
	if err != nil {
		t.Fatal(err)
	}
	got, ok := blocks.Set.Prefixes(3)
	want := prefixes("2001:db8:1::/48", "2001:db8:2::/48", "2001:db8:3::/56")
	if !ok || len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("%v", got)
	}
	if got, ok := blocks.Set.Prefixes(2); ok {
		t.Errorf("three as two: %v", got)
	}
	// The range with the most prefixes: all addresses but the first and the last.
	widest, err := certpath.ParseAddressBlocks(unhex(t,
		"3032 3030 0402 0002 302a 3028 0312 00 00000000000000000000000000000001 0312 01 fffffffffffffffffffffffffffffffe"))
	if err == nil {
		t.Error("an end of 17 octets was read")
	}
	widest, err = certpath.ParseAddressBlocks(unhex(t,
		"3030 302e 0402 0002 3028 3026 0311 00 00000000000000000000000000000001 0311 00 fffffffffffffffffffffffffffffffe"))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := widest.Set.Prefixes(certpath.MaxPrefixes); !ok || len(got) != 254 {
		t.Errorf("%d prefixes, %v", len(got), ok)
	}
	if got, ok := certpath.NewAddressSet(prefixes("::/0")...).Prefixes(1); !ok || got[0].String() != "::/0" {
		t.Errorf("everything: %v", got)
	}
}

func FuzzParseAddressBlocks(f *testing.F) {
	for _, der := range []string{
		"3013 3011 0402 0002 300b 03 09 00 20010db8cafebebe", "3008 3006 0402 0002 0500", "300b 3009 0402 0002 3003 030100",
		"302b 300c 0402 0001 3006 0304 00 0a0000 300f 0402 0002 3009 0307 00 20010db80001 300a 0403 000280 3003 030100",
		"301d 301b 0402 0002 3015 3013 03 07 00 20010db80001 03 08 00 20010db8000300",
	} {
		f.Add(unhex(f, der))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		blocks, err := certpath.ParseAddressBlocks(der)
		if err != nil {
			if !errors.Is(err, certpath.ErrAddressBlocks) {
				t.Fatalf("%v", err)
			}
			return
		}
		if blocks.Inherit != blocks.Set.IsEmpty() {
			t.Fatalf("%+v", blocks)
		}
		written, err := blocks.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := certpath.ParseAddressBlocks(written)
		if err != nil || again.Set.String() != blocks.Set.String() || again.Inherit != blocks.Inherit {
			t.Fatalf("%v written %x, read %v, %v", blocks.Set, written, again.Set, err)
		}
		// Canonical: there is one way to write what IPv6 has.
		if !bytes.Contains(der, written[2:]) && len(written) < 128 {
			t.Fatalf("%x written as %x", der, written)
		}
		if list, ok := blocks.Set.Prefixes(certpath.MaxPrefixes); ok && !blocks.Inherit {
			if back := certpath.NewAddressSet(list...); back.String() != blocks.Set.String() {
				t.Fatalf("%v as prefixes is %v", blocks.Set, back)
			}
		}
		if !blocks.Set.Contains(blocks.Set) || blocks.Set.Intersect(blocks.Set).String() != blocks.Set.String() {
			t.Fatal("a set that is not in itself")
		}
	})
}
