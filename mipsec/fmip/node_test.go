package fmip_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// proxyPacket is a PrRtAdv of c to the node.
func (w *walk) proxyPacket(c *cell, m ndp.ProxyAdvert, opts ...[]byte) *ipv6.Packet {
	dst := w.node.State().CareOf
	p := &ipv6.Packet{}
	ipv6.Parse(ipv6.Append(nil, ipv6.Header{Src: c.local, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, m.Append(nil, c.local, dst, opts...)), p)
	p.Interface, p.LinkSource = walkLink, c.hw
	return p
}

func tupleOf(c *cell) ndp.ProxyTuple {
	return ndp.ProxyTuple{Code: ndp.PointNew, Point: c.point, RouterLink: c.hw, Router: c.address, RouterBits: 64}
}

// What the router says of an access point decides how a move goes on (RFC 5568 section 6.1.2).
func TestNodeProxyCodes(t *testing.T) {
	strange := ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 7}
	for _, c := range []struct {
		name  string
		code  uint8
		tuple func(nar *cell) ndp.ProxyTuple
		want  string
	}{
		{"known", ndp.ProxySolicited, tupleOf, "fast-update before the move"},
		{"some known", ndp.ProxySubset, tupleOf, "fast-update before the move"},
		{"DHCP", ndp.ProxyDHCP, tupleOf, "fast-update before the move"},
		{"same link", ndp.ProxyNoInformation, func(*cell) ndp.ProxyTuple { return ndp.ProxyTuple{Code: ndp.PointCurrent} }, "handover-stopped this access point is on the same link"},
		{"unknown", ndp.ProxyNoInformation, func(*cell) ndp.ProxyTuple { return ndp.ProxyTuple{Code: ndp.PointUnknown} }, "handover-stopped the router does not know"},
		{"no fast handover", ndp.ProxySubset, func(*cell) ndp.ProxyTuple { return ndp.ProxyTuple{Code: ndp.PointNoFast} }, "handover-stopped the router of this access point does no"},
		{"no router in it", ndp.ProxySolicited, func(*cell) ndp.ProxyTuple { return ndp.ProxyTuple{Code: ndp.PointNew} }, "handover-stopped what the router says"},
		{"long prefix", ndp.ProxySolicited, func(nar *cell) ndp.ProxyTuple { x := tupleOf(nar); x.RouterBits = 80; return x }, "handover-stopped what the router says"},
		{"another point", ndp.ProxySolicited, func(nar *cell) ndp.ProxyTuple { x := tupleOf(nar); x.Point = ipv6.LinkAddr{2, 9}; return x }, "handover-stopped the router says nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWalk(t, nil)
			w.settled()
			var id uint16
			w.lose = func(string) bool { return true }
			for _, e := range w.node.Step(w.now, fmip.NodeInput{Kind: fmip.InMove, Target: strange}) {
				if e.Kind == fmip.EffectNodeSendND {
					id = uint16(e.Packet[46])<<8 | uint16(e.Packet[47])
				}
			}
			m := ndp.ProxyAdvert{Code: c.code, Identifier: id}
			tuple := c.tuple(w.cells[1])
			if tuple.Point.IsZero() || tuple.Point == w.cells[1].point {
				tuple.Point = strange
			}
			m.Tuples.Add(tuple)
			w.hear(w.proxyPacket(w.cells[0], m))
			if !w.has(c.want) {
				t.Errorf("want %s:\n%s", c.want, strings.Join(w.trace, "\n"))
			}
			if sent := w.has("node: FBU"); sent != strings.HasPrefix(c.want, "fast-update") {
				t.Errorf("an update was sent: %v", sent)
			}
		})
	}
}

