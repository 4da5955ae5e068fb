package forward

import (
	"errors"
	"fmt"

	"github.com/roamkey/roamkey/drivers/conntrack"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rtnl"
	"github.com/roamkey/roamkey/drivers/tun"
)

var errClosed = errors.New("forwarding is closed")

// Open starts forwarding by the best backend that cfg allows and this kernel has; Describe tells why not a better one. A
// nil guard rules out External. All that it needs of the network namespace it opens on the calling thread.
func Open(cfg Config, g *guard.Guard) (Forwarder, error) {
	if cfg.Device == "" {
		cfg.Device = DefaultDevice
	}
	if err := tun.CheckName(cfg.Device); err != nil {
		return nil, err
	}
	tries, err := attempts(cfg.Backend)
	if err != nil {
		return nil, err
	}
	nl, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	ct, ctErr := conntrack.Open()
	var failed []error
	for _, backend := range tries {
		f, info, err := open(backend, cfg, nl, ct, g)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for _, err := range failed {
			info.Reasons = append(info.Reasons, err.Error())
		}
		if err := probeServe(nl); err != nil {
			info.Reasons = append(info.Reasons, fmt.Sprintf("no node keeps its address of another router here: %v", err))
		} else {
			info.Serves = true
		}
		if ctErr != nil {
			info.Reasons = append(info.Reasons, ctErr.Error())
		}
		return f, nil
	}
	ct.Close()
	nl.Close()
	return nil, fmt.Errorf("no way to forward: %w", errors.Join(failed...))
}

func open(backend Backend, cfg Config, nl *rtnl.Conn, ct *conntrack.Table, g *guard.Guard) (Forwarder, *Info, error) {
	switch backend {
	case External:
		f, err := openExternal(cfg, nl, ct, g)
		if err != nil {
			return nil, nil, err
		}
		return f, &f.info, nil
	case Plain:
		f, err := openPlain(cfg, nl, ct, g)
		if err != nil {
			return nil, nil, err
		}
		return f, &f.info, nil
	}
	f, err := openRouterTUN(cfg, nl, ct, g)
	if err != nil {
		return nil, nil, err
	}
	return f, &f.info, nil
}

// attempts lists the backends to try, the best one first.
func attempts(b Backend) ([]Backend, error) {
	switch b {
	case "", Auto:
		return []Backend{External, Plain, TUN}, nil
	case Kernel:
		return []Backend{External, Plain}, nil
	case External, Plain, TUN:
		return []Backend{b}, nil
	}
	return nil, fmt.Errorf("backend %q: it must be %s, %s, %s, %s or %s", b, Auto, Kernel, External, Plain, TUN)
}
