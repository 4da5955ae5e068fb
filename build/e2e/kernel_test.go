package e2e

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/drivers/hostnet"
)

// installed lists what of the daemon is in the router's kernel and in its state directory.
func (w *world) installed() (all []string) {
	w.t.Helper()
	check(w.t, w.router.Do(func() error {
		routes, err := daemonRoutes()
		if err != nil {
			return err
		}
		tables, err := daemonTables()
		if err != nil {
			return err
		}
		all = append(routes, tables...)
		return nil
	}))
	if _, err := w.router.Link(forward.DefaultDevice); err == nil {
		all = append(all, "device "+forward.DefaultDevice)
	}
	if info, err := os.Stat(filepath.Join(w.options.Dir, "journal")); err == nil && info.Size() > 0 {
		all = append(all, "journal")
	}
	if _, err := os.Stat(w.d.Control()); err == nil {
		all = append(all, "socket")
	}
	return all
}

// daemonRoutes lists the routes of the daemon's protocol number in this thread's namespace.
func daemonRoutes() (all []string, err error) {
	host, err := hostnet.Open()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	routes, err := host.Routes()
	for _, r := range routes {
		if r.Protocol == forward.RouteProtocol {
			all = append(all, "route "+r.Prefix.String())
		}
	}
	return all, err
}

// daemonTables lists the nftables tables of the daemon in this thread's namespace.
func daemonTables() (all []string, err error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	replies, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETTABLE, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil {
		return nil, err
	}
	for _, m := range replies {
		ad, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return nil, err
		}
		ad.ByteOrder = binary.BigEndian
		for ad.Next() {
			if ad.Type() == unix.NFTA_TABLE_NAME && strings.HasPrefix(ad.String(), "roamkey") {
				all = append(all, "table "+ad.String())
			}
		}
	}
	return all, nil
}
