package forward

import (
	"fmt"
	"os"

	"github.com/roamkey/roamkey/drivers/rtnl"
)

// tunReasons says what does not work beside a kernel that handles tunnel packets too.
func tunReasons(guarded bool) []string {
	// The module is there if any of ip6_tunnel, ip6_vti or the like is.
	if _, err := os.Stat("/sys/module/tunnel6"); err != nil || guarded {
		return nil
	}
	return []string{"the kernel's tunnel6 answers tunnel packets with Port Unreachable, and there is no nftables to drop that"}
}

// deviceMTU is the tunnel device's MTU: the one configured, or that of the widest link less the tunnel header. For a
// binding whose path is narrower the backend sends Packet Too Big.
func deviceMTU(nl *rtnl.Conn, configured int) (int, error) {
	if configured != 0 {
		if configured < minMTU || configured > maxDeviceMTU {
			return 0, fmt.Errorf("tunnel MTU %d: it must be %d to %d", configured, minMTU, maxDeviceMTU)
		}
		return configured, nil
	}
	all, err := nl.Devices()
	if err != nil {
		return 0, err
	}
	widest := 0
	for _, d := range all {
		if !d.Loopback && d.Alias != Alias && d.Alias != NodeAlias && d.Alias != rtnl.HoldAlias && d.Kind != rtnl.KindIP6Tnl && d.Up {
			widest = max(widest, d.MTU)
		}
	}
	if widest == 0 {
		widest = 1500
	}
	return min(max(widest-headerLen, minMTU), maxDeviceMTU), nil
}
