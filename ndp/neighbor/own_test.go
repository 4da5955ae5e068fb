package neighbor_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/neighbor"
)

func own(addr netip.Addr, change ...func(*neighbor.Input)) neighbor.Input {
	in := neighbor.Input{Kind: neighbor.InOwn, Addr: addr}
	for _, f := range change {
		f(&in)
	}
	return in
}

func plain(in *neighbor.Input)      { in.Plain = true }
func optimistic(in *neighbor.Input) { in.Optimistic = true }
func attempt(n int) func(*neighbor.Input) {
	return func(in *neighbor.Input) { in.Attempt = n }
}

const dadOfGlobal = "ns :: > ff02::1:ff01:1 target 2001:db8:1::1:1 to 33:33:ff:01:00:01"

// RFC 4862 section 5.4.2: DupAddrDetectTransmits solicitations from ::, RetransTimer apart, the first after a random delay,
// and then one RetransTimer of silence. SEND signs them: A.6, NS for DAD.
func TestDuplicateAddressDetection(t *testing.T) {
	l := bare(t, func(c *neighbor.Config) { c.DADTransmits = 2; c.Retrans = 300 * time.Millisecond })
	start := l.now
	l.want("asked to take an address", l.step(own(ownGlobal)), "watch 2001:db8:1::1:1")
	first := l.c.Deadline().Sub(start)
	if first <= 0 || first >= time.Second {
		t.Errorf("the first solicitation goes out after %v, want a random time below 1 s", first)
	}
	l.want("after the delay", l.pass(first), dadOfGlobal+" solicits")
	l.want("a RetransTimer later", l.pass(300*time.Millisecond), dadOfGlobal+" solicits")
	l.want("just before the end", l.pass(299*time.Millisecond))
	l.want("at the end", l.pass(time.Millisecond), "address 2001:db8:1::1:1 true")
	l.want("for good", l.pass(time.Hour))
	l.want("asked once more", l.step(own(ownGlobal)), "address 2001:db8:1::1:1 true")
	l.want("given up", l.step(neighbor.Input{Kind: neighbor.InDisown, Addr: ownGlobal}), "unwatch 2001:db8:1::1:1")
	l.want("given up twice", l.step(neighbor.Input{Kind: neighbor.InDisown, Addr: ownGlobal}))
}

func TestDetectionCanBeLeftOut(t *testing.T) {
	for name, l := range map[string]*lab{
		"by the settings": bare(t, func(c *neighbor.Config) { c.DADTransmits = -1 }),
		"by the caller":   bare(t),
	} {
		l.want(name, l.step(own(ownGlobal, func(in *neighbor.Input) { in.InUse = name == "by the caller" })),
			"watch 2001:db8:1::1:1", "address 2001:db8:1::1:1 true")
		if at := l.c.Deadline(); !at.IsZero() {
			t.Errorf("%s: there is still a deadline", name)
		}
	}
}

