package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// badFast is a router with something to lose: a node with a handover key that is at home, and one whose packets are forwarded.
type badFast struct {
	*secureWorld
	r              fastRouter
	victim, roamer *sendNode
	careOf         netip.Addr // the roamer's
	request        []byte     // the victim's last key request, to be replayed
	numbers        int
}

func newBadFast(t *testing.T, mode string) *badFast {
	b := &badFast{secureWorld: newSecureWorld(t, mode, keys[0]())}
	b.withFar("none")
	b.start()
	t.Cleanup(func() {
		if s, err := b.d.Status(); t.Failed() && err == nil {
			t.Logf("in the end there is\n%s%v", fastState(s), changes(control.Snapshot{}, s))
		}
	})
	b.r = b.fastRouter()
	b.victim, b.roamer = b.sendNode(keys[5](), true), b.sendNode(keys[6](), true)
	for _, n := range []*sendNode{b.roamer, b.victim} {
		n.pair = keys[7]()
		n.askKey(b.r, 0, n.pair, farPoint)
	}
	// The roamer moves to where it is not heard of any more.
	b.careOf = ipv6.WithEUI64(farNet.Addr(), b.roamer.Hardware)
	b.roamer.attach(nil)
	mark := b.away.mark()
	b.fromAway(b.roamer.update(b.r, b.careOf, b.careOf, 60).packet())
	b.roamer.fastAck(b.away, mark, b.careOf, b.careOf, b.r)
	mark = b.victim.mark()
	b.request = b.victim.seal(proxySolicit(b.victim.Home, b.victim.Hardware, b.r, nil, keyRequest(0, &b.victim.pair.PublicKey)))
	b.nodes.fromCell(b.victim, b.request, b.r)
	b.victim.proxyAdvert(mark, b.r, true)
	return b
}

// stranger is a node that the router has not heard of yet. All have one key: it is the address that counts.
func (b *badFast) stranger() *sendNode {
	b.numbers++
	n := newSendNode(b.t, 0x1000+b.numbers, keys[8](), lanPrefix, true)
	n.pair = keys[9]()
	return n
}

// badRow is one way to be bad. send gives the packets on the cell; the last is the bad one. Of a signed message that is not
// secured the counter of the link's mode is meant, "dropped_" or "unsecured_".
type badRow struct {
	name, counter string
	from          func(b *badFast) (station *station, src, dst ipv6.LinkAddr, packet []byte)
}

// run sends what is bad and looks at what must and must not have happened.
func (r *badRow) run(b *badFast, mode string) {
	t := b.t
	t.Helper()
	via, src, dst, packet := r.from(b)
	b.fence()
	before := b.snapshot()
	via.send(src, dst, packet)
	counter := r.counter
	if group, name, ok := strings.Cut(counter, "/?"); ok {
		if mode == "only" {
			counter = group + "/dropped_" + name
		} else {
			counter = group + "/unsecured_" + name
		}
	}
	after := b.moved(before, "it to be counted", map[string]int64{counter: 1})
	b.fence()
	moved := changes(before, after)
	if moved[counter] != 1 {
		t.Errorf("counters moved: %v", moved)
	}
	for _, must := range []string{"handoverkey/keys_made", "handoverkey/keys_given_again", "fmip/fast_bindings_made", "fmip/fast_bindings_ended", "engine/engine_encrypted", "fmip/key_replies_sent"} {
		if moved[must] != 0 {
			t.Errorf("%s moved: %v", must, moved)
		}
	}
	if was, is := fastState(before), fastState(after); was != is {
		t.Errorf("state was\n%s\nand is\n%s", was, is)
	}
}

// onSolicit is a row for a neighbour solicitation of a stranger with one thing changed, onRequest one for a key request.
func onSolicit(name, counter string, change func(b *badFast, f *forgery)) badRow {
	return badRow{name: name, counter: counter, from: func(b *badFast) (*station, ipv6.LinkAddr, ipv6.LinkAddr, []byte) {
		f := b.asSolicit(b.stranger())
		change(b, f)
		return b.nodes, f.from, f.to, f.packet()
	}}
}

func onRequest(name, counter string, change func(b *badFast, f *forgery)) badRow {
	return badRow{name: name, counter: counter, from: func(b *badFast) (*station, ipv6.LinkAddr, ipv6.LinkAddr, []byte) {
		f := b.asProxySolicit(b.stranger())
		change(b, f)
		return b.nodes, f.from, f.to, f.packet()
	}}
}

