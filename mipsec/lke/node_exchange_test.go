package lke

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

var (
	nodeTestHomeAgent   = netip.MustParseAddr("2001:db8:ff::1")
	nodeTestHomeAddress = netip.MustParseAddr("2001:db8:ff::7")
)

func withHomeAgent(c *NodeConfig) {
	c.HomeAgent, c.HomeAddress = nodeTestHomeAgent, nodeTestHomeAddress
}

func nodeSeq(p *ipv6.Packet) uint16 { return binary.BigEndian.Uint16(p.Payload[6:8]) }

func nodeRequest(t *testing.T, p *ipv6.Packet) mobility.KeyExchangeRequest {
	t.Helper()
	h, err := mobility.ParseHeader(p.Payload)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mobility.ParseKeyExchangeRequest(h, 128, mobility.DefaultCodePoints())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// LKE-MN-2: the care-of address is registered with the home agent first; key exchange begins with its acknowledgement.
func TestNodeHomeAgentFirst(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t, withHomeAgent).attached(par)
	b.advance(time.Minute)
	updates := nodeOnly(b.sent, nodeSentBU)
	gaps := []time.Duration{1500 * time.Millisecond, 3 * time.Second, 6 * time.Second, 12 * time.Second, 24 * time.Second}
	at := nodeTestStart
	for i, u := range updates {
		if u.at != at {
			t.Errorf("update %d to the home agent at %v, want %v (RFC 6275 section 11.8)", i, u.at, at)
		}
		if i < len(gaps) {
			at = at.Add(gaps[i])
		}
		if u.p.Dst != nodeTestHomeAgent || u.p.HomeAddress != nodeTestHomeAddress || u.p.Src != b.n.State().CareOf {
			t.Errorf("update %+v", u.p)
		}
		h, _ := mobility.ParseHeader(u.p.Payload)
		m, err := mobility.ParseBindingUpdate(h)
		if err != nil || m.Flags != mobility.FlagAck|mobility.FlagHome || m.HasAuth || m.AlternateCareOf != u.p.Src {
			t.Errorf("update %+v, %v; want A and H, the alternate care-of address, no authenticator", m, err)
		}
		if i > 0 && m.Seq != nodeSeq(updates[i-1].p)+1 {
			t.Errorf("sequence number %d after %d", m.Seq, nodeSeq(updates[i-1].p))
		}
	}
	if len(updates) != 6 {
		t.Fatalf("%d updates in a minute, want 6", len(updates))
	}
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 0 || b.keys != 0 {
		t.Fatal("LKE-MN-2: key exchange before the home agent's acknowledgement")
	}
	b.drops("drop_ba_unasked", func() {
		b.receive(par.bindingAck(updates[5].p, [KeyLen]byte{}, func(a *nodeUpdateAck) { a.HasAuth, a.Seq = false, a.Seq+1 }))
	})
	b.receive(par.bindingAck(updates[5].p, [KeyLen]byte{}, func(a *nodeUpdateAck) { a.HasAuth = false }))
	if !b.has(EventHomeBound) || !b.n.State().HomeBound {
		t.Fatalf("the acknowledgement was not taken: events %v", b.events())
	}
	want := Binding{Home: nodeTestHomeAddress, Router: nodeTestHomeAgent, CareOf: b.n.State().CareOf, Link: nodeTestLink}
	if e, ok := b.effect(EffectBind); !ok || e.Binding != want {
		t.Errorf("tunnel %+v, want %+v", e.Binding, want)
	}
	if p := b.lastRequest(); p.Dst != par.linkLocal {
		t.Errorf("LKE-MN-2: request to %v after the acknowledgement", p.Dst)
	}
}

// A home agent without a home address, or the reverse, is none: the node does not wait for it.
func TestNodeHalfAHomeAgent(t *testing.T) {
	for _, forget := range []func(*NodeConfig){
		func(c *NodeConfig) { c.HomeAgent = netip.Addr{} },
		func(c *NodeConfig) { c.HomeAddress = netip.Addr{} },
	} {
		b := newNodeBench(t, withHomeAgent, forget).attached(newNodePeer(t, 1, nodeTestSPKI(t)))
		if len(nodeOnly(b.sent, nodeSentKEReq)) != 1 || len(nodeOnly(b.sent, nodeSentBU)) != 0 {
			t.Errorf("%d requests, %d updates", len(nodeOnly(b.sent, nodeSentKEReq)), len(nodeOnly(b.sent, nodeSentBU)))
		}
	}
}

