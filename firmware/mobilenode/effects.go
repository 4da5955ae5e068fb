package mobilenode

import (
	"fmt"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// step gives the core one input and carries out what it answers, and what follows from that in turn.
func (n *Node) step(in lke.Input) {
	n.inputs = append(n.inputs, in)
	if len(n.inputs) > 1 {
		return // called from carry: the loop below, further up the stack, takes it
	}
	for i := 0; i < len(n.inputs); i++ {
		for _, e := range n.core.Step(n.parts.Clock(), n.inputs[i]) {
			n.carry(&e)
		}
	}
	n.inputs = n.inputs[:0]
}

func (n *Node) carry(e *lke.Effect) {
	switch e.Kind {
	case lke.EffectSend:
		n.send(e)
	case lke.EffectEncrypt:
		n.encrypt(e)
	case lke.EffectConfigure:
		n.configure(e)
	case lke.EffectRelease:
		if err := n.parts.Station.RemoveAddress(e.Home); err != nil {
			n.reporter.complain("leave the link", err)
		}
	case lke.EffectBind:
		n.openTunnel(forward.Binding{Home: e.Binding.Home, Router: e.Binding.Router, CareOf: e.Binding.CareOf, Link: e.Binding.Link})
	case lke.EffectUnbind:
		delete(n.open, e.Home)
		if err := n.parts.Tunnel.Unbind(e.Home); err != nil {
			n.reporter.complain("close the tunnel of "+e.Home.String(), err)
		}
	case lke.EffectReport:
		n.reporter.event(e.Event)
		n.prepare(e.Event)
	}
}

// prepare opens the node's end of a tunnel while the binding update is still on its way to the router: packets may come
// back as soon as the acknowledgement. Until then nothing is lost by it, for the address has left the link. Not so with the
// home agent, which goes on sending to the last care-of address: its tunnel changes with the acknowledgement.
func (n *Node) prepare(e lke.Event) {
	if e.Kind != lke.EventUpdated || e.Home == n.cfg.HomeAddress || !e.CareOf.IsValid() || e.CareOf == e.Home {
		return
	}
	n.openTunnel(forward.Binding{Home: e.Home, Router: e.Router, CareOf: e.CareOf, Link: n.parts.Station.Link().Index})
}

func (n *Node) openTunnel(b forward.Binding) {
	if n.open[b.Home] == b {
		return
	}
	if err := n.parts.Tunnel.Bind(b); err != nil {
		delete(n.open, b.Home)
		n.reporter.complain("open the tunnel from "+b.Router.String(), err)
		return
	}
	n.open[b.Home] = b
	n.reporter.tunnel(b)
}

func (n *Node) send(e *lke.Effect) {
	var err error
	if e.Link != 0 {
		err = n.parts.Conn.SendLink(e.Link, e.LinkDst, e.Packet)
	} else {
		err = n.parts.Conn.SendRouted(e.Packet)
	}
	if err != nil {
		n.reporter.complain("send", err)
	}
}

// configure gives the interface its address and its default router. It is asked for again when the router's lifetime is
// renewed; the address is there already then.
func (n *Node) configure(e *lke.Effect) {
	if e.Lifetime > 0 {
		if err := n.parts.Station.SetAddress(e.Home); err != nil {
			n.reporter.complain("attach", err)
			n.step(lke.Input{Kind: lke.InAddress, Home: e.Home, Failed: true})
			return
		}
	}
	if err := n.parts.Station.SetRouter(e.Router, e.LinkDst, e.Lifetime); err != nil {
		n.reporter.complain("attach", fmt.Errorf("set the default router: %w", err))
	}
}
