package hold

import (
	"os"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
)

const crashEnv = "HOLD_TEST_CRASH"

func crash() int { return 0 }

// A flow goes on while its packets are held, drained, and sent directly again: none is lost, doubled, or out of its place.
func TestNoPacketIsLostOrReordered(t *testing.T) {
	for _, c := range []struct {
		name      string
		perSecond int
		rounds    int
		percent   int
	}{{"1000", 1000, 5, 200}, {"5000", 5000, 5, 300}} {
		t.Run(c.name, func(t *testing.T) {
			n := newNetwork(t)
			h := n.open(Config{PacketsPerNode: 2000, OctetsPerNode: 4 << 20, DrainPercent: c.percent})
			r, s := n.receive(node), n.packets(node, 200)
			s.send(1)
			r.await(1)
			stop := s.flow(c.perSecond)
			for range c.rounds {
				n.must(h.Hold(node, false))
				time.Sleep(50 * time.Millisecond)
				n.must(h.Drain(node))
				n.drained(h, node)
				time.Sleep(10 * time.Millisecond)
			}
			r.orderly(int(stop()))
			if held := netlabtest.Counter(t, h, "held"); held < uint64(c.rounds*c.perSecond*40/1000) {
				t.Errorf("%d packets were held only", held)
			}
			h.Counters(func(name string, v uint64) { t.Log(name, v) })
		})
	}
}

var _ = os.Getenv
