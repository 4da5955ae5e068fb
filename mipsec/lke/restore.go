package lke

import (
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

// Reconfigure serves what cfg says from now on. It loses no association and no binding: those of a link that is gone stay
// until they expire. Exchanges that are under way on such a link end.
func (r *Router) Reconfigure(now time.Time, cfg RouterConfig) []Effect {
	t := r.clock.At(now)
	r.runTimers(t)
	before := make(map[*servedLink]int, len(r.links))
	for _, l := range r.links {
		if l.present {
			before[l] = l.Index
		}
	}
	r.configure(cfg)
	used := make(map[*servedLink]bool)
	for _, home := range r.homes() {
		n := r.nodes[home]
		used[n.link] = true
		moved := !n.link.present || before[n.link] != n.link.Index
		if !moved && !n.link.Refuse {
			continue
		}
		if n.dad != nil {
			r.failDAD(n, dropDADLink, "the link is not served any more")
		}
		if moved {
			r.dropRequest(n)
			r.moveLink(t, n)
		}
		r.settle(n)
	}
	for name, l := range r.links {
		if !l.present && !used[l] {
			delete(r.links, name)
		}
	}
	return r.takeEffects()
}

// moveLink follows a change of the index of n's link: an interface that was made anew has lost what stood on the old one.
func (r *Router) moveLink(now pacing.Time, n *routerNode) {
	r.unwatch(n)
	if !n.link.present || n.lbsa == nil {
		return
	}
	r.watch(n)
	switch {
	case n.update != nil:
		r.forward(now, n, n.update.careOf)
	case n.lbsa.binding != nil:
		r.forward(now, n, n.lbsa.binding.careOf)
	}
}

// Restore takes up the records that an earlier run saved, before the first Step. Associations and bindings go on where they
// were: bindings are asked for again, so that forwarding that still stands is adopted. Records that have expired are
// forgotten.
func (r *Router) Restore(now time.Time, records []Record) []Effect {
	t := r.clock.At(now)
	for i := range records {
		rec := &records[i]
		if !rec.Expires.After(now) || !ipv6.IsRoutableUnicast(rec.Home) || !ipv6.IsRoutableUnicast(rec.Router) {
			r.emit(Effect{Kind: EffectForget, Home: rec.Home})
			continue
		}
		if n := r.nodes[rec.Home]; n == nil || n.lbsa == nil {
			r.restore(t, rec)
		}
	}
	return r.takeEffects()
}

func (r *Router) restore(now pacing.Time, rec *Record) {
	r.count.add(countRestored)
	n := r.node(rec.Home, r.linkNamed(rec.Link))
	a := &association{
		key: rec.Key, router: rec.Router, nodeLocal: rec.NodeLocal, source: rec.Node, requestSeq: rec.RequestSeq,
		expires: r.clock.At(rec.Expires), updateSeq: rec.UpdateSeq, updated: rec.Updated,
	}
	if len(rec.Advert) > 0 && len(rec.Advert) <= maxAdvert {
		a.advert = append([]byte(nil), rec.Advert...)
	}
	n.lbsa = a
	r.limits.remember(now, stationKey{n.link.Index, a.source}, a.requestSeq, r.cfg.MaxLifetime)
	r.watch(n)
	if rec.Bound {
		r.restoreBinding(now, n, rec)
	}
	r.settle(n)
}

// restoreBinding goes on with a binding. If the node had not shown yet that it is reachable, it is asked again, for the
// nonce of the first question is gone.
func (r *Router) restoreBinding(now pacing.Time, n *routerNode, rec *Record) {
	until := min(r.clock.At(rec.BoundUntil), n.lbsa.expires)
	nonce, ok := r.random32()
	if until <= now || !ipv6.IsRoutableUnicast(rec.CareOf) || !ok {
		r.save(n)
		return
	}
	b := &routerBinding{
		careOf: rec.CareOf, until: until, seq: rec.UpdateSeq, lifetime: unitsOf(rec.BoundSeconds),
		verified: rec.Verified || !r.cfg.RequestFinished, finishBy: pacing.Never, repeatAt: pacing.Never,
	}
	n.lbsa.binding, n.lbsa.advert = b, nil
	if !b.verified {
		n.update = &updateRun{careOf: b.careOf, seq: b.seq, lifetime: b.lifetime, until: until, nonce: nonce}
	}
	r.forward(now, n, b.careOf)
}
