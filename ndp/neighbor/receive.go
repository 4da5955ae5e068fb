package neighbor

import (
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/pacing"
	"github.com/roamkey/roamkey/ndp"
)

// packet handles a message of Neighbour Discovery.
func (c *Cache) packet(now pacing.Time, in *Input) {
	p := in.Packet
	switch {
	case p.Proto != ipv6.ProtoICMPv6 || len(p.Payload) == 0:
		c.count.add(dropType)
		return
	case c.cfg.Secured && !in.Secured:
		c.count.add(dropUnsecured)
		return
	case in.OwnKey:
		// What we said comes back, at once or recorded: a conflict with ourselves it is not.
		c.count.add(dropOwnEcho)
		return
	case p.Payload[0] != ndp.TypeNeighborAdvert && c.own[p.Src] != nil:
		c.count.add(dropOwnSource) // an advertisement from there may show that the address is another's
		return
	}
	reason := ndp.ReasonNone
	switch p.Payload[0] {
	case ndp.TypeNeighborSolicit:
		var m ndp.NeighborSolicit
		if m, reason = ndp.ParseNeighborSolicit(p); reason == ndp.ReasonNone {
			c.solicited(now, &m, in)
		}
	case ndp.TypeNeighborAdvert:
		var m ndp.NeighborAdvert
		if m, reason = ndp.ParseNeighborAdvert(p); reason == ndp.ReasonNone {
			c.advertised(now, &m, in)
		}
	case ndp.TypeRouterSolicit:
		var m ndp.RouterSolicit
		if m, reason = ndp.ParseRouterSolicit(p); reason == ndp.ReasonNone {
			c.routerSolicited(now, &m, in)
		}
	case ndp.TypeRouterAdvert:
		var m ndp.RouterAdvert
		if m, reason = ndp.ParseRouterAdvert(p); reason == ndp.ReasonNone {
			c.routerAdvertised(now, &m, in)
		}
	case ndp.TypeRedirect:
		var m ndp.Redirect
		if m, reason = ndp.ParseRedirect(p); reason == ndp.ReasonNone {
			c.redirected(&m, in)
		}
	case ndp.TypeFast:
		var m ndp.ProxySolicit
		if m, reason = ndp.ParseProxySolicit(p); reason == ndp.ReasonNone {
			c.proxySolicited(now, &m, in)
		}
	default:
		c.count.add(dropType)
	}
	c.count.nd[reason]++
}

// solicited answers a neighbour solicitation (RFC 4861 section 7.2.4).
func (c *Cache) solicited(now pacing.Time, m *ndp.NeighborSolicit, in *Input) {
	p := in.Packet
	if o := c.own[m.Target]; o != nil {
		c.solicitedOwn(now, o, m, in)
		return
	}
	owner, proxied := c.proxies[m.Target]
	switch {
	case !proxied:
		c.count.add(dropSolicitOther)
	case p.Src.IsUnspecified() && (owner.IsZero() || owner == p.LinkSource):
		// It may be the node itself, which has come: to answer would keep it from its own address.
		c.count.add(dropSolicitProxyDAD)
	default:
		own := c.source()
		if own == nil {
			c.count.add(dropNoSource)
			return
		}
		// Nobody can sign for another, so that the answer is unsigned, and it overrides nothing (RFC 4861 section 7.2.8).
		a := c.answerTo(now, m, in)
		a.src, a.target, a.unsigned = own.addr, m.Target, true
		c.count.add(countProxyAnswers)
		c.sendAdvert(a, in)
	}
}

// solicitedOwn answers for an own address, or takes Duplicate Address Detection of another as a conflict.
func (c *Cache) solicitedOwn(now pacing.Time, o *ownAddress, m *ndp.NeighborSolicit, in *Input) {
	detection := in.Packet.Src.IsUnspecified()
	switch {
	case detection && (o.nonces.has(m.Nonce) || in.Packet.LinkSource == c.cfg.Hardware):
		c.cameBack(o)
		return
	case detection && o.tentative:
		c.conflict(now, o, in)
		return
	case !o.usable():
		c.count.add(dropSolicitTentative) // RFC 4862 section 5.4.3
		return
	}
	a := c.answerTo(now, m, in)
	a.src, a.target, a.unsigned = o.addr, o.addr, o.plain
	if !o.tentative { // an optimistic address overrides nothing (RFC 4429 section 2.2)
		a.flags |= ndp.FlagOverride
	}
	if detection {
		c.count.add(countDADAnswers)
	} else {
		c.count.add(countAnswers)
	}
	c.sendAdvert(a, in)
}