func TestNodeHomeAgentRefuses(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t, withHomeAgent).attached(par)
	refuse := func(a *nodeUpdateAck) { a.HasAuth, a.Status = false, mobility.StatusProhibited }
	first := b.lastUpdate()
	b.receive(par.bindingAck(first, [KeyLen]byte{}, refuse))
	if !b.has(EventRefused) || b.has(EventHomeBound) {
		t.Errorf("events %v", b.events())
	}
	b.take()
	b.advance(31 * time.Second)
	if len(nodeOnly(b.sent, nodeSentBU)) != 0 {
		t.Error("the home agent refused and is asked again at once")
	}
	b.advance(2 * time.Second)
	again := b.lastUpdate()
	// 135 tells the last number that the home agent accepted: the node goes on from there.
	b.receive(par.bindingAck(again, [KeyLen]byte{}, func(a *nodeUpdateAck) {
		a.HasAuth, a.Status, a.Seq = false, mobility.StatusSequence, a.Seq+1000
	}))
	if got, want := nodeSeq(b.lastUpdate()), nodeSeq(again)+1001; got != want {
		t.Errorf("sequence number %d, want %d", got, want)
	}
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 0 {
		t.Error("LKE-MN-2: key exchange without the home agent")
	}
}

// The home agent's binding is refreshed at three quarters of what was granted, and is gone when it runs out.
func TestNodeRefreshesHomeBinding(t *testing.T) {
	par := newNodePeer(t, 1, nil)
	grant := func(a *nodeUpdateAck) { a.HasAuth, a.Lifetime = false, 100 }
	b := newNodeBench(t, withHomeAgent).attached(par)
	b.receive(par.bindingAck(b.lastUpdate(), [KeyLen]byte{}, grant))
	b.take()
	b.advance(299 * time.Second)
	if len(nodeOnly(b.sent, nodeSentBU)) != 0 {
		t.Error("refreshed too early")
	}
	b.advance(time.Second)
	b.receive(par.bindingAck(b.lastUpdate(), [KeyLen]byte{}, grant))
	if got, want := b.n.State().HomeUntil, nodeTestStart.Add(700*time.Second); got != want {
		t.Errorf("bound until %v, want %v", got, want)
	}
	b.step(Input{Kind: InAttached}) // on no link that is known
	b.take()
	b.advance(500 * time.Second)
	if len(nodeOnly(b.sent, nodeSentBU)) != 0 {
		t.Error("an update between two links")
	}
	if b.n.State().HomeBound || !b.ended(nodeTestHomeAddress) || !b.has(EventUnbound) {
		t.Error("the tunnel to the home agent outlives the binding")
	}
}

// At home the binding is removed, and LKE needs no home agent.
func TestNodeAtHome(t *testing.T) {
	far, near := newNodePeer(t, 1, nil), newNodePeer(t, 2, nodeTestSPKI(t))
	near.prefix, near.global = netip.MustParsePrefix("2001:db8:ff::/64"), nodeTestHomeAgent
	b := newNodeBench(t, withHomeAgent).attached(far)
	b.receive(far.bindingAck(b.lastUpdate(), [KeyLen]byte{}, func(a *nodeUpdateAck) { a.HasAuth = false }))
	b.moved(near)
	if got := b.n.State().CareOf; got != nodeTestHomeAddress {
		t.Fatalf("address %v at home, want %v", got, nodeTestHomeAddress)
	}
	update := b.lastUpdate()
	b.effects = nil
	h, _ := mobility.ParseHeader(update.Payload)
	if m, err := mobility.ParseBindingUpdate(h); err != nil || m.Lifetime != 0 || update.HomeAddress.IsValid() ||
		update.Src != nodeTestHomeAddress {
		t.Errorf("deregistration %+v (%v) in %+v", m, err, update)
	}
	b.receive(near.bindingAck(update, [KeyLen]byte{}, func(a *nodeUpdateAck) { a.HasAuth = false }))
	if e, ok := b.effect(EffectUnbind); !ok || e.Home != nodeTestHomeAddress {
		t.Errorf("the tunnel to the home agent is still there: %+v", e)
	}
	if p := b.lastRequest(); p.HomeAddress != nodeTestHomeAddress {
		t.Errorf("request for %v", p.HomeAddress)
	}

	// A node that starts at home has nothing to register.
	b = newNodeBench(t, withHomeAgent).attached(near)
	if len(nodeOnly(b.sent, nodeSentBU)) != 0 || len(nodeOnly(b.sent, nodeSentKEReq)) != 1 {
		t.Errorf("%d updates, %d requests", len(nodeOnly(b.sent, nodeSentBU)), len(nodeOnly(b.sent, nodeSentKEReq)))
	}
	// Without a wish for a lifetime it asks for the longest one.
	b = newNodeBench(t, withHomeAgent, func(c *NodeConfig) { c.Lifetime = 0 }).attached(far)
	if got := nodeUpdate(t, b.lastUpdate()).Lifetime; got != 0xffff {
		t.Errorf("lifetime %d, want %d", got, 0xffff)
	}
}

