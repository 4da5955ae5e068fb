package fmip

import (
	"io"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// NodeKeys gives the handover key that the router with a global address gave for one of the node's own addresses (RFC 5269
// section 3.4). The slice is only looked at before the next call of anything.
type NodeKeys interface {
	HandoverKey(router, home netip.Addr) (key []byte, mac mobility.FastMAC, ok bool)
}

// NodeConfig is what a [Node] is told once.
type NodeConfig struct {
	Link     int           // index of the interface by which the node attaches
	Hardware ipv6.LinkAddr // its link-layer address

	// Params and Sec make the node's addresses: modifier, public key and extensions count.
	Params cga.Params
	Sec    uint8

	Keys NodeKeys

	// SecuredOnly: routers that do not speak SEND are not used at all. Otherwise they are as long as there is no other (RFC
	// 3971 section 8). Anchored: prefixes that no certification path covers count as unsecured.
	SecuredOnly, Anchored bool

	// HomeAgent and HomeAddress are set where the node has a home agent in the sense of RFC 6275. IPsec, outside of this
	// package, protects what is said to it.
	HomeAgent, HomeAddress netip.Addr

	Lifetime time.Duration // asked for, of forwarding (60 s)
	Rand     io.Reader     // cryptographically strong
}

// Times and bounds of the node.
const (
	nodeDefaultLifetime = 60 * time.Second // "of the order of tens of seconds", RFC 5568 section 5.6

	nodeSolicitGap = 4 * time.Second // RTR_SOLICITATION_INTERVAL (RFC 4861 section 10)
	nodeSolicits   = 3               // MAX_RTR_SOLICITATIONS; later ones come at doubling intervals ...
	nodeSolicitMax = time.Hour       // ... up to this (RFC 7559)
	// nodeArrivalGap is the time to the second solicitation on a link whose router is known from before: its advertisement
	// confirms that the node is where it meant to go.
	nodeArrivalGap = time.Second

	nodeProxyRetries = 3                      // RTSOLPR_RETRIES (RFC 5568 section 9)
	nodeProxyRate    = 3                      // MAX_RTSOLPR_RATE, in a second
	nodeProxyGap     = 100 * time.Millisecond // before the first repetition (section 6.1.1); doubles
	nodeKeyGap       = time.Second            // the same of one that asks for a key, whose answer takes RSA at both ends

	nodeUpdateRetries = 3                      // FBU_RETRIES
	nodeUpdateGap     = 200 * time.Millisecond // more than a router takes to repeat one HI; doubles
	nodeUpdateMax     = 32 * time.Second       // MAX_BINDACK_TIMEOUT (RFC 6275 section 12)

	nodeHomeUpdateGap = 1500 * time.Millisecond // InitialBindackTimeoutFirstReg
	nodeHomeUnit      = 4 * time.Second         // of lifetimes in Binding Updates

	nodeAnnounceGap = 100 * time.Millisecond // to the first repetition of the UNA; doubles
	nodeAnnounces   = 3                      // MAX_NEIGHBOR_ADVERTISEMENT

	// nodeStay is how long after its FBack a node may still be on the old link, to which nothing comes any more, before it
	// takes the update back (RFC 5568 section 5.6).
	nodeStay = 10 * time.Second
	// nodeProvisional is for how long a router counts that was only told of by a proxy advertisement.
	nodeProvisional = 30 * time.Second

	nodeTupleLife   = 5 * time.Minute
	nodeMaxTuples   = 32
	nodeMaxBindings = 8

	nodeMaxCollisions = 2 // RFC 3972 section 4
	nodeMaxSeconds    = 0xffff

	// nodeFollows is how often a sequence number that the home agent gives is followed at once.
	nodeFollows = 2
)

// Node is the mobile node's side of fast handovers, on one interface: a pure state machine that one goroutine owns.
type Node struct {
	cfg       NodeConfig
	linkLocal netip.Addr
	now       time.Time
	out       []NodeEffect
	counters  nodeCounters

	place    nodePlace
	announce nodeAnnounce
	prepared nodePrepared
	proxy    nodeProxy
	bindings []*nodeBinding // the oldest first
	home     nodeRegistration
	homeSeq  bool // its sequence number was drawn
}

// NewNode gives a node that is not attached to any link yet.
func NewNode(cfg NodeConfig) *Node {
	if !cfg.HomeAgent.IsValid() || !cfg.HomeAddress.IsValid() {
		cfg.HomeAgent, cfg.HomeAddress = netip.Addr{}, netip.Addr{} // one is of no use without the other
	}
	if cfg.Lifetime <= 0 {
		cfg.Lifetime = nodeDefaultLifetime
	}
	n := &Node{cfg: cfg}
	n.linkLocal = n.address(netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80}), 64), 0)
	return n
}

// LinkLocal is the node's link-local address, a CGA. The interface needs it before the first input.
func (n *Node) LinkLocal() netip.Addr { return n.linkLocal }

// String names the node; it keeps keys from %v.
func (n *Node) String() string { return "fast handover node" }

