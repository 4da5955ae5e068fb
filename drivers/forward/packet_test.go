package forward

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
)

var (
	src = netip.MustParseAddr("2001:db8:c::2")
	dst = netip.MustParseAddr("2001:db8:1::100")
)

// wrap puts headers, given as next-header number and octets after it, before a payload.
func wrap(payload []byte, proto uint8, headers ...[]byte) []byte {
	for i := len(headers) - 1; i >= 0; i-- {
		h := bytes.Clone(headers[i])
		kind := h[0]
		h[0] = proto
		proto, payload = kind, append(h, payload...)
	}
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 64}, proto, payload)
}

func TestLimitIsFoundWhereItCounts(t *testing.T) {
	limited := func(value byte) []byte { return []byte{ipv6.ProtoDestination, 0, optEncapLimit, 1, value, 1, 1, 0} }
	hop := []byte{ipv6.ProtoHopByHop, 0, 1, 4, 0, 0, 0, 0}
	pads := []byte{ipv6.ProtoDestination, 1, 0, 0, 0, 1, 2, 0, 0, optEncapLimit, 1, 7, 1, 2, 0, 0}
	cut := []byte{ipv6.ProtoDestination, 0, 1, 2, 0, 0, optEncapLimit, 1}
	wrong := []byte{ipv6.ProtoDestination, 0, optEncapLimit, 2, 5, 5, 1, 0}
	inner := wrap(nil, ipv6.ProtoNoNext)
	for _, c := range []struct {
		name   string
		packet []byte
		value  uint8
		offset int
		deep   int
	}{
		{"none", wrap(nil, ipv6.ProtoNoNext), 0, 0, 0},
		{"first header", wrap(nil, ipv6.ProtoNoNext, limited(3)), 3, 44, 0},
		{"behind a hop-by-hop header", wrap(nil, ipv6.ProtoNoNext, hop, limited(3)), 3, 52, 0},
		{"behind padding of both kinds", wrap(nil, ipv6.ProtoNoNext, pads), 7, 40 + 11, 0},
		{"the first of two counts", wrap(nil, ipv6.ProtoNoNext, limited(3), limited(1)), 3, 44, 0},
		{"an option that is cut off", wrap(nil, ipv6.ProtoNoNext, cut), 0, 0, 0},
		{"an option of another length", wrap(nil, ipv6.ProtoNoNext, wrong), 0, 0, 0},
		{"of a tunnel packet", wrap(inner, ipv6.ProtoIPv6, limited(0)), 0, 44, 1},
		{"only of the packet in it", wrap(wrap(nil, ipv6.ProtoNoNext, limited(3)), ipv6.ProtoIPv6), 0, 0, 1},
		{"behind an upper layer it is data", wrap(limited(3), ipv6.ProtoICMPv6), 0, 0, 0},
		{"a header longer than the packet", wrap(nil, ipv6.ProtoNoNext, []byte{ipv6.ProtoDestination, 200, optEncapLimit, 1, 3, 1, 1, 0}), 0, 0, 0},
	} {
		value, offset, deep := limit(c.packet)
		if value != c.value || offset != c.offset || deep != c.deep {
			t.Errorf("%s: limit %d at %d, %d deep, want %d at %d, %d deep", c.name, value, offset, deep, c.value, c.offset, c.deep)
		}
	}
}

func TestRoutable(t *testing.T) {
	for text, want := range map[string]bool{
		"2001:db8::1": true, "fd00::1": true, "64:ff9b::1": true, "febf::1": false, "fec0::1": true,
		"::": false, "::1": false, "::ffff:192.0.2.1": false, "::192.0.2.1": false, "fe80::1": false, "ff02::1": false, "ff0e::1": false,
	} {
		a := netip.MustParseAddr(text).As16()
		if got := routable(&a); got != want {
			t.Errorf("routable(%s) = %v, want %v", text, got, want)
		}
	}
}

