package advertise

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// neighbour is another router on the link that says nothing that contradicts plain().
func neighbour() Config {
	cfg := plain()
	cfg.LinkLocal, cfg.Hardware = otherLL, otherHW
	cfg.Rand = rand.NewChaCha8([32]byte{2})
	return cfg
}

func TestAnotherRouterIsReportedOncePerInterval(t *testing.T) {
	l := settled(t, plain())
	due := l.s.Deadline()
	heard := heardFrom(t, neighbour(), l.now)
	for range 100 {
		l.hear(heard)
	}
	if len(l.reports) != 1 {
		t.Fatalf("%d reports, want 1: %+v", len(l.reports), l.reports)
	}
	want := Event{Kind: EventOtherRouter, Link: linkIndex, Router: otherLL, Hardware: otherHW, Detail: "router lifetime 1800 s"}
	if l.reports[0] != want {
		t.Errorf("reported was %+v, want %+v", l.reports[0], want)
	}
	if l.s.Deadline() != due || len(l.sent) != 0 { // RFC 4861 section 6.2.7: any other action is beyond its scope
		t.Error("another router's advertisement changed what we send")
	}
	if l.counter("ra_heard") != 100 {
		t.Error("it was not counted")
	}
	for range 6 {
		l.pass(30 * time.Minute)
		l.hear(heard)
	}
	if len(l.reports) != 4 {
		t.Errorf("%d reports in three hours, want 4", len(l.reports))
	}
	n := 0
	for o := range l.s.Others {
		n++
		if o.Router != otherLL || o.Hardware != otherHW || o.Adverts != 106 || o.First != begin().Add(settling) || o.Last != l.now {
			t.Errorf("status has %+v", o)
		}
	}
	if n != 1 {
		t.Errorf("status has %d routers", n)
	}
}

func TestOwnAdvertisementsAreIgnored(t *testing.T) {
	l := settled(t, plain())
	l.hear(heardFrom(t, plain(), l.now))
	cfg := plain()
	cfg.LinkLocal = otherLL
	l.reconfigure(cfg)
	l.hear(heardFrom(t, plain(), l.now)) // from the address just given up
	if len(l.reports) != 0 || l.counter("ra_own") != 2 || l.counter("ra_heard") != 0 {
		t.Errorf("reports %+v, %d counted", l.reports, l.counter("ra_own"))
	}
}

func TestForgedAdvertisementsFromOurAddressAreReported(t *testing.T) {
	l := settled(t, plain())
	forged := heardFrom(t, plain(), l.now)
	forged.LinkSource = otherHW
	for range 10 {
		l.hear(forged)
	}
	if len(l.reports) != 1 || l.reports[0].Kind != EventImpersonated || l.reports[0].Hardware != otherHW {
		t.Errorf("reports %+v", l.reports)
	}
	if l.counter("ra_impersonated") != 10 {
		t.Error("they were not counted")
	}
	l.now = l.now.Add(time.Hour)
	l.hear(forged)
	if len(l.reports) != 2 {
		t.Error("it is not reported again after the interval")
	}
}

