package fmip

import (
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
)

// Keys gives the handover key of a previous care-of address (RFC 5269), and the algorithm that was recorded with it. The
// slice is only looked at before the next call of anything.
type Keys interface {
	HandoverKey(home netip.Addr) (key []byte, mac mobility.FastMAC, ok bool)
}

// RouterConfig says what a Router serves, which routers it hands nodes over to, and within which limits. A zero value of a
// limit stands for its default.
type RouterConfig struct {
	Links     []Link
	Neighbors []Neighbor
	Keys      Keys

	// Address is the global address from which the neighbours know us; zero: that of the first prefix.
	Address netip.Addr

	MaxNodes    int           // nodes that leave, and as many that arrive, at one time (1024)
	MaxLifetime time.Duration // longest lifetime of a binding (60 s)
	RequestRate int           // RtSolPr answered a second, of one link-layer source (3, MAX_RTSOLPR_RATE)
	TotalRate   int           // RtSolPr answered a second in all; signed ones have as many for themselves (100)
	HITimeout   time.Duration // before an HI is sent again; doubles (100 ms)
	HIRetries   int           // how often an HI is sent again (3, HI_RETRIES)

	ProxyLifetime time.Duration // for which an arriving node is prepared for (1.5 s, PROXY_ND_LIFETIME)
	DADTransmits  int           // solicitations for a new care-of address; negative: none (1)
	RetransTimer  time.Duration // between them, and after the last (1 s)
	LeaveHold     time.Duration // packets of a node that left are kept for its FBU (2 s)
	ArrivalGrace  time.Duration // from a node's arrival on the link to the time when its packets are sent without its UNA (50 ms)
	GrantPatience time.Duration // for an InGrant; then the PrRtAdv goes without a handover key (2 s)

	Buffer          bool // keep packets here, and ask the new router to keep them (U)
	AssignAddresses bool // ask the new router for an address (S)
	HostRoutes      bool // as the new router: forward to a PCoA where the NCoA cannot be used (HAck code 3)

	// Rand is the source of assigned addresses and of the first sequence number. It must be a cryptographic one.
	Rand io.Reader
}

// Link is one link that is served.
type Link struct {
	Name         string // names the link across restarts, where indexes change
	Index        int
	Hardware     ipv6.LinkAddr
	LinkLocal    netip.Addr // the router's link-local address on it, that of its advertisements
	Prefixes     []LinkPrefix
	AccessPoints []ipv6.LinkAddr // its own
	Routers      []netip.Addr    // further addresses that no node may claim
	MTU          int             // 0: 1280
	Reserve      int             // octets that signing adds to a message

	// Lifetime is the router lifetime of the link's advertisements, said again where one has a NAACK (30 min; negative: 0).
	Lifetime time.Duration

	Refuse            bool // no fast handover to or from this link
	RequireSecuredUNA bool // only a signed UNA releases what is kept for an address: the link is secured-only
	PreviousOnly      bool // nodes use the PCoA here until they have an address by DHCP (PrRtAdv code 5, HAck code 3)
}

// LinkPrefix is one prefix that is advertised on a link, with the router's own global address in it.
type LinkPrefix struct {
	Prefix netip.Prefix
	Router netip.Addr
}

// Neighbor is another access router.
type Neighbor struct {
	Name         string
	Router       netip.Addr    // its global address
	RouterLink   ipv6.LinkAddr // of its interface to the nodes
	Prefixes     []netip.Prefix
	AccessPoints []ipv6.LinkAddr
	Fast         bool // it does fast handovers with us
	DHCP         bool // nodes need DHCP there (PrRtAdv code 5)
	Protection   Protection
	Key          []byte // ProtectKey: shared with it, 32 octets or more
}

// String hides the key from %v and from any logger.
func (n Neighbor) String() string { return "neighbor " + n.Name }

// GoString hides the key from %#v.
func (n Neighbor) GoString() string { return n.String() }

// Protection says how HI and HAck of a neighbour are protected.
type Protection uint8

// Protections.
const (
	ProtectKey   Protection = iota // authenticator under a shared key, and numbers that only grow
	ProtectIPsec                   // ESP of the kernel
	Unprotected                    // nothing: for tests
)

