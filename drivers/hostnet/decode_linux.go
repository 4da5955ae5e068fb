package hostnet

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

// Lengths of the fixed heads of rtnetlink messages, in octets.
const (
	linkHead      = 16 // struct ifinfomsg
	addressHead   = 8  // struct ifaddrmsg
	neighbourHead = 12 // struct ndmsg
	routeHead     = 12 // struct rtmsg
)

// portFlags are the settings of a bridge port that can hide Duplicate Address Detection.
type portFlags struct {
	isolated, suppress, vlanSuppress bool
}

// linkMessage is one RTM_NEWLINK or RTM_DELLINK. In one of family AF_BRIDGE only index, master and port count: it speaks of
// the interface as a port, and its RTM_DELLINK says that the port left the bridge, not that the interface is gone.
type linkMessage struct {
	bridgePort bool
	link       Link
	port       portFlags
	isPort     bool // port was given
}

func decodeLink(data []byte) (m linkMessage, ok bool) {
	if len(data) < linkHead {
		return m, false
	}
	m.bridgePort = data[0] == unix.AF_BRIDGE
	m.link.Index = int(int32(binary.NativeEndian.Uint32(data[4:8])))
	flags := binary.NativeEndian.Uint32(data[8:12])
	m.link.Up = flags&unix.IFF_UP != 0 && flags&unix.IFF_RUNNING != 0
	ad, err := netlink.NewAttributeDecoder(data[linkHead:])
	if err != nil {
		return m, false
	}
	lower := 0
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			m.link.Name = ad.String()
		case unix.IFLA_ADDRESS:
			if b := ad.Bytes(); len(b) == len(m.link.Hardware) {
				m.link.Hardware = ipv6.LinkAddr(b)
			}
		case unix.IFLA_MTU:
			m.link.MTU = int(ad.Uint32())
		case unix.IFLA_MASTER:
			m.link.Master = int(ad.Uint32())
		case unix.IFLA_LINK:
			lower = int(ad.Uint32())
		case unix.IFLA_LINKINFO:
			ad.Nested(m.decodeInfo)
		case unix.IFLA_PROTINFO:
			if m.bridgePort {
				ad.Nested(m.decodePort)
			}
		}
	}
	m.link.Bridge = m.link.Kind == "bridge"
	if m.link.Kind == "vlan" {
		m.link.Lower = lower
	}
	return m, ad.Err() == nil && m.link.Index > 0
}

func (m *linkMessage) decodeInfo(ad *netlink.AttributeDecoder) error {
	slave := ""
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_INFO_KIND:
			m.link.Kind = ad.String()
		case unix.IFLA_INFO_SLAVE_KIND:
			slave = ad.String()
		case unix.IFLA_INFO_SLAVE_DATA:
			if slave == "bridge" {
				ad.Nested(m.decodePort)
			}
		}
	}
	return nil
}

func (m *linkMessage) decodePort(ad *netlink.AttributeDecoder) error {
	m.isPort = true
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_BRPORT_ISOLATED:
			m.port.isolated = ad.Uint8() != 0
		case unix.IFLA_BRPORT_NEIGH_SUPPRESS:
			m.port.suppress = ad.Uint8() != 0
		case unix.IFLA_BRPORT_NEIGH_VLAN_SUPPRESS:
			m.port.vlanSuppress = ad.Uint8() != 0
		}
	}
	return nil
}

// addressMessage is one RTM_NEWADDR or RTM_DELADDR.
type addressMessage struct {
	link    int
	address Address
}

func decodeAddress(data []byte) (m addressMessage, ok bool) {
	if len(data) < addressHead || data[0] != unix.AF_INET6 {
		return m, false
	}
	bits, flags := int(data[1]), uint32(data[2])
	m.link = int(binary.NativeEndian.Uint32(data[4:8]))
	ad, err := netlink.NewAttributeDecoder(data[addressHead:])
	if err != nil {
		return m, false
	}
	var local, addr netip.Addr
	a := &m.address
	a.Valid, a.Preferred = Forever, Forever
	for ad.Next() {
		switch ad.Type() {
		case unix.IFA_LOCAL: // of a point-to-point interface, whose IFA_ADDRESS is the other end
			local, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_ADDRESS:
			addr, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_FLAGS:
			flags = ad.Uint32()
		case unix.IFA_CACHEINFO:
			if b := ad.Bytes(); len(b) >= 8 {
				a.Preferred = lifetime(binary.NativeEndian.Uint32(b[0:4]))
				a.Valid = lifetime(binary.NativeEndian.Uint32(b[4:8]))
			}
		}
	}
	a.Addr = addr
	if local.IsValid() {
		a.Addr = local
	}
	a.Tentative = flags&unix.IFA_F_TENTATIVE != 0
	a.Deprecated = flags&unix.IFA_F_DEPRECATED != 0
	a.Failed = flags&unix.IFA_F_DADFAILED != 0
	a.Prefix, err = a.Addr.Prefix(bits)
	return m, ad.Err() == nil && err == nil && a.Addr.Is6()
}

// lifetime reads seconds; all ones are forever.
func lifetime(seconds uint32) time.Duration {
	if seconds == 0xffffffff {
		return Forever
	}
	return time.Duration(seconds) * time.Second
}

// neighbourMessage is one RTM_NEWNEIGH or RTM_DELNEIGH.
type neighbourMessage struct {
	key      neighbourKey
	hardware ipv6.LinkAddr
	usable   bool
}

// usableStates are those in which the kernel would send to the entry's link-layer address.
const usableStates = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT

func decodeNeighbour(data []byte) (m neighbourMessage, ok bool) {
	if len(data) < neighbourHead || data[0] != unix.AF_INET6 || data[10]&unix.NTF_PROXY != 0 {
		return m, false
	}
	m.key.link = int(int32(binary.NativeEndian.Uint32(data[4:8])))
	state := binary.NativeEndian.Uint16(data[8:10])
	ad, err := netlink.NewAttributeDecoder(data[neighbourHead:])
	if err != nil {
		return m, false
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.NDA_DST:
			m.key.addr, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.NDA_LLADDR:
			if b := ad.Bytes(); len(b) == len(m.hardware) {
				m.hardware = ipv6.LinkAddr(b)
			}
		}
	}
	m.usable = state&usableStates != 0 && !m.hardware.IsZero()
	return m, ad.Err() == nil && m.key.addr.Is6()
}

func decodeRoute(data []byte) (r Route, ok bool) {
	if len(data) < routeHead || data[0] != unix.AF_INET6 {
		return r, false
	}
	bits := int(data[1])
	r.Table, r.Protocol = int(data[4]), data[5]
	if kind := data[7]; kind != unix.RTN_UNICAST {
		return r, false
	}
	ad, err := netlink.NewAttributeDecoder(data[routeHead:])
	if err != nil {
		return r, false
	}
	dst := netip.IPv6Unspecified()
	for ad.Next() {
		switch ad.Type() {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_GATEWAY:
			r.Gateway, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_OIF:
			r.Link = int(ad.Uint32())
		case unix.RTA_TABLE:
			r.Table = int(ad.Uint32())
		case unix.RTA_PRIORITY:
			r.Metric = ad.Uint32()
		}
	}
	r.Prefix, err = dst.Prefix(bits)
	return r, ad.Err() == nil && err == nil
}
