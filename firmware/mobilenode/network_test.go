package mobilenode_test

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/drivers/rawip/fake"
	"github.com/roamkey/roamkey/firmware/internal/testrouter"
	"github.com/roamkey/roamkey/ipv6"
)

// network carries what is sent by the routing table between nodes and routers.
type network struct {
	mu    sync.Mutex
	hosts map[netip.Addr]func(packet []byte)
}

func (n *network) attach(addr netip.Addr, arrive func(packet []byte)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = make(map[netip.Addr]func([]byte))
	}
	n.hosts[addr] = arrive
}

func (n *network) carry(packet []byte) {
	var p ipv6.Packet
	if ipv6.Parse(packet, &p) != ipv6.OK {
		return
	}
	n.mu.Lock()
	arrive := n.hosts[p.Dst]
	n.mu.Unlock()
	if arrive != nil {
		arrive(packet)
	}
}

// accessRouter is a router with a cell in memory.
type accessRouter struct {
	*testrouter.Router
	segment *fake.Segment
}

func newRouter(t *testing.T, net *network, n byte) *accessRouter {
	t.Helper()
	link := rawip.Link{Index: 1, Name: "lan", Hardware: ipv6.LinkAddr{2, 0, 0, 0, 1, n}}
	conn := fake.New(link)
	segment := &fake.Segment{}
	segment.Join(conn, 1)
	conn.Routes = net.carry
	address := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 7: n, 15: 1})
	net.attach(address, func(packet []byte) { conn.Arrive(9, ipv6.LinkAddr{}, packet) })
	return &accessRouter{testrouter.New(t, conn, link, netip.PrefixFrom(address, 64)), segment}
}
