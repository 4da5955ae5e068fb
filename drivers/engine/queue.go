package engine

import "github.com/roamkey/roamkey/ipv6"

// queue is a bounded queue of jobs that is fair between sources: they are served in turn, one job each. Within a source
// jobs keep their order. When the queue is full, the newest job of the source that has most of them is lost.
//
// It is no more than an array of slots and lists of indexes through them: nothing is allocated for a job, apart from a
// slot's buffer when it is first used.
type queue struct {
	slots     []slot
	free      int32 // first free slot
	sources   []sourceQueue
	freeQueue int32
	bySource  map[ipv6.LinkAddr]int32 // index into sources
	turn      int32                   // whose turn it is; the sources that have jobs form a ring
	count     int
	perSource int
}

type slot struct {
	job        Job  // its fields lie in buf
	wrong      bool // a field was longer than any right one, and is not kept
	buf        []byte
	prev, next int32
}

// keep copies job j into buf, which grows to what the jobs need, and gives the copy.
func keep(buf *[]byte, j *Job) Job {
	b := append((*buf)[:0], j.Octets...)
	b = append(b, j.PublicKey...)
	b = append(b, j.Signature...)
	*buf = b
	k, s := len(j.Octets), len(j.Octets)+len(j.PublicKey)
	return Job{Ticket: j.Ticket, Op: j.Op, Source: j.Source, Octets: b[:k:k], PublicKey: b[k:s:s], Signature: b[s:]}
}

// sourceQueue holds the jobs of one source.
type sourceQueue struct {
	source      ipv6.LinkAddr
	first, last int32
	count       int
	prev, next  int32 // in the ring
}

const none int32 = -1

// newQueue gives a queue for size jobs in all and perSource jobs of one source; each is at least one.
func newQueue(size, perSource int) *queue {
	size, perSource = max(size, 1), max(perSource, 1)
	q := &queue{
		slots: make([]slot, size), sources: make([]sourceQueue, size), turn: none,
		bySource: make(map[ipv6.LinkAddr]int32, size), perSource: perSource,
	}
	for i := range size {
		q.slots[i].next, q.sources[i].next = int32(i)+1, int32(i)+1
	}
	q.slots[size-1].next, q.sources[size-1].next = none, none
	return q
}

// put adds a job. When there is no room for it, a job is lost, and put names it: that of the submitter if it has as many as
// any other source or as it may have, or else the newest one of the source that has most.
func (q *queue) put(j *Job) (lost Ticket, dropped bool) {
	s, known := q.bySource[j.Source]
	if known && q.sources[s].count >= q.perSource {
		return j.Ticket, true
	}
	if q.count == len(q.slots) {
		greedy := q.greediest()
		own := 1
		if known {
			own += q.sources[s].count
		}
		if own >= q.sources[greedy].count {
			return j.Ticket, true
		}
		lost, dropped = q.dropNewest(greedy), true
	}
	if !known {
		s = q.join(j.Source)
	}
	q.append(s, j)
	return lost, dropped
}

// take gives the job whose turn it is, and whether a field of it was too long. What it holds is copied to buf.
func (q *queue) take(buf *[]byte) (j Job, wrong, ok bool) {
	if q.count == 0 {
		return Job{}, false, false
	}
	s := &q.sources[q.turn]
	i := s.first
	j, wrong = keep(buf, &q.slots[i].job), q.slots[i].wrong
	q.turn = s.next
	q.remove(q.bySource[s.source], i)
	return j, wrong, true
}

// greediest gives the source that has most jobs.
func (q *queue) greediest() int32 {
	best := q.turn
	for i := q.sources[q.turn].next; i != q.turn; i = q.sources[i].next {
		if q.sources[i].count > q.sources[best].count {
			best = i
		}
	}
	return best
}

func (q *queue) dropNewest(s int32) Ticket {
	i := q.sources[s].last
	lost := q.slots[i].job.Ticket
	q.remove(s, i)
	return lost
}

// join gives a source its place in the ring: the last one, that before the source whose turn it is.
func (q *queue) join(source ipv6.LinkAddr) int32 {
	i := q.freeQueue
	s := &q.sources[i]
	q.freeQueue = s.next
	*s = sourceQueue{source: source, first: none, last: none, prev: i, next: i}
	if q.turn == none {
		q.turn = i
	} else {
		at := &q.sources[q.turn]
		s.prev, s.next = at.prev, q.turn
		q.sources[at.prev].next = i
		at.prev = i
	}
	q.bySource[source] = i
	return i
}

// leave takes a source without jobs out of the ring.
func (q *queue) leave(i int32) {
	s := &q.sources[i]
	delete(q.bySource, s.source)
	if s.next == i {
		q.turn = none
	} else {
		q.sources[s.prev].next, q.sources[s.next].prev = s.next, s.prev
		if q.turn == i {
			q.turn = s.next
		}
	}
	s.next = q.freeQueue
	q.freeQueue = i
}

func (q *queue) append(source int32, j *Job) {
	i := q.free
	t := &q.slots[i]
	q.free = t.next
	if t.wrong = !j.fits(); t.wrong {
		t.job = Job{Ticket: j.Ticket, Op: j.Op, Source: j.Source}
	} else {
		t.job = keep(&t.buf, j)
	}
	s := &q.sources[source]
	t.prev, t.next = s.last, none
	if s.last == none {
		s.first = i
	} else {
		q.slots[s.last].next = i
	}
	s.last = i
	s.count++
	q.count++
}

// remove takes the job in slot i out of its source's list.
func (q *queue) remove(source, i int32) {
	s, t := &q.sources[source], &q.slots[i]
	if t.prev == none {
		s.first = t.next
	} else {
		q.slots[t.prev].next = t.next
	}
	if t.next == none {
		s.last = t.prev
	} else {
		q.slots[t.next].prev = t.prev
	}
	clear(t.buf) // it may hold a handover key
	t.next = q.free
	q.free = i
	s.count--
	q.count--
	if s.count == 0 {
		q.leave(source)
	}
}
