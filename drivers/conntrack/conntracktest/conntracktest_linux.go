package conntracktest

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Numbers of ctnetlink (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctTupleOrig  = 1
	ctTupleReply = 2

	ctTupleIP    = 1
	ctTupleProto = 2
	ctSrc6       = 3
	ctDst6       = 4

	ctProtoNum = 1
	ctSrcPort  = 2
	ctDstPort  = 3

	ctTimeout = 7
)

// Track makes the kernel track a UDP connection from and to a port, in the network namespace of the calling thread.
func Track(src, dst netip.Addr, port uint16) error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	tuple := func(typ uint16, src, dst netip.Addr) {
		ae.Nested(typ, func(tuple *netlink.AttributeEncoder) error {
			tuple.Nested(ctTupleIP, func(ip *netlink.AttributeEncoder) error {
				ip.Bytes(ctSrc6, src.AsSlice())
				ip.Bytes(ctDst6, dst.AsSlice())
				return nil
			})
			tuple.Nested(ctTupleProto, func(proto *netlink.AttributeEncoder) error {
				proto.Uint8(ctProtoNum, unix.IPPROTO_UDP)
				proto.Uint16(ctSrcPort, port)
				proto.Uint16(ctDstPort, port)
				return nil
			})
			return nil
		})
	}
	tuple(ctTupleOrig, src, dst)
	tuple(ctTupleReply, dst, src)
	ae.Uint32(ctTimeout, 60) // seconds
	b, err := ae.Encode()
	if err != nil {
		return err
	}
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_CTNETLINK << 8,
			Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl,
		},
		Data: append([]byte{unix.AF_INET6, unix.NFNETLINK_V0, 0, 0}, b...), // struct nfgenmsg
	})
	return err
}
