package ndp_test

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// RFC 3971 section 5.3.1: 48 bits of seconds, 16 bits of 1/65536 seconds.
func TestTimestamp(t *testing.T) {
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{time.Unix(1700000000, 500000000), "0d02 000000000000 00006553f100 8000"},
		{time.Unix(0, 0), "0d02 000000000000 000000000000 0000"},
		{time.Unix(1, 999999999), "0d02 000000000000 000000000001 ffff"},
		{time.Unix(-1, 500000000), "0d02 000000000000 000000000000 0000"},
		{time.Time{}, "0d02 000000000000 000000000000 0000"},
		{time.Unix(1<<40, 15259), "0d02 000000000000 010000000000 0001"},
		{time.Unix(1<<50, 0), "0d02 000000000000 ffffffffffff ffff"},
	} {
		same(t, ndp.TimestampOption(tt.at), unhex(t, tt.want))
		same(t, ndp.AppendTimestamp([]byte("abc"), tt.at), append([]byte("abc"), unhex(t, tt.want)...))
	}
	got, err := ndp.ParseTimestamp(ndp.Option{Octets: unhex(t, "0d02 ffffffffffff 00006553f100 8000")})
	if err != nil || !got.Equal(time.Unix(1700000000, 500000000)) {
		t.Errorf("%v, %v", got, err)
	}
	// Every fraction comes back, and a later one is a later time.
	last := time.Unix(1699999999, 999999999)
	for fraction := range 1 << 16 {
		b := append(unhex(t, "0d02 000000000000 00006553f100"), uint8(fraction>>8), uint8(fraction))
		at, err := ndp.ParseTimestamp(ndp.Option{Octets: b})
		if err != nil || !at.After(last) || at.Unix() != 1700000000 {
			t.Fatalf("fraction %d: %v after %v, %v", fraction, at, last, err)
		}
		if again := ndp.TimestampOption(at); !bytes.Equal(again, b) {
			t.Fatalf("%x came back as %x", b, again)
		}
		last = at
	}
	for _, n := range []int{0, 8, 24} {
		if _, err := ndp.ParseTimestamp(ndp.Option{Octets: make([]byte, n)}); !errors.Is(err, ndp.ErrTimestamp) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

func TestAppendNonce(t *testing.T) {
	for _, n := range []int{0, 6, 7, 14, 300, 2038} {
		nonce := bytes.Repeat([]byte{7}, n)
		same(t, ndp.AppendNonce([]byte("abc"), nonce), append([]byte("abc"), ndp.NonceOption(nonce)...))
	}
	if b := ndp.AppendNonce([]byte("abc"), make([]byte, 2039)); string(b) != "abc" {
		t.Errorf("longer than an option can be: %d octets", len(b))
	}
}

// RFC 3971 section 5.2, with the lengths of keys with 1024, 2048 and 4096 bits.
func TestSignature(t *testing.T) {
	for _, tt := range []struct{ signature, units int }{{128, 19}, {256, 35}, {512, 67}, {2020, 255}} {
		want := ndp.Signature{KeyHash: [16]byte{1, 2, 3}, Octets: bytes.Repeat([]byte{0xee}, tt.signature)}
		b := want.Append([]byte("abc"))[3:]
		if len(b) != tt.units*8 || int(b[1]) != tt.units || b[0] != ndp.OptSignature || b[2] != 0 || b[3] != 0 {
			t.Fatalf("signature of %d octets: %d, %x", tt.signature, len(b), b[:4])
		}
		got, err := ndp.ParseSignature(ndp.Option{Octets: b})
		if err != nil || got.KeyHash != want.KeyHash || !bytes.HasPrefix(got.Octets, want.Octets) || len(got.Octets) != len(b)-20 {
			t.Errorf("signature of %d octets: %+v, %v", tt.signature, got, err)
		}
	}
	if b := (ndp.Signature{Octets: make([]byte, 2021)}).Append([]byte("abc")); string(b) != "abc" {
		t.Errorf("longer than an option can be: %d octets", len(b))
	}
	for _, n := range []int{0, 8, 16} {
		if _, err := ndp.ParseSignature(ndp.Option{Octets: make([]byte, n)}); !errors.Is(err, ndp.ErrSignature) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

// RFC 3971 section 5.2.2: options behind the first RSA Signature option are ignored, for anyone can put them there without
// the signature failing. A malformed one makes the message invalid all the same (RFC 4861).
func TestOptionsBehindTheSignature(t *testing.T) {
	signature := ndp.Signature{Octets: make([]byte, 128)}.Append(nil)
	before := []byte{0xfa, 1, 0, 0, 0, 0, 0, 0}
	behind := bytes.Join([][]byte{
		signature, ndp.SourceLinkOption(hw), ndp.TargetLinkOption(hw), ndp.NonceOption([]byte("nonce1")), unhex(t, prefixOption),
		unhex(t, "0501 0000 000005dc"), unhex(t, "1302 01 0200000000a1 00000000000000", "1302 04 0200000000a1 00000000000000"),
		ndp.KeyRequest{PublicKey: unhex(t, "3000")}.Append(nil), ndp.KeyReply{EncryptedKey: []byte{1}}.Append(nil),
	}, nil)
	bare := map[uint8]*ipv6.Packet{}
	for typ, p := range good(t) {
		fixed := map[uint8]int{134: 16, 135: 24, 136: 24, 137: 40, 149: 12}[typ]
		bare[typ] = received(t, p.Src, p.Dst, bytes.Clone(p.Payload[:max(fixed, 8)]))
	}
	extend := func(typ uint8, with ...[]byte) *ipv6.Packet {
		p := bare[typ]
		msg := append(bytes.Clone(p.Payload), bytes.Join(with, nil)...)
		ndp.FixChecksum(msg, p.Src, p.Dst)
		return received(t, p.Src, p.Dst, msg)
	}
	for typ := range bare {
		if reason := parse(extend(typ, before, behind, before[:4]), typ); reason != ndp.ReasonOption {
			t.Errorf("type %d, half an option behind the signature: %v", typ, reason)
		}
		if reason := parse(extend(typ, before, behind), typ); reason != ndp.ReasonNone {
			t.Errorf("type %d: %v", typ, reason)
		}
	}
	var walker ndp.Options
	read := func(typ uint8) {
		t.Helper()
		want := []uint8{0xfa, ndp.OptSignature}
		var got []uint8
		for o, ok := walker.Next(); ok; o, ok = walker.Next() {
			got = append(got, o.Type)
		}
		if !bytes.Equal(got, want) || walker.Err() != nil {
			t.Errorf("type %d: options %d, %v", typ, got, walker.Err())
		}
	}
	for typ := range bare {
		p := extend(typ, before, signature, behind)
		switch typ {
		case ndp.TypeRouterSolicit:
			m, _ := ndp.ParseRouterSolicit(p)
			if walker = m.Options; !m.SourceLink.IsZero() {
				t.Errorf("%+v", m)
			}
		case ndp.TypeRouterAdvert:
			m, _ := ndp.ParseRouterAdvert(p)
			prefixes := m.Prefixes()
			if _, ok := prefixes.Next(); ok || !m.SourceLink.IsZero() || m.MTU != 0 {
				t.Errorf("%+v, prefix %v", m, ok)
			}
			walker = m.Options
		case ndp.TypeNeighborSolicit:
			m, _ := ndp.ParseNeighborSolicit(p)
			if walker = m.Options; !m.SourceLink.IsZero() || m.Nonce != nil {
				t.Errorf("%+v", m)
			}
		case ndp.TypeNeighborAdvert:
			m, _ := ndp.ParseNeighborAdvert(p)
			if walker = m.Options; !m.TargetLink.IsZero() {
				t.Errorf("%+v", m)
			}
		case ndp.TypeRedirect:
			m, _ := ndp.ParseRedirect(p)
			if walker = m.Options; !m.TargetLink.IsZero() {
				t.Errorf("%+v", m)
			}
		case ndp.TypePathSolicit:
			m, _ := ndp.ParsePathSolicit(p)
			walker = m.Options
		case ndp.TypePathAdvert:
			m, _ := ndp.ParsePathAdvert(p)
			walker = m.Options
		case ndp.TypeFast:
			m, _ := ndp.ParseProxySolicit(p)
			if walker = m.Options; m.Points.Len() != 0 || m.HasKeyRequest || m.Nonce != nil || !m.SourceLink.IsZero() {
				t.Errorf("%+v", m)
			}
		case proxyAdvert:
			m, _ := ndp.ParseProxyAdvert(p)
			if walker = m.Options; m.Tuples.Len() != 0 || m.HasKeyReply || m.Nonce != nil || !m.SourceLink.IsZero() {
				t.Errorf("%+v", m)
			}
		default:
			t.Fatalf("type %d is not tried", typ)
		}
		read(typ)
	}
	// The same options before the signature count, so that the test above does not pass for want of them.
	m, _ := ndp.ParseProxyAdvert(extend(proxyAdvert, behind[len(signature):], signature))
	if m.Tuples.Len() != 1 || !m.HasKeyReply || m.Nonce == nil || m.SourceLink.IsZero() {
		t.Errorf("before the signature: %+v", m)
	}
	ns, _ := ndp.ParseNeighborSolicit(extend(ndp.TypeNeighborSolicit, behind[len(signature):], signature))
	if ns.Nonce == nil || ns.SourceLink != hw {
		t.Errorf("before the signature: %+v", ns)
	}
	ra, _ := ndp.ParseRouterAdvert(extend(ndp.TypeRouterAdvert, behind[len(signature):], signature))
	prefixes := ra.Prefixes()
	if prefix, ok := prefixes.Next(); !ok || prefix.Prefix == (netip.Prefix{}) || ra.MTU != 1500 {
		t.Errorf("before the signature: %+v", ra)
	}
}