// signedRows break what SEND asks of a message (RFC 3971 section 5).
func signedRows() (rows []badRow) {
	for of, on := range map[string]func(string, string, func(*badFast, *forgery)) badRow{"solicitation: ": onSolicit, "key request: ": onRequest} {
		change := func(name, counter string, f func(b *badFast, f *forgery)) {
			rows = append(rows, on(of+name, "send lan/"+counter, f))
		}
		change("forged", "?bad_signature", func(_ *badFast, f *forgery) { f.wrong = true })
		change("foreign key that says so", "dropped_key_hash", func(b *badFast, f *forgery) {
			params := f.signer.params.In(lanPrefix)
			f.params, f.signer = &params, b.roamer.sender
		})
		change("foreign key that does not say so", "?bad_signature", func(b *badFast, f *forgery) {
			params := f.signer.params.In(lanPrefix)
			f.params, f.hash, f.signer = &params, f.signer.hash(), b.roamer.sender
		})
		change("address of another", "?bad_cga", func(b *badFast, f *forgery) {
			params := f.signer.params.In(lanPrefix)
			f.src, f.params = b.victim.Home, &params
		})
		change("address of another prefix", "?bad_cga", func(b *badFast, f *forgery) {
			params := f.signer.params.In(farNet)
			f.params = &params
		})
		change("no CGA option", "?no_cga", func(_ *badFast, f *forgery) { f.hide = []uint8{ndp.OptCGA} })
		change("cut CGA option", "?malformed_cga", func(_ *badFast, f *forgery) { f.short = []uint8{ndp.OptCGA} })
		change("no timestamp", "dropped_no_timestamp", func(_ *badFast, f *forgery) { f.hide = []uint8{ndp.OptTimestamp} })
		change("cut timestamp", "dropped_malformed_option", func(_ *badFast, f *forgery) { f.short = []uint8{ndp.OptTimestamp} })
		change("no nonce", "dropped_no_nonce", func(_ *badFast, f *forgery) { f.hide = []uint8{ndp.OptNonce} })
		change("no signature", "?no_signature", func(_ *badFast, f *forgery) { f.hide = []uint8{ndp.OptSignature} })
		change("signature too short", "?signature_length", func(_ *badFast, f *forgery) { f.cut = 8 })
		change("key too small", "?key_too_small", func(_ *badFast, f *forgery) { f.claim(64) })
		change("key too large", "?key_too_large", func(_ *badFast, f *forgery) { f.claim(384) })
		change("hop limit 254", "nd_bad_hop_limit", func(_ *badFast, f *forgery) { f.hopLimit = 254 })
		change("wrong checksum", "nd_bad_checksum", func(_ *badFast, f *forgery) { f.forged = true })
	}
	for i := range rows {
		if r := &rows[i]; strings.HasPrefix(r.name, "key request: ") {
			switch r.counter {
			case "send lan/nd_bad_hop_limit":
				r.counter = "fmip/solicit_source" // the cheapest test comes first (HK-AR-20)
			}
		}
	}
	expired := func(name string, by time.Duration) badRow {
		return onRequest(name, "send lan/dropped_timestamp", func(_ *badFast, f *forgery) { f.at = f.at.Add(by) })
	}
	return append(rows,
		expired("key request: expired", -time.Hour), expired("key request: of the future", time.Hour),
		// An unknown neighbour whose clock is wrong may be answered, but makes no state (section 5.3.4.2).
		onSolicit("solicitation: expired", "send lan/secured_stale", func(_ *badFast, f *forgery) { f.at = f.at.Add(-time.Hour) }),
		badRow{name: "key request: replayed", counter: "fmip/key_request_repeated", from: func(b *badFast) (*station, ipv6.LinkAddr, ipv6.LinkAddr, []byte) {
			return b.nodes, b.victim.Hardware, b.access.Hardware, b.request
		}},
		badRow{name: "key request: replayed, and another came after it", counter: "send lan/dropped_replayed", from: func(b *badFast) (*station, ipv6.LinkAddr, ipv6.LinkAddr, []byte) {
			f := b.asProxySolicit(b.victim)
			f.at = f.at.Add(-20 * time.Second)
			return b.nodes, f.from, f.to, f.packet()
		}},
		badRow{name: "advertisement: nonce of someone else", counter: "send lan/dropped_nonce", from: func(b *badFast) (*station, ipv6.LinkAddr, ipv6.LinkAddr, []byte) {
			n := b.stranger()
			msg := ndp.AppendNeighborAdvert(nil, n.Home, b.local, ndp.FlagSolicited|ndp.FlagOverride, n.Home, ndp.TargetLinkOption(n.Hardware))
			f := b.asMessage(n, n.Home, b.local, msg)
			return b.nodes, f.from, f.to, f.packet()
		}},
		badRow{name: "advertisement: for another's address", counter: "send lan/?proxy", from: func(b *badFast) (*station, ipv6.LinkAddr, ipv6.LinkAddr, []byte) {
			n := b.stranger()
			msg := ndp.AppendNeighborAdvert(nil, n.Home, ipv6.AllNodes(), ndp.FlagOverride, b.victim.Home, ndp.TargetLinkOption(n.Hardware))
			f := b.asMessage(n, n.Home, ipv6.AllNodes(), msg)
			f.to = allNodesLink()
			return b.nodes, f.from, f.to, f.packet()
		}},
		badRow{name: "solicitation: its own nonce comes back", counter: "send lan/dropped_looped_back", from: func(b *badFast) (*station, ipv6.LinkAddr, ipv6.LinkAddr, []byte) {
			// The kernel wants a neighbour that is not there: the router asks for it.
			mark := b.nodes.mark()
			b.peer().sendTo(b.stranger().Home, "nobody")
			h := b.nodes.hear(mark, "a solicitation of the router", icmpType(ndp.TypeNeighborSolicit))
			m, _ := ndp.ParseNeighborSolicit(&h.Packet)
			f := b.asSolicit(b.stranger())
			f.nonce = m.Nonce
			return b.nodes, f.from, f.to, f.packet()
		}},
		badRow{name: "path solicitation: no anchor", counter: "path lan/cps_no_anchor", from: func(b *badFast) (*station, ipv6.LinkAddr, ipv6.LinkAddr, []byte) {
			msg := ndp.PathSolicit{Identifier: 9, Component: ndp.AllComponents}.Append(nil, b.victim.Local, b.local)
			return b.nodes, b.victim.Hardware, b.access.Hardware, icmp(b.victim.Local, b.local, msg)
		}},
		badRow{name: "path solicitation: no such certificate", counter: "path lan/cps_no_such_component", from: func(b *badFast) (*station, ipv6.LinkAddr, ipv6.LinkAddr, []byte) {
			msg := ndp.PathSolicit{Identifier: 9, Component: 77}.Append(nil, b.victim.Local, b.local, b.anchor.Option())
			return b.nodes, b.victim.Hardware, b.access.Hardware, icmp(b.victim.Local, b.local, msg)
		}},
	)
}

