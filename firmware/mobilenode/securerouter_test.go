package mobilenode_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/drivers/rawip/fake"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/send"
)

// secureRouter is an access router with SEND, handover keys and fast handovers, with a cell in memory. Its RSA is done on
// the spot.
type secureRouter struct {
	t       *testing.T
	name    string
	net     *network
	segment *fake.Segment
	conn    *fake.Conn
	private *rsa.PrivateKey
	params  cga.Params
	link    rawip.Link
	point   ipv6.LinkAddr
	prefix  netip.Prefix
	address netip.Addr // global, a CGA
	local   netip.Addr
	unsaid  bool // it signs nothing

	endpoint *send.Endpoint
	keys     *handoverkey.Router
	fast     *fmip.Router
	paths    *certpath.Server

	mu     sync.Mutex
	bound  map[netip.Addr]netip.Addr
	events []string
	queue  []func()
}

func testKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func spkiOf(t *testing.T, key *rsa.PrivateKey) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

// newSecureRouters gives two routers that know each other, and the file of the anchor that certifies both.
func newSecureRouters(t *testing.T, net *network) (a, b *secureRouter, anchor []byte) {
	t.Helper()
	a, b = newSecureRouter(t, net, 1), newSecureRouter(t, net, 2)
	anchorKey := testKey(t)
	request := certpath.Request{
		Name: "anchor", Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := certpath.NewAnchor(rand.Reader, anchorKey, request)
	if err != nil {
		t.Fatal(err)
	}
	anchor = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for i, r := range []*secureRouter{a, b} {
		r.start([]*secureRouter{b, a}[i], certify(t, anchor, anchorKey, r))
	}
	return a, b, anchor
}

// certify gives the router's certification path.
func certify(t *testing.T, anchor []byte, anchorKey *rsa.PrivateKey, r *secureRouter) certpath.Chain {
	t.Helper()
	anchors, err := certpath.LoadAnchors(anchor)
	if err != nil {
		t.Fatal(err)
	}
	der, err := certpath.NewRouterCertificate(rand.Reader, anchors[0], anchorKey, &r.private.PublicKey, certpath.Request{
		Name: r.name, Prefixes: []netip.Prefix{r.prefix}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := certpath.LoadChain(append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), anchor...), certpath.RFC6494)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func newSecureRouter(t *testing.T, net *network, n byte) *secureRouter {
	t.Helper()
	r := &secureRouter{
		t: t, name: "router" + string('0'+n), net: net, segment: &fake.Segment{}, private: testKey(t),
		link:   rawip.Link{Index: 1, Name: "lan", Hardware: ipv6.LinkAddr{2, 0, 0, 0, 1, n}},
		point:  ipv6.LinkAddr{2, 0, 0, 0, 0xaa, n},
		prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 7: n}), 64),
		bound:  make(map[netip.Addr]netip.Addr),
	}
	r.params = cga.Params{PublicKey: spkiOf(t, r.private)}
	r.address = r.params.In(r.prefix).Address(0)
	r.local = r.params.In(netip.MustParsePrefix("fe80::/64")).Address(0)
	r.conn = fake.New(r.link)
	r.segment.Join(r.conn, 1)
	r.conn.Routes = net.carry
	net.attach(r.address, func(packet []byte) { r.conn.Arrive(9, ipv6.LinkAddr{}, packet) })
	return r
}

