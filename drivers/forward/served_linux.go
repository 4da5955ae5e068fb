package forward

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/roamkey/roamkey/drivers/rtnl"
)

const (
	// servedTable is the first routing table of what nodes send that keep their addresses of other routers. The kernel
	// backends have one for each tunnel.
	servedTable     = 8000
	servedTablesEnd = nobodysTable

	// spareMetric is that of a route that stands in for a node's host route where that is gone (drivers/neighbors makes
	// those, with the metric 83): without it, packets for the node would go back to where they came from.
	spareMetric = rtnl.Metric + 2
)

func isServed(table int) bool { return table >= servedTable && table < servedTablesEnd }

// fromServed sends what comes from the node by its link to a routing table.
func fromServed(s servedNode) rtnl.Rule {
	return rtnl.Rule{From: s.Home, Device: s.link, Table: s.table, Priority: rtnl.RulePriority}
}

func spareRoute(home netip.Addr) rtnl.Route {
	return rtnl.Route{Dst: netip.PrefixFrom(home, 128), Metric: spareMetric, Unreachable: true}
}

// lead makes the kernel send what the node says into its table, and let nothing for it go on to elsewhere.
func lead(nl *rtnl.Conn, s servedNode) error {
	if err := nl.SetRoute(spareRoute(s.Home)); err != nil {
		return err
	}
	return nl.AddRule(fromServed(s))
}

// unlead takes that back, but what next, the node as it is served from now on, needs as well; the zero value is none.
func unlead(nl *rtnl.Conn, s, next servedNode) (failed error) {
	if fromServed(s) != fromServed(next) {
		failed = nl.DeleteRule(fromServed(s))
	}
	if s.Home != next.Home {
		failed = errors.Join(failed, nl.DeleteRoute(spareRoute(s.Home)))
	}
	return failed
}

// nobody is what dropServed keeps when all is to go.
func nobody(netip.Addr) bool { return false }

// dropServed removes rules and spare routes of ours for all nodes but those that keep names, whoever made them.
func dropServed(nl *rtnl.Conn, keep func(home netip.Addr) bool) error {
	rules, failed := nl.Rules()
	for _, ru := range rules {
		if isServed(ru.Table) && !keep(ru.From) {
			failed = errors.Join(failed, nl.DeleteRule(ru))
		}
	}
	routes, err := nl.Routes()
	failed = errors.Join(failed, err)
	for _, rt := range routes {
		if rt.Unreachable && rt.Metric == spareMetric && !keep(rt.Dst.Addr()) {
			failed = errors.Join(failed, nl.DeleteRoute(rt))
		}
	}
	return failed
}

// servedLink gives the name of the link that a node is on, which is what rules go by.
func servedLink(nl *rtnl.Conn, b Binding) (string, error) {
	all, err := nl.Devices()
	if err != nil {
		return "", err
	}
	for _, d := range all {
		if d.Index == b.Link {
			return d.Name, nil
		}
	}
	return "", fmt.Errorf("serve %s for %s: there is no link %d", b.Home, b.CareOf, b.Link)
}

// probeServe says why the kernel cannot serve nodes; nil if it can.
func probeServe(nl *rtnl.Conn) error {
	ru := rtnl.Rule{From: homeProbe, Table: nobodysTable, Priority: rtnl.RulePriority}
	if err := nl.AddRule(ru); err != nil {
		return fmt.Errorf("%w (the kernel needs CONFIG_IPV6_MULTIPLE_TABLES)", err)
	}
	return nl.DeleteRule(ru)
}
