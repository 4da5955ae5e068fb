package lke_test

import (
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

// LKE-AR-5: priority is sent as 15, and not looked at.
func TestRouterIgnoresThePriorityOfARequest(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	ack, _ := mn.exchange(mn.request(func(h *ipv6.Header) { h.TrafficClass = 0 }))
	p := labParse(t, ack)
	if p.TrafficClass != 0xf0 || p.HopLimit != 255 || p.Src != labLocal || p.Dst != mn.local || p.RoutingHome != mn.home {
		t.Errorf("LKE-AR-5, LKE-AR-8, LKE-resolution-f: acknowledgement %v -> %v by %v, hop limit %d, class %#x",
			p.Src, p.Dst, p.RoutingHome, p.HopLimit, p.TrafficClass)
	}
}

// LKE-AR-8, LKE-resolution-c: the granted lifetime is in units of 4 s, no more than was asked for (in seconds) and no more
// than the maximum. LKE-resolution-n: the router's address is the global one in the prefix of the care-of address.
func TestRouterGrantsLifetime(t *testing.T) {
	for _, row := range []struct {
		asked   uint16
		maximum time.Duration
		units   uint16
	}{
		{3600, 7200 * time.Second, 900},
		{7200, 7200 * time.Second, 1800},
		{65535, 7200 * time.Second, 1800},
		{7, 7200 * time.Second, 1},
		{4, 7200 * time.Second, 1},
		{3600, 30 * time.Second, 7},
		{3600, 0, 900}, // the default maximum is 7200 s
	} {
		t.Run(fmt.Sprintf("%d of %v", row.asked, row.maximum), func(t *testing.T) {
			l := newRouterLab(t, func(c *lke.RouterConfig) { c.MaxLifetime = row.maximum })
			mn := l.host(1)
			mn.ask = row.asked
			raw, _ := mn.exchange(mn.request())
			h, err := mobility.ParseHeader(labParse(t, raw).Payload)
			if err != nil {
				t.Fatal(err)
			}
			ack, err := mobility.ParseKeyExchangeAck(h, mobility.DefaultCodePoints())
			if err != nil || ack.Lifetime != row.units || ack.Seq != 7 || ack.Router != labRouter {
				t.Errorf("acknowledgement %+v, %v; want lifetime %d", ack, err, row.units)
			}
			want := l.now.Add(time.Duration(row.units) * 4 * time.Second)
			if got := l.association(mn.home).Expires; !got.Equal(want) {
				t.Errorf("expires %v, want %v", got, want)
			}
		})
	}
}

// LKE-AR-9, LKE-resolution-k: sequence numbers are compared modulo 2^16, remembered for one maximum lifetime, and a router
// that starts anew takes any.
func TestRouterSequenceOfRequests(t *testing.T) {
	for _, row := range []struct {
		last, next uint16
		taken      bool
	}{
		{7, 8, true}, {7, 7, false}, {7, 6, false}, {7, 7 + 0x7fff, true}, {7, 7 + 0x8000, false},
		{0xffff, 0, true}, {0, 0xffff, false}, {0xfff0, 3, true},
	} {
		l := newRouterLab(t)
		mn := l.host(1)
		mn.seq = row.last
		mn.exchange(mn.request())
		l.advance(time.Minute)
		mn.seq = row.next
		if got := l.receive(mn.request()) != nil; got != row.taken {
			t.Errorf("%#x after %#x: taken %v, want %v", row.next, row.last, got, row.taken)
		}
	}

	l := newRouterLab(t)
	mn := l.host(1)
	mn.exchange(mn.request())
	l.advance(7201 * time.Second)
	mn.seq = 5
	if l.receive(mn.request()) == nil {
		t.Error("LKE-AR-11: an old sequence number is held against a station for longer than one maximum lifetime")
	}

	l = newRouterLab(t)
	mn = l.host(1)
	mn.exchange(mn.request())
	l.reset()
	mn.seq = 2
	if l.receive(mn.request()) == nil {
		t.Error("LKE-resolution-k: after a restart any sequence number is to be taken")
	}
}

// LKE-AR-11: requests that bring no association back off, 3 s, 6 s, ... 48 s; a node that doubles its own interval from 3.2 s
// (LKE-MN-5) is never refused, and one that does not is.
func TestRouterBacksOff(t *testing.T) {
	t.Run("a patient node is never refused", func(t *testing.T) {
		l := newRouterLab(t)
		mn := l.host(1)
		wait := 3200 * time.Millisecond
		for i := range 12 {
			if l.receive(mn.request()) == nil {
				t.Fatalf("request %d was refused: %v", i, l.counters())
			}
			l.advance(wait)
			wait = min(2*wait, 51200*time.Millisecond)
		}
	})
	t.Run("the interval doubles from 3 s to 48 s", func(t *testing.T) {
		l := newRouterLab(t)
		mn := l.host(1)
		l.receive(mn.request())
		for _, interval := range []time.Duration{3, 6, 12, 24, 48, 48, 48} {
			l.advance(interval*time.Second - time.Nanosecond)
			l.expectDrop(mn.request(), "request_rate")
			l.advance(time.Nanosecond)
			l.expect(l.receive(mn.request()), "decrypt for "+mn.hw.String())
		}
	})
	t.Run("a valid association ends it", func(t *testing.T) {
		l := newRouterLab(t)
		mn := l.host(1)
		for _, interval := range []time.Duration{3, 6, 12} {
			l.receive(mn.request())
			l.advance(interval * time.Second)
		}
		mn.attach() // the fourth; 24 s would follow
		l.advance(time.Second)
		l.expectDrop(mn.request(), "request_rate")
		l.advance(time.Second) // 3 s after the request
		l.expect(l.receive(mn.request()), "decrypt for "+mn.hw.String())
		l.advance(2999 * time.Millisecond)
		l.expectDrop(mn.request(), "request_rate")
		l.advance(time.Millisecond)
		l.expect(l.receive(mn.request()), "decrypt for "+mn.hw.String())
	})
	t.Run("a long silence ends it", func(t *testing.T) {
		l := newRouterLab(t)
		mn := l.host(1)
		l.receive(mn.request())
		l.advance(3 * time.Second)
		l.receive(mn.request())           // 6 s follow
		l.advance((6 + 48) * time.Second) // ... and the maximum of silence
		l.receive(mn.request())
		l.advance(3 * time.Second)
		l.expect(l.receive(mn.request()), "decrypt for "+mn.hw.String())
	})
}

// LKE-AR-11: the limit is each pair's own. A spoofer with the victim's link-local address, or one whose requests fail a
// cheap test, does not use up the victim's share.
func TestRouterLimitsEachPair(t *testing.T) {
	l := newRouterLab(t)
	mn, spoofer := l.host(1), l.host(2)
	spoofer.local = mn.local
	if l.receive(spoofer.request()) == nil {
		t.Fatal("the spoofer's own request was refused")
	}
	l.expect(l.receive(mn.request()), "decrypt for "+mn.hw.String())

	l = newRouterLab(t)
	mn = l.host(1)
	for range 100 {
		l.expectDrop(mn.request(func(h *ipv6.Header) { h.HomeAddress = labAddr("2001:db8:dead::1") }), "request_not_in_prefix")
		l.expectDrop(mn.request(func(h *ipv6.Header) { h.HopLimit = 64 }), "request_hop_limit")
	}
	l.expect(l.receive(mn.request()), "decrypt for "+mn.hw.String())
}

// LKE-resolution-q: a station that makes up link-local and home addresses gets four requests in 3 s, and another one in
// every 0.75 s.
func TestRouterLimitsEachStation(t *testing.T) {
	l := newRouterLab(t, func(c *lke.RouterConfig) { c.MaxNodes = 1000 })
	station := l.host(1)
	taken := 0
	for i := range 300 {
		mn := l.host(2 + i)
		mn.hw, mn.seq = station.hw, uint16(i)
		if l.receive(mn.request()) != nil {
			taken++
		}
		l.advance(10 * time.Millisecond)
	}
	if taken != 7 {
		t.Errorf("%d requests of one station in 3 s reached RSA, want 4 and 3", taken)
	}
}

// LKE-resolution-p, LKE-AR-7: the same station may renew. Its old association stays usable until the new one is valid, and
// is gone then.
func TestRouterReplacesAnAssociation(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	mn.attach()
	old := mn.key
	l.advance(10 * time.Second)

	mn.key[0] ^= 0xff
	_, solicit := mn.exchange(mn.request())
	if got := l.associations(); len(got) != 1 || l.association(mn.home).State != "valid" {
		t.Fatalf("associations while the new one is made: %v", got)
	}
	l.receive(mn.advert(solicit))

	// Before the end of the detection the old key counts, and the new one does not.
	l.expect(l.receive(mn.update(func(u *labUpdate) { u.flipMAC = true })),
		"BA 128 seq 4660 lifetime 0 unauthenticated routed to 2001:db8:77::beef")
	l.expect(l.receive(mn.update()), "BA 128 seq 4661 lifetime 0 unauthenticated routed to 2001:db8:77::beef")

	l.expect(l.advance(time.Second), "1s: save "+mn.home.String())
	if got := l.saved[mn.home]; got.Key != mn.key || got.RequestSeq != 8 {
		t.Error("LKE-AR-7: the saved association is not the new one")
	}
	l.expect(l.receive(mn.update(func(u *labUpdate) { u.key = old })),
		"BA 128 seq 4662 lifetime 0 unauthenticated routed to 2001:db8:77::beef")
	mn.bind()
}

// LKE-resolution-p: the old association stays usable also when the new one fails.
func TestRouterKeepsTheOldAssociationWhenTheNewOneFails(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	mn.attach()
	l.advance(10 * time.Second)
	old := mn.key
	mn.key[0] ^= 0xff
	_, solicit := mn.exchange(mn.request())
	l.receive(mn.advert(solicit, func(a *labAdvert) { a.noReply = true }))
	mn.key = old
	if l.association(mn.home).State != "valid" || len(l.watched) != 1 {
		t.Fatalf("associations %v, watched %v", l.associations(), l.watched)
	}
	mn.bind()
}

// LKE-resolution-p: another station gets the address when the association has expired.
func TestRouterGivesAnExpiredAddressToAnother(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	mn.attach()
	next := l.host(2)
	next.home = mn.home
	l.advance(time.Hour - 2*time.Second)
	l.expectDrop(next.request(), "request_other_link_source")
	l.advance(2 * time.Second)
	next.attach()
}

// LKE-resolution-h: where the state changed while RSA ran, the node is told under its key why there is no association.
func TestRouterRefusesAfterRSA(t *testing.T) {
	for _, row := range []struct {
		name   string
		status uint8
		do     func(l *routerLab, mn *labHost)
	}{
		{"LKE-resolution-p: the node bound the address", mobility.StatusProhibited,
			func(_ *routerLab, mn *labHost) { mn.bind() }},
		{"LKE-resolution-w: the link is refused", mobility.StatusProhibited,
			func(l *routerLab, _ *labHost) { l.reconfigure(func(c *lke.RouterConfig) { c.Links[0].Refuse = true }) }},
		{"LKE-resolution-r: the address became a router's", mobility.StatusProhibited, func(l *routerLab, mn *labHost) {
			l.reconfigure(func(c *lke.RouterConfig) { c.Links[0].Routers = []netip.Addr{mn.home} })
		}},
		{"LKE-resolution-r: the prefix was changed", mobility.StatusProhibited, func(l *routerLab, _ *labHost) {
			l.reconfigure(func(c *lke.RouterConfig) {
				c.Links[0].Prefixes = []lke.LinkPrefix{
					{Prefix: netip.MustParsePrefix("2001:db8:5::/64"), Router: labAddr("2001:db8:5::1")},
				}
			})
		}},
		{"fewer nodes are allowed", mobility.StatusResources, func(l *routerLab, mn *labHost) {
			l.reconfigure(func(c *lke.RouterConfig) { c.MaxNodes = 1 })
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newRouterLab(t)
			mn := l.host(1)
			if strings.Contains(row.name, "bound") {
				mn.attach()
				l.advance(10 * time.Second)
			} else {
				l.host(2).attach()
			}
			effects := l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: mn.request()})
			row.do(l, mn)
			before := l.associations()
			ack, solicit := mn.decrypted(labJob(effects))
			if solicit != nil || ack == nil {
				t.Fatalf("solicitation %x, acknowledgement %x", solicit, ack)
			}
			p := labParse(t, ack)
			h, _ := mobility.ParseHeader(p.Payload)
			m, err := mobility.ParseKeyExchangeAck(h, mobility.DefaultCodePoints())
			if err != nil || m.Status != row.status || m.Lifetime != 0 {
				t.Errorf("acknowledgement %+v, %v; want status %d", m, err, row.status)
			}
			if !mobility.VerifyKeyExchangeAck(p.Payload, mn.key[:], p.Src, p.Dst, p.RoutingHome) {
				t.Error("the refusal does not verify under the node's key: the node would give up its association")
			}
			if after := l.associations(); !slices.Equal(before, after) {
				t.Errorf("associations %v, were %v", after, before)
			}
			if l.counter("key_too_late") != 1 {
				t.Errorf("counters %v", l.counters())
			}
		})
	}
}

