package forward

import (
	"bytes"
	"testing"
	"time"
)

func TestTUNForwardsOnceBound(t *testing.T) {
	n := newNetwork(t)
	n.deaf(n.mn)
	f := n.router(Config{Backend: TUN})

	n.inject(n.cn, udp(peer, homeAddr, 64, "before"))
	n.mnIn.silent("a packet for an address that is not bound", isTunnel(routerAddr, careOf, "before"))

	start := time.Now()
	n.must(f.Bind(bound))
	t.Logf("Bind took %v", time.Since(start))
	sent := udpClass(peer, homeAddr, 64, 0xb8, "after")
	n.inject(n.cn, sent)
	p := n.mnIn.wait("the tunnelled packet", isTunnel(routerAddr, careOf, "after"))
	if p[7] != outerHopLimit || trafficClass(p) != 0xb8 {
		t.Errorf("outer hop limit %d and traffic class %#x, want %d and the inner one 0xb8", p[7], trafficClass(p), outerHopLimit)
	}
	sent[7]-- // RFC 2473 section 3.1: the forwarding router counts once
	if !bytes.Equal(p[headerLen:], sent) {
		t.Errorf("inner packet\n%x, want\n%x", p[headerLen:], sent)
	}
	waitCount(t, f, "out_packets", 1)
}
