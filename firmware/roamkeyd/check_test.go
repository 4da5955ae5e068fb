package main

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/drivers/hostnet/fake"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/ipv6"
)

func (r *report) text() string {
	var b strings.Builder
	for _, l := range r.lines {
		b.WriteString(l.level + l.text + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// settings parses a text that has no error.
func settings(t *testing.T, text string) *config.Config {
	t.Helper()
	c, problems := config.Parse("roamkey", text)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return c
}

func address(text string) hostnet.Address {
	p := netip.MustParsePrefix(text)
	return hostnet.Address{Addr: p.Addr(), Prefix: p, Valid: hostnet.Forever, Preferred: hostnet.Forever}
}

// bridge is a link on which all is well.
func bridge() hostnet.Link {
	return hostnet.Link{
		Index: 7, Name: "br-lan", Hardware: ipv6.LinkAddr{2, 0, 0, 0, 0, 1}, MTU: 1500, Up: true, Bridge: true,
		Addresses: []hostnet.Address{address("fe80::1/64"), address("2001:db8:1::1/64")},
	}
}

const lan = "config link 'lan'\n\toption device 'br-lan'\n"

func TestCheckOfLinks(t *testing.T) {
	for name, row := range map[string]struct {
		settings string
		arrange  func(l *hostnet.Link, h *fake.Host)
		want     string
	}{
		"all is well": {lan, nil, ""},
		"no such interface": {
			"config link 'lan'\n\toption device 'br-lna'\n", nil,
			"error: roamkey:1: link lan: there is no network interface br-lna: write one of br-lan",
		},
		"port of a bridge": {
			lan, func(l *hostnet.Link, h *fake.Host) { l.Master = 9 },
			"error: roamkey:1: link lan: br-lan is a port of its bridge, above which nodes' packets are seen: write option device 'its bridge'",
		},
		"no Ethernet": {
			lan, func(l *hostnet.Link, h *fake.Host) { l.Hardware = ipv6.LinkAddr{} },
			"error: roamkey:1: link lan: br-lan has no Ethernet address: only links like Ethernet and Wi-Fi can be served",
		},
		"down": {
			lan, func(l *hostnet.Link, h *fake.Host) { l.Up, l.Addresses = false, l.Addresses[1:] },
			"warning: link lan: br-lan is down: ip link set br-lan up",
		},
		"small MTU": {
			lan, func(l *hostnet.Link, h *fake.Host) { l.MTU = 1000 },
			"error: link lan: the MTU of br-lan is 1000, IPv6 needs 1280: ip link set br-lan mtu 1500",
		},
		"no link-local address": {
			lan, func(l *hostnet.Link, h *fake.Host) { l.Addresses = l.Addresses[1:] },
			"error: link lan: br-lan has no link-local address, from which everything is sent: sysctl -w net.ipv6.conf.br-lan.disable_ipv6=0",
		},
		"no global address": {
			lan, func(l *hostnet.Link, h *fake.Host) { l.Addresses = l.Addresses[:1] },
			"error: link lan: br-lan has no global address in a prefix that is advertised, and nodes agree on keys with such an address only: give it one",
		},
		"global address in no listed prefix": {
			lan + "\tlist prefix '2001:db8:2::/64'\n", nil,
			"error: link lan: br-lan has no global address in a prefix that is advertised, and nodes agree on keys with such an address only: give it one",
		},
		"no global address is needed without LKE": {
			lan + "\toption lke '0'\n", func(l *hostnet.Link, h *fake.Host) { l.Addresses = l.Addresses[:1] }, "",
		},
		"prefix of another length": {
			lan, func(l *hostnet.Link, h *fake.Host) { l.Addresses = append(l.Addresses, address("2001:db8:5::1/56")) },
			"warning: link lan: 2001:db8:5::1 is not in a /64, so that its prefix is not advertised: give br-lan an address with /64",
		},
		"duplicate address": {
			lan, func(l *hostnet.Link, h *fake.Host) {
				a := address("2001:db8:9::1/64")
				a.Failed = true
				l.Addresses = append(l.Addresses, a)
			},
			"error: link lan: somebody else has 2001:db8:9::1, too, so that the kernel does not use it: give one of the two another address",
		},
		"router address of somebody else": {
			lan + "\tlist prefix '2001:db8:1::/64'\n\tlist router_address '2001:db8:1::2'\n", nil,
			"error: roamkey:1: link lan: router_address 2001:db8:1::2 is no address of br-lan: ip address add 2001:db8:1::2/64 dev br-lan",
		},
		"forwarding off": {
			lan, func(l *hostnet.Link, h *fake.Host) { h.SetForwarding("br-lan", false) },
			"error: link lan: the kernel does not forward IPv6 packets from br-lan: sysctl -w net.ipv6.conf.all.forwarding=1",
		},
		"takes other routers' advertisements": {
			lan, func(l *hostnet.Link, h *fake.Host) { h.SetAcceptRA("br-lan", true) },
			"warning: link lan: br-lan would take addresses from other routers' advertisements: sysctl -w net.ipv6.conf.br-lan.accept_ra=0",
		},
		"hidden DAD (LKE-resolution-w)": {
			lan, func(l *hostnet.Link, h *fake.Host) {
				h.SetFindings("br-lan", hostnet.Finding{File: "/sys/x", Value: "1", Text: "the bridge answers", Fix: "bridge link set"})
			},
			"warning: link lan: /sys/x is 1: the bridge answers; LKE is refused on this link: bridge link set, or set allow_hidden_dad '1' if every node can be trusted",
		},
		"hidden DAD that is allowed": {
			lan + "\toption allow_hidden_dad '1'\n", func(l *hostnet.Link, h *fake.Host) {
				h.SetFindings("br-lan", hostnet.Finding{File: "/sys/x", Value: "1", Text: "the bridge answers", Fix: "bridge link set"})
			},
			"warning: link lan: /sys/x is 1: the bridge answers; allow_hidden_dad is set, so that LKE is served all the same, and any node can take another's address",
		},
		"access points that share a prefix of the interface": {
			lan + "config neighbor 'up'\n\tlist prefix '2001:db8:1::/64'\n", nil,
			"warning: roamkey:3: neighbor up and link lan share 2001:db8:1::/64: a node that moves between the two keeps its address, so that there is nothing to hand over: give each access point a prefix of its own, or bridge them without roamkeyd",
		},
		"access points that share a listed prefix": {
			lan + "\tlist prefix '2001:db8:1::/64'\nconfig neighbor 'up'\n\tlist prefix '2001:db8::/32'\n", nil,
			"warning: roamkey:4: 2001:db8::/32 of neighbor up overlaps with 2001:db8:1::/64 of link lan: a node that moves between the two keeps its address, so that there is nothing to hand over: give each access point a prefix of its own, or bridge them without roamkeyd",
		},
		"access points of their own": {lan + "config neighbor 'up'\n\tlist prefix '2001:db8:2::/64'\n", nil, ""},
	} {
		var h fake.Host
		l := bridge()
		h.SetForwarding("br-lan", true)
		if row.arrange != nil {
			row.arrange(&l, &h)
		}
		h.SetLinks(l)
		var r report
		s := settings(t, row.settings)
		r.links(s, &h)
		r.shared(s, &h)
		if got := r.text(); got != row.want {
			t.Errorf("%s: got\n%s", name, got)
		}
	}
}

func TestCheckOfTheKernel(t *testing.T) {
	for name, row := range map[string]struct {
		tunnel string
		facts  kernelFacts
		want   string
	}{
		"kernel tunnels": {"auto", kernelFacts{info: forward.Info{Backend: forward.External}}, ""},
		"no ip6_tunnel": {
			"auto", kernelFacts{info: forward.Info{Backend: forward.TUN, Reasons: []string{"the kernel has no ip6_tunnel"}}},
			"warning: tunnel: the kernel has no ip6_tunnel\nwarning: packets follow nodes through the daemon itself (TUN), which is slower, and pauses while it restarts: install kmod-ip6-tunnel, or set tunnel 'tun' if that is meant",
		},
		"TUN as it was asked for": {"tun", kernelFacts{info: forward.Info{Backend: forward.TUN}}, ""},
		"nothing": {
			"kernel", kernelFacts{forward: errors.New("no such thing")},
			"error: no tunnel can be made (option tunnel 'kernel'): no such thing: install kmod-ip6-tunnel or kmod-tun",
		},
		"no nftables": {
			"tun", kernelFacts{guard: guard.ErrUnsupported, info: forward.Info{Backend: forward.TUN}},
			"warning: " + guard.ErrUnsupported.Error() + ": the kernel may answer messages that are for roamkeyd, and a tunnel takes packets from anybody: install kmod-nft-core",
		},
		"not root": {"auto", kernelFacts{unknown: os.ErrPermission}, "note: what the kernel has for tunnels and filters is not known: run check as root"},
		"not root, and no TUN": {
			"tun", kernelFacts{unknown: os.ErrPermission, noTUN: true},
			"note: what the kernel has for tunnels and filters is not known: run check as root\nerror: the kernel has no TUN (there is no /dev/net/tun): install kmod-tun, or set tunnel 'kernel'",
		},
	} {
		var r report
		r.kernel(row.tunnel, row.facts)
		if got := r.text(); got != row.want {
			t.Errorf("%s: got\n%s", name, got)
		}
	}
}

// TestProbeTouchesNothing: what the probe makes, it makes elsewhere.
func TestProbeTouchesNothing(t *testing.T) {
	facts := probeKernel("auto")
	switch {
	case os.Geteuid() != 0:
		if facts.unknown == nil {
			t.Error("an ordinary user made a namespace")
		}
	case facts.unknown != nil || facts.forward == nil && facts.info.Device == "":
		t.Errorf("%+v", facts)
	}
	text, err := os.ReadFile("/proc/net/dev")
	if err != nil || strings.Contains(string(text), forward.DefaultDevice) {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestCheckOfOtherPrograms(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "config/dhcp", "config dhcp 'lan'\n\toption interface 'lan'\n\toption ra 'server'\n")
	write(t, dir, "config/wireless", "config wifi-iface 'w'\n\toption network 'lan'\n\toption isolate '1'\n")
	s := settings(t, lan)
	for _, runs := range []bool{true, false} {
		var r report
		r.others(s.Links[0], config.Others{Dir: dir}, map[string]bool{"odhcpd": runs})
		want := "error: link lan: DIR/config/dhcp:3: odhcpd: it advertises on lan, too: uci set dhcp.lan.ra=disabled; uci commit dhcp; /etc/init.d/odhcpd restart; it runs, and a link has one speaker of router advertisements only\n"
		if !runs {
			want = strings.Replace(strings.Replace(want, "it runs, and a link has one speaker of router advertisements only", "it does not run now", 1), "error:", "warning:", 1)
		}
		want += "warning: link lan: DIR/config/wireless:3: wifi-iface w, option isolate: stations do not see each other's Duplicate Address Detection; LKE is refused on this link: uci set wireless.w.isolate=0, or set allow_hidden_dad '1' if every node can be trusted"
		if got := strings.ReplaceAll(r.text(), dir, "DIR"); got != want {
			t.Errorf("got\n%s", got)
		}
	}
	var r report
	write(t, dir, "config/wireless", "config wifi-iface 'w\n")
	os.Remove(filepath.Join(dir, "config/dhcp"))
	r.others(s.Links[0], config.Others{Dir: dir}, nil)
	if got := strings.ReplaceAll(r.text(), dir, "DIR"); got != "warning: link lan: whether stations are hidden from each other is not known: DIR/config/wireless:1: a quote is not closed" {
		t.Errorf("got\n%s", got)
	}
}

func TestRunningPrograms(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "17/comm", "odhcpd\n")
	write(t, dir, "18/comm", "systemd-network\n")
	write(t, dir, "self/comm", "radvd\n")
	got := runningPrograms(dir)
	if !got["odhcpd"] || !got["systemd-networkd"] || got["radvd"] {
		t.Errorf("%v", got)
	}
}

func TestMissingCapabilities(t *testing.T) {
	for status, want := range map[string]string{
		"CapEff:\t0000000000000000": "CAP_NET_ADMIN CAP_NET_RAW", "CapInh:\t0\nCapEff:\t0000000000003000\n": "", "CapEff:\t0000000000001000": "CAP_NET_RAW",
		"CapEff:\t000001ffffffffff": "", "CapEff:\tnonsense": "", "": "",
	} {
		if got := strings.Join(missingCapabilities(status), " "); got != want {
			t.Errorf("%q: %q", status, got)
		}
	}
}

// filesOf makes settings, a key and a state directory that all belong to root, and are closed to others.
func filesOf(t *testing.T) (dir string) {
	t.Helper()
	dir = openDir(t)
	write(t, dir, "roamkey", "config roamkey\n\toption user 'nobody'\n\toption tunnel 'kernel'\n\toption lke_key '"+dir+"/lke.key'\n\toption state_dir '"+dir+"/state'\n"+
		"config link 'lo'\n\toption device 'lo'\n\toption lke '0'\n")
	write(t, dir, "state/journal", "x")
	key, err := engine.GenerateKey(1024)
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.SaveKey(filepath.Join(dir, "lke.key"), key); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{"roamkey": 0o600, "state/journal": 0o600, "state": 0o700} {
		if err := os.Chmod(filepath.Join(dir, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// denied gives the lines of a check that are about files.
func denied(t *testing.T, got result, dir string) string {
	t.Helper()
	var lines []string
	for line := range strings.SplitSeq(unwrapped(got.out), "\n") {
		if strings.HasPrefix(line, "error: user nobody") {
			lines = append(lines, strings.ReplaceAll(line, dir, "DIR"))
		}
	}
	return strings.Join(lines, "\n")
}

// TestCheckNamesEachFileThatAUserCannotOpen, asked by root for that user.
func TestCheckNamesEachFileThatAUserCannotOpen(t *testing.T) {
	rootOnly(t)
	dir := filesOf(t)
	check := func(args ...string) string {
		return denied(t, roamkeyd(t, dir, append([]string{"check", "-c", dir + "/roamkey"}, args...)...), dir)
	}
	want := strings.Join([]string{
		"error: user nobody cannot open DIR/roamkey: permission denied: chgrp nobody DIR/roamkey; chmod 640 DIR/roamkey",
		"error: user nobody cannot open DIR/lke.key: permission denied: chown nobody DIR/lke.key; and see that the user can enter DIR",
		"error: user nobody cannot write in DIR/state (state_dir): permission denied: chown nobody DIR/state",
	}, "\n")
	if got := check(); got != want {
		t.Errorf("the user of the settings: got\n%s", got)
	}
	if got := check("--user", "nobody"); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := check("--user", "root"); got != "" {
		t.Errorf("root: got\n%s", got)
	}

	// What is given to the user is mended; what root left in the state directory is found.
	nobody := identityOf(t, "nobody")
	for _, path := range []string{"lke.key", "state", "roamkey"} {
		if err := os.Chown(filepath.Join(dir, path), nobody.uid, nobody.gid); err != nil {
			t.Fatal(err)
		}
	}
	if got := check(); got != "error: user nobody cannot open DIR/state/journal: permission denied: chown nobody DIR/state/journal" {
		t.Errorf("got\n%s", got)
	}
	if err := os.Chown(filepath.Join(dir, "state/journal"), nobody.uid, nobody.gid); err != nil {
		t.Fatal(err)
	}
	if got := check(); got != "" {
		t.Errorf("got\n%s", got)
	}

	// Without a state directory it depends on where it is to be made.
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	if got := check(); got != "error: user nobody cannot make the directory DIR/state (state_dir) in DIR: mkdir -p DIR/state; chown nobody DIR/state; again at each boot where it is in memory" {
		t.Errorf("got\n%s", got)
	}
	if err := os.Chown(dir, nobody.uid, nobody.gid); err != nil {
		t.Fatal(err)
	}
	if got := check(); got != "" {
		t.Errorf("got\n%s", got)
	}

	// A closed directory above hides even that there is a key.
	if err := os.Chown(dir, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := check(); !strings.Contains(got, "cannot open DIR/lke.key: permission denied") {
		t.Errorf("got\n%s", got)
	}
}

func identityOf(t *testing.T, name string) identity {
	t.Helper()
	var r report
	who, err := r.who(name, "")
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// TestCheckByAnOrdinaryUser: the same, by the user itself.
func TestCheckByAnOrdinaryUser(t *testing.T) {
	rootOnly(t)
	dir := filesOf(t)
	got := finish(t, asNobody(t, prepare("/", "check", "-c", dir+"/roamkey")))
	want := "error: open " + dir + "/roamkey: permission denied: make it readable for this user (chmod o+r, or chgrp and chmod g+r)\n1 error, 0 warnings"
	if unwrapped(got.out) != want || got.code != 1 {
		t.Errorf("%+v", got)
	}
	if err := os.Chmod(dir+"/roamkey", 0o644); err != nil {
		t.Fatal(err)
	}
	got = finish(t, asNobody(t, prepare("/", "check", "-c", dir+"/roamkey")))
	for _, want := range []string{
		"error: user nobody cannot open DIR/lke.key: permission denied",
		"error: user nobody cannot write in DIR/state (state_dir): permission denied",
		"note: user nobody has no CAP_NET_ADMIN and no CAP_NET_RAW here",
		"note: what the kernel has for tunnels and filters is not known",
	} {
		if !strings.Contains(strings.ReplaceAll(unwrapped(got.out), dir, "DIR"), want) {
			t.Errorf("%q is not in\n%s", want, unwrapped(got.out))
		}
	}
	got = finish(t, asNobody(t, prepare("/", "check", "-c", dir+"/roamkey", "--user", "root")))
	if got.code != 2 || !strings.Contains(unwrapped(got.err), "only root can check for another user") {
		t.Errorf("%+v", got)
	}
}

func TestCheckOfKeys(t *testing.T) {
	dir := openDir(t)
	text := func(key string) *config.Config {
		return settings(t, "config roamkey\n\toption lke_key '"+key+"'\n"+lan)
	}
	who := identityOf(t, "")
	for name, row := range map[string]struct {
		arrange func(path string)
		want    string
	}{
		"missing":   {func(string) {}, "error: there is no key DIR/key: roamkeyd keygen"},
		"open":      {func(p string) { write(t, dir, "key", "x") }, "error: read the key DIR/key: others can read this key (mode 0644): chmod 600 it, and make a new key if it was seen"},
		"nonsense":  {func(p string) { os.Chmod(p, 0o600) }, "error: read the key DIR/key: no PEM block with a private key in it: make one with roamkeyd keygen"},
		"directory": {func(p string) { os.Remove(p); os.Mkdir(p, 0o700) }, "error: read the key DIR/key: not a file"},
	} {
		// In the order in which each arrangement follows from a clean directory.
		path := filepath.Join(dir, "key")
		os.RemoveAll(path)
		if name == "nonsense" {
			write(t, dir, "key", "x")
		}
		row.arrange(path)
		var r report
		r.keyFile(text(path), who)
		if got := strings.ReplaceAll(r.text(), dir, "DIR"); got != row.want {
			t.Errorf("%s: got\n%s", name, got)
		}
	}
}

// TestRightsComeBack: trying files for another user changes nothing for this process.
func TestRightsComeBack(t *testing.T) {
	rootOnly(t)
	const group = 54321
	path := filepath.Join(openDir(t), "secret")
	if err := errors.Join(os.WriteFile(path, nil, 0o640), os.Chown(path, 0, group)); err != nil {
		t.Fatal(err)
	}
	open := func() error {
		f, err := os.Open(path)
		if err == nil {
			f.Close()
		}
		return err
	}
	for range 20 {
		if err := as(identityOf(t, "nobody"), func() {
			if open() == nil {
				t.Error("nobody opened root's file")
			}
		}); err != nil {
			t.Fatal(err)
		}
		if err := open(); err != nil {
			t.Fatal(err)
		}
	}
	member := identityOf(t, "nobody")
	member.groups = []int{group}
	if err := as(member, func() {
		if err := open(); err != nil {
			t.Errorf("a member of its group: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
