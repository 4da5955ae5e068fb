package rawip_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/drivers/rawip/fake"
	"github.com/roamkey/roamkey/ipv6"
)

var (
	hwA = ipv6.LinkAddr{2, 0, 0, 0, 1, 1}
	hwB = ipv6.LinkAddr{2, 0, 0, 0, 1, 2}
)

// pair is two Conns on one link, whose index they may see differently. do calls what opens sockets for a.
type pair struct {
	a, b   rawip.Conn
	la, lb rawip.Link
	do     func(func() error) error
}

// The kernel's and the fake's Conns do the same as far as a program can see.
func TestConns(t *testing.T) {
	for name, make := range map[string]func(*testing.T) pair{"kernel": kernelPair, "fake": fakePair} {
		t.Run(name, func(t *testing.T) {
			p := make(t)
			defer p.a.Close()
			defer p.b.Close()
			testConns(t, p)
		})
	}
}

func fakePair(*testing.T) pair {
	p := pair{
		la: rawip.Link{Index: 7, Name: "a0", Hardware: hwA}, lb: rawip.Link{Index: 9, Name: "b0", Hardware: hwB},
		do: func(f func() error) error { return f() },
	}
	a, b := fake.New(p.la), fake.New(p.lb)
	var s fake.Segment
	s.Join(a, p.la.Index)
	s.Join(b, p.lb.Index)
	p.a, p.b = a, b
	return p
}

func kernelPair(t *testing.T) pair {
	lab, ns := netlabtest.New(t, "a", "b")
	a, b := ns[0], ns[1]
	if err := lab.Veth(netlab.End{NS: a, Name: "a0", Hardware: hwA}, netlab.End{NS: b, Name: "b0", Hardware: hwB}); err != nil {
		t.Fatal(err)
	}
	p := pair{do: a.Do}
	for _, end := range []struct {
		ns   *netlab.Namespace
		name string
		conn *rawip.Conn
		link *rawip.Link
	}{{a, "a0", &p.a, &p.la}, {b, "b0", &p.b, &p.lb}} {
		l, err := end.ns.Link(end.name)
		if err != nil {
			t.Fatal(err)
		}
		*end.link = rawip.Link{Index: l.Index, Name: end.name, Hardware: l.Hardware}
		*end.conn = netlabtest.Open(t, end.ns, func() (*rawip.Socket, error) {
			return rawip.Open(rawip.Config{Links: []rawip.Link{*end.link}})
		})
	}
	return p
}

func testConns(t *testing.T, p pair) {
	source, home := netip.MustParseAddr("2001:db8:2::99"), netip.MustParseAddr("2001:db8:1::1")
	message := func(dst netip.Addr, proto uint8, payload ...byte) []byte {
		return ipv6.Append(nil, ipv6.Header{Src: source, Dst: dst, HopLimit: 255}, proto, payload)
	}
	expect := func(what string, c <-chan *rawip.Received, link int, raw []byte) {
		t.Helper()
		for {
			select {
			case r := <-c:
				if r.Packet.Src != source {
					continue // the kernel's own
				}
				if !bytes.Equal(r.Packet.Raw, raw) || r.Packet.Interface != link || r.Packet.LinkSource != hwA && r.Packet.LinkSource != hwB || r.At.IsZero() {
					t.Errorf("%s: got %x from %v on %d", what, r.Packet.Raw, r.Packet.LinkSource, r.Packet.Interface)
				}
				r.Release()
				return
			case <-time.After(5 * time.Second):
				t.Fatalf("%s: nothing came", what)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	nd := message(ipv6.AllNodes(), ipv6.ProtoICMPv6, 136, 0, 0, 0, 0, 0, 0, 0)
	key := message(netip.MustParseAddr("fe80::2"), ipv6.ProtoMobility, 59, 0, 8, 0, 0, 0, 0, 0)
	update := message(home, ipv6.ProtoMobility, 59, 0, 5, 0, 0, 0, 0, 0)
	echo := message(home, ipv6.ProtoICMPv6, 128, 0, 0, 0, 0, 0, 0, 0)

	// Each message comes by its channel; what is for somebody else, or for no channel, does not come.
	must(p.a.SendLink(p.la.Index, ipv6.LinkAddr{2, 9, 9, 9, 9, 9}, key))
	must(p.a.SendLink(p.la.Index, hwB, echo))
	must(p.a.SendLink(p.la.Index, ipv6.MulticastLinkAddr(ipv6.AllNodes()), nd))
	expect("multicast advertisement", p.b.Packets(), p.lb.Index, nd)
	must(p.a.SendLink(p.la.Index, hwB, update))
	must(p.a.SendLink(p.la.Index, hwB, key))
	expect("key exchange request", p.b.Packets(), p.lb.Index, key)
	expect("binding update", p.b.Urgent(), p.lb.Index, update)

	// A link that is not served takes and gives nothing; the urgent packets come from any.
	must(p.a.SetLinks(nil))
	if p.a.SendLink(p.la.Index, hwB, nd) == nil {
		t.Error("sent on a link that is not served")
	}
	if p.a.Watch(p.la.Index, home) == nil {
		t.Error("watched on a link that is not served")
	}
	must(p.b.SendLink(p.lb.Index, hwA, key))
	must(p.b.SendLink(p.lb.Index, hwA, update))
	expect("binding update from a link that is not served", p.a.Urgent(), p.la.Index, update)
	must(p.do(func() error { return p.a.SetLinks([]rawip.Link{p.la}) }))
	must(p.b.SendLink(p.lb.Index, hwA, nd))
	expect("advertisement after the link is served again", p.a.Packets(), p.la.Index, nd)

	must(p.do(func() error { return p.a.Watch(p.la.Index, home) }))
	must(p.a.Unwatch(p.la.Index, home))

	counts := make(map[string]uint64)
	p.b.Counters(func(name string, value uint64) { counts[name] = value })
	if counts["received_urgent"] != 1 || counts["received_link"] < 2 || counts["sent"] != 3 {
		t.Errorf("counters %v", counts)
	}
	must(p.a.Close())
	if p.a.SetLinks(nil) == nil {
		t.Error("SetLinks after Close gives no error")
	}
}
