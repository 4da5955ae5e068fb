package e2e

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp/cga"
)

// floodSources is how many stations take part in a flood, two packets each.
const floodSources = 3000

// TestFloodOfStrangers sends what costs much from ever other addresses, signed by nobody and with signatures that are wrong: the
// caches stay bounded, none of what is there changes, and who has a key is served meanwhile. It runs before the parallel tests,
// as the other floods do.
func TestFloodOfStrangers(t *testing.T) {
	b := newBadFast(t, "mixed")
	before := b.snapshot()

	// Each has a link-layer address, and a CGA that is really one: so that its signature has to be verified.
	frames := make([]*forgery, 0, 2*floodSources)
	packets := make([][]byte, 0, 2*floodSources)
	signature := make([]byte, keys[8]().Size())
	rand.Read(signature[1:])
	for i := range floodSources {
		n := &sendNode{sender: crowd(i), Hardware: ipv6.LinkAddr{2, 0xf1}}
		binary.BigEndian.PutUint32(n.Hardware[2:], uint32(i))
		n.Home, n.pair = n.in(lanPrefix), keys[9]()
		plain := proxySolicit(n.Home, n.Hardware, b.r, []ipv6.LinkAddr{farPoint}, keyRequest(0, &n.pair.PublicKey))
		f := b.asSolicit(n)
		f.ready = signature
		if i%2 == 1 {
			f = b.asProxySolicit(n)
			f.ready = signature
		}
		frames, packets = append(frames, f, f), append(packets, f.packet(), plain)
	}

	var times []time.Duration
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i, p := range packets {
			b.nodes.send(frames[i].from, frames[i].to, p)
			if i%20 == 0 {
				time.Sleep(2 * time.Millisecond) // what the wire takes, and not all at once in a queue
			}
		}
	}()
	// A node that has moved goes on asking, and a node that is here asks for its key.
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(50 * time.Millisecond):
		}
		mark, sent := b.away.mark(), time.Now()
		b.fromAway(b.roamer.update(b.r, b.careOf, b.careOf, 60).packet())
		h := b.away.hear(mark, "the acknowledgement in the flood", func(h *heard) bool {
			m, ok := parseFastAck(h)
			return acks(b.careOf)(h) && ok && m.Seq == b.roamer.seq
		})
		times = append(times, h.at.Sub(sent))
		s := b.snapshot()
		if l := link1(s); l.Peers > 1024 || l.Secured+l.Unsecured > 512 || l.Verifying > 64 || l.Signing > 64 {
			t.Errorf("in the flood there are %+v", l)
		}
		time.Sleep(200 * time.Millisecond) // four updates a second are taken of one node
	}
	slices.Sort(times)
	t.Logf("%d updates in the flood, the slowest after %v, the median after %v", len(times), times[len(times)-1], times[len(times)/2])
	if median := times[len(times)/2]; median > 100*time.Millisecond || len(times) < 2 {
		t.Errorf("in the flood %d updates were acknowledged after %v", len(times), times)
	}

	after := b.await("the flood to be worked off", func(s control.Snapshot) bool { return link1(s).Verifying == 0 && link1(s).Signing == 0 })
	moved := changes(before, after)
	if was, is := forwardingState(before), forwardingState(after); was != is {
		t.Errorf("state was\n%s\nand is\n%s", was, is)
	}
	for _, name := range []string{"handoverkey/keys_made", "engine/engine_encrypted", "neighbor lan/neighbours_secured", "send lan/secured"} {
		if moved[name] != 0 {
			t.Errorf("%s moved by %d", name, moved[name])
		}
	}
	// All is counted: taken to be verified and found wrong, or dropped for a reason that says where there was no room.
	var sum int64
	for _, name := range []string{
		"send lan/unsecured_bad_signature", "send lan/dropped_limit", "send lan/dropped_source_limit", "send lan/dropped_queue_full", "send lan/dropped_too_late",
		"send lan/unsecured_no_signature", "fmip/solicit_rate", "fmip/solicit_rate_source", "rawip/drop_queue_full", "rawip/drop_kernel_buffer_full",
	} {
		sum += moved[name]
	}
	if sum != int64(len(packets)) {
		t.Errorf("%d packets of %d are counted: %v", sum, len(packets), moved)
	}
	for _, name := range []string{"send lan/unsecured_bad_signature", "fmip/solicit_rate"} {
		if moved[name] == 0 {
			t.Errorf("%s did not move: %v", name, moved)
		}
	}
	if got := int64(after.Counters["fmip"]["proxy_adverts_sent"] - before.Counters["fmip"]["proxy_adverts_sent"]); got > 1500 {
		t.Errorf("%d of them were answered", got)
	}
	// HK-AR-20: and who comes after it is served as before.
	if b.victim.askKey(b.r, 0, b.victim.pair); b.victim.handover == nil {
		t.Error("no key after the flood")
	}
}

// crowd makes a sender with a modifier of its own, of a key that all of a flood share.
func crowd(i int) sender {
	s := sender{key: keys[8](), params: cga.Params{PublicKey: spkiOf(&keys[8]().PublicKey)}}
	binary.BigEndian.PutUint32(s.params.Modifier[:], uint32(i))
	return s
}
