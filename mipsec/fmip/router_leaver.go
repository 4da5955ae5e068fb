package fmip

import (
	"crypto/sha256"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

const (
	// keyCheck is how often it is looked whether a handover key still exists, with which a sequence number goes.
	keyCheck = time.Minute

	// forwardPatience is how long an EffectBind may take; maxForwards bounds those of one node under way.
	forwardPatience = 5 * time.Second
	maxForwards     = 8

	updateInterval = 250 * time.Millisecond // between authentic updates of one node, after a burst
	updateBurst    = 8
)

// leaver is all that the router has, as PAR, about one previous care-of address. It exists as long as one of its parts
// does; its sequence number lasts as long as the handover key.
type leaver struct {
	home netip.Addr
	link *servedLink
	node ipv6.LinkAddr // on that link

	keyTag  [8]byte // of the key that seq goes with
	seq     uint16  // of the last accepted update, if hasSeq
	hasSeq  bool
	updates pacing.Bucket
	last    fastAnswer // to the update with seq

	run      *updateRun // an update that is not answered yet
	exchange *exchange  // with the new router
	binding  *binding   // what is forwarded

	// forwards counts the EffectBinds that were not answered yet. The answers come in order and name only the home address,
	// so that all but the last are those of updates which were overtaken.
	forwards  int
	forwardBy pacing.Time

	gone      bool // the radio said so, or an update came from elsewhere
	held      bool // packets are kept ...
	copying   bool // ... and sent on as well
	frozen    bool // ... up to now: what is kept stays in case that the node had left already, and no more is kept
	holdUntil pacing.Time
	checkAt   pacing.Time

	timer pacing.Timer
}

// Wake gives n's place in the heap of timers.
func (n *leaver) Wake() *pacing.Timer { return &n.timer }

// binding is one previous care-of address that is forwarded, or is going to be.
type binding struct {
	router   netip.Addr // ours, by which the node knows us
	careOf   netip.Addr // the node's choice, in its update
	assigned netip.Addr // what the new router has in its place, if not zero; the previous one if that goes on
	exit     netip.Addr // the other end of the tunnel
	lifetime uint16     // seconds
	until    pacing.Time
}

// updateRun is an accepted update whose answer waits for the new router or for the forwarding.
type updateRun struct {
	binding
	seq        uint16
	predictive bool          // it came from the old link ...
	linkDst    ipv6.LinkAddr // ... and from there
	forwarding bool          // the EffectBind is under way
	tell       *peer         // the new router, which hears of it by an HI behind the acknowledgement; nil if none has to
	node       ipv6.LinkAddr // what that HI says of the node
}

// fastAnswer is the answer to an update, for one that comes again.
type fastAnswer struct {
	valid  bool
	status uint8
	binding
}

// key gives the handover key of home (HK-AR-15).
func (r *Router) key(home netip.Addr) ([]byte, mobility.FastMAC, bool) {
	if r.cfg.Keys == nil {
		return nil, 0, false
	}
	key, mac, ok := r.cfg.Keys.HandoverKey(home)
	return key, mac, ok && len(key) > 0
}

// tagOf gives what tells one key from another without saying it.
func tagOf(key []byte) [8]byte {
	sum := sha256.Sum256(key)
	return [8]byte(sum[:8])
}

// leaver gives the entry of home, a new one if there is none; nil if there is no room.
func (r *Router) leaver(home netip.Addr, link *servedLink) *leaver {
	if n := r.nodes[home]; n != nil {
		return n
	}
	if len(r.nodes) >= r.cfg.MaxNodes && !r.makeRoom() {
		return nil
	}
	n := &leaver{home: home, link: link, forwardBy: never, holdUntil: never, checkAt: never}
	r.nodes[home] = n
	return n
}

// makeRoom forgets an idle node whose key is gone.
func (r *Router) makeRoom() bool {
	for home, n := range r.nodes {
		if n.idle() && !r.keyStands(n) {
			r.forget(n)
			delete(r.nodes, home)
			return true
		}
	}
	return false
}

func (n *leaver) idle() bool {
	return n.run == nil && n.exchange == nil && n.binding == nil && n.forwards == 0 && !n.held
}

func (r *Router) keyStands(n *leaver) bool {
	key, _, ok := r.key(n.home)
	return ok && tagOf(key) == n.keyTag
}

func (r *Router) forget(n *leaver) {
	r.nodeTimers.Remove(n)
	if n.hasSeq {
		r.emit(Effect{Kind: EffectForget, Record: &Record{Kind: RecordNode, Addr: n.home}})
	}
}

// settleNode sets n's timer after a change, and forgets n when nothing is left of it.
func (r *Router) settleNode(n *leaver) {
	at := min(n.forwardBy, n.holdUntil)
	if n.exchange != nil {
		at = min(at, n.exchange.next)
	}
	if n.binding != nil && n.run == nil { // an update under way decides about the binding
		at = min(at, n.binding.until)
	}
	if !n.idle() {
		n.checkAt = never
		r.nodeTimers.Set(n, at)
		return
	}
	if !n.hasSeq {
		r.forget(n)
		delete(r.nodes, n.home)
		return
	}
	if n.checkAt == never {
		n.checkAt = r.now.Add(keyCheck)
	}
	r.nodeTimers.Set(n, min(at, n.checkAt))
}

// nodeDue does what n's moment asks for.
func (r *Router) nodeDue(now pacing.Time, n *leaver) {
	if n.forwardBy <= now {
		n.forwards, n.forwardBy = 0, never
		r.forwardingFailed(n)
	}
	if n.exchange != nil && n.exchange.next <= now {
		r.initiateAgain(now, n)
	}
	if n.binding != nil && n.run == nil && n.binding.until <= now {
		r.count.add(countExpired)
		r.unbind(n, true, "its lifetime is over")
		r.save(n)
	}
	if n.holdUntil <= now {
		if !n.frozen {
			r.count.add(countHoldExpired)
		}
		r.release(n, !n.gone)
	}
	if n.checkAt <= now {
		n.checkAt = never
		if !r.keyStands(n) {
			r.forget(n)
			delete(r.nodes, n.home)
			return
		}
	}
	r.settleNode(n)
}

// hold keeps n's packets from now on.
func (r *Router) hold(n *leaver, copying bool) {
	if n.frozen {
		r.release(n, false)
	}
	if n.held && n.copying == copying {
		return
	}
	if !n.held {
		r.count.add(countHolds)
		r.report(Event{Kind: EventHeld, Home: n.home, Node: n.node, Link: n.link.Index})
	}
	n.held, n.copying = true, copying
	r.emit(Effect{Kind: EffectHold, Addr: n.home, Link: n.link.Index, Copy: copying})
}

// release sends what is kept of n's packets, or throws it away where nobody would get it, or has it already. Of a node that
// turned out to have gone nobody can tell what it had: a packet that comes twice does less harm than one that is lost.
func (r *Router) release(n *leaver, deliver bool) {
	n.holdUntil = never
	if !n.held {
		return
	}
	kind := EffectDiscard
	if deliver && (!n.copying || n.gone) {
		kind = EffectDrain
	}
	n.held, n.copying, n.frozen = false, false, false
	r.emit(Effect{Kind: kind, Addr: n.home, Link: n.link.Index})
}

// freeze keeps what was copied until now, and no more. Who got its acknowledgement on the old link had everything that was
// sent there. Who left too early says so by another update, from the new link, and gets the copies then.
func (r *Router) freeze(n *leaver) {
	n.frozen, n.holdUntil = true, r.now.Add(r.cfg.LeaveHold)
	r.emit(Effect{Kind: EffectFreeze, Addr: n.home, Link: n.link.Index})
}

// save makes n's record last.
func (r *Router) save(n *leaver) {
	rec := &Record{Kind: RecordNode, Addr: n.home, Link: n.link.Name, Node: n.node, KeyTag: n.keyTag, Seq: n.seq}
	if b := n.binding; b != nil {
		rec.Bound, rec.Router, rec.CareOf, rec.Assigned = true, b.router, b.careOf, b.assigned
		rec.Exit, rec.Until, rec.Lifetime = b.exit, r.clock.Moment(b.until), b.lifetime
	}
	r.emit(Effect{Kind: EffectSave, Record: rec})
}

func (r *Router) event(kind EventKind, n *leaver, detail string) Event {
	e := Event{Kind: kind, Home: n.home, Node: n.node, Link: n.link.Index, Detail: detail}
	switch {
	case n.run != nil:
		e.CareOf, e.Router = n.run.target(), n.run.exit
	case n.binding != nil:
		e.CareOf, e.Router = n.binding.target(), n.binding.exit
	}
	return e
}

// target is where the node is to be: the address that it has behind the other end of the tunnel.
func (b *binding) target() netip.Addr {
	if b.assigned.IsValid() {
		return b.assigned
	}
	return b.careOf
}

// Bound gives the binding of home, if its forwarding stands or is being made.
func (r *Router) Bound(home netip.Addr) (Binding, bool) {
	n := r.nodes[home]
	switch {
	case n == nil:
	case n.run != nil && n.run.forwarding:
		return r.outward(n, &n.run.binding), true
	case n.binding != nil:
		return r.outward(n, n.binding), true
	}
	return Binding{}, false
}

// Bindings gives every binding, by home address, with the end of its lifetime.
func (r *Router) Bindings(yield func(b Binding, until time.Time) bool) {
	for _, home := range sortedKeys(r.nodes) {
		n := r.nodes[home]
		if n.binding != nil && !yield(r.outward(n, n.binding), r.clock.Moment(n.binding.until)) {
			return
		}
	}
}

// outward gives a binding as effects have it. A tunnel to the new router starts where that knows us by, not at the address on
// the node's link: it takes tunnel packets from the router alone that the HI came from.
func (r *Router) outward(n *leaver, b *binding) Binding {
	out := Binding{Home: n.home, Router: b.router, CareOf: b.exit, Link: n.link.Index, ToRouter: b.exit != b.target()}
	if out.ToRouter && r.cfg.Address.IsValid() {
		out.Router = r.cfg.Address
	}
	return out
}

// Release gives up what stands for home because another protocol has bound it: the newest authentic binding counts. There
// is no EffectUnbind among the effects, for what is forwarded now is the other's.
func (r *Router) Release(now time.Time, home netip.Addr) []Effect {
	r.runTimers(r.clock.At(now))
	n := r.nodes[home]
	if n == nil {
		return r.takeEffects()
	}
	r.endExchange(n)
	bound := n.binding != nil || n.run != nil
	n.run, n.forwards, n.forwardBy = nil, 0, never
	r.release(n, true)
	if bound {
		r.count.add(countReleased)
		r.report(r.event(EventUnbound, n, "another protocol has bound the address"))
	}
	n.binding, n.last = nil, fastAnswer{}
	if n.hasSeq {
		r.save(n)
	}
	r.settleNode(n)
	return r.takeEffects()
}
