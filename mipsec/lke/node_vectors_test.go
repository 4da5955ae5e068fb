package lke

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// TestNodeVectors takes a node through an exchange and a move with the keys, addresses and numbers of vectors.json, and
// compares each of its messages octet for octet; the router's messages are those of the vectors.
func TestNodeVectors(t *testing.T) {
	v := loadNodeVectors(t)
	addr := func(name string) netip.Addr { return netip.MustParseAddr(v.Addresses[name]) }
	coa, newCoA, ar := addr("coa"), addr("new_coa"), addr("ar")
	kbm := nodeHex(t, v.Kbm)
	b := newNodeBench(t, func(c *NodeConfig) {
		// Kbm, then the number before that of the first binding update.
		c.Rand = nodeRandom(1, append(bytes.Clone(kbm), 0x12, 0x33)...)
		c.InterfaceID = 0xabcd
	})
	if got := b.n.cfg.LinkLocal; got != addr("mn_link_local") {
		t.Fatalf("link-local address %v, want %v", got, addr("mn_link_local"))
	}

	par := newNodePeer(t, 1, nodeTestSPKI(t))
	par.linkLocal, par.hw, par.global = addr("ar_link_local"), ipv6.LinkAddr{2, 0, 0, 0, 0, 1}, ar
	advert := par.advert(func(a *nodeAdvert) { a.maximum = 7200 })
	if !bytes.Contains(advert.Payload, nodeHex(t, v.Option6.Octets)) {
		t.Fatal("the advertisement does not hold the vector's option 6")
	}
	b.holdKey = true
	b.step(Input{Kind: InAttached})
	b.receive(advert)
	if b.key != [KeyLen]byte(kbm) {
		t.Fatalf("LKE-MN-3: the key is not the 16 random octets")
	}
	b.step(Input{Kind: InCiphertext, Job: b.job, Octets: nodeHex(t, v.KEReq.Data)})
	request := b.lastRequest()
	if want := nodeHex(t, v.KEReq.MH); !bytes.Equal(request.Payload, want) {
		t.Errorf("LKE-MN-4: key exchange request\n got %x\nwant %x", request.Payload, want)
	}

	ack := par.packet(ipv6.Header{
		Src: par.linkLocal, Dst: request.Src, TrafficClass: 0xf0, HopLimit: 255, RoutingHome: coa,
	}, ipv6.ProtoMobility, nodeHex(t, v.KEAck.MH))
	b.receive(ack)
	if !b.has(EventAcknowledge) {
		t.Error("LKE-MN-6: the vector's acknowledgement was not accepted")
	}

	solicit := par.packet(ipv6.Header{
		Src: netip.IPv6Unspecified(), Dst: ipv6.SolicitedNode(coa), HopLimit: 255,
	}, ipv6.ProtoICMPv6, nodeHex(t, v.DADNS.ICMPv6))
	b.receive(solicit)
	adverts := nodeOnly(b.sent, nodeSentNA)
	if len(adverts) != 1 {
		t.Fatalf("LKE-MN-8: %d advertisements, want 1", len(adverts))
	}
	if want := nodeHex(t, v.DADNA.ICMPv6); !bytes.Equal(adverts[0].p.Payload, want) {
		t.Errorf("LKE-MN-8: advertisement\n got %x\nwant %x", adverts[0].p.Payload, want)
	}
	b.advance(2 * time.Second)
	b.take()

	// The lifetime of the vector is that of the whole association: it is asked for at the moment of the acknowledgement.
	b.n.cfg.InterfaceID = 0xbeef
	b.n.association(coa).expires = b.now.Add(time.Hour)
	nar := newNodePeer(t, 2, nil)
	b.moved(nar)
	if got := b.n.State().CareOf; got != newCoA {
		t.Fatalf("care-of address %v, want %v", got, newCoA)
	}
	update := b.lastUpdate()
	if want := nodeHex(t, v.BU.MH); !bytes.Equal(update.Payload, want) {
		t.Errorf("LKE-MN-11: binding update\n got %x\nwant %x", update.Payload, want)
	}
	b.receive(par.packet(ipv6.Header{
		Src: ar, Dst: newCoA, HopLimit: 64, RoutingHome: coa,
	}, ipv6.ProtoMobility, nodeHex(t, v.BA.MH)))
	finished := nodeOnly(b.sent, nodeSentFinished)
	if len(finished) != 1 {
		t.Fatalf("LKE-MN-12: %d Finished messages, want 1", len(finished))
	}
	if want := nodeHex(t, v.Finished.MH); !bytes.Equal(finished[0].p.Payload, want) {
		t.Errorf("LKE-MN-12: Finished\n got %x\nwant %x", finished[0].p.Payload, want)
	}
}

