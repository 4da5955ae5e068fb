package guard

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/ipv6"
)

// solicitation is one of Duplicate Address Detection for the router's address: in these tests the mobile node's kernel is
// that of the namespace "router", where the lab's other end can ask it.
func solicitation(options ...byte) []byte {
	target := routerAddr.As16()
	b := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target[:]...)
	b = append(b, options...)
	src, dst := netip.IPv6Unspecified(), ipv6.SolicitedNode(routerAddr)
	binary.BigEndian.PutUint16(b[2:], ipv6.Checksum(src, dst, ipv6.ProtoICMPv6, b))
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, b)
}

func authentication() []byte { return append([]byte{7, 6}, make([]byte, 46)...) }

// TestKernelDoesNotDefendAnAuthenticatedSolicitation: an advertisement without the reply option voids the association
// (LKE-AR-13), so that the mobile node's kernel must not send one (LKE-MN-8 is the node's own answer).
func TestKernelDoesNotDefendAnAuthenticatedSolicitation(t *testing.T) {
	n := newNetwork(t)
	var g *Node
	n.must(n.router.Do(func() (err error) { g, err = OpenNode(7); return err }))
	defer g.Close(false)

	nonce := []byte{14, 1, 1, 2, 3, 4, 5, 6}
	for _, c := range []struct {
		name     string
		options  []byte
		answered bool
	}{
		{"no option", nil, true},
		{"nonce", nonce, true},
		{"advertisement interval (RFC 6275), which says nothing here", []byte{7, 1, 0, 0, 0, 0, 0, 9}, true},
		{"authentication request", authentication(), false},
		{"authentication request behind a nonce", append(bytes.Clone(nonce), authentication()...), false},
		{"authentication request before another option", append(authentication(), nonce...), false},
	} {
		before := netlabtest.Counter(t, g, "authenticated_solicitation")
		p := solicitation(c.options...)
		n.sendRaw(p)
		n.routerIn.sees(p)
		answered := false
		for _, p := range n.fence() {
			answered = answered || p[6] == ipv6.ProtoICMPv6 && p[40] == 136
		}
		if answered != c.answered {
			t.Errorf("%s: answered %v, want %v", c.name, answered, c.answered)
		}
		if got := netlabtest.Counter(t, g, "authenticated_solicitation") - before; (got == 0) != c.answered {
			t.Errorf("%s: counted %d", c.name, got)
		}
	}

	n.send(bindingUpdate(nodeAddr, routerAddr, homeAddr))
	if got := problems(n.fence()); got != 0 {
		t.Errorf("%d ICMPv6 errors about a mobility header", got)
	}

	n.must(n.rival().flushRuleset())
	netlabtest.Await(t, "restoring the table", func() bool { return netlabtest.Counter(t, g, "table_restored") == 1 })
	if !g.Present() {
		t.Error("the table is not whole after it was restored")
	}
	n.must(g.Close(false))
	if there, err := n.rival().exists(NodeTable); err != nil || there {
		t.Errorf("table %s is there after Close: %v, %v", NodeTable, there, err)
	}
}

func TestTunnelDeviceIsHeldToItsHomeAddresses(t *testing.T) {
	n := newNetwork(t)
	var g *Node
	n.must(n.router.Do(func() (err error) { g, err = OpenNode(7); return err }))
	defer g.Close(false)
	other := netip.MustParseAddr("2001:db8:1::2")
	n.must(n.router.AddAddress("lan0", netip.PrefixFrom(other, 64)))

	// up0 stands for a tunnel device. What gets to the host shows as an error of UDP: nobody listens. What must not is
	// awaited for a moment only: an answer before has shown that the way there is short.
	try := func(dst netip.Addr, limit time.Duration) bool {
		udp := []byte{0x20, 0, 0x20, 0, 0, 8, 0, 0}
		binary.BigEndian.PutUint16(udp[6:], ipv6.Checksum(farAddr, dst, 17, udp))
		n.sendFrom(n.far, ipv6.Append(nil, ipv6.Header{Src: farAddr, Dst: dst, HopLimit: 64}, 17, udp))
		for {
			p := n.farIn.next(limit)
			if p == nil || p[6] == ipv6.ProtoICMPv6 && p[40] == 1 && [16]byte(p[72:88]) == dst.As16() {
				return p != nil
			}
		}
	}
	reached := func(dst netip.Addr) bool { return try(dst, 5*time.Second) }
	kept := func(dst netip.Addr) bool { return !try(dst, 100*time.Millisecond) }
	n.must(g.AddHome("lan0", homeAddr)) // another device
	if !reached(routerAddr) || !reached(other) {
		t.Fatal("a device without home addresses is not left alone")
	}
	n.must(g.AddHome("up0", routerAddr))
	n.must(g.AddHome("up0", routerAddr)) // no error
	if !reached(routerAddr) {
		t.Error("the home address is not reached")
	}
	if !kept(other) {
		t.Error("another address is reached")
	}
	if got := netlabtest.Counter(t, g, "tunnel_destination"); got == 0 {
		t.Error("tunnel_destination is not counted")
	}
	n.must(g.AddHome("up0", other))
	n.must(g.RemoveHome("up0", routerAddr))
	n.must(g.RemoveHome("up0", routerAddr)) // no error
	if !reached(other) {
		t.Error("the other home address is not reached")
	}
	if !kept(routerAddr) {
		t.Error("a home address that was removed is reached")
	}
	if err := g.AddHome("a-name-that-is-too-long", homeAddr); err == nil {
		t.Error("a wrong name was taken")
	}
	if err := g.AddHome("lan0", netip.MustParseAddr("fe80::1")); err == nil {
		t.Error("a link-local home address was taken")
	}
	list(t, n) // nft can show the table
}

func TestKernelIsSilentAboutTunnelPackets(t *testing.T) {
	n := newNetwork(t)
	g := n.guard()
	n.must(g.SetRouters([]netip.Addr{routerAddr}, []string{"lan0"}))
	quoting := func(code byte, about []byte) []byte {
		b := append([]byte{1, code, 0, 0, 0, 0, 0, 0}, about...)
		binary.BigEndian.PutUint16(b[2:], ipv6.Checksum(routerAddr, nodeAddr, ipv6.ProtoICMPv6, b))
		return ipv6.Append(nil, ipv6.Header{Src: routerAddr, Dst: nodeAddr, HopLimit: 64}, ipv6.ProtoICMPv6, b)
	}
	inner := bindingUpdate(homeAddr, farAddr, netip.Addr{})
	elsewhere := netip.MustParseAddr("2001:db8:1::2")
	for _, c := range []struct {
		name   string
		packet []byte
		leaves bool
	}{
		{"port unreachable about a tunnel packet", quoting(4, tunnel(nodeAddr, routerAddr, inner)), false},
		{"the same with an encapsulation limit", quoting(4, behindLimit(nodeAddr, routerAddr, inner)), false},
		{"about a tunnel packet to another address", quoting(4, tunnel(nodeAddr, elsewhere, inner)), true},
		{"address unreachable", quoting(3, tunnel(nodeAddr, routerAddr, inner)), true},
		{"about another packet", quoting(4, bindingUpdate(nodeAddr, routerAddr, netip.Addr{})), true},
	} {
		n.sendFrom(n.router, c.packet)
		if left := problems(n.fence()) == 1; left != c.leaves {
			t.Errorf("%s: leaves the router: %v, want %v", c.name, left, c.leaves)
		}
	}
	if got := netlabtest.Counter(t, g, "port_unreachable"); got != 2 {
		t.Errorf("port_unreachable = %d, want 2", got)
	}
}
