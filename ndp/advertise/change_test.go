package advertise

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

var threePrefix = netip.MustParsePrefix("2001:db8:3::/64")

func TestChangeIsToldThreeTimes(t *testing.T) {
	l := settled(t, plain())
	cfg := plain()
	cfg.Prefixes = append(cfg.Prefixes, DefaultPrefix(twoPrefix))
	changed := l.now
	l.reconfigure(cfg)
	l.pass(time.Hour)
	// RFC 4861 section 6.2.4: by the rules of initial advertisements.
	if l.sent[0].at != changed || l.sent[1].at.Sub(changed) != 16*time.Second || l.sent[2].at.Sub(changed) != 32*time.Second ||
		l.sent[3].at.Sub(l.sent[2].at) < 198*time.Second {
		t.Errorf("they came after %v", gaps(l.sent[:4]))
	}
	if _, ok := l.sent[0].prefix(twoPrefix); !ok {
		t.Error("the new prefix is missing")
	}
}

func TestFlappingConfigurationKeepsTheRateLimit(t *testing.T) {
	l := settled(t, plain())
	with := plain()
	with.Prefixes = append(with.Prefixes, DefaultPrefix(twoPrefix))
	for i := range 300 {
		l.reconfigure([]Config{with, plain()}[i%2])
		l.pass(100 * time.Millisecond)
	}
	for _, gap := range gaps(l.sent) {
		if gap < 3*time.Second {
			t.Fatalf("advertisements are %v apart", gap)
		}
	}
	if len(l.sent) != 11 {
		t.Errorf("%d were sent in 30 s, want one every 3 s", len(l.sent))
	}
}

func TestRaisedDelayHoldsForWhatWasScheduled(t *testing.T) {
	cfg := plain()
	cfg.MinDelay = 100 * time.Millisecond
	l := settled(t, cfg)
	l.hear(solicit(netip.IPv6Unspecified(), ipv6.LinkAddr{}))
	l.pass(time.Second)
	l.hear(solicit(netip.IPv6Unspecified(), ipv6.LinkAddr{}))
	cfg.MinDelay = 60 * time.Second
	l.reconfigure(cfg)
	l.pass(2 * time.Minute)
	if list := gaps(l.sent); len(list) != 1 || list[0] < time.Minute {
		t.Errorf("advertisements are %v apart", list)
	}
}

func TestWhatIsNoChangeIsNotTold(t *testing.T) {
	learned := plain()
	learned.Prefixes[0] = Prefix{
		Prefix: onePrefix, OnLink: true, Autonomous: true, Valid: LimitValid, Preferred: LimitPreferred,
		ValidUntil: begin().Add(time.Hour), PreferredUntil: begin().Add(time.Hour),
	}
	l := settled(t, learned)
	l.reconfigure(learned)
	renewed := learned
	renewed.Prefixes = slices.Clone(learned.Prefixes)
	renewed.Prefixes[0].ValidUntil = begin().Add(2 * time.Hour) // as DHCPv6-PD does all the time
	renewed.Prefixes[0].PreferredUntil = begin().Add(2 * time.Hour)
	l.reconfigure(renewed)
	if len(l.sent) != 0 {
		t.Fatal("a renewed lifetime was told at once")
	}
	// It is in the next periodic one.
	l.pass(10 * time.Minute)
	left := uint32(min(begin().Add(2*time.Hour).Sub(l.sent[0].at), LimitValid) / time.Second)
	if p, _ := l.sent[0].prefix(onePrefix); p.Valid != left {
		t.Errorf("valid lifetime is %d, want %d", p.Valid, left)
	}

	// What hosts must know is told at once: an end that comes earlier, or has come.
	l.sent = nil
	sooner := renewed
	sooner.Prefixes = slices.Clone(renewed.Prefixes)
	sooner.Prefixes[0].ValidUntil = l.now.Add(LimitPreferred + time.Minute)
	l.reconfigure(sooner)
	if len(l.sent) != 1 || l.sent[0].at != l.now {
		t.Error("an earlier end of the valid lifetime was not told at once")
	}
	for _, end := range []time.Duration{time.Minute, 0} {
		l.reconfigure(renewed)
		l.pass(10 * time.Minute)
		l.sent = nil
		shorter := renewed
		shorter.Prefixes = slices.Clone(renewed.Prefixes)
		shorter.Prefixes[0].PreferredUntil = l.now.Add(end)
		l.reconfigure(shorter)
		if len(l.sent) != 1 {
			t.Fatalf("an end in %v was told %d times at once", end, len(l.sent))
		}
		if p, _ := l.sent[0].prefix(onePrefix); p.Preferred != uint32(end/time.Second) {
			t.Errorf("preferred lifetime is %d, want %v", p.Preferred, end)
		}
	}
	l.pass(time.Minute)
	l.sent = nil
	l.reconfigure(renewed) // and that it began again
	if len(l.sent) != 1 {
		t.Errorf("preferred again was told %d times at once", len(l.sent))
	}
}

