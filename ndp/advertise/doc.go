// Package advertise is the speaker of router advertisements on one served link (RFC 4861 section 6.2): what an
// advertisement says, when one is sent, how solicitations are answered, and what other routers on the link say. It is a
// pure state machine. [Speaker.Step] takes one [Input] and returns the [Effect]s to carry out in order,
// [Speaker.Deadline] says when it wants a tick; time and randomness are given to it. One Speaker serves one link.
//
// # What it says
//
// The header with M, O, H and the default router preference (RFC 4191), the options of RFC 4861, route information (RFC
// 4191), RDNSS and DNSSL (RFC 8106), and those of mobility: router address in prefixes, advertisement interval, home agent
// information (RFC 6275 section 7), LKE capability (draft-liu-mobileip-lke-01 section 3.1.1). A [Config] that breaks a
// rule of these is refused with what would be right. Options that do not fit the link's MTU are spread over several
// advertisements, sent together; each of them has the router's address and the home agent information (RFC 6275 sections
// 7.2 and 7.4). While no prefix holds an address of the router that can be told, the router does not call itself a home
// agent, and so offers no LKE (RFC 6275 section 7.2).
//
// A prefix that disappears is advertised with both lifetimes zero for as long as a host may still hold it (RFC 9096
// section 3.5), routes and DNS entries that disappear with lifetime zero three times. Both end when they come back.
//
// # When
//
// Three initial advertisements at most 16 s apart, then at uniformly random intervals; three again after a change of
// contents. A solicitation is answered within 0.5 s: to the soliciting host alone if it has an address and tells its
// link-layer address (RFC 7772 section 5.1: it does not wake up every other node, and on Wi-Fi a unicast frame is
// acknowledged and need not wait for the multicast rate limit, so that a node that roams does not wait 3 s), otherwise,
// and whenever too many ask at once, to all nodes. So a flood of solicitations is answered by the multicast
// advertisements alone, one in MinDelay. A stop is told by three final advertisements with lifetime zero, a restart by none.
//
// All octets are encoded here. mdlayher/ndp can express neither the R bit nor an option of 256 octets, and would add
// 260 KB to the daemon (internationalised domain names); the tests use it as an independent reader.
package advertise
