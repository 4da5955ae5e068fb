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

// ICMPv6 types that are taken: Router Solicitation to Redirect (RFC 4861 section 4), the Certification Path Solicitation and
// Advertisement of SEND (RFC 3971 section 6.2), and what FMIPv6 has (RFC 5568 section 6.1.1).
const (
	firstND = 133
	lastND  = 137

	pathSolicit = 148
	pathAdvert  = 149
	fast        = 154
)

func discovery(typ uint8) bool {
	return typ >= firstND && typ <= lastND || typ == pathSolicit || typ == pathAdvert || typ == fast
}

// Classify sorts a parsed packet as the kernel's filters do: the two channels share no packet.
func Classify(p *ipv6.Packet) Class {
	switch p.Proto {
	case ipv6.ProtoICMPv6:
		if len(p.Payload) > 0 && discovery(p.Payload[0]) {
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
