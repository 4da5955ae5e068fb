package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/guard"
)

// ends are the two ends of a plain tunnel.
type ends struct{ local, remote netip.Addr }

// plainTunnel is one plain ip6tnl device of ours.
type plainTunnel struct {
	device
	homes map[netip.Addr]bool // that use it
}

// routerKernel is the router's end in the kernel, by one device in external mode or by plain ones. What an earlier process
// left by the other of the two it takes over as well.
type routerKernel struct {
	nl    *rtnl
	ct    *conntrack
	guard *guard.Guard
	name  string // of the external device; plain ones count on from it
	info  Info

	mu       sync.Mutex
	bound    ledger
	external int // index of the device; 0 with plain ones
	plain    map[ends]*plainTunnel
	reaper   *time.Timer // runs if a plain device may have no binding any more
	closed   bool
}

// noTunnel explains why the kernel made no ip6tnl device.
func noTunnel(err error) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return errors.New("the kernel has no ip6_tunnel (load or install it; OpenWrt: kmod-ip6-tunnel)")
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (CAP_NET_ADMIN is needed)", err)
	}
	return err
}

// openExternal opens the router's end with one device in external mode.
func openExternal(cfg Config, nl *rtnl, ct *conntrack, g *guard.Guard) (*routerKernel, error) {
	if g == nil {
		return nil, errors.New("external ip6tnl: it accepts any outer source, and there is no nftables to check that")
	}
	mtu, err := deviceMTU(nl, cfg.MTU)
	if err != nil {
		return nil, err
	}
	d, made, err := externalDevice(nl, cfg.Device)
	if err != nil {
		return nil, fmt.Errorf("external ip6tnl: %w", err)
	}
	err = nl.configure(d.Index, settings{Alias: Alias, MTU: mtu})
	if err == nil {
		err = probeEncap(nl, d.Index)
	}
	if err != nil {
		if made {
			_ = nl.deleteDevice(d.Index)
		}
		return nil, fmt.Errorf("external ip6tnl: %w", err)
	}
	f := &routerKernel{
		nl: nl, ct: ct, guard: g, name: cfg.Device, external: d.Index, bound: newLedger(), plain: make(map[ends]*plainTunnel),
		info: Info{Backend: External, Device: cfg.Device, MTU: mtu},
	}
	if err := f.takeOver(); err != nil {
		return nil, err
	}
	return f, nil
}

// takeOver takes up what an earlier process left, so far that it goes on when the guard begins to check.
func (f *routerKernel) takeOver() error {
	left, err := f.left()
	for _, b := range left {
		err = errors.Join(err, f.guard.AddTunnel(b.CareOf, b.Home))
	}
	for _, b := range left {
		if p := f.plain[ofEnds(b)]; p != nil {
			p.homes[b.Home] = true
			err = errors.Join(err, f.hold(p, b.Home, true))
		}
	}
	if err == nil {
		err = f.guard.CheckTunnels(true)
	}
	err = errors.Join(err, f.holdAll())
	if err != nil {
		return fmt.Errorf("%s ip6tnl: %w", f.info.Backend, err)
	}
	return nil
}

// holdAll makes the rules that hold plain devices to their home addresses be there, or not, as the guard demands: the
// earlier process may have had another one.
func (f *routerKernel) holdAll() (failed error) {
	if f.guard == nil {
		for _, p := range f.plain {
			failed = errors.Join(failed, f.nl.addRule(rule{Device: p.Name, Priority: dropPriority}))
		}
		return failed
	}
	rules, failed := f.nl.rules()
	for _, ru := range rules {
		for _, p := range f.plain {
			if ru.Device == p.Name {
				failed = errors.Join(failed, f.nl.deleteRule(ru))
			}
		}
	}
	return failed
}

// externalDevice finds our device in external mode, or makes it.
func externalDevice(nl *rtnl, name string) (d device, made bool, err error) {
	d, err = nl.device(name)
	if err == nil {
		if d.Alias != Alias {
			return d, false, fmt.Errorf("a device %s exists that is not Roamkey's", name)
		}
		if d.Kind != kindIP6Tnl || !d.External {
			return d, false, fmt.Errorf("device %s is Roamkey's, but of another kind: does another process run?", name)
		}
		return d, false, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return d, false, err
	}
	err = nl.addTunnel(name, netip.Addr{}, netip.Addr{})
	if errors.Is(err, unix.EEXIST) {
		return d, false, fmt.Errorf("there can be one such device only, and %s is it", otherExternal(nl))
	}
	if err != nil {
		return d, false, noTunnel(err)
	}
	d, err = nl.device(name)
	if err == nil && !d.External {
		_ = nl.deleteDevice(d.Index)
		return d, false, errors.New("this kernel's ip6_tunnel is too old for it (Linux 4.9)")
	}
	return d, true, err
}

