package fake_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/roamkey/roamkey/drivers/hold"
	"github.com/roamkey/roamkey/drivers/hold/fake"
)

func TestTheFakeRemembers(t *testing.T) {
	alice, bob := netip.MustParseAddr("2001:db8::a"), netip.MustParseAddr("2001:db8::b")
	f := fake.New()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(f.Hold(alice, true))
	must(f.Hold(bob, false))
	f.Keep(bob, 3, 300)
	if f.Finish(bob) == nil {
		t.Error("what does not drain was finished")
	}
	must(f.Drain(bob))
	if s, held := f.Status(bob); !held || !s.Draining || s.Packets != 3 || s.Octets != 300 {
		t.Errorf("%+v", s)
	}
	must(f.Finish(bob))
	if got := <-f.Drained(); got != bob {
		t.Errorf("drained: %s", got)
	}
	var all []netip.Addr
	f.Held(func(s hold.Status) bool { all = append(all, s.Addr); return true })
	if !slices.Equal(all, []netip.Addr{alice}) {
		t.Errorf("held: %v", all)
	}
	must(f.Discard(alice))
	must(f.Drain(alice)) // of what is not held tells at once, as the real one does
	if got := <-f.Drained(); got != alice {
		t.Errorf("drained: %s", got)
	}
	want := []string{"copy 2001:db8::a", "hold 2001:db8::b", "drain 2001:db8::b", "discard 2001:db8::a", "drain 2001:db8::a"}
	if got := f.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls %q", got)
	}
	f.Fail = func(netip.Addr) error { return errors.New("no") }
	if f.Hold(bob, false) == nil {
		t.Error("it did not fail")
	}
	must(f.Close())
	if !f.Closed() {
		t.Error("not closed")
	}
}
