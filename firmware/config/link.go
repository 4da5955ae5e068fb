package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// linkSection is a link with what only reading needs.
type linkSection struct {
	Link
	enabled bool
}

func linkTable(l *linkSection) table {
	const second = time.Second
	// RFC 6275 section 7.5 allows intervals down to 0.03 and 0.07 seconds on links with mobile nodes.
	interval := span{least: 70 * time.Millisecond, most: 1800 * second, example: "600"}
	minInterval := span{least: 30 * time.Millisecond, most: 1350 * second, example: "200"}
	minDelay := span{least: 30 * time.Millisecond, most: 3 * second, example: "3"}
	lifetime := span{least: second, most: 9000 * second, whole: true, orZero: true, example: "9000"}
	agentLifetime := span{least: second, most: 65535 * second, whole: true, orZero: true, example: "9000"}
	return table{
		typ: "link",
		aliases: map[string]string{"interface": "device", "ifname": "device", "network": "device", "dns_search": "domain", "dnssl": "domain", "rdnss": "dns", "search": "domain",
			"ra_maxinterval": "ra_max_interval", "ra_mininterval": "ra_min_interval", "ra_lifetime": "lifetime", "ra_mtu": "mtu", "ra_hoplimit": "hop_limit", "ra_preference": "preference",
			"prefixes_from_device": "prefixes_from_interface", "bssid": "access_point", "ap": "access_point"},
		fields: []field{
			{name: "device", set: func(v string) *fault { return setDevice(&l.Device, v) }},
			{name: "enabled", def: "1", set: func(v string) *fault { return setBool(&l.enabled, v) }},
			{name: "lke", def: "1", set: func(v string) *fault { return setBool(&l.LKE, v) }},
			{name: "allow_hidden_dad", def: "0", set: func(v string) *fault { return setBool(&l.AllowHiddenDAD, v) }},
			{name: "ra", def: "1", set: func(v string) *fault { return setBool(&l.RA.Enabled, v) }},
			{name: "ra_max_interval", def: "600", set: func(v string) *fault { return interval.set(&l.RA.MaxInterval, v) }},
			{name: "ra_min_interval", set: func(v string) *fault { return minInterval.set(&l.RA.MinInterval, v) }},
			{name: "ra_min_delay", set: func(v string) *fault { return minDelay.set(&l.RA.MinDelay, v) }},
			{name: "hop_limit", def: "64", set: func(v string) *fault { return setInt(&l.RA.HopLimit, v, 0, 255, "64") }},
			{name: "managed", def: "0", set: func(v string) *fault { return setBool(&l.RA.Managed, v) }},
			{name: "other", def: "0", set: func(v string) *fault { return setBool(&l.RA.Other, v) }},
			{name: "lifetime", def: "9000", set: func(v string) *fault { return lifetime.set(&l.RA.Lifetime, v) }},
			{name: "preference", def: "medium", set: func(v string) *fault { return l.RA.Preference.set(v) }},
			{name: "reachable_time", def: "0", set: func(v string) *fault {
				return span{least: time.Millisecond, most: 3600 * second, orZero: true, example: "30s"}.set(&l.RA.ReachableTime, v)
			}},
			{name: "retrans_timer", def: "0", set: func(v string) *fault {
				return span{least: time.Millisecond, most: 3600 * second, orZero: true, example: "1s"}.set(&l.RA.RetransTimer, v)
			}},
			{name: "mtu", def: "auto", set: func(v string) *fault { return setLinkMTU(&l.RA.MTU, v) }},
			{name: "prefix", list: true, set: func(v string) *fault { return addPrefix(&l.RA.Prefixes, v) }},
			{name: "prefix_valid", def: "5400", set: func(v string) *fault { return prefixLifetime().set(&l.RA.PrefixValid, v) }},
			{name: "prefix_preferred", def: "2700", set: func(v string) *fault { return prefixLifetime().set(&l.RA.PrefixPreferred, v) }},
			{name: "prefixes_from_interface", set: func(v string) *fault { return setBool(&l.RA.PrefixesFromDevice, v) }},
			{name: "router_address", list: true, set: func(v string) *fault { return addRouter(&l.RA.RouterAddresses, v) }},
			{name: "dns", list: true, set: func(v string) *fault { return addDNS(&l.RA.DNS, v) }},
			{name: "domain", list: true, set: func(v string) *fault { return addDomain(&l.RA.Domains, v) }},
			{name: "dns_lifetime", set: func(v string) *fault {
				return span{least: second, most: Forever, whole: true, forever: true, example: "1800"}.set(&l.RA.DNSLifetime, v)
			}},
			{name: "route", list: true, set: func(v string) *fault { return addRoute(&l.RA.Routes, v) }},
			{name: "home_agent_preference", def: "0", set: func(v string) *fault { return setInt(&l.RA.HomeAgentPreference, v, 0, 65535, "10") }},
			{name: "home_agent_lifetime", def: "0", set: func(v string) *fault { return agentLifetime.set(&l.RA.HomeAgentLifetime, v) }},
			{name: "send", def: "off", set: func(v string) *fault { return l.Send.set(v) }},
			{name: "fmip", set: func(v string) *fault { return setBool(&l.Fast, v) }},
			{name: "access_point", list: true, set: func(v string) *fault { return addAccessPoint(&l.AccessPoints, v) }},
			{name: "advertisement_interval", def: "0", set: func(v string) *fault { return setBool(&l.RA.AdvertisementInterval, v) }},
		},
	}
}

