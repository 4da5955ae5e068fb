package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	mathrand "math/rand/v2"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// Fast Binding Update to Acknowledgement, beside the UDP echo, in turn. A router takes eight new updates of one node at once, and
// four a second.
const (
	fastMovers = 200 // as many predictive as reactive
	fastRounds = 7   // updates of each mover
	refill     = fastRounds * 250 * time.Millisecond

	// floodAhead is for how long the flood runs before anything is measured: until queues and tables are full.
	floodAhead = time.Second
)

// Addresses of the other routers: nodes that move to up0 are at one that is played here; those that move to the cell are at a
// second roamkeyd.
var (
	lanPrefix  = netip.MustParsePrefix("2001:db8:1::/64")
	farPrefix  = netip.MustParsePrefix("2001:db8:c::/48")
	cellPrefix = netip.MustParsePrefix("2001:db8:3::/64")
	cellAddr   = netip.MustParseAddr("2001:db8:3::1")
	hereAddr   = netip.MustParseAddr("2001:db8:4::1") // between the two routers
	thereAddr  = netip.MustParseAddr("2001:db8:4::2")

	ownPoint  = ipv6.LinkAddr{2, 0xac, 0, 0, 0, 1}
	farPoint  = ipv6.LinkAddr{2, 0xac, 0, 0, 0, 2}
	cellPoint = ipv6.LinkAddr{2, 0xac, 0, 0, 0, 3}
)

// handover is the network with two real routers, and one that is played.
type handover struct {
	*network
	par, nar *secure
	far      rig.Peer
	floods   *rig.Wire // on load0, beside that of the nodes
}

// startHandover starts both routers: the one that is measured on all processors or on processor 0 alone, and the other one then on the
// rest.
func (n *network) startHandover(binary string, oneCPU bool) (h *handover, err error) {
	h = &handover{network: n}
	defer func() {
		if err != nil {
			h.stop()
		}
	}()
	nar, err := n.addCell()
	if err != nil {
		return h, err
	}
	var parCPU, narCPU []string
	if oneCPU {
		parCPU = []string{"taskset", "-c", "0"}
		if last := runtime.NumCPU() - 1; last > 0 {
			narCPU = []string{"taskset", "-c", fmt.Sprintf("1-%d", last)}
		}
	}
	if h.par, err = n.startSecure(n.router, binary, ownPoint, lanPrefix, "", parCPU...); err != nil {
		return h, err
	}
	if h.nar, err = n.startSecure(nar, binary, cellPoint, cellPrefix, "", narCPU...); err != nil {
		return h, err
	}
	pair, farKey := make([]byte, 32), make([]byte, 32)
	rand.Read(pair)
	rand.Read(farKey)
	h.far = rig.Peer{Addr: upAddr, Router: h.par.access.Addr, Key: farKey}
	err = errors.Join(
		h.par.introduce(
			beside{"nar", h.nar.access.Addr, h.nar.access.Hardware, cellPoint, cellPrefix, pair},
			beside{"far", upAddr, n.away.Hardware, farPoint, farPrefix, farKey},
		),
		h.nar.introduce(beside{"par", h.par.access.Addr, h.par.access.Hardware, ownPoint, lanPrefix, pair}),
	)
	if err != nil {
		return h, err
	}
	if h.floods, err = rig.OpenWire(n.load, "load0"); err != nil {
		return h, err
	}
	return h, h.floods.Only(ipv6.ProtoNoNext) // it only sends
}

func (h *handover) stop() {
	for _, s := range []*secure{h.par, h.nar} {
		if s != nil {
			s.Kill()
		}
	}
	if h.floods != nil {
		h.floods.Close()
	}
}

