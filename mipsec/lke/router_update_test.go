package lke_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// labBound gives a lab with one node that is attached, and one that is bound and verified.
func labBound(t *testing.T) (l *routerLab, attached, bound *labHost) {
	l = newRouterLab(t)
	attached, bound = l.host(1), l.host(2)
	attached.attach()
	bound.attach()
	bound.careOf = labAddr("2001:db8:77::cafe")
	l.receive(bound.finished(bound.bind()))
	return l, attached, bound
}

// LKE-AR-21, LKE-resolution-h: each update that is refused is answered with its cause, under the key where the update's own
// authenticator was right, and alters nothing (LKE-resolution-j).
func TestRouterRefusesUpdates(t *testing.T) {
	const unauthenticated = " unauthenticated"
	for _, row := range []struct {
		name    string
		status  int
		seq     int // expected in the answer
		auth    string
		counter string
		change  func(u *labUpdate)
		to      string // where the answer goes, routed to the care-of address if empty
	}{
		{"LKE-AR-19: no association of that home address", 133, 0x1234, unauthenticated, "update_no_association",
			func(u *labUpdate) { u.home = labAddr("2001:db8:1::4711") }, ""},
		{"LKE-AR-19: another address of the router", 133, 0x1234, unauthenticated, "update_no_association",
			func(u *labUpdate) { u.dst = labRouter2 }, ""},
		{"LKE-resolution-j: another key", 128, 0x1234, unauthenticated, "update_bad_mac",
			func(u *labUpdate) { u.key[0] ^= 1 }, ""},
		{"LKE-resolution-j: a changed authenticator", 128, 0x1234, unauthenticated, "update_bad_mac",
			func(u *labUpdate) { u.flipMAC = true }, ""},
		{"LKE-resolution-j: no authenticator", 128, 0x1234, unauthenticated, "update_bad_mac",
			func(u *labUpdate) { u.HasAuth = false }, ""},
		{"LKE-resolution-u: an alternate care-of address", 128, 0x1234, "", "update_alternate_care_of",
			func(u *labUpdate) { u.AlternateCareOf = labAddr("2001:db8:78::1") }, ""},
		{"LKE-resolution-u: the source as alternate care-of address", 128, 0x1234, "", "update_alternate_care_of",
			func(u *labUpdate) { u.AlternateCareOf = u.src }, ""},
		{"LKE-resolution-i: no H flag", 131, 0x1234, "", "update_no_home_flag",
			func(u *labUpdate) { u.Flags = mobility.FlagAck }, ""},
		{"LKE-resolution-u: a care-of address on the served link", 174, 0x1234, "", "update_care_of",
			func(u *labUpdate) { u.src = labAddr("2001:db8:1::99") }, "routed to 2001:db8:1::99"},
		{"LKE-resolution-u: a bound home address as care-of address", 174, 0x1234, "", "update_care_of",
			func(u *labUpdate) { u.src = ipv6.WithEUI64(labAddr("2001:db8:1::"), ipv6.LinkAddr{2, 0, 0, 1, 0, 2}) },
			"routed to 2001:db8:1::ff:fe01:2"},
		{"LKE-resolution-u: an address of the router as care-of address", 174, 0x1234, "", "update_care_of",
			func(u *labUpdate) { u.src = labRouter2 }, "routed to 2001:db8:2::1"},
		{"LKE-resolution-h: a link-local care-of address", 174, 0x1234, "", "update_care_of",
			func(u *labUpdate) { u.src, u.link = labAddr("fe80::1234"), labLink },
			"on 1 to 02:00:00:01:00:01 to fe80::1234"},
		{"LKE-resolution-h: the home address, but from another link", 174, 0x1234, "", "update_care_of",
			func(u *labUpdate) { u.src, u.home, u.Lifetime = u.home, labNone, 0 }, "routed to 2001:db8:1::ff:fe01:1"},
		{"LKE-resolution-h: a deregistration from another address of the served link", 174, 0x1234, "", "update_care_of",
			func(u *labUpdate) { u.src, u.Lifetime = labAddr("2001:db8:1::99"), 0 }, "routed to 2001:db8:1::99"},
	} {
		t.Run(row.name, func(t *testing.T) {
			l, mn, _ := labBound(t)
			before := fmt.Sprint(l.associations(), l.router.Deadline(), l.bound, len(l.saved))
			if row.to == "" {
				row.to = "routed to 2001:db8:77::beef"
			}
			p := mn.update(row.change)
			l.expect(l.receive(p), fmt.Sprintf("BA %d seq %d lifetime 0%s %s", row.status, row.seq, row.auth, row.to))
			if l.counter(row.counter) != 1 {
				t.Errorf("counters %v", l.counters())
			}
			if after := fmt.Sprint(l.associations(), l.router.Deadline(), l.bound, len(l.saved)); after != before {
				t.Errorf("LKE-resolution-j: state changed:\n%s\nwas:\n%s", after, before)
			}
			// The sequence number was not used up: the right update with the same number is taken.
			mn.bu = 0x1234
			mn.bind()
		})
	}
}

