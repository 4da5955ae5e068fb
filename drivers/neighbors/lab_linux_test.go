package neighbors

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/frames"
	"github.com/roamkey/roamkey/ipv6"
)

func TestMain(m *testing.M) { os.Exit(netlabtest.Main(m)) }

// The lab of all tests here; each name is an interface of its namespace:
//
//	host  1::100, fe80::100 wl0 ---- lan0 1::1, fe80::1  router  up0 2::1 ---- far0 2::2  far
//
// The host's kernel says nothing by itself and answers nothing: what the tests see there is the router's doing.
var (
	routerAddr = netip.MustParseAddr("2001:db8:1::1")
	routerLink = netip.MustParseAddr("fe80::1")
	hostAddr   = netip.MustParseAddr("2001:db8:1::100")
	farAddr    = netip.MustParseAddr("2001:db8:2::2")
	hostHW     = ipv6.LinkAddr{2, 0, 0, 0, 1, 0}
	routerHW   = ipv6.LinkAddr{2, 0, 0, 0, 0, 1}
)

type network struct {
	t                 *testing.T
	host, router, far *netlab.Namespace
	lan               int // index of lan0
	wire              *netlab.Capture
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	lab, ns := netlabtest.New(t, "host", "router", "far")
	n := &network{t: t, host: ns[0], router: ns[1], far: ns[2]}
	n.must(n.host.SetSysctl("net/ipv6/conf/default/disable_ipv6", "1"))
	n.must(lab.Veth(netlab.End{NS: n.host, Name: "wl0", Hardware: hostHW}, netlab.End{NS: n.router, Name: "lan0", Hardware: routerHW}))
	n.must(lab.Veth(netlab.End{NS: n.far, Name: "far0"}, netlab.End{NS: n.router, Name: "up0"}))
	n.must(n.router.AddAddress("lan0", netip.PrefixFrom(routerAddr, 64)))
	n.must(n.router.AddAddress("lan0", netip.PrefixFrom(routerLink, 64)))
	n.must(n.router.AddAddress("up0", netip.MustParsePrefix("2001:db8:2::1/64")))
	n.must(n.far.AddAddress("far0", netip.PrefixFrom(farAddr, 64)))
	n.must(n.far.AddRoute(netip.PrefixFrom(netip.IPv6Unspecified(), 0), netip.MustParseAddr("2001:db8:2::1"), "far0"))
	n.must(n.router.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	lan, err := n.router.Link("lan0")
	n.must(err)
	n.lan = lan.Index
	n.wire = netlabtest.Capture(t, n.host)
	return n
}

func (n *network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) open() *Neighbors {
	n.t.Helper()
	return netlabtest.Open(n.t, n.router, Open)
}

// take has the driver take lan0.
func (n *network) take(d *Neighbors) {
	n.t.Helper()
	n.must(n.router.Do(func() error { return d.Take(n.lan) }))
}

// forward sends a packet from the far end to an address behind the router.
func (n *network) forward(dst netip.Addr, number byte) []byte {
	n.t.Helper()
	udp := []byte{0x20, 0, 0x20, 0, 0, 9, 0, 0, number}
	binary.BigEndian.PutUint16(udp[6:], ipv6.Checksum(farAddr, dst, 17, udp))
	p := ipv6.Append(nil, ipv6.Header{Src: farAddr, Dst: dst, HopLimit: 64}, 17, udp)
	n.must(n.far.Inject(p, ""))
	return p
}

// asked waits for a question of the kernel about addr, which it has no entry for.
func (n *network) asked(d *Neighbors, addr netip.Addr) {
	n.t.Helper()
	for end := time.After(netlabtest.Patience); ; {
		select {
		case a := <-d.Asked():
			if a == (Ask{Link: n.lan, Addr: addr, Missing: true}) {
				return
			}
			n.t.Errorf("asked about %v", a)
		case <-end:
			n.t.Fatalf("the kernel does not ask for %s", addr)
		}
	}
}

// heard gives what has come out of lan0 until p, or within a moment, and whether p has. p may be nil.
func (n *network) heard(p []byte, limit time.Duration) (before [][]byte, came bool) {
	n.t.Helper()
	for {
		got, err := n.wire.Next(limit)
		n.must(err)
		if got == nil {
			return before, false
		}
		if p != nil && len(got) == len(p) && string(got[8:]) == string(p[8:]) {
			return before, true
		}
		before = append(before, got)
	}
}

// arrives waits for p behind lan0.
func (n *network) arrives(p []byte) (before [][]byte) {
	n.t.Helper()
	before, came := n.heard(p, netlabtest.Patience)
	if !came {
		n.t.Fatalf("a packet did not arrive: %x", p)
	}
	return before
}

// quiet checks that there is no Neighbour Discovery among packets.
func (n *network) quiet(packets [][]byte) {
	n.t.Helper()
	for _, p := range packets {
		if typ, target := discovery(p); typ != 0 {
			n.t.Errorf("the router's kernel sent a message of type %d about %s", typ, target)
		}
	}
}

// discovery gives the type and target of a message of Neighbour Discovery, 0 for other packets.
func discovery(p []byte) (typ byte, target netip.Addr) {
	if p[6] != ipv6.ProtoICMPv6 || p[40] < 133 || p[40] > 137 {
		return 0, target
	}
	if len(p) >= 64 {
		target = netip.AddrFrom16([16]byte(p[48:64]))
	}
	return p[40], target
}

// solicit sends an unsigned solicitation for target from the host's side.
func (n *network) solicit(src, target netip.Addr) []byte {
	n.t.Helper()
	dst := ipv6.SolicitedNode(target)
	b := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target.AsSlice()...)
	if !src.IsUnspecified() {
		b = append(append(b, 1, 1), hostHW[:]...)
	}
	binary.BigEndian.PutUint16(b[2:], ipv6.Checksum(src, dst, ipv6.ProtoICMPv6, b))
	p := ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, b)
	n.must(n.host.SendFrame("wl0", frames.Append(nil, ipv6.MulticastLinkAddr(dst), hostHW, p)))
	return p
}

func (n *network) sysctl(name string) string {
	n.t.Helper()
	v, err := n.router.Sysctl("net/ipv6/" + name)
	n.must(err)
	return strings.TrimSpace(v)
}

// probes reads what the kernel says in files about lan0: not by the way in which the driver sets it.
func (n *network) probes() (p probes) {
	n.t.Helper()
	for name, to := range map[string]*uint32{"app_solicit": &p.app, "ucast_solicit": &p.unicast, "mcast_solicit": &p.multicast} {
		v, err := strconv.Atoi(n.sysctl("neigh/lan0/" + name))
		n.must(err)
		*to = uint32(v)
	}
	return p
}
