package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/build/pcap"
)

// Analysis is what a report tells when one looks at it.
type Analysis struct {
	Loss     Loss
	Moments  Moments
	Parts    []Part
	Result   Result
	Steps    []Step
	Messages []Message // as the node sent and received them, and what the routers said to each other
	Queue    Queue     // at the new router
	InFlight int       // packets that the old router put into its cell when the node had left, before it forwarded
	Acked    bool      // the old router's FBack reached the node before it left
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
	a.Messages = slices.Clone(seen[atNode])
	for _, m := range seen[atPARUplink] {
		if m.Kind == Initiate || m.Kind == InitiateAck {
			a.Messages = append(a.Messages, m)
		}
	}
	slices.SortStableFunc(a.Messages, func(x, y Message) int { return x.At.Compare(y.At) })
	a.Moments = Moments{LastPacket: a.Loss.Last, LinkUp: r.Up, FirstPacket: a.Loss.First, End: r.Flow.End}
	if r.Handover != nil {
		a.Moments.Router = time.Duration(r.Handover.RouterUS) * time.Microsecond
	}
	if r.Options.Protocol.Fast() {
		r.fastMoments(&a, seen[atPARCell])
	} else {
		r.moments(&a, seen)
	}
	a.Parts = a.Moments.Divide()
	a.Result = Result{
		Protocol: r.Options.Protocol, Sent: a.Loss.Sent, Lost: a.Loss.Lost, Gap: a.Loss.Gap,
		Router: a.Moments.Router, Forwarded: a.Loss.Forwarded, Held: a.Queue.Most, Reordered: a.Loss.Reordered,
	}
	a.Steps = r.steps(a)
	return a
}

// moments finds those of a move of which somebody is told afterwards.
func (r *Report) moments(a *Analysis, seen [places][]Message) {
	// Who is told of the new address, that packets follow: the old router, or without LKE the home agent.
	told, place := r.Topology.PAR.Address, atPARUplink
	if r.Options.Protocol == None {
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
}

// fastMoments finds those of a move that the routers prepared.
func (r *Report) fastMoments(a *Analysis, atPAR []Message) {
	a.Queue = measureQueue(r.Frames, atNARUplink, atNARCell)
	for _, m := range a.Messages {
		switch {
		case m.Kind == Announce && m.Outgoing && m.At.After(r.Down) && a.Moments.Announced.IsZero():
			a.Moments.Announced = m.At
		case m.Kind == FastAck && !m.Outgoing && m.At.Before(r.Down):
			a.Acked = true
		}
	}
	for _, m := range atPAR {
		if m.Kind == FastUpdate && !m.Outgoing {
			a.Moments.Arrived = m.At
			break
		}
	}
	if !a.Moments.Arrived.IsZero() && a.Moments.Router > 0 {
		a.InFlight = inFlight(r.Frames, a.Loss, r.Down, a.Moments.Arrived.Add(a.Moments.Router))
	}
}

// slack is how exact the moments are at which the node left, and at which the old router says that it forwards.
const slack = 2 * time.Millisecond

// inFlight counts the packets that were on their way in the old cell when the node left it, or that its router put there
// before it forwarded, for which it has to have the new router's answer.
func inFlight(frames []pcap.Frame, loss Loss, down, forwarding time.Time) int {
	n := 0
	for _, f := range frames {
		if f.Interface != atPARCell || !f.Outgoing || f.At.Before(down.Add(-slack)) || f.At.After(forwarding.Add(slack)) {
			continue
		}
		seq, _, ok := flowSeq(f)
		if ok && seq < uint64(len(loss.Fates)) && (f.At.After(down) || loss.Fates[seq] == Lost) {
			n++
		}
	}
	return n
}

// steps makes the timeline: each kind of message once before the move and once after it, with what the node did.
func (r *Report) steps(a Analysis) []Step {
	var steps []Step
	type key struct {
		kind  Kind
		after bool
		to    string
		says  string // of the messages that are for more than one purpose
	}
	told := make(map[key]bool)
	for _, m := range a.Messages {
		after := m.At.After(r.Down)
		if between := m.Kind == Initiate || m.Kind == InitiateAck; after && m.At.Before(r.Up) && !between {
			continue
		}
		s := Step{At: m.At, What: string(m.Kind), Detail: m.Detail, Message: m.Kind, After: after}
		peer := r.peer(m)
		s.From, s.To = peer, NodeName
		switch {
		case m.Kind == Initiate || m.Kind == InitiateAck:
			s.From, s.To = NARName, PARName
			if m.Outgoing {
				s.From, s.To = PARName, NARName
			}
		case m.Outgoing:
			s.From, s.To = NodeName, peer
		}
		k := key{m.Kind, after, peer, ""}
		if m.Kind == ProxySolicit || m.Kind == ProxyAdvert {
			k.says = m.Detail
		}
		if told[k] {
			continue
		}
		told[k] = true
		steps = append(steps, s)
	}
	for _, l := range r.Lines {
		s := Step{At: l.Time, From: NodeName, After: l.Time.After(r.Down)}
		switch l.Event {
		case "address-ready":
			s.What, s.Detail = "address", l.Home.String()
		case "handover-key":
			s.What, s.Detail = "handover key", "with the "+r.routerName(l.Router)
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
	if at := a.Moments.Arrived.Add(a.Moments.Router); r.Handover != nil && r.Options.Protocol != None && !a.Moments.Arrived.IsZero() {
		told := Update
		if r.Options.Protocol.Fast() {
			told = FastUpdate
		}
		steps = append(steps, Step{
			At: at, From: PARName, What: "forwarding", After: at.After(r.Down),
			Detail: fmt.Sprintf("in place, %d us after the %s", a.Moments.Router.Microseconds(), told),
		})
	}
	if !a.Queue.Empty.IsZero() {
		steps = append(steps, Step{
			At: a.Queue.Empty, From: NARName, What: QueueEmpty, After: a.Queue.Empty.After(r.Down),
			Detail: fmt.Sprintf("%d packets waited, %d at a time", len(a.Queue.Packets), a.Queue.Most),
		})
	}
	if at := r.homeAgain(a); !at.IsZero() {
		steps = append(steps, Step{At: at, From: NodeName, What: HomeAgain, Detail: "past the old router", After: true})
	}
	if !a.Loss.First.IsZero() {
		s := Step{At: a.Loss.First, From: NodeName, What: "first packet", After: true}
		switch {
		case len(a.Queue.Packets) > 0:
			s.Detail = "kept by the new router"
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

// Steps that are no message.
const (
	HomeAgain  = "direct again" // packets take the ordinary way again, after they were forwarded
	QueueEmpty = "queue empty"  // the new router keeps none any more
)

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