// addCell makes the other router's namespace, with a link to the first one and a link for nodes.
func (n *network) addCell() (nar *netlab.Namespace, err error) {
	if nar, err = n.lab.Namespace("nar"); err != nil {
		return nil, err
	}
	cell, err := n.lab.Namespace("cell")
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		n.lab.Veth(netlab.End{NS: n.router, Name: "peer0"}, netlab.End{NS: nar, Name: "peer0"}),
		n.lab.Veth(netlab.End{NS: cell, Name: "cell0"}, netlab.End{NS: nar, Name: "lan0"}),
		n.router.AddAddress("peer0", netip.PrefixFrom(hereAddr, 64)),
		nar.AddAddress("peer0", netip.PrefixFrom(thereAddr, 64)),
		nar.AddAddress("lan0", netip.PrefixFrom(cellAddr, 64)),
		nar.SetSysctl("net/ipv6/conf/all/forwarding", "1"),
		nar.AddRoute(netip.MustParsePrefix("::/0"), hereAddr, "peer0"),
		n.router.AddRoute(cellPrefix, thereAddr, "peer0"),
	)
	if err != nil {
		return nil, err
	}
	// A flood of sources fills the kernel's table of neighbours, 1024 for all namespaces together. That routers know each other by
	// then is not what is measured.
	here, err := n.router.Link("peer0")
	if err != nil {
		return nil, err
	}
	there, err := nar.Link("peer0")
	if err != nil {
		return nil, err
	}
	return nar, errors.Join(
		n.router.AddNeighbour("peer0", thereAddr, there.Hardware),
		nar.AddNeighbour("peer0", hereAddr, here.Hardware),
		n.router.AddNeighbour("wan0", upAddr, n.away.Hardware),
		n.up.AddNeighbour("up0", wanAddr, n.wanHW),
	)
}

// fastUpdates measures on all processors or on one, idle and under a flood of signed solicitations. A predictive update is two
// exchanges, that of the node with its router and within it that of the two routers, so that its limit is that of two.
func fastUpdates(f *figures, n *network, binary string, oneCPU bool) error {
	cpus := "cpus2"
	if oneCPU {
		cpus = "cpu1"
	}
	h, err := n.startHandover(binary, oneCPU)
	if err != nil {
		return err
	}
	defer h.stop()
	echo, err := n.startEcho(oneCPU)
	if err != nil {
		return err
	}
	defer echo.Kill()
	pairs, err := rig.NewKeyPairs(1024)
	if err != nil {
		return err
	}
	movers, err := secureNodes(1<<20, 2*fastMovers, h.par.access, pairs)
	if err != nil {
		return err
	}
	if err := n.grant(movers, time.Minute); err != nil {
		return err
	}
	next, err := h.secureFlood()
	if err != nil {
		return err
	}
	if oneCPU {
		undo, err := keepOff()
		if err != nil {
			return err
		}
		defer undo()
	}
	// Answers to the flood come by this wire, too: to read them takes time from the routers.
	if err := n.nodes.Only(ipv6.ProtoMobility); err != nil {
		return err
	}
	defer n.nodes.All()
	for _, load := range []string{"idle", "flood"} {
		var flood *flood
		if load == "flood" {
			time.Sleep(refill)
			flood = startFlood(h.floods, h.par.access.Hardware, next)
			time.Sleep(floodAhead)
		}
		before := h.par.operations()
		start := time.Now()
		m, err := h.measureFast(movers)
		if flood != nil {
			done := float64(h.par.operations()-before) / time.Since(start).Seconds()
			sent, e := flood.stop()
			if err == nil {
				err = e
			}
			f.tell(cpus+"_flood_signed_solicits", sent, "1/s")
			f.tell(cpus+"_flood_rsa_operations", done, "1/s")
		}
		if err != nil {
			return fmt.Errorf("%s: %w%s", load, err, h.par.Tail())
		}
		name := cpus + "_" + load + "_fbu"
		limit := max(1, 3*m.echoes.at(99))
		f.tell(name+"_echo_p99", m.echoes.at(99), "ms")
		f.tell(name+"_reactive_p50", m.reactive.at(50), "ms")
		f.atMost(name+"_reactive_p99", m.reactive.at(99), "ms", limit)
		f.tell(name+"_predictive_p50", m.predictive.at(50), "ms")
		f.atMost(name+"_predictive_p99", m.predictive.at(99), "ms", 2*limit)
	}
	return nil
}

