package forward

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/roamkey/roamkey/ipv6"
)

// side says which end of the tunnel this is: they look bindings up by opposite addresses.
type side uint8

const (
	routerSide side = iota // packets for a home address go out, packets from it come in
	nodeSide               // packets from a home address go out, packets for it come in
)

// entry is a binding as the path of packets needs it.
type entry struct {
	home          addr
	local, remote addr // source and destination of the tunnel packets sent

	// other is local itself, or a further address at which packets are taken: it was local before the node moved on, or will
	// be when the router knows.
	other addr
	mtu   atomic.Uint32
}

// table holds the bindings by home address. The path of packets takes the read lock once for a batch.
type table struct {
	side side

	mu      sync.RWMutex
	entries map[addr]*entry
	served  map[addr]*entry // nodes with addresses of other routers, which tunnel packets for them to us
}

func newTable(s side) *table {
	return &table{side: s, entries: make(map[addr]*entry), served: make(map[addr]*entry)}
}

// ends gives the outer source and destination of what this end of b's tunnel sends.
func (t *table) ends(b Binding) (local, remote netip.Addr) {
	if t.side == nodeSide {
		return b.CareOf, b.Router
	}
	return b.Router, b.CareOf
}

func (t *table) set(b Binding, mtu int) {
	local, remote := t.ends(b)
	e := &entry{home: b.Home.As16(), local: local.As16(), remote: remote.As16()}
	e.other = e.local
	e.mtu.Store(uint32(mtu))
	t.mu.Lock()
	if old := t.entries[e.home]; old != nil && t.side == nodeSide && old.remote == e.remote {
		if e.other = old.local; old.local == e.local {
			e.other = old.other
		}
	}
	t.entries[e.home] = e
	t.mu.Unlock()
}

// expect takes packets at b's care-of address, too, if they come from the router that b.Home is bound with.
func (t *table) expect(b Binding) {
	local, remote := t.ends(b)
	t.mu.Lock()
	if e := t.entries[b.Home.As16()]; e != nil && e.remote == remote.As16() {
		e.other = local.As16()
	}
	t.mu.Unlock()
}

func (t *table) remove(home netip.Addr) {
	t.mu.Lock()
	delete(t.entries, home.As16())
	t.mu.Unlock()
}

// outbound finds the binding by which the whole packet b leaves through the tunnel. The caller holds the read lock.
func (t *table) outbound(b []byte) (*entry, reason) {
	src, dst := source(b), destination(b)
	if !routable(&src) || !routable(&dst) {
		return nil, badScope
	}
	home := &dst
	if t.side == nodeSide {
		home = &src
	}
	e := t.entries[*home]
	if e == nil {
		// For an address of another router the source counts; what brought the packet here is a rule for the node's link. It
		// comes second, so that nobody elsewhere has a packet to a bound address sent to that router by its source alone.
		e = t.served[src]
	}
	if e == nil {
		return nil, noBinding
	}
	if src == dst || (src == e.local && dst == e.remote) {
		return nil, loops // RFC 2473 section 4.1.2
	}
	return e, passed
}

// inbound checks that the whole packet b may leave the tunnel whose outer header had this source and destination. The
// caller holds the read lock.
func (t *table) inbound(outerSrc, outerDst *addr, b []byte) reason {
	src, dst := source(b), destination(b)
	if !routable(&src) || !routable(&dst) {
		return badScope
	}
	home := &src
	if t.side == nodeSide {
		home = &dst
	}
	e := t.entries[*home]
	if s := t.served[dst]; s != nil && (e == nil || !e.receives(outerSrc, outerDst)) {
		return s.inboundServed(outerSrc, outerDst, &src)
	}
	if e == nil {
		return noBinding
	}
	if *outerSrc != e.remote || *outerDst != e.local && *outerDst != e.other {
		return wrongOuter
	}
	if src == dst || (t.side == routerSide && dst == e.remote) {
		return loops
	}
	return passed
}

