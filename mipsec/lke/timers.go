package lke

import (
	"math"
	"time"
)

// routerTime is a moment in nanoseconds since the router's first step. A third of a time.Time's size, it keeps the
// monotonic reading where there is one.
type routerTime int64

// routerNever is later than every moment.
const routerNever = routerTime(math.MaxInt64)

func (t routerTime) add(d time.Duration) routerTime {
	if d > time.Duration(routerNever-max(t, 0)) {
		return routerNever
	}
	return t + routerTime(d)
}

func (t routerTime) sub(u routerTime) time.Duration { return time.Duration(t - u) }

// routerTimers is a binary heap of the nodes by their next moment. Each node is in it once at the most and knows its
// place, so that a change costs no search.
type routerTimers []*routerNode

// first gives the node that is next, nil if there is none.
func (h routerTimers) first() *routerNode {
	if len(h) == 0 {
		return nil
	}
	return h[0]
}

// set puts n at its moment, or takes it out where that is routerNever.
func (h *routerTimers) set(n *routerNode, at routerTime) {
	if at == routerNever {
		h.remove(n)
		return
	}
	if n.place < 0 {
		n.place = len(*h)
		*h = append(*h, n)
	}
	n.wake = at
	h.up(n.place)
	h.down(n.place)
}

func (h *routerTimers) remove(n *routerNode) {
	if n.place < 0 {
		return
	}
	i, last := n.place, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	n.place = -1
	n.wake = routerNever
	if i < last {
		h.up(i)
		h.down(i)
	}
}

func (h routerTimers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h routerTimers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].wake <= h[i].wake {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h routerTimers) down(i int) {
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(h) && h[child].wake < h[least].wake {
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
