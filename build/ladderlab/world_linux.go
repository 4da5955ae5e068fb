package ladderlab

import (
	"container/heap"
	"crypto/rsa"
	"path/filepath"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/lke/ladder"
)

// Options are what all worlds have in common.
type Options struct {
	Roamkeyd string          // path of the program
	Key      *rsa.PrivateKey // of all routers
}

// World is a ladder.World over network namespaces.
type World struct {
	t       testing.TB
	options Options
	start   time.Time
	lab     *netlab.Lab
	far     *netlab.Namespace // has the far ends of all wires

	links  map[string]*link
	order  []*link
	nodes  map[string]*node
	agent  *agent // nil without a home agent
	frames chan frame
	later  queue
	number int

	transcript []ladder.Message
	fate       func(ladder.Message) []time.Duration
	probes     uint64
	probe      uint64 // the one under way
	reached    string // who got it
}

// frame is one packet that a router sent.
type frame struct {
	link   *link
	uplink bool
	at     time.Time
	to     ipv6.LinkAddr
	packet *ipv6.Packet
}

// event is something that is to happen at a moment.
type event struct {
	at     time.Time
	number int
	do     func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].number < q[j].number
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(event)) }

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// New makes the world of a topology and waits until all its routers serve. It ends with the test.
func New(t testing.TB, o Options, top ladder.Topology) *World {
	t.Helper()
	w := &World{
		t: t, options: o, lab: netlab.New(),
		links: make(map[string]*link), nodes: make(map[string]*node), frames: make(chan frame, 4096),
	}
	dir := t.TempDir() // is to go after the programs that write there
	t.Cleanup(func() { w.check(w.lab.Close()) })
	var err error
	w.far, err = w.lab.Namespace("far")
	w.check(err)
	// The kernel of the far ends is not to say a word.
	w.check(w.far.SetSysctl("net/ipv6/conf/default/disable_ipv6", "1"))
	if top.HomeAgent {
		w.agent = newAgent(w)
	}
	for _, l := range top.Links {
		made := w.newLink(l, filepath.Join(dir, l.Name))
		w.links[l.Name], w.order = made, append(w.order, made)
	}
	for _, n := range top.Nodes {
		w.nodes[n.Name] = newNode(w, n, top.HomeAgent)
	}
	for _, h := range top.Hosts {
		l := w.links[h.Link]
		l.join(&host{Host: h, link: l, addr: ladder.Address(l.Number, h.ID)})
	}
	for _, l := range w.order {
		l.launch()
	}
	for _, l := range w.order {
		l.awaitService()
	}
	t.Cleanup(w.survey)
	w.drain() // what routers say before there is anybody
	w.start, w.transcript = time.Now(), nil
	return w
}

// survey looks after the play whether every router that was not killed still lives.
func (w *World) survey() {
	for _, l := range w.order {
		if l.dead {
			continue
		}
		select {
		case <-l.daemon.Done():
			w.t.Errorf("roamkeyd of %s has ended:%s", l.Name, l.daemon.Tail())
		default:
			if w.t.Failed() {
				w.t.Logf("last words of %s:%s", l.Name, l.daemon.Tail())
			}
		}
	}
}

func (w *World) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// RealTime tells plays that hours are hours here.
func (w *World) RealTime() {}

// Now is the machine's clock.
func (w *World) Now() time.Time { return time.Now() }

// Transcript is every message so far.
func (w *World) Transcript() []ladder.Message { return w.transcript }

// Interfere asks for the fate of each message.
func (w *World) Interfere(fate func(ladder.Message) []time.Duration) { w.fate = fate }

// Node gives the state of a node.
func (w *World) Node(name string) lke.NodeState { return w.nodes[name].core.State() }

// Move takes a node to another link.
func (w *World) Move(name, to string) {
	n, l := w.nodes[name], w.links[to]
	if n == nil || l == nil {
		w.t.Fatalf("there is no node %q or link %q", name, to)
	}
	w.drain() // what came before
	n.move(l)
}

// drain takes what has arrived, without waiting.
func (w *World) drain() {
	for {
		select {
		case f := <-w.frames:
			w.arrive(f)
		default:
			return
		}
	}
}

// after does something later.
func (w *World) after(d time.Duration, do func()) {
	w.number++
	heap.Push(&w.later, event{time.Now().Add(d), w.number, do})
}

// Run lets d go by.
func (w *World) Run(d time.Duration) { w.until(time.Now().Add(d), func() bool { return false }) }

// until carries packets and looks after the stations until done, or until the end.
func (w *World) until(end time.Time, done func() bool) bool {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if done() {
			return true
		}
		w.due()
		now := time.Now()
		if !now.Before(end) {
			return done()
		}
		timer.Reset(w.next(end).Sub(now))
		select {
		case f := <-w.frames:
			w.arrive(f)
		case <-timer.C:
		}
	}
}

// due does what is due now.
func (w *World) due() {
	for now := time.Now(); len(w.later) > 0 && !w.later[0].at.After(now); {
		heap.Pop(&w.later).(event).do()
	}
	for _, n := range w.nodes {
		if at := n.core.Deadline(); !at.IsZero() && !at.After(time.Now()) {
			n.step(lke.Input{Kind: lke.InTick})
		}
	}
}

// next is the moment at which something will be due, at the latest end.
func (w *World) next(end time.Time) time.Time {
	if len(w.later) > 0 && w.later[0].at.Before(end) {
		end = w.later[0].at
	}
	for _, n := range w.nodes {
		if at := n.core.Deadline(); !at.IsZero() && at.Before(end) {
			end = at
		}
	}
	return end
}

// listen hands the packets of one wire to the world until the wire is closed.
func (w *World) listen(l *link, wire *rig.Wire, uplink bool) {
	buf := make([]byte, 1<<16)
	var shared ipv6.Packet
	for {
		to, ok := wire.Receive(buf, time.Time{}, &shared)
		if !ok {
			return
		}
		f := frame{link: l, uplink: uplink, at: time.Now(), to: to, packet: parsed(shared.Raw)}
		f.packet.LinkSource = shared.LinkSource
		w.frames <- f
	}
}

// parsed gives a packet of its own of octets that can be parsed.
func parsed(octets []byte) *ipv6.Packet {
	p := new(ipv6.Packet)
	if problem := ipv6.Parse(append([]byte(nil), octets...), p); problem != ipv6.OK {
		panic("a packet that was parsed before: " + problem.String())
	}
	return p
}
