package config

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// badFiles gives the cases of testdata/bad.txt: a name, the text of a file, and every error that it is to have.
func badFiles(t *testing.T) map[string][2]string {
	t.Helper()
	text, err := os.ReadFile("testdata/bad.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases := make(map[string][2]string)
	for _, c := range strings.Split(strings.TrimPrefix("\n"+string(text), "\n=== "), "\n=== ") {
		name, rest, _ := strings.Cut(c, "\n")
		conf, want, ok := strings.Cut("\n"+rest, "\n---\n")
		if !ok {
			t.Fatalf("case %q has no ---", name)
		}
		cases[name] = [2]string{strings.TrimPrefix(conf, "\n"), strings.TrimSpace(want)}
	}
	return cases
}

func TestEveryErrorOfABadFile(t *testing.T) {
	cases := badFiles(t)
	if len(cases) < 45 {
		t.Fatalf("only %d cases", len(cases))
	}
	for name, c := range cases {
		_, problems := Parse("roamkey", c[0])
		if got := problems.Error(); got != c[1] {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c[1])
		}
	}
}

const smallest = "config link 'lan'\n\toption device 'br-lan'\n"

// parse is for texts without a problem.
func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, problems := Parse("roamkey", text)
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	return c
}

func TestDefaults(t *testing.T) {
	c := parse(t, smallest)
	wantGlobal := Global{
		StateDir: "/var/run/roamkey", Control: "/var/run/roamkey/control.sock", LKEKey: "/etc/roamkey/lke.key", User: "roamkey",
		LogLevel: slog.LevelInfo, Tunnel: "auto", TunnelDevice: "rktun0", Queue: 64,
	}
	if c.Global != wantGlobal {
		t.Errorf("global %+v", c.Global)
	}
	const second = time.Second
	wantLKE := LKE{
		MaxLifetime: 7200 * second, RequestInterval: 3 * second, RequestBackoffMax: 48 * second, DADTransmits: 1, RetransTimer: second,
		RequestFinished: true, FinishedTimeout: 3 * second, MaxBinding: 7200 * second, Padding: "pkcs1", KeyBits: 2048,
	}
	if c.LKE != wantLKE {
		t.Errorf("lke %+v", c.LKE)
	}
	wantLink := Link{
		Name: "lan", Device: "br-lan", LKE: true, KeyLifetime: 7200 * second, Position: Position{"roamkey", 1},
		RA: RA{
			Enabled: true, MaxInterval: 600 * second, MinInterval: 198 * second, MinDelay: 3 * second, HopLimit: 64, Lifetime: 9000 * second,
			MTU: MTUAuto, PrefixesFromDevice: true, PrefixValid: 5400 * second, PrefixPreferred: 2700 * second, DNSLifetime: 1800 * second,
		},
	}
	if !reflect.DeepEqual(c.Links, []Link{wantLink}) {
		t.Errorf("links %+v", c.Links)
	}
	if n := c.CodePoints; n.Mobility.KeyExchangeRequest != 8 || n.Mobility.OptFinishedRequest != 6 || n.ND.AuthReply != 8 {
		t.Errorf("code points %+v", n)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings %v", c.Warnings)
	}
}

