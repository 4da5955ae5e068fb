package fmip

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/mipsec/pacing"
	"github.com/roamkey/roamkey/ndp"
)

// Router is the access routers' side of fast handovers, PAR and NAR at once: a pure state machine that one goroutine owns.
type Router struct {
	cfg RouterConfig

	links   map[string]*servedLink
	byIndex map[int]*servedLink     // of the links that are present
	served  []*servedLink           // the same, in the order of the configuration
	routers map[netip.Addr]struct{} // addresses that no node may have
	own     map[netip.Addr]struct{} // those of them that are this router's global ones

	neighbors []*peer
	peers     map[netip.Addr]*peer // by global address

	nodes      map[netip.Addr]*leaver // that we are the PAR of, by previous care-of address
	nodeTimers pacing.Timers[*leaver]

	arrivals      map[netip.Addr]*arrival // that we are the NAR of, by the address that is watched for them
	visits        map[visitKey]*arrival   // the same, by the node
	arrivalTimers pacing.Timers[*arrival]

	initiations map[uint16]*leaver // by the sequence number of their HI

	solicits      map[uint64]*solicit // RtSolPr that wait for a handover key, by cookie
	soliciting    map[netip.Addr]*solicit
	solicitTimers pacing.Timers[*solicit]
	lastCookie    uint64

	sources  pacing.Table[stationKey, pacing.Bucket] // of RtSolPr
	stations pacing.Table[stationKey, station]       // that a handover key was granted to
	total    [2]pacing.Bucket                        // RtSolPr in all: unsigned, signed
	answers  pacing.Bucket                           // to strangers

	lastSeq uint16 // of our HI
	seqSet  bool

	clock   pacing.Clock
	now     pacing.Time // of the step under way
	wall    time.Time   // last wall-clock time that was told ...
	wallAt  pacing.Time // ... and when
	count   routerCounters
	effects []Effect // of the step under way
	spare   []Effect // given back by Recycle, empty
}

// NewRouter makes a router that serves what cfg says.
func NewRouter(cfg RouterConfig) *Router {
	r := &Router{
		links: make(map[string]*servedLink), nodes: make(map[netip.Addr]*leaver), arrivals: make(map[netip.Addr]*arrival),
		solicits: make(map[uint64]*solicit), soliciting: make(map[netip.Addr]*solicit),
		visits: make(map[visitKey]*arrival), initiations: make(map[uint16]*leaver),
	}
	r.configure(cfg)
	return r
}

// Step handles one input that arrived at now. It returns the effects to carry out, in order; nil where there is nothing
// to do, which then costs no memory either. Timers that are due are handled before the input. The slices in an effect are
// the caller's, and so is a Record.
func (r *Router) Step(now time.Time, in Input) []Effect {
	t := r.clock.At(now)
	if !in.Wall.IsZero() {
		r.wall, r.wallAt = in.Wall, t
	}
	r.runTimers(t)
	switch in.Kind {
	case InPacket:
		if in.Packet != nil {
			r.packet(t, &in)
		}
	case InGrant:
		r.granted(t, in.Cookie, in.Octets)
	case InForwarding:
		r.forwarding(t, in.Home, in.Failed)
	case InLinkEvent:
		r.linkEvent(t, &in)
	case InDrained:
		r.count.add(countDrained)
	}
	return r.takeEffects()
}

// Deadline is when Step wants an InTick next; the zero Time if never.
func (r *Router) Deadline() time.Time {
	at := never
	if n, ok := r.nodeTimers.First(); ok {
		at = n.timer.At()
	}
	if a, ok := r.arrivalTimers.First(); ok {
		at = min(at, a.timer.At())
	}
	if s, ok := r.solicitTimers.First(); ok {
		at = min(at, s.timer.At())
	}
	if at == never {
		return time.Time{}
	}
	return r.clock.Moment(at)
}

// message says which message a packet is.
type message uint8

const (
	messageNone message = iota
	messageSolicit
	messageUpdate
	messageInitiate
	messageAck
	messageAnnounce // Fast Neighbor Advertisement of RFC 4068
	messageNeighbor // neighbour advertisement or solicitation for an address that is held
)

// Owns reports whether p is for this core: a Fast Binding Update, an HI or HAck to a global address of the router, a Fast
// Neighbor Advertisement, an RtSolPr on a served link, or a neighbour advertisement or a solicitation from :: on that link
// for an address of a node that is awaited there. The last two say something to others, too: they are not for this core
// alone.
func (r *Router) Owns(p *ipv6.Packet) bool { return r.classify(p) != messageNone }

// nsTargetEnd is where the target of a neighbour solicitation or advertisement ends.
const nsTargetEnd = 24

func (r *Router) classify(p *ipv6.Packet) message {
	switch {
	case p.Proto == ipv6.ProtoICMPv6 && len(p.Payload) > 4:
		if r.byIndex[p.Interface] == nil {
			return messageNone
		}
		switch t := p.Payload[0]; {
		case t == ndp.TypeFast && p.Payload[4] == ndp.SubtypeProxySolicit:
			return messageSolicit
		case (t == ndp.TypeNeighborAdvert || t == ndp.TypeNeighborSolicit && p.Src.IsUnspecified()) && len(p.Payload) >= nsTargetEnd:
			a := r.arrivals[netip.AddrFrom16([16]byte(p.Payload[8:nsTargetEnd]))]
			if a != nil && a.link.present && a.link.Index == p.Interface {
				return messageNeighbor
			}
		}
	case p.Proto == ipv6.ProtoMobility && len(p.Payload) > 2:
		typ := p.Payload[2]
		_, ours := r.own[p.Dst]
		if typ == mobility.TypeFNA {
			link := r.byIndex[p.Interface] // with a home address it is Local Key Exchange's
			if link != nil && !p.HomeAddress.IsValid() && (ours || p.Dst == link.LinkLocal) {
				return messageAnnounce
			}
			return messageNone
		}
		if !ours {
			return messageNone
		}
		switch {
		case typ == mobility.TypeFBU && !p.Src.IsLinkLocalUnicast():
			return messageUpdate // from a link-local address it is Local Key Exchange's
		case typ == mobility.TypeHI:
			return messageInitiate
		case typ == mobility.TypeHAck:
			return messageAck
		}
	}
	return messageNone
}

