package e2e

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// on gives a row for a Key Exchange Request of a node that nobody knows, with one thing changed.
func on(name, counter string, change func(b *bad, d *draft)) row {
	return row{name: name, counter: counter, via: cell, make: func(b *bad) *draft {
		d := b.asRequest(b.node())
		change(b, d)
		return d
	}}
}

// with gives a row for such a request with other data, another lifetime, or both.
func with(name, counter string, data func(right []byte) []byte, lifetime uint16) row {
	return row{name: name, counter: counter, via: cell, make: func(b *bad) *draft {
		return b.asRequestWith(b.node(), data(b.ciphertext()), lifetime)
	}}
}

func same(b []byte) []byte { return b }

// requestRows break the mobility header of a request, and where it goes.
func requestRows() []row {
	return []row{
		// LKE-AR-5
		on("hop limit 254", "lke/request_hop_limit", func(_ *bad, d *draft) { d.HopLimit = 254 }),
		on("hop limit 0", "lke/request_hop_limit", func(_ *bad, d *draft) { d.HopLimit = 0 }),
		on("global source", "lke/request_source", func(_ *bad, d *draft) { d.Src = d.HomeAddress }),
		on("source ::", "lke/request_source", func(_ *bad, d *draft) { d.Src = netip.IPv6Unspecified() }),
		on("global destination", "lke/request_destination", func(_ *bad, d *draft) { d.Dst = routerAddr }),
		on("link-local address of another", "lke/request_destination", func(_ *bad, d *draft) { d.Dst = netip.MustParseAddr("fe80::bad") }),
		on("to all nodes", "", func(_ *bad, d *draft) { d.Dst, d.to = ipv6.AllNodes(), ipv6.MulticastLinkAddr(ipv6.AllNodes()) }),
		{name: "link-local source by the uplink", counter: "lke/request_link_not_served", via: away, make: func(b *bad) *draft {
			d := b.asRequest(b.node())
			d.from, d.to, d.Dst = b.away.wire.Hardware, b.wanHW, routerAddr
			return d
		}},
		{name: "link-local addresses by the uplink", via: away, make: func(b *bad) *draft {
			d := b.asRequest(b.node())
			d.from, d.to = b.away.wire.Hardware, b.wanHW
			return d
		}},

		on("link source of a group", "lke/request_link_source", func(_ *bad, d *draft) { d.from = ipv6.MulticastLinkAddr(ipv6.AllNodes()) }),
		on("link source of the router", "lke/request_link_source", func(b *bad, d *draft) { d.from = b.access.Hardware }),
		on("routing header to the router", "lke/request_routing_header", func(_ *bad, d *draft) { d.RoutingHome = d.HomeAddress }),
		on("no home address", "lke/request_no_home_address", func(_ *bad, d *draft) { d.HomeAddress = netip.Addr{} }),

		on("wrong checksum", "lke/mh_bad_checksum", func(_ *bad, d *draft) { d.mh[4], d.forged = d.mh[4]^1, true }),
		on("checksum of the wrong addresses", "lke/mh_bad_checksum", func(b *bad, d *draft) {
			mobility.FixChecksum(d.mh, d.Src, d.Dst) // LKE-resolution-g: the home address counts
			d.forged = true
		}),
		on("payload after the header", "lke/mh_bad_payload_proto", func(_ *bad, d *draft) { d.mh[0] = protoUDP }),
		on("longer by its Header Len than it is", "lke/mh_truncated", func(_ *bad, d *draft) { d.mh[1] = 255 }),
		on("cut off", "lke/mh_truncated", func(_ *bad, d *draft) { d.mh = d.mh[:len(d.mh)-8] }),
		on("of four octets", "lke/mh_truncated", func(_ *bad, d *draft) { d.mh = d.mh[:4] }),
		on("of no octets", "daemon/drop_mh_truncated", func(_ *bad, d *draft) { d.mh = nil }),
		with("data too short", "lke/mh_bad_header_len", func(b []byte) []byte { return b[:64] }, 3600),
		with("data too long", "lke/request_malformed", func(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) }, 3600),
		with("data misaligned by an octet", "lke/request_malformed", func(b []byte) []byte { return append(b, 0xff) }, 3600),
		with("data longer than an engine takes", "lke/request_malformed", func(b []byte) []byte { return slices.Concat(b, b, b, b, b, b, b, b) }, 3600),
		with("lifetime 0", "lke/request_lifetime", same, 0),
		on("no lifetime", "lke/request_malformed", func(_ *bad, d *draft) { d.mh[8+128] = 200 }),
		on("lifetime of no octets", "lke/request_malformed", func(_ *bad, d *draft) { d.mh[8+129] = 0 }),
		on("option past the end", "lke/request_malformed", func(_ *bad, d *draft) { d.mh[8+129] = 200 }),
		{name: "LKE-AR-9: replay", counter: "lke/request_replayed", via: cell, make: func(b *bad) *draft {
			d := b.asRequest(b.victim)
			b.victim.Seq--
			binary.BigEndian.PutUint16(d.mh[6:], b.victim.Seq)
			return d
		}},
		{name: "LKE-AR-9: reordered", counter: "lke/request_replayed", via: cell, make: func(b *bad) *draft {
			d := b.asRequest(b.victim)
			b.victim.Seq--
			binary.BigEndian.PutUint16(d.mh[6:], b.victim.Seq-1)
			return d
		}},
	}
}

