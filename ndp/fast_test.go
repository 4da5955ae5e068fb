package ndp_test

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

var (
	point1 = ipv6.LinkAddr{0x02, 0, 0, 0, 0, 0xa1}
	point2 = ipv6.LinkAddr{0x02, 0, 0, 0, 0, 0xa2}
	point3 = ipv6.LinkAddr{0x02, 0, 0, 0, 0, 0xa3}
	nar    = netip.MustParseAddr("2001:db8:2::1")
	ncoa   = netip.MustParseAddr("2001:db8:2::abcd")
	narHW  = ipv6.LinkAddr{0x02, 0, 0, 0, 0, 0xb1}
)

func points(at ...ipv6.LinkAddr) (l ndp.PointList) {
	for _, a := range at {
		l.Add(a)
	}
	return l
}

func tuples(at ...ndp.ProxyTuple) (l ndp.TupleList) {
	for _, a := range at {
		l.Add(a)
	}
	return l
}

// RFC 5568 section 6.1.1, octet for octet.
func TestProxySolicitOctets(t *testing.T) {
	request := ndp.Option{Octets: ndp.KeyRequest{AT: 1, PublicKey: unhex(t, "30020500")}.Append(nil)}
	for _, tt := range []struct {
		name string
		m    ndp.ProxySolicit
		want string
	}{
		{"two access points", ndp.ProxySolicit{Identifier: 0x1234, SourceLink: hw, Points: points(point1, point2)},
			"9a00 0000 02 00 1234 1302 04 020102030405 00000000000000 1302 01 0200000000a1 00000000000000 1302 01 0200000000a2 00000000000000"},
		{"wildcard, with which no other access point may be named", ndp.ProxySolicit{Identifier: 1, Wildcard: true, Points: points(point1)},
			"9a00 0000 02 00 0001 1302 00 000000000000 00000000000000"},
		{"with a key request (RFC 5269)", ndp.ProxySolicit{Identifier: 1, Points: points(point1), KeyRequest: request, HasKeyRequest: true},
			"9a00 0000 02 00 0001 1302 01 0200000000a1 00000000000000 1b01 00 10 30020500"},
	} {
		nonce := ndp.NonceOption([]byte("nonce1"))
		b := tt.m.Append([]byte("abc"), node, linkLocal, nonce)
		got := bytes.Clone(b[3:])
		copy(got[2:4], []byte{0, 0})
		same(t, got, append(unhex(t, tt.want), nonce...))

		m, reason := ndp.ParseProxySolicit(received(t, node, linkLocal, b[3:]))
		if reason != ndp.ReasonNone || string(b[:3]) != "abc" {
			t.Errorf("%s: %v", tt.name, reason)
		}
		want := tt.m
		if want.Wildcard {
			want.Points = ndp.PointList{}
		}
		if m.HasKeyRequest != want.HasKeyRequest || !bytes.Equal(m.KeyRequest.Octets, want.KeyRequest.Octets) || string(m.Nonce) != "nonce1" {
			t.Errorf("%s: key request %v %x, nonce %q", tt.name, m.HasKeyRequest, m.KeyRequest.Octets, m.Nonce)
		}
		m.KeyRequest, m.Nonce, m.Options, want.KeyRequest = ndp.Option{}, nil, ndp.Options{}, ndp.Option{}
		if !reflect.DeepEqual(m, want) {
			t.Errorf("%s: read %+v", tt.name, m)
		}
	}
}

