// Package cga makes and verifies cryptographically generated addresses (RFC 3972): IPv6 addresses whose interface
// identifier is a hash over a public key, so that who can sign with the key can show that the address is theirs.
//
// [Params] are what the hash is over. A Sec value from 0 to 7 in the address says how much work finding a modifier took,
// and how much it takes to find another key for the address: 2 to the power of 16 times Sec. Verification handles all of
// them, with SHA-1 and the hash extension of RFC 3972; RFC 4982 assigns the values 0 to 2, and nobody others with another
// meaning. Hashing alone is done here: signatures are checked elsewhere, and so is whether the key is long enough.
package cga