func prefixLifetime() span {
	return span{least: time.Second, most: Forever - time.Second, whole: true, forever: true, orZero: true, example: "5400"}
}

// unset marks a lifetime of a list value that the section's own options give.
const unset = -1

func setLinkMTU(to *int, value string) *fault {
	if value == "auto" {
		*to = MTUAuto
		return nil
	}
	if f := setMTU(to, value); f != nil {
		f.fix = "write 'auto', '0' for none, or a number from 1280 to 65535"
		return f
	}
	return nil
}

func addPrefix(to *[]Prefix, value string) *fault {
	text, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	prefix, f := parsePrefix(text, false)
	if f != nil {
		return f
	}
	p := Prefix{Prefix: prefix, Valid: unset, Preferred: unset, OnLink: true, Autonomous: true}
	f = attributes(rest, map[string]func(string) *fault{
		"valid":     func(v string) *fault { return prefixLifetime().set(&p.Valid, v) },
		"preferred": func(v string) *fault { return prefixLifetime().set(&p.Preferred, v) },
		"onlink":    func(v string) *fault { return setBool(&p.OnLink, v) },
		"auto":      func(v string) *fault { return setBool(&p.Autonomous, v) },
	})
	switch {
	case f != nil:
		return f
	case p.Autonomous && prefix.Bits() != 64:
		return &fault{quote(text) + " is no /64, and nodes form addresses in nothing else", "write a prefix of length 64, or add auto=0"}
	}
	for _, other := range *to {
		if other.Prefix.Overlaps(prefix) {
			return &fault{quote(text) + " overlaps with " + other.Prefix.String() + " of the same link", "keep one of the two"}
		}
	}
	*to = append(*to, p)
	return room((*to)[1:], maxPrefixes)
}

func addRoute(to *[]Route, value string) *fault {
	text, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	prefix, f := parsePrefix(text, true)
	if f != nil {
		return f
	}
	r := Route{Prefix: prefix, Lifetime: unset}
	f = attributes(rest, map[string]func(string) *fault{
		"lifetime":   func(v string) *fault { return prefixLifetime().set(&r.Lifetime, v) },
		"preference": func(v string) *fault { return r.Preference.set(v) },
	})
	if f != nil {
		return f
	}
	for _, other := range *to {
		if other.Prefix == prefix {
			return &fault{quote(text) + " is there twice", "keep one of the two"}
		}
	}
	*to = append(*to, r)
	return room((*to)[1:], maxRoutes)
}

// The most of each kind that one link advertises: what goes into few packets, and what hosts heed.
const (
	maxPrefixes = 32
	maxRoutes   = 17 // RFC 4191 section 4
	maxNames    = 16 // servers, and search domains
)

