package rawip

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// MaxPacket is the longest packet that is taken, in octets. Every message that this package is for is far shorter, jumbo
// frames or not; a longer packet is dropped and counted.
const MaxPacket = 2048

// Link is one served link: an Ethernet-like interface, which may be a bridge.
type Link struct {
	Index    int
	Name     string
	Hardware ipv6.LinkAddr
}

// Config says what to open.
type Config struct {
	Links []Link

	// Queue and UrgentQueue are the lengths of the two channels in packets; 0 means 256 and 128.
	Queue, UrgentQueue int
}

// Conn is what a program needs of the network. *Socket and the fake's *Conn are Conns. All methods may be called from any
// goroutine. SetLinks and Watch may open sockets, in the network namespace of the calling thread.
type Conn interface {
	// SetLinks makes links the served ones: it opens new ones, closes those that are gone, and leaves the rest alone. On an
	// error the links that could be opened are served.
	SetLinks(links []Link) error

	// Urgent gives mobility headers to unicast destinations that are not link-local, from any interface. Packets gives
	// the rest, from served links. They are never closed. A full channel drops the newest packet and counts it.
	Urgent() <-chan *Received
	Packets() <-chan *Received

	// SendLink sends packet, a whole IPv6 packet, in a frame to dst on the served link with that index.
	SendLink(link int, dst ipv6.LinkAddr, packet []byte) error
	// SendRouted sends packet, a whole IPv6 packet with its own source address, by the routing table.
	SendRouted(packet []byte) error

	// Watch makes solicitations for addr be heard on a served link although MLD snooping may keep multicast from us. Calls
	// for one address do not add up: one Unwatch ends it. What is watched on a link that SetLinks takes away is forgotten.
	Watch(link int, addr netip.Addr) error
	Unwatch(link int, addr netip.Addr) error

	// Counters gives each counter in a stable order.
	Counters(yield func(name string, value uint64))
	Close() error
}

// Received is one packet and the buffer that it lies in. Who takes it from a channel calls Release when done with it
// and with all that shares its memory.
type Received struct {
	Packet ipv6.Packet
	At     time.Time // when it was read, on the monotonic clock

	pool *pool // nil while the buffer is not handed out
	buf  []byte
}

// Release gives the buffer back. The packet must not be used afterwards. Release of a packet that has no buffer of a
// pool does nothing.
func (r *Received) Release() {
	if p := r.pool; p != nil {
		r.pool = nil // a second Release must not give the buffer to two packets
		p.put(r)
	}
}
