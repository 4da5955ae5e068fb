package hostnet

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/ipv6"
)

var (
	hwLan  = [6]byte{2, 0, 0, 0, 0, 1}
	hwHost = [6]byte{2, 0, 0, 0, 0, 2}
	node   = netip.MustParseAddr("2001:db8:1::77")
)

// newRouter makes a router with lan0 on a wire to a host's eth0, and opens a Host in it.
func newRouter(t testing.TB, buffer int) (lab *netlab.Lab, router, host *netlab.Namespace, h *Host) {
	t.Helper()
	lab, ns := netlabtest.New(t, "router", "host")
	router, host = ns[0], ns[1]
	check(t, lab.Veth(netlab.End{NS: router, Name: "lan0", Hardware: hwLan}, netlab.End{NS: host, Name: "eth0", Hardware: hwHost}))
	return lab, router, host, openIn(t, router, buffer)
}

func mustLink(t testing.TB, h *Host, name string) Link {
	t.Helper()
	l, ok := h.Link(name)
	if !ok {
		t.Fatalf("link %s is not known", name)
	}
	return l
}

func findAddress(h *Host, link, addr string) (Address, bool) {
	l, _ := h.Link(link)
	i := slices.IndexFunc(l.Addresses, func(a Address) bool { return a.Addr == netip.MustParseAddr(addr) })
	if i < 0 {
		return Address{}, false
	}
	return l.Addresses[i], true
}

func TestLinksAreReadAtTheStart(t *testing.T) {
	_, router, _, h := newRouter(t, eventBuffer)
	want, err := router.Link("lan0")
	check(t, err)
	l := mustLink(t, h, "lan0")
	if l.Index != want.Index || l.Hardware != hwLan || l.MTU != 1500 || l.Kind != "veth" || l.Bridge || l.Master != 0 {
		t.Errorf("got %+v", l)
	}
	// The link-local address comes with the carrier.
	netlabtest.Await(t, "the link-local address", func() bool {
		a := mustLink(t, h, "lan0").Addresses
		return len(a) == 1 && a[0].Addr == ipv6.LinkLocalFrom(hwLan)
	})
	links := h.Links()
	if len(links) != 2 || links[0].Name != "lo" || links[1].Name != "lan0" {
		t.Errorf("got %v, want lo and lan0", links)
	}
	if lo := mustLink(t, h, "lo"); !lo.Up || !lo.Hardware.IsZero() {
		t.Errorf("got %+v", lo)
	}
}

func TestLinksAreFollowed(t *testing.T) {
	lab, router, host, h := newRouter(t, eventBuffer)
	is := func(name string, f func(Link) bool) func() bool {
		return func() bool { l, ok := h.Link(name); return ok && f(l) }
	}
	netlabtest.Await(t, "lan0 is up", is("lan0", func(l Link) bool { return l.Up }))
	check(t, host.SetDown("eth0"))
	netlabtest.Await(t, "lan0 has no carrier", is("lan0", func(l Link) bool { return !l.Up }))
	check(t, host.SetUp("eth0"))
	netlabtest.Await(t, "lan0 has its carrier back", is("lan0", func(l Link) bool { return l.Up }))
	check(t, router.SetMTU("lan0", 1400))
	netlabtest.Await(t, "lan0's new MTU", is("lan0", func(l Link) bool { return l.MTU == 1400 }))

	index := mustLink(t, h, "lan0").Index
	check(t, router.SetDown("lan0")) // a link that is up may keep its name
	request(t, router, rename(index, "lan9"))
	netlabtest.Await(t, "lan0 is lan9", is("lan9", func(l Link) bool { return l.Index == index }))
	if _, ok := h.Link("lan0"); ok {
		t.Error("lan0 is still known")
	}

	check(t, lab.Veth(netlab.End{NS: router, Name: "wan0"}, netlab.End{NS: host, Name: "wan1"}))
	netlabtest.Await(t, "a new link", is("wan0", func(l Link) bool { return l.Up }))
	check(t, router.DeleteLink("wan0"))
	netlabtest.Await(t, "wan0 is gone", func() bool { _, ok := h.Link("wan0"); return !ok })
}