// RFC 5568 section 6.1.2: the options come in the order that it gives, octet for octet.
func TestProxyAdvertOctets(t *testing.T) {
	full := ndp.ProxyTuple{
		Code: ndp.PointNew, Point: point1, RouterLink: narHW, Router: nar, RouterBits: 48,
		Prefix: netip.MustParsePrefix("2001:db8:2:3::/64"), CareOf: ncoa,
	}
	reply := ndp.Option{Octets: ndp.KeyReply{Lifetime: 0x0102, EncryptedKey: []byte{9, 8}}.Append(nil)}
	want := ndp.ProxyAdvert{
		Code: ndp.ProxySubset, Identifier: 0x1234, SourceLink: hw,
		Tuples: tuples(full, ndp.ProxyTuple{Code: ndp.PointCurrent, Point: point2}, ndp.ProxyTuple{Code: ndp.PointUnknown, Point: point3}),

		KeyReply: reply, HasKeyReply: true,
	}
	nonce := ndp.NonceOption([]byte("nonce1"))
	b := want.Append([]byte("abc"), linkLocal, node, nonce)[3:]
	got := bytes.Clone(b)
	copy(got[2:4], []byte{0, 0})
	same(t, got, append(unhex(t, "9a03 0000 03 00 1234",
		"1302 04 020102030405 00000000000000",
		"1302 01 0200000000a1 00000000000000",
		"1302 03 0200000000b1 00000000000000",
		"1103 03 30 00000000 20010db8000200000000000000000001",
		"1103 04 40 00000000 20010db8000200030000000000000000",
		"1103 02 80 00000000 20010db800020000000000000000abcd",
		"1302 05 0200000000a2 00000000000000",
		"1302 06 0200000000a3 00000000000000",
		"1c01 00 00 0102 0908"), nonce...))
	m, reason := ndp.ParseProxyAdvert(received(t, linkLocal, node, b))
	if reason != ndp.ReasonNone || !m.HasKeyReply || !bytes.Equal(m.KeyReply.Octets, reply.Octets) || string(m.Nonce) != "nonce1" {
		t.Fatalf("%v: key reply %x, nonce %q", reason, m.KeyReply.Octets, m.Nonce)
	}
	m.KeyReply, m.Nonce, m.Options, want.KeyReply = ndp.Option{}, nil, ndp.Options{}, ndp.Option{}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("read\n%+v\nwant\n%+v", m, want)
	}
}

// Each code from 0 to 5 is read.
func TestProxyAdvertCodes(t *testing.T) {
	for code := range 256 {
		b := ndp.ProxyAdvert{Code: uint8(code)}.Append(nil, linkLocal, node)
		m, reason := ndp.ParseProxyAdvert(received(t, linkLocal, node, b))
		if code <= ndp.ProxyDHCP && (reason != ndp.ReasonNone || int(m.Code) != code) || code > ndp.ProxyDHCP && reason != ndp.ReasonCode {
			t.Errorf("code %d: %d, %v", code, m.Code, reason)
		}
	}
}

// The prefix on the new link is the router's own unless another is said (RFC 5568 section 6.1.2).
func TestNetPrefix(t *testing.T) {
	other := netip.MustParsePrefix("2001:db8:9::/48")
	for _, tt := range []struct {
		tuple ndp.ProxyTuple
		want  netip.Prefix
	}{
		{ndp.ProxyTuple{Router: nar, RouterBits: 64}, netip.MustParsePrefix("2001:db8:2::/64")},
		{ndp.ProxyTuple{Router: nar, RouterBits: 64, Prefix: other}, other},
		{ndp.ProxyTuple{Router: nar}, netip.Prefix{}},
		{ndp.ProxyTuple{Router: nar, RouterBits: 129}, netip.Prefix{}},
		{ndp.ProxyTuple{RouterBits: 64}, netip.Prefix{}},
	} {
		if got := tt.tuple.NetPrefix(); got != tt.want {
			t.Errorf("%+v: %v", tt.tuple, got)
		}
	}
}

// RFC 5568 sections 6.1.1 and 6.1.2: addresses that the messages can have.
func TestProxyAddresses(t *testing.T) {
	for _, tt := range []struct {
		src, dst        netip.Addr
		solicit, advert ndp.Reason
	}{
		{node, linkLocal, ndp.ReasonNone, ndp.ReasonSource},
		{linkLocal, node, ndp.ReasonNone, ndp.ReasonNone},
		{linkLocal, ipv6.AllRouters(), ndp.ReasonNone, ndp.ReasonDestination},
		{linkLocal, ipv6.AllNodes(), ndp.ReasonDestination, ndp.ReasonDestination},
		{linkLocal, group, ndp.ReasonDestination, ndp.ReasonDestination},
		{none, linkLocal, ndp.ReasonSource, ndp.ReasonSource},
		{group, linkLocal, ndp.ReasonSource, ndp.ReasonSource},
	} {
		b := ndp.ProxySolicit{Identifier: 1}.Append(nil, tt.src, tt.dst)
		if _, got := ndp.ParseProxySolicit(received(t, tt.src, tt.dst, b)); got != tt.solicit {
			t.Errorf("solicitation %v to %v: %v", tt.src, tt.dst, got)
		}
		b = ndp.ProxyAdvert{}.Append(nil, tt.src, tt.dst)
		if _, got := ndp.ParseProxyAdvert(received(t, tt.src, tt.dst, b)); got != tt.advert {
			t.Errorf("advertisement %v to %v: %v", tt.src, tt.dst, got)
		}
	}
}

