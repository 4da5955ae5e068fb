package ndp_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// FuzzNDP takes whole packets as each of the messages. The checksum is put right, for no fuzzer finds one.
func FuzzNDP(f *testing.F) {
	for _, p := range good(f) {
		f.Add(p.Raw)
	}
	v := readVectors(f)
	f.Add(received(f, v.SignedNS.Src, v.SignedNS.Dst, v.SignedNS.ICMPv6).Raw)
	f.Add(received(f, netip.IPv6Unspecified(), ipv6.SolicitedNode(v.LKE.Addresses.CareOf), v.LKE.Solicit.ICMPv6).Raw)
	f.Add(received(f, v.LKE.Addresses.CareOf, ipv6.AllNodes(), v.LKE.Advert.ICMPv6).Raw)
	ra := append(unhex(f, advert, prefixOption, otherPrefix, "0501 0000 000005dc"), v.LKE.Option6.Octets...)
	f.Add(received(f, linkLocal, ipv6.AllNodes(), ra).Raw)
	proxy := ndp.ProxyAdvert{Tuples: tuples(ndp.ProxyTuple{
		Code: 1, Point: point1, RouterLink: narHW, Router: nar, RouterBits: 64, Prefix: netip.MustParsePrefix("2001:db8:2:3::/64"), CareOf: ncoa,
	})}
	f.Add(received(f, linkLocal, node, proxy.Append(nil, linkLocal, node, ndp.KeyReply{EncryptedKey: make([]byte, 128)}.Append(nil))).Raw)
	request := ndp.KeyRequest{PublicKey: v.LKE.SPKI}.Append(nil)
	f.Add(received(f, node, linkLocal, ndp.ProxySolicit{Points: points(point1, point2)}.Append(nil, node, linkLocal, request)).Raw)
	for _, p := range captured(f) {
		f.Add(p.Raw)
	}
	cp := ndp.DefaultCodePoints()
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = bytes.Clone(raw)
		var p ipv6.Packet
		if ipv6.Parse(raw, &p) != ipv6.OK {
			return
		}
		ndp.FixChecksum(p.Payload, p.Src, p.Dst)
		before := bytes.Clone(raw)
		if m, reason := ndp.ParseNeighborSolicit(&p); reason == ndp.ReasonNone {
			if m.Target.IsMulticast() || p.Src.IsUnspecified() && !m.SourceLink.IsZero() || m.Nonce != nil && len(m.Nonce) < 6 {
				t.Fatalf("accepted %+v", m)
			}
			walk(t, p.Payload, m.Options, 24, func(o ndp.Option) {
				if a, err := ndp.ParseDADAuth(o); o.Type == cp.AuthRequest && err == nil {
					if !bytes.Equal(a.Append(nil, o.Type)[4:44], o.Octets[4:44]) {
						t.Fatalf("read %+v from %x", a, o.Octets)
					}
					ndp.VerifyDADAuth(p.Payload, kbm, p.Src, p.Dst, o)
				}
			})
		}
		if m, reason := ndp.ParseNeighborAdvert(&p); reason == ndp.ReasonNone {
			if m.Target.IsMulticast() || m.Solicited && p.Dst.IsMulticast() {
				t.Fatalf("accepted %+v", m)
			}
			walk(t, p.Payload, m.Options, 24, func(o ndp.Option) { ndp.VerifyDADAuth(p.Payload, kbm, p.Src, p.Dst, o) })
		}
		if m, reason := ndp.ParseRouterSolicit(&p); reason == ndp.ReasonNone {
			walk(t, p.Payload, m.Options, 8, func(ndp.Option) {})
		}
		if m, reason := ndp.ParseRouterAdvert(&p); reason == ndp.ReasonNone {
			prefixes := m.Prefixes()
			for q, ok := prefixes.Next(); ok; q, ok = prefixes.Next() {
				if !q.Prefix.IsValid() || !q.Prefix.Contains(q.Address) && !q.Address.Is4In6() {
					t.Fatalf("prefix %+v", q)
				}
			}
			walk(t, p.Payload, m.Options, 16, func(o ndp.Option) {
				c, err := ndp.ParseCapability(o)
				if err == nil && len(c.PublicKey) > len(o.Octets)-4 {
					t.Fatalf("key of %d octets in an option of %d", len(c.PublicKey), len(o.Octets))
				}
			})
		}
		fuzzSecure(t, &p)
		if !bytes.Equal(raw, before) {
			t.Fatal("a Parse or Verify function wrote to the packet")
		}
	})
}

