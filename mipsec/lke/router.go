package lke

import (
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
	"github.com/roamkey/roamkey/ndp"
)

// Router is the access router's side of LKE: a pure state machine that one goroutine owns.
type Router struct {
	cfg          RouterConfig
	minHeaderLen func(typ uint8) (uint8, bool)

	links   map[string]*servedLink
	byIndex map[int]*servedLink     // of the links that are present
	routers map[netip.Addr]struct{} // addresses that no node may have
	own     map[netip.Addr]struct{} // those of them that are this router's global ones

	nodes     map[netip.Addr]*routerNode // by home address
	jobs      map[uint64]*routerNode     // by the decryption that they wait for
	lastJob   uint64
	timers    pacing.Timers[*routerNode]
	limits    requestLimits
	errorAcks pacing.Bucket
	count     routerCounters

	clock   pacing.Clock
	effects []Effect // of the step under way
	spare   []Effect // given back by Recycle, empty
	scratch [4]byte
}

// NewRouter makes a router that serves what cfg says.
func NewRouter(cfg RouterConfig) *Router {
	r := &Router{
		links: make(map[string]*servedLink), nodes: make(map[netip.Addr]*routerNode), jobs: make(map[uint64]*routerNode),
	}
	r.configure(cfg)
	return r
}

// Step handles one input that arrived at now. It returns the effects to carry out, in order; nil where there is nothing
// to do, which then costs no memory either. Timers that are due are handled before the input. The slices in an effect
// are the caller's; a Record's Advert is shared and must not be written to.
func (r *Router) Step(now time.Time, in Input) []Effect {
	t := r.clock.At(now)
	r.runTimers(t)
	switch in.Kind {
	case InPacket:
		r.packet(t, &in)
	case InKey:
		r.keyFound(t, in.Job, in.Key)
		clear(in.Key[:])
	case InKeyLost:
		r.keyLost(in.Job)
	case InForwarding:
		r.forwarding(t, in.Home, in.Failed)
	}
	return r.takeEffects()
}

// Deadline is when Step wants an InTick next; the zero Time if never.
func (r *Router) Deadline() time.Time {
	n, ok := r.timers.First()
	if !ok {
		return time.Time{}
	}
	return r.clock.Moment(n.timer.At())
}

// message says which of LKE's messages a packet is, by the order of tests in which the numbers that others use, too, are
// told apart.
type message uint8

const (
	messageNone message = iota
	messageRequest
	messageUpdate
	messageFinished
	messageNeighbour
)

// Owns reports whether p is for this core: a Key Exchange Request (a mobility header of its type between addresses of which
// one is link-local, whether or not it is acceptable), a Binding Update to a global address of the router, a Finished
// message, or a neighbour solicitation or advertisement on a served link.
func (r *Router) Owns(p *ipv6.Packet) bool { return r.classify(p) != messageNone }

func (r *Router) classify(p *ipv6.Packet) message {
	switch {
	case p.Proto == ipv6.ProtoICMPv6 && len(p.Payload) > 0:
		if t := p.Payload[0]; t != ndp.TypeNeighborSolicit && t != ndp.TypeNeighborAdvert || r.byIndex[p.Interface] == nil {
			return messageNone
		}
		return messageNeighbour
	case p.Proto == ipv6.ProtoMobility && len(p.Payload) > 2:
		switch typ := p.Payload[2]; {
		case typ == r.cfg.CodePoints.KeyExchangeRequest && (p.Src.IsLinkLocalUnicast() || p.Dst.IsLinkLocalUnicast()):
			return messageRequest // with two global addresses it is a Fast Binding Update
		case typ == mobility.TypeBU && r.isOwn(p):
			return messageUpdate
		case typ == r.cfg.CodePoints.Finished && p.HomeAddress.IsValid() && r.isOwn(p):
			return messageFinished // without a home address it is a Fast Neighbor Advertisement
		}
	}
	return messageNone
}

