package lke_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp"
)

// LKE-AR-12: the solicitation follows the acknowledgement at once. It is a standard one (source ::, to the solicited-node
// group, hop limit 255), and its option 7 names the global address of the acknowledgement.
func TestRouterSolicitsAtOnce(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	ack, raw := mn.exchange(mn.request())
	if ack == nil || raw == nil {
		t.Fatal("LKE-AR-12: not both in one step")
	}
	p := labParse(t, raw)
	if !p.Src.IsUnspecified() || p.Dst != ipv6.SolicitedNode(mn.home) || p.HopLimit != 255 {
		t.Errorf("%v -> %v, hop limit %d", p.Src, p.Dst, p.HopLimit)
	}
	m, reason := ndp.ParseNeighborSolicit(p)
	o, _ := m.Options.Next()
	auth, err := ndp.ParseDADAuth(o)
	if reason != ndp.ReasonNone || err != nil || m.Target != mn.home || o.Type != 7 || auth.Router != labRouter {
		t.Errorf("%v, %v: target %v, option %d names %v", reason, err, m.Target, o.Type, auth.Router)
	}
	if !ndp.VerifyDADAuth(p.Payload, mn.key[:], p.Src, p.Dst, o) {
		t.Error("LKE-AR-12, LKE-resolution-e: the solicitation does not verify under the key")
	}
}

// Any advertisement but a good one invalidates the association at once, whatever came before or comes after it.
func TestRouterInvalidatesAtOnce(t *testing.T) {
	other := netip.MustParseAddr("2001:db8:1::77")
	for _, row := range []struct {
		name, counter string
		change        func(*labAdvert)
	}{
		{"LKE-AR-13: without option 8", "dad_advert_without_reply", func(a *labAdvert) { a.noReply = true }},
		{"LKE-AR-13: without option 8, from another station", "dad_advert_without_reply",
			func(a *labAdvert) { a.noReply, a.hw = true, ipv6.LinkAddr{2, 7, 7, 7, 7, 7} }},
		{"LKE-AR-13: without option 8, solicited by someone", "dad_advert_without_reply",
			func(a *labAdvert) { a.noReply, a.dst, a.solicited = true, labLocal, ndp.FlagSolicited }},
		{"LKE-AR-14: another nonce", "dad_reply_nonce", func(a *labAdvert) { a.nonce++ }},
		{"LKE-AR-14: another router", "dad_reply_router", func(a *labAdvert) { a.router = labRouter2 }},
		{"LKE-AR-14: another key", "dad_reply_mac", func(a *labAdvert) { a.key[15] ^= 1 }},
		{"LKE-AR-14: a changed MAC", "dad_reply_mac", func(a *labAdvert) { a.flipMAC = true }},
		{"LKE-AR-14: another source address", "dad_reply_source", func(a *labAdvert) { a.src = other }},
		{"LKE-AR-14: not multicast", "dad_reply_destination", func(a *labAdvert) { a.dst = labLocal }},
		{"LKE-resolution-s: another link-layer source", "dad_other_link_source",
			func(a *labAdvert) { a.hw = ipv6.LinkAddr{2, 7, 7, 7, 7, 7} }},
		{"too long to be kept", "dad_reply_too_long", func(a *labAdvert) {
			a.after = bytes.Repeat(append([]byte{200, 80}, make([]byte, 638)...), 2)
		}},
	} {
		for _, when := range []string{"first", "after a good one"} {
			t.Run(row.name+", "+when, func(t *testing.T) {
				l := newRouterLab(t)
				mn := l.host(1)
				_, solicit := mn.exchange(mn.request())
				if when != "first" {
					l.expect(l.receive(mn.advert(solicit)))
				}
				l.advance(100 * time.Millisecond)
				l.expect(l.receive(mn.advert(solicit, row.change)), "unwatch "+mn.home.String()+" on 1")
				if got := l.counter(row.counter); got != 1 {
					t.Errorf("counter %s is %d; all: %v", row.counter, got, l.counters())
				}
				if got := l.associations(); got != nil {
					t.Errorf("associations %v", got)
				}
				// A good one that comes later does not bring it back, and the end of the detection saves nothing.
				l.expect(l.receive(mn.advert(solicit)))
				l.expect(l.advance(2 * time.Second))
				// LKE-AR-27: it never authorizes an update.
				l.expect(l.receive(mn.update()), "BA 133 seq 4660 lifetime 0 unauthenticated routed to 2001:db8:77::beef")
			})
		}
	}
}

