package lke_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// The network of the router's tests:
//
//	        uplink 9
//	           |
//	[ router 2001:db8:1::1, 2001:db8:2::1 ]
//	   | lan0 (1)              | lan1 (2)
//	2001:db8:1::/64         2001:db8:2::/64
//
// A station attaches to lan0 and moves to 2001:db8:77::/64 somewhere else.
const (
	labUplink  = 9
	labLink    = 1
	labLink2   = 2
	labModulus = 128
)

var (
	labRouter    = netip.MustParseAddr("2001:db8:1::1")
	labRouter2   = netip.MustParseAddr("2001:db8:2::1")
	labLocal     = netip.MustParseAddr("fe80::ff:fe00:1")
	labHardware  = ipv6.LinkAddr{2, 0, 0, 0, 0, 1}
	labHardware2 = ipv6.LinkAddr{2, 0, 0, 0, 0, 2}
	labCareOf    = netip.MustParseAddr("2001:db8:77::beef")
	labProxied   = netip.MustParseAddr("2001:db8:1::53")
)

// routerLab is one router on a clock that only the test moves, with a script of nonces.
type routerLab struct {
	t       testing.TB
	router  *lke.Router
	now     time.Time
	cfg     lke.RouterConfig
	rand    *labRand
	watched map[labWatch]int
	bound   map[netip.Addr]lke.Binding
	saved   map[netip.Addr]lke.Record

	// holdForwarding leaves EffectBind unanswered; failForwarding answers that it failed.
	holdForwarding, failForwarding bool
}

type labWatch struct {
	link int
	home netip.Addr
}

// labRand gives the scripted nonces first, then octets that a seed determines.
type labRand struct {
	script []byte
	rest   *rand.ChaCha8
}

func (r *labRand) Read(b []byte) (int, error) {
	n := copy(b, r.script)
	r.script = r.script[n:]
	if n < len(b) {
		r.rest.Read(b[n:])
	}
	return len(b), nil
}

// nonces puts these nonces at the start of what the router will draw.
func (l *routerLab) nonces(values ...uint32) {
	for _, v := range values {
		l.rand.script = binary.BigEndian.AppendUint32(l.rand.script, v)
	}
}

func labConfig() lke.RouterConfig {
	return lke.RouterConfig{
		Links: []lke.Link{
			{
				Name: "lan0", Index: labLink, Hardware: labHardware, LinkLocal: labLocal,
				Prefixes: []lke.LinkPrefix{{Prefix: netip.MustParsePrefix("2001:db8:1::/64"), Router: labRouter}},
				Routers:  []netip.Addr{labProxied},
			},
			{
				Name: "lan1", Index: labLink2, Hardware: labHardware2, LinkLocal: netip.MustParseAddr("fe80::ff:fe00:2"),
				Prefixes: []lke.LinkPrefix{{Prefix: netip.MustParsePrefix("2001:db8:2::/64"), Router: labRouter2}},
			},
		},
		ModulusLen: labModulus, MaxNodes: 64, RequestFinished: true,
	}
}

// newRouterLab makes a router with the lab's configuration, changed by each of the functions.
func newRouterLab(t testing.TB, change ...func(*lke.RouterConfig)) *routerLab {
	l := &routerLab{
		t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), cfg: labConfig(),
		rand: &labRand{rest: rand.NewChaCha8([32]byte{1})},
	}
	l.cfg.Rand = l.rand
	for _, f := range change {
		f(&l.cfg)
	}
	l.reset()
	return l
}

// reset starts the router anew, as after a crash: what was saved and bound stays where it is.
func (l *routerLab) reset() {
	l.router = lke.NewRouter(l.cfg)
	l.watched = map[labWatch]int{}
	if l.saved == nil {
		l.bound, l.saved = map[netip.Addr]lke.Binding{}, map[netip.Addr]lke.Record{}
	}
}

// step gives the router one input, carries out the effects and describes them, a line each. Reports are left out: events
// has them.
func (l *routerLab) step(in lke.Input) []string {
	l.t.Helper()
	return l.carryOut(l.router.Step(l.now, in))
}