// GoString keeps keys from %#v.
func (n *Node) GoString() string { return n.String() }

// address gives the node's CGA in prefix with a collision count.
func (n *Node) address(prefix netip.Prefix, collisions uint8) netip.Addr {
	p := n.cfg.Params.In(prefix)
	p.Collisions = collisions
	return p.Address(n.cfg.Sec)
}

// owns reports whether addr is a CGA of the node, and so can be signed for.
func (n *Node) owns(addr netip.Addr) bool {
	for c := range uint8(nodeMaxCollisions + 1) {
		if addr.IsValid() && n.address(netip.PrefixFrom(addr, 64), c) == addr {
			return true
		}
	}
	return false
}

// Step handles one input that arrived at now. It returns the effects to carry out, in order; nil for a packet that is
// dropped. What was due before is done first, and at the end what the input made due.
func (n *Node) Step(now time.Time, in NodeInput) []NodeEffect {
	n.now = now
	n.runTimers()
	switch in.Kind {
	case InNodePacket:
		if in.Packet != nil {
			n.receive(&in)
		}
	case InAttached:
		n.attach()
	case InDetached:
		n.detach()
	case InAddress:
		n.addressReady(in.Addr, in.Failed)
	case InMove:
		n.prepare(in.Target, netip.Addr{})
	case InKeyRequest:
		n.requestKey(&in)
	case InKey:
		n.keyCame(in.Router, in.Home)
	}
	n.runTimers()
	out := n.out
	n.out = nil
	return out
}

// receive hands a packet to whom it concerns.
func (n *Node) receive(in *NodeInput) {
	p := in.Packet
	if p.Interface != 0 && n.cfg.Link != 0 && p.Interface != n.cfg.Link {
		n.count(nodeDropOtherLink)
		return
	}
	switch {
	case p.Proto == ipv6.ProtoMobility:
		n.receiveMobility(p)
	case p.Proto == ipv6.ProtoICMPv6 && len(p.Payload) > 0 && p.Payload[0] == ndp.TypeRouterAdvert:
		n.routerAdvert(in)
	case p.Proto == ipv6.ProtoICMPv6 && len(p.Payload) > 0 && p.Payload[0] == ndp.TypeFast:
		n.proxyAdvert(in)
	default:
		n.count(nodeDropOtherProtocol)
	}
}

func (n *Node) receiveMobility(p *ipv6.Packet) {
	h, fault := mobility.Check(p, mobility.MinHeaderLen)
	switch {
	case fault != mobility.FaultNone:
		n.counters.faults[fault]++
	case h.Type == mobility.TypeFBack:
		n.fastAck(p, h)
	case h.Type == mobility.TypeBA:
		n.homeAck(p, h)
	default:
		n.count(nodeDropOtherType)
	}
}

// runTimers does what is due.
func (n *Node) runTimers() {
	n.runPlace()
	n.runAnnounce()
	n.runProxy()
	for i := 0; i < len(n.bindings); {
		if b := n.bindings[i]; n.runBinding(b) {
			i++
		}
	}
	n.runPrepared()
	n.runHome()
}

// Deadline is when Step wants an InNodeTick next; the zero Time if never.
func (n *Node) Deadline() time.Time {
	at := soonest(n.place.solicitAt, n.place.router.until)
	at = soonest(at, n.announce.next)
	at = soonest(at, n.proxyDeadline())
	for _, b := range n.bindings {
		at = soonest(at, n.bindingDeadline(b))
	}
	at = soonest(at, n.prepared.stayUntil)
	return soonest(at, n.homeDeadline())
}

// due reports whether the timer at has run out; the zero Time is no timer.
func (n *Node) due(at time.Time) bool { return !at.IsZero() && !n.now.Before(at) }

// soonest gives the earlier of two timers, of which the zero Time is none.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (n *Node) emit(e NodeEffect) { n.out = append(n.out, e) }

func (n *Node) report(e NodeEvent) { n.emit(NodeEffect{Kind: EffectNodeReport, Event: e}) }

// sendND has a message of Neighbour Discovery signed and sent.
func (n *Node) sendND(dst ipv6.LinkAddr, src, to netip.Addr, icmp []byte) {
	n.emit(NodeEffect{
		Kind: EffectNodeSendND, Link: n.cfg.Link, LinkDst: dst, Packet: discoveryMessage(src, to, icmp), Unsigned: !n.owns(src),
	})
}

// discoveryMessage gives a whole packet with a message of Neighbour Discovery.
func discoveryMessage(src, dst netip.Addr, icmp []byte) []byte {
	return ipv6.Append(make([]byte, 0, ipv6.HeaderLen+len(icmp)), ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, icmp)
}

// random16 is a random number for sequence numbers and identifiers, which need no secrecy: zero where there is no
// randomness.
func (n *Node) random16() uint16 {
	var b [2]byte
	if n.cfg.Rand != nil {
		if _, err := io.ReadFull(n.cfg.Rand, b[:]); err == nil {
			return uint16(b[0])<<8 | uint16(b[1])
		}
	}
	n.count(nodeNoRandom)
	return 0
}
