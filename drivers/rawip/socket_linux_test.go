package rawip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/ipv6"
)

// A binding update as a node sends it after a move: from its care-of address, with its home address as an option.
func bindingUpdate(dst netip.Addr) []byte {
	return ipv6.Append(nil, ipv6.Header{
		Src: elsewhere, Dst: dst, HopLimit: 64, HomeAddress: netip.MustParseAddr("2001:db8:1::77"),
	}, ipv6.ProtoMobility, mobility)
}

func TestBindingUpdateArrivesOnce(t *testing.T) {
	w := newWire(t, Config{})
	raw := bindingUpdate(global)
	before := time.Now()
	w.send(t, raw)
	r := next(t, w.r.Urgent())
	p := &r.Packet
	if !bytes.Equal(p.Raw, raw) {
		t.Errorf("got  %x\nsent %x", p.Raw, raw)
	}
	if p.Interface != w.lan.Index || p.LinkSource != w.eth.Hardware {
		t.Errorf("came on %d from %v, want %d from %v", p.Interface, p.LinkSource, w.lan.Index, w.eth.Hardware)
	}
	if p.HomeAddress != netip.MustParseAddr("2001:db8:1::77") || p.Proto != ipv6.ProtoMobility || !bytes.Equal(p.Payload, mobility) {
		t.Errorf("parsed as home %v, protocol %d, payload %x", p.HomeAddress, p.Proto, p.Payload)
	}
	if r.At.Before(before) || r.At.After(time.Now()) {
		t.Errorf("read at %v", r.At)
	}
	r.Release()
	// Neither channel has it a second time.
	w.send(t, sentinel(1))
	expectSentinel(t, w.r.Packets(), 1)
	w.send(t, packet(global, nil, 0, ipv6.ProtoMobility, mobility...))
	if r := next(t, w.r.Urgent()); r.Packet.HomeAddress.IsValid() {
		t.Error("the binding update came twice")
	}
}

func TestPacketsOfServedLinks(t *testing.T) {
	w := newWire(t, Config{})
	for _, test := range []struct {
		name string
		dst  ipv6.LinkAddr
		raw  []byte
	}{
		{"router solicitation", ipv6.MulticastLinkAddr(ipv6.AllRouters()), packet(ipv6.AllRouters(), nil, 0, ipv6.ProtoICMPv6, icmp(133)...)},
		{"router advertisement", ipv6.MulticastLinkAddr(allNodes), packet(allNodes, nil, 0, ipv6.ProtoICMPv6, icmp(134)...)},
		{"solicitation", w.lan.Hardware, packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, icmp(135)...)},
		{"advertisement", ipv6.MulticastLinkAddr(allNodes), packet(allNodes, nil, 0, ipv6.ProtoICMPv6, icmp(136)...)},
		{"redirect", w.lan.Hardware, packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, icmp(137)...)},
		{"key exchange request", w.lan.Hardware, bindingUpdate(linkLocal)},
	} {
		check(t, w.h.SendLink(w.eth.Index, test.dst, test.raw))
		r := next(t, w.r.Packets())
		if !bytes.Equal(r.Packet.Raw, test.raw) || r.Packet.LinkSource != w.eth.Hardware || r.Packet.Interface != w.lan.Index {
			t.Errorf("%s: got %x from %v on %d", test.name, r.Packet.Raw, r.Packet.LinkSource, r.Packet.Interface)
		}
		r.Release()
	}
}

// A frame shorter than Ethernet's least length is padded; the padding is no part of the packet.
func TestLinkPaddingIsCut(t *testing.T) {
	w := newWire(t, Config{})
	raw := packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, icmp(135)...)
	w.send(t, append(bytes.Clone(raw), make([]byte, 20)...))
	if r := next(t, w.r.Packets()); !bytes.Equal(r.Packet.Raw, raw) {
		t.Errorf("got %x", r.Packet.Raw)
	}
	// A packet that has no upper layer, followed by padding that looks like one, is not taken for one.
	w.send(t, append(packet(linkLocal, nil, 0, ipv6.ProtoICMPv6), icmp(135)...), sentinel(1))
	expectSentinel(t, w.r.Packets(), 1)
	if n := netlabtest.Counter(t, w.r, "drop_not_ours"); n != 1 {
		t.Errorf("drop_not_ours = %d, want 1", n)
	}
}