// NeighbourWanted names the neighbour entry that an InPacket of p is to come with: addr on link. It reports false where
// none is looked at.
func (r *Router) NeighbourWanted(p *ipv6.Packet) (link int, addr netip.Addr, ok bool) {
	switch r.classify(p) {
	case messageUpdate:
		if l, _ := r.linkOf(p.HomeAddress); l != nil {
			return l.Index, p.HomeAddress, true
		}
	case messageInitiate:
		h, err := mobility.ParseHeader(p.Payload)
		if err != nil {
			return 0, netip.Addr{}, false
		}
		m, err := mobility.ParseHandoverInitiate(h)
		if err != nil || !m.NewCareOf.IsValid() {
			return 0, netip.Addr{}, false
		}
		if l, _ := r.linkOf(m.NewCareOf); l != nil {
			return l.Index, m.NewCareOf, true
		}
	}
	return 0, netip.Addr{}, false
}

func (r *Router) packet(now pacing.Time, in *Input) {
	switch r.classify(in.Packet) {
	case messageSolicit:
		r.proxySolicit(now, in)
	case messageUpdate:
		r.fastUpdate(now, in)
	case messageInitiate:
		r.handoverInitiate(now, in)
	case messageAck:
		r.handoverAck(now, in)
	case messageAnnounce:
		r.fastAnnounce(now, in)
	case messageNeighbor:
		r.neighborMessage(now, in)
	default:
		r.count.add(dropNotOurs)
	}
}

// Counters gives every counter in a stable order: what the router did, then why it dropped packets.
func (r *Router) Counters(yield func(name string, value uint64)) { r.count.each(yield) }

// String names the router; it keeps keys from %v.
func (r *Router) String() string { return "fast handover router" }

// GoString keeps keys from %#v.
func (r *Router) GoString() string { return r.String() }

func (r *Router) runTimers(now pacing.Time) {
	r.now = now
	for n, ok := r.nodeTimers.Due(now); ok; n, ok = r.nodeTimers.Due(now) {
		r.nodeDue(now, n)
	}
	for a, ok := r.arrivalTimers.Due(now); ok; a, ok = r.arrivalTimers.Due(now) {
		r.arrivalDue(now, a)
	}
	for s, ok := r.solicitTimers.Due(now); ok; s, ok = r.solicitTimers.Due(now) {
		r.solicitLate(s)
	}
}

func (r *Router) takeEffects() []Effect {
	effects := r.effects
	r.effects = nil
	return effects
}

func (r *Router) emit(e Effect) {
	if r.effects == nil {
		r.effects, r.spare = r.spare, nil
	}
	r.effects = append(r.effects, e)
}

// Recycle gives back the effects of a step, all carried out, for a later step to use their memory. Nobody has to: it saves
// work for the garbage collector, whose pauses a binding update may meet.
func (r *Router) Recycle(effects []Effect) {
	clear(effects)
	if cap(effects) > cap(r.spare) && cap(effects) <= maxSpare {
		r.spare = effects[:0]
	}
}

// maxSpare bounds what is kept: a step that ends thousands of bindings at once is seldom.
const maxSpare = 64

func (r *Router) report(e Event) { r.emit(Effect{Kind: EffectReport, Event: e}) }

// random32 draws 32 random bits; false if there are none to be had.
func (r *Router) random32() (uint32, bool) {
	var b [4]byte
	if !r.random(b[:]) {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[:]), true
}

func (r *Router) random(b []byte) bool {
	if r.cfg.Rand == nil {
		r.count.add(dropNoRandom)
		return false
	}
	for n := 0; n < len(b); {
		m, err := r.cfg.Rand.Read(b[n:])
		if err != nil || m <= 0 {
			r.count.add(dropNoRandom)
			return false
		}
		n += m
	}
	return true
}

const (
	routedHops = 64  // hop limit of what is routed
	localHops  = 255 // of Neighbour Discovery
)

// mobilityPacket gives a whole packet with the mobility header mh, whose checksum is computed here.
func mobilityPacket(src, dst netip.Addr, mh []byte) []byte {
	mobility.FixChecksum(mh, src, dst)
	return ipv6.Append(make([]byte, 0, ipv6.HeaderLen+len(mh)), ipv6.Header{Src: src, Dst: dst, HopLimit: routedHops},
		ipv6.ProtoMobility, mh)
}

// discoveryPacket gives a whole packet with the message icmp of Neighbour Discovery.
func discoveryPacket(src, dst netip.Addr, icmp []byte) []byte {
	return ipv6.Append(make([]byte, 0, ipv6.HeaderLen+len(icmp)), ipv6.Header{Src: src, Dst: dst, HopLimit: localHops},
		ipv6.ProtoICMPv6, icmp)
}
