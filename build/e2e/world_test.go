package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
)

// Addresses of the small network.
var (
	routerAddr    = netip.MustParseAddr("2001:db8:1::1") // on lan0
	wanAddr       = netip.MustParseAddr("2001:db8:2::1")
	correspondent = netip.MustParseAddr("2001:db8:2::2") // of up0's kernel
	careOfNet     = netip.MustParsePrefix("2001:db8:c::/48")
	prober        = netip.MustParseAddr("fe80::7e57") // on cell0; the router knows it without asking
	proberHW      = ipv6.LinkAddr{2, 0x7e, 0x57, 0, 0, 1}
)

const settings = `
config roamkey 'global'
	option state_dir 'DIR'
	option lke_key 'DIR/lke.key'
	option log_level 'debug'
	option tunnel 'tun'
	option workers '1'

config link 'lan'
	option device 'lan0'
	option ra_max_interval '0.4'
	option ra_min_interval '0.05'
	option ra_min_delay '0.05'

config lke 'lke'
	option retrans_timer '0.4'
	option request_interval '1'
`

// replace changes something in the settings that is there.
func replace(settings, old, new string) string {
	if !strings.Contains(settings, old) {
		panic("there is no " + old + " in the settings")
	}
	return strings.ReplaceAll(settings, old, new)
}

// world is the router between its two wires, and the daemon on it.
type world struct {
	t                *testing.T
	lab              *netlab.Lab
	cell, router, up *netlab.Namespace
	nodes, away      *station   // on cell0, where nodes attach, and on up0, where they have moved to
	access           rig.Router // roamkeyd on lan0
	wanHW            ipv6.LinkAddr
	options          rig.Options
	d                *rig.Daemon
	numbers          int // of nodes
}

// newWorld makes the network, without a daemon yet.
func newWorld(t *testing.T) *world {
	t.Helper()
	if refused != nil {
		t.Skip(refused)
	}
	dir := t.TempDir() // before the lab, as it is to be removed after all programs have ended
	w := &world{t: t, lab: netlab.New()}
	t.Cleanup(func() { check(t, w.lab.Close()) })
	w.cell, w.router, w.up = w.namespace("cell"), w.namespace("router"), w.namespace("up")
	// Stations on the cell are the test's; a kernel of its own would only chatter.
	check(t, w.cell.SetSysctl("net/ipv6/conf/default/disable_ipv6", "1"))
	check(t, w.lab.Veth(netlab.End{NS: w.cell, Name: "cell0"}, netlab.End{NS: w.router, Name: "lan0"}))
	check(t, w.lab.Veth(netlab.End{NS: w.up, Name: "up0"}, netlab.End{NS: w.router, Name: "wan0"}))
	check(t, w.router.AddAddress("lan0", netip.PrefixFrom(routerAddr, 64)))
	check(t, w.router.AddAddress("wan0", netip.PrefixFrom(wanAddr, 64)))
	check(t, w.up.AddAddress("up0", netip.PrefixFrom(correspondent, 64)))
	check(t, w.router.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	// Each error that a kernel wants to send is to be seen.
	check(t, w.router.SetSysctl("net/ipv6/icmp/ratelimit", "0"))
	check(t, w.router.AddNeighbour("lan0", prober, proberHW))
	check(t, w.up.AddRoute(netip.MustParsePrefix("::/0"), wanAddr, "up0"))
	check(t, w.router.AddRoute(careOfNet, correspondent, "wan0"))
	w.nodes, w.away = openStation(t, w.cell, "cell0"), openStation(t, w.up, "up0")
	w.access = rig.Router{Addr: routerAddr, Hardware: w.link("lan0").Hardware}
	w.access.Local = ipv6.LinkLocalFrom(w.access.Hardware)
	w.wanHW = w.link("wan0").Hardware
	// The directory of all tests' directories is root's alone: others get at this one by its own path only.
	check(t, os.Chmod(dir, 0o755))
	w.options = rig.Options{Path: built.roamkeyd, Dir: dir, Bits: 1024, Settings: settings}
	return w
}

// as makes a subtest the one that fails, as long as it runs.
func (w *world) as(t *testing.T) {
	before := w.t
	w.t, w.nodes.t, w.away.t = t, t, t
	t.Cleanup(func() { w.t, w.nodes.t, w.away.t = before, before, before })
}

func (w *world) namespace(name string) *netlab.Namespace {
	w.t.Helper()
	ns, err := w.lab.Namespace(name)
	check(w.t, err)
	return ns
}

func (w *world) link(name string) netlab.Link {
	w.t.Helper()
	l, err := w.router.Link(name)
	check(w.t, err)
	return l
}

// start starts the daemon and waits until it serves.
func (w *world) start() control.Snapshot {
	w.t.Helper()
	w.launch()
	return w.await("all links are served", rig.Serves)
}

func (w *world) launch() {
	w.t.Helper()
	var err error
	w.d, err = rig.Start(w.router, w.options)
	check(w.t, err)
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("the daemon's last words:%s", w.d.Tail())
		}
	})
}

// restart starts another daemon on what the last one left, without waiting for anything.
func (w *world) restart() { w.t.Helper(); w.launch() }

// reload changes the settings and tells the daemon.
func (w *world) reload(settings string) {
	w.t.Helper()
	check(w.t, w.d.Configure(settings))
	check(w.t, w.d.Signal(hangup))
}

// await asks the daemon until its status is as it should be.
func (w *world) await(what string, ok func(control.Snapshot) bool) control.Snapshot {
	w.t.Helper()
	s, err := w.d.Await(5*time.Second, what, ok)
	if err != nil {
		w.t.Fatalf("%v\nlinks %+v\nassociations %+v", err, s.Links, s.LBSAs)
	}
	return s
}

// status is what `roamkeyd status --json` prints, and its exit code.
func (w *world) status() (s control.Snapshot, code int) {
	w.t.Helper()
	cmd := exec.Command(built.roamkeyd, "status", "--json", "--socket", w.d.Control())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		err, code = nil, 1 // it runs, with warnings
	}
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &s)
	}
	if err != nil {
		w.t.Fatalf("roamkeyd status: %v\n%s%s", err, &out, &errs)
	}
	return s, code
}

// awaitLog waits until the daemon has written all of these words on one line.
func (w *world) awaitLog(words ...string) {
	w.t.Helper()
	eventually(w.t, strings.Join(words, " ... ")+" in the log", func() bool {
		for line := range strings.Lines(w.d.Log()) {
			all := true
			for _, word := range words {
				all = all && strings.Contains(line, word)
			}
			if all {
				return true
			}
		}
		return false
	})
}

// node gives a node that no other test of this world has.
func (w *world) node() *rig.Node {
	w.numbers++
	m := rig.NewNode(w.numbers, w.access)
	m.CareOf = ipv6.WithEUI64(careOfNet.Addr(), m.Hardware)
	return m
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}
