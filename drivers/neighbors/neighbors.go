package neighbors

import (
	"net/netip"

	"github.com/roamkey/roamkey/ipv6"
)

// Marks of what is ours.
const (
	Protocol      = 82   // of addresses (IFA_PROTO) and routes (rtm_protocol), as everywhere in Roamkey
	RouteMetric   = 83   // of host routes: tunnels have 82
	AddressMetric = 8282 // of the prefix routes of addresses: worse than the kernel's own, so that it changes nothing
)

// Ask is a question of the kernel: who is Addr on Link? It has a packet to send there, or wants to know whether the
// entry that it uses still holds. It asks three times, a second apart, and then gives up until the next packet.
type Ask struct {
	Link    int
	Addr    netip.Addr
	Missing bool // it has no link-layer address for Addr; else it has one that it wants confirmed
}

// Owned is an address or a route of ours that the kernel has.
type Owned struct {
	Link  int
	Addr  netip.Addr
	Route bool // a host route; else an address of the interface
}

// Driver is the neighbour table, the addresses and the host routes of links with SEND. *Neighbors and the fake's are
// Drivers. Links are interface indexes.
type Driver interface {
	// Take leaves the neighbours of a link to this process: the kernel forgets what it has learned, solicits nobody there
	// from now on, and looks for no duplicates of its own addresses. To take a link twice is no error.
	Take(link int) error
	// Release puts back what Take has changed. What is in the table stays until it grows old.
	Release(link int) error
	// Asked tells what the kernel wants to know of the links that are taken. The channel is never closed.
	Asked() <-chan Ask
	// SetEntry writes an entry, over whatever is there: as one that was just confirmed (reachable), or as one that is to be
	// confirmed when it is used (stale). Packets that wait for it are sent.
	SetEntry(link int, addr netip.Addr, hw ipv6.LinkAddr, reachable bool) error
	// RemoveEntry removes an entry. Packets that wait for it end as unreachable. To remove one that is not there is no error.
	RemoveEntry(link int, addr netip.Addr) error
	// AddAddress gives a link the address addr.Addr() in the prefix of that length, usable at once. One that is there
	// already, by whoever's hand, stays as it is.
	AddAddress(link int, addr netip.Prefix) error
	// RemoveAddress takes an address of ours off a link. To remove one that is not there, or not ours, is no error.
	RemoveAddress(link int, addr netip.Addr) error
	// AddRoute leads packets for addr to the link; RemoveRoute ends that.
	AddRoute(link int, addr netip.Addr) error
	RemoveRoute(link int, addr netip.Addr) error
	// Owned lists the addresses and routes of ours that the kernel has, those of an earlier process included.
	Owned() ([]Owned, error)
	// Counters yields every counter in a stable order.
	Counters(yield func(name string, value uint64))
	// Leave ends the driver and leaves everything in place for the next process.
	Leave() error
	// Close puts back what was changed: it releases links and removes the addresses and routes that were added.
	Close() error
}
