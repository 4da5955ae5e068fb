package fake

import (
	"slices"
	"sync"

	"github.com/roamkey/roamkey/ipv6"
)

// Segment is one Ethernet in memory: a frame goes to the station whose address it bears, a multicast frame to all but
// the sender.
type Segment struct {
	// Drop, when not nil, says which frames get lost. It is set before use.
	Drop func(source, dst ipv6.LinkAddr, packet []byte) bool

	mu       sync.Mutex
	stations []station
}

type station struct {
	conn     *Conn
	link     int
	hardware ipv6.LinkAddr
}

// Join connects the interface with that index of c, under the address of the link that c serves there. It stays connected
// when c serves it no more.
func (s *Segment) Join(c *Conn, link int) {
	c.mu.Lock()
	hardware := c.links[link].Hardware
	c.segments[link] = s
	c.mu.Unlock()
	s.mu.Lock()
	s.stations = append(s.stations, station{c, link, hardware})
	s.mu.Unlock()
}

// Leave takes the link of c off again, as a station that moves does.
func (s *Segment) Leave(c *Conn, link int) {
	s.mu.Lock()
	s.stations = slices.DeleteFunc(s.stations, func(t station) bool { return t.conn == c && t.link == link })
	s.mu.Unlock()
	c.mu.Lock()
	if c.segments[link] == s {
		delete(c.segments, link)
	}
	c.mu.Unlock()
}

func (s *Segment) carry(from *Conn, source, dst ipv6.LinkAddr, packet []byte) {
	if s.Drop != nil && s.Drop(source, dst, packet) {
		return
	}
	s.mu.Lock()
	stations := slices.Clone(s.stations)
	s.mu.Unlock()
	for _, t := range stations {
		if t.conn == from {
			continue
		}
		if t.hardware == dst || !dst.IsUnicast() {
			t.conn.Arrive(t.link, source, packet)
		}
	}
}
