package advertise

import (
	"net/netip"
	"time"
)

// maxHeld bounds the table of prefixes that hosts may hold: those in force and as many that are stale.
const maxHeld = 2 * maxPrefixes

// held is a prefix that hosts may hold because it was advertised here.
type held struct {
	prefix             netip.Prefix
	onLink, autonomous bool
	valid              time.Duration // as last advertised while it was in force
	until              time.Time     // when the last host forgets it; zero: never
	gone               bool          // no longer in the configuration: stale
}

// over reports whether no host can hold it any more.
func (h *held) over(now time.Time) bool { return !h.until.IsZero() && !h.until.After(now) }

// extend makes h last until valid from now at the least.
func (h *held) extend(now time.Time, valid time.Duration) {
	if h.until.IsZero() {
		return
	}
	if valid == Infinite {
		h.until = time.Time{}
	} else if end := now.Add(valid); end.After(h.until) {
		h.until = end
	}
}

// tell notes that the prefixes of the configuration were advertised at now.
func (s *Speaker) tell(now time.Time) {
	for i := range s.cfg.Prefixes {
		p := &s.cfg.Prefixes[i]
		valid, _ := p.Lifetimes(now)
		h := s.find(p.Prefix)
		if h == nil {
			h = s.hold(held{prefix: p.Prefix, until: now})
		}
		h.onLink, h.autonomous, h.valid, h.gone = p.OnLink, p.Autonomous, valid, false
		h.extend(now, valid)
	}
}

// retire makes the prefixes stale that are not in the configuration any more, and takes back those that are. They are told
// as stale for their valid lifetime from now on (RFC 9096 section 3.5: at least that).
func (s *Speaker) retire(now time.Time) {
	for i := range s.held {
		h := &s.held[i]
		gone := s.cfg.prefix(h.prefix) == nil
		if gone && !h.gone {
			h.extend(now, h.valid)
		}
		h.gone = gone
	}
}

// forget drops the stale prefixes that no host holds.
func (s *Speaker) forget(now time.Time) {
	kept := s.held[:0]
	for _, h := range s.held {
		if !h.gone || !h.over(now) {
			kept = append(kept, h)
		}
	}
	s.held = kept
}

func (s *Speaker) find(p netip.Prefix) *held {
	for i := range s.held {
		if s.held[i].prefix == p {
			return &s.held[i]
		}
	}
	return nil
}

// hold adds h. In a full table it takes the place of the stale prefix that ends first.
func (s *Speaker) hold(h held) *held {
	if len(s.held) < maxHeld {
		s.held = append(s.held, h)
		return &s.held[len(s.held)-1]
	}
	var first *held
	for i := range s.held {
		o := &s.held[i]
		if o.gone && (first == nil || !o.until.IsZero() && (first.until.IsZero() || o.until.Before(first.until))) {
			first = o
		}
	}
	*first = h // there is one, for no more than maxPrefixes are in force
	s.count.staleLost++
	return first
}

// prefix finds the entry for p.
func (c *Config) prefix(p netip.Prefix) *Prefix {
	for i := range c.Prefixes {
		if c.Prefixes[i].Prefix == p {
			return &c.Prefixes[i]
		}
	}
	return nil
}

// Restore tells of prefixes that an earlier process advertised. To be called before InStart.
func (s *Speaker) Restore(now time.Time, records []Record) {
	for _, r := range records {
		h := held{prefix: r.Prefix, onLink: r.OnLink, autonomous: r.Autonomous, until: r.Until}
		h.gone = s.cfg.prefix(h.prefix) == nil
		if len(s.held) < maxHeld && !h.over(now) && s.find(h.prefix) == nil && h.prefix.IsValid() {
			s.held = append(s.held, h)
		}
	}
}

// Records yields the prefixes that hosts may hold, to be kept over a restart. They change with Reconfigure and, as lifetimes
// are told anew, with each advertisement.
func (s *Speaker) Records(yield func(Record) bool) {
	for _, h := range s.held {
		if !yield(Record{Prefix: h.prefix, OnLink: h.onLink, Autonomous: h.autonomous, Until: h.until}) {
			return
		}
	}
}

// withdraw notes which routes and DNS entries of the configuration before are gone, so that they are told with lifetime zero.
func (s *Speaker) withdraw(before *Config) {
	old, next := s.withdrawn, withdrawn{}
	for _, r := range before.Routes {
		old.routes = append(old.routes, r.Prefix)
	}
	for _, l := range before.Servers {
		old.servers = append(old.servers, l.Addrs...)
	}
	for _, l := range before.Search {
		old.search = append(old.search, l.Domains...)
	}
	var routes = make(map[netip.Prefix]bool)
	var servers = make(map[netip.Addr]bool)
	var search = make(map[string]bool)
	for _, r := range s.cfg.Routes {
		routes[r.Prefix] = true
	}
	for _, l := range s.cfg.Servers {
		for _, a := range l.Addrs {
			servers[a] = true
		}
	}
	for _, l := range s.cfg.Search {
		for _, d := range l.Domains {
			search[canonical(d)] = true
		}
	}
	// The latest come last and are kept where there are too many.
	for i := len(old.routes) - 1; i >= 0 && len(next.routes) < maxRoutes; i-- {
		if r := old.routes[i]; !routes[r] {
			routes[r] = true
			next.routes = append(next.routes, r)
		}
	}
	for i := len(old.servers) - 1; i >= 0 && len(next.servers) < maxServers; i-- {
		if a := old.servers[i]; !servers[a] {
			servers[a] = true
			next.servers = append(next.servers, a)
		}
	}
	for i := len(old.search) - 1; i >= 0 && len(next.search) < maxSearch; i-- {
		if d := old.search[i]; !search[canonical(d)] {
			search[canonical(d)] = true
			next.search = append(next.search, d)
		}
	}
	if len(next.routes)+len(next.servers)+len(next.search) > 0 {
		next.adverts = initialAdverts
	}
	s.withdrawn = next
}
