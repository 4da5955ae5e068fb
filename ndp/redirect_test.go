package ndp_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// RFC 4861 section 4.5, octet for octet.
func TestRedirectOctets(t *testing.T) {
	b := ndp.AppendRedirect([]byte("abc"), linkLocal, node, linkLocal, router, ndp.TargetLinkOption(hw))[3:]
	m, reason := ndp.ParseRedirect(received(t, linkLocal, node, b))
	if reason != ndp.ReasonNone || m.Target != linkLocal || m.Destination != router || m.TargetLink != hw ||
		find(t, m.Options, ndp.OptTargetLink).Offset != 40 {
		t.Errorf("%+v, %v", m, reason)
	}
	b = bytes.Clone(b)
	copy(b[2:4], []byte{0, 0})
	same(t, b, unhex(t, "8900 0000 00000000 fe80000000000000000102fffe030405 20010db8000100000000000000000001 0201 020102030405"))
}

// RFC 4861 section 8.1.
func TestRedirectValidity(t *testing.T) {
	for _, tt := range []struct {
		name                     string
		src, target, destination netip.Addr
		want                     ndp.Reason
	}{
		{"to a router", linkLocal, linkLocal, router, ndp.ReasonNone},
		{"to the destination itself", linkLocal, router, router, ndp.ReasonNone},
		{"to a router's global address", linkLocal, node, router, ndp.ReasonRedirect},
		{"of a group", linkLocal, linkLocal, group, ndp.ReasonRedirect},
		{"of a group to itself", linkLocal, group, group, ndp.ReasonRedirect},
		{"from a global address", node, linkLocal, router, ndp.ReasonSource},
		{"from ::", none, linkLocal, router, ndp.ReasonSource},
		{"from a group", ipv6.AllRouters(), linkLocal, router, ndp.ReasonSource},
	} {
		b := ndp.AppendRedirect(nil, tt.src, node, tt.target, tt.destination)
		if m, got := ndp.ParseRedirect(received(t, tt.src, node, b)); got != tt.want || !m.TargetLink.IsZero() {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
