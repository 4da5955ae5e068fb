package fmip

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// nodeRegistration is what the node asked of one router, or of the home agent, and what was granted: the binding of one
// address to a care-of address.
type nodeRegistration struct {
	outstanding bool       // an update waits for its acknowledgement
	careOf      netip.Addr // asked for; the home address itself: the binding is to end
	first, seq  uint16     // updates sent for it
	sent        int        // how many
	follows     int        // changes of the number that the home agent asked for
	sentAt      time.Time  // the last one
	next        time.Time  // of the next one
	gap         time.Duration

	active  bool       // acknowledged ...
	bound   netip.Addr // ... for this care-of address
	until   time.Time
	refresh time.Time
}

func (b *nodeRegistration) ask(careOf netip.Addr, now time.Time, gap time.Duration) {
	b.outstanding, b.careOf = true, careOf
	b.first, b.sent, b.follows = b.seq+1, 0, 0
	b.next, b.gap = now, gap
}

// inUse reports whether the router has, or may have, a binding.
func (b *nodeRegistration) inUse() bool { return b.outstanding || b.active }

// advance counts one more update at now and gives its sequence number, which grows with each (RFC 6275 section 11.8).
func (b *nodeRegistration) advance(now time.Time) uint16 {
	b.seq++
	b.sent++
	b.sentAt, b.next = now, now.Add(b.gap)
	b.gap = min(2*b.gap, nodeUpdateMax)
	return b.seq
}

// grant notes an acknowledgement, and reports whether it says anything new.
func (b *nodeRegistration) grant(lifetime time.Duration) (news bool) {
	news = b.outstanding || !b.active || b.bound != b.careOf
	b.outstanding, b.active, b.bound = false, true, b.careOf
	b.until = b.sentAt.Add(lifetime)
	b.refresh = b.sentAt.Add(lifetime * 3 / 4)
	return news
}

// answers reports whether seq is that of an update of the last question.
func (b *nodeRegistration) answers(seq uint16) bool {
	return b.sent > 0 && seq-b.first <= b.seq-b.first
}

// nodeBinding is one previous care-of address, and its router.
type nodeBinding struct {
	home, router netip.Addr // router: its global address
	predictive   bool       // asked for on the old link
	previous     bool       // home goes on in use on the new link: there is no tunnel
	tunnel       Binding    // the node's end, if it is open
	nodeRegistration
}

// binding gives that of home; nil if there is none.
func (n *Node) binding(home netip.Addr) *nodeBinding {
	for _, b := range n.bindings {
		if b.home == home {
			return b
		}
	}
	return nil
}

// forwardedTo gives the newest binding to careOf.
func (n *Node) forwardedTo(careOf netip.Addr) *nodeBinding {
	for i := len(n.bindings) - 1; i >= 0; i-- {
		if b := n.bindings[i]; b.inUse() && b.careOf == careOf && b.home != careOf {
			return b
		}
	}
	return nil
}

// depart makes the binding for home, an address with the current router.
func (n *Node) depart(home netip.Addr) *nodeBinding {
	if len(n.bindings) >= nodeMaxBindings {
		n.remove(n.bindings[0], "there are too many previous addresses")
	}
	b := &nodeBinding{home: home, router: n.place.router.global}
	b.seq = n.random16()
	n.bindings = append(n.bindings, b)
	return b
}

// remove ends a binding on this side.
func (n *Node) remove(b *nodeBinding, detail string) {
	n.closeTunnel(b)
	for i, other := range n.bindings {
		if other == b {
			copy(n.bindings[i:], n.bindings[i+1:])
			n.bindings[len(n.bindings)-1] = nil
			n.bindings = n.bindings[:len(n.bindings)-1]
			break
		}
	}
	if detail != "" {
		n.report(NodeEvent{Kind: NodeEventLost, Home: b.home, Router: b.router, Detail: detail})
	}
}