// Where addresses are given by DHCP the previous one goes on in use on the new link (RFC 5568 section 5.2): no tunnel.
func TestNodeKeepsItsAddressForDHCP(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	home := w.careOf(w.cells[0])
	m := ndp.ProxyAdvert{Code: ndp.ProxyDHCP}
	m.Tuples.Add(tupleOf(w.cells[1]))
	w.node.Step(w.now, fmip.NodeInput{Kind: fmip.InDetached}) // forget what was told
	w.plug(w.cells[0])
	w.run(100 * time.Millisecond)
	strange := ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 7}
	w.lose = func(m string) bool { return m == "RtSolPr" }
	var id uint16
	for _, e := range w.node.Step(w.now, fmip.NodeInput{Kind: fmip.InMove, Target: strange}) {
		if e.Kind == fmip.EffectNodeSendND {
			id = uint16(e.Packet[46])<<8 | uint16(e.Packet[47])
		}
	}
	tuple := tupleOf(w.cells[1])
	tuple.Point = strange
	m = ndp.ProxyAdvert{Code: ndp.ProxyDHCP, Identifier: id}
	m.Tuples.Add(tuple)
	w.hear(w.proxyPacket(w.cells[0], m))
	w.run(20 * time.Millisecond)
	w.mute = true
	w.plug(w.cells[1])
	w.run(20 * time.Millisecond)
	if s := w.node.State(); s.CareOf != home || !s.Usable || len(w.tunnels) != 0 {
		t.Errorf("state %+v, tunnels %v", s, w.tunnels)
	}
	// The binding ends, and with it the address there.
	w.mute = false
	w.run(2 * time.Minute)
	if s := w.node.State(); s.CareOf != w.careOf(w.cells[1]) {
		t.Errorf("later: state %+v", s)
	}
}

// A trigger of the router is followed at once, with the address that it gives (RFC 5568 section 6.1.2, code 1).
func TestNodeTriggered(t *testing.T) {
	for _, supplied := range []netip.Addr{{}, netip.MustParseAddr("2001:db8:2::77")} {
		w := newWalk(t, nil)
		w.settled()
		m := ndp.ProxyAdvert{Code: ndp.ProxyTrigger}
		tuple := tupleOf(w.cells[1])
		tuple.CareOf = supplied
		m.Tuples.Add(tuple)
		w.hear(w.proxyPacket(w.cells[0], m))
		w.run(20 * time.Millisecond)
		want := supplied
		if !want.IsValid() {
			want = w.careOf(w.cells[1])
		}
		if !w.has("handover-trigger") || !w.has("fast-ack") || w.cells[0].bound[w.careOf(w.cells[0])] != want {
			t.Errorf("supplied %v: bound %v\n%s", supplied, w.cells[0].bound, strings.Join(w.trace, "\n"))
		}
		w.plug(w.cells[1])
		w.run(20 * time.Millisecond)
		if got := w.tunnels[w.careOf(w.cells[0])].CareOf; got != want {
			t.Errorf("the tunnel ends at %v, want %v", got, want)
		}
	}
	// What is not signed triggers nothing where the router signs, nor does what has an identifier.
	w := newWalk(t, nil)
	w.settled()
	m := ndp.ProxyAdvert{Code: ndp.ProxyTrigger}
	m.Tuples.Add(tupleOf(w.cells[1]))
	w.unsigned = true
	w.hear(w.proxyPacket(w.cells[0], m))
	w.unsigned = false
	m.Identifier = 9
	w.hear(w.proxyPacket(w.cells[0], m))
	if w.has("handover-trigger") || w.counter("drop_proxy_advert_not_secured") != 1 || w.counter("drop_proxy_advert_unasked") != 1 {
		t.Errorf("triggered:\n%s", strings.Join(w.trace, "\n"))
	}
}