func TestNewIntervalsHoldAtOnce(t *testing.T) {
	l := settled(t, plain())
	cfg := plain()
	cfg.MaxInterval, cfg.RouterLifetime = 10*time.Second, 1800*time.Second
	l.reconfigure(cfg)
	if len(l.sent) != 0 {
		t.Error("hosts were told of intervals, which are no contents")
	}
	l.pass(10 * time.Second)
	if len(l.sent) == 0 {
		t.Error("the old interval goes on")
	}
}

func TestInvalidConfigurationChangesNothing(t *testing.T) {
	l := settled(t, plain())
	due := l.s.Deadline()
	cfg := plain()
	cfg.Prefixes[0].Prefix = netip.Prefix{}
	if _, err := l.s.Reconfigure(l.now, cfg); err == nil {
		t.Fatal("an invalid configuration was taken")
	}
	if l.s.Config().Prefixes[0].Prefix != onePrefix || l.s.Deadline() != due {
		t.Error("it changed something")
	}
}

// RFC 9096 section 3.5: a prefix that disappeared is advertised with both lifetimes 0 and its A and L flags, for at least
// the valid lifetime that it had.
func TestPrefixThatDisappearsIsDeprecated(t *testing.T) {
	cfg := plain()
	cfg.Prefixes = []Prefix{DefaultPrefix(onePrefix), {Prefix: twoPrefix, Autonomous: true, Router: netip.MustParseAddr("2001:db8:2::1"),
		Valid: LimitValid, Preferred: LimitPreferred}}
	l := settled(t, cfg)
	gone := l.now
	l.reconfigure(plain())
	if len(l.sent) != 1 {
		t.Fatal("it was not told at once")
	}
	l.pass(LimitValid + 2*time.Hour)
	for _, a := range l.sent {
		p, told := a.prefix(twoPrefix)
		after := a.at.Sub(gone)
		switch {
		case after < LimitValid && !told:
			t.Errorf("after %v it is not told", after)
		case after > LimitValid && told:
			t.Errorf("after %v it is still told", after)
		case told && (p.Valid != 0 || p.Preferred != 0 || p.OnLink || !p.Autonomous || p.RouterAddress):
			t.Errorf("it is told as %+v", p)
		}
		if p, _ := a.prefix(onePrefix); p.Valid != 2592000 {
			t.Errorf("the other prefix is told as %+v", p)
		}
	}
	if len(l.s.held) != 1 {
		t.Errorf("%d prefixes are remembered, want 1", len(l.s.held))
	}
	// Hosts that ask are told, too, until the end and not after it.
	l.reconfigure(cfg)
	l.pass(100 * time.Second)
	l.reconfigure(plain())
	for _, told := range []bool{true, false} {
		l.pass(LimitValid - time.Second)
		l.sent = nil
		l.hear(solicit(hostLL, hostHW))
		l.pass(500 * time.Millisecond)
		for _, a := range l.sent {
			if _, ok := a.prefix(twoPrefix); ok != told && !a.multicast() {
				t.Errorf("a host that asked was told: %v, want %v", ok, told)
			}
		}
		l.pass(10 * time.Second)
	}
	// It comes back.
	l.reconfigure(cfg)
	l.pass(time.Second)
	if p, _ := l.last().prefix(twoPrefix); p.Valid != uint32(LimitValid/time.Second) || p.Preferred != 2700 || l.last().count(3) != 2 {
		t.Errorf("a prefix that is back is told as %+v", p)
	}
}

func TestPrefixThatWasNeverToldIsNotStale(t *testing.T) {
	l := started(t, plain())
	with := plain()
	with.Prefixes = append(with.Prefixes, DefaultPrefix(twoPrefix))
	l.reconfigure(with) // the rate limit holds it back
	l.reconfigure(plain())
	l.pass(time.Hour)
	for _, a := range l.sent {
		if _, ok := a.prefix(twoPrefix); ok {
			t.Fatal("it was told")
		}
	}
}