// RFC 4861 section 6.2.7: each thing that routers must agree on; unspecified values agree with all.
func TestContradictionsAreReported(t *testing.T) {
	ours := func() Config {
		cfg := plain()
		cfg.Reachable, cfg.Retrans, cfg.MTU = 30*time.Second, time.Second, 1400
		cfg.Prefixes = append(cfg.Prefixes, Prefix{
			Prefix: twoPrefix, Valid: LimitValid, Preferred: LimitPreferred,
			ValidUntil: begin().Add(time.Hour), PreferredUntil: begin().Add(30 * time.Minute),
		})
		return cfg
	}
	for _, c := range []struct {
		what   string
		set    func(*Config)
		want   Conflict
		detail string
	}{
		{"the same", func(c *Config) {}, 0, ""},
		{"all unspecified", func(c *Config) { c.HopLimit, c.Reachable, c.Retrans, c.MTU, c.Prefixes = 0, 0, 0, 0, nil }, 0, ""},
		{"other prefixes", func(c *Config) { c.Prefixes = []Prefix{DefaultPrefix(threePrefix)} }, 0, ""},
		{"router lifetime", func(c *Config) { c.RouterLifetime = 0 }, 0, ""},
		{"hop limit", func(c *Config) { c.HopLimit = 32 }, ConflictHopLimit, "hop limit: 64 here, 32 there"},
		{"M", func(c *Config) { c.Managed = true }, ConflictManaged, "M flag: false here, true there"},
		{"O", func(c *Config) { c.Other = true }, ConflictOther, "O flag: false here, true there"},
		{"reachable time", func(c *Config) { c.Reachable = time.Second }, ConflictReachable, "reachable time in ms: 30000 here, 1000 there"},
		{"retrans timer", func(c *Config) { c.Retrans = 2 * time.Second }, ConflictRetrans, "retrans timer in ms: 1000 here, 2000 there"},
		{"MTU", func(c *Config) { c.MTU = 1500 }, ConflictMTU, "MTU: 1400 here, 1500 there"},
		{"valid lifetime", func(c *Config) { c.Prefixes[0].Valid = 2591999 * time.Second }, ConflictValid,
			"valid lifetime of 2001:db8:1::/64 in s: 2592000 here, 2591999 there"},
		{"preferred lifetime", func(c *Config) { c.Prefixes[0].Preferred = 0 }, ConflictPreferred,
			"preferred lifetime of 2001:db8:1::/64 in s: 604800 here, 0 there"},
		{"an end within the skew", func(c *Config) {
			c.Prefixes[1].ValidUntil = begin().Add(time.Hour + 30*time.Second)
		}, 0, ""},
		{"an end beyond the skew", func(c *Config) {
			c.Prefixes[1].ValidUntil = begin().Add(time.Hour + 90*time.Second)
		}, ConflictValid, "valid lifetime of 2001:db8:2::/64 in s: 3560 here, 3650 there"},
	} {
		l := settled(t, ours())
		there := ours()
		there.LinkLocal, there.Hardware = otherLL, otherHW
		c.set(&there)
		heard := heardFrom(t, there, l.now)
		l.hear(heard)
		l.hear(heard)
		var got Conflict
		for o := range l.s.Others {
			got = o.Conflicts
		}
		if got != c.want {
			t.Errorf("%s: conflicts are %b, want %b", c.what, got, c.want)
		}
		if c.want == 0 {
			if len(l.reports) != 1 {
				t.Errorf("%s: reports are %+v", c.what, l.reports)
			}
			continue
		}
		if len(l.reports) != 2 || l.reports[1].Kind != EventConflict || l.reports[1].Detail != c.detail || l.reports[1].Router != otherLL {
			t.Errorf("%s: reports are %+v, want %q once", c.what, l.reports, c.detail)
		}
		if l.counter("ra_conflicting") != 2 {
			t.Errorf("%s: counted %d", c.what, l.counter("ra_conflicting"))
		}
		// The same again after the interval.
		for range 2 {
			l.now = l.now.Add(30 * time.Minute)
			l.hear(heard)
		}
		again := 0
		for _, r := range l.reports[2:] {
			if r.Kind == EventConflict && strings.HasPrefix(r.Detail, c.detail[:5]) {
				again++
			}
		}
		if again == 0 {
			t.Errorf("%s: not reported again: %+v", c.what, l.reports)
		}
	}
}

func TestPrefixThatIsStaleHereAndInForceThere(t *testing.T) {
	cfg := plain()
	cfg.Prefixes = append(cfg.Prefixes, DefaultPrefix(twoPrefix))
	l := settled(t, cfg)
	l.reconfigure(plain())
	there := neighbour()
	there.Prefixes = append(there.Prefixes, DefaultPrefix(twoPrefix))
	l.hear(heardFrom(t, there, l.now))
	if len(l.reports) != 3 || !strings.Contains(l.reports[1].Detail, "2001:db8:2::/64 in s: 0 here, 2592000 there") {
		t.Errorf("reports are %+v", l.reports)
	}
}

