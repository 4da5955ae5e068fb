package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/frames"
	"github.com/roamkey/roamkey/ipv6"
)

// The lab of all tests here; each name is an interface of its namespace:
//
//	node  1::100, fe80::100 wl0 ---- lan0 1::1, fe80::1  router  up0 2::1 ---- far0 2::2  far
var (
	routerAddr = netip.MustParseAddr("2001:db8:1::1")
	routerLink = netip.MustParseAddr("fe80::1")
	nodeAddr   = netip.MustParseAddr("2001:db8:1::100")
	nodeLink   = netip.MustParseAddr("fe80::100")
	farAddr    = netip.MustParseAddr("2001:db8:2::2")
	homeAddr   = netip.MustParseAddr("2001:db8:1::200")
)

type network struct {
	t                 *testing.T
	node, router, far *netlab.Namespace
	// What packet sockets see of what arrives.
	nodeIn, routerIn, farIn *capture
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	lab, ns := netlabtest.New(t, "node", "router", "far")
	n := &network{t: t, node: ns[0], router: ns[1], far: ns[2]}
	n.must(lab.Veth(netlab.End{NS: n.node, Name: "wl0"}, netlab.End{NS: n.router, Name: "lan0"}))
	n.must(lab.Veth(netlab.End{NS: n.far, Name: "far0"}, netlab.End{NS: n.router, Name: "up0"}))
	for _, a := range []struct {
		ns   *netlab.Namespace
		dev  string
		addr string
	}{
		{n.node, "wl0", "2001:db8:1::100/64"}, {n.node, "wl0", "fe80::100/64"},
		{n.router, "lan0", "2001:db8:1::1/64"}, {n.router, "lan0", "fe80::1/64"},
		{n.router, "up0", "2001:db8:2::1/64"}, {n.far, "far0", "2001:db8:2::2/64"},
	} {
		n.must(a.ns.AddAddress(a.dev, netip.MustParsePrefix(a.addr)))
	}
	everywhere := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	n.must(n.node.AddRoute(everywhere, routerAddr, "wl0"))
	n.must(n.far.AddRoute(everywhere, netip.MustParseAddr("2001:db8:2::1"), "far0"))
	n.must(n.router.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	n.nodeIn, n.routerIn, n.farIn = n.capture(n.node), n.capture(n.router), n.capture(n.far)
	return n
}

func (n *network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) guard() *Guard {
	n.t.Helper()
	var g *Guard
	n.must(n.router.Do(func() (err error) { g, err = Open(); return err }))
	n.t.Cleanup(func() { g.Close(false) })
	return g
}

// send sends a whole packet from the node; link-local ones, too.
func (n *network) send(packet []byte) { n.t.Helper(); n.sendFrom(n.node, packet) }

func (n *network) sendFrom(ns *netlab.Namespace, packet []byte) {
	n.t.Helper()
	if err := ns.Inject(packet, "wl0"); !errors.Is(err, unix.EPERM) { // nftables drops it on its way out
		n.must(err)
	}
}

// sendRaw sends a packet in a frame, for those from the unspecified address.
func (n *network) sendRaw(packet []byte) {
	n.t.Helper()
	link, err := n.node.Link("wl0")
	n.must(err)
	group := ipv6.MulticastLinkAddr(netip.AddrFrom16([16]byte(packet[24:40])))
	n.must(n.node.SendFrame("wl0", frames.Append(nil, group, link.Hardware, packet)))
}

// fence sends an echo request to the router and waits for the reply: what was sent before has been dealt with then. It
// gives what arrived at the node before the reply.
func (n *network) fence() [][]byte {
	n.t.Helper()
	mark := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	echo := append([]byte{128, 0, 0, 0, 0, 1, 0, 1}, mark...)
	binary.BigEndian.PutUint16(echo[2:], ipv6.Checksum(nodeAddr, routerAddr, ipv6.ProtoICMPv6, echo))
	n.send(ipv6.Append(nil, ipv6.Header{Src: nodeAddr, Dst: routerAddr, HopLimit: 64}, ipv6.ProtoICMPv6, echo))
	var before [][]byte
	for {
		p := n.nodeIn.next(3 * time.Second)
		if p == nil {
			n.t.Fatal("the router does not answer an echo request")
		}
		if p[6] == ipv6.ProtoICMPv6 && p[40] == 129 && bytes.HasSuffix(p, mark) {
			return before
		}
		before = append(before, p)
	}
}

// problems counts the ICMPv6 errors among packets.
func problems(packets [][]byte) (count int) {
	for _, p := range packets {
		if p[6] == ipv6.ProtoICMPv6 && p[40] < 128 {
			count++
		}
	}
	return count
}

// capture sees the IPv6 packets that arrive at a namespace, as Roamkey's own packet sockets do.
type capture struct {
	n *network
	c *netlab.Capture
}

func (n *network) capture(ns *netlab.Namespace) *capture {
	n.t.Helper()
	return &capture{n, netlabtest.Capture(n.t, ns)}
}

// next gives the next packet that arrives within the given time, or nil.
func (c *capture) next(limit time.Duration) []byte {
	c.n.t.Helper()
	p, err := c.c.Next(limit)
	c.n.must(err)
	return p
}

// sees waits for a packet that ends like p.
func (c *capture) sees(p []byte) {
	c.n.t.Helper()
	for {
		got := c.next(3 * time.Second)
		if got == nil {
			c.n.t.Fatalf("packet did not arrive: %x", p)
		}
		if len(got) == len(p) && bytes.Equal(got[8:], p[8:]) {
			return
		}
	}
}

// bindingUpdate is a mobility header that a kernel's raw sockets would refuse or not have.
func bindingUpdate(src, dst, home netip.Addr) []byte {
	mh := []byte{59, 1, 5, 0, 0, 0, 0, 7, 0xc0, 0, 0, 100, 1, 2, 0, 0}
	from := src
	if home.IsValid() {
		from = home
	}
	binary.BigEndian.PutUint16(mh[4:], ipv6.Checksum(from, dst, ipv6.ProtoMobility, mh))
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255, HomeAddress: home}, ipv6.ProtoMobility, mh)
}
