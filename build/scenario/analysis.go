package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Analysis is what a report tells when one looks at it.
type Analysis struct {
	Loss     Loss
	Moments  Moments
	Parts    []Part
	Result   Result
	Steps    []Step
	Messages []Message // as the node sent and received them
}

// Step is one line of the timeline.
type Step struct {
	At       time.Time
	From, To string // who; To is empty for what happens at one place
	What     string // a message's name, or the event
	Detail   string
	Message  Kind // of a message
	After    bool // of the move
}

// MaxDetail is the length of the longest Detail of a Step, so that a line of it fits a console.
const MaxDetail = 34

// Names in the timeline.
const (
	NodeName = "node"
	PARName  = "old router"
	NARName  = "new router"
	HomeName = "home agent"
)

// Analyse looks at a report. It takes messages from the capture and times of the node's own doings from what it told.
func (r *Report) Analyse() Analysis {
	r.Flow.markTunnel(r.Frames, atNode, r.Topology.PAR.Address)
	a := Analysis{Loss: r.Flow.Measure(r.Down)}
	var seen [places][]Message
	for _, f := range r.Frames {
		if m, ok := Decode(f); ok && f.Interface < places {
			seen[f.Interface] = append(seen[f.Interface], m)
		}
	}
	a.Messages = seen[atNode]
	a.Moments = Moments{LastPacket: a.Loss.Last, LinkUp: r.Up, FirstPacket: a.Loss.First, End: r.Flow.End}
	if r.Handover != nil {
		a.Moments.Router = time.Duration(r.Handover.RouterUS) * time.Microsecond
	}
	// Who is told of the new address, that packets follow: the old router, or without LKE the home agent.
	told, place := r.Topology.PAR.Address, atPARUplink
	if !r.Options.LKE {
		told, place = r.Topology.HomeAgent, atHome
	}
	for _, m := range a.Messages {
		if m.Kind != Update || !m.Outgoing || !m.At.After(r.Down) || m.Dst != told {
			continue
		}
		a.Moments.Updated = m.At
		for _, o := range seen[place] {
			if !o.Outgoing && o.Same(m) {
				a.Moments.Arrived = o.At
			}
		}
		break
	}
	for _, l := range r.Lines {
		if l.Event == "address-ready" && l.Time.After(r.Down) && a.Moments.Address.IsZero() {
			a.Moments.Address = l.Time
		}
	}
	a.Parts = a.Moments.Divide()
	a.Result = Result{
		Protocol: r.Options.Label(), Sent: a.Loss.Sent, Lost: a.Loss.Lost, Gap: a.Loss.Gap,
		Router: a.Moments.Router, Forwarded: a.Loss.Forwarded,
	}
	a.Steps = r.steps(a)
	return a
}

// steps makes the timeline: each kind of message once before the move and once after it, with what the node did.
func (r *Report) steps(a Analysis) []Step {
	var steps []Step
	type key struct {
		kind  Kind
		after bool
		to    string
	}
	told := make(map[key]bool)
	for _, m := range a.Messages {
		after := m.At.After(r.Down)
		if after && m.At.Before(r.Up) {
			continue
		}
		s := Step{At: m.At, What: string(m.Kind), Detail: m.Detail, Message: m.Kind, After: after}
		peer := r.peer(m)
		s.From, s.To = peer, NodeName
		if m.Outgoing {
			s.From, s.To = NodeName, peer
		}
		if k := (key{m.Kind, after, peer}); told[k] {
			continue
		} else {
			told[k] = true
		}
		steps = append(steps, s)
	}
	for _, l := range r.Lines {
		s := Step{At: l.Time, From: NodeName, After: l.Time.After(r.Down)}
		switch l.Event {
		case "address-ready":
			s.What, s.Detail = "address", l.Home.String()
		case "lbsa-valid":
			s.What, s.Detail = "key valid", "with the "+r.routerName(l.Router)
		case "tunnel-open":
			s.What, s.Detail = "tunnel", "open, from the "+r.routerName(l.Router)
		default:
			continue
		}
		steps = append(steps, s)
	}
	steps = append(steps, Step{At: r.Down, From: NodeName, What: "link down", After: true}, Step{At: r.Up, From: NodeName, What: "link up", After: true})
	if r.Handover != nil && r.Options.LKE && !a.Moments.Arrived.IsZero() {
		steps = append(steps, Step{
			At: a.Moments.Arrived.Add(a.Moments.Router), From: PARName, What: "forwarding", After: true,
			Detail: fmt.Sprintf("in place, %d us after the BU", a.Moments.Router.Microseconds()),
		})
	}
	if at := r.homeAgain(a); !at.IsZero() {
		steps = append(steps, Step{At: at, From: NodeName, What: HomeAgain, Detail: "past the old router", After: true})
	}
	if !a.Loss.First.IsZero() {
		s := Step{At: a.Loss.First, From: NodeName, What: "first packet", After: true}
		switch {
		case a.Loss.Forwarded > 0:
			s.Detail = "forwarded by the old router"
		case r.Topology.Home != nil:
			s.Detail = "from the home agent"
		}
		steps = append(steps, s)
	}
	slices.SortStableFunc(steps, func(x, y Step) int { return x.At.Compare(y.At) })
	return steps
}

// HomeAgain is the step at which packets take the ordinary way again, after they were forwarded.
const HomeAgain = "direct again"

// homeAgain finds the first packet after the move that came past the old router; the zero Time where none was forwarded.
func (r *Report) homeAgain(a Analysis) time.Time {
	if a.Loss.Forwarded == 0 {
		return time.Time{}
	}
	var first time.Time
	for seq, fate := range a.Loss.Fates {
		if at := a.Loss.Times[seq]; fate == Direct && at.After(a.Loss.First) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// peer names who is at the other end of a message of the node.
func (r *Report) peer(m Message) string {
	t := r.Topology
	switch {
	case m.Src == t.PAR.Address || m.Dst == t.PAR.Address:
		return PARName
	case m.Src == t.NAR.Address || m.Dst == t.NAR.Address:
		return NARName
	case t.HomeAgent.IsValid() && (m.Src == t.HomeAgent || m.Dst == t.HomeAgent):
		return HomeName
	case m.At.After(r.Down): // what is link-local comes from the router of the cell
		return NARName
	}
	return PARName
}

func (r *Report) routerName(addr netip.Addr) string {
	switch addr {
	case r.Topology.PAR.Address:
		return PARName
	case r.Topology.HomeAgent:
		return HomeName
	}
	return NARName
}