// Advertisements that are not valid Neighbour Discovery say nothing: they may come from another link.
func TestRouterIgnoresInvalidAdverts(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	_, solicit := mn.exchange(mn.request())

	far := mn.advert(solicit, func(a *labAdvert) { a.noReply = true })
	far.HopLimit = 254
	l.expectDrop(far, "nd_bad_hop_limit")
	broken := mn.advert(solicit, func(a *labAdvert) { a.noReply = true })
	broken.Payload[20] ^= 1 // target and checksum do not match, and nobody has such an address
	l.expectDrop(broken, "nd_other_target")
	broken = mn.advert(solicit, func(a *labAdvert) { a.noReply = true })
	broken.Payload[5] ^= 1
	l.expectDrop(broken, "nd_bad_checksum")
	elsewhere := mn.advert(solicit, func(a *labAdvert) { a.noReply = true })
	elsewhere.Interface = labLink2
	l.expectDrop(elsewhere, "nd_other_link")

	l.receive(mn.advert(solicit))
	l.advance(time.Second)
	if l.association(mn.home).State != "valid" {
		t.Errorf("associations %v", l.associations())
	}
	// After the detection the node's own kernel advertises as it likes.
	l.expectDrop(mn.advert(solicit, func(a *labAdvert) { a.noReply = true }), "nd_advert_not_awaited")
}

// LKE-AR-15, LKE-resolution-l: no advertisement in DupAddrDetectTransmits times RetransTimer, and there is no association.
func TestRouterDetectionWithoutAnswer(t *testing.T) {
	l := newRouterLab(t, func(c *lke.RouterConfig) { c.DADTransmits, c.RetransTimer = 3, 500*time.Millisecond })
	mn := l.host(1)
	h := mn.home.String()
	_, first := mn.exchange(mn.request())
	ns := "NS for " + h + " on 1 to " + ipv6.MulticastLinkAddr(ipv6.SolicitedNode(mn.home)).String()
	l.expect(l.advance(10*time.Second), "500ms: "+ns, "1s: "+ns, "1.5s: unwatch "+h+" on 1")
	if l.counter("dad_unanswered") != 1 || l.associations() != nil || len(l.saved) != 0 {
		t.Errorf("counters %v, associations %v, saved %v", l.counters(), l.associations(), l.saved)
	}

	// An answer between the repetitions makes it valid at their end, not before.
	_, second := mn.exchange(mn.request())
	if bytes.Equal(first, second) {
		t.Error("LKE-resolution-o: two detections have the same nonce")
	}
	l.advance(700 * time.Millisecond)
	l.receive(mn.advert(second))
	l.advance(799 * time.Millisecond)
	if got := l.association(mn.home).State; got != "dad" {
		t.Errorf("state is %q before the end", got)
	}
	l.advance(time.Millisecond)
	if got := l.association(mn.home).State; got != "valid" {
		t.Errorf("state is %q at the end", got)
	}
}

// LKE-resolution-o: the nonce of a detection is drawn again where it is that of the last one for the address.
func TestRouterNonceIsNotRepeated(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	l.nonces(5)
	mn.attach()
	l.advance(10 * time.Second)
	l.nonces(5, 6)
	_, solicit := mn.exchange(mn.request())
	if !bytes.Equal(solicit, solicitation(mn, 6)) {
		t.Error("the nonce 5 was used twice")
	}
	if len(l.rand.script) != 0 {
		t.Errorf("%d octets of randomness are left", len(l.rand.script))
	}
}

