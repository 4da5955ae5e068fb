package pacing

// Timer is the next moment of its owner, and its place in a heap of them. The zero Timer is in none.
type Timer struct {
	at    Time
	place int // from 1; 0: not in the heap
}

// At gives the moment, Never if there is none.
func (t *Timer) At() Time {
	if t.place == 0 {
		return Never
	}
	return t.at
}

// Timed is what has a Timer.
type Timed interface {
	comparable
	Wake() *Timer
}

// Timers is a binary heap of owners by their next moment. Each is in it once at the most and knows its place, so that a
// change costs no search. The zero Timers is empty.
type Timers[T Timed] struct{ heap []T }

// Len gives the number of owners that have a moment.
func (h *Timers[T]) Len() int { return len(h.heap) }

// First gives the owner whose moment is next; false if there is none.
func (h *Timers[T]) First() (first T, ok bool) {
	if len(h.heap) == 0 {
		return first, false
	}
	return h.heap[0], true
}

// Due gives the owner whose moment is next if it is not after now.
func (h *Timers[T]) Due(now Time) (due T, ok bool) {
	if len(h.heap) == 0 || h.heap[0].Wake().at > now {
		return due, false
	}
	return h.heap[0], true
}

// Set puts n at its moment, or takes it out where that is Never.
func (h *Timers[T]) Set(n T, at Time) {
	if at == Never {
		h.Remove(n)
		return
	}
	t := n.Wake()
	if t.place == 0 {
		h.heap = append(h.heap, n)
		t.place = len(h.heap)
	}
	t.at = at
	h.up(t.place - 1)
	h.down(t.place - 1)
}

// Remove takes n out.
func (h *Timers[T]) Remove(n T) {
	t := n.Wake()
	if t.place == 0 {
		return
	}
	i, last := t.place-1, len(h.heap)-1
	h.swap(i, last)
	var none T
	h.heap[last] = none
	h.heap = h.heap[:last]
	t.place = 0
	if i < last {
		h.up(i)
		h.down(i)
	}
}

func (h *Timers[T]) at(i int) Time { return h.heap[i].Wake().at }

func (h *Timers[T]) swap(i, j int) {
	h.heap[i], h.heap[j] = h.heap[j], h.heap[i]
	h.heap[i].Wake().place, h.heap[j].Wake().place = i+1, j+1
}

func (h *Timers[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if h.at(parent) <= h.at(i) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *Timers[T]) down(i int) {
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(h.heap) && h.at(child) < h.at(least) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
