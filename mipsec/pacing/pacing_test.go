package pacing

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

type owner struct{ timer Timer }

func (o *owner) Wake() *Timer { return &o.timer }

// The heap gives its owners in the order of their moments, also after any of them was moved or taken out.
func TestTimersOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h Timers[*owner]
	owners := make([]*owner, 200)
	for i := range owners {
		owners[i] = &owner{}
	}
	for range 5000 {
		n := owners[random.IntN(len(owners))]
		switch random.IntN(4) {
		case 0:
			h.Set(n, Never)
		default:
			h.Set(n, Time(random.IntN(1000)))
		}
	}
	var want []Time
	for _, n := range owners {
		if at := n.timer.At(); at != Never {
			want = append(want, at)
		}
	}
	slices.Sort(want)
	if h.Len() != len(want) {
		t.Errorf("%d owners have a moment, the heap holds %d", len(want), h.Len())
	}
	var got []Time
	for n, ok := h.First(); ok; n, ok = h.First() {
		at := n.timer.At()
		if _, due := h.Due(at - 1); due {
			t.Fatalf("due before %d", at)
		}
		if first, due := h.Due(at); !due || first != n {
			t.Fatalf("not due at %d", at)
		}
		got = append(got, at)
		h.Remove(n)
		h.Remove(n) // once more is no error
	}
	if !slices.Equal(got, want) || len(want) < 50 {
		t.Errorf("%d moments come out of order", len(want))
	}
}

// The bounded table keeps what was put last, whatever its bound becomes.
func TestTable(t *testing.T) {
	var table Table[int, string]
	table.Resize(3)
	for i := range 5 {
		*table.Put(i) = string(rune('a' + i))
		table.Put(1)
	}
	present := func() (keys []int) {
		for i := range 10 {
			if table.Get(i) != nil {
				keys = append(keys, i)
			}
		}
		return keys
	}
	if got := present(); !slices.Equal(got, []int{1, 3, 4}) {
		t.Errorf("the table holds %v, want 1, 3 and 4", got)
	}
	table.Resize(2)
	if got := present(); !slices.Equal(got, []int{1, 4}) {
		t.Errorf("with a bound of 2 the table holds %v, want 1 and 4", got)
	}
	table.Resize(4)
	*table.Put(8), *table.Put(9) = "i", "j"
	if got := present(); !slices.Equal(got, []int{1, 4, 8, 9}) || *table.Get(4) != "e" {
		t.Errorf("with a bound of 4 the table holds %v", got)
	}
	if table.Len() != 4 || len(table.index) != 4 {
		t.Errorf("%d slots, %d keys", table.Len(), len(table.index))
	}
	for i := range 100 { // while the oldest is stale a new key takes its place
		table.Reuse(func(*string) bool { return true })
		table.Put(100 + i)
	}
	if table.Len() != 4 || table.Get(198) == nil || len(table.index) != 4 {
		t.Errorf("%d slots, %d keys", table.Len(), len(table.index))
	}
}

// Moments far away do not wrap.
func TestTimeSaturates(t *testing.T) {
	for _, at := range []Time{0, 1, -5, Time(time.Hour), Never - 1, Never} {
		if got := at.Add(time.Duration(Never)); got < at {
			t.Errorf("%d + forever = %d", at, got)
		}
	}
	if got := Time(5).Add(3); got != 8 {
		t.Errorf("5 + 3 = %d", got)
	}
}

// A bucket lets a burst through at once, then one in each interval.
func TestBucket(t *testing.T) {
	var b Bucket
	passed := 0
	for now := Time(0); now <= Time(10*time.Second); now = now.Add(10 * time.Millisecond) {
		if b.Allows(now, time.Second, 3) {
			b.Take(now, time.Second)
			passed++
		}
		if now == 0 && !b.Allows(now, time.Second, 3) {
			t.Fatal("no burst")
		}
	}
	if passed != 13 {
		t.Errorf("%d events in 10 s, want 13", passed)
	}
}

// The clock of a machine begins with its first step.
func TestClock(t *testing.T) {
	var c Clock
	base := time.Unix(1e9, 0)
	if c.At(base) != 0 || c.At(base.Add(time.Minute)) != Time(time.Minute) || c.At(base.Add(-1)) != -1 {
		t.Error("moments are not counted from the first one")
	}
	if got := c.Moment(Time(time.Hour)); !got.Equal(base.Add(time.Hour)) {
		t.Errorf("an hour later is %v", got)
	}
}
