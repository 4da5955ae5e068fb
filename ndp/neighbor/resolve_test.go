package neighbor_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/neighbor"
)

const (
	toGroup  = "ns fe80::1:1 > ff02::1:ff0a:a target 2001:db8:1::a:a to 33:33:ff:0a:00:0a slla solicits"
	toNode   = "ns fe80::1:1 > 2001:db8:1::a:a target 2001:db8:1::a:a to 02:00:00:00:00:0a slla solicits"
	nodeGone = "entry 2001:db8:1::a:a 02:00:00:00:00:0a failed"
)

// RFC 4861 section 7.2.2: MAX_MULTICAST_SOLICIT solicitations to the solicited-node group, RetransTimer apart.
func TestResolution(t *testing.T) {
	l := settled(t)
	l.want("asked", l.ask(nodeAddr, true), toGroup)
	l.drops("drop_ask_under_way", func() []neighbor.Effect { return l.ask(nodeAddr, true) })
	l.want("a second later", l.pass(time.Second), toGroup)
	l.want("two seconds later", l.pass(time.Second), toGroup)
	l.want("nobody answers", l.pass(time.Second), "entry 2001:db8:1::a:a 00:00:00:00:00:00 failed")
	l.expect(nodeAddr, "")
	l.want("asked once more", l.ask(nodeAddr, true), toGroup)
	l.want("answered", l.hear(na(nodeHW, nodeAddr, ndp.FlagSolicited|ndp.FlagOverride, nodeHW)),
		"entry 2001:db8:1::a:a 02:00:00:00:00:0a reachable")
	if l.counter("neighbours_resolved") != 1 || l.counter("neighbours_failed") != 1 || l.counter("solicitations_sent") != 4 {
		t.Error("the counters do not say what happened")
	}
}

// RFC 3971 section 8: a probe goes to the neighbour itself only if its entry is secured; else to its group, where the
// owner hears it, too, if a liar has made the entry.
func TestProbes(t *testing.T) {
	for name, c := range map[string]struct {
		how   func(*neighbor.Input)
		probe string
	}{
		"secured":   {answered, toNode},
		"unsecured": {func(*neighbor.Input) {}, toGroup},
	} {
		t.Run(name, func(t *testing.T) {
			l := settled(t)
			l.resolve(nodeAddr, nodeHW, c.how)
			l.want("in doubt", l.ask(nodeAddr, false), c.probe)
			l.drops("drop_ask_under_way", func() []neighbor.Effect { return l.ask(nodeAddr, false) })
			l.want("no answer", l.pass(2*time.Second), c.probe, c.probe)
			l.want("gone", l.pass(time.Second), nodeGone)

			l.resolve(nodeAddr, nodeHW, c.how)
			l.pass(time.Minute)
			l.want("in doubt", l.ask(nodeAddr, false), c.probe)
			l.want("answered", l.hear(na(nodeHW, nodeAddr, ndp.FlagSolicited, nodeHW), c.how),
				"entry 2001:db8:1::a:a 02:00:00:00:00:0a reachable")
			l.want("nothing is left to do", l.pass(5*time.Second))
		})
	}
}

// What the kernel has lost it gets once more, without a question to the link where that is not needed.
func TestKernelHasLostAnEntry(t *testing.T) {
	l := settled(t)
	l.resolve(nodeAddr, nodeHW)
	l.want("reachable", l.ask(nodeAddr, true), "entry 2001:db8:1::a:a 02:00:00:00:00:0a reachable")
	l.pass(time.Minute)
	l.expect(nodeAddr, "02:00:00:00:00:0a stale")
	l.want("stale", l.ask(nodeAddr, true), "entry 2001:db8:1::a:a 02:00:00:00:00:0a stale")
	l.want("and lost at once", l.ask(nodeAddr, true), toGroup)
}

