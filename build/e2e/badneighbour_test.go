package e2e

import (
	"net/netip"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// discovery is a message of Neighbour Discovery that is made piece by piece.
type discovery struct {
	draft
	msg    []byte
	forged bool // the checksum stays as it is
}

// told is a message from a node that nobody knows, to a group.
func (b *bad) told(dst netip.Addr, make func(n *rig.Node) []byte) *discovery {
	n := b.node()
	return &discovery{
		draft: draft{from: n.Hardware, to: ipv6.MulticastLinkAddr(dst), Header: ipv6.Header{Src: n.Local, Dst: dst, HopLimit: 255}},
		msg:   make(n),
	}
}

func sourceLink(n *rig.Node) []byte {
	return append([]byte{ndp.OptSourceLink, 1}, n.Hardware[:]...)
}

func solicitation(b *bad) *discovery {
	dst := ipv6.SolicitedNode(b.victim.Home)
	return b.told(dst, func(n *rig.Node) []byte {
		return ndp.AppendNeighborSolicit(nil, n.Local, dst, b.victim.Home, sourceLink(n))
	})
}

// advertisement is one of another station for the victim's address.
func advertisement(b *bad) *discovery {
	return b.told(ipv6.AllNodes(), func(n *rig.Node) []byte {
		return ndp.AppendNeighborAdvert(nil, n.Local, ipv6.AllNodes(), ndp.FlagOverride, b.victim.Home, ndp.TargetLinkOption(n.Hardware))
	})
}

func routerSolicitation(b *bad) *discovery {
	return b.told(ipv6.AllRouters(), func(n *rig.Node) []byte {
		return ndp.AppendRouterSolicit(nil, n.Local, ipv6.AllRouters(), sourceLink(n))
	})
}

func routerAdvertisement(b *bad) *discovery {
	return b.told(ipv6.AllNodes(), func(n *rig.Node) []byte {
		return append([]byte{ndp.TypeRouterAdvert, 0, 0, 0, 64, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0}, sourceLink(n)...)
	})
}

// neighbourRows are bad messages of Neighbour Discovery about the address of a node that has an association, and about
// routers. (RFC 4861 sections 6.1 and 7.1)
func neighbourRows() []row {
	tell := func(name, counter string, make func(b *bad) *discovery, change func(m *discovery)) row {
		return row{name: name, counter: counter, via: cell, make: func(b *bad) *draft {
			m := make(b)
			change(m)
			if !m.forged {
				ndp.FixChecksum(m.msg, m.Src, m.Dst)
			}
			d, bend := &m.draft, m.bend
			d.bend = func([]byte) []byte {
				packet := ipv6.Append(nil, d.Header, ipv6.ProtoICMPv6, m.msg)
				if bend != nil {
					packet = bend(packet)
				}
				return packet
			}
			return d
		}}
	}
	kinds := []struct {
		name, counters string
		make           func(b *bad) *discovery
		fixed          int // octets before the options
	}{
		{"solicitation", "lke/nd_", solicitation, 24},
		{"advertisement", "lke/nd_", advertisement, 24},
		{"router solicitation", "ra lan/rs_", routerSolicitation, 8},
		{"router advertisement", "ra lan/ra_", routerAdvertisement, 16},
	}
	var rows []row
	for _, k := range kinds {
		rows = append(rows,
			tell(k.name+" with hop limit 254", k.counters+"bad_hop_limit", k.make, func(m *discovery) { m.HopLimit = 254 }),
			tell(k.name+" with a wrong checksum", k.counters+"bad_checksum", k.make, func(m *discovery) { m.msg[2], m.forged = m.msg[2]^1, true }),
			tell(k.name+" with code 1", k.counters+"bad_code", k.make, func(m *discovery) { m.msg[1] = 1 }),
			tell(k.name+" with an option of no octets", k.counters+"bad_option", k.make, func(m *discovery) { m.msg[k.fixed+1] = 0 }),
			tell(k.name+" with an option past the end", k.counters+"bad_option", k.make, func(m *discovery) { m.msg[k.fixed+1] = 2 }),
			tell(k.name+" misaligned by four octets", k.counters+"bad_option", k.make, func(m *discovery) { m.msg = append(m.msg, 0, 0, 0, 0) }),
			tell(k.name+" in an atomic fragment", k.counters+"fragment", k.make, func(m *discovery) {
				m.bend = func(p []byte) []byte { return insert(p, ipv6.ProtoFragment, []byte{0, 0, 0, 0, 0, 0, 0, 7}) }
			}),
			tell(k.name+" from a group", k.counters+"bad_source", k.make, func(m *discovery) { m.Src = ipv6.AllNodes() }),
		)
	}
	cut := func(octets int) func(m *discovery) { return func(m *discovery) { m.msg = m.msg[:octets] } }
	return append(rows,
		tell("solicitation from :: with a link-layer address", "lke/nd_bad_source", solicitation, func(m *discovery) { m.Src = netip.IPv6Unspecified() }),
		tell("solicitation from :: to all nodes", "lke/nd_bad_destination", solicitation, func(m *discovery) {
			m.Src, m.Dst, m.msg = netip.IPv6Unspecified(), ipv6.AllNodes(), m.msg[:24]
		}),
		tell("solicited advertisement to all nodes", "lke/nd_bad_destination", advertisement, func(m *discovery) { m.msg[4] |= 0x40 }),
		tell("router solicitation from :: with a link-layer address", "ra lan/rs_bad_source", routerSolicitation, func(m *discovery) { m.Src = netip.IPv6Unspecified() }),
		tell("router advertisement from a global address", "ra lan/ra_bad_source", routerAdvertisement, func(m *discovery) { m.Src = correspondent }),
		tell("solicitation cut off in its target", "lke/nd_other_target", solicitation, cut(20)),
		tell("advertisement of four octets", "lke/nd_other_target", advertisement, cut(4)),
		tell("router solicitation of four octets", "ra lan/rs_bad_length", routerSolicitation, cut(4)),
		tell("router advertisement of 12 octets", "ra lan/ra_bad_length", routerAdvertisement, cut(12)),
		tell("redirect", "daemon/drop_unexpected", advertisement, func(m *discovery) { m.msg[0] = 137 }),
		tell("solicitation by the router's own link source", "lke/nd_own_packet", func(b *bad) *discovery {
			m := solicitation(b)
			m.from = b.access.Hardware
			return m
		}, func(*discovery) {}),

		// After its duplicate address detection nobody can take the address from the node any more.
		tell("advertisement of another station", "lke/nd_advert_not_awaited", advertisement, func(*discovery) {}),
		tell("advertisement with a made-up reply", "lke/nd_advert_not_awaited", advertisement, func(m *discovery) {
			m.msg = ndp.DADAuth{Nonce: 1, Router: routerAddr}.Append(m.msg, ndp.DefaultCodePoints().AuthReply)
		}),
		tell("solicitation of another station", "lke/nd_nothing_to_defend", solicitation, func(*discovery) {}),
	)
}
