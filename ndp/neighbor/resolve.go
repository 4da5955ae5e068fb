package neighbor

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

// ask resolves or confirms a neighbour that the kernel wants (RFC 4861 sections 7.2.2 and 7.3.3).
func (c *Cache) ask(now pacing.Time, addr netip.Addr, missing bool) {
	if _, proxied := c.proxies[addr]; proxied || !c.canBeNeighbour(addr) {
		c.count.add(dropAskAddress) // what is for a node on its way has no place here yet
		return
	}
	e := c.entries[addr]
	if e == nil {
		// A scan of the whole prefix must not keep the key busy, nor put others out.
		interval := time.Second / time.Duration(c.cfg.AskRate)
		if !c.asks.Allows(now, interval, c.cfg.AskRate) {
			c.count.add(dropAskRate)
			return
		}
		if e = c.add(now, addr, ipv6.LinkAddr{}, false, rankSecured); e == nil {
			return
		}
		c.asks.Take(now, interval)
		e.asked = true
		c.solicit(now, e)
		return
	}
	e.asked = true
	switch e.state {
	case StateReachable:
		if missing {
			c.give(now, e, StateReachable)
			c.touch(e)
			return
		}
	case StateStale:
		if missing && now.Sub(e.given) > c.cfg.DelayFirstProbe {
			c.give(now, e, StateStale) // the kernel has lost it; it asks again when it has used it for a while
			c.touch(e)
			return
		}
	default:
		c.count.add(dropAskAgain)
		return
	}
	e.state, e.since, e.sent = StateProbe, now, 0
	c.touch(e)
	c.solicit(now, e)
}

// due handles e's timer.
func (c *Cache) due(now pacing.Time, e *entry) {
	switch e.state {
	case StateReachable: // the kernel counts for itself
		e.state, e.since = StateStale, now
		c.timers.Set(e, now.Add(staleLifetime))
		c.touch(e)
	case StateStale:
		c.count.add(countExpired)
		c.remove(e)
	default:
		if e.sent < maxSolicits {
			c.solicit(now, e)
			return
		}
		c.count.add(countFailed)
		c.remove(e)
	}
}

// solicit sends one solicitation and waits for its answer. A probe goes to the neighbour itself only where its entry is
// secured (RFC 3971 section 8).
func (c *Cache) solicit(now pacing.Time, e *entry) {
	e.sent++
	c.timers.Set(e, now.Add(c.cfg.Retrans))
	if !c.sendSolicit(e, e.state == StateProbe && e.secured) {
		c.count.add(dropNoSource)
	}
}

// random gives a duration below limit.
func (c *Cache) random(limit time.Duration) time.Duration {
	b := c.scratch[:2]
	if !c.fill(b) {
		return limit / 2
	}
	return time.Duration(int64(limit) / (1 << 16) * (int64(b[0])<<8 | int64(b[1])))
}

// fill fills b with random octets.
func (c *Cache) fill(b []byte) bool {
	if c.cfg.Rand != nil {
		if n, err := c.cfg.Rand.Read(b); err == nil && n == len(b) {
			return true
		}
	}
	c.count.add(dropNoRandom)
	return false
}
