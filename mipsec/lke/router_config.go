package lke

import (
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// RouterConfig says what a Router serves and within which limits. A zero value of a limit stands for its default; false
// for RequestFinished is taken as it is.
type RouterConfig struct {
	Links []Link

	ModulusLen  int           // octets of the RSA modulus: Key Exchange Data has exactly this length
	MaxLifetime time.Duration // of an association, as the advertisement's option 6 says it (7200 s)
	MaxNodes    int           // home addresses with an association or an exchange at one time (1024)

	RequestInterval   time.Duration // least time between two requests of one station that reach RSA (3 s)
	RequestBackoffMax time.Duration // to which the interval doubles while no association becomes valid (48 s)

	DADTransmits int           // DupAddrDetectTransmits (1)
	RetransTimer time.Duration // between them, and after the last (1 s)

	RequestFinished bool          // ask for the Finished message (resolution u: yes)
	FinishedTimeout time.Duration // a binding ends without it after this time (3 s)
	MaxBinding      time.Duration // longest lifetime of a binding; the association's rest bounds it, too (MaxLifetime)

	CodePoints   mobility.CodePoints
	NDCodePoints ndp.CodePoints

	// Rand is the source of nonces. It must be a cryptographic one.
	Rand io.Reader
}

// Link is one link that is served.
type Link struct {
	Name      string // names the link across restarts, where indexes change
	Index     int
	Hardware  ipv6.LinkAddr
	LinkLocal netip.Addr // the router's link-local address on it, that of its advertisements
	Prefixes  []LinkPrefix

	// Routers are further addresses that are a router's or are proxied here: no node may claim them.
	Routers []netip.Addr

	// MaxLifetime is that of the link's advertisements, where it is less than that of all links; 0: the same.
	MaxLifetime time.Duration

	// Refuse turns key exchanges down on this link: DAD, their only proof, does not reach every station (resolution w).
	Refuse bool
}

// LinkPrefix is one prefix that is advertised on a link, with the router's own global address in it.
type LinkPrefix struct {
	Prefix netip.Prefix
	Router netip.Addr
}

// Defaults of RouterConfig.
const (
	defaultMaxLifetime       = 7200 * time.Second // draft section 4.1
	defaultMaxNodes          = 1024
	defaultRequestInterval   = 3 * time.Second // draft section 6.2
	defaultRequestBackoffMax = 48 * time.Second
	defaultDADTransmits      = 1 // RFC 4862 section 5.1
	defaultRetransTimer      = time.Second
	defaultFinishedTimeout   = 3 * time.Second
)

// withDefaults fills in what is zero.
func (c RouterConfig) withDefaults() RouterConfig {
	c.MaxLifetime = orDefault(c.MaxLifetime, defaultMaxLifetime)
	c.MaxNodes = orDefault(c.MaxNodes, defaultMaxNodes)
	c.RequestInterval = orDefault(c.RequestInterval, defaultRequestInterval)
	c.RequestBackoffMax = max(orDefault(c.RequestBackoffMax, defaultRequestBackoffMax), c.RequestInterval)
	c.DADTransmits = orDefault(c.DADTransmits, defaultDADTransmits)
	c.RetransTimer = orDefault(c.RetransTimer, defaultRetransTimer)
	c.FinishedTimeout = orDefault(c.FinishedTimeout, defaultFinishedTimeout)
	c.MaxBinding = orDefault(c.MaxBinding, c.MaxLifetime)
	if c.CodePoints == (mobility.CodePoints{}) {
		c.CodePoints = mobility.DefaultCodePoints()
	}
	if c.NDCodePoints == (ndp.CodePoints{}) {
		c.NDCodePoints = ndp.DefaultCodePoints()
	}
	return c
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// servedLink is a link under its name. It outlasts a change of the configuration, so that associations keep to it; one that
// is not configured any more is not present.
type servedLink struct {
	Link
	present bool
}

// maxLifetime is the longest lifetime that may be granted on the link: never more than its advertisements promise (LKE-AR-8).
func (l *servedLink) maxLifetime(cfg *RouterConfig) time.Duration {
	if l.MaxLifetime > 0 {
		return min(l.MaxLifetime, cfg.MaxLifetime)
	}
	return cfg.MaxLifetime
}

// prefixOf gives the advertised prefix that addr is in, with a global address of the router: one in the same prefix where
// there is one (draft section 3.2.2).
func (l *servedLink) prefixOf(addr netip.Addr) (LinkPrefix, bool) {
	for _, p := range l.Prefixes {
		if !p.Prefix.Contains(addr) {
			continue
		}
		for _, other := range l.Prefixes {
			if !p.Router.IsValid() {
				p.Router = other.Router
			}
		}
		return p, true
	}
	return LinkPrefix{}, false
}

// isAnycast reports whether addr is the Subnet-Router anycast address of its prefix (RFC 4291 section 2.6.1) or one of
// the 128 reserved ones (RFC 2526 section 2).
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

// configure takes over cfg, without a look at the associations.
func (r *Router) configure(cfg RouterConfig) {
	r.cfg = cfg.withDefaults()
	r.minHeaderLen = r.cfg.CodePoints.MinHeaderLen
	r.limits.resize(r.cfg.MaxNodes)
	r.byIndex = make(map[int]*servedLink)
	r.own, r.routers = make(map[netip.Addr]struct{}), make(map[netip.Addr]struct{})
	for _, l := range r.links {
		l.present = false
	}
	for _, l := range r.cfg.Links {
		s := r.linkNamed(l.Name)
		s.Link, s.present = l, true
		s.Prefixes, s.Routers = slices.Clone(l.Prefixes), nil // what is looked up is our own
		r.byIndex[l.Index] = s
		r.routers[l.LinkLocal] = struct{}{}
		for _, p := range l.Prefixes {
			r.own[p.Router], r.routers[p.Router] = struct{}{}, struct{}{}
		}
		for _, addr := range l.Routers {
			r.routers[addr] = struct{}{}
		}
	}
	delete(r.own, netip.Addr{}) // of prefixes without an address of ours
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

// isRouter reports whether addr is a router's, or is proxied here (resolution r).
func (r *Router) isRouter(addr netip.Addr) bool {
	_, ok := r.routers[addr]
	return ok
}

// Association is what can be told of one association: everything but its key.
type Association struct {
	Home       netip.Addr
	Router     netip.Addr
	Link       string
	Node       ipv6.LinkAddr
	State      string // "dad": not valid yet, "valid", or "bound": its home address is forwarded
	Expires    time.Time
	CareOf     netip.Addr // when bound
	BoundUntil time.Time  // when bound
	Verified   bool       // the node has been reached at CareOf: its Finished message came
	UpdateSeq  uint16     // of the last accepted Binding Update
}
