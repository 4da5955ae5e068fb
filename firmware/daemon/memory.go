package daemon

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

// Garbage may take as much as is in use, which is Go's own default, on a router with many nodes less: memory is scarcer
// there than time.
const (
	mostGarbage  = 100     // percent, for GOGC
	leastGarbage = 25      // percent
	garbageRoom  = 5 << 19 // octets that garbage may take between the two
)

// collector sets how often garbage is collected by how much is in use. An operator who sets GOGC decides instead.
type collector struct {
	off     bool
	percent int
	sample  [1]metrics.Sample
}

func newCollector() *collector {
	c := &collector{off: os.Getenv("GOGC") != ""}
	c.sample[0].Name = "/gc/heap/live:bytes"
	c.adjust()
	return c
}

// adjust follows the heap's size.
func (c *collector) adjust() {
	if c.off {
		return
	}
	metrics.Read(c.sample[:])
	if p := garbagePercent(c.sample[0].Value.Uint64()); p != c.percent {
		c.percent = p
		debug.SetGCPercent(p)
	}
}

func garbagePercent(live uint64) int {
	return int(min(max(100*garbageRoom/max(live, 1), leastGarbage), mostGarbage))
}