// The subtype, not the code, tells the messages of type 154 apart.
func TestSubtype(t *testing.T) {
	for subtype := range 256 {
		b := ndp.ProxyAdvert{}.Append(nil, linkLocal, node)
		b[4] = uint8(subtype)
		ndp.FixChecksum(b, linkLocal, node)
		p := received(t, linkLocal, node, b)
		_, solicit := ndp.ParseProxySolicit(p)
		_, advert := ndp.ParseProxyAdvert(p)
		if (solicit == ndp.ReasonNone) != (subtype == ndp.SubtypeProxySolicit) || solicit != ndp.ReasonNone && solicit != ndp.ReasonType {
			t.Errorf("subtype %d as a solicitation: %v", subtype, solicit)
		}
		if (advert == ndp.ReasonNone) != (subtype == ndp.SubtypeProxyAdvert) || advert != ndp.ReasonNone && advert != ndp.ReasonType {
			t.Errorf("subtype %d as an advertisement: %v", subtype, advert)
		}
	}
}

// Options that cannot be taken as they are: skipped, and never taken for another's.
func TestProxyOddOptions(t *testing.T) {
	const (
		ap      = "1302 01 0200000000a1 00000000000000"
		long    = "1303 01 0200000000000001 00000000000000000000000000" // an 8-octet identifier, as of IEEE 802.15.4
		short   = "1301 01 0200000000"
		unknown = "1302 09 0200000000ee 00000000000000"
		lla     = "1302 03 0200000000b1 00000000000000"
		other   = "1302 03 0200000000ff 00000000000000"
		ip      = "1103 03 40 00000000 20010db8000200000000000000000001"
		ip2     = "1103 03 40 00000000 20010db800020000000000000000ffff"
	)
	base := ndp.ProxyTuple{Code: ndp.PointNew, Point: point1}
	for _, tt := range []struct {
		name    string
		options []string
		want    []ndp.ProxyTuple
		more    bool
	}{
		{"router before any access point", []string{lla, ip, ap}, []ndp.ProxyTuple{base}, false},
		{"router of an access point with another identifier", []string{ap, long, lla, ip}, []ndp.ProxyTuple{base}, true},
		{"identifier too short", []string{ap, short, ip}, []ndp.ProxyTuple{base}, true},
		{"identifier zero", []string{"1302 01 000000000000 00000000000000", ip}, nil, true},
		{"unknown code of a link-layer address", []string{ap, unknown, lla}, []ndp.ProxyTuple{{Code: 1, Point: point1, RouterLink: narHW}}, false},
		{"of repeated parts the first counts", []string{ap, lla, other, ip, ip2}, []ndp.ProxyTuple{{Code: 1, Point: point1, RouterLink: narHW, Router: nar, RouterBits: 64}}, false},
		{"prefix length 129", []string{ap, "1103 03 81 00000000 20010db8000200000000000000000001"}, []ndp.ProxyTuple{base}, false},
		{"address option of 16 octets", []string{ap, "1102 03 40 00000000 20010db800020000"}, []ndp.ProxyTuple{base}, false},
		{"address option of 32 octets", []string{ap, "1104 03 40 00000000 20010db8000200000000000000000001 0000000000000000"}, []ndp.ProxyTuple{base}, false},
		{"router multicast", []string{ap, "1103 03 40 00000000 ff020000000000000000000000000001"}, []ndp.ProxyTuple{base}, false},
		{"router ::", []string{ap, "1103 03 40 00000000 00000000000000000000000000000000"}, []ndp.ProxyTuple{base}, false},
		{"care-of address ::1", []string{ap, "1103 02 80 00000000 00000000000000000000000000000001"}, []ndp.ProxyTuple{base}, false},
		{"care-of address of IPv4", []string{ap, "1103 02 80 00000000 00000000000000000000ffffc0000201"}, []ndp.ProxyTuple{base}, false},
		{"old care-of address", []string{ap, "1103 01 80 00000000 20010db800020000000000000000abcd"}, []ndp.ProxyTuple{base}, false},
		{"bits behind the prefix", []string{ap, "1103 04 31 00000000 20010db80002ffffffffffffffffffff"},
			[]ndp.ProxyTuple{{Code: 1, Point: point1, Prefix: netip.MustParsePrefix("2001:db8:2:8000::/49")}}, false},
		{"padding and reserved octets that are not zero", []string{"1302 01 0200000000a1 ffffffffffffff", "1103 03 40 ffffffff 20010db8000200000000000000000001"},
			[]ndp.ProxyTuple{{Code: 1, Point: point1, Router: nar, RouterBits: 64}}, false},
	} {
		b := ndp.ProxyAdvert{}.Append(nil, linkLocal, node, unhex(t, tt.options...))
		p := received(t, linkLocal, node, b)
		m, reason := ndp.ParseProxyAdvert(p)
		want := tuples(tt.want...)
		want.More = tt.more
		if reason != ndp.ReasonNone || m.Tuples != want {
			t.Errorf("%s: %v\n%+v\nwant\n%+v", tt.name, reason, m.Tuples, want)
		}
		if allocs := testing.AllocsPerRun(5, func() { ndp.ParseProxyAdvert(p) }); allocs != 0 {
			t.Errorf("%s: %v allocations", tt.name, allocs)
		}
	}

	b := ndp.ProxySolicit{}.Append(nil, node, linkLocal, unhex(t, long, ap, short, unknown,
		"1302 04 0200000000c1 00000000000000", "1302 04 0200000000c2 00000000000000", "1b01 00 00 30020500", "1b01 00 10 30020500"),
		ndp.NonceOption([]byte("nonce1")), ndp.NonceOption([]byte("nonce2")))
	m, reason := ndp.ParseProxySolicit(received(t, node, linkLocal, b))
	want := points(point1)
	want.More = true
	if reason != ndp.ReasonNone || m.Points != want || m.Wildcard || m.SourceLink != (ipv6.LinkAddr{2, 0, 0, 0, 0, 0xc1}) ||
		m.KeyRequest.Octets[3] != 0 || string(m.Nonce) != "nonce1" {
		t.Errorf("solicitation: %+v, %v", m, reason)
	}
	b = ndp.ProxyAdvert{}.Append(nil, linkLocal, node, unhex(t, "1302 04 0200000000c1 00000000000000", "1302 04 0200000000c2 00000000000000",
		"1c01 01 00 0001 0203", "1c01 00 00 0001 0203"), ndp.NonceOption([]byte("nonce1")), ndp.NonceOption([]byte("nonce2")))
	a, reason := ndp.ParseProxyAdvert(received(t, linkLocal, node, b))
	if reason != ndp.ReasonNone || a.SourceLink != (ipv6.LinkAddr{2, 0, 0, 0, 0, 0xc1}) || a.KeyReply.Octets[2] != 1 || string(a.Nonce) != "nonce1" {
		t.Errorf("advertisement: %+v, %v", a, reason)
	}
	for _, wildcard := range []string{"1301 00 0000000000", "1303 00 ffffffffff ffffffffffffffff ffffffffffffffff"} {
		b := ndp.ProxySolicit{}.Append(nil, node, linkLocal, unhex(t, wildcard))
		if m, reason := ndp.ParseProxySolicit(received(t, node, linkLocal, b)); reason != ndp.ReasonNone || !m.Wildcard || m.Points.Len() != 0 {
			t.Errorf("wildcard %s: %+v, %v", wildcard, m, reason)
		}
	}
}

