package fmip_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// The predictive handover of RFC 5568, figure 2: the node leaves after its FBack.
func TestPredictiveHandover(t *testing.T) {
	l := newLab(t)
	l.update(predictive(1))
	l.run(10 * time.Millisecond)
	l.expect(
		"MN FBU from 2001:db8:1::100",
		"PAR hold 2001:db8:1::100 copy=true", // it is forwarded on the old link as well until the tunnel stands
		"PAR HI 0 to 2001:db8:2::1 routed",
		"NAR hold 2001:db8:2::100 copy=false",
		"NAR proxy 2001:db8:2::100",
		"NAR HAck 0 to 2001:db8:1::1 routed",
		"PAR bind 2001:db8:1::100 to 2001:db8:2::100",
		"PAR FBack 0 to 2001:db8:1::100 on 1", // as a frame: the route leads into the tunnel already
		"PAR FBack 0 to 2001:db8:2::100 routed",
		"PAR freeze 2001:db8:1::100", // the node had those packets
	)
	if len(l.acks) != 1 || l.acks[0].Status != 0 || l.acks[0].Seq != 1 || l.acks[0].Lifetime != 30 {
		t.Fatalf("the node got %+v on the old link", l.acks)
	}
	l.move()
	l.data()
	l.run(50 * time.Millisecond)
	l.attach(l.nar, labLink)
	l.una()
	l.run(10 * time.Millisecond)
	l.expect(
		"MN UNA",
		"NAR neighbour 2001:db8:2::100",
		"NAR unproxy 2001:db8:2::100",
		"NAR drain 2001:db8:2::100",
	)
	if len(l.acks) != 2 || l.packets != 1 {
		t.Errorf("the node got %d FBacks and %d packets, want 2 and 1", len(l.acks), l.packets)
	}
	if l.nar.entries[labNew] != nodeLink {
		t.Errorf("neighbour entry %v", l.nar.entries[labNew])
	}
	b, ok := l.par.router.Bound(labHome)
	if !ok || b != (fmip.Binding{Home: labHome, Router: parAddr, CareOf: labNew, Link: labLink}) {
		t.Errorf("binding %+v, %v", b, ok)
	}
	// HK-AR-18: when the forwarding times out the key goes; the lifetime is that of the FBU.
	l.run(29 * time.Second)
	l.expect("PAR discard 2001:db8:1::100") // the copies, which nobody has missed
	l.run(2 * time.Second)
	l.expect("PAR unbind 2001:db8:1::100 expired=true")
	l.wantCounter(l.par, "fast_bindings_expired", 1)
	l.run(2 * time.Minute)
	if len(l.par.saved) != 1 { // the peer's numbers alone
		t.Errorf("left over: %v", l.par.saved)
	}
}

// The reactive handover of figure 3: the FBU comes from the new link, forwarding begins at once.
func TestReactiveHandover(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	l.update(reactive(7))
	l.run(10 * time.Millisecond)
	l.expect(
		"MN FBU from 2001:db8:2::100",
		"PAR bind 2001:db8:1::100 to 2001:db8:2::100",
		"PAR FBack 0 to 2001:db8:2::100 routed",
		"PAR HI 1 to 2001:db8:2::1 routed",
		"NAR HAck 0 to 2001:db8:1::1 routed", // nothing is prepared for HI code 1
	)
	if len(l.acks) != 1 || l.acks[0].Status != 0 || l.acks[0].Seq != 7 {
		t.Fatalf("the node got %+v", l.acks)
	}
	l.wantCounter(l.nar, "arrivals_vouched", 1)
	l.run(5 * time.Second)
	l.expect()
}

