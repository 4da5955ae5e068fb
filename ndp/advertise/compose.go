package advertise

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// voice is in which capacity an advertisement is made.
type voice uint8

const (
	regular voice = iota
	final         // ceasing: nothing of this router can be used any more (RFC 4861 section 6.2.5, RFC 4191 section 4)
	moved         // from a link-local address that was given up: only that router ceases (section 6.2.8)
)

const (
	raHeadOctets = 16
	flagManaged  = 0x80
	flagOther    = 0x40
	flagHome     = 0x20 // RFC 6275 section 7.1
	ndHopLimit   = 255
)

// withdrawn is what disappeared and is told with lifetime zero in the next adverts.
type withdrawn struct {
	routes  []netip.Prefix
	servers []netip.Addr
	search  []string
	adverts int
}

// contents is what an advertisement draws on.
type contents struct {
	cfg       *Config
	held      []held
	withdrawn withdrawn
	voice     voice
	src       netip.Addr
	hardware  ipv6.LinkAddr
}

// anchor gives the index of the prefix whose router address is told in every advertisement: the first that has one and is
// valid. -1 if there is none; then the router does not call itself a home agent (RFC 6275 section 7.2).
func (c *contents) anchor(now time.Time) int {
	for i := range c.cfg.Prefixes {
		p := &c.cfg.Prefixes[i]
		if valid, _ := p.Lifetimes(now); p.Router.IsValid() && seconds(valid) > 0 {
			return i
		}
	}
	return -1
}

// options gives the encoded options: common goes into each advertisement, each of rest into one.
func (c *contents) options(now time.Time) (common []byte, rest [][]byte, home bool) {
	cfg := c.cfg
	common = ndp.SourceLinkOption(c.hardware)
	if c.voice == moved {
		return common, c.routes(nil), false
	}
	anchor := c.anchor(now)
	home = c.voice == regular && cfg.HomeAgent && anchor >= 0
	if anchor >= 0 {
		common = append(common, cfg.Prefixes[anchor].option(now)...)
	}
	if home && cfg.HomeAgentInfo != nil && *cfg.HomeAgentInfo != (HomeAgentInfo{Lifetime: cfg.RouterLifetime}) {
		common = append(common, homeAgentOption(cfg.HomeAgentInfo)...)
	}
	if cfg.AdvertiseInterval && c.voice == regular {
		common = append(common, intervalOption(cfg.MaxInterval)...)
	}
	// LKE-AR-2: no capability without the H flag; LKE-AR-3: none beside a router lifetime of zero.
	if home && cfg.Capability != nil {
		rest = append(rest, ndp.Capability{
			MaximumLifetime: uint16(cfg.Capability.MaximumLifetime / time.Second),
			PublicKey:       cfg.Capability.PublicKey,
		}.Append(nil, cfg.CodePoints))
	}
	if cfg.MTU != 0 {
		rest = append(rest, mtuOption(cfg.MTU))
	}
	for i := range cfg.Prefixes {
		if i != anchor {
			rest = append(rest, cfg.Prefixes[i].option(now))
		}
	}
	for _, h := range c.held {
		if h.gone {
			rest = append(rest, prefixOption(h.prefix, netip.Addr{}, h.onLink, h.autonomous, 0, 0))
		}
	}
	return common, c.names(c.routes(rest)), home
}

// option encodes p as it stands at now.
func (p *Prefix) option(now time.Time) []byte {
	valid, preferred := p.Lifetimes(now)
	return prefixOption(p.Prefix, p.Router, p.OnLink, p.Autonomous, valid, preferred)
}

func (c *contents) routes(list [][]byte) [][]byte {
	for _, r := range c.cfg.Routes {
		lifetime := r.Lifetime
		if c.voice != regular {
			lifetime = 0
		}
		list = append(list, routeOption(r.Prefix, r.Preference, lifetime))
	}
	for _, p := range c.withdrawn.routes {
		list = append(list, routeOption(p, Medium, 0))
	}
	return list
}

func (c *contents) names(list [][]byte) [][]byte {
	for _, s := range c.cfg.Servers {
		list = serversOptions(list, s.Addrs, c.lifetime(s.Lifetime))
	}
	list = serversOptions(list, c.withdrawn.servers, 0)
	for _, s := range c.cfg.Search {
		list = searchOptions(list, s.Domains, c.lifetime(s.Lifetime))
	}
	return searchOptions(list, c.withdrawn.search, 0)
}

