package neighbor

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

// entry is one neighbour. Its key is its IPv6 address.
type entry struct {
	addr    netip.Addr
	hw      ipv6.LinkAddr // zero while it is incomplete
	secured bool          // a secured message has said so
	router  bool
	state   State
	asked   bool // the kernel has wanted it
	since   pacing.Time
	given   pacing.Time // when the kernel got it last
	sent    int         // solicitations, of the resolution or probe under way
	timer   pacing.Timer

	rank   rank
	source ipv6.LinkAddr // whose messages made it; zero: the kernel or a protocol asked for it
	places [listKinds]place
}

// Wake is e's place in the heap of timers.
func (e *entry) Wake() *pacing.Timer { return &e.timer }

// rank is how dear an entry is: where there is no room the oldest of the least rank goes first.
type rank uint8

const (
	rankUnused    rank = iota // unsecured, and nobody wanted it
	rankPending               // being resolved
	rankUnsecured             // unsecured, and the kernel has used it
	rankSecured               // secured, but not confirmed of late
	rankConfirmed             // secured and reachable: it stays
	rankCount
)

func (e *entry) ranks() rank {
	switch {
	case e.state == StateIncomplete:
		return rankPending
	case e.secured && e.state == StateReachable:
		return rankConfirmed
	case e.secured:
		return rankSecured
	case e.asked:
		return rankUnsecured
	}
	return rankUnused
}

// listKind says which list a place is in.
type listKind uint8

const (
	byRank listKind = iota
	bySource
	listKinds
)

type place struct{ before, behind *entry }

// list is a list of entries, the one that was touched longest ago first.
type list struct {
	kind        listKind
	first, last *entry
	length      int
}

func (l *list) push(e *entry) {
	e.places[l.kind] = place{before: l.last}
	if l.last != nil {
		l.last.places[l.kind].behind = e
	} else {
		l.first = e
	}
	l.last = e
	l.length++
}

func (l *list) remove(e *entry) {
	p := e.places[l.kind]
	if p.before != nil {
		p.before.places[l.kind].behind = p.behind
	} else {
		l.first = p.behind
	}
	if p.behind != nil {
		p.behind.places[l.kind].before = p.before
	} else {
		l.last = p.before
	}
	e.places[l.kind] = place{}
	l.length--
}

// touch makes e the newest of its rank, which may have changed.
func (c *Cache) touch(e *entry) {
	c.ranks[e.rank].remove(e)
	e.rank = e.ranks()
	c.ranks[e.rank].push(e)
}

// add makes an entry, for which another of no higher rank than limit may have to go. source is whose message asks for it,
// zero for nobody's; nil if there is no room for it.
func (c *Cache) add(now pacing.Time, addr netip.Addr, source ipv6.LinkAddr, secured bool, limit rank) *entry {
	var mine *list
	if !source.IsZero() {
		mine = c.sources[source]
		if mine != nil && mine.length >= c.cfg.MaxPerSource && !c.makeRoomOf(mine, secured) {
			c.count.add(dropSource)
			return nil
		}
	}
	if len(c.entries) >= c.cfg.MaxEntries {
		victim := c.victim(limit)
		if victim == nil {
			c.count.add(dropFull)
			c.reportSometimes(now, Event{Kind: EventFull})
			return nil
		}
		c.count.add(countEvicted)
		c.remove(victim)
	}
	e := &entry{addr: addr, source: source, state: StateIncomplete, secured: secured, since: now}
	e.rank = e.ranks()
	c.entries[addr] = e
	c.ranks[e.rank].push(e)
	if !source.IsZero() {
		if mine = c.sources[source]; mine == nil {
			mine = &list{kind: bySource}
			c.sources[source] = mine
		}
		mine.push(e)
	}
	return e
}

// victim gives the entry that is to go first, of no higher rank than limit; nil if there is none.
func (c *Cache) victim(limit rank) *entry {
	for r := rankUnused; r <= min(limit, rankSecured); r++ {
		if e := c.ranks[r].first; e != nil {
			return e
		}
	}
	return nil
}

