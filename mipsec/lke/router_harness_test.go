package lke_test

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

// labHost is a mobile node as the router sees it: it only builds packets.
type labHost struct {
	lab    *routerLab
	link   int
	hw     ipv6.LinkAddr
	local  netip.Addr
	home   netip.Addr
	router netip.Addr
	careOf netip.Addr
	key    [lke.KeyLen]byte
	seq    uint16 // of the next request
	bu     uint16 // of the next update
	ask    uint16 // lifetime of a request, in seconds
}

// host gives the n-th station of lan0.
func (l *routerLab) host(n int) *labHost {
	hw := ipv6.LinkAddr{2, 0, 0, 1, byte(n >> 8), byte(n)}
	h := &labHost{
		lab: l, link: labLink, hw: hw, local: ipv6.LinkLocalFrom(hw),
		home: ipv6.WithEUI64(netip.MustParseAddr("2001:db8:1::"), hw), router: labRouter, careOf: labCareOf,
		seq: 7, bu: 0x1234, ask: 3600,
	}
	for i := range h.key {
		h.key[i] = 0xa0 + byte(i) + byte(n)<<4
	}
	return h
}

// labChange changes the headers of a packet before it is built.
type labChange func(*ipv6.Header)

// request builds the next Key Exchange Request.
func (h *labHost) request(change ...labChange) *ipv6.Packet {
	mh := mobility.KeyExchangeRequest{
		Seq: h.seq, Data: bytes.Repeat([]byte{0x5a}, labModulus), Lifetime: h.ask,
	}.Append(nil, mobility.DefaultCodePoints())
	h.seq++
	return h.mobility(mh, ipv6.Header{
		Src: h.local, Dst: h.linkLocal(), HopLimit: 255, TrafficClass: 0xf0, HomeAddress: h.home,
	}, change...)
}

func (h *labHost) linkLocal() netip.Addr { return h.lab.cfg.Links[h.link-1].LinkLocal }

// mobility builds a packet around mh, with the checksum that its addresses ask for.
func (h *labHost) mobility(mh []byte, header ipv6.Header, change ...labChange) *ipv6.Packet {
	h.lab.t.Helper()
	for _, f := range change {
		f(&header)
	}
	src, dst := header.Src, header.Dst
	if header.HomeAddress.IsValid() {
		src = header.HomeAddress
	}
	if header.RoutingHome.IsValid() {
		dst = header.RoutingHome
	}
	mobility.FixChecksum(mh, src, dst)
	return h.from(h.link, ipv6.Append(nil, header, ipv6.ProtoMobility, mh))
}

// from parses raw as a packet of this host that was received on interface link.
func (h *labHost) from(link int, raw []byte) *ipv6.Packet {
	h.lab.t.Helper()
	p := labParse(h.lab.t, raw)
	p.Interface, p.LinkSource = link, h.hw
	return p
}

// exchange gives the router a request that must be taken, and its key; it returns what decrypted returns.
func (h *labHost) exchange(req *ipv6.Packet) (ack, solicit []byte) {
	h.lab.t.Helper()
	effects := h.lab.router.Step(h.lab.now, lke.Input{Kind: lke.InPacket, Packet: req})
	job := labJob(effects)
	h.lab.carryOut(effects)
	if job == 0 {
		h.lab.t.Fatalf("the request was not taken: %v", h.lab.counters())
	}
	return h.decrypted(job)
}

// decrypted gives the router the key of job and returns the acknowledgement and the solicitation that it sends.
func (h *labHost) decrypted(job uint64) (ack, solicit []byte) {
	h.lab.t.Helper()
	effects := h.lab.router.Step(h.lab.now, lke.Input{Kind: lke.InKey, Job: job, Key: h.key})
	h.lab.carryOut(effects)
	for _, e := range effects {
		if e.Kind != lke.EffectSend {
			continue
		}
		if labParse(h.lab.t, e.Packet).Proto == ipv6.ProtoMobility {
			ack = e.Packet
		} else {
			solicit = e.Packet
		}
	}
	return ack, solicit
}