// key gives the handover key for home of a router (HK-MN-7).
func (n *Node) key(router, home netip.Addr) ([]byte, mobility.FastMAC, bool) {
	if n.cfg.Keys == nil || !router.IsValid() || !home.IsValid() {
		return nil, 0, false
	}
	key, mac, ok := n.cfg.Keys.HandoverKey(router, home)
	return key, mac, ok && len(key) > 0 && mac.Octets() > 0
}

// ask has home forwarded to careOf; home itself ends the forwarding. The update goes out at once.
func (n *Node) ask(b *nodeBinding, careOf netip.Addr, predictive bool) {
	b.ask(careOf, n.now, nodeUpdateGap)
	b.predictive = predictive
	if n.ready() {
		n.sendUpdate(b)
	}
}

// updateBindings tells all previous routers where the node is now. The last one comes first: traffic still goes there.
func (n *Node) updateBindings() {
	for i := len(n.bindings) - 1; i >= 0; i-- {
		b := n.bindings[i]
		if b.home == n.place.careOf || b.previous {
			continue
		}
		n.ask(b, n.place.careOf, false)
	}
}

// comeBack ends the forwarding of an address that is on the link again (RFC 5568 section 5.6). Without a key, which the
// node may have given up, it has to ask for one first.
func (n *Node) comeBack(b *nodeBinding) {
	if b.outstanding && b.careOf == b.home {
		return
	}
	n.closeTunnel(b)
	if _, _, ok := n.key(b.router, b.home); !ok {
		b.outstanding = false
		return
	}
	n.ask(b, b.home, false)
}

// keyCame goes on where a key was missing.
func (n *Node) keyCame(router, home netip.Addr) {
	b := n.binding(home)
	if b != nil && b.router == router && home == n.place.careOf && n.ready() && b.active && !b.previous && n.prepared.stage == preparedNothing {
		n.comeBack(b)
	}
}

// sendUpdate sends a Fast Binding Update (RFC 5568 section 6.2.2): from the old link with the previous address as source and
// the new one in an option, else from the new address. The previous one is always in the Home Address option, and the key
// is that which its router gave for it (HK-MN-7).
func (n *Node) sendUpdate(b *nodeBinding) {
	l := &n.place
	key, mac, ok := n.key(b.router, b.home)
	if !ok {
		b.outstanding = false
		n.closeTunnel(b)
		n.count(nodeDropUpdateKey)
		n.report(NodeEvent{Kind: NodeEventRefused, Home: b.home, Router: b.router, Detail: "the handover key is gone"})
		return
	}
	source := l.careOf
	m := mobility.FastBindingUpdate{
		Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: n.lifetime(), LinkAddr: n.cfg.Hardware,
		Auth: mobility.FastAuth{Present: true, SPI: mobility.SPIHandoverKey, MAC: mac},
	}
	switch {
	case b.careOf == b.home:
		m.Lifetime = 0
	case source == b.home:
		m.AlternateCareOf = b.careOf
	default:
		n.openTunnel(b) // packets may come as soon as the router has it
	}
	m.Seq = b.advance(n.now)
	packet := fastUpdatePacket(m, key, b.home, source, b.router)
	n.emit(NodeEffect{Kind: EffectNodeSend, Link: n.cfg.Link, LinkDst: l.router.hw, Packet: packet})
	n.count(nodeUpdates)
	detail := "from the new link"
	switch {
	case m.Lifetime == 0:
		detail = "the node is back"
	case b.predictive:
		detail = "before the move"
	case b.active && b.bound == b.careOf:
		detail = "to go on"
	}
	n.report(NodeEvent{Kind: NodeEventUpdated, Home: b.home, CareOf: b.careOf, Router: b.router, Detail: detail})
}

// fastUpdatePacket gives the whole packet of a Fast Binding Update from source to router, for home.
func fastUpdatePacket(m mobility.FastBindingUpdate, key []byte, home, source, router netip.Addr) []byte {
	mh := m.Append(nil)
	if mobility.SignBADF(mh, key, updateCareOf(m, home, source), router, m.Auth.MAC) != nil {
		return nil // mh was made with the option
	}
	mobility.FixChecksum(mh, home, router)
	header := ipv6.Header{Src: source, Dst: router, HopLimit: routedHops, HomeAddress: home}
	return ipv6.Append(nil, header, ipv6.ProtoMobility, mh)
}

