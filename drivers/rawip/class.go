package rawip

import "github.com/roamkey/roamkey/ipv6"

// Class says by which channel a packet comes.
type Class uint8

// Classes of packets.
const (
	Ignored Class = iota // not for this package
	OnLink               // Packets, if it was received on a served link
	Urgent               // Urgent, wherever it was received
)

// First and last ICMPv6 type that is taken: Router Solicitation to Redirect (RFC 4861 section 4).
const (
	firstND = 133
	lastND  = 137
)

// Classify sorts a parsed packet as the kernel's filters do: the two channels share no packet.
func Classify(p *ipv6.Packet) Class {
	switch p.Proto {
	case ipv6.ProtoICMPv6:
		if len(p.Payload) > 0 && p.Payload[0] >= firstND && p.Payload[0] <= lastND {
			return OnLink
		}
	case ipv6.ProtoMobility:
		switch {
		case p.Dst.IsLinkLocalUnicast():
			return OnLink
		case !p.Dst.IsMulticast():
			return Urgent
		}
	}
	return Ignored
}