// room refuses one more where there are as many as there may be.
func room[T any](there []T, most int) *fault {
	if len(there) < most {
		return nil
	}
	return &fault{"there are more than " + itoa(most), "leave some out"}
}

func addRouter(to *[]netip.Addr, value string) *fault {
	a, f := parseGlobal(value)
	if f == nil {
		f = add(to, a, maxPrefixes)
	}
	return f
}

// addDNS takes link-local addresses, too: a name server may well be the router itself.
func addDNS(to *[]netip.Addr, value string) *fault {
	a, f := parseAddress(value)
	if f == nil {
		f = add(to, a, maxNames)
	}
	return f
}

func addDomain(to *[]string, value string) *fault {
	name, f := parseDomain(value)
	if f == nil {
		f = add(to, name, maxNames)
	}
	return f
}

// add appends what is not there yet.
func add[T comparable](to *[]T, v T, most int) *fault {
	if slices.Contains(*to, v) {
		return &fault{quote(fmt.Sprint(v)) + " is there twice", "keep one of the two"}
	}
	*to = append(*to, v)
	return room((*to)[1:], most)
}

// finishLink fills in what follows from other options, and looks at how options fit together.
func finishLink(l *Link, p *place, lke LKE) {
	if l.Device == "" && !p.given("device") {
		p.fail("device", "it is not there", "write the network interface that nodes are on, such as option device 'br-lan'")
	}
	ra := &l.RA
	finishIntervals(ra, p)
	if ra.Lifetime != 0 && ra.Lifetime < ra.MaxInterval {
		p.fail("lifetime", FormatDuration(ra.Lifetime)+" is less than ra_max_interval, "+FormatDuration(ra.MaxInterval), "write 0, or at least '"+FormatDuration(ra.MaxInterval)+"'")
	}
	finishPrefixes(ra, p)
	for i := range ra.Routes {
		if ra.Routes[i].Lifetime == unset {
			ra.Routes[i].Lifetime = ra.Lifetime
			if ra.Lifetime == 0 { // no default router, but the way to this prefix
				ra.Routes[i].Lifetime = max(3*ra.MaxInterval, time.Second).Truncate(time.Second)
			}
		}
	}
	finishLinkLKE(l, p, lke)
	finishLinkSend(l, p)
}

// finishIntervals follows RFC 4861 section 6.2.1 with its erratum on short intervals, RFC 8106 section 5.1, and RFC 6275
// section 7.5, by which the least delay may go below 3 seconds together with the least interval.
func finishIntervals(ra *RA, p *place) {
	const short, delay = 9 * time.Second, 3 * time.Second
	most := ra.MaxInterval / 4 * 3
	if !p.given("ra_min_interval") {
		ra.MinInterval = most
		if ra.MaxInterval >= short {
			ra.MinInterval = ra.MaxInterval * 33 / 100
		}
	} else if ra.MinInterval > most {
		p.fail("ra_min_interval", FormatDuration(ra.MinInterval)+" is more than three quarters of ra_max_interval, "+FormatDuration(ra.MaxInterval), "write at most '"+FormatDuration(most)+"'")
	}
	if !p.given("ra_min_delay") {
		ra.MinDelay = min(delay, ra.MinInterval)
	} else if ra.MinDelay < delay && ra.MinInterval > ra.MinDelay {
		p.fail("ra_min_delay", "less than 3s is for links with a ra_min_interval that is as short", "write '3', or set ra_min_interval '"+FormatDuration(ra.MinDelay)+"'")
	} else if ra.MinDelay > ra.MinInterval {
		p.fail("ra_min_delay", FormatDuration(ra.MinDelay)+" is more than ra_min_interval, "+FormatDuration(ra.MinInterval), "write at most '"+FormatDuration(ra.MinInterval)+"'")
	}
	if !p.given("dns_lifetime") {
		ra.DNSLifetime = max(3*ra.MaxInterval, time.Second).Truncate(time.Second)
	} else if ra.DNSLifetime < ra.MaxInterval {
		p.warn("dns_lifetime", "name servers are forgotten before the next advertisement may come", "write at least '"+FormatDuration(3*ra.MaxInterval)+"'")
	}
}

