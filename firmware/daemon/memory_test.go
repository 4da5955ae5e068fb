package daemon

import "testing"

func TestGarbageTakesLessWhereMuchIsInUse(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 100}, {1 << 20, 100}, {5 << 20, 50}, {10 << 20, 25}, {1 << 30, 25}} {
		if got := garbagePercent(c.live); got != c.want {
			t.Errorf("%d octets in use: %d percent, want %d", c.live, got, c.want)
		}
	}
}
