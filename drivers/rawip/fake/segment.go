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
	conn *Conn
	link int
}

// Join connects the link with that index of c.
func (s *Segment) Join(c *Conn, link int) {
	s.mu.Lock()
	s.stations = append(s.stations, station{c, link})
	s.mu.Unlock()
	c.mu.Lock()
	c.segments[link] = s
	c.mu.Unlock()
}

// Leave takes the link of c off again, as a station that moves does.
func (s *Segment) Leave(c *Conn, link int) {
	s.mu.Lock()
	s.stations = slices.DeleteFunc(s.stations, func(t station) bool { return t == station{c, link} })
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
		t.conn.mu.Lock()
		own := t.conn.links[t.link].Hardware
		t.conn.mu.Unlock()
		if own == dst || !dst.IsUnicast() {
			t.conn.Arrive(t.link, source, packet)
		}
	}
}
