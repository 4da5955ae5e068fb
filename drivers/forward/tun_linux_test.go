package forward

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/conntrack"
	"github.com/roamkey/roamkey/drivers/conntrack/conntracktest"
	"github.com/roamkey/roamkey/drivers/rtnl"
	"github.com/roamkey/roamkey/ipv6"
)

func TestTUNForwardsOnceBound(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	f := n.router(Config{Backend: TUN})

	n.inject(n.cn, udp(peer, homeAddr, 64, "before"))
	n.mnIn.silent("a packet for an address that is not bound", isTunnel(routerAddr, careOf, "before"))

	start := time.Now()
	n.must(f.Bind(bound))
	t.Logf("Bind took %v", time.Since(start))
	sent := udpClass(peer, homeAddr, 64, 0xb8, "after")
	n.inject(n.cn, sent)
	p := n.mnIn.wait("the tunnelled packet", isTunnel(routerAddr, careOf, "after"))
	if p[7] != outerHopLimit || trafficClass(p) != 0xb8 {
		t.Errorf("outer hop limit %d and traffic class %#x, want %d and the inner one 0xb8", p[7], trafficClass(p), outerHopLimit)
	}
	sent[7]-- // RFC 2473 section 3.1: the forwarding router counts once
	if !bytes.Equal(p[headerLen:], sent) {
		t.Errorf("inner packet\n%x, want\n%x", p[headerLen:], sent)
	}
	waitCount(t, f, "out_packets", 1)
	if got := netlabtest.Counter(t, f, "out_octets"); got != uint64(len(sent)) {
		t.Errorf("out_octets = %d, want %d", got, len(sent))
	}
}

func TestTUNFollowsToANewCareOfAddress(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	f := n.router(Config{Backend: TUN})
	n.must(f.Bind(bound))
	moved := bound
	moved.CareOf = careOfTwo
	n.must(f.Bind(moved))
	n.inject(n.cn, udp(peer, homeAddr, 64, "moved"))
	n.mnIn.wait("the packet at the new care-of address", isTunnel(routerAddr, careOfTwo, "moved"))
	if got := netlabtest.Counter(t, f, "bindings"); got != 1 {
		t.Errorf("bindings = %d, want 1", got)
	}
	// The old care-of address has lost its right to send.
	n.inject(n.mn, tunnelled(careOf, routerAddr, -1, udp(homeAddr, peer, 64, "from the old place")))
	n.cnIn.silent("a packet from the old care-of address", isUDP("from the old place"))
	waitCount(t, f, "in_wrong_outer", 1)
}

func TestTUNEndsWithUnbind(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	f := n.router(Config{Backend: TUN})
	two := Binding{Home: homeTwo, Router: routerAddr, CareOf: careOf}
	n.must(f.Bind(bound))
	n.must(f.Bind(two))
	n.must(f.Unbind(homeAddr))
	n.must(f.Unbind(homeAddr)) // no error
	n.inject(n.cn, udp(peer, homeAddr, 64, "first"))
	n.inject(n.cn, udp(peer, homeTwo, 64, "second"))
	n.mnIn.wait("the packet of the other binding", isTunnel(routerAddr, careOf, "second"))
	n.mnIn.silent("a packet after Unbind", isTunnel(routerAddr, careOf, "first"))
	if got := n.routesOfOurs(); len(got) != 1 || got[0].Dst.Addr() != homeTwo {
		t.Errorf("routes %v, want that to %s alone", got, homeTwo)
	}

	n.must(f.Bind(bound))
	n.must(f.Keep([]netip.Addr{homeAddr}))
	if got := n.routesOfOurs(); len(got) != 1 || got[0].Dst.Addr() != homeAddr {
		t.Errorf("routes after Keep %v, want that to %s alone", got, homeAddr)
	}
}

// routesOfOurs lists what bears our protocol number at ar.
func (n *network) routesOfOurs() []rtnl.Route {
	n.t.Helper()
	var all []rtnl.Route
	n.must(n.ar.Do(func() error {
		nl, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer nl.Close()
		all, err = nl.Routes()
		return err
	}))
	return all
}

