package guard

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

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
	n.must(n.router.Do(func() (err error) { g, err = OpenNode(); return err }))
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
		before := counter(t, g, "authenticated_solicitation")
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
		if got := counter(t, g, "authenticated_solicitation") - before; (got == 0) != c.answered {
			t.Errorf("%s: counted %d", c.name, got)
		}
	}

	n.send(bindingUpdate(nodeAddr, routerAddr, homeAddr))
	if got := problems(n.fence()); got != 0 {
		t.Errorf("%d ICMPv6 errors about a mobility header", got)
	}

	n.must(n.rival().flushRuleset())
	eventually(t, "restoring the table", func() bool { return counter(t, g, "table_restored") == 1 })
	if !g.Present() {
		t.Error("the table is not whole after it was restored")
	}
	n.must(g.Close(false))
	if there, err := n.rival().exists(NodeTable); err != nil || there {
		t.Errorf("table %s is there after Close: %v, %v", NodeTable, there, err)
	}
}
