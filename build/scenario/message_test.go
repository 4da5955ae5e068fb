package scenario

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/firmware/mobilenode"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

var (
	parAddr  = hostIn(parNet, 1)
	narAddr  = hostIn(narNet, 1)
	homeAddr = hostIn(homeNet, 0x99)
	agent    = hostIn(homeNet, 1)
	oldCoA   = hostIn(parNet, 0x99)
	newCoA   = hostIn(narNet, 0x99)
	nodeLL   = netip.MustParseAddr("fe80::99")
	routerLL = netip.MustParseAddr("fe80::1")
)

// frame puts a packet into a frame that was seen at a place.
func frame(at, place int, outgoing bool, packet []byte) pcap.Frame {
	octets := append(make([]byte, 12), 0x86, 0xdd)
	return pcap.Frame{Interface: place, At: ms(at), Outgoing: outgoing, Octets: append(octets, packet...)}
}

func mobilityPacket(h ipv6.Header, mh []byte) []byte {
	src, dst := h.Src, h.Dst
	if h.HomeAddress.IsValid() {
		src = h.HomeAddress
	}
	if h.RoutingHome.IsValid() {
		dst = h.RoutingHome
	}
	mobility.FixChecksum(mh, src, dst)
	return ipv6.Append(nil, h, ipv6.ProtoMobility, mh)
}

func binding(dst, home, careOf netip.Addr) []byte {
	h := ipv6.Header{Src: careOf, Dst: dst, HopLimit: 64, HomeAddress: home}
	return mobilityPacket(h, mobility.BindingUpdate{Seq: 7, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: 60}.Append(nil))
}

func acknowledgement(src, home, careOf netip.Addr, finished bool) []byte {
	h := ipv6.Header{Src: src, Dst: careOf, HopLimit: 64, RoutingHome: home}
	ba := mobility.BindingAck{Seq: 7, Lifetime: 60, FinishedRequest: finished, FinishedNonce: 1}
	return mobilityPacket(h, ba.Append(nil, mobility.DefaultCodePoints()))
}

func icmp(src, dst netip.Addr, message []byte) []byte {
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, message)
}