// claim puts a key of that many octets into the CGA option, and makes the address of it.
func (f *forgery) claim(octets int) {
	modulus := slices.Repeat([]byte{0xc5}, octets)
	der := func(tag byte, body ...byte) []byte {
		switch n := len(body); {
		case n < 128:
			return append([]byte{tag, byte(n)}, body...)
		case n < 256:
			return append([]byte{tag, 0x81, byte(n)}, body...)
		default:
			return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, body...)
		}
	}
	key := der(0x30, append(der(2, append([]byte{0}, modulus...)...), 2, 3, 1, 0, 1)...)
	algorithm := []byte{0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0}
	spki := der(0x30, append(algorithm, der(3, append([]byte{0}, key...)...)...)...)
	params := cga.Params{PublicKey: spki}.In(lanPrefix)
	params.Modifier[0] = byte(octets)
	f.src, f.params, f.hash = params.Address(0), &params, cga.KeyHash(spki)
}

// onUpdate is a row for a Fast Binding Update of the victim's from its link, with one thing changed.
func onUpdate(name, counter string, change func(b *badFast, u *fastUpdate)) badRow {
	return badRow{name: name, counter: counter, from: func(b *badFast) (*station, ipv6.LinkAddr, ipv6.LinkAddr, []byte) {
		u := b.victim.update(b.r, b.victim.Home, b.victim.in(farNet), 30)
		b.victim.seq--
		change(b, u)
		return b.nodes, b.victim.Hardware, b.access.Hardware, u.packet()
	}}
}