// LKE-resolution-m: the router's own solicitation that comes back is no conflict, whether the link-layer source still tells
// whose it is or an access point has put its own there. One that is not the router's own is a conflict.
func TestRouterOwnSolicitationIsNoConflict(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	_, raw := mn.exchange(mn.request())
	back := mn.from(labLink, raw)
	back.LinkSource = labHardware
	l.expectDrop(back, "nd_own_packet")
	relayed := mn.from(labLink, raw)
	relayed.LinkSource = ipv6.LinkAddr{2, 0xaa, 0, 0, 0, 1}
	l.expectDrop(relayed, "nd_nothing_to_defend")
	l.expectDrop(mn.detection(mn.home), "nd_nothing_to_defend") // the node's own detection is none either

	l.receive(mn.advert(raw))
	l.advance(time.Second)
	if l.association(mn.home).State != "valid" {
		t.Errorf("associations %v; %v", l.associations(), l.counters())
	}
}

// A detection by another station while the router's own runs is a conflict (RFC 4862 section 5.4.3), also one that bears
// option 7 and even the right nonce, but not made with the key.
func TestRouterCompetingDetection(t *testing.T) {
	for name, build := range map[string]func(mn, other *labHost) *ipv6.Packet{
		"plain": func(mn, other *labHost) *ipv6.Packet { return other.detection(mn.home) },
		"another nonce": func(mn, other *labHost) *ipv6.Packet {
			return other.from(labLink, solicitation(mn, 1))
		},
		"another key": func(mn, other *labHost) *ipv6.Packet {
			other.home = mn.home
			return other.from(labLink, solicitation(other, 0x01020304))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newRouterLab(t)
			mn, other := l.host(1), l.host(2)
			l.nonces(0x01020304)
			_, raw := mn.exchange(mn.request())
			l.receive(mn.advert(raw))
			l.expect(l.receive(build(mn, other)), "unwatch "+mn.home.String()+" on 1")
			if l.counter("dad_competing_solicit") != 1 || l.associations() != nil {
				t.Errorf("counters %v, associations %v", l.counters(), l.associations())
			}
		})
	}
}

// LKE-AR-16, LKE-AR-17: the first good advertisement is kept and replayed unchanged, as a whole packet with hop limit 255 to
// ff02::1, whenever another station begins a detection.
func TestRouterReplaysTheAdvert(t *testing.T) {
	l := newRouterLab(t)
	mn, other := l.host(1), l.host(2)
	_, solicit := mn.exchange(mn.request())
	first := mn.advert(solicit, func(a *labAdvert) { a.after = ndp.NonceOption(make([]byte, 6)) }) // as SEND puts its own behind
	second := mn.advert(solicit)
	want := bytes.Clone(first.Raw)
	l.receive(first)
	l.receive(second)
	l.advance(time.Second)
	clear(first.Raw) // the driver's buffer is used again

	for range 3 {
		effects := l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: other.detection(mn.home)})
		if len(effects) != 2 || effects[0].Kind != lke.EffectSend || !bytes.Equal(effects[0].Packet, want) ||
			effects[0].LinkDst != (ipv6.LinkAddr{0x33, 0x33, 0, 0, 0, 1}) || effects[0].Link != labLink {
			t.Fatalf("LKE-AR-17: effects %+v", effects)
		}
	}
	if p := labParse(t, want); p.HopLimit != 255 || p.Dst != ipv6.AllNodes() {
		t.Errorf("hop limit %d to %v", p.HopLimit, p.Dst)
	}

	// LKE-resolution-v: not for the node itself, which would fail its own detection.
	l.expectDrop(mn.detection(mn.home), "nd_from_node_itself")
	// The node is here: it answers resolution itself.
	l.expectDrop(other.resolution(mn.home), "nd_nothing_to_defend")
	// Other addresses are none of the router's business.
	l.expectDrop(other.detection(labAddr("2001:db8:1::4711")), "nd_other_target")
}

