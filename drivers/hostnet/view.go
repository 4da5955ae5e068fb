package hostnet

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// Forever is a lifetime without end.
const Forever time.Duration = -1

// Link is one interface.
type Link struct {
	Index     int
	Name      string
	Hardware  ipv6.LinkAddr // zero where the interface has no Ethernet-like address
	MTU       int
	Up        bool   // up and running: it has a carrier
	Kind      string // the kernel's word, such as "bridge", "vlan", "veth"; empty for a physical interface
	Master    int    // index of the bridge (or other master) that this interface is a port of; 0 if none
	Lower     int    // index of the interface that a VLAN stands on; 0 if none
	Bridge    bool   // it is itself a bridge
	Addresses []Address
}

// Address is one IPv6 address of an interface.
type Address struct {
	Addr   netip.Addr
	Prefix netip.Prefix
	// Valid and Preferred are what is left at the time of the call; Forever if they have no end.
	Valid, Preferred time.Duration

	Tentative  bool // Duplicate Address Detection goes on
	Deprecated bool
	Failed     bool // it is a duplicate
}

// Route is one IPv6 route.
type Route struct {
	Prefix   netip.Prefix
	Gateway  netip.Addr // the zero Addr if none
	Link     int
	Table    int
	Protocol uint8
	Metric   uint32
}

// Finding is one setting that keeps Duplicate Address Detection from being seen by all who are on a link.
type Finding struct {
	Link  string // the link that was asked about
	Port  string // the bridge port that the setting belongs to; empty if it belongs to the link itself
	File  string // where the setting stands
	Value string // what stands there
	Text  string // what it does
	Fix   string // what to do about it
}

// View is what a program sees of the host's network. *Host and the fake's *Host are Views. All methods may be called from
// any goroutine.
type View interface {
	// Links gives all interfaces in the order of their indexes; Link the one of that name.
	Links() []Link
	Link(name string) (Link, bool)

	// Neighbour gives the link-layer address that the kernel has for addr on a link and would use; zero if it has none.
	Neighbour(link int, addr netip.Addr) ipv6.LinkAddr

	// HasSA reports whether the kernel has an IPsec security association (ESP or AH) whose one end is addr.
	HasSA(addr netip.Addr) bool

	// Covers reports whether the kernel's IPsec policies have Handover Initiates and Acknowledges (or all packets) between
	// local, an address of this host, and peer under ESP in both directions: what rawip's SendProtected sends leaves under
	// ESP or not at all, and what comes without is dropped. It says nothing of security associations (HasSA).
	Covers(local, peer netip.Addr) bool

	// Routes gives the IPv6 routes of all tables but the local one. It asks the kernel.
	Routes() ([]Route, error)

	// Forwarding reports whether the kernel forwards IPv6 packets that come in on that link, AcceptRA whether it configures
	// itself from router advertisements there.
	Forwarding(link string) bool
	AcceptRA(link string) bool

	// HidesDAD names each setting that hides Duplicate Address Detection on that link; none if all is well.
	HidesDAD(link string) []Finding

	// Changes gives a value when something about links, addresses, or the settings behind Forwarding and HidesDAD has changed
	// since the last one was taken.
	Changes() <-chan struct{}

	// Counters gives each counter in a stable order.
	Counters(yield func(name string, value uint64))
	Close() error
}
