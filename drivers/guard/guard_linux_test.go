package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/ipv6"
)

// Packets that this host's kernel would answer with an ICMPv6 Parameter Problem.
func unwelcome() map[string][]byte {
	return map[string][]byte{
		"binding update":                           bindingUpdate(nodeAddr, routerAddr, netip.Addr{}),
		"binding update with a home address":       bindingUpdate(nodeAddr, routerAddr, homeAddr),
		"key exchange request, link-local source":  bindingUpdate(nodeLink, routerLink, nodeAddr),
		"binding update to another link's address": bindingUpdate(nodeAddr, netip.MustParseAddr("2001:db8:2::1"), netip.Addr{}),
	}
}

func TestKernelAnswersWithoutTheGuard(t *testing.T) {
	n := newNetwork(t)
	for name, p := range unwelcome() {
		n.send(p)
		if problems(n.fence()) == 1 {
			continue
		}
		if p[6] == ipv6.ProtoDestination {
			t.Logf("%s: the kernel did not answer: it has IPV6_MIP6, and drops silently", name)
			continue
		}
		t.Errorf("%s: the kernel did not answer, so that the other tests show nothing", name)
	}
}

func TestKernelIsSilentAboutMobilityHeaders(t *testing.T) {
	n := newNetwork(t)
	g := n.guard()
	n.must(g.SetRouters([]netip.Addr{routerAddr}, []string{"lan0"}))
	dropped := uint64(0)
	for name, p := range unwelcome() {
		n.send(p)
		n.routerIn.sees(p) // packet sockets see what nftables drops
		if got := problems(n.fence()); got != 0 {
			t.Errorf("%s: %d ICMPv6 errors left the router", name, got)
		}
		dropped++
		if got := netlabtest.Counter(t, g, "mobility_header"); got != dropped {
			t.Errorf("%s: counted %d, want %d", name, got, dropped)
		}
	}
}

// The variant for kernels that lack a part of nftables, on a kernel that has it.
func TestKernelIsSilentWithoutSecPath(t *testing.T) {
	n := newNetwork(t)
	g := n.guard()
	n.must(g.SetRouters([]netip.Addr{routerAddr}, []string{"lan0"}))
	f := features{}
	g.t.mu.Lock()
	err := g.t.make(mobilityRules(f, "links"))
	g.t.mu.Unlock()
	n.must(err)
	for name, p := range unwelcome() {
		n.send(p)
		if got := problems(n.fence()); got != 0 {
			t.Errorf("%s: %d ICMPv6 errors left the router", name, got)
		}
	}
	if reasons := f.lack(features{secPath: true}, unix.ENOENT); len(reasons) != 1 {
		t.Errorf("a kernel without secpath gives the reasons %q, want one", reasons)
	}
}

func TestTransitIsNotTouched(t *testing.T) {
	n := newNetwork(t)
	g := n.guard()
	n.must(g.SetRouters([]netip.Addr{routerAddr}, []string{"lan0"}))
	n.must(g.CheckTunnels(true))
	inner := bindingUpdate(homeAddr, farAddr, netip.Addr{})
	for name, p := range map[string][]byte{
		"binding update":                     bindingUpdate(nodeAddr, farAddr, netip.Addr{}),
		"binding update with a home address": bindingUpdate(nodeAddr, farAddr, homeAddr),
		"tunnel packet":                      tunnel(nodeAddr, farAddr, inner),
	} {
		n.send(p)
		n.fence()
		t.Log(name)
		n.farIn.sees(p)
	}
	if got := netlabtest.Counter(t, g, "mobility_header") + netlabtest.Counter(t, g, "tunnel_source"); got != 0 {
		t.Errorf("%d packets in transit were counted as dropped", got)
	}
}

// A packet that came through IPsec belongs to a protocol-135 socket; the rules say so in nft's own words.
func TestIPsecIsExcepted(t *testing.T) {
	n := newNetwork(t)
	n.guard()
	for _, line := range mobilityLines(t, n) {
		if !strings.Contains(line, "meta ipsec missing") {
			t.Errorf("rule without an exception for IPsec: %s", line)
		}
	}
}

