package rawip

import "github.com/roamkey/roamkey/ipv6"

// frameHeader is the length of an Ethernet header in octets.
const frameHeader = 14

// pool is a bounded free list. Buffers are made when first needed, so that an idle router holds few, and at most as many
// are kept as can be in use at once: no flood makes the list grow, and none makes it allocate for each packet.
type pool struct {
	free chan *Received
}

func newPool(size int) *pool { return &pool{free: make(chan *Received, size)} }

func (p *pool) get() *Received {
	select {
	case r := <-p.free:
		r.pool = p
		return r
	default:
		// One octet more than is taken shows that a packet is too long.
		return &Received{pool: p, buf: make([]byte, frameHeader+MaxPacket+1)}
	}
}

func (p *pool) put(r *Received) {
	r.Packet = ipv6.Packet{}
	select {
	case p.free <- r:
	default:
	}
}