// Answers of a router are believed only of the own one, and if it signs only signed (HK-MN-3).
func TestNodeDropsProxyAdverts(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	m := ndp.ProxyAdvert{Code: ndp.ProxyNeighborhood}
	m.Tuples.Add(ndp.ProxyTuple{Code: ndp.PointNew, Point: ipv6.LinkAddr{2, 9}, Router: w.cells[1].address, RouterBits: 64, RouterLink: w.cells[1].hw})
	other := w.proxyPacket(w.cells[1], m)
	w.hear(other)
	wrongLink := w.proxyPacket(w.cells[0], m)
	wrongLink.LinkSource = ipv6.LinkAddr{2, 8}
	w.hear(wrongLink)
	if got := w.counter("drop_proxy_advert_sender"); got != 2 {
		t.Errorf("%d dropped, want 2", got)
	}
	reply := ndp.KeyReply{Lifetime: 9, EncryptedKey: []byte("a key of someone, 20")}.Append(nil)
	w.unsigned = true
	w.hear(w.proxyPacket(w.cells[0], m, reply, ndp.NonceOption([]byte("nonce!"))))
	w.unsigned = false
	if got := w.node.State().Points; got != 1 || w.counter("drop_proxy_advert_not_secured") != 1 {
		t.Errorf("%d access points", got)
	}
	w.hear(w.proxyPacket(w.cells[0], m))
	if got := w.node.State().Points; got != 2 {
		t.Errorf("%d access points, want 2", got)
	}
	// However many there are, what is kept is bounded.
	for i := range 100 {
		m := ndp.ProxyAdvert{Code: ndp.ProxyNeighborhood}
		m.Tuples.Add(ndp.ProxyTuple{Code: ndp.PointNew, Point: ipv6.LinkAddr{2, 7, byte(i)}, Router: w.cells[1].address, RouterBits: 64, RouterLink: w.cells[1].hw})
		w.hear(w.proxyPacket(w.cells[0], m))
	}
	if got := w.node.State().Points; got != 32 {
		t.Errorf("%d access points, want 32", got)
	}
}

// A router that does not answer is asked RTSOLPR_RETRIES times more, at growing intervals and never more than
// MAX_RTSOLPR_RATE in a second, and then not any more (RFC 5568 sections 5.1 and 9).
func TestNodeAsksSeldom(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	w.run(2 * time.Second)
	var sent []time.Duration
	start := w.now
	w.lose = func(m string) bool {
		if m == "RtSolPr" {
			sent = append(sent, w.now.Sub(start))
		}
		return m == "RtSolPr"
	}
	strange := ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 7}
	w.step(fmip.NodeInput{Kind: fmip.InMove, Target: strange})
	w.run(10 * time.Second)
	want := "[0s 100ms 300ms 1s]"
	if fmt.Sprint(sent) != want {
		t.Errorf("sent at %v, want %v", sent, want)
	}
	if !w.has("handover-stopped the router does not answer") {
		t.Error("not stopped")
	}
	w.trace = nil
	w.step(fmip.NodeInput{Kind: fmip.InMove, Target: strange})
	if !w.has("handover-stopped the router does not answer") || len(sent) != 4 {
		t.Errorf("asked again: %v", sent)
	}
}

// Without a key no update leaves, and whoever wants to move is told (HK-MN-7).
func TestNodeWithoutKey(t *testing.T) {
	w := newWalk(t, nil)
	w.lose = func(m string) bool { return m == "RtSolPr" }
	w.step(fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point})
	if !w.has("handover-stopped the node has no address") {
		t.Error("moved while it was nowhere")
	}
	w.plug(w.cells[0])
	w.run(20 * time.Millisecond)
	w.step(fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point})
	if !w.has("handover-stopped there is no handover key") {
		t.Error("moved without a key")
	}
	w.plug(w.cells[1])
	w.run(time.Second)
	if w.has("node: FBU") || !w.has("address-lost there is no handover key") || len(w.tunnels) != 0 {
		t.Errorf("an update without a key:\n%s", strings.Join(w.trace, "\n"))
	}
}