func mobilityLines(t *testing.T, n *network) []string {
	t.Helper()
	out := list(t, n)
	lines := slices.DeleteFunc(strings.Split(out, "\n"), func(l string) bool { return !strings.Contains(l, "l4proto 135") })
	if len(lines) != 2 {
		t.Fatalf("%d rules about mobility headers, want 2:\n%s", len(lines), out)
	}
	return lines
}

// list is what `nft list ruleset` says: an administrator has to be able to read the table. Protocols are numbers (-p); their names
// are a matter of /etc/protocols, which small machines have not.
func list(t *testing.T, n *network) string {
	t.Helper()
	path, err := exec.LookPath("nft")
	if err != nil {
		if path = "/usr/sbin/nft"; !exists(path) {
			netlabtest.Missing(t, "nft is not installed (apt install nftables)")
		}
	}
	out, err := n.router.Run(5*time.Second, path, "-p", "list", "ruleset")
	n.must(err)
	return out
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func TestTableReadsWell(t *testing.T) {
	n := newNetwork(t)
	g := n.guard()
	n.must(g.SetRouters([]netip.Addr{routerAddr}, []string{"lan0"}))
	n.must(g.CheckTunnels(true))
	n.must(g.AddTunnel(nodeAddr, homeAddr))
	n.must(g.AddServed(nodeAddr, farAddr))
	out := list(t, n)
	for _, want := range []string{
		"table ip6 roamkey {", `elements = { "lan0" }`, "elements = { 2001:db8:1::1 }",
		"elements = { 2001:db8:1::100 . 2001:db8:1::200 }", "elements = { 2001:db8:1::100 . 2001:db8:2::2 }",
		"ip6 daddr != fe80::/10", "ip6 daddr fe80::/10 iifname @links",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("nft does not show %q:\n%s", want, out)
		}
	}
}

func tunnel(src, dst netip.Addr, inner []byte) []byte {
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 64}, ipv6.ProtoIPv6, inner)
}

// behind puts a destination options header with an encapsulation limit (RFC 2473 section 4.1.1) before a tunnel's payload.
func behindLimit(src, dst netip.Addr, inner []byte) []byte {
	head := []byte{ipv6.ProtoIPv6, 0, 4, 1, 4, 1, 1, 0}
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 64}, ipv6.ProtoDestination, append(head, inner...))
}

// fragment gives the first (more) or last fragment of a tunnel packet.
func fragment(src, dst netip.Addr, next uint8, offset uint16, more bool, part []byte) []byte {
	head := []byte{next, 0, byte(offset >> 8), byte(offset), 0, 0, 0, 9}
	if more {
		head[3] |= 1
	}
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 64}, ipv6.ProtoFragment, append(head, part...))
}