// fuzzSecure takes p as the messages that stand on Neighbour Discovery. What has been read, written and read again is the
// same.
func fuzzSecure(t *testing.T, p *ipv6.Packet) {
	if m, reason := ndp.ParseRedirect(p); reason == ndp.ReasonNone {
		if !p.Src.IsLinkLocalUnicast() || m.Destination.IsMulticast() {
			t.Fatalf("accepted %+v", m)
		}
		walk(t, p.Payload, m.Options, 40, func(ndp.Option) {})
	}
	if m, reason := ndp.ParsePathSolicit(p); reason == ndp.ReasonNone {
		walk(t, p.Payload, m.Options, 8, func(ndp.Option) {})
		if again := m.Append(nil, p.Src, p.Dst, p.Payload[8:]); m.Identifier == 0 || !bytes.Equal(again, p.Payload) {
			t.Fatalf("%x came back as %x", p.Payload, again)
		}
	}
	if m, reason := ndp.ParsePathAdvert(p); reason == ndp.ReasonNone {
		walk(t, p.Payload, m.Options, 12, func(ndp.Option) {})
		if again := m.Append(nil, p.Src, p.Dst); !bytes.Equal(again[4:10], p.Payload[4:10]) {
			t.Fatalf("%x came back as %x", p.Payload, again)
		}
	}
	if m, reason := ndp.ParseProxySolicit(p); reason == ndp.ReasonNone {
		walk(t, p.Payload, m.Options, 8, func(ndp.Option) {})
		again, reason := ndp.ParseProxySolicit(received(t, p.Src, p.Dst, m.Append(nil, p.Src, p.Dst)))
		m.Points.More = false
		if !m.Wildcard && again.Points != m.Points || again.Wildcard != m.Wildcard || again.SourceLink != m.SourceLink ||
			again.Identifier != m.Identifier || !bytes.Equal(again.KeyRequest.Octets, m.KeyRequest.Octets) || reason != ndp.ReasonNone {
			t.Fatalf("%+v came back as %+v, %v", m, again, reason)
		}
	}
	if m, reason := ndp.ParseProxyAdvert(p); reason == ndp.ReasonNone {
		walk(t, p.Payload, m.Options, 8, func(ndp.Option) {})
		again, reason := ndp.ParseProxyAdvert(received(t, p.Src, p.Dst, m.Append(nil, p.Src, p.Dst)))
		m.Tuples.More = false
		if again.Tuples != m.Tuples || again.SourceLink != m.SourceLink || again.Code != m.Code || again.Identifier != m.Identifier ||
			!bytes.Equal(again.KeyReply.Octets, m.KeyReply.Octets) || reason != ndp.ReasonNone {
			t.Fatalf("%+v came back as %+v, %v", m, again, reason)
		}
		for i := range m.Tuples.Len() {
			_ = m.Tuples.At(i).NetPrefix()
		}
	}
}

// walk calls see for each option and checks that they fill up the message without a gap, up to a signature.
func walk(t *testing.T, msg []byte, options ndp.Options, at int, see func(ndp.Option)) {
	t.Helper()
	signed := false
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if signed {
			t.Fatalf("option %+v behind the signature", o)
		}
		signed = o.Type == ndp.OptSignature
		if o.Offset != at || len(o.Octets) == 0 || len(o.Octets)%8 != 0 || !bytes.Equal(msg[at:at+len(o.Octets)], o.Octets) {
			t.Fatalf("option %+v at %d", o, at)
		}
		see(o)
		at += len(o.Octets)
	}
	if options.Err() != nil || at != len(msg) && !signed {
		t.Fatalf("walk ended at %d of %d: %v", at, len(msg), options.Err())
	}
}

