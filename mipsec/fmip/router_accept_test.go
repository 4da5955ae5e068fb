package fmip_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// answerByHand has every HAck of the NAR replaced by one with this code and address.
func (l *lab) answerByHand(code uint8, supplied netip.Addr) {
	l.lose = func(message string) bool {
		if !strings.HasPrefix(message, "NAR HAck") {
			return false
		}
		hi := l.hi
		l.after(labHop, func() {
			ack := mobility.HandoverAck{Seq: hi.Seq, Code: code, NewCareOf: supplied, Number: hi.Number, HasNumber: true, Auth: pairAuth()}
			l.receive(l.par, handover(l.t, narAddr, parAddr, ack.Append(nil), labPairKey), nil)
		})
		return true
	}
}

// Each code of an HAck is acted on (RFC 5568 sections 6.2.1.2 and 6.2.3).
func TestHandoverAckCodes(t *testing.T) {
	other := netip.MustParseAddr("2001:db8:2::abcd")
	for _, c := range []struct {
		name      string
		code      uint8
		supplied  netip.Addr
		status    uint8
		exit      netip.Addr // zero: not bound
		alternate netip.Addr
	}{
		{"0 accepted", 0, netip.Addr{}, 0, labNew, netip.Addr{}},
		{"0 with another address", 0, other, 1, other, other},
		{"1 not valid", 1, netip.Addr{}, 128, netip.Addr{}, netip.Addr{}},
		{"1 not valid, the same supplied", 1, labNew, 128, netip.Addr{}, netip.Addr{}},
		{"1 not valid, another supplied", 1, other, 1, other, other},
		{"2 assigned", 2, other, 1, other, other},
		{"2 assigned as asked for", 2, labNew, 0, labNew, labNew}, // the FBack has it in any case (section 5.2)
		{"2 without an address", 2, netip.Addr{}, 0, labNew, netip.Addr{}},
		{"2 of a foreign prefix", 2, netip.MustParseAddr("2001:db8:66::1"), 128, netip.Addr{}, netip.Addr{}},
		{"2 of one of our links", 2, labNew2, 128, netip.Addr{}, netip.Addr{}},
		{"3 previous care-of address", 3, netip.Addr{}, 1, narAddr, labHome},
		{"128", 128, netip.Addr{}, 128, netip.Addr{}, netip.Addr{}},
		{"129", 129, netip.Addr{}, 129, netip.Addr{}, netip.Addr{}},
		{"130", 130, netip.Addr{}, 130, netip.Addr{}, netip.Addr{}},
		{"an unknown refusal", 200, netip.Addr{}, 128, netip.Addr{}, netip.Addr{}},
		{"an unknown acceptance", 77, netip.Addr{}, 128, netip.Addr{}, netip.Addr{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.answerByHand(c.code, c.supplied)
			l.update(predictive(1))
			l.run(20 * time.Millisecond)
			if len(l.acks) != 1 || l.acks[0].Status != c.status || l.acks[0].AlternateCareOf != c.alternate {
				t.Fatalf("the node got %+v", l.acks)
			}
			b, ok := l.par.router.Bound(labHome)
			if ok != c.exit.IsValid() || ok && (b.CareOf != c.exit || b.ToRouter != (c.code == 3)) {
				t.Errorf("binding %+v, %v", b, ok)
			}
			if l.par.bound[labHome].CareOf != c.exit {
				t.Errorf("forwarded to %v", l.par.bound[labHome])
			}
			if len(l.par.held) != 0 {
				t.Error("packets are still kept")
			}
		})
	}
}

