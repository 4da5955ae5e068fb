package forward

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/rtnl"
)

// node opens a mobile node's end on mn.
func (n *network) node(cfg NodeConfig) NodeTunnel {
	n.t.Helper()
	var f NodeTunnel
	n.must(n.mn.Do(func() (err error) {
		f, err = OpenNode(cfg)
		return err
	}))
	n.t.Cleanup(func() { f.Close() })
	return f
}

// listen opens a UDP socket in a namespace; echo, with it, answers what comes with what came.
func (n *network) listen(ns interface{ Do(func() error) error }, addr netip.Addr, port uint16) *net.UDPConn {
	n.t.Helper()
	var c *net.UDPConn
	n.must(ns.Do(func() (err error) {
		c, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
		return err
	}))
	n.t.Cleanup(func() { c.Close() })
	return c
}

func echo(c *net.UDPConn) {
	b := make([]byte, 65536)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		_, _ = c.WriteToUDPAddrPort(b[:n], from)
	}
}

// ask sends text from c to addr and waits for it to come back.
func ask(c *net.UDPConn, addr netip.AddrPort, text string, limit time.Duration) error {
	if _, err := c.WriteToUDPAddrPort([]byte(text), addr); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	b := make([]byte, 65536)
	for {
		n, _, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return err
		}
		if string(b[:n]) == text {
			return nil
		}
	}
}

func TestBothEndsCarryAConversation(t *testing.T) {
	n := newNetwork(t)
	router, node := n.router(Config{Backend: TUN}), n.node(NodeConfig{Backend: TUN})
	n.must(router.Bind(bound))
	n.must(node.Bind(bound))

	go echo(n.listen(n.mn, homeAddr, 5000))
	c := n.listen(n.cn, peer, 0)
	if err := ask(c, netip.AddrPortFrom(homeAddr, 5000), "hello", 2*time.Second); err != nil {
		t.Fatalf("no echo through the tunnel: %v\nrouter %v\nnode %v", err, counters(router), counters(node))
	}
}

// nodeState lists the home addresses and the rules of ours at mn.
func (n *network) nodeState() (all []string) {
	n.t.Helper()
	n.must(n.mn.Do(func() error {
		nl, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer nl.Close()
		rules, err := nl.Rules()
		for _, ru := range rules {
			all = append(all, ru.String())
		}
		for _, home := range []netip.Addr{homeAddr, homeTwo} {
			local, localErr := nl.IsLocal(1, home)
			if local {
				all = append(all, home.String())
			}
			err = errors.Join(err, localErr)
		}
		return err
	}))
	return all
}

func TestNodeEndsWithUnbind(t *testing.T) {
	n := newNetwork(t)
	e := n.node(NodeConfig{Backend: TUN})
	two := Binding{Home: homeTwo, Router: routerAddr, CareOf: careOf}
	n.must(e.Bind(bound))
	n.must(e.Bind(bound)) // no error
	n.must(e.Bind(two))
	if got := netlabtest.Counter(t, e, "bindings"); got != 2 {
		t.Errorf("bindings = %d, want 2", got)
	}
	n.must(e.Unbind(homeAddr))
	n.must(e.Unbind(homeAddr)) // no error
	if got := strings.Join(n.nodeState(), ", "); !strings.Contains(got, homeTwo.String()) || strings.Contains(got, homeAddr.String()) {
		t.Errorf("after Unbind of one the node has: %s", got)
	}
	n.must(e.Close())
	n.must(e.Close()) // no error
	if got := n.nodeState(); len(got) != 0 {
		t.Errorf("after Close the node has: %v", got)
	}
	if err := e.Bind(bound); !errors.Is(err, errClosed) {
		t.Errorf("Bind after Close: %v", err)
	}
}

// A home address is there for what runs from it; what is new starts from the address of the link.
func TestNodeStartsNothingFromItsHomeAddress(t *testing.T) {
	n := newNetwork(t)
	e := n.node(NodeConfig{Backend: TUN})
	n.must(e.Bind(Binding{Home: netip.MustParseAddr("2001:db8:c::100"), Router: routerAddr, CareOf: careOf}))
	var local netip.AddrPort
	n.must(n.mn.Do(func() error {
		// The home address shares more bits with the correspondent's than the care-of address does.
		c, err := net.DialUDP("udp6", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, 9)))
		if err != nil {
			return err
		}
		local = c.LocalAddr().(*net.UDPAddr).AddrPort()
		return c.Close()
	}))
	if !netip.MustParsePrefix("2001:db8:2::/64").Contains(local.Addr()) {
		t.Errorf("a new connection starts from %s", local.Addr())
	}
}

