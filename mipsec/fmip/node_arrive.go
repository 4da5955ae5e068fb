package fmip

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// nodeAnnounce is the unsolicited neighbour advertisement (UNA) of the care-of address. Nothing acknowledges it, so that it
// is repeated (RFC 5568 section 6.3).
type nodeAnnounce struct {
	addr netip.Addr
	sent int
	next time.Time
	gap  time.Duration
}

// announceAddress tells the link that the node is there.
func (n *Node) announceAddress() {
	n.announce = nodeAnnounce{addr: n.place.careOf, gap: nodeAnnounceGap}
	n.sendAnnounce()
	n.report(NodeEvent{Kind: NodeEventAnnounced, CareOf: n.place.careOf, Router: n.place.router.name()})
}

// sendAnnounce sends the UNA: without override, for Duplicate Address Detection is still going on, from and for the new
// care-of address, to all nodes.
func (n *Node) sendAnnounce() {
	a := &n.announce
	dst := ipv6.AllNodes()
	n.sendND(ipv6.MulticastLinkAddr(dst), a.addr, dst,
		ndp.AppendNeighborAdvert(nil, a.addr, dst, 0, a.addr, ndp.TargetLinkOption(n.cfg.Hardware)))
	n.count(nodeAnnounced)
	a.sent++
	a.next = n.now.Add(a.gap)
	a.gap *= 2
	if a.sent >= nodeAnnounces {
		a.next = time.Time{}
	}
}

func (n *Node) runAnnounce() {
	if n.due(n.announce.next) {
		n.sendAnnounce()
	}
}

// arrivePrepared takes up what was prepared: the node is at the new router, which knows its new address and keeps packets
// for it. The announcement goes first. Where no acknowledgement came on the old link the update is sent again from here
// (RFC 5568 section 3.2, mode 2). The router's advertisement confirms all that or shows that the node is elsewhere.
func (n *Node) arrivePrepared() {
	l := &n.place
	p := n.prepared
	b := n.binding(p.home)
	if b == nil {
		n.prepared = nodePrepared{}
		return
	}
	acknowledged := p.stage == preparedReady
	secured := l.router.secured
	n.leave() // which ends the preparation
	l.router = nodeRouter{
		hw: p.tuple.RouterLink, global: p.tuple.Router, prefix: p.tuple.NetPrefix(), until: n.now.Add(nodeProvisional), secured: secured,
	}
	n.proxy.forget()
	l.provisional, l.usable, l.careOf = true, true, p.careOf
	if p.previous {
		l.careOf = p.home // the new address was only for the update
	}
	n.count(nodeArrivals)
	n.announceAddress()
	n.emit(NodeEffect{Kind: EffectAddress, Link: n.cfg.Link, Addr: l.careOf})
	n.setRouter()
	n.emit(NodeEffect{Kind: EffectHandover})
	b.predictive = false
	switch {
	case p.previous:
		b.outstanding, b.previous = false, true
		if acknowledged {
			n.report(n.bound(b))
		}
	case acknowledged:
		n.openTunnel(b)
		n.report(n.bound(b))
	default:
		n.ask(b, l.careOf, false)
	}
	for i := len(n.bindings) - 1; i >= 0; i-- {
		if other := n.bindings[i]; other != b && other.home != l.careOf {
			n.ask(other, l.careOf, false)
		}
	}
	n.report(NodeEvent{Kind: NodeEventAddress, Home: l.careOf, Router: l.router.name(), Detail: "as prepared"})
}

// neighborAck takes what the new router says about the UNA (RFC 5568 section 6.4.6), if the advertisement is for that. It
// reports whether nothing else is to be read from the advertisement.
func (n *Node) neighborAck(in *NodeInput, ra *ndp.RouterAdvert, current bool) bool {
	l := &n.place
	options := ra.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != ndp.OptNeighborAck {
			continue
		}
		a, err := ndp.ParseNeighborAck(o)
		// It answers the announced address alone, and comes from the router of the link alone.
		if err != nil || in.Packet.Dst != l.careOf || n.announce.addr != l.careOf || l.router.hw.IsUnicast() && !current {
			n.count(nodeDropNeighborAck)
			return true
		}
		n.takeNeighborAck(a)
		return true
	}
	return false
}

func (n *Node) takeNeighborAck(a ndp.NeighborAck) {
	l := &n.place
	supplied := a.Address.IsValid() && l.router.prefix.IsValid() && l.router.prefix.Contains(a.Address)
	event := NodeEvent{Kind: NodeEventAcknowledged, CareOf: l.careOf, Router: l.router.name()}
	previous := n.forwardedTo(l.careOf)
	switch {
	case a.Status == ndp.AckConfigure, a.Status == ndp.AckUseRouter:
		// With status 3 the update would name the router's own address. An address of the node's own serves as well, and the
		// previous router then sees who sends.
		event.Detail = "the new address is not valid: another one is taken"
	case a.Status == ndp.AckUseSupplied && supplied:
		event.Detail = "the router supplies an address"
	case a.Status == ndp.AckPreviousSupplied && previous != nil:
		event.Detail = "the previous address stays: no update is sent"
	case a.Status == ndp.AckUnknownLink:
		event.Detail = "the router does not know the link-layer address: a new address is taken"
	default:
		n.count(nodeDropNeighborAck)
		return
	}
	n.count(nodeNeighborAcks)
	n.report(event)
	switch a.Status {
	case ndp.AckUseSupplied:
		n.adopt(a.Address)
	case ndp.AckPreviousSupplied:
		n.keepPrevious(previous)
	case ndp.AckUnknownLink:
		if previous != nil {
			n.remove(previous, "the new router does not know the node's link-layer address")
		}
		n.addressTaken(event.Detail)
	default:
		n.addressTaken(event.Detail)
	}
}

// adopt uses the address that a router supplies in place of the node's own (RFC 5568 section 4).
func (n *Node) adopt(addr netip.Addr) {
	l := &n.place
	if addr == l.careOf {
		return
	}
	n.unwant()
	n.emit(NodeEffect{Kind: EffectRelease, Link: n.cfg.Link, Addr: l.careOf})
	l.careOf, l.usable = addr, false
	n.emit(NodeEffect{Kind: EffectAddress, Link: n.cfg.Link, Addr: addr})
}

// keepPrevious goes on with the previous care-of address on the new link: the routers forward it there (RFC 5568 section 4).
func (n *Node) keepPrevious(b *nodeBinding) {
	l := &n.place
	n.unwant()
	b.outstanding, b.predictive, b.refresh = false, false, time.Time{}
	n.closeTunnel(b)
	n.emit(NodeEffect{Kind: EffectRelease, Link: n.cfg.Link, Addr: l.careOf})
	l.careOf, l.usable = b.home, true
	b.previous = true
	n.announce = nodeAnnounce{}
	n.emit(NodeEffect{Kind: EffectAddress, Link: n.cfg.Link, Addr: b.home})
}

// keepsPrevious reports whether the node uses its previous care-of address on this link.
func (n *Node) keepsPrevious() bool {
	b := n.binding(n.place.careOf)
	return b != nil && b.previous
}
