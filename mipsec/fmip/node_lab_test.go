package fmip_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// The network of the node's tests, in memory and on a clock that only the test moves: two routers of this package with a
// link each, and one node. Every message takes a millisecond to the next router.
//
//	cell 1: 2001:db8:1::/64 --[ 2001:db8:1::1 ]-- uplink --[ 2001:db8:2::1 ]-- 2001:db8:2::/64 :cell 2
type walk struct {
	t     testing.TB
	now   time.Time
	node  *fmip.Node
	cells [2]*cell
	at    *cell // where the node is; nil: nowhere
	queue []walkDelivery
	keys  walkKeys
	lose  func(message string) bool // a message for which it is true is lost

	trace     []string
	addresses []netip.Addr // on the node's interface
	tunnels   map[netip.Addr]fmip.Binding
	router    netip.Addr // the node's default one
	wanted    []string
	unsigned  bool            // the routers do not sign
	taken     map[string]bool // addresses that others have
	mute      bool            // the routers do not advertise by themselves
	homeSeq   uint16          // of the last update to the home agent
}

type cell struct {
	name    string
	n       byte
	router  *fmip.Router
	local   netip.Addr
	address netip.Addr
	prefix  netip.Prefix
	hw      ipv6.LinkAddr
	point   ipv6.LinkAddr
	keys    map[netip.Addr][]byte
	bound   map[netip.Addr]netip.Addr
}

func (c *cell) HandoverKey(home netip.Addr) ([]byte, mobility.FastMAC, bool) {
	key, ok := c.keys[home]
	return key, mobility.HMACSHA1, ok
}

type walkDelivery struct {
	at  time.Time
	run func()
}

// walkKeys are the node's handover keys, by router and home address.
type walkKeys map[[2]netip.Addr][]byte

func (k walkKeys) HandoverKey(router, home netip.Addr) ([]byte, mobility.FastMAC, bool) {
	key, ok := k[[2]netip.Addr{router, home}]
	return key, mobility.HMACSHA1, ok
}

var (
	walkHW     = ipv6.LinkAddr{2, 0, 0, 0, 9, 9}
	walkParams = cga.Params{Modifier: [16]byte{1, 2, 3}, PublicKey: []byte{0x30, 2, 5, 0}}
	walkStart  = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
)

const walkLink = 3

func newCell(n byte) *cell {
	address := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, n, 15: 1})
	return &cell{
		name: fmt.Sprint("router", n), n: n, address: address, prefix: netip.PrefixFrom(address, 64).Masked(),
		local: netip.AddrFrom16([16]byte{0xfe, 0x80, 15: n}),
		hw:    ipv6.LinkAddr{2, 0, 0, 0, 1, n}, point: ipv6.LinkAddr{2, 0, 0, 0, 0xaa, n},
		keys: make(map[netip.Addr][]byte), bound: make(map[netip.Addr]netip.Addr),
	}
}

func newWalk(t testing.TB, change func(*fmip.NodeConfig)) *walk {
	w := &walk{
		t: t, now: walkStart, keys: make(walkKeys), tunnels: make(map[netip.Addr]fmip.Binding), taken: make(map[string]bool),
		cells: [2]*cell{newCell(1), newCell(2)},
	}
	random := rand.NewChaCha8([32]byte{7})
	for i, c := range w.cells {
		other := w.cells[1-i]
		c.router = fmip.NewRouter(fmip.RouterConfig{
			Address: c.address,
			Links: []fmip.Link{{
				Name: "lan0", Index: 1, Hardware: c.hw, LinkLocal: c.local, AccessPoints: []ipv6.LinkAddr{c.point}, MTU: 1500,
				Prefixes: []fmip.LinkPrefix{{Prefix: c.prefix, Router: c.address}},
			}},
			Neighbors: []fmip.Neighbor{{
				Name: other.name, Router: other.address, RouterLink: other.hw, Prefixes: []netip.Prefix{other.prefix},
				AccessPoints: []ipv6.LinkAddr{other.point}, Fast: true, Key: []byte("a key of thirty-two octets, pair"),
			}},
			Keys: c, Rand: random, Buffer: true,
		})
	}
	cfg := fmip.NodeConfig{Link: walkLink, Hardware: walkHW, Params: walkParams, Keys: w.keys, Rand: random}
	if change != nil {
		change(&cfg)
	}
	w.node = fmip.NewNode(cfg)
	return w
}

func (w *walk) careOf(c *cell) netip.Addr { return walkParams.In(c.prefix).Address(0) }

func (w *walk) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *walk) after(d time.Duration, run func()) {
	w.queue = append(w.queue, walkDelivery{w.now.Add(d), run})
	slices.SortStableFunc(w.queue, func(a, b walkDelivery) int { return a.at.Compare(b.at) })
}

