// Package station is a mobile node's own interface, by netlink and sysctls: it tells when the link comes and goes, gives
// the interface an address and a default router, and keeps the kernel from doing either by itself.
//
// A new address can be used at once, while Duplicate Address Detection goes on: it is an optimistic one (RFC 4429) where
// the kernel has them. Elsewhere it can be used when the kernel has found no duplicate, a second later.
//
// What it changes it puts back on Close: sysctls as they were, its address and its routes gone. Its routes bear the
// protocol number [RouteProtocol].
package station
