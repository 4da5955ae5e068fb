package lke_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// fuzzWorld drives a router by a script of octets and holds it to what must be true whatever happens.
type fuzzWorld struct {
	*routerLab
	hosts    []*labHost
	jobs     []uint64
	solicits map[netip.Addr][]byte // last to each home address
	acks     map[netip.Addr][]byte // last BA for each home address
	answers  []netip.Addr          // EffectBinds that were not answered
	script   []byte
	mutate   bool
}

func newFuzzWorld(t *testing.T, script []byte) *fuzzWorld {
	w := &fuzzWorld{
		routerLab: newRouterLab(t, func(c *lke.RouterConfig) { c.MaxNodes, c.DADTransmits = 3, 2 }),
		solicits:  map[netip.Addr][]byte{}, acks: map[netip.Addr][]byte{}, script: script,
	}
	for i := range 5 {
		w.hosts = append(w.hosts, w.host(i+1))
	}
	w.hosts[4].home = w.hosts[0].home // somebody else's address
	return w
}

func (w *fuzzWorld) octet() byte {
	if len(w.script) == 0 {
		return 0
	}
	b := w.script[0]
	w.script = w.script[1:]
	return b
}

// run plays the script to its end, and then the clock until nothing is left to do.
func (w *fuzzWorld) run() {
	for len(w.script) > 0 {
		w.play()
	}
	for range 10000 {
		at := w.router.Deadline()
		if at.IsZero() {
			break
		}
		w.now = at
		w.observe(lke.Input{Kind: lke.InTick})
		if next := w.router.Deadline(); !next.IsZero() && !next.After(w.now) {
			w.t.Fatalf("the deadline %v does not move on", next)
		}
	}
	if got := w.associations(); got != nil || len(w.watched) != 0 || len(w.bound) != 0 || len(w.saved) != 0 {
		w.t.Fatalf("left over at the end: %v, watched %v, bound %v, %d saved", got, w.watched, w.bound, len(w.saved))
	}
}

// play carries out one line of the script.
func (w *fuzzWorld) play() {
	op, who := w.octet(), w.hosts[int(w.octet())%len(w.hosts)]
	w.mutate = op >= 128
	switch op % 16 {
	case 0, 1:
		w.packet(who.request())
	case 2, 3:
		if len(w.jobs) > 0 {
			in := lke.Input{Kind: lke.InKey, Job: w.jobs[0], Key: who.key}
			if op%16 == 3 {
				in.Kind = lke.InKeyLost
			}
			w.jobs = w.jobs[1:]
			w.observe(in)
		}
	case 4:
		if s := w.solicits[who.home]; s != nil {
			w.packet(who.advert(s))
		}
	case 5:
		if s := w.solicits[who.home]; s != nil {
			w.packet(who.advert(s, func(a *labAdvert) { a.noReply = true }))
		}
	case 6:
		step := time.Duration(w.octet())
		w.now = w.now.Add(step * step * 5 * time.Millisecond)
		w.observe(lke.Input{Kind: lke.InTick})
	case 7:
		if at := w.router.Deadline(); !at.IsZero() {
			w.now = at
			w.observe(lke.Input{Kind: lke.InTick})
		}
	case 8, 9:
		b := w.octet()
		who.careOf = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, b & 3, 15: b})
		w.packet(who.update(func(u *labUpdate) { u.Lifetime = uint16(b >> 4) }))
	case 10:
		w.packet(who.update(returning))
	case 11:
		if a := w.acks[who.home]; a != nil {
			w.packet(who.finished(a))
		}
	case 12:
		if len(w.answers) > 0 {
			home := w.answers[0]
			w.answers = w.answers[1:]
			w.observe(lke.Input{Kind: lke.InForwarding, Home: home, Failed: w.octet()%4 == 0})
		}
	case 13:
		other := w.hosts[int(w.octet())%len(w.hosts)]
		p := who.detection(other.home)
		if w.octet()%2 == 0 {
			p = who.resolution(other.home)
		}
		w.packet(p)
	case 14:
		w.reshape(w.octet())
	case 15:
		n := int(w.octet())
		raw := w.script[:min(n, len(w.script))]
		w.script = w.script[len(raw):]
		p := new(ipv6.Packet)
		if ipv6.Parse(raw, p) == ipv6.OK {
			p.Interface, p.LinkSource = labLink, who.hw
			w.observe(lke.Input{Kind: lke.InPacket, Packet: p})
		}
	}
}

// reshape changes the configuration, or starts the router again.
func (w *fuzzWorld) reshape(b byte) {
	full := labConfig().Links
	w.cfg.MaxNodes = 3
	switch b % 5 {
	case 0:
		w.cfg.Links = full
	case 1:
		w.cfg.Links = full[1:]
	case 2:
		w.cfg.Links = full
		w.cfg.Links[0].Refuse = true
	case 3:
		w.cfg.Links = full
		w.cfg.Links[0].Index = 11
	case 4:
		w.answers, w.jobs = nil, nil
		for home := range w.bound {
			delete(w.bound, home)
		}
		var records []lke.Record
		for _, rec := range w.saved {
			records = append(records, rec)
		}
		slices.SortFunc(records, func(a, b lke.Record) int { return a.Home.Compare(b.Home) })
		w.reset()
		w.check(w.router.Restore(w.now, records))
		return
	}
	w.check(w.router.Reconfigure(w.now, w.cfg))
}

