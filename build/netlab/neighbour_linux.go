package netlab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// AddNeighbour tells a namespace the link-layer address of a neighbour for good.
func (ns *Namespace) AddNeighbour(name string, addr netip.Addr, hw [6]byte) error {
	l, err := ns.Link(name)
	if err != nil {
		return err
	}
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = unix.AF_INET6
	binary.NativeEndian.PutUint32(b[4:8], uint32(l.Index))
	binary.NativeEndian.PutUint16(b[8:10], unix.NUD_PERMANENT)
	err = ns.request(unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace, b, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.NDA_DST, addr.AsSlice())
		ae.Bytes(unix.NDA_LLADDR, hw[:])
	})
	return ns.wrap(fmt.Sprintf("add neighbour %v on %s", addr, name), err)
}
