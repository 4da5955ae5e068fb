// Package tun makes TUN devices: packets that the kernel routes into one are read from a file, and what is written to it
// arrives at the kernel by that device.
package tun