// RFC 4861 section 6.3.2: a confirmation holds for half to one and a half of ReachableTime, and the kernel counts for itself.
// After an hour of silence the entry is forgotten, and so is that it was secured.
func TestEntriesGrowOld(t *testing.T) {
	l := settled(t, func(c *neighbor.Config) { c.Reachable = 10 * time.Second })
	l.resolve(nodeAddr, nodeHW, answered)
	l.pass(5*time.Second - 1)
	l.expect(nodeAddr, "02:00:00:00:00:0a reachable secured")
	l.want("nothing is said", l.pass(10*time.Second+1))
	l.expect(nodeAddr, "02:00:00:00:00:0a stale secured")
	l.want("an hour", l.pass(time.Hour), nodeGone)
	if l.counter("neighbours_expired") != 1 {
		t.Error("neighbours_expired is not counted")
	}
}

func TestQuestionsThatMakeNoSense(t *testing.T) {
	l := settled(t)
	for _, a := range []netip.Addr{ownGlobal, ipv6.AllNodes(), {}, netip.MustParseAddr("192.0.2.1"), netip.IPv6Unspecified()} {
		l.drops("drop_ask_address", func() []neighbor.Effect { return l.ask(a, true) })
	}
	without := bare(t)
	without.drops("drop_no_own_address", func() []neighbor.Effect { return without.ask(nodeAddr, true) })
	without.step(neighbor.Input{Kind: neighbor.InOwn, Addr: ownLink, InUse: true})
	without.want("with an address", without.pass(time.Second), toGroup)
}

// It speaks from a link-local address that can be signed for, before others.
func TestSourceOfSolicitations(t *testing.T) {
	l := bare(t)
	eui := ipv6.LinkLocalFrom(ownHW)
	l.step(neighbor.Input{Kind: neighbor.InOwn, Addr: eui, Plain: true, InUse: true})
	l.want("plain", l.ask(nodeAddr, true),
		"ns fe80::ff:fe00:1 > ff02::1:ff0a:a target 2001:db8:1::a:a to 33:33:ff:0a:00:0a slla unsigned")
	l.step(neighbor.Input{Kind: neighbor.InOwn, Addr: ownGlobal, InUse: true})
	l.want("global", l.pass(time.Second),
		"ns 2001:db8:1::1:1 > ff02::1:ff0a:a target 2001:db8:1::a:a to 33:33:ff:0a:00:0a slla solicits")
	l.step(neighbor.Input{Kind: neighbor.InOwn, Addr: ownLink}) // tentative: not yet
	l.step(neighbor.Input{Kind: neighbor.InDisown, Addr: ownLink})
	l.step(neighbor.Input{Kind: neighbor.InOwn, Addr: ownLink, InUse: true})
	l.want("link-local", l.pass(time.Second), toGroup)
}

// An address that may turn out to be another's is the last choice (RFC 4429 section 3.2).
func TestOptimisticAddressIsNoSourceWhereThereIsAnother(t *testing.T) {
	l := bare(t)
	l.step(neighbor.Input{Kind: neighbor.InOwn, Addr: ownLink, Optimistic: true})
	l.step(neighbor.Input{Kind: neighbor.InOwn, Addr: ownGlobal, InUse: true})
	l.want("asked", l.ask(nodeAddr, true),
		"ns 2001:db8:1::1:1 > ff02::1:ff0a:a target 2001:db8:1::a:a to 33:33:ff:0a:00:0a slla solicits")
}

// A scan of the prefix from outside costs a bounded number of signatures, and puts nobody out.
func TestScanIsHeldBack(t *testing.T) {
	l := settled(t, func(c *neighbor.Config) { c.AskRate, c.MaxEntries = 20, 100 })
	l.resolve(nodeAddr, nodeHW)
	a, sent := netip.MustParseAddr("2001:db8:1::1:0:0"), 0
	for range 10000 { // ten seconds
		sent += len(l.pass(time.Millisecond))
		a = a.Next()
		sent += len(l.ask(a, true))
	}
	// 20 at once and 20 in each second, three solicitations each and the end of it.
	if sent > 4*20*11+20 {
		t.Errorf("%d effects of a scan of ten seconds", sent)
	}
	if l.c.Len() > 100 || l.counter("drop_ask_rate") == 0 {
		t.Errorf("%d entries, %d held back", l.c.Len(), l.counter("drop_ask_rate"))
	}
	l.want("who is known is asked all the same", l.ask(nodeAddr, false), toGroup)
}
