package ndp_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

var kbm = []byte("sixteen octets..")

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// option gives the one option in b.
func option(t testing.TB, b []byte) ndp.Option {
	t.Helper()
	options := ndp.OptionsAt(b, 0)
	o, ok := options.Next()
	if !ok || len(o.Octets) != len(b) {
		t.Fatalf("not one option: %x", b)
	}
	return o
}

// A sequence in DER is what Capability cuts by; a key of any size fits with less than 8 octets of padding.
func TestCapability(t *testing.T) {
	cp := ndp.CodePoints{Capability: 200}
	for size := range 40 {
		key := append([]byte{0x30, uint8(size)}, bytes.Repeat([]byte{0xee}, size)...)
		b := ndp.Capability{MaximumLifetime: 60, PublicKey: key}.Append([]byte("before"), cp)[6:]
		c, err := ndp.ParseCapability(option(t, b))
		if err != nil || b[0] != 200 || c.MaximumLifetime != 60 || !bytes.Equal(c.PublicKey, key) {
			t.Errorf("key of %d octets: %x, %v", len(key), c.PublicKey, err)
		}
		if len(b)-4-len(key) >= 8 {
			t.Errorf("key of %d octets: option of %d", len(key), len(b))
		}
	}
	if b := (ndp.Capability{PublicKey: make([]byte, 2037)}).Append([]byte{1}, cp); len(b) != 1 {
		t.Errorf("key that does not fit: %d octets", len(b))
	}
	if b := (ndp.Capability{PublicKey: make([]byte, 2036)}).Append(nil, cp); len(b) != 2040 || b[1] != 255 {
		t.Errorf("longest key: %d octets", len(b))
	}
}

func TestCapabilityRefuses(t *testing.T) {
	for _, tt := range []struct{ name, octets string }{
		{"no sequence", "0601 1c20 0401 0000"},
		{"NBMA shortcut limit (RFC 2491)", "0601 0800 00000000"},
		{"key longer than the option", "0601 1c20 3005 0000"},
		{"length of the key in indefinite form", "0601 1c20 3080 0000"},
		{"length of the key not in its shortest form", "0602 1c20 308101 ff 0000000000000000"},
		{"length of the key beyond all bounds", "0602 1c20 3084ffffffff 000000000000"},
		{"eight octets of padding", "0602 1c20 3002 0000 0000000000000000"},
	} {
		if c, err := ndp.ParseCapability(option(t, unhex(t, tt.octets))); !errors.Is(err, ndp.ErrCapability) {
			t.Errorf("%s: %+v, %v", tt.name, c, err)
		}
	}
	if _, err := ndp.ParseCapability(ndp.Option{}); !errors.Is(err, ndp.ErrCapability) {
		t.Errorf("no option: %v", err)
	}
}

// LKE drafts 44 octets, which cannot be an option: 48 with zeros is the only length (code-point table: RFC 6275's options
// of the same numbers have 8).
func TestDADAuth(t *testing.T) {
	want := ndp.DADAuth{Nonce: 0xdeadbeef, Router: router, MAC: [20]byte{1, 2, 3, 19: 20}}
	b := want.Append(nil, 7)
	same(t, b, unhex(t, "0706 0000 deadbeef 20010db8000100000000000000000001 010203 00000000000000000000000000000000 14 00000000"))
	if got, err := ndp.ParseDADAuth(option(t, b)); err != nil || got != want {
		t.Errorf("read %+v, %v", got, err)
	}
	for _, o := range []string{"0701 0000 00000bb8", "0801 0000 000a 0e10", "0705 0000" + hexOf(make([]byte, 36)), "0707 0000" + hexOf(make([]byte, 52))} {
		if _, err := ndp.ParseDADAuth(option(t, unhex(t, o))); !errors.Is(err, ndp.ErrDADAuth) {
			t.Errorf("%s: %v", o, err)
		}
	}
}

// LKE-AR-14, LKE-resolution-e: any bit of the message up to the end of the option counts, but for the checksum; so do key
// and addresses. What follows the option, the options of secure Neighbour Discovery, does not.
func TestDADAuthCovers(t *testing.T) {
	auth := ndp.DADAuth{Nonce: 1, Router: router}.Append(nil, 8)
	behind := ndp.NonceOption([]byte("nonce1"))
	dst := ipv6.AllNodes()
	msg := ndp.AppendNeighborAdvert(nil, node, dst, ndp.FlagOverride, node, ndp.TargetLinkOption(hw), auth, behind)
	if err := ndp.SignDADAuth(msg, kbm, node, dst, 32); err != nil {
		t.Fatal(err)
	}
	p := received(t, node, dst, msg)
	m, reason := ndp.ParseNeighborAdvert(p)
	if reason != ndp.ReasonNone {
		t.Fatalf("the checksum is not set: %v", reason)
	}
	o := find(t, m.Options, 8)
	verify := func(msg []byte) bool {
		before := bytes.Clone(msg)
		ok := ndp.VerifyDADAuth(msg, kbm, node, dst, ndp.Option{Type: 8, Octets: msg[32:80], Offset: 32})
		if !bytes.Equal(msg, before) {
			t.Fatal("Verify wrote to the message")
		}
		return ok
	}
	if !ndp.VerifyDADAuth(msg, kbm, node, dst, o) || !verify(msg) {
		t.Fatal("own HMAC refused")
	}
	for i := range len(msg) * 8 {
		changed := bytes.Clone(msg)
		changed[i/8] ^= 1 << (i % 8)
		free := i/8 == 2 || i/8 == 3 || i/8 >= 80
		if verify(changed) != free {
			t.Errorf("octet %d, bit %d: accepted: %v", i/8, i%8, !free)
		}
	}
	if ndp.VerifyDADAuth(msg, kbm[:15], node, dst, o) || ndp.VerifyDADAuth(msg, kbm, router, dst, o) || ndp.VerifyDADAuth(msg, kbm, node, linkLocal, o) {
		t.Error("another key or address accepted")
	}
	if !verify(msg[:80]) {
		t.Error("refused without what follows the option")
	}
}

func TestDADAuthBounds(t *testing.T) {
	msg := ndp.AppendNeighborSolicit(nil, none, group, node, ndp.DADAuth{Router: router}.Append(nil, 7))
	before := bytes.Clone(msg)
	for _, offset := range []int{-1, 0, 3, 23, 25, 72, 1 << 30} {
		if err := ndp.SignDADAuth(msg, kbm, none, group, offset); !errors.Is(err, ndp.ErrDADAuth) {
			t.Errorf("offset %d: %v", offset, err)
		}
		o := ndp.Option{Type: 7, Octets: make([]byte, 48), Offset: offset}
		if ndp.VerifyDADAuth(msg, kbm, none, group, o) {
			t.Errorf("offset %d verified", offset)
		}
	}
	if !bytes.Equal(msg, before) {
		t.Error("message changed")
	}
	if ndp.VerifyDADAuth(nil, kbm, none, group, ndp.Option{}) {
		t.Error("nothing at all verified")
	}
}