// HAck code 4 is unsolicited and asks for an HI about a node that is bound (section 6.2.1.2).
func TestUnsolicitedHandoverAck(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	l.update(reactive(1))
	l.run(10 * time.Millisecond)
	ask := func(home netip.Addr, number uint64) {
		ack := mobility.HandoverAck{Code: mobility.HandoverUnsolicited, PreviousCareOf: home, NewCareOf: labNew, LinkAddr: nodeLink,
			Number: number, HasNumber: true, Auth: pairAuth()}
		l.receive(l.par, handover(t, narAddr, parAddr, ack.Append(nil), labPairKey), nil)
		l.run(10 * time.Millisecond)
	}
	l.trace = nil
	number := uint64(l.now.Unix()) << 16
	ask(labHome, number)
	l.expect("PAR HI 1 to 2001:db8:2::1 routed", "NAR HAck 0 to 2001:db8:1::1 routed")
	ask(labHome, number) // replayed
	l.expect()
	l.wantCounter(l.par, "handover_ack_number", 1)
	ask(labHome.Next(), number+1) // nobody's
	l.expect()
	l.wantCounter(l.par, "handover_ack_not_awaited", 1)
	for i := range uint64(60) { // a neighbour cannot have us work for it without end
		ask(labHome, number+2+i)
	}
	if n := l.par.counter("initiates_asked_for"); n > 1+20+6 {
		t.Errorf("%d HIs were sent on request in 0.6 s", n)
	}
}

// hi gives the NAR an HI made by hand, and gives what it answers.
func (l *lab) initiate(change func(m *mobility.HandoverInitiate), neighbour ipv6.LinkAddr) (ack mobility.HandoverAck, ok bool) {
	l.t.Helper()
	m := mobility.HandoverInitiate{
		Seq: 9, LinkAddr: nodeLink, PreviousCareOf: labHome, NewCareOf: labNew, Buffer: true,
		Number: uint64(l.now.Unix())<<16 + uint64(len(l.sent)) + 1, HasNumber: true, Auth: pairAuth(),
	}
	if change != nil {
		change(&m)
	}
	sent := len(l.sent)
	p := handover(l.t, parAddr, narAddr, m.Append(nil), labPairKey)
	if l, addr, ok := l.nar.router.NeighbourWanted(p); ok != (m.NewCareOf.IsValid() && netip.MustParsePrefix("2001:db8:2::/64").Contains(m.NewCareOf)) || ok && (l != labLink || addr != m.NewCareOf) {
		panic("which neighbour entry is wanted")
	}
	l.receive(l.nar, p, func(in *fmip.Input) { in.Neighbour = neighbour })
	for _, packet := range l.sent[sent:] {
		var q ipv6.Packet
		ipv6.Parse(packet, &q)
		if q.Proto != ipv6.ProtoMobility {
			continue
		}
		h, _ := mobility.ParseHeader(q.Payload)
		ack, err := mobility.ParseHandoverAck(h)
		if err != nil {
			continue
		}
		if !mobility.VerifyHandover(h.Octets, labPairKey, narAddr, parAddr) {
			l.t.Error("the HAck has no right authenticator")
		}
		if ack.Seq != m.Seq || ack.Number != m.Number {
			l.t.Errorf("the HAck has number %d of %d, %d of %d", ack.Seq, m.Seq, ack.Number, m.Number)
		}
		return ack, true
	}
	return mobility.HandoverAck{}, false
}

