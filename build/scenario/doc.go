// Package scenario plays a handover on real kernels: it builds a small internet of network namespaces, starts the real
// programs in it, sends packets to a mobile node, moves the node to another router, and measures what that costs. The
// demo shows four such runs, one for each Protocol.
//
//	                       +------ par ------+      cell of par
//	                       | roamkeyd        |-------------.
//	correspondent --- core +                 |              (air)--- node
//	                       | roamkeyd        |-------------'        roamkey-mn
//	                       +------ nar ------+      cell of nar
//
// The node has one interface, whose cable leads into the namespace "air", where a bridge stands for each cell. To move it
// is to unplug it from one bridge and, after the time that a radio needs, to plug it into the other.
package scenario