func TestPacketsOfOtherHostsAreIgnored(t *testing.T) {
	w := newWire(t, Config{})
	// Even while the interface receives all frames.
	w.r.mu.Lock()
	err := promiscuous(w.r.ports[w.lan.Index], unix.PACKET_ADD_MEMBERSHIP)
	w.r.mu.Unlock()
	check(t, err)
	check(t, w.h.SendLink(w.eth.Index, otherHW, packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, icmp(135)...)))
	check(t, w.h.SendLink(w.eth.Index, otherHW, bindingUpdate(global)))
	w.send(t, sentinel(1), packet(global, nil, 0, ipv6.ProtoMobility, mobility...))
	expectSentinel(t, w.r.Packets(), 1)
	if r := next(t, w.r.Urgent()); r.Packet.HomeAddress.IsValid() {
		t.Error("a binding update in a frame to another host came")
	}
}

func TestOwnPacketsAreIgnored(t *testing.T) {
	w := newWire(t, Config{})
	check(t, w.router.AddAddress("lan0", netip.MustParsePrefix("2001:db8:1::1/64")))
	check(t, w.router.AddRoute(netip.MustParsePrefix("2001:db8:2::/64"), netip.Addr{}, "lan0"))
	// Sent by us ...
	check(t, w.r.SendLink(w.lan.Index, ipv6.MulticastLinkAddr(allNodes), packet(allNodes, nil, 0, ipv6.ProtoICMPv6, icmp(135)...)))
	check(t, w.r.SendRouted(bindingUpdate(netip.MustParseAddr("2001:db8:2::5"))))
	// ... and by our kernel, which loops its own multicast back to itself: an advertisement for a new address.
	check(t, w.router.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		b := [16]byte{0: 0xff, 1: 0x02, 15: 1}
		return unix.Sendto(fd, append(icmp(135), make([]byte, 16)...), 0, &unix.SockaddrInet6{Addr: b, ZoneId: uint32(w.lan.Index)})
	}))
	w.send(t, sentinel(1), packet(global, nil, 0, ipv6.ProtoMobility, mobility...))
	// Not even what the test did not make may come here.
	for r := range w.r.Packets() {
		if r.Packet.LinkSource == w.lan.Hardware || r.Packet.LinkSource.IsZero() {
			t.Fatalf("our own packet came: %x", r.Packet.Raw)
		}
		if isOurs(r) {
			break
		}
	}
	if r := next(t, w.r.Urgent()); r.Packet.HomeAddress.IsValid() {
		t.Error("our own binding update came")
	}
}

func TestLongPacketsAreDroppedAndCounted(t *testing.T) {
	w := newWire(t, Config{})
	check(t, w.router.SetMTU("lan0", 9000))
	check(t, w.host.SetMTU("eth0", 9000))
	whole := packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, append(icmp(135), make([]byte, MaxPacket-48)...)...)
	jumbo := packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, append(icmp(135), make([]byte, MaxPacket-47)...)...)
	jumboBU := packet(global, nil, 0, ipv6.ProtoMobility, append(bytes.Clone(mobility), make([]byte, 8000)...)...)
	w.send(t, jumbo, jumboBU, whole)
	if r := next(t, w.r.Packets()); !bytes.Equal(r.Packet.Raw, whole) {
		t.Errorf("got %d octets, want the packet of %d", len(r.Packet.Raw), len(whole))
	}
	netlabtest.Await(t, "both long packets are counted", func() bool { return netlabtest.Counter(t, w.r, "drop_too_long") == 2 })
}