func (r *secureRouter) start(other *secureRouter, chain certpath.Chain) {
	var err error
	if r.endpoint, err = send.NewEndpoint(send.Config{Link: 1, Identity: send.Identity{Params: r.params}, Router: true, Rand: rand.Reader}); err != nil {
		r.t.Fatal(err)
	}
	if r.paths, err = certpath.NewServer(certpath.ServerConfig{Link: 1, LinkLocal: r.local, Chains: []certpath.Chain{chain}}); err != nil {
		r.t.Fatal(err)
	}
	r.keys = handoverkey.NewRouter(handoverkey.RouterConfig{Rand: rand.Reader})
	r.fast = fmip.NewRouter(fmip.RouterConfig{
		Address: r.address,
		Links: []fmip.Link{{
			Name: "lan", Index: 1, Hardware: r.link.Hardware, LinkLocal: r.local, AccessPoints: []ipv6.LinkAddr{r.point}, MTU: 1500,
			Prefixes: []fmip.LinkPrefix{{Prefix: r.prefix, Router: r.address}},
		}},
		Neighbors: []fmip.Neighbor{{
			Name: other.name, Router: other.address, RouterLink: other.link.Hardware, Prefixes: []netip.Prefix{other.prefix},
			AccessPoints: []ipv6.LinkAddr{other.point}, Fast: true, Key: []byte("a key of thirty-two octets, pair"),
		}},
		Keys: r.keys, Rand: rand.Reader,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); r.run(ctx) }()
	r.t.Cleanup(func() { cancel(); <-ended })
}

func (r *secureRouter) run(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-r.conn.Packets():
			r.do(func() { r.hear(&p.Packet) })
		case p := <-r.conn.Urgent():
			r.do(func() { r.header(&p.Packet) })
		case <-tick.C:
			r.do(func() { r.stepFast(fmip.Input{Kind: fmip.InTick}) })
		}
	}
}

// do carries out a step, and behind it those that follow from it.
func (r *secureRouter) do(step func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, step)
	for len(r.queue) > 0 {
		next := r.queue[0]
		r.queue = r.queue[1:]
		next()
	}
}

func (r *secureRouter) later(step func()) { r.queue = append(r.queue, step) }

func (r *secureRouter) hear(p *ipv6.Packet) {
	if p.Payload[0] == ndp.TypePathSolicit {
		for _, e := range r.paths.Step(time.Now(), certpath.Input{Kind: certpath.InPacket, Packet: p, Wall: time.Now()}) {
			if e.Kind == certpath.EffectSend {
				_ = r.conn.SendLink(1, e.LinkDst, e.Packet)
			}
		}
		return
	}
	r.stepEndpoint(send.Input{Kind: send.InReceived, Packet: p})
}

func (r *secureRouter) header(p *ipv6.Packet) {
	if p.Dst != r.address {
		r.net.carry(p.Raw) // a node on our link speaks to another router
		return
	}
	r.stepFast(fmip.Input{Kind: fmip.InPacket, Packet: p, Wall: time.Now()})
}

func (r *secureRouter) stepEndpoint(in send.Input) {
	in.Wall = time.Now()
	for _, e := range r.endpoint.Step(time.Now(), in) {
		switch e.Kind {
		case send.EffectVerify:
			key, _, err := ndp.ParseSPKI(e.PublicKey)
			ok := err == nil && rsa.VerifyPKCS1v15(&rsa.PublicKey{N: new(big.Int).SetBytes(key.Modulus), E: key.Exponent}, crypto.SHA1, e.Digest[:], e.Signature) == nil
			r.later(func() { r.stepEndpoint(send.Input{Kind: send.InVerified, Job: e.Job, OK: ok}) })
		case send.EffectSign:
			signature, err := rsa.SignPKCS1v15(nil, r.private, crypto.SHA1, e.Digest[:])
			if err != nil {
				r.t.Error(err)
			}
			r.later(func() { r.stepEndpoint(send.Input{Kind: send.InSigned, Job: e.Job, Signature: signature}) })
		case send.EffectSend:
			_ = r.conn.SendLink(1, e.LinkDst, e.Packet)
		case send.EffectDeliver:
			r.deliver(e.Received, e.Security)
		}
	}
}

func (r *secureRouter) deliver(p *ipv6.Packet, s send.Security) {
	if p.Payload[0] == ndp.TypeRouterSolicit {
		r.advertise(1800)
		return
	}
	r.stepFast(fmip.Input{
		Kind: fmip.InPacket, Packet: p, Secured: s.Secured, Repeat: s.Repeat, Nonce: s.Nonce, KeyHash: s.KeyHash, CGAKey: s.PublicKey,
		Wall: time.Now(),
	})
}