func finishPrefixes(ra *RA, p *place) {
	if !p.given("prefixes_from_interface") {
		ra.PrefixesFromDevice = !p.given("prefix")
	}
	for i := range ra.Prefixes {
		prefix := &ra.Prefixes[i]
		if prefix.Valid == unset {
			prefix.Valid = max(ra.PrefixValid, prefix.Preferred)
		}
		if prefix.Preferred == unset {
			prefix.Preferred = min(ra.PrefixPreferred, prefix.Valid)
		}
		if prefix.Preferred > prefix.Valid {
			p.failAt("prefix", i, prefix.Prefix.String()+" is preferred for longer than it is valid", "write preferred= with at most "+FormatDuration(prefix.Valid))
		}
	}
	if ra.PrefixPreferred > ra.PrefixValid {
		p.fail("prefix_preferred", FormatDuration(ra.PrefixPreferred)+" is more than prefix_valid, "+FormatDuration(ra.PrefixValid), "write at most '"+FormatDuration(ra.PrefixValid)+"'")
	}
	for i, a := range ra.RouterAddresses {
		within := ra.PrefixesFromDevice
		for _, prefix := range ra.Prefixes {
			if !prefix.Prefix.Contains(a) {
				continue
			}
			within = true
			if a == prefix.Prefix.Addr() {
				p.failAt("router_address", i, a.String()+" is the address of all routers of "+prefix.Prefix.String(), "write an address of this router alone")
			}
			for _, other := range ra.RouterAddresses[:i] {
				if prefix.Prefix.Contains(other) {
					p.failAt("router_address", i, a.String()+" and "+other.String()+" are both in "+prefix.Prefix.String(), "keep one of the two")
				}
			}
		}
		if !within {
			p.failAt("router_address", i, a.String()+" is in no prefix of this link", "add a list prefix that holds it")
		}
	}
}

// finishLinkLKE sees to the link's side of LKE-AR-1, 2 and 3: the capability needs advertisements with the H bit, and does
// not promise more than the lifetimes beside it.
func finishLinkLKE(l *Link, p *place, lke LKE) {
	ra := &l.RA
	if !l.LKE {
		for _, option := range []string{"home_agent_preference", "home_agent_lifetime", "allow_hidden_dad"} {
			if p.given(option) {
				p.warn(option, "it has no effect where lke is off", "leave it out, or set lke '1'")
			}
		}
		if !ra.Enabled {
			p.warn("", "both ra and lke are off, so that nothing is done here", "set enabled '0', or leave the section out")
		}
		return
	}
	switch {
	case !ra.Enabled:
		p.fail("ra", "LKE needs router advertisements of this daemon, which tell nodes its key", "set ra '1', or lke '0'")
		return
	case ra.Lifetime == 0:
		p.fail("lifetime", "LKE needs a router lifetime, as no key outlives it", "write '9000', or set lke '0'")
		return
	case !ra.PrefixesFromDevice && !p.given("prefix"):
		p.fail("prefixes_from_interface", "LKE needs a prefix in which nodes have addresses", "set it to '1', or write a list prefix")
		return
	}
	bounds := ra.Lifetime
	if ra.HomeAgentLifetime != 0 {
		bounds = min(bounds, ra.HomeAgentLifetime)
	}
	l.KeyLifetime = min(lke.MaxLifetime, bounds)
	if l.KeyLifetime < lke.MaxLifetime {
		option := "lifetime"
		if ra.HomeAgentLifetime == bounds {
			option = "home_agent_lifetime"
		}
		p.warn(option, "keys live "+FormatDuration(l.KeyLifetime)+" here and not "+FormatDuration(lke.MaxLifetime)+", for they end with the router's lifetimes",
			"write at least '"+FormatDuration(lke.MaxLifetime)+"' there, or a lower max_lifetime")
	}
}
