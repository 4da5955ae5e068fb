// Package forward makes a home address be reached at its care-of address: it routes the address into an IPv6-in-IPv6
// tunnel (RFC 2473), takes what the mobile node sends back through it (RFC 6275 section 10.4.5), and is the mobile node's
// end of that tunnel too.
//
// Three backends do the same work. "external" is one ip6tnl device of the kernel in external mode and a route with an
// encapsulation for each binding; since such a device accepts any outer source, it needs [guard.Guard]. "plain" is one
// ip6tnl device for each pair of router and care-of address. "tun" encapsulates in this process, for kernels without
// ip6_tunnel. The kernel's tunnels go on while no process runs; the TUN backend's do not.
//
// What it installs bears marks: routes the protocol number [RouteProtocol], devices the alias [Alias] or [NodeAlias].
package forward
