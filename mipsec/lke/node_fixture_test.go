package lke

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// nodeBench holds one Node and its virtual time. Encryption is done in the open: the "ciphertext" begins with the key.
type nodeBench struct {
	t   *testing.T
	n   *Node
	now time.Time

	sent    []nodeSent // since the last take
	effects []Effect   // all others, since the last take
	key     [KeyLen]byte
	job     uint64
	keys    int  // encryptions asked for
	holdKey bool // do not answer EffectEncrypt
	holdDAD bool // do not answer EffectConfigure
}

// nodeSent is one packet that the node sent.
type nodeSent struct {
	at   time.Time
	link int
	dst  ipv6.LinkAddr
	p    *ipv6.Packet
}

// nodeScript gives scripted octets first and then pseudo-random ones, always the same.
type nodeScript struct {
	script []byte
	rest   io.Reader
}

func (s *nodeScript) Read(b []byte) (int, error) {
	n := copy(b, s.script)
	s.script = s.script[n:]
	if n < len(b) {
		return io.ReadFull(s.rest, b[n:])
	}
	return n, nil
}

func nodeRandom(seed int64, script ...byte) io.Reader {
	return &nodeScript{script: script, rest: rand.New(rand.NewSource(seed))}
}

const nodeTestLink = 3

var (
	nodeTestHardware = ipv6.LinkAddr{2, 1, 2, 3, 4, 5}
	nodeTestStart    = time.Unix(0x65530007, 0)
)

func newNodeBench(t *testing.T, change ...func(*NodeConfig)) *nodeBench {
	t.Helper()
	cfg := NodeConfig{Link: nodeTestLink, Hardware: nodeTestHardware, Lifetime: time.Hour, Rand: nodeRandom(1)}
	for _, c := range change {
		c(&cfg)
	}
	return &nodeBench{t: t, n: NewNode(cfg), now: nodeTestStart}
}

// step gives the node one input and answers its wishes for addresses and encryption.
func (b *nodeBench) step(in Input) []Effect {
	b.t.Helper()
	all := b.n.Step(b.now, in)
	for _, e := range all {
		switch e.Kind {
		case EffectSend:
			p := new(ipv6.Packet)
			if problem := ipv6.Parse(e.Packet, p); problem != ipv6.OK {
				b.t.Fatalf("the node sent a packet that does not parse: %v", problem)
			}
			b.sent = append(b.sent, nodeSent{at: b.now, link: e.Link, dst: e.LinkDst, p: p})
		default:
			b.effects = append(b.effects, e)
		}
	}
	for _, e := range all {
		switch {
		case e.Kind == EffectEncrypt:
			b.key, b.job = e.Key, e.Job
			b.keys++
			if !b.holdKey {
				b.encrypt()
			}
		case e.Kind == EffectConfigure && e.Lifetime > 0 && !b.holdDAD:
			b.step(Input{Kind: InAddress, Home: e.Home})
		}
	}
	return all
}

func (b *nodeBench) encrypt() {
	b.t.Helper()
	octets := make([]byte, b.n.link.router.modulusLen)
	copy(octets, b.key[:])
	b.step(Input{Kind: InCiphertext, Job: b.job, Octets: octets})
}

func (b *nodeBench) receive(p *ipv6.Packet) []Effect {
	b.t.Helper()
	return b.step(Input{Kind: InPacket, Packet: p})
}

// advance lets d go by, with a tick at each deadline.
func (b *nodeBench) advance(d time.Duration) {
	b.t.Helper()
	end := b.now.Add(d)
	for ticks := 0; ; ticks++ {
		at := b.n.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		if at.After(b.now) {
			b.now = at
		}
		b.step(Input{Kind: InTick})
		if next := b.n.Deadline(); !next.IsZero() && !next.After(b.now) && ticks > 1000 {
			b.t.Fatal("the node's deadline does not move on")
		}
	}
	b.now = end
}

// take gives what was sent since the last take.
func (b *nodeBench) take() []nodeSent {
	sent := b.sent
	b.sent, b.effects = nil, nil
	return sent
}

func (b *nodeBench) counter(name string) (value uint64) {
	b.t.Helper()
	found := false
	b.n.Counters(func(n string, v uint64) {
		if n == name {
			value, found = v, true
		}
	})
	if !found {
		b.t.Fatalf("there is no counter %q", name)
	}
	return value
}

