package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

const metaSecPath = 25 // NFT_META_SECPATH: 1 if the packet came through IPsec

// Guard is the router's table. A nil *Guard stands for a kernel that cannot have one: its methods do nothing.
type Guard struct {
	t *table

	routers, links, tunnels, served, secured *set // guarded by t.mu

	redirects *redirects // nil where the kernel cannot copy packets

	base     []rule // without those about tunnels' sources
	checking bool   // those are there, too
	there    bool   // there was a table already
	reasons  []string
}

// Open makes the table, or takes over the one an earlier process left, with its pairs: what they let through goes on
// without a gap. The error wraps ErrUnsupported where the kernel has no nftables. All that it needs of the network
// namespace it opens on the calling thread.
func Open() (*Guard, error) {
	c, err := dialNFT()
	if err != nil {
		return nil, err
	}
	g, err := open(c)
	if err != nil {
		c.Close()
		return nil, err
	}
	g.t.watch()
	g.redirects.listen()
	return g, nil
}

func open(c *nft) (*Guard, error) {
	there, err := c.exists(Table)
	if err != nil {
		return nil, err
	}
	g := &Guard{
		routers: newSet("routers", typeAddr, 16),
		links:   newSet("links", typeName, unix.IFNAMSIZ),
		tunnels: newSet("tunnels", typePair, 32),
		served:  newSet("served", typePair, 32),
		secured: newSet("secured", typeName, unix.IFNAMSIZ),
	}
	g.there = there
	g.t = &table{name: Table, nft: c, sets: []*set{g.routers, g.links, g.tunnels, g.served, g.secured}}
	old := 0
	if there {
		for _, s := range g.t.sets {
			// An element of another length is from another version, or not from us.
			have, err := s.read(c, Table)
			if err != nil {
				return nil, explain(err)
			}
			for e := range have {
				if len(e) == int(s.length) {
					s.elements[e] = true
				}
			}
		}
		counts, err := g.t.read()
		if err != nil {
			return nil, explain(err)
		}
		old = len(counts)
	}
	var noLog error
	g.redirects, noLog = openRedirects()
	g.reasons, err = g.t.makeBest(features{secPath: true, copies: noLog == nil}, func(f features) []rule {
		g.base = sequence(mobilityRules(f, g.links.name), securedRules(g.secured.name, ofRouters), f.redirectRules(g.secured.name), silenceRules(g.routers.name))
		g.checking = old > len(g.base)
		return g.rules()
	})
	if err != nil {
		return nil, errors.Join(err, g.redirects.close())
	}
	if !g.t.copies() {
		err = g.redirects.close()
		g.redirects = nil
		if noLog != nil {
			g.reasons = append(g.reasons, features{}.lackCopies(noLog))
		}
	}
	return g, err
}

// TookOver reports whether Open found a table, which an earlier process left, or one that runs still.
func (g *Guard) TookOver() bool { return g != nil && g.there }

func (g *Guard) rules() []rule {
	if !g.checking {
		return g.base
	}
	return sequence(g.base, tunnelRules(g.routers.name, g.tunnels.name, g.served.name))
}

// features is what of nftables a kernel may lack.
type features struct {
	secPath bool // meta secpath, with XFRM
	copies  bool // log group, with nfnetlink_log
}

// makeBest makes the table with as many of the wanted features as the kernel has, and tells what the lack of the others
// means.
func (t *table) makeBest(want features, rules func(features) []rule) ([]string, error) {
	var firstErr error
	tried := make(map[features]bool)
	for _, f := range []features{want, {secPath: want.secPath}, {copies: want.copies}, {}} {
		if tried[f] {
			continue
		}
		tried[f] = true
		err := t.make(rules(f))
		if firstErr == nil {
			firstErr = err
		}
		if err == nil {
			return f.lack(want, firstErr), nil
		}
		if errors.Is(err, unix.EPERM) {
			break
		}
	}
	return nil, explain(firstErr)
}

func (f features) lack(want features, err error) []string {
	var reasons []string
	if want.secPath && !f.secPath {
		reasons = append(reasons, fmt.Sprintf("nftables has no `meta secpath` (%v): mobility headers under IPsec are dropped too", err))
	}
	if want.copies && !f.copies {
		reasons = append(reasons, f.lackCopies(err))
	}
	return reasons
}

