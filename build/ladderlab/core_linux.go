package ladderlab

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke/ladder"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

const (
	protoUDP  = 17
	probePort = 4000

	// probePatience is more than a daemon and a kernel need for a packet, with the address resolution before it.
	probePatience = time.Second
)

func correspondent() netip.Addr { return netip.MustParseAddr("2001:db8:cccc::1") }

// route takes a packet to the router of its destination. What is for nobody is lost.
func (w *World) route(p *ipv6.Packet) {
	if w.agent != nil {
		if p.Dst == ladder.HomeAgent() {
			w.agent.receive(p)
			return
		}
		if careOf, ok := w.agent.bindings[p.Dst]; ok {
			outer := ipv6.Header{Src: ladder.HomeAgent(), Dst: careOf, HopLimit: 64}
			w.route(parsed(ipv6.Append(nil, outer, ipv6.ProtoIPv6, p.Raw)))
			return
		}
	}
	for _, l := range w.order {
		own, _ := uplink(l.Number)
		if ladder.Prefix(l.Number).Contains(p.Dst) || p.Dst == own {
			w.check(l.wan.Send(l.wan.Hardware, l.wanHW, p.Raw))
			return
		}
	}
}

// ownerOf names the station with an address, for people.
func (w *World) ownerOf(addr netip.Addr) string {
	if w.agent != nil && addr == ladder.HomeAgent() {
		return "HA"
	}
	for _, l := range w.order {
		if l.has(addr) {
			return l.Name
		}
		for _, s := range l.stations {
			if s.has(addr) {
				return s.name()
			}
		}
	}
	return "?"
}

// Reaches sends a datagram of the correspondent to dst and names the station that gets it.
func (w *World) Reaches(dst netip.Addr) string {
	w.t.Helper()
	w.probes++
	w.probe, w.reached = w.probes, ""
	udp := binary.BigEndian.AppendUint16(nil, probePort)
	udp = binary.BigEndian.AppendUint16(udp, probePort)
	udp = append(udp, 0, 16, 0, 0)
	udp = binary.BigEndian.AppendUint64(udp, w.probe)
	binary.BigEndian.PutUint16(udp[6:], ipv6.Checksum(correspondent(), dst, protoUDP, udp))
	w.route(parsed(ipv6.Append(nil, ipv6.Header{Src: correspondent(), Dst: dst, HopLimit: 64}, protoUDP, udp)))
	w.until(time.Now().Add(probePatience), func() bool { return w.reached != "" })
	return w.reached
}

// got takes a packet that has come to a station, for what it may be: the correspondent's datagram.
func (w *World) got(s station, p *ipv6.Packet) {
	if p.Proto == protoUDP && len(p.Payload) == 16 && p.Src == correspondent() && binary.BigEndian.Uint64(p.Payload[8:]) == w.probe {
		w.reached = s.name()
	}
}

// agent is a home agent in the core. It takes every binding update, which IPsec has verified before.
type agent struct {
	world    *World
	bindings map[netip.Addr]netip.Addr
}

func newAgent(w *World) *agent { return &agent{world: w, bindings: make(map[netip.Addr]netip.Addr)} }

func (a *agent) receive(p *ipv6.Packet) {
	h, fault := mobility.Check(p, mobility.MinHeaderLen)
	update, err := mobility.ParseBindingUpdate(h)
	if fault != mobility.FaultNone || err != nil {
		return
	}
	final := p.Src
	if p.HomeAddress.IsValid() {
		final = p.HomeAddress
	}
	a.bindings[final] = p.Src
	if update.Lifetime == 0 {
		delete(a.bindings, final)
	}
	ack := mobility.BindingAck{Seq: update.Seq, Lifetime: update.Lifetime}.Append(nil, mobility.DefaultCodePoints())
	mobility.FixChecksum(ack, ladder.HomeAgent(), final)
	header := ipv6.Header{Src: ladder.HomeAgent(), Dst: p.Src, HopLimit: 64, RoutingHome: p.HomeAddress}
	answer := parsed(ipv6.Append(nil, header, ipv6.ProtoMobility, ack))
	a.world.send(time.Now(), "HA", a.world.ownerOf(p.Src), "", answer, func() { a.world.route(answer) })
}
