package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/roamkey/roamkey/drivers/conntrack"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rtnl"
	"github.com/roamkey/roamkey/drivers/tun"
)

// routerTUN is the router's end in this process.
type routerTUN struct {
	nl     *rtnl.Conn
	ct     *conntrack.Table
	engine *engine
	table  *table
	info   Info
	index  int

	mu     sync.Mutex
	bound  ledger
	closed bool
}

func openRouterTUN(cfg Config, nl *rtnl.Conn, ct *conntrack.Table, g *guard.Guard) (*routerTUN, error) {
	mtu, err := deviceMTU(nl, cfg.MTU)
	if err != nil {
		return nil, err
	}
	// Kernel tunnels of an earlier process; a TUN device is of one that runs.
	if _, err := removeDevices(nl, Alias, rtnl.KindIP6Tnl); err != nil {
		return nil, err
	}
	if err := dropServed(nl, nobody); err != nil {
		return nil, err
	}
	device, index, err := tun.Open(nl, cfg.Device, Alias, mtu)
	if err != nil {
		return nil, err
	}
	t := newTable(routerSide)
	e, err := newEngine(t, device, mtu)
	if err != nil {
		return nil, err
	}
	// The engine checks sources itself, after fragments have been put together.
	if err := g.CheckTunnels(false); err != nil {
		e.Close()
		return nil, err
	}
	return &routerTUN{
		nl: nl, ct: ct, engine: e, table: t, index: index, bound: newLedger(),
		info: Info{Backend: TUN, Device: cfg.Device, MTU: mtu, Reasons: tunReasons(g != nil)},
	}, nil
}

func (f *routerTUN) Bind(b Binding) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errClosed
	}
	if err := f.bound.check(b); err != nil {
		return err
	}
	f.table.set(b, f.engine.pathMTU(b.CareOf.As16()))
	// Also for a binding that only moves: somebody may have taken the route away.
	if err := f.nl.SetRoute(f.route(b.Home)); err != nil {
		f.table.remove(b.Home)
		f.bound.drop(b.Home)
		return fmt.Errorf("bind %s to %s: %w", b.Home, b.CareOf, err)
	}
	f.bound.put(b)
	f.ct.Forget(b.Home)
	return nil
}

func (f *routerTUN) route(home netip.Addr) rtnl.Route {
	return rtnl.Route{Dst: netip.PrefixFrom(home, 128), Device: f.index}
}

func (f *routerTUN) Unbind(home netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unbind(home)
}

func (f *routerTUN) unbind(home netip.Addr) error {
	if f.closed {
		return errClosed
	}
	if _, bound := f.bound.byHome[home]; !bound {
		return nil
	}
	if err := f.nl.DeleteRoute(f.route(home)); err != nil {
		return fmt.Errorf("unbind %s: %w", home, err)
	}
	f.table.remove(home)
	f.bound.drop(home)
	f.ct.Forget(home)
	return nil
}

// Adopt finds nothing: a TUN device goes with its process, and its routes with it.
func (f *routerTUN) Adopt() ([]Binding, error) { return nil, nil }

func (f *routerTUN) Keep(keep []netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, home := range f.bound.homes() {
		if slices.Contains(keep, home) {
			continue
		}
		if err := f.unbind(home); err != nil {
			return err
		}
	}
	for _, home := range f.bound.servedHomes() {
		if slices.Contains(keep, home) {
			continue
		}
		if err := f.unserve(home); err != nil {
			return err
		}
	}
	return nil
}

func (f *routerTUN) Describe() Info {
	info := f.info
	info.Reasons = slices.Clone(info.Reasons)
	return info
}

func (f *routerTUN) Counters(yield func(name string, value uint64)) {
	f.mu.Lock()
	n, served := len(f.bound.byHome), len(f.bound.served)
	f.mu.Unlock()
	yield("bindings", uint64(n))
	yield("served", uint64(served))
	f.engine.Counters(yield)
	f.ct.Counters(yield)
}

// Close removes the device and its routes, whether or not they are to be left: without this process they do nothing.
func (f *routerTUN) Close(leave bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	var failed error
	for _, home := range f.bound.servedHomes() {
		failed = errors.Join(failed, f.unserve(home)) // rules would outlive the device
	}
	f.closed = true
	f.engine.Close()
	f.ct.Close()
	return errors.Join(failed, f.nl.Close())
}
