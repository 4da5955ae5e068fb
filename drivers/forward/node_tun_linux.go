package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/roamkey/roamkey/drivers/rtnl"
	"github.com/roamkey/roamkey/drivers/tun"
)

// nodeTable is the routing table of what a mobile node sends from a home address; Plain counts on from it.
const nodeTable = 8200

// nobodysTable is asked by nobody: a place to try what the kernel can do.
const nobodysTable = nodeTable - 1

// nodeTUN is the mobile node's end in this process.
type nodeTUN struct {
	nl     *rtnl.Conn
	engine *engine
	table  *table
	info   Info
	index  int

	mu     sync.Mutex
	bound  ledger
	closed bool
}

func openNodeTUN(cfg NodeConfig, nl *rtnl.Conn) (*nodeTUN, error) {
	mtu, err := deviceMTU(nl, cfg.MTU)
	if err != nil {
		return nil, err
	}
	// What a node that died left: rules, which outlive its device.
	if _, err := cleanup(NodeAlias); err != nil {
		return nil, err
	}
	device, index, err := tun.Open(nl, cfg.Device, NodeAlias, mtu)
	if err != nil {
		return nil, err
	}
	t := newTable(nodeSide)
	e, err := newEngine(t, device, mtu)
	if err != nil {
		return nil, err
	}
	n := &nodeTUN{
		nl: nl, engine: e, table: t, index: index, bound: newLedger(),
		info: Info{Backend: TUN, Device: cfg.Device, MTU: mtu, Reasons: tunReasons(cfg.Guard != nil)},
	}
	if err := nl.SetRoute(defaultRoute(nodeTable, index)); err != nil {
		e.Close()
		return nil, err
	}
	return n, nil
}

// defaultRoute sends all that a routing table is asked for into a device.
func defaultRoute(table, device int) rtnl.Route {
	return rtnl.Route{Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Device: device, Table: table}
}

// fromHome sends what comes from home to a routing table.
func fromHome(home netip.Addr, table int) rtnl.Rule {
	return rtnl.Rule{From: home, Table: table, Priority: rtnl.RulePriority}
}

func (n *nodeTUN) Bind(b Binding) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	if err := n.bound.checkNode(b); err != nil {
		return err
	}
	n.table.set(b, n.engine.pathMTU(b.Router.As16()))
	n.bound.put(b)
	err := n.nl.AddAddress(n.index, b.Home)
	if err == nil {
		err = n.nl.AddRule(fromHome(b.Home, nodeTable))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("bind %s: %w", b.Home, err), n.unbind(b.Home))
	}
	return nil
}

func (n *nodeTUN) Expect(b Binding) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	n.table.expect(b)
	return nil
}

func (n *nodeTUN) Unbind(home netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	return n.unbind(home)
}

func (n *nodeTUN) unbind(home netip.Addr) error {
	if _, bound := n.bound.drop(home); !bound {
		return nil
	}
	n.table.remove(home)
	return errors.Join(n.nl.DeleteRule(fromHome(home, nodeTable)), n.nl.DeleteAddress(n.index, home))
}

func (n *nodeTUN) Describe() Info {
	info := n.info
	info.Reasons = slices.Clone(info.Reasons)
	return info
}

func (n *nodeTUN) Counters(yield func(name string, value uint64)) {
	n.mu.Lock()
	bound := len(n.bound.byHome)
	n.mu.Unlock()
	yield("bindings", uint64(bound))
	n.engine.Counters(yield)
}

func (n *nodeTUN) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	var failed error
	for _, home := range n.bound.homes() {
		failed = errors.Join(failed, n.unbind(home)) // a rule would outlive the device
	}
	n.engine.Close()
	return errors.Join(failed, n.nl.Close())
}