func TestBrokenPacketsAreCounted(t *testing.T) {
	w := newWire(t, Config{})
	truncated := packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, icmp(135)...)
	binary.BigEndian.PutUint16(truncated[4:6], 200)
	w.send(t,
		truncated,
		packet(global, []uint8{ipv6.ProtoFragment}, 1, ipv6.ProtoMobility, mobility...),
		sentinel(1))
	expectSentinel(t, w.r.Packets(), 1)
	netlabtest.Await(t, "drop_truncated", func() bool { return netlabtest.Counter(t, w.r, "drop_truncated") == 1 })
	netlabtest.Await(t, "drop_fragment", func() bool { return netlabtest.Counter(t, w.r, "drop_fragment") == 1 })
}

// A frame with a VLAN tag does not belong to the interface that it comes in on.
func TestTaggedFramesOfOtherVLANsAreIgnored(t *testing.T) {
	w := newWire(t, Config{})
	tagged := func(raw []byte) []byte {
		frame := append(append([]byte(nil), routerHW[:]...), hostHW[:]...)
		return append(append(frame, 0x81, 0x00, 0, 8, 0x86, 0xdd), raw...) // 802.1Q, VLAN 8
	}
	check(t, w.host.SendFrame("eth0", tagged(packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, icmp(136)...)), tagged(bindingUpdate(global))))
	w.send(t, sentinel(1), packet(global, nil, 0, ipv6.ProtoMobility, mobility...))
	expectSentinel(t, w.r.Packets(), 1)
	if r := next(t, w.r.Urgent()); r.Packet.HomeAddress.IsValid() {
		t.Error("a packet of a VLAN that is not there came")
	}
}

// On a VLAN's own interface a packet comes once.
func TestVLANInterface(t *testing.T) {
	w := newWire(t, Config{})
	addVLAN(t, w.router, "lan0.7", "lan0", 7)
	addVLAN(t, w.host, "eth0.7", "eth0", 7)
	tagged, from := linkOf(t, w.router, "lan0.7"), linkOf(t, w.host, "eth0.7")
	r, h := openIn(t, w.router, Config{}, "lan0", "lan0.7"), openIn(t, w.host, Config{}, "eth0.7")
	check(t, h.SendLink(from.Index, tagged.Hardware, packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, icmp(136)...)))
	check(t, h.SendLink(from.Index, tagged.Hardware, bindingUpdate(global)))
	check(t, h.SendLink(from.Index, tagged.Hardware, sentinel(1)))
	check(t, h.SendLink(from.Index, tagged.Hardware, packet(global, nil, 0, ipv6.ProtoMobility, mobility...)))
	if p := next(t, r.Packets()); p.Packet.Interface != tagged.Index || p.Packet.Payload[0] != 136 {
		t.Errorf("came on %d, want %d", p.Packet.Interface, tagged.Index)
	}
	expectSentinel(t, r.Packets(), 1)
	if p := next(t, r.Urgent()); p.Packet.Interface != tagged.Index || !p.Packet.HomeAddress.IsValid() {
		t.Errorf("came on %d, want %d", p.Packet.Interface, tagged.Index)
	}
	if p := next(t, r.Urgent()); p.Packet.HomeAddress.IsValid() {
		t.Error("the binding update came twice")
	}
	// Who serves the interface below hears none of it.
	w.send(t, sentinel(2))
	expectSentinel(t, w.r.Packets(), 2)
}

func addVLAN(t *testing.T, ns *netlab.Namespace, name, on string, id uint16) {
	t.Helper()
	err := ns.VLAN(name, on, id)
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("this kernel has no VLAN interfaces")
	}
	check(t, err)
}