func otherExternal(nl *rtnl) string {
	all, _ := nl.devices()
	for _, d := range all {
		if d.External {
			return d.Name
		}
	}
	return "another device"
}

// probeEncap tries a route with an encapsulation, to the discard prefix (RFC 6666) in a table that nobody asks.
func probeEncap(nl *rtnl, index int) error {
	const nobodys = nodeTable - 1
	discard := netip.MustParseAddr("100::")
	rt := route{Dst: netip.PrefixFrom(discard, 128), Device: index, Table: nobodys, EncapSrc: discard, EncapDst: discard}
	if err := nl.setRoute(rt); err != nil {
		return fmt.Errorf("%w (the kernel needs CONFIG_LWTUNNEL)", err)
	}
	return nl.deleteRoute(rt)
}

// openPlain opens the router's end with one device for each pair of router and care-of address.
func openPlain(cfg Config, nl *rtnl, ct *conntrack, g *guard.Guard) (*routerKernel, error) {
	mtu, err := deviceMTU(nl, cfg.MTU)
	if err != nil {
		return nil, err
	}
	f := &routerKernel{
		nl: nl, ct: ct, guard: g, name: cfg.Device, bound: newLedger(), plain: make(map[ends]*plainTunnel),
		info: Info{Backend: Plain, Device: cfg.Device, MTU: mtu},
	}
	// Does the kernel have such devices, and rules where these have to hold a device to its home addresses?
	probe := ends{netip.MustParseAddr("100::1"), netip.MustParseAddr("100::2")}
	p, err := f.addPlain(probe)
	if err != nil {
		return nil, fmt.Errorf("plain ip6tnl: %w", noTunnel(err))
	}
	if err := errors.Join(f.hold(p, homeProbe, true), f.hold(p, homeProbe, false), f.removePlain(probe)); err != nil {
		return nil, fmt.Errorf("plain ip6tnl: %w", err)
	}
	if g == nil {
		f.info.Reasons = append(f.info.Reasons,
			"without nftables tunnel packets to the router's own addresses are not held to their home address")
	}
	if err := f.takeOver(); err != nil {
		return nil, err
	}
	return f, nil
}

var homeProbe = netip.MustParseAddr("100::3")

// addPlain makes a plain device with a name that is free.
func (f *routerKernel) addPlain(e ends) (*plainTunnel, error) {
	name, err := makePlain(f.nl, f.name, e)
	if err != nil {
		return nil, err
	}
	d, err := f.nl.device(name)
	if err == nil {
		err = f.nl.configure(d.Index, settings{Alias: Alias, MTU: f.info.MTU})
	}
	if err == nil && f.guard == nil {
		err = f.nl.addRule(rule{Device: name, Priority: dropPriority})
	}
	if err != nil {
		_ = f.nl.deleteDevice(d.Index)
		return nil, err
	}
	p := &plainTunnel{device: d, homes: make(map[netip.Addr]bool)}
	f.plain[e] = p
	return p, nil
}

// makePlain makes a plain device with a name that is free, like base with another number.
func makePlain(nl *rtnl, base string, e ends) (name string, err error) {
	stem := base
	for len(stem) > 0 && stem[len(stem)-1] >= '0' && stem[len(stem)-1] <= '9' {
		stem = stem[:len(stem)-1]
	}
	stem = stem[:min(len(stem), unix.IFNAMSIZ-1-6)]
	for i := 1; i < 1_000_000; i++ {
		name = fmt.Sprintf("%s%d", stem, i)
		if name == base {
			continue
		}
		if _, err := nl.device(name); err == nil {
			continue
		}
		if err := nl.addTunnel(name, e.local, e.remote); !errors.Is(err, unix.EEXIST) {
			return name, err
		}
		if other := otherPlain(nl, e); other != "" {
			return "", fmt.Errorf("device %s is a tunnel between %s and %s already", other, e.local, e.remote)
		}
	}
	return "", errors.New("no device name is free")
}

func otherPlain(nl *rtnl, e ends) string {
	all, _ := nl.devices()
	for _, d := range all {
		if d.Kind == kindIP6Tnl && d.Local == e.local && d.Remote == e.remote {
			return d.Name
		}
	}
	return ""
}

