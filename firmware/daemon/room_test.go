package daemon

import (
	"testing"

	"github.com/roamkey/roamkey/firmware/config"
)

// Whatever is on the links with SEND, the kernel's table has room for who is on the others.
func TestNeighbourRoom(t *testing.T) {
	before := 1 << 20
	for n := 1; n <= 4; n++ {
		c := &config.Config{Links: []config.Link{{Send: config.SendOff}}}
		for range n {
			c.Links = append(c.Links, config.Link{Send: config.SendMixed})
		}
		room := neighbourRoom(c)
		if room > before || room < leastNeighbours || n*room > 512 && n*room > 4*mostNeighbours {
			t.Errorf("%d links: %d neighbours each", n, room)
		}
		before = room
	}
}
