package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// Binding Update to Acknowledgement, beside a UDP echo over the same wire to a process on the same processors, in turn.
const (
	movers      = 100
	rounds      = 15 // updates of each mover
	floodRate   = 10_000
	floodNodes  = 1000
	answerLimit = time.Second
	mostLost    = 3 // of one update in a row: a full queue of the kernel's may lose a packet
	echoPort    = 7777
)

// updates measures on all processors or on one, idle and under a flood of key requests.
func updates(f *figures, n *network, binary string, oneCPU bool) error {
	cpus := "cpus2"
	if oneCPU {
		cpus = "cpu1"
	}
	d, err := n.start(binary, 2048, oneCPU)
	if err != nil {
		return err
	}
	defer d.Kill()
	echo, err := n.startEcho(oneCPU)
	if err != nil {
		return err
	}
	defer echo.Kill()
	all, err := nodes(1<<20, movers, &d.Key.PublicKey, n)
	if err != nil {
		return err
	}
	if err := n.associate(d, all, 30*time.Second); err != nil {
		return err
	}
	if oneCPU {
		undo, err := keepOff()
		if err != nil {
			return err
		}
		defer undo()
	}
	for _, load := range []string{"idle", "flood"} {
		var flood *flood
		if load == "flood" {
			flood = startFlood(n.nodes, n.access.Hardware, n.keyRequests(256))
		}
		answers, echoes, err := n.measure(all)
		if flood != nil {
			sent, e := flood.stop()
			if err == nil {
				err = e
			}
			f.tell(cpus+"_flood_key_requests", sent, "1/s")
		}
		if err != nil {
			return err
		}
		name := cpus + "_" + load
		f.tell(name+"_echo_p50", echoes.at(50), "ms")
		f.tell(name+"_echo_p99", echoes.at(99), "ms")
		f.tell(name+"_bu_ba_p50", answers.at(50), "ms")
		f.atMost(name+"_bu_ba_p99", answers.at(99), "ms", max(1, 3*echoes.at(99)))
		f.tell(name+"_bu_ba_max", answers.at(100), "ms")
	}
	return nil
}

// associate takes nodes through key exchange and DAD until all are valid.
func (n *network) associate(d *daemon, all []*node, limit time.Duration) error {
	byHome := make(map[netip.Addr]*node, len(all))
	byHW := make(map[ipv6.LinkAddr]*node, len(all))
	for _, m := range all {
		byHome[m.Home], byHW[m.Hardware] = m, m
	}
	next, open := 0, 0
	defended := make(map[*node]bool, len(all))
	acked := make(map[*node]bool, len(all))
	buf := make([]byte, 2048)
	var p ipv6.Packet
	for end := time.Now().Add(limit); len(defended) < len(all); {
		for ; open < window && next < len(all); next, open = next+1, open+1 {
			if err := n.nodes.Send(all[next].Hardware, n.access.Hardware, all[next].request); err != nil {
				return err
			}
		}
		to, ok := n.nodes.Receive(buf, end, &p)
		if !ok {
			return fmt.Errorf("%d of %d nodes defended their address in %v", len(defended), len(all), limit)
		}
		switch p.Proto {
		case ipv6.ProtoMobility:
			if m := byHW[to]; m != nil && !acked[m] {
				acked[m] = true
				open--
			}
		case ipv6.ProtoICMPv6:
			ns, reason := ndp.ParseNeighborSolicit(&p)
			if reason != ndp.ReasonNone || byHome[ns.Target] == nil {
				continue
			}
			if nonce, ok := rig.Nonce(ns); ok {
				m := byHome[ns.Target]
				if err := n.nodes.Send(m.Hardware, ipv6.MulticastLinkAddr(ipv6.AllNodes()), m.Defend(nonce)); err != nil {
					return err
				}
				defended[m] = true
			}
		}
	}
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		s, err := d.Status()
		if err != nil {
			return err
		}
		if s.LBSAs.Valid+s.LBSAs.Bound >= len(all) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d associations became valid", s.LBSAs.Valid, len(all))
		}
	}
}

