package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func sec(n int) Seconds { return Seconds(time.Duration(n) * time.Second) }

// sample is a snapshot with the longest of everything in it.
func sample() Snapshot {
	long := "2001:db8:aaaa:bbbb:cccc:dddd:eeee:"
	return Snapshot{
		Version: "0.1.0", PID: 4711, Uptime: sec(3*3600 + 12*60),
		Key:    Key{"/etc/roamkey/lke.key", 2048, Fingerprint([]byte("x"))},
		Tunnel: Tunnel{"tun", "rktun0", 1460, []string{"the kernel has no ip6_tunnel: packets go through the daemon, which costs time and pauses while it restarts"}},
		Engine: Engine{"software", 1, 64},
		Links: []Link{
			{
				Name: "lan", Device: "br-lan", Served: true, LKE: true, LinkLocal: addr("fe80::211:22ff:fe33:4455"),
				Prefixes: []Prefix{
					{Prefix: netip.MustParsePrefix("2001:db8:aaaa:bbbb::/64"), Router: addr(long + "1111"), Valid: sec(5400), Preferred: sec(2700)},
					{Prefix: netip.MustParsePrefix("fd00:1234:5678:9abc::/64"), Valid: Forever, Preferred: Forever},
					{Prefix: netip.MustParsePrefix("2001:db8:aaaa:cccc::/64"), Valid: sec(600), Stale: true},
				},
				RA: RA{On: true, Phase: "periodic", Sent: 12, Next: sec(250), Others: []OtherRouter{{addr("fe80::ffff:ffff:ffff:ffff"), "02:00:00:00:00:01", sec(34)}}},
			},
			{Name: "guest", Device: "br-guest", Waiting: "there is no interface br-guest", LKE: true, Prefixes: []Prefix{}},
			{Name: "iso", Device: "br-iso", Served: true, LKE: true, Refused: "stations behind port wlan0 do not see each other's Duplicate Address Detection", Prefixes: []Prefix{}},
		},
		LBSAs: LBSAs{Max: 2048, Total: 300, DAD: 1, Valid: 297, Bound: 2, List: []LBSA{
			{Home: addr(long + "2222"), Router: addr(long + "1111"), Link: "lan", Node: "02:00:00:00:00:02", State: "valid", Expires: sec(7100)},
			{Home: addr(long + "3333"), Router: addr(long + "1111"), Link: "lan", Node: "02:00:00:00:00:03", State: "bound", Expires: sec(40),
				Binding: &Binding{addr("2001:db8:bbbb:bbbb:cccc:dddd:eeee:3333"), sec(39), true}},
		}},
		Handovers: []Handover{
			{Home: addr(long + "3333"), CareOf: addr("2001:db8:bbbb:bbbb:cccc:dddd:eeee:3333"), Age: sec(61), RouterUS: 212, Finished: Seconds(12345 * time.Microsecond)},
			{Home: addr(long + "4444"), CareOf: addr("2001:db8:bbbb:bbbb:cccc:dddd:eeee:4444"), Age: sec(90000), RouterUS: 999, Ended: "unreachable"},
		},
		Restart: &Restart{LBSAs: 3, Bindings: 1, Pause: Seconds(412 * time.Millisecond)},
		Counters: map[string]map[string]uint64{
			"lke":    {"requests": 18446744073709551615, "bad_hop_limit": 2, "never": 0, "a_name_that_is_longer_than_a_column": 7},
			"engine": {"done": 5},
			"quiet":  {"nothing": 0},
		},
		Findings: []Finding{
			{Note, "", "the kernel has no ip6_tunnel, so that packets of nodes that left go through the daemon itself", "install kmod-ip6-tunnel"},
			{Warning, "lan", "another router advertises on this link", "turn off its advertisements"},
		},
	}
}

