package main

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
)

const (
	// firstKeys are granted before memory is looked at: what the first of all need once is not what one more needs.
	firstKeys = 200
	manyKeys  = 2000

	keptNodes   = 4
	keptEach    = 1024
	keptOctets  = 1400 // of each packet, whole
	mostPerKept = keptOctets * 11 / 10
)

// keysMemory measures what the daemon takes for each handover key that it has given. Garbage may take a quarter of what is in use,
// as the daemon has it where much is: of few keys the room that it leaves to garbage otherwise would be the larger part.
func keysMemory(f *figures, n *network, binary string) error {
	s, err := n.startSecure(n.router, binary, ownPoint, lanPrefix, "", "env", "GOGC=25")
	if err != nil {
		return err
	}
	defer s.Kill()
	pairs, err := rig.NewKeyPairs(1024)
	if err != nil {
		return err
	}
	all, err := secureNodes(1<<20, firstKeys+manyKeys, s.access, pairs)
	if err != nil {
		return err
	}
	var resident [2]int64
	for i, some := range [][]*rig.SecureNode{all[:firstKeys], all[firstKeys:]} {
		if err := n.grant(some, 2*time.Minute); err != nil {
			return err
		}
		time.Sleep(settle)
		if resident[i], err = s.resident(); err != nil {
			return err
		}
	}
	status, err := s.Status()
	if err != nil {
		return err
	}
	if status.Fast == nil || status.Fast.Keys != len(all) {
		return fmt.Errorf("the daemon has not the %d keys that it gave", len(all))
	}
	f.atMost("rss_per_handover_key", float64(resident[1]-resident[0])/manyKeys, "octets", 1500)
	return nil
}

// keepSettings give room for what is kept here, and keep it until it was measured.
const keepSettings = `
config fmip 'fmip'
	option proxy_lifetime '60'
	option dad_transmits '0'
	option buffer_octets '2097152'
	option buffer_total '16777216'
`

// heldMemory measures what the daemon takes for each packet that it keeps for a node that is to come.
func heldMemory(f *figures, n *network, binary string) error {
	s, err := n.startSecure(n.router, binary, ownPoint, lanPrefix, keepSettings)
	if err != nil {
		return err
	}
	defer s.Kill()
	key := make([]byte, 32)
	rand.Read(key)
	far := rig.Peer{Addr: upAddr, Router: s.access.Addr, Key: key}
	if err := s.introduce(beside{"far", upAddr, n.away.Hardware, farPoint, farPrefix, key}); err != nil {
		return err
	}
	nodes := make([]*node, keptNodes)
	for i := range nodes {
		nodes[i] = newNode(1<<20+i, n)
		if err := n.await(&far, nodes[i]); err != nil {
			return fmt.Errorf("%w%s", err, s.Tail())
		}
	}
	time.Sleep(settle / 2)
	before, err := s.resident()
	if err != nil {
		return err
	}
	payload := make([]byte, keptOctets-ipv6.HeaderLen)
	for i := range keptEach {
		for _, m := range nodes {
			packet := ipv6.Append(nil, ipv6.Header{Src: upAddr, Dst: m.Home, HopLimit: 64}, ipv6.ProtoNoNext, payload)
			if err := n.away.Send(n.away.Hardware, n.wanHW, packet); err != nil {
				return err
			}
		}
		if i%8 == 0 {
			time.Sleep(time.Millisecond) // the device's queue is short
		}
	}
	if _, err := s.Await(5*time.Second, "keeping all packets", func(c control.Snapshot) bool { return kept(c) == keptNodes*keptEach }); err != nil {
		return err
	}
	time.Sleep(settle)
	after, err := s.resident()
	if err != nil {
		return err
	}
	f.atMost("rss_per_kept_packet_of_1400", float64(after-before)/(keptNodes*keptEach), "octets", mostPerKept)
	return nil
}

// kept is how many packets the daemon keeps in all.
func kept(c control.Snapshot) (packets int) {
	if c.Fast == nil {
		return 0
	}
	for _, h := range c.Fast.Held {
		packets += h.Packets
	}
	return packets
}

// await makes the daemon keep packets for a node that comes from the far router.
func (n *network) await(far *rig.Peer, m *node) error {
	var buf [2048]byte
	var p ipv6.Packet
	previous := farPrefix.Addr().Next()
	for range mostLost + 1 {
		if err := n.away.Send(n.away.Hardware, n.wanHW, far.Initiate(m.Hardware, previous, m.Home)); err != nil {
			return err
		}
		for start := time.Now(); ; {
			if _, ok := n.away.Receive(buf[:], start.Add(answerLimit), &p); !ok {
				break
			}
			if far.Accepted(&p) {
				return nil
			}
		}
	}
	return fmt.Errorf("the daemon did not accept %v", m.Home)
}
