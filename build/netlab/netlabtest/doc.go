// Package netlabtest has what tests in network namespaces share: the lab itself, which needs rights that not everybody
// has, sockets that belong to a namespace, and the wait for what a kernel does in its own time.
//
//	func TestMain(m *testing.M) { os.Exit(netlabtest.Main(m)) } // where a user namespace will do
//
//	lab, ns := netlabtest.New(t, "router", "host")
//	socket := netlabtest.Open(t, ns[0], func() (*rawip.Socket, error) { return rawip.Open(cfg) })
//	netlabtest.Await(t, "the packet is counted", func() bool { return netlabtest.Counter(t, socket, "sent") == 1 })
package netlabtest