const sampleText = `roamkeyd 0.1.0, process 4711, up 3 h 12 min
key     RSA 2048, SHA256:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE
engine  software, 1 worker, queue of 64
tunnel  tun, device rktun0, MTU 1460
        the kernel has no ip6_tunnel: packets go through the daemon, which
        costs time and pauses while it restarts
restart took up 3 LBSAs and 1 binding; forwarding paused for 412.0 ms

LINK lan (br-lan)  served  LKE on
  address fe80::211:22ff:fe33:4455
  prefix  2001:db8:aaaa:bbbb::/64        preferred 45 min, valid 90 min
    router  2001:db8:aaaa:bbbb:cccc:dddd:eeee:1111
  prefix  fd00:1234:5678:9abc::/64       preferred forever, valid forever
  prefix  2001:db8:aaaa:cccc::/64        withdrawn, valid 10 min
  advertisements: periodic, 12 sent, next in 4 min
  other router fe80::ffff:ffff:ffff:ffff
    at 02:00:00:00:00:01, heard 34 s ago

LINK guest (br-guest)  not served  LKE on
  there is no interface br-guest
  advertisements: off

LINK iso (br-iso)  served  LKE refused
  LKE is refused: stations behind port wlan0 do not see each other's Duplicate
  Address Detection
  advertisements: off

LBSAS  300 of 2048: 297 valid, 2 bound, 1 in DAD
  home address                            node              state expires
  2001:db8:aaaa:bbbb:cccc:dddd:eeee:2222  02:00:00:00:00:02 valid 118 min
  2001:db8:aaaa:bbbb:cccc:dddd:eeee:3333  02:00:00:00:00:03 bound 40 s
  and 298 more

BINDINGS  2
  2001:db8:aaaa:bbbb:cccc:dddd:eeee:3333 on link lan
    -> 2001:db8:bbbb:bbbb:cccc:dddd:eeee:3333  confirmed   expires 39 s
  and 1 more

LAST HANDOVERS
  2001:db8:aaaa:bbbb:cccc:dddd:eeee:3333  61 s ago
    -> 2001:db8:bbbb:bbbb:cccc:dddd:eeee:3333
    forwarded within 212 us, confirmed after 12.3 ms
  2001:db8:aaaa:bbbb:cccc:dddd:eeee:4444  25 h 0 min ago
    -> 2001:db8:bbbb:bbbb:cccc:dddd:eeee:4444
    forwarded within 999 us, not confirmed, unreachable

COUNTERS
  engine
    done                               5
  lke
    a_name_that_is_longer_than_a_column           7
    requests                 18446744073709551615
    bad_hop_limit                      2

FINDINGS
  note: the kernel has no ip6_tunnel, so that packets of nodes that left go
    through the daemon itself: install kmod-ip6-tunnel
  warning: link lan: another router advertises on this link: turn off its
    advertisements
`

func TestTextOfAStatus(t *testing.T) {
	s := sample()
	var b bytes.Buffer
	if err := s.WriteText(&b, false); err != nil {
		t.Fatal(err)
	}
	if b.String() != sampleText {
		t.Errorf("got\n%s", b.String())
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if utf8.RuneCountInString(line) > 80 {
			t.Errorf("%d columns: %s", utf8.RuneCountInString(line), line)
		}
	}
	b.Reset()
	s.WriteText(&b, true)
	for _, name := range []string{"never", "quiet", "nothing"} {
		if !strings.Contains(b.String(), name) {
			t.Errorf("counter %s is not among all", name)
		}
	}
}

// TestTextStaysAText: nothing that came over the network or from a file can steer the terminal.
func TestTextStaysAText(t *testing.T) {
	s := sample()
	s.Links[0].Waiting = "\x1b[2J\nforged: line"
	s.Findings[0].What = "a\r\x07b"
	s.Version = "\x1b]0;x\x07"
	var b bytes.Buffer
	s.WriteText(&b, true)
	if strings.ContainsAny(b.String(), "\x1b\r\x07") || strings.Contains(b.String(), "\nforged") {
		t.Errorf("%q", b.String())
	}
}

func TestEmptyStatus(t *testing.T) {
	var s Snapshot
	var b bytes.Buffer
	if err := s.WriteText(&b, true); err != nil || !strings.Contains(b.String(), "LBSAS  0 of 0") {
		t.Errorf("%v\n%s", err, b.String())
	}
	if _, err := json.Marshal(&s); err != nil {
		t.Error(err)
	}
	if !s.Healthy() {
		t.Error("nothing is wrong")
	}
}

