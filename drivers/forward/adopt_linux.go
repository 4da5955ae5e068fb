package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/rtnl"
)

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
	err = errors.Join(err, f.takeOverServed())
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
			failed = errors.Join(failed, f.nl.AddRule(rtnl.Rule{Device: p.Name, Priority: rtnl.DropPriority}))
		}
		return failed
	}
	rules, failed := f.nl.Rules()
	for _, ru := range rules {
		for _, p := range f.plain {
			if ru.Device == p.Name {
				failed = errors.Join(failed, f.nl.DeleteRule(ru))
			}
		}
	}
	return failed
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
	served, err := f.adoptServed()
	return append(all, served...), errors.Join(err, f.dropDevices(), f.dropPairs())
}

// left lists what the routes of ours say, and takes up the plain devices that there are.
func (f *routerKernel) left() ([]Binding, error) {
	all, _, err := f.look()
	return all, err
}

// look lists what the routes of ours to home addresses say, and the tables of what served nodes send, with the tunnels that
// they lead into. It takes up the plain devices that there are.
func (f *routerKernel) look() ([]Binding, map[int]ends, error) {
	devices, err := f.nl.Devices()
	if err != nil {
		return nil, nil, err
	}
	plain := make(map[int]ends)
	for _, d := range devices {
		if d.Alias != Alias || d.Kind != rtnl.KindIP6Tnl || d.External {
			continue
		}
		e := ends{d.Local, d.Remote}
		plain[d.Index] = e
		if f.plain[e] == nil {
			f.plain[e] = &plainTunnel{Device: d, homes: make(map[netip.Addr]bool)}
		}
	}
	routes, err := f.nl.Routes()
	if err != nil {
		return nil, nil, err
	}
	var all []Binding
	tables := make(map[int]ends)
	for _, rt := range routes {
		b := Binding{Home: rt.Dst.Addr(), Router: rt.EncapSrc, CareOf: rt.EncapDst}
		if e, ok := plain[rt.Device]; ok {
			b.Router, b.CareOf = e.local, e.remote
		}
		if rt.Dst.Bits() == 0 && isServed(rt.Table) && b.CareOf.IsValid() {
			tables[rt.Table] = ofEnds(b)
		}
		if rt.Dst.Bits() == 128 && rt.Table == unix.RT_TABLE_MAIN && b.CareOf.IsValid() {
			all = append(all, b)
		}
	}
	return all, tables, nil
}

// dropDevices removes the plain devices that no home address uses.
func (f *routerKernel) dropDevices() (failed error) {
	for e, p := range f.plain {
		if len(p.homes) == 0 && f.served[e] == nil {
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
	for _, pair := range f.guard.Served() {
		if f.bound.served[pair.Inner].CareOf != pair.Outer {
			failed = errors.Join(failed, f.guard.RemoveServed(pair.Outer, pair.Inner))
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
	failed = errors.Join(failed, f.keepServed(keep))
	// Routes that were not adopted, because they contradict each other or what is bound.
	left, err := f.left()
	failed = errors.Join(failed, err)
	for _, b := range left {
		if _, bound := f.bound.byHome[b.Home]; bound {
			continue
		}
		failed = errors.Join(failed, f.nl.DeleteRoute(rtnl.Route{Dst: netip.PrefixFrom(b.Home, 128)}))
		if p := f.plain[ofEnds(b)]; p != nil {
			delete(p.homes, b.Home)
			failed = errors.Join(failed, f.hold(p, b.Home, false))
		}
	}
	return errors.Join(failed, f.dropDevices(), f.dropPairs())
}
