// Package fake holds a forwarder and a node's tunnel end in memory, for tests of what stands above drivers/forward.
package fake

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/roamkey/roamkey/drivers/forward"
)

// Forwarder is a forward.Forwarder that only remembers.
type Forwarder struct {
	Left []forward.Binding           // what an earlier process left, for Adopt
	Old  bool                        // the kernel has no policy routing: nobody can be served
	Fail func(forward.Binding) error // what Bind and Serve are to return; nil: no error

	mu     sync.Mutex
	bound  map[netip.Addr]forward.Binding
	served map[netip.Addr]forward.Binding
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
		f.bound, f.served = make(map[netip.Addr]forward.Binding), make(map[netip.Addr]forward.Binding)
	}
	if b.Served {
		f.served[b.Home] = b
	} else {
		f.bound[b.Home] = b
	}
}

// Serve remembers b, with Served.
func (f *Forwarder) Serve(b forward.Binding) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Old {
		return errors.New("no policy routing")
	}
	b.Served = true
	if f.Fail != nil {
		if err := f.Fail(b); err != nil {
			return err
		}
	}
	f.put(b)
	return nil
}

// Unserve forgets home.
func (f *Forwarder) Unserve(home netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.served, home)
	return nil
}

// Served lists what is served in the order of the home addresses.
func (f *Forwarder) Served() []forward.Binding {
	f.mu.Lock()
	defer f.mu.Unlock()
	return sorted(f.served)
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
	gone := func(home netip.Addr, _ forward.Binding) bool { return !slices.Contains(homes, home) }
	maps.DeleteFunc(f.bound, gone)
	maps.DeleteFunc(f.served, gone)
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
	return sorted(f.bound)
}

func sorted(bindings map[netip.Addr]forward.Binding) []forward.Binding {
	return slices.SortedFunc(maps.Values(bindings), func(a, b forward.Binding) int { return a.Home.Compare(b.Home) })
}

// Closed reports whether Close was called, and with what.
func (f *Forwarder) Closed() (closed, leave bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed, f.leave
}

// Describe names the fake.
func (f *Forwarder) Describe() forward.Info {
	return forward.Info{Backend: "fake", Device: "fake0", MTU: 1460, Serves: !f.Old}
}

// Counters yields the number of bindings, and of what is served.
func (f *Forwarder) Counters(yield func(name string, value uint64)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	yield("bindings", uint64(len(f.bound)))
	yield("served", uint64(len(f.served)))
}

// Close forgets all, unless leave.
func (f *Forwarder) Close(leave bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed, f.leave = true, leave
	if !leave {
		f.bound, f.served = nil, nil
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
