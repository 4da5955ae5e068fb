// Package fmip is Mobile IPv6 Fast Handovers (RFC 5568), under the handover keys of RFC 5269, as two pure state machines:
// [Router], which is the previous and the new access router (PAR and NAR) at once, and [Node], the mobile node.
//
// Before a move a node asks which router stands behind an access point (RtSolPr, answered by PrRtAdv) and tells the PAR
// with a Fast Binding Update where it is going. The PAR and the NAR agree on that (Handover Initiate and Acknowledge);
// the PAR then tunnels what comes for the node's previous care-of address (PCoA) to its new one (NCoA), and the NAR keeps
// it until the node announces itself with an unsolicited neighbour advertisement (UNA). A node that left too early sends
// the update from its new link.
//
// Neither machine does I/O. Step takes one input and returns the effects to carry out in order; Deadline says when it
// wants a tick. Time comes with each call: any clock that never goes back will do, and the deadlines in a [Record] are on
// that same clock. Where wall-clock time counts (between routers) it is a field of the input.
package fmip
