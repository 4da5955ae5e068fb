package certpath

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// Times of the host's side (RFC 3971 section 10.1).
const (
	RetryFirst     = time.Second      // CPS_RETRY: until the second solicitation; it doubles
	RetryFragments = 2 * time.Second  // CPS_RETRY_FRAGMENTS: until what is missing of a path is asked for by itself
	RetryMax       = 15 * time.Second // CPS_RETRY_MAX: until it is given up

	// noPathWait is when it is given up if a router has said that it has no path. Anybody can say so, so that other answers are
	// still waited for, and asked for twice more.
	noPathWait = 3500 * time.Millisecond
)

// Defaults of ClientConfig.
const (
	DefaultMaxPaths       = 64
	DefaultMaxDiscoveries = 16
	DefaultMaxOctets      = 64 << 10
	DefaultAbsent         = 30 * time.Second
	DefaultVerifyRate     = 5
)

// Bounds of what all solicitations together, and all certificates, may cost.
const (
	solicitEach   = 100 * time.Millisecond
	solicitBurst  = DefaultMaxDiscoveries
	verifyBurst   = 2 * MaxCertificates // paths of full length from two routers at once
	sourceEach    = 500 * time.Millisecond
	maxSources    = 8
	maxGatherings = 8
)

// ClientConfig is what a host needs to find certification paths on one link.
type ClientConfig struct {
	Link      int        // index of the interface
	LinkLocal netip.Addr // source of solicitations; without one the unspecified address, see SetSource
	Anchors   []Anchor   // at most MaxAnchors; only as many are named in a solicitation as fit in 1,280 octets
	Profile   Profile
	// MinBits and MaxBits bound the RSA modulus of routers' keys; 0 stands for 1024 and 2048.
	MinBits, MaxBits int

	MaxPaths       int           // paths that are kept, and keys known to have none; 0 stands for DefaultMaxPaths
	MaxDiscoveries int           // keys that are looked for at one time; 0 stands for DefaultMaxDiscoveries
	MaxOctets      int           // certificates that wait for those above them; 0 stands for DefaultMaxOctets
	Absent         time.Duration // how long a key without a path is not looked for again; 0 stands for DefaultAbsent
	VerifyRate     int           // certificates that are parsed and verified in a second; 0 stands for DefaultVerifyRate
	Rand           io.Reader     // for identifiers
}

// Client is the host's side of Authorization Delegation Discovery on one link (RFC 3971 section 6.4.6): it finds the path to a
// key, verifies it, and remembers it. One goroutine owns it.
type Client struct {
	cfg     ClientConfig
	options Options
	names   [][]byte // Trust Anchor options
	source  netip.Addr

	discoveries []discovery
	paths       map[[16]byte]*known
	absent      map[[16]byte]time.Time // until when
	gatherings  []*gathering
	octets      int // that wait in all gatherings

	solicits, verifies bucket
	sources            [maxSources]source
	count              clientCounters
	effects            []Effect // of the step under way
}

// discovery is one key that is looked for.
type discovery struct {
	key        [16]byte
	router     netip.Addr
	routerLink ipv6.LinkAddr
	id         uint16
	wait       time.Duration // until the solicitation after next
	started    time.Time
	next, end  time.Time // of the next solicitation, and of all
}

// known is a path in the cache.
type known struct {
	path Path
	leaf [32]byte // SHA-256 over the last certificate
	used time.Time
}

// source is one sender of certificates.
type source struct {
	link   ipv6.LinkAddr
	budget bucket
	last   time.Time
}

// NewClient makes a client. It fails if there is no anchor or one that cannot be used.
func NewClient(cfg ClientConfig) (*Client, error) {
	c := &Client{}
	if err := c.Reconfigure(cfg); err != nil {
		return nil, err
	}
	return c, nil
}

