package advertise

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

func TestDefaultsAreThoseOfTheRFCs(t *testing.T) {
	cfg, wrong := plain().Complete()
	if len(wrong) != 0 {
		t.Fatal(wrong)
	}
	// RFC 4861 sections 6.2.1 and 10.
	for _, c := range []struct {
		what      string
		got, want time.Duration
	}{
		{"MaxRtrAdvInterval", cfg.MaxInterval, 600 * time.Second},
		{"MinRtrAdvInterval", cfg.MinInterval, 198 * time.Second},
		{"MIN_DELAY_BETWEEN_RAS", cfg.MinDelay, 3 * time.Second},
		{"AdvDefaultLifetime", cfg.RouterLifetime, 1800 * time.Second},
		{"AdvValidLifetime", cfg.Prefixes[0].Valid, 2592000 * time.Second},
		{"AdvPreferredLifetime", cfg.Prefixes[0].Preferred, 604800 * time.Second},
		{"AdvReachableTime", cfg.Reachable, 0},
		{"AdvRetransTimer", cfg.Retrans, 0},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", c.what, c.got, c.want)
		}
	}
	if cfg.HopLimit != 64 || cfg.MTU != 0 || cfg.Managed || cfg.Other || cfg.HomeAgent || !cfg.Prefixes[0].OnLink ||
		!cfg.Prefixes[0].Autonomous {
		t.Errorf("defaults are %+v", cfg)
	}
	if w := cfg.Warnings(); len(w) != 0 {
		t.Errorf("the defaults warn: %v", w)
	}
}

// LKE-AR-3: whatever is left to defaults, Maximum Lifetime exceeds neither lifetime.
func TestMaximumLifetimeDefaultsWithinTheOthers(t *testing.T) {
	for _, c := range []struct {
		what                  string
		set                   func(*Config)
		router, home, maximum time.Duration
	}{
		{"nothing set", func(*Config) {}, 7200, 0, 7200},
		{"a short router lifetime", func(c *Config) { c.RouterLifetime = 1800 * time.Second }, 1800, 0, 1800},
		{"a long router lifetime", func(c *Config) { c.RouterLifetime = 9000 * time.Second }, 9000, 0, 7200},
		{"a short home agent lifetime", func(c *Config) {
			c.HomeAgentInfo = &HomeAgentInfo{Lifetime: 600 * time.Second}
		}, 7200, 600, 600},
		{"a home agent lifetime by default", func(c *Config) { c.HomeAgentInfo = &HomeAgentInfo{Preference: 1} }, 7200, 7200, 7200},
		{"a longer maximum", func(c *Config) { c.Capability.MaximumLifetime = 8000 * time.Second }, 8000, 0, 8000},
		{"a shorter maximum", func(c *Config) { c.Capability.MaximumLifetime = 60 * time.Second }, 1800, 0, 60},
	} {
		cfg := mobile(t)
		c.set(&cfg)
		got, wrong := cfg.Complete()
		if len(wrong) != 0 {
			t.Errorf("%s: %v", c.what, wrong)
			continue
		}
		if got.RouterLifetime != c.router*time.Second || got.Capability.MaximumLifetime != c.maximum*time.Second {
			t.Errorf("%s: router lifetime %v and maximum %v, want %d s and %d s", c.what, got.RouterLifetime,
				got.Capability.MaximumLifetime, c.router, c.maximum)
		}
		if c.home != 0 && got.HomeAgentInfo.Lifetime != c.home*time.Second {
			t.Errorf("%s: home agent lifetime %v, want %d s", c.what, got.HomeAgentInfo.Lifetime, c.home)
		}
	}
}

func TestIntervalsAtTheLimits(t *testing.T) {
	for _, c := range []struct{ longest, shortest, delay, wantShortest time.Duration }{
		{70 * time.Millisecond, 30 * time.Millisecond, 30 * time.Millisecond, 30 * time.Millisecond}, // RFC 6275 section 7.5
		{1800 * time.Second, 1350 * time.Second, 3 * time.Second, 1350 * time.Second},
		{4 * time.Second, 0, 0, 3 * time.Second},
		{8 * time.Second, 0, 0, 6 * time.Second},
		{10 * time.Second, 0, 0, 3300 * time.Millisecond},
	} {
		cfg := plain()
		cfg.MaxInterval, cfg.MinInterval, cfg.MinDelay = c.longest, c.shortest, c.delay
		got, wrong := cfg.Complete()
		if len(wrong) != 0 || got.MinInterval != c.wantShortest {
			t.Errorf("%v to %v: %v, shortest %v, want %v", c.shortest, c.longest, wrong, got.MinInterval, c.wantShortest)
		}
	}
}

