package lke_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// labEvents runs f and gives the kinds of the events that it made, with the last of them.
func (l *routerLab) events(inputs ...lke.Input) (kinds []string, last lke.Event) {
	l.t.Helper()
	for len(inputs) > 0 {
		in := inputs[0]
		inputs = inputs[1:]
		for _, e := range l.router.Step(l.now, in) {
			switch e.Kind {
			case lke.EffectReport:
				kinds, last = append(kinds, e.Event.Kind.String()), e.Event
			case lke.EffectDecrypt:
				inputs = append(inputs, lke.Input{Kind: lke.InKey, Job: e.Job, Key: l.host(1).key})
			case lke.EffectBind:
				inputs = append(inputs, lke.Input{Kind: lke.InForwarding, Home: e.Home})
			}
		}
	}
	return kinds, last
}

// What an operator sees of a handover, in its order.
func TestRouterEvents(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	packet := func(p *ipv6.Packet) lke.Input { return lke.Input{Kind: lke.InPacket, Packet: p} }
	expect := func(what string, want lke.Event, kinds ...string) func([]string, lke.Event) {
		return func(got []string, last lke.Event) {
			t.Helper()
			last.Kind, last.Detail = 0, ""
			if !slices.Equal(got, kinds) || last != want {
				t.Errorf("%s: %q, last %+v, want %q, %+v", what, got, last, kinds, want)
			}
		}
	}
	here := lke.Event{Home: mn.home, Router: labRouter, Node: mn.hw, Link: labLink}
	away := here
	away.CareOf = labCareOf
	tick := lke.Input{Kind: lke.InTick}

	l.nonces(1)
	expect("exchange", here, "key-request", "key-ack", "dad-start")(l.events(packet(mn.request())))
	l.events(packet(mn.advert(solicitation(mn, 1))))
	l.now = l.now.Add(time.Second)
	expect("detection", here, "lbsa-valid")(l.events(tick))
	expect("replay", here, "advert-replayed")(l.events(packet(l.host(2).detection(mn.home))))
	expect("refusal", away, "update-refused")(l.events(packet(mn.update(func(u *labUpdate) { u.flipMAC = true }))))
	l.nonces(9)
	expect("update", away, "binding-update", "bound")(l.events(packet(mn.update())))
	l.now = l.now.Add(3 * time.Second)
	expect("silence", away, "unreachable")(l.events(tick))
	expect("deregistration", lke.Event{})(l.events(packet(mn.update(returning)))) // nothing was bound
	l.nonces(9)
	l.events(packet(mn.update()))
	expect("deregistration", away, "unbound")(l.events(packet(mn.update(returning))))
	l.now = l.now.Add(time.Hour)
	expect("expiry", here, "lbsa-expired")(l.events(tick))
	l.nonces(2)
	mn.seq = 99
	l.events(packet(mn.request()))
	expect("conflict", here, "dad-failed")(l.events(packet(mn.advert(solicitation(mn, 2), func(a *labAdvert) { a.noReply = true }))))
}

type brokenRand struct{}

func (brokenRand) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

// Without randomness there is no nonce, and so no detection, and no binding that asks for a Finished message.
func TestRouterWithoutRandomness(t *testing.T) {
	l := newRouterLab(t, func(c *lke.RouterConfig) { c.Rand = brokenRand{} })
	mn := l.host(1)
	ack, solicit := mn.exchange(mn.request())
	if ack != nil || solicit != nil || l.associations() != nil || len(l.watched) != 0 || l.counter("no_randomness") != 1 {
		t.Errorf("acknowledgement %x, solicitation %x, %v", ack, solicit, l.counters())
	}

	l, mn, _ = labBound(t)
	l.cfg.Rand = brokenRand{}
	l.reconfigure(func(*lke.RouterConfig) {})
	l.expect(l.receive(mn.update()), "BA 130 seq 4660 lifetime 0 routed to 2001:db8:77::beef")
	if a := l.association(mn.home); a.State != "valid" || a.UpdateSeq != 0 {
		t.Errorf("association %+v", a)
	}
}