// What the NAR answers to an HI (RFC 5568 sections 4, 5.2 and 6.2.1.2).
func TestAcceptCodes(t *testing.T) {
	foreign := ipv6.LinkAddr{2, 6, 6, 6, 6, 6}
	for _, c := range []struct {
		name      string
		config    func(nar *fmip.RouterConfig)
		change    func(m *mobility.HandoverInitiate)
		neighbour ipv6.LinkAddr
		code      uint8
		supplied  bool
		trace     []string // of what is prepared
	}{
		{name: "valid", code: 0, trace: []string{"NAR hold 2001:db8:2::100 copy=false", "NAR proxy 2001:db8:2::100"}},
		{name: "no buffering asked for", change: func(m *mobility.HandoverInitiate) { m.Buffer = false }, code: 0,
			trace: []string{"NAR proxy 2001:db8:2::100"}},
		{name: "no buffering here", config: func(nar *fmip.RouterConfig) { nar.Buffer = false }, code: 0,
			trace: []string{"NAR proxy 2001:db8:2::100"}},
		{name: "the node is there already", neighbour: nodeLink, code: 0},
		{name: "in use by a neighbour", neighbour: foreign, code: 1},
		{name: "our own address", change: func(m *mobility.HandoverInitiate) { m.NewCareOf = narAddr }, code: 1},
		{name: "anycast address", change: func(m *mobility.HandoverInitiate) { m.NewCareOf = netip.MustParseAddr("2001:db8:2::") }, code: 1},
		{name: "no prefix of ours", change: func(m *mobility.HandoverInitiate) { m.NewCareOf = netip.MustParseAddr("2001:db8:66::1") }, code: 128},
		{name: "no new care-of address", change: func(m *mobility.HandoverInitiate) { m.NewCareOf = netip.Addr{} }, code: 128},
		{name: "no link-layer address", change: func(m *mobility.HandoverInitiate) { m.LinkAddr = ipv6.LinkAddr{} }, code: 128},
		{name: "unknown code", change: func(m *mobility.HandoverInitiate) { m.Code = 2 }, code: 128},
		{name: "link refused", config: func(nar *fmip.RouterConfig) { nar.Links[0].Refuse = true }, code: 129},
		{name: "neighbour without fast handover", config: func(nar *fmip.RouterConfig) { nar.Neighbors[0].Fast = false }, code: 129},
		{name: "assigned as proposed", change: func(m *mobility.HandoverInitiate) { m.Assigned = true }, code: 2, supplied: true,
			trace: []string{"NAR hold 2001:db8:2::100 copy=false", "NAR proxy 2001:db8:2::100"}},
		{name: "in use, host route", neighbour: foreign, config: func(nar *fmip.RouterConfig) { nar.HostRoutes = true }, code: 3,
			trace: []string{"NAR route 2001:db8:1::100", "NAR hold 2001:db8:1::100 copy=false"}},
		{name: "DHCP alone", config: func(nar *fmip.RouterConfig) { nar.Links[0].PreviousOnly = true }, code: 3,
			trace: []string{"NAR route 2001:db8:1::100", "NAR hold 2001:db8:1::100 copy=false"}},
		{name: "host route for an address that is not the peer's", neighbour: foreign,
			config: func(nar *fmip.RouterConfig) { nar.HostRoutes = true },
			change: func(m *mobility.HandoverInitiate) { m.PreviousCareOf = netip.MustParseAddr("2001:db8:66::1") }, code: 1},
		{name: "code 1", change: func(m *mobility.HandoverInitiate) { m.Code = 1 }, code: 0},
		{name: "code 1, another node's address", change: func(m *mobility.HandoverInitiate) { m.Code = 1 }, neighbour: foreign, code: 128},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, func(_, nar *fmip.RouterConfig) {
				if c.config != nil {
					c.config(nar)
				}
			})
			ack, ok := l.initiate(c.change, c.neighbour)
			if !ok || ack.Code != c.code || ack.NewCareOf.IsValid() != c.supplied {
				t.Errorf("HAck %+v, %v; want code %d", ack, ok, c.code)
			}
			want := append([]string(nil), c.trace...)
			l.expect(append(want, "NAR HAck "+itoa(c.code)+" to 2001:db8:1::1 routed")...)
		})
	}
}

func itoa(n uint8) string {
	s := ""
	for ; n > 0 || s == ""; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}

// With S and an address that cannot be used, the NAR assigns another one, but not on a link where the node would have to
// sign for it.
func TestAssignedAddress(t *testing.T) {
	foreign := ipv6.LinkAddr{2, 6, 6, 6, 6, 6}
	assigned := func(m *mobility.HandoverInitiate) { m.Assigned = true }
	l := newLab(t)
	ack, _ := l.initiate(assigned, foreign)
	if ack.Code != mobility.HandoverAddressAssigned || !netip.MustParsePrefix("2001:db8:2::/64").Contains(ack.NewCareOf) || ack.NewCareOf == labNew {
		t.Fatalf("HAck %+v", ack)
	}
	if _, held := l.nar.held[ack.NewCareOf]; !held {
		t.Error("nothing is kept for the assigned address")
	}
	again, _ := l.initiate(assigned, foreign)
	if again.Code != ack.Code || again.NewCareOf != ack.NewCareOf {
		t.Errorf("the same HI got another answer: %+v", again)
	}
	l = newLab(t, func(_, nar *fmip.RouterConfig) { nar.Links[0].RequireSecuredUNA = true })
	if ack, _ := l.initiate(assigned, foreign); ack.Code != mobility.HandoverAddressInvalid {
		t.Errorf("HAck %+v", ack)
	}
	// End to end: the FBack tells the node (RFC 5568 section 3.2).
	l = newLab(t, func(par, _ *fmip.RouterConfig) { par.AssignAddresses = true })
	l.nar.entries[labNew] = foreign
	l.update(predictive(1))
	l.run(20 * time.Millisecond)
	b, ok := l.par.router.Bound(labHome)
	if !ok || len(l.acks) != 1 || l.acks[0].Status != mobility.FastStatusUseSupplied || l.acks[0].AlternateCareOf != b.CareOf {
		t.Errorf("FBack %+v, binding %+v", l.acks, b)
	}
}