func TestSendRouted(t *testing.T) {
	w := newWire(t, Config{})
	check(t, w.router.AddAddress("lan0", netip.MustParsePrefix("2001:db8:1::1/64")))
	check(t, w.host.AddAddress("eth0", netip.MustParsePrefix("2001:db8:1::2/64")))
	to := netip.MustParseAddr("2001:db8:1::2")
	// A source that is not an address of the router's: a home address after the move.
	raw := bindingUpdate(to)
	check(t, w.r.SendRouted(raw))
	if r := next(t, w.h.Urgent()); !bytes.Equal(r.Packet.Raw, raw) {
		t.Errorf("got  %x\nsent %x", r.Packet.Raw, raw)
	}
	for name, bad := range map[string][]byte{
		"link-local destination": bindingUpdate(linkLocal),
		"no route":               bindingUpdate(netip.MustParseAddr("2001:db8:77::1")),
		"no packet":              {1, 2, 3},
	} {
		if err := w.r.SendRouted(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if sent, failed := netlabtest.Counter(t, w.r, "sent"), netlabtest.Counter(t, w.r, "send_errors"); sent != 1 || failed != 3 {
		t.Errorf("sent %d, failed %d, want 1 and 3", sent, failed)
	}
}

// A route that depends on the source, as OpenWrt has one for each upstream, is found by the packet's source.
func TestSendRoutedBySource(t *testing.T) {
	w := newWire(t, Config{})
	check(t, w.lab.Veth(netlab.End{NS: w.router, Name: "wan0"}, netlab.End{NS: w.host, Name: "wan1"}))
	check(t, w.router.AddAddress("lan0", netip.MustParsePrefix("2001:db8:1::1/64")))
	check(t, w.router.AddAddress("wan0", netip.MustParsePrefix("2001:db8:3::1/64")))
	far := netip.MustParsePrefix("2001:db8:9::/64")
	check(t, w.router.AddSourceRoute(far, netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParseAddr("2001:db8:1::2"), "lan0"))
	check(t, w.router.AddSourceRoute(far, netip.MustParsePrefix("2001:db8:3::/64"), netip.MustParseAddr("2001:db8:3::2"), "wan0"))
	check(t, w.host.AddAddress("eth0", netip.MustParsePrefix("2001:db8:1::2/64")))
	check(t, w.host.AddAddress("wan1", netip.MustParsePrefix("2001:db8:3::2/64")))
	for _, test := range []struct{ src, on string }{{"2001:db8:1::1", "eth0"}, {"2001:db8:3::1", "wan1"}} {
		raw := ipv6.Append(nil, ipv6.Header{Src: netip.MustParseAddr(test.src), Dst: netip.MustParseAddr("2001:db8:9::9"), HopLimit: 64}, ipv6.ProtoMobility, mobility)
		check(t, w.r.SendRouted(raw))
		select {
		case r := <-w.h.Urgent():
			if want := linkOf(t, w.host, test.on).Index; r.Packet.Interface != want {
				t.Errorf("from %s: came on interface %d, want %d (%s)", test.src, r.Packet.Interface, want, test.on)
			}
			r.Release()
		case <-time.After(netlabtest.Patience):
			t.Fatalf("from %s: nothing came", test.src)
		}
	}
}

func TestSetLinksFollowsAReload(t *testing.T) {
	w := newWire(t, Config{})
	check(t, w.lab.Veth(netlab.End{NS: w.router, Name: "lan1"}, netlab.End{NS: w.host, Name: "eth1"}))
	lan1, eth1 := linkOf(t, w.router, "lan1"), linkOf(t, w.host, "eth1")
	check(t, setLinks(w.host, w.h, w.eth, eth1))
	second := packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, icmp(136)...)

	// Not served yet.
	check(t, w.h.SendLink(eth1.Index, lan1.Hardware, second))
	w.send(t, sentinel(1))
	expectSentinel(t, w.r.Packets(), 1)
	if w.r.SendLink(lan1.Index, eth1.Hardware, second) == nil {
		t.Error("sent on a link that is not served")
	}
	// Added beside the first.
	check(t, setLinks(w.router, w.r, w.lan, lan1))
	check(t, w.h.SendLink(eth1.Index, lan1.Hardware, second))
	if r := next(t, w.r.Packets()); r.Packet.Interface != lan1.Index {
		t.Errorf("came on %d, want %d", r.Packet.Interface, lan1.Index)
	}
	// The first one is gone; one that never was is named in the error, and the rest is served.
	err := setLinks(w.router, w.r, lan1, Link{Index: 9999, Name: "nowhere"})
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("nowhere")) {
		t.Errorf("error %v does not name the link that is not there", err)
	}
	w.send(t, sentinel(2))
	check(t, w.h.SendLink(eth1.Index, lan1.Hardware, second))
	if r := next(t, w.r.Packets()); r.Packet.Interface != lan1.Index {
		t.Error("a packet of a link that is served no more came")
	}
}

