package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// TestThinThread is one node's life with one router: advertisement, key, proof of the address, move, forwarding both ways,
// confirmation, return; and all traces gone with the daemon.
func TestThinThread(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	thinThread(w)
}

func thinThread(w *world) {
	t := w.t
	n := w.node()
	p := w.peer()

	w.awaitAdvert(0, "an advertisement with the LKE capability", func(a advert) bool {
		prefix, told := a.prefixes[lanPrefix]
		// LKE-AR-1, LKE-AR-2, LKE-AR-3: H, the key, a lifetime within the router's; and the router's own address (R).
		return a.HomeAgent && a.capability != nil && a.capability.MaximumLifetime == 7200 && a.capability.MaximumLifetime <= a.Lifetime &&
			control.Fingerprint(a.capability.PublicKey) == w.fingerprint() && told && prefix.Address == routerAddr && prefix.RouterAddress
	})
	w.exchange(n)

	p.send(n, "at home")
	if h := w.nodes.hear(0, "the datagram on the link", datagramTo(n.Home, "at home")); h.to != n.Hardware {
		t.Errorf("the datagram went to %v", h.to)
	}

	w.handover(n)
	w.tunnel(n, p)

	// Back home: the node asks for its binding to end, from its home address on its own link (LKE-AR-24).
	mark := w.nodes.mark()
	away := n.CareOf
	n.CareOf = n.Home
	w.nodes.send(n.Hardware, w.access.Hardware, n.Update(0))
	w.nodes.hear(mark, "the acknowledgement of the deregistration", both(mobilityType(mobility.TypeBA), func(h *heard) bool { return h.Dst == n.Home }))
	w.await("no binding", func(s control.Snapshot) bool { return stateOf(s, n) == "valid" })
	if got := w.installed(); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "route") }) {
		t.Errorf("after the deregistration there is still %v", got)
	}
	w.nodes.attach(n)
	p.send(n, "home again")
	w.nodes.hear(mark, "the datagram on the link again", datagramTo(n.Home, "home again"))

	// And away once more, to see what a stop takes away.
	n.CareOf = away
	w.move(n, 100)
	for _, what := range []string{"route " + n.Home.String() + "/128", "table roamkey", "device rktun0", "journal", "socket"} {
		if got := w.installed(); !slices.Contains(got, what) {
			t.Errorf("%s is not among what is there: %v", what, got)
		}
	}
	mark = w.nodes.mark()
	check(t, w.d.Stop(5*time.Second))
	if got := w.installed(); len(got) > 0 {
		t.Errorf("after the stop there is still %v", got)
	}
	if got := w.farewells(mark); got == 0 {
		t.Error("RFC 4861 section 6.2.5: no final advertisement at a real stop")
	}
}

// exchange is the key exchange and duplicate address detection, message by message.
func (w *world) exchange(n *rig.Node) {
	t := w.t
	mark := w.nodes.mark()
	w.request(n)
	ack := w.nodes.hear(mark, "the Key Exchange Acknowledgement", mobilityType(mobility.DefaultCodePoints().KeyExchangeAck))
	// LKE-AR-5, LKE-AR-8, LKE-resolution-f
	if ack.Src != w.access.Local || ack.Dst != n.Local || ack.to != n.Hardware || ack.HopLimit != 255 || ack.TrafficClass != 0xf0 || ack.RoutingHome != n.Home {
		t.Errorf("acknowledgement from %v to %v (%v), hop limit %d, traffic class %#x, home %v", ack.Src, ack.Dst, ack.to, ack.HopLimit, ack.TrafficClass, ack.RoutingHome)
	}
	header, err := mobility.ParseHeader(ack.Payload)
	check(t, err)
	m, err := mobility.ParseKeyExchangeAck(header, mobility.DefaultCodePoints())
	check(t, err)
	if m.Status != 0 || m.Seq != n.Seq || m.Lifetime != 3600/4 || m.Router != routerAddr {
		t.Errorf("LKE-AR-8: acknowledgement %+v", m)
	}
	if !mobility.VerifyKeyExchangeAck(header.Octets, n.Key[:], ack.Src, ack.Dst, n.Home) {
		t.Error("LKE-AR-8: the acknowledgement does not prove the key")
	}
	solicitation := w.nodes.hear(mark, "the solicitation", both(icmpType(ndp.TypeNeighborSolicit), func(h *heard) bool { return h.Src.IsUnspecified() }))
	if solicitation.at.Sub(ack.at) > 100*time.Millisecond || solicitation.to != ipv6.MulticastLinkAddr(ipv6.SolicitedNode(n.Home)) {
		t.Errorf("LKE-AR-12: solicitation to %v %v after the acknowledgement", solicitation.to, solicitation.at.Sub(ack.at))
	}
	ns, reason := ndp.ParseNeighborSolicit(&solicitation.Packet)
	if reason != ndp.ReasonNone || ns.Target != n.Home {
		t.Fatalf("solicitation for %v: %v", ns.Target, reason)
	}
	options := ns.Options
	option, _ := options.Next()
	if !ndp.VerifyDADAuth(solicitation.Payload, n.Key[:], solicitation.Src, solicitation.Dst, option) {
		t.Error("LKE-AR-12: the solicitation does not prove the key")
	}
	nonce, _ := rig.Nonce(ns)
	if s, _ := w.status(); stateOf(s, n) != "dad" {
		t.Errorf("LKE-AR-27: association is %q before the node has answered", stateOf(s, n))
	}
	w.nodes.attach(n)
	w.nodes.send(n.Hardware, ipv6.MulticastLinkAddr(ipv6.AllNodes()), n.Defend(nonce))
	s := w.await("a valid association", func(s control.Snapshot) bool { return stateOf(s, n) == "valid" }) // LKE-AR-16
	if a := association(s, n); a.Node != n.Hardware.String() || a.Router != routerAddr || a.Link != "lan" {
		t.Errorf("association %+v", a)
	}
}

