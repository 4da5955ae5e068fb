package rawip_test

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/drivers/rawip/fake"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

var (
	par = netip.MustParseAddr("2001:db8:9::1") // the previous access router
	nar = netip.MustParseAddr("2001:db8:9::2") // the new one
)

func handover(typ uint8, seq uint16, src, dst netip.Addr) []byte {
	var mh []byte
	switch typ {
	case mobility.TypeHI:
		mh = mobility.HandoverInitiate{Seq: seq, LinkAddr: hwA, NewCareOf: netip.MustParseAddr("2001:db8:2::7")}.Append(nil)
	case mobility.TypeHAck:
		mh = mobility.HandoverAck{Seq: seq}.Append(nil)
	default:
		mh = mobility.FastBindingUpdate{Seq: seq}.Append(nil)
	}
	mobility.FixChecksum(mh, src, dst)
	return mh
}

// routers are two routers on one wire, a with the address par, b with nar.
type routers struct {
	pair
	nsA, nsB *netlab.Namespace
}

func kernelRouters(t *testing.T) routers {
	t.Helper()
	lab, ns := netlabtest.New(t, "par", "nar")
	r := routers{nsA: ns[0], nsB: ns[1]}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(lab.Veth(netlab.End{NS: r.nsA, Name: "a0", Hardware: hwA}, netlab.End{NS: r.nsB, Name: "b0", Hardware: hwB}))
	must(r.nsA.AddAddress("a0", netip.PrefixFrom(par, 64)))
	must(r.nsB.AddAddress("b0", netip.PrefixFrom(nar, 64)))
	open := func() (*rawip.Socket, error) { return rawip.Open(rawip.Config{}) }
	r.a, r.b = netlabtest.Open(t, r.nsA, open), netlabtest.Open(t, r.nsB, open)
	l, err := r.nsB.Link("b0")
	must(err)
	r.lb = rawip.Link{Index: l.Index}
	return r
}

func fakeRouters(*testing.T) routers {
	a, b := fake.New(), fake.New()
	a.IPsec = func(packet []byte) { b.ArriveProtected(7, packet) }
	b.IPsec = func(packet []byte) { a.ArriveProtected(9, packet) }
	var r routers
	r.a, r.b, r.lb = a, b, rawip.Link{Index: 7}
	return r
}

// take takes the next packet of a channel.
func take(t *testing.T, c <-chan *rawip.Received) *rawip.Received {
	t.Helper()
	select {
	case r := <-c:
		return r
	case <-time.After(netlabtest.Patience):
		t.Fatal("nothing came")
		return nil
	}
}

func counter(c rawip.Conn, name string) (n uint64) {
	c.Counters(func(what string, value uint64) {
		if what == name {
			n = value
		}
	})
	return n
}