func TestOnlyBoundPairsMayTunnel(t *testing.T) {
	n := newNetwork(t)
	g := n.guard()
	n.must(g.SetRouters([]netip.Addr{routerAddr}, []string{"lan0"}))
	n.must(g.CheckTunnels(true))
	n.must(g.AddTunnel(nodeAddr, homeAddr))
	n.must(g.AddTunnel(nodeAddr, homeAddr)) // no error

	arrived := n.tunnelDevice()
	other := netip.MustParseAddr("2001:db8:1::300")
	good := bindingUpdate(homeAddr, farAddr, netip.Addr{}) // any packet will do
	bad := bindingUpdate(other, farAddr, netip.Addr{})
	for _, c := range []struct {
		name    string
		packets [][]byte
		passes  int
		counter string
	}{
		{"bound pair", [][]byte{tunnel(nodeAddr, routerAddr, good)}, 1, ""},
		{"bound pair, encapsulation limit", [][]byte{behindLimit(nodeAddr, routerAddr, good)}, 1, ""},
		{"wrong inner source", [][]byte{tunnel(nodeAddr, routerAddr, bad)}, 0, "tunnel_source"},
		{"wrong inner source, encapsulation limit", [][]byte{behindLimit(nodeAddr, routerAddr, bad)}, 0, "tunnel_source"},
		{"wrong outer source", [][]byte{tunnel(other, routerAddr, good)}, 0, "tunnel_source"},
		{"wrong outer source, encapsulation limit", [][]byte{behindLimit(other, routerAddr, good)}, 0, "tunnel_source"},
		{"outer and inner source swapped", [][]byte{tunnel(homeAddr, routerAddr,
			bindingUpdate(nodeAddr, farAddr, netip.Addr{}))}, 0, "tunnel_source"},
		{"fragments", [][]byte{
			fragment(other, routerAddr, ipv6.ProtoIPv6, 0, true, good[:48]),
			fragment(other, routerAddr, ipv6.ProtoIPv6, 48, false, good[48:]),
		}, 0, "tunnel_fragment"},
		{"fragments, destination options first", [][]byte{
			fragment(other, routerAddr, ipv6.ProtoDestination, 0, true,
				append([]byte{ipv6.ProtoIPv6, 0, 4, 1, 4, 1, 1, 0}, good[:40]...)),
			fragment(other, routerAddr, ipv6.ProtoDestination, 48, false, good[40:]),
		}, 0, "tunnel_fragment"},
	} {
		before := uint64(0)
		if c.counter != "" {
			before = netlabtest.Counter(t, g, c.counter)
		}
		for _, p := range c.packets {
			n.send(p)
		}
		n.fence()
		if got := arrived(); got != c.passes {
			t.Errorf("%s: %d packets passed, want %d", c.name, got, c.passes)
		}
		if c.counter == "" {
			continue
		}
		if got := netlabtest.Counter(t, g, c.counter) - before; got != uint64(len(c.packets)) {
			t.Errorf("%s: %s rose by %d, want %d", c.name, c.counter, got, len(c.packets))
		}
	}

	n.must(g.RemoveTunnel(nodeAddr, homeAddr))
	n.must(g.RemoveTunnel(nodeAddr, homeAddr)) // no error
	n.send(tunnel(nodeAddr, routerAddr, good))
	n.fence()
	if got := arrived(); got != 0 {
		t.Error("a pair that was removed still passes")
	}
	n.must(g.CheckTunnels(false))
	n.send(tunnel(nodeAddr, routerAddr, good))
	n.fence()
	if got := arrived(); got != 1 {
		t.Error("tunnel packets are still checked after CheckTunnels(false)")
	}
	if got := netlabtest.Counter(t, g, "mobility_header"); got != 0 {
		t.Errorf("mobility headers within tunnels were counted: %d", got)
	}
}

// rival is somebody else who changes nftables in the router's namespace.
func (n *network) rival() *nft {
	n.t.Helper()
	var c *nft
	n.must(n.router.Do(func() (err error) { c, err = dialNFT(); return err }))
	n.t.Cleanup(func() { c.Close() })
	return c
}

// flushRuleset is `nft flush ruleset`.
func (c *nft) flushRuleset() error {
	var tx transaction
	tx.add(unix.NFT_MSG_DELTABLE, 0, func(*netlink.AttributeEncoder) {})
	return c.commit(&tx)
}

func addTable(c *nft, name string) error {
	var tx transaction
	tx.add(unix.NFT_MSG_NEWTABLE, netlink.Create, func(ae *netlink.AttributeEncoder) { ae.String(unix.NFTA_TABLE_NAME, name) })
	return c.commit(&tx)
}

