// Package pcap records Ethernet frames on several interfaces, in several network namespaces, and writes them as one
// capture file that Wireshark and tshark read, each frame with the name of the interface it was seen on.
package pcap