// LKE-MN-3: each exchange has a fresh key of 16 random octets, encrypted under the router's public key; nothing is sent
// until that is done, and a failure is tried again, not at once.
func TestNodeKeys(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t)
	b.holdKey = true
	b.attached(par)
	e, ok := b.effect(EffectEncrypt)
	if !ok || string(e.PublicKey) != string(par.spki) || e.Key == [KeyLen]byte{} {
		t.Fatalf("LKE-MN-3: encryption of %x under %x", e.Key, e.PublicKey)
	}
	first := e.Key
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 0 {
		t.Fatal("a request without a key")
	}
	b.drops("drop_stale_job", func() { b.step(Input{Kind: InCiphertext, Job: e.Job + 1, Octets: make([]byte, 128)}) })
	b.drops("encryption_failed", func() { b.step(Input{Kind: InCiphertext, Job: e.Job, Failed: true}) })
	b.take()
	b.advance(3199 * time.Millisecond)
	if b.keys != 1 {
		t.Fatal("the failed encryption was tried again at once")
	}
	b.advance(time.Millisecond)
	if b.keys != 2 || b.key == first {
		t.Errorf("LKE-MN-3: %d keys; the second is the first again: %v", b.keys, b.key == first)
	}
	b.drops("encryption_failed", func() { b.step(Input{Kind: InCiphertext, Job: b.job, Octets: make([]byte, 127)}) })
	// A job that never comes back does not stop the node for ever.
	b.advance(20 * time.Second)
	if b.keys != 3 {
		t.Errorf("%d keys, want 3", b.keys)
	}
	b.advance(2 * time.Minute)
	if b.keys < 4 {
		t.Error("a lost encryption stops the node")
	}
}

func TestNodeWithoutRandomness(t *testing.T) {
	b := newNodeBench(t, func(c *NodeConfig) { c.Rand = nil })
	b.attached(newNodePeer(t, 1, nodeTestSPKI(t)))
	b.advance(time.Minute)
	if b.keys != 0 || len(nodeOnly(b.sent, nodeSentKEReq)) != 0 {
		t.Error("LKE-MN-3: a key without randomness")
	}
	if b.counter("no_randomness") == 0 {
		t.Error("the failure is not counted")
	}
}

// LKE-MN-4: the requested lifetime does not exceed the maximum that the router advertises.
// LKE-resolution-c: both are in seconds.
func TestNodeRequestedLifetime(t *testing.T) {
	for _, c := range []struct {
		name   string
		wanted time.Duration
		advert func(*nodeAdvert)
		want   uint16
	}{
		{"less than the maximum", 1000 * time.Second, func(a *nodeAdvert) { a.maximum = 7200 }, 1000},
		{"more than the maximum", time.Hour, func(a *nodeAdvert) { a.maximum = 600 }, 600},
		{"nothing wished for", 0, func(a *nodeAdvert) { a.maximum = 600 }, 600},
		{"maximum beyond the router lifetime", time.Hour, func(a *nodeAdvert) { a.lifetime = 300 }, 300},
		{"maximum beyond the home agent lifetime", time.Hour, func(a *nodeAdvert) { a.homeAgent = 200 }, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newNodeBench(t, func(cfg *NodeConfig) { cfg.Lifetime = c.wanted })
			par := newNodePeer(t, 1, nodeTestSPKI(t))
			b.step(Input{Kind: InAttached})
			b.receive(par.advert(c.advert))
			if got := nodeRequest(t, b.lastRequest()).Lifetime; got != c.want {
				t.Errorf("LKE-MN-4, LKE-resolution-c: requested lifetime %d s, want %d", got, c.want)
			}
		})
	}
}

