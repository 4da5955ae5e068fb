package mobilenode

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/drivers/neighbors"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/neighbor"
	"github.com/roamkey/roamkey/ndp/send"
)

// fastNode speaks SEND, has handover keys, and moves by fast handovers.
type fastNode struct {
	*Node
	link    int
	move    *fmip.Node
	secured *secured
	keys    *handoverKeys

	queue []func() // steps of the machines, in the order in which they came up
	busy  bool

	announced Line // the announcement that is to be told of when it leaves
}

func newFastNode(n *Node) (*fastNode, error) {
	if n.parts.Neighbors == nil {
		return nil, errNoNeighbors
	}
	id, err := newIdentity(n.cfg.SendKey, n.cfg.Sec)
	if err != nil {
		return nil, err
	}
	link := n.parts.Station.Link()
	f := &fastNode{Node: n, link: link.Index}
	if f.secured, err = newSecured(f, id); err != nil {
		return nil, err
	}
	f.keys = newHandoverKeys(f, id)
	f.move = fmip.NewNode(fmip.NodeConfig{
		Link: link.Index, Hardware: link.Hardware, Params: id.params, Sec: id.sec, Keys: f.keys.core,
		SecuredOnly: n.cfg.SecuredOnly, Anchored: n.cfg.Anchors != "",
		HomeAgent: n.cfg.HomeAgent, HomeAddress: n.cfg.HomeAddress, Lifetime: n.cfg.Lifetime, Rand: rand.Reader,
	})
	if n.cfg.Anchors == "" {
		n.reporter.say("warning", "no -anchors: any router that signs is believed, a rogue one, too")
	}
	f.do(func() { f.secured.take(f.move.LinkLocal()) })
	return f, nil
}

func (f *fastNode) now() time.Time { return f.parts.Clock() }

// do carries out a step of a machine, behind those that are under way: what one says is said before what follows from it.
func (f *fastNode) do(step func()) {
	f.queue = append(f.queue, step)
	if f.busy {
		return
	}
	f.busy = true
	for i := 0; i < len(f.queue); i++ {
		f.queue[i]()
	}
	clear(f.queue)
	f.queue, f.busy = f.queue[:0], false
}

func (f *fastNode) attached() {
	f.do(func() {
		// The announcement first: it is being signed while the rest goes on.
		f.stepMove(fmip.NodeInput{Kind: fmip.InAttached})
		f.secured.arrive()
	})
}

func (f *fastNode) detached() { f.do(func() { f.stepMove(fmip.NodeInput{Kind: fmip.InDetached}) }) }

func (f *fastNode) address(netip.Addr, bool) {} // the interface is not asked for any

func (f *fastNode) packet(p *ipv6.Packet) {
	f.do(func() {
		if p.Proto == ipv6.ProtoICMPv6 && len(p.Payload) > 0 {
			f.secured.hear(p)
			return
		}
		f.stepMove(fmip.NodeInput{Kind: fmip.InNodePacket, Packet: p})
	})
}

func (f *fastNode) asked(a neighbors.Ask) {
	if a.Link == f.link {
		f.do(func() { f.secured.ask(a.Addr, a.Missing) })
	}
}

func (f *fastNode) tick() {
	f.do(func() {
		f.secured.tickSecured()
		f.keys.step(handoverkey.NodeInput{Kind: handoverkey.InNodeTick})
		f.stepMove(fmip.NodeInput{Kind: fmip.InNodeTick})
	})
}

func (f *fastNode) deadline() time.Time {
	return sooner(f.secured.deadlineSecured(), sooner(f.keys.core.Deadline(), f.move.Deadline()))
}

func (f *fastNode) prepare(point ipv6.LinkAddr) error {
	if !point.IsUnicast() {
		return fmt.Errorf("%v is no access point's address", point)
	}
	f.do(func() { f.stepMove(fmip.NodeInput{Kind: fmip.InMove, Target: point}) })
	return nil
}

func (f *fastNode) close() error { return nil }

// settled reports whether the node can be reached, and its updates are answered.
func (f *fastNode) settled() bool {
	s := f.move.State()
	if !s.Attached || !s.Usable || s.Confirm || s.HomeBusy {
		return false
	}
	for _, b := range s.Bindings {
		if b.State == "updating" || b.State == "leaving" {
			return false
		}
	}
	return true
}

// heard gives an advertisement that was checked to the machine that moves.
func (f *fastNode) heard(p *ipv6.Packet, security send.Security) {
	f.stepMove(fmip.NodeInput{
		Kind: fmip.InNodePacket, Packet: p, Secured: security.Secured,
		Authorized: security.Authorized || security.Secured && f.cfg.Anchors == "", Covered: security.Prefixes,
	})
}

func (f *fastNode) addressSettled(addr netip.Addr, failed bool) {
	f.stepMove(fmip.NodeInput{Kind: fmip.InAddress, Addr: addr, Failed: failed})
}

// stepMove gives the machine that moves an input.
func (f *fastNode) stepMove(in fmip.NodeInput) {
	for _, e := range f.move.Step(f.now(), in) {
		f.carry(&e)
	}
}

