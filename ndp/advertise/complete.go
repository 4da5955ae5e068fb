package advertise

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// Problem is one thing wrong in a Config.
type Problem struct {
	Field string // path of the field, as in Prefixes[2].Preferred
	Wrong string // what is wrong, and where that is written
	Right string // what would be right
}

// Error joins the parts.
func (p Problem) Error() string { return p.Field + ": " + p.Wrong + "; " + p.Right }

// problems collects what is wrong.
type problems []Problem

func (ps *problems) add(field, wrong, right string, args ...any) {
	*ps = append(*ps, Problem{Field: field, Wrong: wrong, Right: fmt.Sprintf(right, args...)})
}

// join gives one error for all of them, nil for none.
func (ps problems) join() error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// Complete gives c with all defaults filled in, and what is wrong with it. It shares no slice with c that it changes. Rand
// is not looked at.
func (c Config) Complete() (Config, []Problem) {
	var ps problems
	c.completeLink(&ps)
	c.completeTimes(&ps)
	c.completeHomeAgent(&ps)
	c.completePrefixes(&ps)
	c.completeRoutes(&ps)
	c.completeDNS(&ps)
	if len(ps) == 0 {
		c.checkFit(&ps)
	}
	return c, ps
}

func (c *Config) completeLink(ps *problems) {
	if c.Interface <= 0 {
		ps.add("Interface", "no link is given", "give the index of an interface")
	}
	if !c.Hardware.IsUnicast() {
		ps.add("Hardware", "is no station's address", "give the link's own hardware address")
	}
	if !c.LinkLocal.Is6() || !c.LinkLocal.IsLinkLocalUnicast() || c.LinkLocal.Zone() != "" {
		ps.add("LinkLocal", "advertisements come from a link-local address (RFC 4861 section 4.2)",
			"give the link's fe80:: address without a zone")
	}
	if c.LinkMTU == 0 {
		c.LinkMTU = minimumMTU
	}
	if c.LinkMTU < minimumMTU || c.LinkMTU > 65575 {
		ps.add("LinkMTU", "no link of IPv6 has that MTU (RFC 8200 section 5)", "give 1280 to 65575 octets")
	}
	if c.Reserve < 0 {
		ps.add("Reserve", "is negative", "give 0 or more octets")
	}
	if c.MTU != 0 && (c.MTU < minimumMTU || int64(c.MTU) > int64(max(c.LinkMTU, minimumMTU))) {
		ps.add("MTU", "is under 1280 or over the MTU of the link itself",
			"give 1280 to %d octets, or 0 for no MTU option", c.LinkMTU)
	}
	if c.Preference != Medium && c.Preference != High && c.Preference != Low {
		ps.add("Preference", "is reserved (RFC 4191 section 2.1)", "give low, medium or high")
	}
	if c.CodePoints == (ndp.CodePoints{}) {
		c.CodePoints = ndp.DefaultCodePoints()
	}
	if c.Capability != nil {
		switch c.CodePoints.Capability {
		case 0, ndp.OptSourceLink, ndp.OptTargetLink, ndp.OptPrefix, ndp.OptRedirected, ndp.OptMTU,
			ndp.OptAdvertisementInterval, ndp.OptHomeAgentInformation, optRoute, optServers, optSearch:
			ps.add("CodePoints.Capability", "is the number of another option of router advertisements",
				"give 6, the draft's, or 253 or 254 for experiments (RFC 4727)")
		}
	}
}

