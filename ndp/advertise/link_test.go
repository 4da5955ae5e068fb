package advertise

import (
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

var (
	routerHW  = ipv6.LinkAddr{0x02, 0, 0, 0, 0, 0x01}
	hostHW    = ipv6.LinkAddr{0x02, 0, 0, 0, 0, 0xaa}
	otherHW   = ipv6.LinkAddr{0x02, 0, 0, 0, 0, 0xbb}
	routerLL  = netip.MustParseAddr("fe80::1")
	hostLL    = netip.MustParseAddr("fe80::aa")
	otherLL   = netip.MustParseAddr("fe80::bb")
	onePrefix = netip.MustParsePrefix("2001:db8:1::/64")
	twoPrefix = netip.MustParsePrefix("2001:db8:2::/64")
	oneRouter = netip.MustParseAddr("2001:db8:1::1")
)

const linkIndex = 7

// link is a speaker on virtual time: what it sends is parsed as a host would.
type link struct {
	t       *testing.T
	s       *Speaker
	now     time.Time
	sent    []advert
	reports []Event
}

// advert is one packet that was sent, read by package ndp.
type advert struct {
	ndp.RouterAdvert
	at       time.Time
	dst      netip.Addr
	src      netip.Addr
	hardware ipv6.LinkAddr
	packet   []byte
}

func (a *advert) multicast() bool { return a.dst == ipv6.AllNodes() }

// option gives the first option of a type.
func (a *advert) option(typ uint8) []byte {
	options := a.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type == typ {
			return o.Octets
		}
	}
	return nil
}

// count gives how many options of a type there are.
func (a *advert) count(typ uint8) (n int) {
	options := a.Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type == typ {
			n++
		}
	}
	return n
}

func (a *advert) prefix(p netip.Prefix) (ndp.Prefix, bool) {
	prefixes := a.Prefixes()
	for found, ok := prefixes.Next(); ok; found, ok = prefixes.Next() {
		if found.Prefix == p {
			return found, true
		}
	}
	return ndp.Prefix{}, false
}

// begin is when virtual time begins.
func begin() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// plain is a router with one prefix and no mobility.
func plain() Config {
	cfg := DefaultConfig()
	cfg.Interface, cfg.Hardware, cfg.LinkLocal, cfg.LinkMTU = linkIndex, routerHW, routerLL, 1500
	cfg.Prefixes = []Prefix{DefaultPrefix(onePrefix)}
	cfg.Rand = rand.NewChaCha8([32]byte{1})
	return cfg
}

// mobile is an access router that offers LKE.
func mobile(t testing.TB) Config {
	cfg := plain()
	cfg.Prefixes[0].Router = oneRouter
	cfg.HomeAgent = true
	cfg.Capability = &Capability{PublicKey: vectorKey(t)}
	return cfg
}

