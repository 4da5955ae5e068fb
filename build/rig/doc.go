// Package rig runs the real roamkeyd in a network namespace and plays stations towards it, packet by packet, for benchmarks
// and tests: a [Wire] is an Ethernet on which this process is as many stations as it likes, a [Node] is a mobile node
// reduced to the packets that it sends, a [Daemon] is one run of roamkeyd.
//
//	wire, err := rig.OpenWire(ns, "load0")
//	daemon, err := rig.Start(routerNS, rig.Options{Path: "bin/roamkeyd", Dir: dir, Settings: text})
//	node := rig.NewNode(1, router)
//	wire.Send(node.Hardware, router.Hardware, node.KeyRequest(ciphertext))
package rig
