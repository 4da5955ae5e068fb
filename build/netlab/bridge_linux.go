package netlab

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// SetIsolated isolates a port of a bridge, or ends that: isolated ports exchange no frames with one another.
func (ns *Namespace) SetIsolated(port string, on bool) error {
	l, err := ns.Link(port)
	if err != nil {
		return err
	}
	header := make([]byte, unix.SizeofIfInfomsg)
	header[0] = unix.AF_BRIDGE
	binary.NativeEndian.PutUint32(header[4:8], uint32(l.Index))
	value := uint8(0)
	if on {
		value = 1
	}
	err = ns.request(unix.RTM_SETLINK, 0, header, func(ae *netlink.AttributeEncoder) {
		ae.Nested(unix.IFLA_PROTINFO, func(port *netlink.AttributeEncoder) error {
			port.Uint8(unix.IFLA_BRPORT_ISOLATED, value)
			return nil
		})
	})
	return ns.wrap("isolate "+port, err)
}