func TestTableComesBack(t *testing.T) {
	for name, harm := range map[string]func(c *nft) error{
		"nft flush ruleset": (*nft).flushRuleset,
		"nft delete table":  func(c *nft) error { return c.remove(Table) },
		"nft flush chain": func(c *nft) error {
			var tx transaction
			tx.add(unix.NFT_MSG_DELRULE, 0, func(ae *netlink.AttributeEncoder) {
				ae.String(unix.NFTA_RULE_TABLE, Table)
				ae.String(unix.NFTA_RULE_CHAIN, input.String())
			})
			return c.commit(&tx)
		},
		"nft flush set": func(c *nft) error {
			var tx transaction
			newSet("tunnels", typePair, 32).replace(&tx, Table)
			return c.commit(&tx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			g := n.guard()
			n.must(g.SetRouters([]netip.Addr{routerAddr}, []string{"lan0"}))
			n.must(g.CheckTunnels(true))
			n.must(g.AddTunnel(nodeAddr, homeAddr))
			n.send(bindingUpdate(nodeAddr, routerAddr, netip.Addr{}))
			n.fence()
			if got := netlabtest.Counter(t, g, "mobility_header"); got != 1 {
				t.Fatalf("mobility_header = %d, want 1", got)
			}
			rival := n.rival()

			n.must(harm(rival))
			netlabtest.Await(t, "restoring the table", func() bool { return netlabtest.Counter(t, g, "table_restored") > 0 })
			if !g.Present() {
				t.Fatal("the table is not whole after it was restored")
			}
			n.send(bindingUpdate(nodeAddr, routerAddr, netip.Addr{}))
			if problems(n.fence()) != 0 {
				t.Error("the kernel answers after the table was restored")
			}
			if got := netlabtest.Counter(t, g, "mobility_header"); got != 2 {
				t.Errorf("mobility_header = %d, want 2: what was counted before is lost", got)
			}
			have, err := g.tunnels.read(rival, Table)
			n.must(err)
			if len(have) != 1 {
				t.Errorf("the restored table has %d pairs, want 1", len(have))
			}
			if err := g.Restore(); err != nil { // asked for by hand
				t.Error(err)
			}
		})
	}
}

// A table that went away is noticed by the next change, too, should the kernel's message be late.
func TestChangeMakesTheTableAnew(t *testing.T) {
	n := newNetwork(t)
	g := n.guard()
	rival := n.rival()
	g.t.mu.Lock() // the watcher cannot be first
	err := rival.remove(Table)
	if err == nil {
		e, _ := pairElement(nodeAddr, homeAddr)
		g.tunnels.elements[e] = true
		err = g.t.change(func(tx *transaction) { g.tunnels.change(tx, Table, unix.NFT_MSG_NEWSETELEM, []string{e}) })
	}
	g.t.mu.Unlock()
	n.must(err)
	if !g.Present() || len(g.Tunnels()) != 1 {
		t.Error("the table is not whole")
	}
}

func TestOthersTablesAreNotTouched(t *testing.T) {
	n := newNetwork(t)
	rival := n.rival()
	n.must(addTable(rival, "theirs"))
	n.must(addTable(rival, "roamkey2"))
	g := n.guard()
	n.must(g.SetRouters([]netip.Addr{routerAddr}, []string{"lan0"}))
	n.must(g.Restore())
	n.must(g.Close(false))
	if there, err := rival.exists(Table); err != nil || there {
		t.Errorf("table %s is there after Close: %v, %v", Table, there, err)
	}
	for _, name := range []string{"theirs", "roamkey2"} {
		if there, err := rival.exists(name); err != nil || !there {
			t.Errorf("table %s is gone: %v", name, err)
		}
	}
}