// packet delivers p, changed in a few octets if the script says so; half of the changed ones get a right checksum again.
func (w *fuzzWorld) packet(p *ipv6.Packet) {
	if w.mutate {
		raw := bytes.Clone(p.Raw)
		for range 1 + w.octet()%3 {
			at := int(w.octet()) | int(w.octet())<<8
			raw[at%len(raw)] ^= w.octet()
		}
		if w.octet()%4 == 0 {
			raw = raw[:int(w.octet())%(len(raw)+1)]
		}
		link, hw := p.Interface, p.LinkSource
		p = new(ipv6.Packet)
		if ipv6.Parse(raw, p) != ipv6.OK {
			return
		}
		p.Interface, p.LinkSource = link, hw
		if w.octet()%2 == 0 {
			fuzzChecksum(p)
		}
	}
	in := lke.Input{Kind: lke.InPacket, Packet: p}
	if op := w.octet(); op >= 0xf0 {
		in.IPsec, in.Neighbour = op&1 != 0, ipv6.LinkAddr{2, 0, 0, 1, 0, op & 7}
	}
	w.observe(in)
}

func fuzzChecksum(p *ipv6.Packet) {
	src, dst := p.Src, p.Dst
	if p.HomeAddress.IsValid() {
		src = p.HomeAddress
	}
	if p.RoutingHome.IsValid() {
		dst = p.RoutingHome
	}
	switch p.Proto {
	case ipv6.ProtoMobility:
		if h, err := mobility.ParseHeader(p.Payload); err == nil {
			mobility.FixChecksum(h.Octets, src, dst)
		}
	case ipv6.ProtoICMPv6:
		ndp.FixChecksum(p.Payload, src, dst)
	}
}

// observe gives the router one input and checks what comes of it. Each packet counts somewhere.
func (w *fuzzWorld) observe(in lke.Input) {
	before := w.total()
	var raw []byte
	if in.Packet != nil {
		raw = bytes.Clone(in.Packet.Raw)
	}
	effects := w.router.Step(w.now, in)
	if in.Kind == lke.InPacket {
		if w.total() == before {
			w.t.Fatalf("a packet of protocol %d is not counted", in.Packet.Proto)
		}
		if !bytes.Equal(raw, in.Packet.Raw) {
			w.t.Fatal("the packet was written to")
		}
		clear(in.Packet.Raw) // the driver's buffer is used again
	}
	w.check(effects)
}

func (w *fuzzWorld) total() (sum uint64) {
	w.router.Counters(func(_ string, v uint64) { sum += v })
	return sum
}

// check holds effects to the invariants.
func (w *fuzzWorld) check(effects []lke.Effect) {
	for _, e := range effects {
		if e.Kind != lke.EffectSave {
			for _, h := range w.hosts {
				if e.Key != [lke.KeyLen]byte{} || bytes.Contains(e.Packet, h.key[:]) || bytes.Contains(e.Ciphertext, h.key[:]) {
					w.t.Fatalf("effect %d holds a key", e.Kind)
				}
			}
		}
		watch := labWatch{e.Link, e.Home}
		switch e.Kind {
		case lke.EffectSend:
			if line := w.describePacket(e); bytes.Contains([]byte(line), []byte("INVALID")) {
				w.t.Fatalf("sent %s", line)
			}
			w.keep(labParse(w.t, e.Packet))
		case lke.EffectDecrypt:
			if len(e.Ciphertext) != labModulus {
				w.t.Fatalf("%d octets to decrypt", len(e.Ciphertext))
			}
			w.jobs = append(w.jobs, e.Job)
		case lke.EffectWatch:
			if w.watched[watch]++; w.watched[watch] > 1 {
				w.t.Fatalf("%v is watched twice", watch)
			}
		case lke.EffectUnwatch:
			if w.watched[watch] != 1 {
				w.t.Fatalf("%v was not watched", watch)
			}
			delete(w.watched, watch)
		case lke.EffectBind:
			a := w.association(e.Home)
			if a.State != "valid" && a.State != "bound" && !w.expiredSince(effects, e.Home) {
				w.t.Fatalf("bind of %v, whose association is %q", e.Home, a.State)
			}
			if !netip.MustParsePrefix("2001:db8:1::/64").Contains(e.Binding.Home) || e.Binding.Home != e.Home ||
				e.Binding.Router != labRouter || !ipv6.IsRoutableUnicast(e.Binding.CareOf) || e.Binding.CareOf == e.Home ||
				netip.MustParsePrefix("2001:db8:1::/64").Contains(e.Binding.CareOf) {
				w.t.Fatalf("bind %+v", e.Binding)
			}
			w.bound[e.Home] = e.Binding
			w.answers = append(w.answers, e.Home)
		case lke.EffectUnbind:
			delete(w.bound, e.Home)
		case lke.EffectSave:
			if e.Record.Home != e.Home || e.Record.Bound && e.Record.Advert != nil {
				w.t.Fatalf("saved %+v", *e.Record)
			}
			w.saved[e.Home] = *e.Record
		case lke.EffectForget:
			delete(w.saved, e.Home)
		case lke.EffectReport:
			if e.Event.Kind.String() == "unknown" {
				w.t.Fatalf("event %+v", e.Event)
			}
		default:
			w.t.Fatalf("effect %d", e.Kind)
		}
	}
	w.checkState()
}

