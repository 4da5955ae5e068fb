package fmip_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
)

// Attach: router, address, and the key by an RtSolPr with option 27 (HK-MN-2), which also tells what is nearby.
func TestNodeAttaches(t *testing.T) {
	w := newWalk(t, nil)
	w.plug(w.cells[0])
	w.run(200 * time.Millisecond)
	w.expect(
		"node: RS", "to node: RA", "router-found it signs",
		"address-ready", "node: RtSolPr", "proxy-solicit", "to node: PrRtAdv", "proxy-advert",
	)
	s := w.node.State()
	if !s.Keyed || s.CareOf != w.careOf(w.cells[0]) || s.RouterGlobal != w.cells[0].address || s.Points != 1 || !s.Secured {
		t.Errorf("state %+v", s)
	}
	if w.router != w.cells[0].local || !slices.Equal(w.addresses, []netip.Addr{w.careOf(w.cells[0])}) {
		t.Errorf("default router %v, addresses %v", w.router, w.addresses)
	}
}

// The predictive handover of RFC 5568 figure 2, against this package's routers: the update is acknowledged on the old link,
// the announcement is the first thing that the node says on the new one, and no update is needed there.
func TestNodePredictive(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	w.step(fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point})
	w.run(20 * time.Millisecond)
	w.expect("node: FBU", "fast-update before the move", "router1: bind", "to node: FBack", "fast-ack ready")
	if s := w.node.State(); s.Prepared != "ready" || s.Next != w.careOf(w.cells[1]) || s.CareOf != w.careOf(w.cells[0]) {
		t.Errorf("state %+v", s)
	}
	w.plug(w.cells[1])
	w.run(50 * time.Millisecond)
	w.expect(
		"node: UNA", "announced", "fast-bound", "address-ready as prepared", "node: RS", "router2: drain",
		"to node: RA", "router-found", "node: RtSolPr", "proxy-solicit", "to node: PrRtAdv", "proxy-advert",
	)
	w.follows()
	w.run(time.Second)
	if n := w.counter("announces_sent"); n != 3 {
		t.Errorf("%d announcements", n)
	}
	if n := w.counter("fast_updates_sent"); n != 1 {
		t.Errorf("%d updates", n)
	}
}

// The access point was not told of before: the router is asked (RFC 5568 section 4), and then the update goes out.
func TestNodeAsksForTheTarget(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	w.run(6 * time.Minute) // what was told is too old
	w.advertise(w.cells[0], 1800)
	w.run(time.Second)
	w.trace = nil
	w.step(fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point})
	w.run(20 * time.Millisecond)
	w.expect("node: RtSolPr", "proxy-solicit", "to node: PrRtAdv", "proxy-advert", "node: FBU", "fast-update before the move", "router1: bind", "to node: FBack", "fast-ack")
}

// The node leaves before its acknowledgement: the update comes again, after the announcement (RFC 5568 section 3.2 mode 2).
func TestNodeLeavesEarly(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	w.step(fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point})
	w.plug(w.cells[1])
	w.expect("node: FBU", "fast-update before", "node: UNA", "announced", "node: FBU", "fast-update from the new link", "address-ready as prepared", "node: RS")
	w.run(50 * time.Millisecond)
	if !w.has("fast-bound") {
		t.Errorf("not bound:\n%s", strings.Join(w.trace, "\n"))
	}
	w.follows()
}

// The reactive handover of figure 3: nothing was prepared.
func TestNodeReactive(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	w.plug(w.cells[1])
	w.run(20 * time.Millisecond)
	want := []string{"node: RS", "to node: RA", "router-found", "address-ready", "node: UNA", "announced", "node: FBU", "fast-update from the new link"}
	for i, line := range want {
		if len(w.trace) <= i || !strings.HasPrefix(w.trace[i], line) {
			t.Fatalf("got\n  %s\nwant %s at %d", strings.Join(w.trace, "\n  "), line, i)
		}
	}
	if !w.has("fast-bound") {
		t.Error("not bound")
	}
	w.follows()
}

