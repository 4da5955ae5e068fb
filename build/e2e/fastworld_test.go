package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// fastWorld is two access routers with a kernel between them that is a correspondent, too:
//
//	cell0 ──── lan0 PAR wan0 ──── up0 core up1 ──── wan0 NAR lan0 ──── cell0
//	 2001:db8:1::/64      2001:db8:2::/64     2001:db8:3::/64     2001:db8:c::/64
type fastWorld struct {
	t        *testing.T
	par, nar *secureWorld
	numbers  int
}

var (
	narPrefix = farNet
	narWAN    = netip.MustParseAddr("2001:db8:3::1")
	coreToNAR = netip.MustParseAddr("2001:db8:3::2")
	parPoint  = ipv6.LinkAddr{2, 0, 0, 0, 0xaa, 1}
	narPoint  = farPoint
)

// neighbourPart is one router's settings of the other.
const neighbourPart = `
config neighbor 'NAME'
	option address 'ADDRESS'
	list prefix 'PREFIX'
	option hardware 'HARDWARE'
	list access_point 'POINT'
	option protection 'key'
	option key 'DIR/pair.key'
`

// newFastWorld makes the network and starts both routers. Their links are of that mode.
func newFastWorld(t *testing.T, mode string) *fastWorld {
	t.Helper()
	if refused != nil {
		t.Skip(refused)
	}
	dirs := [2]string{t.TempDir(), t.TempDir()} // before the lab, as they are to be removed after all programs have ended
	lab := netlab.New()
	t.Cleanup(func() { check(t, lab.Close()) })
	namespace := func(name string) *netlab.Namespace {
		ns, err := lab.Namespace(name)
		check(t, err)
		return ns
	}
	core := namespace("core")
	check(t, core.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	f := &fastWorld{t: t}
	for i, side := range []struct {
		name              string
		prefix            netip.Prefix
		first, wan, other netip.Addr
		uplink            string
		key               *rsa.PrivateKey
		point             ipv6.LinkAddr
	}{
		{"par", lanPrefix, routerAddr, wanAddr, correspondent, "up0", keys[0](), parPoint},
		{"nar", narPrefix, farRouter, narWAN, coreToNAR, "up1", keys[1](), narPoint},
	} {
		w := &world{t: t, lab: lab, cell: namespace("cell-" + side.name), router: namespace(side.name), up: core}
		check(t, w.cell.SetSysctl("net/ipv6/conf/default/disable_ipv6", "1"))
		check(t, lab.Veth(netlab.End{NS: w.cell, Name: "cell0"}, netlab.End{NS: w.router, Name: "lan0"}))
		check(t, lab.Veth(netlab.End{NS: core, Name: side.uplink}, netlab.End{NS: w.router, Name: "wan0"}))
		check(t, w.router.AddAddress("lan0", netip.PrefixFrom(side.first, 64)))
		check(t, w.router.AddAddress("wan0", netip.PrefixFrom(side.wan, 64)))
		check(t, core.AddAddress(side.uplink, netip.PrefixFrom(side.other, 64)))
		check(t, core.AddRoute(side.prefix, side.wan, side.uplink))
		check(t, w.router.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
		check(t, w.router.AddRoute(netip.MustParsePrefix("::/0"), side.other, "wan0"))
		w.nodes, w.away = openStation(t, w.cell, "cell0"), openStation(t, core, side.uplink)
		w.access = rig.Router{Addr: side.first, Hardware: w.link("lan0").Hardware}
		w.access.Local = ipv6.LinkLocalFrom(w.access.Hardware)
		w.wanHW = w.link("wan0").Hardware
		w.options = rig.Options{Path: built.roamkeyd, Dir: dirs[i], Bits: 1024}
		check(t, os.Chmod(w.options.Dir, 0o755))
		secure := makeSecure(w, mode, side.key, side.prefix, "list access_point '"+side.point.String()+"'")
		if i == 0 {
			f.par = secure
		} else {
			f.nar = secure
		}
	}
	pair := make([]byte, 32)
	rand.Read(pair)
	f.par.knows("nar", f.nar, narPoint)
	f.nar.knows("par", f.par, parPoint)
	for _, w := range []*secureWorld{f.par, f.nar} {
		w.writePairKey(pair)
		w.launch()
	}
	for _, w := range []*secureWorld{f.par, f.nar} {
		w.await("its link is served", rig.Serves)
	}
	return f
}

// knows puts the other router into the settings.
func (w *secureWorld) knows(name string, other *secureWorld, point ipv6.LinkAddr) {
	w.options.Settings += fastPart + strings.NewReplacer(
		"NAME", name, "ADDRESS", other.global.String(), "PREFIX", other.prefix.String(), "HARDWARE", other.access.Hardware.String(), "POINT", point.String(),
	).Replace(neighbourPart)
}

// writePairKey puts the key that both routers share where the settings name it.
func (w *secureWorld) writePairKey(key []byte) {
	w.t.Helper()
	path := filepath.Join(w.options.Dir, "pair.key")
	check(w.t, os.WriteFile(path, []byte(hex.EncodeToString(key)+"\n"), 0o600))
}

// as makes a subtest the one that fails, as long as it runs.
func (f *fastWorld) as(t *testing.T) {
	before := f.t
	f.t = t
	t.Cleanup(func() { f.t = before })
	f.par.as(t)
	f.nar.as(t)
}

// traveller is a node at the PAR that has a handover key, and the address that it is going to have at the NAR.
type traveller struct {
	*sendNode
	f    *fastWorld
	next netip.Addr

	left, arrived time.Time // when it left the old link, and came to the new one; zero: it did not
}

func (f *fastWorld) traveller(key, pair *rsa.PrivateKey) *traveller {
	f.t.Helper()
	n := f.par.sendNode(key, true)
	n.pair = pair
	n.trusted[f.nar.hash()] = []netip.Prefix{narPrefix}
	v := &traveller{sendNode: n, f: f, next: n.in(narPrefix)}
	n.mu.Lock()
	n.own = append(n.own, v.next)
	n.mu.Unlock()
	t := f.t
	t.Cleanup(func() { n.attach(nil) })
	m, _ := n.askKey(f.par.fastRouter(), 0, n.pair, narPoint)
	if m.Tuples.Len() != 1 || m.Tuples.At(0).Router != f.nar.global || m.Tuples.At(0).NetPrefix() != narPrefix {
		t.Errorf("proxy advertisement %+v", m)
	}
	return v
}

// leave takes the node off its link; arrive puts it on the NAR's and announces it, signed (RFC 5568 section 6.3).
func (v *traveller) leave() {
	v.attach(nil)
	v.left = time.Now()
}

func (v *traveller) arrive() {
	v.come()
	v.announce()
}

func (v *traveller) come() {
	v.arrived = time.Now()
	v.attach(v.f.nar.nodes)
}

// comeBack puts the node on its first link again.
func (v *traveller) comeBack() {
	v.left, v.arrived = time.Time{}, time.Time{}
	v.attach(v.f.par.nodes)
}

func (v *traveller) announce() {
	msg := ndp.AppendNeighborAdvert(nil, v.next, ipv6.AllNodes(), 0, v.next, ndp.TargetLinkOption(v.Hardware))
	v.say(icmp(v.next, ipv6.AllNodes(), msg), nil, ipv6.MulticastLinkAddr(ipv6.AllNodes()))
}

// predictive sends an update from the old link, reactive from the new one.
func (v *traveller) predictive(lifetime uint16) {
	v.f.par.nodes.fromCell(v.sendNode, v.update(v.f.par.fastRouter(), v.Home, v.next, lifetime).packet(), v.f.par.fastRouter())
}

func (v *traveller) reactive(lifetime uint16) {
	v.f.nar.nodes.fromCell(v.sendNode, v.update(v.f.par.fastRouter(), v.next, v.next, lifetime).packet(), v.f.nar.fastRouter())
}

// stream is datagrams of the correspondent to a node, with numbers from 0, one each millisecond.
type stream struct {
	v      *traveller
	prefix string
	sent   int
	stop   chan struct{}
	done   sync.WaitGroup
	marks  [2]int
}

func (v *traveller) stream() *stream {
	p := v.f.par.peer()
	s := &stream{v: v, prefix: "stream " + v.Home.String() + " ", stop: make(chan struct{}), marks: [2]int{v.f.par.nodes.mark(), v.f.nar.nodes.mark()}}
	s.done.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for ; ; s.sent++ {
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
			_, _ = p.conn.WriteToUDPAddrPort([]byte(s.prefix+strconv.Itoa(s.sent)), netip.AddrPortFrom(v.Home, nodePort))
		}
	})
	return s
}

