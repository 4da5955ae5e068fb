package send_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/send"
)

// rsaKey is a key pair of a test.
type rsaKey struct {
	private *rsa.PrivateKey // nil: only the public half exists
	spki    []byte
}

func (k *rsaKey) sign(t testing.TB, digest [20]byte) []byte {
	t.Helper()
	signature, err := rsa.SignPKCS1v15(nil, k.private, crypto.SHA1, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// verify is the job that an engine does.
func verify(spki []byte, digest [20]byte, signature []byte) bool {
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return false
	}
	return rsa.VerifyPKCS1v15(public.(*rsa.PublicKey), crypto.SHA1, digest[:], signature) == nil
}

// vectorKey is the key of testdata/vectors.json.
var vectorKey = sync.OnceValue(func() *rsaKey {
	text, err := os.ReadFile("../../testdata/vectors-key1024.pem")
	if err != nil {
		panic(err)
	}
	block, _ := pem.Decode(text)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if private, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			panic(err)
		}
	}
	return newKey(private.(*rsa.PrivateKey))
})

// otherKey and strangeKey are two more of 1024 bits.
var (
	otherKey   = sync.OnceValue(generate)
	strangeKey = sync.OnceValue(generate)
)

func generate() *rsaKey {
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		panic(err)
	}
	return newKey(private)
}

func newKey(private *rsa.PrivateKey) *rsaKey {
	spki, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		panic(err)
	}
	return &rsaKey{private: private, spki: spki}
}

// publicOnly makes what looks like a public key of so many bits. Nobody can sign with it.
func publicOnly(t testing.TB, bits int) *rsaKey {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	n.Add(n, big.NewInt(12345))
	spki, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	return &rsaKey{spki: spki}
}

// params gives the CGA parameters of the key, Sec 0.
func (k *rsaKey) params() cga.Params {
	return cga.Params{Modifier: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, PublicKey: k.spki}
}

func (k *rsaKey) in(prefix string) cga.Params { return k.params().In(netip.MustParsePrefix(prefix)) }

var labStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// lab has a clock that only the test moves, and the link between its nodes.
type lab struct {
	t     testing.TB
	now   time.Time // never goes back
	wall  time.Time
	nodes int
}

func newLab(t testing.TB) *lab { return &lab{t: t, now: time.Unix(1000, 0), wall: labStart} }

func (l *lab) advance(d time.Duration) {
	l.now = l.now.Add(d)
	l.wall = l.wall.Add(d)
}

// node is an endpoint with its RSA.
type node struct {
	lab           *lab
	end           *send.Endpoint
	cfg           send.Config
	key           *rsaKey
	hw            ipv6.LinkAddr
	local, global netip.Addr
	skew          time.Duration // of its wall clock

	hold      bool // jobs are not done but kept
	jobs      []send.Effect
	sent      []send.Effect
	delivered []delivery
	paths     []send.Effect
	events    []send.Event
}

// delivery is what an EffectDeliver gave.
type delivery struct {
	packet   *ipv6.Packet
	security send.Security
}

const labLink = 7

