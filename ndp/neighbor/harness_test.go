package neighbor_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/neighbor"
)

// The link of these tests: the host under test, and two others.
var (
	ownLink   = netip.MustParseAddr("fe80::1:1")
	ownGlobal = netip.MustParseAddr("2001:db8:1::1:1")
	ownHW     = ipv6.LinkAddr{2, 0, 0, 0, 0, 1}
	nodeAddr  = netip.MustParseAddr("2001:db8:1::a:a")
	nodeLink  = netip.MustParseAddr("fe80::a:a")
	nodeHW    = ipv6.LinkAddr{2, 0, 0, 0, 0, 0xa}
	liarHW    = ipv6.LinkAddr{2, 0, 0, 0, 0x66, 0x66}
	nonce     = []byte{1, 2, 3, 4, 5, 6}
)

type lab struct {
	t   testing.TB
	c   *neighbor.Cache
	now time.Time
	cfg neighbor.Config
}

type reader struct{ *rand.Rand }

func (r reader) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

// bare makes a lab without own addresses.
func bare(t testing.TB, change ...func(*neighbor.Config)) *lab {
	l := &lab{t: t, now: time.Unix(1e9, 0), cfg: neighbor.Config{
		Link: 3, Hardware: ownHW, Router: true, Rand: reader{rand.New(rand.NewPCG(1, 2))},
	}}
	for _, f := range change {
		f(&l.cfg)
	}
	l.c = neighbor.New(l.cfg)
	return l
}

// settled makes a lab whose own addresses have been in use before.
func settled(t testing.TB, change ...func(*neighbor.Config)) *lab {
	l := bare(t, change...)
	for _, a := range []netip.Addr{ownLink, ownGlobal} {
		l.step(neighbor.Input{Kind: neighbor.InOwn, Addr: a, InUse: true})
	}
	return l
}

func host(c *neighbor.Config)        { c.Router = false }
func securedOnly(c *neighbor.Config) { c.Secured = true }

func (l *lab) step(in neighbor.Input) []neighbor.Effect { return l.c.Step(l.now, in) }

// pass lets time go by, with all that is due in it.
func (l *lab) pass(d time.Duration) (all []neighbor.Effect) {
	for end := l.now.Add(d); ; {
		at := l.c.Deadline()
		if at.IsZero() || at.After(end) {
			l.now = end
			return all
		}
		l.now = at
		all = append(all, l.step(neighbor.Input{Kind: neighbor.InTick})...)
		if next := l.c.Deadline(); !next.IsZero() && !next.After(at) {
			l.t.Fatalf("the deadline %v does not move on", next)
		}
	}
}

func (l *lab) ask(addr netip.Addr, missing bool) []neighbor.Effect {
	return l.step(neighbor.Input{Kind: neighbor.InAsk, Addr: addr, Missing: missing})
}

// hear gives the cache a packet as an unsecured one, or as change says.
func (l *lab) hear(p *ipv6.Packet, change ...func(*neighbor.Input)) []neighbor.Effect {
	in := neighbor.Input{Kind: neighbor.InPacket, Packet: p}
	for _, f := range change {
		f(&in)
	}
	return l.step(in)
}

func secured(in *neighbor.Input)  { in.Secured, in.Nonce = true, nonce }
func answered(in *neighbor.Input) { in.Secured, in.Nonce, in.Reply = true, nonce, true }
func repeated(in *neighbor.Input) { in.Secured, in.Nonce, in.Repeat = true, nonce, true }
func stale(in *neighbor.Input)    { in.Secured, in.Nonce, in.Stale = true, nonce, true }
func ofOwnKey(in *neighbor.Input) { in.Secured, in.Nonce, in.OwnKey = true, nonce, true }

func (l *lab) counter(name string) (value uint64) {
	l.t.Helper()
	found := false
	l.c.Counters(func(n string, v uint64) {
		if n == name {
			value, found = v, true
		}
	})
	if !found {
		l.t.Fatalf("there is no counter %s", name)
	}
	return value
}