// onReactive is one for an update of the roamer from the uplink.
func onReactive(name, counter string, change func(b *badFast, u *fastUpdate)) badRow {
	return badRow{name: name, counter: counter, from: func(b *badFast) (*station, ipv6.LinkAddr, ipv6.LinkAddr, []byte) {
		u := b.roamer.update(b.r, b.careOf, b.careOf, 30)
		b.roamer.seq--
		change(b, u)
		return b.away, b.away.wire.Hardware, b.wanHW, u.packet()
	}}
}

// fastUpdateRows break a Fast Binding Update. None of them has a right authenticator under a key that the router gave, but for
// those that say so.
func fastUpdateRows() []badRow {
	other := netip.MustParseAddr("2001:db8:1::77")
	var rows []badRow
	for of, on := range map[string]func(string, string, func(*badFast, *fastUpdate)) badRow{"predictive: ": onUpdate, "reactive: ": onReactive} {
		change := func(name, counter string, f func(b *badFast, u *fastUpdate)) {
			rows = append(rows, on(of+name, "fmip/"+counter, f))
		}
		change("wrong key", "update_bad_mac", func(_ *badFast, u *fastUpdate) { u.key = randomKey() })
		change("key of another node", "update_bad_mac", func(b *badFast, u *fastUpdate) {
			if u.key = b.victim.handover; u.home == b.victim.Home {
				u.key = b.roamer.handover
			}
		})
		change("authenticator for another address", "update_bad_mac", func(_ *badFast, u *fastUpdate) { u.signedFor = farRouter.Next() })
		change("authenticator of another algorithm", "update_bad_mac", func(_ *badFast, u *fastUpdate) { u.Auth.MAC = mobility.HMACSHA256 })
		change("changed on its way", "update_bad_mac", func(_ *badFast, u *fastUpdate) {
			u.bend = func(mh []byte) []byte { mh[11] ^= 1; return mh }
		})
		change("no authenticator", "update_no_authenticator", func(_ *badFast, u *fastUpdate) { u.Auth.Present = false })
		change("authenticator with the key of routers", "update_no_authenticator", func(_ *badFast, u *fastUpdate) { u.Auth.SPI = mobility.SPIPairKey })
		change("authenticator not last", "update_no_authenticator", func(_ *badFast, u *fastUpdate) {
			u.bend = func(mh []byte) []byte {
				mh[1]++
				return append(mh, mobility.OptPadN, 6, 0, 0, 0, 0, 0, 0)
			}
		})
		change("flags without A", "update_flags", func(_ *badFast, u *fastUpdate) { u.Flags = mobility.FlagHome })
		change("flags without H", "update_flags", func(_ *badFast, u *fastUpdate) { u.Flags = mobility.FlagAck })
		change("flags of Proxy Mobile IPv6", "update_flags", func(_ *badFast, u *fastUpdate) { u.Flags |= mobility.FlagProxy })
		change("option past the end", "update_malformed", func(_ *badFast, u *fastUpdate) { u.bend = func(mh []byte) []byte { mh[13] = 200; return mh } })
		change("of four octets", "mh_truncated", func(_ *badFast, u *fastUpdate) { u.bend = func(mh []byte) []byte { return mh[:8] } })
		change("wrong checksum", "mh_bad_checksum", func(_ *badFast, u *fastUpdate) { u.forged = true })
		change("home address without a key", "update_no_key", func(_ *badFast, u *fastUpdate) {
			if u.src == u.home {
				u.src = other
			}
			u.home = other
		})
		change("home address of another network", "update_not_in_prefix", func(_ *badFast, u *fastUpdate) {
			home := netip.MustParseAddr("2001:db8:77::1")
			if u.src == u.home {
				u.src = home
			}
			u.home = home
		})
		change("home address of the router", "update_not_in_prefix", func(b *badFast, u *fastUpdate) { u.home = b.global })
		change("no home address", "update_no_home_address", func(_ *badFast, u *fastUpdate) { u.noHome = true })
	}
	return append(rows,
		onUpdate("predictive: from another station", "fmip/update_neighbour_mismatch", func(b *badFast, u *fastUpdate) {}).by(proberHW),
		onUpdate("predictive: no new care-of address", "fmip/update_alternate_care_of", func(_ *badFast, u *fastUpdate) { u.AlternateCareOf = netip.Addr{} }),
		onReactive("reactive: from the old link's prefix", "fmip/update_source", func(_ *badFast, u *fastUpdate) { u.src, u.AlternateCareOf = other, netip.Addr{} }),
		onReactive("reactive: from elsewhere than it says", "fmip/update_alternate_care_of", func(_ *badFast, u *fastUpdate) { u.src = u.src.Next() }),
		onReactive("predictive update by the uplink", "fmip/update_other_link", func(_ *badFast, u *fastUpdate) { u.src = u.home }),
		// HK-AR-15: right in all but its number.
		onReactive("reactive: old sequence number", "fmip/update_sequence", func(_ *badFast, u *fastUpdate) { u.Seq -= 2 }),
		onReactive("reactive: sequence number of the past", "fmip/update_sequence", func(_ *badFast, u *fastUpdate) { u.Seq -= 1000 }),
	)
}

