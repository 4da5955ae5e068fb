package lke

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/pacing"
	"github.com/roamkey/roamkey/ndp"
)

// maxAdvert is the length of the longest advertisement that is cached, in octets: the least MTU of IPv6, into which one
// with the options of secure Neighbour Discovery fits.
const maxAdvert = 1280

// dadRun is duplicate address detection for an association that is not valid yet.
type dadRun struct {
	candidate *association
	solicit   []byte // the whole packet
	sent      int
	next      pacing.Time // of the next solicitation, or the end
}

// startDAD acknowledges the request and at once asks the link who has the address (LKE-AR-12). An association that is
// valid already stays beside the new one until that is valid, too (resolution p).
func (r *Router) startDAD(now pacing.Time, n *routerNode, a *association, ack []byte) {
	nonce, ok := r.dadNonce(n)
	if !ok {
		a.wipe()
		return
	}
	a.nonce = nonce
	r.abandonDAD(n)
	n.dad = &dadRun{candidate: a, solicit: r.dadSolicit(n, a)}
	r.count.add(countAcks)
	r.send(n.link.Index, a.source, ack)
	r.report(r.event(EventAcknowledge, n, ""))
	r.watch(n)
	r.count.add(countDADStarted)
	r.sendSolicit(now, n)
	r.report(r.event(EventDADStarted, n, ""))
}

// dadNonce draws a nonce that differs from that of the last detection for the same address (resolution o).
func (r *Router) dadNonce(n *routerNode) (uint32, bool) {
	for range 4 {
		nonce, ok := r.random32()
		if !ok {
			break
		}
		if (n.dad == nil || n.dad.candidate.nonce != nonce) && (n.lbsa == nil || n.lbsa.nonce != nonce) {
			return nonce, true
		}
	}
	r.count.add(dropNoRandom)
	return 0, false
}

// dadSolicit builds the solicitation with the DAD Authentication Request (draft section 3.1.2).
func (r *Router) dadSolicit(n *routerNode, a *association) []byte {
	src, dst := netip.IPv6Unspecified(), ipv6.SolicitedNode(n.home)
	opt := ndp.DADAuth{Nonce: a.nonce, Router: a.router}.Append(nil, r.cfg.NDCodePoints.AuthRequest)
	msg := ndp.AppendNeighborSolicit(nil, src, dst, n.home, opt)
	if err := ndp.SignDADAuth(msg, a.key[:], src, dst, len(msg)-len(opt)); err != nil {
		return nil // cannot happen: the option is there
	}
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: neighbourHops}, ipv6.ProtoICMPv6, msg)
}

func (r *Router) sendSolicit(now pacing.Time, n *routerNode) {
	n.dad.sent++
	n.dad.next = now.Add(r.cfg.RetransTimer)
	r.send(n.link.Index, ipv6.MulticastLinkAddr(ipv6.SolicitedNode(n.home)), n.dad.solicit)
}

// dadDue goes on with a detection: the next solicitation, or RetransTimer after the last the end (resolution l).
func (r *Router) dadDue(now pacing.Time, n *routerNode) {
	if n.dad.sent < r.cfg.DADTransmits {
		r.sendSolicit(now, n)
		return
	}
	if n.dad.candidate.advert == nil {
		r.failDAD(n, dropDADUnanswered, "no advertisement came") // LKE-AR-15
		return
	}
	r.succeedDAD(now, n)
}

// succeedDAD makes the association valid, in the place of the one before it (LKE-AR-7, LKE-AR-16).
func (r *Router) succeedDAD(now pacing.Time, n *routerNode) {
	a := n.dad.candidate
	n.dad = nil
	if old := n.lbsa; old != nil {
		if old.sameKey(a) {
			// The node sent the same key again: what was signed with it must not become new again (resolution t).
			a.updateSeq, a.updated = old.updateSeq, old.updated
		}
		old.wipe()
	}
	n.lbsa = a
	r.count.add(countValid)
	r.limits.succeeded(pairKey{stationKey{n.link.Index, a.source}, a.nodeLocal}, r.cfg.RequestInterval)
	r.save(n)
	r.report(r.event(EventAssociated, n, ""))
}

// failDAD invalidates the association that is being made. A valid one stays.
func (r *Router) failDAD(n *routerNode, why routerCounter, detail string) {
	r.count.add(why)
	e := r.event(EventDADFailed, n, detail)
	e.Router, e.Node = n.dad.candidate.router, n.dad.candidate.source
	r.abandonDAD(n)
	r.report(e)
}

func (r *Router) abandonDAD(n *routerNode) {
	if n.dad != nil {
		n.dad.candidate.wipe()
		n.dad = nil
	}
}

// dadAdvert judges an advertisement for an address that is under detection. Anything but an authenticated one from the
// requesting station invalidates the association at once (LKE-AR-13, LKE-AR-14).
func (r *Router) dadAdvert(n *routerNode, p *ipv6.Packet, m ndp.NeighborAdvert) {
	if why, detail := r.judgeAdvert(n, p, m); why != countNone {
		r.failDAD(n, why, detail)
		r.settle(n)
		return
	}
	r.count.add(countAdverts)
	if a := n.dad.candidate; a.advert == nil {
		a.advert = append([]byte(nil), p.Raw...)
	}
}

func (r *Router) judgeAdvert(n *routerNode, p *ipv6.Packet, m ndp.NeighborAdvert) (routerCounter, string) {
	a := n.dad.candidate
	opt, found := findOption(m.Options, r.cfg.NDCodePoints.AuthReply)
	if !found {
		return dropDADNoReply, "an advertisement without authentication came"
	}
	auth, err := ndp.ParseDADAuth(opt)
	switch {
	case err != nil:
		return dropDADMalformed, "a malformed authentication reply came"
	case p.LinkSource != a.source: // resolution s
		return dropDADLinkSource, "an advertisement of another station came"
	case p.Src != n.home:
		return dropDADSource, "an advertisement from another address came"
	case p.Dst != ipv6.AllNodes(): // the draft wants it multicast, and it is replayed unchanged
		return dropDADDestination, "an advertisement to one node came"
	case auth.Router != a.router:
		return dropDADRouter, "an authentication reply for another router came"
	case auth.Nonce != a.nonce:
		return dropDADNonce, "an authentication reply with another nonce came"
	case len(p.Raw) > maxAdvert:
		return dropDADTooLong, "an advertisement too long to be kept came"
	case !ndp.VerifyDADAuth(p.Payload, a.key[:], p.Src, p.Dst, opt):
		return dropDADMAC, "an authentication reply under another key came"
	}
	return countNone, ""
}

// ownSolicit reports whether p is our own solicitation for n, come back over whatever link-layer source (resolution m).
func (r *Router) ownSolicit(n *routerNode, p *ipv6.Packet, m ndp.NeighborSolicit) bool {
	opt, found := findOption(m.Options, r.cfg.NDCodePoints.AuthRequest)
	if !found {
		return false
	}
	auth, err := ndp.ParseDADAuth(opt)
	return err == nil && auth.Nonce == n.dad.candidate.nonce &&
		ndp.VerifyDADAuth(p.Payload, n.dad.candidate.key[:], p.Src, p.Dst, opt)
}

// findOption gives the first option of type typ.
func findOption(options ndp.Options, typ uint8) (ndp.Option, bool) {
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type == typ {
			return o, true
		}
	}
	return ndp.Option{}, false
}
