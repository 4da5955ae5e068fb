package hostnet

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"runtime"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

// Messages and group of NETLINK_XFRM about policies (linux/xfrm.h).
const (
	xfrmNewPolicy    = 0x13
	xfrmDelPolicy    = 0x14
	xfrmGetPolicy    = 0x15
	xfrmUpdPolicy    = 0x19
	xfrmExpirePolicy = 0x1b
	xfrmFlushPolicy  = 0x1d

	xfrmGroupPolicy = 4
)

// Attributes of a policy.
const (
	xfrmTemplates  = 5
	xfrmPolicyInfo = 7 // of a deletion: the struct xfrm_userpolicy_info
	xfrmPolicyType = 16
	xfrmMark       = 21
	xfrmInterface  = 31 // if_id
)

// Offsets in struct xfrm_userpolicy_info, which begins with the selector, and in struct xfrm_user_tmpl.
const (
	selectorSrc     = 16
	selectorDport   = 32
	selectorSport   = 36
	selectorFamily  = 40
	selectorDstBits = 42
	selectorSrcBits = 43
	selectorProto   = 44
	selectorIndex   = 48

	policyPriority = 152
	policyIndex    = 156
	policyDir      = 160
	policyAction   = 161

	templateLen      = 64
	templateProto    = 20
	templateOptional = 50
)

// policyInfoLen is the length of struct xfrm_userpolicy_info.
func policyInfoLen() int {
	if runtime.GOARCH == "386" {
		return 164
	}
	return 168
}

// Directions of policies that are kept.
const (
	policyIn  = 0
	policyOut = 1
)

// policy is one IPsec policy that might be that of mobility headers. Policies for forwarded packets, for other protocols, for
// IPv4, and for XFRM interfaces are not kept.
type policy struct {
	index    uint32 // the kernel's name for it; a later policy has a higher one
	priority uint32 // the least goes first
	dir      uint8
	src, dst netip.Prefix
	// The ports of a selector: source and destination, each with a mask. Of a mobility header the source port is its type, the
	// destination port is 0.
	sport, sportMask, dport, dportMask uint16
	anyLink                            bool // it is not for one interface alone
	esp                                bool // packets are sent and taken under ESP, or not at all
}

// decodePolicy reads a struct xfrm_userpolicy_info with its attributes. index is valid whenever the octets suffice; keep says
// whether the policy is one that matters.
func decodePolicy(data []byte) (p policy, keep bool) {
	if len(data) < policyInfoLen() {
		return policy{}, false
	}
	p = policy{
		index:     binary.NativeEndian.Uint32(data[policyIndex:]),
		priority:  binary.NativeEndian.Uint32(data[policyPriority:]),
		dir:       data[policyDir],
		dport:     binary.BigEndian.Uint16(data[selectorDport:]),
		dportMask: binary.BigEndian.Uint16(data[selectorDport+2:]),
		sport:     binary.BigEndian.Uint16(data[selectorSport:]),
		sportMask: binary.BigEndian.Uint16(data[selectorSport+2:]),
		anyLink:   binary.NativeEndian.Uint32(data[selectorIndex:]) == 0,
	}
	proto := data[selectorProto]
	if binary.NativeEndian.Uint16(data[selectorFamily:]) != unix.AF_INET6 || p.dir != policyIn && p.dir != policyOut ||
		proto != 0 && proto != ipv6.ProtoMobility || data[selectorDstBits] > 128 || data[selectorSrcBits] > 128 {
		return p, false
	}
	p.dst = netip.PrefixFrom(netip.AddrFrom16([16]byte(data[:16])), int(data[selectorDstBits]))
	p.src = netip.PrefixFrom(netip.AddrFrom16([16]byte(data[selectorSrc:selectorSrc+16])), int(data[selectorSrcBits]))
	ad, err := netlink.NewAttributeDecoder(data[policyInfoLen():])
	if err != nil {
		return p, false
	}
	for ad.Next() {
		switch b := ad.Bytes(); ad.Type() {
		case xfrmTemplates:
			p.esp = data[policyAction] == 0 && requiresESP(b) // 0: XFRM_POLICY_ALLOW
		case xfrmPolicyType:
			if len(b) > 0 && b[0] != 0 {
				return p, false // a sub-policy, such as those of Mobile IPv6's own extension headers
			}
		case xfrmInterface:
			if len(b) >= 4 && binary.NativeEndian.Uint32(b) != 0 {
				return p, false
			}
		case xfrmMark: // value, mask; what is sent and taken here has mark 0
			if len(b) >= 8 && binary.NativeEndian.Uint32(b) != 0 {
				return p, false
			}
		}
	}
	return p, ad.Err() == nil
}

