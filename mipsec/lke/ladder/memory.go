package ladder

import (
	"container/heap"
	"crypto/rsa"
	"fmt"
	"math/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp"
)

const (
	linkDelay = time.Millisecond
	coreDelay = 5 * time.Millisecond
	rsaDelay  = 10 * time.Millisecond
	uplink    = 99 // index of a router's interface to the core
	servedIf  = 2  // and of that to its link
	nodeIf    = 3  // index of a node's interface
)

// Memory is a World without any system below it: machines, links and time are all in one process, and RSA is real.
type Memory struct {
	t      testing.TB
	key    *rsa.PrivateKey
	spki   []byte
	now    time.Time
	start  time.Time
	queue  memoryQueue
	number int
	rand   *rand.Rand
	fate   func(Message) []time.Duration

	links      map[string]*memoryLink
	order      []*memoryLink // so that nothing depends on a map
	nodes      []*memoryNode
	byName     map[string]*memoryNode
	agent      *memoryAgent
	transcript []Message
}

// memoryLink is a broadcast domain with its router. stations are whoever is on it, the router among them.
type memoryLink struct {
	Link
	prefix   netip.Prefix
	router   *memoryRouter
	stations []memoryStation
}

// memoryStation is what a frame can come to.
type memoryStation interface {
	name() string
	hardware() ipv6.LinkAddr
	// hears reports whether a frame to dst with p gets in; receive handles it.
	hears(dst ipv6.LinkAddr, p *ipv6.Packet) bool
	receive(p *ipv6.Packet)
	// has reports whether the station has the address on its link.
	has(addr netip.Addr) bool
}

// memoryEvent is something that happens at a moment.
type memoryEvent struct {
	at    time.Time
	order int
	do    func()
}

type memoryQueue []memoryEvent