// HI and HAck go and come by the protected socket, whole; other mobility headers do not come by it. The kernel's Conn and the
// fake's do the same.
func TestProtectedConns(t *testing.T) {
	for name, open := range map[string]func(*testing.T) routers{"kernel": kernelRouters, "fake": fakeRouters} {
		t.Run(name, func(t *testing.T) {
			r := open(t)
			for seq, typ := range []uint8{mobility.TypeHI, mobility.TypeFBU, mobility.TypeHAck} {
				if err := r.a.SendProtected(par, nar, handover(typ, uint16(seq), par, nar)); err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range [][]byte{handover(mobility.TypeHI, 0, par, nar), handover(mobility.TypeHAck, 2, par, nar)} {
				got := take(t, r.b.Protected())
				p := &got.Packet
				if !bytes.Equal(p.Payload, want) || p.Src != par || p.Dst != nar || p.HopLimit != 64 || p.Interface != r.lb.Index ||
					p.Proto != ipv6.ProtoMobility || !p.LinkSource.IsZero() || got.At.IsZero() {
					t.Errorf("got %+v\nwant %x", p, want)
				}
				// What is made up is a packet whose checksum holds.
				if h, fault := mobility.Check(p, mobility.MinHeaderLen); fault != mobility.FaultNone || h.Type != want[2] {
					t.Errorf("type %d: %v", h.Type, fault)
				}
				if !bytes.Equal(p.Raw[ipv6.HeaderLen:], want) {
					t.Errorf("made up %x", p.Raw)
				}
				got.Release()
			}
			// The answer goes the other way.
			if err := r.b.SendProtected(nar, par, handover(mobility.TypeHAck, 7, nar, par)); err != nil {
				t.Fatal(err)
			}
			if got := take(t, r.a.Protected()); got.Packet.Src != nar {
				t.Errorf("answer from %v", got.Packet.Src)
			}
			// A wrong checksum is for the reader to count.
			bad := handover(mobility.TypeHI, 8, par, nar)
			bad[5] ^= 1
			if err := r.a.SendProtected(par, nar, bad); err != nil {
				t.Fatal(err)
			}
			if got := take(t, r.b.Protected()); !bytes.Equal(got.Packet.Payload, bad) {
				t.Errorf("got %x", got.Packet.Payload)
			}
			if n := counter(r.b, "received_protected"); n != 3 {
				t.Errorf("received_protected = %d", n)
			}
			for name, err := range map[string]error{
				"to a group":           r.a.SendProtected(par, ipv6.AllNodes(), bad),
				"from nowhere":         r.a.SendProtected(netip.Addr{}, nar, bad),
				"to link-local":        r.a.SendProtected(par, netip.MustParseAddr("fe80::1"), bad),
				"cut":                  r.a.SendProtected(par, nar, bad[:len(bad)-8]),
				"no octets":            r.a.SendProtected(par, nar, nil),
				"more than the header": r.a.SendProtected(par, nar, append(bytes.Clone(bad), 0)),
			} {
				if err == nil {
					t.Errorf("%s: sent", name)
				}
			}
			if n := counter(r.a, "send_errors"); n != 6 {
				t.Errorf("send_errors = %d", n)
			}
		})
	}
}

// The source is an address of the router's own, or there is an error that says so.
func TestProtectedSourceIsOurs(t *testing.T) {
	r := kernelRouters(t)
	other := netip.MustParseAddr("2001:db8:9::77")
	if err := r.a.SendProtected(other, nar, handover(mobility.TypeHI, 1, other, nar)); err == nil {
		t.Error("sent from an address of nobody's")
	}
}

// A burst that nobody reads is dropped and counted, and what comes after it is taken again.
func TestProtectedQueueIsBounded(t *testing.T) {
	r := kernelRouters(t)
	const sent = 200
	for seq := range uint16(sent) {
		if err := r.a.SendProtected(par, nar, handover(mobility.TypeHI, seq, par, nar)); err != nil {
			t.Fatal(err)
		}
	}
	netlabtest.Await(t, "all are counted", func() bool {
		return counter(r.b, "received_protected")+counter(r.b, "drop_protected_queue_full") == sent
	})
	if n := counter(r.b, "received_protected"); n != 64 {
		t.Errorf("%d were kept, want 64", n)
	}
	for range 64 {
		take(t, r.b.Protected()).Release()
	}
	if err := r.a.SendProtected(par, nar, handover(mobility.TypeHI, 999, par, nar)); err != nil {
		t.Fatal(err)
	}
	if got := take(t, r.b.Protected()); got.Packet.Payload[6] != 999>>8 || got.Packet.Payload[7] != 999&0xff {
		t.Errorf("got %x", got.Packet.Payload)
	}
}

// Where a policy wants ESP and there is no association, nothing leaves, and what comes in the clear is refused.
func TestProtectedHeedsPolicies(t *testing.T) {
	r := kernelRouters(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := r.nsA.AddPolicy(netlab.Outbound, par, nar, ipv6.ProtoMobility); errors.Is(err, unix.EPROTONOSUPPORT) {
		t.Skip("this kernel has no XFRM")
	} else {
		must(err)
	}
	err := r.a.SendProtected(par, nar, handover(mobility.TypeHI, 1, par, nar))
	t.Logf("sent without an association: %v", err)
	// In the other direction a fence shows that the first did not come.
	must(r.nsA.AddPolicy(netlab.Inbound, nar, par, ipv6.ProtoMobility))
	must(r.b.SendProtected(nar, par, handover(mobility.TypeHI, 2, nar, par)))
	must(r.b.SendProtected(nar, nar, handover(mobility.TypeHI, 3, nar, nar)))
	if got := take(t, r.b.Protected()); got.Packet.Payload[7] != 3 {
		t.Errorf("number %d left without ESP", got.Packet.Payload[7])
	}
	must(r.a.SendProtected(par, par, handover(mobility.TypeHI, 4, par, par)))
	if got := take(t, r.a.Protected()); got.Packet.Payload[7] != 4 {
		t.Errorf("number %d was taken without ESP", got.Packet.Payload[7])
	}
}

// HI and HAck under ESP: they cross as ciphertext, come by Protected behind the guard, and a forged one in the clear does not.
func TestHandoverUnderESP(t *testing.T) {
	r := kernelRouters(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	err := r.nsA.AddESP(par, nar, 0x1234)
	if err != nil && os.Getenv("ROAMKEY_LAB") != "1" {
		t.Skipf("the kernel has no ESP for IPv6 (%v); `make lab` runs this test on a kernel that has it", err)
	}
	must(err)
	must(r.nsA.AddESP(nar, par, 0x4321))
	must(r.nsB.AddESP(par, nar, 0x1234))
	must(r.nsB.AddESP(nar, par, 0x4321))
	must(r.nsA.AddPolicy(netlab.Outbound, par, nar, ipv6.ProtoMobility))
	must(r.nsB.AddPolicy(netlab.Outbound, nar, par, ipv6.ProtoMobility))
	g := netlabtest.Open(t, r.nsB, func() (guarded, error) { g, err := guard.Open(); return guarded{g}, err })

	hi := handover(mobility.TypeHI, 1, par, nar)
	must(r.a.SendProtected(par, nar, hi))
	if got := take(t, r.b.Protected()); !bytes.Equal(got.Packet.Payload, hi) || got.Packet.Src != par || got.Packet.Dst != nar || got.Packet.Interface != r.lb.Index {
		t.Errorf("got %+v", got.Packet)
	}
	if n := counter(r.b, "received_urgent"); n != 0 {
		t.Errorf("%d mobility headers crossed in the clear", n)
	}
	hack := handover(mobility.TypeHAck, 1, nar, par)
	must(r.b.SendProtected(nar, par, hack))
	if got := take(t, r.a.Protected()); !bytes.Equal(got.Packet.Payload, hack) {
		t.Errorf("got %x", got.Packet.Payload)
	}
	// SendRouted goes around IPsec no more than the socket does, but a forger elsewhere has no association: with a source
	// that no policy covers the packet is in the clear.
	forger := netip.MustParseAddr("2001:db8:9::66")
	must(r.nsA.AddAddress("a0", netip.PrefixFrom(forger, 64)))
	forged := handover(mobility.TypeHI, 2, forger, nar)
	must(r.a.SendRouted(ipv6.Append(nil, ipv6.Header{Src: forger, Dst: nar, HopLimit: 64}, ipv6.ProtoMobility, forged)))
	must(r.a.SendProtected(par, nar, handover(mobility.TypeHI, 3, par, nar)))
	if got := take(t, r.b.Protected()); got.Packet.Payload[7] != 3 {
		t.Errorf("number %d from %v passed the guard without ESP", got.Packet.Payload[7], got.Packet.Src)
	}
	if got := take(t, r.b.Urgent()); got.Packet.Src != forger {
		t.Errorf("from %v by Urgent", got.Packet.Src)
	}
	if n := netlabtest.Counter(t, g, "mobility_header"); n != 1 {
		t.Errorf("the guard dropped %d, want the forged one", n)
	}
}

// guarded is a guard that ends without leaving anything.
type guarded struct{ *guard.Guard }

func (g guarded) Close() error { return g.Guard.Close(false) }