// The key of the right router and address signs, whichever others there are (HK-MN-7).
func TestNodeChoosesItsKey(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	home := w.careOf(w.cells[0])
	w.keys[[2]netip.Addr{w.cells[1].address, home}] = bytes.Repeat([]byte{9}, 20)
	w.keys[[2]netip.Addr{w.cells[0].address, w.careOf(w.cells[1])}] = bytes.Repeat([]byte{8}, 20)
	for _, e := range w.node.Step(w.now, fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point}) {
		if e.Kind != fmip.EffectNodeSend {
			continue
		}
		var p ipv6.Packet
		ipv6.Parse(e.Packet, &p)
		h, fault := mobility.Check(&p, mobility.MinHeaderLen)
		if fault != mobility.FaultNone || p.HomeAddress != home || p.Src != home {
			t.Errorf("%v, from %v with home address %v", fault, p.Src, p.HomeAddress)
		}
		if !mobility.VerifyBADF(h.Octets, bytes.Repeat([]byte{1}, 20), w.careOf(w.cells[1]), w.cells[0].address, mobility.HMACSHA1) {
			t.Error("HK-MN-7: signed with another key")
		}
		m, err := mobility.ParseFastBindingUpdate(h)
		if err != nil || m.LinkAddr != walkHW || m.AlternateCareOf != w.careOf(w.cells[1]) || m.Lifetime != 60 {
			t.Errorf("%v, %+v", err, m)
		}
		return
	}
	t.Error("no update")
}

// ackPacket is a Fast Binding Acknowledgment of c for the update in the trace, which had seq.
func (w *walk) ackPacket(c *cell, dst, careOf netip.Addr, m mobility.FastBindingAck, key []byte) *ipv6.Packet {
	m.Auth = mobility.FastAuth{Present: true, MAC: mobility.HMACSHA1}
	mh := m.Append(nil)
	if err := mobility.SignBADF(mh, key, careOf, c.address, mobility.HMACSHA1); err != nil {
		w.t.Fatal(err)
	}
	mobility.FixChecksum(mh, c.address, dst)
	p := &ipv6.Packet{}
	ipv6.Parse(ipv6.Append(nil, ipv6.Header{Src: c.address, Dst: dst, HopLimit: 64}, ipv6.ProtoMobility, mh), p)
	p.Interface, p.LinkSource = walkLink, w.at.hw
	return p
}

// moving prepares a move and gives the sequence number of the update; nothing of the routers reaches the node.
func (w *walk) moving() (seq uint16) {
	w.settled()
	w.lose = func(m string) bool { return m == "FBU" }
	for _, e := range w.node.Step(w.now, fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point}) {
		if e.Kind == fmip.EffectNodeSend {
			seq = uint16(e.Packet[64+6])<<8 | uint16(e.Packet[64+7])
		}
	}
	return seq
}