// Each message of the handover is known by what it is, not by its number alone: LKE's are those of others elsewhere.
func TestMessagesAreTold(t *testing.T) {
	points := mobility.DefaultCodePoints()
	local := ipv6.Header{Src: nodeLL, Dst: routerLL, HopLimit: 255, TrafficClass: 0xf0, HomeAddress: oldCoA}
	request := mobility.KeyExchangeRequest{Seq: 1, Data: make([]byte, 128), Lifetime: 60}.Append(nil, points)
	far := local
	far.HopLimit = 64
	auth := ndp.DADAuth{Nonce: 1, Router: parAddr}
	all, none := ipv6.AllNodes(), netip.IPv6Unspecified()
	group := ipv6.SolicitedNode(oldCoA)
	finished := mobility.Finished{Seq: 7, Lifetime: 60, Nonce: 1, HasAuth: true}.Append(nil, points)
	ack := mobility.KeyExchangeAck{Seq: 1, Lifetime: 15, Router: parAddr}.Append(nil, points)
	between := ipv6.Header{Src: parAddr, Dst: narAddr, HopLimit: 64}
	for name, c := range map[string]struct {
		packet []byte
		want   Kind
	}{
		"solicitation": {icmp(nodeLL, ipv6.AllRouters(), ndp.AppendRouterSolicit(nil, nodeLL, ipv6.AllRouters())), RouterSolicit},
		"DAD of the router": {icmp(none, group, ndp.AppendNeighborSolicit(nil, none, group, oldCoA,
			auth.Append(nil, ndp.DefaultCodePoints().AuthRequest))), DADSolicit},
		"DAD of somebody": {icmp(none, group, ndp.AppendNeighborSolicit(nil, none, group, oldCoA)), ""},
		"answer to it": {icmp(oldCoA, all, ndp.AppendNeighborAdvert(nil, oldCoA, all, ndp.FlagOverride, oldCoA,
			auth.Append(nil, ndp.DefaultCodePoints().AuthReply))), DADAdvert},
		"ordinary advertisement":   {icmp(oldCoA, all, ndp.AppendNeighborAdvert(nil, oldCoA, all, ndp.FlagOverride, oldCoA)), ""},
		"key request":              {mobilityPacket(local, request), KeyRequest},
		"key request from afar":    {mobilityPacket(far, request), ""},
		"key acknowledgement":      {mobilityPacket(ipv6.Header{Src: routerLL, Dst: nodeLL, HopLimit: 255, RoutingHome: oldCoA}, ack), KeyAck},
		"binding update":           {binding(parAddr, oldCoA, newCoA), Update},
		"binding acknowledgement":  {acknowledgement(parAddr, oldCoA, newCoA, true), UpdateAck},
		"finished":                 {mobilityPacket(ipv6.Header{Src: newCoA, Dst: parAddr, HopLimit: 64, HomeAddress: oldCoA}, finished), Finished},
		"ordinary announcement":    {icmp(nodeLL, all, ndp.AppendNeighborAdvert(nil, nodeLL, all, 0, nodeLL, targetLink())), ""},
		"announcement":             {announcement(), Announce},
		"fast binding update":      {fastUpdatePacket(), FastUpdate},
		"its acknowledgement":      {fastAckPacket(), FastAck},
		"handover initiate":        {mobilityPacket(between, mobility.HandoverInitiate{LinkAddr: ipv6.LinkAddr{2}}.Append(nil)), Initiate},
		"handover acknowledgement": {mobilityPacket(between, mobility.HandoverAck{Code: mobility.HandoverRefused}.Append(nil)), InitiateAck},
		"proxy solicitation":       {icmp(nodeLL, routerLL, ndp.ProxySolicit{Wildcard: true}.Append(nil, nodeLL, routerLL)), ProxySolicit},
		"proxy advertisement":      {icmp(routerLL, nodeLL, ndp.ProxyAdvert{}.Append(nil, routerLL, nodeLL)), ProxyAdvert},
		"path solicitation":        {icmp(nodeLL, routerLL, ndp.PathSolicit{Identifier: 1, Component: 0xffff}.Append(nil, nodeLL, routerLL)), PathSolicit},
		"path advertisement":       {icmp(routerLL, all, ndp.PathAdvert{All: 1}.Append(nil, routerLL, all)), PathAdvert},
		"binding update, tunneled": {ipv6.Append(nil, ipv6.Header{Src: agent, Dst: oldCoA, HopLimit: 64}, ipv6.ProtoIPv6, binding(parAddr, oldCoA, newCoA)), ""},
		"nothing":                  {nil, ""},
	} {
		m, ok := Decode(frame(0, 0, false, c.packet))
		if ok != (c.want != "") || ok && m.Kind != c.want {
			t.Errorf("%s: told as %q (%v), want %q", name, m.Kind, ok, c.want)
		}
		if len(m.Detail) > MaxDetail {
			t.Errorf("%s: %q is longer than a line has room for", name, m.Detail)
		}
	}
	damaged := binding(parAddr, oldCoA, newCoA)
	damaged[len(damaged)-1] ^= 1
	if m, ok := Decode(frame(0, 0, false, damaged)); ok {
		t.Errorf("a message with a wrong checksum is told as %s", m.Kind)
	}
}

// datagram is packet seq of the flow.
func datagram(seq uint64, to netip.Addr) []byte {
	udp := make([]byte, udpHeaderLen+payloadLen)
	binary.BigEndian.PutUint16(udp[2:], port)
	copy(udp[udpHeaderLen:], payloadMagic)
	binary.BigEndian.PutUint64(udp[udpHeaderLen+8:], seq)
	return ipv6.Append(nil, ipv6.Header{Src: hostIn(correspondentNet, 2), Dst: to, HopLimit: 60}, protoUDP, udp)
}

func tunnelled(src, dst netip.Addr, packet []byte) []byte {
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 60}, ipv6.ProtoIPv6, packet)
}

