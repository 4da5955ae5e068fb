// Package fake holds a forwarder and a node's tunnel end in memory, for tests of what stands above drivers/forward.
package fake

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/roamkey/roamkey/drivers/forward"
)

// Forwarder is a forward.Forwarder that only remembers.
type Forwarder struct {
	Left []forward.Binding           // what an earlier process left, for Adopt
	Fail func(forward.Binding) error // what Bind is to return; nil: no error

	mu     sync.Mutex
	bound  map[netip.Addr]forward.Binding
	closed bool
	leave  bool
}

var _ forward.Forwarder = (*Forwarder)(nil)

// Bind remembers b.
func (f *Forwarder) Bind(b forward.Binding) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Fail != nil {
		if err := f.Fail(b); err != nil {
			return err
		}
	}
	f.put(b)
	return nil
}

func (f *Forwarder) put(b forward.Binding) {
	if f.bound == nil {
		f.bound = make(map[netip.Addr]forward.Binding)
	}
	f.bound[b.Home] = b
}

// Unbind forgets home.
func (f *Forwarder) Unbind(home netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.bound, home)
	return nil
}

// Adopt takes up Left.
func (f *Forwarder) Adopt() ([]forward.Binding, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.Left {
		f.put(b)
	}
	return slices.Clone(f.Left), nil
}

// Keep forgets all but homes.
func (f *Forwarder) Keep(homes []netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for home := range f.bound {
		if !slices.Contains(homes, home) {
			delete(f.bound, home)
		}
	}
	return nil
}

// Bound gives the binding of home.
func (f *Forwarder) Bound(home netip.Addr) (forward.Binding, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.bound[home]
	return b, ok
}

// Bindings lists all bindings in the order of their home addresses.
func (f *Forwarder) Bindings() []forward.Binding {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []forward.Binding
	for _, b := range f.bound {
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b forward.Binding) int { return a.Home.Compare(b.Home) })
	return all
}

// Closed reports whether Close was called, and with what.
func (f *Forwarder) Closed() (closed, leave bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed, f.leave
}

// Describe names the fake.
func (f *Forwarder) Describe() forward.Info {
	return forward.Info{Backend: "fake", Device: "fake0", MTU: 1460}
}

// Counters yields the number of bindings.
func (f *Forwarder) Counters(yield func(name string, value uint64)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	yield("bindings", uint64(len(f.bound)))
}

// Close forgets all, unless leave.
func (f *Forwarder) Close(leave bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed, f.leave = true, leave
	if !leave {
		f.bound = nil
	}
	return nil
}

// Node is a forward.NodeTunnel that only remembers.
type Node struct{ Forwarder }

var _ forward.NodeTunnel = (*Node)(nil)

// Expect is nothing to remember.
func (n *Node) Expect(forward.Binding) error { return nil }

// Close forgets all.
func (n *Node) Close() error { return n.Forwarder.Close(false) }