// run lets time pass.
func (w *walk) run(d time.Duration) {
	end := w.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 100_000 {
			w.t.Fatalf("time does not go on at %v", w.now.Sub(walkStart))
		}
		next := end
		if len(w.queue) > 0 && w.queue[0].at.Before(next) {
			next = w.queue[0].at
		}
		deadlines := []time.Time{w.node.Deadline(), w.cells[0].router.Deadline(), w.cells[1].router.Deadline()}
		for _, at := range deadlines {
			if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		if next.After(w.now) {
			w.now = next
		}
		switch {
		case len(w.queue) > 0 && !w.queue[0].at.After(w.now):
			head := w.queue[0]
			w.queue = w.queue[1:]
			head.run()
		case !deadlines[0].IsZero() && !deadlines[0].After(w.now):
			w.step(fmip.NodeInput{Kind: fmip.InNodeTick})
		case !deadlines[1].IsZero() && !deadlines[1].After(w.now):
			w.routerStep(w.cells[0], fmip.Input{Kind: fmip.InTick})
		case !deadlines[2].IsZero() && !deadlines[2].After(w.now):
			w.routerStep(w.cells[1], fmip.Input{Kind: fmip.InTick})
		default:
			return
		}
	}
}

// plug puts the node in a cell; its carrier went before.
func (w *walk) plug(c *cell) {
	w.unplug()
	w.at = c
	w.step(fmip.NodeInput{Kind: fmip.InAttached})
}

func (w *walk) unplug() {
	if w.at != nil {
		w.at = nil
		w.step(fmip.NodeInput{Kind: fmip.InDetached})
	}
}

// step gives the node an input and carries out what it answers.
func (w *walk) step(in fmip.NodeInput) {
	for _, e := range w.node.Step(w.now, in) {
		w.carry(&e)
	}
}

func (w *walk) carry(e *fmip.NodeEffect) {
	switch e.Kind {
	case fmip.EffectNodeSend, fmip.EffectNodeSendND:
		w.leave(e)
	case fmip.EffectAddress:
		failed := w.taken[e.Addr.String()]
		if !failed {
			w.addresses = append(w.addresses, e.Addr)
		}
		w.after(0, func() { w.step(fmip.NodeInput{Kind: fmip.InAddress, Addr: e.Addr, Failed: failed}) })
	case fmip.EffectRelease:
		w.addresses = slices.DeleteFunc(w.addresses, func(a netip.Addr) bool { return a == e.Addr })
	case fmip.EffectDefaultRouter:
		w.router = e.Router
		if e.Lifetime <= 0 {
			w.router = netip.Addr{}
		}
	case fmip.EffectWantKey:
		w.wanted = append(w.wanted, fmt.Sprint("want ", e.Router, " ", e.Home))
		w.after(0, func() {
			w.step(fmip.NodeInput{
				Kind: fmip.InKeyRequest, Router: e.Router, Home: e.Home, Pair: 1,
				Option: ndp.KeyRequest{PublicKey: make([]byte, 100)}.Append(nil),
			})
		})
	case fmip.EffectUnwantKey:
		w.wanted = append(w.wanted, fmt.Sprint("unwant ", e.Router, " ", e.Home))
	case fmip.EffectKeyReply:
		if !e.HasReply || !e.Secured {
			return
		}
		r, err := ndp.ParseKeyReply(e.Reply)
		if err != nil || !bytes.Equal(e.Nonce, []byte("nonce!")) {
			w.t.Fatalf("key reply %v, nonce %q", err, e.Nonce)
		}
		w.keys[[2]netip.Addr{e.Router, e.Home}] = bytes.Clone(r.EncryptedKey)
		w.after(0, func() { w.step(fmip.NodeInput{Kind: fmip.InKey, Router: e.Router, Home: e.Home}) })
	case fmip.EffectDiscardKey:
		w.note("discard key of %v", e.Home)
		for k := range w.keys {
			if k[1] == e.Home {
				delete(w.keys, k)
			}
		}
	case fmip.EffectTunnel:
		w.tunnels[e.Home] = e.Binding
	case fmip.EffectUntunnel:
		delete(w.tunnels, e.Home)
	case fmip.EffectNodeReport:
		w.note("%v %s", e.Event.Kind, e.Event.Detail)
	}
}

