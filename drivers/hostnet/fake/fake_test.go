package fake

import (
	"net/netip"
	"testing"

	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/ipv6"
)

func TestHostSaysWhatItIsTold(t *testing.T) {
	var h Host
	node := netip.MustParseAddr("2001:db8::7")
	changes := h.Changes()
	h.SetLinks(hostnet.Link{Index: 3, Name: "lan0"})
	select {
	case <-changes:
	default:
		t.Error("new links are no change")
	}
	if l, ok := h.Link("lan0"); !ok || l.Index != 3 {
		t.Errorf("got %+v", l)
	}
	if _, ok := h.Link("lan1"); ok {
		t.Error("a link that nobody set")
	}
	h.SetNeighbour(3, node, ipv6.LinkAddr{2})
	if h.Neighbour(3, node) != (ipv6.LinkAddr{2}) || !h.Neighbour(4, node).IsZero() {
		t.Error("not the neighbour that was set")
	}
	if h.HasSA(node) {
		t.Error("an association that nobody set")
	}
	if h.SetSA(node, true); !h.HasSA(node) {
		t.Error("not the association that was set")
	}
	router := netip.MustParseAddr("2001:db8:9::1")
	if h.Covers(router, node) {
		t.Error("a policy that nobody set")
	}
	if h.SetCovers(router, node, true); !h.Covers(router, node) || h.Covers(node, router) {
		t.Error("not the policy that was set")
	}
	if h.SetFindings("lan0", hostnet.Finding{Link: "lan0"}); len(h.HidesDAD("lan0")) != 1 || len(h.HidesDAD("lan1")) != 0 {
		t.Error("not the findings that were set")
	}
	if !h.Forwarding("lan0") || h.AcceptRA("lan0") {
		t.Error("a link forwards, and takes no router advertisements, unless told otherwise")
	}
	h.SetForwarding("lan0", false)
	h.SetAcceptRA("lan0", true)
	if h.Forwarding("lan0") || !h.AcceptRA("lan0") {
		t.Error("not the settings that were set")
	}
}