// TestTUNReverse: RFC 6275 section 10.4.5, LKE-AR-26.
func TestTUNReverse(t *testing.T) {
	for _, limit := range []int{-1, 4} {
		n := newNetwork(t)
		n.deaf()
		f := n.router(Config{Backend: TUN})
		n.must(f.Bind(bound))
		for _, c := range []struct {
			name         string
			outer, inner netip.Addr
			to           netip.Addr
			counter      string
		}{
			{"bound pair", careOf, homeAddr, routerAddr, "in_packets"},
			{"wrong outer source", stranger, homeAddr, routerAddr, "in_wrong_outer"},
			{"wrong outer destination", careOf, homeAddr, netip.MustParseAddr("2001:db8:2::1"), "in_wrong_outer"},
			{"wrong inner source", careOf, homeTwo, routerAddr, "in_no_binding"},
			{"no binding", stranger, homeTwo, routerAddr, "in_no_binding"},
			{"inner source is the care-of address", careOf, careOf, routerAddr, "in_no_binding"},
			{"inner source is link-local", careOf, netip.MustParseAddr("fe80::1"), routerAddr, "in_bad_scope"},
		} {
			before := netlabtest.Counter(t, f, c.counter)
			n.inject(n.mn, tunnelled(c.outer, c.to, limit, udp(c.inner, peer, 64, c.name)))
			waitCount(t, f, c.counter, before+1)
			p := n.cnIn.next(50*time.Millisecond, isUDP(c.name))
			if (p != nil) != (c.counter == "in_packets") {
				t.Errorf("limit %d, %s: packet at the correspondent: %x", limit, c.name, p)
			}
			if p != nil && p[7] != 63 {
				t.Errorf("hop limit %d, want 63: this router counts once", p[7])
			}
		}
		f.Close(false)
		n.lab.Close()
	}
}

func TestTUNDropsWhatIsNoPacket(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	f := n.router(Config{Backend: TUN})
	n.must(f.Bind(bound))
	good := udp(homeAddr, peer, 64, "inner")
	longer := bytes.Clone(good)
	longer[5]++
	four := bytes.Clone(good)
	four[0] = 0x45
	want := uint64(0)
	for name, inner := range map[string][]byte{
		"cut off": good[:39], "no octet": nil, "one octet too many": append(bytes.Clone(good), 0), "says to be longer": longer,
		"IPv4": four,
	} {
		n.inject(n.mn, tunnelled(careOf, routerAddr, -1, inner))
		want++
		t.Log(name)
		waitCount(t, f, "in_malformed", want)
	}
}

func TestTUNDropsLoops(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	f := n.router(Config{Backend: TUN})
	n.must(f.Bind(bound))

	in := func(counter string, inner []byte) {
		t.Helper()
		before := netlabtest.Counter(t, f, counter)
		n.inject(n.mn, tunnelled(careOf, routerAddr, -1, inner))
		waitCount(t, f, counter, before+1)
	}
	in("in_loop", udp(homeAddr, careOf, 64, "to its own care-of address"))
	in("in_loop", udp(homeAddr, homeAddr, 64, "to itself"))
	in("in_bad_scope", udp(homeAddr, ipv6.AllNodes(), 64, "to all nodes"))
	in("in_bad_scope", udp(homeAddr, netip.MustParseAddr("::1"), 64, "to loopback"))

	out := func(counter string, p []byte) {
		t.Helper()
		before := netlabtest.Counter(t, f, counter)
		n.inject(n.cn, p)
		waitCount(t, f, counter, before+1)
	}
	out("out_loop", udp(homeAddr, homeAddr, 64, "to itself"))
	nested := udp(peer, homeAddr, 64, "core")
	for range maxNesting {
		nested = tunnelled(peer, homeAddr, -1, nested)
	}
	out("out_packets", nested)
	out("out_nested", tunnelled(peer, homeAddr, -1, nested))

	for _, b := range []Binding{
		{Home: homeTwo, Router: routerAddr, CareOf: homeAddr},
		{Home: careOf, Router: routerAddr, CareOf: stranger},
		{Home: homeTwo, Router: routerAddr, CareOf: homeTwo},
		{Home: homeTwo, Router: routerAddr, CareOf: routerAddr},
		{Home: homeTwo, Router: netip.MustParseAddr("fe80::1"), CareOf: careOf},
		{Home: homeTwo, Router: routerAddr, CareOf: netip.MustParseAddr("ff02::1")},
		{Home: netip.MustParseAddr("192.0.2.1"), Router: routerAddr, CareOf: careOf},
		{Router: routerAddr, CareOf: careOf},
	} {
		if err := f.Bind(b); err == nil {
			t.Errorf("Bind(%+v) was taken", b)
		}
	}
	if got := n.routesOfOurs(); len(got) != 1 {
		t.Errorf("routes %v, want one", got)
	}
}