// HAck code 3 end to end: the tunnel ends at the NAR, a host route goes on, and what is kept goes to the node when it
// announces its previous address.
func TestHostRoute(t *testing.T) {
	l := newLab(t, func(_, nar *fmip.RouterConfig) { nar.HostRoutes = true })
	l.nar.entries[labNew] = ipv6.LinkAddr{2, 6, 6, 6, 6, 6}
	l.update(predictive(1))
	l.run(20 * time.Millisecond)
	l.move()
	l.data()
	l.run(20 * time.Millisecond)
	want := fmip.Binding{Home: labHome, Router: narAddr, CareOf: parAddr, Link: labLink, ToRouter: true}
	if l.nar.routes[labHome] != want {
		t.Errorf("host route %+v, want %+v", l.nar.routes[labHome], want)
	}
	l.attach(l.nar, labLink)
	l.trace = nil
	p := naPacket(t, labHome, labHome, 0, nodeLink)
	if !l.nar.router.Owns(p) {
		t.Fatal("the announcement is not owned")
	}
	l.step(l.nar, fmip.Input{Kind: fmip.InPacket, Packet: p})
	l.expect("NAR neighbour 2001:db8:1::100", "NAR drain 2001:db8:1::100")
	if l.packets != 1 {
		t.Errorf("the node got %d packets", l.packets)
	}
	l.run(59 * time.Second)
	if len(l.nar.routes) != 1 {
		t.Error("the host route is gone too early")
	}
	l.run(2 * time.Second)
	if len(l.nar.routes) != 0 {
		t.Error("the host route stays")
	}
}

// Routers with several addresses: both ends of a tunnel between them are those that the HI had, whatever link the node leaves
// and whichever of the new router's addresses comes first.
func TestHostRouteBetweenRoutersWithSeveralAddresses(t *testing.T) {
	parKnown, narFirst := netip.MustParseAddr("2001:db8:a::1"), netip.MustParseAddr("2001:db8:b::1")
	l := newLab(t, func(par, nar *fmip.RouterConfig) {
		par.Address, nar.Address = parKnown, narFirst
		nar.Neighbors[0].Router = parKnown
		nar.HostRoutes = true
	})
	l.par.address = parKnown
	l.nar.entries[labNew] = ipv6.LinkAddr{2, 6, 6, 6, 6, 6}
	l.update(predictive(1))
	l.run(20 * time.Millisecond)
	served := fmip.Binding{Home: labHome, Router: narAddr, CareOf: parKnown, Link: labLink, ToRouter: true}
	if l.nar.routes[labHome] != served {
		t.Errorf("served as %+v, want %+v", l.nar.routes[labHome], served)
	}
	bound := fmip.Binding{Home: labHome, Router: parKnown, CareOf: narAddr, Link: labLink, ToRouter: true}
	if l.par.bound[labHome] != bound {
		t.Errorf("bound as %+v, want %+v", l.par.bound[labHome], bound)
	}
	if len(l.acks) != 1 || l.acks[0].Status != mobility.FastStatusUseSupplied || l.acks[0].AlternateCareOf != labHome {
		t.Errorf("FBack %+v", l.acks)
	}
}

