package ndp_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/roamkey/roamkey/ndp"
)

// HK-AR-13: a key request or reply of length zero makes the message one to be discarded.
func TestKeyOptionLengthZero(t *testing.T) {
	for _, typ := range []byte{ndp.OptKeyRequest, ndp.OptKeyReply} {
		option := []byte{typ, 0, 0, 0, 0x30, 2, 5, 0}
		b := ndp.ProxySolicit{}.Append(nil, node, linkLocal, option)
		if _, reason := ndp.ParseProxySolicit(received(t, node, linkLocal, b)); reason != ndp.ReasonOption {
			t.Errorf("option %d in a solicitation: %v", typ, reason)
		}
		b = ndp.ProxyAdvert{}.Append(nil, linkLocal, node, option)
		if _, reason := ndp.ParseProxyAdvert(received(t, linkLocal, node, b)); reason != ndp.ReasonOption {
			t.Errorf("option %d in an advertisement: %v", typ, reason)
		}
		option[1] = 1
		b = ndp.ProxySolicit{}.Append(nil, node, linkLocal, option)
		if _, reason := ndp.ParseProxySolicit(received(t, node, linkLocal, b)); reason != ndp.ReasonNone {
			t.Errorf("option %d of 8 octets: %v", typ, reason)
		}
	}
}

// RFC 5269 section 4.1, with the lengths of keys with 1024, 2048 and 4096 bits. HK-AR-13: padding and reserved bits are
// zero when sent and ignored when received.
func TestKeyRequest(t *testing.T) {
	for _, tt := range []struct{ bits, units, pad int }{{1024, 21, 2}, {2048, 38, 6}, {4096, 70, 6}} {
		spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: modulus(tt.bits), Exponent: 65537})
		if err != nil {
			t.Fatal(err)
		}
		for at := range uint8(16) {
			want := ndp.KeyRequest{AT: at, PublicKey: spki}
			b := want.Append([]byte("abc"))[3:]
			if len(b) != tt.units*8 || int(b[1]) != tt.units || b[0] != ndp.OptKeyRequest || int(b[2]) != tt.pad || b[3] != at<<4 ||
				!bytes.Equal(b[len(b)-tt.pad:], make([]byte, tt.pad)) {
				t.Fatalf("%d bits: %d octets, %x", tt.bits, len(b), b[:4])
			}
			b[3] |= 0x0f
			b[len(b)-1] = 0xff
			o := ndp.Option{Type: ndp.OptKeyRequest, Octets: b}
			got, err := ndp.ParseKeyRequest(o)
			if err != nil || got.AT != at || !bytes.Equal(got.PublicKey, spki) {
				t.Errorf("%d bits: AT %d, %x, %v", tt.bits, got.AT, got.PublicKey, err)
			}
			if allocs := testing.AllocsPerRun(5, func() { _, _ = ndp.ParseKeyRequest(o) }); allocs != 0 {
				t.Errorf("%v allocations", allocs)
			}
			for pad := range 256 {
				b[2] = uint8(pad)
				if _, err := ndp.ParseKeyRequest(o); (err == nil) != (pad == tt.pad) || err != nil && !errors.Is(err, ndp.ErrKeyRequest) {
					t.Errorf("%d bits, pad length %d: %v", tt.bits, pad, err)
				}
			}
		}
	}
	if b := (ndp.KeyRequest{PublicKey: make([]byte, 2037)}).Append([]byte("abc")); string(b) != "abc" {
		t.Errorf("longer than an option can be: %d octets", len(b))
	}
	if b := (ndp.KeyRequest{PublicKey: make([]byte, 2036)}).Append(nil); len(b) != ndp.MaxOptionOctets || b[1] != 255 || b[2] != 0 {
		t.Errorf("the longest option: %d octets", len(b))
	}
	for _, octets := range []string{"", "1b01", "1b01 00 00 04020500", "1b01 05 00 30020500", "1b01 ff 00 30020500", "1b01 00 00 30030500", "1b01 01 00 30020500"} {
		if _, err := ndp.ParseKeyRequest(ndp.Option{Type: ndp.OptKeyRequest, Octets: unhex(t, octets)}); !errors.Is(err, ndp.ErrKeyRequest) {
			t.Errorf("%q: %v", octets, err)
		}
	}
}

// RFC 5269 section 4.2: the key begins at octet 6, and the pad length tells where it ends. HK-AR-7, HK-AR-13.
func TestKeyReply(t *testing.T) {
	for _, tt := range []struct{ key, units, pad int }{{128, 17, 2}, {256, 33, 2}, {512, 65, 2}, {1, 1, 1}, {2, 1, 0}, {2034, 255, 0}} {
		want := ndp.KeyReply{AT: 9, Lifetime: 43200, EncryptedKey: bytes.Repeat([]byte{0xee}, tt.key)}
		b := want.Append([]byte("abc"))[3:]
		if len(b) != tt.units*8 || int(b[1]) != tt.units || b[0] != ndp.OptKeyReply || int(b[2]) != tt.pad || b[3] != 0x90 ||
			b[4] != 0xa8 || b[5] != 0xc0 || b[6] != 0xee || !bytes.Equal(b[len(b)-tt.pad:], make([]byte, tt.pad)) {
			t.Fatalf("key of %d octets: %d octets, %x", tt.key, len(b), b[:6])
		}
		b[3] |= 0x0f
		for i := range tt.pad {
			b[len(b)-1-i] = 0xff
		}
		o := ndp.Option{Type: ndp.OptKeyReply, Octets: b}
		got, err := ndp.ParseKeyReply(o)
		if err != nil || got.AT != 9 || got.Lifetime != 43200 || !bytes.Equal(got.EncryptedKey, want.EncryptedKey) {
			t.Errorf("key of %d octets: %+v, %v", tt.key, got, err)
		}
		if allocs := testing.AllocsPerRun(5, func() { _, _ = ndp.ParseKeyReply(o) }); allocs != 0 {
			t.Errorf("%v allocations", allocs)
		}
	}
	if b := (ndp.KeyReply{EncryptedKey: make([]byte, 2035)}).Append([]byte("abc")); string(b) != "abc" {
		t.Errorf("longer than an option can be: %d octets", len(b))
	}
	for _, octets := range []string{"", "1c01", "1c01 02 00 0001 0203", "1c01 ff 00 0001 0203", "1c01 04 00 0001 0203"} {
		if _, err := ndp.ParseKeyReply(ndp.Option{Type: ndp.OptKeyReply, Octets: unhex(t, octets)}); !errors.Is(err, ndp.ErrKeyReply) {
			t.Errorf("%q: %v", octets, err)
		}
	}
}