// A key that comes twice, or for no request, or after a newer request of the same station, does nothing; a decryption that
// the queue dropped leaves no trace.
func TestRouterKeysWithoutRequest(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	l.expect(l.step(lke.Input{Kind: lke.InKey, Job: 99, Key: mn.key}))
	l.expect(l.step(lke.Input{Kind: lke.InKeyLost, Job: 99}))

	first := labJob(l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: mn.request()}))
	l.advance(3 * time.Second)
	second := labJob(l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: mn.request()}))
	if first == 0 || second == 0 || first == second {
		t.Fatalf("jobs %d and %d", first, second)
	}
	l.expect(l.step(lke.Input{Kind: lke.InKey, Job: first, Key: mn.key}))
	if ack, solicit := mn.decrypted(second); ack == nil || solicit == nil {
		t.Error("the newer request was not answered")
	}
	l.expect(l.step(lke.Input{Kind: lke.InKey, Job: second, Key: mn.key}))
	if got := l.counter("key_without_request"); got != 4 {
		t.Errorf("counter is %d, want 4", got)
	}

	other := l.host(2)
	lost := labJob(l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: other.request()}))
	l.expect(l.step(lke.Input{Kind: lke.InKeyLost, Job: lost}))
	if got := l.counter("key_queue_full"); got != 1 {
		t.Errorf("counter is %d, want 1", got)
	}
	l.advance(3 * time.Second)
	other.attach() // the address is free, and its node comes back with the next number

	// A decryption that nobody ever answers for holds its address for a minute, not for ever.
	silent, next := l.host(3), l.host(4)
	next.home = silent.home
	l.receive(silent.request())
	l.advance(59 * time.Second)
	l.expectDrop(next.request(), "request_other_link_source")
	l.advance(time.Second)
	next.attach()
}

// reconfigure changes the configuration, the router's copy of slices included.
func (l *routerLab) reconfigure(change func(*lke.RouterConfig)) []string {
	l.t.Helper()
	l.cfg.Links = slices.Clone(l.cfg.Links)
	change(&l.cfg)
	return l.carryOut(l.router.Reconfigure(l.now, l.cfg))
}
