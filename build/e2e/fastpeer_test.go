package e2e

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// handoverMessage matches a message of a type between two routers.
func handoverMessage(typ uint8, from, to netip.Addr) func(*heard) bool {
	return both(mobilityType(typ), func(h *heard) bool { return h.Src == from && h.Dst == to })
}

// asHI is a Handover Initiate of the PAR to the NAR that lacks nothing.
func (f *fastWorld) asHI(change func(*mobility.HandoverInitiate)) []byte {
	f.numbers++
	hw := ipv6.LinkAddr{2, 0xbb, 0, 0, 0, byte(f.numbers)}
	m := mobility.HandoverInitiate{
		Seq: uint16(9000 + f.numbers), Buffer: true, LinkAddr: hw, PreviousCareOf: ipv6.WithEUI64(lanPrefix.Addr(), hw), NewCareOf: ipv6.WithEUI64(narPrefix.Addr(), hw),
		Number: uint64(time.Now().UnixNano()) / 1e9 << 16, HasNumber: true,
		Auth: mobility.FastAuth{Present: true, SPI: mobility.SPIPairKey, MAC: mobility.HMACSHA256},
	}
	m.Number += uint64(f.numbers)
	if change != nil {
		change(&m)
	}
	return m.Append(nil)
}

// signHI puts the authenticator under the routers' key in, if there is a place for it, and makes a packet.
func signHI(mh, key []byte, h ipv6.Header) []byte {
	h.HopLimit = 64
	_ = mobility.SignHandover(mh, key, h.Src, h.Dst)
	from := h.Src
	if h.HomeAddress.IsValid() {
		from = h.HomeAddress
	}
	mobility.FixChecksum(mh, from, h.Dst)
	return ipv6.Append(nil, h, ipv6.ProtoMobility, mh)
}

