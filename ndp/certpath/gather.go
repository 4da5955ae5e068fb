package certpath

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// Bounds of one gathering. There may be more certificates than a path has: a router with two paths of one length sends
// both to all nodes, and anybody can send more.
const (
	maxVerified = 2 * MaxCertificates
	maxWaiting  = MaxCertificates
)

// gathering is what has come of one router's path. A certificate that can be verified, from the anchor or from one that
// was verified before, is; others wait, as few as need be, for the one above them (RFC 3971 section 6.4.6).
type gathering struct {
	router   netip.Addr
	link     ipv6.LinkAddr
	all      uint16
	id       uint16 // of the solicitation that it answers; 0 if it went to all nodes
	verified []component
	waiting  []component
	wait     time.Duration
	// next is when what is missing is asked for by itself, end when all is forgotten.
	next, end time.Time
}

// component is one certificate of a path.
type component struct {
	number uint16
	der    []byte
	link   *authority // once it is verified
}

// missing gives the number of the topmost component that is not verified.
func (g *gathering) missing() uint16 {
	n := g.all - 1
	for n > 0 && slices.ContainsFunc(g.verified, func(v component) bool { return v.number == n }) {
		n--
	}
	return n
}

// has reports whether a certificate has come as that component. Under another number it is another thing: whoever sends it
// there first must not keep it from coming where it belongs.
func (g *gathering) has(number uint16, der []byte) bool {
	same := func(v component) bool { return v.number == number && bytes.Equal(v.der, der) }
	return slices.ContainsFunc(g.verified, same) || slices.ContainsFunc(g.waiting, same)
}

// advertisement takes the certificates of a Certification Path Advertisement.
func (c *Client) advertisement(now, wall time.Time, p *ipv6.Packet) {
	m, reason := ndp.ParsePathAdvert(p)
	switch {
	case reason != ndp.ReasonNone:
		c.count.bad[reason]++
		return
	case p.Interface != c.cfg.Link:
		c.count.otherLink++
		return
	case p.Dst != ipv6.AllNodes() && (!c.source.IsValid() || p.Dst != ipv6.SolicitedNode(c.source)):
		c.count.otherNode++
		return
	case len(c.discoveries) == 0:
		c.count.unasked++
		return
	case m.Identifier != 0 && c.asked(m.Identifier) == nil:
		c.count.otherIdentifier++
		return
	}
	certificates := 0
	for options := m.Options; ; {
		o, ok := options.Next()
		if !ok {
			break
		}
		if o.Type == ndp.OptCertificate {
			certificates++
		}
	}
	switch {
	case certificates == 0:
		c.noPath(now, m.Identifier)
		return
	case m.All > MaxCertificates || certificates > MaxCertificates:
		c.count.refused[ReasonTooLong]++
		return
	case int(m.Component)+certificates > int(m.All):
		c.count.badComponent++
		return
	}
	c.count.adverts++
	// Of several certificates in one message the last is the component that the message names.
	number := m.Component + uint16(certificates) - 1
	options := m.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != ndp.OptCertificate {
			continue
		}
		der, err := ndp.ParseCertificate(o)
		if err != nil {
			c.count.refused[ReasonParse]++
		} else {
			c.certificate(now, wall, p, &m, number, der)
		}
		number--
	}
}

// noPath notes that a router has no path to our anchors.
func (c *Client) noPath(now time.Time, id uint16) {
	c.count.noPath++
	if d := c.asked(id); d != nil {
		d.end = earlier(d.end, later(d.started.Add(noPathWait), now))
	}
}