// lifetime is what a Fast Binding Update asks for, in seconds.
func (n *Node) lifetime() uint16 {
	return uint16(max(1, min(n.cfg.Lifetime/time.Second, nodeMaxSeconds)))
}

// openTunnel opens the node's end of the tunnel, at the care-of address that was asked for.
func (n *Node) openTunnel(b *nodeBinding) {
	t := Binding{Home: b.home, Router: b.router, CareOf: b.careOf, Link: n.cfg.Link}
	if b.tunnel == t || b.previous || b.home == n.place.careOf {
		return
	}
	b.tunnel = t
	n.emit(NodeEffect{Kind: EffectTunnel, Home: b.home, Binding: t})
}

func (n *Node) closeTunnel(b *nodeBinding) {
	if !b.tunnel.Home.IsValid() {
		return
	}
	t := b.tunnel
	b.tunnel = Binding{}
	n.emit(NodeEffect{Kind: EffectUntunnel, Home: b.home, Binding: t})
}

// fastAck takes a Fast Binding Acknowledgment, on the old link or the new one: the same counts on both.
func (n *Node) fastAck(p *ipv6.Packet, h mobility.Header) {
	var b *nodeBinding
	for _, other := range n.bindings {
		if p.Src == other.router && other.sent > 0 && (p.Dst == other.home || p.Dst == other.careOf || p.Dst == n.place.careOf) {
			b = other
			if n.verifies(b, h) {
				break
			}
		}
	}
	if b == nil || p.HomeAddress.IsValid() {
		n.count(nodeDropAckUnknown)
		return
	}
	m, err := mobility.ParseFastBindingAck(h)
	switch {
	case err != nil || m.Status == mobility.FastStatusUseSupplied && !ipv6.IsRoutableUnicast(m.AlternateCareOf):
		n.count(nodeDropAckMalformed)
	case !n.verifies(b, h):
		n.count(nodeDropAckMAC)
	case !b.answers(m.Seq):
		n.count(nodeDropAckUnasked)
	case m.Status >= mobility.StatusUnspecified:
		n.refused(b, m.Status)
	case b.careOf == b.home:
		n.returned(b)
	case m.Lifetime == 0:
		n.refused(b, mobility.StatusUnspecified)
	default:
		n.accepted(b, m)
	}
}

// verifies reports whether the acknowledgement has b's authenticator (HK-AR-21).
func (n *Node) verifies(b *nodeBinding, h mobility.Header) bool {
	m, err := mobility.ParseFastBindingAck(h)
	if err != nil || !m.Auth.Present || !m.Auth.Last || m.Auth.SPI != mobility.SPIHandoverKey {
		return false
	}
	key, mac, ok := n.key(b.router, b.home)
	return ok && mobility.VerifyBADF(h.Octets, key, ackCareOf(m, b.careOf), b.router, mac)
}

// accepted takes a success, or its copy on the other link.
func (n *Node) accepted(b *nodeBinding, m mobility.FastBindingAck) {
	if m.Status == mobility.FastStatusUseSupplied {
		b.careOf = m.AlternateCareOf // in place of the one that was proposed
	}
	goesOn := b.active && b.bound == b.careOf
	if !b.grant(time.Duration(m.Lifetime) * time.Second) {
		n.count(nodeAckCopies)
		return
	}
	n.count(nodeBound)
	if b.predictive {
		n.readyAt(b)
		return
	}
	if l := &n.place; m.Status == mobility.FastStatusUseSupplied && l.router.prefix.IsValid() && l.router.prefix.Contains(b.careOf) {
		n.adopt(b.careOf)
	}
	n.openTunnel(b)
	if !goesOn {
		n.report(n.bound(b))
	}
}

func (n *Node) bound(b *nodeBinding) NodeEvent {
	return NodeEvent{Kind: NodeEventBound, Home: b.home, CareOf: b.careOf, Router: b.router}
}