// LKE-AR-22: the acknowledgement comes from the router's address that the update went to, names the home address in a type
// 2 routing header (LKE-resolution-f) and is authenticated over source, then destination (LKE-resolution-i).
func TestRouterAcknowledgement(t *testing.T) {
	l, mn, _ := labBound(t)
	p := labParse(t, mn.bind())
	if p.Src != labRouter || p.Dst != mn.careOf || p.RoutingHome != mn.home || p.HomeAddress.IsValid() {
		t.Errorf("%v -> %v by %v", p.Src, p.Dst, p.RoutingHome)
	}
	if !mobility.VerifyBAD(p.Payload, mn.key[:], labRouter, mn.careOf) {
		t.Error("LKE-AR-22, LKE-resolution-i: not authenticated over router | care-of address")
	}
	if mobility.VerifyBAD(p.Payload, mn.key[:], mn.careOf, labRouter) {
		t.Error("LKE-resolution-i: authenticated in RFC 6275's order")
	}
	_ = l
}

// An error whose update was authentic is authenticated, so that the node can follow the sequence number (resolution h).
func TestRouterAuthenticRefusal(t *testing.T) {
	l, mn, bound := labBound(t)
	_ = mn
	stale := bound.update(func(u *labUpdate) { u.Seq = 0x1234 })
	effects := l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: stale})
	p := labParse(t, effects[0].Packet)
	if !mobility.VerifyBAD(p.Payload, bound.key[:], p.Src, p.Dst) {
		t.Error("LKE-resolution-h: status 135 without a right authenticator")
	}
}

// LKE-resolution-i: a missing A flag changes nothing: every update is acknowledged.
func TestRouterAcknowledgesWithoutBeingAsked(t *testing.T) {
	l, mn, _ := labBound(t)
	got := l.receive(mn.update(func(u *labUpdate) { u.Flags = mobility.FlagHome }))
	if len(got) != 5 || got[3] != "BA 0 seq 4660 lifetime 100 finished? routed to 2001:db8:77::beef" {
		t.Errorf("effects %q", got)
	}
}

// LKE-resolution-t, LKE-resolution-h: the sequence number goes up modulo 2^16; what does not is answered with the last one
// accepted, also the very octets of an update that was accepted.
func TestRouterSequenceOfUpdates(t *testing.T) {
	for _, row := range []struct {
		last, next uint16
		taken      bool
	}{
		{5, 6, true}, {5, 5, false}, {5, 4, false}, {5, 5 + 0x7fff, true}, {5, 5 + 0x8000, false}, {0xffff, 0, true}, {0, 0xffff, false},
	} {
		l, mn, _ := labBound(t)
		mn.bu = row.last
		mn.bind()
		mn.bu = row.next
		got := l.receive(mn.update())
		if row.taken != (len(got) > 1) {
			t.Errorf("%#x after %#x: %q", row.next, row.last, got)
		}
		if !row.taken {
			l.expect(got, fmt.Sprintf("BA 135 seq %d lifetime 0 routed to 2001:db8:77::beef", row.last))
		}
	}

	l, mn, _ := labBound(t)
	p := mn.update()
	if len(l.receive(p)) != 5 {
		t.Fatal("not accepted")
	}
	l.expect(l.receive(p), "BA 135 seq 4660 lifetime 0 routed to 2001:db8:77::beef")
	if b, ok := l.router.Bound(mn.home); !ok || b.CareOf != mn.careOf {
		t.Error("the binding was lost")
	}
}

