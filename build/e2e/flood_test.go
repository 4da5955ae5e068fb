package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// sources is how many stations take part in a flood, a packet each.
const sources = 2000

// flood sends a packet of each source as fast as the wire takes them, and in the middle a bound node's binding update, which
// must be answered. It waits until all packets are counted, by one of the named counters or as dropped before, and gives
// how the counters moved, and the time that the update took.
func (b *bad) flood(via *station, packet func(n *rig.Node) *draft, counters ...string) (moved map[string]int64, took time.Duration) {
	t := b.t
	t.Helper()
	frames := make([]*draft, sources)
	for i := range frames {
		d := packet(b.node())
		octets := d.octets()
		d.bend = func([]byte) []byte { return octets }
		frames[i] = d
	}
	before, _ := b.status()
	mark := b.away.mark()
	var sent time.Time
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i, d := range frames {
			via.send(d.from, d.to, d.octets())
			if i == sources/2 {
				sent = time.Now()
				b.fromAway(b.roamer.Update(1000))
			}
		}
	}()
	<-done
	// A node asks again after a second if its update is lost, as any packet may be in a flood of the same kind.
	lost := int64(0)
	answered := func() bool {
		return len(b.away.since(mark, func(h *heard) bool { return acknowledges(h, b.roamer) })) > 0
	}
	for end := sent.Add(time.Second); !answered(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) && lost < 3 {
			lost++
			end = time.Now().Add(time.Second << lost)
			b.fromAway(b.roamer.Update(1000))
		}
		if time.Since(sent) > 20*time.Second {
			t.Fatal("the node's update is not answered")
		}
	}
	h, ack := b.acknowledgement(mark, b.roamer)
	if ack.Status != mobility.StatusAccepted {
		t.Errorf("the node's update is answered with status %d", ack.Status)
	}
	// What is full drops the newest, and counts it.
	counters = append(counters, "rawip/drop_queue_full", "rawip/drop_urgent_queue_full", "rawip/drop_kernel_buffer_full")
	b.await("all packets to be counted", func(s control.Snapshot) bool {
		moved = changes(before, s)
		var sum int64
		for _, name := range counters {
			sum += moved[name]
		}
		if sum > sources+lost {
			t.Fatalf("%d packets counted of %d: %v", sum, sources+lost, moved)
		}
		return sum == sources+lost
	})
	return moved, h.at.Sub(sent)
}

// soon judges how long a binding update took in a flood of something else: it is not lost. A second is what a node waits
// before it asks again.
func soon(t *testing.T, took time.Duration) {
	t.Helper()
	if took > time.Second {
		t.Errorf("the binding update took %v", took)
	}
}

// The flood tests run one by one, before the parallel ones: all namespaces share the kernel's one neighbour table
// (gc_thresh3), which two thousand sources fill, so that others could not send.

// TestFloodOfRequestsForNothing is turned away by cheap tests.
func TestFloodOfRequestsForNothing(t *testing.T) {
	b := newBad(t)
	was, _ := b.status()
	moved, took := b.flood(b.nodes, func(n *rig.Node) *draft {
		d := b.asRequest(n)
		d.HomeAddress = correspondent
		return d
	}, "lke/request_not_in_prefix")
	soon(t, took)
	if n := moved["engine/engine_submitted"]; n != 0 {
		t.Errorf("%d RSA operations", n)
	}
	is, _ := b.status()
	if is.LBSAs.Total != was.LBSAs.Total {
		t.Errorf("%d associations, before %d", is.LBSAs.Total, was.LBSAs.Total)
	}
}

// TestFloodOfRequests passes every cheap test: each costs what it can cost, and no more nodes than the limit are kept.
func TestFloodOfRequests(t *testing.T) {
	b := &bad{world: newWorld(t)}
	const limit = 256
	b.options.Settings = replace(settings, "option workers '1'", "option workers '1'\n\toption max_nodes '256'")
	b.start()
	b.victim, b.roamer = b.node(), b.node()
	b.associate(b.victim)
	b.associate(b.roamer)
	b.nodes.detach(b.victim)
	b.move(b.roamer, 1000)
	most := 0
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				if s, err := b.d.Status(); err == nil {
					most = max(most, s.LBSAs.Total)
				}
			}
		}
	}()
	moved, took := b.flood(b.nodes, b.asRequest, "lke/requests_taken", "lke/request_node_limit")
	close(stop)
	<-watched
	soon(t, took)
	if moved["lke/requests_taken"] == 0 || most > limit {
		t.Errorf("%d requests taken, %d associations at one time, limit %d", moved["lke/requests_taken"], most, limit)
	}
	s := b.await("each key to be found or lost, and the flood's associations to be void", func(s control.Snapshot) bool {
		c := s.Counters["lke"]
		return c["requests_taken"] == c["keys_received"]+c["key_queue_full"] && s.LBSAs.Total == 2
	})
	if stateOf(s, b.victim) != "valid" || stateOf(s, b.roamer) != "bound" || s.Counters["lke"]["associations_made"] != 2 {
		t.Errorf("%d associations made, there are %+v", s.Counters["lke"]["associations_made"], s.LBSAs.List)
	}
}

