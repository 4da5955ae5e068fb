package hostnet

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/ipv6"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openIn opens a Host in a namespace.
func openIn(t testing.TB, ns *netlab.Namespace, buffer int) *Host {
	t.Helper()
	return netlabtest.Open(t, ns, func() (*Host, error) { return open(buffer) })
}

// request sends messages to the kernel in a namespace.
func request(t testing.TB, ns *netlab.Namespace, messages ...netlink.Message) {
	t.Helper()
	check(t, ns.Request(unix.NETLINK_ROUTE, messages...))
}

func attributes(f func(*netlink.AttributeEncoder)) []byte {
	ae := netlink.NewAttributeEncoder()
	f(ae)
	b, err := ae.Encode()
	if err != nil {
		panic(err)
	}
	return b
}

// neighbour is the message that makes or removes a neighbour.
func neighbour(kind netlink.HeaderType, link int, addr netip.Addr, hw ipv6.LinkAddr, state uint16, flags uint8) netlink.Message {
	b := make([]byte, neighbourHead)
	b[0], b[10] = unix.AF_INET6, flags
	binary.NativeEndian.PutUint32(b[4:8], uint32(link))
	binary.NativeEndian.PutUint16(b[8:10], state)
	return netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Create | netlink.Replace},
		Data: append(b, attributes(func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.NDA_DST, addr.AsSlice())
			if !hw.IsZero() {
				ae.Bytes(unix.NDA_LLADDR, hw[:])
			}
		})...),
	}
}

// address is the message that gives a link an address with lifetimes in seconds.
func address(link int, prefix netip.Prefix, preferred, valid, flags uint32) netlink.Message {
	b := make([]byte, addressHead)
	b[0], b[1] = unix.AF_INET6, uint8(prefix.Bits())
	binary.NativeEndian.PutUint32(b[4:8], uint32(link))
	info := make([]byte, 16)
	binary.NativeEndian.PutUint32(info[0:4], preferred)
	binary.NativeEndian.PutUint32(info[4:8], valid)
	return netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWADDR, Flags: netlink.Create | netlink.Replace},
		Data: append(b, attributes(func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.IFA_ADDRESS, prefix.Addr().AsSlice())
			ae.Bytes(unix.IFA_CACHEINFO, info)
			ae.Uint32(unix.IFA_FLAGS, flags)
		})...),
	}
}

// rename is the message that gives a link another name.
func rename(link int, name string) netlink.Message {
	b := make([]byte, linkHead)
	binary.NativeEndian.PutUint32(b[4:8], uint32(link))
	return netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWLINK},
		Data:   append(b, attributes(func(ae *netlink.AttributeEncoder) { ae.String(unix.IFLA_IFNAME, name) })...),
	}
}
