package neighbors

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Owned implements Driver.
func (n *Neighbors) Owned() (all []Owned, err error) {
	err = n.do(func() error { all, err = n.owned(); return err })
	return all, err
}

func (n *Neighbors) owned() ([]Owned, error) {
	var all []Owned
	addresses, err := n.addressesOf()
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if a.ours() {
			all = append(all, Owned{Link: a.link, Addr: a.addr})
		}
	}
	routes, err := n.dump(unix.RTM_GETROUTE, unix.SizeofRtMsg)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, b := range routes {
		if o, ok := decodeRoute(b); ok {
			all = append(all, o)
		}
	}
	return all, nil
}

// decodeRoute recognizes a host route of ours.
func decodeRoute(b []byte) (Owned, bool) {
	if b[1] != 128 || b[4] != unix.RT_TABLE_MAIN || b[5] != Protocol {
		return Owned{}, false
	}
	o, metric := Owned{Route: true}, uint32(0)
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofRtMsg:])
	if err != nil {
		return Owned{}, false
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.RTA_DST:
			o.Addr, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_OIF:
			o.Link = int(ad.Uint32())
		case unix.RTA_PRIORITY:
			metric = ad.Uint32()
		}
	}
	return o, ad.Err() == nil && o.Addr.Is6() && metric == RouteMetric
}

// Cleanup removes what an earlier process left when none runs, in the network namespace of the calling thread: addresses
// and routes of ours, and the settings of links that were taken. It says what it did, a line each.
func Cleanup() (done []string, err error) {
	n, err := Open()
	if err != nil {
		return nil, err
	}
	defer n.Leave()
	n.mu.Lock()
	defer n.mu.Unlock()
	note := func(err error, format string, args ...any) error {
		if err == nil {
			done = append(done, fmt.Sprintf(format, args...))
		}
		return err
	}
	all, failed := n.owned()
	for _, o := range all {
		what := "address"
		if o.Route {
			what = "route to"
		}
		failed = errors.Join(failed, note(n.removeOwned(o), "%s %s", what, o.Addr))
	}
	var left []int
	usual := usualProbes()
	failed = errors.Join(failed, n.eachLink(func(link int, p probes) {
		switch {
		case link == 0:
			usual = p
		case p == ourProbes():
			left = append(left, link)
		}
	}))
	for _, link := range left {
		name, err := n.nameOf(link)
		if err == nil {
			err = errors.Join(n.setProbes(link, usual), usualSettings(name))
		}
		failed = errors.Join(failed, note(err, "settings of the neighbours of %s", name))
	}
	return done, failed
}