// expiredSince reports whether the effects end home's association again.
func (w *fuzzWorld) expiredSince(effects []lke.Effect, home netip.Addr) bool {
	return slices.ContainsFunc(effects, func(e lke.Effect) bool { return e.Kind == lke.EffectForget && e.Home == home })
}

// checkState holds the router's state to its bounds.
func (w *fuzzWorld) checkState() {
	n := 0
	w.router.Associations(func(a lke.Association) bool {
		n++
		b, ok := w.router.Bound(a.Home)
		if ok != (a.State == "bound") || ok && (b.CareOf != a.CareOf || w.bound[a.Home].Home != a.Home) {
			w.t.Fatalf("%+v, but bound %v as %+v, forwarded %+v", a, ok, b, w.bound[a.Home])
		}
		if a.State != "dad" && (w.saved[a.Home].Home != a.Home || w.saved[a.Home].UpdateSeq != a.UpdateSeq) {
			w.t.Fatalf("%+v, saved %+v", a, fmt.Sprintf("%+v", w.saved[a.Home].UpdateSeq))
		}
		if !a.Expires.After(w.now) {
			w.t.Fatalf("%+v has expired", a)
		}
		return true
	})
	if n > 3 {
		w.t.Fatalf("%d associations", n)
	}
	if len(w.answers) > 64 {
		w.answers = w.answers[len(w.answers)-64:]
	}
}

// keep remembers what a node needs to go on.
func (w *fuzzWorld) keep(p *ipv6.Packet) {
	switch {
	case p.Proto == ipv6.ProtoICMPv6 && p.Payload[0] == ndp.TypeNeighborSolicit:
		m, _ := ndp.ParseNeighborSolicit(p)
		w.solicits[m.Target] = p.Raw
	case p.Proto == ipv6.ProtoMobility && p.Payload[2] == mobility.TypeBA && p.RoutingHome.IsValid() && p.Payload[6] == 0:
		w.acks[p.RoutingHome] = p.Raw
	}
}

// fuzzSeeds gives scripts that go through all parts of the protocol.
func fuzzSeeds() [][]byte {
	attach := []byte{0, 0, 0, 2, 0, 4, 0, 0, 7, 0, 7, 0}
	bind := append(slices.Clone(attach), 8, 0, 0xf4, 0, 12, 0, 1, 11, 0, 0)
	return [][]byte{
		attach,
		bind,
		append(slices.Clone(bind), 10, 0, 0, 8, 0, 0xf7, 0, 12, 0, 1),
		append(slices.Clone(bind), 8, 0, 0xf7, 0, 12, 0, 0),
		append(slices.Clone(bind), 14, 0, 4, 12, 0, 1, 7, 0, 13, 1, 0, 0, 0),
		append(slices.Clone(attach), 6, 0, 50, 0, 0, 0, 2, 0, 5, 0, 0, 7, 0),
		append(slices.Clone(attach), 14, 0, 3, 14, 0, 1, 14, 0, 2, 14, 0, 0, 0, 4, 0),
		append(slices.Clone(bind), 128+8, 0, 0xf4, 1, 80, 0, 3, 1, 0, 0, 128, 0, 2, 10, 0, 255, 70, 0, 1, 0, 1),
		append(bytes.Repeat([]byte{8, 0, 0xf4, 0}, 12), bind...),
	}
}

// The scripts that the fuzzer starts from reach what they are to reach.
func TestRouterFuzzSeeds(t *testing.T) {
	reached := map[string]uint64{}
	for _, seed := range fuzzSeeds() {
		w := newFuzzWorld(t, seed)
		w.run()
		for name, v := range w.counters() {
			reached[name] += v
		}
	}
	for _, name := range []string{
		"associations_made", "associations_expired", "associations_restored", "bindings_made", "bindings_deregistered",
		"finished_taken", "bindings_unreachable", "dad_advert_without_reply",
	} {
		if reached[name] == 0 {
			t.Errorf("no seed reaches %s; %v", name, reached)
		}
	}
}

// FuzzRouter plays any sequence of packets (right ones, changed ones, made-up ones), keys, answers, ticks, configurations and
// restarts.
func FuzzRouter(f *testing.F) {
	for _, seed := range fuzzSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 4096 {
			return
		}
		newFuzzWorld(t, script).run()
	})
}
