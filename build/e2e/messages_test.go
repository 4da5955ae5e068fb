package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

const (
	protoUDP = 17

	icmpUnreachable      = 1 // ICMPv6 errors are the types under 128
	icmpParameterProblem = 4
	icmpEchoRequest      = 128
	icmpEchoReply        = 129
)

// Matches of packets.

func icmpType(typ uint8) func(*heard) bool {
	return func(h *heard) bool {
		return h.Proto == ipv6.ProtoICMPv6 && len(h.Payload) > 0 && h.Payload[0] == typ
	}
}

// icmpError matches any error message.
func icmpError(h *heard) bool {
	return h.Proto == ipv6.ProtoICMPv6 && len(h.Payload) > 0 && h.Payload[0] < 128
}

func mobilityType(typ uint8) func(*heard) bool {
	return func(h *heard) bool {
		return h.Proto == ipv6.ProtoMobility && len(h.Payload) > 2 && h.Payload[2] == typ
	}
}

func both(a, b func(*heard) bool) func(*heard) bool {
	return func(h *heard) bool { return a(h) && b(h) }
}

// router tells of an advertisement, with what tests ask for.
type advert struct {
	ndp.RouterAdvert
	at         time.Time
	prefixes   map[netip.Prefix]ndp.Prefix
	capability *ndp.Capability
}

// adverts are the router advertisements that came since the mark.
func (w *world) adverts(mark int) (all []advert) {
	w.t.Helper()
	for _, h := range w.nodes.since(mark, icmpType(ndp.TypeRouterAdvert)) {
		m, reason := ndp.ParseRouterAdvert(&h.Packet)
		if reason != ndp.ReasonNone {
			w.t.Fatalf("advertisement of the router: %v", reason)
		}
		a := advert{RouterAdvert: m, at: h.at, prefixes: make(map[netip.Prefix]ndp.Prefix)}
		prefixes := m.Prefixes()
		for p, ok := prefixes.Next(); ok; p, ok = prefixes.Next() {
			a.prefixes[p.Prefix.Masked()] = p
		}
		for options, ok := m.Options, true; ok; {
			var o ndp.Option
			if o, ok = options.Next(); ok && o.Type == ndp.DefaultCodePoints().Capability {
				c, err := ndp.ParseCapability(o)
				check(w.t, err)
				a.capability = &c
			}
		}
		all = append(all, a)
	}
	return all
}

// awaitAdvert waits for an advertisement since the mark that is as it should be.
func (w *world) awaitAdvert(mark int, what string, ok func(advert) bool) advert {
	w.t.Helper()
	var found advert
	eventually(w.t, what, func() bool {
		for _, a := range w.adverts(mark) {
			if ok(a) {
				found = a
				return true
			}
		}
		return false
	})
	return found
}

// farewells counts the advertisements since the mark by which the router stops being one.
func (w *world) farewells(mark int) (n int) {
	for _, a := range w.adverts(mark) {
		if a.Lifetime == 0 {
			n++
		}
	}
	return n
}

// fence waits until the router has answered an echo on both wires: what it had to say about packets before has come then.
func (w *world) fence() {
	w.t.Helper()
	w.numbers++
	echo := func(src, dst netip.Addr) []byte {
		msg := []byte{icmpEchoRequest, 0, 0, 0, 0xe2, 0xee, byte(w.numbers >> 8), byte(w.numbers)}
		ndp.FixChecksum(msg, src, dst)
		return icmp(src, dst, msg)
	}
	back := func(h *heard) bool {
		return icmpType(icmpEchoReply)(h) && len(h.Payload) == 8 && binary.BigEndian.Uint16(h.Payload[6:]) == uint16(w.numbers)
	}
	nodes, away := w.nodes.mark(), w.away.mark()
	w.nodes.send(proberHW, w.access.Hardware, echo(prober, w.access.Local))
	w.away.send(w.away.wire.Hardware, w.wanHW, echo(correspondent, wanAddr))
	w.nodes.hear(nodes, "an echo from the router on the cell", back)
	w.away.hear(away, "an echo from the router on the uplink", back)
}

// request sends a node's Key Exchange Request.
func (w *world) request(n *rig.Node) {
	w.t.Helper()
	data, err := n.Encrypt(&w.d.Key.PublicKey)
	check(w.t, err)
	w.nodes.send(n.Hardware, w.access.Hardware, n.KeyRequest(data))
}

// associate takes a node through key exchange and duplicate address detection.
func (w *world) associate(n *rig.Node) {
	w.t.Helper()
	w.nodes.attach(n)
	w.request(n)
	w.await("a valid association", func(s control.Snapshot) bool { return stateOf(s, n) == "valid" })
}

