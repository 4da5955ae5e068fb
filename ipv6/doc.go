// Package ipv6 reads and builds whole IPv6 packets as far as mobility needs it: the fixed header, the chain of extension
// headers with the Home Address option (RFC 6275 section 6.3) and the type 2 routing header (section 6.4), and the
// upper-layer checksum (RFC 8200 section 8.1).
//
// It does no I/O. Both the drivers and the protocol cores stand on it, so that a packet is parsed once and then handed on
// as a [Packet] with its raw octets: Neighbour Discovery signs and verifies octets, not structs.
package ipv6
