package lke

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// nodeReply gives the authentication reply of an advertisement.
func nodeReply(t *testing.T, p *ipv6.Packet) (auth ndp.DADAuth, option ndp.Option) {
	t.Helper()
	m, reason := ndp.ParseNeighborAdvert(p)
	if reason != ndp.ReasonNone {
		t.Fatalf("advertisement is not valid: %v", reason)
	}
	for o, ok := m.Options.Next(); ok; o, ok = m.Options.Next() {
		if o.Type == ndp.DefaultCodePoints().AuthReply {
			auth, err := ndp.ParseDADAuth(o)
			if err != nil {
				t.Fatal(err)
			}
			return auth, o
		}
	}
	t.Fatal("advertisement without authentication reply")
	return auth, option
}

// LKE-MN-8: the router's solicitation with an authentication request is answered by a multicast advertisement with nonce
// and router address copied, under the association's key.
func TestNodeAnswersDAD(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).attached(par)
	careOf := b.n.State().CareOf
	b.receive(par.ack(b.lastRequest(), b.key))
	b.take()
	b.receive(par.solicit(careOf, b.key, 0xcafe))
	sent := nodeOnly(b.sent, nodeSentNA)
	if len(sent) != 1 {
		t.Fatalf("LKE-MN-8: %d advertisements at once, want 1", len(sent))
	}
	m, _ := ndp.ParseNeighborAdvert(sent[0].p)
	if m.Target != careOf || m.TargetLink != nodeTestHardware || !m.Override || m.Solicited || m.Router {
		t.Errorf("LKE-MN-8: advertisement %+v", m)
	}
	auth, option := nodeReply(t, sent[0].p)
	if auth.Nonce != 0xcafe || auth.Router != par.global {
		t.Errorf("LKE-MN-8: reply with nonce %x and router %v, want those of the request", auth.Nonce, auth.Router)
	}
	if !ndp.VerifyDADAuth(sent[0].p.Payload, b.key[:], careOf, ipv6.AllNodes(), option) {
		t.Error("LKE-MN-8: the reply's HMAC is wrong")
	}
	if s := b.n.State().Associations[0].State; s != "dad" {
		t.Errorf("state %q, want dad: the router's DAD period is not over", s)
	}
	if b.has(EventAssociated) {
		t.Error("the association counts as valid before the router's DAD period is over")
	}

	// The same octets once more, for a router that did not hear the first ones can't say so.
	b.advance(time.Second)
	sent = nodeOnly(b.sent, nodeSentNA)
	if len(sent) != 2 || !bytes.Equal(sent[0].p.Raw, sent[1].p.Raw) || sent[1].at.Sub(sent[0].at) != 250*time.Millisecond {
		t.Errorf("advertisements %v, want the same one 250 ms later", sent)
	}
	b.advance(100 * time.Millisecond)
	if !b.has(EventAssociated) || b.n.State().Associations[0].State != "valid" {
		t.Errorf("LKE-resolution-l: after RetransTimer the association counts as valid: %v", b.events())
	}
	b.advance(time.Minute)
	if got := len(nodeOnly(b.sent, nodeSentNA)); got != 2 {
		t.Errorf("%d advertisements in all, want 2", got)
	}
	b.receive(par.solicit(careOf, b.key, 0xcafe))
	started := 0
	for _, kind := range b.events() {
		if kind == EventDADStarted {
			started++
		}
	}
	if started != 1 {
		t.Errorf("%d reports of one detection", started)
	}

	// Between links nothing is sent a second time.
	b.sent = nil
	b.step(Input{Kind: InAttached})
	b.advance(time.Second)
	if got := len(nodeOnly(b.sent, nodeSentNA)); got != 0 {
		t.Errorf("%d advertisements on a link that is not known yet", got)
	}
}

// LKE-resolution-l: the router's period is that of the RetransTimer that it advertises, from its last solicitation on.
func TestNodeWaitsForTheRoutersPeriod(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t)
	b.step(Input{Kind: InAttached})
	b.receive(par.advert(func(a *nodeAdvert) { a.retrans = 3000 }))
	careOf := b.n.State().CareOf
	b.receive(par.ack(b.lastRequest(), b.key))
	b.receive(par.solicit(careOf, b.key, 1))
	b.advance(2 * time.Second)
	b.receive(par.solicit(careOf, b.key, 1)) // DupAddrDetectTransmits 2
	if got := len(nodeOnly(b.sent, nodeSentNA)); got != 3 {
		t.Errorf("LKE-MN-8: %d advertisements, want 3: each solicitation is answered", got)
	}
	b.advance(3 * time.Second)
	if b.has(EventAssociated) {
		t.Error("LKE-resolution-l: valid before RetransTimer after the last solicitation")
	}
	b.advance(100 * time.Millisecond)
	if !b.has(EventAssociated) {
		t.Error("not valid after the router's DAD period")
	}
}