func (f *routerKernel) removePlain(e ends) error {
	p := f.plain[e]
	if p == nil {
		return nil
	}
	delete(f.plain, e)
	var failed error
	if f.guard == nil {
		failed = f.nl.deleteRule(rule{Device: p.Name, Priority: dropPriority})
	}
	return errors.Join(failed, f.nl.deleteDevice(p.Index))
}

// hold lets packets from home out of the tunnel, or no longer.
func (f *routerKernel) hold(p *plainTunnel, home netip.Addr, on bool) error {
	if f.guard != nil {
		return nil // it checks outer and inner source together
	}
	ru := rule{From: home, Device: p.Name, Table: unix.RT_TABLE_MAIN, Priority: rulePriority}
	if on {
		return f.nl.addRule(ru)
	}
	return f.nl.deleteRule(ru)
}

func (f *routerKernel) Bind(b Binding) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errClosed
	}
	if err := f.bound.check(b); err != nil {
		return err
	}
	old, moved := f.bound.byHome[b.Home]
	if err := f.install(b); err != nil {
		// Nothing of either binding is to be left: whoever asked takes it as ended.
		_ = f.nl.deleteRoute(route{Dst: netip.PrefixFrom(b.Home, 128)})
		_ = f.release(b)
		if moved {
			_ = f.release(old)
			f.bound.drop(b.Home)
		}
		return fmt.Errorf("bind %s to %s: %w", b.Home, b.CareOf, err)
	}
	f.bound.put(b)
	if moved && ofEnds(old) != ofEnds(b) {
		if err := f.release(old); err != nil {
			return fmt.Errorf("end the old binding of %s: %w", b.Home, err)
		}
	}
	f.ct.forget(b.Home)
	return nil
}

func ofEnds(b Binding) ends { return ends{b.Router, b.CareOf} }

// install makes the kernel forward b. The route comes first: it is what a moving node waits for.
func (f *routerKernel) install(b Binding) error {
	rt := route{Dst: netip.PrefixFrom(b.Home, 128), Device: f.external, EncapSrc: b.Router, EncapDst: b.CareOf}
	if f.external == 0 {
		p := f.plain[ofEnds(b)]
		if p == nil {
			var err error
			if p, err = f.addPlain(ofEnds(b)); err != nil {
				return noTunnel(err)
			}
		}
		p.homes[b.Home] = true
		rt.Device, rt.EncapSrc, rt.EncapDst = p.Index, netip.Addr{}, netip.Addr{}
		if err := f.hold(p, b.Home, true); err != nil {
			return err
		}
	}
	if err := f.nl.setRoute(rt); err != nil {
		return err
	}
	return f.guard.AddTunnel(b.CareOf, b.Home)
}

// release takes back what b alone needed, but not its route.
func (f *routerKernel) release(b Binding) error {
	failed := f.guard.RemoveTunnel(b.CareOf, b.Home)
	p := f.plain[ofEnds(b)]
	if p == nil || !p.homes[b.Home] {
		return failed
	}
	delete(p.homes, b.Home)
	if len(p.homes) == 0 && f.reaper == nil {
		f.reaper = time.AfterFunc(reapDelay, f.reap)
	}
	return errors.Join(failed, f.hold(p, b.Home, false))
}

// reapDelay is how long a plain device without bindings stays: to remove one takes the kernel longer than a binding may
// take, and a node that goes to and fro needs it again.
const reapDelay = 2 * time.Second

func (f *routerKernel) reap() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.reaper = nil
	_ = f.dropDevices() // what could not be removed is tried again with the next one, and at Close
}

func (f *routerKernel) Unbind(home netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errClosed
	}
	return f.unbind(home)
}

func (f *routerKernel) unbind(home netip.Addr) error {
	b, was := f.bound.drop(home)
	if !was {
		return nil
	}
	err := errors.Join(f.nl.deleteRoute(route{Dst: netip.PrefixFrom(home, 128)}), f.release(b))
	f.ct.forget(home)
	if err != nil {
		return fmt.Errorf("unbind %s: %w", home, err)
	}
	return nil
}

// Adopt takes over the bindings of routes that an earlier process left, also those it made with the other kind of device.
func (f *routerKernel) Adopt() ([]Binding, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errClosed
	}
	left, err := f.left()
	if err != nil {
		return nil, err
	}
	var all []Binding
	for _, b := range left {
		if _, bound := f.bound.byHome[b.Home]; bound || f.bound.check(b) != nil {
			continue
		}
		// Installing it again changes nothing that is in its place, and mends what is not.
		if err := f.install(b); err != nil {
			return all, fmt.Errorf("take over the binding of %s: %w", b.Home, err)
		}
		f.bound.put(b)
		all = append(all, b)
	}
	return all, errors.Join(f.dropDevices(), f.dropPairs())
}

