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

	// Queue, UrgentQueue and ProtectedQueue are the lengths of the channels in packets; 0 means 256, 128 and 64.
	Queue, UrgentQueue, ProtectedQueue int
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

	// Protected gives Handover Initiates and Acknowledges as the kernel delivers them to this host, after IPsec: also those
	// that came under ESP, of which the other channels show nothing or, in tunnel mode, a copy. A packet has both addresses,
	// hop limit, interface and payload; extension headers, traffic class and link-layer source are lost, and Raw is made up
	// from the rest.
	//
	// That a packet comes by Protected says that IPsec protected it only where something in the kernel drops the others:
	// drivers/guard does, by a rule that lets mobility headers to this host pass if they came through IPsec (see
	// guard.Reasons for kernels that cannot), and so does an XFRM policy for them in the inbound direction
	// (hostnet.View.Covers). Where neither stands, a caller that relies on IPsec must not use what comes here.
	//
	// The guard asks whether any security association protected a packet, not whether it was that of the source: ESP in
	// transport mode does not bind the two. Where not only neighbouring routers have associations with this host, these need
	// selectors (IKE daemons set them), or the policies a reqid.
	Protected() <-chan *Received

	// SendProtected sends mh, a whole mobility header with its checksum, from src, an address of this host, to dst, so that
	// the kernel's IPsec policies apply. Where there is none it goes in the clear: a caller that relies on IPsec asks
	// hostnet.View.Covers first. Where there is one without a security association, nothing leaves; that may be an error.
	SendProtected(src, dst netip.Addr, mh []byte) error

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