// association is the one of a node; nil if there is none.
func association(s control.Snapshot, n *rig.Node) *control.LBSA {
	for i := range s.LBSAs.List {
		if s.LBSAs.List[i].Home == n.Home {
			return &s.LBSAs.List[i]
		}
	}
	return nil
}

func stateOf(s control.Snapshot, n *rig.Node) string {
	if a := association(s, n); a != nil {
		return a.State
	}
	return ""
}

// fromAway sends a packet from the uplink.
func (w *world) fromAway(packet []byte) { w.away.send(w.away.wire.Hardware, w.wanHW, packet) }

// acknowledges reports whether h is the Binding Acknowledgement of a node's last update.
func acknowledges(h *heard, n *rig.Node) bool {
	if !mobilityType(mobility.TypeBA)(h) || h.Dst != n.CareOf {
		return false
	}
	header, err := mobility.ParseHeader(h.Payload)
	if err != nil {
		return false
	}
	ack, err := mobility.ParseBindingAck(header, mobility.DefaultCodePoints())
	return err == nil && ack.Seq == n.Seq
}

// acknowledgement waits for it.
func (w *world) acknowledgement(mark int, n *rig.Node) (heard, mobility.BindingAck) {
	w.t.Helper()
	h := w.away.hear(mark, "an acknowledgement of the binding update", func(h *heard) bool { return acknowledges(h, n) })
	header, err := mobility.ParseHeader(h.Payload)
	check(w.t, err)
	ack, err := mobility.ParseBindingAck(header, mobility.DefaultCodePoints())
	check(w.t, err)
	return h, ack
}

// move binds a node to its care-of address and confirms that it is there. The lifetime is in units of 4 s.
func (w *world) move(n *rig.Node, lifetime uint16) {
	w.t.Helper()
	w.nodes.detach(n)
	mark := w.away.mark()
	w.fromAway(n.Update(lifetime))
	_, ack := w.acknowledgement(mark, n)
	if ack.Status != mobility.StatusAccepted {
		w.t.Fatalf("binding update answered with status %d", ack.Status)
	}
	w.fromAway(n.Finished(ack))
	w.await("a confirmed binding", func(s control.Snapshot) bool {
		a := association(s, n)
		return a != nil && a.Binding != nil && a.Binding.Verified && a.Binding.CareOf == n.CareOf
	})
}

// peer is a correspondent: a socket of up0's kernel.
type peer struct {
	w    *world
	conn *net.UDPConn
}

func (w *world) peer() *peer {
	w.t.Helper()
	p := &peer{w: w}
	check(w.t, w.up.Do(func() (err error) {
		p.conn, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(correspondent, 0)))
		return err
	}))
	w.t.Cleanup(func() { p.conn.Close() })
	return p
}

func (p *peer) addr() netip.AddrPort { return p.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// nodePort is the port on which nodes talk.
const nodePort = 4000

// send sends a datagram to a node's home address.
func (p *peer) send(n *rig.Node, text string) {
	p.w.t.Helper()
	_, err := p.conn.WriteToUDPAddrPort([]byte(text), netip.AddrPortFrom(n.Home, nodePort))
	check(p.w.t, err)
}

// receive waits for a datagram; empty if none came for a while.
func (p *peer) receive(limit time.Duration) (text string, from netip.Addr) {
	buf := make([]byte, 2048)
	p.conn.SetReadDeadline(time.Now().Add(limit))
	n, source, err := p.conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		return "", netip.Addr{}
	}
	return string(buf[:n]), source.Addr()
}

// datagram makes what a node sends to the peer.
func (p *peer) datagram(src netip.Addr, text string) []byte {
	udp := make([]byte, 8, 8+len(text))
	udp = append(udp, text...)
	binary.BigEndian.PutUint16(udp, nodePort)
	binary.BigEndian.PutUint16(udp[2:], p.addr().Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	binary.BigEndian.PutUint16(udp[6:], ipv6.Checksum(src, correspondent, protoUDP, udp))
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: correspondent, HopLimit: 64}, protoUDP, udp)
}

// tunnelled puts a packet into another one.
func tunnelled(src, dst netip.Addr, inner []byte) []byte {
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 64}, ipv6.ProtoIPv6, inner)
}

// datagramTo matches a datagram with that text for an address, as it is or in a tunnel.
func datagramTo(dst netip.Addr, text string) func(*heard) bool {
	return func(h *heard) bool {
		return h.Proto == protoUDP && h.Dst == dst && len(h.Payload) >= 8 && string(h.Payload[8:]) == text
	}
}

// inTunnel matches a tunnel packet by what is in it.
func inTunnel(match func(*heard) bool) func(*heard) bool {
	return func(h *heard) bool {
		var inner heard
		return h.Proto == ipv6.ProtoIPv6 && ipv6.Parse(h.Payload, &inner.Packet) == ipv6.OK && match(&inner)
	}
}