// TestHandoverBetweenRouters is about what two routers say to each other: who is not the neighbour, or says again what was said,
// changes nothing. Their links are secured-only.
func TestHandoverBetweenRouters(t *testing.T) {
	t.Parallel()
	f := newFastWorld(t, "only")
	par, nar := f.par, f.nar
	r := par.fastRouter()
	settings := map[*secureWorld]string{par: par.options.Settings, nar: nar.options.Settings}

	move := func(v *traveller) {
		t.Helper()
		s := v.stream()
		s.flows(false)
		mark := par.nodes.mark()
		v.predictive(30)
		if ack := v.fastAck(par.nodes, mark, v.Home, v.next, r); ack.Status != 0 {
			f.t.Errorf("acknowledgement %+v", ack)
		}
		v.leave()
		time.Sleep(10 * time.Millisecond)
		v.arrive()
		s.flows(true)
		if lost, reordered, _ := s.end(); lost != 0 || reordered != 0 {
			f.t.Errorf("%d datagrams of %d were lost, %d came out of order", lost, s.sent, reordered)
		}
	}
	var hi heard // of the move
	t.Run("secured-only", func(t *testing.T) {
		f.as(t)
		v := f.traveller(keys[4](), keys[5]())
		mark := par.away.mark()
		move(v)
		hi = par.away.hear(mark, "the Handover Initiate", handoverMessage(mobility.TypeHI, par.global, nar.global))
	})
	t.Run("unsigned announcement", func(t *testing.T) {
		f.as(t)
		// On a link that is secured-only nobody else gets what is kept for the node.
		v := f.traveller(keys[6](), keys[5]())
		s := v.stream()
		s.flows(false)
		mark := par.nodes.mark()
		v.predictive(30)
		v.fastAck(par.nodes, mark, v.Home, v.next, r)
		v.leave()
		before := nar.snapshot()
		nar.nodes.send(proberHW, allNodesLink(), unsignedAnnouncement(v.next, proberHW))
		after := nar.moved(before, "the thief", map[string]int64{"send lan/dropped_no_signature": 1})
		if got := changes(before, after)["fmip/announcements_taken"]; got != 0 || heldFor(after, v.next) == nil {
			t.Errorf("the thief's announcement was taken, and %+v is kept", after.Fast.Held)
		}
		v.arrive()
		s.flows(true)
		if lost, reordered, _ := s.end(); lost != 0 || reordered != 0 {
			t.Errorf("%d datagrams of %d were lost, %d came out of order", lost, s.sent, reordered)
		}
	})

	pair, err := readPairKey(par)
	check(t, err)
	to := ipv6.Header{Src: par.global, Dst: nar.global}
	wrong := bytes.Repeat([]byte{0x5a}, 32)
	for _, row := range []struct {
		name, counter string
		packet        func() []byte
		status        int // of the HAck; -1: none
	}{
		{"replayed", "initiate_number", func() []byte { return hi.Raw }, mobility.HandoverRefused},
		{"of a stranger", "peer_stranger", func() []byte { return signHI(f.asHI(nil), pair, ipv6.Header{Src: correspondent, Dst: nar.global}) }, -1},
		{"under another key", "peer_bad_mac", func() []byte { return signHI(f.asHI(nil), wrong, to) }, -1},
		{"signed for other addresses", "peer_bad_mac", func() []byte {
			mh := f.asHI(nil)
			_ = mobility.SignHandover(mh, pair, nar.global, par.global)
			mobility.FixChecksum(mh, par.global, nar.global)
			return ipv6.Append(nil, ipv6.Header{Src: par.global, Dst: nar.global, HopLimit: 64}, ipv6.ProtoMobility, mh)
		}, -1},
		{"not signed", "peer_no_authenticator", func() []byte {
			return signHI(f.asHI(func(m *mobility.HandoverInitiate) { m.Auth.Present = false }), pair, to)
		}, -1},
		{"without number", "peer_no_authenticator", func() []byte {
			return signHI(f.asHI(func(m *mobility.HandoverInitiate) { m.HasNumber = false }), pair, to)
		}, -1},
		{"with a home address", "peer_extension_header", func() []byte {
			return signHI(f.asHI(nil), pair, ipv6.Header{Src: par.global, Dst: nar.global, HomeAddress: ipv6.WithEUI64(lanPrefix.Addr(), proberHW)})
		}, -1},
		{"option past the end", "peer_malformed", func() []byte {
			mh := f.asHI(nil)
			mh[11] = 200
			return signHI(mh, pair, to)
		}, -1},
		{"of an old number", "initiate_number", func() []byte {
			return signHI(f.asHI(func(m *mobility.HandoverInitiate) { m.Number -= 600 << 16 }), pair, to)
		}, mobility.HandoverRefused},
		{"for an address of another network", "initiate_not_in_prefix", func() []byte {
			return signHI(f.asHI(func(m *mobility.HandoverInitiate) { m.NewCareOf = netip.MustParseAddr("2001:db8:77::1") }), pair, to)
		}, mobility.HandoverRefused},
		{"with an unknown code", "initiate_code", func() []byte {
			return signHI(f.asHI(func(m *mobility.HandoverInitiate) { m.Code = 7 }), pair, to)
		}, mobility.HandoverRefused},
		{"for a group's link-layer address", "initiate_link_address", func() []byte {
			return signHI(f.asHI(func(m *mobility.HandoverInitiate) { m.LinkAddr = allNodesLink() }), pair, to)
		}, mobility.HandoverRefused},
	} {
		t.Run(row.name, func(t *testing.T) {
			f.as(t)
			nar.await("nothing to be kept", func(s control.Snapshot) bool { return len(s.Fast.Held) == 0 })
			before, mark := nar.snapshot(), nar.away.mark()
			nar.fromAway(row.packet())
			after := nar.moved(before, "it to be counted", map[string]int64{"fmip/" + row.counter: 1})
			moved := changes(before, after)
			if moved["fmip/"+row.counter] != 1 || moved["fmip/arrivals_prepared"] != 0 || fastState(before) != fastState(after) {
				t.Errorf("counters moved: %v; state was\n%s\nand is\n%s", moved, fastState(before), fastState(after))
			}
			if row.status >= 0 {
				h := nar.away.hear(mark, "a refusal", handoverMessage(mobility.TypeHAck, nar.global, par.global))
				header, err := mobility.ParseHeader(h.Payload)
				check(t, err)
				m, err := mobility.ParseHandoverAck(header)
				if err != nil || int(m.Code) != row.status || !mobility.VerifyHandover(h.Payload, pair, h.Src, h.Dst) {
					t.Errorf("answer %+v, %v", m, err)
				}
			} else if got := nar.away.since(mark, mobilityType(mobility.TypeHAck)); len(got) > 0 {
				t.Errorf("it was answered: %x", got[0].Payload)
			}
		})
	}
	t.Run("acknowledgement that nobody waits for", func(t *testing.T) {
		f.as(t)
		before := par.await("nothing to be kept", func(s control.Snapshot) bool { return len(s.Fast.Held) == 0 })
		mh := mobility.HandoverAck{
			Seq: 4711, Number: uint64(time.Now().Unix()) << 16, HasNumber: true, Auth: mobility.FastAuth{Present: true, SPI: mobility.SPIPairKey, MAC: mobility.HMACSHA256},
		}.Append(nil)
		par.fromAway(signHI(mh, pair, ipv6.Header{Src: nar.global, Dst: par.global}))
		after := par.moved(before, "it to be counted", map[string]int64{"fmip/handover_ack_not_awaited": 1})
		if fastState(before) != fastState(after) {
			t.Errorf("state was\n%s\nand is\n%s", fastState(before), fastState(after))
		}
	})

	t.Run("keys that differ", func(t *testing.T) {
		f.as(t)
		nar.writePairKey(wrong)
		nar.reload(settings[nar])
		nar.awaitLog("reloaded")
		v := f.traveller(keys[7](), keys[5]())
		s := v.stream()
		s.flows(false)
		before, beforeNAR, mark := par.snapshot(), nar.snapshot(), par.nodes.mark()
		v.predictive(30)
		// RFC 5568 section 6.2.3: the node is told, and stays where it is; nothing of its packets goes elsewhere.
		if ack := v.fastAck(par.nodes, mark, v.Home, v.next, r); ack.Status != mobility.StatusUnspecified {
			t.Errorf("acknowledgement %+v", ack)
		}
		after := par.moved(before, "the refusal", map[string]int64{"fmip/initiate_unanswered": 1, "fmip/initiates_sent_again": 1, "fmip/fast_acks_refusing": 1})
		nar.moved(beforeNAR, "the wrong key", map[string]int64{"fmip/peer_bad_mac": 2})
		if bindingOf(after, v.Home) != nil {
			t.Errorf("it is forwarded: %+v", after.Fast.Bindings)
		}
		s.flows(false)
		if lost, reordered, _ := s.end(); lost != 0 || reordered != 0 {
			t.Errorf("%d datagrams of %d were lost", lost, s.sent)
		}
		nar.writePairKey(pair)
		nar.reload(settings[nar])
		if _, code := nar.status(); code != 0 {
			t.Errorf("with protection the status says %d: %+v", code, nar.snapshot().Findings)
		}
	})
	t.Run("without protection", func(t *testing.T) {
		f.as(t)
		for _, w := range []*secureWorld{par, nar} {
			w.reload(replace(settings[w], "protection 'key'", "protection 'none'"))
			s := w.await("the warning", func(s control.Snapshot) bool {
				return len(s.Fast.Neighbors) == 1 && s.Fast.Neighbors[0].Protection == "none"
			})
			if !strings.Contains(s.Fast.Neighbors[0].Problem, "nothing protects") {
				t.Errorf("status tells of %+v", s.Fast.Neighbors)
			}
		}
		v := f.traveller(keys[8](), keys[5]())
		mark := par.away.mark()
		move(v)
		plain := par.away.hear(mark, "the Handover Initiate", handoverMessage(mobility.TypeHI, par.global, nar.global))
		header, err := mobility.ParseHeader(plain.Payload)
		check(t, err)
		if m, err := mobility.ParseHandoverInitiate(header); err != nil || m.Auth.Present {
			t.Errorf("without protection there is %+v, %v", m, err)
		}
	})
	auditWire(t, par.nodes, par.access.Hardware, &par.sender, lanPrefix)
	auditWire(t, nar.nodes, nar.access.Hardware, &nar.sender, narPrefix)
}
