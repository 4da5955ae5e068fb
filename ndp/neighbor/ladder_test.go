package neighbor_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/neighbor"
)

// end is a cache with its interface and its kernel.
type end struct {
	c       *neighbor.Cache
	hw      ipv6.LinkAddr
	signs   bool
	nonces  [][]byte // with which it has asked
	kernel  map[netip.Addr]neighbor.State
	known   map[netip.Addr]ipv6.LinkAddr
	own     map[netip.Addr]bool
	groups  map[ipv6.LinkAddr]bool
	reports []string
}

// wire joins ends in memory. It plays SEND's part: what an end that signs sends is secured, and nonces are matched.
type wire struct {
	t     *testing.T
	now   time.Time
	ends  []*end
	said  []string // messages, in order
	count byte
}

func (w *wire) end(n byte, signs, router bool) *end {
	hw := ipv6.LinkAddr{2, 0, 0, 0, 0, n}
	e := &end{
		hw: hw, signs: signs, kernel: map[netip.Addr]neighbor.State{}, known: map[netip.Addr]ipv6.LinkAddr{},
		own: map[netip.Addr]bool{}, groups: map[ipv6.LinkAddr]bool{ipv6.MulticastLinkAddr(ipv6.AllNodes()): true},
		c: neighbor.New(neighbor.Config{Hardware: hw, Router: router, Rand: reader{newRand(uint64(n))}}),
	}
	w.ends = append(w.ends, e)
	return e
}

func (w *wire) step(e *end, in neighbor.Input) {
	w.t.Helper()
	w.carry(e, e.c.Step(w.now, in))
}

func (w *wire) carry(from *end, effects []neighbor.Effect) {
	w.t.Helper()
	if err := from.c.Consistent(); err != nil {
		w.t.Fatal(err)
	}
	for _, e := range effects {
		switch e.Kind {
		case neighbor.EffectEntry:
			from.kernel[e.Addr], from.known[e.Addr] = e.State, e.Neighbour
		case neighbor.EffectAddress:
			from.own[e.Addr] = e.OK
		case neighbor.EffectWatch:
			from.groups[ipv6.MulticastLinkAddr(ipv6.SolicitedNode(e.Addr))] = true
		case neighbor.EffectReport:
			from.reports = append(from.reports, e.Event.Kind.String())
		case neighbor.EffectSend:
			w.send(from, e)
		}
	}
}

func (w *wire) send(from *end, e neighbor.Effect) {
	w.t.Helper()
	secured := from.signs && !e.Unsigned
	nonce := e.Answers
	if e.Solicits && from.signs {
		w.count++
		nonce = []byte{w.count, 0, 0, 0, 0, 0}
		from.nonces = append(from.nonces, nonce)
	}
	kind := "ns"
	if parsed(from.hw, e.Packet).Payload[0] == ndp.TypeNeighborAdvert {
		kind = "na"
	}
	if e.LinkDst[0]&1 != 0 {
		kind += " multicast"
	}
	w.said = append(w.said, kind)
	for _, to := range w.ends {
		if to == from || e.LinkDst != to.hw && !to.groups[e.LinkDst] {
			continue
		}
		p := parsed(from.hw, slices.Clone(e.Packet))
		reply := slices.ContainsFunc(to.nonces, func(n []byte) bool { return slices.Equal(n, nonce) }) && kind[:2] == "na"
		w.step(to, neighbor.Input{
			Kind: neighbor.InPacket, Packet: p, Nonce: nonce, Secured: secured && to.signs, Reply: secured && to.signs && reply,
		})
	}
}

// pass lets time go by at all ends.
func (w *wire) pass(d time.Duration) {
	w.t.Helper()
	for until := w.now.Add(d); ; {
		var next *end
		for _, e := range w.ends {
			if at := e.c.Deadline(); !at.IsZero() && !at.After(until) && (next == nil || at.Before(next.c.Deadline())) {
				next = e
			}
		}
		if next == nil {
			w.now = until
			return
		}
		w.now = next.c.Deadline()
		w.step(next, neighbor.Input{Kind: neighbor.InTick})
	}
}

func (w *wire) heard(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.said, want) {
		w.t.Errorf("on the wire: %q, want %q", w.said, want)
	}
	w.said = nil
}

func newWire(t *testing.T) *wire { return &wire{t: t, now: time.Unix(1e9, 0)} }