// LKE-MN-4: numbers increase over all requests, of all exchanges, with all routers, and after the program was started
// again; LKE-MN-5: a request without answer is repeated with the same key and the next number, first after more than 3 s
// (the router's limit), then after twice as long each time.
func TestNodeRequestRepeats(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).attached(par)
	b.advance(4 * time.Minute)
	requests := nodeOnly(b.sent, nodeSentKEReq)
	gaps := []float64{3.2, 6.4, 12.8, 25.6, 51.2, 51.2, 51.2}
	if len(requests) != len(gaps)+1 {
		t.Fatalf("%d requests in four minutes, want %d", len(requests), len(gaps)+1)
	}
	first := nodeRequest(t, requests[0].p)
	for i, gap := range gaps {
		if got := requests[i+1].at.Sub(requests[i].at).Seconds(); got != gap {
			t.Errorf("LKE-MN-5: request %d after %v s, want %v", i+1, got, gap)
		}
		m := nodeRequest(t, requests[i+1].p)
		if m.Seq != first.Seq+uint16(i+1) {
			t.Errorf("LKE-MN-5: request %d has number %d, want %d", i+1, m.Seq, first.Seq+uint16(i+1))
		}
		if string(m.Data) != string(first.Data) {
			t.Errorf("LKE-MN-5: request %d has another key", i+1)
		}
	}
	if b.keys != 1 {
		t.Errorf("LKE-MN-5: %d keys, want 1", b.keys)
	}
	last := nodeSeq(requests[len(requests)-1].p)

	nar := newNodePeer(t, 2, par.spki)
	b.moved(nar)
	m := nodeRequest(t, b.lastRequest())
	if within(m.Seq, last-0x8000, last) || string(m.Data) == string(first.Data) {
		t.Errorf("LKE-MN-4: number %d after %d, or the same key, with the next router", m.Seq, last)
	}

	again := newNodeBench(t, func(c *NodeConfig) { c.Rand = nodeRandom(2) })
	again.now = b.now.Add(10 * time.Second)
	again.attached(nar)
	if got := nodeSeq(again.lastRequest()); within(got, m.Seq-0x8000, m.Seq) {
		t.Errorf("LKE-MN-4: number %d of a program started again, which used %d before", got, m.Seq)
	}
}

