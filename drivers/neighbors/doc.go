// Package neighbors writes the kernel's neighbour table on links with SEND (RFC 3971), where the kernel, which checks no
// signature, may not learn neighbours by itself: [Driver.Take] leaves resolution and reachability to this process. The
// kernel then sends no solicitation; it asks by [Driver.Asked] for the address of each packet it cannot send, and once
// more for an entry in use that has grown old.
//
// On such a link it also gives the interface the addresses of SEND, without Duplicate Address Detection by the kernel,
// and host routes for nodes that keep an address of another link (RFC 5568).
//
// What arrives is kept from the kernel by package guard: without its SetSecured the kernel goes on answering
// solicitations and believing advertisements.
//
// What it installs bears marks by which the next process finds it: routes the protocol number 82 and the metric 83,
// addresses the protocol 82 (IFA_PROTO, Linux 5.18) and, for older kernels, the metric 8282 of their prefix route; a link is
// known as taken by its numbers of probes, which nobody else would choose.
package neighbors
