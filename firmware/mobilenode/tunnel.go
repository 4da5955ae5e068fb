package mobilenode

import (
	"net/netip"

	"github.com/roamkey/roamkey/drivers/forward"
)

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

func (n *Node) closeTunnel(home netip.Addr) {
	delete(n.open, home)
	if err := n.parts.Tunnel.Unbind(home); err != nil {
		n.reporter.complain("close the tunnel of "+home.String(), err)
	}
}

// expectHome takes what the home agent may send to a care-of address before its acknowledgement is here.
func (n *Node) expectHome(home, agent, careOf netip.Addr) {
	if err := n.parts.Tunnel.Expect(forward.Binding{Home: home, Router: agent, CareOf: careOf, Link: n.parts.Station.Link().Index}); err != nil {
		n.reporter.complain("open the tunnel from "+agent.String(), err)
	}
}
