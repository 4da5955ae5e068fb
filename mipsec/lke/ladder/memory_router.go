package ladder

import (
	"crypto/rsa"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp"
)

// memoryRouter is an access router: its core, and of a kernel and its drivers what the core needs.
type memoryRouter struct {
	m       *Memory
	link    *memoryLink
	core    *lke.Router // nil while it is dead
	life    int         // counts the starts: what an earlier one began comes to nothing
	busy    time.Time   // until when the RSA lane is
	watched map[netip.Addr]int
	tunnels map[netip.Addr]netip.Addr // home to care-of address; outlasts the program
	saved   map[netip.Addr]lke.Record // outlasts the program
	seen    map[netip.Addr]ipv6.LinkAddr
	advert  time.Time // the last advertisement
}

func newMemoryRouter(m *Memory, link *memoryLink) *memoryRouter {
	r := &memoryRouter{
		m: m, link: link, tunnels: map[netip.Addr]netip.Addr{}, saved: map[netip.Addr]lke.Record{},
	}
	r.begin()
	return r
}

func (r *memoryRouter) config() lke.RouterConfig {
	hw := r.hardware()
	return lke.RouterConfig{
		Links: []lke.Link{{
			Name: r.link.Name, Index: servedIf, Hardware: hw, LinkLocal: ipv6.LinkLocalFrom(hw), Refuse: !r.link.KeyExchange,
			Prefixes: []lke.LinkPrefix{{Prefix: r.link.prefix, Router: RouterAddress(r.link.Number)}},
		}},
		ModulusLen: r.m.key.Size(), RequestFinished: r.link.Finished, Rand: r.m.rand,
	}
}

// begin starts the program with what an earlier one saved.
func (r *memoryRouter) begin() {
	r.life++
	r.core = lke.NewRouter(r.config())
	r.watched, r.seen, r.busy = map[netip.Addr]int{}, map[netip.Addr]ipv6.LinkAddr{}, time.Time{}
	var records []lke.Record
	for _, rec := range r.saved {
		records = append(records, rec)
	}
	slices.SortFunc(records, func(a, b lke.Record) int { return a.Home.Compare(b.Home) })
	r.carryOut(r.core.Restore(r.m.now, records))
}

func (r *memoryRouter) kill() {
	r.core = nil
	r.life++
}

func (r *memoryRouter) name() string            { return r.link.Name }
func (r *memoryRouter) hardware() ipv6.LinkAddr { return RouterHardware(r.link.Number) }
func (r *memoryRouter) has(addr netip.Addr) bool {
	return addr == RouterAddress(r.link.Number) || addr == ipv6.LinkLocalFrom(r.hardware())
}

func (r *memoryRouter) tick() { r.step(lke.Input{Kind: lke.InTick}) }

func (r *memoryRouter) step(in lke.Input) {
	if r.core != nil {
		r.carryOut(r.core.Step(r.m.now, in))
	}
}

// hears is what the interface lets in: its own address, all nodes and routers, and the solicited-node groups that were
// joined for watched addresses. A bridge that snoops MLD holds back all others.
func (r *memoryRouter) hears(dst ipv6.LinkAddr, p *ipv6.Packet) bool {
	if dst == r.hardware() || dst == ipv6.MulticastLinkAddr(ipv6.AllNodes()) || dst == ipv6.MulticastLinkAddr(ipv6.AllRouters()) {
		return true
	}
	for home := range r.watched {
		if dst == ipv6.MulticastLinkAddr(ipv6.SolicitedNode(home)) {
			return true
		}
	}
	return false
}

// receive takes a packet from the link: for the core, for the kernel, or to be forwarded.
func (r *memoryRouter) receive(p *ipv6.Packet) {
	p.Interface = servedIf
	r.learn(p)
	if r.core == nil {
		return
	}
	switch {
	case r.core.Owns(p):
		neighbour := r.seen[p.HomeAddress]
		r.step(lke.Input{Kind: lke.InPacket, Packet: p, Neighbour: neighbour})
	case NameOf(p) == RouterSolicitation:
		r.advertise()
	case !p.Dst.IsMulticast() && !p.Dst.IsLinkLocalUnicast() && !r.has(p.Dst):
		// Its first hop was noted as a message already.
		r.m.after(coreDelay, func() { r.m.deliver(p.Dst, p, 0) })
	}
}

