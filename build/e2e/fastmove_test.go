package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/firmware/control"
)

// TestFastHandover moves nodes between two real routers, in every way that there is.
func TestFastHandover(t *testing.T) {
	t.Parallel()
	f := newFastWorld(t, "mixed")
	par, nar := f.par, f.nar
	r := par.fastRouter()

	t.Run("predictive", func(t *testing.T) {
		f.as(t)
		v := f.traveller(keys[4](), keys[5]())
		before, beforeNAR := par.snapshot(), nar.snapshot()
		s := v.stream()
		s.flows(false)
		old, far := par.nodes.mark(), nar.nodes.mark()
		v.predictive(30)
		// RFC 5568 section 6.2.3: the acknowledgement comes on the old link, and the node leaves then.
		ack := v.fastAck(par.nodes, old, v.Home, v.next, r)
		if ack.Status != 0 || ack.Lifetime != 30 {
			t.Errorf("acknowledgement %+v", ack)
		}
		v.leave()
		time.Sleep(60 * time.Millisecond) // without a link
		held := heldFor(nar.snapshot(), v.next)
		if held == nil || held.Packets < 20 {
			t.Errorf("the new router keeps %+v", held)
		}
		v.arrive()
		// It comes on the new link, too, kept with the packets.
		v.fastAck(nar.nodes, far, v.next, v.next, r)
		s.flows(true)
		if lost, reordered, repeated := s.end(); lost != 0 || reordered != 0 {
			t.Errorf("%d datagrams of %d were lost, %d came out of order, %d twice", lost, s.sent, reordered, repeated)
		}
		after := par.moved(before, "the handover", map[string]int64{
			"fmip/fast_updates_taken": 1, "fmip/initiates_sent": 1, "fmip/handover_acks_taken": 1, "fmip/fast_bindings_made": 1, "fmip/fast_acks_sent": 2,
		})
		if h := after.Handovers[0]; h.Protocol != "fmip" || h.Home != v.Home || h.CareOf != v.next || h.RouterUS <= 0 {
			t.Errorf("handover %+v", h)
		}
		nar.moved(beforeNAR, "the arrival", map[string]int64{
			"fmip/initiates_taken": 1, "fmip/handover_acks_sent": 1, "fmip/arrivals_prepared": 1, "fmip/arrival_holds": 1, "fmip/announcements_taken": 1,
		})
		// The node's own packets go by the tunnel, too (RFC 5568 section 6.2.3).
		p := par.peer()
		nar.nodes.send(v.Hardware, nar.access.Hardware, tunnelled(v.next, par.global, p.datagram(v.Home, "back")))
		if text, from := p.receive(time.Second); text != "back" || from != v.Home {
			t.Errorf("the correspondent has %q from %v", text, from)
		}

		// And home again: it says so from its old link, and nothing is forwarded any more (RFC 5568 section 5.6).
		v.comeBack()
		old = par.nodes.mark()
		par.nodes.fromCell(v.sendNode, v.update(r, v.Home, v.Home, 0).packet(), r)
		if ack := v.fastAck(par.nodes, old, v.Home, v.Home, r); ack.Status != 0 || ack.Lifetime != 0 {
			t.Errorf("acknowledgement of the return %+v", ack)
		}
		back := par.await("no binding, and the key", func(s control.Snapshot) bool { return bindingOf(s, v.Home) == nil && keyOf(s, v.Home) != nil })
		if back.Handovers[0].Ended == "" {
			t.Errorf("handover %+v", back.Handovers[0])
		}
		home := v.stream()
		home.flows(false)
		if lost, _, repeated := home.end(); lost+repeated != 0 {
			t.Errorf("after the return %d datagrams of %d were lost, %d came twice", lost, home.sent, repeated)
		}
	})

	t.Run("too early", func(t *testing.T) {
		f.as(t)
		// The node leaves with its update, and hears the acknowledgement on the new link alone.
		v := f.traveller(keys[6](), keys[5]())
		s := v.stream()
		s.flows(false)
		far := nar.nodes.mark()
		v.predictive(30)
		v.leave()
		time.Sleep(20 * time.Millisecond)
		v.arrive()
		if ack := v.fastAck(nar.nodes, far, v.next, v.next, r); ack.Status != 0 {
			t.Errorf("acknowledgement %+v", ack)
		}
		s.flows(true)
		// What was on its way over the air is lost, and no more: HI and HAck take the time of a few datagrams.
		if lost, reordered, _ := s.end(); lost > 30 || reordered != 0 {
			t.Errorf("%d datagrams of %d were lost, %d came out of order", lost, s.sent, reordered)
		}
	})

	t.Run("reactive", func(t *testing.T) {
		f.as(t)
		v := f.traveller(keys[7](), keys[5]())
		before, beforeNAR := par.snapshot(), nar.snapshot()
		v.leave()
		v.come()
		far := nar.nodes.mark()
		v.reactive(30)
		if ack := v.fastAck(nar.nodes, far, v.next, v.next, r); ack.Status != 0 || ack.Lifetime != 30 {
			t.Errorf("acknowledgement %+v", ack)
		}
		s := v.stream()
		s.flows(true)
		if lost, reordered, repeated := s.end(); lost+reordered+repeated != 0 {
			t.Errorf("%d datagrams of %d were lost, %d came out of order, %d twice", lost, s.sent, reordered, repeated)
		}
		par.moved(before, "the handover", map[string]int64{"fmip/fast_updates_taken": 1, "fmip/fast_bindings_made": 1, "fmip/initiates_sent": 1, "fmip/handover_acks_taken": 1})
		nar.moved(beforeNAR, "the router to vouch", map[string]int64{"fmip/initiates_taken": 1, "fmip/arrivals_vouched": 1})
		// The acknowledgement was lost, say: the same update again is answered again, and does nothing (RFC 5568 section 6.2.2).
		v.seq--
		far = nar.nodes.mark()
		again := par.snapshot()
		v.reactive(30)
		v.fastAck(nar.nodes, far, v.next, v.next, r)
		par.moved(again, "the repetition", map[string]int64{"fmip/fast_updates_repeated": 1})
	})

	t.Run("expiry", func(t *testing.T) {
		f.as(t)
		v := f.traveller(keys[8](), keys[5]())
		v.leave()
		v.come()
		far := nar.nodes.mark()
		v.reactive(1)
		v.fastAck(nar.nodes, far, v.next, v.next, r)
		// HK-AR-18: with the forwarding the key ends, too.
		before := par.await("the binding", func(s control.Snapshot) bool { return bindingOf(s, v.Home) != nil && keyOf(s, v.Home) != nil })
		par.await("neither binding nor key", func(s control.Snapshot) bool { return bindingOf(s, v.Home) == nil && keyOf(s, v.Home) == nil })
		after := par.moved(before, "both ends", map[string]int64{"fmip/fast_bindings_expired": 1, "handoverkey/keys_ended_with_forwarding": 1})
		// HK-AR-16: without a key nothing is forwarded.
		v.reactive(30)
		par.moved(after, "an update without a key", map[string]int64{"fmip/update_no_key": 1})
	})

	auditWire(t, par.nodes, par.access.Hardware, &par.sender, lanPrefix)
	auditWire(t, nar.nodes, nar.access.Hardware, &nar.sender, narPrefix)
}

func (w *world) snapshot() control.Snapshot {
	w.t.Helper()
	s, _ := w.status()
	return s
}

// heldFor is what is kept for an address.
func heldFor(s control.Snapshot, addr netip.Addr) *control.Held {
	for i := range s.Fast.Held {
		if s.Fast.Held[i].Addr == addr {
			return &s.Fast.Held[i]
		}
	}
	return nil
}
