package fmip

import (
	"errors"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/pacing"
	"github.com/roamkey/roamkey/ndp"
)

// Errors of Trigger.
var (
	ErrUnknownNode  = errors.New("no node with a handover key has that address on a served link; see the addresses in the status")
	ErrUnknownPoint = errors.New("no router is known behind that access point; list it as access_point of a neighbor")
)

const (
	stationHomes    = 4 // addresses of one station that are remembered
	triggerInterval = time.Second
	triggerBurst    = 2
)

// station is what is remembered of a node that a handover key was granted to: its addresses, so that events of its radio
// link mean something.
type station struct {
	homes    [stationHomes]netip.Addr // newest first
	triggers pacing.Bucket
}

// remember notes that a station on link has the address home. Only who has signed comes here, so that no flood of others
// puts it out.
func (r *Router) remember(now pacing.Time, link *servedLink, source ipv6.LinkAddr, home netip.Addr) {
	if !source.IsUnicast() {
		return
	}
	s := r.stations.Put(stationKey{link.Index, source})
	at := len(s.homes) - 1
	for i, h := range s.homes {
		if h == home {
			at = i
			break
		}
	}
	copy(s.homes[1:at+1], s.homes[:at])
	s.homes[0] = home
}

// linkEvent acts on what the radio says of a station.
func (r *Router) linkEvent(now pacing.Time, in *Input) {
	link := r.byIndex[in.Link]
	if link == nil || link.Refuse {
		r.count.add(dropEventLink)
		return
	}
	switch in.Event {
	case LinkWeak:
		r.weak(now, link, in.Node, in.Target)
	case LinkLeaving:
		r.leaving(now, link, in.Node, true)
	case LinkGone:
		r.leaving(now, link, in.Node, false)
	case LinkAuthorised:
		r.arrived(now, link, in.Node)
	}
}

// weak tells a node whose signal is weak where it could go (RFC 5568 section 3.3): with a target it is asked to move there
// now. Until its Fast Binding Update comes nothing changes for its packets.
func (r *Router) weak(now pacing.Time, link *servedLink, node, target ipv6.LinkAddr) {
	s := r.stations.Get(stationKey{link.Index, node})
	if s == nil {
		r.count.add(dropEventStation)
		return
	}
	if !s.triggers.Allows(now, triggerInterval, triggerBurst) {
		r.count.add(dropTriggerRate)
		return
	}
	s.triggers.Take(now, triggerInterval)
	if !r.trigger(link, node, s.homes[0], target) {
		r.count.add(dropTriggerTarget)
	}
}

// Trigger asks the node with that address, which has a handover key, to move to the access point target now; with a zero
// target it tells the node what is nearby. It fails with ErrUnknownNode or ErrUnknownPoint.
func (r *Router) Trigger(now time.Time, home netip.Addr, target ipv6.LinkAddr) ([]Effect, error) {
	r.runTimers(r.clock.At(now))
	link, _ := r.linkOf(home)
	if link == nil {
		return r.takeEffects(), ErrUnknownNode
	}
	node, ok := r.stationOf(link, home)
	if !ok {
		return r.takeEffects(), ErrUnknownNode
	}
	if !r.trigger(link, node, home, target) {
		return r.takeEffects(), ErrUnknownPoint
	}
	return r.takeEffects(), nil
}

// stationOf finds the station that has the address home.
func (r *Router) stationOf(link *servedLink, home netip.Addr) (node ipv6.LinkAddr, ok bool) {
	r.stations.All(func(key stationKey, s *station) bool {
		for _, h := range s.homes {
			if h == home && key.link == link.Index {
				node, ok = key.source, true // the newest that has it
			}
		}
		return true
	})
	return node, ok
}

// trigger sends an unsolicited PrRtAdv: code 1 with a target, else code 4.
func (r *Router) trigger(link *servedLink, node ipv6.LinkAddr, home netip.Addr, target ipv6.LinkAddr) bool {
	m := r.neighborhood(link, 0)
	code := uint8(ndp.ProxyNeighborhood)
	if !target.IsZero() {
		code = ndp.ProxyTrigger
		m = ndp.ProxyAdvert{}
		t := r.tuple(link, target)
		if t.Code != ndp.PointNew {
			return false
		}
		m.Tuples.Add(t.ProxyTuple)
	}
	if m.Tuples.Len() == 0 || m.Tuples.At(0).Code != ndp.PointNew {
		return false
	}
	m.Code = code
	r.count.add(countTriggers)
	r.sendAdvert(link, home, node, m, nil, nil)
	r.report(Event{Kind: EventTriggered, Home: home, Node: node, Link: link.Index})
	return true
}

// leaving keeps packets for a node that is about to leave, or has left, until its Fast Binding Update comes or a short time
// is over. As long as the node is there they are sent to it as well (RFC 5568 section 4).
func (r *Router) leaving(now pacing.Time, link *servedLink, node ipv6.LinkAddr, there bool) {
	s := r.stations.Get(stationKey{link.Index, node})
	if s == nil {
		r.count.add(dropEventStation)
		return
	}
	for _, home := range s.homes {
		n := r.nodes[home]
		if n == nil && home.IsValid() && r.cfg.Buffer {
			if _, _, ok := r.key(home); !ok {
				continue
			}
			n = r.leaver(home, link)
			if n == nil {
				r.count.add(dropEventNodes)
				return
			}
		}
		if n == nil {
			continue
		}
		n.node = node
		if !there {
			n.gone = true
		}
		if n.binding == nil && r.cfg.Buffer {
			if n.run == nil {
				n.holdUntil = now.Add(r.cfg.LeaveHold)
			}
			r.hold(n, there)
		}
		r.settleNode(n)
	}
}

// arrived acts on a station that the access point lets in: a node that we are the NAR of, or one that came back.
func (r *Router) arrived(now pacing.Time, link *servedLink, node ipv6.LinkAddr) {
	for _, a := range r.arrivals { // in any order: only timers are set
		if a.link.RequireSecuredUNA {
			continue // whoever has the node's link-layer address could be there
		}
		if a.link == link && a.node == node && !a.announced && !a.conflict {
			a.graceUntil = min(a.graceUntil, now.Add(r.cfg.ArrivalGrace))
			r.settleArrival(a)
		}
	}
	s := r.stations.Get(stationKey{link.Index, node})
	if s == nil {
		return
	}
	for _, home := range s.homes {
		n := r.nodes[home]
		if n == nil || n.link != link {
			continue
		}
		n.gone = false
		if n.run == nil && n.binding == nil {
			r.release(n, true)
		}
		r.settleNode(n)
	}
}