// Back at the first router the forwarding ends (RFC 5568 section 5.6), and only then the key is asked for again (HK-MN-8).
func TestNodeReturns(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	w.plug(w.cells[1])
	w.run(time.Second)
	w.follows()
	w.trace, w.wanted = nil, nil
	w.plug(w.cells[0])
	w.run(time.Second)
	home := w.careOf(w.cells[0])
	if len(w.cells[0].bound) != 0 || len(w.tunnels) != 0 && w.tunnels[home].Home.IsValid() || !slices.Contains(w.addresses, home) {
		t.Errorf("forwarded %v, tunnels %v, addresses %v", w.cells[0].bound, w.tunnels, w.addresses)
	}
	at := func(line string) int {
		return slices.IndexFunc(w.trace, func(l string) bool { return strings.HasPrefix(l, line) })
	}
	if at("returned") < 0 || at("returned") > at("node: RtSolPr") {
		t.Errorf("HK-MN-8: the key is asked for before the node has returned:\n%s", strings.Join(w.trace, "\n"))
	}
	if want := "want " + w.cells[0].address.String() + " " + home.String(); !slices.Contains(w.wanted, want) {
		t.Errorf("HK-MN-8: keys %v, want %s", w.wanted, want)
	}
}

// A node that does not leave takes its update back: nothing would come to it any more (RFC 5568 section 5.6).
func TestNodeStays(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	w.step(fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point})
	w.run(9 * time.Second)
	if len(w.cells[0].bound) != 1 {
		t.Fatal("not bound")
	}
	w.run(2 * time.Second)
	if !w.has("handover-stopped the node did not leave") || !w.has("returned") || len(w.cells[0].bound) != 0 {
		t.Errorf("%v\n%s", w.cells[0].bound, strings.Join(w.trace, "\n"))
	}
}

// Each message can be lost once, in each kind of handover, and the traffic follows all the same.
func TestNodeEachMessageLostOnce(t *testing.T) {
	for _, how := range []string{"predictive", "early", "reactive"} {
		for _, message := range []string{"RS", "RA", "RtSolPr", "PrRtAdv", "FBU", "FBack", "HI", "HAck", "UNA"} {
			t.Run(how+" "+message, func(t *testing.T) {
				w := newWalk(t, nil)
				lost := 0
				w.settled()
				w.lose = func(m string) bool {
					if m == message && lost == 0 {
						lost++
						return true
					}
					return false
				}
				switch how {
				case "predictive":
					w.step(fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point})
					w.run(2 * time.Second)
					if s := w.node.State(); s.Prepared != "ready" {
						t.Fatalf("not ready: %+v\n%s", s, strings.Join(w.trace, "\n"))
					}
				case "early":
					w.step(fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point})
				}
				w.plug(w.cells[1])
				w.run(10 * time.Second)
				w.follows()
				if !w.node.State().Keyed {
					t.Error("no key at the new router")
				}
				if n := w.counter("fast_updates_unanswered"); n != 0 {
					t.Errorf("%d updates given up", n)
				}
			})
		}
	}
}

