package netlab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// addressHeader is struct ifaddrmsg.
func addressHeader(bits int, index int) []byte {
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0], b[1] = unix.AF_INET6, uint8(bits)
	binary.NativeEndian.PutUint32(b[4:8], uint32(index))
	return b
}

// AddAddress gives an interface an address that can be used at once: without Duplicate Address Detection. The prefix
// holds the whole address, as in 2001:db8::1/64.
func (ns *Namespace) AddAddress(name string, prefix netip.Prefix) error {
	return ns.changeAddress(unix.RTM_NEWADDR, netlink.Create|netlink.Replace, "add", name, prefix)
}

// DeleteAddress takes an address from an interface.
func (ns *Namespace) DeleteAddress(name string, prefix netip.Prefix) error {
	return ns.changeAddress(unix.RTM_DELADDR, 0, "delete", name, prefix)
}

func (ns *Namespace) changeAddress(typ netlink.HeaderType, flags netlink.HeaderFlags, verb, name string, prefix netip.Prefix) error {
	l, err := ns.Link(name)
	if err != nil {
		return err
	}
	addr := prefix.Addr().As16()
	err = ns.request(typ, flags, addressHeader(prefix.Bits(), l.Index), func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_LOCAL, addr[:])
		ae.Bytes(unix.IFA_ADDRESS, addr[:])
		ae.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
	})
	return ns.wrap(fmt.Sprintf("%s address %v of %s", verb, prefix, name), err)
}

// AddRoute adds a route to destination by way of via (invalid: on link) through the named interface. A destination of
// zero bits is the default route.
func (ns *Namespace) AddRoute(destination netip.Prefix, via netip.Addr, name string) error {
	return ns.AddSourceRoute(destination, netip.PrefixFrom(netip.IPv6Unspecified(), 0), via, name)
}

// AddSourceRoute is AddRoute for packets from source alone. A source of zero bits is any.
func (ns *Namespace) AddSourceRoute(destination, source netip.Prefix, via netip.Addr, name string) error {
	l, err := ns.Link(name)
	if err != nil {
		return err
	}
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1], b[2] = unix.AF_INET6, uint8(destination.Bits()), uint8(source.Bits())
	b[4], b[5], b[7] = unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RTN_UNICAST
	err = ns.request(unix.RTM_NEWROUTE, netlink.Create|netlink.Replace, b, func(ae *netlink.AttributeEncoder) {
		if destination.Bits() > 0 {
			ae.Bytes(unix.RTA_DST, destination.Masked().Addr().AsSlice())
		}
		if source.Bits() > 0 {
			ae.Bytes(unix.RTA_SRC, source.Masked().Addr().AsSlice())
		}
		if via.IsValid() {
			ae.Bytes(unix.RTA_GATEWAY, via.AsSlice())
		}
		ae.Uint32(unix.RTA_OIF, uint32(l.Index))
	})
	return ns.wrap(fmt.Sprintf("add route to %v", destination), err)
}

// Set writes a value to a file of /proc or /sys, as the namespace sees it: in Set("/sys/class/net/br0/bridge/ageing_time",
// "0") the bridge is the namespace's own.
func (ns *Namespace) Set(file, value string) error {
	return ns.wrap("set "+file, ns.Do(func() error {
		return os.WriteFile(file, []byte(value), 0o644)
	}))
}

// SetSysctl writes a value under /proc/sys, as in SetSysctl("net/ipv6/conf/all/forwarding", "1").
func (ns *Namespace) SetSysctl(name, value string) error {
	return ns.Set(filepath.Join("/proc/sys", name), value)
}

// Sysctl reads a value under /proc/sys with its newline.
func (ns *Namespace) Sysctl(name string) (string, error) {
	var value []byte
	err := ns.Do(func() (err error) {
		value, err = os.ReadFile(filepath.Join("/proc/sys", name))
		return err
	})
	return string(value), ns.wrap("read "+name, err)
}