// ledger is what is bound, as the callers said it. It is not safe for concurrent use.
type ledger struct {
	byHome map[netip.Addr]Binding
	careOf map[netip.Addr]int // how many bindings have this care-of address
	served map[netip.Addr]servedNode
	exits  map[netip.Addr]int // how many nodes are served for this router
}

func newLedger() ledger {
	return ledger{
		byHome: make(map[netip.Addr]Binding), careOf: make(map[netip.Addr]int),
		served: make(map[netip.Addr]servedNode), exits: make(map[netip.Addr]int),
	}
}

// checkAddresses says why b cannot be bound, whatever else is; nil if it can.
func (l *ledger) checkAddresses(b Binding) error {
	for _, a := range [...]struct {
		what string
		addr netip.Addr
	}{{"home address", b.Home}, {"router address", b.Router}, {"care-of address", b.CareOf}} {
		if !ipv6.IsRoutableUnicast(a.addr) {
			return fmt.Errorf("bind %s to %s: the %s %s is not a routable unicast address", b.Home, b.CareOf, a.what, a.addr)
		}
	}
	if b.Home == b.CareOf || b.Home == b.Router || b.Router == b.CareOf {
		return fmt.Errorf("bind %s to %s by %s: the three addresses must differ", b.Home, b.CareOf, b.Router)
	}
	return nil
}

// checkNode says why a mobile node cannot bind b; nil if it can. Its tunnels may lie in each other: the home agent's packets
// to the care-of address that the node has left come through the tunnel of the router there, until the home agent knows
// the new one. Only a circle would have no end.
func (l *ledger) checkNode(b Binding) error {
	if err := l.checkAddresses(b); err != nil {
		return err
	}
	for at, depth := b.CareOf, 0; ; depth++ {
		o, bound := l.byHome[at]
		switch {
		case !bound:
			return nil
		case o.CareOf == b.Home:
			return fmt.Errorf("bind %s to %s: the tunnels would lie in each other", b.Home, b.CareOf)
		case depth == maxNesting:
			return fmt.Errorf("bind %s to %s: more than %d tunnels would lie in each other", b.Home, b.CareOf, maxNesting)
		}
		at = o.CareOf
	}
}

// check says why a router cannot bind b; nil if it can.
func (l *ledger) check(b Binding) error {
	if err := l.checkAddresses(b); err != nil {
		return err
	}
	// The tunnel packets of one binding would go into the tunnel of another.
	if o, bound := l.byHome[b.CareOf]; bound {
		return fmt.Errorf("bind %s to %s: that is the home address of another binding, to %s", b.Home, b.CareOf, o.CareOf)
	}
	if o, served := l.served[b.Home]; served {
		return fmt.Errorf("bind %s to %s: that address is served for %s", b.Home, b.CareOf, o.CareOf)
	}
	if l.exits[b.Home] > 0 {
		return fmt.Errorf("bind %s to %s: that is a router whose nodes are served", b.Home, b.CareOf)
	}
	if l.careOf[b.Home] > 0 {
		return fmt.Errorf("bind %s to %s: %s is the care-of address of another binding", b.Home, b.CareOf, b.Home)
	}
	return nil
}

func (l *ledger) put(b Binding) {
	l.drop(b.Home)
	l.byHome[b.Home] = b
	l.careOf[b.CareOf]++
}

func (l *ledger) drop(home netip.Addr) (Binding, bool) {
	b, bound := l.byHome[home]
	if !bound {
		return b, false
	}
	delete(l.byHome, home)
	if l.careOf[b.CareOf]--; l.careOf[b.CareOf] == 0 {
		delete(l.careOf, b.CareOf)
	}
	return b, true
}

// homes lists the home addresses in order.
func (l *ledger) homes() []netip.Addr {
	return slices.SortedFunc(maps.Keys(l.byHome), netip.Addr.Compare)
}
