package lke

import (
	"io"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// NodeConfig is what a [Node] is told once.
type NodeConfig struct {
	Link      int           // index of the interface on which the node attaches
	Hardware  ipv6.LinkAddr // its link-layer address
	LinkLocal netip.Addr    // its link-local address; the zero Addr: the EUI-64 one of Hardware

	// HomeAgent and HomeAddress are set where the node has a home agent in the sense of RFC 6275. Its binding updates go
	// out without an authenticator: IPsec, outside of this package, protects them and the acknowledgements.
	HomeAgent, HomeAddress netip.Addr

	Lifetime time.Duration // requested for an association and for bindings; 0: the most that can be asked for
	MinBits  int           // least RSA modulus accepted, in bits; 0: 1024

	// InterfaceID is the lower half of the node's addresses; 0: the modified EUI-64 of Hardware.
	InterfaceID uint64

	// AnswerSolicitations makes the node answer neighbour solicitations for its link-local and care-of address itself,
	// for where no kernel has these addresses.
	AnswerSolicitations bool

	CodePoints   mobility.CodePoints // zero: DefaultCodePoints
	NDCodePoints ndp.CodePoints      // zero: DefaultCodePoints
	Rand         io.Reader           // cryptographically strong
}

// Times of the node.
const (
	// nodeRequestGap is the time to the second Key Exchange Request, more than the 3 s in which a router takes one (draft
	// section 6.2); each further one comes after twice as long, at most nodeRequestMax.
	nodeRequestGap = 3200 * time.Millisecond
	nodeRequestMax = 16 * nodeRequestGap

	nodeUpdateGap     = time.Second             // INITIAL_BINDACK_TIMEOUT (RFC 6275 section 12)
	nodeHomeUpdateGap = 1500 * time.Millisecond // InitialBindackTimeoutFirstReg
	nodeUpdateMax     = 32 * time.Second        // MAX_BINDACK_TIMEOUT

	nodeSolicitGap = 4 * time.Second // RTR_SOLICITATION_INTERVAL (RFC 4861 section 10)
	nodeSolicits   = 3               // MAX_RTR_SOLICITATIONS; later ones come at doubling intervals ...
	nodeSolicitMax = time.Hour       // ... up to this (RFC 7559)

	nodeRetransTimer = time.Second            // RETRANS_TIMER, where the router advertises none
	nodeSettleMargin = 100 * time.Millisecond // after the router's DAD period, until the association counts as valid
	nodeAdvertRepeat = 250 * time.Millisecond // the answer to a DAD solicitation is sent a second time after this
	nodeAdvertGap    = 100 * time.Millisecond // the same solicitation is answered again after this

	// nodeHandoverWait bounds the time that a key exchange with a new router waits for acknowledgements of the binding
	// updates to the previous ones: what moves the traffic goes first.
	nodeHandoverWait = time.Second

	// nodeHomeMargin is how long before the end of an association the home agent is updated (LKE-MN-13), or a quarter of
	// the association's lifetime, whichever is less.
	nodeHomeMargin = 64 * time.Second

	nodeMaxErrors       = 4 // unauthenticated errors in a row after which an association is given up
	nodeMaxAssociations = 8
	nodeLifetimeUnit    = 4 * time.Second // of KEAck, BU and BA
	nodeMaxSeconds      = 0xffff
	nodeMinSeconds      = 4 // a shorter lifetime cannot be granted
	nodeMaxFollows      = 2 // changes of the sequence number by status 135 that are followed at once
)

// Node is the mobile node's side of Local Key Exchange.
//
// Beyond what [EffectKind] says, these effects have a meaning on a node: EffectConfigure comes again for an address that
// is there already when the default route has to be refreshed, and with Lifetime 0 when the router ceases to be one.
// EffectBind is the node's end of the tunnel to the router (or to the home agent) for a home address. EffectUnbind ends
// that tunnel, and with it the use of Home where EffectRelease took it off the link before. An EffectSend with Link 0
// names the default router's link-layer address in LinkDst, for where no kernel has a route.
type Node struct {
	cfg      NodeConfig
	now      time.Time
	out      []Effect
	counters nodeCounters

	link         nodeLink
	exchange     nodeExchange
	associations []*nodeAssociation // the oldest first
	home         nodeRegistration   // with the home agent
	homeBegun    bool               // its sequence number was drawn
	ackMinLen    func(typ uint8) (n uint8, known bool)
}

// NewNode gives a node that is not attached to any link yet.
func NewNode(cfg NodeConfig) *Node {
	if !cfg.LinkLocal.IsValid() {
		cfg.LinkLocal = ipv6.LinkLocalFrom(cfg.Hardware)
	}
	if !cfg.HomeAgent.IsValid() || !cfg.HomeAddress.IsValid() {
		cfg.HomeAgent, cfg.HomeAddress = netip.Addr{}, netip.Addr{} // one is of no use without the other
	}
	if cfg.MinBits < ndp.MinKeyBits {
		cfg.MinBits = ndp.MinKeyBits
	}
	if cfg.CodePoints == (mobility.CodePoints{}) {
		cfg.CodePoints = mobility.DefaultCodePoints()
	}
	if cfg.NDCodePoints == (ndp.CodePoints{}) {
		cfg.NDCodePoints = ndp.DefaultCodePoints()
	}
	n := &Node{cfg: cfg}
	n.ackMinLen = n.linkLocalMinLen
	return n
}

// Step handles one input that arrived at now. It returns the effects to carry out, in order; nil for a packet that is
// dropped. What was due before is done first, and at the end what the input made due.
func (n *Node) Step(now time.Time, in Input) []Effect {
	n.now = now
	n.runTimers()
	switch in.Kind {
	case InPacket:
		if in.Packet != nil {
			n.receive(in.Packet)
		}
	case InCiphertext:
		n.encrypted(in)
	case InAttached:
		n.attach()
	case InAddress:
		n.addressReady(in.Home, in.Failed)
	}
	n.runTimers()
	out := n.out
	n.out = nil
	return out
}

// receive hands a packet to whom it concerns.
func (n *Node) receive(p *ipv6.Packet) {
	if p.Interface != 0 && n.cfg.Link != 0 && p.Interface != n.cfg.Link {
		n.count(nodeDropOtherLink)
		return
	}
	switch {
	case p.Proto == ipv6.ProtoMobility:
		n.receiveMobility(p)
	case p.Proto == ipv6.ProtoICMPv6 && len(p.Payload) > 0:
		switch p.Payload[0] {
		case ndp.TypeRouterAdvert:
			n.routerAdvert(p)
		case ndp.TypeNeighborSolicit:
			n.neighborSolicit(p)
		case ndp.TypeNeighborAdvert:
			n.neighborAdvert(p)
		default:
			n.count(nodeDropOtherProtocol)
		}
	default:
		n.count(nodeDropOtherProtocol)
	}
}

// receiveMobility tells LKE's acknowledgement, whose number others use too, by its link-local source.
func (n *Node) receiveMobility(p *ipv6.Packet) {
	local := p.Src.IsLinkLocalUnicast()
	minLen := mobility.MinHeaderLen
	if local {
		minLen = n.ackMinLen
	}
	h, fault := mobility.Check(p, minLen)
	switch {
	case fault != mobility.FaultNone:
		n.counters.faults[fault]++
	case local:
		n.keyExchangeAck(p, h)
	case h.Type == mobility.TypeBA:
		n.bindingAck(p, h)
	default:
		n.count(nodeDropOtherType)
	}
}

func (n *Node) linkLocalMinLen(typ uint8) (uint8, bool) {
	if typ != n.cfg.CodePoints.KeyExchangeAck {
		return 0, false
	}
	return n.cfg.CodePoints.MinHeaderLen(typ)
}

// runTimers does what is due.
func (n *Node) runTimers() {
	n.runLink()
	for i := 0; i < len(n.associations); {
		if a := n.associations[i]; n.runAssociation(a) {
			i++
		}
	}
	n.runHome()
	n.runExchange()
}

// Deadline is when Step wants a Tick next; the zero Time if never.
func (n *Node) Deadline() time.Time {
	at := n.linkDeadline()
	for _, a := range n.associations {
		at = earlier(at, n.associationDeadline(a))
	}
	at = earlier(at, n.homeDeadline())
	return earlier(at, n.exchangeDeadline())
}

// due reports whether the timer at has run out; the zero Time is no timer.
func (n *Node) due(at time.Time) bool { return !at.IsZero() && !n.now.Before(at) }

// earlier gives the earlier of two timers, of which the zero Time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// later gives the later of two times.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (n *Node) emit(e Effect) { n.out = append(n.out, e) }

func (n *Node) report(e Event) {
	e.Node, e.Link = n.cfg.Hardware, n.cfg.Link
	n.emit(Effect{Kind: EffectReport, Event: e})
}

// sendOnLink sends packet to a station of the link.
func (n *Node) sendOnLink(dst ipv6.LinkAddr, packet []byte) {
	n.emit(Effect{Kind: EffectSend, Link: n.cfg.Link, LinkDst: dst, Packet: packet})
}

// sendRouted sends packet by the routing table.
func (n *Node) sendRouted(packet []byte) {
	n.emit(Effect{Kind: EffectSend, LinkDst: n.link.router.hw, Packet: packet})
}

// random fills b, and reports whether it could.
func (n *Node) random(b []byte) bool {
	if n.cfg.Rand != nil {
		if _, err := io.ReadFull(n.cfg.Rand, b); err == nil {
			return true
		}
	}
	n.count(nodeNoRandom)
	return false
}

// random16 is a random number for sequence numbers and jitter, which need no secrecy: zero where there is no randomness.
func (n *Node) random16() uint16 {
	var b [2]byte
	if !n.random(b[:]) {
		return 0
	}
	return uint16(b[0])<<8 | uint16(b[1])
}

// within reports whether seq is one of first ... last, modulo 2^16.
func within(seq, first, last uint16) bool { return seq-first <= last-first }