func (l *routerLab) carryOut(effects []lke.Effect) (lines []string) {
	l.t.Helper()
	for _, e := range effects {
		if e.Key != [lke.KeyLen]byte{} {
			l.t.Errorf("effect %v holds a key", e.Kind)
		}
		if e.Kind != lke.EffectReport {
			lines = append(lines, l.describe(e))
		}
		watch := labWatch{e.Link, e.Home}
		switch e.Kind {
		case lke.EffectWatch:
			l.watched[watch]++
		case lke.EffectUnwatch:
			l.watched[watch]--
			if l.watched[watch] == 0 {
				delete(l.watched, watch)
			}
		case lke.EffectSave:
			l.saved[e.Home] = *e.Record
		case lke.EffectForget:
			delete(l.saved, e.Home)
		case lke.EffectUnbind:
			delete(l.bound, e.Home)
		case lke.EffectBind:
			if l.holdForwarding {
				continue
			}
			if !l.failForwarding {
				l.bound[e.Home] = e.Binding
			}
			lines = append(lines, l.step(lke.Input{Kind: lke.InForwarding, Home: e.Home, Failed: l.failForwarding})...)
		}
	}
	return lines
}

// receive gives the router one packet from a link.
func (l *routerLab) receive(p *ipv6.Packet) []string {
	l.t.Helper()
	return l.step(lke.Input{Kind: lke.InPacket, Packet: p})
}

// advance moves the clock by d and ticks whenever the router wants it. The lines bear the time since the start.
func (l *routerLab) advance(d time.Duration) (lines []string) {
	l.t.Helper()
	start, end := l.now, l.now.Add(d)
	for {
		at := l.router.Deadline()
		if at.IsZero() || at.After(end) {
			l.now = end
			return lines
		}
		if at.After(l.now) {
			l.now = at
		}
		for _, line := range l.step(lke.Input{Kind: lke.InTick}) {
			lines = append(lines, fmt.Sprintf("%v: %s", l.now.Sub(start), line))
		}
		if next := l.router.Deadline(); !next.IsZero() && !next.After(l.now) {
			l.t.Fatalf("the deadline %v does not move on", next)
		}
	}
}

// describe says in one line what an effect is, and checks the checksums of what is sent.
func (l *routerLab) describe(e lke.Effect) string {
	l.t.Helper()
	switch e.Kind {
	case lke.EffectSend:
		return l.describePacket(e)
	case lke.EffectDecrypt:
		return fmt.Sprintf("decrypt for %v", e.Source)
	case lke.EffectBind:
		return fmt.Sprintf("bind %v to %v", e.Binding.Home, e.Binding.CareOf)
	case lke.EffectUnbind:
		return fmt.Sprintf("unbind %v", e.Home)
	case lke.EffectSave:
		if e.Record.Bound {
			return fmt.Sprintf("save %v bound to %v", e.Home, e.Record.CareOf)
		}
		return fmt.Sprintf("save %v", e.Home)
	case lke.EffectForget:
		return fmt.Sprintf("forget %v", e.Home)
	case lke.EffectWatch:
		return fmt.Sprintf("watch %v on %d", e.Home, e.Link)
	case lke.EffectUnwatch:
		return fmt.Sprintf("unwatch %v on %d", e.Home, e.Link)
	}
	return fmt.Sprintf("effect %d", e.Kind)
}

