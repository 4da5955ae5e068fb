package ladder

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// withVictim is a topology with a host on the first link.
func withVictim() Topology {
	top := roaming()
	top.Hosts = []Host{{Name: "VICTIM", Link: par, Number: 50, ID: 0x77}}
	return top
}

func victim() netip.Addr { return withID(Prefix(1), 0x77) }

// SpoofedRequest is the attack of the draft's section 6.4: an intruder performs a key exchange for a neighbour's address,
// answers the router's DAD by itself, moves, and asks for the neighbour's traffic. The neighbour defends its address, so
// that there is no association at any moment.
func SpoofedRequest(t *testing.T, make Maker) {
	w := make(t, withVictim())
	eve := newRogue(t, w, par, 66, 0x77)
	for end := w.Now().Add(span(w, 5*time.Minute, 12*time.Second)); w.Now().Before(end); {
		eve.run(100 * time.Millisecond)
		if a, ok := association(w, par, victim()); ok && a.State != "dad" {
			t.Fatalf("LKE-AR-13: association %+v for a neighbour's address", a)
		}
	}
	count := w.(Hostile).Count
	if got := count(par, "dad_advert_without_reply"); got == 0 {
		t.Error("LKE-AR-13: the neighbour's advertisement was never the reason")
	}
	// Five minutes: 0, 3, 9, 21, 45, 93 s and then every 48 s.
	if got := count(par, "requests_taken"); got < 2 || got > 12 {
		t.Errorf("LKE-AR-11: %d RSA operations in five minutes", got)
	}
	before := len(w.Transcript())
	eve.move(nar)
	eve.run(span(w, 30*time.Second, 4*time.Second))
	for _, m := range w.Transcript()[before:] {
		if m.From == par && m.Name == BindingAck {
			t.Errorf("%v: the intruder's binding update was taken", m)
		}
	}
	if got := w.Reaches(victim()); got != "VICTIM" {
		t.Errorf("the victim's traffic reaches %q", got)
	}
}

// Squatter is the same attack on a mobile node whose own key exchange does not get through: it has no association yet, and
// its kernel is kept from answering the router's DAD solicitation. Its address is defended all the same.
func Squatter(t *testing.T, make Maker) {
	w := make(t, Topology{Links: threeLinks(), Nodes: []Node{{Name: mn, Number: 10, InterfaceID: 0x77}}})
	through := false
	w.(Interferer).Interfere(func(m Message) []time.Duration {
		if m.Name == KeyExchangeRequest && m.From == mn && !through {
			return nil
		}
		return []time.Duration{0}
	})
	addr := attach(t, w, mn, par)
	w.Run(2 * time.Second)
	eve := newRogue(t, w, par, 66, 0x77)
	for end := w.Now().Add(span(w, 2*time.Minute, 5*time.Second)); w.Now().Before(end); {
		eve.run(100 * time.Millisecond)
		if a, ok := association(w, par, addr); ok && a.State != "dad" {
			t.Fatalf("LKE-AR-13: association %+v for the node's address", a)
		}
	}
	count := w.(Hostile).Count
	if count(par, "requests_taken") == 0 || count(par, "dad_advert_without_reply") == 0 {
		t.Errorf("LKE-AR-13: %d requests taken, %d defended", count(par, "requests_taken"), count(par, "dad_advert_without_reply"))
	}
	// Both ask now, and each defends the address against the other: neither gets it, until one of them goes.
	through = true
	for end := w.Now().Add(span(w, 2*time.Minute, 5*time.Second)); w.Now().Before(end); {
		eve.run(100 * time.Millisecond)
		if a, ok := association(w, par, addr); ok && a.State != "dad" {
			t.Fatalf("LKE-AR-13: association %+v", a)
		}
	}
	eve.move(nar)
	associate(t, w, mn, par, addr, 2*time.Minute)
	if a, _ := association(w, par, addr); a.Node != Hardware(10) {
		t.Errorf("association %+v", a)
	}
}

