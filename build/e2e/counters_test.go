package e2e

import (
	"net/netip"
	"strings"

	"github.com/roamkey/roamkey/firmware/control"
)

var lanPrefix = netip.MustParsePrefix("2001:db8:1::/64")

// fingerprint is that of the daemon's key, as status tells it.
func (w *world) fingerprint() string {
	s, _ := w.status()
	return s.Key.Fingerprint
}

// changes gives how the counters differ that tell of packets which were taken or dropped. What goes on by itself is left
// out: advertisements, what was received and sent as such, what the kernel tells of links.
func changes(before, after control.Snapshot) map[string]int64 {
	all := make(map[string]int64)
	for group, names := range after.Counters {
		for name, value := range names {
			by := int64(value) - int64(before.Counters[group][name])
			if by != 0 && !idle(group, name) {
				all[group+"/"+name] = by
			}
		}
	}
	return all
}

func idle(group, name string) bool {
	switch group {
	case "hostnet", "guard":
		return true
	case "daemon":
		return strings.HasPrefix(name, "journal_") // of prefixes, too, whose lifetimes go on with each advertisement
	case "forward":
		return name == "out_bad_scope" // the kernel's own reports on the tunnel device
	case "rawip":
		return !strings.HasPrefix(name, "drop_")
	}
	return strings.HasPrefix(group, "ra ") && strings.HasPrefix(name, "ra_sent_")
}
