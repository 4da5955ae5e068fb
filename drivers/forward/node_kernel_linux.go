package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rtnl"
)

// nodeKernel is the mobile node's end in the kernel: a plain ip6tnl device for each pair of care-of address and router, and
// a routing table for each device.
type nodeKernel struct {
	nl    *rtnl.Conn
	guard *guard.Node
	name  string // devices count on from it
	info  Info

	mu      sync.Mutex
	bound   ledger
	tunnels map[ends]*nodeTunnel
	other   map[netip.Addr]Binding // by home address: whose packets are taken beside those of the binding (Expect)
	closed  bool
}

// nodeTunnel is one device and the routing table that leads into it.
type nodeTunnel struct {
	rtnl.Device
	table int
	homes map[netip.Addr]bool
}

func openNodeKernel(cfg NodeConfig, nl *rtnl.Conn) (*nodeKernel, error) {
	mtu, err := deviceMTU(nl, cfg.MTU)
	if err != nil {
		return nil, err
	}
	n := &nodeKernel{
		nl: nl, guard: cfg.Guard, name: cfg.Device, bound: newLedger(), tunnels: make(map[ends]*nodeTunnel), other: make(map[netip.Addr]Binding),
		info: Info{Backend: Plain, Device: cfg.Device, MTU: mtu},
	}
	// What a node that died left is of no use: nobody knows whether the routers still have it.
	if _, err := cleanup(NodeAlias); err != nil {
		return nil, err
	}
	probe := ends{netip.MustParseAddr("100::1"), netip.MustParseAddr("100::2")}
	t, err := n.addTunnel(probe)
	if err != nil {
		return nil, fmt.Errorf("plain ip6tnl: %w", noTunnel(err))
	}
	if cfg.Guard == nil {
		n.info.Reasons = append(n.info.Reasons, "without nftables a tunnel device takes packets for any address of this host")
	}
	return n, n.removeTunnel(probe, t)
}

func (n *nodeKernel) addTunnel(e ends) (*nodeTunnel, error) {
	name, err := makePlain(n.nl, n.name, e)
	if err != nil {
		return nil, err
	}
	d, err := n.nl.Device(name)
	if err != nil {
		return nil, err
	}
	t := &nodeTunnel{Device: d, table: n.freeTable(), homes: make(map[netip.Addr]bool)}
	err = n.nl.Configure(d.Index, rtnl.Settings{Alias: NodeAlias, MTU: n.info.MTU})
	if err == nil {
		err = n.nl.SetRoute(defaultRoute(t.table, d.Index))
	}
	if err != nil {
		return nil, errors.Join(err, n.nl.DeleteDevice(d.Index))
	}
	n.tunnels[e] = t
	return t, nil
}

func (n *nodeKernel) freeTable() int {
	used := make(map[int]bool)
	for _, t := range n.tunnels {
		used[t.table] = true
	}
	table := nodeTable
	for used[table] || table == rtnl.HoldTable {
		table++
	}
	return table
}

func (n *nodeKernel) removeTunnel(e ends, t *nodeTunnel) error {
	delete(n.tunnels, e)
	return n.nl.DeleteDevice(t.Index) // its routes and addresses go with it
}

func (n *nodeKernel) Bind(b Binding) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	if err := n.bound.checkNode(b); err != nil {
		return err
	}
	old, moved := n.bound.byHome[b.Home]
	if moved && nodeEnds(old) == nodeEnds(b) {
		n.bound.put(b)
		return nil
	}
	failedBefore := n.dropOther(b)
	if err := n.install(b); err != nil {
		failed := errors.Join(failedBefore, n.release(b))
		if moved {
			failed = errors.Join(failed, n.release(old))
			n.bound.drop(b.Home)
		}
		return errors.Join(fmt.Errorf("bind %s: %w", b.Home, err), failed)
	}
	n.bound.put(b)
	switch {
	case moved && old.Router == b.Router:
		// What the same router sent to the care-of address before may still be under way. The home address stays on that
		// device, too: on the new one a worker of the kernel makes it receive, in its own time.
		n.other[b.Home] = old
		return errors.Join(failedBefore, n.withdraw(old))
	case moved:
		return errors.Join(failedBefore, n.release(old))
	}
	return failedBefore
}