// A node that leaves after its FBU but before the FBack: what comes for it is kept from when the radio says so, then sent
// through the tunnel, and kept again by the new router until the node announces itself.
func TestEarlyLeaver(t *testing.T) {
	l := newLab(t)
	keyed(l)
	l.update(predictive(1))
	l.move()
	l.run(labHop) // the FBU arrives
	l.event(l.par, fmip.LinkGone, ipv6.LinkAddr{})
	l.data()
	l.run(10 * time.Millisecond)
	l.expect(
		"MN FBU from 2001:db8:1::100",
		"PAR hold 2001:db8:1::100 copy=true",
		"PAR HI 0 to 2001:db8:2::1 routed",
		"PAR hold 2001:db8:1::100 copy=false",
		"NAR hold 2001:db8:2::100 copy=false",
		"NAR proxy 2001:db8:2::100",
		"NAR HAck 0 to 2001:db8:1::1 routed",
		"PAR bind 2001:db8:1::100 to 2001:db8:2::100",
		"PAR FBack 0 to 2001:db8:2::100 routed",
		"PAR drain 2001:db8:1::100",
	)
	if n := len(l.nar.kept[labNew]); n != 2 { // the FBack, and the data
		t.Errorf("the NAR keeps %d packets, want 2", n)
	}
	// The node sends its FBU again from the new link, with a new number: it supersedes.
	l.attach(l.nar, labLink)
	l.una()
	l.update(reactive(2))
	l.run(10 * time.Millisecond)
	l.expect(
		"MN UNA",
		"MN FBU from 2001:db8:2::100",
		"NAR neighbour 2001:db8:2::100",
		"NAR unproxy 2001:db8:2::100",
		"NAR drain 2001:db8:2::100",
		"PAR bind 2001:db8:1::100 to 2001:db8:2::100",
		"PAR FBack 0 to 2001:db8:2::100 routed",
		"PAR HI 1 to 2001:db8:2::1 routed",
		"NAR HAck 0 to 2001:db8:1::1 routed",
	)
}

// keyed has the PAR learn the node's link-layer address: by an RtSolPr with a key request.
func keyed(l *lab) {
	l.t.Helper()
	l.par.grant = []byte{28, 1, 0, 0, 0, 0, 0, 0}
	l.solicit(solicitation{secured: true, request: true, points: []ipv6.LinkAddr{narPoint}})
	l.run(10 * time.Millisecond)
	if len(l.adverts) != 1 || !l.adverts[0].HasKeyReply {
		l.t.Fatalf("no key: %+v", l.adverts)
	}
	l.trace, l.adverts, l.nonces = nil, nil, nil
}

// The radio says that a node has left before any FBU: its packets are kept for a short time, and go through the tunnel as
// soon as the FBU from the new link comes.
func TestLeaverIsHeldUntilItsUpdate(t *testing.T) {
	l := newLab(t)
	keyed(l)
	l.event(l.par, fmip.LinkLeaving, ipv6.LinkAddr{})
	l.move()
	l.event(l.par, fmip.LinkGone, ipv6.LinkAddr{})
	l.data()
	l.run(100 * time.Millisecond)
	l.attach(l.nar, labLink)
	l.update(reactive(1))
	l.run(10 * time.Millisecond)
	l.expect(
		"PAR hold 2001:db8:1::100 copy=true", // RFC 5568 section 4: buffer and forward
		"PAR hold 2001:db8:1::100 copy=false",
		"MN FBU from 2001:db8:2::100",
		"PAR bind 2001:db8:1::100 to 2001:db8:2::100",
		"PAR FBack 0 to 2001:db8:2::100 routed",
		"PAR drain 2001:db8:1::100",
		"PAR HI 1 to 2001:db8:2::1 routed",
		"NAR HAck 0 to 2001:db8:1::1 routed",
	)
	// Without an FBU they are thrown away after a short time, and nothing is left.
	l = newLab(t)
	keyed(l)
	l.event(l.par, fmip.LinkGone, ipv6.LinkAddr{})
	l.run(3 * time.Second)
	l.expect("PAR hold 2001:db8:1::100 copy=false", "PAR discard 2001:db8:1::100")
	// If the node is back before, it gets them.
	l.event(l.par, fmip.LinkGone, ipv6.LinkAddr{})
	l.run(time.Second)
	l.event(l.par, fmip.LinkAuthorised, ipv6.LinkAddr{})
	l.run(10 * time.Millisecond)
	l.expect("PAR hold 2001:db8:1::100 copy=false", "PAR drain 2001:db8:1::100")
	// A station without a handover key is none of ours.
	delete(l.par.keys, labHome)
	l.event(l.par, fmip.LinkGone, ipv6.LinkAddr{})
	l.run(5 * time.Second)
	l.expect()
}