// Defaults of RouterConfig.
const (
	defaultMaxNodes      = 1024
	defaultMaxLifetime   = 60 * time.Second // "of the order of tens of seconds", RFC 5568 section 5.6
	defaultRequestRate   = 3                // RFC 5568 section 9
	defaultTotalRate     = 100
	defaultHITimeout     = 100 * time.Millisecond // section 6.2.1.1
	defaultHIRetries     = 3                      // section 9
	defaultProxyLifetime = 1500 * time.Millisecond
	defaultDADTransmits  = 1 // RFC 4862 section 5.1
	defaultRetransTimer  = time.Second
	defaultLeaveHold     = 2 * time.Second
	defaultArrivalGrace  = 50 * time.Millisecond
	defaultGrantPatience = 2 * time.Second
	defaultMTU           = 1280

	// maxHIRetries bounds what is remembered of one initiation.
	maxHIRetries = 7

	// minPeerKey is the length from which a shared key counts.
	minPeerKey = 16
)

func (c RouterConfig) withDefaults() RouterConfig {
	c.MaxNodes = orDefault(c.MaxNodes, defaultMaxNodes)
	c.MaxLifetime = max(orDefault(c.MaxLifetime, defaultMaxLifetime), time.Second)
	c.RequestRate = orDefault(c.RequestRate, defaultRequestRate)
	c.TotalRate = orDefault(c.TotalRate, defaultTotalRate)
	c.HITimeout = orDefault(c.HITimeout, defaultHITimeout)
	c.HIRetries = min(orDefault(c.HIRetries, defaultHIRetries), maxHIRetries)
	c.ProxyLifetime = orDefault(c.ProxyLifetime, defaultProxyLifetime)
	if c.DADTransmits == 0 {
		c.DADTransmits = defaultDADTransmits
	}
	c.RetransTimer = orDefault(c.RetransTimer, defaultRetransTimer)
	c.LeaveHold = orDefault(c.LeaveHold, defaultLeaveHold)
	c.ArrivalGrace = orDefault(c.ArrivalGrace, defaultArrivalGrace)
	c.GrantPatience = orDefault(c.GrantPatience, defaultGrantPatience)
	return c
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// servedLink is a link under its name. It outlasts a change of the configuration, so that bindings keep to it; one that is
// not configured any more is not present.
type servedLink struct {
	Link
	present bool
}

// prefixOf gives the prefix of the link that addr is in.
func (l *servedLink) prefixOf(addr netip.Addr) (LinkPrefix, bool) {
	for _, p := range l.Prefixes {
		if p.Prefix.Contains(addr) {
			return p, true
		}
	}
	return LinkPrefix{}, false
}

// router gives an address of ours on the link, with its prefix.
func (l *servedLink) router() (LinkPrefix, bool) {
	for _, p := range l.Prefixes {
		if p.Router.IsValid() {
			return p, true
		}
	}
	return LinkPrefix{}, false
}

// has reports whether point is an access point of the link.
func (l *servedLink) has(point ipv6.LinkAddr) bool { return slices.Contains(l.AccessPoints, point) }

// isAnycast reports whether addr is the Subnet-Router anycast address of its prefix (RFC 4291 section 2.6.1) or one of the
// 128 reserved ones (RFC 2526 section 2).
func (l *servedLink) isAnycast(addr netip.Addr) bool {
	b := addr.As16()
	reserved := [8]byte{0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80}
	iid := [8]byte(b[8:])
	iid[7] &= 0x80
	if iid == reserved {
		return true
	}
	for _, p := range l.Prefixes {
		if p.Prefix.Contains(addr) && p.Prefix.Masked().Addr() == addr {
			return true
		}
	}
	return false
}

// configure takes over cfg, without a look at the nodes. What is looked up later is our own.
func (r *Router) configure(cfg RouterConfig) {
	r.cfg = cfg.withDefaults()
	bound := 2*r.cfg.MaxNodes + 256
	r.sources.Resize(bound)
	r.stations.Resize(r.cfg.MaxNodes)
	r.byIndex, r.served = make(map[int]*servedLink), r.served[:0]
	r.own, r.routers = make(map[netip.Addr]struct{}), make(map[netip.Addr]struct{})
	for _, l := range r.links {
		l.present = false
	}
	for _, l := range r.cfg.Links {
		s := r.linkNamed(l.Name)
		s.Link, s.present = l, true
		s.Prefixes, s.AccessPoints, s.Routers = slices.Clone(l.Prefixes), slices.Clone(l.AccessPoints), nil
		s.MTU = orDefault(l.MTU, defaultMTU)
		r.byIndex[l.Index] = s
		r.served = append(r.served, s)
		r.routers[l.LinkLocal] = struct{}{}
		for _, p := range l.Prefixes {
			r.own[p.Router], r.routers[p.Router] = struct{}{}, struct{}{}
		}
		for _, addr := range l.Routers {
			r.routers[addr] = struct{}{}
		}
	}
	delete(r.own, netip.Addr{}) // of prefixes without an address of ours
	if !r.cfg.Address.IsValid() {
		for _, l := range r.served {
			if p, ok := l.router(); ok {
				r.cfg.Address = p.Router
				break
			}
		}
	}
	if r.cfg.Address.IsValid() {
		r.own[r.cfg.Address], r.routers[r.cfg.Address] = struct{}{}, struct{}{}
	}
	r.configurePeers()
	r.cfg.Links, r.cfg.Neighbors = nil, nil
}

// configurePeers takes over the neighbours. What is known of the numbers of one that stays is kept.
func (r *Router) configurePeers() {
	old := r.peers
	r.peers = make(map[netip.Addr]*peer)
	r.neighbors = r.neighbors[:0]
	for _, n := range r.cfg.Neighbors {
		p := old[n.Router]
		if p == nil {
			p = &peer{}
		}
		p.Neighbor = n
		p.Prefixes, p.AccessPoints = slices.Clone(n.Prefixes), slices.Clone(n.AccessPoints)
		p.Key = slices.Clone(n.Key)
		r.neighbors = append(r.neighbors, p)
		if n.Router.IsValid() {
			r.peers[n.Router] = p
		}
	}
}

// linkNamed gives the link with that name; one that was never configured has no index and is not present.
func (r *Router) linkNamed(name string) *servedLink {
	l := r.links[name]
	if l == nil {
		l = &servedLink{Link: Link{Name: name}}
		r.links[name] = l
	}
	return l
}

// linkOf gives the served link that addr is on.
func (r *Router) linkOf(addr netip.Addr) (*servedLink, LinkPrefix) {
	for _, l := range r.served {
		if p, ok := l.prefixOf(addr); ok {
			return l, p
		}
	}
	return nil, LinkPrefix{}
}

// neighborOf gives the neighbour whose longest matching prefix addr is in (RFC 5568 section 4).
func (r *Router) neighborOf(addr netip.Addr) *peer {
	var best *peer
	bits := -1
	for _, n := range r.neighbors {
		for _, prefix := range n.Prefixes {
			if prefix.Bits() > bits && prefix.Contains(addr) {
				best, bits = n, prefix.Bits()
			}
		}
	}
	return best
}

// isInterfaceID reports whether addr would be in a neighbour's prefix if its interface identifier were shorter.
func (r *Router) isInterfaceID(addr netip.Addr) bool {
	for _, n := range r.neighbors {
		for _, prefix := range n.Prefixes {
			if prefix.Bits() <= 64 {
				continue
			}
			if half, err := prefix.Addr().Prefix(64); err == nil && half.Contains(addr) {
				return true
			}
		}
	}
	return false
}

// isRouter reports whether addr is a router's, or must not be a node's for another reason.
func (r *Router) isRouter(addr netip.Addr) bool {
	if _, ok := r.routers[addr]; ok {
		return true
	}
	_, ok := r.peers[addr]
	return ok
}

// Reconfigure serves what cfg says from now on. Bindings stand as they are; those of a link that is gone stay until they
// expire, and what is prepared for nodes that arrive there ends.
func (r *Router) Reconfigure(now time.Time, cfg RouterConfig) []Effect {
	t := r.clock.At(now)
	r.runTimers(t)
	before := make(map[string]int, len(r.links))
	for name, l := range r.links {
		if l.present {
			before[name] = l.Index
		}
	}
	r.configure(cfg)
	used := make(map[*servedLink]bool)
	for _, home := range sortedKeys(r.nodes) {
		n := r.nodes[home]
		used[n.link] = true
		if n.link.present && before[n.link.Name] != n.link.Index && n.binding != nil {
			r.forward(t, n, n.binding) // an interface that was made anew has lost what stood on the old one
		}
		if n.exchange != nil && r.peers[n.exchange.peer.Router] != n.exchange.peer {
			r.initiateFailed(t, n, mobility.StatusUnspecified, dropInitiatePeer)
		}
		r.settleNode(n)
	}
	for _, addr := range sortedKeys(r.arrivals) {
		a := r.arrivals[addr]
		if !a.link.present || before[a.link.Name] != a.link.Index || a.link.Refuse {
			r.endArrival(a, "the link is not served any more")
			continue
		}
		used[a.link] = true
	}
	for cookie, s := range r.solicits {
		if !s.link.present {
			r.dropSolicit(cookie)
		}
	}
	for name, l := range r.links {
		if !l.present && !used[l] {
			delete(r.links, name)
		}
	}
	return r.takeEffects()
}

// sortedKeys gives the keys of m in order, so that what is done for all does not depend on the map.
func sortedKeys[V any](m map[netip.Addr]V) []netip.Addr {
	keys := make([]netip.Addr, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, netip.Addr.Compare)
	return keys
}

// never is short for the moment that does not come.
const never = pacing.Never