// A node with SEND comes to a router with SEND: each finds its address free and then the other, secured on both sides.
//
//	node                       router
//	 | NS (DAD) ->                |
//	 | NS router (multicast) ->   |   its kernel wants the router
//	 |             <- NA (nonce)  |
//	 |                            |   a minute passes; the router has a packet for the node
//	 |   <- NS node (unicast)     |
//	 | NA (nonce) ->              |
func TestLadder(t *testing.T) {
	w := newWire(t)
	router, node := w.end(1, true, true), w.end(0xa, true, false)
	w.step(router, neighbor.Input{Kind: neighbor.InOwn, Addr: ownLink, InUse: true})
	w.step(node, neighbor.Input{Kind: neighbor.InOwn, Addr: nodeLink})
	w.pass(3 * time.Second)
	w.heard("ns multicast")
	if !node.own[nodeLink] {
		t.Fatal("the node has no address")
	}
	w.step(node, neighbor.Input{Kind: neighbor.InAsk, Addr: ownLink, Missing: true})
	w.heard("ns multicast", "na")
	entry, _ := node.c.Lookup(ownLink)
	if entry.State != neighbor.StateReachable || !entry.Secured || !entry.Router || node.kernel[ownLink] != neighbor.StateReachable {
		t.Errorf("the node knows the router as %+v", entry)
	}
	entry, _ = router.c.Lookup(nodeLink)
	if entry.State != neighbor.StateStale || !entry.Secured || router.known[nodeLink] != node.hw {
		t.Errorf("the router knows the node as %+v", entry)
	}
	w.pass(time.Minute)
	w.step(router, neighbor.Input{Kind: neighbor.InAsk, Addr: nodeLink})
	w.heard("ns", "na")
	entry, _ = router.c.Lookup(nodeLink)
	if entry.State != neighbor.StateReachable || router.kernel[nodeLink] != neighbor.StateReachable {
		t.Errorf("the router knows the node as %+v", entry)
	}
}

// A node without SEND lives beside: what it says is taken, but changes nothing that is secured.
func TestLadderMixed(t *testing.T) {
	w := newWire(t)
	router, node, liar := w.end(1, true, true), w.end(0xa, true, false), w.end(0x66, false, false)
	for e, a := range map[*end]netip.Addr{router: ownLink, node: nodeLink, liar: nodeAddr} {
		w.step(e, neighbor.Input{Kind: neighbor.InOwn, Addr: a, InUse: true, Plain: !e.signs})
	}
	w.step(node, neighbor.Input{Kind: neighbor.InAsk, Addr: ownLink, Missing: true})
	w.step(liar, neighbor.Input{Kind: neighbor.InAsk, Addr: ownLink, Missing: true})
	entry, _ := router.c.Lookup(nodeAddr)
	if entry.Secured || entry.State != neighbor.StateStale || liar.kernel[ownLink] != neighbor.StateReachable {
		t.Errorf("the router knows the node without SEND as %+v, and is known as %v", entry, liar.kernel[ownLink])
	}
	w.said = nil
	w.step(router, neighbor.Input{Kind: neighbor.InAsk, Addr: nodeAddr})
	w.heard("ns multicast", "na") // unsecured: by multicast
	if router.kernel[nodeAddr] != neighbor.StateReachable {
		t.Errorf("the node without SEND is %v", router.kernel[nodeAddr])
	}

	// It gives itself out as the node with SEND.
	w.step(liar, neighbor.Input{Kind: neighbor.InOwn, Addr: nodeLink, InUse: true, Plain: true})
	w.step(liar, neighbor.Input{Kind: neighbor.InDisown, Addr: nodeAddr})
	w.pass(time.Minute)
	w.step(router, neighbor.Input{Kind: neighbor.InAsk, Addr: nodeLink})
	entry, _ = router.c.Lookup(nodeLink)
	if entry.Neighbour != node.hw || !entry.Secured || entry.State != neighbor.StateReachable || router.known[nodeLink] != node.hw {
		t.Errorf("the router knows the node with SEND as %+v", entry)
	}
}

// Who wants the address of another is told so; of two who want the same at the same time only
// one gets it (RFC 4862 section 5.4).
func TestLadderDuplicates(t *testing.T) {
	w := newWire(t)
	router, node, other := w.end(1, true, true), w.end(0xa, true, false), w.end(0xb, true, false)
	w.step(router, neighbor.Input{Kind: neighbor.InOwn, Addr: ownLink, InUse: true})
	w.step(node, neighbor.Input{Kind: neighbor.InOwn, Addr: ownLink, Attempt: 1})
	w.pass(3 * time.Second)
	w.heard("ns multicast", "na multicast")
	if ok, told := node.own[ownLink]; ok || !told || !slices.Equal(node.reports, []string{"address-duplicate"}) {
		t.Errorf("the node was told %v, %v", ok, node.reports)
	}
	if len(router.reports) != 0 {
		t.Errorf("the router reports %v", router.reports)
	}
	w.step(node, neighbor.Input{Kind: neighbor.InOwn, Addr: nodeAddr})
	w.step(other, neighbor.Input{Kind: neighbor.InOwn, Addr: nodeAddr})
	w.pass(3 * time.Second)
	w.heard("ns multicast") // of the one whose delay was shorter
	if node.own[nodeAddr] == other.own[nodeAddr] {
		t.Errorf("the node has the address: %v, the other: %v", node.own[nodeAddr], other.own[nodeAddr])
	}
}
