package hold

import (
	"encoding/binary"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
)

// The lab of all tests here:
//
//	cn  c::2 ---- c::1 cn0  ar  lan0 1::1 ---- 1::100, 1::200 wl0  mn
//	                            lan1 2::1 ---- 2::100         wl1
//
// A node is at 2001:db8:1::100.
var (
	peer    = netip.MustParseAddr("2001:db8:c::2")
	node    = netip.MustParseAddr("2001:db8:1::100")
	nodeTwo = netip.MustParseAddr("2001:db8:1::200")
	router  = netip.MustParseAddr("2001:db8:1::1")
	newHome = netip.MustParseAddr("2001:db8:2::100")
)

type network struct {
	t          testing.TB
	lab        *netlab.Lab
	cn, ar, mn *netlab.Namespace
}

func TestMain(m *testing.M) {
	if os.Getenv(crashEnv) != "" {
		os.Exit(crash())
	}
	os.Exit(netlabtest.Main(m))
}

func newNetwork(t testing.TB) *network {
	t.Helper()
	lab, ns := netlabtest.New(t, "cn", "ar", "mn")
	n := &network{t: t, lab: lab, cn: ns[0], ar: ns[1], mn: ns[2]}
	n.must(lab.Veth(netlab.End{NS: n.cn, Name: "eth0"}, netlab.End{NS: n.ar, Name: "cn0"}))
	n.must(lab.Veth(netlab.End{NS: n.mn, Name: "wl0"}, netlab.End{NS: n.ar, Name: "lan0"}))
	n.must(lab.Veth(netlab.End{NS: n.mn, Name: "wl1"}, netlab.End{NS: n.ar, Name: "lan1"}))
	for _, a := range []struct {
		ns          *netlab.Namespace
		dev, prefix string
	}{
		{n.cn, "eth0", "2001:db8:c::2/64"}, {n.ar, "cn0", "2001:db8:c::1/64"},
		{n.ar, "lan0", "2001:db8:1::1/64"}, {n.ar, "lan1", "2001:db8:2::1/64"},
		{n.mn, "wl0", "2001:db8:1::100/64"}, {n.mn, "wl0", "2001:db8:1::200/64"}, {n.mn, "wl1", "2001:db8:2::100/64"},
	} {
		n.must(a.ns.AddAddress(a.dev, netip.MustParsePrefix(a.prefix)))
	}
	everywhere := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	n.must(n.cn.AddRoute(everywhere, netip.MustParseAddr("2001:db8:c::1"), "eth0"))
	n.must(n.mn.AddRoute(everywhere, router, "wl0"))
	n.must(n.ar.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	for _, addr := range []netip.Addr{node, newHome} {
		n.meet(addr)
	}
	return n
}

// meet makes the neighbours know each other. A solicitation that is lost in the beginning is sent again after a second only,
// for which a kernel does not keep all packets of a flow.
func (n *network) meet(node netip.Addr) {
	n.t.Helper()
	const other = port + 1
	to, from := n.socket(n.mn, node, other), n.socket(n.cn, peer, 0)
	defer unix.Close(to)
	defer unix.Close(from)
	b := make([]byte, 16)
	netlabtest.Await(n.t, "the first packet arrives", func() bool {
		n.must(unix.Sendto(from, b, 0, &unix.SockaddrInet6{Addr: node.As16(), Port: other}))
		l, _, err := unix.Recvfrom(to, b, 0)
		return err == nil && l > 0
	})
}

func (n *network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) open(cfg Config) *Hold {
	n.t.Helper()
	return netlabtest.Open(n.t, n.ar, func() (*Hold, error) { return Open(cfg) })
}

// explain logs the counters of h if the test fails.
func (n *network) explain(h *Hold) {
	n.t.Cleanup(func() {
		if n.t.Failed() {
			h.Counters(func(name string, value uint64) { n.t.Log(name, value) })
		}
	})
}

const port = 5000

// socket opens a UDP socket in a namespace.
func (n *network) socket(ns *netlab.Namespace, addr netip.Addr, p int) int {
	n.t.Helper()
	var fd int
	n.must(ns.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		for _, o := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, 8<<20)
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000})
		return unix.Bind(fd, &unix.SockaddrInet6{Addr: addr.As16(), Port: p})
	}))
	return fd
}

// sender sends numbered packets from a namespace.
type sender struct {
	n    *network
	fd   int
	dst  unix.SockaddrInet6
	size int
	next uint32
}