// lifetime is d, or zero where the router ceases.
func (c *contents) lifetime(d time.Duration) time.Duration {
	if c.voice == final {
		return 0
	}
	return d
}

// head encodes the fixed part of an advertisement (RFC 4861 section 4.2, RFC 4191 section 2.2, RFC 6275 section 7.1).
func (c *contents) head(home bool) []byte {
	cfg := c.cfg
	b := make([]byte, raHeadOctets)
	b[0], b[4] = ndp.TypeRouterAdvert, cfg.HopLimit
	if cfg.Managed {
		b[5] |= flagManaged
	}
	if cfg.Other {
		b[5] |= flagOther
	}
	if home {
		b[5] |= flagHome
	}
	// A preference says nothing without a lifetime, and is medium then (RFC 4191 section 2.2).
	if c.voice == regular && cfg.RouterLifetime > 0 {
		b[5] |= uint8(cfg.Preference) << 3
		binary.BigEndian.PutUint16(b[6:], uint16(cfg.RouterLifetime/time.Second))
	}
	binary.BigEndian.PutUint32(b[8:], uint32(cfg.Reachable/time.Millisecond))
	binary.BigEndian.PutUint32(b[12:], uint32(cfg.Retrans/time.Millisecond))
	return b
}

// packets gives the advertisement to dst as whole IPv6 packets: one, or as many as the MTU asks for, each with the fixed
// part and the common options (RFC 4861 section 6.2.3, RFC 6275 sections 7.2 and 7.4).
func (c *contents) packets(now time.Time, dst netip.Addr) [][]byte {
	common, rest, home := c.options(now)
	start := append(c.head(home), common...)
	room := c.cfg.room()
	var list [][]byte
	msg := bytes.Clone(start)
	for i, option := range rest {
		msg = append(msg, option...)
		if i+1 < len(rest) && len(msg)+len(rest[i+1]) > room {
			list, msg = append(list, c.packet(msg, dst)), bytes.Clone(start)
		}
	}
	return append(list, c.packet(msg, dst))
}

func (c *contents) packet(msg []byte, dst netip.Addr) []byte {
	ndp.FixChecksum(msg, c.src, dst)
	b := make([]byte, 0, ipv6.HeaderLen+len(msg)+c.cfg.Reserve)
	return ipv6.Append(b, ipv6.Header{Src: c.src, Dst: dst, HopLimit: ndHopLimit}, ipv6.ProtoICMPv6, msg)
}

// room is how many octets an ICMPv6 message may have.
func (c *Config) room() int { return c.LinkMTU - ipv6.HeaderLen - c.Reserve }

// checkFit finds options for which not even an advertisement of their own has room.
func (c *Config) checkFit(ps *problems) {
	contents := contents{cfg: c, src: c.LinkLocal, hardware: c.Hardware}
	common, rest, _ := contents.options(time.Time{})
	least := raHeadOctets + len(common)
	for _, option := range rest {
		if need := least + len(option); need > c.room() {
			ps.add("LinkMTU", "an option does not fit in an advertisement of its own, and fragments must not be sent (RFC 6980)",
				"type %d has %d octets: %d octets of MTU are needed, or a shorter key", option[0], len(option),
				need+ipv6.HeaderLen+c.Reserve)
			return
		}
	}
	if least > c.room() {
		ps.add("Reserve", "leaves no room for what each advertisement has to say", "give %d octets or fewer",
			c.LinkMTU-ipv6.HeaderLen-least)
	}
}

// fixed gives all that c says apart from what time alone changes, to tell whether two configurations say the same.
func (c Config) fixed() []byte {
	prefixes := make([]Prefix, len(c.Prefixes))
	for i, p := range c.Prefixes {
		p.ValidUntil, p.PreferredUntil = time.Time{}, time.Time{}
		prefixes[i] = p
	}
	c.Prefixes = prefixes
	contents := contents{cfg: &c, src: c.LinkLocal, hardware: c.Hardware}
	return bytes.Join(contents.packets(time.Time{}, ipv6.AllNodes()), nil)
}