// advertise sends a router advertisement to all nodes.
func (r *secureRouter) advertise(lifetime uint16) {
	dst := ipv6.AllNodes()
	msg := []byte{ndp.TypeRouterAdvert, 0, 0, 0, 64, 0, byte(lifetime >> 8), byte(lifetime), 0, 0, 0, 0, 0, 0, 0, 0}
	msg = append(msg, ndp.SourceLinkOption(r.link.Hardware)...)
	info := make([]byte, 32)
	info[0], info[1], info[2], info[3] = ndp.OptPrefix, 4, 64, 0x80|0x40|0x20
	binary.BigEndian.PutUint32(info[4:], 7200)
	binary.BigEndian.PutUint32(info[8:], 3600)
	copy(info[16:], r.address.AsSlice())
	msg = append(msg, info...)
	ndp.FixChecksum(msg, r.local, dst)
	packet := ipv6.Append(nil, ipv6.Header{Src: r.local, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
	r.say(packet, ipv6.MulticastLinkAddr(dst), nil)
}

// say sends a message of Neighbour Discovery, signed.
func (r *secureRouter) say(packet []byte, dst ipv6.LinkAddr, answers []byte) {
	if r.unsaid {
		_ = r.conn.SendLink(1, dst, packet)
		return
	}
	r.later(func() {
		r.stepEndpoint(send.Input{Kind: send.InSend, Octets: packet, LinkDst: dst, Answers: answers})
	})
}

func (r *secureRouter) stepFast(in fmip.Input) {
	for _, e := range r.fast.Step(time.Now(), in) {
		switch e.Kind {
		case fmip.EffectSend:
			if e.Link != 0 {
				_ = r.conn.SendLink(1, e.LinkDst, e.Packet)
			} else {
				r.net.carry(e.Packet)
			}
		case fmip.EffectSendND:
			r.say(e.Packet, e.LinkDst, e.Answers)
		case fmip.EffectKeyRequest:
			r.later(func() {
				r.stepKeys(handoverkey.Input{
					Kind: handoverkey.InRequest, Cookie: e.Cookie, Home: e.Home, Secured: true, CGAKey: e.CGAKey,
					KeyHash: cga.KeyHash(e.CGAKey), Request: e.Option, Source: e.Source,
				})
			})
		case fmip.EffectBind:
			r.bound[e.Binding.Home] = e.Binding.CareOf
			r.later(func() { r.stepFast(fmip.Input{Kind: fmip.InForwarding, Home: e.Binding.Home}) })
		case fmip.EffectUnbind:
			delete(r.bound, e.Binding.Home)
		case fmip.EffectReport:
			r.events = append(r.events, e.Event.Kind.String())
		}
	}
}

func (r *secureRouter) stepKeys(in handoverkey.Input) {
	for _, e := range r.keys.Step(time.Now(), in) {
		switch e.Kind {
		case handoverkey.EffectEncrypt:
			key, _, err := ndp.ParseSPKI(e.PublicKey)
			if err != nil {
				r.t.Error(err)
				continue
			}
			out, err := rsa.EncryptPKCS1v15(rand.Reader, &rsa.PublicKey{N: new(big.Int).SetBytes(key.Modulus), E: key.Exponent}, e.Plain)
			r.later(func() {
				r.stepKeys(handoverkey.Input{Kind: handoverkey.InEncrypted, Job: e.Job, Octets: out, Failed: err != nil})
			})
		case handoverkey.EffectGrant:
			r.later(func() { r.stepFast(fmip.Input{Kind: fmip.InGrant, Cookie: e.Cookie, Octets: e.Option}) })
		}
	}
}

// forwards is where the router sends what comes for home.
func (r *secureRouter) forwards(home netip.Addr) netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bound[home]
}
