package daemon

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// privileged tells which capabilities this process lacks. It comes before the drivers, each of which knows of its own only.
func privileged() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil // a kernel that does not tell: the drivers will
	}
	return lacking(data[0].Effective)
}

// lacking tells what is missing in a set of capabilities.
func lacking(effective uint32) error {
	var missing []string
	for _, c := range [...]struct {
		name string
		bit  uint
	}{{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_NET_RAW", unix.CAP_NET_RAW}} {
		if effective&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("%s missing: start roamkeyd with CAP_NET_ADMIN and CAP_NET_RAW as ambient capabilities, or as root",
		strings.Join(missing, " and "))
}
