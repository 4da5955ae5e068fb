package main

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/ipv6"
)

// Addresses of the bench's network.
var (
	routerAddr = netip.MustParseAddr("2001:db8:1::1")
	upAddr     = netip.MustParseAddr("2001:db8:2::2")
	wanAddr    = netip.MustParseAddr("2001:db8:2::1")
)

// network is the router between two wires, with a socket on each far end.
type network struct {
	lab              *netlab.Lab
	load, router, up *netlab.Namespace
	nodes, away      *rig.Wire     // load0, where nodes attach, and up0, where they have moved to
	wanHW            ipv6.LinkAddr // of the router's wan0
	access           rig.Router    // on lan0
	dir              string
}

func newNetwork() (n *network, err error) {
	n = &network{lab: netlab.New()}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if n.dir, err = os.MkdirTemp("", "roamkey-bench-"); err != nil {
		return nil, err
	}
	for name, ns := range map[string]**netlab.Namespace{"load": &n.load, "router": &n.router, "up": &n.up} {
		if *ns, err = n.lab.Namespace(name); err != nil {
			return nil, err
		}
	}
	if err := n.lab.Veth(netlab.End{NS: n.load, Name: "load0"}, netlab.End{NS: n.router, Name: "lan0"}); err != nil {
		return nil, err
	}
	if err := n.lab.Veth(netlab.End{NS: n.up, Name: "up0"}, netlab.End{NS: n.router, Name: "wan0"}); err != nil {
		return nil, err
	}
	for _, set := range []struct {
		ns   *netlab.Namespace
		name string
		addr netip.Addr
	}{{n.router, "lan0", routerAddr}, {n.router, "wan0", wanAddr}, {n.up, "up0", upAddr}} {
		if err := set.ns.AddAddress(set.name, netip.PrefixFrom(set.addr, 64)); err != nil {
			return nil, err
		}
	}
	if err := n.router.SetSysctl("net/ipv6/conf/all/forwarding", "1"); err != nil {
		return nil, err
	}
	if err := n.up.AddRoute(netip.MustParsePrefix("::/0"), wanAddr, "up0"); err != nil {
		return nil, err
	}
	// Care-of addresses are behind up0's address.
	if err := n.router.AddRoute(netip.MustParsePrefix("2001:db8:c::/48"), upAddr, "wan0"); err != nil {
		return nil, err
	}
	for _, end := range []struct {
		ns   *netlab.Namespace
		name string
		wire **rig.Wire
	}{{n.load, "load0", &n.nodes}, {n.up, "up0", &n.away}} {
		if *end.wire, err = rig.OpenWire(end.ns, end.name); err != nil {
			return nil, err
		}
	}
	lan, err := n.router.Link("lan0")
	if err != nil {
		return nil, err
	}
	wan, err := n.router.Link("wan0")
	if err != nil {
		return nil, err
	}
	n.access = rig.Router{Addr: routerAddr, Local: ipv6.LinkLocalFrom(lan.Hardware), Hardware: lan.Hardware}
	n.wanHW = wan.Hardware
	return n, nil
}

func (n *network) close() {
	for _, w := range []*rig.Wire{n.nodes, n.away} {
		if w != nil {
			w.Close()
		}
	}
	n.lab.Close()
	os.RemoveAll(n.dir)
}

// daemon is one run of roamkeyd.
type daemon struct{ *rig.Daemon }

const settings = `
config roamkey 'global'
	option state_dir 'DIR'
	option lke_key 'DIR/lke.key'
	option max_nodes '65536'
	option queue '256'
	option log_level 'warn'

config link 'lan'
	option device 'lan0'
`

// start starts roamkeyd on lan0 with a fresh key of that size, on all processors or on processor 0 alone.
func (n *network) start(binary string, bits int, oneCPU bool) (*daemon, error) {
	dir, err := os.MkdirTemp(n.dir, "daemon-")
	if err != nil {
		return nil, err
	}
	o := rig.Options{Path: binary, Dir: dir, Bits: bits, Settings: settings}
	if oneCPU {
		o.Before = []string{"taskset", "-c", "0"}
	}
	d, err := rig.Start(n.router, o)
	if err != nil {
		return nil, err
	}
	if _, err := d.Await(10*time.Second, "serving lan0", rig.Serves); err != nil {
		d.Kill()
		return nil, err
	}
	return &daemon{d}, nil
}

// resident is the daemon's resident memory in octets.
func (d *daemon) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no VmRSS of process %d", d.PID())
}
