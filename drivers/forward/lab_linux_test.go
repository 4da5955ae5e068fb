package forward

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/ipv6"
)

// The lab of all tests here:
//
//	cn  c::2 ---- c::1 cn0  ar  up0 2::1 ---- 2::100, 2::101 wl0  mn
//	                        lan0 1::1 ---- old
//
// 2001:db8:1::100 is the home address: it was mn's on the link lan0, and nobody has it there now. Each name is an
// interface of its namespace.
var (
	homeAddr   = netip.MustParseAddr("2001:db8:1::100")
	homeTwo    = netip.MustParseAddr("2001:db8:1::200")
	routerAddr = netip.MustParseAddr("2001:db8:1::1")
	careOf     = netip.MustParseAddr("2001:db8:2::100")
	careOfTwo  = netip.MustParseAddr("2001:db8:2::101")
	stranger   = netip.MustParseAddr("2001:db8:2::bad")
	peer       = netip.MustParseAddr("2001:db8:c::2")

	bound = Binding{Home: homeAddr, Router: routerAddr, CareOf: careOf}
)

type network struct {
	t           testing.TB
	lab         *netlab.Lab
	cn, ar, mn  *netlab.Namespace
	cnIn, mnIn  *capture // what arrives at cn and mn
	arIn, oldIn *capture
}

func newNetwork(t testing.TB) *network {
	t.Helper()
	lab, ns := netlabtest.New(t, "cn", "ar", "mn", "old")
	n := &network{t: t, lab: lab, cn: ns[0], ar: ns[1], mn: ns[2]}
	old := ns[3]
	n.must(n.lab.Veth(netlab.End{NS: n.cn, Name: "eth0"}, netlab.End{NS: n.ar, Name: "cn0"}))
	n.must(n.lab.Veth(netlab.End{NS: n.mn, Name: "wl0"}, netlab.End{NS: n.ar, Name: "up0"}))
	n.must(n.lab.Veth(netlab.End{NS: old, Name: "wl0"}, netlab.End{NS: n.ar, Name: "lan0"}))
	address := func(s *netlab.Namespace, dev, prefix string) {
		n.must(s.AddAddress(dev, netip.MustParsePrefix(prefix)))
	}
	address(n.cn, "eth0", "2001:db8:c::2/64")
	address(n.ar, "cn0", "2001:db8:c::1/64")
	address(n.ar, "up0", "2001:db8:2::1/64")
	address(n.ar, "lan0", "2001:db8:1::1/64")
	address(n.mn, "wl0", "2001:db8:2::100/64")
	address(n.mn, "wl0", "2001:db8:2::101/64")
	address(n.mn, "wl0", "2001:db8:2::bad/64")
	everywhere := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	n.must(n.cn.AddRoute(everywhere, netip.MustParseAddr("2001:db8:c::1"), "eth0"))
	n.must(n.mn.AddRoute(everywhere, netip.MustParseAddr("2001:db8:2::1"), "wl0"))
	n.must(n.ar.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	n.cnIn, n.mnIn = n.capture(n.cn), n.capture(n.mn)
	n.arIn, n.oldIn = n.capture(n.ar), n.capture(old)
	return n
}

func (n *network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// deaf takes the care-of addresses from mn and leads them there all the same: its kernel drops what it gets and answers
// nothing, while captures see it.
func (n *network) deaf() {
	n.t.Helper()
	for _, a := range []netip.Addr{careOf, careOfTwo} {
		n.must(n.mn.DeleteAddress("wl0", netip.PrefixFrom(a, 64)))
		n.must(n.ar.AddRoute(netip.PrefixFrom(a, 128), stranger, "up0"))
	}
}

// router opens a forwarder on ar.
func (n *network) router(cfg Config) Forwarder {
	n.t.Helper()
	var f Forwarder
	n.must(n.ar.Do(func() (err error) {
		f, err = Open(cfg, nil)
		return err
	}))
	n.t.Cleanup(func() { f.Close(false) })
	return f
}

// inject sends a whole packet from a namespace by its routing table.
func (n *network) inject(ns *netlab.Namespace, packet []byte) {
	n.t.Helper()
	n.must(ns.Inject(packet, ""))
}

// capture sees the IPv6 packets that arrive at a namespace, on any interface.
type capture struct {
	n  *network
	ns *netlab.Namespace
	c  *netlab.Capture
}

func (n *network) capture(ns *netlab.Namespace) *capture {
	n.t.Helper()
	return &capture{n, ns, netlabtest.Capture(n.t, ns)}
}

// uncapture ends all captures: each costs the kernel a copy of each packet.
func (n *network) uncapture() {
	for _, c := range []*capture{n.cnIn, n.mnIn, n.arIn, n.oldIn} {
		n.must(c.c.Close())
	}
}

// next gives the next packet that arrives and that match likes, within the given time; nil if there is none.
func (c *capture) next(limit time.Duration, match func(p []byte) bool) []byte {
	c.n.t.Helper()
	for end := time.Now().Add(limit); ; {
		p, err := c.c.Next(time.Until(end))
		c.n.must(err)
		if p == nil || match(p) {
			return p
		}
	}
}

// wait is next for a packet that has to come.
func (c *capture) wait(what string, match func(p []byte) bool) []byte {
	c.n.t.Helper()
	p := c.next(3*time.Second, match)
	if p == nil {
		c.n.t.Fatalf("%s did not arrive at %s", what, c.ns.Name())
	}
	return p
}

// silent fails if a packet that match likes has arrived or arrives within a moment. fence, sent after what must not
// arrive, is awaited first, so that the moment needs not be long.
func (c *capture) silent(what string, match func(p []byte) bool) {
	c.n.t.Helper()
	if p := c.next(60*time.Millisecond, match); p != nil {
		c.n.t.Fatalf("%s arrived at %s: %x", what, c.ns.Name(), p)
	}
}

// udp builds a UDP packet with a payload of the given text.
func udp(src, dst netip.Addr, hopLimit uint8, text string) []byte {
	return udpClass(src, dst, hopLimit, 0, text)
}

func udpClass(src, dst netip.Addr, hopLimit, class uint8, text string) []byte {
	b := make([]byte, 8, 8+len(text))
	binary.BigEndian.PutUint16(b[0:], 4000)
	binary.BigEndian.PutUint16(b[2:], 5000)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(text)))
	b = append(b, text...)
	sum := ipv6.Checksum(src, dst, protoUDP, b)
	binary.BigEndian.PutUint16(b[6:], sum)
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: hopLimit, TrafficClass: class}, protoUDP, b)
}