// numbers are those of the datagrams that came to the node: on the old link as they are, on the new one in the tunnel to its
// address there or, with a host route, as they are.
func (s *stream) numbers() (before, after []int) {
	of := func(p *ipv6.Packet) (int, bool) {
		if p.Proto != protoUDP || p.Dst != s.v.Home || len(p.Payload) < 8 || !bytes.HasPrefix(p.Payload[8:], []byte(s.prefix)) {
			return 0, false
		}
		n, err := strconv.Atoi(string(p.Payload[8+len(s.prefix):]))
		return n, err == nil
	}
	s.v.f.par.nodes.since(s.marks[0], func(h *heard) bool {
		if n, ok := of(&h.Packet); ok && h.to == s.v.Hardware && (s.v.left.IsZero() || h.at.Before(s.v.left)) {
			before = append(before, n)
		}
		return false
	})
	s.v.f.nar.nodes.since(s.marks[1], func(h *heard) bool {
		if h.to != s.v.Hardware || s.v.arrived.IsZero() || h.at.Before(s.v.arrived) {
			return false
		}
		inner := h.Packet
		if h.Proto == ipv6.ProtoIPv6 && h.Src == s.v.f.par.global && h.Dst == s.v.next && ipv6.Parse(h.Payload, &inner) != ipv6.OK {
			return false
		}
		if n, ok := of(&inner); ok {
			after = append(after, n)
		}
		return false
	})
	return before, after
}

