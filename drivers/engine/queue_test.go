package engine

import (
	"bytes"
	"slices"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
)

// model is the queue as one would say it in words: a list of sources in the order of their turns, each with its jobs.
type model struct {
	size, perSource int
	sources         []modelSource
}

type modelSource struct {
	source byte
	jobs   []uint64
}

func (m *model) find(source byte) int {
	return slices.IndexFunc(m.sources, func(s modelSource) bool { return s.source == source })
}

func (m *model) count() (n int) {
	for _, s := range m.sources {
		n += len(s.jobs)
	}
	return n
}

func (m *model) put(job uint64, source byte) (lost uint64, dropped bool) {
	i, own := m.find(source), 0
	if i >= 0 {
		own = len(m.sources[i].jobs)
	}
	if own == m.perSource {
		return job, true
	}
	if m.count() == m.size {
		greedy := 0
		for j, s := range m.sources {
			if len(s.jobs) > len(m.sources[greedy].jobs) {
				greedy = j
			}
		}
		g := &m.sources[greedy]
		if own+1 >= len(g.jobs) {
			return job, true
		}
		last := len(g.jobs) - 1
		lost, dropped = g.jobs[last], true
		g.jobs = g.jobs[:last] // more than one is left: the greediest has at least two more than we
		i = m.find(source)
	}
	if i < 0 {
		m.sources = append(m.sources, modelSource{source: source})
		i = len(m.sources) - 1
	}
	m.sources[i].jobs = append(m.sources[i].jobs, job)
	return lost, dropped
}

func (m *model) take() (job uint64, ok bool) {
	if len(m.sources) == 0 {
		return 0, false
	}
	s := m.sources[0]
	m.sources = m.sources[1:]
	if len(s.jobs) > 1 {
		m.sources = append(m.sources, modelSource{s.source, s.jobs[1:]})
	}
	return s.jobs[0], true
}

func sourceAddr(source byte) ipv6.LinkAddr { return ipv6.LinkAddr{2, 0, 0, 0, 0, source} }

// check compares all that can be seen, and what holds the queue together.
func (q *queue) check(t *testing.T, m *model) {
	t.Helper()
	if q.count != m.count() || len(q.bySource) != len(m.sources) || q.count > len(q.slots) {
		t.Fatalf("%d jobs of %d sources, want %d of %d", q.count, len(q.bySource), m.count(), len(m.sources))
	}
	at := q.turn
	for _, want := range m.sources {
		s := &q.sources[at]
		if s.source != sourceAddr(want.source) || s.count != len(want.jobs) {
			t.Fatalf("turn of %v with %d jobs, want source %d with %d", s.source, s.count, want.source, len(want.jobs))
		}
		i := s.first
		for _, job := range want.jobs {
			if q.slots[i].job.Job != job {
				t.Fatalf("job %d, want %d", q.slots[i].job.Job, job)
			}
			i = q.slots[i].next
		}
		if i != none || q.sources[s.next].prev != at {
			t.Fatal("a list is broken")
		}
		at = s.next
	}
	if at != q.turn {
		t.Fatal("the ring is not closed")
	}
	free := 0
	for i := q.free; i != none; i = q.slots[i].next {
		free++
	}
	if free+q.count != len(q.slots) {
		t.Fatalf("%d slots are free and %d taken of %d", free, q.count, len(q.slots))
	}
	free = 0
	for i := q.freeQueue; i != none; i = q.sources[i].next {
		free++
	}
	if free+len(m.sources) != len(q.sources) {
		t.Fatalf("%d places for sources are free, %d taken of %d", free, len(m.sources), len(q.sources))
	}
}

// Every sequence of up to eight operations (a job of one of three sources, or a take) on small queues does what the model
// says: nothing is lost, made up or served out of turn.
func TestQueueExhaustively(t *testing.T) {
	const depth, sources = 8, 3
	for _, size := range []struct{ all, perSource int }{{1, 1}, {3, 2}, {4, 3}, {4, 4}} {
		var ops [depth]byte
		for sequence := range 1 << (2 * depth) {
			for i := range ops {
				ops[i] = byte(sequence >> (2 * i) & 3)
			}
			run(t, ops[:], size.all, size.perSource, sources, sequence%64 == 0)
		}
	}
}

func run(t *testing.T, ops []byte, all, perSource int, sources byte, checkEach bool) {
	q, m := newQueue(all, perSource), &model{size: all, perSource: perSource}
	for i, op := range ops {
		job := uint64(i + 1)
		if op < sources {
			lost, dropped := q.put(&Job{Ticket: Ticket{Owner: 1 + uint32(op), Job: job}, Source: sourceAddr(op)})
			wantLost, wantDropped := m.put(job, op)
			if lost.Job != wantLost || dropped != wantDropped || (lost.Owner != 0) != dropped {
				t.Fatalf("%v, operation %d: lost %v (%v), want %d (%v)", ops, i, lost, dropped, wantLost, wantDropped)
			}
		} else {
			got, _, ok := q.take(new([]byte))
			want, wantOK := m.take()
			if got.Job != want || ok != wantOK {
				t.Fatalf("%v, operation %d: took %v (%v), want %d (%v)", ops, i, got.Ticket, ok, want, wantOK)
			}
		}
		if checkEach || i == len(ops)-1 {
			q.check(t, m)
		}
	}
}

