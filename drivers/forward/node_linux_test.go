package forward

import (
	"net"
	"net/netip"
	"testing"
	"time"
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