// left lists what the routes of ours say, and takes up the plain devices that there are.
func (f *routerKernel) left() ([]Binding, error) {
	devices, err := f.nl.devices()
	if err != nil {
		return nil, err
	}
	plain := make(map[int]ends)
	for _, d := range devices {
		if d.Alias != Alias || d.Kind != kindIP6Tnl || d.External {
			continue
		}
		e := ends{d.Local, d.Remote}
		plain[d.Index] = e
		if f.plain[e] == nil {
			f.plain[e] = &plainTunnel{device: d, homes: make(map[netip.Addr]bool)}
		}
	}
	routes, err := f.nl.routes()
	if err != nil {
		return nil, err
	}
	var all []Binding
	for _, rt := range routes {
		b := Binding{Home: rt.Dst.Addr(), Router: rt.EncapSrc, CareOf: rt.EncapDst}
		if e, ok := plain[rt.Device]; ok {
			b.Router, b.CareOf = e.local, e.remote
		}
		if rt.Dst.Bits() == 128 && rt.Table == unix.RT_TABLE_MAIN && b.CareOf.IsValid() {
			all = append(all, b)
		}
	}
	return all, nil
}

// dropDevices removes the plain devices that no home address uses.
func (f *routerKernel) dropDevices() (failed error) {
	for e, p := range f.plain {
		if len(p.homes) == 0 {
			failed = errors.Join(failed, f.removePlain(e))
		}
	}
	return failed
}

// dropPairs removes the guard's pairs that no binding has.
func (f *routerKernel) dropPairs() (failed error) {
	for _, pair := range f.guard.Tunnels() {
		if f.bound.byHome[pair.Inner].CareOf != pair.Outer {
			failed = errors.Join(failed, f.guard.RemoveTunnel(pair.Outer, pair.Inner))
		}
	}
	return failed
}

func (f *routerKernel) Keep(keep []netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errClosed
	}
	var failed error
	for _, home := range f.bound.homes() {
		if !slices.Contains(keep, home) {
			failed = errors.Join(failed, f.unbind(home))
		}
	}
	// Routes that were not adopted, because they contradict each other or what is bound.
	left, err := f.left()
	failed = errors.Join(failed, err)
	for _, b := range left {
		if _, bound := f.bound.byHome[b.Home]; bound {
			continue
		}
		failed = errors.Join(failed, f.nl.deleteRoute(route{Dst: netip.PrefixFrom(b.Home, 128)}))
		if p := f.plain[ofEnds(b)]; p != nil {
			delete(p.homes, b.Home)
			failed = errors.Join(failed, f.hold(p, b.Home, false))
		}
	}
	return errors.Join(failed, f.dropDevices(), f.dropPairs())
}

func (f *routerKernel) Describe() Info {
	info := f.info
	info.Reasons = slices.Clone(info.Reasons)
	return info
}

func (f *routerKernel) Counters(yield func(name string, value uint64)) {
	f.mu.Lock()
	n := len(f.bound.byHome)
	var sum stats
	if devices, err := f.nl.devices(); err == nil && !f.closed {
		for _, d := range devices {
			if d.Alias == Alias {
				sum.add(d.stats)
			}
		}
	}
	f.mu.Unlock()
	yield("bindings", uint64(n))
	sum.yield(yield)
	f.ct.Counters(yield)
}

func (s stats) yield(yield func(name string, value uint64)) {
	yield("out_packets", s.outPackets)
	yield("out_octets", s.outOctets)
	yield("out_errors", s.outErrors)
	yield("out_dropped", s.outDropped)
	yield("in_packets", s.inPackets)
	yield("in_octets", s.inOctets)
	yield("in_errors", s.inErrors)
	yield("in_dropped", s.inDropped)
}

func (f *routerKernel) Close(leave bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	var failed error
	if !leave {
		for _, home := range f.bound.homes() {
			failed = errors.Join(failed, f.unbind(home))
		}
		failed = errors.Join(failed, f.guard.CheckTunnels(false))
		_, err := removeDevices(f.nl, Alias, kindIP6Tnl) // what was never adopted, too
		failed = errors.Join(failed, err)
	}
	f.closed = true
	if f.reaper != nil {
		f.reaper.Stop()
	}
	f.ct.Close()
	return errors.Join(failed, f.nl.Close())
}