// A retransmitted HI gets the same HAck and prepares nothing again; a new one for the same move loses nothing of what is
// kept; a node that did not come is forgotten after PROXY_ND_LIFETIME.
func TestInitiateAgain(t *testing.T) {
	l := newLab(t)
	l.initiate(nil, ipv6.LinkAddr{})
	l.trace = nil
	if ack, ok := l.initiate(nil, ipv6.LinkAddr{}); !ok || ack.Code != 0 {
		t.Errorf("HAck %+v, %v", ack, ok)
	}
	l.expect("NAR HAck 0 to 2001:db8:1::1 routed")
	l.run(time.Second)
	l.initiate(func(m *mobility.HandoverInitiate) { m.Seq = 10 }, ipv6.LinkAddr{})
	l.expect("NAR HAck 0 to 2001:db8:1::1 routed")
	l.run(1400 * time.Millisecond)
	l.expect()
	l.run(200 * time.Millisecond)
	l.expect("NAR unproxy 2001:db8:2::100", "NAR discard 2001:db8:2::100")
	l.wantCounter(l.nar, "arrivals_expired", 1)
	// After the node has come, the same HI is still known, and does not keep its packets back again.
	l.initiate(nil, ipv6.LinkAddr{})
	l.una()
	l.run(2 * labHop)
	l.trace = nil
	if ack, ok := l.initiate(nil, ipv6.LinkAddr{}); !ok || ack.Code != 0 {
		t.Errorf("HAck %+v, %v", ack, ok)
	}
	l.expect("NAR HAck 0 to 2001:db8:1::1 routed")
}

// Two nodes cannot have one address; the number of nodes is bounded (code 130).
func TestArrivalBounds(t *testing.T) {
	l := newLab(t)
	l.initiate(nil, ipv6.LinkAddr{})
	other := func(m *mobility.HandoverInitiate) { m.Seq, m.LinkAddr = 11, ipv6.LinkAddr{2, 5, 5, 5, 5, 5} }
	if ack, _ := l.initiate(other, ipv6.LinkAddr{}); ack.Code != mobility.HandoverAddressInvalid {
		t.Errorf("another node at the same address: %+v", ack)
	}
	for i := range 100 {
		ack, _ := l.initiate(func(m *mobility.HandoverInitiate) {
			m.Seq, m.LinkAddr = uint16(100+i), ipv6.LinkAddr{2, 4, 0, 0, 0, byte(i)}
			m.NewCareOf = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 2, 8: 1, 15: byte(i + 1)})
		}, ipv6.LinkAddr{})
		if want := map[bool]uint8{true: 0, false: mobility.HandoverResources}[i < 15]; ack.Code != want {
			t.Fatalf("node %d: code %d, want %d", i, ack.Code, want)
		}
	}
	l.run(2 * time.Second)
	if len(l.nar.held) != 0 || len(l.nar.proxied) != 0 {
		t.Errorf("left over: %v, %v", l.nar.held, l.nar.proxied)
	}
}