func TestWrongConfigurationsAreRefusedWithWhatIsRight(t *testing.T) {
	prefix := func(text string) netip.Prefix { return netip.MustParsePrefix(text) }
	for _, c := range []struct {
		what  string
		set   func(*Config)
		field string
		right string
	}{
		{"LKE-AR-2: capability without H", func(c *Config) { c.HomeAgent = false }, "Capability", "set HomeAgent"},
		{"LKE-AR-3: maximum over the router's lifetime", func(c *Config) {
			c.RouterLifetime, c.Capability.MaximumLifetime = 1800*time.Second, 7200*time.Second
		}, "Capability.MaximumLifetime", "give 30m0s or less, or a router lifetime of 2h0m0s"},
		{"LKE-AR-3: maximum over the home agent's lifetime", func(c *Config) {
			c.HomeAgentInfo = &HomeAgentInfo{Lifetime: 1800 * time.Second}
			c.Capability.MaximumLifetime = 7200 * time.Second
		}, "Capability.MaximumLifetime", "give 30m0s or less, or a home agent lifetime of 2h0m0s"},
		{"LKE-AR-3: infinite", func(c *Config) { c.Capability.MaximumLifetime = Infinite },
			"Capability.MaximumLifetime", "give 2h30m0s or less"},
		{"LKE-AR-3: over any router's", func(c *Config) {
			c.RouterLifetime, c.Capability.MaximumLifetime = Default, 10000*time.Second
		}, "Capability.MaximumLifetime", "give 2h30m0s or less"},
		{"LKE-AR-3: all ones", func(c *Config) { c.Capability.MaximumLifetime = 65535 * time.Second },
			"Capability.MaximumLifetime", "give 2h30m0s or less"},
		{"LKE-AR-3: no router lifetime", func(c *Config) { c.RouterLifetime = 0 }, "Capability", "7200s is recommended"},
		{"LKE-AR-4: too short to grant", func(c *Config) { c.Capability.MaximumLifetime = time.Second },
			"Capability.MaximumLifetime", "7200s is recommended"},
		{"LKE-AR-4: key of 512 bits", func(c *Config) {
			c.Capability.PublicKey = unhex(t, "305c300d06092a864886f70d0101010500034b003048024100"+strings.Repeat("c5", 64)+"0203010001")
		}, "Capability.PublicKey", "roamkeyd keygen"},
		{"no key", func(c *Config) { c.Capability.PublicKey = nil }, "Capability.PublicKey", "roamkeyd keygen"},
		{"octets after the key", func(c *Config) { c.Capability.PublicKey = append(vectorKey(t), 0) },
			"Capability.PublicKey", "alone"},
		{"capability under another option's number", func(c *Config) { c.CodePoints.Capability = 8 },
			"CodePoints.Capability", "give 6"},
		{"home agent information without H", func(c *Config) {
			c.HomeAgent, c.Capability, c.HomeAgentInfo = false, nil, &HomeAgentInfo{}
		}, "HomeAgentInfo", "set HomeAgent"},
		{"home agent lifetime 0", func(c *Config) {
			c.Capability, c.RouterLifetime, c.HomeAgentInfo = nil, 0, &HomeAgentInfo{}
		}, "HomeAgentInfo.Lifetime", "1s to 65535s"},
		{"no link", func(c *Config) { c.Interface = 0 }, "Interface", "index"},
		{"group address", func(c *Config) { c.Hardware = ipv6.LinkAddr{1} }, "Hardware", "own hardware address"},
		{"global source", func(c *Config) { c.LinkLocal = oneRouter }, "LinkLocal", "fe80::"},
		{"zone", func(c *Config) { c.LinkLocal = routerLL.WithZone("lan") }, "LinkLocal", "without a zone"},
		{"link MTU", func(c *Config) { c.LinkMTU = 1279 }, "LinkMTU", "1280"},
		{"reserve", func(c *Config) { c.Reserve = -1 }, "Reserve", "0 or more"},
		{"MTU under 1280", func(c *Config) { c.MTU = 1279 }, "MTU", "1280 to 1500"},
		{"MTU over the link's", func(c *Config) { c.MTU = 1501 }, "MTU", "1280 to 1500"},
		{"reserved preference", func(c *Config) { c.Preference = 2 }, "Preference", "low, medium or high"},
		{"interval under 70 ms", func(c *Config) { c.MaxInterval, c.MinDelay = 69*time.Millisecond, 30*time.Millisecond },
			"MaxInterval", "70ms to 30m"},
		{"interval over 1800 s", func(c *Config) { c.MaxInterval = 1801 * time.Second }, "MaxInterval", "70ms to 30m"},
		{"shortest under 30 ms", func(c *Config) { c.MinInterval, c.MinDelay = 29*time.Millisecond, 29*time.Millisecond },
			"MinInterval", "30ms to 7m30s"},
		{"shortest over 0.75 of the longest", func(c *Config) { c.MinInterval = 451 * time.Second }, "MinInterval", "to 7m30s"},
		{"fast without a lower delay", func(c *Config) { c.MaxInterval = time.Second }, "MinDelay", "give 750ms or less"},
		{"delay over the shortest interval", func(c *Config) { c.MinDelay = 199 * time.Second }, "MinDelay", "give 3m18s or less"},
		{"delay under 30 ms", func(c *Config) { c.MinDelay = 29 * time.Millisecond }, "MinDelay", "30ms"},
		{"lifetime under the interval", func(c *Config) { c.RouterLifetime, c.Capability = 599*time.Second, nil },
			"RouterLifetime", "0 (no default router) or 10m0s to 2h30m0s"},
		{"lifetime over 9000 s", func(c *Config) { c.RouterLifetime = 9001 * time.Second }, "RouterLifetime", "2h30m0s"},
		{"reachable", func(c *Config) { c.Reachable = 3600001 * time.Millisecond }, "Reachable", "1h"},
		{"retrans", func(c *Config) { c.Retrans = -time.Second }, "Retrans", "0 (unspecified)"},
		{"IPv4 prefix", func(c *Config) { c.Prefixes[0] = DefaultPrefix(prefix("192.0.2.0/24")) }, "Prefixes[0].Prefix", "2001:db8:1::/64"},
		{"no prefix at all", func(c *Config) { c.Prefixes[0] = DefaultPrefix(netip.Prefix{}) }, "Prefixes[0].Prefix", "2001:db8:1::/64"},
		{"bits behind the prefix", func(c *Config) { c.Prefixes[0] = DefaultPrefix(prefix("2001:db8:1::1/64")) },
			"Prefixes[0].Prefix", "give 2001:db8:1::/64"},
		{"link-local prefix", func(c *Config) { c.Prefixes[0] = DefaultPrefix(prefix("fe80::/64")) }, "Prefixes[0].Prefix", "leave it out"},
		{"multicast prefix", func(c *Config) { c.Prefixes[0] = DefaultPrefix(prefix("ff02::/64")) }, "Prefixes[0].Prefix", "unicast"},
		{"the whole internet on link", func(c *Config) { c.Prefixes[0] = DefaultPrefix(prefix("::/0")) }, "Prefixes[0].Prefix", "route"},
		{"prefix twice", func(c *Config) { c.Prefixes = append(c.Prefixes, c.Prefixes[0]) }, "Prefixes[1].Prefix", "once"},
		{"router address elsewhere", func(c *Config) { c.Prefixes[0].Router = netip.MustParseAddr("2001:db8:2::1") },
			"Prefixes[0].Router", "own address in 2001:db8:1::/64"},
		{"router address for all routers", func(c *Config) { c.Prefixes[0].Router = onePrefix.Addr() }, "Prefixes[0].Router", "alone"},
		{"preferred over valid", func(c *Config) { c.Prefixes[0].Valid, c.Prefixes[0].Preferred = time.Hour, 2*time.Hour },
			"Prefixes[0].Preferred", "give 1h0m0s or less"},
		{"negative lifetime", func(c *Config) { c.Prefixes[0].Valid, c.Prefixes[0].Preferred = -time.Hour, -2*time.Hour },
			"Prefixes[0].Valid", "infinite"},
		{"all ones by the second", func(c *Config) { c.Prefixes[0].Valid = (1<<32 - 1) * time.Second }, "Prefixes[0].Valid", "infinite"},
		{"33 prefixes", func(c *Config) { c.Prefixes = make([]Prefix, 33) }, "Prefixes", "32 or fewer"},
		{"18 routes", func(c *Config) { c.Routes = make([]Route, 18) }, "Routes", "17 or fewer"},
		{"route twice", func(c *Config) { c.Routes = []Route{{Prefix: twoPrefix}, {Prefix: twoPrefix}} }, "Routes[1].Prefix", "once"},
		{"route with a reserved preference", func(c *Config) { c.Routes = []Route{{Prefix: twoPrefix, Preference: 2}} },
			"Routes[0].Preference", "low, medium or high"},
		{"route lifetime", func(c *Config) { c.Routes = []Route{{Prefix: twoPrefix, Lifetime: -5}} }, "Routes[0].Lifetime", "infinite"},
		{"server on IPv4", func(c *Config) { c.Servers = []Servers{{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}} },
			"Servers[0].Addrs", "unicast IPv6"},
		{"server with a zone", func(c *Config) { c.Servers = []Servers{{Addrs: []netip.Addr{routerLL.WithZone("lan")}}} },
			"Servers[0].Addrs", "without a zone"},
		{"server twice", func(c *Config) { c.Servers = []Servers{{Addrs: []netip.Addr{oneRouter, oneRouter}}} }, "Servers[0].Addrs", "once"},
		{"no server", func(c *Config) { c.Servers = []Servers{{}} }, "Servers[0].Addrs", "one address"},
		{"no domain", func(c *Config) { c.Search = []Search{{}} }, "Search[0].Domains", "one domain"},
		{"empty label", func(c *Config) { c.Search = []Search{{Domains: []string{"a..example"}}} }, "Search[0].Domains", "labels of 1 to 63"},
		{"long label", func(c *Config) { c.Search = []Search{{Domains: []string{strings.Repeat("a", 64)}}} }, "Search[0].Domains", "63"},
		{"long name", func(c *Config) { c.Search = []Search{{Domains: []string{strings.Repeat("abc.", 64)}}} }, "Search[0].Domains", "63"},
		{"root", func(c *Config) { c.Search = []Search{{Domains: []string{"."}}} }, "Search[0].Domains", "63"},
		{"not ASCII", func(c *Config) { c.Search = []Search{{Domains: []string{"bücher.example"}}} }, "Search[0].Domains", "xn--"},
		{"domain twice", func(c *Config) { c.Search = []Search{{Domains: []string{"a.example", "A.Example."}}} }, "Search[0].Domains", "once"},
	} {
		cfg := mobile(t)
		cfg.RouterLifetime = 9000 * time.Second
		if _, wrong := cfg.Complete(); len(wrong) != 0 {
			t.Fatalf("the configuration to be broken is broken: %v", wrong)
		}
		c.set(&cfg)
		_, wrong := cfg.Complete()
		at := slices.IndexFunc(wrong, func(p Problem) bool { return p.Field == c.field })
		if at < 0 || !strings.Contains(wrong[at].Right, c.right) || strings.HasPrefix(c.field, "Capability") && len(wrong) != 1 {
			t.Errorf("%s: problems are %v, want one of %s that says %q", c.what, wrong, c.field, c.right)
			continue
		}
		if _, err := NewSpeaker(cfg); err == nil || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s: NewSpeaker says %v", c.what, err)
		}
	}
}