func (c *Config) completeTimes(ps *problems) {
	if c.MaxInterval == 0 {
		c.MaxInterval = DefaultMaxInterval
	}
	if c.MaxInterval < LeastMaxInterval || c.MaxInterval > GreatestMaxInterval {
		ps.add("MaxInterval", "is out of range (RFC 4861 section 6.2.1, RFC 6275 section 7.5)", "give 70ms to 30m")
	}
	greatest := c.MaxInterval / 4 * 3
	if c.MinInterval == 0 {
		c.MinInterval = c.MaxInterval / 100 * 33
		if c.MaxInterval < 9*time.Second {
			c.MinInterval = greatest
		}
	}
	if c.MinInterval < LeastMinInterval || c.MinInterval > greatest {
		ps.add("MinInterval", "is under 30ms or over three quarters of the longest interval (RFC 4861 section 6.2.1)",
			"give 30ms to %v", greatest)
	}
	unset := c.MinDelay == 0
	if unset {
		c.MinDelay = DefaultMinDelay
	}
	switch {
	case c.MinDelay < LeastMinDelay:
		ps.add("MinDelay", "is too short (RFC 6275 section 13)", "give 30ms or more")
	case c.MinDelay > c.MinInterval && unset:
		ps.add("MinDelay", "its default of 3s does not let through what the shortest interval asks for (RFC 6275 section 7.5)",
			"give %v or less", c.MinInterval)
	case c.MinDelay > c.MinInterval:
		ps.add("MinDelay", "is longer than the shortest interval", "give %v or less", c.MinInterval)
	}
	if c.RouterLifetime == Default {
		c.RouterLifetime = wholeSeconds(3 * c.MaxInterval)
		if c.Capability != nil {
			asked := c.Capability.MaximumLifetime
			if asked <= 0 {
				asked = RecommendedMaximum
			}
			c.RouterLifetime = min(max(c.RouterLifetime, wholeSeconds(asked)), GreatestLifetime)
		}
	}
	if c.RouterLifetime != 0 && (c.RouterLifetime < max(c.MaxInterval, time.Second) || c.RouterLifetime > GreatestLifetime) {
		ps.add("RouterLifetime", "is shorter than the longest interval or longer than 9000s (RFC 4861 section 6.2.1)",
			"give 0 (no default router) or %v to %v", max(c.MaxInterval, time.Second), GreatestLifetime)
	}
	if c.Reachable < 0 || c.Reachable > greatestReachable {
		ps.add("Reachable", "is over an hour (RFC 4861 section 6.2.1)", "give 0 (unspecified) to 1h")
	}
	if c.Retrans < 0 || c.Retrans > maxRetrans {
		ps.add("Retrans", "does not fit in 32 bits of milliseconds", "give 0 (unspecified) to %v", maxRetrans)
	}
}

const maxRetrans = (1<<32 - 1) * time.Millisecond

// completeHomeAgent shows LKE-AR-1 to LKE-AR-4 as far as the advertisement goes.
func (c *Config) completeHomeAgent(ps *problems) {
	least := c.RouterLifetime // of the lifetimes that bound LKE's
	if info := c.HomeAgentInfo; info != nil {
		complete := *info
		if complete.Lifetime == 0 {
			complete.Lifetime = c.RouterLifetime
		}
		c.HomeAgentInfo = &complete
		if !c.HomeAgent {
			ps.add("HomeAgentInfo", "home agent information stands only beside the H flag (RFC 6275 section 7.4)",
				"set HomeAgent, or leave it out")
		}
		if complete.Lifetime < time.Second || complete.Lifetime > 65535*time.Second {
			ps.add("HomeAgentInfo.Lifetime", "is 0 or does not fit in 16 bits (RFC 6275 section 7.4)", "give 1s to 65535s")
		}
		least = min(least, complete.Lifetime)
	}
	if c.Capability == nil {
		return
	}
	capability := *c.Capability
	c.Capability = &capability
	if !c.HomeAgent {
		ps.add("Capability", "LKE must not be offered without the H flag (LKE draft section 3.1.1)",
			"set HomeAgent, or do not offer LKE")
	}
	if c.RouterLifetime == 0 {
		ps.add("Capability", "a router with lifetime 0 cannot offer LKE (LKE draft section 3.1.1)",
			"give a router lifetime, 7200s is recommended, or do not offer LKE")
		return
	}
	if capability.MaximumLifetime == 0 {
		capability.MaximumLifetime = min(RecommendedMaximum, least)
	}
	switch n := capability.MaximumLifetime; {
	case n >= 65535*time.Second:
		ps.add("Capability.MaximumLifetime", "must not be infinite (LKE draft section 3.1.1)", "give %v or less", least)
	case n < 4*time.Second:
		ps.add("Capability.MaximumLifetime", "is shorter than the 4s unit in which lifetimes are granted",
			"7200s is recommended (LKE draft section 4.1)")
	case n > GreatestLifetime:
		ps.add("Capability.MaximumLifetime", "is longer than any router's lifetime (LKE draft section 3.1.1)",
			"give %v or less", least)
	case n > c.RouterLifetime:
		ps.add("Capability.MaximumLifetime", "is longer than the router's lifetime (LKE draft section 3.1.1)",
			"give %v or less, or a router lifetime of %v", least, n)
	case n > least:
		ps.add("Capability.MaximumLifetime", "is longer than the home agent's lifetime (LKE draft section 3.1.1)",
			"give %v or less, or a home agent lifetime of %v", least, n)
	}
	switch _, n, err := ndp.ParseSPKI(capability.PublicKey); {
	case err != nil:
		ps.add("Capability.PublicKey", err.Error(), "make one with `roamkeyd keygen`")
	case n != len(capability.PublicKey):
		ps.add("Capability.PublicKey", "octets follow the key", "give the SubjectPublicKeyInfo alone")
	}
}