func (f *fastNode) carry(e *fmip.NodeEffect) {
	switch e.Kind {
	case fmip.EffectNodeSend:
		f.sendHeader(e)
	case fmip.EffectNodeSendND:
		f.sendDiscovery(e)
	case fmip.EffectAddress:
		f.secured.take(e.Addr)
	case fmip.EffectRelease:
		f.secured.drop(e.Addr)
	case fmip.EffectDefaultRouter:
		f.setRouter(e)
	case fmip.EffectWantKey:
		f.wantKey(handoverkey.InWanted, e)
	case fmip.EffectUnwantKey:
		f.wantKey(handoverkey.InUnwanted, e)
	case fmip.EffectDiscardKey:
		f.wantKey(handoverkey.InBound, e)
	case fmip.EffectHandover:
		f.wantKey(handoverkey.InHandover, e)
	case fmip.EffectKeyReply:
		in := handoverkey.NodeInput{
			Kind: handoverkey.InReply, Router: e.Router, Home: e.Home, Nonce: append([]byte(nil), e.Nonce...), Secured: e.Secured,
			Authorized: e.Authorized, HasReply: e.HasReply,
			Reply: ndp.Option{Type: e.Reply.Type, Octets: append([]byte(nil), e.Reply.Octets...)},
		}
		f.do(func() { f.keys.step(in) })
	case fmip.EffectTunnel:
		f.openTunnel(forward.Binding{Home: e.Binding.Home, Router: e.Binding.Router, CareOf: e.Binding.CareOf, Link: e.Binding.Link})
	case fmip.EffectUntunnel:
		f.closeTunnel(e.Home)
	case fmip.EffectNodeReport:
		f.tell(e.Event)
	}
}

func (f *fastNode) wantKey(kind handoverkey.NodeInputKind, e *fmip.NodeEffect) {
	in := handoverkey.NodeInput{Kind: kind, Router: e.Router, Home: e.Home}
	f.do(func() { f.keys.step(in) })
}

func (f *fastNode) sendHeader(e *fmip.NodeEffect) {
	var err error
	if e.Link != 0 {
		err = f.parts.Conn.SendLink(e.Link, e.LinkDst, e.Packet)
	} else {
		err = f.parts.Conn.SendRouted(e.Packet)
	}
	if err != nil {
		f.reporter.complain("send", err)
	}
}

// sendDiscovery has a message signed. A key request is known to the keys by its nonce; the announcement is told of when it
// has left, which is later by a signature.
func (f *fastNode) sendDiscovery(e *fmip.NodeEffect) {
	announces := e.Packet[ipv6.HeaderLen] == ndp.TypeNeighborAdvert
	if e.Unsigned {
		f.secured.transmit(e.LinkDst, e.Packet)
		return
	}
	var then func(nonce []byte)
	switch pair, router, home := e.Pair, e.Router, e.Home; {
	case announces:
		if f.announced.Event == "" {
			f.announced.Event = announcing
		}
		then = func([]byte) { f.tellAnnounced() }
	case pair != 0:
		then = func(nonce []byte) {
			in := handoverkey.NodeInput{Kind: handoverkey.InAsked, Router: router, Home: home, Pair: pair, Nonce: append([]byte(nil), nonce...)}
			f.do(func() { f.keys.step(in) })
		}
	}
	f.secured.say(send.Input{Octets: e.Packet, LinkDst: e.LinkDst}, then)
}

// announcing stands for the event of an announcement that is being signed.
const announcing = "announcing"

// tell hands an event on; that of the announcement waits until it has left.
func (f *fastNode) tell(e fmip.NodeEvent) {
	l := Line{
		Time: time.Now(), Event: e.Kind.String(), Home: e.Home, CareOf: e.CareOf, Router: e.Router, Detail: e.Detail,
	}
	if !e.Point.IsZero() {
		l.Point = e.Point.String()
	}
	if e.Kind == fmip.NodeEventAnnounced && f.announced.Event == announcing {
		f.announced = l
		return
	}
	f.reporter.write(l)
	if e.Kind == fmip.NodeEventHomeUpdated {
		f.expectHome(e.Home, e.Router, e.CareOf)
	}
}

func (f *fastNode) tellAnnounced() {
	l := f.announced
	f.announced = Line{}
	if l.Event == fmip.NodeEventAnnounced.String() {
		l.Time = time.Now()
		f.reporter.write(l)
	}
}

// setRouter makes a router the default one. It is known to the neighbours by what told of it.
func (f *fastNode) setRouter(e *fmip.NodeEffect) {
	if err := f.parts.Station.SetRouter(e.Router, e.LinkDst, e.Lifetime); err != nil {
		f.reporter.complain("attach", fmt.Errorf("set the default router: %w", err))
	}
	if e.Lifetime > 0 {
		in := neighbor.Input{Kind: neighbor.InKnown, Addr: e.Router, Neighbour: e.LinkDst, Secured: f.move.State().Secured}
		f.do(func() { f.secured.stepCache(in) })
	}
}

func (f *fastNode) fill(s *Status, now time.Time) {
	state := f.move.State()
	s.Attached = state.Attached && s.Attached
	s.Optimistic = true
	s.CareOf, s.Usable, s.Router, s.Secured = state.CareOf, state.Usable, state.RouterGlobal, state.Secured
	if !s.Router.IsValid() {
		s.Router = state.Router
	}
	s.HomeBound, s.HandoverKey = state.HomeBound, state.Keyed
	s.AccessPoints = state.Points
	if state.Prepared != "" {
		s.Prepared, s.Target, s.Next = state.Prepared, state.Target.String(), state.Next
	}
	f.keys.core.Keys(func(k handoverkey.NodeKey) bool {
		shown := Key{Home: k.Home, Router: k.Router, State: "valid", Seconds: int(k.Expires.Sub(now) / time.Second)}
		for _, b := range state.Bindings {
			if b.Home == k.Home && b.Router == k.Router && b.State != "idle" {
				shown.State, shown.CareOf = b.State, b.CareOf
			}
		}
		s.Keys = append(s.Keys, shown)
		return true
	})
}

func (f *fastNode) count(yield func(name string, value uint64)) {
	f.move.Counters(yield)
	f.keys.core.Counters(yield)
	f.secured.countSecured(yield)
}
