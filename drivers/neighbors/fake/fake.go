// Package fake is drivers/neighbors without a kernel: a [Neighbors] that remembers what it was told, and asks what a test
// has it ask.
package fake

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/roamkey/roamkey/drivers/neighbors"
	"github.com/roamkey/roamkey/ipv6"
)

var _ neighbors.Driver = (*Neighbors)(nil)

// Entry is an entry of the table.
type Entry struct {
	Hardware  ipv6.LinkAddr
	Reachable bool
}

type place struct {
	link int
	addr netip.Addr
}

// Neighbors is the fake.
type Neighbors struct {
	asked chan neighbors.Ask

	mu      sync.Mutex
	taken   map[int]bool
	entries map[place]Entry
	owned   map[neighbors.Owned]int // length of the prefix
	failing error
	closed  bool
	counts  counts
}

type counts struct{ asked, lost, set, removed, added, failures uint64 }

// New gives a fake whose kernel has no entries and asks nothing.
func New() *Neighbors {
	return &Neighbors{
		asked: make(chan neighbors.Ask, 1024), taken: make(map[int]bool), entries: make(map[place]Entry),
		owned: make(map[neighbors.Owned]int),
	}
}

// Ask has the kernel ask for an address. About a link that is not taken nobody is asked: then it reports false.
func (n *Neighbors) Ask(link int, addr netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.taken[link] {
		return false
	}
	n.counts.asked++
	_, known := n.entries[place{link, addr}]
	select {
	case n.asked <- neighbors.Ask{Link: link, Addr: addr, Missing: !known}:
		return true
	default:
		n.counts.lost++
		return false
	}
}

// Fail makes every change fail with err, until Fail(nil).
func (n *Neighbors) Fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failing = err
}

// Own puts there what an earlier process has left.
func (n *Neighbors) Own(o neighbors.Owned, bits int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.owned[o] = bits
}

// Taken reports whether a link is taken.
func (n *Neighbors) Taken(link int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.taken[link]
}

// Entry gives an entry of the table.
func (n *Neighbors) Entry(link int, addr netip.Addr) (Entry, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, ok := n.entries[place{link, addr}]
	return e, ok
}

// Address gives the prefix of an address that was added to a link.
func (n *Neighbors) Address(link int, addr netip.Addr) (netip.Prefix, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	bits, ok := n.owned[neighbors.Owned{Link: link, Addr: addr}]
	return netip.PrefixFrom(addr, bits), ok
}

// Routed reports whether there is a host route.
func (n *Neighbors) Routed(link int, addr netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.owned[neighbors.Owned{Link: link, Addr: addr, Route: true}]
	return ok
}

// Closed reports whether the driver has ended.
func (n *Neighbors) Closed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed
}

// change carries out a change, with the errors that the kernel would give.
func (n *Neighbors) change(link int, wrong bool, f func()) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	err := n.failing
	switch {
	case n.closed:
		err = errors.New("the driver of neighbours is closed")
	case err == nil && (wrong || link <= 0):
		err = fmt.Errorf("link %d: no such thing can be there", link)
	}
	if err != nil {
		n.counts.failures++
		return err
	}
	f()
	return nil
}

func wrong(addr netip.Addr) bool {
	return !addr.Is6() || addr.Is4In6() || addr.IsMulticast() || addr.IsUnspecified() || addr.IsLoopback()
}

// Take implements neighbors.Driver.
func (n *Neighbors) Take(link int) error {
	return n.change(link, false, func() {
		if n.taken[link] {
			return
		}
		n.taken[link] = true
		for p := range n.entries {
			if p.link == link {
				delete(n.entries, p)
			}
		}
	})
}

// Release implements neighbors.Driver.
func (n *Neighbors) Release(link int) error {
	return n.change(link, false, func() { delete(n.taken, link) })
}

// Asked implements neighbors.Driver.
func (n *Neighbors) Asked() <-chan neighbors.Ask { return n.asked }

// SetEntry implements neighbors.Driver.
func (n *Neighbors) SetEntry(link int, addr netip.Addr, hw ipv6.LinkAddr, reachable bool) error {
	return n.change(link, wrong(addr) || !hw.IsUnicast(), func() {
		n.entries[place{link, addr}] = Entry{Hardware: hw, Reachable: reachable}
		n.counts.set++
	})
}

// RemoveEntry implements neighbors.Driver.
func (n *Neighbors) RemoveEntry(link int, addr netip.Addr) error {
	return n.change(link, wrong(addr), func() {
		delete(n.entries, place{link, addr})
		n.counts.removed++
	})
}

// AddAddress implements neighbors.Driver.
func (n *Neighbors) AddAddress(link int, addr netip.Prefix) error {
	return n.change(link, !addr.IsValid() || wrong(addr.Addr()), func() {
		n.owned[neighbors.Owned{Link: link, Addr: addr.Addr()}] = addr.Bits()
		n.counts.added++
	})
}

// RemoveAddress implements neighbors.Driver.
func (n *Neighbors) RemoveAddress(link int, addr netip.Addr) error {
	return n.change(link, false, func() { delete(n.owned, neighbors.Owned{Link: link, Addr: addr}) })
}

// AddRoute implements neighbors.Driver.
func (n *Neighbors) AddRoute(link int, addr netip.Addr) error {
	return n.change(link, wrong(addr) || addr.IsLinkLocalUnicast(), func() {
		n.owned[neighbors.Owned{Link: link, Addr: addr, Route: true}] = 128
	})
}

// RemoveRoute implements neighbors.Driver.
func (n *Neighbors) RemoveRoute(link int, addr netip.Addr) error {
	return n.change(link, false, func() { delete(n.owned, neighbors.Owned{Link: link, Addr: addr, Route: true}) })
}

// Owned implements neighbors.Driver.
func (n *Neighbors) Owned() ([]neighbors.Owned, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failing != nil {
		return nil, n.failing
	}
	var all []neighbors.Owned
	for o := range n.owned {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b neighbors.Owned) int {
		order := cmp.Or(cmp.Compare(a.Link, b.Link), a.Addr.Compare(b.Addr))
		if order == 0 && a.Route != b.Route {
			if a.Route {
				return 1
			}
			return -1
		}
		return order
	})
	return all, nil
}

// Counters implements neighbors.Driver.
func (n *Neighbors) Counters(yield func(name string, value uint64)) {
	n.mu.Lock()
	c := n.counts
	n.mu.Unlock()
	yield("asked", c.asked)
	yield("asked_other_link", 0)
	yield("drop_asked_queue_full", c.lost)
	yield("drop_asked_overrun", 0)
	yield("entries_set", c.set)
	yield("entries_removed", c.removed)
	yield("addresses_added", c.added)
	yield("failures", c.failures)
}

// Leave implements neighbors.Driver.
func (n *Neighbors) Leave() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	return nil
}

// Close implements neighbors.Driver.
func (n *Neighbors) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.closed = true
		clear(n.taken)
		clear(n.owned)
	}
	return nil
}
