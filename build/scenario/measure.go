package scenario

import (
	"slices"
	"time"
)

// Arrival is one packet that the node received.
type Arrival struct {
	Seq    uint64
	At     time.Time
	Tunnel bool // it came through the old router's tunnel
}

// Flow is all that the correspondent sent and the node received.
type Flow struct {
	Sent     []time.Time // by sequence number, which counts from 0
	Arrivals []Arrival   // in the order of arrival
	End      time.Time   // when the node stopped receiving
}

// Fate is what became of one packet.
type Fate uint8

// Fates.
const (
	Lost Fate = iota
	Direct
	Forwarded // through the tunnel of the old router
)

// Loss is what a move cost the flow.
type Loss struct {
	Sent, Lost, Duplicates, Forwarded int
	Reordered                         int // arrived after one that was sent later

	// Last is the last arrival before the node's link went down, First the first one after. First is zero if none came.
	Last, First time.Time
	Gap         time.Duration // from Last to First, or to the end of the flow
	Fates       []Fate        // by sequence number

	// Times tells for each packet when it arrived; for a lost one, when it would have: after the time that packets took
	// before the move.
	Times []time.Time
}

// Measure tells what a move that began at down cost. A duplicate counts once.
func (f Flow) Measure(down time.Time) Loss {
	l := Loss{Sent: len(f.Sent), Fates: make([]Fate, len(f.Sent)), Times: make([]time.Time, len(f.Sent)), Last: down}
	seen := false
	latest := uint64(0) // sequence number
	var transits []time.Duration
	for _, a := range f.Arrivals {
		if a.Seq >= uint64(len(l.Fates)) {
			continue // a stray packet of somebody else
		}
		if l.Fates[a.Seq] != Lost {
			l.Duplicates++
			continue
		}
		l.Fates[a.Seq], l.Times[a.Seq] = Direct, a.At
		if a.Seq < latest {
			l.Reordered++
		}
		latest = max(latest, a.Seq)
		switch {
		case !a.At.After(down):
			transits = append(transits, a.At.Sub(f.Sent[a.Seq]))
			if !seen || a.At.After(l.Last) {
				l.Last, seen = a.At, true
			}
			continue
		case a.Tunnel:
			l.Fates[a.Seq] = Forwarded
			l.Forwarded++
		}
		if l.First.IsZero() || a.At.Before(l.First) {
			l.First = a.At
		}
	}
	transit := time.Duration(0)
	if len(transits) > 0 {
		slices.Sort(transits)
		transit = transits[len(transits)/2]
	}
	for seq, fate := range l.Fates {
		if fate == Lost {
			l.Lost++
			l.Times[seq] = f.Sent[seq].Add(transit)
		}
	}
	end := l.First
	if end.IsZero() {
		end = f.End
	}
	l.Gap = max(end.Sub(l.Last), 0)
	return l
}

// Part is one share of the gap.
type Part struct {
	Name  string
	Took  time.Duration
	Story string // what happened meanwhile
}

// Moments are the points between which the gap is divided. A zero one did not happen; its share goes to the next.
type Moments struct {
	LastPacket  time.Time // the last packet arrived
	LinkUp      time.Time // the node's link was up in the new cell
	Address     time.Time // the node could use its new address
	Updated     time.Time // the node sent its Binding Update
	Arrived     time.Time // the Binding Update reached the router
	Announced   time.Time // the node told the new router that it is there; of a move that was prepared
	Router      time.Duration
	FirstPacket time.Time
	End         time.Time // when one stopped looking
}

// Divide tells where the gap went. The parts add up to it.
func (m Moments) Divide() []Part {
	parts := make([]Part, 0, 5)
	at := m.LastPacket
	until := func(t time.Time, name, story string) {
		if t.IsZero() {
			return
		}
		if t.Before(at) {
			t = at
		}
		parts = append(parts, Part{Name: name, Took: t.Sub(at), Story: story})
		at = t
	}
	until(m.LinkUp, "link", "the radio was between two cells")
	if !m.Announced.IsZero() {
		until(m.Announced, "attach", "the node announced itself to the new router")
		until(m.FirstPacket, "delivery", "the new router sent what it had kept")
		return slices.Clip(parts)
	}
	if m.Updated.IsZero() {
		until(m.Address, "attach", "router advertisement, new address")
	} else {
		until(m.Updated, "attach", "router advertisement, new address")
	}
	until(m.Arrived, "binding", "the Binding Update was on its way")
	if !m.Arrived.IsZero() && m.Router > 0 {
		until(m.Arrived.Add(m.Router), "router", "it was checked, and forwarding put in place")
	}
	if m.FirstPacket.IsZero() {
		until(m.End, "nobody", "the old address is nobody's any more")
	} else {
		until(m.FirstPacket, "delivery", "the next packet was on its way")
	}
	return slices.Clip(parts)
}