func labJob(effects []lke.Effect) uint64 {
	for _, e := range effects {
		if e.Kind == lke.EffectDecrypt {
			return e.Job
		}
	}
	return 0
}

// labAdvert is what an answer to the router's solicitation can get wrong.
type labAdvert struct {
	src, dst  netip.Addr
	router    netip.Addr
	nonce     uint32
	key       [lke.KeyLen]byte
	noReply   bool   // leave option 8 out
	flipMAC   bool   // after signing
	after     []byte // options behind option 8
	hw        ipv6.LinkAddr
	solicited ndp.NAFlags
}

// advert builds the multicast advertisement that answers solicit.
func (h *labHost) advert(solicit []byte, change ...func(*labAdvert)) *ipv6.Packet {
	h.lab.t.Helper()
	s := labParse(h.lab.t, solicit)
	m, reason := ndp.ParseNeighborSolicit(s)
	if reason != ndp.ReasonNone {
		h.lab.t.Fatalf("solicitation: %v", reason)
	}
	o, _ := m.Options.Next()
	auth, err := ndp.ParseDADAuth(o)
	if err != nil || o.Type != ndp.DefaultCodePoints().AuthRequest {
		h.lab.t.Fatalf("option %d of the solicitation: %v", o.Type, err)
	}
	a := labAdvert{src: h.home, dst: ipv6.AllNodes(), router: auth.Router, nonce: auth.Nonce, key: h.key, hw: h.hw}
	for _, f := range change {
		f(&a)
	}
	opts := [][]byte{ndp.TargetLinkOption(h.hw)}
	if !a.noReply {
		opts = append(opts, ndp.DADAuth{Nonce: a.nonce, Router: a.router}.Append(nil, ndp.DefaultCodePoints().AuthReply))
	}
	if a.after != nil {
		opts = append(opts, a.after)
	}
	msg := ndp.AppendNeighborAdvert(nil, a.src, a.dst, ndp.FlagOverride|a.solicited, h.home, opts...)
	if !a.noReply {
		if err := ndp.SignDADAuth(msg, a.key[:], a.src, a.dst, 24+8); err != nil {
			h.lab.t.Fatal(err)
		}
		if a.flipMAC {
			msg[24+8+24] ^= 1
			ndp.FixChecksum(msg, a.src, a.dst)
		}
	}
	p := h.from(h.link, ipv6.Append(nil, ipv6.Header{Src: a.src, Dst: a.dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg))
	p.LinkSource = a.hw
	return p
}

// detection builds a solicitation for home from source ::, as a station sends it that wants the address.
func (h *labHost) detection(home netip.Addr) *ipv6.Packet {
	src, dst := netip.IPv6Unspecified(), ipv6.SolicitedNode(home)
	msg := ndp.AppendNeighborSolicit(nil, src, dst, home)
	return h.from(h.link, ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg))
}

// resolution builds a solicitation for home by which a station asks for its link-layer address.
func (h *labHost) resolution(home netip.Addr) *ipv6.Packet {
	src, dst := h.home, ipv6.SolicitedNode(home)
	msg := ndp.AppendNeighborSolicit(nil, src, dst, home, ndp.SourceLinkOption(h.hw))
	return h.from(h.link, ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg))
}

// attach runs the whole exchange until the association is valid.
func (h *labHost) attach() {
	h.lab.t.Helper()
	_, solicit := h.exchange(h.request())
	if got := h.lab.receive(h.advert(solicit)); got != nil {
		h.lab.t.Fatalf("the advertisement was answered: %v", got)
	}
	h.lab.advance(time.Second)
	if got := h.lab.association(h.home).State; got != "valid" {
		h.lab.t.Fatalf("association is %q, want valid; %v", got, h.lab.counters())
	}
}

// labUpdate is what a binding update can get wrong.
type labUpdate struct {
	mobility.BindingUpdate
	src, dst, home netip.Addr
	key            [lke.KeyLen]byte
	link           int
	flipMAC        bool
	change         labChange
}