// More access points than there is room for: the first ones are kept, More tells of the others, and what is said of the
// others is not said of the last one kept.
func TestProxyManyPoints(t *testing.T) {
	var solicit ndp.ProxySolicit
	var advert ndp.ProxyAdvert
	var options []byte
	for i := range ndp.MaxPoints + 3 {
		a := ipv6.LinkAddr{2, 0, 0, 0, 1, uint8(i)}
		if added := solicit.Points.Add(a); added != (i < ndp.MaxPoints) || advert.Tuples.Add(ndp.ProxyTuple{Code: 1, Point: a}) != added {
			t.Errorf("access point %d: %v", i, added)
		}
		options = append(options, 19, 2, 1, a[0], a[1], a[2], a[3], a[4], a[5], 0, 0, 0, 0, 0, 0, 0)
		if i >= ndp.MaxPoints {
			options = append(options, unhex(t, "1103 03 40 00000000 20010db8000200000000000000000001")...)
		}
	}
	m, reason := ndp.ParseProxySolicit(received(t, node, linkLocal, ndp.ProxySolicit{}.Append(nil, node, linkLocal, options)))
	if reason != ndp.ReasonNone || m.Points != solicit.Points || !m.Points.More || m.Points.Len() != ndp.MaxPoints {
		t.Errorf("solicitation: %+v, %v", m.Points, reason)
	}
	a, reason := ndp.ParseProxyAdvert(received(t, linkLocal, node, ndp.ProxyAdvert{}.Append(nil, linkLocal, node, options)))
	if reason != ndp.ReasonNone || a.Tuples != advert.Tuples || !a.Tuples.More || a.Tuples.Len() != ndp.MaxPoints {
		t.Errorf("advertisement: %+v, %v", a.Tuples, reason)
	}
	for _, i := range []int{-1, ndp.MaxPoints} {
		if m.Points.At(i) != (ipv6.LinkAddr{}) || a.Tuples.At(i) != (ndp.ProxyTuple{}) {
			t.Errorf("there is something at %d", i)
		}
	}
}

