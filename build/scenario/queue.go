package scenario

import (
	"slices"
	"time"

	"github.com/roamkey/roamkey/build/pcap"
)

// Queue is what the new router kept for the node, as the capture on both of its sides shows it.
type Queue struct {
	Packets   []Kept    // that did not go on at once, in the order in which they came
	Most      int       // of them at one time
	Empty     time.Time // when the last one left; zero if none was kept
	Overtaken int       // packets that left the router before one that had come earlier
}

// Kept is one packet's stay.
type Kept struct{ Came, Left time.Time }

// atOnce is what a packet's way through a router may take, where it is not kept.
const atOnce = 3 * time.Millisecond

// measureQueue looks at the packets that come to the new router and leave it for its cell. What leaves it otherwise, or never,
// is not the queue's.
func measureQueue(frames []pcap.Frame, uplink, cell int) Queue {
	type stay struct {
		seq uint64
		Kept
	}
	var stays []stay
	place := make(map[uint64]int)
	for _, f := range frames {
		came, left := f.Interface == uplink && !f.Outgoing, f.Interface == cell && f.Outgoing
		if !came && !left {
			continue
		}
		seq, _, ok := flowSeq(f)
		if !ok {
			continue
		}
		i, known := place[seq]
		switch {
		case came && !known:
			place[seq] = len(stays)
			stays = append(stays, stay{seq, Kept{Came: f.At}})
		case left && known && stays[i].Left.IsZero():
			stays[i].Left = f.At
		}
	}
	stays = slices.DeleteFunc(stays, func(s stay) bool { return s.Left.IsZero() })
	var q Queue
	var latest time.Time
	for _, s := range stays {
		if s.Left.Before(latest) {
			q.Overtaken++
		}
		latest = later(latest, s.Left)
		if s.Left.Sub(s.Came) > atOnce {
			q.Packets = append(q.Packets, s.Kept)
			q.Empty = later(q.Empty, s.Left)
		}
	}
	for _, k := range q.Packets {
		q.Most = max(q.Most, q.At(k.Came))
	}
	return q
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// At counts the packets that are kept at a moment.
func (q *Queue) At(at time.Time) int {
	n := 0
	for _, k := range q.Packets {
		if !k.Came.After(at) && k.Left.After(at) {
			n++
		}
	}
	return n
}
