// Package fake is drivers/rawip without a kernel: a [Conn] over an in-memory wire.
//
// A test hands packets to a Conn by [Conn.Arrive], or joins the links of several Conns with a [Segment], over which their
// frames then travel. What a Conn sends can be read from [Conn.Sent] in any case. Packets are sorted to the two channels
// by the rule of the real driver.
package fake

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/ipv6"
)

var _ rawip.Conn = (*Conn)(nil)

// Sent is one packet that a Conn sent. Link is 0 and Dst the zero address where it went by the routing table, Protected
// where it went by SendProtected.
type Sent struct {
	Link      int
	Dst       ipv6.LinkAddr
	Packet    []byte
	Protected bool
}

// Watched is one address that is watched on a link.
type Watched struct {
	Link int
	Addr netip.Addr
}

// queue is the length of each channel of a Conn.
const queue = 1024

// Conn is the fake. Its fields may be set before use.
type Conn struct {
	// Now gives the time of arrival; nil means time.Now.
	Now func() time.Time
	// SendError, when not nil, is what each send returns instead of sending.
	SendError error
	// Routes, when not nil, is given what is sent by the routing table.
	Routes func(packet []byte)
	// IPsec, when not nil, is given what SendProtected sends, with an IPv6 header. ArriveProtected of another Conn takes it.
	IPsec func(packet []byte)

	packets, urgent, protected chan *rawip.Received
	sent                       chan Sent

	mu       sync.Mutex
	links    map[int]rawip.Link
	segments map[int]*Segment
	watched  map[Watched]struct{}
	counts   map[string]uint64
	closed   bool
}

// New gives a Conn that serves links.
func New(links ...rawip.Link) *Conn {
	c := &Conn{
		packets:   make(chan *rawip.Received, queue),
		urgent:    make(chan *rawip.Received, queue),
		protected: make(chan *rawip.Received, queue),
		sent:      make(chan Sent, queue),
		segments:  make(map[int]*Segment),
		watched:   make(map[Watched]struct{}),
		counts:    make(map[string]uint64),
	}
	_ = c.SetLinks(links)
	return c
}

// SetLinks implements rawip.Conn.
func (c *Conn) SetLinks(links []rawip.Link) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return os.ErrClosed
	}
	c.links = make(map[int]rawip.Link, len(links))
	for _, l := range links {
		c.links[l.Index] = l
	}
	for w := range c.watched {
		if _, ok := c.links[w.Link]; !ok {
			delete(c.watched, w)
		}
	}
	return nil
}

// Links gives the served links in the order of their indexes.
func (c *Conn) Links() []rawip.Link {
	c.mu.Lock()
	defer c.mu.Unlock()
	var links []rawip.Link
	for _, l := range c.links {
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b rawip.Link) int { return a.Index - b.Index })
	return links
}

// Urgent implements rawip.Conn.
func (c *Conn) Urgent() <-chan *rawip.Received { return c.urgent }

// Protected implements rawip.Conn.
func (c *Conn) Protected() <-chan *rawip.Received { return c.protected }

// Packets implements rawip.Conn.
func (c *Conn) Packets() <-chan *rawip.Received { return c.packets }

// Sent gives each packet that was sent, in order. When nobody reads it, it keeps the first ones.
func (c *Conn) Sent() <-chan Sent { return c.sent }

// Arrive makes raw, a whole IPv6 packet, arrive on an interface in a frame from source. It reports whether the packet came
// to one of the channels; the counters tell why it did not.
func (c *Conn) Arrive(link int, source ipv6.LinkAddr, raw []byte) bool {
	r := &rawip.Received{At: c.now()}
	r.Packet.Interface, r.Packet.LinkSource = link, source
	problem := ipv6.Parse(slices.Clone(raw), &r.Packet)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, served := c.links[link]
	out, name := c.urgent, "received_urgent"
	switch {
	case c.closed:
		return false
	case problem != ipv6.OK:
		c.counts["drop_"+problem.String()]++
		return false
	}
	switch rawip.Classify(&r.Packet) {
	case rawip.Ignored:
		return false
	case rawip.OnLink:
		if !served {
			return false
		}
		out, name = c.packets, "received_link"
	}
	select {
	case out <- r:
		c.counts[name]++
		return true
	default:
		c.counts["drop_queue_full"]++
		return false
	}
}

