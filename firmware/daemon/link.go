package daemon

import (
	"crypto/rand"
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp/advertise"
)

// link is one configured link and what is served on it now.
type link struct {
	config  config.Link
	host    hostnet.Link       // as it was when the link was last looked at; Index 0 while it is not there
	served  lke.Link           // Index 0 while the link is not served
	speaker *advertise.Speaker // nil until the link was served once, or where ra is off
	waiting string             // why it is not served; empty if it is
	planned advertise.Config   // what the speaker was told last
	saved   string             // what the journal has of its prefixes
	refusal []hostnet.Finding  // what hides DAD
	unknown error              // why it is not known whether an access point does
	held    time.Time          // since when it could be served but for addresses that are to come; zero if it is served
	until   time.Time          // when goodbye is over on a link that the settings name no more
	secured *secured           // nil on a link without SEND
}

// plan is what the kernel's view and the settings say that a link should serve.
type plan struct {
	lke     lke.Link
	adverts advertise.Config
	waiting string
	secure  *securePlan // of a link with SEND, as soon as there can be any; it is what addresses come from, so that it is there before the link is served
}

// planLink resolves a configured link against what the kernel has. It decides nothing on time or state, so that it can be
// called whenever anything changed.
func planLink(c config.Link, host hostnet.Link, there bool, hidden []hostnet.Finding, id *identity, now time.Time) plan {
	switch {
	case !there:
		return plan{waiting: "there is no interface " + c.Device}
	case !host.Up:
		return plan{waiting: c.Device + " is down"}
	case !host.Hardware.IsUnicast():
		return plan{waiting: c.Device + " has no Ethernet address"}
	}
	local := linkLocal(host)
	var p plan
	if c.Send == config.SendOff {
		id = nil
	} else {
		switch {
		case id == nil:
			return plan{waiting: "send.key could not be read: see the log"}
		case !id.ready:
			return plan{waiting: id.waits()}
		}
		p.secure = planSecure(c, host, id, now)
		local = p.secure.linkLocal
		if !usable(host, local) {
			p.waiting = "it makes sure that nobody else has " + local.String()
			return p
		}
	}
	if !local.IsValid() {
		return plan{waiting: c.Device + " has no link-local address yet"}
	}
	prefixes := linkPrefixes(c, host, id, now)
	p = plan{
		secure: p.secure,
		lke: lke.Link{
			Name: c.Name, Index: host.Index, Hardware: host.Hardware, LinkLocal: local,
			MaxLifetime: c.KeyLifetime,
			Refuse:      !c.LKE || (len(hidden) > 0 && !c.AllowHiddenDAD),
		},
		adverts: advertConfig(c, host, local, prefixes),
	}
	for _, prefix := range prefixes {
		if prefix.Router.IsValid() {
			p.lke.Prefixes = append(p.lke.Prefixes, lke.LinkPrefix{Prefix: prefix.Prefix, Router: prefix.Router})
		}
	}
	for _, a := range host.Addresses {
		p.lke.Routers = append(p.lke.Routers, a.Addr)
	}
	return p
}

// planSecure says what a link with SEND needs: addresses that are CGAs of id, one link-local and one in each prefix.
func planSecure(c config.Link, host hostnet.Link, id *identity, now time.Time) *securePlan {
	p := &securePlan{index: host.Index, hardware: host.Hardware, linkLocal: id.address(linkLocalPrefix()), only: c.Send == config.SendOnly}
	var prefixes []netip.Prefix
	for _, prefix := range linkPrefixes(c, host, id, now) {
		prefixes = append(prefixes, prefix.Prefix)
	}
	p.wanted = wantedAddresses(id, prefixes)
	for _, a := range host.Addresses {
		if !a.Failed && !a.Tentative && id.address(a.Prefix) != a.Addr {
			p.others = append(p.others, a.Addr)
		}
	}
	return p
}

// usable reports whether the interface has an address that can be used.
func usable(host hostnet.Link, addr netip.Addr) bool {
	for _, a := range host.Addresses {
		if a.Addr == addr {
			return !a.Tentative && !a.Failed
		}
	}
	return false
}