// drops checks that f has no effect but to be counted under name.
func (l *lab) drops(name string, f func() []neighbor.Effect) {
	l.t.Helper()
	before := l.counter(name)
	if got := f(); len(got) != 0 {
		l.t.Errorf("%s: effects %v", name, describe(got))
	}
	if got := l.counter(name) - before; got != 1 {
		l.t.Errorf("%s rose by %d, want 1", name, got)
	}
}

// entry describes the entry of an address as "02:... reachable secured router"; "" if there is none.
func (l *lab) entry(addr netip.Addr) string {
	e, ok := l.c.Lookup(addr)
	if !ok {
		return ""
	}
	s := e.Neighbour.String() + " " + e.State.String()
	if e.Secured {
		s += " secured"
	}
	if e.Router {
		s += " router"
	}
	return s
}

func (l *lab) expect(addr netip.Addr, want string) {
	l.t.Helper()
	if got := l.entry(addr); got != want {
		l.t.Errorf("entry of %s: %q, want %q", addr, got, want)
	}
}

// parsed is p as the way of a packet delivers it.
func parsed(from ipv6.LinkAddr, raw []byte) *ipv6.Packet {
	p := new(ipv6.Packet)
	if problem := ipv6.Parse(raw, p); problem != ipv6.OK {
		panic(problem)
	}
	p.Interface, p.LinkSource = 3, from
	return p
}

func wrap(from ipv6.LinkAddr, src, dst netip.Addr, message []byte) *ipv6.Packet {
	return parsed(from, ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, message))
}

// ns is a solicitation for target; by a zero hw without a link-layer address.
func ns(from ipv6.LinkAddr, src, target netip.Addr, hw ipv6.LinkAddr) *ipv6.Packet {
	var options [][]byte
	if !hw.IsZero() {
		options = append(options, ndp.SourceLinkOption(hw))
	}
	dst := ipv6.SolicitedNode(target)
	return wrap(from, src, dst, ndp.AppendNeighborSolicit(nil, src, dst, target, options...))
}

// dad is a solicitation of Duplicate Address Detection.
func dad(from ipv6.LinkAddr, target netip.Addr, options ...[]byte) *ipv6.Packet {
	src, dst := netip.IPv6Unspecified(), ipv6.SolicitedNode(target)
	return wrap(from, src, dst, ndp.AppendNeighborSolicit(nil, src, dst, target, options...))
}

// na is an advertisement of target from target itself, to us where it is a solicited one; by a zero hw without one.
func na(from ipv6.LinkAddr, target netip.Addr, flags ndp.NAFlags, hw ipv6.LinkAddr) *ipv6.Packet {
	dst := ipv6.AllNodes()
	if flags&ndp.FlagSolicited != 0 {
		dst = ownLink
	}
	var options [][]byte
	if !hw.IsZero() {
		options = append(options, ndp.TargetLinkOption(hw))
	}
	return wrap(from, target, dst, ndp.AppendNeighborAdvert(nil, target, dst, flags, target, options...))
}

func rs(from ipv6.LinkAddr, src netip.Addr, hw ipv6.LinkAddr) *ipv6.Packet {
	var options [][]byte
	if !hw.IsZero() {
		options = append(options, ndp.SourceLinkOption(hw))
	}
	return wrap(from, src, ipv6.AllRouters(), ndp.AppendRouterSolicit(nil, src, ipv6.AllRouters(), options...))
}

// proxy is an RtSolPr.
func proxy(from ipv6.LinkAddr, src netip.Addr, hw ipv6.LinkAddr) *ipv6.Packet {
	m := ndp.ProxySolicit{Identifier: 7, SourceLink: hw, Wildcard: true}
	return wrap(from, src, ipv6.AllRouters(), m.Append(nil, src, ipv6.AllRouters()))
}

