package fmip

import (
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// Restore takes up the records that an earlier run saved, before the first Step. Bindings go on where they were: they are
// asked for again, so that forwarding that still stands is adopted. What no configuration or key goes with any more is
// forgotten. What was being prepared is not recorded: it lasts a second or two, and an HI or update that comes again makes
// it anew.
func (r *Router) Restore(now time.Time, records []Record) []Effect {
	t := r.clock.At(now)
	r.now = t
	for i := range records {
		rec := &records[i]
		kept := false
		switch rec.Kind {
		case RecordPeer:
			kept = r.restorePeer(rec)
		case RecordNode:
			kept = r.restoreNode(now, rec)
		}
		if !kept {
			r.emit(Effect{Kind: EffectForget, Record: &Record{Kind: rec.Kind, Addr: rec.Addr}})
		}
	}
	return r.takeEffects()
}

// restorePeer goes on with a neighbour's numbers. Those of one that is not configured now are gone with it: it is met anew.
func (r *Router) restorePeer(rec *Record) bool {
	p := r.peers[rec.Addr]
	if p == nil || rec.Sent > maxNumber || rec.Received > maxNumber {
		return false
	}
	p.sent, p.reserved = max(p.sent, rec.Sent), max(p.reserved, rec.Sent)
	if rec.Received > p.received {
		p.known, p.received, p.floor = true, rec.Received, max(p.floor, rec.Received)
	}
	return true
}

// restoreNode goes on with a node's sequence number, and its binding. A handover key that is not there any more, or is
// another now, takes the binding along (HK-AR-18).
func (r *Router) restoreNode(now time.Time, rec *Record) bool {
	if !ipv6.IsRoutableUnicast(rec.Addr) || r.nodes[rec.Addr] != nil {
		return false
	}
	key, _, ok := r.key(rec.Addr)
	if !ok || tagOf(key) != rec.KeyTag {
		return false
	}
	n := r.leaver(rec.Addr, r.linkNamed(rec.Link))
	if n == nil {
		return false
	}
	r.count.add(countRestored)
	n.node, n.keyTag, n.seq, n.hasSeq = rec.Node, rec.KeyTag, rec.Seq, true
	if n.node.IsUnicast() && n.link.present {
		r.remember(r.now, n.link, n.node, n.home)
	}
	if rec.Bound {
		b := &binding{
			router: rec.Router, careOf: rec.CareOf, assigned: rec.Assigned, exit: rec.Exit,
			lifetime: rec.Lifetime, until: r.clock.At(rec.Until),
		}
		n.binding = b
		switch {
		case !ipv6.IsRoutableUnicast(b.router) || !ipv6.IsRoutableUnicast(b.careOf) || !ipv6.IsRoutableUnicast(b.exit):
			n.binding = nil
			r.save(n)
		case b.until <= r.now: // its time ran out while nothing ran; what forwards it may still stand
			r.count.add(countExpired)
			r.unbind(n, true, "its lifetime is over")
			r.save(n)
		default:
			n.gone = true
			n.last = fastAnswer{valid: true, binding: *b}
			r.forward(r.now, n, b)
		}
	}
	r.settleNode(n)
	return true
}
