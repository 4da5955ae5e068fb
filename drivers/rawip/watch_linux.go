package rawip

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// watcher holds group memberships. A packet socket's own membership only opens the interface's filter; only a membership
// of the IPv6 stack sends the MLD report that makes a snooping bridge or switch deliver.
//
// The kernel bounds the memory of one socket's memberships (net.core.optmem_max), so there are as many sockets as it takes.
type watcher struct {
	sockets []int
	groups  map[groupKey]membership
	addrs   map[addrKey]struct{}
}

// The keys are small: each node that is attached has one of both.

// groupKey is a solicited-node group: its last three octets tell it from the others.
type groupKey struct {
	link int32
	low  [3]byte
}

func (g groupKey) group() [16]byte {
	return [16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: g.low[0], 14: g.low[1], 15: g.low[2]}
}

type addrKey struct {
	link int32
	addr [16]byte
}

func (a addrKey) group() groupKey { return groupKey{a.link, [3]byte(a.addr[13:])} }

// membership is one group on one link, for all watched addresses that share it.
type membership struct {
	users  int32
	socket int32 // -1: the kernel refused, the link is promiscuous instead
}

func (w *watcher) add(c *counters, p *port, addr netip.Addr) error {
	if !addr.Is6() {
		return fmt.Errorf("watch %v: not an IPv6 address", addr)
	}
	if w.groups == nil {
		w.groups = make(map[groupKey]membership)
		w.addrs = make(map[addrKey]struct{})
	}
	a := addrKey{int32(p.link.Index), addr.As16()}
	if _, ok := w.addrs[a]; ok {
		return nil
	}
	g := a.group()
	m, ok := w.groups[g]
	if !ok {
		fd, joinErr := w.join(g)
		if joinErr != nil {
			if err := promiscuous(p, unix.PACKET_ADD_MEMBERSHIP); err != nil {
				return fmt.Errorf("watch %v on %s: join its group: %w; receive all frames instead: %w", addr, p.link.Name, joinErr, err)
			}
			c.promiscuous.Add(1)
			fd = -1
		}
		m = membership{socket: int32(fd)}
	}
	m.users++
	w.groups[g] = m
	w.addrs[a] = struct{}{}
	c.watched.Add(1)
	return nil
}

// join makes one of the sockets a member of g.
func (w *watcher) join(g groupKey) (int, error) {
	mreq := unix.IPv6Mreq{Multiaddr: g.group(), Interface: uint32(g.link)}
	for _, fd := range w.sockets {
		err := unix.SetsockoptIPv6Mreq(fd, unix.SOL_IPV6, unix.IPV6_JOIN_GROUP, &mreq)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.ENOBUFS) {
			return -1, err
		}
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.SOL_IPV6, unix.IPV6_JOIN_GROUP, &mreq); err != nil {
		unix.Close(fd)
		return -1, err
	}
	w.sockets = append(w.sockets, fd)
	return fd, nil
}

func (w *watcher) remove(c *counters, p *port, addr netip.Addr) error {
	a := addrKey{int32(p.link.Index), addr.As16()}
	if _, ok := w.addrs[a]; !ok {
		return nil
	}
	delete(w.addrs, a)
	c.watched.Add(^uint64(0))
	g := a.group()
	m := w.groups[g]
	m.users--
	if m.users > 0 {
		w.groups[g] = m
		return nil
	}
	delete(w.groups, g)
	if m.socket < 0 {
		c.promiscuous.Add(^uint64(0))
		return promiscuous(p, unix.PACKET_DROP_MEMBERSHIP)
	}
	return w.leave(g, m)
}

func (w *watcher) leave(g groupKey, m membership) error {
	mreq := unix.IPv6Mreq{Multiaddr: g.group(), Interface: uint32(g.link)}
	err := unix.SetsockoptIPv6Mreq(int(m.socket), unix.SOL_IPV6, unix.IPV6_LEAVE_GROUP, &mreq)
	if err != nil {
		return fmt.Errorf("leave group %v: %w", netip.AddrFrom16(g.group()), err)
	}
	return nil
}

// forget ends all that is watched on a link. The link may be gone, and its memberships with it: errors do not count.
func (w *watcher) forget(c *counters, link int) {
	for a := range w.addrs {
		if a.link == int32(link) {
			delete(w.addrs, a)
			c.watched.Add(^uint64(0))
		}
	}
	for g, m := range w.groups {
		if g.link != int32(link) {
			continue
		}
		delete(w.groups, g)
		if m.socket < 0 {
			c.promiscuous.Add(^uint64(0)) // it ends with the link's socket
		} else {
			_ = w.leave(g, m)
		}
	}
}

func (w *watcher) close() {
	for _, fd := range w.sockets {
		unix.Close(fd)
	}
	w.sockets, w.groups, w.addrs = nil, nil, nil
}

// promiscuous adds or drops one reference of the link's socket to receiving all frames of the interface. The filter still
// leaves out what was sent to other hosts.
func promiscuous(p *port, op int) error {
	var err error
	rawErr := p.reader.raw.Control(func(fd uintptr) {
		mreq := unix.PacketMreq{Ifindex: int32(p.link.Index), Type: unix.PACKET_MR_PROMISC}
		err = unix.SetsockoptPacketMreq(int(fd), unix.SOL_PACKET, op, &mreq)
	})
	if rawErr != nil {
		return rawErr
	}
	return err
}
