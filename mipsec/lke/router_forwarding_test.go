package lke_test

import (
	"testing"
	"time"

	"github.com/roamkey/roamkey/mipsec/lke"
)

// LKE-AR-21: where forwarding cannot be installed the node is told so, under its key, and nothing is forwarded any more.
func TestRouterForwardingFails(t *testing.T) {
	l, mn, bound := labBound(t)
	l.failForwarding = true
	h := mn.home.String()
	l.expect(l.receive(mn.update()),
		"save "+h, "bind "+h+" to 2001:db8:77::beef", "unbind "+h, "save "+h,
		"BA 130 seq 4660 lifetime 0 routed to 2001:db8:77::beef")
	if l.association(mn.home).State != "valid" || l.saved[mn.home].Advert == nil {
		t.Error("the association or its advertisement was lost with the forwarding")
	}

	// A refresh that fails takes the old forwarding with it: the node knows that nothing is forwarded.
	h = bound.home.String()
	l.expect(l.receive(bound.update()),
		"save "+h+" bound to 2001:db8:77::cafe", "bind "+h+" to 2001:db8:77::cafe", "unbind "+h, "save "+h,
		"BA 130 seq 4661 lifetime 0 routed to 2001:db8:77::cafe")
	if _, ok := l.router.Bound(bound.home); ok || len(l.bound) != 0 {
		t.Error("still bound")
	}

	// An answer that never comes counts as a failure.
	l.failForwarding, l.holdForwarding = false, true
	h = mn.home.String()
	l.receive(mn.update())
	l.expect(l.advance(10*time.Second),
		"5s: unbind "+h, "5s: save "+h, "5s: BA 130 seq 4661 lifetime 0 routed to 2001:db8:77::beef")
	l.expect(l.step(lke.Input{Kind: lke.InForwarding, Home: mn.home}))
	if l.counter("forwarding_not_awaited") != 1 {
		t.Errorf("counters %v", l.counters())
	}
	l.holdForwarding = false
	mn.bind()
}

// An update that overtakes: while forwarding to one care-of address is installed the node moves on. The answers come in
// order; only the newest update is acknowledged, and only when its own forwarding stands.
func TestRouterUpdateOvertakesForwarding(t *testing.T) {
	l, mn, _ := labBound(t)
	l.holdForwarding = true
	h := mn.home.String()
	l.expect(l.receive(mn.update()), "save "+h, "bind "+h+" to 2001:db8:77::beef")
	mn.careOf = labAddr("2001:db8:78::1")
	l.expect(l.receive(mn.update()), "save "+h, "bind "+h+" to 2001:db8:78::1")
	answer := func(failed bool) []string {
		return l.step(lke.Input{Kind: lke.InForwarding, Home: mn.home, Failed: failed})
	}
	l.expect(answer(true)) // the first one's failure is of no interest any more
	if _, ok := l.router.Bound(mn.home); ok {
		t.Fatal("bound by the answer to the overtaken update")
	}
	l.expect(answer(false),
		"save "+h+" bound to 2001:db8:78::1",
		"BA 0 seq 4661 lifetime 100 finished? routed to 2001:db8:78::1",
		"NA O for "+h+" at "+labHardware.String()+" on 1 to 33:33:00:00:00:01")
	l.expect(answer(false))

	// A deregistration that overtakes: the answer to the older update brings nothing back.
	mn.careOf = labAddr("2001:db8:79::1")
	l.receive(mn.update())
	l.expect(l.receive(mn.update(returning)),
		"unbind "+h, "save "+h, "BA 0 seq 4663 lifetime 0 on 1 to "+mn.hw.String()+" to "+h)
	l.expect(answer(false))
	if _, ok := l.router.Bound(mn.home); ok {
		t.Error("bound after the deregistration")
	}

	// More than eight at once are refused.
	for range 8 {
		l.receive(mn.update())
	}
	l.expect(l.receive(mn.update()), "BA 130 seq 4672 lifetime 0 routed to 2001:db8:79::1")
}

// While an update is under way the timers of the binding before it rest: the update decides.
func TestRouterUpdateOutlivesTheOldTimers(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	h := mn.home.String()
	mn.attach()
	mn.bind() // no Finished message comes: it would end after 3 s
	l.advance(2500 * time.Millisecond)
	l.holdForwarding = true
	mn.careOf = labAddr("2001:db8:78::1")
	l.receive(mn.update())
	l.expect(l.advance(time.Second))
	l.expect(l.step(lke.Input{Kind: lke.InForwarding, Home: mn.home}),
		"save "+h+" bound to 2001:db8:78::1", "BA 0 seq 4661 lifetime 100 finished? routed to 2001:db8:78::1")

	// Also when something else of the same node is due meanwhile: here a renewal whose key nobody decrypted in a minute.
	l = newRouterLab(t)
	mn = l.host(1)
	mn.attach()
	l.advance(10 * time.Second)
	l.receive(mn.request())
	l.advance(56500 * time.Millisecond)
	mn.bind()
	l.advance(time.Second)
	l.holdForwarding = true
	mn.careOf = labAddr("2001:db8:78::1")
	l.receive(mn.update())
	l.now = l.now.Add(2500 * time.Millisecond)
	l.expect(l.step(lke.Input{Kind: lke.InTick}))
	if l.counter("key_queue_full") != 1 {
		t.Errorf("counters %v", l.counters())
	}
}

// An answer that is late belongs to the binding update of the association that has expired, not to that of the next one.
func TestRouterForwardingOutlivesTheAssociation(t *testing.T) {
	l := newRouterLab(t, func(c *lke.RouterConfig) { c.RetransTimer = 100 * time.Millisecond })
	mn := l.host(1)
	h := mn.home.String()
	mn.attach()
	l.advance(3595 * time.Second)
	l.holdForwarding = true
	l.receive(mn.update()) // 4 s before the end
	l.advance(4 * time.Second)
	_, solicit := mn.exchange(mn.request())
	l.receive(mn.advert(solicit))
	l.advance(200 * time.Millisecond)
	l.expect(l.receive(mn.update()), "save "+h, "bind "+h+" to 2001:db8:77::beef")
	l.expect(l.step(lke.Input{Kind: lke.InForwarding, Home: mn.home, Failed: true}))
	if got := l.step(lke.Input{Kind: lke.InForwarding, Home: mn.home}); len(got) != 3 {
		t.Errorf("effects %q", got)
	}
}
