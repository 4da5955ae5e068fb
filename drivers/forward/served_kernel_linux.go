package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/rtnl"
)

// servedTunnel is the routing table that leads into the tunnel to another router.
type servedTunnel struct {
	table int
	homes map[netip.Addr]bool // of nodes that use it
}

// Serve implements Forwarder.
func (f *routerKernel) Serve(b Binding) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errClosed
	}
	if err := f.bound.checkServe(b); err != nil {
		return err
	}
	link, err := servedLink(f.nl, b)
	if err != nil {
		return err
	}
	b.Served = true
	old, was := f.bound.served[b.Home]
	s, err := f.installServed(b, link)
	if err != nil {
		// Nothing of either is to be left: whoever asked takes it as ended.
		err = errors.Join(fmt.Errorf("serve %s for %s: %w", b.Home, b.CareOf, err), f.releaseServed(s, servedNode{}))
		if was {
			err = errors.Join(err, f.releaseServed(old, servedNode{}))
			f.bound.dropServed(b.Home)
		}
		return err
	}
	f.bound.putServed(s)
	if was {
		if err := f.releaseServed(old, s); err != nil {
			return fmt.Errorf("end how %s was served: %w", b.Home, err)
		}
	}
	f.ct.Forget(b.Home)
	return nil
}

// installServed makes the kernel take what comes for the node out of the tunnel, and send what comes from it into that.
func (f *routerKernel) installServed(b Binding, link string) (servedNode, error) {
	s := servedNode{Binding: b, link: link}
	rt := rtnl.Route{Device: f.external, EncapSrc: b.Router, EncapDst: b.CareOf}
	var p *plainTunnel
	if f.external == 0 {
		if p = f.plain[ofEnds(b)]; p == nil {
			var err error
			if p, err = f.addPlain(ofEnds(b)); err != nil {
				return s, noTunnel(err)
			}
		}
		rt = rtnl.Route{Device: p.Index}
	}
	t := f.served[ofEnds(b)]
	if t == nil {
		table, err := f.freeServedTable()
		if err != nil {
			return s, err
		}
		t = &servedTunnel{table: table, homes: make(map[netip.Addr]bool)}
		f.served[ofEnds(b)] = t
	}
	t.homes[b.Home] = true
	s.table = t.table
	rt.Dst, rt.Table = netip.PrefixFrom(netip.IPv6Unspecified(), 0), t.table
	if err := f.nl.SetRoute(rt); err != nil {
		return s, err
	}
	if err := f.guard.AddServed(b.CareOf, b.Home); err != nil {
		return s, err
	}
	if p != nil {
		if err := f.holdServed(p, b.Home, true); err != nil {
			return s, err
		}
	}
	return s, lead(f.nl, s)
}

// freeServedTable finds a table that no tunnel has. There are more of them than a router has neighbours.
func (f *routerKernel) freeServedTable() (int, error) {
	used := make(map[int]bool)
	for _, t := range f.served {
		used[t.table] = true
	}
	for table := servedTable; table < servedTablesEnd; table++ {
		if !used[table] {
			return table, nil
		}
	}
	return 0, errors.New("all routing tables for nodes of other routers are in use")
}

// holdServed lets packets for home out of the tunnel, or no longer.
func (f *routerKernel) holdServed(p *plainTunnel, home netip.Addr, on bool) error {
	if f.guard != nil {
		return nil // it checks outer source and inner destination together
	}
	ru := rtnl.Rule{To: home, Device: p.Name, Table: unix.RT_TABLE_MAIN, Priority: rtnl.RulePriority}
	if on {
		return f.nl.AddRule(ru)
	}
	return f.nl.DeleteRule(ru)
}

// releaseServed takes back what s alone needed, but what next needs as well, as which the node is served from now on; the zero
// value is none.
func (f *routerKernel) releaseServed(s, next servedNode) error {
	failed := unlead(f.nl, s, next)
	if ofEnds(s.Binding) == ofEnds(next.Binding) {
		return failed
	}
	if s.Home != next.Home || s.CareOf != next.CareOf {
		failed = errors.Join(failed, f.guard.RemoveServed(s.CareOf, s.Home))
	}
	if p := f.plain[ofEnds(s.Binding)]; p != nil {
		failed = errors.Join(failed, f.holdServed(p, s.Home, false))
	}
	if t := f.served[ofEnds(s.Binding)]; t != nil {
		delete(t.homes, s.Home)
		failed = errors.Join(failed, f.dropServedTables())
	}
	return failed
}