// LKE-MN-8: what is not the router's authentic request is not answered.
func TestNodeDoesNotAnswer(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).attached(par)
	careOf := b.n.State().CareOf
	key, wrong := b.key, b.key
	wrong[0] ^= 1

	b.receive(par.ack(b.lastRequest(), key))
	b.drops("drop_dad_other_router", func() {
		b.receive(par.solicit(careOf, key, 1, func(a *ndp.DADAuth) { a.Router = a.Router.Next() }))
	})
	b.drops("drop_ns_other_target", func() { b.receive(par.solicit(careOf.Next(), key, 1)) })
	p := par.solicit(careOf, key, 1)
	p.HopLimit = 64
	b.drops("drop_nd_bad_hop_limit", func() { b.receive(p) })
	p = par.solicit(careOf, key, 1)
	p.Payload[30] ^= 1
	b.drops("drop_nd_bad_checksum", func() { b.receive(p) })
	p = par.solicit(careOf, wrong, 1)
	p.LinkSource = nodeTestHardware
	b.drops("drop_ns_no_request", func() { b.receive(p) })
	src, dst := netip.IPv6Unspecified(), ipv6.SolicitedNode(careOf)
	header := ipv6.Header{Src: src, Dst: dst, HopLimit: 255}
	// Plain DAD, and a request in a solicitation that is no DAD, are the kernel's.
	plain := ndp.AppendNeighborSolicit(nil, src, dst, careOf)
	b.drops("drop_ns_no_request", func() { b.receive(par.packet(header, ipv6.ProtoICMPv6, plain)) })
	header.Src = par.linkLocal
	request := ndp.DADAuth{Nonce: 1, Router: par.global}.Append(nil, 7)
	resolve := ndp.AppendNeighborSolicit(nil, header.Src, dst, careOf, request)
	if err := ndp.SignDADAuth(resolve, key[:], header.Src, dst, 24); err != nil {
		t.Fatal(err)
	}
	b.drops("drop_ns_no_request", func() { b.receive(par.packet(header, ipv6.ProtoICMPv6, resolve)) })

	b.receive(par.solicit(careOf, key, 1))
	b.drops("drop_dad_repeated", func() { b.receive(par.solicit(careOf, key, 1)) })

	// After the node has left, the old router's requests are for nobody.
	b.advance(2 * time.Second)
	b.moved(newNodePeer(t, 2, nil))
	b.take()
	b.drops("drop_ns_other_target", func() { b.receive(par.solicit(careOf, key, 2)) })
}