// TestTUNEncapsulationLimit: RFC 2473 section 4.1.1 (b) and (c).
func TestTUNEncapsulationLimit(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	f := n.router(Config{Backend: TUN})
	n.must(f.Bind(bound))

	n.inject(n.cn, tunnelled(peer, homeAddr, 3, udp(peer, homeAddr, 64, "three")))
	p := n.mnIn.wait("the packet with a limit", func(p []byte) bool {
		return p[6] == ipv6.ProtoDestination && destination(p) == careOf.As16()
	})
	if p[40] != ipv6.ProtoIPv6 || p[42] != optEncapLimit || p[44] != 2 {
		t.Errorf("outer options %x, want an encapsulation limit of 2 before an IPv6 packet", p[40:48])
	}

	sent := tunnelled(peer, homeAddr, 0, udp(peer, homeAddr, 64, "zero"))
	n.inject(n.cn, sent)
	p = n.cnIn.wait("the Parameter Problem", isICMP(icmpParameter))
	if p[41] != 0 || binary.BigEndian.Uint32(p[44:]) != headerLen+4 {
		t.Errorf("code %d, pointer %d, want code 0 and the limit's offset %d", p[41], binary.BigEndian.Uint32(p[44:]), headerLen+4)
	}
	waitCount(t, f, "out_encapsulation_limit", 1)

	// The option takes its place: what would just fit without it is too big.
	fits := tunnelled(peer, homeAddr, 3, udp(peer, homeAddr, 64, strings.Repeat("f", 1460-8-88-8)))
	n.inject(n.cn, fits)
	n.mnIn.wait("the packet that just fits", func(p []byte) bool { return len(p) == 1500 && p[6] == ipv6.ProtoDestination })
	n.inject(n.cn, tunnelled(peer, homeAddr, 3, udp(peer, homeAddr, 64, strings.Repeat("f", 1461-8-88-8))))
	p = n.cnIn.wait("Packet Too Big", isICMP(icmpPacketTooBig))
	if got := binary.BigEndian.Uint32(p[44:]); got != 1452 {
		t.Errorf("Packet Too Big says %d, want 1452", got)
	}
}

// TestTUNCarriesCongestionMarks: RFC 6040 sections 4.1 and 4.2.
func TestTUNCarriesCongestionMarks(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	f := n.router(Config{Backend: TUN})
	n.must(f.Bind(bound))
	n.inject(n.cn, udpClass(peer, homeAddr, 64, 2, "capable"))
	if p := n.mnIn.wait("the tunnel packet", isTunnel(routerAddr, careOf, "capable")); trafficClass(p) != 2 {
		t.Errorf("outer traffic class %d, want the inner one", trafficClass(p))
	}
	marked := func(inner uint8, text string) []byte {
		p := tunnelled(careOf, routerAddr, -1, udpClass(homeAddr, peer, 64, inner, text))
		setTrafficClass(p, 3)
		return p
	}
	n.inject(n.mn, marked(2, "marked"))
	if p := n.cnIn.wait("the packet", isUDP("marked")); trafficClass(p) != 3 {
		t.Errorf("traffic class %d, want the mark 3", trafficClass(p))
	}
	n.inject(n.mn, marked(0, "cannot be marked"))
	waitCount(t, f, "in_congested", 1)
	n.cnIn.silent("a packet that cannot be marked", isUDP("cannot be marked"))
}

