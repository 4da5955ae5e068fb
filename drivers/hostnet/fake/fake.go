// Package fake is drivers/hostnet without a kernel: a [Host] that says what a test tells it.
package fake

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/ipv6"
)

var _ hostnet.View = (*Host)(nil)

// Host is the fake. The zero value knows no link.
type Host struct {
	mu         sync.Mutex
	links      []hostnet.Link
	neighbours map[neighbour]ipv6.LinkAddr
	sas        map[netip.Addr]bool
	covered    map[[2]netip.Addr]bool
	findings   map[string][]hostnet.Finding
	routes     []hostnet.Route
	acceptRA   map[string]bool
	stops      map[string]bool // links that do not forward
	changes    chan struct{}
}

type neighbour struct {
	link int
	addr netip.Addr
}

// set changes something, and says so by Changes.
func (h *Host) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	select {
	case h.channel() <- struct{}{}:
	default:
	}
}

func (h *Host) channel() chan struct{} {
	if h.changes == nil {
		h.changes = make(chan struct{}, 1)
	}
	return h.changes
}

// SetLinks replaces all links.
func (h *Host) SetLinks(links ...hostnet.Link) {
	h.set(func() { h.links = slices.Clone(links) })
}

// SetNeighbour sets a neighbour, or removes it where hw is zero.
func (h *Host) SetNeighbour(link int, addr netip.Addr, hw ipv6.LinkAddr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.neighbours == nil {
		h.neighbours = make(map[neighbour]ipv6.LinkAddr)
	}
	h.neighbours[neighbour{link, addr}] = hw
}

// SetSA says whether there is a security association with addr.
func (h *Host) SetSA(addr netip.Addr, has bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sas == nil {
		h.sas = make(map[netip.Addr]bool)
	}
	h.sas[addr] = has
}

// SetCovers says whether policies have messages between two routers under ESP.
func (h *Host) SetCovers(local, peer netip.Addr, covers bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.covered == nil {
		h.covered = make(map[[2]netip.Addr]bool)
	}
	h.covered[[2]netip.Addr{local, peer}] = covers
}

// SetFindings says what HidesDAD finds on a link.
func (h *Host) SetFindings(link string, findings ...hostnet.Finding) {
	h.set(func() {
		if h.findings == nil {
			h.findings = make(map[string][]hostnet.Finding)
		}
		h.findings[link] = findings
	})
}

// SetRoutes replaces all routes.
func (h *Host) SetRoutes(routes ...hostnet.Route) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.routes = slices.Clone(routes)
}

// SetForwarding says whether a link forwards. It does unless told otherwise.
func (h *Host) SetForwarding(link string, forwards bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stops == nil {
		h.stops = make(map[string]bool)
	}
	h.stops[link] = !forwards
}

// SetAcceptRA says whether the kernel configures itself on a link. It does not unless told otherwise.
func (h *Host) SetAcceptRA(link string, accepts bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.acceptRA == nil {
		h.acceptRA = make(map[string]bool)
	}
	h.acceptRA[link] = accepts
}

// Links implements hostnet.View.
func (h *Host) Links() []hostnet.Link {
	h.mu.Lock()
	defer h.mu.Unlock()
	links := slices.Clone(h.links)
	for i := range links {
		links[i].Addresses = slices.Clone(links[i].Addresses)
	}
	return links
}

// Link implements hostnet.View.
func (h *Host) Link(name string) (hostnet.Link, bool) {
	for _, l := range h.Links() {
		if l.Name == name {
			return l, true
		}
	}
	return hostnet.Link{}, false
}

// Neighbour implements hostnet.View.
func (h *Host) Neighbour(link int, addr netip.Addr) ipv6.LinkAddr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.neighbours[neighbour{link, addr}]
}

// HasSA implements hostnet.View.
func (h *Host) HasSA(addr netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sas[addr]
}

// Covers implements hostnet.View.
func (h *Host) Covers(local, peer netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.covered[[2]netip.Addr{local, peer}]
}

// Routes implements hostnet.View.
func (h *Host) Routes() ([]hostnet.Route, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.routes), nil
}

// Forwarding implements hostnet.View.
func (h *Host) Forwarding(link string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.stops[link]
}

// AcceptRA implements hostnet.View.
func (h *Host) AcceptRA(link string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acceptRA[link]
}

// HidesDAD implements hostnet.View.
func (h *Host) HidesDAD(link string) []hostnet.Finding {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.findings[link])
}

// Changes implements hostnet.View.
func (h *Host) Changes() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.channel()
}

// Counters implements hostnet.View. It counts nothing.
func (h *Host) Counters(func(name string, value uint64)) {}

// Close implements hostnet.View.
func (h *Host) Close() error { return nil }
