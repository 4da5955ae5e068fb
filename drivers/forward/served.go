package forward

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// servedNode is a node that keeps its address of another router here.
type servedNode struct {
	Binding
	link  string // name of the served link that the node is on
	table int    // routing table of what it sends
}

// setServed makes what the node at b.Home sends go out to b.CareOf, and what comes from there for it come in.
func (t *table) setServed(b Binding, mtu int) {
	local, remote := b.Router.As16(), b.CareOf.As16()
	e := &entry{home: b.Home.As16(), local: local, remote: remote}
	e.mtu.Store(uint32(mtu))
	t.mu.Lock()
	t.served[e.home] = e
	t.mu.Unlock()
}

func (t *table) removeServed(home netip.Addr) {
	t.mu.Lock()
	delete(t.served, home.As16())
	t.mu.Unlock()
}

// receives reports whether a tunnel packet with this outer source and destination comes from e's other end to this one.
func (e *entry) receives(outerSrc, outerDst *addr) bool {
	return *outerSrc == e.remote && *outerDst == e.local
}

// inboundServed checks a tunnel packet for a served node, with src as the inner source. Who writes to the node may be
// anybody, but neither the node itself nor this router: their packets have no business in that tunnel.
func (e *entry) inboundServed(outerSrc, outerDst, src *addr) reason {
	switch {
	case !e.receives(outerSrc, outerDst):
		return wrongOuter
	case *src == e.home || *src == e.local:
		return loops
	}
	return passed
}

// sent finds the entry by which the packet in an ICMPv6 error left through the tunnel; nil if there is none. The error is
// about a packet to remote. The caller holds the read lock.
func (t *table) sent(remote *addr, b []byte) *entry {
	home := destination(b)
	if t.side == nodeSide {
		home = source(b)
	}
	if e := t.entries[home]; e != nil && e.remote == *remote {
		return e
	}
	if e := t.served[source(b)]; e != nil && e.remote == *remote {
		return e
	}
	return nil
}

// all lists the entries of both kinds.
func (t *table) all() []*entry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]*entry, 0, len(t.entries)+len(t.served))
	for _, of := range []map[addr]*entry{t.entries, t.served} {
		for _, e := range of {
			all = append(all, e)
		}
	}
	return all
}

// checkServe says why a router cannot serve b; nil if it can.
func (l *ledger) checkServe(b Binding) error {
	if err := l.checkAddresses(b); err != nil {
		return err
	}
	if o, bound := l.byHome[b.Home]; bound {
		return fmt.Errorf("serve %s for %s: it is bound to %s", b.Home, b.CareOf, o.CareOf)
	}
	// The tunnel packets to the other router would go into another tunnel, or to a node.
	if o, bound := l.byHome[b.CareOf]; bound {
		return fmt.Errorf("serve %s for %s: that is the home address of a binding, to %s", b.Home, b.CareOf, o.CareOf)
	}
	if o, served := l.served[b.CareOf]; served {
		return fmt.Errorf("serve %s for %s: that is the address of a node of %s", b.Home, b.CareOf, o.CareOf)
	}
	if l.exits[b.Home] > 0 {
		return fmt.Errorf("serve %s for %s: that is a router whose nodes are served", b.Home, b.CareOf)
	}
	return nil
}

func (l *ledger) putServed(s servedNode) {
	l.dropServed(s.Home)
	l.served[s.Home] = s
	l.exits[s.CareOf]++
}

func (l *ledger) dropServed(home netip.Addr) (servedNode, bool) {
	s, served := l.served[home]
	if !served {
		return s, false
	}
	delete(l.served, home)
	if l.exits[s.CareOf]--; l.exits[s.CareOf] == 0 {
		delete(l.exits, s.CareOf)
	}
	return s, true
}

// servedHomes lists the addresses that are served, in order.
func (l *ledger) servedHomes() []netip.Addr {
	return slices.SortedFunc(maps.Keys(l.served), netip.Addr.Compare)
}