// flows waits until the stream comes to the node at the PAR, or at the NAR.
func (s *stream) flows(there bool) {
	s.v.t.Helper()
	b, a := s.numbers()
	eventually(s.v.t, "datagrams of the stream", func() bool {
		before, after := s.numbers()
		return !there && len(before) > len(b)+20 || there && len(after) > len(a)+20
	})
}

// end stops the stream and tells what was lost, and whether anything came out of order on the new link.
func (s *stream) end() (lost, reordered, repeated int) {
	close(s.stop)
	s.done.Wait()
	last := func() bool {
		b, a := s.numbers()
		all := append(b, a...)
		return len(all) > 0 && all[len(all)-1] >= s.sent-1
	}
	for end := time.Now().Add(3 * time.Second); !last() && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	}
	before, after := s.numbers()
	came := make(map[int]int)
	for _, n := range append(before, after...) {
		came[n]++
	}
	for n := range s.sent {
		switch {
		case came[n] == 0:
			lost++
		case came[n] > 1:
			repeated++
		}
	}
	for i := 1; i < len(after); i++ {
		if after[i] <= after[i-1] {
			reordered++
		}
	}
	return lost, reordered, repeated
}

// readPairKey gives the key that both routers share.
func readPairKey(w *secureWorld) ([]byte, error) {
	return engine.LoadSharedKey(filepath.Join(w.options.Dir, "pair.key"))
}

func allNodesLink() ipv6.LinkAddr { return ipv6.MulticastLinkAddr(ipv6.AllNodes()) }

// unsignedAnnouncement is an announcement for an address by who has no key for it.
func unsignedAnnouncement(addr netip.Addr, hw ipv6.LinkAddr) []byte {
	return icmp(addr, ipv6.AllNodes(), ndp.AppendNeighborAdvert(nil, addr, ipv6.AllNodes(), 0, addr, ndp.TargetLinkOption(hw)))
}
