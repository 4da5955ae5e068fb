package hold

import (
	"errors"
	"fmt"

	"github.com/roamkey/roamkey/drivers/rtnl"
)

// Cleanup removes what an earlier process left when none runs: routes, the routing rule, and a device that bears our alias. It
// says what it removed, a line each.
func Cleanup() ([]string, error) {
	nl, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	defer nl.Close()
	removed, failed := removeMarks(nl)
	devices, err := nl.Devices()
	failed = errors.Join(failed, err)
	for _, d := range devices {
		if d.Alias != rtnl.HoldAlias || d.Kind != rtnl.KindTUN {
			continue
		}
		if err := nl.DeleteDevice(d.Index); err != nil {
			failed = errors.Join(failed, fmt.Errorf("remove device %s: %w", d.Name, err))
			continue
		}
		removed = append(removed, "device "+d.Name)
	}
	return removed, failed
}

// removeMarks removes the rules and routes of our table. A process that died leaves a rule, which then leads nowhere: the
// device is gone, and its routes with it.
func removeMarks(nl *rtnl.Conn) (removed []string, failed error) {
	note := func(err error, what string) {
		if err != nil {
			failed = errors.Join(failed, err)
			return
		}
		removed = append(removed, what)
	}
	rules, err := nl.Rules()
	failed = errors.Join(failed, err)
	for _, ru := range rules {
		if ru.Table == rtnl.HoldTable {
			note(nl.DeleteRule(ru), ru.String())
		}
	}
	routes, err := nl.Routes()
	failed = errors.Join(failed, err)
	for _, rt := range routes {
		if rt.Table == rtnl.HoldTable {
			note(nl.DeleteRoute(rt), fmt.Sprintf("route to %s in table %d", rt.Dst, rt.Table))
		}
	}
	return removed, failed
}