// RFC 5568 section 6.4.6: with no address, with an address behind the reserved field, and with an IP Address option there.
func TestNeighborAck(t *testing.T) {
	for _, tt := range []struct {
		name, octets string
		want         ndp.NeighborAck
		ok           bool
	}{
		{"no address", "1401 00 01 00000000", ndp.NeighborAck{Status: ndp.AckConfigure}, true},
		{"unrecognized", "1401 00 80 00000000", ndp.NeighborAck{Status: ndp.AckUnknownLink}, true},
		{"reserved field not zero", "1401 00 03 ffffffff", ndp.NeighborAck{Status: ndp.AckUseRouter}, true},
		{"address", "1403 00 02 00000000 20010db800020000000000000000abcd", ndp.NeighborAck{Status: ndp.AckUseSupplied, Address: ncoa}, true},
		{"option", "1404 00 02 00000000 1103 02 80 00000000 20010db800020000000000000000abcd", ndp.NeighborAck{Status: 2, Address: ncoa}, true},
		{"another option", "1404 00 02 00000000 1203 02 80 00000000 20010db800020000000000000000abcd", ndp.NeighborAck{}, false},
		{"option of another length", "1404 00 02 00000000 1102 02 80 00000000 20010db800020000000000000000abcd", ndp.NeighborAck{}, false},
		{"prefix length 129", "1404 00 02 00000000 1103 02 81 00000000 20010db800020000000000000000abcd", ndp.NeighborAck{}, false},
		{"length 2", "1402 00 02 00000000 20010db800020000", ndp.NeighborAck{}, false},
		{"code 1", "1401 01 01 00000000", ndp.NeighborAck{}, false},
		{"multicast", "1403 00 02 00000000 ff020000000000000000000000000001", ndp.NeighborAck{}, false},
		{"::", "1403 00 02 00000000 00000000000000000000000000000000", ndp.NeighborAck{}, false},
		{"nothing", "", ndp.NeighborAck{}, false},
	} {
		b := unhex(t, tt.octets)
		got, err := ndp.ParseNeighborAck(ndp.Option{Type: ndp.OptNeighborAck, Octets: b})
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
		if tt.ok && len(b) != 32 && b[4] == 0 {
			same(t, got.Append([]byte{}), b)
		}
	}
}