func TestPrefixThatOneHostWasToldIsStale(t *testing.T) {
	l := started(t, plain())
	with := plain()
	with.Prefixes = append(with.Prefixes, DefaultPrefix(twoPrefix))
	l.reconfigure(with) // the rate limit holds it back
	l.hear(solicit(hostLL, hostHW))
	l.pass(time.Second)
	if _, ok := l.last().prefix(twoPrefix); !ok || l.last().multicast() {
		t.Fatal("the host was not told")
	}
	l.reconfigure(plain())
	l.pass(10 * time.Second)
	if p, ok := l.last().prefix(twoPrefix); !ok || p.Valid != 0 {
		t.Error("the host is not told that the prefix is gone")
	}
}

func TestInfinitePrefixStaysStale(t *testing.T) {
	cfg := plain()
	cfg.Prefixes = append(cfg.Prefixes, Prefix{Prefix: twoPrefix, OnLink: true, Valid: Infinite, Preferred: Infinite})
	l := settled(t, cfg)
	l.reconfigure(plain())
	l.pass(90 * 24 * time.Hour)
	if p, ok := l.last().prefix(twoPrefix); !ok || p.Valid != 0 {
		t.Error("hosts may hold it for ever, but are not told any more")
	}
	for r := range l.s.Records {
		if r.Prefix == twoPrefix && !r.Until.IsZero() {
			t.Errorf("it is recorded until %v, want for ever", r.Until)
		}
	}
}

func TestStalePrefixesAreBounded(t *testing.T) {
	l := settled(t, plain())
	numbered := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0xff, byte(i >> 8), byte(i)}), 64)
	}
	const n = 200
	for i := range n {
		cfg := plain()
		cfg.Prefixes = append(cfg.Prefixes, DefaultPrefix(numbered(i)))
		l.reconfigure(cfg)
		l.pass(time.Minute)
	}
	if len(l.s.held) != maxHeld || l.counter("ra_stale_prefix_forgotten") != n+1-maxHeld {
		t.Errorf("%d are remembered, %d forgotten", len(l.s.held), l.counter("ra_stale_prefix_forgotten"))
	}
	// The newest are kept.
	found := false
	for _, a := range l.sent[len(l.sent)-3:] {
		_, ok := a.prefix(numbered(n - 2))
		found = found || ok
	}
	if !found {
		t.Error("the prefix that went last is not told as stale")
	}
}

// RFC 9096 section 3.5: also after bootstrapping, by what was recorded.
func TestStalePrefixOfAnEarlierProcess(t *testing.T) {
	cfg := plain()
	cfg.Prefixes = append(cfg.Prefixes, Prefix{Prefix: twoPrefix, OnLink: true, Valid: time.Hour, Preferred: time.Hour})
	earlier := settled(t, cfg)
	var records []Record
	for r := range earlier.s.Records {
		records = append(records, r)
	}
	if len(records) != 2 {
		t.Fatalf("%d records, want 2", len(records))
	}
	records = append(records, Record{Prefix: threePrefix, Until: begin()}) // no host holds it any more

	l := newLink(t, plain())
	l.now = earlier.now.Add(time.Minute)
	l.s.Restore(l.now, records)
	l.step(InStart)
	a := l.last()
	if p, ok := a.prefix(twoPrefix); !ok || p.Valid != 0 || p.Preferred != 0 || !p.OnLink || p.Autonomous {
		t.Errorf("the prefix of the earlier process is told as %+v", p)
	}
	if _, ok := a.prefix(threePrefix); ok {
		t.Error("a prefix that nobody holds is told")
	}
	if p, _ := a.prefix(onePrefix); p.Valid != 2592000 || a.count(3) != 2 {
		t.Errorf("the prefix in force is told as %+v", p)
	}
	l.pass(90 * time.Minute)
	if _, ok := l.last().prefix(twoPrefix); ok {
		t.Error("it is told longer than any host holds it")
	}
}

// RFC 4191 section 2.3, RFC 8106 section 5: lifetime zero says that it must not be used any more.
func TestRoutesAndNamesThatDisappearAreWithdrawn(t *testing.T) {
	full := everything(t)
	l := settled(t, full)
	less := everything(t)
	less.Routes, less.Search = full.Routes[:1], nil
	less.Servers = []Servers{{Addrs: []netip.Addr{oneRouter}, Lifetime: 1800 * time.Second}}
	l.reconfigure(less)
	l.pass(time.Hour)
	for i, a := range l.sent {
		withdrawn := make(map[uint8]int)
		options := a.Options
		for o, ok := options.Next(); ok; o, ok = options.Next() {
			if o.Type >= optRoute && [4]byte(o.Octets[4:8]) == [4]byte{} {
				withdrawn[o.Type]++
			}
		}
		want := map[uint8]int{optRoute: 2, optServers: 1, optSearch: 1}
		if i >= 3 {
			want = map[uint8]int{}
		}
		for typ := range map[uint8]bool{optRoute: true, optServers: true, optSearch: true} {
			if withdrawn[typ] != want[typ] {
				t.Errorf("advertisement %d withdraws %d options of type %d, want %d", i, withdrawn[typ], typ, want[typ])
			}
		}
	}
	// What comes back meanwhile is not withdrawn.
	l.reconfigure(full)
	l.pass(time.Minute)
	l.reconfigure(less)
	l.reconfigure(full)
	l.sent = nil
	l.pass(time.Minute)
	if got := l.last().count(optRoute); got != 3 || l.last().count(optServers) != 1 {
		t.Errorf("%d routes, want 3", got)
	}
}