// LKE-resolution-t: the number belongs to the association. An update from before a deregistration stays old, also after a
// restart of the router, and also where the node renewed its association with the same key.
func TestRouterSequenceOutlivesTheBinding(t *testing.T) {
	captured := func(t *testing.T) (*routerLab, *labHost, *ipv6.Packet) {
		l := newRouterLab(t)
		mn := l.host(1)
		mn.attach()
		p := mn.update()
		l.receive(p)
		l.expect(l.receive(mn.update(returning)),
			"unbind "+mn.home.String(), "save "+mn.home.String(),
			"BA 0 seq 4661 lifetime 0 on 1 to "+mn.hw.String()+" to "+mn.home.String())
		return l, mn, p
	}
	t.Run("deregistration", func(t *testing.T) {
		l, _, p := captured(t)
		l.expect(l.receive(p), "BA 135 seq 4661 lifetime 0 routed to 2001:db8:77::beef")
	})
	t.Run("restart", func(t *testing.T) {
		l, _, p := captured(t)
		l.restart()
		l.expect(l.receive(p), "BA 135 seq 4661 lifetime 0 routed to 2001:db8:77::beef")
	})
	t.Run("renewal with the same key", func(t *testing.T) {
		l, mn, p := captured(t)
		l.advance(10 * time.Second)
		mn.attach()
		l.expect(l.receive(p), "BA 135 seq 4661 lifetime 0 routed to 2001:db8:77::beef")
	})
	t.Run("renewal with another key", func(t *testing.T) {
		l, mn, p := captured(t)
		l.advance(10 * time.Second)
		mn.key[3]++
		mn.attach()
		l.expect(l.receive(p), "BA 128 seq 4660 lifetime 0 unauthenticated routed to 2001:db8:77::beef")
		mn.bu = 1 // "The sequence numbers start from a random value"
		mn.bind()
	})
}

// LKE-AR-24: only who has the association's key ends its binding.
func TestRouterDeregistersUnderTheAssociationOnly(t *testing.T) {
	l, _, bound := labBound(t)
	other := l.host(3)
	other.attach()
	for _, p := range []*ipv6.Packet{
		bound.update(func(u *labUpdate) { u.Lifetime, u.key = 0, other.key }),
		bound.update(func(u *labUpdate) { u.Lifetime, u.HasAuth = 0, false }),
		bound.update(returning, func(u *labUpdate) { u.key = other.key }),
		other.update(func(u *labUpdate) { u.Lifetime, u.home = 0, bound.home }),
	} {
		l.receive(p)
		if _, ok := l.router.Bound(bound.home); !ok {
			t.Fatal("LKE-AR-24: the binding ended without its key")
		}
	}
	l.receive(bound.update(func(u *labUpdate) { u.Lifetime = 0 }))
	if _, ok := l.router.Bound(bound.home); ok {
		t.Error("the node's own deregistration from its care-of address was not taken")
	}
	if _, ok := l.bound[bound.home]; ok {
		t.Error("forwarding stands")
	}
}

// LKE-AR-24, and the exception of resolution h: the home address itself deregisters on its own link, with a lifetime or
// without; the answer has no routing header and goes to the station that asked.
func TestRouterDeregistersAtHome(t *testing.T) {
	for _, lifetime := range []uint16{0, 100} {
		l, _, bound := labBound(t)
		p := bound.update(returning, func(u *labUpdate) { u.Lifetime = lifetime })
		effects := l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: p})
		var ack *ipv6.Packet
		for _, e := range effects {
			if e.Kind == lke.EffectSend {
				ack = labParse(t, e.Packet)
			}
		}
		if ack == nil || ack.RoutingHome.IsValid() || ack.Dst != bound.home ||
			!mobility.VerifyBAD(ack.Payload, bound.key[:], labRouter, bound.home) {
			t.Errorf("lifetime %d: acknowledgement %+v", lifetime, ack)
		}
		if _, ok := l.router.Bound(bound.home); ok {
			t.Errorf("lifetime %d: still bound", lifetime)
		}
	}
}

// LKE-AR-20: the lifetime is what was asked for, no more than the configured maximum, and no more than the rest of the
// association, in whole units of 4 s.
func TestRouterBindingLifetime(t *testing.T) {
	for _, row := range []struct {
		asked   uint16
		maximum time.Duration
		after   time.Duration // the start of the association, which lasts 3600 s
		units   uint16
	}{
		{100, time.Hour, time.Minute, 100},
		{65535, time.Hour, time.Minute, (3600 - 60) / 4},
		{65535, time.Hour, 3590 * time.Second, 2},
		{100, 30 * time.Second, time.Minute, 7},
	} {
		l := newRouterLab(t, func(c *lke.RouterConfig) { c.MaxBinding, c.RequestFinished = row.maximum, false })
		mn := l.host(1)
		mn.attach()
		l.advance(row.after - time.Second)
		raw := mn.bind(func(u *labUpdate) { u.Lifetime = row.asked })
		h, _ := mobility.ParseHeader(labParse(t, raw).Payload)
		m, err := mobility.ParseBindingAck(h, mobility.DefaultCodePoints())
		if err != nil || m.Lifetime != row.units {
			t.Errorf("%+v: lifetime %d, want %d (%v)", row, m.Lifetime, row.units, err)
		}
		l.advance(time.Duration(row.units)*4*time.Second - time.Nanosecond)
		if _, ok := l.router.Bound(mn.home); !ok {
			t.Errorf("%+v: the binding ended early", row)
		}
		l.advance(time.Nanosecond)
		if _, ok := l.router.Bound(mn.home); ok {
			t.Errorf("%+v: the binding did not end", row)
		}
	}
	// With less than 4 s left there is nothing to grant.
	l := newRouterLab(t)
	mn := l.host(1)
	mn.attach()
	l.advance(3596 * time.Second)
	l.expect(l.receive(mn.update()), "BA 133 seq 4660 lifetime 0 routed to 2001:db8:77::beef")
}