func (r *Router) packet(now pacing.Time, in *Input) {
	p := in.Packet
	if p == nil {
		return
	}
	switch r.classify(p) {
	case messageRequest:
		r.keyExchange(now, in)
	case messageUpdate:
		r.bindingUpdate(now, p)
	case messageFinished:
		r.finished(p)
	case messageNeighbour:
		r.neighbour(r.neighbourTarget(p), p)
	default:
		r.count.add(dropNotOurs)
	}
}

// isOwn reports whether p went to a global address of this router, or to one that it had when the association was made.
func (r *Router) isOwn(p *ipv6.Packet) bool {
	if _, ok := r.own[p.Dst]; ok {
		return true
	}
	home := p.HomeAddress
	if !home.IsValid() {
		home = p.Src
	}
	n := r.nodes[home]
	return n != nil && n.lbsa != nil && n.lbsa.router == p.Dst
}

// Counters gives every counter in a stable order: what the router did, then why it dropped packets.
func (r *Router) Counters(yield func(name string, value uint64)) { r.count.each(yield) }

// Associations gives a copy of every association, without its key, by home address.
func (r *Router) Associations(yield func(Association) bool) {
	for _, home := range r.homes() {
		n := r.nodes[home]
		a := n.lbsa
		v := Association{Home: home, Link: n.link.Name, State: "valid"}
		switch {
		case a == nil && n.dad == nil:
			continue
		case a == nil:
			a, v.State = n.dad.candidate, "dad"
		case a.binding != nil:
			b := a.binding
			v.State, v.CareOf, v.BoundUntil, v.Verified = "bound", b.careOf, r.clock.Moment(b.until), b.verified
		}
		v.Router, v.Node, v.Expires, v.UpdateSeq = a.router, a.source, r.clock.Moment(a.expires), a.updateSeq
		if !yield(v) {
			return
		}
	}
}

// Bound gives the binding of home, if its forwarding stands.
func (r *Router) Bound(home netip.Addr) (Binding, bool) {
	n := r.nodes[home]
	if n == nil || n.lbsa == nil || n.lbsa.binding == nil {
		return Binding{}, false
	}
	return r.binding(n, n.lbsa.binding.careOf), true
}

// homes gives the home addresses in order, so that what is done for all of them does not depend on the map.
func (r *Router) homes() []netip.Addr {
	homes := make([]netip.Addr, 0, len(r.nodes))
	for home := range r.nodes {
		homes = append(homes, home)
	}
	slices.SortFunc(homes, netip.Addr.Compare)
	return homes
}

func (r *Router) runTimers(now pacing.Time) {
	for n, due := r.timers.Due(now); due; n, due = r.timers.Due(now) {
		r.due(now, n)
	}
}

func (r *Router) takeEffects() []Effect {
	effects := r.effects
	r.effects = nil
	return effects
}

func (r *Router) emit(e Effect) {
	if r.effects == nil {
		r.effects, r.spare = r.spare, nil
	}
	r.effects = append(r.effects, e)
}

// Recycle gives back the effects of a step, all carried out, for a later step to use their memory. Nobody has to: it saves
// work for the garbage collector, whose pauses a binding update may meet.
func (r *Router) Recycle(effects []Effect) {
	clear(effects) // a record has a key
	if cap(effects) > cap(r.spare) && cap(effects) <= maxSpare {
		r.spare = effects[:0]
	}
}

// maxSpare bounds what is kept: a step that ends thousands of associations at once is seldom.
const maxSpare = 64

func (r *Router) report(e Event) {
	r.emit(Effect{Kind: EffectReport, Home: e.Home, Event: e})
}

// send sends a whole packet as a frame on link.
func (r *Router) send(link int, dst ipv6.LinkAddr, packet []byte) {
	r.emit(Effect{Kind: EffectSend, Link: link, LinkDst: dst, Packet: packet})
}

// route sends a whole packet by the routing table.
func (r *Router) route(packet []byte) { r.emit(Effect{Kind: EffectSend, Packet: packet}) }
