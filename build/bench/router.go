package main

import (
	"crypto/rsa"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/firmware/control"
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
	nodes, away      *wire         // on load0, where nodes attach, and on up0, where they have moved to
	upHW, wanHW      ipv6.LinkAddr // of up0 and of the router's wan0
	routerHW         ipv6.LinkAddr // of lan0
	routerLocal      netip.Addr
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
		hw   *ipv6.LinkAddr
		wire **wire
	}{{n.router, "lan0", &n.routerHW, nil}, {n.router, "wan0", &n.wanHW, nil}, {n.load, "load0", new(ipv6.LinkAddr), &n.nodes}, {n.up, "up0", &n.upHW, &n.away}} {
		link, err := end.ns.Link(end.name)
		if err != nil {
			return nil, err
		}
		*end.hw = link.Hardware
		if end.wire != nil {
			err = end.ns.Do(func() (err error) { *end.wire, err = openWire(link.Index); return err })
		}
		if err != nil {
			return nil, err
		}
	}
	n.routerLocal = ipv6.LinkLocalFrom(n.routerHW)
	return n, nil
}

func (n *network) close() {
	for _, w := range []*wire{n.nodes, n.away} {
		if w != nil {
			w.close()
		}
	}
	n.lab.Close()
	os.RemoveAll(n.dir)
}

// daemon is one run of roamkeyd.
type daemon struct {
	*netlab.Program
	control string
	key     *rsa.PrivateKey
	log     *os.File
}

// start starts roamkeyd on lan0 with a fresh key of that size, on all processors or on processor 0 alone.
func (n *network) start(binary string, bits int, oneCPU bool) (*daemon, error) {
	dir, err := os.MkdirTemp(n.dir, "daemon-")
	if err != nil {
		return nil, err
	}
	d := &daemon{control: filepath.Join(dir, "control.sock")}
	if d.key, err = engine.GenerateKey(bits); err != nil {
		return nil, err
	}
	keyPath := filepath.Join(dir, "lke.key")
	if err := engine.SaveKey(keyPath, d.key); err != nil {
		return nil, err
	}
	settings := strings.NewReplacer("DIR", dir).Replace(`
config roamkey 'global'
	option state_dir 'DIR'
	option lke_key 'DIR/lke.key'
	option max_nodes '65536'
	option queue '256'
	option log_level 'warn'

config link 'lan'
	option device 'lan0'
`)
	path := filepath.Join(dir, "config")
	if err := os.WriteFile(path, []byte(settings), 0o644); err != nil {
		return nil, err
	}
	if d.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return nil, err
	}
	c := netlab.Command{Path: binary, Args: []string{"run", "-c", path}, Log: d.log}
	if oneCPU {
		c.Path, c.Args = "taskset", append([]string{"-c", "0", binary}, c.Args...)
	}
	if d.Program, err = n.router.Start(c); err != nil {
		return nil, err
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s, err := d.status()
		if err == nil && len(s.Links) == 1 && s.Links[0].Served {
			return d, nil
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(d.log.Name())
			d.Kill()
			return nil, fmt.Errorf("roamkeyd does not serve lan0 (%v): %s", err, text)
		}
	}
}

func (d *daemon) status() (control.Snapshot, error) {
	c, err := control.Dial(d.control)
	if err != nil {
		return control.Snapshot{}, err
	}
	defer c.Close()
	s, _, err := c.Status()
	return s, err
}

func (d *daemon) stop() {
	d.Kill()
	d.log.Close()
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