// Without randomness detection still works.
func TestWithoutRandomness(t *testing.T) {
	l := bare(t, func(c *neighbor.Config) { c.Rand = broken{} })
	l.step(own(ownGlobal, plain))
	l.want("detection", l.pass(3*time.Second), dadOfGlobal+" unsigned", "address 2001:db8:1::1:1 true")
	if l.counter("no_randomness") != 2 { // delay and nonce
		t.Errorf("no_randomness = %d, want 2", l.counter("no_randomness"))
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("no randomness") }

// RFC 4862 section 5.4.3 and 5.4.4, RFC 3971 section 8 (DAD in mixed mode): which messages show that a tentative address
// is another's.
func TestConflicts(t *testing.T) {
	byDAD := dad(nodeHW, ownGlobal)
	byAdvert := na(nodeHW, ownGlobal, ndp.FlagOverride, nodeHW)
	none := func(*neighbor.Input) {}
	for _, c := range []struct {
		name    string
		attempt int
		packet  *ipv6.Packet
		how     func(*neighbor.Input)
		counter string // "": the address is given up
	}{
		{"unsecured DAD of another, first address", 0, byDAD, none, ""},
		{"unsecured advertisement, first address", 0, byAdvert, none, ""},
		{"secured DAD of another, first address", 0, byDAD, secured, ""},
		{"secured advertisement, first address", 0, byAdvert, secured, ""},
		{"unsecured DAD of another, second address", 1, byDAD, none, "drop_unsecured_conflict"},
		{"unsecured advertisement, second address", 1, byAdvert, none, "drop_unsecured_conflict"},
		{"unsecured advertisement, third address", 2, byAdvert, none, "drop_unsecured_conflict"},
		{"secured DAD of another, second address", 1, byDAD, secured, ""},
		{"secured advertisement, third address", 2, byAdvert, secured, ""},
		{"advertisement said once more", 0, byAdvert, repeated, "drop_repeat_or_stale"},
		{"advertisement of an unknown time", 0, byAdvert, stale, "drop_repeat_or_stale"},
		{"DAD recorded from ourselves", 0, byDAD, ofOwnKey, "drop_own_echo"},
		{"advertisement recorded from ourselves", 1, byAdvert, ofOwnKey, "drop_own_echo"},
		{"advertisement from our interface", 0, na(ownHW, ownGlobal, ndp.FlagOverride, ownHW), none, "drop_own_echo"},
		{"solicitation to resolve it", 0, ns(nodeHW, nodeAddr, ownGlobal, nodeHW), secured, "drop_solicit_tentative"},
		{"DAD for another address", 0, dad(nodeHW, nodeAddr), none, "drop_solicit_other_target"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := bare(t)
			l.step(own(ownGlobal, attempt(c.attempt)))
			if c.counter != "" {
				l.drops(c.counter, func() []neighbor.Effect { return l.hear(c.packet, c.how) })
				l.want("the detection goes on", l.pass(3*time.Second), dadOfGlobal+" solicits", "address 2001:db8:1::1:1 true")
				return
			}
			l.want("conflict", l.hear(c.packet, c.how),
				"unwatch 2001:db8:1::1:1", "address 2001:db8:1::1:1 false", "report address-duplicate 2001:db8:1::1:1")
			l.want("nothing follows", l.pass(time.Minute))
			if l.counter("addresses_duplicate") != 1 {
				t.Error("addresses_duplicate is not counted")
			}
		})
	}
}

// RFC 7527 section 4.2: a solicitation of our own that comes back is no conflict; who hears himself goes on asking.
func TestOwnSolicitationComesBack(t *testing.T) {
	l := bare(t)
	l.step(own(ownGlobal, plain))
	sent := l.pass(l.c.Deadline().Sub(l.now))
	l.want("sent", sent, dadOfGlobal+" nonce unsigned")
	echo := parsed(nodeHW, sent[0].Packet) // by way of a loop whose last hop has an address of its own
	l.drops("dad_looped_back", func() []neighbor.Effect { return l.hear(echo) })
	more := dadOfGlobal + " nonce unsigned"
	again := l.pass(time.Second)
	l.want("asked again", again, more)
	l.hear(parsed(nodeHW, again[0].Packet)) // and so on: it ends all the same
	l.want("and again", l.pass(time.Minute), more, more, "address 2001:db8:1::1:1 true")

	l = bare(t)
	l.step(own(ownGlobal))
	l.pass(l.c.Deadline().Sub(l.now))
	l.drops("dad_looped_back", func() []neighbor.Effect { return l.hear(dad(ownHW, ownGlobal)) })

	// Another's nonce is another's.
	l = bare(t)
	l.step(own(ownGlobal, plain))
	l.pass(l.c.Deadline().Sub(l.now))
	l.want("another's nonce", l.hear(dad(nodeHW, ownGlobal, ndp.NonceOption(nonce))),
		"unwatch 2001:db8:1::1:1", "address 2001:db8:1::1:1 false", "report address-duplicate 2001:db8:1::1:1")
}

