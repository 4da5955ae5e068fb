package ladderlab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/lke/ladder"
)

// settings of a router. Its LKE timers are the draft's. Of advertisements nobody needs more than those that are asked for.
const settings = `
config roamkey 'global'
	option state_dir 'DIR'
	option lke_key 'DIR/lke.key'
	option log_level 'debug'
	option workers '1'

config link 'LINK'
	option device 'lan0'
	option lke 'KEYEXCHANGE'
	option ra_max_interval '600'
	option ra_min_interval '0.05'
	option ra_min_delay '0.05'

config lke 'lke'
	option request_finished 'FINISHED'
`

// link is one link with its router.
type link struct {
	ladder.Link
	world    *World
	stations []station
	asked    bool // a station has asked for an advertisement

	router   *netlab.Namespace
	lan, wan *rig.Wire     // the far ends of the router's wires
	wanHW    ipv6.LinkAddr // the router's own on wan0
	daemon   *rig.Daemon
	backend  string // of its tunnels
	dead     bool   // it was killed
	dir      string

	expires map[netip.Addr]time.Time // of associations, as far as they are known: status has them in seconds to go
}

// uplink gives the router's and the core's address on the wire between them.
func uplink(number byte) (router, core netip.Addr) {
	prefix := [16]byte{0x20, 1, 0x0d, 0xb8, 0xf0, number, 15: 1}
	router = netip.AddrFrom16(prefix)
	return router, router.Next()
}

// newLink makes a link with its router, and no daemon yet. Its files are to be in dir.
func (w *World) newLink(top ladder.Link, dir string) *link {
	w.t.Helper()
	l := &link{Link: top, world: w, dir: dir, expires: make(map[netip.Addr]time.Time)}
	var err error
	l.router, err = w.lab.Namespace(top.Name)
	w.check(err)
	lan, wan := fmt.Sprint("lan", top.Number), fmt.Sprint("wan", top.Number)
	hw := ladder.RouterHardware(top.Number)
	w.check(w.lab.Veth(netlab.End{NS: w.far, Name: lan}, netlab.End{NS: l.router, Name: "lan0", Hardware: hw}))
	w.check(w.lab.Veth(netlab.End{NS: w.far, Name: wan}, netlab.End{NS: l.router, Name: "wan0"}))
	device, err := l.router.Link("wan0")
	w.check(err)
	l.wanHW = device.Hardware
	l.lan, l.wan = w.open(l, lan, false), w.open(l, wan, true)

	own, core := uplink(top.Number)
	everything := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	w.check(l.router.AddAddress("lan0", netip.PrefixFrom(ladder.RouterAddress(top.Number), 64)))
	w.check(l.router.AddAddress("wan0", netip.PrefixFrom(own, 64)))
	w.check(l.router.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	w.check(l.router.AddNeighbour("wan0", core, l.wan.Hardware))
	w.check(l.router.AddRoute(everything, core, "wan0"))
	w.check(os.Mkdir(dir, 0o755))
	w.check(engine.SaveKey(filepath.Join(l.dir, "lke.key"), w.options.Key))
	return l
}

// open opens the far end of a wire and listens there.
func (w *World) open(l *link, device string, uplink bool) *rig.Wire {
	w.t.Helper()
	wire, err := rig.OpenWire(w.far, device)
	w.check(err)
	var reader sync.WaitGroup
	reader.Go(func() { w.listen(l, wire, uplink) })
	w.t.Cleanup(func() {
		wire.Close()
		ended := make(chan struct{})
		go func() {
			reader.Wait()
			close(ended)
		}()
		for {
			select {
			case <-w.frames: // nobody waits for it any more
			case <-ended:
				return
			}
		}
	})
	return wire
}

// has reports whether the router has an address that stations and routers know.
func (l *link) has(addr netip.Addr) bool {
	own, _ := uplink(l.Number)
	return addr == ladder.RouterAddress(l.Number) || addr == ipv6.LinkLocalFrom(ladder.RouterHardware(l.Number)) || addr == own
}

// launch starts the daemon.
func (l *link) launch() {
	flag := map[bool]string{false: "0", true: "1"}
	text := strings.NewReplacer("LINK", l.Name, "KEYEXCHANGE", flag[l.KeyExchange], "FINISHED", flag[l.Finished]).Replace(settings)
	var err error
	l.daemon, err = rig.Start(l.router, rig.Options{Path: l.world.options.Roamkeyd, Dir: l.dir, Settings: text})
	l.world.check(err)
	l.dead = false
}

// awaitService waits until the daemon serves the link, while the world goes on.
func (l *link) awaitService() {
	w := l.world
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; w.Run(5 * time.Millisecond) {
		if s, err := l.daemon.Status(); err == nil && rig.Serves(s) {
			l.backend = s.Tunnel.Backend
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("the router of %s does not serve:%s", l.Name, l.daemon.Tail())
		}
	}
}

// Kill stops the router of a link by SIGKILL.
func (w *World) Kill(name string) {
	l := w.links[name]
	l.daemon.Kill()
	l.dead = true
}

// Start starts the router of a link again and waits until it serves.
func (w *World) Start(name string) {
	w.links[name].launch()
	w.links[name].awaitService()
}

// Forwards reports whether the router of a link forwards by the kernel's tunnels.
func (w *World) Forwards(name string) bool { return w.links[name].backend != "tun" }

// status asks the router of a link.
func (w *World) status(name string) control.Snapshot {
	w.t.Helper()
	l := w.links[name]
	s, err := l.daemon.Status()
	if err != nil {
		w.t.Fatalf("ask the router of %s: %v:%s", name, err, l.daemon.Tail())
	}
	return s
}

// Router gives the associations of the router of a link; none while it is dead.
func (w *World) Router(name string) (all []lke.Association) {
	w.t.Helper()
	l := w.links[name]
	if l.dead {
		return nil
	}
	s := w.status(name)
	now := time.Now()
	for _, a := range s.LBSAs.List {
		hw, err := net.ParseMAC(a.Node)
		w.check(err)
		expires := now.Add(time.Duration(a.Expires))
		if before := l.expires[a.Home]; expires.Sub(before).Abs() < time.Second {
			expires = before // it has not changed: only the question came a little sooner or later
		}
		l.expires[a.Home] = expires
		out := lke.Association{
			Home: a.Home, Router: a.Router, Link: a.Link, Node: ipv6.LinkAddr(hw), State: a.State, Expires: expires,
		}
		if b := a.Binding; b != nil {
			out.CareOf, out.BoundUntil, out.Verified = b.CareOf, now.Add(time.Duration(b.Expires)), b.Verified
		}
		all = append(all, out)
	}
	return all
}

// Count is one of the LKE counters of the router of a link.
func (w *World) Count(name, counter string) uint64 {
	w.t.Helper()
	value, ok := w.status(name).Counters["lke"][counter]
	if !ok {
		w.t.Fatalf("the router has no counter %q", counter)
	}
	return value
}