// What an acknowledgement says (RFC 5568 section 6.2.3), and what is none.
func TestNodeAcks(t *testing.T) {
	key, supplied := bytes.Repeat([]byte{1}, 20), netip.MustParseAddr("2001:db8:2::99")
	for _, c := range []struct {
		name   string
		ack    mobility.FastBindingAck
		seq    uint16 // on top of the update's
		key    []byte
		careOf netip.Addr // that the authenticator goes over; zero: the right one
		want   string
	}{
		{name: "accepted", ack: mobility.FastBindingAck{Lifetime: 60}, want: "fast-ack"},
		{name: "another address", ack: mobility.FastBindingAck{Status: 1, Lifetime: 60, AlternateCareOf: supplied}, careOf: supplied, want: "fast-ack"},
		{name: "status 128", ack: mobility.FastBindingAck{Status: 128}, want: "fast-refused status 128"},
		{name: "status 129", ack: mobility.FastBindingAck{Status: 129}, want: "fast-refused status 129"},
		{name: "status 130", ack: mobility.FastBindingAck{Status: 130}, want: "fast-refused status 130"},
		{name: "status 131", ack: mobility.FastBindingAck{Status: 131}, want: "fast-refused status 131"},
		{name: "no lifetime", ack: mobility.FastBindingAck{}, want: "fast-refused"},
		{name: "HK-AR-21: another key", ack: mobility.FastBindingAck{Lifetime: 60}, key: bytes.Repeat([]byte{2}, 20), want: "drop_ack_bad_mac"},
		{name: "for another address", ack: mobility.FastBindingAck{Lifetime: 60}, careOf: supplied, want: "drop_ack_bad_mac"},
		{name: "another number", ack: mobility.FastBindingAck{Lifetime: 60}, seq: 1, want: "drop_ack_unasked"},
		{name: "number of before", ack: mobility.FastBindingAck{Lifetime: 60}, seq: 0xffff, want: "drop_ack_unasked"},
		{name: "address missing", ack: mobility.FastBindingAck{Status: 1, Lifetime: 60}, want: "drop_ack_malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWalk(t, nil)
			c.ack.Seq = w.moving() + c.seq
			if c.key == nil {
				c.key = key
			}
			if !c.careOf.IsValid() {
				c.careOf = w.careOf(w.cells[1])
			}
			w.hear(w.ackPacket(w.cells[0], w.careOf(w.cells[0]), c.careOf, c.ack, c.key))
			if strings.HasPrefix(c.want, "drop_") {
				if w.counter(c.want) != 1 || w.has("fast-") {
					t.Errorf("not dropped:\n%s", strings.Join(w.trace, "\n"))
				}
				return
			}
			if !w.has(c.want) {
				t.Errorf("want %s:\n%s", c.want, strings.Join(w.trace, "\n"))
			}
			ready := c.want == "fast-ack"
			if (w.node.State().Prepared == "ready") != ready || w.has("handover-stopped") == ready {
				t.Errorf("state %+v", w.node.State())
			}
			if c.ack.Status == 1 { // the supplied address MUST be used
				w.plug(w.cells[1])
				if s := w.node.State(); s.CareOf != supplied {
					t.Errorf("at %v", s.CareOf)
				}
			}
		})
	}
}

// An update that is not answered comes FBU_RETRIES times more, each with a greater number, and then the node stops.
func TestNodeUpdateUnanswered(t *testing.T) {
	w := newWalk(t, nil)
	w.moving()
	w.run(10 * time.Second)
	if n := w.counter("fast_updates_sent"); n != 4 {
		t.Errorf("%d updates, want 4", n)
	}
	if !w.has("handover-stopped the update was not accepted") || w.node.State().Prepared != "" {
		t.Errorf("state %+v\n%s", w.node.State(), strings.Join(w.trace, "\n"))
	}
}

