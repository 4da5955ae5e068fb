package fmip_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// A packet that is dropped costs no memory. What is only known to be wrong by its authenticator is not among these: HMAC
// itself takes some.
func TestDropsDoNotAllocate(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	l.update(reactive(10))
	l.run(20 * time.Millisecond)
	l.initiate(nil, ipv6.LinkAddr{})
	for range 200 { // the limits are used up
		l.step(l.nar, fmip.Input{Kind: fmip.InPacket, Packet: naPacket(t, labNew, labNew, 0, ipv6.LinkAddr{2, 6})})
		l.solicit(solicitation{points: []ipv6.LinkAddr{narPoint}})
	}
	update := func(change func(f *fbu)) *ipv6.Packet {
		f := reactive(11)
		change(&f)
		return f.packet(t)
	}
	flags := func(f *fbu) { f.change = func(m *mobility.FastBindingUpdate) { m.Flags = 0 } }
	stranger := mobility.HandoverInitiate{LinkAddr: nodeLink, NewCareOf: labNew, HasNumber: true, Auth: pairAuth()}.Append(nil)
	bare := mobility.HandoverInitiate{LinkAddr: nodeLink, NewCareOf: labNew}.Append(nil)
	bad := predictive(11).packet(t)
	bad.Payload[4] ^= 1
	for name, c := range map[string]struct {
		s  *labSide
		in fmip.Input
	}{
		"FBU flags":           {l.par, fmip.Input{Packet: update(flags)}},
		"FBU sequence":        {l.par, fmip.Input{Packet: update(func(f *fbu) { f.seq = 9 })}},
		"FBU source":          {l.par, fmip.Input{Packet: update(func(f *fbu) { f.src = labHome.Next() })}},
		"FBU checksum":        {l.par, fmip.Input{Packet: bad}},
		"FBU elsewhere":       {l.nar, fmip.Input{Packet: update(func(f *fbu) { f.dst = narAddr })}},
		"HI of a stranger":    {l.nar, fmip.Input{Packet: handover(t, netip.MustParseAddr("2001:db8:66::1"), narAddr, stranger, labPairKey)}},
		"HI unprotected":      {l.nar, fmip.Input{Packet: handover(t, parAddr, narAddr, bare, nil)}},
		"RtSolPr rate":        {l.par, fmip.Input{Packet: solicitation{points: []ipv6.LinkAddr{narPoint}}.packet(t)}},
		"RtSolPr source":      {l.par, fmip.Input{Packet: solicitation{src: parAddr}.packet(t)}},
		"RtSolPr hop limit":   {l.par, fmip.Input{Packet: solicitation{hops: 254}.packet(t)}},
		"UNA of another":      {l.nar, fmip.Input{Packet: naPacket(t, labNew, labNew, 0, ipv6.LinkAddr{2, 6})}},
		"NA of an unknown":    {l.nar, fmip.Input{Packet: naPacket(t, labNew.Next(), labNew.Next(), 0, nodeLink)}},
		"NA from elsewhere":   {l.nar, fmip.Input{Packet: naPacket(t, labNew.Next(), labNew, 0, nodeLink)}},
		"event of a stranger": {l.par, fmip.Input{Kind: fmip.InLinkEvent, Link: labLink, Node: ipv6.LinkAddr{2, 9}, Event: fmip.LinkGone}},
		"tick":                {l.par, fmip.Input{Kind: fmip.InTick}},
	} {
		in := c.in
		if in.Kind == fmip.InTick && in.Packet != nil {
			in.Kind = fmip.InPacket
		}
		if n := testing.AllocsPerRun(100, func() {
			if effects := c.s.router.Step(l.now, in); effects != nil {
				t.Errorf("%s: effects %v", name, effects)
			}
			if in.Packet != nil {
				c.s.router.Owns(in.Packet)
				c.s.router.NeighbourWanted(in.Packet)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A flood of everything that strangers can send leaves the router as it was: bounded, with its binding, and able to serve.
func TestFloodIsBounded(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	l.update(reactive(10))
	l.run(20 * time.Millisecond)
	saved := len(l.par.saved)
	l.sent, l.trace = nil, nil
	for i := range 10_000 {
		n := []byte{byte(i >> 16), byte(i >> 8), byte(i)}
		address := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 8: 9, 13: n[0], 14: n[1], 15: n[2]})
		source := ipv6.LinkAddr{2, 9, 0, n[0], n[1], n[2]}
		l.solicit(solicitation{src: address, source: source, points: []ipv6.LinkAddr{narPoint}, request: true})
		f := reactive(uint16(i))
		f.src = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 2, 8: 9, 13: n[0], 14: n[1], 15: n[2]})
		f.key = []byte("no such key at all..")
		p := f.packet(t)
		p.HomeAddress = address
		mobility.FixChecksum(p.Payload, address, p.Dst)
		l.receive(l.par, p, nil)
		l.step(l.par, fmip.Input{Kind: fmip.InLinkEvent, Link: labLink, Node: source, Event: fmip.LinkGone})
		l.step(l.par, fmip.Input{Kind: fmip.InGrant, Cookie: uint64(i)})
		l.step(l.par, fmip.Input{Kind: fmip.InForwarding, Home: address, Failed: true})
	}
	if len(l.sent) > 120 || len(l.par.held) != 0 || len(l.par.bound) != 1 || len(l.par.saved) != saved {
		t.Errorf("%d packets sent, %d held, %d bound, %d records", len(l.sent), len(l.par.held), len(l.par.bound), len(l.par.saved))
	}
	l.run(5 * time.Millisecond)
	l.trace, l.acks = nil, nil
	l.update(reactive(11))
	l.run(20 * time.Millisecond)
	if len(l.acks) != 1 || l.acks[0].Status != 0 {
		t.Errorf("the node got %+v", l.acks)
	}
}

// A router on which everything has run out has nothing left that wakes it.
func TestNothingIsLeftOver(t *testing.T) {
	l := newLab(t)
	keyed(l)
	l.update(predictive(1))
	l.run(10 * time.Millisecond)
	l.attach(l.nar, labLink)
	l.una()
	l.run(3 * time.Minute) // the binding ends, the key goes, and so does the number
	if at := l.par.router.Deadline(); !at.IsZero() {
		t.Errorf("the PAR wants to wake at %v", at)
	}
	if at := l.nar.router.Deadline(); !at.IsZero() {
		t.Errorf("the NAR wants to wake at %v", at)
	}
	l.par.router.Bindings(func(b fmip.Binding, _ time.Time) bool {
		t.Errorf("binding %+v", b)
		return true
	})
}

// Each counter has a name of its own.
func TestRouterCounterNames(t *testing.T) {
	seen := map[string]bool{}
	fmip.NewRouter(fmip.RouterConfig{}).Counters(func(name string, value uint64) {
		if name == "" || seen[name] || value != 0 {
			t.Errorf("counter %q, %d", name, value)
		}
		for _, c := range name {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
				t.Errorf("counter %q is not in snake case", name)
			}
		}
		seen[name] = true
	})
	if len(seen) < 100 {
		t.Errorf("%d counters", len(seen))
	}
	for kind := fmip.EffectSend; kind <= fmip.EffectReport; kind++ {
		if kind.String() == "unknown" || seen[kind.String()+"!"] {
			t.Errorf("effect %d has no name of its own", kind)
		}
		seen[kind.String()+"!"] = true
	}
	for kind := fmip.EventSolicited; kind <= fmip.EventPeerAdjusted; kind++ {
		if kind.String() == "unknown" || seen[kind.String()+"?"] {
			t.Errorf("event %d has no name of its own", kind)
		}
		seen[kind.String()+"?"] = true
	}
}