// requiresESP looks for a transform that is ESP and not optional.
func requiresESP(templates []byte) bool {
	for ; len(templates) >= templateLen; templates = templates[templateLen:] {
		if templates[templateProto] == unix.IPPROTO_ESP && templates[templateOptional] == 0 {
			return true
		}
	}
	return false
}

// decodePolicyID reads what tells of a policy that is gone: a struct xfrm_userpolicy_id, which lacks the index where the
// policy was named by its selector, and the policy itself as an attribute.
func decodePolicyID(data []byte) (index uint32, ok bool) {
	const idLen, idIndex = 64, 56
	if len(data) < idLen {
		return 0, false
	}
	index = binary.NativeEndian.Uint32(data[idIndex:])
	ad, err := netlink.NewAttributeDecoder(data[idLen:])
	if err != nil {
		return index, index != 0
	}
	for ad.Next() {
		if b := ad.Bytes(); ad.Type() == xfrmPolicyInfo && len(b) >= policyInfoLen() {
			index = binary.NativeEndian.Uint32(b[policyIndex:])
		}
	}
	return index, index != 0
}

// decodePolicyExpire reads a struct xfrm_user_polexpire. A soft expiry ends nothing: ok is false.
func decodePolicyExpire(data []byte) (index uint32, ok bool) {
	if len(data) <= policyInfoLen() || data[policyInfoLen()] == 0 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(data[policyIndex:]), true
}

// addPolicy keeps a policy, or the new form of one.
func (m *mirror) addPolicy(data []byte) {
	p, keep := decodePolicy(data)
	m.removePolicy(p.index)
	switch {
	case !keep:
	case len(m.policies) >= maxPolicies:
		m.policyOverflow = true
	default:
		at, _ := slices.BinarySearchFunc(m.policies, p, policy.compare)
		m.policies = slices.Insert(m.policies, at, p)
	}
}

// compare orders policies as the kernel looks at them.
func (p policy) compare(q policy) int {
	return cmp.Or(cmp.Compare(p.priority, q.priority), cmp.Compare(p.index, q.index))
}

func (m *mirror) removePolicy(index uint32) {
	m.policies = slices.DeleteFunc(m.policies, func(p policy) bool { return p.index == index })
}

// Types of the mobility headers between routers: Handover Initiate and Handover Acknowledge (RFC 5568 section 6.2.1).
const (
	typeHI   = 14
	typeHAck = 15
)

// covers reports whether the policies have Handover Initiates and Acknowledges between two addresses under ESP in both
// directions.
func (m *mirror) covers(local, peer netip.Addr) bool {
	if m.policyOverflow {
		return false
	}
	for _, typ := range [...]uint16{typeHI, typeHAck} {
		if !m.requiresESP(policyOut, local, peer, typ) || !m.requiresESP(policyIn, peer, local, typ) {
			return false
		}
	}
	return true
}

// requiresESP finds the policy that a mobility header meets: the first that matches.
func (m *mirror) requiresESP(dir uint8, src, dst netip.Addr, typ uint16) bool {
	for i := range m.policies {
		p := &m.policies[i]
		if p.dir != dir || !p.src.Contains(src) || !p.dst.Contains(dst) || (typ^p.sport)&p.sportMask != 0 || p.dport&p.dportMask != 0 {
			continue
		}
		if !p.esp {
			return false
		}
		if p.anyLink {
			return true
		}
		// It may be the one, but for another interface.
	}
	return false
}
