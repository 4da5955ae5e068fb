package hostnet

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
)

// hides gives the files that HidesDAD names, as seen in the namespace.
func hides(t *testing.T, ns *netlab.Namespace, h *Host, link string) (files []string) {
	t.Helper()
	check(t, ns.Do(func() error {
		for _, f := range h.HidesDAD(link) {
			files = append(files, f.File)
		}
		return nil
	}))
	return files
}

// verify shows that each finding tells what to do, and that the file it names says what it says.
func verify(t *testing.T, ns *netlab.Namespace, h *Host, link string) {
	t.Helper()
	check(t, ns.Do(func() error {
		for _, f := range h.HidesDAD(link) {
			if f.Link != link || f.Text == "" || f.Fix == "" {
				t.Errorf("finding without what to do: %+v", f)
			}
			text, err := os.ReadFile(f.File)
			if err != nil {
				return err
			}
			if got := strings.TrimSpace(string(text)); got != f.Value {
				t.Errorf("%s says %q, the finding %q", f.File, got, f.Value)
			}
		}
		return nil
	}))
}

// LKE-resolution-w: what hides Duplicate Address Detection on a bridge is found, with the file that says so.
func TestHidesDAD(t *testing.T) {
	lab, ns := netlabtest.New(t, "ap", "stations")
	ap, stations := ns[0], ns[1]
	check(t, ap.Bridge("br0"))
	for _, i := range []string{"0", "1"} {
		check(t, lab.Veth(netlab.End{NS: ap, Name: "wlan" + i}, netlab.End{NS: stations, Name: "sta" + i}))
		check(t, ap.SetMaster("wlan"+i, "br0"))
	}
	h := openIn(t, ap, eventBuffer)
	netlabtest.Await(t, "the ports", func() bool {
		a, _ := h.Link("wlan0")
		b, _ := h.Link("wlan1")
		return a.Master != 0 && b.Master != 0
	})
	expect := func(what string, want ...string) {
		t.Helper()
		netlabtest.Await(t, what, func() bool { return slices.Equal(hides(t, ap, h, "br0"), want) })
		verify(t, ap, h, "br0")
	}
	const (
		isolated0 = "/sys/class/net/wlan0/brport/isolated"
		isolated1 = "/sys/class/net/wlan1/brport/isolated"
		suppress1 = "/sys/class/net/wlan1/brport/neigh_suppress"
		proxy     = "/proc/sys/net/ipv6/conf/br0/proxy_ndp"
		proxyAll  = "/proc/sys/net/ipv6/conf/all/proxy_ndp"
	)
	expect("nothing is found")

	// A port is isolated from other isolated ports: one alone is isolated from none.
	check(t, ap.Set(isolated0, "1"))
	netlabtest.Await(t, "the setting is seen", func() bool {
		h.mu.RLock()
		defer h.mu.RUnlock()
		return h.mirror.byName("wlan0").port.isolated
	})
	expect("one isolated port hides nothing")
	check(t, ap.Set(isolated1, "1"))
	expect("two isolated ports", isolated0, isolated1)
	check(t, ap.Set(isolated0, "0"))
	check(t, ap.Set(suppress1, "1"))
	expect("neighbour suppression", suppress1)
	check(t, ap.Set(proxy, "1"))
	expect("proxy Neighbour Discovery", suppress1, proxy)
	check(t, ap.Set(proxyAll, "1"))
	expect("proxy Neighbour Discovery everywhere", suppress1, proxyAll, proxy)
	check(t, ap.Set(proxyAll, "0"))
	check(t, ap.Set(proxy, "0"))
	check(t, ap.Set(isolated0, "1"))

	// What was set before the start is found as well.
	h2 := openIn(t, ap, eventBuffer)
	if got, want := hides(t, ap, h2, "br0"), []string{isolated0, isolated1, suppress1}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// A port that leaves the bridge takes its settings along.
	check(t, ap.SetMaster("wlan1", ""))
	expect("nothing is found")
	if f := h.HidesDAD("wlan0"); len(f) != 0 {
		t.Errorf("a link that is no bridge: %v", f)
	}
}

// A VLAN on a bridge has the bridge's ports.
func TestHidesDADOnAVLANOfABridge(t *testing.T) {
	m := newMirror()
	m.links[1] = &linkState{link: Link{Index: 1, Name: "br-lan", Bridge: true}}
	m.links[2] = &linkState{link: Link{Index: 2, Name: "br-lan.7", Kind: "vlan", Lower: 1}}
	m.links[3] = &linkState{link: Link{Index: 3, Name: "wlan0", Master: 1}, port: portFlags{suppress: true}}
	if f := m.hidesDAD("br-lan.7"); len(f) != 1 || f[0].Link != "br-lan.7" || f[0].Port != "wlan0" {
		t.Errorf("got %+v", f)
	}
}

func TestForwardingAndAcceptRA(t *testing.T) {
	_, router, _, h := newRouter(t, eventBuffer)
	is := func(forwarding, accept bool) {
		t.Helper()
		check(t, router.Do(func() error {
			if f, a := h.Forwarding("lan0"), h.AcceptRA("lan0"); f != forwarding || a != accept {
				t.Errorf("forwarding %v, accepts router advertisements %v; want %v and %v", f, a, forwarding, accept)
			}
			return nil
		}))
	}
	is(false, true)
	check(t, router.SetSysctl("net/ipv6/conf/lan0/forwarding", "1"))
	is(true, false)
	check(t, router.SetSysctl("net/ipv6/conf/lan0/accept_ra", "2"))
	is(true, true)
	check(t, router.SetSysctl("net/ipv6/conf/lan0/accept_ra", "0"))
	is(true, false)
	drain(h)
	check(t, router.SetSysctl("net/ipv6/conf/lan0/proxy_ndp", "1"))
	select {
	case <-h.Changes():
	case <-time.After(netlabtest.Patience):
		t.Error("a setting that hides Duplicate Address Detection is no change")
	}
	for _, name := range []string{"", "nowhere", "../../../kernel"} {
		if h.Forwarding(name) || h.AcceptRA(name) {
			t.Errorf("a link %q forwards", name)
		}
	}
}

// drain lets pass what has changed so far: until a change of ours has been seen, and all that came before it.
func drain(h *Host) {
	for {
		select {
		case <-h.Changes():
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
}