// drops checks that do changes no more than the counter name: nothing is sent, no effect comes, no association changes.
func (b *nodeBench) drops(name string, do func()) {
	b.t.Helper()
	before, count := b.n.State(), b.counter(name)
	sent, effects := len(b.sent), len(b.effects)
	do()
	if got := b.counter(name); got != count+1 {
		b.t.Errorf("counter %s went from %d to %d, want one more", name, count, got)
	}
	if len(b.sent) != sent || len(b.effects) != effects {
		b.t.Errorf("%s: the node did something: %d packets, effects %v", name, len(b.sent)-sent, b.effects[effects:])
	}
	if after := b.n.State(); !slices.Equal(after.Associations, before.Associations) || after.CareOf != before.CareOf {
		b.t.Errorf("%s: state changed from %+v to %+v", name, before, after)
	}
}

func (b *nodeBench) events() (kinds []EventKind) {
	for _, e := range b.effects {
		if e.Kind == EffectReport {
			kinds = append(kinds, e.Event.Kind)
		}
	}
	return kinds
}

func (b *nodeBench) has(kind EventKind) bool { return slices.Contains(b.events(), kind) }

func (b *nodeBench) effect(kind EffectKind) (Effect, bool) {
	for _, e := range b.effects {
		if e.Kind == kind {
			return e, true
		}
	}
	return Effect{}, false
}

// ended reports whether the tunnel for home was closed.
func (b *nodeBench) ended(home netip.Addr) bool {
	return slices.ContainsFunc(b.effects, func(e Effect) bool { return e.Kind == EffectUnbind && e.Home == home })
}

// nodeOnly gives those of the packets that carry a message of the type: a mobility header type, or 0x100 + an ICMPv6 type.
func nodeOnly(sent []nodeSent, typ int) (found []nodeSent) {
	for _, s := range sent {
		switch {
		case s.p.Proto == ipv6.ProtoMobility && int(s.p.Payload[2]) == typ,
			s.p.Proto == ipv6.ProtoICMPv6 && 0x100+int(s.p.Payload[0]) == typ:
			found = append(found, s)
		}
	}
	return found
}

const (
	nodeSentKEReq    = 8
	nodeSentBU       = mobility.TypeBU
	nodeSentFinished = 10
	nodeSentRS       = 0x100 + ndp.TypeRouterSolicit
	nodeSentNA       = 0x100 + ndp.TypeNeighborAdvert
)

// nodeVectors are the messages that an independent implementation made.
type nodeVectors struct {
	Kbm       string
	SPKI      string
	Addresses map[string]string
	Option6   struct{ Octets string }
	KEReq     struct {
		Seq  uint16
		Data string `json:"key_exchange_data"`
		MH   string `json:"mobility_header"`
	}
	KEAck, BU, BA, Finished struct {
		MH string `json:"mobility_header"`
	}
	DADNS struct{ ICMPv6 string } `json:"dad_ns"`
	DADNA struct{ ICMPv6 string } `json:"dad_na"`
}

func loadNodeVectors(t testing.TB) nodeVectors {
	t.Helper()
	text, err := os.ReadFile("../../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ LKE nodeVectors }
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all.LKE
}

func nodeHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) == 0 {
		t.Fatalf("%q is no hexadecimal: %v", s, err)
	}
	return b
}

// nodeTestSPKI is the public key of a router, RSA-1024.
func nodeTestSPKI(t testing.TB) []byte { return nodeHex(t, loadNodeVectors(t).SPKI) }

// nodePeer is a hand-made access router: it says what a test wants it to say.
type nodePeer struct {
	t         testing.TB
	linkLocal netip.Addr
	hw        ipv6.LinkAddr
	global    netip.Addr
	prefix    netip.Prefix
	spki      []byte // nil: does not speak LKE
}

func newNodePeer(t testing.TB, number byte, spki []byte) *nodePeer {
	hw := ipv6.LinkAddr{2, 0xff, 0, 0, 0, number}
	prefix := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0, number}), 64)
	b := prefix.Addr().As16()
	b[15] = 1
	return &nodePeer{
		t: t, linkLocal: ipv6.LinkLocalFrom(hw), hw: hw, global: netip.AddrFrom16(b), prefix: prefix, spki: spki,
	}
}

func (r *nodePeer) packet(h ipv6.Header, proto uint8, payload []byte) *ipv6.Packet {
	r.t.Helper()
	p := &ipv6.Packet{Interface: nodeTestLink, LinkSource: r.hw}
	if problem := ipv6.Parse(ipv6.Append(nil, h, proto, payload), p); problem != ipv6.OK {
		r.t.Fatalf("test packet does not parse: %v", problem)
	}
	return p
}

