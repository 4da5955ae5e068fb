package lke

import (
	"crypto/subtle"
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

// routerNode is all that the router has about one home address. It exists as long as one of its parts does.
type routerNode struct {
	home netip.Addr
	link *servedLink

	request *keyRequest  // its key is being decrypted
	dad     *dadRun      // its association is being made valid: it authorizes nothing yet (LKE-AR-27)
	lbsa    *association // valid; stays usable while another is made (resolution p)
	update  *updateRun   // its forwarding is being installed

	// forwards counts the EffectBinds that were not answered yet. The answers come in order and name only the home address,
	// so that all but the last are those of binding updates which were overtaken.
	forwards  int
	forwardBy pacing.Time // the last is taken for failed then

	watching int // index of the link that is watched for home, 0 if none

	timer pacing.Timer // next moment
}

// association is one local binding security association (LBSA).
type association struct {
	key        [KeyLen]byte
	router     netip.Addr // the router's global address, by which it is known together with the home address
	nodeLocal  netip.Addr
	source     ipv6.LinkAddr // of the request: adverts and further requests must come from it (resolution s)
	requestSeq uint16
	nonce      uint32 // of its duplicate address detection
	expires    pacing.Time

	updateSeq uint16 // of the last accepted binding update, if updated (resolution t)
	updated   bool
	refusals  uint8       // authenticated refusals ...
	refusing  pacing.Time // ... since

	advert  []byte // the cached advertisement, a whole packet; nil after a binding update
	binding *routerBinding
}

// routerBinding is one binding cache entry.
type routerBinding struct {
	careOf   netip.Addr
	until    pacing.Time
	seq      uint16 // of the update that made it
	lifetime uint16 // as granted, in units of 4 s
	verified bool   // the Finished message came, or none is asked for

	nonce    uint32      // of the Finished Request
	finishBy pacing.Time // the binding ends without the Finished message
	repeatAt pacing.Time // ack is sent again, repeats more times
	repeats  int
	ack      []byte
}

// Wake gives n's place in the heap of timers.
func (n *routerNode) Wake() *pacing.Timer { return &n.timer }

// bound reports whether n's home address is forwarded, or is going to be.
func (n *routerNode) bound() bool { return n.update != nil || n.lbsa != nil && n.lbsa.binding != nil }

// heldByOther reports whether an association or an exchange of another station has n's home address (resolution p).
func (n *routerNode) heldByOther(link *servedLink, source ipv6.LinkAddr) bool {
	if n.request == nil && n.dad == nil && n.lbsa == nil {
		return false
	}
	return n.link != link ||
		n.request != nil && n.request.source != source ||
		n.dad != nil && n.dad.candidate.source != source ||
		n.lbsa != nil && n.lbsa.source != source
}

// node gives the entry of home, a new one if there is none.
func (r *Router) node(home netip.Addr, link *servedLink) *routerNode {
	n := r.nodes[home]
	if n == nil {
		n = &routerNode{home: home, link: link, forwardBy: pacing.Never}
		r.nodes[home] = n
	}
	return n
}

// settle sets n's timer after a change, and forgets n when nothing is left of it.
func (r *Router) settle(n *routerNode) {
	if n.dad == nil && n.lbsa == nil {
		r.unwatch(n)
		if n.request == nil && n.forwards == 0 {
			r.timers.Remove(n)
			delete(r.nodes, n.home)
			return
		}
	}
	at := n.forwardBy
	if n.request != nil {
		at = min(at, n.request.expires)
	}
	if n.dad != nil {
		at = min(at, n.dad.next)
	}
	if n.lbsa != nil {
		at = min(at, n.lbsa.expires)
		if b := n.lbsa.binding; b != nil && n.update == nil { // an update under way decides about the binding
			at = min(at, b.until, b.finishBy, b.repeatAt)
		}
	}
	r.timers.Set(n, at)
}

// due does what n's moment asks for.
func (r *Router) due(now pacing.Time, n *routerNode) {
	if n.request != nil && n.request.expires <= now {
		r.count.add(dropKeyLost)
		r.dropRequest(n)
	}
	if n.dad != nil && n.dad.next <= now {
		r.dadDue(now, n)
	}
	if n.forwardBy <= now {
		r.forwardingLate(n)
	}
	if n.lbsa != nil && n.lbsa.binding != nil && n.update == nil {
		r.bindingDue(now, n)
	}
	if n.lbsa != nil && n.lbsa.expires <= now {
		r.expire(n)
	}
	r.settle(n)
}

// expire ends n's association with its binding and its cached advertisement (LKE-AR-18, LKE-AR-27).
func (r *Router) expire(n *routerNode) {
	r.count.add(countExpired)
	if n.bound() {
		r.unbind(n, EventUnbound, "its association expired")
	}
	event := r.event(EventExpired, n, "")
	n.lbsa.wipe()
	n.lbsa = nil
	r.emit(Effect{Kind: EffectForget, Home: n.home})
	r.report(event)
}

// sameKey reports whether a and b were made with the same key.
func (a *association) sameKey(b *association) bool {
	return subtle.ConstantTimeCompare(a.key[:], b.key[:]) == 1
}

// wipe overwrites the key of an association that is dropped.
func (a *association) wipe() { clear(a.key[:]) }

// watch makes solicitations for n's home address be heard.
func (r *Router) watch(n *routerNode) {
	if n.watching == n.link.Index {
		return
	}
	r.unwatch(n)
	if n.link.present {
		n.watching = n.link.Index
		r.emit(Effect{Kind: EffectWatch, Link: n.watching, Home: n.home})
	}
}

func (r *Router) unwatch(n *routerNode) {
	if n.watching != 0 {
		r.emit(Effect{Kind: EffectUnwatch, Link: n.watching, Home: n.home})
		n.watching = 0
	}
}

// save makes n's association last. It comes before the message that tells the node about it.
func (r *Router) save(n *routerNode) {
	a := n.lbsa
	rec := &Record{
		Home: n.home, Router: a.router, Link: n.link.Name, Node: a.source, NodeLocal: a.nodeLocal, Key: a.key,
		RequestSeq: a.requestSeq, Expires: r.clock.Moment(a.expires), UpdateSeq: a.updateSeq, Updated: a.updated, Advert: a.advert,
	}
	if b := a.binding; b != nil {
		rec.Bound, rec.CareOf, rec.Verified = true, b.careOf, b.verified
		rec.BoundUntil, rec.BoundSeconds = r.clock.Moment(b.until), uint32(b.lifetime)*secondsPerUnit
	}
	r.emit(Effect{Kind: EffectSave, Home: n.home, Record: rec})
}

// event fills in an event about n.
func (r *Router) event(kind EventKind, n *routerNode, detail string) Event {
	e := Event{Kind: kind, Home: n.home, Link: n.link.Index, Detail: detail}
	a := n.lbsa
	if a == nil && n.dad != nil {
		a = n.dad.candidate
	}
	if a != nil {
		e.Router, e.Node = a.router, a.source
	} else if n.request != nil {
		e.Node = n.request.source
	}
	switch {
	case n.update != nil:
		e.CareOf = n.update.careOf
	case n.lbsa != nil && n.lbsa.binding != nil:
		e.CareOf = n.lbsa.binding.careOf
	}
	return e
}
