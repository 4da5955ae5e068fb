package neighbor

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

const hopLimit = 255

func packet(src, dst netip.Addr, message []byte) []byte {
	return ipv6.Append(make([]byte, 0, ipv6.HeaderLen+len(message)), ipv6.Header{Src: src, Dst: dst, HopLimit: hopLimit}, ipv6.ProtoICMPv6, message)
}

// source gives the own address to speak from: one that can be signed for before one that can't, one that is surely ours
// before an optimistic one, a link-local one before others; nil if there is none.
func (c *Cache) source() *ownAddress {
	var best *ownAddress
	for _, o := range c.own {
		if o.usable() && (best == nil || o.better(best)) {
			best = o
		}
	}
	return best
}

// sendSolicit asks e who has its address. It reports false where there is no own address to ask from.
func (c *Cache) sendSolicit(e *entry, unicast bool) bool {
	own := c.source()
	if own == nil {
		return false
	}
	dst := ipv6.SolicitedNode(e.addr)
	hw := ipv6.MulticastLinkAddr(dst)
	if unicast {
		dst, hw = e.addr, e.hw
	}
	var options [][]byte
	if !own.tentative { // an optimistic address must not get into others' caches (RFC 4429 section 2.2)
		options = [][]byte{ndp.SourceLinkOption(c.cfg.Hardware)}
	}
	message := ndp.AppendNeighborSolicit(nil, own.addr, dst, e.addr, options...)
	c.count.add(countSolicits)
	c.emit(Effect{
		Kind: EffectSend, LinkDst: hw, Packet: packet(own.addr, dst, message), Solicits: !own.plain, Unsigned: own.plain, Addr: e.addr,
	})
	return true
}

// sendDAD asks whether somebody has an address that is to be ours. nonce is for what can't be signed (RFC 7527); SEND
// gives the others one.
func (c *Cache) sendDAD(o *ownAddress, nonce []byte) {
	src, dst := netip.IPv6Unspecified(), ipv6.SolicitedNode(o.addr)
	var options [][]byte
	if nonce != nil {
		options = [][]byte{ndp.NonceOption(nonce)}
	}
	message := ndp.AppendNeighborSolicit(nil, src, dst, o.addr, options...)
	c.count.add(countSolicits)
	c.emit(Effect{
		Kind: EffectSend, LinkDst: ipv6.MulticastLinkAddr(dst), Packet: packet(src, dst, message), Solicits: !o.plain, Unsigned: o.plain, Addr: o.addr,
	})
}

// answer is a neighbour advertisement to be sent.
type answer struct {
	src, dst, target netip.Addr
	linkDst          ipv6.LinkAddr
	flags            ndp.NAFlags
	unsigned         bool
}

func (c *Cache) sendAdvert(a answer, in *Input) {
	if c.cfg.Router {
		a.flags |= ndp.FlagRouter
	}
	message := ndp.AppendNeighborAdvert(nil, a.src, a.dst, a.flags, a.target, ndp.TargetLinkOption(c.cfg.Hardware))
	e := Effect{
		Kind: EffectSend, LinkDst: a.linkDst, Packet: packet(a.src, a.dst, message), Unsigned: a.unsigned,
		Source: in.Packet.LinkSource, Addr: a.target,
	}
	if in.Secured && !a.unsigned {
		e.Answers = bytes.Clone(in.Nonce)
	}
	c.emit(e)
}

// ownNonces are the nonces of the last solicitations of Duplicate Address Detection that could not be signed.
type ownNonces struct {
	last [maxSolicits][nonceLen]byte
	n    int
}

const nonceLen = 6 // with type and length one unit of 8 octets

func (n *ownNonces) put(nonce [nonceLen]byte) {
	n.last[n.n%len(n.last)] = nonce
	n.n++
}

func (n *ownNonces) has(nonce []byte) bool {
	return len(nonce) == nonceLen && slices.Contains(n.last[:min(n.n, len(n.last))], [nonceLen]byte(nonce))
}
