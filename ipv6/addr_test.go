package ipv6_test

import (
	"errors"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
)

// TestLinkAddrText: what is written can be read, and nothing else.
func TestLinkAddrText(t *testing.T) {
	a := ipv6.LinkAddr{0x02, 0, 0, 0xab, 0xcd, 0xef}
	for _, text := range []string{a.String(), "02:00:00:AB:CD:EF"} {
		if got, err := ipv6.ParseLinkAddr(text); err != nil || got != a {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "02", "02-00-00-ab-cd-ef", "02:00:00:ab:cd:e", "02:00:00:ab:cd:ef:", "02:00:00:ab:cd:eg", "02:00:00:ab:cd0ef", "+2:00:00:ab:cd:ef"} {
		if got, err := ipv6.ParseLinkAddr(text); !errors.Is(err, ipv6.ErrLinkAddr) || got != (ipv6.LinkAddr{}) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, want := range []ipv6.LinkAddr{a, {}} {
		text, err := want.MarshalText()
		got := ipv6.LinkAddr{1}
		if err != nil || got.UnmarshalText(text) != nil || got != want {
			t.Errorf("%v becomes %q becomes %v", want, text, got)
		}
	}
	if got := a; got.UnmarshalText([]byte("x")) == nil || got != a {
		t.Errorf("what cannot be read leaves %v", got)
	}
}
