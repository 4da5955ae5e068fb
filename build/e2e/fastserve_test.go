package e2e

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/drivers/rtnl"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// TestServedAtTheNewRouter: the address that the node would have at the new router is another host's, so that it keeps its
// previous care-of address there (RFC 5568 section 6.2.1.2, HAck code 3): a tunnel between the routers carries what is for
// the node, and what the node sends.
func TestServedAtTheNewRouter(t *testing.T) {
	t.Parallel()
	f := newFastWorld(t, "mixed")
	par, nar := f.par, f.nar
	r := par.fastRouter()
	v := f.traveller(keys[4](), keys[5]())
	p := par.peer()

	// The other host: the new router knows it as a neighbour once somebody has written to it.
	squatter := ipv6.LinkAddr{2, 0x66, 0, 0, 0, 1}
	nar.nodes.attach(&rig.Node{Home: v.next, Local: ipv6.LinkLocalFrom(squatter), Hardware: squatter})
	mark := nar.nodes.mark()
	p.sendTo(v.next, "who is there")
	if h := nar.nodes.hear(mark, "a datagram for the other host", datagramTo(v.next, "who is there")); h.to != squatter {
		t.Fatalf("it went to %v", h.to)
	}

	before, beforeNAR := par.snapshot(), nar.snapshot()
	s := v.stream()
	s.flows(false)
	old, far, between := par.nodes.mark(), nar.nodes.mark(), nar.away.mark()
	v.predictive(30)
	// The acknowledgement gives the node its own address.
	ack := v.fastAck(par.nodes, old, v.Home, v.Home, r)
	if ack.Status != mobility.FastStatusUseSupplied || ack.AlternateCareOf != v.Home {
		t.Errorf("acknowledgement %+v", ack)
	}
	v.leave()
	time.Sleep(60 * time.Millisecond) // without a link
	if held := heldFor(nar.snapshot(), v.Home); held == nil || held.Packets < 20 {
		t.Errorf("the new router keeps %+v", held)
	}
	v.come()
	announcement := ndp.AppendNeighborAdvert(nil, v.Home, ipv6.AllNodes(), 0, v.Home, ndp.TargetLinkOption(v.Hardware))
	v.say(icmp(v.Home, ipv6.AllNodes(), announcement), nil, allNodesLink())
	s.flows(true)
	v.fastAck(nar.nodes, far, v.Home, v.Home, r)
	if lost, reordered, _ := s.end(); lost != 0 || reordered != 0 {
		t.Errorf("%d datagrams of %d were lost, %d came out of order", lost, s.sent, reordered)
	}
	par.moved(before, "the handover", map[string]int64{"fmip/initiates_sent": 1, "fmip/handover_acks_taken": 1, "fmip/fast_bindings_made": 1, "forward/bindings": 1})
	nar.moved(beforeNAR, "the arrival", map[string]int64{
		"fmip/arrivals_prepared": 1, "fmip/arrival_holds": 1, "fmip/announcements_taken": 1, "forward/served": 1,
	})

	// What the node sends reaches the correspondent from its previous care-of address, through the tunnel and not past it.
	nar.nodes.send(v.Hardware, nar.access.Hardware, p.datagram(v.Home, "back"))
	if text, from := p.receive(3 * time.Second); text != "back" || from != v.Home {
		t.Errorf("the correspondent has %q from %v", text, from)
	}
	nar.away.hear(between, "the tunnel packet", func(h *heard) bool {
		var inner ipv6.Packet
		return h.Proto == ipv6.ProtoIPv6 && h.Src == nar.global && h.Dst == par.global && ipv6.Parse(h.Payload, &inner) == ipv6.OK && inner.Src == v.Home
	})
	nar.away.since(between, func(h *heard) bool {
		if h.Src == v.Home {
			t.Errorf("a packet of the node left past the tunnel, to %v", h.Dst)
		}
		return false
	})

	// Nobody but the previous router gets anything to the node that way, and nothing but what is for the node.
	for _, c := range []struct {
		name, counter string
		packet        []byte
	}{
		{"of another host", "forward/in_wrong_outer", tunnelled(correspondent, nar.global, datagramBetween(correspondent, v.Home, "forged"))},
		{"for another host", "forward/in_no_binding", tunnelled(par.global, nar.global, datagramBetween(correspondent, v.next, "forged"))},
		{"to the router itself", "forward/in_no_binding", tunnelled(par.global, nar.global, datagramBetween(correspondent, nar.global, "forged"))},
		{"from the router itself", "forward/in_loop", tunnelled(par.global, nar.global, datagramBetween(nar.global, v.Home, "forged"))},
	} {
		b := nar.snapshot()
		check(t, par.up.Inject(c.packet, ""))
		nar.moved(b, c.name, map[string]int64{c.counter: 1})
	}
	nar.nodes.since(far, func(h *heard) bool {
		if h.Proto == protoUDP && string(h.Payload[8:]) == "forged" {
			t.Errorf("a forged packet came to %v", h.Dst)
		}
		return false
	})

	// A new router that has died knows nothing of the node when it runs again, and keeps nothing that was for it.
	if rules := nar.rulesFrom(v.Home); len(rules) != 1 || rules[0].Device != "lan0" {
		t.Errorf("rules for the node: %v", rules)
	}
	check(t, nar.d.Signal(syscall.SIGKILL))
	<-nar.d.Done()
	nar.restart()
	nar.await("its link is served", rig.Serves)
	if rules := nar.rulesFrom(v.Home); len(rules) != 0 {
		t.Errorf("rules for the node after a crash: %v", rules)
	}
}

// rulesFrom gives Roamkey's routing rules for what comes from an address.
func (w *world) rulesFrom(addr netip.Addr) (rules []rtnl.Rule) {
	w.t.Helper()
	check(w.t, w.router.Do(func() error {
		nl, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer nl.Close()
		all, err := nl.Rules()
		for _, ru := range all {
			if ru.From == addr {
				rules = append(rules, ru)
			}
		}
		return err
	}))
	return rules
}

// datagramBetween makes a datagram for a node.
func datagramBetween(src, dst netip.Addr, text string) []byte {
	udp := make([]byte, 8, 8+len(text))
	udp = append(udp, text...)
	binary.BigEndian.PutUint16(udp, nodePort)
	binary.BigEndian.PutUint16(udp[2:], nodePort)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	binary.BigEndian.PutUint16(udp[6:], ipv6.Checksum(src, dst, protoUDP, udp))
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 64}, protoUDP, udp)
}
