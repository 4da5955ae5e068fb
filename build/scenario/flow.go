package scenario

import (
	"encoding/binary"
	"net/netip"

	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/ipv6"
)

// port is where the packets of the flow go.
const port = 5001

// Payload of a packet of the flow: magic(4) zero(4) sequence(8) time of sending in nanoseconds of the wall clock(8), and
// zeros up to what a voice codec sends.
const (
	payloadLen    = 160
	payloadLeast  = 24
	payloadMagic  = "RkDm"
	maxEncaps     = 4
	udpHeaderLen  = 8
	protoUDP      = 17
	udpPortOffset = 2
)

// flowSeq finds a packet of the flow in a frame, and the sources of the tunnel headers around it, the outermost first.
func flowSeq(f pcap.Frame) (seq uint64, tunnels []netip.Addr, ok bool) {
	if len(f.Octets) < etherHeader {
		return 0, nil, false
	}
	octets := f.Octets[etherHeader:]
	for range maxEncaps {
		var p ipv6.Packet
		if ipv6.Parse(octets, &p) != ipv6.OK {
			return 0, nil, false
		}
		switch p.Proto {
		case ipv6.ProtoIPv6:
			tunnels = append(tunnels, p.Src)
			octets = p.Payload
			continue
		case protoUDP:
			if len(p.Payload) < udpHeaderLen+payloadLeast || binary.BigEndian.Uint16(p.Payload[udpPortOffset:]) != port {
				return 0, nil, false
			}
			payload := p.Payload[udpHeaderLen:]
			if string(payload[:4]) != payloadMagic {
				return 0, nil, false
			}
			return binary.BigEndian.Uint64(payload[8:]), tunnels, true
		}
		return 0, nil, false
	}
	return 0, nil, false
}

// markTunnel notes which arrivals came to the node through a tunnel of the router's: in a frame that begins with its
// address.
func (f *Flow) markTunnel(frames []pcap.Frame, at int, router netip.Addr) {
	through := make(map[uint64]bool)
	for _, frame := range frames {
		if frame.Interface != at || frame.Outgoing {
			continue
		}
		if seq, tunnels, ok := flowSeq(frame); ok && len(tunnels) > 0 && tunnels[0] == router {
			through[seq] = true
		}
	}
	for i := range f.Arrivals {
		f.Arrivals[i].Tunnel = through[f.Arrivals[i].Seq]
	}
}