func (l *routerLab) describePacket(e lke.Effect) string {
	l.t.Helper()
	p := labParse(l.t, e.Packet)
	where := "routed"
	if e.Link != 0 {
		where = fmt.Sprintf("on %d to %v", e.Link, e.LinkDst)
	}
	if p.Proto == ipv6.ProtoICMPv6 {
		switch p.Payload[0] {
		case ndp.TypeNeighborSolicit:
			m, reason := ndp.ParseNeighborSolicit(p)
			return fmt.Sprintf("NS for %v %s%s", m.Target, where, labFault(reason.String()))
		case ndp.TypeNeighborAdvert:
			m, reason := ndp.ParseNeighborAdvert(p)
			flags := ""
			for _, f := range []struct {
				set  bool
				name string
			}{{m.Router, "R"}, {m.Solicited, "S"}, {m.Override, "O"}} {
				if f.set {
					flags += f.name
				}
			}
			return fmt.Sprintf("NA %s for %v at %v %s%s", flags, m.Target, m.TargetLink, where, labFault(reason.String()))
		}
		return fmt.Sprintf("ICMPv6 %d code %d %s", p.Payload[0], p.Payload[1], where)
	}
	h, fault := mobility.Check(p, func(uint8) (uint8, bool) { return 0, true })
	cp := mobility.DefaultCodePoints()
	bad := labFault(fault.String())
	switch h.Type {
	case mobility.TypeBA:
		m, err := mobility.ParseBindingAck(h, cp)
		if err != nil {
			l.t.Fatalf("binding acknowledgement: %v", err)
		}
		s := fmt.Sprintf("BA %d seq %d lifetime %d", m.Status, m.Seq, m.Lifetime)
		if m.FinishedRequest {
			s += " finished?"
		}
		if m.HasAuth && !m.AuthLast {
			s += " BAD IN THE MIDDLE"
		}
		if !m.HasAuth {
			s += " unauthenticated"
		}
		return fmt.Sprintf("%s %s to %v%s", s, where, p.Dst, bad)
	case cp.KeyExchangeAck:
		m, err := mobility.ParseKeyExchangeAck(h, cp)
		if err != nil {
			l.t.Fatalf("key exchange acknowledgement: %v", err)
		}
		return fmt.Sprintf("KEAck %d seq %d lifetime %d %s%s", m.Status, m.Seq, m.Lifetime, where, bad)
	}
	return fmt.Sprintf("MH %d %s%s", h.Type, where, bad)
}

func labFault(s string) string {
	if s == "ok" {
		return ""
	}
	return " INVALID " + s
}

func labParse(t testing.TB, raw []byte) *ipv6.Packet {
	t.Helper()
	p := new(ipv6.Packet)
	if problem := ipv6.Parse(raw, p); problem != ipv6.OK {
		t.Fatalf("packet does not parse: %v", problem)
	}
	return p
}

// counter gives the value of one counter; it must exist.
func (l *routerLab) counter(name string) uint64 {
	l.t.Helper()
	found, value := false, uint64(0)
	l.router.Counters(func(n string, v uint64) {
		if n == name {
			found, value = true, v
		}
	})
	if !found {
		l.t.Fatalf("there is no counter %q", name)
	}
	return value
}

// counters gives all counters that are not zero.
func (l *routerLab) counters() map[string]uint64 {
	all := map[string]uint64{}
	l.router.Counters(func(n string, v uint64) {
		if v != 0 {
			all[n] = v
		}
	})
	return all
}

// associations gives all associations, a line each.
func (l *routerLab) associations() (lines []string) {
	l.router.Associations(func(a lke.Association) bool {
		lines = append(lines, fmt.Sprintf("%v %s %v at %v", a.Home, a.State, a.Node, a.Link))
		return true
	})
	return lines
}

func (l *routerLab) association(home netip.Addr) (found lke.Association) {
	l.router.Associations(func(a lke.Association) bool {
		if a.Home == home {
			found = a
		}
		return true
	})
	return found
}

// expect compares lines of effects.
func (l *routerLab) expect(got []string, want ...string) {
	l.t.Helper()
	if !slices.Equal(got, want) {
		l.t.Fatalf("effects:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// expectDrop checks that a packet does nothing but count under name.
func (l *routerLab) expectDrop(p *ipv6.Packet, name string) {
	l.t.Helper()
	before := l.counter(name)
	if got := l.receive(p); got != nil {
		l.t.Fatalf("effects %q, want none", got)
	}
	if got := l.counter(name); got != before+1 {
		l.t.Fatalf("counter %s went from %d to %d; all: %v", name, before, got, l.counters())
	}
}

// labNone is no address: a packet without a Home Address option.
var labNone netip.Addr

func labAddr(s string) netip.Addr { return netip.MustParseAddr(s) }