// measure sends each mover's updates and as many echoes, one of each at a time.
func (n *network) measure(all []*node) (answers, echoes latencies, err error) {
	buf := make([]byte, 2048)
	var p ipv6.Packet
	port := uint16(20000 + rand.IntN(20000))
	for round := range rounds {
		for i, m := range all {
			// Care-of addresses change, so that forwarding changes each time, too.
			m.CareOf = ipv6.WithEUI64(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x0c, 0, byte(round + 1)}), m.Hardware)
			var update []byte
			var ack mobility.BindingAck
			for tries := 0; ; tries++ {
				update = m.Update(100)
				start := time.Now()
				if err := n.away.Send(n.away.Hardware, n.wanHW, update); err != nil {
					return nil, nil, err
				}
				var took time.Duration
				var ok bool
				if ack, took, ok = n.awaitAck(buf, &p, m, start); ok {
					answers = append(answers, took)
					break
				}
				if tries == mostLost {
					return nil, nil, fmt.Errorf("no acknowledgement for update %d of node %d", round, i)
				}
				answers = append(answers, answerLimit) // it was lost: that is no short time
			}
			if ack.FinishedRequest {
				if err := n.away.Send(n.away.Hardware, n.wanHW, m.Finished(ack)); err != nil {
					return nil, nil, err
				}
			}
			probe := echoPacket(port, uint32(round*len(all)+i), len(update))
			start := time.Now()
			if err := n.away.Send(n.away.Hardware, n.wanHW, probe); err != nil {
				return nil, nil, err
			}
			took, ok := n.awaitEcho(buf, &p, port, uint32(round*len(all)+i), start)
			if !ok {
				took = answerLimit
			}
			echoes = append(echoes, took)
		}
	}
	return answers, echoes, nil
}

func (n *network) awaitAck(buf []byte, p *ipv6.Packet, m *node, start time.Time) (ack mobility.BindingAck, took time.Duration, ok bool) {
	for {
		if _, ok := n.away.Receive(buf, start.Add(answerLimit), p); !ok {
			return ack, 0, false
		}
		took = time.Since(start)
		if p.Proto != ipv6.ProtoMobility || p.RoutingHome != m.Home {
			continue
		}
		h, err := mobility.ParseHeader(p.Payload)
		if err != nil {
			continue
		}
		ack, err = mobility.ParseBindingAck(h, mobility.DefaultCodePoints())
		if err == nil && ack.Seq == m.Seq {
			return ack, took, ack.Status == mobility.StatusAccepted
		}
	}
}

func (n *network) awaitEcho(buf []byte, p *ipv6.Packet, port uint16, id uint32, start time.Time) (took time.Duration, ok bool) {
	for {
		if _, ok := n.away.Receive(buf, start.Add(answerLimit), p); !ok {
			return 0, false
		}
		took = time.Since(start)
		if p.Proto == protoUDP && len(p.Payload) >= 12 && binary.BigEndian.Uint16(p.Payload[2:]) == port && binary.BigEndian.Uint32(p.Payload[8:]) == id {
			return took, true
		}
	}
}

const protoUDP = 17

// echoPacket is a UDP packet from up0's address, as long as a Binding Update is.
func echoPacket(port uint16, id uint32, length int) []byte {
	udp := make([]byte, max(length-ipv6.HeaderLen, 16))
	binary.BigEndian.PutUint16(udp, port)
	binary.BigEndian.PutUint16(udp[2:], echoPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	binary.BigEndian.PutUint32(udp[8:], id)
	binary.BigEndian.PutUint16(udp[6:], ipv6.Checksum(upAddr, wanAddr, protoUDP, udp))
	return ipv6.Append(nil, ipv6.Header{Src: upAddr, Dst: wanAddr, HopLimit: 64}, protoUDP, udp)
}

// startEcho runs this program as the echo in the router's namespace.
func (n *network) startEcho(oneCPU bool) (*netlab.Program, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := netlab.Command{Path: self, Args: []string{"-echo"}, Log: os.Stderr}
	if oneCPU {
		c.Path, c.Args = "taskset", append([]string{"-c", "0", self}, c.Args...)
	}
	program, err := n.router.Start(c)
	if err != nil {
		return nil, err
	}
	// Wait until it answers.
	buf := make([]byte, 2048)
	var p ipv6.Packet
	for i := range uint32(100) {
		start := time.Now()
		if err := n.away.Send(n.away.Hardware, n.wanHW, echoPacket(19999, i, 100)); err != nil {
			return nil, err
		}
		for {
			if _, ok := n.away.Receive(buf, start.Add(50*time.Millisecond), &p); !ok {
				break
			}
			if p.Proto == protoUDP {
				return program, nil
			}
		}
	}
	program.Kill()
	return nil, fmt.Errorf("no answer from the echo on port %d", echoPort)
}

// serveEcho answers UDP packets with themselves, as the daemon does binding updates: one thread, one system call each.
func serveEcho() error {
	conn, err := net.ListenPacket("udp6", "[::]:"+strconv.Itoa(echoPort))
	if err != nil {
		return err
	}
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(buf[:n], from); err != nil {
			return err
		}
	}
}

// keyRequests gives requests without end, from many sources, that pass every cheap check, so that each costs what it can cost.
func (n *network) keyRequests(modulusLen int) func(i int) (ipv6.LinkAddr, []byte) {
	sources := make([]*node, floodNodes)
	data := make([]byte, modulusLen)
	data[1] = 2 // below the modulus; the rest is no right padding
	for i := range sources {
		sources[i] = newNode(1<<22+i, n)
	}
	return func(i int) (ipv6.LinkAddr, []byte) {
		m := sources[i%len(sources)]
		return m.Hardware, m.KeyRequest(data)
	}
}
