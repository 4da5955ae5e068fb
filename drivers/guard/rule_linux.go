package guard

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// rule is one rule of the table. Each counts what it matches, copies it to a process if it says so, and drops it.
type rule struct {
	chain chain
	group uint16 // of nfnetlink_log that gets a copy; 0: none
	name  string // of its counter
	about string // comment that `nft list table` shows
	match []expression
}

// expression is one step of a rule. A rule ends at the first step that does not match.
type expression struct {
	name       string
	attributes func(*netlink.AttributeEncoder)
}

// Registers of 16 octets; a lookup of 32 octets begins in the first and goes on in the second.
const (
	first  = unix.NFT_REG_1
	second = unix.NFT_REG_2
)

// meta loads something about the packet into the first register.
func meta(key uint32) expression {
	return expression{"meta", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_META_KEY, key)
		ae.Uint32(unix.NFTA_META_DREG, first)
	}}
}

// payload loads octets of the packet. base is unix.NFT_PAYLOAD_NETWORK_HEADER, or NFT_PAYLOAD_TRANSPORT_HEADER, which
// lies behind all extension headers.
func payload(register, base uint32, offset, length uint32) expression {
	return expression{"payload", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_PAYLOAD_DREG, register)
		ae.Uint32(unix.NFTA_PAYLOAD_BASE, base)
		ae.Uint32(unix.NFTA_PAYLOAD_OFFSET, offset)
		ae.Uint32(unix.NFTA_PAYLOAD_LEN, length)
	}}
}

// extension loads one octet of the first extension header of a type; no match where there is none.
func extension(header uint8, offset uint32) expression {
	return expression{"exthdr", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_EXTHDR_DREG, first)
		ae.Uint8(unix.NFTA_EXTHDR_TYPE, header)
		ae.Uint32(unix.NFTA_EXTHDR_OFFSET, offset)
		ae.Uint32(unix.NFTA_EXTHDR_LEN, 1)
	}}
}

// is matches if the first register holds exactly these octets; isNot if it holds others.
func is(octets ...byte) expression    { return compare(unix.NFT_CMP_EQ, octets) }
func isNot(octets ...byte) expression { return compare(unix.NFT_CMP_NEQ, octets) }

func compare(operator uint32, octets []byte) expression {
	return expression{"cmp", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_CMP_SREG, first)
		ae.Uint32(unix.NFTA_CMP_OP, operator)
		ae.Nested(unix.NFTA_CMP_DATA, func(data *netlink.AttributeEncoder) error {
			data.Bytes(unix.NFTA_DATA_VALUE, octets)
			return nil
		})
	}}
}

// native32 is how the kernel holds a number that it made itself.
func native32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// masked keeps the bits of mask in the first register.
func masked(mask []byte) expression {
	return expression{"bitwise", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_BITWISE_SREG, first)
		ae.Uint32(unix.NFTA_BITWISE_DREG, first)
		ae.Uint32(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
		ae.Nested(unix.NFTA_BITWISE_MASK, func(data *netlink.AttributeEncoder) error {
			data.Bytes(unix.NFTA_DATA_VALUE, mask)
			return nil
		})
		ae.Nested(unix.NFTA_BITWISE_XOR, func(data *netlink.AttributeEncoder) error {
			data.Bytes(unix.NFTA_DATA_VALUE, make([]byte, len(mask)))
			return nil
		})
	}}
}

// in matches if what begins in the first register is an element of the set; notIn if it is not.
func in(set string) expression    { return lookup(set, 0) }
func notIn(set string) expression { return lookup(set, unix.NFT_LOOKUP_F_INV) }

func lookup(set string, flags uint32) expression {
	return expression{"lookup", func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_LOOKUP_SET, set)
		ae.Uint32(unix.NFTA_LOOKUP_SREG, first)
		ae.Uint32(unix.NFTA_LOOKUP_FLAGS, flags)
	}}
}

func count() expression {
	return expression{"counter", func(*netlink.AttributeEncoder) {}}
}

// copyTo gives a copy of the packet to the process that has bound the group.
func copyTo(group uint16) expression {
	return expression{"log", func(ae *netlink.AttributeEncoder) { ae.Uint16(unix.NFTA_LOG_GROUP, group) }}
}

func drop() expression {
	return expression{"immediate", func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		ae.Nested(unix.NFTA_IMMEDIATE_DATA, func(data *netlink.AttributeEncoder) error {
			data.Nested(unix.NFTA_DATA_VERDICT, func(verdict *netlink.AttributeEncoder) error {
				verdict.Uint32(unix.NFTA_VERDICT_CODE, 0) // NF_DROP
				return nil
			})
			return nil
		})
	}}
}

func (r rule) encode(ae *netlink.AttributeEncoder) {
	ae.Nested(unix.NFTA_RULE_EXPRESSIONS, func(list *netlink.AttributeEncoder) error {
		steps := append(append([]expression(nil), r.match...), count())
		if r.group != 0 {
			steps = append(steps, copyTo(r.group))
		}
		for _, e := range append(steps, drop()) {
			list.Nested(unix.NFTA_LIST_ELEM, func(element *netlink.AttributeEncoder) error {
				element.String(unix.NFTA_EXPR_NAME, e.name)
				element.Nested(unix.NFTA_EXPR_DATA, func(data *netlink.AttributeEncoder) error {
					e.attributes(data)
					return nil
				})
				return nil
			})
		}
		return nil
	})
	// libnftnl's user data: type 0 is a comment with its zero octet.
	comment := append([]byte{0, byte(len(r.about) + 1)}, r.about...)
	ae.Bytes(unix.NFTA_RULE_USERDATA, append(comment, 0))
}

// parseRule gives the packets that a rule of the kernel's list counted.
func parseRule(b []byte) (packets uint64, err error) {
	err = decode(b, func(ad *netlink.AttributeDecoder) {
		if ad.Type() != unix.NFTA_RULE_EXPRESSIONS {
			return
		}
		nested(ad, func(element *netlink.AttributeDecoder) {
			counter := false
			nested(element, func(e *netlink.AttributeDecoder) {
				switch e.Type() {
				case unix.NFTA_EXPR_NAME:
					counter = e.String() == "counter"
				case unix.NFTA_EXPR_DATA:
					if !counter {
						return
					}
					nested(e, func(data *netlink.AttributeDecoder) {
						if data.Type() == unix.NFTA_COUNTER_PACKETS {
							packets = data.Uint64()
						}
					})
				}
			})
		})
	})
	return packets, err
}