// refused takes an authentic refusal.
func (n *Node) refused(b *nodeBinding, status uint8) {
	if !b.outstanding {
		n.count(nodeDropAckUnasked)
		return
	}
	n.count(nodeRefused)
	b.outstanding = false
	n.report(NodeEvent{Kind: NodeEventRefused, Home: b.home, CareOf: b.careOf, Router: b.router, Detail: statusText(status)})
	n.unanswered(b)
}

// unanswered ends what was asked for and not granted.
func (n *Node) unanswered(b *nodeBinding) {
	switch {
	case b.predictive:
		if b.active && b.bound != b.careOf {
			b.active = false
		}
		if n.prepared.home == b.home && n.prepared.stage == preparedUpdate && b.sent > 0 {
			n.stop("the update was not accepted: leave, and expect a gap")
		}
	case b.careOf == b.home:
		b.active = false
		n.want()
	case !b.active || b.bound != b.careOf:
		b.active = false
		n.closeTunnel(b)
	}
}

// returned ends the binding of an address that is on the link again. A key for the next move is the router's to give
// anew (HK-MN-8).
func (n *Node) returned(b *nodeBinding) {
	if !b.outstanding {
		n.count(nodeAckCopies)
		return
	}
	b.outstanding, b.active = false, false
	n.count(nodeReturned)
	n.report(NodeEvent{Kind: NodeEventReturned, Home: b.home, Router: b.router})
	n.want()
}

// runBinding does what is due for b, and reports whether it is still there.
func (n *Node) runBinding(b *nodeBinding) bool {
	if b.active && n.due(b.until) {
		b.active = false
		n.closeTunnel(b)
		n.report(NodeEvent{Kind: NodeEventUnbound, Home: b.home, CareOf: b.bound, Router: b.router, Detail: "its lifetime is over"})
		if b.previous && n.place.careOf == b.home {
			n.outlived(b)
		}
	}
	if n.canAsk(b) {
		switch {
		case b.outstanding && n.due(b.next) && b.sent > nodeUpdateRetries:
			b.outstanding = false
			n.count(nodeUnanswered)
			n.report(NodeEvent{Kind: NodeEventRefused, Home: b.home, CareOf: b.careOf, Router: b.router, Detail: "no acknowledgement came"})
			n.unanswered(b)
		case b.outstanding && n.due(b.next):
			n.sendUpdate(b)
		case n.refreshes(b) && n.due(b.refresh):
			b.refresh = time.Time{}
			n.ask(b, n.place.careOf, false)
		}
	}
	if b.inUse() || b.home == n.place.careOf {
		return true
	}
	if _, _, ok := n.key(b.router, b.home); ok {
		return true
	}
	n.remove(b, "")
	return false
}

// outlived gives up a previous care-of address that was in use on another router's link, and has the node find a new one.
func (n *Node) outlived(b *nodeBinding) {
	l := &n.place
	b.previous = false
	n.emit(NodeEffect{Kind: EffectRelease, Link: n.cfg.Link, Addr: b.home})
	l.careOf, l.usable, l.heard, l.provisional = netip.Addr{}, false, false, false
	if l.attached {
		l.solicits, l.solicitAt = 0, n.now
	}
}

// canAsk reports whether an update for b can be sent now.
func (n *Node) canAsk(b *nodeBinding) bool {
	return n.ready() && (!b.predictive || b.home == n.place.careOf)
}

// refreshes reports whether b is to go on: as long as there is no home agent that knows the address.
func (n *Node) refreshes(b *nodeBinding) bool {
	return b.active && !b.outstanding && !b.predictive && !b.previous && b.home != n.place.careOf && !b.refresh.IsZero()
}

func (n *Node) bindingDeadline(b *nodeBinding) (at time.Time) {
	if b.active {
		at = b.until
	}
	if n.canAsk(b) {
		if b.outstanding {
			at = soonest(at, b.next)
		} else if n.refreshes(b) {
			at = soonest(at, b.refresh)
		}
	}
	return at
}