// A node that keeps its address of another router: what comes for it through that router's tunnel may come from anybody.
func TestOnlyServedPairsMayTunnel(t *testing.T) {
	n := newNetwork(t)
	g := n.guard()
	n.must(g.SetRouters([]netip.Addr{routerAddr}, []string{"lan0"}))
	n.must(g.CheckTunnels(true))
	n.must(g.AddServed(nodeAddr, homeAddr))
	n.must(g.AddServed(nodeAddr, homeAddr)) // no error
	arrived := n.tunnelDevice()
	other := netip.MustParseAddr("2001:db8:1::300")
	inner := func(src, dst netip.Addr) []byte { return bindingUpdate(src, dst, netip.Addr{}) }
	for _, c := range []struct {
		name   string
		packet []byte
		passes int
	}{
		{"from any correspondent", tunnel(nodeAddr, routerAddr, inner(farAddr, homeAddr)), 1},
		{"from another", tunnel(nodeAddr, routerAddr, inner(other, homeAddr)), 1},
		{"encapsulation limit", behindLimit(nodeAddr, routerAddr, inner(farAddr, homeAddr)), 1},
		{"wrong outer source", tunnel(other, routerAddr, inner(farAddr, homeAddr)), 0},
		{"wrong outer source, encapsulation limit", behindLimit(other, routerAddr, inner(farAddr, homeAddr)), 0},
		{"wrong inner destination", tunnel(nodeAddr, routerAddr, inner(farAddr, other)), 0},
		{"to the router itself", tunnel(nodeAddr, routerAddr, inner(farAddr, routerAddr)), 0},
		{"from the router itself", tunnel(nodeAddr, routerAddr, inner(routerAddr, homeAddr)), 0},
		{"from the router itself, encapsulation limit", behindLimit(nodeAddr, routerAddr, inner(routerAddr, homeAddr)), 0},
		{"its address as the inner source", tunnel(nodeAddr, routerAddr, inner(homeAddr, farAddr)), 0},
		{"outer source and inner destination swapped", tunnel(homeAddr, routerAddr, inner(farAddr, nodeAddr)), 0},
	} {
		before := netlabtest.Counter(t, g, "tunnel_source")
		n.send(c.packet)
		n.fence()
		if got := arrived(); got != c.passes {
			t.Errorf("%s: %d packets passed, want %d", c.name, got, c.passes)
		}
		if got := netlabtest.Counter(t, g, "tunnel_source") - before; got != uint64(1-c.passes) {
			t.Errorf("%s: tunnel_source rose by %d, want %d", c.name, got, 1-c.passes)
		}
	}
	if got, want := g.Served(), []Pair{{nodeAddr, homeAddr}}; !slices.Equal(got, want) || len(g.Tunnels()) != 0 {
		t.Errorf("served %v, tunnels %v; want %v and none", got, g.Tunnels(), want)
	}
	n.must(g.RemoveServed(nodeAddr, homeAddr))
	n.must(g.RemoveServed(nodeAddr, homeAddr)) // no error
	n.send(tunnel(nodeAddr, routerAddr, inner(farAddr, homeAddr)))
	n.fence()
	if got := arrived(); got != 0 {
		t.Error("a pair that was removed still passes")
	}
}

// tunnelDevice opens a socket at the router that stands for the tunnel device, taking what passes, and gives a count of what
// came since it was asked last.
func (n *network) tunnelDevice() (arrived func() int) {
	n.t.Helper()
	socket := -1
	n.must(n.router.Do(func() (err error) {
		socket, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_IPV6)
		return err
	}))
	n.t.Cleanup(func() { unix.Close(socket) })
	return func() (count int) {
		for b := make([]byte, 4096); ; count++ {
			if _, _, err := unix.Recvfrom(socket, b, 0); err != nil {
				return count
			}
		}
	}
}

func TestPairsOutliveACrash(t *testing.T) {
	n := newNetwork(t)
	first := n.guard()
	n.must(first.SetRouters([]netip.Addr{routerAddr}, []string{"lan0"}))
	n.must(first.CheckTunnels(true))
	n.must(first.AddTunnel(nodeAddr, homeAddr))
	n.must(first.AddServed(nodeAddr, farAddr))
	n.must(first.Close(true)) // what a process that died leaves, too

	second := n.guard()
	if got, want := second.Tunnels(), []Pair{{nodeAddr, homeAddr}}; !slices.Equal(got, want) {
		t.Errorf("pairs after a crash: %v, want %v", got, want)
	}
	if got, want := second.Served(), []Pair{{nodeAddr, farAddr}}; !slices.Equal(got, want) {
		t.Errorf("served after a crash: %v, want %v", got, want)
	}
	if !second.Present() {
		t.Error("the table is not whole")
	}
	n.send(tunnel(farAddr, routerAddr, bindingUpdate(homeAddr, farAddr, netip.Addr{})))
	n.fence()
	if got := netlabtest.Counter(t, second, "tunnel_source"); got != 1 {
		t.Errorf("tunnel_source = %d, want 1: tunnels are no longer checked after a crash", got)
	}
}

