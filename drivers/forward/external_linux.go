package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/conntrack"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rtnl"
)

// openExternal opens the router's end with one device in external mode.
func openExternal(cfg Config, nl *rtnl.Conn, ct *conntrack.Table, g *guard.Guard) (*routerKernel, error) {
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
	err = nl.Configure(d.Index, rtnl.Settings{Alias: Alias, MTU: mtu})
	if err == nil {
		err = probeEncap(nl, d.Index)
	}
	if err != nil {
		if made {
			_ = nl.DeleteDevice(d.Index)
		}
		return nil, fmt.Errorf("external ip6tnl: %w", err)
	}
	f := &routerKernel{
		nl: nl, ct: ct, guard: g, name: cfg.Device, external: d.Index, bound: newLedger(), plain: make(map[ends]*plainTunnel), served: make(map[ends]*servedTunnel),
		info: Info{Backend: External, Device: cfg.Device, MTU: mtu},
	}
	if err := f.takeOver(); err != nil {
		return nil, err
	}
	return f, nil
}

// externalDevice finds our device in external mode, or makes it.
func externalDevice(nl *rtnl.Conn, name string) (d rtnl.Device, made bool, err error) {
	d, err = nl.Device(name)
	if err == nil {
		if d.Alias != Alias {
			return d, false, fmt.Errorf("a device %s exists that is not Roamkey's", name)
		}
		if d.Kind != rtnl.KindIP6Tnl || !d.External {
			return d, false, fmt.Errorf("device %s is Roamkey's, but of another kind: does another process run?", name)
		}
		return d, false, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return d, false, err
	}
	err = nl.AddTunnel(name, netip.Addr{}, netip.Addr{})
	if errors.Is(err, unix.EEXIST) {
		return d, false, fmt.Errorf("there can be one such device only, and %s is it", otherExternal(nl))
	}
	if err != nil {
		return d, false, noTunnel(err)
	}
	d, err = nl.Device(name)
	if err == nil && !d.External {
		_ = nl.DeleteDevice(d.Index)
		return d, false, errors.New("this kernel's ip6_tunnel is too old for it (Linux 4.9)")
	}
	return d, true, err
}

func otherExternal(nl *rtnl.Conn) string {
	all, _ := nl.Devices()
	for _, d := range all {
		if d.External {
			return d.Name
		}
	}
	return "another device"
}

// probeEncap tries a route with an encapsulation, to the discard prefix (RFC 6666) in a table that nobody asks.
func probeEncap(nl *rtnl.Conn, index int) error {
	discard := netip.MustParseAddr("100::")
	rt := rtnl.Route{Dst: netip.PrefixFrom(discard, 128), Device: index, Table: nobodysTable, EncapSrc: discard, EncapDst: discard}
	if err := nl.SetRoute(rt); err != nil {
		return fmt.Errorf("%w (the kernel needs CONFIG_LWTUNNEL)", err)
	}
	return nl.DeleteRoute(rt)
}