// Forged advertisements from 10,000 addresses: the table and the reports are bounded, and a known router stays known.
func TestFloodOfForgedAdvertisements(t *testing.T) {
	l := settled(t, plain())
	l.hear(heardFrom(t, neighbour(), l.now))
	for i := range 10_000 {
		cfg := neighbour()
		cfg.LinkLocal, cfg.Hardware = host(i)
		cfg.HopLimit = 1
		l.hear(heardFrom(t, cfg, l.now))
	}
	if len(l.reports) > maxReports || len(l.s.others.table) > maxOthers {
		t.Errorf("%d reports, %d routers", len(l.reports), len(l.s.others.table))
	}
	if l.counter("ra_routers_table_full") == 0 || l.counter("ra_reports_suppressed") == 0 {
		t.Error("what was dropped was not counted")
	}
	known := false
	for o := range l.s.Others {
		known = known || o.Router == otherLL
	}
	if !known {
		t.Error("the router heard first was forgotten")
	}
	// An hour later the forged ones are gone and a new router is seen.
	l.now = l.now.Add(time.Hour)
	l.reports = nil
	l.hear(heardFrom(t, neighbour(), l.now))
	cfg := neighbour()
	cfg.LinkLocal = netip.MustParseAddr("fe80::cc")
	l.hear(heardFrom(t, cfg, l.now))
	if len(l.reports) != 2 {
		t.Errorf("reports are %+v", l.reports)
	}
}

// RFC 4861 section 6.1.2: each invalid advertisement is dropped under its reason.
func TestInvalidAdvertisements(t *testing.T) {
	good := func() *ipv6.Packet { return heardFrom(t, neighbour(), begin()) }
	body := good().Payload
	from := func(src netip.Addr, change func([]byte) []byte) *ipv6.Packet {
		msg := change(append([]byte(nil), body...))
		ndp.FixChecksum(msg, src, ipv6.AllNodes())
		return packet(src, ipv6.AllNodes(), otherHW, msg)
	}
	same := func(b []byte) []byte { return b }
	hops := good()
	hops.HopLimit = 64
	sum := good()
	sum.Payload[5] ^= 1
	for _, c := range []struct {
		counter string
		p       *ipv6.Packet
	}{
		{"ra_bad_hop_limit", hops},
		{"ra_bad_checksum", sum},
		{"ra_bad_source", from(netip.MustParseAddr("2001:db8:1::2"), same)},
		{"ra_bad_code", from(otherLL, func(b []byte) []byte { b[1] = 1; return b })},
		{"ra_bad_length", from(otherLL, func(b []byte) []byte { return b[:15] })},
		{"ra_bad_option", from(otherLL, func(b []byte) []byte { b[17] = 0; return b })},
		{"ra_bad_option", from(otherLL, func(b []byte) []byte { return b[:len(b)-8] })},
	} {
		l := settled(t, plain())
		l.hear(c.p)
		if l.counter(c.counter) != 1 || l.counter("ra_heard") != 0 || len(l.reports) != 0 || len(l.s.others.table) != 0 {
			t.Errorf("%s: counted %d, reports %+v", c.counter, l.counter(c.counter), l.reports)
		}
		if n := testing.AllocsPerRun(10, func() { l.s.Step(l.now, Input{Kind: InPacket, Packet: c.p}) }); n > 0 {
			t.Errorf("%s: a dropped packet allocates %v times", c.counter, n)
		}
	}
}

func TestCounterNamesAreUnique(t *testing.T) {
	seen := make(map[string]bool)
	l := newLink(t, plain())
	l.s.Counters(func(name string, _ uint64) {
		if seen[name] || strings.ToLower(name) != name || strings.Contains(name, " ") {
			t.Errorf("counter %q", name)
		}
		seen[name] = true
	})
	if !seen["rs_bad_checksum"] || !seen["ra_bad_checksum"] {
		t.Error("the reasons are missing")
	}
}
