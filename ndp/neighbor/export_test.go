package neighbor

import "fmt"

// Consistent checks what has to be true between any two steps.
func (c *Cache) Consistent() error {
	ranked := 0
	for r := range c.ranks {
		var before *entry
		n := 0
		for e := c.ranks[r].first; e != nil; before, e = e, e.places[byRank].behind {
			if e.places[byRank].before != before || e.rank != rank(r) || e.ranks() != e.rank || c.entries[e.addr] != e {
				return fmt.Errorf("entry %s is in the wrong place of rank %d", e.addr, r)
			}
			if e.hw.IsZero() != (e.state == StateIncomplete) {
				return fmt.Errorf("entry %s is %s with link-layer address %s", e.addr, e.state, e.hw)
			}
			n++
		}
		if n != c.ranks[r].length || c.ranks[r].last != before {
			return fmt.Errorf("rank %d has %d entries and says %d", r, n, c.ranks[r].length)
		}
		ranked += n
	}
	sourced := 0
	for source, l := range c.sources {
		if l.length == 0 || l.length > c.cfg.MaxPerSource {
			return fmt.Errorf("%s has %d entries", source, l.length)
		}
		n := 0
		for e := l.first; e != nil; e = e.places[bySource].behind {
			if e.source != source || c.entries[e.addr] != e {
				return fmt.Errorf("entry %s is in the list of %s", e.addr, source)
			}
			n++
		}
		if n != l.length {
			return fmt.Errorf("%s has %d entries and says %d", source, n, l.length)
		}
		sourced += n
	}
	for _, e := range c.entries {
		if !e.source.IsZero() {
			sourced--
		}
		if c.own[e.addr] != nil {
			return fmt.Errorf("own address %s has an entry", e.addr)
		}
	}
	switch {
	case ranked != len(c.entries) || sourced != 0:
		return fmt.Errorf("%d entries, %d with a rank, %d too many with a source", len(c.entries), ranked, sourced)
	case len(c.entries) > c.cfg.MaxEntries:
		return fmt.Errorf("%d entries, over the bound of %d", len(c.entries), c.cfg.MaxEntries)
	case c.timers.Len() != len(c.entries):
		return fmt.Errorf("%d entries and %d timers", len(c.entries), c.timers.Len())
	}
	return nil
}
