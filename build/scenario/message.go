package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// Kind names a message of the handover.
type Kind string

// Kinds of messages, as the timeline and the picture call them.
const (
	RouterSolicit Kind = "RS"
	RouterAdvert  Kind = "RA"
	DADSolicit    Kind = "DAD NS"
	DADAdvert     Kind = "DAD NA"
	KeyRequest    Kind = "KEReq"
	KeyAck        Kind = "KEAck"
	Update        Kind = "BU"
	UpdateAck     Kind = "BA"
	Finished      Kind = "Finished"

	PathSolicit  Kind = "CPS"
	PathAdvert   Kind = "CPA"
	ProxySolicit Kind = "RtSolPr"
	ProxyAdvert  Kind = "PrRtAdv"
	FastUpdate   Kind = "FBU"
	FastAck      Kind = "FBack"
	Initiate     Kind = "HI"
	InitiateAck  Kind = "HAck"
	Announce     Kind = "UNA"
)

// Message is one control message as it was seen on one interface.
type Message struct {
	At        time.Time
	Interface int
	Outgoing  bool
	Kind      Kind
	Src, Dst  netip.Addr
	LinkSrc   ipv6.LinkAddr
	Home      netip.Addr // of a Home Address option or routing header
	Target    netip.Addr // of a solicitation or advertisement; the prefix's first address of an RA
	Status    uint8
	Lifetime  time.Duration
	Detail    string // a few words about what it says
	octets    string // upper-layer octets: the same on each hop
}

// Same reports whether m and o are one message, seen at two places.
func (m Message) Same(o Message) bool {
	return m.octets == o.octets && m.Src == o.Src && m.Dst == o.Dst
}

const etherHeader = 14

// Decode finds out whether a frame holds a message of the handover. What is in a tunnel is none.
func Decode(f pcap.Frame) (Message, bool) {
	if len(f.Octets) < etherHeader || f.Octets[12] != 0x86 || f.Octets[13] != 0xdd {
		return Message{}, false
	}
	var p ipv6.Packet
	if ipv6.Parse(f.Octets[etherHeader:], &p) != ipv6.OK {
		return Message{}, false
	}
	m := Message{At: f.At, Interface: f.Interface, Outgoing: f.Outgoing, Src: p.Src, Dst: p.Dst, octets: string(p.Payload)}
	copy(m.LinkSrc[:], f.Octets[6:12])
	m.Home = p.HomeAddress
	if !m.Home.IsValid() {
		m.Home = p.RoutingHome
	}
	switch p.Proto {
	case ipv6.ProtoICMPv6:
		return m, m.decodeND(&p)
	case ipv6.ProtoMobility:
		return m, m.decodeMobility(&p)
	}
	return Message{}, false
}

func (m *Message) decodeND(p *ipv6.Packet) bool {
	if len(p.Payload) == 0 {
		return false
	}
	points := ndp.DefaultCodePoints()
	switch p.Payload[0] {
	case ndp.TypeRouterSolicit:
		_, reason := ndp.ParseRouterSolicit(p)
		m.Kind, m.Detail = RouterSolicit, "is there a router?"
		return reason == ndp.ReasonNone
	case ndp.TypeRouterAdvert:
		ra, reason := ndp.ParseRouterAdvert(p)
		if reason != ndp.ReasonNone {
			return false
		}
		m.Kind = RouterAdvert
		var says []string
		prefixes := ra.Prefixes()
		if prefix, ok := prefixes.Next(); ok {
			m.Target = prefix.Prefix.Addr()
			says = append(says, prefix.Prefix.String())
		}
		for o, ok := ra.Options.Next(); ok; o, ok = ra.Options.Next() {
			if o.Type != points.Capability {
				continue
			}
			if c, err := ndp.ParseCapability(o); err == nil {
				if key, _, err := ndp.ParseSPKI(c.PublicKey); err == nil {
					says = append(says, fmt.Sprintf("RSA %d", key.Bits()))
				}
			}
		}
		m.Detail = strings.Join(says, ", ")
		return true
	case ndp.TypeNeighborSolicit:
		ns, reason := ndp.ParseNeighborSolicit(p)
		if reason != ndp.ReasonNone || !hasAuth(ns.Options, points.AuthRequest) {
			return false
		}
		m.Kind, m.Target, m.Detail = DADSolicit, ns.Target, "prove this address"
		return true
	case ndp.TypeNeighborAdvert:
		na, reason := ndp.ParseNeighborAdvert(p)
		if reason != ndp.ReasonNone {
			return false
		}
		if !na.Solicited && !na.Override && !na.Router && p.Src == na.Target && ipv6.IsRoutableUnicast(na.Target) && !na.TargetLink.IsZero() {
			m.Kind, m.Target, m.Detail = Announce, na.Target, "I am here"
			return true
		}
		if !hasAuth(na.Options, points.AuthReply) {
			return false
		}
		m.Kind, m.Target, m.Detail = DADAdvert, na.Target, "proved with the key"
		return true
	case ndp.TypePathSolicit:
		_, reason := ndp.ParsePathSolicit(p)
		m.Kind, m.Detail = PathSolicit, "who says that you are a router?"
		return reason == ndp.ReasonNone
	case ndp.TypePathAdvert:
		_, reason := ndp.ParsePathAdvert(p)
		m.Kind, m.Detail = PathAdvert, "a certificate of the path"
		return reason == ndp.ReasonNone
	case ndp.TypeFast:
		return m.decodeProxy(p)
	}
	return false
}