func TestRandomnessMustBeGiven(t *testing.T) {
	cfg := plain()
	cfg.Rand = nil
	if _, err := NewSpeaker(cfg); err == nil || !strings.Contains(err.Error(), "Rand") {
		t.Errorf("NewSpeaker says %v", err)
	}
	if _, wrong := cfg.Complete(); len(wrong) != 0 {
		t.Errorf("a check of the configuration needs no randomness, but finds %v", wrong)
	}
}

func TestCompleteLeavesItsInputAlone(t *testing.T) {
	cfg := everything(t)
	cfg.Prefixes[1].Valid, cfg.Routes[2].Lifetime, cfg.Search[0].Lifetime = Default, Default, Default
	cfg.Capability.MaximumLifetime, cfg.HomeAgentInfo.Lifetime = 0, 0
	if _, wrong := cfg.Complete(); len(wrong) != 1 { // infinite preferred over a default of 30 days
		t.Fatal(wrong)
	}
	if cfg.Prefixes[1].Valid != Default || cfg.Routes[2].Lifetime != Default || cfg.Search[0].Lifetime != Default ||
		cfg.Capability.MaximumLifetime != 0 || cfg.HomeAgentInfo.Lifetime != 0 {
		t.Error("Complete wrote to what it was given")
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		what  string
		set   func(*Config)
		field string
	}{
		{"no address to tell", func(c *Config) { c.Prefixes[0].Router = netip.Addr{} }, "Prefixes"},
		{"LKE-AR-4: keys renewed often", func(c *Config) { c.Capability.MaximumLifetime = time.Minute }, "Capability.MaximumLifetime"},
		{"no autoconfiguration", func(c *Config) {
			c.Prefixes = append(c.Prefixes, DefaultPrefix(netip.MustParsePrefix("2001:db8:3::/48")))
		},
			"Prefixes[1].Prefix"},
		{"servers forgotten early", func(c *Config) {
			c.Servers = []Servers{{Addrs: []netip.Addr{oneRouter}, Lifetime: 600 * time.Second}}
		}, "Servers[0].Lifetime"},
	} {
		cfg := mobile(t)
		c.set(&cfg)
		complete, wrong := cfg.Complete()
		if len(wrong) != 0 {
			t.Fatalf("%s: %v", c.what, wrong)
		}
		if w := complete.Warnings(); len(w) != 1 || w[0].Field != c.field || w[0].Right == "" {
			t.Errorf("%s: warnings are %v, want one of %s", c.what, w, c.field)
		}
	}
}