// certificate takes one certificate of a path.
func (c *Client) certificate(now, wall time.Time, p *ipv6.Packet, m *ndp.PathAdvert, number uint16, der []byte) {
	g := c.gathering(p, m.All)
	sum := sha256.Sum256(der)
	if g != nil && g.has(number, der) || number == 0 && c.isKnown(sum) {
		c.count.repeated++
		return
	}
	if !c.afford(now, p.LinkSource, m.Identifier != 0) {
		c.count.verifyLimited++
		return
	}
	der = bytes.Clone(der) // the packet is not ours, and a certificate refers to what it was read from
	o := c.options
	o.At = wall
	link, err := c.verify(&o, g, number, m.All, der)
	if errors.Is(err, errAboveMissing) {
		if g = c.begin(now, p, m); g != nil {
			c.putOff(g, component{number: number, der: der})
		}
		return
	}
	if err != nil {
		c.refuse(err)
		return
	}
	c.count.verified++
	if number == 0 {
		c.complete(now, p, m.All, link, sum)
		return
	}
	if g = c.begin(now, p, m); g != nil {
		c.hold(now, wall, g, component{number: number, der: der, link: link})
	}
}

// errAboveMissing tells that the certificate above is not here yet.
var errAboveMissing = errors.New("the certificate above it has not come yet")

// verify verifies a certificate under an anchor, if it is the topmost one, or under one that was verified.
func (c *Client) verify(o *Options, g *gathering, number, all uint16, der []byte) (*authority, error) {
	cert, err := ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if number == all-1 {
		for i := range o.Anchors {
			if number > 0 && bytes.Equal(der, o.Anchors[i].Certificate.Raw) {
				return o.top(&o.Anchors[i])
			}
		}
		return o.fromAnchor(cert, number == 0)
	}
	err = errAboveMissing
	if g != nil {
		for _, v := range g.verified {
			if v.number != number+1 || !bytes.Equal(v.link.cert.Subject, cert.Issuer) {
				continue
			}
			var link *authority
			if link, err = o.below(v.link, cert, number == 0); err == nil {
				return link, nil
			}
		}
	}
	return nil, err
}

// hold keeps a verified certificate that is not the last, and looks whether one waits for it.
func (c *Client) hold(now, wall time.Time, g *gathering, v component) {
	if len(g.verified) == maxVerified {
		c.count.gatheringFull++
		return
	}
	g.verified = append(g.verified, v)
	if g.wait > RetryFragments {
		// What was asked for by itself is here: ask for what is missing still.
		g.next, g.wait = now, RetryFragments
	}
	for i := 0; i < len(g.waiting); {
		w := g.waiting[i]
		if w.number+1 != v.number {
			i++
			continue
		}
		o := c.options
		o.At = wall
		link, err := c.verify(&o, g, w.number, g.all, w.der)
		if errors.Is(err, errAboveMissing) {
			i++ // it waits for another one of that number
			continue
		}
		g.waiting = slices.Delete(g.waiting, i, i+1)
		c.octets -= len(w.der)
		if err != nil {
			c.refuse(err)
			continue
		}
		c.count.verified++
		if w.number == 0 {
			c.completeFrom(now, g, link, sha256.Sum256(w.der))
			return
		}
		w.link = link
		c.hold(now, wall, g, w) // at most as deep as a path is long
		return
	}
}

// putOff keeps a certificate that cannot be verified yet. The oldest gives way.
func (c *Client) putOff(g *gathering, w component) {
	for len(g.waiting) > 0 && (len(g.waiting) == maxWaiting || c.octets+len(w.der) > c.cfg.MaxOctets) {
		c.octets -= len(g.waiting[0].der)
		g.waiting = slices.Delete(g.waiting, 0, 1)
		c.count.waitingFull++
	}
	if c.octets+len(w.der) > c.cfg.MaxOctets {
		c.count.waitingFull++
		return
	}
	c.count.putOff++
	g.waiting = append(g.waiting, w)
	c.octets += len(w.der)
}

// complete ends with a path, or counts why it gives none.
func (c *Client) complete(now time.Time, p *ipv6.Packet, all uint16, link *authority, sum [32]byte) {
	if g := c.gathering(p, all); g != nil {
		c.completeFrom(now, g, link, sum)
		return
	}
	path, err := link.path()
	if err != nil {
		c.refuse(err)
		return
	}
	c.found(now, path, sum)
}

