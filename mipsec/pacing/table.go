package pacing

// Table is a map with a bound: a new key puts out the one that was put longest ago.
type Table[K comparable, V any] struct {
	bound       int
	index       map[K]int32
	slots       []slot[K, V]
	newest, old int32 // ends of the list of slots; -1 when empty
	spent       bool  // the oldest slot may be taken by the next new key
}

type slot[K comparable, V any] struct {
	key          K
	value        V
	newer, older int32
}

// Resize sets the bound. Entries over a smaller bound are put out.
func (t *Table[K, V]) Resize(bound int) {
	if t.index == nil {
		t.index, t.newest, t.old = make(map[K]int32), -1, -1
	}
	if len(t.slots) > bound {
		keep := Table[K, V]{}
		keep.Resize(bound)
		for i := t.old; i >= 0; i = t.slots[i].newer {
			*keep.Put(t.slots[i].key) = t.slots[i].value
		}
		*t = keep
	}
	t.bound = bound
}

// Reuse makes the next put of a new key take the place of the oldest one, if that is stale. So the table grows only while
// what it holds still counts.
func (t *Table[K, V]) Reuse(stale func(*V) bool) {
	t.spent = len(t.slots) > 0 && stale(&t.slots[t.old].value)
}

// Get gives the value of key, nil if there is none. The pointer is good until the next put.
func (t *Table[K, V]) Get(key K) *V {
	i, ok := t.index[key]
	if !ok {
		return nil
	}
	return &t.slots[i].value
}

// Put gives the value of key, a zero one if there was none, and makes it the newest.
func (t *Table[K, V]) Put(key K) *V {
	i, ok := t.index[key]
	switch {
	case ok:
		t.unlink(i)
	case len(t.slots) < t.bound && !t.spent:
		i = int32(len(t.slots))
		t.slots = append(t.slots, slot[K, V]{key: key})
		t.index[key] = i
	default:
		i = t.old
		t.unlink(i)
		delete(t.index, t.slots[i].key)
		t.slots[i] = slot[K, V]{key: key}
		t.index[key] = i
	}
	t.spent = false
	s := &t.slots[i]
	s.newer, s.older = -1, t.newest
	if t.newest >= 0 {
		t.slots[t.newest].newer = i
	} else {
		t.old = i
	}
	t.newest = i
	return &s.value
}

func (t *Table[K, V]) unlink(i int32) {
	s := &t.slots[i]
	if s.newer >= 0 {
		t.slots[s.newer].older = s.older
	} else {
		t.newest = s.older
	}
	if s.older >= 0 {
		t.slots[s.older].newer = s.newer
	} else {
		t.old = s.newer
	}
}

// Len gives the number of entries.
func (t *Table[K, V]) Len() int { return len(t.slots) }

// All gives the entries from the one that was put longest ago to the newest, until yield returns false. The table must not
// be changed meanwhile.
func (t *Table[K, V]) All(yield func(K, *V) bool) {
	if len(t.slots) == 0 {
		return
	}
	for i := t.old; i >= 0; i = t.slots[i].newer {
		if !yield(t.slots[i].key, &t.slots[i].value) {
			return
		}
	}
}
