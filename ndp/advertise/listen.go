package advertise

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// Limits of what other routers can make this one remember and report.
const (
	maxOthers      = 32
	reportInterval = time.Hour // after which what still holds is reported again, and who was silent is forgotten
	maxReports     = 16        // in one interval
)

// Conflict is a set of contradictions between two routers' advertisements (RFC 4861 section 6.2.7).
type Conflict uint16

// Contradictions.
const (
	ConflictHopLimit Conflict = 1 << iota
	ConflictManaged
	ConflictOther
	ConflictReachable
	ConflictRetrans
	ConflictMTU
	ConflictValid
	ConflictPreferred

	conflictEnd
)

// other is another router and what was reported of it.
type other struct {
	Other
	reportedAt time.Time // zero: not yet
	reported   Conflict  // since then
}

// others are the other routers heard, and the budget of reports.
type others struct {
	table        []other
	windowBegan  time.Time
	reports      int
	impersonated time.Time // when that was reported last; zero: never
}

// mayReport takes one report out of the budget. Forged advertisements from many addresses cannot fill a log.
func (o *others) mayReport(now time.Time) bool {
	if o.windowBegan.IsZero() || now.Sub(o.windowBegan) >= reportInterval {
		o.windowBegan, o.reports = now, 0
	}
	if o.reports >= maxReports {
		return false
	}
	o.reports++
	return true
}

// entry finds or makes the entry of a router; nil if the table is full of routers that were heard lately.
func (o *others) entry(now time.Time, router netip.Addr) *other {
	var spare *other
	for i := range o.table {
		e := &o.table[i]
		if e.Router == router {
			if now.Sub(e.Last) >= reportInterval {
				*e = other{Other: Other{Router: router, First: now}}
			}
			return e
		}
		if now.Sub(e.Last) >= reportInterval {
			spare = e
		}
	}
	if spare == nil {
		if len(o.table) >= maxOthers {
			return nil
		}
		o.table = append(o.table, other{})
		spare = &o.table[len(o.table)-1]
	}
	*spare = other{Other: Other{Router: router, First: now}}
	return spare
}

// Others yields the other routers heard on the link.
func (s *Speaker) Others(yield func(Other) bool) {
	for _, e := range s.others.table {
		if !yield(e.Other) {
			return
		}
	}
}

// listen takes another router's advertisement: it is compared and reported, nothing else (RFC 4861 section 6.2.7).
func (s *Speaker) listen(now time.Time, p *ipv6.Packet) []Effect {
	m, reason := ndp.ParseRouterAdvert(p)
	if reason != ndp.ReasonNone {
		s.count.badAdverts[reason]++
		return nil
	}
	if hardware, ours := s.own(p.Src); ours {
		if p.LinkSource.IsZero() || p.LinkSource == hardware {
			s.count.own++
			return nil
		}
		s.count.impersonated++
		return s.impersonated(now, p)
	}
	s.count.adverts++
	e := s.others.entry(now, p.Src)
	if e == nil {
		s.count.othersFull++
		return nil
	}
	e.Last, e.Lifetime, e.HomeAgent = now, m.Lifetime, m.HomeAgent
	e.Adverts++
	e.Hardware = p.LinkSource
	if e.Hardware.IsZero() {
		e.Hardware = m.SourceLink
	}
	e.Conflicts = s.conflicts(now, &m)
	if e.Conflicts != 0 {
		s.count.conflicts++
	}
	return s.report(now, e, &m)
}

// own reports whether addr is one that advertisements come from here, and the link-layer address it has.
func (s *Speaker) own(addr netip.Addr) (ipv6.LinkAddr, bool) {
	if addr == s.cfg.LinkLocal {
		return s.cfg.Hardware, true
	}
	for _, l := range s.leaving {
		if l.addr == addr {
			return l.hardware, true
		}
	}
	return ipv6.LinkAddr{}, false
}

func (s *Speaker) impersonated(now time.Time, p *ipv6.Packet) []Effect {
	last := s.others.impersonated
	if !last.IsZero() && now.Sub(last) < reportInterval {
		return nil
	}
	if !s.others.mayReport(now) {
		s.count.reportsLost++
		return nil
	}
	s.others.impersonated = now
	return []Effect{s.event(EventImpersonated, p.Src, p.LinkSource,
		"advertisements with our address come from another station")}
}

func (s *Speaker) event(kind EventKind, router netip.Addr, hardware ipv6.LinkAddr, detail string) Effect {
	return Effect{Kind: EffectReport, Event: Event{
		Kind: kind, Link: s.cfg.Interface, Router: router, Hardware: hardware, Detail: detail,
	}}
}

