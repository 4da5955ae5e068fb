package fmip

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// nodePrepared is a move that was prepared on the link which the node is going to leave.
type nodePrepared struct {
	stage     preparedStage
	target    ipv6.LinkAddr
	tuple     nodeTuple
	home      netip.Addr // the care-of address that is left
	careOf    netip.Addr // the one at the new router
	previous  bool       // careOf is for the update alone: home stays in use
	stayUntil time.Time  // when the node ought to have left
}

type preparedStage uint8

const (
	preparedNothing preparedStage = iota
	preparedAsking                // the router is asked about the access point
	preparedUpdate                // the update has been sent
	preparedReady                 // it was acknowledged
)

// prepare begins a predictive handover to the access point target. supplied is the address that the router told the node
// to use there; the zero Addr: the node makes one.
func (n *Node) prepare(target ipv6.LinkAddr, supplied netip.Addr) {
	l := &n.place
	if n.prepared.stage >= preparedUpdate {
		if n.prepared.target == target {
			if n.prepared.stage == preparedReady {
				n.reportReady() // whoever asks again wants to hear it again
			}
			return
		}
	}
	n.prepared = nodePrepared{target: target}
	n.proxy.asks[askForMove] = nodeAsk{}
	_, _, keyed := n.key(l.router.global, l.careOf)
	switch {
	case !n.ready() || l.provisional || n.keepsPrevious():
		n.stop("the node has no address of a router here yet")
		return
	case !l.router.global.IsValid():
		n.stop("the router tells no global address to send the update to")
		return
	case !keyed:
		n.stop("there is no handover key of this router: leave, and expect a gap")
		return
	}
	n.prepared.stage, n.prepared.home = preparedAsking, l.careOf
	if t, ok := n.tuple(target); ok {
		t.CareOf = supplied
		n.predict(t)
		return
	}
	if n.now.Before(n.proxy.mute) {
		n.stop("the router does not answer: it does no fast handover")
		return
	}
	n.solicitProxy(askForMove, nodeAsk{point: target, gap: nodeProxyGap})
}

// stop ends what was to be prepared.
func (n *Node) stop(detail string) {
	n.count(nodeStopped)
	n.report(NodeEvent{Kind: NodeEventStopped, Point: n.prepared.target, Home: n.prepared.home, Router: n.place.router.name(), Detail: detail})
	n.prepared = nodePrepared{}
	n.proxy.asks[askForMove] = nodeAsk{}
}

// triggered acts on the router's wish that the node move: at once, to the address that it gives if it gives one (RFC 5568
// section 6.1.2).
func (n *Node) triggered(t ndp.ProxyTuple) {
	if t.Code != ndp.PointNew {
		n.count(nodeDropProxyTuple)
		return
	}
	n.prepare(t.Point, t.CareOf)
}

// answered goes on when an advertisement has come; asked says that it answers the question about the target.
func (n *Node) answered(asked bool) {
	t, ok := n.tuple(n.prepared.target)
	switch {
	case ok:
		t.CareOf = netip.Addr{} // only what comes unasked for names one
		n.predict(t)
	case asked:
		n.stop("the router says nothing of this access point")
	}
}

// predict forms the new care-of address and sends the Fast Binding Update, where t allows that.
func (n *Node) predict(t nodeTuple) {
	prefix := t.NetPrefix()
	switch {
	case t.Code == ndp.PointCurrent:
		n.stop("this access point is on the same link: nothing needs to be done")
		return
	case t.Code == ndp.PointNoFast:
		n.stop("the router of this access point does no fast handover")
		return
	case t.Code != ndp.PointNew:
		n.stop("the router does not know this access point: the update goes from there")
		return
	case !prefix.IsValid() || prefix.Bits() != 64 || !ipv6.IsRoutableUnicast(prefix.Addr()) || !t.Router.IsValid() || !t.RouterLink.IsUnicast():
		n.count(nodeDropProxyTuple)
		n.stop("what the router says of this access point is of no use")
		return
	case prefix.Contains(n.place.careOf):
		n.stop("this access point has the same prefix: nothing needs to be done")
		return
	}
	p := &n.prepared
	p.tuple, p.careOf, p.previous = t, t.CareOf, t.previous
	if !p.careOf.IsValid() || !prefix.Contains(p.careOf) {
		p.careOf, _ = n.addressIn(prefix)
	}
	if !p.careOf.IsValid() {
		n.stop("all addresses that the node could have there are taken")
		return
	}
	b := n.binding(p.home)
	if b == nil {
		b = n.depart(p.home)
	}
	p.stage = preparedUpdate
	n.proxy.asks[askForMove] = nodeAsk{}
	n.ask(b, p.careOf, true)
}

// readyAt notes that the update was acknowledged on the old link, for careOf.
func (n *Node) readyAt(b *nodeBinding) {
	p := &n.prepared
	if p.stage < preparedUpdate || p.home != b.home {
		return
	}
	p.stage, p.careOf, p.stayUntil = preparedReady, b.careOf, n.now.Add(nodeStay)
	n.count(nodeReady)
	n.reportReady()
}

func (n *Node) reportReady() {
	p := &n.prepared
	n.report(NodeEvent{
		Kind: NodeEventReady, Home: p.home, CareOf: p.careOf, Router: n.place.router.name(), Point: p.target, Detail: "ready: leave now",
	})
}

// runPrepared takes the update back where the node has not left: nothing comes to the old link any more (RFC 5568 section
// 5.6).
func (n *Node) runPrepared() {
	p := &n.prepared
	if !n.due(p.stayUntil) {
		return
	}
	home := p.home
	n.stop("the node did not leave: the update is taken back")
	if b := n.binding(home); b != nil && home == n.place.careOf {
		n.comeBack(b)
	}
}
