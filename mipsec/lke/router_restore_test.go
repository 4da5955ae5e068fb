package lke_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// restart kills the router and starts it again with what it had saved.
func (l *routerLab) restart() []string {
	l.t.Helper()
	l.reset()
	var records []lke.Record
	for _, rec := range l.saved {
		records = append(records, rec)
	}
	slices.SortFunc(records, func(a, b lke.Record) int { return a.Home.Compare(b.Home) })
	return l.carryOut(l.router.Restore(l.now, records))
}

// After a restart associations, bindings and sequence numbers go on where they were.
func TestRouterRestart(t *testing.T) {
	l, attached, bound := labBound(t)
	expires := l.association(attached.home).Expires
	until := l.association(bound.home).BoundUntil
	l.advance(5 * time.Second)

	l.expect(l.restart(),
		"watch "+attached.home.String()+" on 1",
		"watch "+bound.home.String()+" on 1",
		"bind "+bound.home.String()+" to 2001:db8:77::cafe") // adopted; the node is not told
	if a := l.association(attached.home); a.State != "valid" || !a.Expires.Equal(expires) || a.Node != attached.hw {
		t.Errorf("association %+v", a)
	}
	if a := l.association(bound.home); a.State != "bound" || !a.BoundUntil.Equal(until) || !a.Verified || a.UpdateSeq != 0x1234 {
		t.Errorf("association %+v", a)
	}
	// LKE-AR-17: the cached advertisement is replayed; LKE-AR-26: the proxy goes on.
	if got := l.receive(l.host(5).detection(attached.home)); len(got) != 1 {
		t.Errorf("effects %q", got)
	}
	if got := l.receive(l.host(5).resolution(bound.home)); len(got) != 1 {
		t.Errorf("effects %q", got)
	}
	// LKE-AR-9: the sequence number of the last request is known still.
	attached.seq = 7
	l.expectDrop(attached.request(), "request_replayed")
	attached.seq = 7
	l.expectDrop(attached.request(func(h *ipv6.Header) { h.HomeAddress = labAddr("2001:db8:1::4242") }), "request_replayed")
	// Updates go on under the same key.
	attached.bind()
	bound.careOf = labAddr("2001:db8:79::1")
	l.receive(bound.finished(bound.bind()))
	if a := l.association(bound.home); a.CareOf != bound.careOf || !a.Verified {
		t.Errorf("association %+v", a)
	}
}

// A binding whose Finished message was awaited when the router died is acknowledged once more, with a nonce that the new
// run knows.
func TestRouterRestartWithoutFinished(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	mn.attach()
	old := mn.bind()
	h := mn.home.String()
	l.expect(l.restart(),
		"watch "+h+" on 1", "bind "+h+" to 2001:db8:77::beef", "save "+h+" bound to 2001:db8:77::beef",
		"BA 0 seq 4660 lifetime 100 finished? routed to 2001:db8:77::beef")
	l.expectDrop(mn.finished(old), "finished_nonce")
	l.advance(2999 * time.Millisecond)
	if _, ok := l.router.Bound(mn.home); !ok {
		t.Error("the binding ended early")
	}
	l.advance(time.Millisecond)
	if _, ok := l.router.Bound(mn.home); ok {
		t.Error("LKE-resolution-u: the binding goes on without the Finished message")
	}
}

// Adopting forwarding may take its time, and nobody has to answer for a binding that stood all along. Where it cannot be
// adopted the binding ends; a node whose Finished message was awaited is told.
func TestRouterRestartAdopts(t *testing.T) {
	l, _, bound := labBound(t)
	l.holdForwarding = true
	l.restart()
	l.expect(l.advance(10 * time.Second))
	if _, ok := l.router.Bound(bound.home); !ok {
		t.Error("a binding was given up because nobody answered for it")
	}

	l.holdForwarding, l.failForwarding = false, true
	h := bound.home.String()
	l.expect(l.restart()[2:], "bind "+h+" to 2001:db8:77::cafe", "unbind "+h, "save "+h)

	l = newRouterLab(t)
	mn := l.host(1)
	mn.attach()
	mn.bind()
	l.failForwarding = true
	h = mn.home.String()
	l.expect(l.restart()[1:], "bind "+h+" to 2001:db8:77::beef", "unbind "+h, "save "+h,
		"BA 130 seq 4660 lifetime 0 routed to 2001:db8:77::beef")
}

// What expired while the router was down is forgotten; a binding that did ends.
func TestRouterRestartTooLate(t *testing.T) {
	l, attached, bound := labBound(t)
	l.now = l.now.Add(401 * time.Second)
	l.expect(l.restart(),
		"watch "+attached.home.String()+" on 1",
		"watch "+bound.home.String()+" on 1",
		"save "+bound.home.String())
	if a := l.association(bound.home); a.State != "valid" {
		t.Errorf("association %+v", a)
	}
	l.now = l.now.Add(time.Hour)
	l.expect(l.restart(), "forget "+attached.home.String(), "forget "+bound.home.String())
	if l.associations() != nil || !l.router.Deadline().IsZero() || len(l.saved) != 0 {
		t.Errorf("associations %v, deadline %v, saved %d", l.associations(), l.router.Deadline(), len(l.saved))
	}
}