// LKE-MN-6: only the verified acknowledgement of a request that is outstanding makes an association. Everything else is
// dropped without any effect.
func TestNodeDropsAcknowledgements(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	stranger := ipv6.LinkAddr{2, 0xee, 0, 0, 0, 1}
	for _, c := range []struct {
		name, counter string
		change        func(*nodeAck)
	}{
		{"number never sent", "drop_keack_unasked", func(a *nodeAck) { a.Seq++ }},
		{"number from before", "drop_keack_unasked", func(a *nodeAck) { a.Seq-- }},
		{"hop limit 254", "drop_keack_hop_limit", func(a *nodeAck) { a.hopLimit = 254 }},
		{"global source", "drop_mh_other_type", func(a *nodeAck) { a.src = par.global }},
		{"another router's address", "drop_keack_other_router", func(a *nodeAck) { a.src = ipv6.LinkLocalFrom(stranger) }},
		{"another station", "drop_keack_other_router", func(a *nodeAck) { a.hw = stranger }},
		{"global destination", "drop_keack_address", func(a *nodeAck) { a.dst = a.home }},
		{"another node", "drop_keack_address", func(a *nodeAck) { a.dst = ipv6.LinkLocalFrom(stranger) }},
		{"another care-of address", "drop_keack_care_of", func(a *nodeAck) { a.home = a.home.Next() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newNodeBench(t).attached(par)
			b.drops(c.counter, func() { b.receive(par.ack(b.lastRequest(), b.key, c.change)) })
			if got := b.n.State().Associations; len(got) != 0 {
				t.Errorf("LKE-MN-6: association %+v", got)
			}
		})
	}

	b := newNodeBench(t).attached(par)
	// LKE-resolution-f: the care-of address comes in a type 2 routing header and nowhere else.
	plain := par.ack(b.lastRequest(), b.key)
	mh := append([]byte(nil), plain.Payload...)
	mobility.FixChecksum(mh, plain.Src, plain.Dst)
	header := ipv6.Header{Src: plain.Src, Dst: plain.Dst, HopLimit: 255}
	b.drops("drop_keack_care_of", func() { b.receive(par.packet(header, ipv6.ProtoMobility, mh)) })
	header.HomeAddress = plain.RoutingHome
	mobility.FixChecksum(mh, plain.RoutingHome, plain.Dst)
	b.drops("drop_keack_address", func() { b.receive(par.packet(header, ipv6.ProtoMobility, mh)) })

	bad := par.ack(b.lastRequest(), b.key)
	bad.Payload[9] ^= 1
	b.drops("drop_mh_bad_checksum", func() { b.receive(bad) })
	bad = par.ack(b.lastRequest(), b.key, func(a *nodeAck) {})
	bad.Payload[13] = 15 // the router option's length
	mobility.FixChecksum(bad.Payload, bad.Src, bad.RoutingHome)
	b.drops("drop_keack_malformed", func() { b.receive(bad) })
	short := append([]byte(nil), bad.Payload[:48]...)
	short[1] = 5
	mobility.FixChecksum(short, bad.Src, bad.RoutingHome)
	header = ipv6.Header{Src: bad.Src, Dst: bad.Dst, HopLimit: 255, RoutingHome: bad.RoutingHome}
	b.drops("drop_mh_bad_header_len", func() { b.receive(par.packet(header, ipv6.ProtoMobility, short)) })
	b.drops("drop_mh_truncated", func() { b.receive(par.packet(header, ipv6.ProtoMobility, short[:40])) })

	// The right one, of traffic class 0 and not the priority of the draft, is taken (LKE-AR-5: not checked on receipt).
	good := par.ack(b.lastRequest(), b.key)
	header.RoutingHome = good.RoutingHome
	b.receive(par.packet(header, ipv6.ProtoMobility, good.Payload))
	if s := b.n.State(); len(s.Associations) != 1 || s.Associations[0].Router != par.global ||
		s.Associations[0].State != "acknowledged" {
		t.Fatalf("LKE-MN-6: %+v", s)
	}
	// LKE-resolution-c: the granted lifetime is in units of four seconds.
	if got := b.n.State().Associations[0].Expires; got != nodeTestStart.Add(time.Hour) {
		t.Errorf("LKE-resolution-c: 900 units of 4 s expire at %v, want %v", got, nodeTestStart.Add(time.Hour))
	}
	b.drops("drop_keack_duplicate", func() { b.receive(good) })
	b.receive(par.solicit(b.n.State().CareOf, b.key, 1))
	b.drops("drop_keack_unasked", func() { b.receive(good) })
}

// An answer to an earlier one of the requests counts, too: all of them carried the same key.
func TestNodeLateAcknowledgement(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).attached(par)
	first := b.lastRequest()
	b.advance(4 * time.Second)
	b.receive(par.ack(first, b.key))
	if s := b.n.State(); len(s.Associations) != 1 || s.Associations[0].Expires != nodeTestStart.Add(time.Hour) {
		t.Errorf("LKE-MN-6: %+v; the lifetime counts from the first request", s.Associations)
	}
	b = newNodeBench(t).attached(par)
	b.advance(4 * time.Second)
	b.receive(par.ack(b.lastRequest(), b.key))
	if s := b.n.State(); s.Associations[0].Expires != nodeTestStart.Add(nodeRequestGap+time.Hour) {
		t.Errorf("LKE-MN-6: %+v; the lifetime counts from the request that was acknowledged", s.Associations)
	}
}

// An association that is over before its exchange is complete is made again by the next acknowledgement.
func TestNodeShortAssociation(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).attached(par)
	b.receive(par.ack(b.lastRequest(), b.key, func(a *nodeAck) { a.Lifetime = 1 }))
	b.advance(4 * time.Second)
	if got := b.n.State().Associations; len(got) != 0 {
		t.Fatalf("%+v outlived its 4 s", got)
	}
	b.receive(par.ack(b.lastRequest(), b.key))
	b.receive(par.solicit(b.n.State().CareOf, b.key, 3))
	if got := b.n.State().Associations; len(got) != 1 || got[0].State != "dad" {
		t.Errorf("%+v", got)
	}
}

