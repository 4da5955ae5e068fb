package daemon

import (
	"os"
	"strconv"
	"strings"

	"github.com/roamkey/roamkey/firmware/config"
)

const (
	// kernelNeighbours is the limit of the kernel's neighbour table where it does not tell (gc_thresh3): one table has the
	// neighbours of all links, the uplinks among them.
	kernelNeighbours = 1024
	kernelLimit      = "/proc/sys/net/ipv6/neigh/default/gc_thresh3"
	leastNeighbours  = 64
	mostNeighbours   = 1024 // of one link, however much the kernel takes
)

// neighbourRoom is how many neighbours one link with SEND may put into the kernel's table: all such links together half of it.
// When it is full the kernel sends nothing to any neighbour that it does not know, be it on an uplink.
func neighbourRoom(c *config.Config) int {
	limit := kernelNeighbours
	if text, err := os.ReadFile(kernelLimit); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && n > 0 {
			limit = n
		}
	}
	links := 0
	for i := range c.Links {
		if c.Links[i].Send != config.SendOff {
			links++
		}
	}
	return min(max(limit/2/max(links, 1), leastNeighbours), mostNeighbours)
}