// A link that joins a bridge and leaves it again is still there: the kernel says so by a message that deletes a link of
// the bridge family.
func TestBridgePortsAreFollowed(t *testing.T) {
	_, router, _, h := newRouter(t, eventBuffer)
	check(t, router.Bridge("br0"))
	netlabtest.Await(t, "the bridge", func() bool { l, ok := h.Link("br0"); return ok && l.Bridge })
	bridge := mustLink(t, h, "br0").Index
	check(t, router.SetMaster("lan0", "br0"))
	netlabtest.Await(t, "lan0 is a port", func() bool { return mustLink(t, h, "lan0").Master == bridge })
	check(t, router.SetMaster("lan0", ""))
	netlabtest.Await(t, "lan0 is no port", func() bool { return mustLink(t, h, "lan0").Master == 0 })
}

func TestAddressesAreFollowed(t *testing.T) {
	_, router, _, h := newRouter(t, eventBuffer)
	prefix := netip.MustParsePrefix("2001:db8:1::1/64")
	check(t, router.AddAddress("lan0", prefix))
	netlabtest.Await(t, "the new address", func() bool { _, ok := findAddress(h, "lan0", "2001:db8:1::1"); return ok })
	a, _ := findAddress(h, "lan0", "2001:db8:1::1")
	if a.Prefix != prefix.Masked() || a.Valid != Forever || a.Preferred != Forever || a.Tentative || a.Deprecated || a.Failed {
		t.Errorf("got %+v", a)
	}
	check(t, router.DeleteAddress("lan0", prefix))
	netlabtest.Await(t, "the address is gone", func() bool { _, ok := findAddress(h, "lan0", "2001:db8:1::1"); return !ok })
}

func TestLifetimesCountDown(t *testing.T) {
	_, router, _, h := newRouter(t, eventBuffer)
	index := mustLink(t, h, "lan0").Index
	prefix := netip.MustParsePrefix("2001:db8:1::1/64")
	request(t, router, address(index, prefix, 1800, 3600, unix.IFA_F_NODAD))
	netlabtest.Await(t, "the new address", func() bool { _, ok := findAddress(h, "lan0", "2001:db8:1::1"); return ok })
	after := func(seconds int) Address {
		h.mu.RLock()
		defer h.mu.RUnlock()
		l := h.mirror.byName("lan0").view(time.Now().Add(time.Duration(seconds) * time.Second))
		i := slices.IndexFunc(l.Addresses, func(a Address) bool { return a.Addr == prefix.Addr() })
		return l.Addresses[i]
	}
	a := after(1000)
	if d := 2600*time.Second - a.Valid; d < 0 || d > 10*time.Second {
		t.Errorf("valid for %v, want 2600 s", a.Valid)
	}
	if d := 800*time.Second - a.Preferred; d < 0 || d > 10*time.Second {
		t.Errorf("preferred for %v, want 800 s", a.Preferred)
	}
	if a := after(5000); a.Valid != 0 || a.Preferred != 0 {
		t.Errorf("valid for %v, preferred for %v after the end", a.Valid, a.Preferred)
	}
	// A router advertisement that brings a prefix to its end shows.
	request(t, router, address(index, prefix, 0, 3600, unix.IFA_F_NODAD))
	netlabtest.Await(t, "the address is deprecated", func() bool { a, _ := findAddress(h, "lan0", "2001:db8:1::1"); return a.Deprecated })
}

// The kernel does Duplicate Address Detection for a new address, and finds that the host has it.
func TestDuplicateAddressIsSeen(t *testing.T) {
	_, router, host, h := newRouter(t, eventBuffer)
	check(t, host.AddAddress("eth0", netip.MustParsePrefix("2001:db8:1::1/64")))
	check(t, router.SetSysctl("net/ipv6/conf/lan0/accept_dad", "1"))
	request(t, router, address(mustLink(t, h, "lan0").Index, netip.MustParsePrefix("2001:db8:1::1/64"), 0xffffffff, 0xffffffff, 0))
	netlabtest.Await(t, "the address is tentative", func() bool { a, ok := findAddress(h, "lan0", "2001:db8:1::1"); return ok && a.Tentative })
	netlabtest.Await(t, "the address is a duplicate", func() bool { a, ok := findAddress(h, "lan0", "2001:db8:1::1"); return ok && a.Failed })
}