// Reconfigure changes the configuration; it fails as NewClient does, and then changes nothing. What was found under other
// anchors is forgotten; what is looked for goes on.
func (c *Client) Reconfigure(cfg ClientConfig) error {
	if len(cfg.Anchors) == 0 || len(cfg.Anchors) > MaxAnchors {
		return fmt.Errorf("%d trust anchors: from 1 to %d are needed to know which routers to trust", len(cfg.Anchors), MaxAnchors)
	}
	options := Options{Anchors: cfg.Anchors, Profile: cfg.Profile, MinBits: cfg.MinBits, MaxBits: cfg.MaxBits}
	for i := range cfg.Anchors {
		if _, err := options.top(&cfg.Anchors[i]); err != nil { // without a time: that may change
			return err
		}
	}
	setDefault(&cfg.MaxPaths, DefaultMaxPaths)
	setDefault(&cfg.MaxDiscoveries, DefaultMaxDiscoveries)
	setDefault(&cfg.MaxOctets, DefaultMaxOctets)
	setDefault(&cfg.VerifyRate, DefaultVerifyRate)
	if cfg.Absent <= 0 {
		cfg.Absent = DefaultAbsent
	}
	c.cfg, c.options, c.source = cfg, options, cfg.LinkLocal
	c.names = nil
	n := ipv6.HeaderLen + 8
	for i := range cfg.Anchors {
		if name := cfg.Anchors[i].Option(); name != nil && n+len(name) <= 1280 {
			c.names = append(c.names, name)
			n += len(name)
		}
	}
	c.paths, c.absent = make(map[[16]byte]*known), make(map[[16]byte]time.Time)
	c.forgetGatherings()
	return nil
}

func setDefault(n *int, value int) {
	if *n <= 0 {
		*n = value
	}
}

// SetSource changes the address that solicitations are sent from: a link-local address of the host, or the zero Addr if it has
// none (yet).
func (c *Client) SetSource(a netip.Addr) { c.source = a }

// Step handles one input that arrived at now, and returns the effects to carry out; nil where there is nothing to do. now never
// goes back, Wall may.
func (c *Client) Step(now time.Time, in Input) []Effect {
	c.runTimers(now)
	switch in.Kind {
	case InPacket:
		if in.Packet != nil {
			c.advertisement(now, in.Wall, in.Packet)
			c.runTimers(now) // what came may be a reason to ask for more at once
		}
	case InWanted:
		c.wanted(now, &in)
	}
	effects := c.effects
	c.effects = nil
	return effects
}