// Duplicate address detection goes on behind the HAck; the address is defended after it (RFC 5568 section 4).
func TestDetection(t *testing.T) {
	dad := func(_, nar *fmip.RouterConfig) { nar.DADTransmits, nar.RetransTimer = 2, 300*time.Millisecond }
	l := newLab(t, dad)
	l.initiate(nil, ipv6.LinkAddr{})
	l.run(50 * time.Millisecond)
	l.expect("NAR hold 2001:db8:2::100 copy=false", "NAR NS to ff02::1:ff00:100 on 1", "NAR HAck 0 to 2001:db8:1::1 routed")
	l.run(300 * time.Millisecond)
	l.expect("NAR NS to ff02::1:ff00:100 on 1")
	l.run(300 * time.Millisecond)
	l.expect("NAR proxy 2001:db8:2::100")

	other := ipv6.LinkAddr{2, 6, 6, 6, 6, 6}
	for name, hear := range map[string]func(l *lab){
		"another defends it": func(l *lab) {
			l.step(l.nar, fmip.Input{Kind: fmip.InPacket, Packet: naPacket(t, labNew, labNew, ndp.FlagOverride, other)})
		},
		"another asks for it": func(l *lab) {
			dst := ipv6.SolicitedNode(labNew)
			src := netip.IPv6Unspecified()
			raw := ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, ndp.AppendNeighborSolicit(nil, src, dst, labNew))
			p := &ipv6.Packet{Interface: labLink, LinkSource: other}
			ipv6.Parse(raw, p)
			if !l.nar.router.Owns(p) {
				t.Error("a probe for the awaited address is not owned")
			}
			l.step(l.nar, fmip.Input{Kind: fmip.InPacket, Packet: p})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, dad)
			l.initiate(nil, ipv6.LinkAddr{})
			hear(l)
			l.wantCounter(l.nar, "dad_conflicts", 1)
			l.run(700 * time.Millisecond)
			if len(l.nar.proxied) != 0 {
				t.Error("another's address is defended")
			}
			if len(l.nar.held) != 1 {
				t.Error("what was kept is not kept any more, and may reach the other")
			}
			// The node is told at its UNA (NAACK, section 6.4.6), and what was kept does not go to the other.
			l.attach(l.nar, labLink)
			l.trace = nil
			l.una()
			l.run(10 * time.Millisecond)
			l.expect("MN UNA", "NAR RA to 2001:db8:2::100 on 1", "NAR discard 2001:db8:2::100")
			if len(l.naacks) != 1 || l.naacks[0].Status != ndp.AckConfigure {
				t.Errorf("NAACK %+v", l.naacks)
			}
		})
	}
	// That the previous router vouches for the node does not make the address its own.
	l = newLab(t, dad)
	l.initiate(nil, ipv6.LinkAddr{})
	l.step(l.nar, fmip.Input{Kind: fmip.InPacket, Packet: naPacket(t, labNew, labNew, ndp.FlagOverride, other)})
	l.initiate(func(m *mobility.HandoverInitiate) { m.Code, m.Seq = 1, 10 }, ipv6.LinkAddr{})
	if _, held := l.nar.held[labNew]; !held || len(l.nar.entries) != 0 {
		t.Error("what was kept went to an address that is another's")
	}
	// The node's own probe, when it comes, is none of that.
	l = newLab(t, dad)
	l.initiate(nil, ipv6.LinkAddr{})
	dst, src := ipv6.SolicitedNode(labNew), netip.IPv6Unspecified()
	raw := ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, ndp.AppendNeighborSolicit(nil, src, dst, labNew))
	p := &ipv6.Packet{Interface: labLink, LinkSource: nodeLink}
	ipv6.Parse(raw, p)
	l.step(l.nar, fmip.Input{Kind: fmip.InPacket, Packet: p})
	l.wantCounter(l.nar, "dad_conflicts", 0)
	l.wantCounter(l.nar, "probe_of_the_node", 1)
}

// Who may announce an address that is kept for a node (RFC 5568 section 6.3, and SEND).
func TestAnnouncements(t *testing.T) {
	other := ipv6.LinkAddr{2, 6, 6, 6, 6, 6}
	secured := func(nar *fmip.RouterConfig) { nar.Links[0].RequireSecuredUNA = true }
	for _, c := range []struct {
		name    string
		config  func(nar *fmip.RouterConfig)
		source  ipv6.LinkAddr
		src     netip.Addr
		flags   ndp.NAFlags
		in      fmip.Input
		taken   bool
		counter string
	}{
		{name: "UNA", source: nodeLink, src: labNew, taken: true, counter: "announcements_taken"},
		{name: "with O, after the node's own detection", source: nodeLink, src: labNew, flags: ndp.FlagOverride, taken: true, counter: "announcements_taken"},
		{name: "from another address", source: nodeLink, src: labNew.Next(), counter: "announce_source"},
		{name: "another link-layer address", source: other, src: labNew, counter: "announce_other_link_source"},
		{name: "another link-layer address, but signed by the address's owner", source: other, src: labNew, in: fmip.Input{Secured: true}, taken: true, counter: "announcements_taken"},
		{name: "unsigned on a secured link", config: secured, source: nodeLink, src: labNew, counter: "announce_not_secured"},
		{name: "signed on a secured link", config: secured, source: nodeLink, src: labNew, in: fmip.Input{Secured: true}, taken: true, counter: "announcements_taken"},
		{name: "a repetition of a signed one", config: secured, source: nodeLink, src: labNew, in: fmip.Input{Secured: true, Repeat: true}, counter: "announce_repeated"},
		{name: "our own voice", source: narLink, src: labNew, counter: "announce_link_source"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, func(_, nar *fmip.RouterConfig) {
				if c.config != nil {
					c.config(nar)
				}
			})
			l.initiate(nil, ipv6.LinkAddr{})
			l.attach(l.nar, labLink)
			in := c.in
			in.Kind, in.Packet = fmip.InPacket, naPacket(t, c.src, labNew, c.flags, c.source)
			l.step(l.nar, in)
			l.run(5 * time.Millisecond)
			_, held := l.nar.held[labNew]
			if held == c.taken || l.nar.proxied[labNew] == c.taken {
				t.Errorf("held %v, proxied %v", held, l.nar.proxied[labNew])
			}
			want := ipv6.LinkAddr{}
			if c.taken {
				want = c.source
			}
			if l.nar.entries[labNew] != want {
				t.Errorf("neighbour entry %v", l.nar.entries[labNew])
			}
			l.wantCounter(l.nar, c.counter, 1)
			if c.counter == "announce_other_link_source" && (len(l.naacks) != 1 || l.naacks[0].Status != ndp.AckUnknownLink) {
				t.Errorf("NAACK %+v, want status 128", l.naacks)
			}
		})
	}
}