// nodeAdvert is what a router advertisement of nodePeer says.
type nodeAdvert struct {
	noHome     bool // H flag not set
	lifetime   uint16
	maximum    uint16
	homeAgent  uint16 // Home Agent Information with this lifetime
	prefix     netip.Prefix
	preferred  uint32
	noPrefix   bool
	before     netip.Prefix // another prefix that stands first
	noRouter   bool         // R flag not set
	retrans    uint32
	linkOption ipv6.LinkAddr
}

func (r *nodePeer) advert(change ...func(*nodeAdvert)) *ipv6.Packet {
	r.t.Helper()
	a := nodeAdvert{lifetime: 9000, maximum: 7200, prefix: r.prefix, preferred: 7200}
	for _, c := range change {
		c(&a)
	}
	msg := []byte{ndp.TypeRouterAdvert, 0, 0, 0, 64, 0x20}
	if a.noHome {
		msg[5] = 0
	}
	msg = binary.BigEndian.AppendUint16(msg, a.lifetime)
	msg = append(msg, 0, 0, 0, 0)
	msg = binary.BigEndian.AppendUint32(msg, a.retrans)
	if !a.linkOption.IsZero() {
		msg = append(msg, ndp.SourceLinkOption(a.linkOption)...)
	}
	if a.before.IsValid() {
		addr := a.before.Addr().As16()
		msg = append(msg, 3, 4, 64, 0xc0, 0, 0, 0x1c, 0x20, 0, 0, 0x1c, 0x20, 0, 0, 0, 0)
		msg = append(msg, addr[:]...)
	}
	if !a.noPrefix {
		flags, addr := byte(0xe0), r.global.As16()
		if a.noRouter {
			flags = 0xc0
		}
		if a.prefix != r.prefix {
			addr = a.prefix.Addr().As16()
			addr[15] = 1
		}
		msg = append(msg, 3, 4, 64, flags, 0, 0, 0x1c, 0x20)
		msg = binary.BigEndian.AppendUint32(msg, a.preferred)
		msg = append(append(msg, 0, 0, 0, 0), addr[:]...)
	}
	if a.homeAgent != 0 {
		msg = append(msg, 8, 1, 0, 0, 0, 0, byte(a.homeAgent>>8), byte(a.homeAgent))
	}
	if r.spki != nil {
		msg = ndp.Capability{MaximumLifetime: a.maximum, PublicKey: r.spki}.Append(msg, ndp.DefaultCodePoints())
	}
	dst := ipv6.AllNodes()
	ndp.FixChecksum(msg, r.linkLocal, dst)
	return r.packet(ipv6.Header{Src: r.linkLocal, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
}

// nodeAck is a Key Exchange Acknowledgement of nodePeer, before it becomes a packet.
type nodeAck struct {
	mobility.KeyExchangeAck
	key      [KeyLen]byte
	hopLimit uint8
	src, dst netip.Addr
	home     netip.Addr
	hw       ipv6.LinkAddr
	spoil    bool // a bit of the HMAC is wrong
}

// ack answers the request.
func (r *nodePeer) ack(request *ipv6.Packet, key [KeyLen]byte, change ...func(*nodeAck)) *ipv6.Packet {
	r.t.Helper()
	a := nodeAck{key: key, hopLimit: 255, src: r.linkLocal, dst: request.Src, home: request.HomeAddress, hw: r.hw}
	a.Seq = binary.BigEndian.Uint16(request.Payload[6:8])
	a.Lifetime, a.Router = 900, r.global
	for _, c := range change {
		c(&a)
	}
	mh := a.Append(nil, mobility.DefaultCodePoints())
	if err := mobility.SignKeyExchangeAck(mh, a.key[:], a.src, a.dst, a.home); err != nil {
		r.t.Fatal(err)
	}
	if a.spoil {
		mh[40] ^= 1
	}
	mobility.FixChecksum(mh, a.src, a.home)
	header := ipv6.Header{Src: a.src, Dst: a.dst, TrafficClass: 0xf0, HopLimit: a.hopLimit, RoutingHome: a.home}
	p := r.packet(header, ipv6.ProtoMobility, mh)
	p.LinkSource = a.hw
	return p
}

// solicit is the router's DAD solicitation for home, with an authentication request under key.
func (r *nodePeer) solicit(home netip.Addr, key [KeyLen]byte, nonce uint32, change ...func(*ndp.DADAuth)) *ipv6.Packet {
	r.t.Helper()
	auth := ndp.DADAuth{Nonce: nonce, Router: r.global}
	for _, c := range change {
		c(&auth)
	}
	src, dst := netip.IPv6Unspecified(), ipv6.SolicitedNode(home)
	msg := ndp.AppendNeighborSolicit(nil, src, dst, home, auth.Append(nil, ndp.DefaultCodePoints().AuthRequest))
	if err := ndp.SignDADAuth(msg, key[:], src, dst, 24); err != nil {
		r.t.Fatal(err)
	}
	return r.packet(ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
}

// claim is a neighbour advertisement for home as a kernel sends it in answer to DAD, from the station hw.
func (r *nodePeer) claim(home netip.Addr, hw ipv6.LinkAddr, opts ...[]byte) *ipv6.Packet {
	r.t.Helper()
	dst := ipv6.AllNodes()
	opts = append([][]byte{ndp.TargetLinkOption(hw)}, opts...)
	msg := ndp.AppendNeighborAdvert(nil, home, dst, ndp.FlagOverride, home, opts...)
	p := r.packet(ipv6.Header{Src: home, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
	p.LinkSource = hw
	return p
}

// nodeUpdateAck is a Binding Acknowledgement of nodePeer, before it becomes a packet.
type nodeUpdateAck struct {
	mobility.BindingAck
	key      [KeyLen]byte
	src, dst netip.Addr
	home     netip.Addr // the zero Addr: no routing header
	swapMAC  bool       // addresses in RFC 6275's order
	spoil    bool
}

// bindingAck answers the binding update.
func (r *nodePeer) bindingAck(update *ipv6.Packet, key [KeyLen]byte, change ...func(*nodeUpdateAck)) *ipv6.Packet {
	r.t.Helper()
	a := nodeUpdateAck{key: key, src: update.Dst, dst: update.Src, home: update.HomeAddress}
	a.Seq = binary.BigEndian.Uint16(update.Payload[6:8])
	a.Lifetime = binary.BigEndian.Uint16(update.Payload[10:12])
	a.HasAuth = true
	for _, c := range change {
		c(&a)
	}
	mh := a.Append(nil, mobility.DefaultCodePoints())
	if a.HasAuth {
		first, second := a.src, a.dst
		if a.swapMAC {
			first, second = second, first
		}
		if err := mobility.SignBAD(mh, a.key[:], first, second); err != nil {
			r.t.Fatal(err)
		}
		if a.spoil {
			mh[len(mh)-1] ^= 1
		}
	}
	dst := a.dst
	if a.home.IsValid() {
		dst = a.home
	}
	mobility.FixChecksum(mh, a.src, dst)
	return r.packet(ipv6.Header{Src: a.src, Dst: a.dst, HopLimit: 64, RoutingHome: a.home}, ipv6.ProtoMobility, mh)
}

// attached gives a bench whose node has heard r.
func (b *nodeBench) attached(r *nodePeer) *nodeBench {
	b.t.Helper()
	b.step(Input{Kind: InAttached})
	b.receive(r.advert())
	if got := b.n.State().CareOf; !r.prefix.Contains(got) {
		b.t.Fatalf("care-of address %v is not in the router's prefix %v", got, r.prefix)
	}
	return b
}

// lastRequest gives the last Key Exchange Request since the last take.
func (b *nodeBench) lastRequest() *ipv6.Packet {
	b.t.Helper()
	requests := nodeOnly(b.sent, nodeSentKEReq)
	if len(requests) == 0 {
		b.t.Fatal("the node sent no key exchange request")
	}
	return requests[len(requests)-1].p
}

func (b *nodeBench) lastUpdate() *ipv6.Packet {
	b.t.Helper()
	updates := nodeOnly(b.sent, nodeSentBU)
	if len(updates) == 0 {
		b.t.Fatal("the node sent no binding update")
	}
	return updates[len(updates)-1].p
}

// associated takes a bench through a whole key exchange with r, to the end of its DAD.
func (b *nodeBench) associated(r *nodePeer) *nodeBench {
	b.t.Helper()
	b.attached(r)
	b.exchange(r, 0x01020304)
	return b
}

// exchange lets r answer the request that is outstanding.
func (b *nodeBench) exchange(r *nodePeer, nonce uint32) {
	b.t.Helper()
	b.receive(r.ack(b.lastRequest(), b.key))
	b.receive(r.solicit(b.n.State().CareOf, b.key, nonce))
	b.advance(2 * time.Second)
	if !b.has(EventAssociated) {
		b.t.Fatalf("no association: events %v", b.events())
	}
	b.take()
}

// moved takes a bench whose node has an association on to the link of r.
func (b *nodeBench) moved(r *nodePeer) *nodeBench {
	b.t.Helper()
	b.take()
	return b.attached(r)
}