// packets makes a sender at cn. size is that of a packet with its headers.
func (n *network) packets(dst netip.Addr, size int) *sender {
	n.t.Helper()
	s := &sender{n: n, fd: n.socket(n.cn, peer, 0), dst: unix.SockaddrInet6{Addr: dst.As16(), Port: port}, size: size - 48}
	n.t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

func (s *sender) send(count int) {
	b := make([]byte, max(s.size, 4))
	for range count {
		binary.BigEndian.PutUint32(b, s.next)
		if err := unix.Sendto(s.fd, b, 0, &s.dst); err != nil {
			s.n.t.Errorf("send: %v", err)
			return
		}
		s.next++
	}
}

// flow sends at a rate until stop is called, which gives how many packets were sent.
func (s *sender) flow(perSecond int) (stop func() uint32) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		start, first := time.Now(), s.next
		for {
			select {
			case <-quit:
				return
			default:
			}
			due := uint32(time.Since(start).Seconds() * float64(perSecond))
			for s.next-first < due {
				s.send(1)
				if gap := due - (s.next - first); gap > 0 {
					// Late: what is missing is not to come in one burst.
					unix.Nanosleep(&unix.Timespec{Nsec: 20_000}, nil)
				}
			}
			unix.Nanosleep(&unix.Timespec{Nsec: min(int64(time.Second)/int64(perSecond)/4, 250_000)}, nil)
		}
	}()
	var once sync.Once
	stop = func() uint32 {
		once.Do(func() { close(quit) })
		<-done
		return s.next
	}
	s.n.t.Cleanup(func() { stop() })
	return stop
}

// receiver notes the numbers of the packets that arrive at an address of mn.
type receiver struct {
	n    *network
	mu   sync.Mutex
	got  []uint32
	when []time.Time
}

func (n *network) receive(at netip.Addr) *receiver {
	n.t.Helper()
	r := &receiver{n: n}
	fd := n.socket(n.mn, at, port)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			l, _, err := unix.Recvfrom(fd, b, 0)
			if err == nil && l >= 4 {
				r.mu.Lock()
				r.got, r.when = append(r.got, binary.BigEndian.Uint32(b)), append(r.when, time.Now())
				r.mu.Unlock()
			}
			select {
			case <-quit:
				return
			default:
			}
		}
	}()
	n.t.Cleanup(func() { close(quit); <-done; unix.Close(fd) })
	return r
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

func (r *receiver) numbers() []uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]uint32(nil), r.got...)
}

// await waits for a number of packets.
func (r *receiver) await(count int) {
	r.n.t.Helper()
	deadline := time.Now().Add(netlabtest.Patience)
	for r.count() < count {
		if time.Now().After(deadline) {
			got := r.numbers()
			r.n.t.Fatalf("%d of %d packets arrived, from %v to %v", len(got), count, got[:min(9, len(got))], got[max(len(got)-9, 0):])
		}
		time.Sleep(time.Millisecond)
	}
}

// orderly checks that the numbers from 0 to count-1 arrived, each once and in order.
func (r *receiver) orderly(count int) {
	r.n.t.Helper()
	r.await(count)
	got := r.numbers()
	if len(got) != count {
		r.n.t.Errorf("%d packets arrived, %d were sent", len(got), count)
	}
	wrong := 0
	for i, number := range got {
		if number != uint32(i) {
			if wrong++; wrong < 4 {
				r.n.t.Errorf("packet %d arrived as the %dth; those around: %v", number, i, got[max(i-3, 0):min(i+4, len(got))])
			}
		}
	}
	if wrong > 0 {
		r.n.t.Errorf("%d packets arrived out of order", wrong)
	}
}

func (h *Hold) status(addr netip.Addr) (s Status, there bool) {
	h.Held(func(of Status) bool {
		if of.Addr == addr {
			s, there = of, true
		}
		return !there
	})
	return s, there
}

// kept waits until so many packets are kept for an address.
func (n *network) kept(h *Hold, addr netip.Addr, packets int) {
	n.t.Helper()
	deadline := time.Now().Add(netlabtest.Patience)
	for {
		s, _ := h.status(addr)
		if s.Packets == packets {
			return
		}
		if s.Packets > packets || time.Now().After(deadline) {
			n.t.Fatalf("%d packets are kept for %s, want %d", s.Packets, addr, packets)
		}
		time.Sleep(time.Millisecond)
	}
}

func (n *network) drained(h *Hold, addr netip.Addr) {
	n.t.Helper()
	select {
	case got := <-h.Drained():
		if got != addr {
			n.t.Fatalf("drained: %s, want %s", got, addr)
		}
	case <-time.After(netlabtest.Patience):
		s, _ := h.status(addr)
		n.t.Fatalf("%s does not become drained: %+v", addr, s)
	}
}