// Instead of the router that was prepared the node meets another one, or the old one again.
func TestNodeArrivesElsewhere(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	w.step(fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point})
	w.run(20 * time.Millisecond)
	w.unplug()
	w.plug(w.cells[0])
	w.run(3 * time.Second)
	if s := w.node.State(); s.CareOf != w.careOf(w.cells[0]) || !s.Usable || len(w.cells[0].bound) != 0 || len(w.tunnels) != 0 {
		t.Errorf("state %+v, forwarded %v, tunnels %v", s, w.cells[0].bound, w.tunnels)
	}

	w = newWalk(t, nil)
	third := newCell(3)
	w.settled()
	w.step(fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point})
	w.run(20 * time.Millisecond)
	w.unplug()
	w.mute, w.at, w.trace = true, third, nil
	w.step(fmip.NodeInput{Kind: fmip.InAttached})
	p := &ipv6.Packet{}
	ipv6.Parse(advertPacket(third, ipv6.AllNodes(), 1800), p)
	p.Interface, p.LinkSource = walkLink, third.hw
	w.hear(p)
	w.run(20 * time.Millisecond)
	careOf := w.careOf(third)
	if s := w.node.State(); s.CareOf != careOf || s.RouterGlobal != third.address {
		t.Errorf("state %+v", s)
	}
	if got := w.tunnels[w.careOf(w.cells[0])]; got.CareOf != careOf {
		t.Errorf("the tunnel ends at %v, want %v", got.CareOf, careOf)
	}
	if !w.has("fast-update from the new link") {
		t.Errorf("no reactive update:\n%s", strings.Join(w.trace, "\n"))
	}
}

// Without a home agent the forwarding goes on as long as it is wanted: the update is refreshed before its end.
func TestNodeRefreshes(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	w.plug(w.cells[1])
	for range 5 {
		w.run(time.Minute)
		w.advertise(w.cells[1], 1800)
	}
	w.follows()
	if n := w.counter("fast_updates_acknowledged"); n < 5 {
		t.Errorf("%d updates", n)
	}
	// When the key has ended, so does the forwarding.
	delete(w.keys, [2]netip.Addr{w.cells[0].address, w.careOf(w.cells[0])})
	w.run(3 * time.Minute)
	if len(w.tunnels) != 0 || len(w.node.State().Bindings) != 0 {
		t.Errorf("tunnels %v, state %+v", w.tunnels, w.node.State().Bindings)
	}
}

// A node that has given its key up, and is back before the forwarding has ended, asks for the key first: it must not assume
// the old one (HK-MN-8).
func TestNodeReturnsWithoutItsKey(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	w.plug(w.cells[1])
	w.run(time.Second)
	home := w.careOf(w.cells[0])
	delete(w.keys, [2]netip.Addr{w.cells[0].address, home})
	w.trace = nil
	w.plug(w.cells[0])
	w.run(time.Second)
	at := func(line string) int {
		return slices.IndexFunc(w.trace, func(l string) bool { return strings.HasPrefix(l, line) })
	}
	if at("returned") < at("node: RtSolPr") || at("node: RtSolPr") < 0 || len(w.cells[0].bound) != 0 {
		t.Errorf("forwarded %v:\n%s", w.cells[0].bound, strings.Join(w.trace, "\n"))
	}
}

// From the second router to a third the first one is told, too, where the node is now.
func TestNodeMovesOn(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	w.plug(w.cells[1])
	w.run(time.Second)
	third := newCell(3)
	w.unplug()
	w.mute, w.at, w.trace = true, third, nil
	w.step(fmip.NodeInput{Kind: fmip.InAttached})
	p := &ipv6.Packet{}
	ipv6.Parse(advertPacket(third, ipv6.AllNodes(), 1800), p)
	p.Interface, p.LinkSource = walkLink, third.hw
	w.hear(p)
	w.run(20 * time.Millisecond)
	for _, c := range w.cells {
		if got := w.tunnels[w.careOf(c)]; got.Router != c.address || got.CareOf != w.careOf(third) {
			t.Errorf("%s: the node's end of the tunnel is %+v", c.name, got)
		}
	}
}

// A link that goes and comes while the key is asked for costs the key no more than the time that it was away.
func TestNodeAsksOnAfterAGap(t *testing.T) {
	w := newWalk(t, nil)
	w.lose = func(m string) bool { return m == "PrRtAdv" }
	w.plug(w.cells[0])
	w.run(100 * time.Millisecond)
	w.lose = nil
	w.plug(w.cells[0])
	w.run(100 * time.Millisecond)
	if !w.node.State().Keyed {
		t.Errorf("no key:\n%s", strings.Join(w.trace, "\n"))
	}
}
