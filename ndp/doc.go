// Package ndp reads and builds Neighbour Discovery messages (RFC 4861), the messages that stand on it, delegation discovery
// (RFC 3971 section 6) and the proxy advertisements of FMIPv6 (RFC 5568 section 6.1), and their options: those that Local
// Key Exchange adds (draft-liu-mobileip-lke-01 section 3.1), handover keys (RFC 5269), and what secures a message (RFC 3971
// section 5). Signing and verifying is done in the packages below it.
//
// A Parse function takes a whole packet, makes the validity tests of RFC 4861 for its message, and gives a [Reason] if one
// fails; it allocates nothing. What an option number means depends on the message that it stands in, so options are never
// decoded by their number alone: 6, 7 and 8 are LKE's in a router advertisement, a solicitation for an address that is
// being configured, and an advertisement, and other things elsewhere. All that is read shares memory with the packet:
// secure Neighbour Discovery and LKE authenticate octets, not structs. Options behind an RSA Signature option are tested for
// their length and then not looked at: the signature does not cover them, so that anyone could have put them there.
package ndp