// decodeProxy reads what node and router say of access points elsewhere.
func (m *Message) decodeProxy(p *ipv6.Packet) bool {
	if s, reason := ndp.ParseProxySolicit(p); reason == ndp.ReasonNone {
		m.Kind, m.Detail = ProxySolicit, "who is at that access point?"
		if s.HasKeyRequest {
			m.Detail = "a handover key, please"
		}
		return true
	}
	a, reason := ndp.ParseProxyAdvert(p)
	if reason != ndp.ReasonNone {
		return false
	}
	m.Kind = ProxyAdvert
	if a.HasKeyReply {
		m.Detail = "a handover key, under RSA"
		return true
	}
	if a.Tuples.Len() > 0 {
		if prefix := a.Tuples.At(0).NetPrefix(); prefix.IsValid() {
			m.Detail = prefix.String()
		}
	}
	return true
}

func hasAuth(options ndp.Options, typ uint8) bool {
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != typ {
			continue
		}
		if _, err := ndp.ParseDADAuth(o); err == nil {
			return true
		}
	}
	return false
}

func (m *Message) decodeMobility(p *ipv6.Packet) bool {
	h, fault := mobility.Check(p, mobility.MinHeaderLen)
	if fault != mobility.FaultNone {
		return false
	}
	points := mobility.DefaultCodePoints()
	local := p.Src.IsLinkLocalUnicast() && p.Dst.IsLinkLocalUnicast() && p.HopLimit == 255
	switch {
	case h.Type == mobility.TypeBU:
		bu, err := mobility.ParseBindingUpdate(h)
		if err != nil {
			return false
		}
		m.Kind, m.Lifetime = Update, 4*time.Duration(bu.Lifetime)*time.Second
		m.Detail = "send my packets here"
		if bu.Lifetime == 0 {
			m.Detail = "send nothing any more"
		}
		return true
	case h.Type == mobility.TypeBA:
		ba, err := mobility.ParseBindingAck(h, points)
		if err != nil {
			return false
		}
		m.Kind, m.Status, m.Lifetime = UpdateAck, ba.Status, 4*time.Duration(ba.Lifetime)*time.Second
		m.Detail = statusText(ba.Status)
		if ba.FinishedRequest {
			m.Detail += "; are you there?"
		}
		return true
	case h.Type == mobility.TypeHI:
		hi, err := mobility.ParseHandoverInitiate(h)
		if err != nil {
			return false
		}
		m.Kind, m.Target, m.Detail = Initiate, hi.NewCareOf, "a node comes"
		if hi.Buffer {
			m.Detail = "a node comes: keep its packets"
		}
		return true
	case h.Type == mobility.TypeHAck:
		ack, err := mobility.ParseHandoverAck(h)
		if err != nil {
			return false
		}
		m.Kind, m.Status, m.Detail = InitiateAck, ack.Code, handoverText(ack.Code)
		return true
	case h.Type == mobility.TypeFBU && !local:
		fbu, err := mobility.ParseFastBindingUpdate(h)
		if err != nil {
			return false
		}
		m.Kind, m.Lifetime, m.Detail = FastUpdate, time.Duration(fbu.Lifetime)*time.Second, "I am going there"
		if fbu.AlternateCareOf == p.Src || !fbu.AlternateCareOf.IsValid() {
			m.Detail = "I am here now"
		}
		return true
	case h.Type == mobility.TypeFBack && !local:
		ack, err := mobility.ParseFastBindingAck(h)
		if err != nil {
			return false
		}
		m.Kind, m.Status, m.Lifetime = FastAck, ack.Status, time.Duration(ack.Lifetime)*time.Second
		m.Detail = statusText(ack.Status)
		return true
	case h.Type == points.KeyExchangeRequest && local:
		m.Kind, m.Detail = KeyRequest, "a fresh key, under RSA"
		return true
	case h.Type == points.KeyExchangeAck && local:
		ack, err := mobility.ParseKeyExchangeAck(h, points)
		if err != nil {
			return false
		}
		m.Kind, m.Status, m.Lifetime = KeyAck, ack.Status, 4*time.Duration(ack.Lifetime)*time.Second
		m.Detail = statusText(ack.Status)
		return true
	case h.Type == points.Finished && !local:
		f, err := mobility.ParseFinished(h, points)
		if err != nil {
			return false
		}
		m.Kind, m.Status, m.Detail = Finished, f.Status, "yes, I am there"
		return true
	}
	return false
}

func handoverText(code uint8) string {
	if code < mobility.HandoverRefused {
		return "accepted"
	}
	return fmt.Sprintf("refused, code %d", code)
}

func statusText(status uint8) string {
	if status < mobility.StatusUnspecified {
		return "accepted"
	}
	return fmt.Sprintf("refused, status %d", status)
}
