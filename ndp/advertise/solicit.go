package advertise

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// Limits of answers to single hosts. Above them all nodes are told, once in MinDelay.
const (
	maxAnswers    = 32              // waiting
	maxAnswered   = 128             // remembered: more than the limits let through in answerSpacing
	answerSpacing = 3 * time.Second // between two answers to one host
	answerEvery   = time.Second / 16
	answerBurst   = 32 * answerEvery
)

// answer is an advertisement owed to one host.
type answer struct {
	at       time.Time // when to send; in the table of those answered: when it was granted
	addr     netip.Addr
	hardware ipv6.LinkAddr
}

func (a *answer) to(addr netip.Addr, hardware ipv6.LinkAddr) bool {
	return a.addr == addr && a.hardware == hardware
}

// answers are those that wait and those that were granted lately. The zero value is empty. A host is its address and its
// link-layer address together: nobody can use up another's answers, or turn them to himself, by its address alone.
type answers struct {
	waiting  []answer
	answered []answer
	full     time.Time // when the bucket is full again
}

func (q *answers) clear() { q.waiting = q.waiting[:0] }

// first is when the next answer is due.
func (q *answers) first() (at time.Time, ok bool) {
	for i := range q.waiting {
		if a := &q.waiting[i]; !ok || a.at.Before(at) {
			at, ok = a.at, true
		}
	}
	return at, ok
}

// take gives an answer that is due and removes it.
func (q *answers) take(now time.Time) (answer, bool) {
	for i, a := range q.waiting {
		if !now.Before(a.at) {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			return a, true
		}
	}
	return answer{}, false
}

// verdict is what becomes of a solicitation that asks for an answer of its own.
type verdict uint8

const (
	granted   verdict = iota
	joined            // that host's answer waits already
	overHost          // that host was answered a moment ago
	overLimit         // too many hosts ask
)

// ask decides whether the host gets an answer of its own. The limit over all hosts comes first: it is the cheapest.
func (q *answers) ask(now time.Time, addr netip.Addr, hardware ipv6.LinkAddr) verdict {
	for i := range q.waiting {
		if q.waiting[i].to(addr, hardware) {
			return joined
		}
	}
	if q.full.Before(now) {
		q.full = now
	}
	if len(q.waiting) >= maxAnswers || q.full.Sub(now) > answerBurst-answerEvery {
		return overLimit
	}
	kept := q.answered[:0]
	known := false
	for _, a := range q.answered {
		if now.Sub(a.at) < answerSpacing {
			known = known || a.to(addr, hardware)
			kept = append(kept, a)
		}
	}
	q.answered = kept
	switch {
	case known:
		return overHost
	case len(kept) >= maxAnswered:
		return overLimit
	}
	q.full = q.full.Add(answerEvery)
	q.answered = append(q.answered, answer{at: now, addr: addr, hardware: hardware})
	return granted
}

// solicit takes a router solicitation (RFC 4861 section 6.2.6).
func (s *Speaker) solicit(now time.Time, p *ipv6.Packet) {
	m, reason := ndp.ParseRouterSolicit(p)
	if reason != ndp.ReasonNone {
		s.count.badSolicits[reason]++
		return
	}
	if s.phase != Advertising {
		s.count.solicitsSilent++
		return
	}
	s.count.solicits++
	// RFC 7772 section 5.1: an address and a valid Source Link-Layer Address option. One that names another station than
	// the frame's could turn the answer on that one.
	if s.cfg.Unicast && !p.Src.IsUnspecified() && m.SourceLink.IsUnicast() &&
		(p.LinkSource.IsZero() || p.LinkSource == m.SourceLink) {
		switch s.answers.ask(now, p.Src, m.SourceLink) {
		case granted:
			s.answers.waiting = append(s.answers.waiting, answer{
				at: now.Add(s.uniform(maxAnswerDelay)), addr: p.Src, hardware: m.SourceLink,
			})
			return
		case joined:
			s.count.joined++
			return
		case overHost:
			s.count.overHost++
		case overLimit:
			s.count.overLimit++
		}
	}
	if !s.solicited.IsZero() {
		s.count.joined++
		return
	}
	// After the rate limit the random delay is counted from its end, so that routers asked at once do not answer at once.
	// If the interval timer ends before, that advertisement is the answer.
	s.solicited = s.earliest(now).Add(s.uniform(maxAnswerDelay))
}
