// Package pcap records Ethernet frames on several interfaces, in several network namespaces, and writes them as one
// capture file that Wireshark and tshark read, each frame with the name of the interface it was seen on. It also reads
// capture files in the classic format, for tests against what other implementations send.
package pcap