// settleTime bounds how long a link that comes up is held back for addresses that are to come.
const settleTime = 3 * time.Second

// holdBack holds a link back that comes up with some of its addresses: hosts would be told that the prefixes of the others are
// gone. It lasts until the addresses are there, and not longer than settleTime.
func (d *Daemon) holdBack(l *link, p *plan, host hostnet.Link, now time.Time) {
	missing := ""
	if p.waiting == "" && l.served.Index == 0 {
		missing = l.missing(p, host)
	}
	if missing == "" {
		l.held = time.Time{}
		return
	}
	if l.held.IsZero() {
		l.held = now
	}
	if until := l.held.Add(settleTime); now.Before(until) {
		d.settles = earlier(d.settles, until)
		*p = plan{waiting: missing, secure: p.secure}
	}
}

// missing tells what addresses of the link are to come; empty if all seem to be there.
func (l *link) missing(p *plan, host hostnet.Link) string {
	for _, a := range host.Addresses {
		if a.Tentative && !a.Failed {
			return l.config.Device + " is making sure that nobody else has " + a.Addr.String()
		}
	}
	if p.secure != nil {
		for _, w := range p.secure.wanted {
			if !usable(host, w.Addr()) {
				return "it makes sure that nobody else has " + w.Addr().String()
			}
		}
	}
	if l.speaker == nil || !l.config.RA.PrefixesFromDevice {
		return ""
	}
	for _, old := range l.speaker.Config().Prefixes {
		if old.Router.IsValid() && !hasPrefix(p.adverts.Prefixes, old.Prefix) {
			return l.config.Device + " has no address in " + old.Prefix.String() + " yet"
		}
	}
	return ""
}

// linkLocal gives the link-local address to speak from: the first that passed DAD.
func linkLocal(host hostnet.Link) netip.Addr {
	for _, a := range host.Addresses {
		if a.Addr.IsLinkLocalUnicast() && !a.Tentative && !a.Failed {
			return a.Addr
		}
	}
	return netip.Addr{}
}

// linkPrefixes gives the prefixes to advertise: those of the settings, then those of the interface's own addresses. Each has
// the router's address in it, if there is one: one of the settings before the interface's first.
func linkPrefixes(c config.Link, host hostnet.Link, id *identity, now time.Time) []advertise.Prefix {
	var all []advertise.Prefix
	for _, p := range c.RA.Prefixes {
		all = append(all, advertise.Prefix{
			Prefix: p.Prefix, OnLink: p.OnLink, Autonomous: p.Autonomous, Valid: lifetime(p.Valid), Preferred: lifetime(p.Preferred),
		})
	}
	if c.RA.PrefixesFromDevice {
		for _, a := range host.Addresses {
			if a.Prefix.Bits() != 64 || !ipv6.IsRoutableUnicast(a.Addr) || a.Failed || hasPrefix(all, a.Prefix.Masked()) {
				continue
			}
			// Our own address follows from a prefix, and never the other way round.
			if id != nil && id.address(a.Prefix) == a.Addr {
				continue
			}
			p := advertise.Prefix{
				Prefix: a.Prefix.Masked(), OnLink: true, Autonomous: true,
				Valid: lifetime(c.RA.PrefixValid), Preferred: lifetime(c.RA.PrefixPreferred),
			}
			// What was delegated for a time is not advertised for longer (RFC 9096 section 3.4).
			if a.Valid != hostnet.Forever {
				p.ValidUntil = now.Add(a.Valid)
			}
			if a.Preferred != hostnet.Forever {
				p.PreferredUntil = now.Add(a.Preferred)
			}
			if a.Deprecated {
				p.Preferred = 0
			}
			all = append(all, p)
		}
	}
	for i := range all {
		all[i].Router = routerAddress(c, host, id, all[i].Prefix)
	}
	return all
}

func hasPrefix(all []advertise.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(all, func(q advertise.Prefix) bool { return q.Prefix == p })
}