// The new router does not want the new address (RFC 5568 section 6.4.6).
func TestNodeNeighborAck(t *testing.T) {
	supplied := netip.MustParseAddr("2001:db8:2::55")
	for _, c := range []struct {
		ack  ndp.NeighborAck
		want func(w *walk) netip.Addr // the address that is used then
	}{
		{ndp.NeighborAck{Status: ndp.AckConfigure}, func(w *walk) netip.Addr { return w.next(1) }},
		{ndp.NeighborAck{Status: ndp.AckUseSupplied, Address: supplied}, func(*walk) netip.Addr { return supplied }},
		{ndp.NeighborAck{Status: ndp.AckUseRouter}, func(w *walk) netip.Addr { return w.next(1) }},
		{ndp.NeighborAck{Status: ndp.AckPreviousSupplied}, func(w *walk) netip.Addr { return w.careOf(w.cells[0]) }},
		{ndp.NeighborAck{Status: ndp.AckUnknownLink}, func(w *walk) netip.Addr { return w.next(1) }},
		{ndp.NeighborAck{Status: 77}, func(w *walk) netip.Addr { return w.next(0) }},
		{ndp.NeighborAck{Status: ndp.AckUseSupplied}, func(w *walk) netip.Addr { return w.next(0) }},
		{ndp.NeighborAck{Status: ndp.AckUseSupplied, Address: netip.MustParseAddr("2001:db8:7::1")}, func(w *walk) netip.Addr { return w.next(0) }},
	} {
		t.Run(fmt.Sprint(c.ack), func(t *testing.T) {
			w := newWalk(t, nil)
			w.settled()
			w.step(fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point})
			w.run(20 * time.Millisecond)
			w.plug(w.cells[1])
			w.toNode(w.cells[1], advertPacket(w.cells[1], w.careOf(w.cells[1]), 1800, c.ack.Append(nil)), walkHW)
			w.run(30 * time.Millisecond)
			s := w.node.State()
			if want := c.want(w); s.CareOf != want || !s.Usable {
				t.Errorf("at %v, want %v\n%s", s.CareOf, want, strings.Join(w.trace, "\n"))
			}
			home := w.careOf(w.cells[0])
			switch c.ack.Status {
			case ndp.AckPreviousSupplied: // no more updates, and no tunnel
				if w.counter("fast_updates_sent") != 1 || len(w.tunnels) != 0 {
					t.Errorf("tunnels %v\n%s", w.tunnels, strings.Join(w.trace, "\n"))
				}
			case ndp.AckUnknownLink: // neither address is used any more
				if _, open := w.tunnels[home]; open {
					t.Error("the previous address is in use")
				}
			default: // an update says which address it is now
				if got := w.tunnels[home].CareOf; got != c.want(w) {
					t.Errorf("the tunnel ends at %v", got)
				}
			}
		})
	}
}

// next is the node's address in the second cell after so many collisions.
func (w *walk) next(collisions uint8) netip.Addr {
	p := walkParams.In(w.cells[1].prefix)
	p.Collisions = collisions
	return p.Address(0)
}

// A NAACK counts only as the answer of the link's router to the announcement.
func TestNodeDropsNeighborAck(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	ack := ndp.NeighborAck{Status: ndp.AckConfigure}.Append(nil)
	w.toNode(w.cells[0], advertPacket(w.cells[0], w.careOf(w.cells[0]), 1800, ack), walkHW)
	w.run(10 * time.Millisecond)
	if s := w.node.State(); s.CareOf != w.careOf(w.cells[0]) || w.counter("drop_naack") != 1 {
		t.Errorf("state %+v", s)
	}
}

// An address that another node has is replaced by the next one, up to the third (RFC 3972 section 4).
func TestNodeCollisions(t *testing.T) {
	w := newWalk(t, nil)
	w.taken[w.next(0).String()], w.taken[w.next(1).String()] = true, true
	w.plug(w.cells[1])
	w.run(100 * time.Millisecond)
	if s := w.node.State(); s.CareOf != w.next(2) || !s.Usable {
		t.Errorf("state %+v", s)
	}
	w.step(fmip.NodeInput{Kind: fmip.InAddress, Addr: w.next(2), Failed: true}) // found later
	w.run(100 * time.Millisecond)
	if s := w.node.State(); s.CareOf.IsValid() || !w.has("address-lost three addresses") {
		t.Errorf("state %+v", s)
	}
	local := w.node.LinkLocal()
	w.step(fmip.NodeInput{Kind: fmip.InAddress, Addr: local, Failed: true})
	if w.node.LinkLocal() == local || !w.node.LinkLocal().IsLinkLocalUnicast() {
		t.Errorf("link-local address %v, was %v", w.node.LinkLocal(), local)
	}
}