// RFC 4861 section 6.2.8: a few advertisements from the old address with lifetime zero, and a few from the new.
func TestLinkLocalAddressChanges(t *testing.T) {
	cfg := everything(t)
	l := settled(t, cfg)
	cfg = everything(t)
	cfg.LinkLocal, cfg.Hardware = otherLL, otherHW
	l.reconfigure(cfg)
	l.pass(time.Hour)
	var old, now int
	for _, a := range l.sent {
		switch a.src {
		case routerLL:
			old++
			if a.Lifetime != 0 || a.HomeAgent || a.SourceLink != routerHW || a.option(6) != nil || a.count(3) != 0 {
				t.Errorf("from the old address comes %+v", a.RouterAdvert)
			}
			if route := a.option(optRoute); route == nil || [4]byte(route[4:8]) != [4]byte{} {
				t.Error("routes over the old address are not withdrawn (RFC 4191 section 4)")
			}
			if a.option(optServers) != nil {
				t.Error("DNS servers do not depend on the router's address")
			}
		case otherLL:
			now++
			if a.Lifetime != 9000 || a.SourceLink != otherHW {
				t.Errorf("from the new address comes %+v", a.RouterAdvert)
			}
		}
	}
	if old != 3 || now < 3 || l.sent[0].src != routerLL || l.sent[1].src != otherLL || l.sent[1].at != l.sent[0].at {
		t.Errorf("%d from the old address, %d from the new", old, now)
	}
	if l.counter("ra_sent_old_address") != 3 {
		t.Error("they were not counted")
	}
}

func TestLinkLocalAddressComesBack(t *testing.T) {
	l := settled(t, plain())
	cfg := plain()
	cfg.LinkLocal = otherLL
	l.reconfigure(cfg)
	l.pass(5 * time.Second)
	l.reconfigure(plain())
	l.sent = nil
	l.pass(time.Hour)
	old := 0
	for _, a := range l.sent {
		if a.src == routerLL && a.Lifetime == 0 {
			t.Fatal("the address in use is told to have ceased")
		}
		if a.src == otherLL {
			old++
		}
	}
	if old == 0 {
		t.Error("the address in between was not told to have ceased")
	}
	for i := range 100 {
		cfg.LinkLocal = netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: byte(i + 2)})
		l.reconfigure(cfg)
	}
	if len(l.s.leaving) > maxLeaving {
		t.Errorf("%d addresses are remembered", len(l.s.leaving))
	}
}

func TestReconfigureWhileSilent(t *testing.T) {
	l := newLink(t, plain())
	cfg := plain()
	cfg.LinkLocal = otherLL
	l.reconfigure(cfg)
	l.pass(time.Hour)
	if len(l.sent) != 0 {
		t.Fatal("a silent speaker spoke")
	}
	l.step(InStart)
	if l.last().src != otherLL || len(l.sent) != 1 {
		t.Error("the new configuration does not hold")
	}
}

// Any clock will do, one that began a moment ago too.
func TestRenewalIsNoChangeOnAYoungClock(t *testing.T) {
	until := func(d time.Duration) Config {
		cfg := plain()
		cfg.Prefixes[0].Valid, cfg.Prefixes[0].Preferred = Infinite, time.Hour
		cfg.Prefixes[0].ValidUntil = time.Time{}.Add(d)
		return cfg
	}
	l := newLink(t, until(2*time.Hour))
	l.now = time.Time{}.Add(time.Second)
	l.step(InStart)
	if len(l.sent) != 1 {
		t.Error("the first advertisement waits for a rate limit")
	}
	l.pass(settling)
	l.sent = nil
	l.reconfigure(until(3 * time.Hour))
	if len(l.sent) != 0 {
		t.Error("a renewed lifetime was told at once")
	}
}
