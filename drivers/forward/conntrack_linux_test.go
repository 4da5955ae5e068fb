package forward

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// add makes the kernel track a UDP connection from and to a port.
func (c *conntrack) add(src, dst netip.Addr, port uint16) error {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	tuple := func(typ uint16, src, dst netip.Addr) {
		ae.Nested(typ, func(tuple *netlink.AttributeEncoder) error {
			tuple.Nested(ctTupleIP, func(ip *netlink.AttributeEncoder) error {
				ip.Bytes(ctSrc6, src.AsSlice())
				ip.Bytes(ctDst6, dst.AsSlice())
				return nil
			})
			tuple.Nested(2, func(proto *netlink.AttributeEncoder) error {
				proto.Uint8(1, protoUDP)
				proto.Uint16(2, port)
				proto.Uint16(3, port)
				return nil
			})
			return nil
		})
	}
	tuple(ctTupleOrig, src, dst)
	tuple(ctTupleReply, dst, src)
	ae.Uint32(7, 60) // CTA_TIMEOUT
	b, err := ae.Encode()
	if err != nil {
		return err
	}
	_, err = c.conn.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_CTNETLINK << 8,
			Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl,
		},
		Data: append(nfGenMsg(), b...),
	})
	return err
}
