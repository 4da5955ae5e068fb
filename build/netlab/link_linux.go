package netlab

import (
	"fmt"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// vethInfoPeer is VETH_INFO_PEER of linux/veth.h.
const vethInfoPeer = 1

// End is one end of a veth pair.
type End struct {
	NS       *Namespace
	Name     string
	Hardware [6]byte // zero: the kernel draws one
	Down     bool    // leave it down
}

// Veth makes a wire: two Ethernet interfaces, each where its End says, both up unless it says otherwise. They send as a
// network card without offload does: each packet whole, with its checksum in place, so that captures show what would be
// on a wire.
func (l *Lab) Veth(a, b End) error {
	err := a.NS.request(unix.RTM_NEWLINK, netlink.Create|netlink.Excl, linkHeader(l.nextIndex(), 0, 0), func(ae *netlink.AttributeEncoder) {
		linkAttributes(ae, a)
		ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, "veth")
			info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
				peer := netlink.NewAttributeEncoder()
				linkAttributes(peer, b)
				peer.Uint32(unix.IFLA_NET_NS_FD, uint32(b.NS.FD()))
				encoded, err := peer.Encode()
				if err != nil {
					return err
				}
				data.Bytes(vethInfoPeer, append(linkHeader(l.nextIndex(), 0, 0), encoded...))
				return nil
			})
			return nil
		})
	})
	if err != nil {
		return a.NS.wrap(fmt.Sprintf("make veth pair %s - %s %s", a.Name, b.NS.name, b.Name), err)
	}
	for _, end := range []End{a, b} {
		if err := end.NS.disableOffload(end.Name); err != nil {
			return err
		}
		if end.Down {
			continue
		}
		if err := end.NS.SetUp(end.Name); err != nil {
			return err
		}
	}
	return nil
}

func linkAttributes(ae *netlink.AttributeEncoder, e End) {
	ae.String(unix.IFLA_IFNAME, e.Name)
	if e.Hardware != [6]byte{} {
		ae.Bytes(unix.IFLA_ADDRESS, e.Hardware[:])
	}
}

// Bridge makes a learning bridge without spanning tree that is up. Its ports forward as soon as they are up.
func (ns *Namespace) Bridge(name string) error {
	return ns.addLink(name, "bridge", 0, nil)
}

// VLAN makes an interface that is up, of the frames on another interface that are tagged with id (IEEE 802.1Q). Where the
// kernel has none the error is unix.EOPNOTSUPP.
func (ns *Namespace) VLAN(name, on string, id uint16) error {
	l, err := ns.Link(on)
	if err != nil {
		return err
	}
	return ns.addLink(name, "vlan", l.Index, func(data *netlink.AttributeEncoder) error {
		data.Uint16(unix.IFLA_VLAN_ID, id)
		return nil
	})
}

// addLink makes a virtual interface and brings it up. It stands on another one, or on none where lower is 0; data is what
// is said to interfaces of its kind, or nil.
func (ns *Namespace) addLink(name, kind string, lower int, data func(*netlink.AttributeEncoder) error) error {
	err := ns.request(unix.RTM_NEWLINK, netlink.Create|netlink.Excl, linkHeader(ns.lab.nextIndex(), 0, 0), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
		if lower != 0 {
			ae.Uint32(unix.IFLA_LINK, uint32(lower))
		}
		ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, kind)
			if data != nil {
				info.Nested(unix.IFLA_INFO_DATA, data)
			}
			return nil
		})
	})
	if err != nil {
		return ns.wrap("make "+kind+" "+name, err)
	}
	return ns.SetUp(name)
}

// SetMaster makes port a port of bridge, or of none where bridge is "".
func (ns *Namespace) SetMaster(port, bridge string) error {
	master := 0
	if bridge != "" {
		b, err := ns.Link(bridge)
		if err != nil {
			return err
		}
		master = b.Index
	}
	return ns.setLink(port, "set the bridge of "+port, 0, 0, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_MASTER, uint32(master))
	})
}

// SetUp brings an interface up.
func (ns *Namespace) SetUp(name string) error {
	return ns.setLink(name, "bring up "+name, unix.IFF_UP, unix.IFF_UP, nil)
}

// SetDown takes an interface down; the other end of a veth pair loses its carrier.
func (ns *Namespace) SetDown(name string) error {
	return ns.setLink(name, "take down "+name, 0, unix.IFF_UP, nil)
}

// SetMTU sets the MTU of an interface.
func (ns *Namespace) SetMTU(name string, mtu int) error {
	return ns.setLink(name, "set the MTU of "+name, 0, 0, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_MTU, uint32(mtu))
	})
}

// SetHardware sets the link-layer address of an interface that is down.
func (ns *Namespace) SetHardware(name string, hw [6]byte) error {
	return ns.setLink(name, "set the address of "+name, 0, 0, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFLA_ADDRESS, hw[:])
	})
}

// MoveLink gives an interface to another namespace, where it is down and without addresses at first.
func (ns *Namespace) MoveLink(name string, to *Namespace) error {
	return ns.setLink(name, "move "+name+" to "+to.name, 0, 0, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_NET_NS_FD, uint32(to.FD()))
	})
}

// DeleteLink removes an interface, and with a veth its other end.
func (ns *Namespace) DeleteLink(name string) error {
	l, err := ns.Link(name)
	if err != nil {
		return err
	}
	return ns.wrap("delete "+name, ns.request(unix.RTM_DELLINK, 0, linkHeader(l.Index, 0, 0), nil))
}

func (ns *Namespace) setLink(name, what string, flags, change uint32, attrs func(*netlink.AttributeEncoder)) error {
	l, err := ns.Link(name)
	if err != nil {
		return err
	}
	return ns.wrap(what, ns.request(unix.RTM_NEWLINK, 0, linkHeader(l.Index, flags, change), attrs))
}

// Replug takes the interface's cable out of one bridge of this namespace and puts it into another: its far end loses the
// carrier for the given time, as a radio does between two access points. It gives the times at which the carrier had
// gone, and at which it was about to come back.
func (ns *Namespace) Replug(port, bridge string, without time.Duration) (down, up time.Time, err error) {
	if err = ns.SetDown(port); err != nil {
		return
	}
	down = time.Now()
	if err = ns.SetMaster(port, bridge); err != nil {
		return
	}
	time.Sleep(without - time.Since(down))
	up = time.Now()
	err = ns.SetUp(port)
	return
}

// ethtoolValue is struct ethtool_value.
type ethtoolValue struct{ cmd, data uint32 }

// ethtoolRequest is struct ifreq with a pointer in it.
type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// disableOffload turns off what lets a veth pair pass unfinished packets on.
func (ns *Namespace) disableOffload(name string) error {
	return ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return ns.wrap("open a socket", err)
		}
		defer unix.Close(fd)
		for _, cmd := range []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO} {
			value := ethtoolValue{cmd: cmd}
			req := ethtoolRequest{data: unsafe.Pointer(&value)}
			copy(req.name[:unix.IFNAMSIZ-1], name)
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
			if errno != 0 && errno != unix.EOPNOTSUPP {
				return ns.wrap("turn off the offload of "+name, errno)
			}
		}
		return nil
	})
}
