package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/frames"
	"github.com/roamkey/roamkey/ipv6"
)

// liar is a link-layer address that nobody has.
var liar = ipv6.LinkAddr{2, 0, 0, 0, 0x66, 0x66}

// message gives a packet with an ICMPv6 message of Neighbour Discovery.
func message(src, dst netip.Addr, icmp ...[]byte) []byte {
	var b []byte
	for _, part := range icmp {
		b = append(b, part...)
	}
	binary.BigEndian.PutUint16(b[2:], ipv6.Checksum(src, dst, ipv6.ProtoICMPv6, b))
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, b)
}

func head(icmp uint8, flags byte) []byte { return []byte{icmp, 0, 0, 0, flags, 0, 0, 0} }

func linkOption(typ uint8) []byte { return append([]byte{typ, 1}, liar[:]...) }

// neighbours is the kernel's neighbour table in the router's namespace: link-layer addresses, as far as they are known.
func (n *network) neighbours() map[netip.Addr]ipv6.LinkAddr {
	n.t.Helper()
	all := make(map[netip.Addr]ipv6.LinkAddr)
	n.must(n.router.Do(func() error {
		conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		replies, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETNEIGH, Flags: netlink.Request | netlink.Dump},
			Data:   append([]byte{unix.AF_INET6}, make([]byte, unix.SizeofNdMsg-1)...),
		})
		for _, m := range replies {
			ad, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofNdMsg:])
			if err != nil {
				return err
			}
			var addr netip.Addr
			var hw ipv6.LinkAddr
			for ad.Next() {
				switch ad.Type() {
				case unix.NDA_DST:
					addr, _ = netip.AddrFromSlice(ad.Bytes())
				case unix.NDA_LLADDR:
					copy(hw[:], ad.Bytes())
				}
			}
			all[addr] = hw
		}
		return err
	}))
	return all
}

// lie is an unsigned message, and which entry of the neighbour table a kernel that hears it would get, or change.
type lie struct {
	name    string
	packet  []byte
	about   netip.Addr
	counter string
}

func lies() []lie {
	fresh := func(n byte) netip.Addr {
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0x0d, 3: 0xb8, 5: 1, 15: n})
	}
	target := routerAddr.AsSlice()
	node := nodeAddr.AsSlice()
	return []lie{
		{"neighbour solicitation", message(fresh(0xa1), ipv6.SolicitedNode(routerAddr), head(135, 0), target, linkOption(1)),
			fresh(0xa1), "secured_neighbour_solicitation"},
		{"router solicitation", message(fresh(0xa2), ipv6.AllRouters(), head(133, 0), linkOption(1)),
			fresh(0xa2), "secured_router_solicitation"},
		{"neighbour advertisement that overrides", message(nodeAddr, ipv6.AllNodes(), head(136, 0x20), node, linkOption(2)),
			nodeAddr, "secured_neighbour_advertisement"},
	}
}

// meet makes the router's kernel know the node, by an echo.
func (n *network) meet() ipv6.LinkAddr {
	n.t.Helper()
	n.fence()
	link, err := n.node.Link("wl0")
	n.must(err)
	if got := n.neighbours()[nodeAddr]; got != link.Hardware {
		n.t.Fatalf("the router knows the node as %v, want %v", got, ipv6.LinkAddr(link.Hardware))
	}
	return link.Hardware
}

func (n *network) hear(l lie) {
	n.t.Helper()
	group := ipv6.MulticastLinkAddr(netip.AddrFrom16([16]byte(l.packet[24:40])))
	n.must(n.node.SendFrame("wl0", frames.Append(nil, group, liar, l.packet)))
	n.routerIn.sees(l.packet)
	n.fence()
}

