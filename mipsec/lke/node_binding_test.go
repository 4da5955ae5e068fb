package lke

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

func nodeUpdate(t *testing.T, p *ipv6.Packet) mobility.BindingUpdate {
	t.Helper()
	h, err := mobility.ParseHeader(p.Payload)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mobility.ParseBindingUpdate(h)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// nodeLinks are three links with a router each; all speak LKE.
func nodeLinks(t *testing.T) (par, nar, third *nodePeer) {
	spki := nodeTestSPKI(t)
	return newNodePeer(t, 1, spki), newNodePeer(t, 2, spki), newNodePeer(t, 3, spki)
}

// LKE-MN-11: on a new link a binding update goes to the previous router at once: from the new care-of address, with the
// previous one as home address, A and H set, authenticated, numbered from a random value on.
func TestNodeUpdatesPreviousRouter(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	var starts []uint16
	for seed := range int64(3) {
		b := newNodeBench(t, func(c *NodeConfig) { c.Rand = nodeRandom(seed) }).associated(par)
		old, key := b.n.State().CareOf, b.key
		b.advance(10*time.Minute - b.now.Sub(nodeTestStart))
		moved := b.now
		b.moved(nar)
		careOf := b.n.State().CareOf
		update := nodeOnly(b.sent, nodeSentBU)[0]
		m := nodeUpdate(t, update.p)
		if update.at != moved {
			t.Errorf("LKE-MN-11: update at %v, want %v: as soon as the address can be used", update.at, moved)
		}
		if update.p.Src != careOf || update.p.Dst != par.global || update.p.HomeAddress != old {
			t.Errorf("LKE-MN-11: %+v", update.p)
		}
		// LKE-resolution-i; LKE-resolution-u: no Alternate Care-of Address.
		if m.Flags != mobility.FlagAck|mobility.FlagHome || m.AlternateCareOf.IsValid() || !m.AuthLast ||
			m.NonceIndices.Present {
			t.Errorf("LKE-resolution-i, LKE-resolution-u: %+v", m)
		}
		if m.Lifetime != 50*60/4 {
			t.Errorf("LKE-resolution-i: lifetime of %d units of 4 s, want the rest of the association, %d", m.Lifetime, 50*60/4)
		}
		if !mobility.VerifyBAD(update.p.Payload, key[:], careOf, par.global) {
			t.Error("LKE-MN-11: authenticator")
		}
		if !b.has(EventUpdated) {
			t.Error("not reported")
		}
		if e, ok := b.effect(EffectRelease); !ok || e.Home != old {
			t.Errorf("the old address stays on the link: %+v", e)
		}
		if _, ok := b.effect(EffectUnbind); ok {
			t.Error("the old address was given up, though there is an association for it")
		}
		if _, ok := b.effect(EffectBind); ok {
			t.Error("a tunnel before the acknowledgement")
		}
		starts = append(starts, m.Seq)
	}
	slices.Sort(starts)
	if len(slices.Compact(starts)) != 3 {
		t.Errorf("LKE-MN-11: numbers start from %v, want random values", starts)
	}
}

// LKE-MN-11: without acknowledgement the update is repeated with the next number, after 1 s and then twice as long each
// time, up to 32 s. The key exchange with the new router does not wait for longer than a second.
func TestNodeUpdateRepeats(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	b := newNodeBench(t).associated(par)
	b.moved(nar)
	start := b.now
	b.advance(2 * time.Minute)
	updates := nodeOnly(b.sent, nodeSentBU)
	gaps := []time.Duration{1, 2, 4, 8, 16, 32, 32}
	if len(updates) != len(gaps)+1 {
		t.Fatalf("%d updates in two minutes, want %d", len(updates), len(gaps)+1)
	}
	for i, gap := range gaps {
		if got := updates[i+1].at.Sub(updates[i].at); got != gap*time.Second {
			t.Errorf("update %d after %v, want %v", i+1, got, gap*time.Second)
		}
		if nodeSeq(updates[i+1].p) != nodeSeq(updates[i].p)+1 {
			t.Errorf("update %d has number %d after %d", i+1, nodeSeq(updates[i+1].p), nodeSeq(updates[i].p))
		}
	}
	if got := nodeOnly(b.sent, nodeSentKEReq)[0].at.Sub(start); got != time.Second {
		t.Errorf("the key exchange with the new router began after %v, want 1 s", got)
	}

	// With the acknowledgement it begins at once.
	b = newNodeBench(t).associated(par)
	key := b.key
	b.moved(nar)
	b.advance(20 * time.Millisecond)
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 0 {
		t.Error("the key exchange did not wait for the handover")
	}
	b.receive(par.bindingAck(b.lastUpdate(), key))
	if got := nodeOnly(b.sent, nodeSentKEReq); len(got) != 1 || got[0].at != b.now {
		t.Error("the key exchange did not begin with the acknowledgement")
	}
}

// LKE-MN-12: a success with a Finished Request is answered by the Finished message with nonce, number and lifetime
// copied; each repetition of it again. Without the request there is none.
func TestNodeFinished(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	b := newNodeBench(t).associated(par)
	old, key := b.n.State().CareOf, b.key
	b.moved(nar)
	careOf := b.n.State().CareOf
	update := b.lastUpdate()
	ack := par.bindingAck(update, key, func(a *nodeUpdateAck) {
		a.FinishedRequest, a.FinishedNonce, a.Lifetime = true, 0xfeedbeef, 100
	})
	b.receive(ack)
	want := Binding{Home: old, Router: par.global, CareOf: careOf, Link: nodeTestLink}
	if e, ok := b.effect(EffectBind); !ok || e.Binding != want {
		t.Fatalf("tunnel %+v, want %+v", e.Binding, want)
	}
	if !b.has(EventBound) || !b.has(EventFinished) {
		t.Errorf("events %v", b.events())
	}
	for i := range 3 {
		finished := nodeOnly(b.sent, nodeSentFinished)
		if len(finished) != i+1 {
			t.Fatalf("LKE-MN-12: %d Finished messages after %d acknowledgements", len(finished), i+1)
		}
		h, _ := mobility.ParseHeader(finished[i].p.Payload)
		m, err := mobility.ParseFinished(h, mobility.DefaultCodePoints())
		if err != nil || m.Nonce != 0xfeedbeef || m.Seq != nodeSeq(update) || m.Lifetime != 100 || m.Status != 0 || !m.AuthLast {
			t.Errorf("LKE-MN-12: %+v, %v", m, err)
		}
		b.advance(time.Second)
		b.effects = nil
		b.receive(ack)
		if _, ok := b.effect(EffectBind); ok || b.has(EventBound) {
			t.Error("the repetition was taken for news")
		}
	}
	if got := b.n.State().Associations[0]; got.State != "bound" || got.CareOf != careOf ||
		got.BoundUntil != nodeOnly(b.sent, nodeSentBU)[0].at.Add(400*time.Second) {
		t.Errorf("%+v", got)
	}

	b = newNodeBench(t).associated(par)
	key = b.key
	b.moved(nar)
	b.receive(par.bindingAck(b.lastUpdate(), key))
	b.advance(time.Second)
	if !b.has(EventBound) || len(nodeOnly(b.sent, nodeSentFinished)) != 0 {
		t.Error("LKE-MN-12: a Finished message that nobody asked for")
	}
}

// What is not the authentic answer to an update that was sent has no effect. LKE-resolution-i: the MAC is over router,
// care-of address in that order. LKE-resolution-j: no error without authenticator is believed.
// Status 135 with the right authenticator tells the router's last number: the node goes on from there, at once, but not
// without end. LKE-resolution-h.
// An error without authenticator is what a router has to send that knows no association, and what anyone can send: the
// node asks again at its own pace, and gives up after four in a row, one for each update.
// Errors with the right authenticator are believed.
// A deregistration that is refused with the right authenticator is over all the same: the node has its address on the
// link. LKE-MN-12 holds for its acknowledgement, too.
// A binding shorter than its association is refreshed at three quarters; one as long as it ends with it.
func TestNodeRefreshesBinding(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	b := newNodeBench(t).associated(par)
	key := b.key
	b.moved(nar)
	b.receive(par.bindingAck(b.lastUpdate(), key, func(a *nodeUpdateAck) { a.Lifetime = 100 }))
	bound := b.now
	first := b.lastUpdate()
	b.take()
	b.advance(300 * time.Second)
	updates := nodeOnly(b.sent, nodeSentBU)
	if len(updates) != 1 || updates[0].at != bound.Add(300*time.Second) || nodeSeq(updates[0].p) != nodeSeq(first)+1 {
		t.Fatalf("refresh %+v, want one after 300 s of 400", updates)
	}
	b.receive(par.bindingAck(updates[0].p, key, func(a *nodeUpdateAck) { a.Lifetime = 100 }))
	if got := b.n.State().Associations[0].BoundUntil; got != bound.Add(700*time.Second) {
		t.Errorf("bound until %v, want %v", got, bound.Add(700*time.Second))
	}
	// No acknowledgement any more: the tunnel ends with the binding, the node goes on asking.
	b.take()
	b.advance(450 * time.Second)
	if e, ok := b.effect(EffectUnbind); !ok || !par.prefix.Contains(e.Home) || !b.has(EventUnbound) {
		t.Errorf("the tunnel outlives the binding: %+v", e)
	}
	if len(nodeOnly(b.sent, nodeSentBU)) < 5 {
		t.Error("the node gave up too early")
	}

	b = newNodeBench(t).associated(par)
	key = b.key
	b.moved(nar)
	b.receive(par.bindingAck(b.lastUpdate(), key))
	b.take()
	b.advance(2 * time.Hour)
	if got := len(nodeOnly(b.sent, nodeSentBU)); got != 0 {
		t.Errorf("%d refreshes of a binding that cannot last longer than its association", got)
	}
}

// A further move: each binding is updated to the new care-of address, and the last link's address is bound, too.
// LKE-MN-11 for several routers.
func TestNodeMovesOn(t *testing.T) {
	par, nar, third := nodeLinks(t)
	b := newNodeBench(t).associated(par)
	first, parKey := b.n.State().CareOf, b.key
	b.moved(nar)
	second := b.n.State().CareOf
	b.receive(par.bindingAck(b.lastUpdate(), parKey))
	b.exchange(nar, 2)
	narKey := b.key
	b.moved(third)
	here := b.n.State().CareOf
	updates := nodeOnly(b.sent, nodeSentBU)
	if len(updates) != 2 {
		t.Fatalf("%d updates, want 2", len(updates))
	}
	for i, want := range []struct {
		r    *nodePeer
		home any
		key  [KeyLen]byte
	}{{nar, second, narKey}, {par, first, parKey}} { // the last link's first: traffic still goes there
		p := updates[i].p
		if p.Dst != want.r.global || p.HomeAddress != want.home || p.Src != here ||
			!mobility.VerifyBAD(p.Payload, want.key[:], here, want.r.global) {
			t.Errorf("LKE-MN-11: update %d is %+v, want one to %v for %v", i, p, want.r.global, want.home)
		}
	}
	b.receive(par.bindingAck(updates[1].p, parKey))
	b.receive(nar.bindingAck(updates[0].p, narKey))
	for _, a := range b.n.State().Associations {
		if a.State != "bound" || a.CareOf != here {
			t.Errorf("%+v, want bound to %v", a, here)
		}
	}
	var tunnels []Binding
	for _, e := range b.effects {
		if e.Kind == EffectBind {
			tunnels = append(tunnels, e.Binding)
		}
	}
	if len(tunnels) != 2 || tunnels[0].CareOf != here || tunnels[1].CareOf != here {
		t.Errorf("tunnels %+v", tunnels)
	}
}

// Back on the link of a bound address the node takes that address again and deregisters it, from the address itself; only
// then does it speak of keys with that router (LKE-resolution-p). The other bindings follow.
func TestNodeReturns(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	b := newNodeBench(t).associated(par)
	home, parKey := b.n.State().CareOf, b.key
	b.moved(nar)
	b.receive(par.bindingAck(b.lastUpdate(), parKey))
	b.exchange(nar, 2)
	second, narKey := b.n.State().CareOf, b.key
	b.moved(par)
	if got := b.n.State().CareOf; got != home {
		t.Fatalf("address %v back on the link, want %v", got, home)
	}
	updates := nodeOnly(b.sent, nodeSentBU)
	if len(updates) != 2 {
		t.Fatalf("%d updates, want 2", len(updates))
	}
	slices.SortFunc(updates, func(x, y nodeSent) int { return x.p.Dst.Compare(y.p.Dst) })
	leave, other := updates[0].p, updates[1].p
	m := nodeUpdate(t, leave)
	if m.Lifetime != 0 || leave.Src != home || leave.Dst != par.global || leave.HomeAddress.IsValid() ||
		!mobility.VerifyBAD(leave.Payload, parKey[:], home, par.global) {
		t.Errorf("deregistration %+v in %+v", m, leave)
	}
	if other.Dst != nar.global || other.HomeAddress != second || other.Src != home {
		t.Errorf("the other binding: %+v", other)
	}
	b.advance(3 * time.Second)
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 0 {
		t.Error("LKE-resolution-p: a key exchange for an address that is still bound")
	}
	b.effects = nil
	b.receive(par.bindingAck(b.lastUpdateTo(par), parKey))
	if e, ok := b.effect(EffectUnbind); !ok || e.Home != home || !b.has(EventUnbound) {
		t.Errorf("the tunnel stays: %+v", e)
	}
	if got := b.n.association(home); got == nil || got.state() != "valid" {
		t.Errorf("the association is %+v, want it valid: it lasts beyond the binding", got)
	}
	b.receive(nar.bindingAck(b.lastUpdateTo(nar), narKey))
	if got := b.n.association(second); got == nil || got.state() != "bound" || got.binding.bound != home {
		t.Errorf("the other binding is %+v", got)
	}
	// The association of this link is renewed at its time, as if the node had never been away.
	b.take()
	b.receive(par.advert())
	b.advance(46 * time.Minute)
	if len(nodeOnly(b.sent, nodeSentKEReq)) == 0 {
		t.Error("LKE-MN-10: no renewal after the return")
	}
}

// Back on the link when the association is due for renewal: first the deregistration, then the key exchange.
func TestNodeReturnsLate(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	nar.spki = nil
	b := newNodeBench(t).associated(par)
	key := b.key
	b.moved(nar)
	b.receive(par.bindingAck(b.lastUpdate(), key))
	b.advance(50 * time.Minute)
	b.moved(par)
	b.advance(2 * time.Second)
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 0 {
		t.Error("LKE-resolution-p: a key exchange for an address that is still bound")
	}
	b.receive(par.bindingAck(b.lastUpdateTo(par), key))
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 1 {
		t.Error("LKE-MN-10: no renewal after the deregistration")
	}
}

// lastUpdateTo gives the last binding update to r.
func (b *nodeBench) lastUpdateTo(r *nodePeer) *ipv6.Packet {
	b.t.Helper()
	updates := nodeOnly(b.sent, nodeSentBU)
	for i := len(updates) - 1; i >= 0; i-- {
		if updates[i].p.Dst == r.global {
			return updates[i].p
		}
	}
	b.t.Fatalf("no binding update to %v", r.global)
	return nil
}

// An exchange that was not complete when the node left is of no use: no router accepts a binding update by it
// (LKE-AR-27), and none is sent.
func TestNodeLeavesTooEarly(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	b := newNodeBench(t).attached(par)
	b.receive(par.ack(b.lastRequest(), b.key))
	b.moved(nar)
	b.advance(10 * time.Second)
	if len(nodeOnly(b.sent, nodeSentBU)) != 0 {
		t.Error("LKE-AR-27: a binding update without duplicate address detection")
	}
	for _, a := range b.n.State().Associations {
		if par.prefix.Contains(a.Home) {
			t.Errorf("association %+v", a)
		}
	}
}

// A renewal whose DAD failed at the router leaves the earlier key in force there (LKE-resolution-p): the node finds out
// by an update that is refused, and signs the next one with that key.
// LKE-MN-13: the home agent is updated before an association expires, though its binding would last.
func TestNodeUpdatesHomeAgentBeforeExpiry(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	nar.spki = nil
	long := func(a *nodeUpdateAck) { a.HasAuth, a.Lifetime = false, 0xffff }
	b := newNodeBench(t, withHomeAgent).attached(par)
	b.receive(par.bindingAck(b.lastUpdate(), [KeyLen]byte{}, long))
	b.receive(par.ack(b.lastRequest(), b.key))
	b.receive(par.solicit(b.n.State().CareOf, b.key, 1))
	b.advance(2 * time.Second)
	expires, key := b.n.State().Associations[0].Expires, b.key

	b.moved(nar)
	for _, u := range nodeOnly(b.sent, nodeSentBU) {
		if u.p.Dst == nodeTestHomeAgent {
			b.receive(nar.bindingAck(u.p, [KeyLen]byte{}, long))
		} else {
			b.receive(par.bindingAck(u.p, key))
		}
	}
	if !b.n.State().HomeBound || b.n.State().Associations[0].State != "bound" {
		t.Fatalf("%+v", b.n.State())
	}
	b.take()
	b.advance(expires.Sub(b.now))
	updates := nodeOnly(b.sent, nodeSentBU)
	if len(updates) == 0 || updates[0].p.Dst != nodeTestHomeAgent {
		t.Fatalf("LKE-MN-13: updates %+v before the association's end", updates)
	}
	if ahead := expires.Sub(updates[0].at); ahead != 64*time.Second {
		t.Errorf("LKE-MN-13: %v before the end, want 64 s: time for some repetitions", ahead)
	}
	if len(updates) < 5 {
		t.Errorf("LKE-MN-13: %d updates without an answer, want them repeated", len(updates))
	}
	if len(b.n.State().Associations) != 0 {
		t.Error("the association did not expire")
	}
}

// LKE-MN-2 and LKE-MN-11 do not wait for each other: both updates leave at the same moment, the one that moves the
// traffic first.
func TestNodeUpdatesBoth(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	plain := func(a *nodeUpdateAck) { a.HasAuth = false }
	b := newNodeBench(t, withHomeAgent).attached(par)
	b.receive(par.bindingAck(b.lastUpdate(), [KeyLen]byte{}, plain))
	b.exchange(par, 1)
	b.moved(nar)
	updates := nodeOnly(b.sent, nodeSentBU)
	if len(updates) != 2 || updates[0].p.Dst != par.global || updates[1].p.Dst != nodeTestHomeAgent ||
		updates[0].at != updates[1].at {
		t.Errorf("updates %+v", updates)
	}
	// To the home agent numbers go on from link to link.
	number := nodeSeq(updates[1].p)
	b.receive(nar.bindingAck(updates[1].p, [KeyLen]byte{}, plain))
	b.moved(par)
	for _, u := range nodeOnly(b.sent, nodeSentBU) {
		if u.p.Dst == nodeTestHomeAgent && nodeSeq(u.p) != number+1 {
			t.Errorf("number %d to the home agent after %d", nodeSeq(u.p), number)
		}
	}
}

// The table of associations is bounded: the oldest makes room.
func TestNodeAssociationsAreBounded(t *testing.T) {
	spki := nodeTestSPKI(t)
	b := newNodeBench(t)
	for i := range nodeMaxAssociations + 3 {
		r := newNodePeer(t, byte(i+1), spki)
		b.attached(r)
		b.advance(2 * time.Second) // nobody acknowledges the updates
		b.exchange(r, uint32(i))
	}
	got := b.n.State().Associations
	if len(got) != nodeMaxAssociations {
		t.Fatalf("%d associations, want %d", len(got), nodeMaxAssociations)
	}
	if !newNodePeer(t, 4, nil).prefix.Contains(got[0].Home) {
		t.Errorf("the oldest is %v, want that of the fourth link", got[0].Home)
	}
}

// Keys are not printed, whatever a program prints.
func TestNodePrintsNoKey(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	key := [KeyLen]byte{0xde, 0xad, 0xbe, 0xef, 0xde, 0xad, 0xbe, 0xef, 0xde, 0xad, 0xbe, 0xef, 0xde, 0xad, 0xbe, 0xef}
	b := newNodeBench(t, func(c *NodeConfig) { c.Rand = nodeRandom(1, key[:]...) })
	b.attached(par)
	e, ok := b.effect(EffectEncrypt)
	if !ok || e.Key != key {
		t.Fatal("the key is not the random one")
	}
	b.exchange(par, 1)
	b.moved(nar)
	for _, v := range []any{b.n, b.n.State(), e, Input{Kind: InKey, Key: key}, b.effects, &Record{Key: key}} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
			text := strings.ToLower(fmt.Sprintf(format, v))
			for _, leak := range []string{"222 173 190 239", "deadbeef", "0xde, 0xad", "\xde\xad\xbe\xef"} {
				if strings.Contains(text, leak) {
					t.Errorf("%s of %T shows the key: %s", format, v, text)
				}
			}
		}
	}
}

