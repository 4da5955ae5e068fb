package neighbor

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

// ownAddress is an address that this host has, or wants to have.
type ownAddress struct {
	addr       netip.Addr
	attempt    int
	tentative  bool // Duplicate Address Detection goes on
	optimistic bool
	plain      bool

	told   bool // that it may be used
	left   int  // solicitations to be sent
	looped bool // one came back
	nonces ownNonces
	timer  pacing.Timer
}

// Wake is o's place in the heap of those whose detection goes on.
func (o *ownAddress) Wake() *pacing.Timer { return &o.timer }

func (o *ownAddress) usable() bool { return !o.tentative || o.optimistic }

// better reports whether it is better to speak from o than from other.
func (o *ownAddress) better(other *ownAddress) bool {
	switch {
	case o.plain != other.plain:
		return !o.plain
	case o.tentative != other.tentative:
		return !o.tentative
	case o.addr.IsLinkLocalUnicast() != other.addr.IsLinkLocalUnicast():
		return o.addr.IsLinkLocalUnicast()
	}
	return o.addr.Less(other.addr)
}

// takeAddress begins Duplicate Address Detection for an address (RFC 4862 section 5.4), after a delay, for others may come
// up at the same time.
func (c *Cache) takeAddress(now pacing.Time, addr netip.Addr, in *Input) {
	if o := c.own[addr]; o != nil {
		if o.usable() {
			c.emit(Effect{Kind: EffectAddress, Addr: addr, OK: true})
		}
		return
	}
	if !c.canBeNeighbour(addr) {
		c.count.add(dropOwnKnown)
		return
	}
	if e := c.entries[addr]; e != nil {
		c.remove(e)
	}
	o := &ownAddress{addr: addr, attempt: in.Attempt, plain: in.Plain, tentative: true, optimistic: in.Optimistic, left: c.cfg.DADTransmits}
	c.own[addr] = o
	c.emit(Effect{Kind: EffectWatch, Addr: addr})
	if in.InUse || o.left == 0 {
		c.found(o)
		return
	}
	if o.optimistic {
		c.tell(o)
	}
	c.detecting.Set(o, now.Add(c.random(maxDADDelay)))
}

// detect sends the next solicitation for a tentative address, or ends the wait behind the last one.
func (c *Cache) detect(now pacing.Time, o *ownAddress) {
	if o.left == 0 {
		c.found(o)
		return
	}
	o.left--
	var nonce []byte
	if o.plain {
		var n [nonceLen]byte
		if c.fill(c.scratch[:nonceLen]) {
			copy(n[:], c.scratch[:])
			o.nonces.put(n)
			nonce = n[:]
		}
	}
	c.sendDAD(o, nonce)
	c.detecting.Set(o, now.Add(c.cfg.Retrans))
}

// found ends the detection: nobody else has the address.
func (c *Cache) found(o *ownAddress) {
	c.detecting.Remove(o)
	o.tentative = false
	c.count.add(countAddresses)
	c.tell(o)
}

// tell says once that an address may be used.
func (c *Cache) tell(o *ownAddress) {
	if !o.told {
		o.told = true
		c.emit(Effect{Kind: EffectAddress, Addr: o.addr, OK: true})
	}
}

// cameBack notes that a solicitation of ours came back. Who hears himself may not hear others: he goes on asking, once
// (RFC 7527 section 4.2).
func (c *Cache) cameBack(o *ownAddress) {
	c.count.add(countLoops)
	if o.tentative && !o.looped {
		o.looped, o.left = true, maxSolicits
	}
}

// conflict handles a message that shows another in possession of an own address: a tentative one is given up.
func (c *Cache) conflict(now pacing.Time, o *ownAddress, in *Input) {
	by := in.Packet.LinkSource
	switch {
	case in.Secured && (in.Repeat || in.Stale):
		c.count.add(dropNotFresh)
	case !o.tentative:
		// It is not given up: anybody could say so. The owner's answers to solicitations are what counts.
		c.count.add(dropConflict)
		c.reportSometimes(now, Event{Kind: EventConflict, Addr: o.addr, Neighbour: by, Secured: in.Secured})
	case !in.Secured && o.attempt > 0:
		c.count.add(dropUnsecuredDAD) // RFC 3971 section 8
	default:
		c.count.add(countDuplicates)
		c.forgetOwn(o)
		c.emit(Effect{Kind: EffectAddress, Addr: o.addr})
		c.report(Event{Kind: EventDuplicate, Addr: o.addr, Neighbour: by, Secured: in.Secured})
	}
}

func (c *Cache) disown(addr netip.Addr) {
	if o := c.own[addr]; o != nil {
		c.forgetOwn(o)
	}
}

func (c *Cache) forgetOwn(o *ownAddress) {
	c.detecting.Remove(o)
	delete(c.own, o.addr)
	c.unwatch(o.addr)
}

// proxy answers for another's address from now on. What was known of it does not hold any more.
func (c *Cache) proxy(addr netip.Addr, owner ipv6.LinkAddr) {
	if !c.canBeNeighbour(addr) {
		c.count.add(dropOwnKnown)
		return
	}
	if e := c.entries[addr]; e != nil {
		c.remove(e)
	}
	if _, already := c.proxies[addr]; !already {
		c.emit(Effect{Kind: EffectWatch, Addr: addr})
	}
	c.proxies[addr] = owner
}

func (c *Cache) unproxy(addr netip.Addr) {
	if _, there := c.proxies[addr]; there {
		delete(c.proxies, addr)
		c.unwatch(addr)
	}
}

// unwatch ends the watch of addr, if it is neither proxied nor our own.
func (c *Cache) unwatch(addr netip.Addr) {
	if _, proxied := c.proxies[addr]; !proxied && c.own[addr] == nil {
		c.emit(Effect{Kind: EffectUnwatch, Addr: addr})
	}
}
