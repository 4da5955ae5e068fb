package lke_test

import (
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// LKE-AR-25: everything in a Finished message has to match: authenticator, nonce, sequence number, lifetime, addresses. What
// does not is dropped without an answer (the number may be a Fast Neighbor Advertisement's) and proves nothing.
func TestRouterRefusesFinished(t *testing.T) {
	for _, row := range []struct {
		name, counter string
		change        func(f *labFinished)
	}{
		{"another key", "finished_bad_mac", func(f *labFinished) { f.key[0] ^= 1 }},
		{"a changed authenticator", "finished_bad_mac", func(f *labFinished) { f.flipMAC = true }},
		{"no authenticator", "mh_bad_header_len", func(f *labFinished) { f.HasAuth = false }},
		{"padding behind the authenticator", "finished_malformed", func(f *labFinished) { f.padded = true }},
		{"another nonce", "finished_nonce", func(f *labFinished) { f.Nonce++ }},
		{"another sequence number", "finished_sequence", func(f *labFinished) { f.Seq++ }},
		{"another lifetime", "finished_lifetime", func(f *labFinished) { f.Lifetime-- }},
		{"from another address", "finished_care_of", func(f *labFinished) { f.src = labAddr("2001:db8:78::1") }},
		{"to another address of the router", "finished_not_bound", func(f *labFinished) { f.dst = labRouter2 }},
		{"of a node that is not bound", "finished_not_bound",
			func(f *labFinished) { f.home = labAddr("2001:db8:1::ff:fe01:1") }},
		{"of nobody", "finished_not_bound", func(f *labFinished) { f.home = labAddr("2001:db8:1::4711") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newRouterLab(t)
			l.host(1).attach()
			mn := l.host(2)
			mn.attach()
			ack := mn.bind()
			p := mn.finished(ack, row.change)
			if !l.router.Owns(p) {
				t.Error("not taken for LKE's")
			}
			before := l.snapshot(row.counter)
			l.expectDrop(p, row.counter)
			if after := l.snapshot(row.counter); after != before {
				t.Errorf("state changed:\n%s\nwas:\n%s", after, before)
			}
			if l.association(mn.home).Verified {
				t.Error("LKE-AR-25: taken for proof")
			}
			l.receive(mn.finished(ack))
			if !l.association(mn.home).Verified {
				t.Errorf("the right one is not taken any more: %v", l.counters())
			}
			// It comes again when the acknowledgement was repeated, and means nothing then.
			l.expectDrop(mn.finished(ack), "finished_not_awaited")
		})
	}
}

// What is no Finished message is left to others: FNA has no home address (code point collision F.2).
func TestRouterLeavesOthersTheirs(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	mn.attach()
	ack := mn.bind()
	fna := mn.finished(ack, func(f *labFinished) { f.home = labNone })
	fbu := mn.request(func(h *ipv6.Header) { h.Src, h.Dst = mn.careOf, labRouter })
	elsewhere := mn.update(func(u *labUpdate) { u.dst = labAddr("2001:db8:99::1") })
	ping := &ipv6.Packet{Proto: ipv6.ProtoICMPv6, Payload: []byte{128, 0}, Interface: labLink}
	uplink := mn.detection(mn.home)
	uplink.Interface = labUplink
	for i, p := range []*ipv6.Packet{fna, fbu, elsewhere, ping, uplink, {Proto: ipv6.ProtoMobility}, {}} {
		if l.router.Owns(p) {
			t.Errorf("packet %d is taken for LKE's", i)
		}
		l.expectDrop(p, "not_lke")
	}
	for i, p := range []*ipv6.Packet{
		mn.request(), mn.update(), mn.finished(ack), mn.detection(mn.home),
		mn.request(func(h *ipv6.Header) { h.Src = mn.careOf }), mn.request(func(h *ipv6.Header) { h.Dst = labRouter }),
	} {
		if !l.router.Owns(p) {
			t.Errorf("packet %d is not taken for LKE's", i)
		}
	}
}

// LKE-resolution-u: Finished is asked for, the acknowledgement is repeated after 1 s and 2 s while it is missing, and after
// 3 s the binding ends: a node that has somebody else's address sent traffic to gets three seconds of it.
func TestRouterUnreachable(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	h := mn.home.String()
	mn.attach()
	ack := mn.bind()
	const again = "BA 0 seq 4660 lifetime 100 finished? routed to 2001:db8:77::beef"
	l.now = l.now.Add(time.Second)
	effects := l.router.Step(l.now, lke.Input{Kind: lke.InTick})
	if len(effects) != 1 || string(effects[0].Packet) != string(ack) {
		t.Errorf("the repeated acknowledgement is not the first one's octets")
	}
	l.expect(l.advance(10*time.Second), "1s: "+again, "2s: unbind "+h, "2s: save "+h)
	if l.counter("bindings_unreachable") != 1 || l.association(mn.home).State != "valid" {
		t.Errorf("%v; %v", l.associations(), l.counters())
	}
	l.expectDrop(mn.finished(ack), "finished_not_bound")
	// The association itself goes on: the node may try again.
	ack = mn.bind()
	l.advance(1500 * time.Millisecond)
	l.receive(mn.finished(ack))
	l.expect(l.advance(time.Minute)) // neither repeated nor ended
	if _, ok := l.router.Bound(mn.home); !ok {
		t.Error("not bound")
	}
}

// Asking again from the same care-of address does not put the end off, and one that was reached already is not asked again.
func TestRouterFinishedAndRefresh(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	mn.attach()
	mn.bind()
	l.advance(2500 * time.Millisecond)
	mn.bind()
	l.advance(499 * time.Millisecond)
	if _, ok := l.router.Bound(mn.home); !ok {
		t.Error("ended early")
	}
	l.advance(time.Millisecond)
	if _, ok := l.router.Bound(mn.home); ok {
		t.Error("LKE-resolution-u: a second update put the end off")
	}

	l.receive(mn.finished(mn.bind()))
	ack := mn.bind()
	if m := labAck(t, ack); m.FinishedRequest || !l.association(mn.home).Verified {
		t.Errorf("a care-of address that was reached is asked again: %+v", m)
	}
	l.expect(l.advance(10 * time.Second))
	mn.careOf = labAddr("2001:db8:78::1")
	if m := labAck(t, mn.bind()); !m.FinishedRequest || l.association(mn.home).Verified {
		t.Errorf("another care-of address is not asked: %+v", m)
	}
}

// The Finished message is optional: without the request a binding stands for its lifetime.
func TestRouterWithoutFinishedRequest(t *testing.T) {
	l := newRouterLab(t, func(c *lke.RouterConfig) { c.RequestFinished = false })
	mn := l.host(1)
	mn.attach()
	ack := mn.bind()
	if m := labAck(t, ack); m.FinishedRequest {
		t.Errorf("acknowledgement %+v", m)
	}
	l.expect(l.advance(time.Minute))
	if _, ok := l.router.Bound(mn.home); !ok {
		t.Error("not bound")
	}
	l.expectDrop(mn.finished(ack), "finished_not_awaited")
}

// A node that refuses the acknowledgement, under its key, ends the binding.
func TestRouterFinishedRefuses(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	h := mn.home.String()
	mn.attach()
	ack := mn.bind()
	l.expect(l.receive(mn.finished(ack, func(f *labFinished) { f.Status = 128 })), "unbind "+h, "save "+h)
	l.expect(l.advance(time.Minute))
	if l.counter("finished_refusing") != 1 {
		t.Errorf("counters %v", l.counters())
	}
}

func labAck(t *testing.T, raw []byte) mobility.BindingAck {
	t.Helper()
	h, err := mobility.ParseHeader(labParse(t, raw).Payload)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mobility.ParseBindingAck(h, mobility.DefaultCodePoints())
	if err != nil {
		t.Fatal(err)
	}
	return m
}