// Mixed mode (RFC 3971 section 8): an unsecured router serves as long as there is no other, and says nothing about a
// secured one. A secured-only node uses none.
func TestNodeRouterChoice(t *testing.T) {
	w := newWalk(t, nil)
	w.mute = true
	w.at = w.cells[0]
	w.step(fmip.NodeInput{Kind: fmip.InAttached})
	w.run(time.Millisecond)
	say := func(c *cell, signed bool, lifetime uint16) {
		p := &ipv6.Packet{}
		ipv6.Parse(advertPacket(c, ipv6.AllNodes(), lifetime), p)
		p.Interface, p.LinkSource = walkLink, c.hw
		w.unsigned = !signed
		w.hear(p)
		w.run(5 * time.Millisecond)
		w.unsigned = false
	}
	router := func() netip.Addr { return w.node.State().Router }
	say(w.cells[1], false, 1800)
	if router() != w.cells[1].local || len(w.wanted) != 0 {
		t.Fatalf("at %v, keys %v", router(), w.wanted)
	}
	say(w.cells[0], true, 1800)
	if router() != w.cells[0].local {
		t.Error("the router that signs is not preferred")
	}
	say(w.cells[1], false, 1800)
	say(w.cells[0], false, 0) // anybody can say that
	if router() != w.cells[0].local || w.counter("drop_ra_not_secured") != 2 {
		t.Errorf("an unsigned advertisement was believed: at %v", router())
	}
	say(w.cells[1], true, 1800)
	if router() != w.cells[0].local || w.counter("drop_ra_other_router") != 1 {
		t.Error("another router took over from one that serves")
	}
	say(w.cells[0], true, 0)
	if router().IsValid() || w.router.IsValid() {
		t.Error("the router did not cease")
	}

	w = newWalk(t, func(c *fmip.NodeConfig) { c.SecuredOnly, c.Anchored = true, true })
	w.mute = true
	w.at = w.cells[0]
	w.step(fmip.NodeInput{Kind: fmip.InAttached})
	say(w.cells[0], false, 1800)
	if router().IsValid() {
		t.Error("a secured-only node uses an unsecured router")
	}
	p := &ipv6.Packet{}
	ipv6.Parse(advertPacket(w.cells[0], ipv6.AllNodes(), 1800), p)
	p.Interface, p.LinkSource = walkLink, w.cells[0].hw
	w.step(fmip.NodeInput{Kind: fmip.InNodePacket, Packet: p, Secured: true, Authorized: true, Covered: []netip.Prefix{netip.MustParsePrefix("2001:db8:9::/48")}})
	if router().IsValid() || w.counter("ra_prefix_not_certified") != 1 {
		t.Error("a prefix that is not the router's is used")
	}
	say(w.cells[0], true, 1800)
	if router() != w.cells[0].local {
		t.Error("a certified router is not used")
	}
}

// With a home agent the node registers, and then gives up the handover keys of its previous addresses (HK-MN-8); the
// forwarding goes on to its end.
func TestNodeHomeAgent(t *testing.T) {
	agent, home := netip.MustParseAddr("2001:db8:9::1"), netip.MustParseAddr("2001:db8:9::99")
	w := newWalk(t, func(c *fmip.NodeConfig) { c.HomeAgent, c.HomeAddress = agent, home })
	w.settled()
	answer := func(status uint8, seq uint16) {
		careOf := w.node.State().CareOf
		mh := mobility.BindingAck{Status: status, Seq: seq, Lifetime: 100}.Append(nil, mobility.DefaultCodePoints())
		mobility.FixChecksum(mh, agent, home)
		p := &ipv6.Packet{}
		ipv6.Parse(ipv6.Append(nil, ipv6.Header{Src: agent, Dst: careOf, HopLimit: 64, RoutingHome: home}, ipv6.ProtoMobility, mh), p)
		p.Interface = walkLink
		w.hear(p)
	}
	w.plug(w.cells[1])
	w.run(5 * time.Millisecond)
	if !w.node.State().HomeBusy {
		t.Fatalf("no update to the home agent: %+v\n%s", w.node.State(), strings.Join(w.trace, "\n"))
	}
	answer(mobility.StatusAccepted, w.homeSeq+1) // no answer to anything
	answer(mobility.StatusSequence, w.homeSeq+100)
	if w.node.State().HomeBound || w.counter("drop_ack_unasked") != 1 {
		t.Error("bound by what was not asked for")
	}
	answer(mobility.StatusAccepted, w.homeSeq) // the agent remembers a number: this one is above it
	if w.homeSeq == 0 {
		t.Error("no number")
	}
	w.run(time.Second)
	if !w.node.State().HomeBound || w.tunnels[home].Router != agent {
		t.Fatalf("state %+v, tunnels %v\n%s", w.node.State(), w.tunnels, strings.Join(w.trace, "\n"))
	}
	if !w.has("discard key of " + w.careOf(w.cells[0]).String()) {
		t.Error("HK-MN-8: the key is kept")
	}
	w.run(55 * time.Second)
	if _, open := w.tunnels[w.careOf(w.cells[0])]; !open {
		t.Error("the tunnel was closed early")
	}
	w.run(10 * time.Second)
	if _, open := w.tunnels[w.careOf(w.cells[0])]; open || !w.has("fast-unbound") {
		t.Error("the tunnel is still open")
	}
}