// TestTUNPacketTooBig: RFC 2473 sections 7.1 and 8.2, RFC 4443 section 3.2.
func TestTUNPacketTooBig(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	n.must(n.ar.SetMTU("up0", 1400))
	f := n.router(Config{Backend: TUN})
	n.must(f.Bind(bound))
	sized := func(size int) []byte { return udp(peer, homeAddr, 64, strings.Repeat("x", size-48)) }

	n.inject(n.cn, sized(1360))
	n.mnIn.wait("the packet that just fits", isTunnel(routerAddr, careOf, "xxx"))
	sent := sized(1361)
	n.inject(n.cn, sent)
	sent[7]--
	p := n.cnIn.wait("Packet Too Big", isICMP(icmpPacketTooBig))
	checkReport(t, p, routerAddr, peer, 0, 1360, sent)
	n.mnIn.silent("the packet that is too big", isTunnel(routerAddr, careOf, "xxx"))
	waitCount(t, f, "out_too_big", 1)

	// No error about an error, and none to a source that is not one node.
	mistake := appendReport(nil, peer.As16(), report{Type: icmpUnreachable}, sized(1400))
	copy(mistake[24:40], homeAddr.AsSlice())
	mistake = append(mistake, make([]byte, 1390-len(mistake))...)
	binary.BigEndian.PutUint16(mistake[4:], 1390-headerLen)
	n.inject(n.cn, mistake)
	waitCount(t, f, "out_too_big", 2)
	n.cnIn.silent("an error about an error", isICMP(icmpPacketTooBig))

	// No storm.
	const flood = 300
	for range flood {
		n.inject(n.cn, sized(1400))
	}
	waitCount(t, f, "out_too_big", flood+2)
	if got := netlabtest.Counter(t, f, "icmp_sent"); got > 30 {
		t.Errorf("%d errors for %d packets", got, flood)
	}
}

// checkReport checks an ICMPv6 error about a packet.
func checkReport(t *testing.T, p []byte, from, to netip.Addr, code uint8, value uint32, about []byte) {
	t.Helper()
	if source(p) != from.As16() || destination(p) != to.As16() {
		t.Errorf("the error goes from %x to %x, want %s to %s", source(p), destination(p), from, to)
	}
	if p[41] != code || binary.BigEndian.Uint32(p[44:]) != value {
		t.Errorf("code %d, value %d, want %d and %d", p[41], binary.BigEndian.Uint32(p[44:]), code, value)
	}
	if ipv6.Checksum(from, to, ipv6.ProtoICMPv6, p[headerLen:]) != 0 {
		t.Error("the error's checksum is wrong")
	}
	if len(p) > minMTU {
		t.Errorf("the error has %d octets, more than %d", len(p), minMTU)
	}
	if got := p[48:]; !bytes.Equal(got, about[:min(len(about), minMTU-48)]) {
		t.Errorf("the error is about\n%x, want\n%x", got, about)
	}
}

// TestTUNNeverAsksForLessThan1280: RFC 2473 section 7.1 (a) and (b).
func TestTUNNeverAsksForLessThan1280(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	n.must(n.ar.SetMTU("up0", 1280))
	f := n.router(Config{Backend: TUN})
	n.must(f.Bind(bound))

	sent := udp(peer, homeAddr, 64, strings.Repeat("y", 1281-48))
	n.inject(n.cn, sent)
	sent[7]--
	checkReport(t, n.cnIn.wait("Packet Too Big", isICMP(icmpPacketTooBig)), routerAddr, peer, 0, minMTU, sent)

	n.inject(n.cn, udp(peer, homeAddr, 64, strings.Repeat("z", 1280-48)))
	size := 0
	for more := true; more; {
		p := n.mnIn.wait("a fragment of the tunnel packet", func(p []byte) bool {
			return p[6] == ipv6.ProtoFragment && destination(p) == careOf.As16()
		})
		if p[40] != ipv6.ProtoIPv6 || len(p) > 1280 {
			t.Fatalf("fragment of %d octets of protocol %d", len(p), p[40])
		}
		size += len(p) - 48
		more = p[43]&1 == 1
	}
	if size != 1280 {
		t.Errorf("the fragments hold %d octets, want the packet of 1280", size)
	}
}

func TestTUNMTUOfTheConfiguration(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	f := n.router(Config{Backend: TUN, MTU: 1300})
	if got := f.Describe(); got.MTU != 1300 || got.Device != DefaultDevice || got.Backend != TUN {
		t.Errorf("Describe() = %+v", got)
	}
	n.must(f.Bind(bound))
	n.inject(n.cn, udp(peer, homeAddr, 64, strings.Repeat("y", 1301-48)))
	p := n.cnIn.wait("Packet Too Big", isICMP(icmpPacketTooBig))
	if got := binary.BigEndian.Uint32(p[44:]); got != 1300 {
		t.Errorf("Packet Too Big says %d, want 1300", got)
	}
	for _, mtu := range []int{1279, -1, maxDeviceMTU + 1} {
		n.must(n.ar.Do(func() error {
			if g, err := Open(Config{Backend: TUN, Device: "rktun7", MTU: mtu}, nil); err == nil {
				g.Close(false)
				t.Errorf("an MTU of %d was taken", mtu)
			}
			return nil
		}))
	}
}

