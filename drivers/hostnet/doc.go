// Package hostnet tells what the kernel knows about links: interfaces, their IPv6 addresses, neighbours, IPsec security
// associations, and the settings that decide whether Duplicate Address Detection can be seen.
//
// Each of these is a mirror in memory that netlink notifications keep, so that a question costs no system call while a
// packet waits. When notifications are lost, the mirror is read anew.
package hostnet