// KnownNeighbour is the attack on a neighbour that sleeps: the router's neighbour cache knows whose address it is, so
// that no RSA operation is spent (LKE-resolution-r).
func KnownNeighbour(t *testing.T, make Maker) {
	w := make(t, Topology{Links: threeLinks(), Nodes: []Node{{Name: mn, Number: 10, InterfaceID: 0x77}}})
	sleeper := w.(Hostile).Intruder("SLEEPER", par, 51)
	rs := ndp.AppendRouterSolicit(nil, victim(), ipv6.AllRouters(), ndp.SourceLinkOption(sleeper.Hardware()))
	packet := ipv6.Append(nil, ipv6.Header{Src: victim(), Dst: ipv6.AllRouters(), HopLimit: 255}, ipv6.ProtoICMPv6, rs)
	sleeper.Send(sleeper.Hardware(), RouterHardware(1), packet)
	w.Run(time.Second)
	eve := newRogue(t, w, par, 66, 0x77)
	eve.run(span(w, time.Minute, 6*time.Second))
	count := w.(Hostile).Count
	if count(par, "request_neighbour_mismatch") == 0 || count(par, "requests_taken") != 0 {
		t.Errorf("LKE-resolution-r: %d refused, %d taken", count(par, "request_neighbour_mismatch"), count(par, "requests_taken"))
	}
}

// ReplayedRequest replays a node's request, as it was and under other sources (draft section 6.5): no RSA operation comes
// of it, and the association stays what it is.
func ReplayedRequest(t *testing.T, make Maker) {
	w := make(t, roaming())
	addr := attach(t, w, mn, par)
	associate(t, w, mn, par, addr, 3*time.Second)
	before, _ := association(w, par, addr)
	var request *ipv6.Packet
	for _, m := range w.Transcript() {
		if m.Name == KeyExchangeRequest {
			request = m.Packet
		}
	}
	eve := w.(Hostile).Intruder("EVE", par, 66)
	count := w.(Hostile).Count
	taken := count(par, "requests_taken")
	replay := func(link ipv6.LinkAddr, raw []byte) {
		for range 5 {
			eve.Send(link, RouterHardware(1), raw)
			w.Run(span(w, 4*time.Second, 200*time.Millisecond)) // with or without the rate limit in between
		}
	}
	replay(Hardware(10), request.Raw)
	if count(par, "request_replayed") != 5 {
		t.Errorf("LKE-AR-9: %d replays refused, want 5", count(par, "request_replayed"))
	}
	replay(eve.Hardware(), request.Raw)
	// By what the neighbour cache knows, or by the association.
	if got := count(par, "request_other_link_source") + count(par, "request_neighbour_mismatch"); got != 5 {
		t.Errorf("LKE-resolution-p, LKE-resolution-r: %d requests of another station refused, want 5", got)
	}
	// From another link, where no hop limit of 255 survives a router.
	far := append([]byte(nil), request.Raw...)
	far[7] = 254
	replay(Hardware(10), far)
	if count(par, "request_hop_limit") != 5 {
		t.Errorf("LKE-AR-5: %d requests with hop limit 254 refused, want 5", count(par, "request_hop_limit"))
	}
	if got := count(par, "requests_taken"); got != taken {
		t.Errorf("%d RSA operations for replays", got-taken)
	}
	if after, _ := association(w, par, addr); after != before {
		t.Errorf("the association changed from %+v to %+v", before, after)
	}
	ncoa := attach(t, w, mn, nar)
	bound(t, w, mn, par, addr, ncoa, 3*time.Second)
	replay(Hardware(10), request.Raw)
	if count(par, "request_address_bound") != 5 || count(par, "requests_taken") != taken {
		t.Errorf("LKE-resolution-p: %d requests for a bound address refused, want 5", count(par, "request_address_bound"))
	}
	bound(t, w, mn, par, addr, ncoa, 0)
}

