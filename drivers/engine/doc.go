// Package engine does RSA operations in the background, so that none of them delays a packet.
//
// A bounded queue that is fair between sources feeds a few workers. Each worker has an operating system thread of low
// priority to itself: on a router with one core a private operation takes from tens to hundreds of milliseconds, and Go's
// scheduler alone would let packets wait for it. What does the operations is an [Operations]; [Software] is the one that works
// everywhere.
//
// There are four operations: Decrypt with LKE's private key, Sign with SEND's, Verify and Encrypt with public keys of others.
// The two private keys are never the same: a key that signs what a protocol hands it must not decrypt what another does.
package engine