// The Fast Neighbor Advertisement of RFC 4068 is taken for a UNA where it fits.
func TestFastNeighborAdvert(t *testing.T) {
	send := func(l *lab, source, said ipv6.LinkAddr) {
		mh := mobility.FastNeighborAdvert{LinkAddr: said}.Append(nil)
		mobility.FixChecksum(mh, labNew, narAddr)
		p := &ipv6.Packet{Interface: labLink, LinkSource: source}
		ipv6.Parse(ipv6.Append(nil, ipv6.Header{Src: labNew, Dst: narAddr, HopLimit: 255}, ipv6.ProtoMobility, mh), p)
		l.receive(l.nar, p, nil)
	}
	l := newLab(t)
	send(l, nodeLink, nodeLink)
	l.wantCounter(l.nar, "announce_not_awaited", 1)
	l.initiate(nil, ipv6.LinkAddr{})
	send(l, ipv6.LinkAddr{2, 6}, nodeLink)
	l.wantCounter(l.nar, "announce_link_source", 1)
	l.wantCounter(l.nar, "announcements_taken", 0)
	send(l, nodeLink, nodeLink)
	l.wantCounter(l.nar, "announcements_taken", 1)
	l = newLab(t, func(_, nar *fmip.RouterConfig) { nar.Links[0].RequireSecuredUNA = true })
	l.initiate(nil, ipv6.LinkAddr{})
	send(l, nodeLink, nodeLink)
	l.wantCounter(l.nar, "announce_not_secured", 1)
}

// The access point says that the node has arrived: its packets follow shortly, UNA or not; so do they when its previous
// router vouches for it.
func TestArrivalWithoutUNA(t *testing.T) {
	l := newLab(t)
	l.initiate(nil, ipv6.LinkAddr{})
	l.trace = nil
	l.event(l.nar, fmip.LinkAuthorised, ipv6.LinkAddr{})
	l.run(40 * time.Millisecond)
	l.expect() // the node's UNA says better when it can take packets
	l.run(20 * time.Millisecond)
	l.expect("NAR neighbour 2001:db8:2::100", "NAR unproxy 2001:db8:2::100", "NAR drain 2001:db8:2::100")

	l = newLab(t)
	l.initiate(nil, ipv6.LinkAddr{})
	l.trace = nil
	if ack, _ := l.initiate(func(m *mobility.HandoverInitiate) { m.Code, m.Seq = 1, 10 }, ipv6.LinkAddr{}); ack.Code != 0 {
		t.Errorf("HAck %+v", ack)
	}
	l.expect("NAR neighbour 2001:db8:2::100", "NAR unproxy 2001:db8:2::100", "NAR drain 2001:db8:2::100", "NAR HAck 0 to 2001:db8:1::1 routed")

	// On a secured-only link a link-layer address proves nothing.
	l = newLab(t, func(_, nar *fmip.RouterConfig) { nar.Links[0].RequireSecuredUNA = true })
	l.initiate(nil, ipv6.LinkAddr{})
	l.event(l.nar, fmip.LinkAuthorised, ipv6.LinkAddr{})
	l.run(time.Second)
	if _, held := l.nar.held[labNew]; !held {
		t.Error("what is kept was given to a link-layer address on a secured-only link")
	}
}