func TestNeighboursAreFollowed(t *testing.T) {
	_, router, _, h := newRouter(t, eventBuffer)
	index := mustLink(t, h, "lan0").Index
	a, b := ipv6.LinkAddr{2, 1, 1, 1, 1, 1}, ipv6.LinkAddr{2, 2, 2, 2, 2, 2}
	is := func(want ipv6.LinkAddr) func() bool { return func() bool { return h.Neighbour(index, node) == want } }
	if !is(ipv6.LinkAddr{})() {
		t.Error("a neighbour is known before there is one")
	}
	request(t, router, neighbour(unix.RTM_NEWNEIGH, index, node, a, unix.NUD_REACHABLE, 0))
	netlabtest.Await(t, "the neighbour", is(a))
	request(t, router, neighbour(unix.RTM_NEWNEIGH, index, node, b, unix.NUD_STALE, 0))
	netlabtest.Await(t, "the neighbour's other address", is(b))
	if h.Neighbour(index+1, node) != (ipv6.LinkAddr{}) {
		t.Error("the neighbour is known on another link")
	}
	request(t, router, neighbour(unix.RTM_NEWNEIGH, index, node, ipv6.LinkAddr{}, unix.NUD_FAILED, 0))
	netlabtest.Await(t, "a failed entry is none", is(ipv6.LinkAddr{}))
	request(t, router, neighbour(unix.RTM_NEWNEIGH, index, node, a, unix.NUD_PERMANENT, 0))
	netlabtest.Await(t, "the neighbour again", is(a))
	request(t, router, neighbour(unix.RTM_DELNEIGH, index, node, ipv6.LinkAddr{}, 0, 0))
	netlabtest.Await(t, "the neighbour is gone", is(ipv6.LinkAddr{}))
	// An address that the kernel answers for as a proxy is nobody's neighbour. It is made before a true one, so that it has
	// been seen when that is.
	proxied := netip.MustParseAddr("2001:db8:1::78")
	request(t, router, neighbour(unix.RTM_NEWNEIGH, index, proxied, ipv6.LinkAddr{}, unix.NUD_PERMANENT, unix.NTF_PROXY),
		neighbour(unix.RTM_NEWNEIGH, index, node, a, unix.NUD_PERMANENT, 0))
	netlabtest.Await(t, "the neighbour again", is(a))
	if h.Neighbour(index, proxied) != (ipv6.LinkAddr{}) {
		t.Error("a proxied address is a neighbour")
	}
	check(t, router.DeleteLink("lan0"))
	netlabtest.Await(t, "the neighbour is gone with the link", is(ipv6.LinkAddr{}))
}

// A neighbour that the kernel learns by itself is known, too.
func TestLearntNeighbour(t *testing.T) {
	_, router, host, h := newRouter(t, eventBuffer)
	check(t, router.AddAddress("lan0", netip.MustParsePrefix("2001:db8:1::1/64")))
	check(t, host.AddAddress("eth0", netip.PrefixFrom(node, 64)))
	check(t, router.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, []byte("who are you"), 0, &unix.SockaddrInet6{Port: 9, Addr: node.As16()})
	}))
	index := mustLink(t, h, "lan0").Index
	netlabtest.Await(t, "the neighbour that was resolved", func() bool { return h.Neighbour(index, node) == hwHost })
}

