package e2e

import (
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

const (
	hangup    = syscall.SIGHUP
	terminate = syscall.SIGTERM
	handOver  = syscall.SIGUSR2
)

// station is all stations of one wire: it remembers what it heard, and plays the nodes that are present.
type station struct {
	t    *testing.T
	wire *rig.Wire

	mu      sync.Mutex
	heard   []heard
	present map[netip.Addr]*rig.Node // by each of their addresses on the link
	ears    []*sendNode
	sendMu  sync.Mutex
}

// heard is one packet that came over the wire from the router.
type heard struct {
	ipv6.Packet
	at time.Time
	to ipv6.LinkAddr
}

func openStation(t *testing.T, ns *netlab.Namespace, device string) *station {
	t.Helper()
	wire, err := rig.OpenWire(ns, device)
	check(t, err)
	s := &station{t: t, wire: wire, present: make(map[netip.Addr]*rig.Node)}
	var reader sync.WaitGroup
	reader.Go(s.listen)
	t.Cleanup(func() {
		wire.Close()
		reader.Wait()
	})
	return s
}

func (s *station) listen() {
	buf := make([]byte, 1<<16)
	var p ipv6.Packet
	for {
		to, ok := s.wire.Receive(buf, time.Time{}, &p)
		if !ok {
			return
		}
		h := heard{at: time.Now(), to: to}
		if ipv6.Parse(slices.Clone(p.Raw), &h.Packet) != ipv6.OK {
			continue
		}
		h.LinkSource = p.LinkSource
		s.mu.Lock()
		s.heard = append(s.heard, h)
		ears := slices.Clone(s.ears)
		s.mu.Unlock()
		s.play(&h.Packet)
		for _, n := range ears {
			n.hears(&h)
		}
	}
}

// play answers what a present node would: solicitations for its address, with its key where the router asks for that.
func (s *station) play(p *ipv6.Packet) {
	if p.Proto != ipv6.ProtoICMPv6 {
		return
	}
	m, reason := ndp.ParseNeighborSolicit(p)
	if reason != ndp.ReasonNone {
		return
	}
	s.mu.Lock()
	n := s.present[m.Target]
	s.mu.Unlock()
	if n == nil {
		return
	}
	if nonce, ok := rig.Nonce(m); ok {
		s.send(n.Hardware, ipv6.MulticastLinkAddr(ipv6.AllNodes()), n.Defend(nonce))
		return
	}
	if p.Src.IsUnspecified() {
		return
	}
	msg := ndp.AppendNeighborAdvert(nil, m.Target, p.Src, ndp.FlagSolicited|ndp.FlagOverride, m.Target, ndp.TargetLinkOption(n.Hardware))
	s.send(n.Hardware, p.LinkSource, icmp(m.Target, p.Src, msg))
}

// icmp makes a packet of an ICMPv6 message that may not have crossed a router.
func icmp(src, dst netip.Addr, msg []byte) []byte {
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
}

// attach makes a node present, detach takes it away.
func (s *station) attach(n *rig.Node) {
	s.mu.Lock()
	s.present[n.Home], s.present[n.Local] = n, n
	s.mu.Unlock()
}

func (s *station) detach(n *rig.Node) {
	s.mu.Lock()
	delete(s.present, n.Home)
	delete(s.present, n.Local)
	s.mu.Unlock()
}

// send puts a packet on the wire.
func (s *station) send(from, to ipv6.LinkAddr, packet []byte) {
	s.sendMu.Lock()
	err := s.wire.Send(from, to, packet)
	s.sendMu.Unlock()
	if err != nil {
		s.t.Errorf("send %d octets: %v", len(packet), err)
	}
}

// mark remembers a moment, after which packets are looked for.
func (s *station) mark() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.heard)
}

// since gives the packets heard since the mark that match.
func (s *station) since(mark int, match func(*heard) bool) (all []heard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.heard[mark:] {
		if h := &s.heard[mark+i]; match(h) {
			all = append(all, *h)
		}
	}
	return all
}

// hear waits for the first packet since the mark that matches.
func (s *station) hear(mark int, what string, match func(*heard) bool) heard {
	s.t.Helper()
	var all []heard
	eventually(s.t, what, func() bool {
		all = s.since(mark, match)
		return len(all) > 0
	})
	return all[0]
}