// report tells of a router once in an interval, and of each of its contradictions once in that interval.
func (s *Speaker) report(now time.Time, e *other, m *ndp.RouterAdvert) []Effect {
	var effects []Effect
	if e.reportedAt.IsZero() || now.Sub(e.reportedAt) >= reportInterval {
		if !s.others.mayReport(now) {
			s.count.reportsLost++
			return nil
		}
		e.reportedAt, e.reported = now, 0
		detail := fmt.Sprintf("router lifetime %d s", m.Lifetime)
		if m.HomeAgent {
			detail += ", home agent"
		}
		effects = append(effects, s.event(EventOtherRouter, e.Router, e.Hardware, detail))
	}
	for c := Conflict(1); c < conflictEnd; c <<= 1 {
		if e.Conflicts&^e.reported&c == 0 {
			continue
		}
		if !s.others.mayReport(now) {
			s.count.reportsLost++
			break
		}
		e.reported |= c
		effects = append(effects, s.event(EventConflict, e.Router, e.Hardware, s.explain(now, c, m)))
	}
	return effects
}

// conflicts compares what m says with what is said here. Zero is unspecified and contradicts nothing.
func (s *Speaker) conflicts(now time.Time, m *ndp.RouterAdvert) Conflict {
	var found Conflict
	differ := func(c Conflict, here, there uint32) {
		if here != 0 && there != 0 && here != there {
			found |= c
		}
	}
	differ(ConflictHopLimit, uint32(s.cfg.HopLimit), uint32(m.HopLimit))
	differ(ConflictReachable, milliseconds(s.cfg.Reachable), m.Reachable)
	differ(ConflictRetrans, milliseconds(s.cfg.Retrans), m.Retrans)
	differ(ConflictMTU, s.cfg.MTU, m.MTU)
	if s.cfg.Managed != m.Managed {
		found |= ConflictManaged
	}
	if s.cfg.Other != m.Other {
		found |= ConflictOther
	}
	prefixes := m.Prefixes()
	for p, ok := prefixes.Next(); ok; p, ok = prefixes.Next() {
		found |= s.compare(now, &p)
	}
	return found
}

// compare compares the lifetimes of a prefix that both advertise.
func (s *Speaker) compare(now time.Time, p *ndp.Prefix) (found Conflict) {
	valid, preferred, slack, ok := s.said(now, p.Prefix)
	if !ok {
		return 0
	}
	if apart(valid, p.Valid) > slack {
		found |= ConflictValid
	}
	if apart(preferred, p.Preferred) > slack {
		found |= ConflictPreferred
	}
	return found
}

// said gives the lifetimes in seconds that are said here of a prefix, stale ones included. Where they decrement, slack is
// what clocks may be apart.
func (s *Speaker) said(now time.Time, p netip.Prefix) (valid, preferred, slack uint32, ok bool) {
	if own := s.cfg.prefix(p); own != nil {
		if !own.ValidUntil.IsZero() || !own.PreferredUntil.IsZero() {
			slack = seconds(skew)
		}
		v, f := own.Lifetimes(now)
		return seconds(v), seconds(f), slack, true
	}
	if h := s.find(p); h != nil && h.gone && !h.over(now) {
		return 0, 0, 0, true
	}
	return 0, 0, 0, false
}

func apart(a, b uint32) uint32 { return max(a, b) - min(a, b) }

func milliseconds(d time.Duration) uint32 { return uint32(d / time.Millisecond) }

// explain says what one contradiction is about.
func (s *Speaker) explain(now time.Time, c Conflict, m *ndp.RouterAdvert) string {
	differ := func(what string, here, there any) string {
		return fmt.Sprintf("%s: %v here, %v there", what, here, there)
	}
	switch c {
	case ConflictHopLimit:
		return differ("hop limit", s.cfg.HopLimit, m.HopLimit)
	case ConflictManaged:
		return differ("M flag", s.cfg.Managed, m.Managed)
	case ConflictOther:
		return differ("O flag", s.cfg.Other, m.Other)
	case ConflictReachable:
		return differ("reachable time in ms", milliseconds(s.cfg.Reachable), m.Reachable)
	case ConflictRetrans:
		return differ("retrans timer in ms", milliseconds(s.cfg.Retrans), m.Retrans)
	case ConflictMTU:
		return differ("MTU", s.cfg.MTU, m.MTU)
	}
	prefixes := m.Prefixes()
	for p, ok := prefixes.Next(); ok; p, ok = prefixes.Next() {
		if s.compare(now, &p)&c == 0 {
			continue
		}
		valid, preferred, _, _ := s.said(now, p.Prefix)
		if c == ConflictValid {
			return differ("valid lifetime of "+p.Prefix.String()+" in s", valid, p.Valid)
		}
		return differ("preferred lifetime of "+p.Prefix.String()+" in s", preferred, p.Preferred)
	}
	return "prefix lifetimes"
}