// LKE-resolution-n: where the care-of address's prefix has no address of the router in it, another global one of the link is
// named; updates to it are taken, also when the configuration has lost it since.
func TestRouterNamesAnotherAddress(t *testing.T) {
	l := newRouterLab(t, func(c *lke.RouterConfig) {
		c.Links[0].Prefixes = []lke.LinkPrefix{
			{Prefix: netip.MustParsePrefix("2001:db8:1::/64")},
			{Prefix: netip.MustParsePrefix("2001:db8:6::/64"), Router: labAddr("2001:db8:6::1")},
		}
	})
	mn := l.host(1)
	mn.router = labAddr("2001:db8:6::1")
	mn.attach()
	if got := l.association(mn.home).Router; got != mn.router {
		t.Fatalf("router %v", got)
	}
	l.reconfigure(func(c *lke.RouterConfig) { c.Links[0].Prefixes = c.Links[0].Prefixes[:1] })
	if !l.router.Owns(mn.update()) {
		t.Error("an update to the address of the association is not taken for LKE's")
	}
	mn.bind()

	// Without any address there is nothing to name.
	l = newRouterLab(t, func(c *lke.RouterConfig) {
		c.Links[0].Prefixes = []lke.LinkPrefix{{Prefix: netip.MustParsePrefix("2001:db8:1::/64")}}
	})
	mn = l.host(1)
	if ack, solicit := mn.exchange(mn.request()); ack != nil || solicit != nil || l.associations() != nil {
		t.Errorf("acknowledgement %x, solicitation %x", ack, solicit)
	}
}

// The numbers that collide with IANA's can be configured (code-point collisions F.2 and F.3).
func TestRouterOtherCodePoints(t *testing.T) {
	cp := mobility.CodePoints{
		KeyExchangeRequest: 208, KeyExchangeAck: 209, Finished: 210, OptLifetime: 203, OptRouter: 204, OptHMAC: 205, OptFinishedRequest: 206,
	}
	l := newRouterLab(t, func(c *lke.RouterConfig) {
		c.CodePoints = cp
		c.NDCodePoints.Capability, c.NDCodePoints.AuthRequest, c.NDCodePoints.AuthReply = 216, 217, 218
	})
	mn := l.host(1)
	if l.router.Owns(mn.request()) {
		t.Error("the default number is still taken")
	}
	mh := mobility.KeyExchangeRequest{Seq: 1, Data: make([]byte, labModulus), Lifetime: 3600}.Append(nil, cp)
	p := mn.mobility(mh, ipv6.Header{Src: mn.local, Dst: labLocal, HopLimit: 255, HomeAddress: mn.home})
	effects := l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: p})
	effects = l.router.Step(l.now, lke.Input{Kind: lke.InKey, Job: labJob(effects), Key: mn.key})
	ack := labParse(t, effects[0].Packet).Payload
	if ack[2] != 209 || ack[12] != 204 || ack[32] != 205 {
		t.Errorf("acknowledgement %x", ack)
	}
	for _, e := range effects {
		if e.Kind == lke.EffectSend && labParse(t, e.Packet).Proto == ipv6.ProtoICMPv6 && labParse(t, e.Packet).Payload[24] != 217 {
			t.Errorf("solicitation %x", e.Packet)
		}
	}
}

// Nothing that can be printed holds a key.
func TestRouterKeysAreNotPrinted(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	mn.attach()
	rec := l.saved[mn.home]
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{&rec, rec, lke.Effect{Kind: lke.EffectSave, Record: &rec}, lke.Input{Kind: lke.InKey, Key: mn.key}} {
			if s := fmt.Sprintf(format, v); strings.Contains(s, "176 177 178") || strings.Contains(s, "b0b1b2") ||
				strings.Contains(s, "0xb0, 0xb1") || strings.Contains(s, string(mn.key[:])) {
				t.Errorf("%s of %T shows the key", format, v)
			}
		}
	}
}