// TestNodeFromItsRouterOnly: what the node takes out of the tunnel is for the home address and from its router.
func TestNodeFromItsRouterOnly(t *testing.T) {
	n := newNetwork(t)
	e := n.node(NodeConfig{Backend: TUN})
	n.must(e.Bind(bound))
	for _, c := range []struct {
		name         string
		outer, inner netip.Addr
		to           netip.Addr
		counter      string
	}{
		{"from its router", routerAddr, homeAddr, careOf, "in_packets"},
		{"from somebody else", peer, homeAddr, careOf, "in_wrong_outer"},
		{"to another address of the node", routerAddr, homeAddr, careOfTwo, "in_wrong_outer"},
		{"for another address", routerAddr, careOf, careOf, "in_no_binding"},
		{"for all nodes", routerAddr, netip.MustParseAddr("ff02::1"), careOf, "in_bad_scope"},
	} {
		before := netlabtest.Counter(t, e, c.counter)
		n.inject(n.ar, tunnelled(c.outer, c.to, -1, udp(peer, c.inner, 64, c.name)))
		waitCount(t, e, c.counter, before+1)
	}
}

// The node's own packets are told the path's size like anybody's.
func TestNodePacketTooBig(t *testing.T) {
	n := newNetwork(t)
	n.must(n.mn.SetMTU("wl0", 1400))
	e := n.node(NodeConfig{Backend: TUN, MTU: 1460})
	n.must(e.Bind(bound))
	c := n.listen(n.mn, homeAddr, 5000)
	send := func(size int) {
		_, err := c.WriteToUDPAddrPort(make([]byte, size-48), netip.AddrPortFrom(peer, 9))
		n.must(err)
	}
	send(1361)
	p := n.mnIn.wait("Packet Too Big to itself", isICMP(icmpPacketTooBig))
	if mtu := binary.BigEndian.Uint32(p[44:]); mtu != 1360 || destination(p) != homeAddr.As16() {
		t.Errorf("Packet Too Big says %d to %x, want 1360 to the home address", mtu, destination(p))
	}
	send(1360)
	p = n.arIn.wait("the tunnel packet", isTunnel(careOf, routerAddr, ""))
	if len(p) != 1400 {
		t.Errorf("the tunnel packet has %d octets, want 1400", len(p))
	}
}

// What a node that died left does not stand in the way of the next one.
func TestNodeAfterACrash(t *testing.T) {
	n := newNetwork(t)
	n.must(n.mn.Do(func() error {
		nl, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer nl.Close()
		return errors.Join(nl.AddRule(fromHome(homeTwo, nodeTable)), nl.AddRule(fromHome(homeAddr, nodeTable+3)))
	}))
	e := n.node(NodeConfig{Backend: TUN})
	if got := n.nodeState(); len(got) != 0 {
		t.Errorf("an earlier process's %v is left", got)
	}
	n.must(e.Bind(bound))
	var removed []string
	n.must(e.Close())
	n.must(n.mn.Do(func() (err error) {
		nl, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer nl.Close()
		if err := nl.AddRule(fromHome(homeTwo, nodeTable)); err != nil {
			return err
		}
		removed, err = CleanupNode()
		return err
	}))
	if len(removed) != 1 || !strings.Contains(removed[0], homeTwo.String()) {
		t.Errorf("CleanupNode says %q, want the rule", removed)
	}
}

func TestWrongConfigurations(t *testing.T) {
	for _, cfg := range []Config{
		{Backend: "best"}, {Device: "a-name-that-is-too-long"}, {Device: "a/b"}, {Device: "."},
	} {
		if f, err := Open(cfg, nil); err == nil {
			f.Close(false)
			t.Errorf("Open(%+v) was taken", cfg)
		}
		if e, err := OpenNode(NodeConfig{Backend: cfg.Backend, Device: cfg.Device}); err == nil {
			e.Close()
			t.Errorf("OpenNode with %+v was taken", cfg)
		}
	}
}
