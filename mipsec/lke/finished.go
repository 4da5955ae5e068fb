package lke

import (
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

// finished handles a Finished message, which shows that the node is reachable at its care-of address (LKE-AR-25). One that
// does not match is dropped without an answer: the number may be somebody else's (code point collision with the Fast
// Neighbor Advertisement).
func (r *Router) finished(p *ipv6.Packet) {
	if why := r.judgeFinished(p); why != countNone {
		if why != faultCounted {
			r.count.add(why)
		}
		return
	}
	n := r.nodes[p.HomeAddress]
	b := n.lbsa.binding
	b.verified, b.finishBy, b.repeatAt, b.ack = true, pacing.Never, pacing.Never, nil
	r.count.add(countFinished)
	r.save(n)
	r.report(r.event(EventFinished, n, ""))
	r.settle(n)
}

// judgeFinished makes all tests, the costly one last. A Finished message that refuses the acknowledgement ends the
// binding.
func (r *Router) judgeFinished(p *ipv6.Packet) routerCounter {
	if p.RoutingHome.IsValid() {
		return dropFinishedRouting
	}
	h, fault := mobility.Check(p, r.minHeaderLen)
	if fault != mobility.FaultNone {
		r.count.faults[fault]++
		return faultCounted
	}
	m, err := mobility.ParseFinished(h, r.cfg.CodePoints)
	if err != nil || !m.AuthLast {
		return dropFinishedMalformed
	}
	n := r.nodes[p.HomeAddress]
	if n == nil || n.lbsa == nil || n.lbsa.binding == nil || n.lbsa.router != p.Dst {
		return dropFinishedUnbound
	}
	a, b := n.lbsa, n.lbsa.binding
	switch {
	case p.Src != b.careOf:
		return dropFinishedCareOf
	case b.verified:
		return dropFinishedUnasked
	case m.Nonce != b.nonce:
		return dropFinishedNonce
	case m.Seq != b.seq:
		return dropFinishedSequence
	case m.Lifetime != b.lifetime:
		return dropFinishedLifetime
	case !mobility.VerifyBAD(h.Octets, a.key[:], p.Src, p.Dst):
		return dropFinishedMAC
	case m.Status >= mobility.StatusUnspecified:
		r.unbind(n, EventUnbound, "the node refused the acknowledgement")
		r.save(n)
		r.settle(n)
		return dropFinishedStatus
	}
	return countNone
}