// A node that returns sends an FBU with lifetime 0; the tunnel ends, the key stays (RFC 5568 section 5.6, HK-AR-17).
func TestReturningNode(t *testing.T) {
	l := newLab(t)
	l.update(predictive(1))
	l.run(10 * time.Millisecond)
	l.trace, l.acks = nil, nil
	l.update(returned(2))
	l.run(10 * time.Millisecond)
	l.expect(
		"MN FBU from 2001:db8:1::100",
		"PAR unbind 2001:db8:1::100 expired=false",
		"PAR discard 2001:db8:1::100",
		"PAR FBack 0 to 2001:db8:1::100 on 1",
	)
	if len(l.acks) != 1 || l.acks[0].Lifetime != 0 || l.acks[0].Seq != 2 {
		t.Errorf("the node got %+v", l.acks)
	}
	if _, ok := l.par.router.Bound(labHome); ok {
		t.Error("still bound")
	}
	if _, ok := l.par.keys[labHome]; !ok {
		t.Error("HK-AR-17: the key is gone")
	}
	// HK-AR-19: the same key serves the next move.
	l.update(predictive(3))
	l.run(10 * time.Millisecond)
	if _, ok := l.par.router.Bound(labHome); !ok {
		t.Error("the next move does not bind")
	}
	// The node may end the binding from its new link, too, but from nowhere else.
	f := reactive(4)
	f.lifetime, f.src = 0, labNew.Next()
	l.update(f)
	l.run(10 * time.Millisecond)
	if _, ok := l.par.router.Bound(labHome); !ok || l.par.counter("update_source") != 1 {
		t.Error("ended from an address where the node is not")
	}
	l.trace = nil
	l.attach(l.nar, labLink)
	f = reactive(5)
	f.lifetime = 0
	l.update(f)
	l.run(10 * time.Millisecond)
	l.expect(
		"MN FBU from 2001:db8:2::100",
		"PAR unbind 2001:db8:1::100 expired=false",
		"PAR discard 2001:db8:1::100",
		"PAR FBack 0 to 2001:db8:2::100 routed",
	)
}

// A node that left before its FBack says so by an FBU from the new link: it gets what was sent to the old one meanwhile. Of one
// that got its FBack nothing is sent twice.
func TestLeaverMissedItsAck(t *testing.T) {
	for _, early := range []bool{false, true} {
		l := newLab(t)
		keyed(l)
		l.update(predictive(1))
		if early {
			l.move()
		}
		l.run(labHop) // the FBU arrives, and no HAck yet
		l.data()
		if !early {
			l.run(10 * time.Millisecond)
			l.move()
		}
		l.run(10 * time.Millisecond)
		had := l.packets
		l.attach(l.nar, labLink)
		l.una()
		if early {
			l.update(reactive(2))
		}
		l.run(3 * time.Second)
		if had != map[bool]int{false: 1, true: 0}[early] || l.packets != 1 {
			t.Errorf("left early %v: the node got the packet %d times, %d of them on the old link", early, l.packets, had)
		}
	}
}