// by has the row's packet come from another station.
func (r badRow) by(hw ipv6.LinkAddr) badRow {
	from := r.from
	r.from = func(b *badFast) (*station, ipv6.LinkAddr, ipv6.LinkAddr, []byte) {
		at, _, to, packet := from(b)
		return at, hw, to, packet
	}
	return r
}

// TestBadSEND sends what is wrong, one thing at a time, to a router that has given keys and forwards: in mixed mode, where who
// does not sign is heard, and in secured-only.
func TestBadSEND(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"mixed", "only"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := newBadFast(t, mode)
			t.Run("nothing wrong", func(t *testing.T) {
				b.as(t)
				// Each row differs in one thing from what is right: these are taken.
				before := b.snapshot()
				f := b.asSolicit(b.stranger())
				b.nodes.send(f.from, f.to, f.packet())
				n := b.stranger()
				f = b.asProxySolicit(n)
				b.nodes.send(f.from, f.to, f.packet())
				b.moved(before, "both to be taken", map[string]int64{"send lan/secured": 2, "neighbor lan/solicitations_answered": 1, "handoverkey/keys_made": 1})
				mark := b.away.mark()
				b.fromAway(b.roamer.update(b.r, b.careOf, b.careOf, 60).packet())
				b.roamer.fastAck(b.away, mark, b.careOf, b.careOf, b.r)
			})
			for _, r := range slices.Concat(signedRows(), fastUpdateRows()) {
				t.Run(r.name, func(t *testing.T) {
					b.as(t)
					r.run(b, mode)
				})
			}
			for name, careOf := range map[string]netip.Addr{"update_no_neighbor": netip.MustParseAddr("2001:db8:77::1"), "update_care_of": b.victim.Home.Next()} {
				t.Run(name, func(t *testing.T) {
					b.as(t)
					// HK-AR-16, RFC 5568 section 6.2.3: authentic, but nobody is there to forward to. The node is told.
					before, mark := b.snapshot(), b.nodes.mark()
					b.nodes.fromCell(b.victim, b.victim.update(b.r, b.victim.Home, careOf, 30).packet(), b.r)
					if ack := b.victim.fastAck(b.nodes, mark, b.victim.Home, careOf, b.r); ack.Status != mobility.StatusUnspecified {
						t.Errorf("acknowledgement %+v", ack)
					}
					after := b.moved(before, "it to be counted", map[string]int64{"fmip/" + name: 1, "fmip/fast_acks_refusing": 1})
					if fastState(before) != fastState(after) {
						t.Errorf("state was\n%s\nand is\n%s", fastState(before), fastState(after))
					}
				})
			}
			// After all that both nodes have what they had.
			b.t = t
			mark := b.nodes.mark()
			p := b.peer()
			p.sendTo(b.victim.Home, "still here")
			if h := b.nodes.hear(mark, "the victim's datagram", datagramTo(b.victim.Home, "still here")); h.to != b.victim.Hardware {
				t.Errorf("the victim's datagram went to %v", h.to)
			}
			mark = b.away.mark()
			p.sendTo(b.roamer.Home, "still there")
			b.away.hear(mark, "the roamer's datagram", both(inTunnel(datagramTo(b.roamer.Home, "still there")), func(h *heard) bool { return h.Dst == b.careOf }))
			auditWire(t, b.nodes, b.access.Hardware, &b.sender, lanPrefix)
		})
	}
}