func (features) lackCopies(err error) string {
	return fmt.Sprintf("the kernel's redirects cannot be had to be signed (%v): on links with SEND there are none; nfnetlink_log is needed (OpenWrt: kmod-nfnetlink-log)", err)
}

// notByIPsec matches packets that did not come through IPsec: those that did have a protocol-135 socket as receiver.
func (f features) notByIPsec() []expression {
	if !f.secPath {
		return nil
	}
	return []expression{meta(metaSecPath), is(0)}
}

func protocol(p byte) []expression { return []expression{meta(unix.NFT_META_L4PROTO), is(p)} }

func sequence[T any](parts ...[]T) []T { return slices.Concat(parts...) }

const (
	headerNext        = 6 // offsets in the IPv6 header
	headerSource      = 8
	headerDestination = 24
)

func address(register uint32, offset uint32) expression {
	return payload(register, unix.NFT_PAYLOAD_NETWORK_HEADER, offset, 16)
}

// mobility matches mobility headers to this host, behind whatever extension headers.
func (f features) mobility() []expression {
	return sequence(protocol(ipv6.ProtoMobility), f.notByIPsec())
}

// mobilityRules drop mobility headers: those to link-local addresses on served links only.
func mobilityRules(f features, links string) []rule {
	tenBits, linkLocal := [16]byte{0xff, 0xc0}, [16]byte{0xfe, 0x80} // fe80::/10
	prefix := []expression{address(first, headerDestination), masked(tenBits[:])}
	const name = "mobility_header"
	return []rule{
		{name: name, about: "read from packet sockets", match: sequence(f.mobility(), prefix, []expression{isNot(linkLocal[:]...)})},
		{name: name, about: "read from packet sockets, on served links", match: sequence(f.mobility(), prefix, []expression{
			is(linkLocal[:]...), meta(unix.NFT_META_IIFNAME), in(links),
		})},
	}
}

// tunnelRules drop tunnel packets to the router that are not of an admitted pair: of outer and inner source in tunnels, or of
// outer source and inner destination in served, which anybody may write to but the router itself. A fragment does not show what it holds,
// and the kernel puts it together behind all rules, unless connection tracking does so before them: fragments of tunnel
// packets that get here are dropped. (A packet too short to show an inner source passes: no tunnel device takes it.)
func tunnelRules(routers, tunnels, served string) []rule {
	toRouter := []expression{address(first, headerDestination), in(routers)}
	fragment := func(next byte) rule {
		return rule{name: "tunnel_fragment", about: "would be put together unchecked",
			match: sequence(toRouter, []expression{extension(ipv6.ProtoFragment, 0), is(next)})}
	}
	return []rule{
		fragment(ipv6.ProtoIPv6), fragment(ipv6.ProtoDestination), fragment(ipv6.ProtoRouting), fragment(ipv6.ProtoFragment),
		{name: "tunnel_source", about: "from the router itself", match: sequence(toRouter, []expression{
			payload(first, unix.NFT_PAYLOAD_TRANSPORT_HEADER, headerSource, 16), in(routers),
		}, protocol(ipv6.ProtoIPv6))},
		{name: "tunnel_source", about: "neither a binding's nor a served node's",
			// The protocol comes last: nft aborts when it lists a look into the transport header behind `meta l4proto 41`.
			match: sequence(toRouter, outsidePairs(headerSource, tunnels), outsidePairs(headerDestination, served), protocol(ipv6.ProtoIPv6))},
	}
}

// outsidePairs matches tunnel packets whose outer source is not a pair of the set with the address at an offset of the packet
// in them.
func outsidePairs(offset uint32, set string) []expression {
	return []expression{address(first, headerSource), payload(second, unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset, 16), notIn(set)}
}