// leave puts a packet of the node on the air.
func (w *walk) leave(e *fmip.NodeEffect) {
	p := &ipv6.Packet{}
	if len(e.Packet) == 0 || ipv6.Parse(e.Packet, p) != ipv6.OK {
		w.t.Fatalf("the node sends what is no packet: %x", e.Packet)
	}
	p.LinkSource = walkHW
	name := walkName(p)
	w.note("node: %s", name)
	if e.Kind == fmip.EffectNodeSend && e.Link != 0 && !e.LinkDst.IsUnicast() {
		w.t.Errorf("%s to %v", name, e.LinkDst)
	}
	if name == "BU" {
		w.homeSeq = uint16(p.Payload[6])<<8 | uint16(p.Payload[7])
	}
	at := w.at
	if at == nil || w.lose != nil && w.lose(name) {
		return
	}
	w.after(time.Millisecond, func() {
		if e.Link != 0 && e.LinkDst.IsUnicast() && e.LinkDst != at.hw {
			return
		}
		if name == "RS" {
			if !w.mute {
				w.advertise(at, 1800)
			}
			return
		}
		for _, c := range w.cells {
			if e.Kind == fmip.EffectNodeSendND && c == at || e.Kind == fmip.EffectNodeSend && p.Dst == c.address {
				w.toRouter(c, at, p)
			}
		}
	})
}

func (w *walk) toRouter(c, from *cell, p *ipv6.Packet) {
	in := fmip.Input{Kind: fmip.InPacket, Packet: p, Wall: w.now}
	p.Interface = 1
	if c != from {
		p.Interface, p.LinkSource = 9, ipv6.LinkAddr{}
	} else {
		in.Neighbour = walkHW
	}
	if p.Proto == ipv6.ProtoICMPv6 && !w.unsigned {
		in.Secured, in.CGAKey, in.Nonce = true, walkParams.PublicKey, []byte("nonce!")
	}
	w.routerStep(c, in)
}

func (w *walk) routerStep(c *cell, in fmip.Input) {
	for _, e := range c.router.Step(w.now, in) {
		w.routerDoes(c, &e)
	}
}