// Two routers on one prefix: the association for the address is with the one that was asked last.
func TestNodeReplacesAssociationOfOnePrefix(t *testing.T) {
	par, nar, third := nodeLinks(t)
	nar.prefix, nar.global = par.prefix, par.global.Next()
	b := newNodeBench(t).associated(par)
	b.step(Input{Kind: InAttached})
	b.receive(nar.advert())
	b.exchange(nar, 2)
	got := b.n.State().Associations
	if len(got) != 1 || got[0].Router != nar.global || got[0].State != "valid" {
		t.Fatalf("%+v, want one with %v", got, nar.global)
	}
	key := b.key
	b.moved(third)
	if p := b.lastUpdate(); p.Dst != nar.global || !mobility.VerifyBAD(p.Payload, key[:], p.Src, nar.global) {
		t.Errorf("update to %v", p.Dst)
	}
}

// What ends one association leaves the others alone.
func TestNodeRemovesOneAssociation(t *testing.T) {
	par, nar, third := nodeLinks(t)
	b := newNodeBench(t).associated(par)
	first, parKey := b.n.State().CareOf, b.key
	b.moved(nar)
	b.receive(par.bindingAck(b.lastUpdate(), parKey))
	b.exchange(nar, 2)
	second, narKey := b.n.State().CareOf, b.key
	b.moved(third)
	b.receive(nar.bindingAck(b.lastUpdateTo(nar), narKey, func(a *nodeUpdateAck) { a.Status = mobility.StatusProhibited }))
	if b.n.association(second) != nil || b.n.association(first) == nil {
		t.Errorf("LKE-resolution-h: %+v, want only that of the first router", b.n.State().Associations)
	}
	if b.counter("associations_lost") != 1 || b.counter("associations_expired") != 0 {
		t.Errorf("%d lost, %d expired", b.counter("associations_lost"), b.counter("associations_expired"))
	}
	b.advance(2 * time.Hour)
	if b.n.association(first) != nil || b.counter("associations_expired") == 0 {
		t.Errorf("%+v after two hours, %d expired", b.n.State().Associations, b.counter("associations_expired"))
	}
}
