// Package guard keeps the kernel out of what Roamkey answers itself, by one nftables table that is Roamkey's alone:
// `ip6 roamkey` on a router, `ip6 roamkey_mn` on a mobile node.
//
// A kernel that receives a mobility header which no socket takes, or a Home Address option that it holds no state for,
// answers with an ICMPv6 Parameter Problem. Roamkey takes those packets from packet sockets, which see a packet before
// nftables does; so the table drops them, for local destinations only (transit traffic holds other people's binding
// updates), and not if they came through IPsec (their receiver is a protocol-135 socket).
//
// An external-mode ip6tnl device accepts a tunnel packet from any outer source. The table therefore admits IPv6-in-IPv6
// packets to the router's addresses only where outer and inner source are one of the pairs of [Guard.AddTunnel]
// (RFC 6275 section 10.4.5).
//
// A kernel checks no signature of SEND (RFC 3971): on the links of [Guard.SetSecured] the table keeps Neighbour Discovery
// from it, and what it would say there unsigned from the wire. Of its redirects, which nobody else can know to be due,
// [Guard.Redirects] gives copies, to be said signed.
package guard