// node adds a node. Its configuration is a router's (all messages are authorized by CGA), as far as change does not say
// otherwise.
func (l *lab) node(key *rsaKey, change ...func(*send.Config)) *node {
	l.t.Helper()
	l.nodes++
	n := &node{lab: l, key: key, hw: ipv6.LinkAddr{2, 0, 0, 0, 0, byte(l.nodes)}}
	n.cfg = send.Config{
		Link: labLink, Router: true, Rand: mathrand.NewChaCha8([32]byte{byte(l.nodes)}),
		Identity: send.Identity{Params: key.params()},
	}
	for _, f := range change {
		f(&n.cfg)
	}
	n.local, n.global = key.in("fe80::/64").Address(0), key.in("2001:db8:1:2::/64").Address(0)
	end, err := send.NewEndpoint(n.cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	n.end = end
	return n
}

func secured(cfg *send.Config) { cfg.Secured = true }
func host(cfg *send.Config)    { cfg.Router = false }

// step gives the node one input and does its jobs at once.
func (n *node) step(in send.Input) {
	n.lab.t.Helper()
	in.Wall = n.lab.wall.Add(n.skew)
	effects := n.end.Step(n.lab.now, in)
	for _, e := range effects {
		switch e.Kind {
		case send.EffectSend:
			if e.Link != labLink {
				n.lab.t.Errorf("sent on link %d", e.Link)
			}
			n.sent = append(n.sent, e)
		case send.EffectDeliver:
			n.delivered = append(n.delivered, delivery{e.Received, e.Security})
		case send.EffectPath:
			n.paths = append(n.paths, e)
		case send.EffectReport:
			n.events = append(n.events, e.Event)
		case send.EffectVerify, send.EffectSign:
			if n.hold {
				n.jobs = append(n.jobs, e)
				continue
			}
			n.do(e)
		}
	}
}

// do carries out one job.
func (n *node) do(e send.Effect) {
	n.lab.t.Helper()
	if e.Kind == send.EffectVerify {
		n.step(send.Input{Kind: send.InVerified, Job: e.Job, OK: verify(e.PublicKey, e.Digest, e.Signature)})
		return
	}
	n.step(send.Input{Kind: send.InSigned, Job: e.Job, Signature: n.key.sign(n.lab.t, e.Digest)})
}

// work carries out the jobs that were kept.
func (n *node) work() {
	n.lab.t.Helper()
	jobs := n.jobs
	n.jobs, n.hold = nil, false
	for _, e := range jobs {
		n.do(e)
	}
}

// say has a message signed and gives the packet that left.
func (n *node) say(packet []byte, change ...func(*send.Input)) []byte {
	n.lab.t.Helper()
	in := send.Input{Kind: send.InSend, Octets: packet}
	for _, f := range change {
		f(&in)
	}
	before := len(n.sent)
	n.step(in)
	if len(n.sent) != before+1 {
		n.lab.t.Fatalf("%d packets left: %v %s", len(n.sent)-before, n.events, n.nonzero())
	}
	return n.sent[before].Packet
}

func answering(nonce []byte) func(*send.Input) { return func(in *send.Input) { in.Answers = nonce } }

// parse reads a packet as it comes from link-layer address hw.
func parse(t testing.TB, octets []byte, hw ipv6.LinkAddr) *ipv6.Packet {
	t.Helper()
	p := new(ipv6.Packet)
	if problem := ipv6.Parse(octets, p); problem != ipv6.OK {
		t.Fatal(problem)
	}
	p.Interface, p.LinkSource = labLink, hw
	return p
}

// hear gives a packet from a station to the node, and what was delivered of it.
func (n *node) hear(from ipv6.LinkAddr, octets []byte) []delivery {
	n.lab.t.Helper()
	before := len(n.delivered)
	whole := bytes.Clone(octets)
	n.step(send.Input{Kind: send.InReceived, Packet: parse(n.lab.t, octets, from)})
	if !bytes.Equal(whole, octets) {
		n.lab.t.Error("the received packet was written to")
	}
	return n.delivered[before:]
}

var stranger = ipv6.LinkAddr{2, 0, 0, 0, 0xff, 1}

// secured expects that the packet is delivered as secured.
func (n *node) secured(octets []byte) delivery {
	n.lab.t.Helper()
	got := n.hear(stranger, octets)
	if len(got) != 1 || !got[0].security.Secured || got[0].security.Why != send.ReasonNone {
		n.lab.t.Fatalf("not secured: %+v; %s", got, n.nonzero())
	}
	n.checkDelivered(octets, got[0])
	return got[0]
}

// checkDelivered expects what is delivered to end before the signature and to be a valid packet from the same station.
func (n *node) checkDelivered(octets []byte, d delivery) {
	n.lab.t.Helper()
	p := d.packet
	again := parse(n.lab.t, p.Raw, ipv6.LinkAddr{})
	if ipv6.Checksum(p.Src, p.Dst, ipv6.ProtoICMPv6, p.Payload) != 0 || len(again.Raw) != len(p.Raw) || p.LinkSource.IsZero() ||
		p.Interface != labLink {
		n.lab.t.Errorf("what is delivered is no packet of its own")
	}
	want := optionTypes(n.lab.t, octets)
	if i := slices.Index(want, ndp.OptSignature); i >= 0 {
		want = want[:i]
	}
	if got := optionTypes(n.lab.t, p.Raw); !slices.Equal(got, want) {
		n.lab.t.Errorf("delivered with options %v, want %v", got, want)
	}
}

// drops expects the packet to be dropped under that counter, unsecured to be delivered as unsecured under that one.
func (n *node) drops(octets []byte, counter string) {
	n.lab.t.Helper()
	before := n.counters()
	if got := n.hear(stranger, octets); len(got) != 0 {
		n.lab.t.Fatalf("delivered: %+v, want %s", got[0].security, counter)
	}
	n.counted(before, counter)
}

func (n *node) unsecured(octets []byte, why send.Reason) delivery {
	n.lab.t.Helper()
	before := n.counters()
	got := n.hear(stranger, octets)
	if len(got) != 1 || got[0].security.Secured || got[0].security.Why != why || got[0].security.PublicKey != nil ||
		got[0].security.Authorized || got[0].security.Nonce != nil {
		n.lab.t.Fatalf("want unsecured for %v: %+v; %s", why, got, n.nonzero())
	}
	n.counted(before, "unsecured_"+why.String())
	n.checkDelivered(octets, got[0])
	return got[0]
}

func (n *node) counted(before map[string]uint64, counter string) {
	n.lab.t.Helper()
	if after := n.counters(); after[counter] != before[counter]+1 {
		var changed []string
		for name, v := range after {
			if v != before[name] {
				changed = append(changed, name)
			}
		}
		n.lab.t.Fatalf("not counted as %s, but as %v", counter, changed)
	}
}

func (n *node) counters() map[string]uint64 {
	all := map[string]uint64{}
	n.end.Counters(func(name string, value uint64) {
		if _, twice := all[name]; twice || name == "" {
			n.lab.t.Errorf("counter %q twice", name)
		}
		all[name] = value
	})
	return all
}

// nonzero describes the counters that are not zero.
func (n *node) nonzero() string {
	var b strings.Builder
	n.end.Counters(func(name string, value uint64) {
		if value != 0 {
			fmt.Fprintf(&b, "%s=%d ", name, value)
		}
	})
	return b.String()
}

// bodyAt is where the options of a message begin.
func bodyAt(msg []byte) int {
	switch msg[0] {
	case ndp.TypeRouterAdvert:
		return 16
	case ndp.TypeNeighborSolicit, ndp.TypeNeighborAdvert:
		return 24
	case ndp.TypeRedirect:
		return 40
	case ndp.TypePathAdvert:
		return 12
	}
	return 8
}

func optionsOf(t testing.TB, packet []byte) (all []ndp.Option) {
	t.Helper()
	msg := packet[ipv6.HeaderLen:]
	options := ndp.OptionsAt(msg, bodyAt(msg))
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		all = append(all, o)
	}
	if options.Err() != nil {
		t.Fatal(options.Err())
	}
	return all
}

