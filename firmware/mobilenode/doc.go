// Package mobilenode runs a mobile node's protocol on a host: one event loop takes packets, changes of the link and of
// addresses, results of work beside it and requests of the control socket, and carries out what the protocol's machines
// answer, by the drivers rawip, station, forward and guard.
//
// With Local Key Exchange that is [lke.Node]. New addresses are optimistic ones (RFC 4429) where the kernel has them: they
// are used while Duplicate Address Detection goes on, so that the binding update need not wait for a second. The kernel does
// the detection; from an authenticated solicitation of a router the guard keeps it away, for that one the core answers.
//
// With handover keys it is several: what comes of Neighbour Discovery goes through [send.Endpoint], which checks it, to the
// neighbours of the link ([neighbor.Cache]) and to [fmip.Node], which moves; [certpath.Client] finds out whether a router is
// one, and [handoverkey.Node] has the keys. The kernel gets no Neighbour Discovery of the link and does none: the driver
// neighbors writes its table and gives the interface its addresses, and the cache looks for duplicates of them.
package mobilenode
