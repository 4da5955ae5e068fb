package sysctl

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
)

func TestMain(m *testing.M) { os.Exit(netlabtest.Main(m)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newLink(t *testing.T) (*netlab.Namespace, func(name, want string)) {
	lab, ns := netlabtest.New(t, "one", "two")
	must(t, lab.Veth(netlab.End{NS: ns[0], Name: "lan0"}, netlab.End{NS: ns[1], Name: "wl0"}))
	return ns[0], func(name, want string) {
		t.Helper()
		path, err := OfLink("conf", "lan0", name)
		must(t, err)
		got, err := ns[0].Sysctl(path)
		must(t, err)
		if strings.TrimSpace(got) != want {
			t.Errorf("%s = %q, want %s", path, got, want)
		}
	}
}

func TestChangesArePutBack(t *testing.T) {
	ns, expect := newLink(t)
	must(t, ns.SetSysctl("net/ipv6/conf/lan0/dad_transmits", "4"))
	var c Changes
	must(t, ns.Do(func() error {
		return errors.Join(c.Set("net/ipv6/conf/lan0/dad_transmits", "0"), c.Set("net/ipv6/conf/lan0/accept_ra", "1"))
	}))
	expect("dad_transmits", "0")
	must(t, ns.SetSysctl("net/ipv6/conf/lan0/accept_ra", "2")) // it had the value that was asked for: it is not ours
	must(t, c.Restore())                                       // on another thread than Set
	expect("dad_transmits", "4")
	expect("accept_ra", "2")
	must(t, c.Restore())
}

func TestForgottenChangesStay(t *testing.T) {
	ns, expect := newLink(t)
	var c Changes
	must(t, ns.Do(func() error { return c.Set("net/ipv6/conf/lan0/dad_transmits", "0") }))
	must(t, c.Forget())
	must(t, c.Restore())
	expect("dad_transmits", "0")
}

func TestWhatIsNotThere(t *testing.T) {
	ns, _ := newLink(t)
	var c Changes
	err := ns.Do(func() error { return c.Set("net/ipv6/conf/lan0/such_a_thing", "0") })
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a setting that the kernel has not: %v", err)
	}
	must(t, ns.Do(func() error { return c.Set("net/ipv6/conf/lan0/dad_transmits", "0") }))
	must(t, ns.DeleteLink("lan0"))
	must(t, c.Restore())
	for _, link := range []string{"", ".", "..", "a/b"} {
		if name, err := OfLink("conf", link, "accept_ra"); err == nil {
			t.Errorf("interface %q has the setting %s", link, name)
		}
	}
}
