// Package rtnl speaks rtnetlink with the kernel, as far as forwarding needs it: devices, IPv6 routes, routing rules and
// addresses. What it makes bears Roamkey's mark, so that it can be found and removed after a crash.
package rtnl

// Marks of the routes and rules that this package makes.
const (
	Protocol = 82 // "protocol" of each route and rule (rtm_protocol)
	Metric   = 82 // metric of each route, so that it replaces nobody else's
)

// Marks of drivers/hold, which the tunnels of drivers/forward have to tell from their own.
const (
	HoldTable = 8282           // the routing table of what is held back
	HoldAlias = "roamkey-hold" // ifalias of the device that leads to
)

// OuterHopLimit is the hop limit of tunnel packets (RFC 2473 section 6.3): the recommended default of hosts.
const OuterHopLimit = 64