func (c *Config) completePrefixes(ps *problems) {
	if len(c.Prefixes) > maxPrefixes {
		ps.add("Prefixes", "there are too many", "give %d or fewer", maxPrefixes)
		return
	}
	prefixes := make([]Prefix, len(c.Prefixes))
	for i, p := range c.Prefixes {
		field := func(name string) string { return fmt.Sprintf("Prefixes[%d]%s", i, name) }
		checkPrefix(ps, field(".Prefix"), p.Prefix)
		if p.Prefix.IsValid() && p.Prefix.Bits() == 0 {
			ps.add(field(".Prefix"), "::/0 is no prefix of a link", "give the link's prefix, or a route to ::/0")
		}
		for _, other := range prefixes[:i] {
			if other.Prefix == p.Prefix {
				ps.add(field(".Prefix"), p.Prefix.String()+" is there twice", "give each prefix once")
			}
		}
		if p.Router.IsValid() && (!ipv6.IsRoutableUnicast(p.Router) || !p.Prefix.Contains(p.Router)) {
			ps.add(field(".Router"), "is no global address in the prefix (RFC 6275 section 7.2)",
				"give the router's own address in %v, or none", p.Prefix)
		} else if p.Router.IsValid() && p.Prefix.Bits() < 127 && p.Router == p.Prefix.Masked().Addr() {
			ps.add(field(".Router"), "is the anycast address of all routers of the prefix (RFC 4291 section 2.6.1)",
				"give an address of this router alone")
		}
		if p.Valid == Default {
			p.Valid = DefaultValid
		}
		if p.Preferred == Default {
			p.Preferred = min(DefaultPreferred, p.Valid)
		}
		checkLifetime(ps, field(".Valid"), p.Valid)
		checkLifetime(ps, field(".Preferred"), p.Preferred)
		if p.Preferred > p.Valid {
			ps.add(field(".Preferred"), "is longer than the valid lifetime (RFC 4861 section 6.2.1)",
				"give %s or less", lifetimeText(p.Valid))
		}
		prefixes[i] = p
	}
	c.Prefixes = prefixes
}

func (c *Config) completeRoutes(ps *problems) {
	if len(c.Routes) > maxRoutes {
		ps.add("Routes", "there are too many (RFC 4191 section 4)", "give %d or fewer", maxRoutes)
		return
	}
	routes := make([]Route, len(c.Routes))
	for i, r := range c.Routes {
		field := func(name string) string { return fmt.Sprintf("Routes[%d]%s", i, name) }
		checkPrefix(ps, field(".Prefix"), r.Prefix)
		for _, other := range routes[:i] {
			if other.Prefix == r.Prefix {
				ps.add(field(".Prefix"), r.Prefix.String()+" is there twice (RFC 4191 section 2.3)", "give each route once")
			}
		}
		if r.Preference != Medium && r.Preference != High && r.Preference != Low {
			ps.add(field(".Preference"), "is reserved (RFC 4191 section 2.1)", "give low, medium or high")
		}
		if r.Lifetime == Default {
			r.Lifetime = c.RouterLifetime
			if r.Lifetime == 0 {
				r.Lifetime = wholeSeconds(3 * c.MaxInterval)
			}
		}
		checkLifetime(ps, field(".Lifetime"), r.Lifetime)
		routes[i] = r
	}
	c.Routes = routes
}

func (c *Config) completeDNS(ps *problems) {
	servers := make([]Servers, len(c.Servers))
	seen := make(map[netip.Addr]bool)
	for i, s := range c.Servers {
		field := func(name string) string { return fmt.Sprintf("Servers[%d]%s", i, name) }
		for _, a := range s.Addrs {
			switch {
			case !a.Is6() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
				ps.add(field(".Addrs"), a.String()+" is no address a host could ask",
					"give unicast IPv6 addresses, of link-local ones without a zone")
			case seen[a]:
				ps.add(field(".Addrs"), a.String()+" is there twice", "give each server once")
			}
			seen[a] = true
		}
		if len(s.Addrs) == 0 {
			ps.add(field(".Addrs"), "there is none (RFC 8106 section 5.1)", "give one address at least")
		}
		if s.Lifetime == Default {
			s.Lifetime = wholeSeconds(3 * c.MaxInterval)
		}
		checkLifetime(ps, field(".Lifetime"), s.Lifetime)
		servers[i] = s
	}
	if len(seen) > maxServers {
		ps.add("Servers", "there are too many", "give %d or fewer; three are enough for any host (RFC 8106 section 5.3.1)",
			maxServers)
	}
	search := make([]Search, len(c.Search))
	names := make(map[string]bool)
	for i, s := range c.Search {
		field := func(name string) string { return fmt.Sprintf("Search[%d]%s", i, name) }
		for _, d := range s.Domains {
			switch {
			case !isDomain(d):
				ps.add(field(".Domains"), fmt.Sprintf("%q is no domain name (RFC 1035 section 2.3.1)", d),
					"give labels of 1 to 63 ASCII letters, digits and hyphens, parted by dots; others as xn--...")
			case names[canonical(d)]:
				ps.add(field(".Domains"), d+" is there twice", "give each domain once")
			}
			names[canonical(d)] = true
		}
		if len(s.Domains) == 0 {
			ps.add(field(".Domains"), "there is none (RFC 8106 section 5.2)", "give one domain at least")
		}
		if s.Lifetime == Default {
			s.Lifetime = wholeSeconds(3 * c.MaxInterval)
		}
		checkLifetime(ps, field(".Lifetime"), s.Lifetime)
		search[i] = s
	}
	if len(names) > maxSearch {
		ps.add("Search", "there are too many domains", "give %d or fewer", maxSearch)
	}
	c.Servers, c.Search = servers, search
}

