// Package conntrack deletes entries of the kernel's connection tracking, so that flows which were handed to a flow table or to
// hardware take the way that the routes say now.
package conntrack
