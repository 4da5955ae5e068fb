// Package nodeload plays many mobile nodes on one interface, to load access routers: each is a whole [lke.Node] with a
// link-layer address and addresses of its own, of which the kernel knows nothing.
//
// A run has up to two phases. First all nodes attach and encrypt their keys; then they send their key exchange requests,
// a bounded number at a time, and answer the router's duplicate address detection. With a second interface, on the link
// of another router, all nodes then move there and have the first router forward their traffic.
package nodeload