func TestSettingsReachTheirFields(t *testing.T) {
	c := parse(t, `
config roamkey
	option state_dir '/tmp/rk'
	option log_level 'debug'
	option tunnel 'tun'
	option tunnel_mtu '1400'
	option workers '3'
	option max_nodes '77'
config link 'lan'
	option device 'br-lan'
	option allow_hidden_dad 'on'
	option ra_max_interval '1.5'
	option managed '1'
	option other 'yes'
	option lifetime '30m'
	option preference 'high'
	option reachable_time '30s'
	option retrans_timer '250ms'
	option mtu '0'
	list prefix '2001:db8:1::/64'
	list prefix '2001:db8:2::/64 valid=infinity preferred=1d onlink=0'
	list prefix 'fd00::/56 auto=0 valid=10m'
	list router_address '2001:db8:2::9'
	list dns 'fe80::53'
	list domain 'LAN.example.org.'
	list route '2001:db8:8000::/33 lifetime=1h preference=low'
	list route '::/0'
	option home_agent_preference '9'
	option home_agent_lifetime '20m'
	option advertisement_interval '1'
config link 'off'
	option device 'br-lan'
	option enabled '0'
config neighbor 'up'
	option address '2001:db8:9::1'
	list prefix '2001:db8:9::/64'
	list prefix '2001:db8:a::/64'
config codepoints
	option nd_capability '200'
config lke
	option request_finished '0'
`)
	if c.Global.Control != "/tmp/rk/control.sock" || c.Global.LogLevel != slog.LevelDebug || c.Global.Tunnel != "tun" || c.Global.TunnelMTU != 1400 || c.Global.Workers != 3 {
		t.Errorf("%+v", c.Global)
	}
	if c.Global.NodeLimit(1) != 77 {
		t.Error("max_nodes does not count")
	}
	const second = time.Second
	want := RA{
		Enabled: true, MaxInterval: 1500 * time.Millisecond, MinInterval: 1125 * time.Millisecond, MinDelay: 1125 * time.Millisecond, HopLimit: 64,
		Managed: true, Other: true, Lifetime: 1800 * second, Preference: High, ReachableTime: 30 * second, RetransTimer: 250 * time.Millisecond,
		HomeAgentPreference: 9, HomeAgentLifetime: 1200 * second, AdvertisementInterval: true,
		Prefixes: []Prefix{
			{netip.MustParsePrefix("2001:db8:1::/64"), 5400 * second, 2700 * second, true, true},
			{netip.MustParsePrefix("2001:db8:2::/64"), Forever, 86400 * second, false, true},
			{netip.MustParsePrefix("fd00::/56"), 600 * second, 600 * second, true, false},
		},
		PrefixValid: 5400 * second, PrefixPreferred: 2700 * second, RouterAddresses: []netip.Addr{netip.MustParseAddr("2001:db8:2::9")},
		DNS: []netip.Addr{netip.MustParseAddr("fe80::53")}, Domains: []string{"lan.example.org"}, DNSLifetime: 4 * second,
		Routes: []Route{
			{netip.MustParsePrefix("2001:db8:8000::/33"), 3600 * second, Low},
			{netip.MustParsePrefix("::/0"), 1800 * second, Medium},
		},
	}
	if len(c.Links) != 1 || !reflect.DeepEqual(c.Links[0].RA, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c.Links[0].RA, want)
	}
	if !c.Links[0].AllowHiddenDAD || len(c.Neighbors) != 1 || len(c.Neighbors[0].Prefixes) != 2 || c.CodePoints.ND.Capability != 200 || c.LKE.RequestFinished {
		t.Errorf("%+v", c)
	}
}

// TestKeyLifetimeIsBounded (LKE-AR-3): the capability promises no more than the router and home agent lifetimes do.
func TestKeyLifetimeIsBounded(t *testing.T) {
	for _, row := range []struct {
		options string
		want    time.Duration
		warning string
	}{
		{"", 7200 * time.Second, ""},
		{"\toption lifetime '1800'\n", 1800 * time.Second, "roamkey:3: link lan, option lifetime: keys live 30m here and not 2h, for they end with the router's lifetimes: write at least '2h' there, or a lower max_lifetime"},
		{"\toption home_agent_lifetime '900'\n", 900 * time.Second, "roamkey:3: link lan, option home_agent_lifetime: keys live 15m here and not 2h, for they end with the router's lifetimes: write at least '2h' there, or a lower max_lifetime"},
	} {
		c := parse(t, smallest+row.options)
		if c.Links[0].KeyLifetime != row.want || c.Warnings.Error() != row.warning {
			t.Errorf("%q: %v, %v", row.options, c.Links[0].KeyLifetime, c.Warnings)
		}
	}
}

func TestWarnings(t *testing.T) {
	for text, want := range map[string]string{
		"config link 'lan'\n\toption device 'a'\n\toption enabled '0'\n": "roamkey: no link is enabled, so that nothing is served: set enabled '1' under a link",
		smallest + "\toption lke '0'\n\toption ra '0'\n":                 "roamkey:1: link lan: both ra and lke are off, so that nothing is done here: set enabled '0', or leave the section out",
		smallest + "\toption lke '0'\n\toption allow_hidden_dad '1'\n":   "roamkey:4: link lan, option allow_hidden_dad: it has no effect where lke is off: leave it out, or set lke '1'",
		smallest + "\toption dns_lifetime '60'\n":                        "roamkey:3: link lan, option dns_lifetime: name servers are forgotten before the next advertisement may come: write at least '30m'",
		smallest + "config lke\n\toption request_finished '0'\n":         "roamkey:4: lke, option request_finished: without the Finished message nobody proves that a node is at the address that its packets go to: leave it on, unless nodes cannot send that message",
	} {
		c := parse(t, text)
		if got := c.Warnings.Error(); got != want {
			t.Errorf("%q: got\n%s\nwant\n%s", text, got, want)
		}
	}
}