func TestKernelLearnsFromUnsignedDiscoveryWithoutTheGuard(t *testing.T) {
	n := newNetwork(t)
	n.guard() // one that was told of no link with SEND
	n.meet()
	for _, l := range lies() {
		n.hear(l)
		if got := n.neighbours()[l.about]; got != liar {
			t.Errorf("%s: the kernel has %v as neighbour, so that the next test shows nothing", l.name, got)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// On a link with SEND unsigned messages reach packet sockets and not the kernel (RFC 3971 section 8: unsecured messages
// must not change secured entries; which these are only the daemon knows).
func TestKernelHearsNoDiscoveryOnASecuredLink(t *testing.T) {
	n := newNetwork(t)
	hw := n.meet()
	g := n.guard()
	// The link's neighbours are somebody else's to write now.
	n.must(n.router.AddNeighbour("lan0", nodeAddr, hw))
	n.must(n.node.AddNeighbour("wl0", routerAddr, must(n.router.Link("lan0")).Hardware))
	n.must(g.SetSecured([]string{"lan0"}))
	all := append(lies(),
		lie{"redirect", message(nodeLink, routerAddr, head(137, 0), nodeLink.AsSlice(), farAddr.AsSlice(), linkOption(2)),
			nodeLink, "secured_redirect"})
	for _, l := range all {
		before, entry := netlabtest.Counter(t, g, l.counter), n.neighbours()[l.about]
		n.hear(l)
		if got := n.neighbours()[l.about]; got != entry || got == liar {
			t.Errorf("%s: the entry of the kernel went from %v to %v", l.name, entry, got)
		}
		if got := netlabtest.Counter(t, g, l.counter); got <= before {
			t.Errorf("%s: %s did not rise", l.name, l.counter)
		}
	}

	// Nor does it answer a solicitation or defend its addresses.
	p := solicitation()
	n.sendRaw(p)
	n.routerIn.sees(p)
	for _, p := range n.fence() {
		if p[6] == ipv6.ProtoICMPv6 && p[40] == neighbourAdvertisement {
			t.Errorf("the kernel answered Duplicate Address Detection: %x", p)
		}
	}

	// Links without SEND are left alone, as is all other ICMPv6: the echoes of the fence show that.
	if got := netlabtest.Counter(t, g, "mobility_header"); got != 0 {
		t.Errorf("mobility_header = %d", got)
	}
	n.must(n.far.Inject(message(farAddr, ipv6.SolicitedNode(netip.MustParseAddr("2001:db8:2::1")), head(135, 0),
		netip.MustParseAddr("2001:db8:2::1").AsSlice(), linkOption(1)), "far0"))
	netlabtest.Await(t, "an answer on the link without SEND", func() bool {
		p := n.farIn.next(netlabtest.Patience)
		return p != nil && p[6] == ipv6.ProtoICMPv6 && p[40] == neighbourAdvertisement
	})

	if out := list(t, n); !strings.Contains(out, "iifname @secured") || !strings.Contains(out, `elements = { "lan0" }`) {
		t.Errorf("nft does not show the links with SEND:\n%s", out)
	}
	n.must(g.SetSecured(nil))
	n.hear(all[0])
	if got := n.neighbours()[all[0].about]; got != liar {
		t.Error("the kernel does not hear a link that is not secured any more")
	}
	if err := g.SetSecured([]string{"a-name-that-is-too-long"}); err == nil {
		t.Error("a wrong name was taken")
	}
	var none *Guard
	n.must(none.SetSecured([]string{"lan0"}))
}

// Nothing unsigned leaves by a link with SEND: neither what the kernel says by itself nor what another program says.
func TestNothingUnsignedLeavesASecuredLink(t *testing.T) {
	n := newNetwork(t)
	hw := n.meet()
	g := n.guard()
	n.must(n.router.AddNeighbour("lan0", nodeAddr, hw))
	n.must(n.node.AddNeighbour("wl0", routerAddr, must(n.router.Link("lan0")).Hardware))
	nobody := netip.MustParseAddr("2001:db8:1::dead")
	resolve := func() {
		n.must(n.router.Inject(message(routerAddr, nobody, []byte{128, 0, 0, 0, 0, 1, 0, 1}), ""))
	}
	discoveries := func() (heard []byte) {
		for _, p := range n.fence() {
			if p[6] == ipv6.ProtoICMPv6 && p[40] >= routerSolicitation && p[40] <= redirect {
				heard = append(heard, p[40])
			}
		}
		return heard
	}
	resolve()
	if got := discoveries(); len(got) != 1 || got[0] != neighbourSolicitation {
		t.Fatalf("on a link without SEND the kernel says %v to resolve an address, want one solicitation", got)
	}
	n.must(g.SetSecured([]string{"lan0"}))
	resolve()
	say := func(packet []byte) {
		if err := n.router.Inject(packet, "lan0"); !errors.Is(err, unix.EPERM) { // which is how nftables drops
			n.must(err)
		}
	}
	for icmp := byte(routerSolicitation); icmp <= redirect; icmp++ {
		say(message(routerLink, ipv6.AllNodes(), head(icmp, 0), routerLink.AsSlice(), linkOption(1)))
	}
	say(message(routerLink, ipv6.AllNodes(), head(132, 0))) // the types beside them are nobody's business
	say(message(routerLink, ipv6.AllNodes(), head(138, 0)))
	if got := discoveries(); len(got) != 0 {
		t.Errorf("messages of types %v left", got)
	}
	if got := netlabtest.Counter(t, g, "secured_unsigned"); got < 4 {
		t.Errorf("secured_unsigned = %d, want 4 and what the kernel tried", got)
	}
	if got := netlabtest.Counter(t, g, "secured_unsigned_redirect"); got != 1 {
		t.Errorf("secured_unsigned_redirect = %d, want 1", got)
	}
	own := message(routerLink, ipv6.AllNodes(), head(neighbourAdvertisement, 0x20), routerLink.AsSlice(), linkOption(2))
	n.must(n.router.SendFrame("lan0", frames.Append(nil, ipv6.MulticastLinkAddr(ipv6.AllNodes()), liar, own)))
	n.nodeIn.sees(own)
}

// What a process that died has set stays, so that nothing unsigned slips in until the next one has come up.
func TestSecuredLinksOutliveACrash(t *testing.T) {
	n := newNetwork(t)
	first := n.guard()
	n.must(first.SetSecured([]string{"lan0"}))
	n.must(first.Close(true))
	l := lies()[0]
	n.must(n.node.SendFrame("wl0", frames.Append(nil, ipv6.MulticastLinkAddr(ipv6.SolicitedNode(routerAddr)), liar, l.packet)))
	n.routerIn.sees(l.packet)
	second := n.guard()
	n.must(n.node.SendFrame("wl0", frames.Append(nil, ipv6.MulticastLinkAddr(ipv6.SolicitedNode(routerAddr)), liar, l.packet)))
	n.routerIn.sees(l.packet)
	netlabtest.Await(t, "the second one counts", func() bool {
		return netlabtest.Counter(t, second, "secured_neighbour_solicitation") == 1
	})
	if _, known := n.neighbours()[l.about]; known {
		t.Error("the kernel heard a solicitation between two processes")
	}
}

// A node's kernel must not take routers and prefixes from unsigned advertisements either.
func TestNodesKernelHearsNoDiscoveryOnASecuredLink(t *testing.T) {
	n := newNetwork(t) // the namespace "router" is that of the node here
	n.must(n.router.SetSysctl("net/ipv6/conf/all/forwarding", "0"))
	n.must(n.router.SetSysctl("net/ipv6/conf/lan0/accept_ra", "1"))
	advert := func(from netip.Addr) lie {
		prefix := append([]byte{3, 4, 64, 0xc0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0},
			netip.MustParseAddr("2001:db8:66::").AsSlice()...)
		return lie{"router advertisement", message(from, ipv6.AllNodes(),
			[]byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}, linkOption(1), prefix),
			from, "secured_router_advertisement"}
	}
	first, second := netip.MustParseAddr("fe80::66"), netip.MustParseAddr("fe80::67")
	n.hear(advert(first))
	netlabtest.Await(t, "the kernel takes an advertisement without the guard", func() bool {
		return n.neighbours()[first] == liar
	})

	var g *Node
	n.must(n.router.Do(func() (err error) { g, err = OpenNode(7, "lan0"); return err }))
	defer g.Close(false)
	n.must(n.router.AddNeighbour("lan0", nodeAddr, must(n.node.Link("wl0")).Hardware))
	n.must(n.node.AddNeighbour("wl0", routerAddr, must(n.router.Link("lan0")).Hardware))
	n.hear(advert(second))
	if got := netlabtest.Counter(t, g, "secured_router_advertisement"); got != 1 {
		t.Errorf("secured_router_advertisement = %d, want 1", got)
	}
	if _, known := n.neighbours()[second]; known {
		t.Error("the kernel took an unsigned router advertisement")
	}
	for _, l := range lies() {
		if l.counter == "secured_router_solicitation" {
			continue // which goes to routers
		}
		before := netlabtest.Counter(t, g, l.counter)
		n.hear(l)
		if netlabtest.Counter(t, g, l.counter) <= before {
			t.Errorf("%s: %s did not rise", l.name, l.counter)
		}
		if n.neighbours()[l.about] == liar {
			t.Errorf("%s: the kernel believed it", l.name)
		}
	}
	if _, err := OpenNode(7, ""); err == nil {
		t.Error("a link without a name was taken")
	}
}

// The kernel's redirects are had to be signed: whole, and each with its link. Those of other links leave as ever.
func TestRedirectsAreHandedOver(t *testing.T) {
	n := newNetwork(t)
	hw := n.meet()
	g := n.guard()
	n.must(n.router.AddNeighbour("lan0", nodeAddr, hw))
	n.must(n.node.AddNeighbour("wl0", routerAddr, must(n.router.Link("lan0")).Hardware))
	said := message(routerLink, nodeAddr, head(redirect, 0), nodeLink.AsSlice(), farAddr.AsSlice(), linkOption(2))
	say := func() {
		if err := n.router.Inject(said, "lan0"); !errors.Is(err, unix.EPERM) { // which is how nftables drops
			n.must(err)
		}
	}
	say()
	n.nodeIn.sees(said)
	n.must(g.SetSecured([]string{"lan0"}))
	take := func(g *Guard) {
		t.Helper()
		select {
		case got := <-g.Redirects():
			if got.Link != must(n.router.Link("lan0")).Index || !bytes.Equal(got.Packet, said) {
				t.Errorf("link %d: %x\nwant %x", got.Link, got.Packet, said)
			}
		case <-time.After(netlabtest.Patience):
			t.Fatalf("no redirect came; %v", g.Reasons())
		}
	}
	say()
	take(g)
	if heard := n.fence(); slices.ContainsFunc(heard, func(p []byte) bool { return p[6] == ipv6.ProtoICMPv6 && p[40] == redirect }) {
		t.Error("it left unsigned, too")
	}
	// What nobody takes is counted and lost.
	for range redirectQueue + 3 {
		say()
	}
	netlabtest.Await(t, "the end of the queue", func() bool { return netlabtest.Counter(t, g, "drop_redirect_queue_full") == 3 })
	if got := netlabtest.Counter(t, g, "redirects_taken"); got != 1+redirectQueue {
		t.Errorf("redirects_taken = %d", got)
	}
	// The rules that a process leaves serve the next one.
	n.must(g.Close(true))
	second := n.guard()
	say()
	take(second)
	if len(second.Reasons()) != 0 {
		t.Errorf("reasons %v", second.Reasons())
	}
}

// Where the kernel can copy nothing, or another program has our group, redirects are kept back all the same, and people
// are told.
func TestWithoutCopiesRedirectsAreDropped(t *testing.T) {
	n := newNetwork(t)
	var first *redirects
	n.must(n.router.Do(func() (err error) { first, err = openRedirects(); return err }))
	defer first.close()
	hw := n.meet()
	g := n.guard()
	if r := g.Reasons(); len(r) != 1 || !strings.Contains(r[0], "redirects") || !strings.Contains(r[0], "group") || g.Redirects() != nil {
		t.Errorf("reasons %q, channel %v", r, g.Redirects())
	}
	n.must(n.router.AddNeighbour("lan0", nodeAddr, hw))
	n.must(n.node.AddNeighbour("wl0", routerAddr, must(n.router.Link("lan0")).Hardware))
	n.must(g.SetSecured([]string{"lan0"}))
	if err := n.router.Inject(message(routerLink, nodeAddr, head(redirect, 0), nodeLink.AsSlice(), farAddr.AsSlice()), "lan0"); !errors.Is(err, unix.EPERM) {
		n.must(err)
	}
	for _, p := range n.fence() {
		if p[6] == ipv6.ProtoICMPv6 && p[40] == redirect {
			t.Error("a redirect left")
		}
	}
	if got := netlabtest.Counter(t, g, "secured_unsigned_redirect"); got != 1 {
		t.Errorf("secured_unsigned_redirect = %d", got)
	}
	var none *Guard
	if none.Redirects() != nil {
		t.Error("no guard has redirects")
	}
}