// LKE-MN-7 is about the router that was asked: an association with another router of the same prefix stays.
func TestNodeUnverifiableFromSecondRouter(t *testing.T) {
	par, nar, _ := nodeLinks(t)
	nar.prefix, nar.global = par.prefix, par.global.Next()
	b := newNodeBench(t).associated(par)
	b.step(Input{Kind: InAttached})
	b.receive(nar.advert())
	b.receive(nar.ack(b.lastRequest(), b.key, func(a *nodeAck) { a.spoil = true }))
	if got := b.n.State().Associations; len(got) != 1 || got[0].Router != par.global {
		t.Errorf("LKE-MN-7: %+v, want the one with %v", got, par.global)
	}
}

// LKE-MN-6: what the router grants is bounded by what was asked for; a refusal makes no association and leaves an earlier
// one alone. LKE-resolution-n: the router's address is a global one.
func TestNodeGrants(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).attached(par)
	b.receive(par.ack(b.lastRequest(), b.key, func(a *nodeAck) { a.Lifetime = 0xffff }))
	if got := b.n.State().Associations[0].Expires; got != nodeTestStart.Add(time.Hour) {
		t.Errorf("association until %v, want what was asked for, %v", got, nodeTestStart.Add(time.Hour))
	}
	for name, change := range map[string]func(*nodeAck){
		"LKE-resolution-h: status 129":            func(a *nodeAck) { a.Status = mobility.StatusProhibited },
		"lifetime zero":                           func(a *nodeAck) { a.Lifetime = 0 },
		"LKE-resolution-n: link-local address":    func(a *nodeAck) { a.Router = par.linkLocal },
		"LKE-resolution-n: unspecified address":   func(a *nodeAck) { a.Router = netip.IPv6Unspecified() },
		"LKE-resolution-n: address for multicast": func(a *nodeAck) { a.Router = ipv6.AllRouters() },
	} {
		b := newNodeBench(t).associated(par)
		before := b.n.State().Associations[0]
		b.advance(before.Expires.Sub(b.now) / 3 * 2)
		b.receive(par.advert())
		b.advance(before.Expires.Sub(b.now) / 2) // it asks for a renewal meanwhile
		b.receive(par.ack(b.lastRequest(), b.key, change))
		if s := b.n.State(); len(s.Associations) != 1 || s.Associations[0] != before {
			t.Errorf("%s: associations %+v, want %+v", name, s.Associations, before)
		}
		if !b.has(EventRefused) {
			t.Errorf("%s: not reported", name)
		}
		sent := len(nodeOnly(b.sent, nodeSentKEReq))
		b.advance(time.Minute)
		if len(nodeOnly(b.sent, nodeSentKEReq)) == sent {
			t.Errorf("%s: never tried again", name)
		}
	}
}

// LKE-MN-7: an acknowledgement that cannot be verified removes the association with that router, and the node begins anew,
// with another key, at the pace of requests: a flood of forgeries makes no flood of key exchanges.
func TestNodeUnverifiableAcknowledgement(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	spoil := func(a *nodeAck) { a.spoil = true }

	b := newNodeBench(t).associated(par)
	b.receive(par.advert())
	b.advance(45 * time.Minute)
	b.receive(par.ack(b.lastRequest(), b.key, spoil))
	if got := b.n.State().Associations; len(got) != 0 || !b.has(EventLost) {
		t.Fatalf("LKE-MN-7: association %+v, events %v", got, b.events())
	}

	b = newNodeBench(t).attached(par)
	for range 100_000 {
		if requests := nodeOnly(b.sent, nodeSentKEReq); len(requests) > 0 {
			b.receive(par.ack(requests[len(requests)-1].p, b.key, spoil))
		}
		b.sent = nil
		b.advance(10 * time.Millisecond)
		if b.now.Sub(nodeTestStart) > 10*time.Minute {
			break
		}
	}
	// 0, 3.2, 9.6, 22.4, 48, 99.2 s and then every 51.2 s.
	if b.keys != 15 {
		t.Errorf("LKE-MN-7: %d key exchanges in ten minutes of forgeries, want 15", b.keys)
	}
	if b.counter("keack_unverified") != 15 || b.counter("exchanges_restarted") != 15 {
		t.Errorf("counters: %d unverified, %d restarts", b.counter("keack_unverified"), b.counter("exchanges_restarted"))
	}

	// Between two attempts no request is outstanding: the forgery has no effect at all.
	b = newNodeBench(t).attached(par)
	request := b.lastRequest()
	b.receive(par.ack(request, b.key, spoil))
	b.drops("drop_keack_unasked", func() { b.receive(par.ack(request, b.key, spoil)) })
	old := b.key
	b.advance(4 * time.Second)
	again := b.lastRequest()
	if b.key == old || nodeRequest(t, again).Seq == nodeRequest(t, request).Seq {
		t.Error("LKE-MN-7: not a new exchange with another key and number")
	}
	b.exchange(par, 5)
}

