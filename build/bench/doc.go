// Bench measures the real daemon over real packets, in network namespaces of its own, and holds each figure to its limit.
//
// It prints one line a figure: bench: NAME VALUE UNIT limit LIMIT ok, or OVER. Machines are noisy, so that each limit is
// a ratio to something measured in the same run (raw RSA, an echo over the same wire), or generous.
//
//	load0 ──── lan0 router wan0 ──── up0
//	(nodes)        (roamkeyd)        (where nodes have moved to)
//
// Fast handovers have a second roamkeyd beside it, to which nodes go that tell beforehand:
//
//	router peer0 ──── peer0 nar lan0 ──── cell0
package main