// LKE-AR-18, LKE-AR-27: when the association expires its binding goes with it.
func TestRouterExpiryEndsTheBinding(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	mn.attach()
	h := mn.home.String()
	l.advance(3 * time.Second)
	l.receive(mn.finished(mn.bind(func(u *labUpdate) { u.Lifetime = 65535 })))
	l.expect(l.advance(2*time.Hour),
		"59m56s: unbind "+h, "59m56s: save "+h, "59m56s: forget "+h, "59m56s: unwatch "+h+" on 1")
	l.expect(l.receive(mn.update()), "BA 133 seq 4661 lifetime 0 unauthenticated routed to 2001:db8:77::beef")

	// Also while the forwarding of an update is being installed.
	l.holdForwarding = true
	mn.attach()
	l.advance(3595 * time.Second)
	l.receive(mn.update(func(u *labUpdate) { u.Lifetime = 1 }))
	l.expect(l.advance(time.Minute),
		"4s: unbind "+h, "4s: forget "+h, "4s: unwatch "+h+" on 1")
	l.expect(l.step(lke.Input{Kind: lke.InForwarding, Home: mn.home}))
	if !l.router.Deadline().IsZero() {
		t.Errorf("deadline %v", l.router.Deadline())
	}
}

// LKE-resolution-j: error acknowledgements that nothing authenticates leave 20 at once and 10 a second, whoever asks; an
// authentic update is answered beside them.
func TestRouterLimitsErrorAcknowledgements(t *testing.T) {
	l, mn, _ := labBound(t)
	stranger := l.host(9)
	sent := 0
	for range 300 {
		for range 10 {
			sent += len(l.receive(stranger.update(func(u *labUpdate) { u.HasAuth = false })))
		}
		l.advance(10 * time.Millisecond)
	}
	if sent != 20+29 {
		t.Errorf("%d error acknowledgements in 3 s, want 20 and 10 a second", sent)
	}
	if l.counter("update_no_association") != 3000 || l.counter("error_ack_rate") != uint64(3000-sent) {
		t.Errorf("counters %v", l.counters())
	}
	mn.bind()

	p := stranger.update()
	if n := testing.AllocsPerRun(20, func() {
		l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: p})
		l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: p})
	}); n != 0 {
		t.Errorf("%v allocations for two updates of a stranger", n)
	}
}

// An update that was captured and is sent again and again makes no stream of authenticated refusals: three a second.
func TestRouterLimitsAuthenticRefusals(t *testing.T) {
	l, mn, _ := labBound(t)
	p := mn.update()
	l.receive(p)
	sent := 0
	for range 200 {
		sent += len(l.receive(p))
		l.advance(10 * time.Millisecond) // 2 s in all
	}
	if sent < 6 || sent > 9 {
		t.Errorf("%d refusals in 2 s, want 3 a second", sent)
	}
	if l.counter("refusal_rate") == 0 {
		t.Errorf("counters %v", l.counters())
	}
}

