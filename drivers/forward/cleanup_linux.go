package forward

import (
	"errors"
	"fmt"
	"slices"

	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rtnl"
)

// Cleanup removes what an earlier router process left when none runs: routes, routing rules, devices and the nftables
// table that bear Roamkey's marks. It says what it removed, a line each.
func Cleanup() ([]string, error) {
	removed, err := cleanup(Alias)
	table, tableErr := guard.Cleanup()
	return append(removed, table...), errors.Join(err, tableErr)
}

// CleanupNode does the same for what a mobile node left.
func CleanupNode() ([]string, error) {
	removed, err := cleanup(NodeAlias)
	table, tableErr := guard.CleanupNode()
	return append(removed, table...), errors.Join(err, tableErr)
}

// cleanup removes what belongs to the devices with an alias. Routes and rules of a router and of a mobile node on the same
// host are told apart by their tables; those of drivers/hold, which has one of its own, are not touched.
func cleanup(alias string) ([]string, error) {
	nl, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	defer nl.Close()
	var removed []string
	note := func(err error, what string) error {
		if err == nil {
			removed = append(removed, what)
		}
		return err
	}
	ours := func(table int) bool {
		return (table >= nodeTable) == (alias == NodeAlias) && table != rtnl.HoldTable
	}

	routes, failed := nl.Routes()
	for _, rt := range routes {
		if ours(rt.Table) {
			failed = errors.Join(failed, note(nl.DeleteRoute(rt), fmt.Sprintf("route to %s", rt.Dst)))
		}
	}
	rules, err := nl.Rules()
	failed = errors.Join(failed, err)
	for _, ru := range rules {
		if ours(ru.Table) {
			failed = errors.Join(failed, note(nl.DeleteRule(ru), ru.String()))
		}
	}
	names, err := removeDevices(nl, alias, rtnl.KindIP6Tnl, rtnl.KindTUN)
	for _, name := range names {
		removed = append(removed, "device "+name)
	}
	return removed, errors.Join(failed, err)
}

// removeDevices removes the devices of some kinds with an alias of ours, with their routes and the rules that name them,
// and says what they were called.
func removeDevices(nl *rtnl.Conn, alias string, kinds ...string) ([]string, error) {
	devices, failed := nl.Devices()
	var names []string
	for _, d := range devices {
		if d.Alias != alias || !slices.Contains(kinds, d.Kind) {
			continue
		}
		if err := nl.DeleteDevice(d.Index); err != nil {
			failed = errors.Join(failed, fmt.Errorf("remove device %s: %w", d.Name, err))
			continue
		}
		names = append(names, d.Name)
	}
	if len(names) == 0 {
		return nil, failed
	}
	rules, err := nl.Rules()
	failed = errors.Join(failed, err)
	for _, ru := range rules {
		if slices.Contains(names, ru.Device) {
			failed = errors.Join(failed, nl.DeleteRule(ru))
		}
	}
	return names, failed
}