func TestProblemsAreBounded(t *testing.T) {
	_, problems := Parse("roamkey", smallest+strings.Repeat("\toption nothing '1'\n", 1000))
	if len(problems) != maxProblems+1 || problems[maxProblems].Error() != "roamkey: 800 more errors follow: mend these first" {
		t.Errorf("%d problems, %v", len(problems), problems[len(problems)-1])
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir + "/none"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "roamkeyd help options") {
		t.Errorf("got %v", err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory was read")
	}
	good, bad, large := filepath.Join(dir, "good"), filepath.Join(dir, "bad"), filepath.Join(dir, "large")
	for path, text := range map[string]string{good: smallest, bad: "config link\n", large: strings.Repeat("#", maxFile+1)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := Load(good); err != nil || c.Links[0].Position.String() != good+":1" {
		t.Errorf("%+v, %v", c, err)
	}
	var problems Problems
	if _, err := Load(bad); !errors.As(err, &problems) || len(problems) != 1 {
		t.Errorf("got %v", err)
	}
	if _, err := Load(large); err == nil || !strings.Contains(err.Error(), "larger than 256 KiB") {
		t.Errorf("got %v", err)
	}
}

func TestNodeLimitFollowsTheMemory(t *testing.T) {
	for memory, want := range map[uint64]int{0: 256, 64 << 20: 2048, 128 << 20: 4096, 1 << 40: 65536} {
		if got := (Global{}).NodeLimit(memory); got != want {
			t.Errorf("%d octets: %d nodes", memory, got)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "3": 3 * time.Second, "0.07": 70 * time.Millisecond, ".5": 500 * time.Millisecond, "2.": 2 * time.Second, "500ms": 500 * time.Millisecond,
		"1.5h": 90 * time.Minute, "10m": 10 * time.Minute, "2d": 48 * time.Hour, "0.000001ms": time.Nanosecond,
		"99999999999999999999": Forever + 1, "4294967295": Forever + 1, "4294967294.999999": Forever - time.Microsecond,
	} {
		if got, ok := parseDuration(text); !ok || got != want {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"s", ".", "1.2.3", "-1", "+1", "1e3", "1 s", "1w", "1sm", "0.0000001", "1_000", "0x10", "½"} {
		if got, ok := parseDuration(text); ok {
			t.Errorf("%q was read as %v", text, got)
		}
	}
	for want, d := range map[string]time.Duration{"0": 0, "70ms": 70 * time.Millisecond, "90s": 90 * time.Second, "1h": time.Hour, "1d": 24 * time.Hour, "infinity": Forever, "0.0005s": 500 * time.Microsecond} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%v is shown as %q", d, got)
		}
	}
}

func TestNearest(t *testing.T) {
	names := linkTable(new(linkSection)).names()
	for word, want := range map[string]string{
		"hoplimit": "hop_limit", "devise": "device", "Preference": "preference", "ra-max-interval": "ra_max_interval", "maneged": "managed", "xyzzy": "", strings.Repeat("x", 1000): "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("%q: %q", word, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Reference())
	f.Add(smallest + "\tlist prefix '2001:db8:1::/64 valid=1h'\n\tlist route '::/0 lifetime=0'\n\toption mtu auto\nconfig neighbor 'x'\n\tlist prefix '::/0'\n")
	f.Add("config codepoints\n\toption finished 255\nconfig lke\n\toption retrans_timer 0.1\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, problems := Parse("f", text)
		for _, p := range append(problems, c.Warnings...) {
			if p.File != "f" || p.What == "" || p.Fix == "" || strings.ContainsFunc(p.Error(), func(r rune) bool { return r < ' ' || r > 126 }) {
				t.Fatalf("problem %q", p.Error())
			}
		}
		if len(problems) != 0 {
			return
		}
		for _, l := range c.Links {
			ra := l.RA
			if l.Device == "" || ra.MinInterval > ra.MaxInterval || ra.MinDelay <= 0 || ra.PrefixPreferred > ra.PrefixValid ||
				l.LKE && (l.KeyLifetime <= 0 || l.KeyLifetime > ra.Lifetime || !ra.Enabled) {
				t.Fatalf("link %+v", l)
			}
		}
	})
}