func (w *walk) routerDoes(c *cell, e *fmip.Effect) {
	switch e.Kind {
	case fmip.EffectSend:
		w.routerSends(c, e)
	case fmip.EffectSendND:
		packet := e.Packet
		if len(e.Answers) > 0 { // as SEND does
			var p ipv6.Packet
			ipv6.Parse(packet, &p)
			msg := append(bytes.Clone(p.Payload), ndp.NonceOption(e.Answers)...)
			ndp.FixChecksum(msg, p.Src, p.Dst)
			packet = ipv6.Append(nil, ipv6.Header{Src: p.Src, Dst: p.Dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
		}
		w.toNode(c, packet, e.LinkDst)
	case fmip.EffectKeyRequest:
		key := bytes.Repeat([]byte{c.n}, 20)
		c.keys[e.Home] = key
		w.after(time.Millisecond, func() {
			w.routerStep(c, fmip.Input{
				Kind: fmip.InGrant, Cookie: e.Cookie, Octets: ndp.KeyReply{Lifetime: 43200, EncryptedKey: key}.Append(nil),
			})
		})
	case fmip.EffectBind:
		c.bound[e.Binding.Home] = e.Binding.CareOf
		w.note("%s: bind", c.name)
		w.after(0, func() { w.routerStep(c, fmip.Input{Kind: fmip.InForwarding, Home: e.Binding.Home}) })
	case fmip.EffectUnbind:
		delete(c.bound, e.Binding.Home)
		w.note("%s: unbind", c.name)
	case fmip.EffectDrain:
		w.note("%s: drain", c.name)
		w.after(0, func() { w.routerStep(c, fmip.Input{Kind: fmip.InDrained, Home: e.Addr}) })
	}
}

// routerSends carries a mobility header of a router.
func (w *walk) routerSends(c *cell, e *fmip.Effect) {
	p := &ipv6.Packet{}
	if ipv6.Parse(e.Packet, p) != ipv6.OK {
		w.t.Fatal("a router sends what is no packet")
	}
	if e.Link != 0 {
		w.toNode(c, e.Packet, e.LinkDst)
		return
	}
	for _, other := range w.cells {
		switch {
		case p.Dst == other.address:
			if w.lose != nil && w.lose(walkName(p)) {
				return
			}
			w.after(time.Millisecond, func() {
				p.Interface = 9
				w.routerStep(other, fmip.Input{Kind: fmip.InPacket, Packet: p, Wall: w.now})
			})
		case other.prefix.Contains(p.Dst):
			w.toNode(other, e.Packet, walkHW)
		}
	}
}

// toNode delivers what is sent on the link of c, if the node is there then.
func (w *walk) toNode(c *cell, packet []byte, dst ipv6.LinkAddr) {
	p := &ipv6.Packet{}
	if ipv6.Parse(packet, p) != ipv6.OK {
		w.t.Fatal("a router sends what is no packet")
	}
	p.Interface, p.LinkSource = walkLink, c.hw
	if w.lose != nil && w.lose(walkName(p)) {
		return
	}
	w.after(time.Millisecond, func() {
		if w.at != c || dst != walkHW && dst[0]&1 == 0 || !p.Dst.IsMulticast() && !p.Dst.IsLinkLocalUnicast() && !slices.Contains(w.addresses, p.Dst) {
			return
		}
		w.hear(p)
	})
}

func (w *walk) hear(p *ipv6.Packet) {
	w.note("to node: %s", walkName(p))
	w.step(fmip.NodeInput{
		Kind: fmip.InNodePacket, Packet: p, Secured: !w.unsigned, Authorized: !w.unsigned, Covered: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
	})
}

func (w *walk) advertise(c *cell, lifetime uint16) {
	w.toNode(c, advertPacket(c, ipv6.AllNodes(), lifetime), ipv6.MulticastLinkAddr(ipv6.AllNodes()))
}

// advertPacket is a router advertisement: an autonomous /64 with the router's own address.
func advertPacket(c *cell, dst netip.Addr, lifetime uint16, opts ...[]byte) []byte {
	msg := []byte{ndp.TypeRouterAdvert, 0, 0, 0, 64, 0, byte(lifetime >> 8), byte(lifetime), 0, 0, 0, 0, 0, 0, 0, 0}
	msg = append(msg, ndp.SourceLinkOption(c.hw)...)
	info := make([]byte, 32)
	info[0], info[1], info[2], info[3] = ndp.OptPrefix, 4, 64, 0x80|0x40|0x20
	binary.BigEndian.PutUint32(info[4:], 7200)
	binary.BigEndian.PutUint32(info[8:], 3600)
	copy(info[16:], c.address.AsSlice())
	msg = append(msg, info...)
	for _, o := range opts {
		msg = append(msg, o...)
	}
	ndp.FixChecksum(msg, c.local, dst)
	return ipv6.Append(nil, ipv6.Header{Src: c.local, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
}

// walkName names a message.
func walkName(p *ipv6.Packet) string {
	if len(p.Payload) < 8 {
		return "short"
	}
	if p.Proto == ipv6.ProtoMobility {
		switch p.Payload[2] {
		case mobility.TypeFBU:
			return "FBU"
		case mobility.TypeFBack:
			return "FBack"
		case mobility.TypeHI:
			return "HI"
		case mobility.TypeHAck:
			return "HAck"
		case mobility.TypeBU:
			return "BU"
		}
		return "BA"
	}
	switch p.Payload[0] {
	case ndp.TypeRouterSolicit:
		return "RS"
	case ndp.TypeRouterAdvert:
		return "RA"
	case ndp.TypeNeighborAdvert:
		return "UNA"
	case ndp.TypeFast:
		if p.Payload[4] == ndp.SubtypeProxySolicit {
			return "RtSolPr"
		}
		return "PrRtAdv"
	}
	return "ND"
}

// expect compares the trace from the last expect on with want, line by line. A line may be given by its beginning.
func (w *walk) expect(want ...string) {
	w.t.Helper()
	ok := len(want) == len(w.trace)
	for i := 0; ok && i < len(want); i++ {
		ok = strings.HasPrefix(w.trace[i], want[i])
	}
	if !ok {
		w.t.Errorf("got\n  %s\nwant\n  %s", strings.Join(w.trace, "\n  "), strings.Join(want, "\n  "))
	}
	w.trace = nil
}

func (w *walk) has(line string) bool {
	return slices.ContainsFunc(w.trace, func(l string) bool { return strings.HasPrefix(l, line) })
}

// settled attaches the node to the first cell and lets it get its key.
func (w *walk) settled() {
	w.t.Helper()
	w.plug(w.cells[0])
	w.run(200 * time.Millisecond)
	if !w.node.State().Keyed {
		w.t.Fatalf("no handover key:\n%s", strings.Join(w.trace, "\n"))
	}
	w.trace = nil
}

// follows checks that the traffic of the first cell's address reaches the node in the second.
func (w *walk) follows() {
	w.t.Helper()
	home, careOf := w.careOf(w.cells[0]), w.careOf(w.cells[1])
	if got := w.cells[0].bound[home]; got != careOf {
		w.t.Errorf("the router forwards to %v, want %v", got, careOf)
	}
	want := fmip.Binding{Home: home, Router: w.cells[0].address, CareOf: careOf, Link: walkLink}
	if got := w.tunnels[home]; got != want {
		w.t.Errorf("the node's end of the tunnel is %+v, want %+v", got, want)
	}
	if s := w.node.State(); s.CareOf != careOf || !s.Usable || s.Router != w.cells[1].local {
		w.t.Errorf("state %+v", s)
	}
}

func (w *walk) counter(name string) (value uint64) {
	w.t.Helper()
	found := false
	w.node.Counters(func(n string, v uint64) {
		if n == name {
			value, found = v, true
		}
	})
	if !found {
		w.t.Fatalf("there is no counter %s", name)
	}
	return value
}