// TestDecapsulateECN: RFC 6040 section 4.2, figure 4.
func TestDecapsulateECN(t *testing.T) {
	const notECT, ect1, ect0, ce = 0, 1, 2, 3
	const dropped = -1
	for inner, row := range [4][4]int{
		// outer:  notECT  ect1    ect0    ce
		notECT: {notECT, notECT, notECT, dropped},
		ect1:   {ect1, ect1, ect1, ce},
		ect0:   {ect0, ect1, ect0, ce},
		ce:     {ce, ce, ce, ce},
	} {
		for outer, want := range row {
			p := udpClass(src, dst, 64, 0xb8|uint8(inner), "x")
			ok := decapsulateECN(0x28|uint8(outer), p)
			got := int(trafficClass(p) & 3)
			if !ok {
				got = dropped
			}
			if got != want || trafficClass(p)&^3 != 0xb8 {
				t.Errorf("inner %d, outer %d: %d with class %#x, want %d with the inner class", inner, outer, got, trafficClass(p), want)
			}
		}
	}
}

func TestReportsAreNotSentAboutEverything(t *testing.T) {
	icmp := func(typ byte) []byte { return []byte{typ, 0, 0, 0, 0, 0, 0, 0} }
	fragment := func(offset byte) []byte { return []byte{ipv6.ProtoFragment, 0, 0, offset, 0, 0, 0, 1} }
	hop := []byte{ipv6.ProtoHopByHop, 0, 1, 4, 0, 0, 0, 0}
	from := func(a string) []byte {
		p := udp(netip.MustParseAddr(a), dst, 64, "x")
		return p
	}
	for _, c := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"UDP", udp(src, dst, 64, "x"), true},
		{"echo request", wrap(icmp(128), ipv6.ProtoICMPv6), true},
		{"an error", wrap(icmp(icmpUnreachable), ipv6.ProtoICMPv6), false},
		{"an error of a type that nobody knows", wrap(icmp(127), ipv6.ProtoICMPv6), false},
		{"an error behind another header", wrap(icmp(icmpPacketTooBig), ipv6.ProtoICMPv6, hop), false},
		{"an error's first fragment", wrap(icmp(icmpPacketTooBig), ipv6.ProtoICMPv6, fragment(1)), false},
		{"a later fragment", wrap(icmp(icmpPacketTooBig), ipv6.ProtoICMPv6, fragment(8)), true},
		{"a redirect", wrap(icmp(icmpRedirect), ipv6.ProtoICMPv6), false},
		{"ICMPv6 without its type", wrap(nil, ipv6.ProtoICMPv6), false},
		{"from a group", from("ff02::1"), false},
		{"from nobody", from("::"), false},
		{"from loopback", from("::1"), false},
		{"from a link", from("fe80::1"), false},
		{"to a group", udp(src, netip.MustParseAddr("ff0e::1"), 64, "x"), false},
		{"headers without end", wrap(nil, ipv6.ProtoNoNext, hop, hop, hop, hop, hop, hop, hop, hop, hop), false},
		{"a header that is cut off", wrap(nil, ipv6.ProtoHopByHop), false},
	} {
		if got := mayReport(c.packet); got != c.want {
			t.Errorf("%s: mayReport = %v, want %v", c.name, got, c.want)
		}
	}
}

// TestReportsAreLimited: RFC 4443 section 2.4 (f).
func TestReportsAreLimited(t *testing.T) {
	const second = int64(1e9)
	var l limiter
	allowed := func(from, to int64, every int64, dst func(i int) addr) (count int) {
		for now, i := from, 0; now < to; now, i = now+every, i+1 {
			a := dst(i)
			if l.allow(&a, now) {
				count++
			}
		}
		return count
	}
	one := func(int) addr { return src.As16() }
	if got := allowed(0, second, 1e6, one); got < 10 || got > 15 {
		t.Errorf("%d errors a second to one address, want 10 and a burst", got)
	}
	many := func(i int) addr {
		a := dst.As16()
		binary.BigEndian.PutUint32(a[12:], uint32(i)*2654435761)
		return a
	}
	if got := allowed(10*second, 11*second, 1e5, many); got < 200 || got > 250 {
		t.Errorf("%d errors a second to 10,000 addresses, want 200 and a burst", got)
	}
	if got := allowed(20*second, 30*second, second, one); got != 10 {
		t.Errorf("%d of ten errors, one a second, were allowed", got)
	}
}

func TestReportHoldsWhatFits(t *testing.T) {
	for _, size := range []int{48, 1232, 1233, 9000} {
		about := udp(src, dst, 64, string(make([]byte, size-48)))
		from := netip.MustParseAddr("2001:db8:1::1")
		p := appendReport(nil, from.As16(), report{Type: icmpPacketTooBig, Value: 1360}, about)
		if !whole(p) {
			t.Fatalf("about %d octets: the report is no packet", size)
		}
		checkReport(t, p, from, src, 0, 1360, about)
	}
}

