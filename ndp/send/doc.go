// Package send is secure Neighbour Discovery (RFC 3971) on one link as a pure state machine: [Endpoint] signs what is said
// and checks what is heard, whether it is a router or a host. Addresses are CGAs (RFC 3972, package cga).
//
// It does no I/O. Step takes one [Input] and returns the [Effect]s to carry out in order; Deadline says when it wants a
// tick. RSA is a job done outside: EffectVerify and EffectSign ask for it, InVerified, InSigned and InLost answer.
//
// # What is heard
//
// All tests that cost little come before RSA: form, which options there are, the address against the key, key size, key
// hash, length of the signature, nonce, timestamp, and how much of this source waits already. Nothing that is remembered
// of a peer changes before its signature is verified. What becomes of a message that fails is a matter of its [Reason]
// and of Config.Secured: some are dropped always, the others are delivered as unsecured on a link of mixed mode.
//
// A message without a signature is delivered at once and is the caller's own packet. One with a signature is delivered as
// a copy that ends before the signature option, with payload length and checksum put right, so that no later parser sees
// what RFC 3971 section 5.2.2 says to ignore. These are, by the checksum rule below, just the octets that were signed.
//
// # The checksum rule
//
// The ICMPv6 checksum inside the signed data is that of the message before the signature option was added. All known
// implementations do it so; a signature over the checksum as it was on the wire does not verify.
//
// # Timestamps
//
// The times of reception are taken from the caller's clock that never goes back; only Delta compares a timestamp with
// wall-clock time. While the own wall clock is plainly unset (before 2020) Delta means nothing: solicitations of unknown
// peers are Stale (they may be answered), advertisements need a nonce of ours, known peers are held to the rate of their
// own timestamps. So a router without a battery for its clock can be talked to, and nothing old makes new state.
package send