// TestFloodOfUpdates is binding updates of strangers, who hear of it no more often than the limit says (LKE-resolution-j).
func TestFloodOfUpdates(t *testing.T) {
	b := newBad(t)
	mark, start := b.away.mark(), time.Now()
	moved, _ := b.flood(b.away, func(n *rig.Node) *draft { return b.asUpdate(n, nil) }, "lke/update_no_association")
	b.fence()
	answers := int64(len(b.away.since(mark, errorAck(mobility.StatusNotHomeAgent, false))))
	most := 20 + int64(time.Since(start).Seconds()*10) + 1
	if answers != moved["lke/binding_acks_refusing"] || answers == 0 || answers > most {
		t.Errorf("LKE-resolution-j: %d answers heard, %d counted, at most %d may be", answers, moved["lke/binding_acks_refusing"], most)
	}
	if moved["engine/engine_submitted"] != 0 || moved["lke/bindings_made"] != 1 {
		t.Errorf("counters moved: %v", moved)
	}
}

// TestFloodOfUnknownTypes is mobility headers of a type that nobody knows: Binding Error 2, and not many (RFC 6275 section
// 9.2).
func TestFloodOfUnknownTypes(t *testing.T) {
	b := newBad(t)
	mark, start := b.away.mark(), time.Now()
	b.flood(b.away, func(n *rig.Node) *draft {
		return b.fromCareOf(n, []byte{ipv6.ProtoNoNext, 1, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	}, "daemon/drop_mh_unknown_type")
	b.fence()
	errors := b.away.since(mark, mobilityType(mobility.TypeBE))
	if most := 20 + int(time.Since(start).Seconds()*10) + 1; len(errors) == 0 || len(errors) > most {
		t.Errorf("%d Binding Errors, at most %d may be", len(errors), most)
	}
	for _, h := range errors {
		header, err := mobility.ParseHeader(h.Payload)
		check(t, err)
		m, err := mobility.ParseBindingError(header)
		if err != nil || m.Status != mobility.ErrorUnrecognizedType || h.Src != routerAddr || !lanPrefix.Contains(m.HomeAddress) {
			t.Fatalf("Binding Error %+v from %v, %v", m, h.Src, err)
		}
	}
}

// TestFloodOfSolicitations asks for routers: a few hosts are told alone, all others by advertisements to all nodes, which do
// not come more often for that.
func TestFloodOfSolicitations(t *testing.T) {
	b := newBad(t)
	mark, start := b.nodes.mark(), time.Now()
	_, took := b.flood(b.nodes, func(n *rig.Node) *draft {
		rs := icmp(n.Local, ipv6.AllRouters(), ndp.AppendRouterSolicit(nil, n.Local, ipv6.AllRouters(), sourceLink(n)))
		return &draft{from: n.Hardware, to: ipv6.MulticastLinkAddr(ipv6.AllRouters()), bend: func([]byte) []byte { return rs }}
	}, "ra lan/rs_received")
	soon(t, took)
	// Those that are owed come within half a second.
	time.Sleep(600 * time.Millisecond)
	elapsed := time.Since(start)
	all, alone := 0, 0
	for _, h := range b.nodes.since(mark, icmpType(ndp.TypeRouterAdvert)) {
		if h.Dst == ipv6.AllNodes() {
			all++
		} else {
			alone++
		}
	}
	if most := int(elapsed/(50*time.Millisecond)) + 1; all > most {
		t.Errorf("%d advertisements to all nodes in %v, at most %d may be", all, elapsed, most)
	}
	if most := 32 + int(elapsed.Seconds()*16) + 1; alone == 0 || alone > most {
		t.Errorf("%d hosts were told alone, at most %d may be", alone, most)
	}
}

// TestFloodDoesNotFillTheLog: what strangers can bring about is told now and then, with how much was not told.
func TestFloodDoesNotFillTheLog(t *testing.T) {
	b := &bad{world: newWorld(t)}
	b.options.Settings = replace(settings, "log_level 'debug'", "log_level 'info'")
	b.start()
	start := time.Now()
	const requests, burst = 400, 40 // as many at one time as no queue drops
	for sent := 0; sent < requests; sent += burst {
		for range burst {
			d := b.asRequest(b.node())
			b.nodes.send(d.from, d.to, d.octets())
		}
		b.await("the keys to be found", func(s control.Snapshot) bool { return s.Counters["lke"]["keys_received"] == uint64(sent+burst) })
	}
	s := b.await("the associations to be void", func(s control.Snapshot) bool { return s.Counters["lke"]["dad_unanswered"] == requests })
	told := strings.Count(b.d.Log(), "dad-failed")
	if most := 100 + int(10*time.Since(start).Seconds()) + 1; told == 0 || told > most {
		t.Errorf("%d of %d failures are told, at most %d may be", told, requests, most)
	}
	if n := s.Counters["daemon"]["events_unlogged"]; n != uint64(requests-told) {
		t.Errorf("%d of %d failures are told, and %d events counted that are not", told, requests, n)
	}
	time.Sleep(200 * time.Millisecond)
	b.associate(b.node())
	b.awaitLog("warn", "events were not logged", "count=")
}
