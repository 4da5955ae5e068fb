package forward

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/ipv6"
)

// Both ends in the kernel, and mixed.
func TestKernelCarriesAConversation(t *testing.T) {
	needTunnels(t)
	for _, router := range []Backend{External, Plain, TUN} {
		for _, node := range []Backend{Plain, TUN} {
			t.Run(fmt.Sprintf("router %s, node %s", router, node), func(t *testing.T) {
				n := newTunnelNetwork(t)
				f := n.open(Config{Backend: router}, n.guard())
				g := n.nodeGuard()
				e := n.node(NodeConfig{Backend: node, Guard: g})
				n.must(f.Bind(bound))
				n.must(e.Bind(bound))
				n.converse("first")

				moved := bound
				moved.CareOf = careOfTwo
				n.must(f.Bind(moved))
				n.must(e.Bind(moved))
				n.must(e.Bind(moved)) // a refresh
				n.must(n.mn.DeleteAddress("wl0", netip.PrefixFrom(careOf, 64)))
				n.converse("after a move")

				n.must(e.Unbind(homeAddr))
				n.must(e.Unbind(homeAddr)) // no error
				if left := n.nodeState(); len(left) != 0 {
					t.Errorf("after Unbind the node has %v", left)
				}
			})
		}
	}
}

// converse has the correspondent talk to the home address, for each text by new sockets.
func (n *network) converse(text string) {
	n.t.Helper()
	s := n.listen(n.mn, homeAddr, 5000)
	defer s.Close()
	go echo(s)
	c := n.listen(n.cn, peer, 0)
	defer c.Close()
	if err := ask(c, netip.AddrPortFrom(homeAddr, 5000), text, 3*time.Second); err != nil {
		n.t.Fatalf("%s: no echo through the tunnel: %v", text, err)
	}
}

func (n *network) nodeGuard() *guard.Node {
	n.t.Helper()
	var g *guard.Node
	n.must(n.mn.Do(func() (err error) { g, err = guard.OpenNode(7); return err }))
	n.t.Cleanup(func() { g.Close(false) })
	return g
}

// The kernel's device would take any packet from the router, or from who gives himself out as that.
func TestKernelNodeTakesItsHomeAddressOnly(t *testing.T) {
	n := newTunnelNetwork(t)
	f := n.open(Config{Backend: TUN}, nil)
	n.must(f.Bind(bound))
	e := n.node(NodeConfig{Guard: n.nodeGuard()})
	if got := e.Describe(); got.Backend != Plain || len(got.Reasons) != 0 {
		t.Errorf("Describe() = %+v, want %s", got, Plain)
	}
	n.must(e.Bind(bound))
	n.converse("home")
	for _, c := range []struct {
		name         string
		outer, inner netip.Addr
		passes       bool
	}{
		{"to the home address", routerAddr, homeAddr, true},
		{"to another address of the node", routerAddr, careOfTwo, false},
		{"to all nodes", routerAddr, ipv6.AllNodes(), false},
		{"from another router", peer, homeAddr, false},
	} {
		s := n.listen(n.mn, netip.IPv6Unspecified(), 5001)
		p := udp(peer, c.inner, 64, c.name)
		binary.BigEndian.PutUint16(p[headerLen+2:], 5001)
		binary.BigEndian.PutUint16(p[headerLen+6:], 0)
		finish(p, headerLen, protoUDP)
		n.inject(n.ar, tunnelled(c.outer, careOf, -1, p))
		limit := 60 * time.Millisecond
		if c.passes {
			limit = 3 * time.Second
		}
		n.must(s.SetReadDeadline(time.Now().Add(limit)))
		got, _, err := s.ReadFromUDPAddrPort(make([]byte, 100))
		if (err == nil) != c.passes {
			t.Errorf("%s: %d octets, %v", c.name, got, err)
		}
		s.Close()
	}
}

// What the router sent to the care-of address before is still taken when the node has moved on, and no more when it is done.
func TestKernelNodeTakesWhatWasUnderWay(t *testing.T) {
	n := newTunnelNetwork(t)
	e := n.node(NodeConfig{Backend: Plain, Guard: n.nodeGuard()})
	moved := bound
	moved.CareOf = careOfTwo
	arrives := func(outer netip.Addr) bool {
		s := n.listen(n.mn, netip.IPv6Unspecified(), 5001)
		defer s.Close()
		p := udp(peer, homeAddr, 64, "under way")
		binary.BigEndian.PutUint16(p[headerLen+2:], 5001)
		binary.BigEndian.PutUint16(p[headerLen+6:], 0)
		finish(p, headerLen, protoUDP)
		n.inject(n.ar, tunnelled(routerAddr, outer, -1, p))
		n.must(s.SetReadDeadline(time.Now().Add(300 * time.Millisecond)))
		_, _, err := s.ReadFromUDPAddrPort(make([]byte, 100))
		return err == nil
	}
	n.must(e.Expect(moved)) // nothing is bound yet
	n.must(e.Bind(bound))
	if arrives(careOfTwo) {
		t.Error("a packet arrived by an address that nobody knows")
	}
	n.must(e.Expect(moved))
	n.must(e.Expect(moved))
	for _, to := range []netip.Addr{careOf, careOfTwo} {
		if !arrives(to) {
			t.Errorf("while the other address is expected, a packet to %v did not arrive", to)
		}
	}
	n.must(e.Bind(moved))
	for _, to := range []netip.Addr{careOf, careOfTwo} {
		if !arrives(to) {
			t.Errorf("a packet to %v did not arrive", to)
		}
	}
	n.must(e.Bind(bound)) // and back
	for _, to := range []netip.Addr{careOf, careOfTwo} {
		if !arrives(to) {
			t.Errorf("back again, a packet to %v did not arrive", to)
		}
	}
	n.must(e.Unbind(homeAddr))
	if left := n.nodeState(); len(left) != 0 {
		t.Errorf("after Unbind the node has %v", left)
	}
}

func TestNodeOfAutoNeedsTheGuardForTheKernel(t *testing.T) {
	n := newTunnelNetwork(t)
	if got := n.node(NodeConfig{}).Describe(); got.Backend != TUN || len(got.Reasons) == 0 {
		t.Errorf("Describe() = %+v, want %s and why", got, TUN)
	}
}
