package hold

import (
	"container/heap"
	"net/netip"
	"time"
)

// state is what becomes of the packets for an address.
type state uint8

const (
	holding  state = iota // they are kept
	draining              // they queue behind those that are being sent
	frozen                // there is no route any more; those that are kept wait for what becomes of them
	ended                 // there is no route any more; some may be under way to here, and are sent on
)

// held is an address whose packets are kept.
type held struct {
	addr  netip.Addr
	state state
	copy  bool // holding: packets are sent on as well
	queue queue
	meter meter
	pace  pace

	since   time.Time
	last    int64 // when the last packet came
	empty   int64 // draining: since when nothing is queued; 0: something is
	highest int
	dropped uint64

	due   int64 // when it is looked at again
	index int   // in the timetable; -1: not there
}

// linger is how long an ended hold sends packets on that were under way to it: they stand in the device for as long as this
// process is kept from running.
const linger = second

// verdict is what became of a packet, or why it was dropped.
type verdict uint8

const (
	keptOne      verdict = iota
	sentOne              // drained
	lateOne              // sent on: it came by a route that is gone
	copiedOne            // sent on while a copy was kept
	agedOne              // a copy that had to make room
	fullPackets          // packets of the node
	fullOctets           // octets of the node
	fullTotal            // octets in all
	discardedOne         // by Discard or Close
	strayOne             // for an address that is not held
	multicastOne         // what a kernel says on any device
	malformedOne         // no whole IPv6 packet
	notSentOne           // the kernel did not take it
	verdictCount
)

var verdictNames = [verdictCount]string{
	"held", "drained", "late", "copied", "aged", "dropped_node_packets", "dropped_node_octets", "dropped_octets", "discarded", "stray",
	"multicast", "malformed", "not_sent",
}

// buffer is all that is kept. It does no I/O but by write, and knows no clock. Its user locks it.
type buffer struct {
	cfg   Config
	write func(packet []byte) bool

	holds     map[netip.Addr]*held
	timetable timetable
	active    int // holds that did not end
	packets   int
	cost      int
	count     [verdictCount]uint64
	highest   int // of all queues ever
}

func newBuffer(cfg Config, write func([]byte) bool) *buffer {
	return &buffer{cfg: cfg, write: write, holds: make(map[netip.Addr]*held)}
}

// hold begins, or goes on, to keep the packets for addr.
func (b *buffer) hold(addr netip.Addr, copy bool, since time.Time) *held {
	h := b.holds[addr]
	if h == nil {
		h = &held{addr: addr, index: -1}
		b.holds[addr] = h
		h.state = ended
	}
	if h.state == ended {
		*h = held{addr: addr, index: h.index, since: since, pace: pace{percent: int64(b.cfg.DrainPercent)}}
		b.active++
	}
	b.unschedule(h)
	h.state, h.copy = holding, copy
	return h
}

const (
	headerLen  = 40
	lengthAt   = 4
	hopLimitAt = 7
	dstAt      = 24
)

// arrive takes a packet that the kernel sent into the device. It may change it, and does not keep it.
func (b *buffer) arrive(p []byte, now int64) {
	b.count[b.judge(p, now)]++
}

func (b *buffer) judge(p []byte, now int64) verdict {
	if len(p) < headerLen || p[0]>>4 != 6 || len(p) != headerLen+int(p[lengthAt])<<8+int(p[lengthAt+1]) {
		return malformedOne
	}
	if p[dstAt] == 0xff {
		return multicastOne
	}
	h := b.holds[netip.AddrFrom16([16]byte(p[dstAt:]))]
	if h == nil {
		return strayOne
	}
	h.last = now
	h.meter.add(now)
	// The kernel took one off on the way in and will do so on the way out, but the packet passes one router only. One of
	// this router's own bears the hop limit it is to leave with, and no hop limit can be repaired beyond 255.
	if p[hopLimitAt] != 255 {
		p[hopLimitAt]++
	}
	switch h.state {
	case ended, frozen:
		if why := b.send(p); why != sentOne {
			return why
		}
		return lateOne
	case draining:
		if h.queue.n == 0 {
			step := h.step(now)
			h.pace.idle(now, step)
			if h.pace.due(now, step, 1) == 1 {
				return b.send(p)
			}
			b.schedule(h, h.pace.next)
		}
	case holding:
		if h.copy {
			if b.write(p) {
				b.count[copiedOne]++
			} else {
				b.count[notSentOne]++
			}
			b.age(h, cost(len(p)))
		}
	}
	return b.keep(h, p)
}

func (b *buffer) send(p []byte) verdict {
	if !b.write(p) {
		return notSentOne
	}
	return sentOne
}

// room says whether a packet of this cost can be kept, or by which bound it cannot.
func (b *buffer) room(h *held, cost int) verdict {
	switch {
	case h.queue.n+1 > b.cfg.PacketsPerNode:
		return fullPackets
	case h.queue.cost+cost > b.cfg.OctetsPerNode:
		return fullOctets
	case b.cost+cost > b.cfg.Octets:
		return fullTotal
	}
	return keptOne
}