func (q memoryQueue) Len() int { return len(q) }
func (q memoryQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].order < q[j].order
}
func (q memoryQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *memoryQueue) Push(x any)   { *q = append(*q, x.(memoryEvent)) }
func (q *memoryQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// NewMemory makes the world of a topology. key is that of all routers.
func NewMemory(t testing.TB, key *rsa.PrivateKey, top Topology) *Memory {
	t.Helper()
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := &Memory{
		t: t, key: key, spki: spki, now: start, start: start, rand: rand.New(rand.NewSource(1)),
		links: map[string]*memoryLink{}, byName: map[string]*memoryNode{},
	}
	if top.HomeAgent {
		m.agent = &memoryAgent{m: m, bindings: map[netip.Addr]netip.Addr{}}
	}
	for _, l := range top.Links {
		link := &memoryLink{Link: l, prefix: Prefix(l.Number)}
		m.links[l.Name] = link
		m.order = append(m.order, link)
		link.router = newMemoryRouter(m, link)
		link.stations = append(link.stations, link.router)
	}
	for _, n := range top.Nodes {
		node := newMemoryNode(m, n, top.HomeAgent)
		m.nodes = append(m.nodes, node)
		m.byName[n.Name] = node
	}
	for _, h := range top.Hosts {
		link := m.links[h.Link]
		link.stations = append(link.stations, &memoryHost{m: m, Host: h, link: link, addr: withID(link.prefix, h.ID)})
	}
	return m
}

// Now is the virtual clock.
func (m *Memory) Now() time.Time { return m.now }

// Transcript is every message so far.
func (m *Memory) Transcript() []Message { return m.transcript }

// Interfere asks for the fate of each message.
func (m *Memory) Interfere(fate func(Message) []time.Duration) { m.fate = fate }

// after does something later. What is later at the same time is done in the order of the calls.
func (m *Memory) after(d time.Duration, do func()) {
	m.number++
	heap.Push(&m.queue, memoryEvent{at: m.now.Add(d), order: m.number, do: do})
}

// Run lets d go by on the virtual clock.
func (m *Memory) Run(d time.Duration) {
	end := m.now.Add(d)
	for idle := 0; ; {
		at, tick := m.nextTick()
		if len(m.queue) > 0 && (tick == nil || !at.Before(m.queue[0].at)) {
			at, tick = m.queue[0].at, nil
		} else if tick == nil {
			break
		}
		if at.After(end) {
			break
		}
		if at.After(m.now) {
			m.now, idle = at, 0
		} else if idle++; idle > 100_000 {
			m.t.Fatalf("time stands still at %v", m.now.Sub(m.start))
		}
		if tick != nil {
			tick()
			continue
		}
		heap.Pop(&m.queue).(memoryEvent).do()
	}
	m.now = end
}

// nextTick gives the earliest deadline of all machines.
func (m *Memory) nextTick() (at time.Time, tick func()) {
	for _, n := range m.nodes {
		if d := n.core.Deadline(); !d.IsZero() && (tick == nil || d.Before(at)) {
			at, tick = d, n.tick
		}
	}
	for _, l := range m.order {
		if l.router.core == nil {
			continue
		}
		if d := l.router.core.Deadline(); !d.IsZero() && (tick == nil || d.Before(at)) {
			at, tick = d, l.router.tick
		}
	}
	return at, tick
}

// send notes a message and decides its fate; arrive is called for each copy that gets through.
func (m *Memory) send(from, to, link string, delay time.Duration, packet []byte, arrive func(p *ipv6.Packet)) {
	p := new(ipv6.Packet)
	if problem := ipv6.Parse(packet, p); problem != ipv6.OK {
		m.t.Errorf("%s sent a packet that does not parse: %v", from, problem)
		return
	}
	msg := Message{
		Number: len(m.transcript), At: m.now.Sub(m.start), From: from, To: to, Link: link, Name: NameOf(p), Packet: p,
	}
	m.transcript = append(m.transcript, msg)
	copies := []time.Duration{0}
	if m.fate != nil {
		copies = m.fate(msg)
	}
	for _, more := range copies {
		m.after(delay+more, func() { arrive(p) })
	}
}

// frame sends a packet in a frame on link.
func (m *Memory) frame(from memoryStation, link *memoryLink, src, dst ipv6.LinkAddr, packet []byte) {
	to := "*"
	for _, s := range link.stations {
		if s.hardware() == dst {
			to = s.name()
		}
	}
	m.send(from.name(), to, link.Name, linkDelay, packet, func(p *ipv6.Packet) { m.hear(from, link, src, dst, p) })
}

// hear gives a frame to all that are on the link when it arrives.
func (m *Memory) hear(from memoryStation, link *memoryLink, src, dst ipv6.LinkAddr, p *ipv6.Packet) {
	for _, s := range append([]memoryStation(nil), link.stations...) {
		if s == from || !s.hears(dst, p) {
			continue
		}
		received := *p
		received.LinkSource = src
		s.receive(&received)
	}
}

// route takes a packet from one router (or the core) to where its destination is.
func (m *Memory) route(from string, packet []byte) {
	p := new(ipv6.Packet)
	if ipv6.Parse(packet, p) != ipv6.OK {
		m.t.Errorf("%s routed a packet that does not parse", from)
		return
	}
	m.send(from, m.ownerOf(p.Dst), "", coreDelay, packet, func(p *ipv6.Packet) { m.deliver(p.Dst, p, 0) })
}

// ownerOf names the station with an address, for people.
func (m *Memory) ownerOf(addr netip.Addr) string {
	if m.agent != nil && addr == HomeAgent() {
		return "HA"
	}
	for _, l := range m.order {
		for _, s := range l.stations {
			if s.has(addr) {
				return s.name()
			}
		}
	}
	return "?"
}

// deliver gives a packet that was routed to dst to its station, by the tunnels of the routers on the way, and names that
// station.
func (m *Memory) deliver(dst netip.Addr, p *ipv6.Packet, depth int) string {
	if depth > 8 {
		m.t.Errorf("a packet to %v goes round in a circle of tunnels", dst)
		return ""
	}
	if m.agent != nil && dst == HomeAgent() {
		if p != nil {
			m.agent.receive(p)
		}
		return "HA"
	}
	if m.agent != nil {
		if careOf, ok := m.agent.bindings[dst]; ok {
			return m.tunnel(HomeAgent(), dst, careOf, p, depth)
		}
	}
	for _, l := range m.order {
		if l.router.has(dst) {
			if p != nil {
				l.router.fromCore(p)
			}
			return l.router.name()
		}
		if !l.prefix.Contains(dst) {
			continue
		}
		if careOf, ok := l.router.tunnels[dst]; ok {
			return m.tunnel(RouterAddress(l.Number), dst, careOf, p, depth)
		}
		for _, s := range l.stations {
			if !s.has(dst) {
				continue
			}
			if p != nil {
				received := *p
				received.LinkSource = l.router.hardware()
				s.receive(&received)
			}
			return s.name()
		}
	}
	return ""
}

// tunnel takes a packet for home to careOf. The node there takes it only if it has its end of the tunnel.
func (m *Memory) tunnel(agent, home, careOf netip.Addr, p *ipv6.Packet, depth int) string {
	name := m.deliver(careOf, nil, depth+1)
	n := m.byName[name]
	if n == nil {
		return ""
	}
	if b := n.tunnels[home]; b.Router != agent || b.CareOf != careOf {
		return ""
	}
	if p != nil {
		n.receive(p)
	}
	return name
}

// Reaches follows a packet of the correspondent to dst, without sending it.
func (m *Memory) Reaches(dst netip.Addr) string { return m.deliver(dst, nil, 0) }

// Node gives the state of a node.
func (m *Memory) Node(name string) lke.NodeState { return m.byName[name].core.State() }

// Router gives the associations of the router of a link.
func (m *Memory) Router(link string) (found []lke.Association) {
	if core := m.links[link].router.core; core != nil {
		core.Associations(func(a lke.Association) bool {
			found = append(found, a)
			return true
		})
	}
	return found
}

// Count is one counter of the router of a link.
func (m *Memory) Count(link, counter string) (value uint64) {
	found := false
	m.links[link].router.core.Counters(func(name string, v uint64) {
		if name == counter {
			value, found = v, true
		}
	})
	if !found {
		m.t.Fatalf("the router has no counter %q", counter)
	}
	return value
}

// NodeCount is one counter of a node.
func (m *Memory) NodeCount(node, counter string) (value uint64) {
	m.byName[node].core.Counters(func(name string, v uint64) {
		if name == counter {
			value = v
		}
	})
	return value
}

// Kill stops the router of a link as a crash does: all but what was saved, and the kernel's tunnels, is gone.
func (m *Memory) Kill(link string) { m.links[link].router.kill() }

// Forwards is true: the kernel's tunnels stay.
func (m *Memory) Forwards(string) bool { return true }

// Start starts the router of a link again.
func (m *Memory) Start(link string) { m.links[link].router.begin() }

// Move takes a node to another link.
func (m *Memory) Move(node, link string) {
	n, l := m.byName[node], m.links[link]
	if n == nil || l == nil {
		m.t.Fatalf("there is no node %q or link %q", node, link)
	}
	n.move(l)
}

func (l *memoryLink) leave(s memoryStation) {
	for i, other := range l.stations {
		if other == s {
			l.stations = append(l.stations[:i:i], l.stations[i+1:]...)
			return
		}
	}
}

func (m *Memory) String() string {
	return fmt.Sprintf("%v, %d messages", m.now.Sub(m.start), len(m.transcript))
}
