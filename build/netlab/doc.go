// Package netlab makes small networks out of Linux network namespaces, for tests and for the demo: namespaces, veth pairs,
// bridges, addresses, routes and sysctls, all by netlink and procfs, with no program beside it.
//
// A namespace has no name in the file system: it is held by one locked thread of this process and by the programs
// started in it, which die with that thread. So whatever happens to the process, nothing is left behind.
//
//	lab := netlab.New()
//	defer lab.Close()
//	host, err := lab.Namespace("host")
//	router, err := lab.Namespace("router")
//	err = lab.Veth(netlab.End{NS: host, Name: "eth0"}, netlab.End{NS: router, Name: "lan0"})
//	err = host.AddAddress("eth0", netip.MustParsePrefix("2001:db8::2/64"))
//	err = host.Do(func() error { ...sockets opened here belong to the namespace... })
//	program, err := host.Start(netlab.Command{Path: "bin/roamkeyd", Args: []string{"run"}, Log: file})
//
// It needs CAP_SYS_ADMIN and CAP_NET_ADMIN: root has them, and [Enter] gets them in a user namespace otherwise.
package netlab
