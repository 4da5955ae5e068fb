package advertise

import (
	"bytes"
	"io"
	"math/bits"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// Speaker is the state machine of one link.
type Speaker struct {
	cfg   Config
	phase Phase

	next      time.Time // of the interval timer, or of the final advertisements
	solicited time.Time // when solicitations are answered to all nodes; zero: none asks
	last      time.Time // when the last advertisement to all nodes was sent; zero: never
	initial   int       // advertisements to go at the pace of initial ones
	finals    int       // final advertisements to go
	leaving   []leaving

	answers   answers
	held      []held
	withdrawn withdrawn
	others    others
	count     counters
	scratch   [8]byte // for random octets
}

// leaving is a link-local address that was given up, and has to say so (RFC 4861 section 6.2.8).
type leaving struct {
	addr     netip.Addr
	hardware ipv6.LinkAddr
	adverts  int
}

// maxLeaving bounds the addresses given up within a few advertisements.
const maxLeaving = 4

// NewSpeaker gives a silent speaker; InStart makes it advertise. The error joins the Problems of cfg.
func NewSpeaker(cfg Config) (*Speaker, error) {
	complete, err := usable(cfg)
	if err != nil {
		return nil, err
	}
	return &Speaker{cfg: complete}, nil
}

func usable(cfg Config) (Config, error) {
	complete, wrong := cfg.Complete()
	if cfg.Rand == nil {
		wrong = append(wrong, Problem{Field: "Rand", Wrong: "there is none", Right: "give a source of random octets"})
	}
	return complete, problems(wrong).join()
}

// Step handles one input that arrived at now and gives what to do, in order. A packet that is dropped costs no allocation.
func (s *Speaker) Step(now time.Time, in Input) []Effect {
	var effects []Effect
	switch in.Kind {
	case InPacket:
		effects = s.hear(now, in.Packet)
	case InStart:
		effects = s.start(now)
	case InStop:
		s.stop(now)
	case InHalt:
		s.fallSilent()
	}
	return s.run(now, effects)
}

// Deadline is when Step wants InTick next; zero if never.
func (s *Speaker) Deadline() time.Time {
	switch s.phase {
	case Advertising:
		due := s.due()
		if at, ok := s.answers.first(); ok && at.Before(due) {
			due = at
		}
		return due
	case Ceasing:
		return s.next
	}
	return time.Time{}
}

// Phase says whether the speaker advertises; Silent after InStop means that all is said.
func (s *Speaker) Phase() Phase { return s.phase }

// Config is the complete configuration in force.
func (s *Speaker) Config() Config { return s.cfg }

func (s *Speaker) start(now time.Time) []Effect {
	if s.phase == Advertising {
		return nil
	}
	s.phase, s.finals = Advertising, 0
	s.initial = initialAdverts
	s.next = s.earliest(now)
	return s.missing(now)
}

// missing reports that the router cannot call itself the home agent that it is configured to be.
func (s *Speaker) missing(now time.Time) []Effect {
	contents := s.contents(now, regular)
	if !s.cfg.HomeAgent || contents.anchor(now) >= 0 {
		return nil
	}
	return []Effect{{Kind: EffectReport, Event: Event{
		Kind: EventNoAddress, Link: s.cfg.Interface,
		Detail: "no prefix has an address of this router: no H flag, no LKE (RFC 6275 section 7.2)",
	}}}
}

func (s *Speaker) stop(now time.Time) {
	if s.phase != Advertising {
		return
	}
	s.fallSilent()
	s.phase, s.finals = Ceasing, finalAdverts
	s.next = s.earliest(now)
}

// fallSilent forgets all that is still to be said.
func (s *Speaker) fallSilent() {
	s.phase, s.finals, s.initial = Silent, 0, 0
	s.next, s.solicited = time.Time{}, time.Time{}
	s.leaving = nil
	s.answers.clear()
}

// Reconfigure replaces the configuration; an invalid one is refused with the joined Problems and changes nothing. What
// changes for hosts is told as on start: three advertisements at most 16 s apart (RFC 4861 section 6.2.4). Lifetimes that go
// on, as a prefix's that was renewed, are no change.
func (s *Speaker) Reconfigure(now time.Time, cfg Config) ([]Effect, error) {
	complete, err := usable(cfg)
	if err != nil {
		return nil, err
	}
	before := s.cfg
	s.cfg = complete
	s.retire(now)
	if s.phase != Advertising {
		return nil, nil
	}
	if before.LinkLocal != s.cfg.LinkLocal {
		s.leave(before.LinkLocal, before.Hardware)
	}
	s.withdraw(&before)
	changed := !bytes.Equal(before.fixed(), s.cfg.fixed())
	if changed || before.shortened(&s.cfg, now) {
		s.initial = initialAdverts
		s.next = s.earliest(now)
	} else if before.MaxInterval != s.cfg.MaxInterval || before.MinInterval != s.cfg.MinInterval {
		s.arm(now)
	}
	var effects []Effect
	if changed {
		effects = s.missing(now)
	}
	return s.run(now, effects), nil
}

// Left notes that this router has advertised from addr before there was this speaker: hosts are told that it is no router any
// more when the speaker starts. To be called before InStart.
func (s *Speaker) Left(addr netip.Addr, hardware ipv6.LinkAddr) {
	if addr != s.cfg.LinkLocal {
		s.leave(addr, hardware)
	}
}

// leave notes that advertisements no longer come from addr.
func (s *Speaker) leave(addr netip.Addr, hardware ipv6.LinkAddr) {
	kept := s.leaving[:0]
	for _, l := range s.leaving {
		if l.addr != s.cfg.LinkLocal && l.addr != addr {
			kept = append(kept, l)
		}
	}
	if len(kept) == maxLeaving {
		kept = kept[1:]
	}
	s.leaving = append(kept, leaving{addr: addr, hardware: hardware, adverts: initialAdverts})
}

// skew is how far lifetimes that decrement may be apart before that counts (RFC 4861 section 6.2.7).
const skew = time.Minute

// shortened reports whether a lifetime in c ended, ends earlier, or began again in next: hosts must hear of it soon.
func (c *Config) shortened(next *Config, now time.Time) bool {
	for i := range next.Prefixes {
		p := &next.Prefixes[i]
		old := c.prefix(p.Prefix)
		if old == nil {
			continue
		}
		valid, preferred := p.Lifetimes(now)
		oldValid, oldPreferred := old.Lifetimes(now)
		if valid < oldValid-skew || preferred < oldPreferred-skew || (valid == 0) != (oldValid == 0) ||
			(preferred == 0) != (oldPreferred == 0) {
			return true
		}
	}
	return false
}

// earliest is when the rate limit next lets an advertisement to all nodes go.
func (s *Speaker) earliest(now time.Time) time.Time {
	if s.last.IsZero() {
		return now
	}
	if at := s.last.Add(s.cfg.MinDelay); at.After(now) {
		return at
	}
	return now
}

// due is when the next advertisement goes to all nodes: never before the rate limit lets it.
func (s *Speaker) due() time.Time {
	at := s.next
	if !s.solicited.IsZero() && s.solicited.Before(at) {
		at = s.solicited
	}
	return s.earliest(at)
}

// arm sets the interval timer as after an advertisement at now (RFC 4861 section 6.2.4).
func (s *Speaker) arm(now time.Time) {
	interval := s.cfg.MinInterval + s.uniform(s.cfg.MaxInterval-s.cfg.MinInterval)
	if s.initial > 0 {
		interval = min(interval, initialInterval)
	}
	s.next = now.Add(interval)
}

// uniform gives a random duration from 0 to longest.
func (s *Speaker) uniform(longest time.Duration) time.Duration {
	if _, err := io.ReadFull(s.cfg.Rand, s.scratch[:]); err != nil {
		return longest
	}
	var x uint64
	for _, b := range s.scratch {
		x = x<<8 | uint64(b)
	}
	d, _ := bits.Mul64(x, uint64(longest)+1)
	return time.Duration(d)
}

// run says what is due.
func (s *Speaker) run(now time.Time, effects []Effect) []Effect {
	switch s.phase {
	case Advertising:
		if !now.Before(s.due()) {
			effects = s.advertise(now, effects)
		}
		for {
			a, ok := s.answers.take(now)
			if !ok {
				return effects
			}
			effects = s.answer(now, a, effects)
		}
	case Ceasing:
		if !now.Before(s.next) {
			effects = s.cease(now, effects)
		}
	}
	return effects
}

// contents is what is said now in a voice.
func (s *Speaker) contents(now time.Time, v voice) contents {
	s.forget(now)
	return contents{
		cfg: &s.cfg, held: s.held, withdrawn: s.withdrawn, voice: v, src: s.cfg.LinkLocal, hardware: s.cfg.Hardware,
	}
}

// advertise speaks to all nodes and sets the interval timer, whether it was asked or not.
func (s *Speaker) advertise(now time.Time, effects []Effect) []Effect {
	left := s.leaving[:0]
	for _, l := range s.leaving {
		c := s.contents(now, moved)
		c.src, c.hardware = l.addr, l.hardware
		effects = s.multicast(now, &c, effects)
		s.count.leaving++
		if l.adverts--; l.adverts > 0 {
			left = append(left, l)
		}
	}
	s.leaving = left
	c := s.contents(now, regular)
	effects = s.multicast(now, &c, effects)
	s.tell(now)
	if !s.solicited.IsZero() {
		s.count.solicited++
	} else {
		s.count.unsolicited++
	}
	if s.withdrawn.adverts > 0 {
		if s.withdrawn.adverts--; s.withdrawn.adverts == 0 {
			s.withdrawn = withdrawn{}
		}
	}
	s.solicited = time.Time{}
	s.initial = max(s.initial-1, 0)
	s.arm(now)
	return effects
}

// cease speaks one final advertisement. They are as far apart as the rate limit asks for.
func (s *Speaker) cease(now time.Time, effects []Effect) []Effect {
	c := s.contents(now, final)
	effects = s.multicast(now, &c, effects)
	s.count.final++
	if s.finals--; s.finals == 0 {
		s.fallSilent()
		return effects
	}
	s.next = now.Add(s.cfg.MinDelay)
	return effects
}

// answer speaks to one host that asked.
func (s *Speaker) answer(now time.Time, a answer, effects []Effect) []Effect {
	c := s.contents(now, regular)
	for _, packet := range c.packets(now, a.addr) {
		effects = append(effects, Effect{Kind: EffectSend, Link: s.cfg.Interface, LinkDst: a.hardware, Packet: packet})
		s.count.packets++
	}
	s.tell(now)
	s.count.unicast++
	return effects
}

// multicast sends c to all nodes. The packets of one advertisement count as one for the rate limit.
func (s *Speaker) multicast(now time.Time, c *contents, effects []Effect) []Effect {
	all := ipv6.AllNodes()
	for _, packet := range c.packets(now, all) {
		effects = append(effects, Effect{
			Kind: EffectSend, Link: s.cfg.Interface, LinkDst: ipv6.MulticastLinkAddr(all), Packet: packet,
		})
		s.count.packets++
	}
	s.last = now
	return effects
}

// hear takes a packet from the link.
func (s *Speaker) hear(now time.Time, p *ipv6.Packet) []Effect {
	switch {
	case p == nil || p.Proto != ipv6.ProtoICMPv6 || len(p.Payload) == 0:
		s.count.otherType++
	case p.Interface != 0 && p.Interface != s.cfg.Interface:
		s.count.otherLink++
	case p.Payload[0] == ndp.TypeRouterSolicit:
		s.solicit(now, p)
	case p.Payload[0] == ndp.TypeRouterAdvert:
		return s.listen(now, p)
	default:
		s.count.otherType++
	}
	return nil
}
