package scenario

import (
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// stays makes the frames of packets that came to the new router at one time each and left it at another; one that never left has
// a negative one.
func stays(times ...[2]int) []pcap.Frame {
	var frames []pcap.Frame
	for seq, at := range times {
		frames = append(frames, frame(at[0], atNARUplink, false, tunnelled(parAddr, newCoA, datagram(uint64(seq), oldCoA))))
		if at[1] >= 0 {
			frames = append(frames, frame(at[1], atNARCell, true, tunnelled(parAddr, newCoA, datagram(uint64(seq), oldCoA))))
		}
	}
	return frames
}

// What is kept is known by how long it stays; what goes on at once, or never, is not in the queue.
func TestTheQueueIsWhatStays(t *testing.T) {
	q := measureQueue(stays([2]int{0, 0}, [2]int{1, 20}, [2]int{2, 20}, [2]int{3, 21}, [2]int{4, -1}, [2]int{30, 31}), atNARUplink, atNARCell)
	if len(q.Packets) != 3 || q.Most != 3 || q.Overtaken != 0 || !q.Empty.Equal(ms(21)) {
		t.Errorf("%d were kept, %d at a time, %d overtaken, until %v; want 3, 3, 0, 21 ms", len(q.Packets), q.Most, q.Overtaken, q.Empty.Sub(ms(0)))
	}
	for at, want := range map[int]int{0: 0, 1: 1, 2: 2, 19: 3, 20: 1, 21: 0} {
		if got := q.At(ms(at)); got != want {
			t.Errorf("at %d ms: %d packets, want %d", at, got, want)
		}
	}
}

func TestWhoLeavesTheQueueBeforeItsTurnIsSeen(t *testing.T) {
	if q := measureQueue(stays([2]int{1, 20}, [2]int{2, 19}, [2]int{30, 30}), atNARUplink, atNARCell); q.Overtaken != 1 {
		t.Errorf("%d packets overtook others, want one", q.Overtaken)
	}
}

// fastReport is a fast handover: packets are forwarded from 15 ms on, the node leaves at 20 (or at 12, too early), is there at 30
// and gets what was kept.
func fastReport(protocol Protocol) *Report {
	r := report()
	r.Options.Protocol, r.Frames, r.Lines = protocol, nil, nil
	r.Handover.RouterUS = 5000
	early := protocol == FMIPEarly
	if early {
		r.Down = ms(12)
	}
	r.Flow = Flow{End: ms(100)}
	for n := range 90 {
		r.Flow.Sent = append(r.Flow.Sent, ms(n))
		seq, at := uint64(n), n
		switch {
		case n < 15:
			r.Frames = append(r.Frames, frame(n, atPARCell, true, datagram(seq, oldCoA)))
			if early && n > 12 {
				continue
			}
			r.Frames = append(r.Frames, frame(n, atNode, false, datagram(seq, oldCoA)))
		default:
			at = max(n, 31+(n-15)/2) // twice as fast as they come
			r.Frames = append(r.Frames,
				frame(n, atNARUplink, false, tunnelled(parAddr, newCoA, datagram(seq, oldCoA))),
				frame(at, atNARCell, true, tunnelled(parAddr, newCoA, datagram(seq, oldCoA))),
				frame(at, atNode, false, tunnelled(parAddr, newCoA, datagram(seq, oldCoA))))
		}
		r.Flow.Arrivals = append(r.Flow.Arrivals, Arrival{Seq: seq, At: ms(at)})
	}
	update := fastUpdatePacket()
	r.Frames = append(r.Frames,
		frame(10, atNode, true, update), frame(10, atPARCell, false, update),
		frame(11, atPARUplink, true, mobilityPacket(ipv6.Header{Src: parAddr, Dst: narAddr, HopLimit: 64}, mobility.HandoverInitiate{Buffer: true, LinkAddr: ipv6.LinkAddr{2}}.Append(nil))),
		frame(14, atPARUplink, false, mobilityPacket(ipv6.Header{Src: narAddr, Dst: parAddr, HopLimit: 64}, mobility.HandoverAck{}.Append(nil))),
		frame(30, atNode, true, announcement()),
	)
	if !early {
		r.Frames = append(r.Frames, frame(16, atNode, false, fastAckPacket()))
	}
	return r
}

var fastAuth = mobility.FastAuth{Present: true}

func fastUpdatePacket() []byte {
	fbu := mobility.FastBindingUpdate{Seq: 1, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: 10, AlternateCareOf: newCoA, Auth: fastAuth}
	return mobilityPacket(ipv6.Header{Src: oldCoA, Dst: parAddr, HopLimit: 64, HomeAddress: oldCoA}, fbu.Append(nil))
}

func fastAckPacket() []byte {
	return mobilityPacket(ipv6.Header{Src: parAddr, Dst: oldCoA, HopLimit: 64}, mobility.FastBindingAck{Seq: 1, Lifetime: 10, Auth: fastAuth}.Append(nil))
}

func announcement() []byte {
	return icmp(newCoA, ipv6.AllNodes(), ndp.AppendNeighborAdvert(nil, newCoA, ipv6.AllNodes(), 0, newCoA, targetLink()))
}

func targetLink() []byte { return []byte{2, 1, 0x02, 0, 0x5e, 0, 0, 0x99} }

func TestAnalysisOfAFastHandover(t *testing.T) {
	a := fastReport(FMIP).Analyse()
	want := Result{Protocol: FMIP, Sent: 90, Gap: 17 * time.Millisecond, Router: 5 * time.Millisecond, Forwarded: 75, Held: a.Queue.Most}
	if a.Result != want || !a.Acked || a.Queue.Most < 10 {
		t.Errorf("result %+v (acknowledged: %v)\nwant   %+v, acknowledged, 10 held or more", a.Result, a.Acked, want)
	}
	if err := a.Check(time.Millisecond); err != nil {
		t.Error(err)
	}
	var parts, steps []string
	var sum time.Duration
	for _, p := range a.Parts {
		parts = append(parts, p.Name)
		sum += p.Took
	}
	if len(parts) != 3 || parts[0] != "link" || parts[1] != "attach" || parts[2] != "delivery" || sum != a.Loss.Gap {
		t.Errorf("parts %q, together %v; want link attach delivery, %v", parts, sum, a.Loss.Gap)
	}
	for _, s := range a.Steps {
		steps = append(steps, s.From+">"+s.To+" "+s.What)
		if len(s.Detail) > MaxDetail {
			t.Errorf("%q is longer than a line has room for", s.Detail)
		}
	}
	wantSteps := []string{
		"node>old router FBU", "old router>new router HI", "new router>old router HAck", "old router> forwarding", "old router>node FBack",
		"node> link down", "node>new router UNA", "node> link up", "node> first packet", "new router> queue empty",
	}
	for i := range max(len(steps), len(wantSteps)) {
		if i >= len(steps) || i >= len(wantSteps) || steps[i] != wantSteps[i] {
			t.Fatalf("steps %q\nwant  %q", steps, wantSteps)
		}
	}
}

// Who leaves too early loses what the old router sent into its cell until it had the other one's answer, and no more.
func TestAnalysisOfANodeThatLeavesTooEarly(t *testing.T) {
	a := fastReport(FMIPEarly).Analyse()
	if a.Acked || a.Loss.Lost != 2 || a.InFlight != 2 {
		t.Errorf("%d lost, %d in flight, acknowledged: %v; want 2, 2, false", a.Loss.Lost, a.InFlight, a.Acked)
	}
	if err := a.Check(time.Millisecond); err != nil {
		t.Error(err)
	}
	for name, lose := range map[string]int{"long before": 0, "later": 80} {
		r := fastReport(FMIPEarly)
		r.Flow.Arrivals = slices.Delete(r.Flow.Arrivals, lose, lose+1)
		if a := r.Analyse(); a.Check(time.Millisecond) == nil {
			t.Errorf("a packet that was lost %s was taken for one in flight", name)
		}
	}
}