// fastLatencies are from update to acknowledgement, and those of echoes in between.
type fastLatencies struct{ reactive, predictive, echoes latencies }

// measureFast sends each mover's updates, one at a time: the first half of them moves to the far router and asks from there, which
// is answered at once; the others ask from where they are, and are answered when the other router has agreed.
func (h *handover) measureFast(movers []*rig.SecureNode) (l fastLatencies, err error) {
	port := uint16(20000 + mathrand.IntN(20000))
	var buf [2048]byte
	var p ipv6.Packet
	id := uint32(0)
	for range fastRounds {
		for i := range fastMovers {
			for _, m := range []*rig.SecureNode{movers[i], movers[fastMovers+i]} {
				predictive := m != movers[i]
				took, err := h.fastUpdate(m, predictive)
				if err != nil {
					return l, err
				}
				if predictive {
					l.predictive = append(l.predictive, took)
				} else {
					l.reactive = append(l.reactive, took)
				}
			}
			id++
			start := time.Now()
			if err := h.away.Send(h.away.Hardware, h.wanHW, echoPacket(port, id, echoOctets)); err != nil {
				return l, err
			}
			took, ok := h.awaitEcho(buf[:], &p, port, id, start)
			if !ok {
				took = answerLimit
			}
			l.echoes = append(l.echoes, took)
		}
	}
	return l, nil
}

// echoOctets is about the length of a Fast Binding Update.
const echoOctets = 136

// fastUpdate sends a mover's next update until one is acknowledged. What was lost on the way counts as no short time.
func (h *handover) fastUpdate(m *rig.SecureNode, predictive bool) (took time.Duration, err error) {
	wire, from, to := h.away, h.away.Hardware, h.wanHW
	if predictive {
		wire, from, to = h.nodes, m.Hardware, h.par.access.Hardware
	}
	for range mostLost + 1 {
		// Care-of addresses change, so that forwarding changes each time, too.
		m.CareOf = careOf(m, predictive)
		update := m.FastUpdate(predictive, 60)
		start := time.Now()
		if err := wire.Send(from, to, update); err != nil {
			return 0, err
		}
		status, answered, ok := h.awaitFastAck(wire, m, start)
		if !ok {
			took = answerLimit
			continue
		}
		if status != mobility.StatusAccepted {
			return 0, fmt.Errorf("update %d of %v was refused with status %d", m.Seq, m.Home, status)
		}
		return max(took, answered), nil
	}
	return 0, fmt.Errorf("no acknowledgement for update %d of %v", m.Seq, m.Home)
}

// careOf is the address of a mover's next move.
func careOf(m *rig.SecureNode, predictive bool) netip.Addr {
	b := farPrefix.Addr().As16()
	if predictive {
		b = cellPrefix.Addr().As16()
	}
	b[8], b[9] = byte(m.Seq>>8)&0xfc, byte(m.Seq)
	copy(b[10:], m.Hardware[:])
	return netip.AddrFrom16(b)
}

// awaitFastAck waits for the acknowledgement of a mover's last update. A Handover Initiate for the far router is answered after it.
func (h *handover) awaitFastAck(wire *rig.Wire, m *rig.SecureNode, start time.Time) (status uint8, took time.Duration, ok bool) {
	var buf [2048]byte
	var p ipv6.Packet
	var answer []byte
	for {
		if _, ok := wire.Receive(buf[:], start.Add(answerLimit), &p); !ok {
			break
		}
		took = time.Since(start)
		if status, ok = m.Acknowledged(&p); ok {
			break
		}
		if a, ok := h.far.Answer(&p); ok {
			answer = a
		}
	}
	if answer != nil {
		_ = h.away.Send(h.away.Hardware, h.wanHW, answer) // a lost answer is asked for again
	}
	return status, took, ok
}