// FuzzSPKI takes public keys: what is read is within the bounds, and written again is what was read.
func FuzzSPKI(f *testing.F) {
	spki := readVectors(f).LKE.SPKI
	f.Add([]byte(spki))
	f.Add([]byte(spki[:40]))
	for _, bits := range []int{1024, 2048, 4096} {
		b, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: modulus(bits), Exponent: 3})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(b, 0, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		key, length, err := ndp.ParseSPKI(b)
		if err != nil {
			return
		}
		if n := key.Bits(); n < ndp.MinKeyBits || n > ndp.MaxKeyBits || key.Exponent < 3 || length > len(b) {
			t.Fatalf("%d bits, exponent %d, %d of %d octets", n, key.Exponent, length, len(b))
		}
		again, err := ndp.MarshalSPKI(key)
		if err != nil || !bytes.Equal(again, b[:length]) {
			t.Fatalf("read %x, written %x, %v", b[:length], again, err)
		}
	})
}

// FuzzOptions walks over any octets.
func FuzzOptions(f *testing.F) {
	f.Add(unhex(f, prefixOption), 0)
	f.Add(unhex(f, "fa01 000000000000 fb00 000000000000"), 0)
	f.Add(make([]byte, 8), -1)
	f.Add(ndp.KeyRequest{AT: 1, PublicKey: readVectors(f).LKE.SPKI}.Append(nil), 0)
	f.Add(ndp.KeyReply{AT: 1, EncryptedKey: make([]byte, 128)}.Append(nil), 0)
	f.Add(unhex(f, "1404 00 02 00000000 1103 02 80 00000000 20010db800020000000000000000abcd"), 0)
	f.Add(ndp.NeighborAck{Status: 2, Address: ncoa}.Append(nil), 0)
	f.Add(ndp.TrustAnchor{NameType: 1, Name: unhex(f, "3000")}.Append(nil), 0)
	f.Add(ndp.CertificateOption(unhex(f, "30020500")), 0)
	f.Add(ndp.Signature{Octets: make([]byte, 128)}.Append(nil), 0)
	f.Add(unhex(f, "0d02 000000000000 00006553f100 8000"), 0)
	f.Fuzz(func(t *testing.T, msg []byte, offset int) {
		options := ndp.OptionsAt(msg, offset)
		for o, ok := options.Next(); ok; o, ok = options.Next() {
			_, _ = ndp.ParseCapability(o)
			_, _ = ndp.ParseDADAuth(o)
			fuzzOption(t, o)
			if len(o.Body()) != len(o.Octets)-2 {
				t.Fatalf("option %+v", o)
			}
		}
	})
}

// fuzzOption takes o as each of the options: what is read is written again as it was, its padding and reserved fields
// apart.
func fuzzOption(t *testing.T, o ndp.Option) {
	same := func(b []byte, head, end int) {
		t.Helper()
		if len(b) > len(o.Octets) || !bytes.Equal(b[head:end], o.Octets[head:end]) {
			t.Fatalf("%x came back as %x", o.Octets, b)
		}
	}
	if k, err := ndp.ParseKeyRequest(o); err == nil {
		same(k.Append(nil), 4, 4+len(k.PublicKey))
	}
	if k, err := ndp.ParseKeyReply(o); err == nil {
		same(k.Append(nil), 4, 6+len(k.EncryptedKey))
	}
	if a, err := ndp.ParseNeighborAck(o); err == nil && len(o.Octets) < 32 {
		same(a.Append(nil), 2, 4)
		same(a.Append(nil), 8, len(o.Octets))
	}
	if a, err := ndp.ParseTrustAnchor(o); err == nil {
		same(a.Append(nil), 4, 4+len(a.Name))
	}
	if der, err := ndp.ParseCertificate(o); err == nil {
		same(ndp.CertificateOption(der), 4, 4+len(der))
	}
	if s, err := ndp.ParseSignature(o); err == nil {
		same(s.Append(nil), 4, len(o.Octets))
	}
	if at, err := ndp.ParseTimestamp(o); err == nil {
		same(ndp.TimestampOption(at), 8, 16)
	}
}
