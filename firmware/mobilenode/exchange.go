package mobilenode

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/drivers/neighbors"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// exchanger speaks Local Key Exchange.
type exchanger struct {
	*Node
	core   *lke.Node
	inputs []lke.Input // of the step that is going on
}

func newExchanger(n *Node) *exchanger {
	link := n.parts.Station.Link()
	return &exchanger{Node: n, core: lke.NewNode(lke.NodeConfig{
		Link: link.Index, Hardware: link.Hardware, LinkLocal: link.LinkLocal,
		HomeAgent: n.cfg.HomeAgent, HomeAddress: n.cfg.HomeAddress,
		Lifetime: n.cfg.Lifetime, MinBits: n.cfg.minBits(),
		CodePoints: n.cfg.CodePoints, NDCodePoints: n.cfg.NDCodePoints,
		Rand: rand.Reader,
	})}
}

func (x *exchanger) attached() { x.step(lke.Input{Kind: lke.InAttached}) }

func (x *exchanger) detached() {} // what is sent meanwhile is repeated

func (x *exchanger) address(addr netip.Addr, failed bool) {
	x.step(lke.Input{Kind: lke.InAddress, Home: addr, Failed: failed})
}

func (x *exchanger) packet(p *ipv6.Packet) { x.step(lke.Input{Kind: lke.InPacket, Packet: p}) }

func (x *exchanger) asked(neighbors.Ask) {}

func (x *exchanger) tick() { x.step(lke.Input{Kind: lke.InTick}) }

func (x *exchanger) deadline() time.Time { return x.core.Deadline() }

func (x *exchanger) prepare(ipv6.LinkAddr) error {
	return errors.New("a node with Local Key Exchange prepares no moves: attach with -protocol handover-key for that")
}

func (x *exchanger) close() error { return nil }

func (x *exchanger) count(yield func(name string, value uint64)) { x.core.Counters(yield) }

// settled reports whether the node can be reached, and its bindings are acknowledged.
func (x *exchanger) settled() bool {
	s := x.core.State()
	if !s.Attached || !s.Usable {
		return false
	}
	for _, a := range s.Associations {
		if a.State == "updating" || a.State == "leaving" {
			return false
		}
	}
	return true
}

func (x *exchanger) fill(s *Status, now time.Time) {
	state := x.core.State()
	s.Attached = state.Attached && s.Attached
	s.CareOf, s.Usable, s.Router, s.KeyExchange = state.CareOf, state.Usable, state.Router, state.RouterKeyExchange
	s.HomeBound = state.HomeBound
	for _, a := range state.Associations {
		s.Keys = append(s.Keys, Key{
			Home: a.Home, Router: a.Router, State: a.State, CareOf: a.CareOf, Seconds: int(a.Expires.Sub(now) / time.Second),
		})
	}
}

// step gives the core one input and carries out what it answers, and what follows from that in turn.
func (x *exchanger) step(in lke.Input) {
	x.inputs = append(x.inputs, in)
	if len(x.inputs) > 1 {
		return // called from carry: the loop below, further up the stack, takes it
	}
	for i := 0; i < len(x.inputs); i++ {
		for _, e := range x.core.Step(x.parts.Clock(), x.inputs[i]) {
			x.carry(&e)
		}
	}
	x.inputs = x.inputs[:0]
}

func (x *exchanger) carry(e *lke.Effect) {
	switch e.Kind {
	case lke.EffectSend:
		x.send(e)
	case lke.EffectEncrypt:
		x.encrypt(e)
	case lke.EffectConfigure:
		x.configure(e)
	case lke.EffectRelease:
		if err := x.parts.Station.RemoveAddress(e.Home); err != nil {
			x.reporter.complain("leave the link", err)
		}
	case lke.EffectBind:
		x.openTunnel(forward.Binding{Home: e.Binding.Home, Router: e.Binding.Router, CareOf: e.Binding.CareOf, Link: e.Binding.Link})
	case lke.EffectUnbind:
		x.closeTunnel(e.Home)
	case lke.EffectReport:
		x.reporter.event(e.Event)
		x.expect(e.Event)
	}
}

// expect opens the node's end of a tunnel while the binding update is still on its way to the router: packets may come
// back as soon as the acknowledgement. Until then nothing is lost by it, for the address has left the link. Not so with the
// home agent, which goes on sending to the last care-of address: its tunnel changes with the acknowledgement, and takes what
// comes to the new address before.
func (x *exchanger) expect(e lke.Event) {
	if e.Kind != lke.EventUpdated || !e.CareOf.IsValid() || e.CareOf == e.Home {
		return
	}
	if e.Home == x.cfg.HomeAddress {
		x.expectHome(e.Home, e.Router, e.CareOf)
		return
	}
	x.openTunnel(forward.Binding{Home: e.Home, Router: e.Router, CareOf: e.CareOf, Link: x.parts.Station.Link().Index})
}

func (x *exchanger) send(e *lke.Effect) {
	var err error
	if e.Link != 0 {
		err = x.parts.Conn.SendLink(e.Link, e.LinkDst, e.Packet)
	} else {
		err = x.parts.Conn.SendRouted(e.Packet)
	}
	if err != nil {
		x.reporter.complain("send", err)
	}
}

// configure gives the interface its address and its default router. It is asked for again when the router's lifetime is
// renewed; the address is there already then.
func (x *exchanger) configure(e *lke.Effect) {
	if e.Lifetime > 0 {
		if err := x.parts.Station.SetAddress(e.Home); err != nil {
			x.reporter.complain("attach", err)
			x.step(lke.Input{Kind: lke.InAddress, Home: e.Home, Failed: true})
			return
		}
	}
	if err := x.parts.Station.SetRouter(e.Router, e.LinkDst, e.Lifetime); err != nil {
		x.reporter.complain("attach", fmt.Errorf("set the default router: %w", err))
	}
}
