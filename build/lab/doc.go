// Lab boots virtual machines with Debian's own kernels and runs in them what the machine at hand may lack: the kernel's
// IPv6 tunnels, IPsec, and whatever else a router's kernel has.
//
// A guest is a kernel, its modules, and an initramfs that holds static Go programs and nothing else. The guest's init
// (package lab/init) loads the modules, runs the steps of a plan one after the other, prints what they print on the serial
// console, and says at last how each of them ended.
package main
