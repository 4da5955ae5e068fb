// Package fake holds a mobile node's interface in memory, for tests of what stands above drivers/station.
package fake

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/roamkey/roamkey/drivers/station"
	"github.com/roamkey/roamkey/ipv6"
)

// Station is a station.Interface that only remembers.
type Station struct {
	Duplicate func(netip.Addr) bool // tells whether another node has the address; nil: none has

	changes chan station.Change

	mu        sync.Mutex
	link      station.Link
	addresses []netip.Addr
	router    netip.Addr
	closed    bool
}

var _ station.Interface = (*Station)(nil)

// New gives the interface link.
func New(link station.Link) *Station {
	return &Station{link: link, changes: make(chan station.Change, 64)}
}

// Link implements station.Interface.
func (s *Station) Link() station.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link
}

// Changes implements station.Interface.
func (s *Station) Changes() <-chan station.Change { return s.changes }

// Optimistic implements station.Interface.
func (s *Station) Optimistic() bool { return true }

// SetUp makes the carrier come or go.
func (s *Station) SetUp(up bool) {
	s.mu.Lock()
	s.link.Up = up
	s.mu.Unlock()
	kind := station.LinkDown
	if up {
		kind = station.LinkUp
	}
	s.changes <- station.Change{Kind: kind, At: time.Now()}
}

// FindDuplicate makes an address that can be used already turn out to be another node's.
func (s *Station) FindDuplicate(addr netip.Addr) {
	_ = s.RemoveAddress(addr)
	s.changes <- station.Change{Kind: station.AddressDuplicate, Addr: addr, At: time.Now()}
}

// SetAddress implements station.Interface.
func (s *Station) SetAddress(addr netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := station.AddressReady
	switch {
	case s.Duplicate != nil && s.Duplicate(addr):
		kind = station.AddressDuplicate
	case !slices.Contains(s.addresses, addr):
		s.addresses = append(s.addresses, addr)
	}
	s.changes <- station.Change{Kind: kind, Addr: addr, At: time.Now()}
	return nil
}

// RemoveAddress implements station.Interface.
func (s *Station) RemoveAddress(addr netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addresses = slices.DeleteFunc(s.addresses, func(a netip.Addr) bool { return a == addr })
	return nil
}

// SetRouter implements station.Interface.
func (s *Station) SetRouter(router netip.Addr, hw ipv6.LinkAddr, lifetime time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case lifetime > 0:
		s.router = router
	case s.router == router:
		s.router = netip.Addr{}
	}
	return nil
}

// Addresses lists what SetAddress gave and RemoveAddress left.
func (s *Station) Addresses() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.addresses)
}

// Router is the default router; the zero Addr if there is none.
func (s *Station) Router() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.router
}

// Close implements station.Interface.
func (s *Station) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.addresses, s.router = nil, netip.Addr{}
	return nil
}

// Closed reports whether Close was called.
func (s *Station) Closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}