// setLinks calls SetLinks in the namespace of the socket: new ones have to be opened there.
func setLinks(ns *netlab.Namespace, s *Socket, links ...Link) error {
	return ns.Do(func() error { return s.SetLinks(links) })
}

// An interface that goes down and comes up again is heard again; one that goes for good does no harm.
func TestLinkDownAndGone(t *testing.T) {
	w := newWire(t, Config{})
	check(t, w.router.SetDown("lan0"))
	check(t, w.router.SetUp("lan0"))
	netlabtest.Await(t, "the link has a carrier again", func() bool {
		l, err := w.host.Link("eth0")
		return err == nil && l.Flags&unix.IFF_RUNNING != 0
	})
	w.send(t, sentinel(1))
	expectSentinel(t, w.r.Packets(), 1)
	check(t, w.router.DeleteLink("lan0"))
	netlabtest.Await(t, "the end of the link is counted", func() bool { return netlabtest.Counter(t, w.r, "receive_errors") >= 2 })
	if err := w.r.SendLink(w.lan.Index, w.eth.Hardware, sentinel(1)); err == nil {
		t.Error("sent on a link that is gone")
	}
	check(t, w.r.SetLinks(nil))
}

func TestCloseEndsTheReaders(t *testing.T) {
	w := newWire(t, Config{})
	done := make(chan struct{})
	go func() {
		w.r.Close() // waits for the readers
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(netlabtest.Patience):
		t.Fatal("Close did not return: a reader goes on")
	}
	check(t, w.r.Close())
	if err := w.r.SetLinks([]Link{w.lan}); err != os.ErrClosed {
		t.Errorf("SetLinks after Close: %v", err)
	}
	if w.r.SendRouted(bindingUpdate(global)) == nil || w.r.Watch(w.lan.Index, global) == nil {
		t.Error("a closed socket sends or watches")
	}
	w.r.Counters(func(string, uint64) {})
}

func TestReleaseTwiceGivesTheBufferBackOnce(t *testing.T) {
	p := newPool(4)
	r := p.get()
	r.Release()
	r.Release()
	if a, b := p.get(), p.get(); a == b {
		t.Error("one buffer was given out twice")
	}
}

// In the steady state a packet costs no allocation, from the frame that is sent to the buffer that is released.
func TestNoAllocationForAPacket(t *testing.T) {
	w := newWire(t, Config{})
	raw, bu := sentinel(1), bindingUpdate(global)
	exchange := func() {
		if w.h.SendLink(w.eth.Index, w.lan.Hardware, raw) != nil || w.h.SendLink(w.eth.Index, w.lan.Hardware, bu) != nil {
			t.Error("not sent")
		}
		(<-w.r.Packets()).Release()
		(<-w.r.Urgent()).Release()
	}
	for range 10 {
		exchange()
	}
	if n := testing.AllocsPerRun(200, exchange); n >= 1 {
		t.Errorf("%v allocations for two packets", n)
	}
}