// Errors from inside the tunnel come back to the source of the packet that was in it: RFC 2473 section 8.
func TestTUNPassesErrorsOn(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	f := n.router(Config{Backend: TUN})
	n.must(f.Bind(bound))
	big := udp(peer, homeAddr, 64, strings.Repeat("b", 1400-48))
	n.inject(n.cn, big)
	outer := n.mnIn.wait("the tunnel packet", isTunnel(routerAddr, careOf, "bbb"))
	inner := outer[headerLen:]

	narrow := appendReport(nil, netip.MustParseAddr("2001:db8:2::101").As16(),
		report{Type: icmpPacketTooBig, Value: 1350}, outer)
	n.inject(n.mn, narrow)
	p := n.cnIn.wait("Packet Too Big", isICMP(icmpPacketTooBig))
	checkReport(t, p, routerAddr, peer, 0, 1310, narrow[48+headerLen:])
	// From then on the router itself says so.
	n.inject(n.cn, big)
	p = n.cnIn.wait("Packet Too Big", isICMP(icmpPacketTooBig))
	checkReport(t, p, routerAddr, peer, 0, 1310, inner)

	n.inject(n.cn, udp(peer, homeAddr, 64, "small"))
	outer = n.mnIn.wait("the tunnel packet", isTunnel(routerAddr, careOf, "small"))
	n.inject(n.mn, appendReport(nil, careOfTwo.As16(), report{Type: 3 /* time exceeded */}, outer))
	p = n.cnIn.wait("Destination Unreachable", isICMP(icmpUnreachable))
	checkReport(t, p, routerAddr, peer, codeAddress, 0, outer[headerLen:])

	// An error about a packet that the tunnel did not send changes nothing.
	copy(outer[24:40], stranger.AsSlice())
	n.inject(n.mn, appendReport(nil, careOfTwo.As16(), report{Type: icmpUnreachable}, outer))
	n.cnIn.silent("an error about somebody else's packet", isICMP(icmpUnreachable))
}

func TestTUNHopLimit(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	f := n.router(Config{Backend: TUN})
	n.must(f.Bind(bound))
	n.inject(n.cn, udp(peer, homeAddr, 1, "last hop"))
	n.cnIn.wait("Time Exceeded", isICMP(3))
	n.mnIn.silent("a packet without hops left", isTunnel(routerAddr, careOf, "last hop"))
	n.inject(n.mn, tunnelled(careOf, routerAddr, -1, udp(homeAddr, peer, 1, "reverse last hop")))
	n.mnIn.wait("Time Exceeded through the tunnel", func(p []byte) bool { return bytes.Contains(p, []byte("reverse last hop")) })
	n.cnIn.silent("a packet without hops left", isUDP("reverse last hop"))
}

func TestTUNIsGoneAfterClose(t *testing.T) {
	for _, leave := range []bool{false, true} {
		n := newNetwork(t)
		f := n.router(Config{Backend: TUN})
		n.must(f.Bind(bound))
		n.must(f.Close(leave))
		n.must(f.Close(leave)) // no error
		if got := n.routesOfOurs(); len(got) != 0 {
			t.Errorf("leave %v: routes %v after Close", leave, got)
		}
		if _, err := n.ar.Link(DefaultDevice); err == nil {
			t.Errorf("leave %v: the device is there after Close", leave)
		}
		if err := errors.Join(f.Bind(bound)); !errors.Is(err, errClosed) {
			t.Errorf("Bind after Close: %v", err)
		}
		n.lab.Close()
	}
}

func TestTUNDoesNotTakeAnothersDevice(t *testing.T) {
	n := newNetwork(t)
	n.must(n.ar.Bridge(DefaultDevice))
	n.must(n.ar.Do(func() error {
		_, err := Open(Config{Backend: TUN}, nil)
		if err == nil || !strings.Contains(err.Error(), DefaultDevice) {
			t.Errorf("Open with a foreign device of that name: %v", err)
		}
		return nil
	}))
	if _, err := n.ar.Link(DefaultDevice); err != nil {
		t.Errorf("the foreign device: %v", err)
	}
}