func optionTypes(t testing.TB, packet []byte) (types []uint8) {
	t.Helper()
	for _, o := range optionsOf(t, packet) {
		types = append(types, o.Type)
	}
	return types
}

func option(t testing.TB, packet []byte, typ uint8) ndp.Option {
	t.Helper()
	for _, o := range optionsOf(t, packet) {
		if o.Type == typ {
			return o
		}
	}
	t.Fatalf("no option %d", typ)
	return ndp.Option{}
}

// join makes a packet of header and message, with the checksum put right.
func join(src, dst netip.Addr, msg []byte) []byte {
	msg = bytes.Clone(msg)
	ndp.FixChecksum(msg, src, dst)
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
}

// seal signs a message apart from the code under test: it adds the signature option to packet, whose options are all that
// is signed.
func (k *rsaKey) seal(t testing.TB, packet []byte) []byte {
	t.Helper()
	p := parse(t, packet, ipv6.LinkAddr{})
	msg := bytes.Clone(p.Payload)
	ndp.FixChecksum(msg, p.Src, p.Dst)
	signature := make([]byte, 128)
	if k.private != nil {
		signature = k.sign(t, sha1.Sum(signedData(p.Src, p.Dst, msg)))
	}
	msg = ndp.Signature{KeyHash: cga.KeyHash(k.spki), Octets: signature}.Append(msg)
	return join(p.Src, p.Dst, msg)
}