// answerTo says where the answer to a solicitation goes, and learns of its sender.
func (c *Cache) answerTo(now pacing.Time, m *ndp.NeighborSolicit, in *Input) answer {
	src := in.Packet.Src
	if src.IsUnspecified() {
		dst := ipv6.AllNodes()
		return answer{dst: dst, linkDst: ipv6.MulticastLinkAddr(dst)}
	}
	e := c.entries[src]
	if !m.SourceLink.IsZero() {
		e = c.learn(now, src, m.SourceLink, in)
	}
	a := answer{dst: src, linkDst: in.Packet.LinkSource, flags: ndp.FlagSolicited}
	switch {
	case e != nil && !e.hw.IsZero() && (e.secured || m.SourceLink.IsZero()):
		a.linkDst = e.hw
	case m.SourceLink.IsUnicast():
		a.linkDst = m.SourceLink
	}
	return a
}

// advertised takes a neighbour advertisement (RFC 4861 section 7.2.5).
func (c *Cache) advertised(now pacing.Time, m *ndp.NeighborAdvert, in *Input) {
	if o := c.own[m.Target]; o != nil {
		if in.Packet.LinkSource == c.cfg.Hardware {
			c.count.add(dropOwnEcho)
			return
		}
		c.conflict(now, o, in)
		return
	}
	e := c.entries[m.Target]
	hw := m.TargetLink
	switch {
	case e == nil:
		c.count.add(dropAdvertUnasked)
		return
	case in.Secured && (in.Repeat || in.Stale):
		c.count.add(dropNotFresh)
		return
	case e.secured && !in.Secured:
		c.count.add(dropOfSecured)
		return
	case !hw.IsZero() && (!hw.IsUnicast() || hw == c.cfg.Hardware):
		c.count.add(dropLinkAddress)
		return
	case hw.IsZero() && e.hw.IsZero():
		c.count.add(dropAdvertNoLink)
		return
	}
	if hw.IsZero() {
		hw = e.hw
	}
	// A confirmation has been asked for: of what is secured the nonce shows that.
	confirms := m.Solicited && (in.Reply || !in.Secured && (e.state == StateIncomplete || e.state == StateProbe))
	// What is secured takes the place of what is not, with or without the override flag.
	override := m.Override || in.Secured && !e.secured
	switch {
	case e.state == StateIncomplete:
		c.count.add(countResolved)
	case hw != e.hw && !override:
		c.count.add(dropAdvertNoOverride)
		if e.state == StateReachable {
			c.become(now, e, StateStale)
		}
		return
	}
	changed := e.hw != hw
	e.hw, e.router = hw, m.Router
	if in.Secured {
		c.secure(e)
	}
	switch {
	case confirms:
		c.count.add(countConfirmed)
		c.become(now, e, StateReachable)
	case changed:
		c.become(now, e, StateStale)
	}
}

// routerSolicited learns of a host (RFC 4861 section 6.2.6). The answer is for who speaks for the router.
func (c *Cache) routerSolicited(now pacing.Time, m *ndp.RouterSolicit, in *Input) {
	if !c.cfg.Router {
		c.count.add(dropRouterMessage)
		return
	}
	src := in.Packet.Src
	if src.IsUnspecified() || m.SourceLink.IsZero() || !c.canBeNeighbour(src) {
		return // there is nothing to learn, and nothing wrong with it
	}
	if e := c.learn(now, src, m.SourceLink, in); e != nil && e.mayChange(in) {
		e.router = false
	}
}

// proxySolicited learns of a node that has signed a solicitation of fast handovers (RFC 5568 section 6.1.1): from then on nobody
// who cannot sign is taken for it. Unsecured ones say nothing of neighbours.
func (c *Cache) proxySolicited(now pacing.Time, m *ndp.ProxySolicit, in *Input) {
	if !c.cfg.Router || !in.Secured {
		c.count.add(dropRouterMessage)
		return
	}
	src := in.Packet.Src
	if m.SourceLink.IsZero() || !c.canBeNeighbour(src) {
		return
	}
	c.learn(now, src, m.SourceLink, in)
}

// routerAdvertised learns of a router (RFC 4861 section 6.3.4). What else it says is for the host.
func (c *Cache) routerAdvertised(now pacing.Time, m *ndp.RouterAdvert, in *Input) {
	if c.cfg.Router {
		c.count.add(dropRouterMessage)
		return
	}
	src := in.Packet.Src
	e := c.entries[src]
	if !m.SourceLink.IsZero() {
		e = c.learn(now, src, m.SourceLink, in)
	}
	if e != nil && e.mayChange(in) {
		e.router = true
	}
}

// redirected passes a redirect on to the host.
func (c *Cache) redirected(m *ndp.Redirect, in *Input) {
	switch {
	case c.cfg.Router:
		c.count.add(dropRouterMessage) // RFC 4861 section 8.3: a host's affair
		return
	case in.Secured && (in.Repeat || in.Stale):
		c.count.add(dropNotFresh)
		return
	}
	c.count.add(countRedirects)
	c.emit(Effect{
		Kind: EffectRedirect, Addr: m.Destination, Router: in.Packet.Src, Target: m.Target, Neighbour: m.TargetLink, Secured: in.Secured,
	})
}