// update builds the next binding update from the care-of address.
func (h *labHost) update(change ...func(*labUpdate)) *ipv6.Packet {
	h.lab.t.Helper()
	u := labUpdate{
		BindingUpdate: mobility.BindingUpdate{
			Seq: h.bu, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: 100, HasAuth: true,
		},
		src: h.careOf, dst: h.router, home: h.home, key: h.key, link: labUplink,
	}
	h.bu++
	for _, f := range change {
		f(&u)
	}
	mh := u.Append(nil)
	if u.HasAuth {
		if err := mobility.SignBAD(mh, u.key[:], u.src, u.dst); err != nil {
			h.lab.t.Fatal(err)
		}
		if u.flipMAC {
			mh[len(mh)-1] ^= 1
		}
	}
	header := ipv6.Header{Src: u.src, Dst: u.dst, HopLimit: 61, HomeAddress: u.home}
	if u.change != nil {
		u.change(&header)
	}
	p := h.mobility(mh, header)
	p.Interface = u.link
	return p
}

// bind runs an update until its address is forwarded, and gives the acknowledgement.
func (h *labHost) bind(change ...func(*labUpdate)) (ack []byte) {
	h.lab.t.Helper()
	p := h.update(change...)
	effects := h.lab.router.Step(h.lab.now, lke.Input{Kind: lke.InPacket, Packet: p})
	l := h.lab
	for len(effects) > 0 {
		next := []lke.Effect(nil)
		for _, e := range effects {
			if e.Kind == lke.EffectSend && e.Link == 0 {
				ack = e.Packet
			}
			if e.Kind == lke.EffectBind {
				l.bound[e.Home] = e.Binding
				next = append(next, l.router.Step(l.now, lke.Input{Kind: lke.InForwarding, Home: e.Home})...)
			}
		}
		hold := l.holdForwarding
		l.holdForwarding = true
		l.carryOut(effects)
		l.holdForwarding = hold
		effects = next
	}
	if _, ok := l.router.Bound(h.home); !ok {
		l.t.Fatalf("not bound; %v", l.counters())
	}
	return ack
}

// labFinished is what a Finished message can get wrong.
type labFinished struct {
	mobility.Finished
	src, dst, home netip.Addr
	key            [lke.KeyLen]byte
	flipMAC        bool
	padded         bool // the authenticator is not the last thing
}

// finished answers the acknowledgement ack.
func (h *labHost) finished(ack []byte, change ...func(*labFinished)) *ipv6.Packet {
	h.lab.t.Helper()
	p := labParse(h.lab.t, ack)
	mh, err := mobility.ParseHeader(p.Payload)
	if err != nil {
		h.lab.t.Fatal(err)
	}
	m, err := mobility.ParseBindingAck(mh, mobility.DefaultCodePoints())
	if err != nil {
		h.lab.t.Fatal(err)
	}
	f := labFinished{
		Finished: mobility.Finished{Seq: m.Seq, Lifetime: m.Lifetime, Nonce: m.FinishedNonce, HasAuth: true},
		src:      p.Dst, dst: p.Src, home: p.RoutingHome, key: h.key,
	}
	for _, c := range change {
		c(&f)
	}
	b := f.Append(nil, mobility.DefaultCodePoints())
	if f.HasAuth {
		if err := mobility.SignBAD(b, f.key[:], f.src, f.dst); err != nil {
			h.lab.t.Fatal(err)
		}
		if f.flipMAC {
			b[len(b)-1] ^= 1
		}
		if f.padded {
			copy(b[16:30], b[18:])
			b[30], b[31] = 0, 0
		}
	}
	out := h.mobility(b, ipv6.Header{Src: f.src, Dst: f.dst, HopLimit: 61, HomeAddress: f.home})
	out.Interface = labUplink
	return out
}

// labNone is no address: a packet without a Home Address option.
var labNone netip.Addr

func labAddr(s string) netip.Addr { return netip.MustParseAddr(s) }
