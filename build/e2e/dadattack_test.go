package e2e

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// TestAttackedDAD answers the router's duplicate address detection in each wrong way: the association is void at once, and
// nobody else loses anything.
func TestAttackedDAD(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const period = 2 * time.Second
	w.options.Settings = replace(settings, "retrans_timer '0.4'", "retrans_timer '2'")
	w.start()
	victim := w.node()
	w.associate(victim)
	w.nodes.detach(victim)
	router := ndp.DefaultCodePoints()

	// answer is the right one of n, changed before it is signed.
	answer := func(n *rig.Node, auth ndp.DADAuth, key []byte) []byte {
		option := auth.Append(nil, router.AuthReply)
		msg := ndp.AppendNeighborAdvert(nil, n.Home, ipv6.AllNodes(), ndp.FlagOverride, n.Home, ndp.TargetLinkOption(n.Hardware), option)
		check(t, ndp.SignDADAuth(msg, key, n.Home, ipv6.AllNodes(), len(msg)-len(option)))
		return icmp(n.Home, ipv6.AllNodes(), msg)
	}
	attacks := []struct {
		name, counter string
		make          func(n *rig.Node, nonce uint32) (from ipv6.LinkAddr, packet []byte)
	}{
		{"LKE-AR-13: no reply option", "lke/dad_advert_without_reply", func(n *rig.Node, _ uint32) (ipv6.LinkAddr, []byte) {
			msg := ndp.AppendNeighborAdvert(nil, n.Home, ipv6.AllNodes(), ndp.FlagOverride, n.Home, ndp.TargetLinkOption(n.Hardware))
			return n.Hardware, icmp(n.Home, ipv6.AllNodes(), msg)
		}},
		{"LKE-AR-13: another station has the address", "lke/dad_advert_without_reply", func(n *rig.Node, _ uint32) (ipv6.LinkAddr, []byte) {
			msg := ndp.AppendNeighborAdvert(nil, n.Home, ipv6.AllNodes(), ndp.FlagOverride, n.Home, ndp.TargetLinkOption(proberHW))
			return proberHW, icmp(n.Home, ipv6.AllNodes(), msg)
		}},
		{"LKE-AR-14: another nonce", "lke/dad_reply_nonce", func(n *rig.Node, nonce uint32) (ipv6.LinkAddr, []byte) {
			return n.Hardware, answer(n, ndp.DADAuth{Nonce: nonce + 1, Router: routerAddr}, n.Key[:])
		}},
		{"LKE-AR-14: another router", "lke/dad_reply_router", func(n *rig.Node, nonce uint32) (ipv6.LinkAddr, []byte) {
			return n.Hardware, answer(n, ndp.DADAuth{Nonce: nonce, Router: wanAddr}, n.Key[:])
		}},
		{"LKE-AR-14: another key", "lke/dad_reply_mac", func(n *rig.Node, nonce uint32) (ipv6.LinkAddr, []byte) {
			return n.Hardware, answer(n, ndp.DADAuth{Nonce: nonce, Router: routerAddr}, victim.Key[:])
		}},
		{"LKE-resolution-s: another link source", "lke/dad_other_link_source", func(n *rig.Node, nonce uint32) (ipv6.LinkAddr, []byte) {
			return proberHW, n.Defend(nonce)
		}},
		{"to the router alone", "lke/dad_reply_destination", func(n *rig.Node, nonce uint32) (ipv6.LinkAddr, []byte) {
			packet := n.Defend(nonce)
			dst := w.access.Local.As16()
			copy(packet[24:], dst[:])
			ndp.FixChecksum(packet[ipv6.HeaderLen:], n.Home, w.access.Local)
			return n.Hardware, packet
		}},
		{"a reply cut short", "lke/dad_reply_malformed", func(n *rig.Node, _ uint32) (ipv6.LinkAddr, []byte) {
			msg := ndp.AppendNeighborAdvert(nil, n.Home, ipv6.AllNodes(), ndp.FlagOverride, n.Home, []byte{router.AuthReply, 1, 0, 0, 0, 0, 0, 0})
			return n.Hardware, icmp(n.Home, ipv6.AllNodes(), msg)
		}},
		{"another station wants the address", "lke/dad_competing_solicit", func(n *rig.Node, _ uint32) (ipv6.LinkAddr, []byte) {
			return proberHW, competing(n)
		}},
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			w.t, w.nodes.t = t, t
			n := w.node()
			before, _ := w.status()
			mark := w.nodes.mark()
			w.request(n)
			h := w.nodes.hear(mark, "the solicitation", both(icmpType(ndp.TypeNeighborSolicit), func(h *heard) bool { return h.Src.IsUnspecified() }))
			m, _ := ndp.ParseNeighborSolicit(&h.Packet)
			nonce, ok := rig.Nonce(m)
			if !ok || m.Target != n.Home {
				t.Fatalf("solicitation for %v", m.Target)
			}
			from, packet := a.make(n, nonce)
			sent := time.Now()
			w.nodes.send(from, ipv6.MulticastLinkAddr(ipv6.AllNodes()), packet)
			// What comes too late changes nothing any more: the right answer.
			w.nodes.send(n.Hardware, ipv6.MulticastLinkAddr(ipv6.AllNodes()), n.Defend(nonce))
			w.await("the association to be void", func(s control.Snapshot) bool { return stateOf(s, n) == "" })
			if took := time.Since(sent); took > period*3/4 {
				t.Errorf("it lasted %v, not only until the answer", took)
			}
			w.fence()
			s, _ := w.status()
			moved := changes(before, s)
			want := map[string]int64{
				a.counter: 1, "lke/requests_taken": 1, "lke/keys_received": 1, "lke/key_acks_sent": 1, "lke/dad_started": 1,
				"engine/engine_submitted": 1, "engine/engine_decrypted": 1,
			}
			// The late answer is about no association; how that is named is not the point.
			delete(moved, "lke/nd_other_target")
			delete(moved, "lke/nd_advert_not_awaited")
			if !maps.Equal(moved, want) {
				t.Errorf("counters moved: %v, want %v", moved, want)
			}
			if stateOf(s, victim) != "valid" || s.LBSAs.Total != 1 {
				t.Errorf("associations %+v", s.LBSAs.List)
			}
		})
	}
	w.t, w.nodes.t = t, t
}

