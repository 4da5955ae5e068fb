// Package neighbor is the neighbour cache of a link with SEND (RFC 3971), and the addresses that this host has there: it
// resolves and probes neighbours for a kernel that asks, answers solicitations for own addresses and, by proxy, for those
// of nodes on their way, and looks for duplicates (RFC 4861 section 7, RFC 4862 section 5.4, RFC 7527).
//
// It checks no signature and makes none: an input says what is known of a packet, an effect whether a message can be
// signed. On a link where nodes with and without SEND live (RFC 3971 section 8) what is unsecured never changes what is
// secured:
//
//	neighbours        an unsecured message is not taken for an entry that a secured one made; a secured message makes an
//	                  entry secured
//	probes            go to the neighbour itself if its entry is secured, else to its solicited-node group
//	duplicates        unsecured messages count against an own address at the first attempt only
//	answers           to a secured solicitation bear its nonce, to an unsecured one none
//
// The entries are bounded, in all and for each station: what an unsecured flood puts out is unsecured, and no secured entry
// that was just confirmed ever goes.
package neighbor