// silenceRules drop the Port Unreachable with which a kernel that has tunnel6 loaded answers tunnel packets that none of its
// devices takes, whether or not a raw socket takes them. The far end would pass it on to the correspondent, who would
// take a handover for the end of the node. routers is the set of addresses that were sent to; "" means any.
func silenceRules(routers string) []rule {
	const quoted = 8 // offset of the packet in an ICMPv6 error
	octet := func(offset uint32, value byte) []expression {
		return []expression{payload(first, unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset, 1), is(value)}
	}
	unreachable := sequence(protocol(ipv6.ProtoICMPv6), octet(0, 1), octet(1, 4))
	if routers != "" {
		unreachable = append(unreachable,
			payload(first, unix.NFT_PAYLOAD_TRANSPORT_HEADER, quoted+headerDestination, 16), in(routers))
	}
	const name, about = "port_unreachable", "tunnel packets are not answered"
	return []rule{
		{chain: output, name: name, about: about, match: sequence(unreachable, octet(quoted+headerNext, ipv6.ProtoIPv6))},
		{chain: output, name: name, about: about, match: sequence(unreachable, octet(quoted+headerNext, ipv6.ProtoDestination),
			octet(quoted+ipv6.HeaderLen, ipv6.ProtoIPv6))},
	}
}

// SetRouters says which addresses are the router's own on its served links (tunnel packets to them are checked) and what
// the served links are called (mobility headers to link-local addresses are kept from the kernel there). It replaces
// what was set before in one transaction.
func (g *Guard) SetRouters(addrs []netip.Addr, links []string) error {
	if g == nil {
		return nil
	}
	routers := make(map[string]bool)
	for _, a := range addrs {
		if !a.Is6() {
			return fmt.Errorf("router address %s is not an IPv6 address", a)
		}
		routers[string(a.WithZone("").AsSlice())] = true
	}
	names, err := nameElements(links)
	if err != nil {
		return err
	}
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	g.routers.elements, g.links.elements = routers, names
	return g.t.change(func(tx *transaction) {
		g.routers.replace(tx, Table)
		g.links.replace(tx, Table)
	})
}

// change carries out a transaction on the table, whose sets have been brought up to date: if the kernel has lost the
// table, it gets the whole of it.
func (t *table) change(fill func(tx *transaction)) error {
	if t.closed {
		return errors.New("the guard is closed")
	}
	var tx transaction
	fill(&tx)
	err := t.nft.commit(&tx)
	if errors.Is(err, unix.ENOENT) {
		err = t.make(t.rules)
		if err == nil {
			t.restored.Add(1)
		}
	}
	if err != nil {
		return fmt.Errorf("change table ip6 %s: %w", t.name, err)
	}
	return nil
}

// CheckTunnels says whether tunnel packets to the router's addresses have to be of an admitted pair. Forwarding by the
// kernel's devices needs that; where this process takes the packets out of the tunnel it checks them itself.
func (g *Guard) CheckTunnels(on bool) error {
	if g == nil {
		return nil
	}
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	if g.checking == on {
		return nil
	}
	g.checking = on
	g.t.look()
	if err := g.t.make(g.rules()); err != nil {
		g.checking = !on
		return fmt.Errorf("check tunnel packets: %w", explain(err))
	}
	return nil
}

// Reasons says what the kernel lacks and what that means, a sentence each.
func (g *Guard) Reasons() []string {
	if g == nil {
		return nil
	}
	return slices.Clone(g.reasons)
}

// Present reports whether the kernel still has the whole table.
func (g *Guard) Present() bool { return g != nil && g.t.present() }

// Restore puts the table back as it should be. The guard does so itself when it sees that the table went away.
func (g *Guard) Restore() error {
	if g == nil {
		return nil
	}
	return g.t.restore()
}

// Counters yields what the rules dropped, how often the table had to be restored, and what became of the kernel's redirects.
func (g *Guard) Counters(yield func(name string, value uint64)) {
	if g != nil {
		g.t.counters(yield)
		g.redirects.counters(yield)
	}
}

// Close stops watching the table and, unless leave, removes it.
func (g *Guard) Close(leave bool) error {
	if g == nil {
		return nil
	}
	err := g.t.close(leave)
	if g.redirects != nil {
		err = errors.Join(err, g.redirects.close())
		g.redirects = nil
	}
	return err
}