// routerAddress gives the router's own address in a prefix. It has to be an address of the interface: binding updates go there.
// On a link with SEND it is a CGA of the key that signs (RFC 5269 section 3.2), if there is one in that prefix.
func routerAddress(c config.Link, host hostnet.Link, id *identity, p netip.Prefix) netip.Addr {
	if id != nil && p.Bits() == 64 {
		if own := id.address(p); usable(host, own) {
			return own
		}
	}
	var first netip.Addr
	for _, a := range host.Addresses {
		// The first address of a prefix is every router's (RFC 4291 section 2.6.1).
		if !p.Contains(a.Addr) || a.Tentative || a.Failed || a.Addr == p.Masked().Addr() {
			continue
		}
		if slices.Contains(c.RA.RouterAddresses, a.Addr) {
			return a.Addr
		}
		if !first.IsValid() {
			first = a.Addr
		}
	}
	return first
}

// lifetime converts a lifetime of the settings.
func lifetime(d time.Duration) time.Duration {
	if d == config.Forever {
		return advertise.Infinite
	}
	return d.Truncate(time.Second)
}

// advertConfig says what a link's advertisements hold. The LKE capability is added by the caller that has the key.
func advertConfig(c config.Link, host hostnet.Link, local netip.Addr, prefixes []advertise.Prefix) advertise.Config {
	ra := c.RA
	a := advertise.DefaultConfig()
	a.Interface, a.Hardware, a.LinkLocal, a.LinkMTU = host.Index, host.Hardware, local, host.MTU
	a.MaxInterval, a.MinInterval, a.MinDelay = ra.MaxInterval, ra.MinInterval, ra.MinDelay
	a.HopLimit, a.Managed, a.Other, a.HomeAgent = ra.HopLimit, ra.Managed, ra.Other, c.LKE
	a.RouterLifetime, a.Preference = ra.Lifetime, preference(ra.Preference)
	a.Reachable, a.Retrans = ra.ReachableTime, ra.RetransTimer
	switch {
	case ra.MTU == config.MTUAuto:
		a.MTU = uint32(host.MTU)
	default:
		a.MTU = uint32(ra.MTU)
	}
	a.Prefixes = prefixes
	for _, r := range ra.Routes {
		a.Routes = append(a.Routes, advertise.Route{Prefix: r.Prefix, Preference: preference(r.Preference), Lifetime: lifetime(r.Lifetime)})
	}
	if len(ra.DNS) > 0 {
		a.Servers = []advertise.Servers{{Addrs: ra.DNS, Lifetime: lifetime(ra.DNSLifetime)}}
	}
	if len(ra.Domains) > 0 {
		a.Search = []advertise.Search{{Domains: ra.Domains, Lifetime: lifetime(ra.DNSLifetime)}}
	}
	a.AdvertiseInterval = ra.AdvertisementInterval
	if c.LKE && (ra.HomeAgentPreference != 0 || ra.HomeAgentLifetime != 0) {
		a.HomeAgentInfo = &advertise.HomeAgentInfo{Preference: ra.HomeAgentPreference, Lifetime: ra.HomeAgentLifetime}
	}
	a.Rand = rand.Reader
	return a
}

func preference(p config.Preference) advertise.Preference {
	switch {
	case p < config.Medium:
		return advertise.Low
	case p > config.Medium:
		return advertise.High
	}
	return advertise.Medium
}

// steady takes over the ends of lifetimes from what was planned before where they are the same but for the kernel's rounding,
// so that a plan differs from the last one only when something really changed.
func steady(prefixes, before []advertise.Prefix) {
	for i := range prefixes {
		for _, old := range before {
			if old.Prefix != prefixes[i].Prefix {
				continue
			}
			prefixes[i].ValidUntil = same(prefixes[i].ValidUntil, old.ValidUntil)
			prefixes[i].PreferredUntil = same(prefixes[i].PreferredUntil, old.PreferredUntil)
		}
	}
}

func same(at, before time.Time) time.Time {
	const rounding = 2 * time.Second
	if !at.IsZero() && !before.IsZero() && at.Sub(before).Abs() < rounding {
		return before
	}
	return at
}