// LKE-AR-18: the cached advertisement is gone when the association expires, when it is replaced, and after an update.
func TestRouterDropsTheCachedAdvert(t *testing.T) {
	t.Run("expiry", func(t *testing.T) {
		l := newRouterLab(t)
		mn := l.host(1)
		mn.attach()
		l.advance(time.Hour)
		l.expectDrop(l.host(2).detection(mn.home), "nd_other_target")
	})
	t.Run("replacement", func(t *testing.T) {
		l := newRouterLab(t)
		mn := l.host(1)
		mn.attach()
		old := l.saved[mn.home].Advert
		l.advance(10 * time.Second)
		mn.attach()
		effects := l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: l.host(2).detection(mn.home)})
		if len(effects) != 2 || bytes.Equal(effects[0].Packet, old) || !bytes.Equal(effects[0].Packet, l.saved[mn.home].Advert) {
			t.Errorf("the replaced association's advertisement is replayed")
		}
	})
	t.Run("update", func(t *testing.T) {
		l := newRouterLab(t)
		mn := l.host(1)
		mn.attach()
		if l.saved[mn.home].Advert == nil {
			t.Fatal("LKE-AR-16: nothing was kept")
		}
		mn.bind()
		if l.saved[mn.home].Advert != nil {
			t.Error("the saved record still has the advertisement")
		}
		// The proxy answers in its place, until the binding ends; then nobody does.
		l.expect(l.receive(l.host(2).detection(mn.home)),
			"NA O for "+mn.home.String()+" at "+labHardware.String()+" on 1 to 33:33:00:00:00:01")
		l.advance(3 * time.Second)
		l.expectDrop(l.host(2).detection(mn.home), "nd_nothing_to_defend")
	})
	t.Run("a failed update keeps it", func(t *testing.T) {
		l := newRouterLab(t)
		mn := l.host(1)
		mn.attach()
		l.receive(mn.update(func(u *labUpdate) { u.flipMAC = true }))
		if l.saved[mn.home].Advert == nil || l.receive(l.host(2).detection(mn.home)) == nil {
			t.Error("LKE-AR-18: an update that is not authentic removed the advertisement")
		}
	})
}

// LKE-AR-26: while an address is bound the router answers for it on its link (RFC 4861 section 7.2.8): with its own
// link-layer address, without the override flag to who asks, with it to who wants the address; LKE-resolution-v: never to
// the node itself.
func TestRouterAnswersByProxy(t *testing.T) {
	l := newRouterLab(t)
	mn, other := l.host(1), l.host(2)
	mn.attach()
	mn.bind()
	h := mn.home.String()
	l.expect(l.receive(other.resolution(mn.home)),
		"NA S for "+h+" at "+labHardware.String()+" on 1 to "+other.hw.String())
	l.expect(l.receive(other.detection(mn.home)),
		"NA O for "+h+" at "+labHardware.String()+" on 1 to 33:33:00:00:00:01")
	l.expectDrop(mn.detection(mn.home), "nd_from_node_itself")
	l.expectDrop(mn.resolution(mn.home), "nd_from_node_itself")
	elsewhere := other.resolution(mn.home)
	elsewhere.Interface = labLink2
	l.expectDrop(elsewhere, "nd_other_link")
}

// LKE-AR-27: an association that is not valid yet authorizes nothing: neither before the advertisement nor after it.
func TestRouterUpdateBeforeDetectionIsOver(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	_, solicit := mn.exchange(mn.request())
	l.expect(l.receive(mn.update()), "BA 133 seq 4660 lifetime 0 unauthenticated routed to 2001:db8:77::beef")
	l.receive(mn.advert(solicit))
	l.advance(999 * time.Millisecond)
	l.expect(l.receive(mn.update()), "BA 133 seq 4661 lifetime 0 unauthenticated routed to 2001:db8:77::beef")
	l.advance(time.Millisecond)
	mn.bind()
}

// The draft's attack of section 6.4: somebody runs the exchange for the victim's address and waits to take its traffic
// elsewhere. The victim answers the detection like any node, and there is nothing to take.
func TestRouterImpersonationAttack(t *testing.T) {
	l := newRouterLab(t)
	victim, attacker := l.host(1), l.host(2)
	attacker.home = victim.home
	_, solicit := attacker.exchange(attacker.request())
	l.receive(attacker.advert(solicit))
	plainAnswer := victim.advert(solicit, func(a *labAdvert) { a.noReply = true })
	l.expect(l.receive(plainAnswer), "unwatch "+victim.home.String()+" on 1")
	l.advance(time.Second)
	l.expect(l.receive(attacker.update()), "BA 133 seq 4660 lifetime 0 unauthenticated routed to 2001:db8:77::beef")
	if len(l.bound) != 0 {
		t.Errorf("bound %v", l.bound)
	}
}
