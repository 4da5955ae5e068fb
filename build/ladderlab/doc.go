// Package ladderlab is a world for the plays of mipsec/lke/ladder in which the routers are real: each is a roamkeyd on the
// kernel of a network namespace of its own, on the machine's own clock. The same plays run in memory on virtual time.
//
//	station ─┐                                   ┌─ correspondent
//	node    ─┤ Ethernet ── lan0 router wan0 ── core
//	host    ─┘             (roamkeyd)            └─ home agent
//
// Both far ends of a router's wires are this process: on the one it is an Ethernet with nodes (each a whole [lke.Node]),
// hosts and intruders, on the other the network's core. So every packet between two machines passes through it and can be
// noted, lost, doubled and delayed. Packets of the correspondent are real, and take the way that routers give them.
//
// One goroutine, that of the play, owns all of it: what arrives waits until the play lets time go by.
package ladderlab