// When the kernel could not deliver all notifications, the mirror is read anew and ends up right.
func TestLostNotificationsLeadToAResync(t *testing.T) {
	_, router, _, h := newRouter(t, 1) // the least buffer there is
	index := mustLink(t, h, "lan0").Index
	const many = 400
	addr := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x", i+1)) }
	var storm []netlink.Message
	for i := range many {
		hw := ipv6.LinkAddr{2, 0, 0, 1, byte(i >> 8), byte(i)}
		storm = append(storm, neighbour(unix.RTM_NEWNEIGH, index, addr(i), hw, unix.NUD_PERMANENT, 0))
	}
	for i := range many / 2 {
		storm = append(storm, neighbour(unix.RTM_DELNEIGH, index, addr(i), ipv6.LinkAddr{}, 0, 0))
	}
	h.mu.Lock() // the mirror cannot follow for a while
	request(t, router, storm...)
	h.mu.Unlock()
	netlabtest.Await(t, "a resync", func() bool { return netlabtest.Counter(t, h, "netlink_resyncs") > 0 })
	netlabtest.Await(t, "the mirror is right again", func() bool {
		for i := range many {
			want := ipv6.LinkAddr{2, 0, 0, 1, byte(i >> 8), byte(i)}
			if i < many/2 {
				want = ipv6.LinkAddr{}
			}
			if h.Neighbour(index, addr(i)) != want {
				return false
			}
		}
		return true
	})
}

func TestNeighboursAreBounded(t *testing.T) {
	m := newMirror()
	n := neighbourMessage{hardware: ipv6.LinkAddr{2}, usable: true}
	for i := range maxNeighbours + 10 {
		n.key = neighbourKey{1, netip.AddrFrom16([16]byte{0: 0x20, 14: byte(i >> 8), 15: byte(i)})}
		m.applyNeighbour(n, false)
	}
	if len(m.neighbours) != maxNeighbours || m.neighbourOverflow != 10 {
		t.Errorf("%d neighbours are kept, %d counted as dropped", len(m.neighbours), m.neighbourOverflow)
	}
	known := n
	known.key.addr = netip.AddrFrom16([16]byte{0: 0x20})
	known.hardware = ipv6.LinkAddr{4}
	if m.applyNeighbour(known, false); m.neighbours[known.key] != known.hardware {
		t.Error("a neighbour that is known is not updated when the mirror is full")
	}
}

// Changes come together: however many there were, one value waits.
func TestChangesAreCoalesced(t *testing.T) {
	_, router, _, h := newRouter(t, eventBuffer)
	<-h.Changes() // the first reading
	check(t, router.AddAddress("lan0", netip.MustParsePrefix("2001:db8:1::1/64")))
	check(t, router.AddAddress("lan0", netip.MustParsePrefix("2001:db8:1::2/64")))
	select {
	case <-h.Changes():
	case <-time.After(netlabtest.Patience):
		t.Fatal("a new address is no change")
	}
	netlabtest.Await(t, "both addresses", func() bool { _, ok := findAddress(h, "lan0", "2001:db8:1::2"); return ok })
	if n := len(h.Changes()); n > 1 {
		t.Errorf("%d changes wait", n)
	}
}

func TestRoutes(t *testing.T) {
	_, router, _, h := newRouter(t, eventBuffer)
	check(t, router.AddAddress("lan0", netip.MustParsePrefix("2001:db8:1::1/64")))
	via := netip.MustParseAddr("2001:db8:1::fe")
	check(t, router.AddRoute(netip.MustParsePrefix("::/0"), via, "lan0"))
	routes, err := h.Routes()
	check(t, err)
	index := mustLink(t, h, "lan0").Index
	defaults, onLink := 0, 0
	for _, r := range routes {
		if r.Link != index || r.Table != unix.RT_TABLE_MAIN {
			continue
		}
		switch r.Prefix.String() {
		case "::/0":
			defaults++
			if r.Gateway != via || r.Protocol != unix.RTPROT_STATIC {
				t.Errorf("got %+v", r)
			}
		case "2001:db8:1::/64":
			onLink++
			if r.Gateway.IsValid() || r.Protocol != unix.RTPROT_KERNEL {
				t.Errorf("got %+v", r)
			}
		}
	}
	if defaults != 1 || onLink != 1 {
		t.Errorf("%d default routes and %d on link, want one each: %+v", defaults, onLink, routes)
	}
}

func TestCloseEndsTheMirrors(t *testing.T) {
	_, _, _, h := newRouter(t, eventBuffer)
	done := make(chan struct{})
	go func() {
		h.Close()
		h.Close()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(netlabtest.Patience):
		t.Fatal("Close does not return")
	}
}