// State, events and the node itself show no key.
func TestNodeHidesItsKeys(t *testing.T) {
	w := newWalk(t, nil)
	w.settled()
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", w.node, w.node, w.node), fmt.Sprintf("%+v", w.node.State())} {
		if strings.Contains(text, "1 1 1 1") || strings.Contains(text, "01010101") || strings.Contains(text, "0x1, 0x1, 0x1") {
			t.Errorf("a key is shown: %s", text)
		}
	}
}

// A packet that is dropped costs no memory.
func TestNodeDropsWithoutAllocation(t *testing.T) {
	w := newWalk(t, nil)
	w.moving()
	bad := w.ackPacket(w.cells[1], w.careOf(w.cells[0]), w.careOf(w.cells[1]), mobility.FastBindingAck{Lifetime: 60}, []byte("another key of 20 oc"))
	other := &ipv6.Packet{}
	ipv6.Parse(advertPacket(w.cells[1], ipv6.AllNodes(), 1800), other)
	other.Interface, other.LinkSource = walkLink, w.cells[1].hw
	for _, p := range []*ipv6.Packet{bad, other} {
		in := fmip.NodeInput{Kind: fmip.InNodePacket, Packet: p}
		if n := testing.AllocsPerRun(50, func() { w.node.Step(w.now, in) }); n != 0 {
			t.Errorf("%s: %v allocations", walkName(p), n)
		}
	}
}

// Whatever comes, the node answers with packets that can be read, and its timers do not stand still.
func FuzzNode(f *testing.F) {
	w := newWalk(f, nil)
	w.settled()
	m := ndp.ProxyAdvert{Code: ndp.ProxyTrigger}
	m.Tuples.Add(tupleOf(w.cells[1]))
	f.Add(advertPacket(w.cells[1], ipv6.AllNodes(), 1800, ndp.NeighborAck{Status: 2}.Append(nil)))
	f.Add(w.proxyPacket(w.cells[0], m).Raw)
	f.Add(w.ackPacket(w.cells[0], w.careOf(w.cells[0]), w.careOf(w.cells[1]), mobility.FastBindingAck{Lifetime: 60}, bytes.Repeat([]byte{1}, 20)).Raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p ipv6.Packet
		if ipv6.Parse(raw, &p) != ipv6.OK {
			return
		}
		w := newWalk(t, nil)
		w.settled()
		w.step(fmip.NodeInput{Kind: fmip.InMove, Target: w.cells[1].point})
		p.Interface, p.LinkSource = walkLink, w.cells[0].hw
		w.hear(&p)
		w.run(3 * time.Second)
		w.plug(w.cells[1])
		p.LinkSource = w.cells[1].hw
		w.hear(&p)
		w.run(3 * time.Second)
	})
}
