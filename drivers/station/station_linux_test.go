package station_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/station"
	"github.com/roamkey/roamkey/ipv6"
)

func TestMain(m *testing.M) { os.Exit(netlabtest.Main(m)) }

var (
	careOf   = netip.MustParseAddr("2001:db8:1::9")
	routerLL = netip.MustParseAddr("fe80::1")
	routerHW = ipv6.LinkAddr{2, 0, 0, 0, 0, 1}
	nodeHW   = ipv6.LinkAddr{2, 0, 0, 0, 0, 9}
)

// bench is a node with an interface "wlan0", whose far end is "ap" in the namespace air.
type bench struct {
	node, air *netlab.Namespace
	station   *station.Station
}

func open(t *testing.T) *bench {
	t.Helper()
	lab, ns := netlabtest.New(t, "node", "air")
	node, air := ns[0], ns[1]
	must(t, lab.Veth(netlab.End{NS: node, Name: "wlan0", Hardware: nodeHW}, netlab.End{NS: air, Name: "ap", Hardware: routerHW}))
	b := &bench{node: node, air: air}
	b.open(t)
	return b
}

func (b *bench) open(t *testing.T) {
	t.Helper()
	b.station = netlabtest.Open(t, b.node, func() (*station.Station, error) { return station.Open("wlan0") })
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// await waits for a change of a kind and fails at any that is not in between.
func await(t *testing.T, s station.Interface, want station.ChangeKind, between ...station.ChangeKind) station.Change {
	t.Helper()
	for limit := time.After(4 * time.Second); ; {
		select {
		case c := <-s.Changes():
			if c.Kind == want {
				return c
			}
			if !slices.Contains(between, c.Kind) {
				t.Fatalf("%v came, want %v", c.Kind, want)
			}
		case <-limit:
			t.Fatalf("%v never came", want)
		}
	}
}

// addresses lists the node's addresses as the kernel has them.
func (b *bench) addresses(t *testing.T) []string {
	t.Helper()
	var list []string
	must(t, b.node.Do(func() error {
		i, err := net.InterfaceByName("wlan0")
		if err != nil {
			return err
		}
		addrs, err := i.Addrs()
		for _, a := range addrs {
			list = append(list, a.String())
		}
		return err
	}))
	return list
}

func TestTheLinkComesAndGoes(t *testing.T) {
	b := open(t)
	l := b.station.Link()
	if l.Name != "wlan0" || l.Hardware != nodeHW || l.Index == 0 || l.MTU != 1500 ||
		l.LinkLocal != ipv6.LinkLocalFrom(nodeHW) {
		t.Errorf("the link is %+v", l)
	}
	if !l.Up { // the carrier's notification may still be on its way
		await(t, b.station, station.LinkUp)
	}
	must(t, b.air.SetDown("ap"))
	await(t, b.station, station.LinkDown)
	if b.station.Link().Up {
		t.Error("the link counts as up while it is down")
	}
	must(t, b.air.SetUp("ap"))
	await(t, b.station, station.LinkUp)
	must(t, b.node.DeleteLink("wlan0"))
	await(t, b.station, station.LinkGone, station.LinkDown)
	if err := b.station.Close(); err != nil {
		t.Errorf("close after the interface is gone: %v", err)
	}
}

// An address can be used while its duplicates are looked for (RFC 4429 section 3.1), and packets go to the router that the
// advertisement named without asking for its link-layer address.
func TestAnAddressAndItsRouterAreThereAtOnce(t *testing.T) {
	b := open(t)
	if !b.station.Optimistic() {
		t.Skip("this kernel has no optimistic addresses")
	}
	begin := time.Now()
	must(t, b.station.SetAddress(careOf))
	c := await(t, b.station, station.AddressReady, station.LinkUp)
	if c.Addr != careOf || time.Since(begin) > 500*time.Millisecond {
		t.Errorf("%v was ready after %v", c.Addr, time.Since(begin))
	}
	must(t, b.station.SetAddress(careOf))
	await(t, b.station, station.AddressReady)
	must(t, b.station.SetRouter(routerLL, routerHW, 30*time.Minute))

	must(t, b.air.AddAddress("ap", netip.MustParsePrefix("2001:db8:1::1/64")), b.air.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	conn := netlabtest.Open(t, b.node, func() (net.Conn, error) { return net.Dial("udp6", "[2001:db8:ffff::1]:9") })
	if from := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); from != careOf {
		t.Errorf("packets leave from %v, want %v", from, careOf)
	}
	must(t, b.station.SetRouter(routerLL, routerHW, 0))
	if err := b.node.Do(func() error {
		c, err := net.Dial("udp6", "[2001:db8:ffff::1]:9")
		if err == nil {
			c.Close()
		}
		return err
	}); err == nil {
		t.Error("there is a route although the router is none any more")
	}
}

// An address that another node has is reported and taken off.
func TestADuplicateIsReported(t *testing.T) {
	b := open(t)
	must(t, b.air.AddAddress("ap", netip.PrefixFrom(careOf, 64)))
	must(t, b.station.SetAddress(careOf))
	c := await(t, b.station, station.AddressDuplicate, station.LinkUp, station.AddressReady)
	if c.Addr != careOf {
		t.Errorf("the duplicate is %v", c.Addr)
	}
	if got := b.addresses(t); slices.Contains(got, careOf.String()+"/64") {
		t.Errorf("it is still there: %v", got)
	}
}

// What was changed is put back, and what a killed run left is removed by the next.
func TestAllIsPutBack(t *testing.T) {
	b := open(t)
	must(t, b.station.SetAddress(careOf), b.station.SetRouter(routerLL, routerHW, time.Hour))
	for name, want := range map[string]string{"accept_ra": "0", "autoconf": "0", "accept_dad": "1", "optimistic_dad": "1"} {
		if got, err := b.node.Sysctl("net/ipv6/conf/wlan0/" + name); err != nil || strings.TrimSpace(got) != want {
			t.Errorf("while open %s is %q (%v), want %s", name, got, err, want)
		}
	}
	must(t, b.station.Close())
	if got := b.addresses(t); slices.Contains(got, careOf.String()+"/64") {
		t.Errorf("the address is still there: %v", got)
	}
	for name, want := range map[string]string{"accept_ra": "1", "autoconf": "1", "accept_dad": "0", "optimistic_dad": "0"} {
		if got, err := b.node.Sysctl("net/ipv6/conf/wlan0/" + name); err != nil || strings.TrimSpace(got) != want {
			t.Errorf("after closing %s is %q (%v), want %s", name, got, err, want)
		}
	}

	// A default route that the kernel learned from an advertisement would lead to the router of another link.
	must(t, b.node.AddRoute(netip.MustParsePrefix("2001:db8:5::/64"), netip.Addr{}, "wlan0"))
	b.open(t)
	must(t, b.station.SetRouter(routerLL, routerHW, time.Hour))
	// Its Close does not run before the next Open, as after a kill.
	b.open(t)
	if err := b.station.SetRouter(netip.MustParseAddr("fe80::2"), routerHW, time.Hour); err != nil {
		t.Error(err)
	}
	var own string
	must(t, b.node.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/ipv6_route")
		own = string(text)
		return err
	}))
	if strings.Contains(own, "fe800000000000000000000000000001") || !strings.Contains(own, "fe800000000000000000000000000002") {
		t.Errorf("routes are\n%s\nwant the default route by fe80::2 alone", own)
	}
	if !strings.Contains(own, "20010db8000500000000000000000000") {
		t.Errorf("a route of somebody else is gone:\n%s", own)
	}
}

func TestWhatIsNoInterface(t *testing.T) {
	for _, name := range []string{"", "nonesuch", "../all", "lo/"} {
		if s, err := station.Open(name); err == nil {
			s.Close()
			t.Errorf("%q was opened", name)
		}
	}
}

func TestOnlyGlobalAddressesAreSet(t *testing.T) {
	b := open(t)
	for _, addr := range []string{"fe80::1", "ff02::1", "::", "::1", "192.0.2.1"} {
		if err := b.station.SetAddress(netip.MustParseAddr(addr)); err == nil {
			t.Errorf("%s was set", addr)
		}
	}
}