// TestTUNForgetsConnections: an entry of connection tracking would hold a flow on its old way.
func TestTUNForgetsConnections(t *testing.T) {
	if _, err := os.Stat("/proc/sys/net/netfilter/nf_conntrack_max"); err != nil {
		t.Skip("this kernel tracks no connections")
	}
	n := newNetwork(t)
	f := n.router(Config{Backend: TUN}).(*routerTUN)
	var ct *conntrack.Table
	n.must(n.ar.Do(func() (err error) { ct, err = conntrack.Open(); return err }))
	defer ct.Close()
	tracked := func(want uint32) {
		t.Helper()
		if got := ct.Entries(); got != want {
			t.Fatalf("%d connections are tracked, want %d", got, want)
		}
	}
	if got := f.ct.Entries(); got != 0 {
		t.Errorf("a namespace without tracked connections has %d", got)
	}
	n.must(n.ar.Do(func() error { return conntracktest.Track(peer, homeAddr, 4000) }))
	n.must(n.ar.Do(func() error { return conntracktest.Track(homeAddr, peer, 4001) }))
	n.must(n.ar.Do(func() error { return conntracktest.Track(peer, homeTwo, 4000) }))
	tracked(3)
	n.must(f.Bind(bound))
	f.ct.Wait()
	tracked(1)
	waitCount(t, f, "conntrack_deleted", 2)
	n.must(n.ar.Do(func() error { return conntracktest.Track(peer, homeAddr, 4000) }))
	n.must(f.Unbind(homeAddr))
	f.ct.Wait()
	tracked(1)
	if got := netlabtest.Counter(t, f, "conntrack_failed"); got != 0 {
		t.Errorf("conntrack_failed = %d", got)
	}
}

// What the kernel merged, or left to a network card, goes on as it could have come from a wire.
func TestTUNFinishesWhatOffloadLeft(t *testing.T) {
	n := newNetwork(t)
	n.deaf()
	f := n.router(Config{Backend: TUN})
	n.must(f.Bind(bound))
	inner := func(size int) []byte {
		p := tcp(0x18, 1000, bytes.Repeat([]byte("m"), size))
		copy(p[8:24], homeAddr.AsSlice())
		copy(p[24:40], peer.AsSlice())
		binary.BigEndian.PutUint16(p[headerLen+tcpChecksum:], fold(pseudoSum(p, len(p)-headerLen, protoTCP)))
		return p
	}
	isTCP := func(p []byte) bool { return p[6] == protoTCP && destination(p) == peer.As16() }
	n.inject(n.mn, tunnelled(careOf, routerAddr, -1, inner(100)))
	if p := n.cnIn.wait("the packet", isTCP); !checksumOK(p) {
		t.Error("the checksum is wrong")
	}

	// In fragments it gets as long as the kernel's merging would make it.
	const size = 5000
	for offset, p := 0, inner(size); offset < len(p); offset += 1400 {
		part := p[offset:min(offset+1400, len(p))]
		more := byte(0)
		if offset+1400 < len(p) {
			more = 1
		}
		head := []byte{ipv6.ProtoIPv6, 0, byte(offset >> 8), byte(offset) | more, 0, 0, 0, 7}
		n.inject(n.mn, ipv6.Append(nil, ipv6.Header{Src: careOf, Dst: routerAddr, HopLimit: 64}, ipv6.ProtoFragment, append(head, part...)))
	}
	for got := 0; got < size; {
		p := n.cnIn.wait("a segment", isTCP)
		if !checksumOK(p) || len(p) > minMTU {
			t.Fatalf("segment of %d octets, checksum right: %v", len(p), checksumOK(p))
		}
		if seq := binary.BigEndian.Uint32(p[headerLen+4:]); seq != 1000+uint32(got) {
			t.Fatalf("sequence number %d, want %d", seq, 1000+got)
		}
		got += len(p) - headerLen - tcpMinLen - 12
	}
	waitCount(t, f, "in_repaired", 2)

	// UDP of that length is no packet that any link took.
	long := udp(homeAddr, peer, 64, strings.Repeat("u", size))
	for offset := 0; offset < len(long); offset += 1400 {
		part := long[offset:min(offset+1400, len(long))]
		more := byte(0)
		if offset+1400 < len(long) {
			more = 1
		}
		head := []byte{ipv6.ProtoIPv6, 0, byte(offset >> 8), byte(offset) | more, 0, 0, 0, 8}
		n.inject(n.mn, ipv6.Append(nil, ipv6.Header{Src: careOf, Dst: routerAddr, HopLimit: 64}, ipv6.ProtoFragment, append(head, part...)))
	}
	waitCount(t, f, "in_oversized", 1)
}