// Deadline is when Step wants an InTick next; the zero Time if never.
func (c *Client) Deadline() time.Time {
	var first time.Time
	sooner := func(t time.Time) {
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	for i := range c.discoveries {
		sooner(earlier(c.discoveries[i].next, c.discoveries[i].end))
	}
	for _, g := range c.gatherings {
		sooner(earlier(g.next, g.end))
	}
	return first
}

// Paths yields the key hashes and paths in the cache, in no order. They must not be written to.
func (c *Client) Paths(yield func(*Path) bool) {
	for _, k := range c.paths {
		if !yield(&k.path) {
			return
		}
	}
}

// wanted answers from the cache or begins to look for a path.
func (c *Client) wanted(now time.Time, in *Input) {
	key := in.KeyHash
	if k := c.paths[key]; k != nil {
		if k.path.ValidAt(in.Wall) {
			k.used = now
			c.count.hits++
			c.tell(&k.path)
			return
		}
		c.count.outdated++
		delete(c.paths, key)
	}
	if until, ok := c.absent[key]; ok {
		if now.Before(until) {
			c.count.absentHits++
			c.effects = append(c.effects, Effect{Kind: EffectPath, KeyHash: key})
			return
		}
		delete(c.absent, key)
	}
	if slices.ContainsFunc(c.discoveries, func(d discovery) bool { return d.key == key }) {
		return
	}
	id, ok := uint16(0), false
	switch {
	case len(c.discoveries) >= c.cfg.MaxDiscoveries:
		// Those under way ask all routers for their paths, and all that can be verified is kept, so that this one's may be found
		// though nobody looks for it.
		c.count.discoveriesFull++
	default:
		if id, ok = c.identifier(); !ok {
			c.count.noRandom++
		}
	}
	if !ok {
		c.effects = append(c.effects, Effect{Kind: EffectPath, KeyHash: key})
		return
	}
	c.count.discoveries++
	c.discoveries = append(c.discoveries, discovery{
		key: key, router: in.Router, routerLink: in.RouterLink, id: id, wait: RetryFirst, started: now, next: now, end: now.Add(RetryMax),
	})
	c.runTimers(now)
}

// identifier gives a random identifier that is not 0 and not in use.
func (c *Client) identifier() (uint16, bool) {
	for range 8 {
		var b [2]byte
		if _, err := io.ReadFull(c.cfg.Rand, b[:]); err != nil {
			return 0, false
		}
		if id := binary.BigEndian.Uint16(b[:]); id != 0 && c.asked(id) == nil {
			return id, true
		}
	}
	return 0, false
}

// asked gives the discovery whose solicitations have this identifier.
func (c *Client) asked(id uint16) *discovery {
	for i := range c.discoveries {
		if c.discoveries[i].id == id {
			return &c.discoveries[i]
		}
	}
	return nil
}

func (c *Client) runTimers(now time.Time) {
	for i := 0; i < len(c.discoveries); {
		d := &c.discoveries[i]
		if !now.Before(d.end) {
			c.giveUp(now, i)
			continue
		}
		for !now.Before(d.next) {
			// The first one may be meant for one router; if that does not answer, all are asked.
			link := d.routerLink
			if d.wait > RetryFirst {
				link = ipv6.LinkAddr{}
			}
			c.solicit(now, d.id, ndp.AllComponents, d.router, link)
			d.next, d.wait = d.next.Add(d.wait), 2*d.wait
			if d.next.Before(now) {
				d.next = now.Add(d.wait / 2) // nobody ticked for long: go on from here
			}
		}
		i++
	}
	c.runGatherings(now)
}

// giveUp ends a discovery without a path.
func (c *Client) giveUp(now time.Time, i int) {
	key := c.discoveries[i].key
	c.count.abandoned++
	if len(c.absent) >= c.cfg.MaxPaths {
		var first [16]byte
		var until time.Time
		for k, t := range c.absent {
			if until.IsZero() || t.Before(until) || t.Equal(until) && bytes.Compare(k[:], first[:]) < 0 {
				first, until = k, t
			}
		}
		delete(c.absent, first)
	}
	c.absent[key] = now.Add(c.cfg.Absent)
	c.effects = append(c.effects, Effect{Kind: EffectPath, KeyHash: key})
	c.endDiscovery(i)
}

func (c *Client) endDiscovery(i int) {
	c.discoveries = slices.Delete(c.discoveries, i, i+1)
	if len(c.discoveries) == 0 {
		c.forgetGatherings()
	}
}

// solicit sends a Certification Path Solicitation, to router if its link-layer address is known, otherwise to all routers.
func (c *Client) solicit(now time.Time, id, component uint16, router netip.Addr, link ipv6.LinkAddr) {
	if !c.solicits.allows(now, solicitEach, solicitBurst) {
		c.count.solicitsLimited++
		return
	}
	c.solicits.take(now, solicitEach)
	c.count.solicits++
	src := c.source
	if !src.IsValid() {
		src = netip.IPv6Unspecified()
	}
	dst := router
	if link.IsZero() || !router.IsLinkLocalUnicast() {
		dst = ipv6.AllRouters()
		link = ipv6.MulticastLinkAddr(dst)
	}
	msg := ndp.PathSolicit{Identifier: id, Component: component}.Append(nil, src, dst.WithZone(""), c.names...)
	packet := ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst.WithZone(""), HopLimit: 255}, ipv6.ProtoICMPv6, msg)
	c.effects = append(c.effects, Effect{Kind: EffectSend, Link: c.cfg.Link, LinkDst: link, Packet: packet})
}

// found keeps a verified path and tells who wanted it.
func (c *Client) found(now time.Time, path Path, leaf [32]byte) {
	path.SPKI = bytes.Clone(path.SPKI) // or else the certificate stays in memory
	delete(c.absent, path.KeyHash)
	if c.paths[path.KeyHash] == nil && len(c.paths) >= c.cfg.MaxPaths {
		var oldest *known
		for _, k := range c.paths {
			if oldest == nil || k.used.Before(oldest.used) {
				oldest = k
			}
		}
		c.count.evicted++
		delete(c.paths, oldest.path.KeyHash)
	}
	k := &known{path: path, leaf: leaf, used: now}
	c.paths[path.KeyHash] = k
	c.count.found++
	for i := range c.discoveries {
		if c.discoveries[i].key == path.KeyHash {
			c.tell(&k.path)
			c.endDiscovery(i)
			return
		}
	}
	c.count.foundUnasked++
}

func (c *Client) tell(p *Path) {
	c.effects = append(c.effects, Effect{
		Kind: EffectPath, KeyHash: p.KeyHash, OK: true, SPKI: p.SPKI, Prefixes: p.Prefixes, Purposes: p.Purposes, Until: p.NotAfter,
	})
}