// competing is another station's duplicate address detection for a node's address.
func competing(n *rig.Node) []byte {
	dst := ipv6.SolicitedNode(n.Home)
	src := netip.IPv6Unspecified()
	return icmp(src, dst, ndp.AppendNeighborSolicit(nil, src, dst, n.Home))
}

// TestUndecryptableKey is a request whose key cannot be decrypted: to a stranger it looks like any other (LKE-AR-6).
func TestUndecryptableKey(t *testing.T) {
	t.Parallel()
	b := &bad{world: newWorld(t)}
	b.start()
	n := b.node()
	b.nodes.attach(n) // it answers, under the key that it did not get across
	before, _ := b.status()
	mark := b.nodes.mark()
	d := b.asRequest(n)
	b.nodes.send(d.from, d.to, d.octets())
	b.nodes.hear(mark, "an acknowledgement all the same", mobilityType(mobility.DefaultCodePoints().KeyExchangeAck))
	b.nodes.hear(mark, "a solicitation all the same", icmpType(ndp.TypeNeighborSolicit))
	s := b.await("the association to be void", func(s control.Snapshot) bool { return changes(before, s)["lke/dad_reply_mac"] == 1 })
	want := map[string]int64{
		"lke/dad_reply_mac": 1, "lke/requests_taken": 1, "lke/keys_received": 1, "lke/key_acks_sent": 1, "lke/dad_started": 1,
		"engine/engine_submitted": 1, "engine/engine_decrypted": 1,
	}
	if moved := changes(before, s); !maps.Equal(moved, want) {
		t.Errorf("LKE-AR-6: counters moved: %v, want %v", moved, want)
	}
}

// TestRequestRate is LKE-AR-11: what comes too soon costs no RSA operation, for each pair of addresses and for each station.
func TestRequestRate(t *testing.T) {
	t.Parallel()
	b := &bad{world: newWorld(t)}
	b.options.Settings = replace(settings, "request_interval '1'", "request_interval '60'\n\toption request_backoff_max '60'")
	b.start()
	before, _ := b.status()
	send := func(d *draft) { b.nodes.send(d.from, d.to, d.octets()) }
	n := b.node()
	for range 5 {
		send(b.asRequest(n))
	}
	b.await("one request taken, four refused", func(s control.Snapshot) bool {
		moved := changes(before, s)
		return moved["lke/requests_taken"] == 1 && moved["lke/request_rate"] == 4 && moved["engine/engine_submitted"] == 1
	})
	// The same station as others: three more, and no fifth.
	for i := range 6 {
		other := b.node()
		other.Hardware, other.Seq = n.Hardware, n.Seq+uint16(i)
		send(b.asRequest(other))
	}
	s := b.await("four requests taken of one station", func(s control.Snapshot) bool {
		return changes(before, s)["lke/request_rate_link_source"] == 3
	})
	if moved := changes(before, s); moved["lke/requests_taken"] != 4 || moved["engine/engine_submitted"] != 4 {
		t.Errorf("LKE-AR-11: counters moved: %v", moved)
	}
}

// TestUnconfirmedBinding has a binding whose node never confirms it, and wrong confirmations in its place: it ends
// (LKE-resolution-u, LKE-AR-25).
func TestUnconfirmedBinding(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.options.Settings = settings + "\toption finished_timeout '1'\n"
	w.start()
	n := w.node()
	w.associate(n)
	w.nodes.detach(n)
	mark := w.away.mark()
	w.fromAway(n.Update(100))
	_, ack := w.acknowledgement(mark, n)
	before, _ := w.status()
	for _, wrong := range []func(ack *mobility.BindingAck, m *rig.Node){
		func(ack *mobility.BindingAck, _ *rig.Node) { ack.FinishedNonce++ },
		func(ack *mobility.BindingAck, _ *rig.Node) { ack.Seq++ },
		func(ack *mobility.BindingAck, _ *rig.Node) { ack.Lifetime++ },
		func(_ *mobility.BindingAck, m *rig.Node) { m.Key[0] ^= 1 },
	} {
		forged, a := *n, ack
		wrong(&a, &forged)
		w.fromAway(forged.Finished(a))
	}
	s := w.await("the binding to end", func(s control.Snapshot) bool { return stateOf(s, n) == "valid" })
	moved := changes(before, s)
	for _, name := range []string{"finished_nonce", "finished_sequence", "finished_lifetime", "finished_bad_mac", "bindings_unreachable"} {
		if moved["lke/"+name] != 1 {
			t.Errorf("%s: %d, want 1", name, moved["lke/"+name])
		}
	}
	if s.Handovers[0].Ended != "unreachable" {
		t.Errorf("handover %+v", s.Handovers[0])
	}
	if routes := w.installed(); len(routes) > 0 && routes[0] == "route "+n.Home.String()+"/128" {
		t.Error("LKE-resolution-u: it is still forwarded")
	}
}
