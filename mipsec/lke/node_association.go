package lke

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// nodeAssociation is the LBSA with one router: for home, an address of its link, and with it what became of that address
// after the node left.
type nodeAssociation struct {
	home, router netip.Addr // router: the global address of the acknowledgement
	linkLocal    netip.Addr // of the router
	hw           ipv6.LinkAddr
	key          [KeyLen]byte
	expires      time.Time
	renewAt      time.Time
	homeBy       time.Time // when the home agent has to be updated, LKE-MN-13; zero once it was

	// DAD by the router. It does not tell how it went: what can be known is that it asked and was answered.
	answered   bool
	nonce      uint32
	answeredAt time.Time
	repeatAt   time.Time // of the answer
	advert     []byte    // the answer, a whole packet
	settleAt   time.Time // end of the router's DAD period
	settled    bool

	// prior is the key before a renewal. It still counts at the router where the DAD of the renewal failed there, which
	// the node can only see by its binding update being refused.
	prior struct {
		set     bool
		key     [KeyLen]byte
		expires time.Time
	}
	usePrior bool // binding updates are signed with it

	binding nodeRegistration
}

func (a *nodeAssociation) at(r *nodeRouter) bool { return a.linkLocal == r.linkLocal && a.hw == r.hw }

// updateKey is the key for the next binding update.
func (a *nodeAssociation) updateKey() []byte {
	if a.usePrior {
		return a.prior.key[:]
	}
	return a.key[:]
}

// swap makes the key before the renewal count again. The key of the renewal takes its place, for the router's DAD may
// still be going on.
func (a *nodeAssociation) swap() {
	a.key, a.prior.key = a.prior.key, a.key
	a.expires, a.prior.expires = a.prior.expires, a.expires
	a.answered, a.settled, a.settleAt = true, true, time.Time{}
	a.usePrior = false
}

func (a *nodeAssociation) forgetPrior() {
	a.prior.set, a.usePrior = false, false
	a.prior.key = [KeyLen]byte{}
}

// association gives the association for home; nil if there is none.
func (n *Node) association(home netip.Addr) *nodeAssociation {
	for _, a := range n.associations {
		if a.home == home {
			return a
		}
	}
	return nil
}

// associate makes the association for the care-of address with the key of the exchange. One with the same router is
// renewed, one with another router that shares the prefix replaced.
func (n *Node) associate(router netip.Addr) *nodeAssociation {
	l := &n.link
	a := n.association(l.careOf)
	if a != nil && (a.router != router || !a.at(&l.router)) {
		n.remove(a, EventLost, "another router took its place")
		a = nil
	}
	if a == nil {
		if len(n.associations) >= nodeMaxAssociations {
			n.remove(n.associations[0], EventLost, "there are too many associations")
		}
		a = &nodeAssociation{home: l.careOf, router: router, linkLocal: l.router.linkLocal, hw: l.router.hw}
		n.associations = append(n.associations, a)
	} else if a.answered {
		a.prior.set, a.prior.key, a.prior.expires = true, a.key, a.expires
	}
	a.key = n.exchange.key
	a.usePrior = false
	a.answered, a.settled = false, false
	a.advert, a.repeatAt, a.settleAt = nil, time.Time{}, time.Time{}
	a.binding.sent = 0
	a.binding.seq = n.random16() // draft section 2.1 (a): the numbers start from a random value
	return a
}

// remove ends an association and wipes its keys.
func (n *Node) remove(a *nodeAssociation, kind EventKind, detail string) {
	for i, b := range n.associations {
		if a != b {
			continue
		}
		copy(n.associations[i:], n.associations[i+1:])
		n.associations[len(n.associations)-1] = nil
		n.associations = n.associations[:len(n.associations)-1]
		break
	}
	careOf := a.binding.careOf
	a.key = [KeyLen]byte{}
	a.forgetPrior()
	if kind == EventExpired {
		n.count(nodeExpired)
	} else {
		n.count(nodeLost)
	}
	if a.binding.active || a.home != n.link.careOf {
		n.unbind(a)
	}
	n.report(Event{Kind: kind, Home: a.home, Router: a.router, CareOf: careOf, Detail: detail})
}

// runAssociation does what is due for a, and reports whether it is still there.
func (n *Node) runAssociation(a *nodeAssociation) bool {
	if n.due(a.expires) {
		n.remove(a, EventExpired, "")
		return false
	}
	if a.prior.set && n.due(a.prior.expires) {
		a.forgetPrior()
	}
	if n.due(a.repeatAt) {
		n.repeatAnswer(a)
	}
	if n.due(a.settleAt) {
		n.settle(a)
	}
	b := &a.binding
	if b.active && n.due(b.until) {
		b.active = false
		n.unbind(a)
		n.report(Event{Kind: EventUnbound, Home: a.home, Router: a.router, CareOf: b.careOf, Detail: "the binding expired"})
	}
	if n.ready() {
		if n.due(a.homeBy) {
			a.homeBy = time.Time{}
			n.updateHome()
		}
		switch {
		case b.outstanding && n.due(b.next):
			n.sendUpdate(a)
		case !b.outstanding && b.active && n.due(b.refresh):
			b.ask(n.link.careOf, n.now, nodeUpdateGap)
			n.sendUpdate(a)
		}
	}
	return true
}

func (n *Node) associationDeadline(a *nodeAssociation) time.Time {
	at := earlier(a.expires, a.repeatAt)
	at = earlier(at, a.settleAt)
	if a.prior.set {
		at = earlier(at, a.prior.expires)
	}
	b := &a.binding
	if b.active {
		at = earlier(at, b.until)
	}
	if n.ready() {
		at = earlier(at, a.homeBy)
		if b.outstanding {
			at = earlier(at, b.next)
		} else if b.active {
			at = earlier(at, b.refresh)
		}
	}
	return at
}

// settle is the end of the router's DAD period: by all that the node can know the association is valid now.
func (n *Node) settle(a *nodeAssociation) {
	a.settled, a.settleAt = true, time.Time{}
	if a.home == n.link.careOf && n.exchange.phase == nodeIdle {
		n.exchange.gap = nodeRequestGap
	}
	n.count(nodeAssociated)
	n.report(Event{Kind: EventAssociated, Home: a.home, Router: a.router})
}
