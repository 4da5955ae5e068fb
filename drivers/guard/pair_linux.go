package guard

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

func pairElement(outer, inner netip.Addr) (string, error) {
	if !ipv6.IsRoutableUnicast(outer) || !ipv6.IsRoutableUnicast(inner) {
		return "", fmt.Errorf("tunnel from %s for %s: both must be routable unicast addresses", outer, inner)
	}
	return string(append(outer.AsSlice(), inner.AsSlice()...)), nil
}

// AddTunnel admits tunnel packets with this outer and inner source. To add a pair twice is no error.
func (g *Guard) AddTunnel(outer, inner netip.Addr) error {
	if g == nil {
		return nil
	}
	return g.setPair(g.tunnels, outer, inner, true)
}

// RemoveTunnel takes a pair back. To remove one that is not there is no error.
func (g *Guard) RemoveTunnel(outer, inner netip.Addr) error {
	if g == nil {
		return nil
	}
	return g.setPair(g.tunnels, outer, inner, false)
}

// Tunnels lists the pairs that AddTunnel admits, in order.
func (g *Guard) Tunnels() []Pair {
	if g == nil {
		return nil
	}
	return g.pairs(g.tunnels)
}

// AddServed admits tunnel packets with this outer source and inner destination: those for a node that has kept its address
// of another router. Who sends to the node is not known beforehand, so that any inner source will do. To add a pair
// twice is no error.
func (g *Guard) AddServed(outer, inner netip.Addr) error {
	if g == nil {
		return nil
	}
	return g.setPair(g.served, outer, inner, true)
}

// RemoveServed takes such a pair back. To remove one that is not there is no error.
func (g *Guard) RemoveServed(outer, inner netip.Addr) error {
	if g == nil {
		return nil
	}
	return g.setPair(g.served, outer, inner, false)
}

// Served lists the pairs that AddServed admits, in order.
func (g *Guard) Served() []Pair {
	if g == nil {
		return nil
	}
	return g.pairs(g.served)
}

func (g *Guard) setPair(s *set, outer, inner netip.Addr, on bool) error {
	e, err := pairElement(outer, inner)
	if err != nil {
		return err
	}
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	message := uint16(unix.NFT_MSG_NEWSETELEM)
	switch {
	case on:
		s.elements[e] = true // and to the kernel even so: it may have lost the pair
	case s.elements[e]:
		delete(s.elements, e)
		message = unix.NFT_MSG_DELSETELEM
	default:
		return nil
	}
	return g.t.change(func(tx *transaction) { s.change(tx, Table, message, []string{e}) })
}

func (g *Guard) pairs(s *set) []Pair {
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	var all []Pair
	for e := range s.elements {
		all = append(all, Pair{netip.AddrFrom16([16]byte([]byte(e[:16]))), netip.AddrFrom16([16]byte([]byte(e[16:])))})
	}
	slices.SortFunc(all, func(a, b Pair) int {
		if c := a.Outer.Compare(b.Outer); c != 0 {
			return c
		}
		return a.Inner.Compare(b.Inner)
	})
	return all
}
