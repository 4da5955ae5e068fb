package daemon

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Garbage may take as much again as what is in use, which is Go's own default: each collection delays what comes meanwhile. On
// a router with many nodes it may take less: memory is scarcer there than time.
const (
	mostGarbage  = 100     // percent, for GOGC
	leastGarbage = 25      // percent
	garbageRoom  = 5 << 19 // octets that garbage may take between the two
)

// collector sets how often garbage is collected by how much is in use. An operator who sets GOGC decides instead.
type collector struct {
	off     bool
	percent int
	last    time.Time // when a tick adjusted it
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
