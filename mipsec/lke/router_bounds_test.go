package lke_test

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// heap gives the octets in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// crowd gives the n-th of many stations.
func (l *routerLab) crowd(n int) *labHost {
	h := l.host(0)
	binary.BigEndian.PutUint32(h.hw[2:], uint32(n)+0x100)
	h.local = ipv6.LinkLocalFrom(h.hw)
	h.home = ipv6.WithEUI64(netip.MustParseAddr("2001:db8:1::"), h.hw)
	binary.BigEndian.PutUint32(h.key[:], uint32(n))
	return h
}

// The budget: under 1,536 octets for each association, with all that is kept beside it (tables of limits and sequence
// numbers, timers, the cached advertisement).
func TestRouterMemory(t *testing.T) {
	if testing.Short() || runtime.GOARCH == "mips" || runtime.GOARCH == "mipsle" {
		t.Skip("measures the host's heap")
	}
	const nodes = 10000
	l := newRouterLab(t, func(c *lke.RouterConfig) { c.MaxNodes = nodes })
	l.rand.script = make([]byte, 0, 64)
	before := heap()
	for i := range nodes {
		mn := l.crowd(i)
		_, solicit := mn.exchange(mn.request())
		l.receive(mn.advert(solicit))
	}
	l.advance(time.Second)
	l.saved, l.watched = nil, nil // the harness's own
	each := (heap() - before) / nodes
	valid := 0
	l.router.Associations(func(a lke.Association) bool {
		if a.State == "valid" {
			valid++
		}
		return true
	})
	if valid != nodes {
		t.Fatalf("%d of %d associations are valid; %v", valid, nodes, l.counters())
	}
	t.Logf("%d octets for each of %d associations", each, nodes)
	if each >= 1536 {
		t.Errorf("%d octets for each association, budget 1536", each)
	}
	runtime.KeepAlive(l.router)
}

// Requests from 100,000 made-up sources fill no table beyond its bound, whether their keys are found, lost or never
// answered, and a node with a live association is not pushed out: a replay of its request is refused still.
func TestRouterBoundsUnderSpoofedSources(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	mn.attach()
	l.advance(time.Minute)
	var peak uint64
	taken := 0
	base := heap()
	for i := range 100000 {
		liar := l.crowd(i)
		effects := l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: liar.request()})
		if job := labJob(effects); job != 0 {
			taken++
			switch {
			case taken%50 == 0: // never answered
			case taken%2 == 0:
				l.router.Step(l.now, lke.Input{Kind: lke.InKeyLost, Job: job})
			default:
				l.router.Step(l.now, lke.Input{Kind: lke.InKey, Job: job, Key: liar.key})
			}
		}
		if i%100 == 0 {
			l.now = l.now.Add(100 * time.Millisecond)
			l.router.Step(l.now, lke.Input{Kind: lke.InTick})
		}
		if i%25000 == 24999 {
			peak = max(peak, heap()-min(base, heap()))
		}
	}
	if got := len(l.associations()); got > l.cfg.MaxNodes {
		t.Errorf("%d associations, limit %d", got, l.cfg.MaxNodes)
	}
	if taken < 1000 || l.counter("request_node_limit") < 1000 {
		t.Errorf("%d requests were taken; %v", taken, l.counters())
	}
	if peak > 1<<20 {
		t.Errorf("%d octets are kept about sources that do not exist", peak)
	}
	mn.seq = 7
	l.expectDrop(mn.request(), "request_replayed")
	mn.bind()

	// When the flood is over nothing of it stays but the limits.
	l.advance(2 * time.Hour)
	if l.associations() != nil || !l.router.Deadline().IsZero() {
		t.Errorf("left over: %v, deadline %v", l.associations(), l.router.Deadline())
	}
}