// learn is the neighbour cache: an advertisement that nobody asked for makes no entry (RFC 4861 section 7.2.5).
func (r *memoryRouter) learn(p *ipv6.Packet) {
	if !r.link.prefix.Contains(p.Src) {
		return
	}
	name := NameOf(p)
	if _, known := r.seen[p.Src]; known || name != NeighborAdvert && name != DADReply {
		r.seen[p.Src] = p.LinkSource
	}
}

// fromCore takes a packet for one of the router's own addresses from the other side.
func (r *memoryRouter) fromCore(p *ipv6.Packet) {
	if r.core == nil {
		return
	}
	received := *p
	received.Interface, received.LinkSource = uplink, ipv6.LinkAddr{}
	if r.core.Owns(&received) {
		r.step(lke.Input{Kind: lke.InPacket, Packet: &received})
	}
}

// advertise sends a router advertisement; a solicited one is as good for all that ask within some milliseconds.
func (r *memoryRouter) advertise() {
	if !r.advert.IsZero() && r.m.now.Sub(r.advert) < 30*time.Millisecond {
		return
	}
	r.advert = r.m.now
	flags := byte(0)
	if r.link.KeyExchange {
		flags = 0x20
	}
	msg := []byte{ndp.TypeRouterAdvert, 0, 0, 0, 64, flags}
	msg = binary.BigEndian.AppendUint16(msg, 9000)
	msg = append(msg, 0, 0, 0, 0, 0, 0, 0, 0)
	msg = append(msg, ndp.SourceLinkOption(r.hardware())...)
	msg = append(msg, 3, 4, 64, 0xe0)
	msg = binary.BigEndian.AppendUint32(msg, 86400)
	msg = binary.BigEndian.AppendUint32(msg, 86400)
	addr := RouterAddress(r.link.Number).As16()
	msg = append(append(msg, 0, 0, 0, 0), addr[:]...)
	if r.link.KeyExchange {
		capability := ndp.Capability{MaximumLifetime: 7200, PublicKey: r.m.spki}
		msg = capability.Append(msg, ndp.DefaultCodePoints())
	}
	src, dst := ipv6.LinkLocalFrom(r.hardware()), ipv6.AllNodes()
	ndp.FixChecksum(msg, src, dst)
	packet := ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
	r.m.frame(r, r.link, r.hardware(), ipv6.MulticastLinkAddr(dst), packet)
}

func (r *memoryRouter) carryOut(effects []lke.Effect) {
	for _, e := range effects {
		switch e.Kind {
		case lke.EffectSend:
			if e.Link == 0 {
				r.m.route(r.name(), e.Packet)
			} else {
				r.m.frame(r, r.link, r.hardware(), e.LinkDst, e.Packet)
			}
		case lke.EffectDecrypt:
			r.decrypt(e)
		case lke.EffectBind:
			r.tunnels[e.Home] = e.Binding.CareOf
			life := r.life
			r.m.after(0, func() {
				if r.life == life {
					r.step(lke.Input{Kind: lke.InForwarding, Home: e.Home})
				}
			})
		case lke.EffectUnbind:
			delete(r.tunnels, e.Home)
		case lke.EffectSave:
			r.saved[e.Home] = *e.Record
		case lke.EffectForget:
			delete(r.saved, e.Home)
		case lke.EffectWatch:
			r.watched[e.Home]++
		case lke.EffectUnwatch:
			delete(r.watched, e.Home)
		case lke.EffectReport:
		default:
			r.m.t.Errorf("router %s: effect %v is none of a router", r.name(), e.Kind)
		}
	}
}

// decrypt is one RSA operation after the other, as one worker does them.
func (r *memoryRouter) decrypt(e lke.Effect) {
	if r.busy.Before(r.m.now) {
		r.busy = r.m.now
	}
	r.busy = r.busy.Add(rsaDelay)
	life := r.life
	r.m.after(r.busy.Sub(r.m.now), func() {
		if r.life != life {
			return
		}
		in := lke.Input{Kind: lke.InKey, Job: e.Job}
		if _, err := r.m.rand.Read(in.Key[:]); err != nil {
			r.m.t.Fatal(err)
		}
		// A wrong padding leaves the random key as it is.
		// The draft's RSA encryption is PKCS #1 v1.5 (LKE-resolution-a).
		if err := rsa.DecryptPKCS1v15SessionKey(nil, r.m.key, e.Ciphertext, in.Key[:]); err != nil {
			r.m.t.Errorf("router %s: %v", r.name(), err)
		}
		r.step(in)
	})
}