// LKE-MN-10: the association is renewed at three quarters of its lifetime, on the link only.
func TestNodeRenewal(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).associated(par)
	old, oldKey := b.n.State().Associations[0], b.key
	b.advance(old.Expires.Add(-time.Hour*5/16).Sub(b.now) - time.Second)
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 0 {
		t.Fatal("LKE-MN-10: renewed before three quarters less a sixteenth of its lifetime")
	}
	b.advance(old.Expires.Add(-time.Hour / 4).Sub(b.now))
	request := b.lastRequest()
	if b.key == oldKey {
		t.Error("LKE-MN-10: renewed with the same key")
	}
	if got := b.n.State().Associations; len(got) != 1 || got[0] != old {
		t.Errorf("LKE-resolution-p: the association must stay until the new one is there: %+v", got)
	}
	b.receive(par.ack(request, b.key))
	b.receive(par.solicit(old.Home, b.key, 77))
	b.advance(2 * time.Second)
	renewed := b.n.State().Associations
	if len(renewed) != 1 || !renewed[0].Expires.After(old.Expires) || renewed[0].State != "valid" {
		t.Errorf("LKE-MN-10: %+v after %+v", renewed, old)
	}
	// The key before it is kept for as long as the router may have it, and no longer.
	if a := b.n.associations[0]; !a.prior.set || a.prior.key != oldKey {
		t.Error("the earlier key was forgotten at once")
	}
	b.advance(old.Expires.Sub(b.now))
	if a := b.n.associations[0]; a.prior.set || a.prior.key != [KeyLen]byte{} {
		t.Error("the earlier key outlives its association")
	}
	if b.counter("renewals_started") != 1 {
		t.Errorf("%d renewals", b.counter("renewals_started"))
	}

	// Off the link there is no renewal: the association ends.
	b = newNodeBench(t).associated(par)
	b.moved(newNodePeer(t, 2, nil))
	b.advance(59 * time.Minute)
	if len(nodeOnly(b.sent, nodeSentKEReq)) != 0 {
		t.Error("LKE-MN-10: a request from another link")
	}
	b.advance(2 * time.Minute)
	if got := b.n.State().Associations; len(got) != 0 || !b.has(EventExpired) {
		t.Errorf("the association outlived its lifetime: %+v", got)
	}
	if e, ok := b.effect(EffectUnbind); !ok || !par.prefix.Contains(e.Home) {
		t.Errorf("what was kept of the old address is still there: %+v", e)
	}
}

// The pace of requests begins anew after a success.
func TestNodePaceAfterSuccess(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).attached(par)
	b.advance(30 * time.Second) // three repetitions: the next would come after 25.6 s
	b.exchange(par, 1)
	b.advance(time.Minute)
	b.receive(par.claim(b.n.State().CareOf, ipv6.LinkAddr{2, 0xee, 0, 0, 0, 1}))
	b.advance(4 * time.Second)
	requests := nodeOnly(b.sent, nodeSentKEReq)
	if len(requests) != 2 || requests[1].at.Sub(requests[0].at) != nodeRequestGap {
		t.Errorf("%d requests within 4 s after a success, want 2", len(requests))
	}
}

// A router that comes back with another key is asked anew with that key.
func TestNodeRouterChangesKey(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).attached(par)
	first := b.lastRequest()
	changed := *par
	changed.spki = append([]byte(nil), par.spki...)
	changed.spki[60] ^= 1
	b.take()
	b.receive(changed.advert())
	b.advance(4 * time.Second)
	if b.keys != 2 || nodeSeq(b.lastRequest()) == nodeSeq(first) {
		t.Errorf("%d keys; want a new exchange with the router's new public key", b.keys)
	}
	// An attacker who varies the key gets no more encryptions than requests go out.
	for i := range byte(200) {
		changed.spki[61] = i
		b.receive(changed.advert())
	}
	if b.keys > 3 {
		t.Errorf("%d keys within one moment", b.keys)
	}
}
