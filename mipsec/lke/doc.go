// Package lke is the Local Key Exchange (draft-liu-mobileip-lke-01) as two pure state machines: [Router], the access
// router, and [Node], the mobile node.
//
// While a node is attached it sends the router a key, encrypted under the RSA key of the router's advertisement (Key
// Exchange Request and Acknowledgement). The router then performs Duplicate Address Detection for the node's care-of
// address with an authenticated solicitation; the node's authenticated answer makes the local binding security association
// (LBSA) valid. After a move one Binding Update under that key makes the router forward the address to the new link.
//
// Neither machine does I/O. Step takes one [Input] and returns the [Effect]s to carry out in order; Deadline says when it
// wants a tick. All RSA is a job done outside. Time comes with each call: any clock that never goes back will do, and
// the deadlines in a [Record] are on that same clock.
package lke
