package netlab_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/ipv6"
)

// noNext is an upper layer that there is none of (RFC 8200 section 4.7): the receiver's kernel has nothing to answer.
const noNext = 59

func words(src, dst, text string) []byte {
	h := ipv6.Header{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), HopLimit: 64}
	return ipv6.Append(nil, h, noNext, []byte(text))
}

// arrives waits for a packet; no other one of these tests may come before it.
func arrives(t *testing.T, c *netlab.Capture, packet []byte) {
	t.Helper()
	for {
		p, err := c.Next(netlabtest.Patience)
		must(t, err)
		if p == nil {
			t.Fatalf("it did not arrive: %x", packet)
		}
		if p[6] != noNext {
			continue // the kernels' own
		}
		// The links that it went over have taken from the hop limit.
		if p[7] = packet[7]; !bytes.Equal(p, packet) {
			t.Fatalf("%x arrived, want %x", p, packet)
		}
		return
	}
}

// Packets are injected whole, and seen where they arrive but not where they leave.
func TestInjectedPacketsAreCaptured(t *testing.T) {
	lab, ns := netlabtest.New(t, "a", "b")
	a, b := ns[0], ns[1]
	must(t,
		lab.Veth(netlab.End{NS: a, Name: "eth0"}, netlab.End{NS: b, Name: "eth0"}),
		a.AddAddress("eth0", netip.MustParsePrefix("2001:db8::a/64")),
		b.AddAddress("eth0", netip.MustParsePrefix("2001:db8::b/64")),
	)
	here, there := netlabtest.Capture(t, a), netlabtest.Capture(t, b)
	for _, p := range [][]byte{
		words("2001:db8:5::5", "2001:db8::b", "of nobody's address"),
		words("fe80::5", "ff02::1", "on the link"),
	} {
		must(t, a.Inject(p, "eth0"))
		arrives(t, there, p)
	}
	back := words("2001:db8::b", "2001:db8::a", "back")
	must(t, b.Inject(back, ""))
	arrives(t, here, back) // and nothing of what was sent from here
	for {
		p, err := there.Next(time.Millisecond)
		must(t, err)
		if p == nil {
			break
		}
		if p[6] == noNext {
			t.Errorf("%x arrived", p)
		}
	}
	must(t, there.Close(), there.Close())
	if _, err := there.Next(time.Millisecond); err == nil {
		t.Error("a capture that is closed goes on")
	}
	for name, err := range map[string]error{
		"no packet":             a.Inject([]byte{6, 0, 0, 0}, "eth0"),
		"no route":              a.Inject(words("2001:db8::a", "2001:db8:9::9", ""), "eth0"),
		"no such interface":     a.Inject(words("fe80::5", "ff02::1", ""), "eth9"),
		"no interface to frame": a.SendFrame("eth9", []byte("frame")),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Frames with a tag belong to the VLAN's interface.
func TestFramesOfAVLAN(t *testing.T) {
	lab, ns := netlabtest.New(t, "a", "b")
	a, b := ns[0], ns[1]
	hw := [6]byte{2, 0, 0, 0, 0, 0xb}
	must(t, lab.Veth(netlab.End{NS: a, Name: "eth0"}, netlab.End{NS: b, Name: "eth0", Hardware: hw}))
	if err := b.VLAN("eth0.7", "eth0", 7); errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("this kernel has no VLAN interfaces")
	} else if err != nil {
		t.Fatal(err)
	}
	seen := netlabtest.Capture(t, b)
	packet := words("2001:db8::a", "2001:db8::b", "tagged")
	frame := func(tag ...byte) []byte {
		f := append(append([]byte(nil), hw[:]...), 2, 0, 0, 0, 0, 0xa)
		return append(append(append(f, tag...), 0x86, 0xdd), packet...)
	}
	must(t, a.SendFrame("eth0", frame(0x81, 0, 0, 8), frame(0x81, 0, 0, 7)))
	arrives(t, seen, packet)
	var count []byte
	err := b.Do(func() (err error) {
		count, err = os.ReadFile("/sys/class/net/eth0.7/statistics/rx_packets")
		return err
	})
	if err != nil || strings.TrimSpace(string(count)) != "1" {
		t.Errorf("by the VLAN came %q frames (%v), want the one with its tag", count, err)
	}
	must(t, a.SendFrame("eth0", frame()))
	arrives(t, seen, packet)
}

// Of two routes to one destination each takes the packets from its source.
func TestRoutesThatDependOnTheSource(t *testing.T) {
	lab, ns := netlabtest.New(t, "router", "left", "right")
	router, destination := ns[0], netip.MustParsePrefix("2001:db8:9::/64")
	for i, name := range []string{"left", "right"} {
		prefix := netip.MustParsePrefix([]string{"2001:db8:1::1/64", "2001:db8:2::1/64"}[i])
		far := prefix.Addr().Next()
		must(t,
			lab.Veth(netlab.End{NS: router, Name: name}, netlab.End{NS: ns[1+i], Name: "eth0"}),
			router.AddAddress(name, prefix), ns[1+i].AddAddress("eth0", netip.PrefixFrom(far, 64)),
			router.AddSourceRoute(destination, prefix, far, name))
	}
	for i, source := range []string{"2001:db8:1::1", "2001:db8:2::1"} {
		c := netlabtest.Capture(t, ns[1+i])
		from := &net.UDPAddr{IP: net.ParseIP(source)}
		socket := netlabtest.Open(t, router, func() (*net.UDPConn, error) { return net.ListenUDP("udp6", from) })
		_, err := socket.WriteTo([]byte(source), &net.UDPAddr{IP: net.ParseIP("2001:db8:9::9"), Port: 9})
		must(t, err)
		netlabtest.Await(t, "the packet from "+source, func() bool {
			p, err := c.Next(time.Second)
			must(t, err)
			return bytes.HasSuffix(p, []byte(source))
		})
	}
}

// What has no method can be asked by netlink, and what has no netlink by its file.
func TestRequestsAndFiles(t *testing.T) {
	_, ns := netlabtest.New(t, "inside")
	inside := ns[0]
	must(t, inside.Bridge("br0"))
	l, err := inside.Link("br0")
	must(t, err)
	setMTU := func(index, mtu int) netlink.Message {
		data := make([]byte, unix.SizeofIfInfomsg, 32)
		binary.NativeEndian.PutUint32(data[4:8], uint32(index))
		data = binary.NativeEndian.AppendUint16(data, 8)
		data = binary.NativeEndian.AppendUint16(data, unix.IFLA_MTU)
		data = binary.NativeEndian.AppendUint32(data, uint32(mtu))
		return netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWLINK}, Data: data}
	}
	must(t, inside.Request(unix.NETLINK_ROUTE, setMTU(l.Index, 1400), setMTU(l.Index, 1300)))
	if l, err = inside.Link("br0"); err != nil || l.MTU != 1300 {
		t.Errorf("the MTU is %d (%v), want that of the last request", l.MTU, err)
	}
	err = inside.Request(unix.NETLINK_ROUTE, setMTU(999, 1400), setMTU(l.Index, 1400))
	if !errors.Is(err, unix.ENODEV) {
		t.Errorf("a request that the kernel refuses gives %v", err)
	}
	if l, _ = inside.Link("br0"); l.MTU != 1300 {
		t.Error("the request after one that was refused was sent")
	}

	const file = "/sys/class/net/br0/bridge/max_age"
	must(t, inside.Set(file, "1234"))
	out, err := inside.Run(netlabtest.Patience, "/bin/cat", file)
	if err != nil || strings.TrimSpace(out) != "1234" {
		t.Errorf("the file says %q (%v)", out, err)
	}
	if err := inside.Set("/sys/class/net/br9/bridge/max_age", "1234"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there gives %v", err)
	}
}
