package forward

import (
	"net/netip"
	"os"
	"testing"

	"github.com/roamkey/roamkey/drivers/rtnl"
	"github.com/roamkey/roamkey/drivers/tun"
)

// What holds packets back has a device, a rule and a table with the same protocol number: they are not a tunnel's, neither
// when a tunnel is sized after the widest link, nor when the tunnels of a router or a mobile node on this host are cleaned up.
func TestWhatIsHeldBackIsNotTouched(t *testing.T) {
	n := newNetwork(t)
	ru := rtnl.Rule{Device: "rkhold0", Not: true, Table: rtnl.HoldTable, Priority: rtnl.HoldPriority}
	var file *os.File
	n.must(n.ar.Do(func() error {
		nl, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer nl.Close()
		index := 0
		if file, index, err = tun.Open(nl, "rkhold0", rtnl.HoldAlias, 65535); err != nil {
			return err
		}
		if err := nl.AddRule(ru); err != nil {
			return err
		}
		return nl.SetRoute(rtnl.Route{Dst: netip.PrefixFrom(homeAddr, 128), Device: index, Table: rtnl.HoldTable})
	}))
	defer file.Close()
	f := n.router(Config{Backend: TUN})
	if mtu := f.Describe().MTU; mtu != 1460 {
		t.Errorf("tunnel MTU %d", mtu)
	}
	n.must(f.Close(false))
	for _, alias := range []string{Alias, NodeAlias} {
		n.must(n.ar.Do(func() error {
			removed, err := cleanup(alias)
			if len(removed) != 0 {
				t.Errorf("cleanup for %s removes %q", alias, removed)
			}
			return err
		}))
	}
	n.must(n.ar.Do(func() error {
		nl, err := rtnl.Dial()
		if err != nil {
			return err
		}
		defer nl.Close()
		rules, err := nl.Rules()
		if len(rules) != 1 || rules[0] != ru {
			t.Errorf("rules %v", rules)
		}
		routes, routesErr := nl.Routes()
		if len(routes) != 1 || routes[0].Table != rtnl.HoldTable {
			t.Errorf("routes %v", routes)
		}
		if routesErr != nil {
			return routesErr
		}
		return err
	}))
}