// claimRows are requests for addresses that a node must not get (LKE-resolution-p, LKE-resolution-r).
func claimRows() []row {
	claim := func(name, counter, addr string) row {
		return on(name, counter, func(_ *bad, d *draft) { d.HomeAddress = netip.MustParseAddr(addr) })
	}
	of := func(name, counter string, whose func(b *bad) *rig.Node, own bool) row {
		return row{name: name, counter: counter, via: cell, make: func(b *bad) *draft {
			n := b.node()
			if own {
				n = whose(b)
			}
			d := b.asRequest(n)
			if own {
				n.Seq-- // the next row begins where this one did
			}
			d.HomeAddress = whose(b).Home
			return d
		}}
	}
	victim := func(b *bad) *rig.Node { return b.victim }
	roamer := func(b *bad) *rig.Node { return b.roamer }
	asleep := func(b *bad) *rig.Node { return b.asleep }
	return []row{
		claim("of another network", "lke/request_not_in_prefix", "2001:4860:4860::8888"),
		claim("of the uplink", "lke/request_not_in_prefix", correspondent.String()),
		claim("of the router", "lke/request_router_address", routerAddr.String()),
		claim("of all routers of the link", "lke/request_anycast_address", "2001:db8:1::"),
		claim("of home agents", "lke/request_anycast_address", "2001:db8:1:0:fdff:ffff:ffff:fffe"),
		of("of a node with a key", "lke/request_other_link_source", victim, false),
		of("of a node that has moved", "lke/request_address_bound", roamer, false),
		of("of itself after it has moved", "lke/request_address_bound", roamer, true),
		of("of a neighbour", "lke/request_neighbour_mismatch", asleep, false),
	}
}

// headerRows break what stands before the mobility header.
func headerRows() []row {
	bent := func(name, counter string, bend func(packet []byte) []byte) row {
		return on(name, counter, func(_ *bad, d *draft) { d.bend = bend })
	}
	home := func(name, addr string) row {
		return on(name, "rawip/drop_bad_home_address_option", func(_ *bad, d *draft) { d.HomeAddress = netip.MustParseAddr(addr) })
	}
	set := func(at int, octet byte) func([]byte) []byte {
		return func(packet []byte) []byte { packet[at] = octet; return packet }
	}
	const (
		options = ipv6.HeaderLen // the destination options header
		option  = options + 6    // the Home Address option in it
	)
	chain := func(types ...byte) func([]byte) []byte {
		return func(packet []byte) []byte {
			for i := len(types) - 1; i >= 0; i-- {
				packet = insert(packet, types[i], []byte{0, 0, 1, 4, 0, 0, 0, 0}) // a PadN
			}
			return packet
		}
	}
	return []row{
		home("home address fe80::1", "fe80::1"),
		home("home address ff02::1", "ff02::1"),
		home("home address ::", "::"),
		home("home address ::1", "::1"),
		home("home address ::ffff:192.0.2.1", "::ffff:192.0.2.1"),
		bent("home address of no octets", "rawip/drop_bad_home_address_option", set(option+1, 0)),
		bent("home address past the end", "rawip/drop_bad_extension_header", set(option+1, 17)),
		bent("two home addresses", "rawip/drop_bad_home_address_option", func(packet []byte) []byte {
			return insert(packet, ipv6.ProtoDestination, slices.Clone(packet[options:options+24]))
		}),
		bent("unknown option to be dropped", "rawip/drop_unknown_destination_option", set(option, 0x80|0x3e)),
		bent("unknown option to be complained of", "rawip/drop_unknown_destination_option", set(option, 0xc0|0x3e)),
		bent("first fragment", "rawip/drop_fragment", func(packet []byte) []byte {
			return insert(packet, ipv6.ProtoFragment, []byte{0, 0, 0, 1, 0, 0, 0, 7})
		}),
		bent("later fragment", "", func(packet []byte) []byte {
			return insert(packet, ipv6.ProtoFragment, []byte{0, 0, 0, 8, 0, 0, 0, 7})
		}),
		bent("routing header type 0", "rawip/drop_bad_routing_header", func(packet []byte) []byte {
			return insert(packet, ipv6.ProtoRouting, append([]byte{0, 2, 0, 1, 0, 0, 0, 0}, packet[8:24]...))
		}),
		bent("routing header type 2 with two segments", "rawip/drop_bad_routing_header", func(packet []byte) []byte {
			return insert(packet, ipv6.ProtoRouting, append([]byte{0, 2, 2, 2, 0, 0, 0, 0}, packet[8:24]...))
		}),
		bent("hop-by-hop options not at first", "rawip/drop_bad_extension_header", chain(ipv6.ProtoDestination, ipv6.ProtoHopByHop)),
		bent("nine extension headers", "", chain(60, 60, 60, 60, 60, 60, 60, 60)),
		bent("extension header past the end", "rawip/drop_truncated", set(options+1, 255)),
		bent("payload past the end of the frame", "rawip/drop_truncated", func(packet []byte) []byte {
			binary.BigEndian.PutUint16(packet[4:], uint16(len(packet)))
			return packet
		}),
		bent("longer than any message", "rawip/drop_too_long", func(packet []byte) []byte {
			packet = append(packet, make([]byte, 4000)...)
			binary.BigEndian.PutUint16(packet[4:], uint16(len(packet)-ipv6.HeaderLen))
			return packet
		}),
		bent("version 5", "", func(packet []byte) []byte { packet[0] = 5<<4 | packet[0]&15; return packet }),
	}
}

// insert puts an extension header before all others; its first octet is set.
func insert(packet []byte, typ byte, header []byte) []byte {
	header[0] = packet[6]
	packet = slices.Insert(packet, ipv6.HeaderLen, header...)
	packet[6] = typ
	binary.BigEndian.PutUint16(packet[4:], binary.BigEndian.Uint16(packet[4:])+uint16(len(header)))
	return packet
}