// FuzzRouterStep throws packets and inputs at a router that has a binding and an arrival: it must not panic, its timers must
// come to an end, and without the keys nothing may be bound, routed, or given away.
func FuzzRouterStep(f *testing.F) {
	add := func(p *ipv6.Packet, kind uint8) { f.Add(p.Raw, kind, uint8(1), true) }
	add(predictive(11).packet(f), 1)
	add(reactive(11).packet(f), 0)
	add(solicitation{secured: true, request: true, points: []ipv6.LinkAddr{narPoint, parPoint}}.packet(f), 1)
	add(naPacket(f, labNew, labNew, 0, nodeLink), 2)
	hi := mobility.HandoverInitiate{Seq: 1, LinkAddr: nodeLink, PreviousCareOf: labHome, NewCareOf: labNew, Number: 1, HasNumber: true, Auth: pairAuth()}
	add(handover(f, parAddr, narAddr, hi.Append(nil), labPairKey), 2)
	ack := mobility.HandoverAck{Seq: 1, Number: 1, HasNumber: true, Auth: pairAuth()}
	add(handover(f, narAddr, parAddr, ack.Append(nil), labPairKey), 0)
	dst, src := ipv6.SolicitedNode(labNew), netip.IPv6Unspecified()
	f.Add(ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, ndp.AppendNeighborSolicit(nil, src, dst, labNew)), uint8(2), uint8(0), false)
	f.Fuzz(func(t *testing.T, raw []byte, where, flags uint8, fix bool) {
		l := newLab(t)
		l.lose = func(message string) bool { return message == "NAR HAck 0" }
		l.update(predictive(10))
		l.run(5 * time.Millisecond)
		bound := len(l.par.bound)
		s := l.par
		p := &ipv6.Packet{Interface: labUplink, LinkSource: nodeLink}
		if where&1 != 0 {
			p.Interface = labLink
		}
		if where&2 != 0 {
			s, p.Interface = l.nar, labLink
		}
		if ipv6.Parse(raw, p) != ipv6.OK {
			return
		}
		if fix && len(p.Payload) > 6 {
			from := p.Src
			if p.HomeAddress.IsValid() {
				from = p.HomeAddress
			}
			if p.Proto == ipv6.ProtoICMPv6 {
				ndp.FixChecksum(p.Payload, p.Src, p.Dst)
			} else {
				mobility.FixChecksum(p.Payload, from, p.Dst)
			}
		}
		keyless := flags&1 != 0
		if keyless { // the pair's key and the node's are others
			clear(l.par.keys)
			l.par.keys[labHome] = []byte("unknown to the fuzzer's seeds")
		}
		in := fmip.Input{Kind: fmip.InPacket, Packet: p, Secured: flags&2 != 0, Nonce: labNonce, IPsec: flags&4 != 0}
		s.router.Owns(p)
		s.router.NeighbourWanted(p)
		s.router.Admit(l.now, p)
		l.step(s, in)
		l.step(s, fmip.Input{Kind: fmip.InLinkEvent, Link: int(flags >> 6), Node: p.LinkSource, Event: fmip.LinkEvent(flags >> 3 & 7), Target: narPoint})
		if keyless && len(l.par.bound) != bound {
			t.Errorf("bound without the key: %v", l.par.bound)
		}
		l.run(3 * time.Minute)
		if len(l.par.held) != 0 || len(l.nar.held) != 0 || len(l.nar.proxied) != 0 {
			t.Errorf("left over: %v %v %v", l.par.held, l.nar.held, l.nar.proxied)
		}
	})
}
