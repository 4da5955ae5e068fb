package lke

import (
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// nodeStages take a bench to one point of a node's life each; par and nar are the routers of two links.
var nodeStages = []func(b *nodeBench, par, nar *nodePeer){
	func(b *nodeBench, par, nar *nodePeer) {},
	func(b *nodeBench, par, nar *nodePeer) { b.attached(par) },
	func(b *nodeBench, par, nar *nodePeer) { b.attached(par).receive(par.ack(b.lastRequest(), b.key)) },
	func(b *nodeBench, par, nar *nodePeer) { b.associated(par) },
	func(b *nodeBench, par, nar *nodePeer) { b.associated(par).moved(nar) },
	func(b *nodeBench, par, nar *nodePeer) {
		b.associated(par)
		key := b.key
		b.moved(nar)
		b.receive(par.bindingAck(b.lastUpdate(), key))
	},
	func(b *nodeBench, par, nar *nodePeer) {
		b.associated(par)
		key := b.key
		b.moved(nar)
		b.receive(par.bindingAck(b.lastUpdate(), key))
		b.moved(par)
	},
}

// nodeFuzzPackets are packets that come close to what the node waits for.
func nodeFuzzPackets(b *nodeBench, par, nar *nodePeer, first [KeyLen]byte) []*ipv6.Packet {
	careOf := b.n.State().CareOf
	if !careOf.IsValid() {
		careOf = par.global.Next()
	}
	request := &ipv6.Packet{Src: b.n.cfg.LinkLocal, HomeAddress: careOf, Payload: make([]byte, 8)}
	request.Payload[6], request.Payload[7] = byte(b.n.exchange.last>>8), byte(b.n.exchange.last)
	update := &ipv6.Packet{Src: careOf, Dst: par.global, HomeAddress: par.global.Next(), Payload: make([]byte, 12)}
	if len(b.n.associations) > 0 {
		a := b.n.associations[0]
		update.Dst, update.HomeAddress = a.router, a.home
		update.Payload[6], update.Payload[7], update.Payload[11] = byte(a.binding.seq>>8), byte(a.binding.seq), 100
	}
	status := func(s uint8, auth bool) func(*nodeUpdateAck) {
		return func(a *nodeUpdateAck) { a.Status, a.HasAuth = s, auth }
	}
	return []*ipv6.Packet{
		par.advert(),
		nar.advert(),
		par.advert(func(a *nodeAdvert) { a.lifetime = 0 }),
		par.ack(request, b.n.exchange.key),
		par.ack(request, b.n.exchange.key, func(a *nodeAck) { a.Status = mobility.StatusProhibited }),
		nar.ack(request, b.n.exchange.key),
		par.solicit(careOf, b.key, 1),
		par.solicit(careOf, first, 2),
		nar.solicit(careOf, b.key, 3),
		par.claim(careOf, nar.hw),
		par.bindingAck(update, first),
		par.bindingAck(update, first, func(a *nodeUpdateAck) { a.FinishedRequest = true }),
		par.bindingAck(update, first, status(mobility.StatusSequence, true)),
		par.bindingAck(update, first, status(mobility.StatusResources, true)),
		par.bindingAck(update, first, status(mobility.StatusInvalidCareOf, true)),
		par.bindingAck(update, first, status(mobility.StatusNotHomeAgent, false)),
	}
}

// FuzzNode gives a node any sequence of packets, ticks and answers: it does not panic, its state stays bounded, each step
// has a bounded effect, and its timers move on.
func FuzzNode(f *testing.F) {
	spki := nodeTestSPKI(f)
	for stage := range byte(len(nodeStages)) {
		f.Add(append([]byte{stage}, 0, 200, 200, 1, 2, 0, 0, 0, 2, 3, 0, 0))
		all := []byte{stage}
		for i := range byte(16) {
			all = append(all, 2, i, 0, 0)
		}
		f.Add(all)
		f.Add([]byte{stage, 3, 10, 1, 1, 0, 20, 4, 0, 50, 50, 2, 12, 0, 0, 1, 2, 0, 0, 0, 5, 6, 2, 0, 40, 1, 0, 33, 9})
		f.Add([]byte{stage, 7, 40, 0x60, 0, 0, 0, 0, 0, 58, 255})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 || len(data) > 600 {
			return
		}
		b := newNodeBench(t, func(c *NodeConfig) {
			c.AnswerSolicitations = true
			if data[0]&0x80 != 0 {
				withHomeAgent(c)
			}
		})
		par, nar := newNodePeer(t, 1, spki), newNodePeer(t, 2, spki)
		if data[0]&0x80 == 0 {
			nodeStages[int(data[0])%len(nodeStages)](b, par, nar)
		}
		first := b.key
		if len(b.n.associations) > 0 {
			first = b.n.associations[0].key
		}
		next := func() (v byte) {
			if len(data) > 0 {
				v, data = data[0], data[1:]
			}
			return v
		}
		next()
		for len(data) > 0 {
			switch op := next(); op % 8 {
			case 0:
				b.advance(time.Duration(next()) * time.Duration(next()) * 50 * time.Millisecond)
			case 1:
				b.step(Input{Kind: InAttached})
			case 7:
				raw := make([]byte, next())
				n := copy(raw, data)
				data = data[n:]
				p := &ipv6.Packet{LinkSource: par.hw}
				if ipv6.Parse(raw, p) == ipv6.OK {
					b.receive(p)
				}
			default:
				packets := nodeFuzzPackets(b, par, nar, first)
				p := packets[int(next())%len(packets)]
				for range next() % 4 {
					i := (int(next())<<8 | int(next())) % len(p.Raw)
					p.Raw[i] ^= next()
				}
				again := &ipv6.Packet{Interface: p.Interface, LinkSource: p.LinkSource}
				if ipv6.Parse(p.Raw, again) != ipv6.OK {
					continue
				}
				if next()%2 == 0 {
					nodeFixChecksum(again)
				}
				b.receive(again)
			}
			if len(b.effects)+len(b.sent) > 20_000 {
				t.Fatalf("%d effects and packets", len(b.effects)+len(b.sent))
			}
			b.take()
			if got := len(b.n.associations); got > nodeMaxAssociations {
				t.Fatalf("%d associations", got)
			}
			if s := b.n.State(); s.Usable && !s.CareOf.IsValid() {
				t.Fatalf("state %+v", s)
			}
		}
	})
}

