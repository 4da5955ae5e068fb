package e2e

import (
	"encoding/binary"
	"net/netip"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// Answers that are due to what cannot be authenticated, and no more of them than the limit lets through.
var (
	stranger = []string{"lke/binding_acks_refusing", "lke/error_ack_rate"}
	refusing = []string{"lke/binding_acks_refusing", "lke/refusal_rate"}
	faulted  = []string{"lke/mh_errors_answered", "lke/error_ack_rate"}
)

func victim(b *bad) *rig.Node { return b.victim }
func roamer(b *bad) *rig.Node { return b.roamer }

// errorAck matches an acknowledgement with that status; authentic tells whether it proves the node's key (LKE-AR-21,
// LKE-resolution-h, LKE-resolution-j).
func errorAck(status uint8, authentic bool) func(*heard) bool {
	return func(h *heard) bool {
		if !mobilityType(mobility.TypeBA)(h) {
			return false
		}
		header, err := mobility.ParseHeader(h.Payload)
		if err != nil {
			return false
		}
		ack, err := mobility.ParseBindingAck(header, mobility.DefaultCodePoints())
		return err == nil && ack.Status == status && ack.HasAuth == authentic && h.RoutingHome.IsValid()
	}
}

// problem matches a Parameter Problem that points at an octet of a mobility header behind the home address.
func problem(octet uint32) func(*heard) bool {
	return func(h *heard) bool {
		return icmpType(icmpParameterProblem)(h) && len(h.Payload) >= 8 && h.Payload[1] == 0 &&
			binary.BigEndian.Uint32(h.Payload[4:8]) == ipv6.HeaderLen+24+octet
	}
}

// updateRows are bad Binding Updates.
func updateRows() []row {
	silent := func(name, counter string, make func(b *bad) *draft) row {
		return row{name: name, counter: counter, via: away, make: make}
	}
	answered := func(name, counter string, share []string, answer func(*heard) bool, make func(b *bad) *draft) row {
		return row{name: name, counter: counter, via: away, share: share, answer: answer, make: make, n: 2}
	}
	// changed is an update of the victim's in which something is changed that the authenticator does not cover, or that is
	// looked at before it.
	changed := func(change func(d *draft)) func(b *bad) *draft {
		return func(b *bad) *draft {
			d := b.asUpdate(b.victim, nil)
			change(d)
			return d
		}
	}
	// from is a rightly signed update of the victim's from another address.
	from := func(addr func(b *bad) netip.Addr) func(b *bad) *draft {
		return func(b *bad) *draft {
			d := b.asUpdate(b.victim, nil)
			d.Src = addr(b)
			return d.sign(b.victim)
		}
	}
	constant := func(addr string) func(*bad) netip.Addr {
		return func(*bad) netip.Addr { return netip.MustParseAddr(addr) }
	}
	bent := func(bend func([]byte) []byte) func(b *bad) *draft {
		return changed(func(d *draft) { d.bend = bend })
	}
	return []row{
		silent("cut off", "lke/mh_truncated", changed(func(d *draft) { d.mh = d.mh[:len(d.mh)-8] })),
		silent("of four octets", "lke/mh_truncated", changed(func(d *draft) { d.mh = d.mh[:4] })),
		silent("wrong checksum", "lke/mh_bad_checksum", changed(func(d *draft) { d.mh[4], d.forged = d.mh[4]^1, true })),
		answered("payload after the header", "lke/mh_bad_payload_proto", faulted, problem(0), changed(func(d *draft) { d.mh[0] = protoUDP })),
		answered("header too short", "lke/mh_bad_header_len", faulted, problem(1), changed(func(d *draft) { d.mh, d.mh[1] = d.mh[:8], 0 })),
		silent("routing header to the router", "lke/update_routing_header", changed(func(d *draft) { d.RoutingHome = d.HomeAddress })),
		silent("option past the end", "lke/update_malformed", changed(func(d *draft) { d.mh[13] = 200 })),
		silent("two authenticators", "lke/update_malformed", changed(func(d *draft) {
			d.mh = append(d.mh, 1, 0, 5, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
			d.mh[1] += 2
		})),
		silent("home address fe80::1", "rawip/drop_bad_home_address_option", changed(func(d *draft) { d.HomeAddress = netip.MustParseAddr("fe80::1") })),
		silent("first fragment", "rawip/drop_fragment", bent(func(p []byte) []byte {
			return insert(p, ipv6.ProtoFragment, []byte{0, 0, 0, 1, 0, 0, 0, 7})
		})),
		silent("unknown option to be complained of", "rawip/drop_unknown_destination_option", bent(func(p []byte) []byte {
			p[ipv6.HeaderLen+6] = 0xfe
			return p
		})),
		silent("to an address that is not of a served link", "daemon/drop_not_for_us", changed(func(d *draft) { d.Dst = wanAddr })),
		silent("from ::", "lke/update_source", from(constant("::"))),
		silent("from a group", "lke/update_source", from(constant("ff02::1"))),
		silent("from fe80::1", "lke/update_source", from(constant("fe80::1"))),

		answered("for an address without association", "lke/update_no_association", stranger, errorAck(133, false), func(b *bad) *draft { return b.asUpdate(b.node(), nil) }),
		answered("LKE-AR-19: under another key", "lke/update_bad_mac", stranger, errorAck(128, false), func(b *bad) *draft {
			n := b.node()
			n.Home = b.victim.Home
			return b.asUpdate(n, nil)
		}),
		answered("LKE-AR-19: without authenticator", "lke/update_bad_mac", stranger, errorAck(128, false), func(b *bad) *draft {
			return b.fromCareOf(b.victim, mobility.BindingUpdate{Seq: 7, Flags: 0xc000, Lifetime: 9}.Append(nil))
		}),
		answered("from another care-of address than signed", "lke/update_bad_mac", stranger, errorAck(128, false), changed(func(d *draft) { d.Src = d.Src.Next() })),
		answered("LKE-AR-24: deregistration under another key", "lke/update_bad_mac", stranger, errorAck(128, false), func(b *bad) *draft {
			n := b.node()
			n.Home, n.CareOf = b.roamer.Home, b.roamer.CareOf
			return b.asUpdate(n, func(m *mobility.BindingUpdate) { m.Lifetime = 0 })
		}),
		answered("LKE-resolution-u: alternate care-of address", "lke/update_alternate_care_of", refusing, errorAck(128, true), func(b *bad) *draft {
			return b.asUpdate(b.victim, func(m *mobility.BindingUpdate) { m.AlternateCareOf = correspondent })
		}),
		answered("no H flag", "lke/update_no_home_flag", refusing, errorAck(131, true), func(b *bad) *draft {
			return b.asUpdate(b.victim, func(m *mobility.BindingUpdate) { m.Flags = mobility.FlagAck })
		}),
		answered("LKE-resolution-u: to the link that it has left", "lke/update_care_of", refusing, errorAck(174, true), from(constant("2001:db8:1::77"))),
		answered("LKE-resolution-u: to an address that is bound", "lke/update_care_of", refusing, nil, from(func(b *bad) netip.Addr { return b.roamer.Home })),
		answered("LKE-resolution-u: to the router itself", "lke/update_care_of", refusing, nil, from(func(*bad) netip.Addr { return routerAddr })),
		answered("LKE-resolution-t: replayed", "lke/update_sequence", refusing, errorAck(135, true), func(b *bad) *draft {
			return &draft{from: b.away.wire.Hardware, to: b.wanHW, bend: func([]byte) []byte { return b.update }}
		}),
		answered("LKE-resolution-t: reordered", "lke/update_sequence", refusing, errorAck(135, true), func(b *bad) *draft {
			return b.asUpdate(b.roamer, func(m *mobility.BindingUpdate) { m.Seq -= 2 })
		}),
	}
}

// finishedRows are bad Finished messages about a binding that is confirmed.
func finishedRows() []row {
	finished := func(name, counter string, whose func(*bad) *rig.Node, change func(d *draft)) row {
		return row{name: name, counter: counter, via: away, make: func(b *bad) *draft {
			n := whose(b)
			m := mobility.Finished{Seq: n.Seq, Lifetime: 1000, HasAuth: true}
			d := b.fromCareOf(n, m.Append(nil, mobility.DefaultCodePoints())).sign(n)
			change(d)
			return d
		}}
	}
	return []row{
		finished("where there is no binding", "lke/finished_not_bound", victim, func(*draft) {}),
		finished("from another address", "lke/finished_care_of", roamer, func(d *draft) { d.Src = d.Src.Next() }),
		finished("confirmed already", "lke/finished_not_awaited", roamer, func(*draft) {}),
		finished("replayed", "lke/finished_not_awaited", roamer, func(d *draft) {}),
		finished("routing header to the router", "lke/finished_routing_header", roamer, func(d *draft) { d.RoutingHome = d.HomeAddress }),
		finished("wrong checksum", "lke/mh_bad_checksum", roamer, func(d *draft) { d.mh[4], d.forged = d.mh[4]^1, true }),
		finished("cut off", "lke/mh_truncated", roamer, func(d *draft) { d.mh = d.mh[:16] }),
		finished("payload after the header", "lke/mh_bad_payload_proto", roamer, func(d *draft) { d.mh[0] = protoUDP }),
		finished("header too short", "lke/mh_bad_header_len", roamer, func(d *draft) { d.mh, d.mh[1] = d.mh[:16], 1 }),
		finished("authenticator not at the end", "lke/finished_malformed", roamer, func(d *draft) {
			d.mh = append(d.mh, 1, 6, 0, 0, 0, 0, 0, 0)
			d.mh[1]++
		}),
	}
}

// strangeRows are mobility headers that no protocol of this router speaks.
func strangeRows() []row {
	plain := func(typ byte, octets int) func(b *bad) *draft {
		return func(b *bad) *draft {
			n := b.node()
			mh := make([]byte, octets)
			mh[0], mh[1], mh[2] = ipv6.ProtoNoNext, byte(octets/8-1), typ
			d := b.fromCareOf(n, mh)
			d.HomeAddress = netip.Addr{}
			return d
		}
	}
	return []row{
		{name: "Fast Binding Update", counter: "daemon/drop_mh_not_served", via: away, make: plain(mobility.TypeFBU, 16)},
		{name: "Fast Neighbor Advertisement", counter: "daemon/drop_mh_not_served", via: away, make: plain(mobility.TypeFNA, 16)},
		{name: "unknown type with a wrong checksum", counter: "daemon/drop_mh_bad_checksum", via: away, make: func(b *bad) *draft {
			d := plain(200, 16)(b)
			d.forged = true
			return d
		}},
		{name: "unknown type to a host behind the router", counter: "daemon/drop_not_for_us", via: away, make: func(b *bad) *draft {
			d := plain(200, 16)(b)
			d.Dst = careOfNet.Addr().Next()
			return d
		}},
	}
}