// A new FBU supersedes the binding (RFC 5568 section 5.6), here to another link of the same router, which is PAR and NAR
// at once and needs no HI.
func TestHandoverWithinTheRouter(t *testing.T) {
	l := newLab(t, func(par, _ *fmip.RouterConfig) { par.DADTransmits = -1 })
	l.update(predictive(1))
	l.run(10 * time.Millisecond)
	l.trace = nil
	f := predictive(2)
	f.careOf = labNew2
	l.update(f)
	l.run(10 * time.Millisecond)
	l.expect(
		"MN FBU from 2001:db8:1::100",
		"PAR discard 2001:db8:1::100", // what was copied of the move before
		"PAR hold 2001:db8:1::100 copy=true",
		"PAR hold 2001:db8:11::100 copy=false",
		"PAR proxy 2001:db8:11::100",
		"PAR bind 2001:db8:1::100 to 2001:db8:11::100",
		"PAR FBack 0 to 2001:db8:1::100 on 1",
		"PAR FBack 0 to 2001:db8:11::100 routed",
		"PAR freeze 2001:db8:1::100",
	)
	// Without a change of link there is nothing to forward to.
	f = predictive(3)
	f.careOf = labHome.Next()
	l.update(f)
	l.run(10 * time.Millisecond)
	if last := l.acks[len(l.acks)-1]; last.Status != mobility.StatusUnspecified {
		t.Errorf("status %d for an address on the same link", last.Status)
	}
	if b, _ := l.par.router.Bound(labHome); b.CareOf != labNew2 {
		t.Errorf("a refused update has changed the binding: %v", b)
	}
}

// Each message of the predictive handover may be lost once.
func TestEachMessageLostOnce(t *testing.T) {
	for _, lost := range []string{"PAR HI 0", "NAR HAck 0", "PAR FBack 0"} {
		t.Run(lost, func(t *testing.T) {
			l := newLab(t)
			dropped := false
			l.lose = func(message string) bool {
				if message != lost || dropped {
					return false
				}
				dropped = true
				return true
			}
			l.update(predictive(1))
			l.run(time.Second)
			if !dropped {
				t.Fatal("it was never sent")
			}
			if _, ok := l.par.router.Bound(labHome); !ok {
				t.Fatal("not bound")
			}
			if lost != "PAR FBack 0" {
				l.wantCounter(l.par, "initiates_sent_again", 1)
				if len(l.acks) != 1 {
					t.Errorf("%d acknowledgements", len(l.acks))
				}
				l.wantCounter(l.nar, "arrivals_prepared", 1) // an HI that comes again changes nothing
				return
			}
			// The node asks again: the same update gets the same answer, and does nothing again.
			l.trace = nil
			l.update(predictive(1))
			l.run(10 * time.Millisecond)
			l.expect("MN FBU from 2001:db8:1::100", "PAR FBack 0 to 2001:db8:1::100 on 1")
			if len(l.acks) != 1 || l.acks[0].Seq != 1 || l.acks[0].Lifetime != 30 {
				t.Errorf("the node got %+v", l.acks)
			}
		})
	}
	// The FBU itself: the node sends it again, from the new link if it has left.
	l := newLab(t)
	l.lose = func(message string) bool { return message == "MN FBU" }
	l.update(predictive(1))
	l.run(time.Second)
	l.lose = nil
	l.attach(l.nar, labLink)
	l.update(reactive(1))
	l.run(10 * time.Millisecond)
	if len(l.acks) != 1 {
		t.Errorf("%d acknowledgements", len(l.acks))
	}
}

// HI_RETRIES and the back-off of RFC 5568 section 6.2.1.1: 100 ms, doubled each time. Without any answer the node's packets
// go on where they went, and the node is told.
func TestInitiateUnanswered(t *testing.T) {
	l := newLab(t)
	l.lose = func(message string) bool { return message == "PAR HI 0" }
	start := l.now
	l.update(predictive(1))
	var sent []time.Duration
	for l.now.Sub(start) < 3*time.Second {
		n := l.par.counter("initiates_sent_again")
		l.run(time.Millisecond)
		if l.par.counter("initiates_sent_again") != n {
			sent = append(sent, l.now.Sub(start)-labHop)
		}
	}
	want := []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond}
	if len(sent) != 3 || sent[0] != want[0] || sent[1] != want[1] || sent[2] != want[2] {
		t.Errorf("sent again after %v, want %v", sent, want)
	}
	if len(l.acks) != 1 || l.acks[0].Status != mobility.StatusUnspecified {
		t.Errorf("the node got %+v", l.acks)
	}
	if _, ok := l.par.router.Bound(labHome); ok || len(l.par.held) != 0 {
		t.Error("bound, or held")
	}
	// From its new link the node is served all the same.
	l.attach(l.nar, labLink)
	l.update(reactive(2))
	l.run(10 * time.Millisecond)
	if _, ok := l.par.router.Bound(labHome); !ok {
		t.Error("not bound")
	}
}

