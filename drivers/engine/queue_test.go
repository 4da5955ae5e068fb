package engine

import (
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
			if q.slots[i].job != job {
				t.Fatalf("job %d, want %d", q.slots[i].job, job)
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
			lost, dropped := q.put(job, sourceAddr(op), nil)
			wantLost, wantDropped := m.put(job, op)
			if lost != wantLost || dropped != wantDropped {
				t.Fatalf("%v, operation %d: lost %d (%v), want %d (%v)", ops, i, lost, dropped, wantLost, wantDropped)
			}
		} else {
			got, _, ok := q.take(nil)
			want, wantOK := m.take()
			if got != want || ok != wantOK {
				t.Fatalf("%v, operation %d: took %d (%v), want %d (%v)", ops, i, got, ok, want, wantOK)
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
		q.put(job, sourceAddr(1), nil)
	}
	if q.count != 16 {
		t.Fatalf("%d jobs wait, want 16", q.count)
	}
	// Others come to a full queue: each displaces the newest job of the flooder.
	for i := range byte(3) {
		lost, dropped := q.put(uint64(200+int(i)), sourceAddr(2+i), nil)
		if want := uint64(15 - i); !dropped || lost != want {
			t.Errorf("lost %d (%v), want %d: the newest of the flooder", lost, dropped, want)
		}
	}
	var order []uint64
	for range 4 {
		job, _, _ := q.take(nil)
		order = append(order, job)
	}
	if want := []uint64{0, 200, 201, 202}; !slices.Equal(order, want) {
		t.Errorf("served %v, want %v: one of the flooder, then each of the others", order, want)
	}
}

func TestQueueCopiesTheCiphertext(t *testing.T) {
	q := newQueue(4, 4)
	ciphertext := []byte("0123456789abcdef")
	q.put(1, sourceAddr(1), ciphertext)
	clear(ciphertext)
	q.put(2, sourceAddr(1), make([]byte, maxCiphertext+1))
	if _, got, _ := q.take(nil); string(got) != "0123456789abcdef" {
		t.Errorf("got %q", got)
	}
	// One that is longer than any key's takes no memory; it decrypts to random octets either way.
	if _, got, ok := q.take(nil); len(got) != 0 || !ok {
		t.Errorf("got %d octets", len(got))
	}
}

func TestQueueDoesNotAllocate(t *testing.T) {
	q := newQueue(64, 16)
	ciphertext := make([]byte, 256)
	buf := make([]byte, 0, maxCiphertext)
	flood := func() {
		for i := range 200 {
			q.put(uint64(i), sourceAddr(byte(i)), ciphertext)
		}
		for {
			if _, _, ok := q.take(buf); !ok {
				return
			}
		}
	}
	flood()
	if n := testing.AllocsPerRun(10, flood); n != 0 {
		t.Errorf("%v allocations for 200 jobs", n)
	}
}