func TestInboundAndOutbound(t *testing.T) {
	router, careOf, other := netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:2::100"), netip.MustParseAddr("2001:db8:3::3")
	b := Binding{Home: dst, Router: router, CareOf: careOf}
	for _, c := range []struct {
		name         string
		side         side
		outerSrc     netip.Addr // not valid: outbound
		outerDst     netip.Addr
		innerSrc     netip.Addr
		innerDst     netip.Addr
		want         reason
		local, peerA netip.Addr
	}{
		{"router: to the home address", routerSide, netip.Addr{}, netip.Addr{}, src, dst, passed, router, careOf},
		{"router: to another", routerSide, netip.Addr{}, netip.Addr{}, src, other, noBinding, netip.Addr{}, netip.Addr{}},
		{"router: from itself to itself", routerSide, netip.Addr{}, netip.Addr{}, dst, dst, loops, netip.Addr{}, netip.Addr{}},
		{"node: from the home address", nodeSide, netip.Addr{}, netip.Addr{}, dst, src, passed, careOf, router},
		{"node: to its router", nodeSide, netip.Addr{}, netip.Addr{}, dst, router, passed, careOf, router},
		{"node: from another", nodeSide, netip.Addr{}, netip.Addr{}, src, dst, noBinding, netip.Addr{}, netip.Addr{}},
		{"node: for the home address", nodeSide, router, careOf, src, dst, passed, netip.Addr{}, netip.Addr{}},
		{"node: for another address", nodeSide, router, careOf, src, careOf, noBinding, netip.Addr{}, netip.Addr{}},
		{"node: from another router", nodeSide, other, careOf, src, dst, wrongOuter, netip.Addr{}, netip.Addr{}},
		{"node: to another address of it", nodeSide, router, other, src, dst, wrongOuter, netip.Addr{}, netip.Addr{}},
		{"node: from a link", nodeSide, router, careOf, netip.MustParseAddr("fe80::1"), dst, badScope, netip.Addr{}, netip.Addr{}},
	} {
		tab := newTable(c.side)
		tab.set(b, 1460)
		p := udp(c.innerSrc, c.innerDst, 64, "x")
		if c.outerSrc.IsValid() {
			from, to := addr(c.outerSrc.As16()), addr(c.outerDst.As16())
			if got := tab.inbound(&from, &to, p); got != c.want {
				t.Errorf("%s: %s, want %s", c.name, reasonNames[got], reasonNames[c.want])
			}
			continue
		}
		e, got := tab.outbound(p)
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, reasonNames[got], reasonNames[c.want])
		}
		if got == passed && (e.local != c.local.As16() || e.remote != c.peerA.As16()) {
			t.Errorf("%s: from %x to %x", c.name, e.local, e.remote)
		}
	}
}

// tcp builds a TCP segment whose checksum is left to a network card that is not there.
func tcp(flags byte, seq uint32, data []byte) []byte {
	b := make([]byte, tcpMinLen+12, tcpMinLen+12+len(data))
	binary.BigEndian.PutUint16(b[0:], 4000)
	binary.BigEndian.PutUint16(b[2:], 80)
	binary.BigEndian.PutUint32(b[4:], seq)
	b[12], b[13] = (tcpMinLen+12)/4<<4, flags
	copy(b[tcpMinLen:], []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}) // timestamps
	b = append(b, data...)
	p := ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 64}, protoTCP, b)
	binary.BigEndian.PutUint16(p[headerLen+tcpChecksum:], fold(pseudoSum(p, len(b), protoTCP)))
	return p
}

func checksumOK(p []byte) bool {
	return ipv6.Checksum(netip.AddrFrom16(source(p)), netip.AddrFrom16(destination(p)), p[6], p[headerLen:]) == 0
}