// dropOther ends what is taken for a home address beside its binding, but for what next takes itself.
func (n *nodeKernel) dropOther(next Binding) error {
	old, ok := n.other[next.Home]
	delete(n.other, next.Home)
	if !ok || nodeEnds(old) == nodeEnds(next) {
		return nil
	}
	return n.refuse(old)
}

func (n *nodeKernel) Expect(b Binding) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	now, bound := n.bound.byHome[b.Home]
	if !bound || now.Router != b.Router || nodeEnds(now) == nodeEnds(b) {
		return nil
	}
	failed := n.dropOther(b)
	_, err := n.admit(b)
	n.other[b.Home] = b
	return errors.Join(failed, err)
}

func nodeEnds(b Binding) ends { return ends{b.CareOf, b.Router} }

// admit has the packets of b's tunnel taken that are for its home address.
func (n *nodeKernel) admit(b Binding) (*nodeTunnel, error) {
	t := n.tunnels[nodeEnds(b)]
	if t == nil {
		var err error
		if t, err = n.addTunnel(nodeEnds(b)); err != nil {
			return nil, noTunnel(err)
		}
	}
	t.homes[b.Home] = true
	return t, n.guard.AddHome(t.Name, b.Home)
}

func (n *nodeKernel) install(b Binding) error {
	t, err := n.admit(b)
	if err != nil {
		return err
	}
	if err := n.nl.AddAddress(t.Index, b.Home); err != nil {
		return err
	}
	return n.nl.AddRule(fromHome(b.Home, t.table))
}

func (n *nodeKernel) release(b Binding) error { return errors.Join(n.withdraw(b), n.refuse(b)) }

// withdraw sends nothing from b's home address through its tunnel any more.
func (n *nodeKernel) withdraw(b Binding) error {
	t := n.tunnels[nodeEnds(b)]
	if t == nil || !t.homes[b.Home] {
		return nil
	}
	return n.nl.DeleteRule(fromHome(b.Home, t.table))
}

// refuse takes nothing for b's home address out of its tunnel any more.
func (n *nodeKernel) refuse(b Binding) error {
	e := nodeEnds(b)
	t := n.tunnels[e]
	if t == nil || !t.homes[b.Home] {
		return nil
	}
	delete(t.homes, b.Home)
	failed := errors.Join(n.nl.DeleteAddress(t.Index, b.Home), n.guard.RemoveHome(t.Name, b.Home))
	if len(t.homes) == 0 {
		failed = errors.Join(failed, n.removeTunnel(e, t))
	}
	return failed
}

func (n *nodeKernel) Unbind(home netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	return n.unbind(home)
}

func (n *nodeKernel) unbind(home netip.Addr) error {
	b, bound := n.bound.drop(home)
	if !bound {
		return nil
	}
	return errors.Join(n.dropOther(Binding{Home: home}), n.release(b))
}

func (n *nodeKernel) Describe() Info {
	info := n.info
	info.Reasons = slices.Clone(info.Reasons)
	return info
}

func (n *nodeKernel) Counters(yield func(name string, value uint64)) {
	n.mu.Lock()
	bound := len(n.bound.byHome)
	var sum rtnl.Stats
	if devices, err := n.nl.Devices(); err == nil {
		for _, d := range devices {
			if d.Alias == NodeAlias {
				sum.Add(d.Stats)
			}
		}
	}
	n.mu.Unlock()
	yield("bindings", uint64(bound))
	sum.Yield(yield)
}

func (n *nodeKernel) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	var failed error
	for _, home := range n.bound.homes() {
		failed = errors.Join(failed, n.unbind(home))
	}
	n.closed = true
	return errors.Join(failed, n.nl.Close())
}