func TestHealth(t *testing.T) {
	healthy := func() Snapshot {
		return Snapshot{Links: []Link{{Served: true}}, Findings: []Finding{{Level: Note}}}
	}
	if s := healthy(); !s.Healthy() {
		t.Error("a note makes the daemon unhealthy")
	}
	for name, spoil := range map[string]func(*Snapshot){
		"link that is not served":  func(s *Snapshot) { s.Links[0].Served = false },
		"link that refuses LKE":    func(s *Snapshot) { s.Links[0].Refused = "isolation" },
		"another router on a link": func(s *Snapshot) { s.Links[0].RA.Others = make([]OtherRouter, 1) },
		"warning":                  func(s *Snapshot) { s.Findings[0].Level = Warning },
	} {
		s := healthy()
		if spoil(&s); s.Healthy() {
			t.Errorf("%s: healthy", name)
		}
	}
}

func TestSecondsInJSON(t *testing.T) {
	if b, err := json.Marshal(Seconds(-1)); err != nil || string(b) != "-1" {
		t.Errorf("the least negative duration is %s, %v", b, err)
	}
	for want, d := range map[string]time.Duration{"0": 0, "1.5": 1500 * time.Millisecond, "0.000212": 212 * time.Microsecond, "-1": -time.Second, "7200": 2 * time.Hour} {
		b, err := json.Marshal(Seconds(d))
		if err != nil || string(b) != want {
			t.Errorf("%v: %s, %v", d, b, err)
		}
		var back Seconds
		if err := json.Unmarshal(b, &back); err != nil || (time.Duration(back)-d).Abs() > time.Microsecond {
			t.Errorf("%v came back as %v, %v", d, time.Duration(back), err)
		}
	}
}

func TestDurationsForPeople(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0 s": -time.Second, "20 ms": 20 * time.Millisecond, "119 s": 119 * time.Second, "119 min": 119 * time.Minute, "47 h 59 min": 48*time.Hour - time.Second, "2 d 3 h": 51 * time.Hour,
	} {
		if got := Rough(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
}

func TestWrap(t *testing.T) {
	word := strings.Repeat("x", 100)
	got := Wrap("a: ", "  ", "one "+word+" two")
	if len(got) != 3 || got[0] != "a: one" || got[1] != "  "+word || got[2] != "  two" {
		t.Errorf("%q", got)
	}
	if got := Wrap("a: ", "", ""); len(got) != 1 || got[0] != "a: " {
		t.Errorf("%q", got)
	}
}

func TestFingerprintIsOneThatToolsShow(t *testing.T) {
	// printf x | openssl dgst -sha256 -binary | base64
	if got := Fingerprint([]byte("x")); got != "SHA256:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE" {
		t.Error(got)
	}
}

func TestLog(t *testing.T) {
	var b bytes.Buffer
	var level slog.LevelVar
	log := slog.New(NewLogHandler(&b, &level, false))
	log.Debug("not shown")
	log.Info("running", "links", 2, "version", "0.1.0")
	log.With("link", "lan").WithGroup("ra").Warn("other router", "router", addr("fe80::1"), "what", "a b", "empty", "")
	log.Error("forged\nline\x1b", "err", errors.New("one \"two\""))
	log.Error("settings", "err", errors.New("f:1: a\nf:2: b"))
	level.Set(slog.LevelError)
	log.Warn("not shown")
	level.Set(slog.LevelDebug)
	log.Debug("shown", slog.Group("g", slog.Duration("took", time.Second), slog.Time("at", time.Unix(0, 0).UTC())))
	want := `info: running links=2 version=0.1.0
warn: other router link=lan ra.router=fe80::1 ra.what="a b" ra.empty=""
error: forged\nline\x1b err="one \"two\""
error: settings
  f:1: a
  f:2: b
debug: shown g.took=1s g.at=1970-01-01T00:00:00Z
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
	b.Reset()
	slog.New(NewLogHandler(&b, slog.LevelInfo, true)).Info("x")
	if len(b.String()) != len("15:04:05.000 info: x\n") {
		t.Errorf("%q", b.String())
	}
}
