package hold

import (
	"fmt"
	"net/netip"
	"time"
)

// DefaultDevice is the name of the TUN device.
const DefaultDevice = "rkhold0"

// Defaults of Config.
const (
	DefaultPacketsPerNode = 2048
	DefaultOctetsPerNode  = 1 << 20
	DefaultOctets         = 4 << 20
	DefaultDrainPercent   = 200
)

// Config bounds what is kept. A zero field stands for its default.
type Config struct {
	Device         string // name of the TUN device
	PacketsPerNode int
	OctetsPerNode  int
	Octets         int // in all

	// DrainPercent is how fast a queue is sent, against the rate at which packets for its address arrive: at 100 that of
	// a flow that goes on never empties.
	DrainPercent int
}

// PacketCost is what a packet counts against the bounds of octets, beside its own octets: what it takes to keep it.
const PacketCost = 32

func (c *Config) complete() error {
	if c.Device == "" {
		c.Device = DefaultDevice
	}
	for _, f := range [...]struct {
		name  string
		value *int
		def   int
		least int
		most  int
	}{
		{"packets for a node", &c.PacketsPerNode, DefaultPacketsPerNode, 1, 1 << 30},
		{"octets for a node", &c.OctetsPerNode, DefaultOctetsPerNode, 1280 + PacketCost, 1 << 30},
		{"octets in all", &c.Octets, DefaultOctets, 1280 + PacketCost, 1 << 30},
		{"drain percent", &c.DrainPercent, DefaultDrainPercent, 1, 10_000},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
		if *f.value < f.least || *f.value > f.most {
			return fmt.Errorf("buffer: %s %d: it must be %d to %d", f.name, *f.value, f.least, f.most)
		}
	}
	return nil
}

// Holder keeps packets back. Its methods may be called from any goroutine.
type Holder interface {
	// Hold keeps the packets for addr that this router forwards from when it returns. With copy each is sent on as well,
	// while it is not known whether the node has left yet (RFC 5568 section 4: buffer and forward); a later Hold may
	// change that. An address that drains is held again, with what is left in its queue.
	Hold(addr netip.Addr, copy bool) error
	// Drain sends what is kept for addr, in order: 5 packets at once, the others at a pace (Config.DrainPercent). What
	// arrives meanwhile queues behind. When the queue is empty the hold ends, and Drained tells. An address that is not
	// held is drained already.
	Drain(addr netip.Addr) error
	// Freeze keeps no more for addr: packets that come go their usual way. What is kept stays for Drain, which ends nothing
	// then but sends it in its pace, or for Discard. An address that is not held stays as it is.
	Freeze(addr netip.Addr) error
	// Discard drops what is kept for addr, and ends the hold. Packets that come go their usual way. Drained does not tell.
	Discard(addr netip.Addr) error
	// Drained tells of addresses whose hold ended by Drain. It never makes the Holder wait: what nobody receives is
	// remembered, each address once, and forgotten when it is held again.
	Drained() <-chan netip.Addr
	// Held lists what is held, in no order, until yield returns false. yield must not call the Holder.
	Held(yield func(Status) bool)
	// Counters yields packets held, sent and dropped, by reason.
	Counters(yield func(name string, value uint64))
	// Close drops all that is kept and leaves nothing behind. Packets go their usual way.
	Close() error
}

// Status is what is held for an address.
type Status struct {
	Addr     netip.Addr
	Packets  int       // in the queue
	Octets   int       // of those packets
	Highest  int       // packets that were in the queue at once
	Dropped  uint64    // packets for which there was no room
	Since    time.Time // when the hold began
	Copy     bool      // packets are sent on as well
	Draining bool
}

// check refuses what is no address of a node.
func check(addr netip.Addr) error {
	if !addr.Is6() || addr.Is4In6() || addr.Zone() != "" || addr.IsMulticast() || addr.IsLinkLocalUnicast() ||
		addr.IsUnspecified() || addr.IsLoopback() {
		return fmt.Errorf("hold packets for %s: only a unicast IPv6 address that routers forward can be held", addr)
	}
	return nil
}
