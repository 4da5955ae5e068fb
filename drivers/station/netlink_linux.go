package station

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

// request makes one change and waits for the kernel's acknowledgement.
func (s *Station) request(typ netlink.HeaderType, flags netlink.HeaderFlags, fixed []byte, attrs func(*netlink.AttributeEncoder)) error {
	_, err := s.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   append(fixed, encode(attrs)...),
	})
	return err
}

// encode gives encoded attributes. Encoding fails only for values too long for an attribute, which none of ours is.
func encode(attrs func(*netlink.AttributeEncoder)) []byte {
	ae := netlink.NewAttributeEncoder()
	attrs(ae)
	b, _ := ae.Encode()
	return b
}

// addressHeader is struct ifaddrmsg for a /64 on an interface.
func addressHeader(index int) []byte {
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0], b[1] = unix.AF_INET6, 64
	binary.NativeEndian.PutUint32(b[4:8], uint32(index))
	return b
}

// routeHeader is struct rtmsg for a default route of ours.
func routeHeader() []byte {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[4], b[5], b[7] = unix.AF_INET6, unix.RT_TABLE_MAIN, RouteProtocol, unix.RTN_UNICAST
	return b
}

func (s *Station) routeAttributes(ae *netlink.AttributeEncoder, router netip.Addr) {
	ae.Bytes(unix.RTA_GATEWAY, router.AsSlice())
	ae.Uint32(unix.RTA_OIF, uint32(s.link.Index))
	ae.Uint32(unix.RTA_PRIORITY, routeMetric)
}

// setNeighbour writes the router's neighbour entry as one that was just confirmed; from there the kernel takes over.
func (s *Station) setNeighbour(addr netip.Addr, hw ipv6.LinkAddr) error {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = unix.AF_INET6
	binary.NativeEndian.PutUint32(b[4:8], uint32(s.link.Index))
	binary.NativeEndian.PutUint16(b[8:10], unix.NUD_REACHABLE)
	b[10] = unix.NTF_ROUTER
	err := s.request(unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace, b, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.NDA_DST, addr.AsSlice())
		ae.Bytes(unix.NDA_LLADDR, hw[:])
	})
	if err != nil {
		return fmt.Errorf("enter neighbour %v on %s: %w", addr, s.link.Name, err)
	}
	return nil
}

// decodeLink reads an RTM_NEWLINK message.
func decodeLink(b []byte) (Link, bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return Link{}, false
	}
	l := Link{
		Index: int(int32(binary.NativeEndian.Uint32(b[4:8]))),
		// RUNNING follows the operational state, which a radio reaches only when it is authorised.
		Up: binary.NativeEndian.Uint32(b[8:12])&unix.IFF_RUNNING != 0,
	}
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return Link{}, false
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			l.Name = ad.String()
		case unix.IFLA_ADDRESS:
			if len(ad.Bytes()) == len(l.Hardware) {
				copy(l.Hardware[:], ad.Bytes())
			}
		case unix.IFLA_MTU:
			l.MTU = int(ad.Uint32())
		}
	}
	return l, ad.Err() == nil
}

// address is what counts of an RTM_NEWADDR or RTM_DELADDR message.
type address struct {
	index int
	bits  uint8
	addr  netip.Addr
	flags uint32
}

func decodeAddress(b []byte) (address, bool) {
	if len(b) < unix.SizeofIfAddrmsg || b[0] != unix.AF_INET6 {
		return address{}, false
	}
	a := address{index: int(binary.NativeEndian.Uint32(b[4:8])), bits: b[1], flags: uint32(b[2])}
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return address{}, false
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFA_ADDRESS: // IFA_LOCAL is the address of a point-to-point link's own end
			if !a.addr.IsValid() {
				a.addr, _ = netip.AddrFromSlice(ad.Bytes())
			}
		case unix.IFA_LOCAL:
			a.addr, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_FLAGS:
			a.flags = ad.Uint32()
		}
	}
	return a, ad.Err() == nil && a.addr.Is6()
}
