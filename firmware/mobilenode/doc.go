// Package mobilenode runs the mobile node's core of Local Key Exchange on a host: one event loop takes packets, changes of
// the link and of addresses, finished encryptions and requests of the control socket, and carries out what the core
// ([lke.Node]) answers, by the drivers rawip, station, forward and guard.
//
// New addresses are optimistic ones (RFC 4429) where the kernel has them: they are used while Duplicate Address Detection
// goes on, so that the binding update need not wait for a second. The kernel does the detection; from an authenticated
// solicitation of a router the guard keeps it away, for that one the core answers.
package mobilenode