// A request under a key that is not the node's is that of another station, which has asked the router for a key for this
// node's address. The node defends its address as any host does, never with a reply option: the router drops that
// association (LKE-AR-13).
func TestNodeDefendsItsAddress(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	silent := newNodePeer(t, 2, nil)
	for _, c := range []struct {
		name, counter string
		bench         func(t *testing.T) *nodeBench
		solicit       func(careOf netip.Addr, key [KeyLen]byte) *ipv6.Packet
	}{
		{
			name: "no association", counter: "drop_dad_no_association",
			bench: func(t *testing.T) *nodeBench { return newNodeBench(t).attached(silent) },
		},
		{
			name: "key exchange under way", counter: "drop_dad_bad_mac",
			bench: func(t *testing.T) *nodeBench { return newNodeBench(t).attached(par) },
		},
		{
			name: "association", counter: "drop_dad_bad_mac",
			bench: func(t *testing.T) *nodeBench { return newNodeBench(t).associated(par) },
		},
		{
			name: "malformed request", counter: "drop_dad_malformed",
			bench: func(t *testing.T) *nodeBench { return newNodeBench(t).associated(par) },
			solicit: func(careOf netip.Addr, _ [KeyLen]byte) *ipv6.Packet {
				src, dst := netip.IPv6Unspecified(), ipv6.SolicitedNode(careOf)
				msg := ndp.AppendNeighborSolicit(nil, src, dst, careOf, []byte{7, 1, 0, 0, 0, 0, 0, 0})
				return par.packet(ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.bench(t)
			before := b.n.State()
			if c.solicit == nil {
				c.solicit = func(careOf netip.Addr, key [KeyLen]byte) *ipv6.Packet { return par.solicit(careOf, key, 1) }
			}
			other := b.key
			other[0] ^= 1
			b.take()
			b.receive(c.solicit(before.CareOf, other))
			sent := nodeOnly(b.sent, nodeSentNA)
			if len(sent) != 1 || len(b.sent) != 1 {
				t.Fatalf("%d answers, want 1", len(sent))
			}
			m, reason := ndp.ParseNeighborAdvert(sent[0].p)
			if reason != ndp.ReasonNone || m.Target != before.CareOf || !m.Override || m.Solicited || sent[0].p.Dst != ipv6.AllNodes() {
				t.Errorf("answer %+v, %v", m, reason)
			}
			for o, ok := m.Options.Next(); ok; o, ok = m.Options.Next() {
				if o.Type != ndp.OptTargetLink {
					t.Errorf("LKE-MN-8: option %d in the answer to a request that is not authentic", o.Type)
				}
			}
			if b.counter(c.counter) != 1 || b.counter("dad_defended") != 1 {
				t.Errorf("%s is %d, dad_defended %d", c.counter, b.counter(c.counter), b.counter("dad_defended"))
			}
			if after := b.n.State(); !slices.Equal(after.Associations, before.Associations) {
				t.Errorf("associations changed from %+v to %+v", before.Associations, after.Associations)
			}
		})
	}
}

// A solicitation that overtakes the acknowledgement is answered as soon as that is verified: LKE-MN-6 and LKE-MN-8 both
// hold. Too late it is not: the router's DAD is over.
func TestNodeReorderedSolicitation(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	for _, c := range []struct {
		delay time.Duration
		want  int
	}{{300 * time.Millisecond, 1}, {1500 * time.Millisecond, 0}} {
		b := newNodeBench(t).attached(par)
		request := b.lastRequest()
		b.drops("dad_before_keack", func() { b.receive(par.solicit(b.n.State().CareOf, b.key, 0xbeef)) })
		b.advance(c.delay)
		b.receive(par.ack(request, b.key))
		sent := nodeOnly(b.sent, nodeSentNA)
		if len(sent) != c.want {
			t.Fatalf("%d advertisements %v after the solicitation, want %d", len(sent), c.delay, c.want)
		}
		if c.want == 1 {
			if auth, _ := nodeReply(t, sent[0].p); auth.Nonce != 0xbeef {
				t.Errorf("nonce %x", auth.Nonce)
			}
			continue
		}
		// The exchange goes on until it is complete.
		b.advance(3 * time.Second)
		if got := nodeSeq(b.lastRequest()); got != nodeSeq(request)+1 {
			t.Errorf("LKE-MN-5: request %d after %d", got, nodeSeq(request))
		}
	}
}

// The acknowledgement came, the solicitation was lost: the router has no association in the end, so that the node asks
// again, with the same key.
func TestNodeLostSolicitation(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).attached(par)
	request := b.lastRequest()
	b.receive(par.ack(request, b.key))
	b.advance(3300 * time.Millisecond)
	again := b.lastRequest()
	if nodeSeq(again) != nodeSeq(request)+1 || b.keys != 1 {
		t.Fatalf("request %d after %d, %d keys", nodeSeq(again), nodeSeq(request), b.keys)
	}
	b.exchange(par, 3)
	b.advance(time.Minute)
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 0 {
		t.Error("the exchange goes on after it is complete")
	}
}

// LKE-MN-9: an advertisement for the node's address without authentication reply, from another station: the association is
// removed and made anew.
func TestNodeAddressClaimed(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	rogue := ipv6.LinkAddr{2, 0xee, 0, 0, 0, 1}
	for _, c := range []struct {
		name  string
		after time.Duration // after the solicitation was answered
		opts  [][]byte
	}{
		{"in the router's DAD period", 10 * time.Millisecond, nil},
		{"later", time.Minute, nil},
		{"with a reply that is not ours", time.Second, [][]byte{ndp.DADAuth{Router: par.global}.Append(nil, 8)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newNodeBench(t).attached(par)
			careOf := b.n.State().CareOf
			request, key := b.lastRequest(), b.key
			b.receive(par.ack(request, key))
			b.receive(par.solicit(careOf, key, 1))
			b.advance(c.after)
			b.take()
			b.receive(par.claim(careOf, rogue, c.opts...))
			if got := b.n.State().Associations; len(got) != 0 || !b.has(EventLost) {
				t.Fatalf("LKE-MN-9: association %+v, events %v", got, b.events())
			}
			b.advance(3200 * time.Millisecond)
			if b.key == key || nodeSeq(b.lastRequest()) == nodeSeq(request) {
				t.Error("LKE-MN-9: no new exchange")
			}
			b.exchange(par, 2)
		})
	}
}