// What cannot be answered is dropped: an update from no unicast address, one that is malformed, with a routing header, or
// with a wrong checksum. Parameter Problems are sent where RFC 6275 section 9.2 asks for them.
func TestRouterDropsUpdates(t *testing.T) {
	l, mn, _ := labBound(t)
	for _, row := range []struct {
		counter string
		packet  *ipv6.Packet
	}{
		{"update_source", mn.update(func(u *labUpdate) { u.src = labAddr("ff02::1") })},
		{"update_source", mn.update(func(u *labUpdate) { u.src = labAddr("::") })},
		{"update_source", mn.update(func(u *labUpdate) { u.src = labAddr("::1") })},
		{"update_source", mn.update(func(u *labUpdate) { u.src = labAddr("fe80::1") })}, // from an uplink
		{"update_routing_header", mn.update(func(u *labUpdate) {
			u.change = func(h *ipv6.Header) { h.RoutingHome = labAddr("2001:db8:1::99") }
		})},
		{"update_malformed", mn.rawUpdate(func(mh []byte) { mh[13] = 200 })},
		{"mh_bad_checksum", func() *ipv6.Packet {
			p := mn.update()
			p.Payload[7] ^= 1
			return p
		}()},
	} {
		before := l.snapshot(row.counter)
		in := lke.Input{Kind: lke.InPacket, Packet: row.packet}
		l.expectDrop(row.packet, row.counter)
		if n := testing.AllocsPerRun(10, func() { l.router.Step(l.now, in) }); n != 0 {
			t.Errorf("%s: %v allocations", row.counter, n)
		}
		if after := l.snapshot(row.counter); after != before {
			t.Errorf("%s: state changed:\n%s\nwas:\n%s", row.counter, after, before)
		}
	}

	l.expect(l.receive(mn.rawUpdate(func(mh []byte) { mh[0] = 17 })), "ICMPv6 4 code 0 routed")
	if l.counter("mh_bad_payload_proto") != 1 || l.counter("mh_errors_answered") != 1 {
		t.Errorf("counters %v", l.counters())
	}
	for range 100 {
		l.receive(mn.rawUpdate(func(mh []byte) { mh[0] = 17 }))
	}
	if got := l.counter("mh_errors_answered"); got != 20 {
		t.Errorf("%d answers at once, want 20", got)
	}
	mn.bind()
}

// rawUpdate builds an update whose mobility header was changed after signing; only the checksum is right again.
func (h *labHost) rawUpdate(change func(mh []byte)) *ipv6.Packet {
	p := h.update()
	mh := bytes.Clone(p.Payload)
	change(mh)
	out := h.mobility(mh, ipv6.Header{Src: p.Src, Dst: p.Dst, HopLimit: 60, HomeAddress: p.HomeAddress})
	out.Interface = p.Interface
	return out
}

// A node may move from one served link of the router to another: its care-of address there is as good as any.
func TestRouterMoveBetweenServedLinks(t *testing.T) {
	l, mn, _ := labBound(t)
	mn.careOf = labAddr("2001:db8:2::77")
	mn.bind(func(u *labUpdate) { u.link = labLink2 })
	if b, _ := l.router.Bound(mn.home); b.CareOf != mn.careOf {
		t.Errorf("binding %+v", b)
	}
}

// LKE-AR-23 is shown by the ladder; so is that a renewal that runs while the node moves on ends: the association that the
// binding stands on is not replaced.
func TestRouterUpdateEndsARenewal(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	mn.attach()
	l.advance(10 * time.Second)
	_, solicit := mn.exchange(mn.request())
	l.receive(mn.advert(solicit))
	ack := mn.bind()
	if l.counter("dad_address_bound") != 1 {
		t.Errorf("counters %v", l.counters())
	}
	l.advance(time.Second)
	l.receive(mn.finished(ack))
	if a := l.association(mn.home); !a.Verified || a.State != "bound" {
		t.Errorf("association %+v", a)
	}
}

// LKE-resolution-u: a home address that is forwarded itself is nobody's care-of address, or two bindings could make a loop;
// also while its forwarding is only being installed. One that merely has an association may be.
func TestRouterTunnelLoop(t *testing.T) {
	l, mn, _ := labBound(t)
	other := l.host(3)
	other.link, other.router = labLink2, labRouter2
	other.home = ipv6.WithEUI64(labAddr("2001:db8:2::"), other.hw)
	other.attach()
	mn.careOf, other.careOf = other.home, mn.home

	mn.bind() // the node took over other's address, or is behind it
	l.expect(l.receive(other.update()), "BA 174 seq 4660 lifetime 0 routed to "+mn.home.String())
	l.receive(mn.update(func(u *labUpdate) { u.Lifetime = 0 }))

	l.holdForwarding = true
	other.bu = 0x1234
	if got := l.receive(other.update()); len(got) != 2 {
		t.Fatalf("effects %q", got)
	}
	mn.bu = 0x2000
	l.expect(l.receive(mn.update()), "BA 174 seq 8192 lifetime 0 routed to "+other.home.String())
}

// LKE-AR-27: what is over is over also where no tick said so before the packet came.
func TestRouterExpiryBeforeThePacket(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	h := mn.home.String()
	mn.attach()
	l.now = l.now.Add(time.Hour)
	l.expect(l.receive(mn.update()), "forget "+h, "unwatch "+h+" on 1",
		"BA 133 seq 4660 lifetime 0 unauthenticated routed to 2001:db8:77::beef")
}
