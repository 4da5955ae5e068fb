package rawip

import (
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/ipv6"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// linkOf gives a link of a namespace as rawip wants it.
func linkOf(t testing.TB, ns *netlab.Namespace, name string) Link {
	t.Helper()
	l, err := ns.Link(name)
	check(t, err)
	return Link{Index: l.Index, Name: name, Hardware: l.Hardware}
}

// openIn opens a Socket in a namespace that serves the named links.
func openIn(t testing.TB, ns *netlab.Namespace, cfg Config, names ...string) *Socket {
	t.Helper()
	for _, name := range names {
		cfg.Links = append(cfg.Links, linkOf(t, ns, name))
	}
	return netlabtest.Open(t, ns, func() (*Socket, error) { return Open(cfg) })
}

// wire is a router and a host on one veth pair: the router's end is lan0 (served), the host's eth0.
type wire struct {
	lab          *netlab.Lab
	router, host *netlab.Namespace
	r, h         *Socket
	lan, eth     Link
}

var (
	routerHW = [6]byte{2, 0, 0, 0, 0, 1}
	hostHW   = [6]byte{2, 0, 0, 0, 0, 2}
	otherHW  = ipv6.LinkAddr{2, 0, 0, 0, 0, 9}
)

func newWire(t testing.TB, cfg Config) *wire {
	t.Helper()
	lab, ns := netlabtest.New(t, "router", "host")
	w := &wire{lab: lab, router: ns[0], host: ns[1]}
	check(t, lab.Veth(netlab.End{NS: w.router, Name: "lan0", Hardware: routerHW}, netlab.End{NS: w.host, Name: "eth0", Hardware: hostHW}))
	w.r, w.h = openIn(t, w.router, cfg, "lan0"), openIn(t, w.host, Config{}, "eth0")
	w.lan, w.eth = linkOf(t, w.router, "lan0"), linkOf(t, w.host, "eth0")
	return w
}

// send sends packets from the host to the router.
func (w *wire) send(t testing.TB, packets ...[]byte) {
	t.Helper()
	for _, p := range packets {
		check(t, w.h.SendLink(w.eth.Index, w.lan.Hardware, p))
	}
}

// next takes the next packet that a test made; what the kernels send of their own accord is let pass.
func next(t testing.TB, c <-chan *Received) *Received {
	t.Helper()
	timeout := time.After(netlabtest.Patience)
	for {
		select {
		case r := <-c:
			if isOurs(r) {
				return r
			}
			r.Release()
		case <-timeout:
			t.Fatal("no packet came")
		}
	}
}

// isOurs tells packets of these tests by their source or, of solicitations without one, by their length.
func isOurs(r *Received) bool {
	return r.Packet.Src == elsewhere || r.Packet.Src == netip.IPv6Unspecified() && len(r.Packet.Payload) == 8
}

// sentinel is a packet that is wanted, distinct from all others. When it comes next, nothing before it came.
func sentinel(n byte) []byte {
	return packet(linkLocal, nil, 0, ipv6.ProtoICMPv6, 135, 0, 0, 0, 's', 0, 0, n)
}

func expectSentinel(t testing.TB, c <-chan *Received, n byte) {
	t.Helper()
	r := next(t, c)
	defer r.Release()
	if p := r.Packet.Payload; len(p) != 8 || p[4] != 's' || p[7] != n {
		t.Fatalf("a packet came that should not: %x", r.Packet.Raw)
	}
}
