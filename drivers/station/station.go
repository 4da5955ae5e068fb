package station

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// RouteProtocol is the "protocol" of each route (rtm_protocol). [forward] has the same.
const RouteProtocol = 82

// routeMetric is better than what the kernel and usual network managers give, so that what else remains on the interface
// does not lead packets astray.
const routeMetric = 82

// Link is the interface.
type Link struct {
	Index    int
	Name     string
	Hardware ipv6.LinkAddr
	// LinkLocal is the link-local address that the kernel has there; the zero Addr while it has none.
	LinkLocal netip.Addr
	MTU       int
	Up        bool // it has a carrier
}

// ChangeKind says what changed.
type ChangeKind uint8

// Changes.
const (
	LinkDown         ChangeKind = iota + 1 // the carrier went
	LinkUp                                 // the carrier came: on what may be another link
	LinkGone                               // the interface is no more
	AddressReady                           // Addr can be used
	AddressDuplicate                       // another node has Addr; it is off the interface
)

// String is the name used in logs and in the timeline.
func (k ChangeKind) String() string {
	switch k {
	case LinkDown:
		return "link-down"
	case LinkUp:
		return "link-up"
	case LinkGone:
		return "link-gone"
	case AddressReady:
		return "address-ready"
	case AddressDuplicate:
		return "address-duplicate"
	}
	return "unknown"
}

// Change is one thing that happened to the interface.
type Change struct {
	Kind ChangeKind
	Addr netip.Addr
	At   time.Time // when this process heard of it
}

// Interface is what a mobile node needs of its interface. *Station and the fake's are Interfaces.
type Interface interface {
	// Link is the interface as it is now.
	Link() Link
	// Changes tells what happens to it. The channel is never closed.
	Changes() <-chan Change
	// SetAddress gives the interface addr, of a /64 that is on the link. AddressReady or AddressDuplicate follows; for an
	// address that is there already AddressReady comes again.
	SetAddress(addr netip.Addr) error
	// RemoveAddress takes addr off the interface. To remove one that is not there is no error.
	RemoveAddress(addr netip.Addr) error
	// SetRouter makes the router with link-local address router and link-layer address hw the default router for lifetime,
	// in place of the one before. With lifetime 0 there is none any more.
	SetRouter(router netip.Addr, hw ipv6.LinkAddr, lifetime time.Duration) error
	// Optimistic tells whether new addresses can be used during Duplicate Address Detection.
	Optimistic() bool
	// Close puts back what was changed.
	Close() error
}