// handover is the binding, message by message.
func (w *world) handover(n *rig.Node) {
	t := w.t
	away, cell := w.away.mark(), w.nodes.mark()
	w.nodes.detach(n)
	w.fromAway(n.Update(100))
	h, ack := w.acknowledgement(away, n)
	// LKE-AR-20, LKE-AR-22
	if ack.Status != 0 || ack.Lifetime != 100 || !ack.FinishedRequest || h.Src != routerAddr || h.RoutingHome != n.Home {
		t.Errorf("acknowledgement %+v from %v for %v", ack, h.Src, h.RoutingHome)
	}
	if !mobility.VerifyBAD(h.Payload, n.Key[:], h.Src, h.Dst) {
		t.Error("LKE-AR-22, LKE-resolution-i: the acknowledgement does not prove the key")
	}
	announced := w.nodes.hear(cell, "the router's advertisement for the address", both(icmpType(ndp.TypeNeighborAdvert), func(h *heard) bool { return h.Dst == ipv6.AllNodes() }))
	if na, reason := ndp.ParseNeighborAdvert(&announced.Packet); reason != ndp.ReasonNone || na.Target != n.Home || !na.Override || na.TargetLink != w.access.Hardware {
		t.Errorf("advertisement %+v: %v", na, reason)
	}
	w.fromAway(n.Finished(ack)) // LKE-AR-25
	s := w.await("a confirmed binding", func(s control.Snapshot) bool {
		a := association(s, n)
		return a != nil && a.Binding != nil && a.Binding.Verified
	})
	if last := s.Handovers[0]; last.Home != n.Home || last.CareOf != n.CareOf || last.RouterUS <= 0 || last.Finished <= 0 {
		t.Errorf("handover %+v", last)
	}
}

// tunnel is traffic to the node and from it while it is away (LKE-AR-26).
func (w *world) tunnel(n *rig.Node, p *peer) {
	t := w.t
	for i := range 10 {
		text := fmt.Sprintf("follow %d", i)
		mark := w.away.mark()
		p.send(n, text)
		h := w.away.hear(mark, "the datagram in the tunnel", inTunnel(datagramTo(n.Home, text)))
		var inner ipv6.Packet
		ipv6.Parse(h.Payload, &inner)
		if h.Src != routerAddr || h.Dst != n.CareOf || inner.Src != correspondent || inner.HopLimit >= 64 {
			t.Errorf("tunnel packet %v -> %v holds %v -> %v with hop limit %d", h.Src, h.Dst, inner.Src, inner.Dst, inner.HopLimit)
		}
	}
	w.fromAway(tunnelled(n.CareOf, routerAddr, p.datagram(n.Home, "back")))
	if text, from := p.receive(time.Second); text != "back" || from != n.Home {
		t.Errorf("the correspondent has %q from %v", text, from)
	}
	// Only the bound pair of addresses gets out of the tunnel.
	stranger := w.node()
	for what, packet := range map[string][]byte{
		"wrong outer source": tunnelled(stranger.CareOf, routerAddr, p.datagram(n.Home, "forged")),
		"wrong inner source": tunnelled(n.CareOf, routerAddr, p.datagram(stranger.Home, "forged")),
	} {
		before, _ := w.status()
		w.fromAway(packet)
		if text, from := p.receive(200 * time.Millisecond); text != "" {
			t.Errorf("%s: the correspondent has %q from %v", what, text, from)
		}
		after, _ := w.status()
		if moved := changes(before, after); len(moved) == 0 {
			t.Errorf("%s: no counter tells", what)
		}
	}
}

// A restart and a crash are no goodbye: hosts keep their router, and what the next daemon needs is left.
func TestNoGoodbyeWithoutAStop(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(w *world){
		"USR2": func(w *world) {
			check(w.t, w.d.Signal(handOver))
			check(w.t, w.d.Wait(5*time.Second))
		},
		"kill": func(w *world) {
			check(w.t, w.d.Signal(syscall.SIGKILL))
			<-w.d.Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.start()
			n := w.node()
			w.associate(n)
			w.awaitAdvert(0, "an advertisement", func(advert) bool { return true })
			end(w)
			time.Sleep(200 * time.Millisecond) // longer than final advertisements take
			if got := w.farewells(0); got != 0 {
				t.Errorf("%d final advertisements", got)
			}
			if got := w.installed(); !slices.Contains(got, "journal") || !slices.Contains(got, "table roamkey") {
				t.Errorf("only %v is left for the next daemon", got)
			}
			w.restart()
			s := w.await("the association", func(s control.Snapshot) bool { return stateOf(s, n) == "valid" })
			if s.Restart == nil || s.Restart.LBSAs != 1 {
				t.Errorf("restart %+v", s.Restart)
			}
		})
	}
}

// What a crashed daemon left is removed by hand, too.
func TestCleanupAfterACrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	cleanup := func() (string, error) {
		return w.router.Run(5*time.Second, built.roamkeyd, "cleanup", "-c", w.options.Dir+"/config")
	}
	if out, err := cleanup(); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("cleanup beside a daemon that runs: %q, %v", out, err)
	}
	w.d.Kill()
	out, err := cleanup()
	check(t, err)
	if !strings.Contains(out, "removed") || !strings.Contains(out, "table") {
		t.Errorf("cleanup says %q", out)
	}
	if got := w.installed(); slices.Contains(got, "table roamkey") {
		t.Errorf("there is still %v", got)
	}
	if out, err := cleanup(); err != nil || !strings.Contains(out, "nothing to remove") {
		t.Errorf("cleanup again: %q, %v", out, err)
	}
}