// signedData is what RFC 3971 section 5.2 says, word by word.
func signedData(src, dst netip.Addr, msg []byte) []byte {
	data := []byte{0x08, 0x6f, 0xca, 0x5e, 0x10, 0xb2, 0x00, 0xc9, 0x9c, 0x8c, 0xe0, 0x01, 0x64, 0x27, 0x7c, 0x08}
	s, d := src.As16(), dst.As16()
	return append(append(append(data, s[:]...), d[:]...), msg...)
}

// with adds options to a packet.
func with(t testing.TB, packet []byte, options ...[]byte) []byte {
	t.Helper()
	p := parse(t, packet, ipv6.LinkAddr{})
	return join(p.Src, p.Dst, append(bytes.Clone(p.Payload), bytes.Join(options, nil)...))
}

// without takes the options of these types out of a packet.
func without(t testing.TB, packet []byte, types ...uint8) []byte {
	t.Helper()
	p := parse(t, packet, ipv6.LinkAddr{})
	msg := bytes.Clone(p.Payload[:bodyAt(p.Payload)])
	for _, o := range optionsOf(t, packet) {
		if !slices.Contains(types, o.Type) {
			msg = append(msg, o.Octets...)
		}
	}
	return join(p.Src, p.Dst, msg)
}

// Messages.

func solicit(src, target netip.Addr, opts ...[]byte) []byte {
	dst := ipv6.SolicitedNode(target)
	return join(src, dst, ndp.AppendNeighborSolicit(nil, src, dst, target, opts...))
}

func advert(src, dst netip.Addr, opts ...[]byte) []byte {
	flags := ndp.FlagOverride
	if !dst.IsMulticast() {
		flags |= ndp.FlagSolicited
	}
	return join(src, dst, ndp.AppendNeighborAdvert(nil, src, dst, flags, src, opts...))
}

func routerSolicit(src netip.Addr) []byte {
	return join(src, ipv6.AllRouters(), ndp.AppendRouterSolicit(nil, src, ipv6.AllRouters()))
}

func routerAdvert(src, dst netip.Addr) []byte {
	msg := []byte{ndp.TypeRouterAdvert, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}
	msg = append(msg, ndp.SourceLinkOption(ipv6.LinkAddr{2, 0, 0, 0, 0, 1})...)
	return join(src, dst, msg)
}

func redirect(src, dst, target, destination netip.Addr) []byte {
	return join(src, dst, ndp.AppendRedirect(nil, src, dst, target, destination))
}

func proxySolicit(src, dst netip.Addr, opts ...[]byte) []byte {
	m := ndp.ProxySolicit{Identifier: 9, Wildcard: true, SourceLink: ipv6.LinkAddr{2, 0, 0, 0, 0, 9}}
	return join(src, dst, m.Append(nil, src, dst, opts...))
}

func proxyAdvert(src, dst netip.Addr, opts ...[]byte) []byte {
	m := ndp.ProxyAdvert{Identifier: 9, Code: ndp.ProxyNeighborhood}
	return join(src, dst, m.Append(nil, src, dst, opts...))
}

var unspecified = netip.IPv6Unspecified()

// byCGA has a host take all messages by their CGA alone.
func byCGA(cfg *send.Config) { cfg.Router = true }

// sameRand gives the randomness of the lab's n-th node from its beginning.
func (l *lab) sameRand(n int) *mathrand.ChaCha8 { return mathrand.NewChaCha8([32]byte{byte(n)}) }