func TestManyPairs(t *testing.T) {
	const pairs = 10000
	n := newNetwork(t)
	g := n.guard()
	g.t.mu.Lock()
	for i := range pairs {
		b := homeAddr.As16()
		b[8], b[9], b[10] = byte(i>>16), byte(i>>8), byte(i)
		e, err := pairElement(nodeAddr, netip.AddrFrom16(b))
		n.must(err)
		g.tunnels.elements[e] = true
	}
	g.t.mu.Unlock()
	start := time.Now()
	n.must(g.Restore())
	t.Logf("%d pairs restored in %v", pairs, time.Since(start))
	if !g.Present() {
		t.Error("the table is not whole")
	}
	n.must(g.Close(true))
	if got := len(n.guard().Tunnels()); got != pairs {
		t.Errorf("%d pairs taken over, want %d", got, pairs)
	}
}

func TestWrongArgumentsChangeNothing(t *testing.T) {
	n := newNetwork(t)
	g := n.guard()
	for _, err := range []error{
		g.AddTunnel(netip.MustParseAddr("fe80::1"), homeAddr),
		g.AddTunnel(nodeAddr, netip.MustParseAddr("ff02::1")),
		g.AddTunnel(netip.Addr{}, homeAddr),
		g.RemoveTunnel(nodeAddr, netip.MustParseAddr("192.0.2.1")),
		g.AddServed(nodeAddr, netip.MustParseAddr("ff02::1")),
		g.RemoveServed(netip.Addr{}, homeAddr),
		g.SetRouters([]netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil),
		g.SetRouters(nil, []string{"a-name-that-is-too-long"}),
		g.SetRouters(nil, []string{""}),
	} {
		if err == nil {
			t.Error("a wrong argument was taken")
		}
	}
	if !g.Present() || len(g.Tunnels())+len(g.Served()) != 0 {
		t.Error("a wrong argument changed the table")
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for errno, want := range map[error]string{
		unix.EPERM:           "CAP_NET_ADMIN",
		unix.EPROTONOSUPPORT: "kmod-nft-core",
		unix.EINVAL:          "kmod-nft-core",
	} {
		err := explain(fmt.Errorf("netlink receive: %w", errno))
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v is explained as %q, which does not name %s", errno, err, want)
		}
		if unsupported := errors.Is(err, ErrUnsupported); unsupported == (errno == unix.EPERM) {
			t.Errorf("%v: errors.Is(err, ErrUnsupported) = %v", errno, unsupported)
		}
	}
}

// A kernel that cannot have a guard is a nil *Guard to the rest of the program.
func TestNilGuard(t *testing.T) {
	var g *Guard
	var n *Node
	if err := errors.Join(g.SetRouters(nil, nil), g.AddTunnel(nodeAddr, homeAddr), g.RemoveTunnel(nodeAddr, homeAddr),
		g.AddServed(nodeAddr, homeAddr), g.RemoveServed(nodeAddr, homeAddr), g.CheckTunnels(true), g.Restore(), g.Close(false), n.Restore(), n.Close(false)); err != nil {
		t.Error(err)
	}
	if g.Present() || n.Present() || g.Tunnels() != nil || g.Served() != nil || g.Reasons() != nil || n.Reasons() != nil {
		t.Error("a guard that is not there says that it is")
	}
	g.Counters(nil)
	n.Counters(nil)
}

func TestCleanup(t *testing.T) {
	n := newNetwork(t)
	g := n.guard()
	n.must(g.Close(true))
	n.must(addTable(n.rival(), "theirs"))
	cleanup := func() (removed []string) {
		n.must(n.router.Do(func() (err error) { removed, err = Cleanup(); return err }))
		return removed
	}
	if got := cleanup(); len(got) != 1 || !strings.Contains(got[0], "ip6 roamkey") {
		t.Errorf("Cleanup says %q, want the table", got)
	}
	if got := cleanup(); len(got) != 0 {
		t.Errorf("a second Cleanup says %q, want nothing", got)
	}
	if there, err := n.rival().exists("theirs"); err != nil || !there {
		t.Errorf("Cleanup removed another's table (%v)", err)
	}
}
