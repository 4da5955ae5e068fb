// Package rawip takes whole IPv6 packets from the links that are served and from uplinks, and sends whole packets.
//
// Two kinds of packet socket read. On each served link one socket takes Neighbour Discovery (ICMPv6 133 to 137, and 148, 149
// and 154 of SEND and FMIPv6) and mobility headers to link-local destinations, with the link-layer source of the frame. One
// more socket, for all interfaces (Ethernet, PPP and tunnels alike), takes mobility headers to unicast destinations of wider scope: the binding
// updates, on which a handover waits. A filter in the kernel sorts them, so that a packet comes to one of the two and
// never to both. Our own packets and those for other hosts are left out there too.
//
// Messages between routers may be under IPsec, which packet sockets know nothing of. One raw socket for mobility headers
// takes Handover Initiates and Acknowledges from behind the kernel's IPsec, and sends them so that it applies.
//
// A packet is parsed once, into an [ipv6.Packet] that keeps its octets. What cannot be taken is counted under a named
// reason. [Conn] is what a program uses; package rawip/fake has the same without a kernel.
package rawip