func (c *Conn) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// SendLink implements rawip.Conn.
func (c *Conn) SendLink(link int, dst ipv6.LinkAddr, packet []byte) error {
	c.mu.Lock()
	l, ok := c.links[link]
	segment := c.segments[link]
	err := c.SendError
	if !ok {
		err = fmt.Errorf("send on interface %d: it is not a served link", link)
	}
	c.record(Sent{Link: link, Dst: dst, Packet: slices.Clone(packet)}, err)
	c.mu.Unlock()
	if err == nil && segment != nil {
		segment.carry(c, l.Hardware, dst, packet)
	}
	return err
}

// SendRouted implements rawip.Conn.
func (c *Conn) SendRouted(packet []byte) error {
	c.mu.Lock()
	err, routes := c.SendError, c.Routes
	c.record(Sent{Packet: slices.Clone(packet)}, err)
	c.mu.Unlock()
	if err == nil && routes != nil {
		routes(packet)
	}
	return err
}

// SendProtected implements rawip.Conn.
func (c *Conn) SendProtected(src, dst netip.Addr, mh []byte) error {
	err := rawip.CheckProtected(src, dst, mh)
	var packet []byte
	if err == nil {
		packet = ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: hopLimit}, ipv6.ProtoMobility, mh)
	}
	c.mu.Lock()
	if c.SendError != nil {
		err = c.SendError
	}
	ipsec := c.IPsec
	c.record(Sent{Packet: packet, Protected: true}, err)
	c.mu.Unlock()
	if err == nil && ipsec != nil {
		ipsec(packet)
	}
	return err
}

// hopLimit is the kernel's own.
const hopLimit = 64

// ArriveProtected makes raw, a whole IPv6 packet, arrive on an interface through IPsec. It reports whether the packet came
// to the channel; the counters tell why it did not. What comes by Arrive never comes by Protected: there is a guard.
func (c *Conn) ArriveProtected(link int, raw []byte) bool {
	r := &rawip.Received{At: c.now()}
	problem := ipv6.Parse(slices.Clone(raw), &r.Packet)
	r.Packet.Interface = link
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return false
	case problem != ipv6.OK:
		c.counts["drop_"+problem.String()]++
		return false
	case !rawip.IsProtected(&r.Packet):
		return false
	}
	select {
	case c.protected <- r:
		c.counts["received_protected"]++
		return true
	default:
		c.counts["drop_protected_queue_full"]++
		return false
	}
}

func (c *Conn) record(s Sent, err error) {
	if err != nil {
		c.counts["send_errors"]++
		return
	}
	c.counts["sent"]++
	select {
	case c.sent <- s:
	default:
	}
}

// Watch implements rawip.Conn.
func (c *Conn) Watch(link int, addr netip.Addr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.links[link]; !ok {
		return fmt.Errorf("watch %v on interface %d: it is not a served link", addr, link)
	}
	c.watched[Watched{link, addr}] = struct{}{}
	return nil
}

// Unwatch implements rawip.Conn.
func (c *Conn) Unwatch(link int, addr netip.Addr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watched, Watched{link, addr})
	return nil
}

// Watches reports whether addr is watched on link.
func (c *Conn) Watches(link int, addr netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.watched[Watched{link, addr}]
	return ok
}

// Counters implements rawip.Conn. It gives what was counted, by name.
func (c *Conn) Counters(yield func(name string, value uint64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for name := range c.counts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		yield(name, c.counts[name])
	}
}

// Close implements rawip.Conn.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}