// dropServedTables empties the routing tables that no node uses.
func (f *routerKernel) dropServedTables() (failed error) {
	for e, t := range f.served {
		if len(t.homes) != 0 {
			continue
		}
		delete(f.served, e)
		failed = errors.Join(failed, f.nl.DeleteRoute(defaultRoute(t.table, 0))) // whatever device it leads into
		f.reapSoon()
	}
	return failed
}

// Unserve implements Forwarder.
func (f *routerKernel) Unserve(home netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errClosed
	}
	return f.unserve(home)
}

func (f *routerKernel) unserve(home netip.Addr) error {
	s, was := f.bound.dropServed(home)
	if !was {
		return nil
	}
	err := f.releaseServed(s, servedNode{})
	f.ct.Forget(home)
	if err != nil {
		return fmt.Errorf("end serving %s: %w", home, err)
	}
	return nil
}

// leftServed lists the nodes that rules of ours say are served, and takes up the tables that there are.
func (f *routerKernel) leftServed() ([]servedNode, error) {
	_, tables, err := f.look()
	if err != nil {
		return nil, err
	}
	for table, e := range tables {
		if f.served[e] == nil {
			f.served[e] = &servedTunnel{table: table, homes: make(map[netip.Addr]bool)}
		}
	}
	rules, err := f.nl.Rules()
	if err != nil {
		return nil, err
	}
	devices, err := f.nl.Devices()
	if err != nil {
		return nil, err
	}
	var all []servedNode
	for _, ru := range rules {
		e, ok := tables[ru.Table]
		if !ok || !ru.From.IsValid() || f.served[e].table != ru.Table {
			continue
		}
		s := servedNode{link: ru.Device, table: ru.Table, Binding: Binding{Home: ru.From, Router: e.local, CareOf: e.remote, Served: true}}
		for _, d := range devices {
			if d.Name == ru.Device {
				s.Link = d.Index
			}
		}
		if s.Link != 0 {
			all = append(all, s)
		}
	}
	return all, nil
}

// takeOverServed takes up what an earlier process left, so far that it goes on when the guard begins to check.
func (f *routerKernel) takeOverServed() error {
	left, err := f.leftServed()
	for _, s := range left {
		f.served[ofEnds(s.Binding)].homes[s.Home] = true
		err = errors.Join(err, f.guard.AddServed(s.CareOf, s.Home))
		if p := f.plain[ofEnds(s.Binding)]; p != nil {
			err = errors.Join(err, f.holdServed(p, s.Home, true))
		}
	}
	return err
}

// adoptServed takes over the nodes that an earlier process served, also those it did with the other kind of device.
func (f *routerKernel) adoptServed() ([]Binding, error) {
	left, err := f.leftServed()
	if err != nil {
		return nil, err
	}
	var all []Binding
	for _, s := range left {
		if _, served := f.bound.served[s.Home]; served || f.bound.checkServe(s.Binding) != nil {
			continue
		}
		// Installing it again changes nothing that is in its place, and mends what is not.
		if s, err = f.installServed(s.Binding, s.link); err != nil {
			return all, fmt.Errorf("take over serving %s: %w", s.Home, err)
		}
		f.bound.putServed(s)
		all = append(all, s.Binding)
	}
	return all, nil
}

// keepServed ends serving all nodes but these, and what was not adopted.
func (f *routerKernel) keepServed(keep []netip.Addr) (failed error) {
	for _, home := range f.bound.servedHomes() {
		if !slices.Contains(keep, home) {
			failed = errors.Join(failed, f.unserve(home))
		}
	}
	served := func(home netip.Addr) bool { return f.bound.served[home].Home == home }
	failed = errors.Join(failed, dropServed(f.nl, served))
	for e, t := range f.served {
		for home := range t.homes {
			if s, ok := f.bound.served[home]; ok && ofEnds(s.Binding) == e {
				continue
			}
			delete(t.homes, home)
			if p := f.plain[e]; p != nil {
				failed = errors.Join(failed, f.holdServed(p, home, false))
			}
		}
	}
	return errors.Join(failed, f.dropServedTables())
}