func TestUnfinishedChecksumsAreFinished(t *testing.T) {
	p := tcp(0x18, 1, []byte("data"))
	proto, at, ok := unfinished(p)
	if !ok || proto != protoTCP || at != headerLen {
		t.Fatalf("unfinished = %d, %d, %v", proto, at, ok)
	}
	finish(p, at, proto)
	if !checksumOK(p) {
		t.Error("the checksum is wrong")
	}
	if _, _, ok := unfinished(p); ok {
		t.Error("a finished checksum is called unfinished")
	}

	u := udp(src, dst, 64, "text")
	if _, _, ok := unfinished(u); ok {
		t.Error("a right checksum is called unfinished")
	}
	u[headerLen+udpChecksum]++
	if _, _, ok := unfinished(u); ok {
		t.Error("a wrong checksum is called unfinished: it would be made right")
	}
	binary.BigEndian.PutUint16(u[headerLen+udpChecksum:], fold(pseudoSum(u, len(u)-headerLen, protoUDP)))
	proto, at, ok = unfinished(u)
	if !ok || proto != protoUDP {
		t.Fatalf("unfinished = %d, %v", proto, ok)
	}
	finish(u, at, proto)
	if !checksumOK(u) {
		t.Error("the checksum is wrong")
	}
	if _, _, ok := unfinished(wrap([]byte{128, 0, 0, 0, 0, 0, 0, 0}, ipv6.ProtoICMPv6)); ok {
		t.Error("ICMPv6 is called unfinished")
	}
}

func TestMergedSegmentsAreCutAgain(t *testing.T) {
	data := make([]byte, 5000)
	for i := range data {
		data[i] = byte(i)
	}
	p := tcp(tcpFIN|tcpPSH|tcpCWR|0x10, 0xfffffff0, data)
	var got []byte
	var flags []byte
	seq := uint32(0xfffffff0)
	ok := segments(p, headerLen, minMTU, make([]byte, minMTU), func(s []byte) {
		if !whole(s) || len(s) > minMTU || !checksumOK(s) {
			t.Errorf("segment of %d octets: whole %v, checksum right %v", len(s), whole(s), checksumOK(s))
		}
		if n := binary.BigEndian.Uint32(s[headerLen+4:]); n != seq {
			t.Errorf("sequence number %d, want %d", n, seq)
		}
		if !bytes.Equal(s[headerLen+tcpMinLen:headerLen+tcpMinLen+12], p[headerLen+tcpMinLen:headerLen+tcpMinLen+12]) {
			t.Error("the options are lost")
		}
		flags = append(flags, s[headerLen+13])
		got = append(got, s[headerLen+tcpMinLen+12:]...)
		seq += uint32(len(s) - headerLen - tcpMinLen - 12)
	})
	if !ok || !bytes.Equal(got, data) {
		t.Errorf("ok %v, %d octets of data, want the %d", ok, len(got), len(data))
	}
	if want := []byte{0x10 | tcpCWR, 0x10, 0x10, 0x10, 0x10 | tcpFIN | tcpPSH}; !bytes.Equal(flags, want) {
		t.Errorf("flags %x, want %x", flags, want)
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(udp(src, dst, 64, "text"))
	f.Add(tcp(0x18, 1, make([]byte, 3000)))
	f.Add(tunnelled(src, dst, 3, udp(src, dst, 64, "text")))
	f.Add(wrap([]byte{1, 0, 0, 0}, ipv6.ProtoICMPv6, []byte{ipv6.ProtoHopByHop, 0, 1, 4, 0, 0, 0, 0}))
	scratch, out := make([]byte, minMTU), make([]byte, 0, minMTU)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerLen {
			mayReport(b)
			if p := appendReport(out, addr{1}, report{Type: icmpUnreachable}, b); !whole(p) || len(p) > minMTU {
				t.Fatalf("report of %d octets", len(p))
			}
		}
		if !whole(b) {
			return
		}
		value, offset, deep := limit(b)
		if offset >= len(b) || offset > 0 && b[offset] != value || deep > maxNesting+1 {
			t.Fatalf("limit %d at %d of %d octets, %d deep", value, offset, len(b), deep)
		}
		proto, at, ok := unfinished(b)
		if !ok {
			return
		}
		if proto == protoTCP {
			total := 0
			segments(b, at, minMTU, scratch, func(s []byte) {
				if !whole(s) || len(s) > minMTU {
					t.Fatalf("segment of %d octets", len(s))
				}
				total += len(s)
			})
			if total > 0 && total < len(b) {
				t.Fatalf("segments of %d octets out of %d", total, len(b))
			}
		}
		finish(b, at, proto)
		if _, _, again := unfinished(b); again {
			t.Fatal("still unfinished")
		}
	})
}
