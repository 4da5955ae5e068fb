package forward

import (
	"errors"
	"fmt"

	"github.com/roamkey/roamkey/drivers/rtnl"
	"github.com/roamkey/roamkey/drivers/tun"
)

// OpenNode makes a mobile node's end of the tunnels. All that it needs of the network namespace it opens on the calling
// thread.
func OpenNode(cfg NodeConfig) (NodeTunnel, error) {
	if cfg.Device == "" {
		cfg.Device = DefaultNode
	}
	if err := tun.CheckName(cfg.Device); err != nil {
		return nil, err
	}
	var tries []Backend
	var failed []error
	switch cfg.Backend {
	case "", Auto:
		tries = []Backend{Plain, TUN}
		if cfg.Guard == nil {
			tries = []Backend{TUN}
			failed = append(failed, errors.New("plain ip6tnl: it takes packets for any address of this host, and there is no "+
				"nftables to check that"))
		}
	case Kernel, Plain:
		tries = []Backend{Plain}
	case TUN:
		tries = []Backend{TUN}
	default:
		return nil, fmt.Errorf("backend %q: it must be %s, %s or %s", cfg.Backend, Auto, Kernel, TUN)
	}
	nl, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	for _, backend := range tries {
		if backend == Plain {
			n, err := openNodeKernel(cfg, nl)
			if err == nil {
				return n, nil
			}
			failed = append(failed, err)
			continue
		}
		n, err := openNodeTUN(cfg, nl)
		if err == nil {
			for _, err := range failed {
				n.info.Reasons = append(n.info.Reasons, err.Error())
			}
			return n, nil
		}
		failed = append(failed, err)
	}
	nl.Close()
	return nil, fmt.Errorf("no way to tunnel: %w", errors.Join(failed...))
}