// makeRoomOf removes the oldest entry of a station that has too many. It reports false if all have to stay.
func (c *Cache) makeRoomOf(mine *list, secured bool) bool {
	for e := mine.first; e != nil; e = e.places[bySource].behind {
		if e.rank == rankConfirmed || e.secured && !secured {
			continue
		}
		c.count.add(countEvicted)
		c.remove(e)
		return true
	}
	return false
}

// remove forgets an entry, here and in the kernel.
func (c *Cache) remove(e *entry) {
	c.timers.Remove(e)
	c.ranks[e.rank].remove(e)
	if mine := c.sources[e.source]; mine != nil && !e.source.IsZero() {
		mine.remove(e)
		if mine.length == 0 {
			delete(c.sources, e.source)
		}
	}
	delete(c.entries, e.addr)
	c.emit(Effect{Kind: EffectEntry, Addr: e.addr, Neighbour: e.hw, State: StateFailed})
}

// become gives e a state, with its timer, and tells the kernel.
func (c *Cache) become(now pacing.Time, e *entry, s State) {
	e.state, e.since, e.given, e.sent = s, now, now, 0
	lifetime := staleLifetime
	if s == StateReachable {
		// Between half and one and a half of the average, so that neighbours do not all ask at once (RFC 4861 section 6.3.2).
		lifetime = c.cfg.Reachable/2 + c.random(c.cfg.Reachable)
	}
	c.timers.Set(e, now.Add(lifetime))
	c.touch(e)
	c.give(now, e, s)
}

// give tells the kernel of e.
func (c *Cache) give(now pacing.Time, e *entry, s State) {
	e.given = now
	c.emit(Effect{Kind: EffectEntry, Addr: e.addr, Neighbour: e.hw, State: s, Secured: e.secured})
}

// secure notes that a secured message has confirmed what e says.
func (c *Cache) secure(e *entry) {
	if !e.secured {
		e.secured = true
		c.count.add(countSecured)
		c.touch(e)
	}
}

// learn takes the link-layer address of a neighbour from a message of its own that is no advertisement (RFC 4861 section
// 7.2.3): a new one, or another than before, is not confirmed. It gives the entry, nil if there is none.
func (c *Cache) learn(now pacing.Time, addr netip.Addr, hw ipv6.LinkAddr, in *Input) *entry {
	e := c.entries[addr]
	switch {
	case !hw.IsUnicast() || hw == c.cfg.Hardware:
		c.count.add(dropLinkAddress)
		return e
	case in.Secured && (in.Repeat || in.Stale):
		c.count.add(dropNotFresh)
		return e
	case e != nil && e.secured && !in.Secured:
		c.count.add(dropOfSecured)
		return e
	}
	if e == nil {
		var source ipv6.LinkAddr
		if in.Packet != nil {
			source = in.Packet.LinkSource
		}
		limit := rankUnsecured // what is unsecured puts out nothing that is secured
		if in.Secured {
			limit = rankSecured
		}
		if e = c.add(now, addr, source, in.Secured, limit); e == nil {
			return nil
		}
		c.count.add(countLearned)
	}
	if in.Secured {
		c.secure(e)
	}
	if e.hw != hw {
		e.hw = hw
		c.become(now, e, StateStale)
	}
	return e
}

// mayChange reports whether a message has a say about e.
func (e *entry) mayChange(in *Input) bool {
	if in.Secured {
		return !in.Repeat && !in.Stale
	}
	return !e.secured
}

// known takes what a protocol has found out. The kernel gets it as what is to be confirmed, even if it was known.
func (c *Cache) known(now pacing.Time, addr netip.Addr, hw ipv6.LinkAddr, secured bool) {
	if !c.canBeNeighbour(addr) {
		c.count.add(dropOwnKnown)
		return
	}
	in := Input{Secured: secured}
	e := c.entries[addr]
	known := e != nil && e.hw == hw && (secured || !e.secured)
	c.learn(now, addr, hw, &in)
	if known {
		c.become(now, e, StateStale)
	}
}

// canBeNeighbour reports whether addr can be another's address on the link.
func (c *Cache) canBeNeighbour(addr netip.Addr) bool {
	return addr.Is6() && !addr.Is4In6() && !addr.IsUnspecified() && !addr.IsMulticast() && !addr.IsLoopback() && c.own[addr] == nil
}
