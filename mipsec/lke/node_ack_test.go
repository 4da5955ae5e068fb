package lke

import (
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

func TestNodeDropsBindingAcks(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	for _, c := range []struct {
		name, counter string
		change        func(*nodeUpdateAck)
	}{
		{"LKE-resolution-i: addresses in RFC 6275's order", "drop_ba_bad_mac", func(a *nodeUpdateAck) { a.swapMAC = true }},
		{"one bit of the MAC", "drop_ba_bad_mac", func(a *nodeUpdateAck) { a.spoil = true }},
		{"another key", "drop_ba_bad_mac", func(a *nodeUpdateAck) { a.key[3] ^= 1 }},
		{"success without MAC", "drop_ba_no_mac", func(a *nodeUpdateAck) { a.HasAuth = false }},
		{"LKE-resolution-j: error without MAC", "drop_ba_error_no_mac", func(a *nodeUpdateAck) {
			a.HasAuth, a.Status = false, mobility.StatusNotHomeAgent
		}},
		{"LKE-resolution-j: 135 without MAC", "drop_ba_error_no_mac", func(a *nodeUpdateAck) {
			a.HasAuth, a.Status, a.Seq = false, mobility.StatusSequence, a.Seq+100
		}},
		{"number never sent", "drop_ba_unasked", func(a *nodeUpdateAck) { a.Seq++ }},
		{"number from before", "drop_ba_unasked", func(a *nodeUpdateAck) { a.Seq-- }},
		{"135 from long ago", "drop_ba_stale_sequence", func(a *nodeUpdateAck) {
			a.Status, a.Seq = mobility.StatusSequence, a.Seq-1
		}},
		{"wrong routing header", "drop_ba_no_binding", func(a *nodeUpdateAck) { a.home = a.home.Next() }},
		{"no routing header", "drop_ba_no_binding", func(a *nodeUpdateAck) { a.home = netip.Addr{} }},
		{"another router", "drop_ba_no_binding", func(a *nodeUpdateAck) { a.src = nar.global }},
		{"another care-of address", "drop_ba_no_binding", func(a *nodeUpdateAck) { a.dst = a.dst.Next() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newNodeBench(t).associated(par)
			key := b.key
			b.moved(nar)
			b.drops(c.counter, func() { b.receive(par.bindingAck(b.lastUpdate(), key, c.change)) })
			if got := b.n.State().Associations[0].State; got != "updating" {
				t.Errorf("state %q", got)
			}
			b.receive(par.bindingAck(b.lastUpdate(), key))
			if got := b.n.State().Associations[0].State; got != "bound" {
				t.Errorf("state %q after the right acknowledgement", got)
			}
		})
	}
	b := newNodeBench(t).associated(par)
	key := b.key
	b.moved(nar)
	p := par.bindingAck(b.lastUpdate(), key)
	p.Payload[7] ^= 1
	b.drops("drop_mh_bad_checksum", func() { b.receive(p) })
	p = par.bindingAck(b.lastUpdate(), key)
	p.Payload[19] = 200 // length of the authenticator's option
	mobility.FixChecksum(p.Payload, p.Src, p.RoutingHome)
	b.drops("drop_ba_malformed", func() { b.receive(p) })
	p = par.bindingAck(b.lastUpdate(), key)
	mh := append([]byte(nil), p.Payload...)
	mobility.FixChecksum(mh, p.RoutingHome, p.RoutingHome)
	header := ipv6.Header{Src: p.Src, Dst: p.Dst, HopLimit: 64, RoutingHome: p.RoutingHome, HomeAddress: p.RoutingHome}
	b.drops("drop_ba_no_binding", func() { b.receive(par.packet(header, ipv6.ProtoMobility, mh)) })
	p.Payload[2] = mobility.TypeBE
	mobility.FixChecksum(p.Payload, p.Src, p.RoutingHome)
	b.drops("drop_mh_other_type", func() { b.receive(p) })
	p.Payload[2] = 77
	mobility.FixChecksum(p.Payload, p.Src, p.RoutingHome)
	b.drops("drop_mh_unknown_type", func() { b.receive(p) })
}

func TestNodeFollowsSequence(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	b := newNodeBench(t).associated(par)
	key := b.key
	b.moved(nar)
	first := b.lastUpdate()
	sequence := func(to uint16) func(*nodeUpdateAck) {
		return func(a *nodeUpdateAck) { a.Status, a.Seq = mobility.StatusSequence, to }
	}
	b.receive(par.bindingAck(first, key, sequence(nodeSeq(first)+0x8000)))
	second := b.lastUpdate()
	if got, want := nodeSeq(second), nodeSeq(first)+0x8001; got != want {
		t.Fatalf("LKE-resolution-h: number %d, want %d", got, want)
	}
	b.drops("drop_ba_stale_sequence", func() { b.receive(par.bindingAck(first, key, sequence(nodeSeq(first)+0x8000))) })
	b.receive(par.bindingAck(second, key))
	if !b.has(EventBound) {
		t.Fatal("not bound")
	}
	b.drops("drop_ba_stale_sequence", func() { b.receive(par.bindingAck(second, key, sequence(nodeSeq(second)+5))) })

	// The update was accepted, its acknowledgement lost, and its copy refused: the number is that of the update itself.
	b = newNodeBench(t).associated(par)
	key = b.key
	b.moved(nar)
	first = b.lastUpdate()
	b.receive(par.bindingAck(first, key, sequence(nodeSeq(first))))
	if got, want := nodeSeq(b.lastUpdate()), nodeSeq(first)+1; got != want {
		t.Errorf("number %d, want %d", got, want)
	}

	// A router that always says 135 gets two more at once and then one at each interval.
	for range 1000 {
		update := b.lastUpdate()
		b.receive(par.bindingAck(update, key, sequence(nodeSeq(update))))
	}
	if got := len(nodeOnly(b.sent, nodeSentBU)); got != 3 {
		t.Errorf("%d updates within one moment, want 3", got)
	}
}

func TestNodeUnauthenticatedErrors(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	unknown := func(a *nodeUpdateAck) { a.HasAuth, a.Status = false, mobility.StatusNotHomeAgent }
	b := newNodeBench(t).associated(par)
	old := b.n.State().CareOf
	b.moved(nar)
	for i := range 4 {
		if got := len(nodeOnly(b.sent, nodeSentBU)); got != i+1 {
			t.Fatalf("LKE-resolution-j: %d updates after %d errors, want one for each interval", got, i)
		}
		for range 10 { // a flood counts as one
			if len(b.n.State().Associations) == 1 {
				b.receive(par.bindingAck(b.lastUpdate(), [KeyLen]byte{}, unknown))
			}
		}
		if got := len(b.n.State().Associations); i < 3 && got != 1 {
			t.Fatalf("LKE-resolution-j: given up after %d errors", i+1)
		}
		if i < 3 {
			b.advance(time.Second << i)
		}
	}
	if got := b.n.State().Associations; len(got) != 0 || !b.has(EventLost) {
		t.Errorf("association %+v after four errors, events %v", got, b.events())
	}
	if e, ok := b.effect(EffectUnbind); !ok || e.Home != old {
		t.Errorf("the old address is kept: %+v", e)
	}

	// An authentic answer in between shows that the errors were somebody else's.
	b = newNodeBench(t).associated(par)
	key := b.key
	b.moved(nar)
	b.receive(par.bindingAck(b.lastUpdate(), key, unknown))
	b.advance(time.Second)
	b.receive(par.bindingAck(b.lastUpdate(), key))
	if got := b.n.State().Associations[0].State; got != "bound" {
		t.Errorf("state %q", got)
	}
	b.drops("drop_ba_error_no_mac", func() { b.receive(par.bindingAck(b.lastUpdate(), key, unknown)) })
}

func TestNodeRefusedUpdates(t *testing.T) {
	par, nar, third := nodeLinks(t)
	for _, c := range []struct {
		status     uint8
		kept, asks bool
	}{
		{mobility.StatusUnspecified, false, false},
		{mobility.StatusProhibited, false, false},
		{mobility.StatusResources, true, true},
		{mobility.StatusHomeRegistration, false, false},
		{mobility.StatusNotHomeAgent, false, false},
		{mobility.StatusInvalidCareOf, true, false}, // the next care-of address may do
	} {
		b := newNodeBench(t).associated(par)
		old, key := b.n.State().CareOf, b.key
		b.moved(nar)
		b.receive(par.bindingAck(b.lastUpdate(), key, func(a *nodeUpdateAck) { a.Status, a.Lifetime = c.status, 0 }))
		if !b.has(EventRefused) {
			t.Errorf("LKE-resolution-h: status %d is not reported", c.status)
		}
		kept := b.n.association(old) != nil
		if kept != c.kept {
			t.Errorf("LKE-resolution-h: status %d: association kept %v, want %v", c.status, kept, c.kept)
		}
		b.take()
		b.advance(time.Minute)
		if asks := len(nodeOnly(b.sent, nodeSentBU)) > 0; asks != c.asks {
			t.Errorf("LKE-resolution-h: status %d: asks again %v, want %v", c.status, asks, c.asks)
		}
		b.moved(third)
		if asks := len(nodeOnly(b.sent, nodeSentBU)) > 0; asks != c.kept {
			t.Errorf("LKE-resolution-h: status %d: asks from the next link %v, want %v", c.status, asks, c.kept)
		}
	}

	// 130 to a binding that is there: the router forwards no more (its old forwarding is gone).
	b := newNodeBench(t).associated(par)
	old, key := b.n.State().CareOf, b.key
	noResources := func(a *nodeUpdateAck) { a.Status, a.Lifetime = mobility.StatusResources, 0 }
	b.moved(nar)
	update := b.lastUpdate()
	b.receive(par.bindingAck(update, key))
	b.moved(third)
	b.receive(par.bindingAck(b.lastUpdate(), key, noResources))
	if !b.ended(old) {
		t.Error("the tunnel stays though the router dropped the binding")
	}

	// The same for an update that was accepted before: the router's forwarding failed later. It is asked again, not at once.
	b = newNodeBench(t).associated(par)
	key = b.key
	b.moved(nar)
	update = b.lastUpdate()
	b.receive(par.bindingAck(update, key))
	b.take()
	b.receive(par.bindingAck(update, key, noResources))
	if !b.ended(old) {
		t.Error("the tunnel stays though the router dropped the binding")
	}
	b.advance(31 * time.Second)
	if len(nodeOnly(b.sent, nodeSentBU)) != 0 {
		t.Error("a router without resources is asked again at once")
	}
	b.advance(time.Second)
	b.receive(par.bindingAck(b.lastUpdate(), key))
	if got := b.n.State().Associations[0].State; got != "bound" {
		t.Errorf("state %q", got)
	}

	// A success for no time at all is a refusal.
	b = newNodeBench(t).associated(par)
	key = b.key
	b.moved(nar)
	b.receive(par.bindingAck(b.lastUpdate(), key, func(a *nodeUpdateAck) { a.Lifetime = 0 }))
	if b.has(EventBound) || !b.has(EventRefused) {
		t.Errorf("a binding without lifetime: events %v", b.events())
	}
}

func TestNodeDeregistrationAnswers(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	for name, change := range map[string]func(*nodeUpdateAck){
		"accepted":                  func(*nodeUpdateAck) {},
		"accepted with a request":   func(a *nodeUpdateAck) { a.FinishedRequest, a.FinishedNonce = true, 4 },
		"refused for resources":     func(a *nodeUpdateAck) { a.Status = mobility.StatusResources },
		"refused: no such binding":  func(a *nodeUpdateAck) { a.Status = mobility.StatusNotHomeAgent },
		"refused: care-of address":  func(a *nodeUpdateAck) { a.Status = mobility.StatusInvalidCareOf },
		"refused without a mention": func(a *nodeUpdateAck) { a.Status = mobility.StatusUnspecified },
	} {
		t.Run(name, func(t *testing.T) {
			b := newNodeBench(t).associated(par)
			home, key := b.n.State().CareOf, b.key
			b.moved(nar)
			b.receive(par.bindingAck(b.lastUpdate(), key))
			b.moved(par)
			b.effects = nil
			ack := par.bindingAck(b.lastUpdateTo(par), key, change)
			b.receive(ack)
			if !b.ended(home) {
				t.Error("the tunnel stays")
			}
			if a := b.n.association(home); a == nil || a.binding.inUse() {
				t.Errorf("association %+v", b.n.State().Associations)
			}
			finished := nodeOnly(b.sent, nodeSentFinished)
			if want := map[bool]int{true: 1}[name == "accepted with a request"]; len(finished) != want {
				t.Fatalf("LKE-MN-12: %d Finished messages, want %d", len(finished), want)
			}
			for _, f := range finished {
				if f.p.Src != home || f.p.HomeAddress.IsValid() || !mobility.VerifyBAD(f.p.Payload, key[:], home, par.global) {
					t.Errorf("LKE-MN-12: %+v", f.p)
				}
			}
			b.drops("drop_ba_unasked", func() { b.receive(ack) })
			b.take()
			b.advance(time.Minute)
			if got := len(nodeOnly(b.sent, nodeSentBU)); got != 0 {
				t.Errorf("%d updates more", got)
			}
		})
	}
}

func TestNodeFallsBackToEarlierKey(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	b := newNodeBench(t).associated(par)
	home, oldKey := b.n.State().CareOf, b.key
	b.advance(46 * time.Minute)
	b.receive(par.ack(b.lastRequest(), b.key))
	b.receive(par.solicit(home, b.key, 9)) // the answer to this is lost on its way
	b.advance(2 * time.Second)
	newKey := b.key
	b.moved(nar)
	careOf := b.n.State().CareOf
	refuse := func(a *nodeUpdateAck) { a.HasAuth, a.Status = false, mobility.StatusUnspecified }
	for i, key := range [][KeyLen]byte{newKey, oldKey, newKey} {
		update := b.lastUpdate()
		if !mobility.VerifyBAD(update.Payload, key[:], careOf, par.global) {
			t.Fatalf("update %d is signed with the wrong one of the keys", i)
		}
		if i < 2 {
			b.receive(par.bindingAck(update, key, refuse))
			b.advance(time.Second << i)
		}
	}
	b.receive(par.bindingAck(b.lastUpdate(), newKey, refuse))
	b.advance(4 * time.Second)
	b.receive(par.bindingAck(b.lastUpdate(), oldKey))
	if got := b.n.State().Associations[0]; got.State != "bound" {
		t.Fatalf("%+v", got)
	}
	if b.n.associations[0].key != oldKey {
		t.Error("the key that the router accepted is not the one that stays")
	}

	// A late answer to the update with the earlier key is good, too.
	b = newNodeBench(t).associated(par)
	oldKey = b.key
	b.advance(46 * time.Minute)
	b.receive(par.ack(b.lastRequest(), b.key))
	b.receive(par.solicit(home, b.key, 9))
	b.advance(2 * time.Second)
	newKey = b.key
	b.moved(nar)
	b.receive(par.bindingAck(b.lastUpdate(), newKey, refuse))
	b.advance(time.Second)
	second := b.lastUpdate()
	b.receive(par.bindingAck(second, newKey, refuse))
	b.advance(2 * time.Second)
	b.receive(par.bindingAck(second, oldKey))
	if got := b.n.State().Associations[0].State; got != "bound" || b.n.associations[0].key != oldKey {
		t.Errorf("state %q after a late answer", got)
	}

	// A renewal that was not even answered before the node left: the earlier key at once.
	b = newNodeBench(t).associated(par)
	oldKey = b.key
	b.advance(46 * time.Minute)
	b.receive(par.ack(b.lastRequest(), b.key))
	b.moved(nar)
	if !mobility.VerifyBAD(b.lastUpdate().Payload, oldKey[:], b.n.State().CareOf, par.global) {
		t.Error("the update is not signed with the key that the router has")
	}
}
