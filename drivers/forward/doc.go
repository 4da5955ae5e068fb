// Package forward makes a home address be reached at its care-of address: it routes the address into an IPv6-in-IPv6
// tunnel (RFC 2473), takes what the mobile node sends back through it (RFC 6275 section 10.4.5), and is the mobile node's
// end of that tunnel too. For a node that keeps its address of another router it is the end of that router's tunnel (RFC 5568
// section 6.2.1.2, HAck code 3): what comes out goes to the node, and what the node sends goes in.
//
// Three backends do the same work. "external" is one ip6tnl device of the kernel in external mode and a route with an
// encapsulation for each binding; since such a device accepts any outer source, it needs [guard.Guard]. "plain" is one
// ip6tnl device for each pair of router and care-of address. "tun" encapsulates in this process, for kernels without
// ip6_tunnel. The kernel's tunnels go on while no process runs; the TUN backend's do not.
//
// They differ in details. The TUN backend copies the traffic class to the tunnel header and passes congestion marks on;
// plain devices copy it, too; external mode copies the congestion bits alone. Only the TUN backend sends packets of up to
// 1280 octets in fragments where the path to the care-of address takes no more than 1319 with the tunnel header: the
// kernel (6.1) refuses them. Only it checks tunnel packets that came in fragments; the guard drops those, unless connection
// tracking has put them together before.
//
// What it installs bears marks: routes and routing rules the protocol number [RouteProtocol], devices the alias [Alias] or
// [NodeAlias]. A mobile node's routes stand in tables from 8200 on, those for what served nodes send in tables from 8000 on;
// the rules that lead there have the priority 8200.
package forward