// A record that makes no sense is forgotten, and one for an address that is there already does not replace it.
func TestRouterRestoresSensibleRecordsOnly(t *testing.T) {
	l := newRouterLab(t)
	good := lke.Record{
		Home: labAddr("2001:db8:1::5"), Router: labRouter, Link: "lan0", Expires: l.now.Add(time.Hour), UpdateSeq: 5, Updated: true,
	}
	bad := good
	bad.Home = netip.Addr{}
	worse := good
	worse.Router = labAddr("ff02::1")
	worse.Home = labAddr("2001:db8:1::6")
	again := good
	again.UpdateSeq = 4
	lines := l.carryOut(l.router.Restore(l.now, []lke.Record{bad, good, worse, again}))
	l.expect(lines, "forget invalid IP", "watch 2001:db8:1::5 on 1", "forget 2001:db8:1::6")
	if got := l.association(good.Home).UpdateSeq; got != 5 {
		t.Errorf("sequence number %d", got)
	}
}

// A new configuration loses no association and no binding, whatever happens to the links.
func TestRouterReconfigure(t *testing.T) {
	t.Run("nothing changed", func(t *testing.T) {
		l, attached, bound := labBound(t)
		l.expect(l.reconfigure(func(*lke.RouterConfig) {}))
		l.stillThere(attached, bound)
	})
	t.Run("the interface was made anew", func(t *testing.T) {
		l, attached, bound := labBound(t)
		a, b := attached.home.String(), bound.home.String()
		l.expect(l.reconfigure(func(c *lke.RouterConfig) { c.Links[0].Index = 11 }),
			"unwatch "+a+" on 1", "watch "+a+" on 11",
			"unwatch "+b+" on 1", "watch "+b+" on 11", "bind "+b+" to 2001:db8:77::cafe")
		if l.bound[bound.home].Link != 11 {
			t.Errorf("bound %v", l.bound)
		}
		l.stillThere(attached, bound)
		p := l.host(5).detection(attached.home)
		p.Interface = 11
		if len(l.receive(p)) != 1 {
			t.Error("the cached advertisement is not replayed on the new interface")
		}
	})
	t.Run("the link is gone and comes back", func(t *testing.T) {
		l, attached, bound := labBound(t)
		a, b := attached.home.String(), bound.home.String()
		old := l.cfg.Links[0]
		l.expect(l.reconfigure(func(c *lke.RouterConfig) { c.Links = c.Links[1:] }),
			"unwatch "+a+" on 1", "unwatch "+b+" on 1")
		l.stillThere(attached, bound)
		l.expectDrop(l.host(6).requestTo(labLocal), "request_link_not_served")
		// Forwarding goes on, but there is no link to announce it on.
		l.expect(l.receive(attached.update()),
			"save "+a, "bind "+a+" to 2001:db8:77::beef", "save "+a+" bound to 2001:db8:77::beef",
			"BA 0 seq 4660 lifetime 100 finished? routed to 2001:db8:77::beef")
		l.receive(attached.update(func(u *labUpdate) { u.Lifetime = 0 }))
		l.expect(l.reconfigure(func(c *lke.RouterConfig) { c.Links = append(c.Links, old) }),
			"watch "+a+" on 1", "watch "+b+" on 1", "bind "+b+" to 2001:db8:77::cafe")
		l.stillThere(attached, bound)
	})
	t.Run("LKE-resolution-w: the link is refused", func(t *testing.T) {
		l, attached, bound := labBound(t)
		l.reconfigure(func(c *lke.RouterConfig) { c.Links[0].Refuse = true })
		l.stillThere(attached, bound)
		l.expectDrop(l.host(6).request(), "request_link_refused")
	})
	t.Run("LKE-resolution-w: a detection on a link that is refused ends", func(t *testing.T) {
		l := newRouterLab(t)
		mn := l.host(1)
		_, solicit := mn.exchange(mn.request())
		l.receive(mn.advert(solicit))
		l.expect(l.reconfigure(func(c *lke.RouterConfig) { c.Links[0].Refuse = true }), "unwatch "+mn.home.String()+" on 1")
		l.expect(l.advance(time.Minute))
	})
	t.Run("exchanges on the link end", func(t *testing.T) {
		l := newRouterLab(t)
		mn, waiting := l.host(1), l.host(2)
		mn.exchange(mn.request())
		job := labJob(l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: waiting.request()}))
		l.expect(l.reconfigure(func(c *lke.RouterConfig) { c.Links = c.Links[1:] }), "unwatch "+mn.home.String()+" on 1")
		l.expect(l.step(lke.Input{Kind: lke.InKey, Job: job, Key: waiting.key}))
		if l.associations() != nil || !l.router.Deadline().IsZero() || l.counter("dad_link_gone") != 1 {
			t.Errorf("associations %v, deadline %v, %v", l.associations(), l.router.Deadline(), l.counters())
		}
	})
	t.Run("a limit under what there is", func(t *testing.T) {
		l, attached, bound := labBound(t)
		l.reconfigure(func(c *lke.RouterConfig) { c.MaxNodes = 1 })
		l.stillThere(attached, bound)
		l.expectDrop(l.host(6).request(), "request_node_limit")
	})
}

// requestTo is a request for a link that the configuration has no longer.
func (h *labHost) requestTo(dst netip.Addr) *ipv6.Packet {
	return h.mobility(requestBody(labModulus, 3600), ipv6.Header{Src: h.local, Dst: dst, HopLimit: 255, HomeAddress: h.home})
}

// stillThere checks that both associations can be used as before.
func (l *routerLab) stillThere(attached, bound *labHost) {
	l.t.Helper()
	if a := l.association(attached.home); a.State != "valid" || !a.Expires.After(l.now) {
		l.t.Errorf("association %+v", a)
	}
	if a := l.association(bound.home); a.State != "bound" || !a.Verified || a.CareOf != bound.careOf {
		l.t.Errorf("association %+v", a)
	}
	l.receive(bound.update())
	if a := l.association(bound.home); a.State != "bound" || a.UpdateSeq != bound.bu-1 {
		l.t.Errorf("association %+v after a refresh; %v", a, l.counters())
	}
}