func nodeFixChecksum(p *ipv6.Packet) {
	src, dst := p.Src, p.Dst
	switch p.Proto {
	case ipv6.ProtoICMPv6:
		ndp.FixChecksum(p.Payload, src, dst)
	case ipv6.ProtoMobility:
		if p.HomeAddress.IsValid() {
			src = p.HomeAddress
		}
		if p.RoutingHome.IsValid() {
			dst = p.RoutingHome
		}
		if h, err := mobility.ParseHeader(p.Payload); err == nil {
			mobility.FixChecksum(h.Octets, src, dst)
		}
	}
}

// A packet that is dropped costs no memory.
func TestNodeDropsWithoutAllocation(t *testing.T) {
	par := newNodePeer(t, 1, nodeTestSPKI(t))
	b := newNodeBench(t).associated(par)
	careOf := b.n.State().CareOf
	request := &ipv6.Packet{Src: b.n.cfg.LinkLocal, HomeAddress: careOf, Payload: make([]byte, 8)}
	update := &ipv6.Packet{Src: careOf, Dst: par.global, HomeAddress: careOf.Next(), Payload: make([]byte, 12)}
	for name, p := range map[string]*ipv6.Packet{
		"drop_keack_unasked":   par.ack(request, b.key),
		"drop_ba_no_binding":   par.bindingAck(update, b.key),
		"drop_ns_other_target": par.solicit(careOf.Next(), b.key, 1),
		"drop_na_other_target": par.claim(careOf.Next(), par.hw),
		"drop_ra_other_router": newNodePeer(t, 2, nil).advert(),
		"drop_mh_bad_checksum": func() *ipv6.Packet { p := par.ack(request, b.key); p.Payload[4] ^= 1; return p }(),
	} {
		in := Input{Kind: InPacket, Packet: p}
		before := b.counter(name)
		if got := testing.AllocsPerRun(100, func() {
			if effects := b.n.Step(b.now, in); effects != nil {
				t.Fatalf("%s: effects %v", name, effects)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
		if b.counter(name) == before {
			t.Errorf("%s: another reason", name)
		}
	}
}
