package neighbors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	ifaProto = 11 // IFA_PROTO

	// usable bounds the wait for an address to receive: on a link that is down it does so later.
	usable = 200 * time.Millisecond

	forever = 0xffffffff
)

// address is one address of an interface.
type address struct {
	link   int
	addr   netip.Addr
	bits   uint8
	proto  uint8
	metric uint32
	flags  uint32
}

func (a address) ours() bool { return a.proto == Protocol || a.metric == AddressMetric }

func decodeAddress(b []byte) (address, bool) {
	a := address{link: int(binary.NativeEndian.Uint32(b[4:8])), bits: b[1], flags: uint32(b[2])}
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return address{}, false
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFA_ADDRESS:
			if !a.addr.IsValid() {
				a.addr, _ = netip.AddrFromSlice(ad.Bytes())
			}
		case unix.IFA_LOCAL: // of a point-to-point link: the own end
			a.addr, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_FLAGS:
			a.flags = ad.Uint32()
		case unix.IFA_RT_PRIORITY:
			a.metric = ad.Uint32()
		case ifaProto:
			a.proto = ad.Uint8()
		}
	}
	return a, ad.Err() == nil && a.addr.Is6()
}

// addressHead is struct ifaddrmsg.
func addressHead(link int, bits uint8) []byte {
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0], b[1] = unix.AF_INET6, bits
	b[2] = unix.IFA_F_NODAD
	binary.NativeEndian.PutUint32(b[4:8], uint32(link))
	return b
}

func (n *Neighbors) addressesOf() ([]address, error) {
	all, err := n.dump(unix.RTM_GETADDR, unix.SizeofIfAddrmsg)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var list []address
	for _, b := range all {
		if a, ok := decodeAddress(b); ok {
			list = append(list, a)
		}
	}
	return list, nil
}

// find gives an address of a link.
func (n *Neighbors) find(link int, addr netip.Addr) (address, bool, error) {
	all, err := n.addressesOf()
	for _, a := range all {
		if a.link == link && a.addr == addr {
			return a, true, nil
		}
	}
	return address{}, false, err
}

// AddAddress implements Driver.
func (n *Neighbors) AddAddress(link int, addr netip.Prefix) error {
	if err := badAddress(addr.Addr()); err != nil || addr.Bits() < 0 {
		return fmt.Errorf("give link %d the address %s: not an address in a prefix", link, addr)
	}
	return n.do(func() error {
		own := Owned{Link: link, Addr: addr.Addr()}
		switch have, there, err := n.find(link, addr.Addr()); {
		case err != nil:
			return err
		case there && have.ours():
			n.added[own] = true
			return nil
		case there:
			return nil
		}
		err := n.request(unix.RTM_NEWADDR, netlink.Create|netlink.Replace, addressHead(link, uint8(addr.Bits())), func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.IFA_LOCAL, addr.Addr().AsSlice())
			ae.Bytes(unix.IFA_ADDRESS, addr.Addr().AsSlice())
			info := make([]byte, 16) // struct ifa_cacheinfo: preferred, valid, and two that the kernel writes
			binary.NativeEndian.PutUint32(info[0:], forever)
			binary.NativeEndian.PutUint32(info[4:], forever)
			ae.Bytes(unix.IFA_CACHEINFO, info)
			ae.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
			ae.Uint32(unix.IFA_RT_PRIORITY, AddressMetric)
			ae.Uint8(ifaProto, Protocol) // kernels before 5.18 pass it over
		})
		if err != nil {
			return fmt.Errorf("give link %d the address %s: %w", link, addr, err)
		}
		n.added[own] = true
		n.addresses.Add(1)
		return n.awaitUsable(own)
	})
}

// awaitUsable waits until the kernel receives packets for an address: it acknowledges before it has done everything.
func (n *Neighbors) awaitUsable(o Owned) error {
	head := make([]byte, unix.SizeofRtMsg)
	for end := time.Now().Add(usable); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		ae := netlink.NewAttributeEncoder()
		ae.Bytes(unix.RTA_DST, o.Addr.AsSlice())
		ae.Uint32(unix.RTA_IIF, uint32(o.Link))
		b, err := ae.Encode()
		if err != nil {
			return err
		}
		head[0], head[1] = unix.AF_INET6, 128
		replies, err := n.conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request}, Data: append(head[:unix.SizeofRtMsg:unix.SizeofRtMsg], b...),
		})
		if err == nil && len(replies) > 0 && len(replies[0].Data) >= unix.SizeofRtMsg && replies[0].Data[7] == unix.RTN_LOCAL {
			return nil
		}
	}
	return nil
}