// Only what the old router itself tunnelled to the node counts as forwarded, also with the home agent's tunnel in it.
func TestWhatTheOldRouterForwardedIsKnown(t *testing.T) {
	f := Flow{Arrivals: make([]Arrival, 5)}
	for i := range f.Arrivals {
		f.Arrivals[i].Seq = uint64(i)
	}
	f.markTunnel([]pcap.Frame{
		frame(0, atNode, false, datagram(0, oldCoA)),
		frame(1, atNode, false, tunnelled(parAddr, newCoA, datagram(1, oldCoA))),
		frame(2, atNode, false, tunnelled(agent, newCoA, datagram(2, homeAddr))),
		frame(3, atNode, false, tunnelled(parAddr, newCoA, tunnelled(agent, oldCoA, datagram(3, homeAddr)))),
		frame(4, atPARUplink, false, tunnelled(parAddr, newCoA, datagram(4, oldCoA))),
	}, atNode, parAddr)
	for i, want := range []bool{false, true, false, true, false} {
		if f.Arrivals[i].Tunnel != want {
			t.Errorf("packet %d: forwarded is %v, want %v", i, f.Arrivals[i].Tunnel, want)
		}
	}
}

// report is a handover with LKE as the capture, the node and the router tell it.
func report() *Report {
	r := &Report{
		Options:  Options{Protocol: LKE},
		Topology: &Topology{PAR: &Router{Address: parAddr}, NAR: &Router{Address: narAddr}, HomeAgent: agent},
		Down:     ms(20), Up: ms(30),
		Handover: &control.Handover{Home: oldCoA, RouterUS: 250},
	}
	r.Flow = flow(100, func(n int) (bool, bool) { return n <= 20 || n >= 45, false })
	for n := 45; n < 90; n++ {
		r.Frames = append(r.Frames, frame(n, atNode, false, tunnelled(parAddr, newCoA, datagram(uint64(n), oldCoA))))
	}
	r.Frames = append(r.Frames,
		frame(40, atNode, true, binding(parAddr, oldCoA, newCoA)),
		frame(41, atNARUplink, true, binding(parAddr, oldCoA, newCoA)),
		frame(42, atPARUplink, false, binding(parAddr, oldCoA, newCoA)),
		frame(43, atNode, true, binding(agent, homeAddr, newCoA)),
		frame(44, atNode, false, acknowledgement(parAddr, oldCoA, newCoA, true)),
	)
	r.Lines = []mobilenode.Line{{Time: ms(39), Event: "address-ready", Home: newCoA}}
	return r
}

func TestAnalysisOfAHandover(t *testing.T) {
	a := report().Analyse()
	want := Result{Protocol: "lke", Sent: 100, Lost: 24, Gap: 25 * time.Millisecond, Router: 250 * time.Microsecond, Forwarded: 45}
	if a.Result != want {
		t.Errorf("result %+v\nwant   %+v", a.Result, want)
	}
	took := map[string]time.Duration{}
	for _, p := range a.Parts {
		took[p.Name] = p.Took
	}
	for name, want := range map[string]time.Duration{
		"link": 10 * time.Millisecond, "attach": 10 * time.Millisecond, "binding": 2 * time.Millisecond,
		"router": 250 * time.Microsecond, "delivery": 2750 * time.Microsecond,
	} {
		if took[name] != want {
			t.Errorf("%s took %v, want %v", name, took[name], want)
		}
	}
	var steps []string
	for _, s := range a.Steps {
		steps = append(steps, s.From+">"+s.To+" "+s.What)
		if len(s.Detail) > MaxDetail {
			t.Errorf("%q is longer than a line has room for", s.Detail)
		}
	}
	wantSteps := []string{
		"node> link down", "node> link up", "node> address", "node>old router BU", "old router> forwarding",
		"node>home agent BU", "old router>node BA", "node> first packet", "node> direct again",
	}
	for i := range max(len(steps), len(wantSteps)) {
		if i >= len(steps) || i >= len(wantSteps) || steps[i] != wantSteps[i] {
			t.Fatalf("steps %q\nwant  %q", steps, wantSteps)
		}
	}
}