// vectors are messages of LKE made by an independent implementation.
func vectors(t testing.TB) (key, option6 []byte) {
	t.Helper()
	text, err := os.ReadFile("../../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		LKE struct {
			SPKI    string `json:"spki"`
			Option6 struct {
				Octets string `json:"octets"`
			} `json:"option6"`
		} `json:"lke"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return unhex(t, all.LKE.SPKI), unhex(t, all.LKE.Option6.Octets)
}

func vectorKey(t testing.TB) []byte {
	key, _ := vectors(t)
	return key
}

// keyOf gives a public key with a modulus of so many bits.
func keyOf(t testing.TB, bits int) []byte {
	t.Helper()
	modulus := make([]byte, bits/8)
	for i := range modulus {
		modulus[i] = 0xc5
	}
	der, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: modulus, Exponent: 65537})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newLink(t *testing.T, cfg Config) *link {
	t.Helper()
	s, err := NewSpeaker(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &link{t: t, s: s, now: begin()}
}

// started is a link whose first advertisement went out.
func started(t *testing.T, cfg Config) *link {
	t.Helper()
	l := newLink(t, cfg)
	l.step(InStart)
	return l
}

// settling is when initial advertisements and the rate limit after them are over.
const settling = 40 * time.Second

// settled is a link whose initial advertisements are over and forgotten.
func settled(t *testing.T, cfg Config) *link {
	t.Helper()
	l := started(t, cfg)
	l.pass(settling)
	l.sent = nil
	return l
}

func (l *link) step(kind InputKind) { l.take(l.s.Step(l.now, Input{Kind: kind})) }

func (l *link) hear(p *ipv6.Packet) { l.take(l.s.Step(l.now, Input{Kind: InPacket, Packet: p})) }

func (l *link) reconfigure(cfg Config) {
	l.t.Helper()
	effects, err := l.s.Reconfigure(l.now, cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.take(effects)
}

// take reads effects as the link and an operator would.
func (l *link) take(effects []Effect) {
	l.t.Helper()
	for _, e := range effects {
		if e.Kind == EffectReport {
			l.reports = append(l.reports, e.Event)
			continue
		}
		if e.Link != linkIndex {
			l.t.Errorf("sent on link %d, want %d", e.Link, linkIndex)
		}
		a := parse(l.t, e.Packet)
		a.at, a.hardware = l.now, e.LinkDst
		if want := ipv6.MulticastLinkAddr(ipv6.AllNodes()); a.multicast() && e.LinkDst != want {
			l.t.Errorf("multicast went to %v, want %v", e.LinkDst, want)
		}
		l.sent = append(l.sent, a)
	}
}

// parse reads a packet that was sent: package ndp finds it valid (RFC 4861 section 6.1.2).
func parse(t testing.TB, packet []byte) advert {
	t.Helper()
	var p ipv6.Packet
	if problem := ipv6.Parse(packet, &p); problem != ipv6.OK {
		t.Fatalf("what was sent is no packet: %v", problem)
	}
	m, reason := ndp.ParseRouterAdvert(&p)
	if reason != ndp.ReasonNone {
		t.Fatalf("what was sent is no valid advertisement: %v", reason)
	}
	return advert{RouterAdvert: m, dst: p.Dst, src: p.Src, packet: packet}
}

// pass lets time pass, with a tick at each deadline.
func (l *link) pass(d time.Duration) {
	l.t.Helper()
	end := l.now.Add(d)
	for steps := 0; ; steps++ {
		at := l.s.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		if steps > 1_000_000 {
			l.t.Fatal("deadlines do not end")
		}
		if at.After(l.now) {
			l.now = at
		}
		l.step(InTick)
	}
	l.now = end
}

// last is the advertisement sent last.
func (l *link) last() *advert {
	l.t.Helper()
	if len(l.sent) == 0 {
		l.t.Fatal("nothing was sent")
	}
	return &l.sent[len(l.sent)-1]
}

func (l *link) counter(name string) uint64 {
	l.t.Helper()
	found, value := false, uint64(0)
	l.s.Counters(func(n string, v uint64) {
		if n == name {
			found, value = true, v
		}
	})
	if !found {
		l.t.Fatalf("there is no counter %q", name)
	}
	return value
}

// solicit gives a router solicitation; hw zero leaves the Source Link-Layer Address option out.
func solicit(src netip.Addr, hw ipv6.LinkAddr) *ipv6.Packet {
	var options [][]byte
	if !hw.IsZero() {
		options = append(options, ndp.SourceLinkOption(hw))
	}
	msg := ndp.AppendRouterSolicit(nil, src, ipv6.AllRouters(), options...)
	frame := hw
	if hw.IsZero() {
		frame = hostHW
	}
	return packet(src, ipv6.AllRouters(), frame, msg)
}

func packet(src, dst netip.Addr, frame ipv6.LinkAddr, msg []byte) *ipv6.Packet {
	p := &ipv6.Packet{Interface: linkIndex, LinkSource: frame}
	raw := ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
	if problem := ipv6.Parse(raw, p); problem != ipv6.OK {
		panic(problem.String())
	}
	return p
}

// heardFrom gives the advertisement that a router with cfg would send first.
func heardFrom(t *testing.T, cfg Config, now time.Time) *ipv6.Packet {
	t.Helper()
	s, err := NewSpeaker(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range s.Step(now, Input{Kind: InStart}) {
		if e.Kind == EffectSend {
			p := &ipv6.Packet{Interface: linkIndex, LinkSource: cfg.Hardware}
			if problem := ipv6.Parse(e.Packet, p); problem != ipv6.OK {
				t.Fatal(problem)
			}
			return p
		}
	}
	t.Fatal("nothing was sent")
	return nil
}