// Warnings gives what is allowed in a complete Config but seldom wanted.
func (c Config) Warnings() []Problem {
	var ps problems
	if c.HomeAgent && !c.hasRouterAddress() {
		ps.add("Prefixes", "none has an address of this router, which a home agent must tell (RFC 6275 section 7.2): the H "+
			"flag and LKE are left out until one has", "give Router of one prefix")
	}
	if c.Capability != nil && c.Capability.MaximumLifetime < 10*time.Minute {
		ps.add("Capability.MaximumLifetime", "makes nodes renew their keys often (LKE draft section 4.1)", "7200s is recommended")
	}
	for i, p := range c.Prefixes {
		if p.Autonomous && p.Prefix.Bits() != 64 {
			ps.add(fmt.Sprintf("Prefixes[%d].Prefix", i), "hosts form no address in it (RFC 4862 section 5.5.3)",
				"give a /64, or do not set Autonomous")
		}
	}
	for i, s := range c.Servers {
		if s.Lifetime != 0 && s.Lifetime < 3*c.MaxInterval {
			ps.add(fmt.Sprintf("Servers[%d].Lifetime", i), "may run out where advertisements are lost (RFC 8106 section 5.1)",
				"give %v or more", wholeSeconds(3*c.MaxInterval))
		}
	}
	return ps
}

// hasRouterAddress reports whether some prefix may be sent with the R bit.
func (c *Config) hasRouterAddress() bool {
	for _, p := range c.Prefixes {
		if p.Router.IsValid() && p.Valid > 0 {
			return true
		}
	}
	return false
}

func checkPrefix(ps *problems, field string, p netip.Prefix) {
	switch a := p.Addr(); {
	case !p.IsValid() || !a.Is6() || a.Is4In6():
		ps.add(field, "is no IPv6 prefix", "give one as 2001:db8:1::/64")
	case p != p.Masked():
		ps.add(field, p.String()+" has bits set behind its length", "give %v", p.Masked())
	case a.IsMulticast() || a.IsLoopback():
		ps.add(field, p.String()+" is not unicast", "give a unicast prefix")
	case a.IsLinkLocalUnicast():
		ps.add(field, "the link-local prefix is not to be advertised (RFC 4861 section 6.2.1)", "leave it out")
	}
}

func checkLifetime(ps *problems, field string, d time.Duration) {
	if d < 0 || d > maxLifetime && d != Infinite {
		ps.add(field, "does not fit in 32 bits of seconds", "give 0s to %v, or infinite", maxLifetime)
	}
}

// maxLifetime is the longest lifetime that ends.
const maxLifetime = (1<<32 - 2) * time.Second

func lifetimeText(d time.Duration) string {
	if d == Infinite {
		return "infinite"
	}
	return d.String()
}

// wholeSeconds rounds up to a whole second, the unit of lifetimes (RFC 6275 section 7.5: at least one).
func wholeSeconds(d time.Duration) time.Duration {
	return max((d + time.Second - 1).Truncate(time.Second), time.Second)
}

// isDomain reports whether d is a domain name that can be sent: ASCII labels, 255 octets on the wire at the most.
func isDomain(d string) bool {
	d = canonical(d)
	if len(d) == 0 || len(d) > 253 {
		return false
	}
	for label := range strings.SplitSeq(d, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}

// canonical gives the form in which two spellings of a domain name are equal.
func canonical(d string) string { return strings.ToLower(strings.TrimSuffix(d, ".")) }
