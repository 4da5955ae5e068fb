// Package engine does RSA decryptions in the background, so that none of them delays a packet.
//
// A bounded queue that is fair between sources feeds a few workers. Each worker has an operating system thread of low
// priority to itself: on a router with one core a private operation takes from tens to hundreds of milliseconds, and Go's
// scheduler alone would let packets wait for it. What does the operation is a [Decrypter]; software is the one that works
// everywhere.
package engine
