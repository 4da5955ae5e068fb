// Package ndp reads and builds Neighbour Discovery messages (RFC 4861) and the options that Local Key Exchange adds to
// them (draft-liu-mobileip-lke-01 section 3.1): the capability with the router's public key, and authentication of
// duplicate address detection.
//
// A Parse function takes a whole packet, makes the validity tests of RFC 4861 for its message, and gives a [Reason] if one
// fails; it allocates nothing. What an option number means depends on the message that it stands in, so options are never
// decoded by their number alone: 6, 7 and 8 are LKE's in a router advertisement, a solicitation for an address that is
// being configured, and an advertisement, and other things elsewhere. All that is read shares memory with the packet:
// secure Neighbour Discovery and LKE authenticate octets, not structs.
package ndp