// tunnelled wraps a packet as RFC 2473 section 3.1 says, with an encapsulation limit if that is not negative.
func tunnelled(src, dst netip.Addr, limit int, inner []byte) []byte {
	h := ipv6.Header{Src: src, Dst: dst, HopLimit: 64}
	if limit < 0 {
		return ipv6.Append(nil, h, ipv6.ProtoIPv6, inner)
	}
	head := []byte{ipv6.ProtoIPv6, 0, optEncapLimit, 1, byte(limit), 1, 1, 0}
	return ipv6.Append(nil, h, ipv6.ProtoDestination, append(head, inner...))
}

// isTunnel matches tunnel packets from src to dst whose inner packet, with its hop limit aside, is inner.
func isTunnel(src, dst netip.Addr, text string) func([]byte) bool {
	return func(p []byte) bool {
		return p[6] == ipv6.ProtoIPv6 && source(p) == src.As16() && destination(p) == dst.As16() &&
			bytes.Contains(p[headerLen:], []byte(text))
	}
}

func isUDP(text string) func([]byte) bool {
	return func(p []byte) bool { return p[6] == protoUDP && bytes.HasSuffix(p, []byte(text)) }
}

func isICMP(typ uint8) func([]byte) bool {
	return func(p []byte) bool { return p[6] == ipv6.ProtoICMPv6 && len(p) > 48 && p[40] == typ }
}

func counters(f interface{ Counters(func(string, uint64)) }) map[string]uint64 {
	all := make(map[string]uint64)
	f.Counters(func(name string, value uint64) { all[name] = value })
	return all
}

// waitCount waits until a counter has reached a value.
func waitCount(t testing.TB, f interface{ Counters(func(string, uint64)) }, name string, value uint64) {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(time.Millisecond) {
		got, there := counters(f)[name]
		if !there {
			t.Fatalf("no counter %s", name)
		}
		if got == value {
			return
		}
		if got > value || time.Now().After(end) {
			t.Fatalf("%s = %d, want %d; all: %v", name, got, value, counters(f))
		}
	}
}