func ra(from ipv6.LinkAddr, src netip.Addr, hw ipv6.LinkAddr) *ipv6.Packet {
	b := []byte{ndp.TypeRouterAdvert, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}
	if !hw.IsZero() {
		b = append(b, ndp.SourceLinkOption(hw)...)
	}
	ndp.FixChecksum(b, src, ipv6.AllNodes())
	return wrap(from, src, ipv6.AllNodes(), b)
}

// describe gives effects as words.
func describe(effects []neighbor.Effect) (all []string) {
	for _, e := range effects {
		switch e.Kind {
		case neighbor.EffectSend:
			all = append(all, message(e))
		case neighbor.EffectEntry:
			all = append(all, fmt.Sprintf("entry %s %s %s", e.Addr, e.Neighbour, e.State))
		case neighbor.EffectAddress:
			all = append(all, fmt.Sprintf("address %s %v", e.Addr, e.OK))
		case neighbor.EffectWatch:
			all = append(all, fmt.Sprintf("watch %s", e.Addr))
		case neighbor.EffectUnwatch:
			all = append(all, fmt.Sprintf("unwatch %s", e.Addr))
		case neighbor.EffectRedirect:
			all = append(all, fmt.Sprintf("redirect %s to %s (%s) by %s secured=%v", e.Addr, e.Target, e.Neighbour, e.Router, e.Secured))
		case neighbor.EffectReport:
			all = append(all, fmt.Sprintf("report %s %s", e.Event.Kind, e.Event.Addr))
		}
	}
	return all
}

// message describes what is sent: "ns SRC > DST target T to HW" with the link-layer address option, flags, and how it is
// signed.
func message(e neighbor.Effect) string {
	p := parsed(ownHW, e.Packet)
	s := ""
	switch p.Payload[0] {
	case ndp.TypeNeighborSolicit:
		m, reason := ndp.ParseNeighborSolicit(p)
		if reason != ndp.ReasonNone {
			return "invalid solicitation: " + reason.String()
		}
		s = fmt.Sprintf("ns %s > %s target %s to %s", p.Src, p.Dst, m.Target, e.LinkDst)
		if !m.SourceLink.IsZero() {
			s += " slla"
		}
		if m.Nonce != nil {
			s += " nonce"
		}
	case ndp.TypeNeighborAdvert:
		m, reason := ndp.ParseNeighborAdvert(p)
		if reason != ndp.ReasonNone {
			return "invalid advertisement: " + reason.String()
		}
		s = fmt.Sprintf("na %s > %s target %s to %s", p.Src, p.Dst, m.Target, e.LinkDst)
		for _, f := range []struct {
			set  bool
			name string
		}{{m.Router, "R"}, {m.Solicited, "S"}, {m.Override, "O"}, {m.TargetLink == ownHW, "tlla"}} {
			if f.set {
				s += " " + f.name
			}
		}
	}
	if e.Solicits {
		s += " solicits"
	}
	if e.Answers != nil {
		s += fmt.Sprintf(" answers=%x", e.Answers)
	}
	if e.Unsigned {
		s += " unsigned"
	}
	return s
}

func (l *lab) want(what string, got []neighbor.Effect, want ...string) {
	l.t.Helper()
	if words := describe(got); !slices.Equal(words, want) {
		l.t.Errorf("%s:\n got %q\nwant %q", what, words, want)
	}
}

// resolve makes an entry for addr by a question of the kernel and its answer.
func (l *lab) resolve(addr netip.Addr, hw ipv6.LinkAddr, how ...func(*neighbor.Input)) {
	l.t.Helper()
	l.ask(addr, true)
	l.hear(na(hw, addr, ndp.FlagSolicited|ndp.FlagOverride, hw), how...)
	if e, ok := l.c.Lookup(addr); !ok || e.State != neighbor.StateReachable || e.Neighbour != hw {
		l.t.Fatalf("%s does not get resolved: %q", addr, l.entry(addr))
	}
}