// AnsweredDAD has an intruder answer the router's duplicate address detection: no association comes of it as long as it
// does so (LKE-AR-13, LKE-AR-14), at a pace that spares router and node, and the node gets one when the intruder is gone.
func AnsweredDAD(t *testing.T, make Maker) {
	for name, opts := range map[string][][]byte{
		"without reply":      nil,
		"with a made-up":     {ndp.DADAuth{Nonce: 1, Router: RouterAddress(1)}.Append(nil, 8)},
		"with a short reply": {{8, 1, 0, 0, 0, 0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := make(t, roaming())
			// The node's own kernel is done with its duplicate address detection first: that anyone can spoil.
			w.(Interferer).Interfere(func(m Message) []time.Duration {
				if m.Name == KeyExchangeRequest && m.At < 2*time.Second {
					return nil
				}
				return []time.Duration{0}
			})
			eve := w.(Hostile).Intruder("EVE", par, 66)
			active := true
			eve.Hear(func(p *ipv6.Packet) {
				if !active || NameOf(p) != DADRequest {
					return
				}
				m, _ := ndp.ParseNeighborSolicit(p)
				dst := ipv6.AllNodes()
				with := append([][]byte{ndp.TargetLinkOption(eve.Hardware())}, opts...)
				msg := ndp.AppendNeighborAdvert(nil, m.Target, dst, ndp.FlagOverride, m.Target, with...)
				packet := ipv6.Append(nil, ipv6.Header{Src: m.Target, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
				eve.Send(eve.Hardware(), ipv6.MulticastLinkAddr(dst), packet)
			})
			addr := attach(t, w, mn, par)
			for end := w.Now().Add(span(w, 2*time.Minute, 12*time.Second)); w.Now().Before(end); {
				w.Run(span(w, time.Second, 100*time.Millisecond))
				if a, ok := association(w, par, addr); ok && a.State != "dad" {
					t.Fatalf("LKE-AR-13, LKE-AR-14: association %+v", a)
				}
			}
			if got := w.(Hostile).Count(par, "requests_taken"); got < uint64(span(w, 3, 2)) || got > 8 {
				t.Errorf("LKE-MN-9, LKE-AR-11: %d key exchanges", got)
			}
			active = false
			associate(t, w, mn, par, addr, 2*time.Minute)
		})
	}
}

// Hijack sends binding updates for a node's address without its key, and replays the node's own.
func Hijack(t *testing.T, make Maker) {
	w := make(t, roaming())
	addr := attach(t, w, mn, par)
	associate(t, w, mn, par, addr, 3*time.Second)
	eve := w.(Hostile).Intruder("EVE", nar, 66)
	evil := ipv6.WithEUI64(Prefix(2).Addr(), eve.Hardware())
	forge := func(key [16]byte, lifetime uint16, seq uint16) []byte {
		update := mobility.BindingUpdate{
			Seq: seq, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: lifetime, HasAuth: true,
		}
		mh := update.Append(nil)
		if err := mobility.SignBAD(mh, key[:], evil, RouterAddress(1)); err != nil {
			t.Fatal(err)
		}
		mobility.FixChecksum(mh, addr, RouterAddress(1))
		header := ipv6.Header{Src: evil, Dst: RouterAddress(1), HopLimit: 64, HomeAddress: addr}
		return ipv6.Append(nil, header, ipv6.ProtoMobility, mh)
	}
	hijack := func(packet []byte) {
		t.Helper()
		before := len(w.Transcript())
		eve.Send(eve.Hardware(), RouterHardware(2), packet)
		w.Run(time.Second)
		for _, m := range w.Transcript()[before:] {
			if m.From != par || m.Name != BindingAck && m.Name != BindingError {
				continue
			}
			h, _ := mobility.ParseHeader(m.Packet.Payload)
			ack, err := mobility.ParseBindingAck(h, mobility.DefaultCodePoints())
			if m.Name == BindingAck || err != nil || ack.HasAuth {
				t.Errorf("LKE-AR-19, LKE-resolution-j: %v %+v", m, ack)
			}
		}
	}
	for i := range uint16(5) {
		hijack(forge([16]byte{byte(i)}, 100, 1000*i))
	}
	if got := w.Reaches(addr); got != mn {
		t.Fatalf("the address reaches %q", got)
	}

	ncoa := attach(t, w, mn, nar)
	bound(t, w, mn, par, addr, ncoa, 3*time.Second)
	var update *ipv6.Packet
	for _, m := range w.Transcript() {
		if m.Name == BindingUpdate && m.From == mn {
			update = m.Packet
		}
	}
	hijack(forge([16]byte{}, 100, binary.BigEndian.Uint16(update.Payload[6:8])+1))
	hijack(forge([16]byte{}, 0, binary.BigEndian.Uint16(update.Payload[6:8])+1)) // LKE-AR-24
	// The node's own message from another source: the authenticator covers that.
	stolen := append([]byte(nil), update.Raw...)
	source := evil.As16()
	copy(stolen[8:24], source[:])
	hijack(stolen)
	bound(t, w, mn, par, addr, ncoa, 0)

	// Back home and deregistered; the old binding update again (LKE-resolution-t).
	if got := attach(t, w, mn, par); got != addr {
		t.Fatalf("address %v", got)
	}
	await(t, w, 3*time.Second, "the address is deregistered", func() bool {
		a, ok := association(w, par, addr)
		return ok && a.State == "valid"
	})
	refused := w.(Hostile).Count(par, "update_sequence")
	for range 3 {
		eve.Send(eve.Hardware(), RouterHardware(2), update.Raw)
		w.Run(time.Second)
	}
	if got := w.(Hostile).Count(par, "update_sequence") - refused; got != 3 {
		t.Errorf("LKE-resolution-t: %d replays refused by their number, want 3", got)
	}
	if a, ok := association(w, par, addr); !ok || a.State != "valid" {
		t.Errorf("LKE-resolution-t: %+v after the replay", a)
	}
	if got := w.Reaches(addr); got != mn {
		t.Errorf("the address reaches %q", got)
	}
}

// Reflection is a node that has its own address forwarded to somebody else's: without the Finished message from there the
// binding ends (LKE-resolution-u).
func Reflection(t *testing.T, make Maker) {
	w := make(t, withVictim())
	eve := newRogue(t, w, nar, 66, 0x77)
	eve.run(span(w, 10*time.Second, 3*time.Second))
	home := eve.careOf
	if a, ok := association(w, nar, home); !ok || a.State != "valid" {
		t.Fatalf("the intruder's own association: %+v", a)
	}
	// On the victim's link its address would be the victim's, to which the acknowledgement goes.
	eve.move(par)
	if eve.careOf != victim() {
		eve.run(span(w, 10*time.Millisecond, 700*time.Millisecond)) // a router answers within half a second
	}
	if eve.careOf != victim() {
		t.Fatalf("care-of address %v, want the victim's", eve.careOf)
	}
	for end := w.Now().Add(span(w, 10*time.Second, 5*time.Second)); w.Now().Before(end); {
		eve.run(100 * time.Millisecond)
		if a, ok := association(w, nar, home); ok && a.State == "bound" && a.Verified {
			t.Fatalf("LKE-resolution-u: %+v without a Finished message", a)
		}
	}
	w.Run(5 * time.Second) // nobody asks any more
	if a, ok := association(w, nar, home); ok && a.State == "bound" {
		t.Errorf("LKE-resolution-u: %+v", a)
	}
	if w.(Hostile).Count(nar, "bindings_unreachable") == 0 {
		t.Error("LKE-resolution-u: no binding ended for want of a Finished message")
	}
}

// OtherAddresses asks for addresses that no node on the link can have (LKE-resolution-r): no RSA operation comes of it.
func OtherAddresses(t *testing.T, make Maker) {
	for name, c := range map[string]struct {
		addr    netip.Addr
		counter string
	}{
		"of another network": {netip.MustParseAddr("2001:db8:dead::1"), "request_not_in_prefix"},
		"of another link":    {withID(Prefix(2), 5), "request_not_in_prefix"},
		"of the router":      {RouterAddress(1), "request_router_address"},
		"anycast":            {withID(Prefix(1), 0), "request_anycast_address"},
		"reserved anycast":   {withID(Prefix(1), 0xfdfffffffffffffe), "request_anycast_address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := make(t, roaming())
			eve := newRogue(t, w, par, 66, 0x4444)
			eve.bend = func(packet []byte) []byte {
				p := new(ipv6.Packet)
				if ipv6.Parse(packet, p) != ipv6.OK || NameOf(p) != KeyExchangeRequest {
					return packet
				}
				mh := append([]byte(nil), p.Payload...)
				mobility.FixChecksum(mh, c.addr, p.Dst)
				header := ipv6.Header{Src: p.Src, Dst: p.Dst, TrafficClass: 0xf0, HopLimit: 255, HomeAddress: c.addr}
				return ipv6.Append(nil, header, ipv6.ProtoMobility, mh)
			}
			eve.run(span(w, 10*time.Second, 2*time.Second))
			count := w.(Hostile).Count
			if count(par, c.counter) == 0 || count(par, "requests_taken") != 0 {
				t.Errorf("LKE-resolution-r: %d refused as %s, %d taken", count(par, c.counter), c.counter, count(par, "requests_taken"))
			}
		})
	}
}
