// Package mobility reads and builds mobility headers (RFC 6275 section 6.1): types 0 to 15 with their options, and the
// messages of Local Key Exchange (draft-liu-mobileip-lke-01 section 3.2), which use some of the same numbers.
//
// A message goes through three doors. [ParseHeader] cuts the header out of the octets. [Check] makes the tests of RFC
// 6275 section 9.2 in their order and [Answer] builds what they ask to be sent. A Parse function for the message then
// reads its fields and options; which message a type number stands for depends on the packet around it, so the caller
// says it by the function it calls.
//
// Every message has an Append method that writes the whole mobility header with a checksum of zero, as the
// authenticators want it. [SignBAD], [SignBADF], [SignHandover] and [SignKeyExchangeAck] then
// store the authenticator, and
// [FixChecksum] completes the message. Parse and Verify functions never write to the octets they are given: they are
// shared with the packet. None of them allocates on an error.
package mobility