func (b *buffer) keep(h *held, p []byte) verdict {
	if why := b.room(h, cost(len(p))); why != keptOne {
		h.dropped++
		return why
	}
	before := h.queue.cost
	h.queue.push(p)
	b.cost += h.queue.cost - before
	b.packets++
	h.highest = max(h.highest, h.queue.n)
	b.highest = max(b.highest, h.highest)
	return keptOne
}

// age drops copies, the oldest first, to make room for one of this cost, as far as that helps.
func (b *buffer) age(h *held, cost int) {
	if b.cost-h.queue.cost+cost > b.cfg.Octets || cost > b.cfg.OctetsPerNode {
		return
	}
	for h.queue.n > 0 && b.room(h, cost) != keptOne {
		b.take(h)
		b.count[agedOne]++
	}
}

// take takes the first packet out of the queue.
func (b *buffer) take(h *held) []byte {
	before := h.queue.cost
	p := h.queue.pop()
	b.cost += h.queue.cost - before
	b.packets--
	return p
}

// drain begins to send what is kept, with a burst. It reports false if nothing is held.
func (b *buffer) drain(addr netip.Addr, now int64) bool {
	h := b.holds[addr]
	if h == nil || h.state == ended {
		return false
	}
	if h.state == draining {
		return true
	}
	h.state, h.copy, h.empty = draining, false, 0
	b.emit(h, min(burst, h.queue.n))
	h.pace.start(now, h.step(now))
	b.advance(h, now)
	return true
}

func (b *buffer) emit(h *held, n int) {
	for range n {
		b.count[b.send(b.take(h))]++
	}
}

func (h *held) step(now int64) int64 { return h.pace.step(h.meter.perSecond(now)) }

// advance sends what is due of a queue that drains, and puts it in the timetable.
func (b *buffer) advance(h *held, now int64) {
	if h.queue.n > 0 {
		b.emit(h, h.pace.due(now, h.step(now), h.queue.n))
	}
	switch {
	case h.queue.n > 0:
		h.empty = 0
		b.schedule(h, max(h.pace.next, now+grain))
	case h.empty == 0:
		h.empty = max(now, 1)
		fallthrough
	default:
		b.schedule(h, now)
	}
}

// quiet reports whether this is a moment to end a hold of which nothing is queued, and when to look again if not.
func (h *held) quiet(now int64) (yes bool, again int64) {
	gap := int64(maxQuiet)
	if rate := h.meter.perSecond(now); rate > 0 {
		gap = min(gap, second/rate/2)
	}
	if now-h.last >= gap || now-h.empty >= patience {
		return true, 0
	}
	return false, h.last + gap
}

// freeze is for a hold whose route is gone, and whose packets stay.
func (b *buffer) freeze(h *held) {
	b.unschedule(h)
	h.state, h.copy = frozen, false
}

// end is for a hold whose route is gone.
func (b *buffer) end(h *held, now int64) {
	h.state = ended
	b.active--
	b.schedule(h, now+linger)
}

// drop drops what is kept for an address.
func (b *buffer) drop(h *held) {
	for h.queue.n > 0 {
		b.take(h)
		b.count[discardedOne]++
	}
}

// next is when something is to be done, if anything is.
func (b *buffer) next() (at int64, any bool) {
	if len(b.timetable) == 0 {
		return 0, false
	}
	return b.timetable[0].due, true
}

// run does what is due: it sends, forgets holds that ended, and returns one whose queue is empty and which may end, if there
// is any. It is called until there is none.
func (b *buffer) run(now int64) (empty *held) {
	for len(b.timetable) > 0 && b.timetable[0].due <= now {
		h := b.timetable[0]
		if h.state == ended {
			b.unschedule(h)
			delete(b.holds, h.addr)
			continue
		}
		b.advance(h, now)
		if h.queue.n == 0 {
			return h
		}
	}
	return nil
}

// timetable is the holds that something is due for, the first one first.
type timetable []*held

func (b *buffer) schedule(h *held, due int64) {
	h.due = due
	if h.index < 0 {
		heap.Push(&b.timetable, h)
		return
	}
	heap.Fix(&b.timetable, h.index)
}

func (b *buffer) unschedule(h *held) {
	if h.index >= 0 {
		heap.Remove(&b.timetable, h.index)
	}
}

func (t timetable) Len() int           { return len(t) }
func (t timetable) Less(i, j int) bool { return t[i].due < t[j].due }
func (t timetable) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i, j
}

// Push implements heap.Interface.
func (t *timetable) Push(x any) {
	h := x.(*held)
	h.index = len(*t)
	*t = append(*t, h)
}

// Pop implements heap.Interface.
func (t *timetable) Pop() any {
	last := len(*t) - 1
	h := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	h.index = -1
	return h
}

func (b *buffer) counters(yield func(name string, value uint64)) {
	yield("holds", uint64(b.active))
	yield("packets", uint64(b.packets))
	yield("octets", uint64(b.cost-b.packets*PacketCost))
	yield("highest", uint64(b.highest))
	for v := range verdictCount {
		yield(verdictNames[v], b.count[v])
	}
}

func (h *held) status() Status {
	return Status{
		Addr: h.addr, Packets: h.queue.n, Octets: h.queue.octets(), Highest: h.highest, Dropped: h.dropped, Since: h.since,
		Copy: h.copy, Draining: h.state == draining,
	}
}
