package station

import (
	"errors"
	"fmt"

	"github.com/roamkey/roamkey/drivers/sysctl"
)

const optimisticSysctl = "optimistic_dad"

// wanted is what the interface's sysctls have to be while a mobile node has it. Old kernels lack the optional ones;
// without the others the kernel would get in the way.
var wanted = [...]struct {
	name, value string
	optional    bool
}{
	{"disable_ipv6", "0", false},
	{"accept_ra", "0", false}, // routers, prefixes and addresses are this program's
	{"autoconf", "0", false},
	{"accept_dad", "1", false}, // the kernel looks for duplicates of our addresses ...
	{"dad_transmits", "1", false},
	{optimisticSysctl, "1", true},        // ... while they are in use (RFC 4429),
	{"use_optimistic", "1", true},        // also as source
	{"router_solicitations", "0", false}, // this program solicits
	{"ndisc_notify", "0", true},          // no advertisements without the reply option
	{"use_tempaddr", "0", true},          // the care-of address is the source of what is sent
	{"ndisc_evict_nocarrier", "1", true}, // neighbours of the last link are none of this one
}

// sysctls remembers what was there before.
type sysctls struct {
	sysctl.Changes
	optimistic bool
}

// takeOver sets the sysctls of an interface.
func takeOver(name string) (*sysctls, error) {
	s := new(sysctls)
	for _, w := range wanted {
		setting, err := sysctl.OfLink("conf", name, w.name)
		if err != nil {
			return nil, err
		}
		err = s.Set(setting, w.value)
		switch {
		case err == nil && w.name == optimisticSysctl:
			s.optimistic = true
		case err != nil && !w.optional:
			return nil, errors.Join(fmt.Errorf("take over %s: %w", name, err), s.Restore())
		}
	}
	return s, nil
}
