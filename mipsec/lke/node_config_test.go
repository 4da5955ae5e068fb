package lke

import (
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// The draft's numbers collide with those that IANA gave to others later: all of them can be changed.
func TestNodeCodePoints(t *testing.T) {
	cp := mobility.CodePoints{
		KeyExchangeRequest: 101, KeyExchangeAck: 102, Finished: 103,
		OptLifetime: 201, OptRouter: 202, OptHMAC: 203, OptFinishedRequest: 204,
	}
	nd := ndp.CodePoints{Capability: 211, AuthRequest: 212, AuthReply: 213}
	b := newNodeBench(t, func(c *NodeConfig) { c.CodePoints, c.NDCodePoints = cp, nd })
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b.attached(par)
	if b.n.State().RouterKeyExchange {
		t.Fatal("the draft's number of the capability still counts")
	}

	plain := newNodePeer(t, 1, nil).advert()
	msg := append([]byte(nil), plain.Payload...)
	msg = ndp.Capability{MaximumLifetime: 7200, PublicKey: par.spki}.Append(msg, nd)
	ndp.FixChecksum(msg, plain.Src, plain.Dst)
	b.receive(par.packet(ipv6.Header{Src: plain.Src, Dst: plain.Dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg))
	requests := nodeOnly(b.sent, 101)
	if len(requests) != 1 {
		t.Fatalf("%d requests of type 101, want 1", len(requests))
	}
	request := requests[0].p
	h, _ := mobility.ParseHeader(request.Payload)
	if m, err := mobility.ParseKeyExchangeRequest(h, 128, cp); err != nil || m.Lifetime != 3600 {
		t.Errorf("request %+v, %v", m, err)
	}

	ack := mobility.KeyExchangeAck{Seq: nodeSeq(request), Lifetime: 900, Router: par.global}.Append(nil, cp)
	if err := mobility.SignKeyExchangeAck(ack, b.key[:], par.linkLocal, request.Src, request.HomeAddress); err != nil {
		t.Fatal(err)
	}
	mobility.FixChecksum(ack, par.linkLocal, request.HomeAddress)
	header := ipv6.Header{Src: par.linkLocal, Dst: request.Src, HopLimit: 255, RoutingHome: request.HomeAddress}
	b.drops("drop_mh_unknown_type", func() { b.receive(par.ack(request, b.key)) }) // the draft's type 9
	b.receive(par.packet(header, ipv6.ProtoMobility, ack))
	if !b.has(EventAcknowledge) {
		t.Fatalf("events %v", b.events())
	}

	src, dst := netip.IPv6Unspecified(), ipv6.SolicitedNode(request.HomeAddress)
	solicit := ndp.AppendNeighborSolicit(nil, src, dst, request.HomeAddress,
		ndp.DADAuth{Nonce: 5, Router: par.global}.Append(nil, nd.AuthRequest))
	if err := ndp.SignDADAuth(solicit, b.key[:], src, dst, 24); err != nil {
		t.Fatal(err)
	}
	b.receive(par.packet(ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, solicit))
	adverts := nodeOnly(b.sent, nodeSentNA)
	if len(adverts) != 1 {
		t.Fatalf("%d advertisements, want 1", len(adverts))
	}
	if got := adverts[0].p.Payload[32]; got != nd.AuthReply {
		t.Errorf("reply option %d, want %d", got, nd.AuthReply)
	}
	b.advance(2 * time.Second)

	key := b.key
	b.moved(newNodePeer(t, 2, nil))
	update := b.lastUpdate()
	answer := mobility.BindingAck{
		Seq: nodeSeq(update), Lifetime: 100, FinishedRequest: true, FinishedNonce: 7, HasAuth: true,
	}.Append(nil, cp)
	if err := mobility.SignBAD(answer, key[:], update.Dst, update.Src); err != nil {
		t.Fatal(err)
	}
	mobility.FixChecksum(answer, update.Dst, update.HomeAddress)
	header = ipv6.Header{Src: update.Dst, Dst: update.Src, HopLimit: 64, RoutingHome: update.HomeAddress}
	b.receive(par.packet(header, ipv6.ProtoMobility, answer))
	if got := len(nodeOnly(b.sent, 103)); got != 1 {
		t.Errorf("%d Finished messages of type 103, want 1", got)
	}
}

func TestNodeDefaults(t *testing.T) {
	local := netip.MustParseAddr("fe80::1234")
	n := NewNode(NodeConfig{LinkLocal: local, MinBits: 512})
	if n.cfg.LinkLocal != local || n.cfg.MinBits != 1024 {
		t.Errorf("link-local address %v, at least %d bits", n.cfg.LinkLocal, n.cfg.MinBits)
	}
	if n.Step(nodeTestStart, Input{Kind: InPacket}) != nil || n.Step(nodeTestStart, Input{Kind: InTick}) != nil {
		t.Error("effects of nothing")
	}
	if s := n.State(); s.Attached || s.CareOf.IsValid() || s.Associations != nil {
		t.Errorf("%+v", s)
	}
}