// TestNodePacketsAreWhole checks what stands around the messages of an exchange: addresses, hop limits, extension
// headers, frames.
func TestNodePacketsAreWhole(t *testing.T) {
	b := newNodeBench(t)
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b.attached(par)
	coa := b.n.State().CareOf

	rs := nodeOnly(b.sent, nodeSentRS)[0]
	m, reason := ndp.ParseRouterSolicit(rs.p)
	if reason != ndp.ReasonNone || m.SourceLink != nodeTestHardware || rs.p.Src != b.n.cfg.LinkLocal ||
		rs.p.Dst != ipv6.AllRouters() || rs.dst != (ipv6.LinkAddr{0x33, 0x33, 0, 0, 0, 2}) || rs.link != nodeTestLink {
		t.Errorf("router solicitation %+v (%v) in frame to %v on link %d", rs.p, reason, rs.dst, rs.link)
	}

	request := nodeOnly(b.sent, nodeSentKEReq)[0]
	p := request.p
	if p.Src != b.n.cfg.LinkLocal || p.Dst != par.linkLocal || p.HopLimit != 255 || p.TrafficClass != 0xf0 ||
		p.HomeAddress != coa || p.RoutingHome.IsValid() {
		t.Errorf("LKE-MN-4: request is %+v", p)
	}
	if request.dst != par.hw || request.link != nodeTestLink {
		t.Errorf("LKE-MN-4: request goes to %v on link %d, want %v on link %d", request.dst, request.link, par.hw, nodeTestLink)
	}
	// LKE-resolution-g: the checksum's pseudo-header has the home address as source.
	if ipv6.Checksum(coa, par.linkLocal, ipv6.ProtoMobility, p.Payload) != 0 {
		t.Error("LKE-resolution-g: checksum of the request")
	}

	key := b.key
	b.receive(par.ack(p, key))
	b.receive(par.solicit(coa, key, 7))
	na := nodeOnly(b.sent, nodeSentNA)[0]
	if na.p.Src != coa || na.p.Dst != ipv6.AllNodes() || na.p.HopLimit != 255 ||
		na.dst != (ipv6.LinkAddr{0x33, 0x33, 0, 0, 0, 1}) {
		t.Errorf("LKE-MN-8: advertisement %+v in frame to %v", na.p, na.dst)
	}
	b.advance(2 * time.Second)

	nar := newNodePeer(t, 2, nil)
	b.moved(nar)
	newCoA := b.n.State().CareOf
	update := nodeOnly(b.sent, nodeSentBU)[0]
	b.receive(par.bindingAck(update.p, key, func(a *nodeUpdateAck) { a.FinishedRequest, a.FinishedNonce = true, 9 }))
	finished := nodeOnly(b.sent, nodeSentFinished)[0]
	for name, s := range map[string]nodeSent{"LKE-MN-11: update": update, "LKE-MN-12: Finished": finished} {
		if s.p.Src != newCoA || s.p.Dst != par.global || s.p.HomeAddress != coa || s.link != 0 || s.dst != nar.hw {
			t.Errorf("%s is %+v on link %d by %v", name, s.p, s.link, s.dst)
		}
		if ipv6.Checksum(coa, par.global, ipv6.ProtoMobility, s.p.Payload) != 0 {
			t.Errorf("%s: checksum", name)
		}
		if !mobility.VerifyBAD(s.p.Payload, key[:], newCoA, par.global) {
			t.Errorf("%s: authenticator", name)
		}
	}
}
