// Package certpath is the authorization of routers: certificates with IP addresses (RFC 3779) under the profile of SEND (RFC
// 6494, or the older one of RFC 3971), certification paths from a configured trust anchor to a router's key, and Authorization
// Delegation Discovery (RFC 3971 section 6), by which a host asks for such a path and a router answers.
// Certificates are read and written here, and not by crypto/x509, which would be a tenth of the program: RSA keys alone, and
// no more of RFC 5280 than these certificates need.
//
// # Verifying
//
// A path is a list of certificates, below the anchor first, the router's last, at most [MaxCertificates]. [Verify] goes down
// it once: each certificate must be named after, and signed by, the one above, valid at the given wall-clock time, fit its
// place (authority or end entity), and hold no address that the one above does not. So it always ends; a path that loops
// cannot be written down. What is found is a [Path]: the key, and the prefixes that its owner may advertise. Each failure is a
// [Reason], which errors.Is finds in the error and under which it is counted.
//
// x509's Verify would not do either: it refuses SHA-1, which old installations of SEND have, refuses the addresses as an
// unknown critical extension, tells its failures apart only by text, and looks for other ways to the anchor where one is
// given. The tests hold against it what is read, made and verified here.
//
// # Discovery
//
// [Server] and [Client] are state machines: Step takes one input and returns the effects to carry out, Deadline says when it
// wants a tick. The server answers Certification Path Solicitations with one certificate in each advertisement. The client
// finds and verifies the path for a key hash when somebody wants it, and keeps what it found in a bounded cache. The messages
// are not signed: whatever is in them counts only as far as it can be verified from the anchor, and as soon as it comes, so
// that certificates of others take up neither memory nor time without a bound.
//
// # Revocation
//
// No certificate revocation list is read, neither before nor after the node is connected: acceptance is provisional all the
// time (RFC 3971 section 6.3.1 wants a check once there is a connection). Short validity is what bounds the life of a
// certificate whose key was lost.
package certpath
