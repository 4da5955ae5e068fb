package neighbor

import (
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

// Cache is the neighbours of one link and the own addresses there: a pure state machine that one goroutine owns.
type Cache struct {
	cfg   Config
	clock pacing.Clock

	entries   map[netip.Addr]*entry
	timers    pacing.Timers[*entry]
	ranks     [rankCount]list
	sources   map[ipv6.LinkAddr]*list // entries by the station whose messages made them
	own       map[netip.Addr]*ownAddress
	detecting pacing.Timers[*ownAddress]
	proxies   map[netip.Addr]ipv6.LinkAddr // with their owners

	asks     pacing.Bucket
	reported pacing.Bucket
	count    counts
	effects  []Effect // of the step under way
	scratch  [8]byte
}

// New makes the cache of a link, without neighbours and addresses.
func New(cfg Config) *Cache {
	cfg.complete()
	c := &Cache{
		cfg: cfg, entries: make(map[netip.Addr]*entry), sources: make(map[ipv6.LinkAddr]*list),
		own: make(map[netip.Addr]*ownAddress), proxies: make(map[netip.Addr]ipv6.LinkAddr),
	}
	for i := range c.ranks {
		c.ranks[i].kind = byRank
	}
	return c
}

// Reconfigure takes over changed settings. Where the link takes no unsecured messages any more, their entries go.
func (c *Cache) Reconfigure(now time.Time, cfg Config) []Effect {
	cfg.complete()
	c.clock.At(now)
	c.cfg = cfg
	for _, e := range c.sorted() {
		if cfg.Secured && !e.secured {
			c.remove(e)
		}
	}
	for len(c.entries) > cfg.MaxEntries {
		victim := c.victim(rankCount - 1)
		if victim == nil {
			victim = c.ranks[rankCount-1].first
		}
		c.count.add(countEvicted)
		c.remove(victim)
	}
	return c.takeEffects()
}

// Step handles one input that arrived at now. It returns the effects to carry out, in order; nil where there is nothing to
// do, which then costs no memory either. Timers that are due are handled before the input. The slices in an effect are
// the caller's.
func (c *Cache) Step(now time.Time, in Input) []Effect {
	t := c.clock.At(now)
	c.runTimers(t)
	addr := in.Addr.WithZone("")
	switch in.Kind {
	case InPacket:
		if in.Packet != nil {
			c.packet(t, &in)
		}
	case InAsk:
		c.ask(t, addr, in.Missing)
	case InOwn:
		c.takeAddress(t, addr, &in)
	case InDisown:
		c.disown(addr)
	case InProxy:
		c.proxy(addr, in.Neighbour)
	case InUnproxy:
		c.unproxy(addr)
	case InKnown:
		c.known(t, addr, in.Neighbour, in.Secured)
	}
	return c.takeEffects()
}

// Deadline is when Step wants an InTick next; the zero Time if never.
func (c *Cache) Deadline() time.Time {
	at := pacing.Never
	if e, ok := c.timers.First(); ok {
		at = e.timer.At()
	}
	if o, ok := c.detecting.First(); ok {
		at = min(at, o.timer.At())
	}
	if at == pacing.Never {
		return time.Time{}
	}
	return c.clock.Moment(at)
}

func (c *Cache) runTimers(now pacing.Time) {
	for o, ok := c.detecting.Due(now); ok; o, ok = c.detecting.Due(now) {
		c.detect(now, o)
	}
	for e, ok := c.timers.Due(now); ok; e, ok = c.timers.Due(now) {
		c.due(now, e)
	}
}

func (c *Cache) takeEffects() []Effect {
	effects := c.effects
	c.effects = nil
	return effects
}

func (c *Cache) emit(e Effect) { c.effects = append(c.effects, e) }

// reportSometimes tells of what anybody on the link can cause as often as he likes.
func (c *Cache) reportSometimes(now pacing.Time, e Event) {
	if c.reported.Allows(now, reportInterval, 1) {
		c.reported.Take(now, reportInterval)
		c.report(e)
	}
}

func (c *Cache) report(e Event) {
	e.Link = c.cfg.Link
	c.emit(Effect{Kind: EffectReport, Addr: e.Addr, Event: e})
}

// Entries gives a copy of each entry, by address.
func (c *Cache) Entries(yield func(Entry) bool) {
	for _, e := range c.sorted() {
		v := Entry{
			Addr: e.addr, Neighbour: e.hw, Secured: e.secured, Router: e.router, State: e.state, Since: c.clock.Moment(e.since),
		}
		if !yield(v) {
			return
		}
	}
}

// Lookup gives one entry; false if there is none.
func (c *Cache) Lookup(addr netip.Addr) (Entry, bool) {
	e := c.entries[addr.WithZone("")]
	if e == nil {
		return Entry{}, false
	}
	return Entry{
		Addr: e.addr, Neighbour: e.hw, Secured: e.secured, Router: e.router, State: e.state, Since: c.clock.Moment(e.since),
	}, true
}

// Len gives the number of entries.
func (c *Cache) Len() int { return len(c.entries) }

// Addresses gives the own addresses in order.
func (c *Cache) Addresses(yield func(Address) bool) {
	all := make([]netip.Addr, 0, len(c.own))
	for addr := range c.own {
		all = append(all, addr)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	for _, addr := range all {
		o := c.own[addr]
		if !yield(Address{Addr: addr, Tentative: o.tentative, Optimistic: o.optimistic, Plain: o.plain}) {
			return
		}
	}
}

// sorted gives the entries in order, so that what is done for all of them does not depend on the map.
func (c *Cache) sorted() []*entry {
	all := make([]*entry, 0, len(c.entries))
	for _, e := range c.entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *entry) int { return a.addr.Compare(b.addr) })
	return all
}
