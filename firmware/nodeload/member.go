package nodeload

import (
	"crypto/rand"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// member is one node that is played.
type member struct {
	core  *lke.Node
	hw    ipv6.LinkAddr
	addrs []netip.Addr // link-local and care-of ones, by which solicitations find it
	at    int          // place among the timers; -1: it has none
	due   time.Time

	heard   bool       // a router, on the link where it is now
	address netip.Addr // that EffectConfigure named; told to be usable when it is the member's turn
	careOf  netip.Addr // that is usable

	job        *lke.Input // an encryption that was done ahead
	encrypting bool
	begun      time.Time // when it sent the first message of what is under way; zero: nothing is
	messages   int
	valid      bool
}

// hardware is the link-layer address of node n: locally administered, with the seed in it.
func hardware(seed uint16, n int) ipv6.LinkAddr {
	return ipv6.LinkAddr{0x06, byte(seed >> 8), byte(seed), byte(n >> 16), byte(n >> 8), byte(n)}
}

func (l *load) newMember(n int) *member {
	hw := hardware(l.cfg.Seed, n)
	m := &member{hw: hw, at: -1, core: lke.NewNode(lke.NodeConfig{
		Hardware: hw, AnswerSolicitations: true,
		CodePoints: l.cfg.CodePoints, NDCodePoints: l.cfg.NDCodePoints, Rand: rand.Reader,
	})}
	l.byHardware[hw] = m
	l.own(m, ipv6.LinkLocalFrom(hw))
	return m
}

// own makes solicitations for addr find m.
func (l *load) own(m *member, addr netip.Addr) {
	if l.byAddress[addr] != m {
		l.byAddress[addr] = m
		m.addrs = append(m.addrs, addr)
	}
}

// timers is a heap of members by when they are due.
type timers []*member

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].due.Before(t[j].due) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].at, t[j].at = i, j
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	m := x.(*member)
	m.at = len(*t)
	*t = append(*t, m)
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	last := len(*t) - 1
	m := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	m.at = -1
	return m
}