// An address that was found free is defended and never given up: who wants it off the link only has to say so.
func TestAddressInUseIsKept(t *testing.T) {
	l := settled(t)
	advert := na(liarHW, ownGlobal, ndp.FlagOverride, liarHW)
	l.want("an advertisement of our address", l.hear(advert), "report address-conflict 2001:db8:1::1:1")
	l.drops("drop_conflict_in_use", func() []neighbor.Effect { return l.hear(advert) }) // told once in a while
	l.pass(time.Minute)
	l.want("later", l.hear(advert, secured), "report address-conflict 2001:db8:1::1:1")
	l.drops("drop_own_source", func() []neighbor.Effect { return l.hear(ns(liarHW, ownGlobal, ownLink, liarHW)) })
	l.drops("drop_own_source", func() []neighbor.Effect { return l.hear(rs(liarHW, ownGlobal, liarHW)) })
	l.want("still ours", l.hear(ns(nodeHW, nodeAddr, ownGlobal, ipv6.LinkAddr{}), secured),
		"na 2001:db8:1::1:1 > 2001:db8:1::a:a target 2001:db8:1::1:1 to 02:00:00:00:00:0a R S O tlla answers=010203040506")
}

// RFC 4429: an optimistic address is used at once, overrides nothing, and does not get into others' caches.
func TestOptimisticAddress(t *testing.T) {
	l := bare(t, host)
	l.want("taken", l.step(own(ownGlobal, optimistic)), "watch 2001:db8:1::1:1", "address 2001:db8:1::1:1 true")
	l.want("asked", l.hear(ns(nodeHW, nodeAddr, ownGlobal, ipv6.LinkAddr{}), secured),
		"na 2001:db8:1::1:1 > 2001:db8:1::a:a target 2001:db8:1::1:1 to 02:00:00:00:00:0a S tlla answers=010203040506")
	l.want("asking", l.ask(nodeAddr, true),
		"ns 2001:db8:1::1:1 > ff02::1:ff0a:a target 2001:db8:1::a:a to 33:33:ff:0a:00:0a solicits")
	l.hear(na(nodeHW, nodeAddr, ndp.FlagSolicited|ndp.FlagOverride, nodeHW), answered)
	l.want("another wants it too", l.hear(dad(liarHW, ownGlobal)),
		"unwatch 2001:db8:1::1:1", "address 2001:db8:1::1:1 false", "report address-duplicate 2001:db8:1::1:1")

	l = bare(t, host)
	l.step(own(ownGlobal, optimistic))
	l.want("told once", l.pass(3*time.Second), dadOfGlobal+" solicits")
	l.want("asked afterwards", l.hear(ns(nodeHW, nodeAddr, ownGlobal, ipv6.LinkAddr{})),
		"na 2001:db8:1::1:1 > 2001:db8:1::a:a target 2001:db8:1::1:1 to 02:00:00:00:00:0a S O tlla")
}

func TestAddressesThatCannotBeOurs(t *testing.T) {
	l := settled(t)
	for _, a := range []netip.Addr{{}, ipv6.AllNodes(), netip.IPv6Unspecified(), netip.IPv6Loopback(), netip.MustParseAddr("192.0.2.1")} {
		l.drops("drop_known_address", func() []neighbor.Effect { return l.step(own(a)) })
		l.drops("drop_known_address", func() []neighbor.Effect {
			return l.step(neighbor.Input{Kind: neighbor.InProxy, Addr: a})
		})
	}
	l.drops("drop_known_address", func() []neighbor.Effect {
		return l.step(neighbor.Input{Kind: neighbor.InProxy, Addr: ownGlobal})
	})
	// What was a neighbour's and is to be ours is no neighbour's any more.
	l.resolve(nodeAddr, nodeHW)
	l.want("taken", l.step(own(nodeAddr)), "entry 2001:db8:1::a:a 02:00:00:00:00:0a failed", "watch 2001:db8:1::a:a")
	var all []neighbor.Address
	l.c.Addresses(func(a neighbor.Address) bool { all = append(all, a); return true })
	if len(all) != 3 || all[1] != (neighbor.Address{Addr: nodeAddr, Tentative: true}) {
		t.Errorf("addresses: %v", all)
	}
}
