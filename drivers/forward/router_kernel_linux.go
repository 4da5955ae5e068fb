package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/conntrack"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rtnl"
)

// ends are the two ends of a plain tunnel.
type ends struct{ local, remote netip.Addr }

// plainTunnel is one plain ip6tnl device of ours.
type plainTunnel struct {
	rtnl.Device
	homes map[netip.Addr]bool // that use it
}

// routerKernel is the router's end in the kernel, by one device in external mode or by plain ones. What an earlier process
// left by the other of the two it takes over as well.
type routerKernel struct {
	nl    *rtnl.Conn
	ct    *conntrack.Table
	guard *guard.Guard
	name  string // of the external device; plain ones count on from it
	info  Info

	mu       sync.Mutex
	bound    ledger
	external int // index of the device; 0 with plain ones
	plain    map[ends]*plainTunnel
	served   map[ends]*servedTunnel
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
		_ = f.nl.DeleteRoute(rtnl.Route{Dst: netip.PrefixFrom(b.Home, 128)})
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
	f.ct.Forget(b.Home)
	return nil
}

func ofEnds(b Binding) ends { return ends{b.Router, b.CareOf} }

// install makes the kernel forward b. The route comes first: it is what a moving node waits for.
func (f *routerKernel) install(b Binding) error {
	rt := rtnl.Route{Dst: netip.PrefixFrom(b.Home, 128), Device: f.external, EncapSrc: b.Router, EncapDst: b.CareOf}
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
	if err := f.nl.SetRoute(rt); err != nil {
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
	if len(p.homes) == 0 {
		f.reapSoon()
	}
	return errors.Join(failed, f.hold(p, b.Home, false))
}

func (f *routerKernel) reapSoon() {
	if f.reaper == nil {
		f.reaper = time.AfterFunc(reapDelay, f.reap)
	}
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
	err := errors.Join(f.nl.DeleteRoute(rtnl.Route{Dst: netip.PrefixFrom(home, 128)}), f.release(b))
	f.ct.Forget(home)
	if err != nil {
		return fmt.Errorf("unbind %s: %w", home, err)
	}
	return nil
}

func (f *routerKernel) Describe() Info {
	info := f.info
	info.Reasons = slices.Clone(info.Reasons)
	return info
}

func (f *routerKernel) Counters(yield func(name string, value uint64)) {
	f.mu.Lock()
	n, served := len(f.bound.byHome), len(f.bound.served)
	var sum rtnl.Stats
	if devices, err := f.nl.Devices(); err == nil && !f.closed {
		for _, d := range devices {
			if d.Alias == Alias {
				sum.Add(d.Stats)
			}
		}
	}
	f.mu.Unlock()
	yield("bindings", uint64(n))
	yield("served", uint64(served))
	sum.Yield(yield)
	f.ct.Counters(yield)
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
		for _, home := range f.bound.servedHomes() {
			failed = errors.Join(failed, f.unserve(home))
		}
		failed = errors.Join(failed, f.guard.CheckTunnels(false), dropServed(f.nl, nobody))
		_, err := removeDevices(f.nl, Alias, rtnl.KindIP6Tnl) // what was never adopted, too
		failed = errors.Join(failed, err)
	}
	f.closed = true
	if f.reaper != nil {
		f.reaper.Stop()
	}
	f.ct.Close()
	return errors.Join(failed, f.nl.Close())
}
