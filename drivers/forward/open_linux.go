package forward

import (
	"errors"

	"github.com/roamkey/roamkey/drivers/guard"
)

// Open starts forwarding by the best backend that cfg allows and this kernel has; Describe tells why not a better one. A
// nil guard rules out External.
func Open(cfg Config, g *guard.Guard) (Forwarder, error) {
	return nil, errors.New("forwarding is not there yet")
}

// OpenNode makes a mobile node's end of the tunnels.
func OpenNode(cfg NodeConfig) (NodeTunnel, error) {
	return nil, errors.New("forwarding is not there yet")
}

// Cleanup removes what an earlier router process left when none runs: routes, devices and the nftables table that bear
// Roamkey's marks. It says what it removed, a line each.
func Cleanup() ([]string, error) { return nil, nil }

// CleanupNode does the same for what a mobile node left.
func CleanupNode() ([]string, error) { return nil, nil }
