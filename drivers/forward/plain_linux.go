package forward

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/conntrack"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rtnl"
)

// openPlain opens the router's end with one device for each pair of router and care-of address.
func openPlain(cfg Config, nl *rtnl.Conn, ct *conntrack.Table, g *guard.Guard) (*routerKernel, error) {
	mtu, err := deviceMTU(nl, cfg.MTU)
	if err != nil {
		return nil, err
	}
	f := &routerKernel{
		nl: nl, ct: ct, guard: g, name: cfg.Device, bound: newLedger(), plain: make(map[ends]*plainTunnel), served: make(map[ends]*servedTunnel),
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
	d, err := f.nl.Device(name)
	if err == nil {
		err = f.nl.Configure(d.Index, rtnl.Settings{Alias: Alias, MTU: f.info.MTU})
	}
	if err == nil && f.guard == nil {
		err = f.nl.AddRule(rtnl.Rule{Device: name, Priority: rtnl.DropPriority})
	}
	if err != nil {
		_ = f.nl.DeleteDevice(d.Index)
		return nil, err
	}
	p := &plainTunnel{Device: d, homes: make(map[netip.Addr]bool)}
	f.plain[e] = p
	return p, nil
}

// makePlain makes a plain device with a name that is free, like base with another number.
func makePlain(nl *rtnl.Conn, base string, e ends) (name string, err error) {
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
		if _, err := nl.Device(name); err == nil {
			continue
		}
		if err := nl.AddTunnel(name, e.local, e.remote); !errors.Is(err, unix.EEXIST) {
			return name, err
		}
		if other := otherPlain(nl, e); other != "" {
			return "", fmt.Errorf("device %s is a tunnel between %s and %s already", other, e.local, e.remote)
		}
	}
	return "", errors.New("no device name is free")
}

func otherPlain(nl *rtnl.Conn, e ends) string {
	all, _ := nl.Devices()
	for _, d := range all {
		if d.Kind == rtnl.KindIP6Tnl && d.Local == e.local && d.Remote == e.remote {
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
		failed = f.nl.DeleteRule(rtnl.Rule{Device: p.Name, Priority: rtnl.DropPriority})
	}
	return errors.Join(failed, f.nl.DeleteDevice(p.Index))
}

// hold lets packets from home out of the tunnel, or no longer.
func (f *routerKernel) hold(p *plainTunnel, home netip.Addr, on bool) error {
	if f.guard != nil {
		return nil // it checks outer and inner source together
	}
	ru := rtnl.Rule{From: home, Device: p.Name, Table: unix.RT_TABLE_MAIN, Priority: rtnl.RulePriority}
	if on {
		return f.nl.AddRule(ru)
	}
	return f.nl.DeleteRule(ru)
}
