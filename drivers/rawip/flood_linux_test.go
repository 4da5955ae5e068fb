package rawip

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
)

// A flood on a served link does not delay binding updates: they come about as fast as a datagram does to a UDP socket of
// the same process in the same flood.
func TestFloodDoesNotDelayUrgentPackets(t *testing.T) {
	const (
		flood = 20_000
		every = 500
		slack = 5 * time.Millisecond
	)
	w := newWire(t, Config{})
	check(t, w.router.AddAddress("lan0", netip.PrefixFrom(global, 64)))
	check(t, w.host.AddAddress("eth0", netip.PrefixFrom(global.Next(), 64)))
	server, client := udpPair(t, w, global)
	_, err := client.Write([]byte("resolve")) // the neighbour, before the flood
	check(t, err)
	_, _, err = server.ReadFromUDPAddrPort(make([]byte, 16))
	check(t, err)

	// The program takes packets from the link as it can, and loses the rest.
	go func() {
		for r := range w.r.packets {
			r.Release()
		}
	}()
	urgent := newDelays(flood/every, func() { (<-w.r.Urgent()).Release() })
	reference := newDelays(flood/every, func() {
		if _, _, err := server.ReadFromUDPAddrPort(make([]byte, 16)); err != nil {
			t.Error(err)
		}
	})
	raw, bu := sentinel(1), bindingUpdate(global)
	for i := range flood {
		if err := w.h.SendLink(w.eth.Index, w.lan.Hardware, raw); err != nil {
			t.Fatal(err)
		}
		switch i % every {
		case 0:
			urgent.sent <- time.Now()
			w.send(t, bu)
		case every / 2:
			reference.sent <- time.Now()
			_, err := client.Write([]byte("echo"))
			check(t, err)
		}
	}
	p50, worst := urgent.wait(t)
	reference50, referenceWorst := reference.wait(t)
	// Each packet of the flood is somewhere: with the program, or counted by where it was dropped.
	netlabtest.Await(t, "all of the flood is accounted for", func() bool {
		return netlabtest.Counter(t, w.r, "received_link")+netlabtest.Counter(t, w.r, "drop_queue_full")+netlabtest.Counter(t, w.r, "drop_kernel_buffer_full") >= flood
	})
	t.Logf("in a flood of %d (%d of it dropped by the kernel, %d by the full channel): urgent packets p50 %v, max %v; UDP p50 %v, max %v",
		flood, netlabtest.Counter(t, w.r, "drop_kernel_buffer_full"), netlabtest.Counter(t, w.r, "drop_queue_full"), p50, worst, reference50, referenceWorst)
	if bound := 3*reference50 + slack; p50 > bound {
		t.Errorf("urgent packets are delayed by %v (p50), more than %v", p50, bound)
	}
	if n := netlabtest.Counter(t, w.r, "drop_urgent_queue_full"); n != 0 {
		t.Errorf("%d urgent packets dropped", n)
	}
}

// delays measures how long packets take that are received one by one.
type delays struct {
	sent  chan time.Time
	all   []time.Duration
	ended chan struct{}
}

func newDelays(count int, receive func()) *delays {
	d := &delays{sent: make(chan time.Time, count), ended: make(chan struct{})}
	go func() {
		defer close(d.ended)
		for range count {
			receive()
			d.all = append(d.all, time.Since(<-d.sent))
		}
	}()
	return d
}

func (d *delays) wait(t *testing.T) (p50, worst time.Duration) {
	t.Helper()
	select {
	case <-d.ended:
	case <-time.After(netlabtest.Patience):
		t.Fatal("a packet was lost")
	}
	slices.Sort(d.all)
	return d.all[len(d.all)/2], d.all[len(d.all)-1]
}

// udpPair gives a socket of the router and one of the host that sends to it.
func udpPair(t *testing.T, w *wire, router netip.Addr) (server, client *net.UDPConn) {
	t.Helper()
	server = netlabtest.Open(t, w.router, func() (*net.UDPConn, error) {
		return net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(router, 0)))
	})
	client = netlabtest.Open(t, w.host, func() (*net.UDPConn, error) {
		return net.DialUDP("udp6", nil, server.LocalAddr().(*net.UDPAddr))
	})
	return server, client
}

// Even while the urgent socket's own reader does not get to run, what waits there is taken by a link's busy reader.
func TestLinkReaderLooksAfterTheUrgentSocket(t *testing.T) {
	w := newWire(t, Config{})
	s := netlabtest.Open(t, w.router, func() (*Socket, error) { return open(Config{Links: []Link{w.lan}}) })
	w.send(t, bindingUpdate(global))
	for i := range byte(burst) {
		w.send(t, sentinel(i))
	}
	r := next(t, s.Urgent())
	if !r.Packet.HomeAddress.IsValid() {
		t.Errorf("got %x", r.Packet.Raw)
	}
	r.Release()
}

// A full channel drops the newest packet, counts it, and leaves the other channel alone.
func TestFullChannelDropsTheNewest(t *testing.T) {
	w := newWire(t, Config{Queue: 4, UrgentQueue: 2})
	drain(w.r)
	before := netlabtest.Counter(t, w.r, "received_link")
	for i := range byte(10) {
		w.send(t, sentinel(i))
	}
	netlabtest.Await(t, "what does not fit is counted", func() bool {
		return netlabtest.Counter(t, w.r, "received_link")+netlabtest.Counter(t, w.r, "drop_queue_full") >= before+10
	})
	for range 5 {
		w.send(t, bindingUpdate(global))
	}
	netlabtest.Await(t, "what does not fit is counted", func() bool { return netlabtest.Counter(t, w.r, "drop_urgent_queue_full") == 3 })
	expectSentinel(t, w.r.Packets(), 0)
	expectSentinel(t, w.r.Packets(), 1)
}

func drain(s *Socket) {
	for {
		select {
		case r := <-s.Packets():
			r.Release()
		default:
			return
		}
	}
}