// RemoveAddress implements Driver.
func (n *Neighbors) RemoveAddress(link int, addr netip.Addr) error {
	return n.do(func() error { return n.removeAddress(link, addr) })
}

func (n *Neighbors) removeAddress(link int, addr netip.Addr) error {
	delete(n.added, Owned{Link: link, Addr: addr})
	a, there, err := n.find(link, addr)
	if err != nil || !there || !a.ours() {
		return err
	}
	err = n.request(unix.RTM_DELADDR, 0, addressHead(link, a.bits), func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_LOCAL, addr.AsSlice())
		ae.Bytes(unix.IFA_ADDRESS, addr.AsSlice())
	})
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("take the address %s off link %d: %w", addr, link, err)
	}
	return n.removePrefixRoute(a)
}

// removePrefixRoute removes the on-link route that the kernel made for an address of ours. It keeps it for any other address in
// that prefix, although that has a route of its own, with its own metric.
func (n *Neighbors) removePrefixRoute(gone address) error {
	all, err := n.addressesOf()
	if err != nil || gone.metric != AddressMetric {
		return err
	}
	prefix := netip.PrefixFrom(gone.addr, int(gone.bits)).Masked()
	for _, a := range all {
		if a.link == gone.link && a.metric == AddressMetric && a.bits == gone.bits && prefix.Contains(a.addr) {
			return nil // another one of ours
		}
	}
	head := make([]byte, unix.SizeofRtMsg)
	head[0], head[1], head[4] = unix.AF_INET6, gone.bits, unix.RT_TABLE_MAIN
	err = n.request(unix.RTM_DELROUTE, 0, head, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.RTA_DST, prefix.Addr().AsSlice())
		ae.Uint32(unix.RTA_OIF, uint32(gone.link))
		ae.Uint32(unix.RTA_PRIORITY, AddressMetric)
	})
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the route to %s by link %d: %w", prefix, gone.link, err)
	}
	return nil
}

// routeHead is struct rtmsg of a host route of ours.
func routeHead() []byte {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1], b[4], b[5], b[7] = unix.AF_INET6, 128, unix.RT_TABLE_MAIN, Protocol, unix.RTN_UNICAST
	return b
}

func routeAttributes(link int, addr netip.Addr) func(ae *netlink.AttributeEncoder) {
	return func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.RTA_DST, addr.AsSlice())
		ae.Uint32(unix.RTA_OIF, uint32(link))
		ae.Uint32(unix.RTA_PRIORITY, RouteMetric)
	}
}

// AddRoute implements Driver.
func (n *Neighbors) AddRoute(link int, addr netip.Addr) error {
	if err := badAddress(addr); err != nil || addr.IsLinkLocalUnicast() {
		return fmt.Errorf("route to %s: not a global unicast address", addr)
	}
	return n.do(func() error {
		err := n.request(unix.RTM_NEWROUTE, netlink.Create|netlink.Replace, routeHead(), routeAttributes(link, addr))
		if err != nil {
			return fmt.Errorf("route to %s by link %d: %w", addr, link, err)
		}
		n.added[Owned{Link: link, Addr: addr, Route: true}] = true
		return nil
	})
}

// RemoveRoute implements Driver.
func (n *Neighbors) RemoveRoute(link int, addr netip.Addr) error {
	return n.do(func() error { return n.removeRoute(link, addr) })
}

func (n *Neighbors) removeRoute(link int, addr netip.Addr) error {
	delete(n.added, Owned{Link: link, Addr: addr, Route: true})
	err := n.request(unix.RTM_DELROUTE, 0, routeHead(), routeAttributes(link, addr))
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the route to %s by link %d: %w", addr, link, err)
	}
	return nil
}