// FuzzQueue does longer sequences on larger queues.
func FuzzQueue(f *testing.F) {
	f.Add(uint8(8), uint8(3), []byte{0, 0, 0, 1, 2, 3, 4, 5, 6, 255, 255, 0, 1})
	f.Fuzz(func(t *testing.T, all, perSource uint8, ops []byte) {
		run(t, ops, max(1, int(all)), max(1, int(perSource)), 200, true)
	})
}

// A source that floods the queue costs the others neither their place nor their turn.
func TestFloodOfOneSource(t *testing.T) {
	q := newQueue(16, 16)
	for job := range uint64(100) {
		q.put(&Job{Ticket: Ticket{Job: job}, Source: sourceAddr(1)})
	}
	if q.count != 16 {
		t.Fatalf("%d jobs wait, want 16", q.count)
	}
	// Others come to a full queue: each displaces the newest job of the flooder.
	for i := range byte(3) {
		lost, dropped := q.put(&Job{Ticket: Ticket{Job: uint64(200 + int(i))}, Source: sourceAddr(2 + i)})
		if want := uint64(15 - i); !dropped || lost.Job != want {
			t.Errorf("lost %v (%v), want %d: the newest of the flooder", lost, dropped, want)
		}
	}
	var order []uint64
	for range 4 {
		j, _, _ := q.take(new([]byte))
		order = append(order, j.Job)
	}
	if want := []uint64{0, 200, 201, 202}; !slices.Equal(order, want) {
		t.Errorf("served %v, want %v: one of the flooder, then each of the others", order, want)
	}
}

// What a job holds is the caller's again at once; what is taken stays as it is when the slot is used again.
func TestQueueCopiesJobs(t *testing.T) {
	q := newQueue(2, 2)
	text := []byte("0123456789abcdef")
	q.put(&Job{Ticket: Ticket{Owner: 3, Job: 1}, Op: Verify, Source: sourceAddr(1), Octets: text[:10], PublicKey: text[10:13], Signature: text[13:]})
	clear(text)
	var buf []byte
	j, wrong, ok := q.take(&buf)
	q.put(&Job{Source: sourceAddr(1), Octets: []byte("xxxxxxxxxxxxxxxxxxxxxxx")})
	if string(j.Octets) != "0123456789" || string(j.PublicKey) != "abc" || string(j.Signature) != "def" || wrong || !ok {
		t.Errorf("got %q, %q, %q", j.Octets, j.PublicKey, j.Signature)
	}
	if j.Ticket != (Ticket{Owner: 3, Job: 1}) || j.Op != Verify || j.Source != sourceAddr(1) {
		t.Errorf("got %v of %v from %v", j.Ticket, j.Op, j.Source)
	}
}

// A field that is longer than any right one takes no memory, and the job comes out as wrong.
func TestQueueBoundsJobs(t *testing.T) {
	for _, c := range []struct {
		name  string
		job   Job
		wrong bool
	}{
		{"longest of all", Job{Octets: make([]byte, 512), PublicKey: make([]byte, 600), Signature: make([]byte, 512)}, false},
		{"octets", Job{Octets: make([]byte, 513)}, true},
		{"public key", Job{PublicKey: make([]byte, 601)}, true},
		{"signature", Job{Signature: make([]byte, 513)}, true},
	} {
		q := newQueue(1, 1)
		c.job.Ticket = Ticket{Owner: 1, Job: 2}
		q.put(&c.job)
		var buf []byte
		j, wrong, ok := q.take(&buf)
		if !ok || wrong != c.wrong || j.Ticket != c.job.Ticket || cap(q.slots[0].buf) > 2048 {
			t.Errorf("%s: wrong %v, slot of %d octets", c.name, wrong, cap(q.slots[0].buf))
		}
		if c.wrong && len(buf) != 0 {
			t.Errorf("%s: %d octets were kept", c.name, len(buf))
		}
	}
}

// A handover key that is to be encrypted does not stay behind in the queue, be the job done or lost.
func TestQueueForgetsWhatItHeld(t *testing.T) {
	q := newQueue(3, 3)
	secret := []byte("0123456789abcdef")
	for range 3 {
		q.put(&Job{Op: Encrypt, Source: sourceAddr(1), Octets: secret})
	}
	q.put(&Job{Source: sourceAddr(2)}) // the newest of the other is lost
	var buf []byte
	for range 3 {
		q.take(&buf)
	}
	for i := range q.slots {
		if bytes.Contains(q.slots[i].buf[:cap(q.slots[i].buf)], secret) {
			t.Errorf("slot %d still holds it", i)
		}
	}
}

func TestQueueDoesNotAllocate(t *testing.T) {
	q := newQueue(64, 16)
	octets := make([]byte, 256)
	buf := make([]byte, 0, maxOctets+maxPublicKey+maxSignature)
	flood := func() {
		for i := range 200 {
			q.put(&Job{Ticket: Ticket{Job: uint64(i)}, Source: sourceAddr(byte(i)), Octets: octets, PublicKey: octets, Signature: octets})
		}
		for {
			if _, _, ok := q.take(&buf); !ok {
				return
			}
		}
	}
	flood()
	if n := testing.AllocsPerRun(10, flood); n != 0 {
		t.Errorf("%v allocations for 200 jobs", n)
	}
}