// LKE-MN-9 has no effect where it must not.
func TestNodeAddressNotClaimed(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	rogue := ipv6.LinkAddr{2, 0xee, 0, 0, 0, 1}
	b := newNodeBench(t).attached(par)
	careOf := b.n.State().CareOf
	b.drops("drop_na_no_association", func() { b.receive(par.claim(careOf, rogue)) })
	b.receive(par.ack(b.lastRequest(), b.key))
	b.receive(par.solicit(careOf, b.key, 1))
	own := nodeOnly(b.sent, nodeSentNA)[0].p
	b.advance(2 * time.Second)

	b.drops("drop_na_other_target", func() { b.receive(par.claim(careOf.Next(), rogue)) })
	// LKE-resolution-m, seen from the node: its own frames come back from a bridge or a promiscuous socket.
	b.drops("drop_na_own", func() { b.receive(par.claim(careOf, nodeTestHardware)) })
	// LKE-AR-17: the router replays the node's own advertisement.
	replayed := *own
	replayed.LinkSource = par.hw
	b.drops("drop_na_authentic", func() { b.receive(&replayed) })
	p := par.claim(careOf, rogue)
	p.HopLimit = 1
	b.drops("drop_nd_bad_hop_limit", func() { b.receive(p) })

	// Back on the link the router still answers for the address, until it is deregistered.
	key := b.key
	b.moved(newNodePeer(t, 2, nil))
	b.receive(par.bindingAck(b.lastUpdate(), key))
	b.moved(par)
	b.drops("drop_na_no_association", func() { b.receive(par.claim(careOf, par.hw)) })
}

// However often an address is claimed, key exchanges keep their pace.
func TestNodeClaimsAreBounded(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	rogue := ipv6.LinkAddr{2, 0xee, 0, 0, 0, 1}
	b := newNodeBench(t).attached(par)
	careOf := b.n.State().CareOf
	for b.now.Sub(nodeTestStart) < 10*time.Minute {
		if requests := nodeOnly(b.sent, nodeSentKEReq); len(requests) > 0 {
			b.receive(par.ack(requests[len(requests)-1].p, b.key))
		}
		b.sent = nil
		b.receive(par.claim(careOf, rogue))
		b.advance(50 * time.Millisecond)
	}
	if b.keys != 15 {
		t.Errorf("LKE-MN-9: %d key exchanges in ten minutes, want 15", b.keys)
	}
}

// Where no kernel has the node's addresses the node answers solicitations itself.
func TestNodeAnswersSolicitations(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t, func(c *NodeConfig) { c.AnswerSolicitations = true }).attached(par)
	careOf := b.n.State().CareOf
	for _, target := range []netip.Addr{careOf, b.n.cfg.LinkLocal} {
		b.take()
		dst := ipv6.SolicitedNode(target)
		msg := ndp.AppendNeighborSolicit(nil, par.linkLocal, dst, target, ndp.SourceLinkOption(par.hw))
		b.receive(par.packet(ipv6.Header{Src: par.linkLocal, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg))
		sent := nodeOnly(b.sent, nodeSentNA)
		if len(sent) != 1 || sent[0].p.Dst != par.linkLocal || sent[0].dst != par.hw {
			t.Fatalf("answers %+v", sent)
		}
		if m, reason := ndp.ParseNeighborAdvert(sent[0].p); reason != ndp.ReasonNone || !m.Solicited || !m.Override ||
			m.Target != target || m.TargetLink != nodeTestHardware {
			t.Errorf("answer %+v, %v", m, reason)
		}
		b.take()
		src := netip.IPv6Unspecified()
		msg = ndp.AppendNeighborSolicit(nil, src, dst, target)
		dad := par.packet(ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
		b.receive(dad)
		sent = nodeOnly(b.sent, nodeSentNA)
		if len(sent) != 1 || sent[0].p.Dst != ipv6.AllNodes() || sent[0].dst != ipv6.MulticastLinkAddr(ipv6.AllNodes()) {
			t.Fatalf("answers to DAD %+v", sent)
		}
		if m, reason := ndp.ParseNeighborAdvert(sent[0].p); reason != ndp.ReasonNone || m.Solicited || !m.Override {
			t.Errorf("answer to DAD %+v, %v", m, reason)
		}
		dad.LinkSource = nodeTestHardware
		b.drops("drop_ns_no_request", func() { b.receive(dad) })
	}
}