// A node that sends the same update from its new link while the new router has not answered yet is there already.
func TestUpdateAgainFromNewLink(t *testing.T) {
	l := newLab(t)
	l.lose = func(message string) bool { return message == "PAR HI 0" }
	l.update(predictive(1))
	l.run(50 * time.Millisecond)
	l.attach(l.nar, labLink)
	l.trace = nil
	f := reactive(1)
	l.update(f)
	l.run(10 * time.Millisecond)
	l.expect(
		"MN FBU from 2001:db8:2::100",
		"PAR bind 2001:db8:1::100 to 2001:db8:2::100",
		"PAR FBack 0 to 2001:db8:2::100 routed",
		"PAR drain 2001:db8:1::100",
	)
}

// An update that overtakes the forwarding of the one before it leaves nothing behind that nobody knows of: if it is
// refused, the older binding stands, and ends.
func TestUpdateOvertakesForwarding(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	l.par.holdForwarding = true
	l.update(reactive(1))
	l.run(5 * time.Millisecond)
	f := reactive(2)
	f.src = netip.MustParseAddr("2001:db8:77::1") // no neighbour's
	l.update(f)
	l.run(5 * time.Millisecond)
	l.wantCounter(l.par, "update_no_neighbor", 1)
	l.step(l.par, fmip.Input{Kind: fmip.InForwarding, Home: labHome})
	if b, ok := l.par.router.Bound(labHome); !ok || b.CareOf != labNew {
		t.Errorf("binding %+v, %v", b, ok)
	}
	l.run(31 * time.Second)
	if len(l.par.bound) != 0 {
		t.Error("what the first update has bound is still there")
	}
	// And if the forwarding of the older one fails, that ends, too.
	l = newLab(t)
	l.attach(l.nar, labLink)
	l.par.holdForwarding = true
	l.update(reactive(1))
	l.update(reactive(2))
	l.run(5 * time.Millisecond)
	l.step(l.par, fmip.Input{Kind: fmip.InForwarding, Home: labHome, Failed: true})
	if len(l.acks) != 0 {
		t.Error("an answer to an update that was overtaken")
	}
	l.step(l.par, fmip.Input{Kind: fmip.InForwarding, Home: labHome})
	l.run(5 * time.Millisecond)
	if len(l.acks) != 1 || l.acks[0].Seq != 2 || l.acks[0].Status != 0 {
		t.Errorf("the node got %+v", l.acks)
	}
}

// Reactive within the router: no HI is needed to know that the node has come.
func TestReactiveWithinTheRouter(t *testing.T) {
	l := newLab(t, func(par, _ *fmip.RouterConfig) { par.DADTransmits = -1 })
	f := predictive(1)
	f.careOf = labNew2
	l.update(f)
	l.run(10 * time.Millisecond)
	l.trace = nil
	f = reactive(2)
	f.src = labNew2
	l.update(f)
	l.run(10 * time.Millisecond)
	l.expect(
		"MN FBU from 2001:db8:11::100",
		"PAR bind 2001:db8:1::100 to 2001:db8:11::100",
		"PAR neighbour 2001:db8:11::100",
		"PAR unproxy 2001:db8:11::100",
		"PAR drain 2001:db8:11::100",
		"PAR FBack 0 to 2001:db8:11::100 routed",
		"PAR drain 2001:db8:1::100", // what was copied until the first update was done
	)
}
