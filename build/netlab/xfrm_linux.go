package netlab

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Of linux/xfrm.h.
const (
	xfrmNewState, xfrmNewPolicy       = 0x10, 0x13 // XFRM_MSG_NEWSA, XFRM_MSG_NEWPOLICY
	xfrmAuth, xfrmCrypt, xfrmTemplate = 1, 2, 5    // XFRMA_ALG_AUTH, XFRMA_ALG_CRYPT, XFRMA_TMPL

	xfrmSelectorLen, xfrmStateLen, xfrmPolicyLen, xfrmTemplateLen = 56, 224, 168, 64
)

// Direction is that of an IPsec policy.
type Direction uint8

// Directions.
const (
	Inbound Direction = iota
	Outbound
)

// AddESP puts an IPsec security association in place: ESP in transport mode from src to dst with that SPI, all keys zero. It
// fails with unix.EPROTONOSUPPORT where the kernel has no ESP for IPv6. Two namespaces that call it alike understand each
// other.
func (ns *Namespace) AddESP(src, dst netip.Addr, spi uint32) error {
	state := append(make([]byte, xfrmSelectorLen), xfrmID(dst, spi)...)
	state = append(state, src.AsSlice()...)
	state = append(state, xfrmForever()...)
	state = append(state, make([]byte, xfrmStateLen-len(state))...)
	binary.NativeEndian.PutUint16(state[212:], unix.AF_INET6) // the mode is 0: transport
	algorithm := func(name string, octets int) []byte {
		b := make([]byte, 68+octets)
		copy(b, name)
		binary.NativeEndian.PutUint32(b[64:], uint32(8*octets))
		return b
	}
	return ns.xfrm(xfrmNewState, state, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(xfrmAuth, algorithm("hmac(sha1)", 20))
		ae.Bytes(xfrmCrypt, algorithm("cbc(aes)", 16))
	})
}

// AddPolicy has packets of an upper-layer protocol (0: any) from src to dst sent under ESP in transport mode, or refused where
// they come without. It needs no ESP in the kernel: where there is no association, nothing is sent.
func (ns *Namespace) AddPolicy(direction Direction, src, dst netip.Addr, proto uint8) error {
	policy := make([]byte, 0, xfrmPolicyLen)
	policy = append(append(policy, dst.AsSlice()...), src.AsSlice()...)
	policy = append(policy, make([]byte, xfrmSelectorLen-len(policy))...)
	binary.NativeEndian.PutUint16(policy[40:], unix.AF_INET6)
	policy[42], policy[43], policy[44] = 128, 128, proto
	policy = append(policy, xfrmForever()...)
	policy = append(policy, make([]byte, xfrmPolicyLen-len(policy))...)
	policy[160] = uint8(direction)
	template := append(make([]byte, 0, xfrmTemplateLen), xfrmID(dst, 0)...)
	template = append(template, make([]byte, xfrmTemplateLen-len(template))...)
	binary.NativeEndian.PutUint16(template[24:], unix.AF_INET6)
	copy(template[28:], src.AsSlice())
	for i := 52; i < xfrmTemplateLen; i++ {
		template[i] = 0xff // any algorithm
	}
	return ns.xfrm(xfrmNewPolicy, policy, func(ae *netlink.AttributeEncoder) { ae.Bytes(xfrmTemplate, template) })
}

func (ns *Namespace) xfrm(typ netlink.HeaderType, head []byte, attributes func(*netlink.AttributeEncoder)) error {
	ae := netlink.NewAttributeEncoder()
	attributes(ae)
	encoded, err := ae.Encode()
	if err != nil {
		return err
	}
	return ns.Request(unix.NETLINK_XFRM, netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Create | netlink.Excl},
		Data:   append(head, encoded...),
	})
}

// xfrmForever is a lifetime without end.
func xfrmForever() []byte {
	b := make([]byte, 64)
	for i := range 32 {
		b[i] = 0xff
	}
	return b
}

// xfrmID is a state's destination, SPI and protocol.
func xfrmID(dst netip.Addr, spi uint32) []byte {
	b := append(make([]byte, 0, 24), dst.AsSlice()...)
	b = binary.BigEndian.AppendUint32(b, spi)
	return append(b, unix.IPPROTO_ESP, 0, 0, 0)
}
