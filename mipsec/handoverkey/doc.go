// Package handoverkey distributes the keys that fast handovers are authenticated with (RFC 5269), as two pure state machines:
// [Router], the access router, and [Node], the mobile node.
//
// A node adds a public key to its Router Solicitation for Proxy Advertisement, which SEND signs; the router answers with a
// handover key encrypted under it, in a Proxy Router Advertisement that SEND signs. The router knows the key by the node's
// care-of address, which is a CGA; the node by the router's address and its own. Messages are built and signed elsewhere:
// these machines read and write the two options.
//
// RFC 5269 leaves open what the algorithm types (AT) are. Here 0 is HMAC-SHA1-96 with a key of 20 octets, as RFC 5568 has it,
// and 1 is HMAC-SHA256-128 with a key of 32.
//
// Neither machine does I/O. All RSA is a job done outside. Time comes with each call, on any clock that never goes back.
package handoverkey