func (c *Client) completeFrom(now time.Time, g *gathering, link *authority, sum [32]byte) {
	path, err := link.path()
	if err != nil {
		c.refuse(err)
		return
	}
	c.forget(g)
	c.found(now, path, sum)
}

// refuse counts why a certificate is not taken.
func (c *Client) refuse(err error) {
	var reason Reason
	if !errors.As(err, &reason) || reason >= reasonCount {
		reason = ReasonParse
	}
	c.count.refused[reason]++
}

func (c *Client) isKnown(leaf [32]byte) bool {
	for _, k := range c.paths {
		if k.leaf == leaf {
			return true
		}
	}
	return false
}

// afford takes what looking at one certificate costs: from what all have together, of which answers to all nodes leave a half
// to those that name our solicitation, and from what its sender has.
func (c *Client) afford(now time.Time, link ipv6.LinkAddr, named bool) bool {
	burst := verifyBurst
	if !named {
		burst /= 2
	}
	each := time.Second / time.Duration(c.cfg.VerifyRate)
	s := &c.sources[0]
	for i := range c.sources {
		if c.sources[i].link == link {
			s = &c.sources[i]
			break
		}
		if c.sources[i].last.Before(s.last) {
			s = &c.sources[i]
		}
	}
	if s.link != link {
		*s = source{link: link}
	}
	s.last = now
	if !c.verifies.allows(now, each, burst) || !s.budget.allows(now, sourceEach, MaxCertificates) {
		return false
	}
	c.verifies.take(now, each)
	s.budget.take(now, sourceEach)
	return true
}

// gathering gives what has come from a router so far, nil if nothing.
func (c *Client) gathering(p *ipv6.Packet, all uint16) *gathering {
	for _, g := range c.gatherings {
		if g.router == p.Src && g.link == p.LinkSource && g.all == all {
			return g
		}
	}
	return nil
}

// begin gives the gathering for an advertisement, a new one if need be: in place of the oldest that has nothing verified, if
// there are too many. It gives nil if all have.
func (c *Client) begin(now time.Time, p *ipv6.Packet, m *ndp.PathAdvert) *gathering {
	if g := c.gathering(p, m.All); g != nil {
		return g
	}
	if len(c.gatherings) == maxGatherings {
		i := slices.IndexFunc(c.gatherings, func(g *gathering) bool { return len(g.verified) == 0 })
		c.count.gatheringsFull++
		if i < 0 {
			return nil
		}
		c.forget(c.gatherings[i])
	}
	g := &gathering{
		router: p.Src, link: p.LinkSource, all: m.All, id: m.Identifier, wait: RetryFragments,
		next: now.Add(RetryFragments), end: now.Add(RetryMax),
	}
	c.gatherings = append(c.gatherings, g)
	return g
}

func (c *Client) forget(g *gathering) {
	for _, w := range g.waiting {
		c.octets -= len(w.der)
	}
	c.gatherings = slices.DeleteFunc(c.gatherings, func(other *gathering) bool { return other == g })
}

func (c *Client) forgetGatherings() { c.gatherings, c.octets = nil, 0 }

// runGatherings asks for single components of paths that came in part, and forgets those that never end.
func (c *Client) runGatherings(now time.Time) {
	for i := 0; i < len(c.gatherings); {
		g := c.gatherings[i]
		if !now.Before(g.end) {
			c.count.incomplete++
			c.forget(g)
			continue
		}
		if !now.Before(g.next) && len(c.discoveries) > 0 {
			id := g.id
			if c.asked(id) == nil {
				id = c.discoveries[0].id
			}
			c.count.singles++
			c.solicit(now, id, g.missing(), g.router, g.link)
			// Retries as for the whole path: after one second, then doubling.
			if g.wait == RetryFragments {
				g.wait = RetryFragments + RetryFirst
			} else {
				g.wait = RetryFragments + 2*(g.wait-RetryFragments)
			}
			g.next = now.Add(g.wait - RetryFragments)
		}
		i++
	}
}
