// Package hold keeps packets back for nodes that are away: between two links, a node can take nothing, and what its router
// kept is sent as soon as it is there (RFC 5568 sections 3.2 and 4.5).
//
// Packets are kept in this process. A host route in a routing table of its own leads what the kernel forwards to a held
// address into a TUN device. A routing rule asks that table first, but not for what comes out of that very device: a
// packet that is written back there goes the usual way, into the node's tunnel or to its link, whatever the routes say by
// then. It bears the hop limit with which it would have been forwarded, and one that is too big is answered by the kernel.
//
// Packets of an address leave in the order in which they came. What comes while they drain queues behind. A queue that is
// full drops the newest packet, as a queue of any router does: what was kept first has the longest way to catch up, a
// loss at the end of what the node gets is repaired like any other, and to make room for a flood would let it push out
// what came before. Only copies (see Holder.Hold) make room, the oldest first: those were sent already.
//
// When a queue is empty its route is removed, and what stood in the device by then is sent before anything else. That no
// packet overtakes those, which the kernel then sends directly, is likely, not certain: the kernel has no step that does both at
// once. So the moment for it is chosen: when nothing came for a part of the usual time between two packets.
package hold
