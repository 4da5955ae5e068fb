package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/send"
)

// Keys take long to make, and which one it is does not matter: all tests share these.
var (
	keys     [12]func() *rsa.PrivateKey // of nodes, 1024 bits
	longKeys [4]func() *rsa.PrivateKey  // 2048 bits: of routers, of the anchor, of a node
)

func init() {
	lazily := func(all []func() *rsa.PrivateKey, bits int) {
		for i := range all {
			all[i] = sync.OnceValue(func() *rsa.PrivateKey {
				key, err := rsa.GenerateKey(rand.Reader, bits)
				if err != nil {
					panic(err)
				}
				return key
			})
		}
	}
	lazily(keys[:], 1024)
	lazily(longKeys[:], 2048)
}

func spkiOf(key *rsa.PublicKey) []byte {
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		panic(err)
	}
	return spki
}

var linkLocalNet = netip.MustParsePrefix("fe80::/64")

// sender is who has a key and CGAs of it, router or node.
type sender struct {
	key    *rsa.PrivateKey
	params cga.Params // the prefix is zero
	sec    uint8
}

func newSender(key *rsa.PrivateKey) sender {
	s := sender{key: key, params: cga.Params{PublicKey: spkiOf(&key.PublicKey)}}
	rand.Read(s.params.Modifier[:])
	return s
}

func (s *sender) in(prefix netip.Prefix) netip.Addr { return s.params.In(prefix).Address(s.sec) }

func (s *sender) hash() [16]byte { return cga.KeyHash(s.params.PublicKey) }

// sign gives the RSA signature of a digest.
func (s *sender) sign(digest [20]byte) []byte {
	signature, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA1, digest[:])
	if err != nil {
		panic(err)
	}
	return signature
}

// messageTag is the CGA message type tag of SEND (RFC 3971 section 5.2).
var messageTag = []byte{0x08, 0x6f, 0xca, 0x5e, 0x10, 0xb2, 0x00, 0xc9, 0x9c, 0x8c, 0xe0, 0x01, 0x64, 0x27, 0x7c, 0x08}

// digestOf gives what a message that ends before its signature option is signed by (RFC 3971 section 5.2). msg has no checksum
// yet: that is the one of the message as it is here.
func digestOf(src, dst netip.Addr, msg []byte) [20]byte {
	msg = slices.Clone(msg)
	ndp.FixChecksum(msg, src, dst)
	s, d := src.As16(), dst.As16()
	return sha1.Sum(slices.Concat(messageTag, s[:], d[:], msg))
}

// audit verifies a signed message from the octets alone, by nothing that the daemon has a part of but the parsers: the source
// (the target of a solicitation from ::) is a CGA of the key in the message, and the signature is right. It gives the key's hash.
func audit(p *ipv6.Packet) (hash [16]byte, err error) {
	claimed := p.Src
	if claimed.IsUnspecified() {
		m, reason := ndp.ParseNeighborSolicit(p)
		if reason != ndp.ReasonNone {
			return hash, fmt.Errorf("a message from :: that is no solicitation: %v", reason)
		}
		claimed = m.Target
	}
	var params cga.Params
	var signature ndp.Option
	timestamp, nonce := false, false
	first := map[byte]int{ndp.TypeRouterSolicit: 8, ndp.TypeRouterAdvert: 16, ndp.TypeRedirect: 40, ndp.TypeFast: 8}[p.Payload[0]]
	if first == 0 {
		first = 24
	}
	options := ndp.OptionsAt(p.Payload, first)
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		switch o.Type {
		case ndp.OptCGA:
			if params, err = cga.ParseOption(o); err != nil {
				return hash, err
			}
		case ndp.OptTimestamp:
			at, err := ndp.ParseTimestamp(o)
			if err != nil || time.Since(at).Abs() > time.Minute {
				return hash, fmt.Errorf("timestamp %v: %v", at, err)
			}
			timestamp = true
		case ndp.OptNonce:
			nonce = true
		case ndp.OptSignature:
			signature = o
		}
	}
	switch {
	case options.Err() != nil:
		return hash, options.Err()
	case signature.Octets == nil:
		return hash, errors.New("it has no signature")
	case params.PublicKey == nil || !timestamp:
		return hash, errors.New("it lacks the CGA or timestamp option")
	case !nonce && (p.Payload[0] == ndp.TypeNeighborSolicit || p.Payload[0] == ndp.TypeRouterSolicit):
		return hash, errors.New("a solicitation without nonce")
	case signature.Offset+len(signature.Octets) != len(p.Payload):
		return hash, errors.New("the signature is not the last option")
	}
	if err := cga.Verify(claimed, params); err != nil {
		return hash, fmt.Errorf("%v: %w", claimed, err)
	}
	s, err := ndp.ParseSignature(signature)
	if err != nil {
		return hash, err
	}
	hash = cga.KeyHash(params.PublicKey)
	if s.KeyHash != hash {
		return hash, errors.New("the signature is of another key")
	}
	digest := digestOf(p.Src, p.Dst, p.Payload[:signature.Offset])
	return hash, verify(params.PublicKey, digest, s.Octets)
}

func verify(spki []byte, digest [20]byte, signature []byte) error {
	public, _, err := ndp.ParseSPKI(spki)
	if err != nil {
		return err
	}
	key := publicKey(public)
	if len(signature) < key.Size() {
		return errors.New("the signature is too short")
	}
	return rsa.VerifyPKCS1v15(key, crypto.SHA1, digest[:], signature[:key.Size()])
}

// sendNode is a node with SEND: the machine that it is made of is that of package send, all else is the test's. It answers
// solicitations for its addresses, and keeps what it is told.
type sendNode struct {
	t *testing.T
	sender
	Hardware    ipv6.LinkAddr
	Local, Home netip.Addr
	pair        *rsa.PrivateKey // for handover keys (HK-MN-1)
	handover    []byte          // the handover key, and its algorithm
	mac         mobility.FastMAC

	mu       sync.Mutex
	on       *station // where it is; nil: nowhere
	endpoint *send.Endpoint
	paths    *certpath.Client            // finds certification paths; nil: trusted says all
	trusted  map[[16]byte][]netip.Prefix // keys, with what they may advertise
	own      []netip.Addr
	silent   bool
	got      []received
	probed   int // how often it answered a solicitation from an address
	sealed   [][]byte
	sealing  bool // what is sent goes there
	seq      uint16
}

// received is one message that SEND let through.
type received struct {
	ipv6.Packet
	send.Security
	at time.Time
}

// newSendNode makes a node number of a link with that prefix. With secured it takes nothing that is not signed.
func newSendNode(t *testing.T, number int, key *rsa.PrivateKey, prefix netip.Prefix, secured bool) *sendNode {
	n := &sendNode{t: t, sender: newSender(key), Hardware: ipv6.LinkAddr{0x02, 0x5e}, trusted: make(map[[16]byte][]netip.Prefix)}
	binary.BigEndian.PutUint32(n.Hardware[2:], uint32(number))
	n.Local, n.Home = n.in(linkLocalNet), n.in(prefix)
	n.own = []netip.Addr{n.Local, n.Home}
	var err error
	n.endpoint, err = send.NewEndpoint(send.Config{
		Identity: send.Identity{Params: n.params, Sec: n.sec, ModulusLen: key.Size()}, Secured: secured, Rand: rand.Reader,
	})
	check(t, err)
	return n
}

// attach makes the node present on a wire, and absent from the one that it was on; nil: nowhere.
func (n *sendNode) attach(s *station) {
	n.mu.Lock()
	before := n.on
	n.on = s
	n.mu.Unlock()
	if before != nil {
		before.mu.Lock()
		before.ears = slices.DeleteFunc(before.ears, func(e *sendNode) bool { return e == n })
		before.mu.Unlock()
	}
	if s != nil {
		s.mu.Lock()
		s.ears = append(s.ears, n)
		s.mu.Unlock()
	}
}

// hears takes a frame from the wire.
func (n *sendNode) hears(h *heard) {
	if h.Proto != ipv6.ProtoICMPv6 || h.to != n.Hardware && h.to[0]&1 == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.on == nil {
		return
	}
	p := h.Packet
	if n.paths != nil && len(p.Payload) > 0 && p.Payload[0] == ndp.TypePathAdvert {
		n.carryPath(n.paths.Step(time.Now(), certpath.Input{Kind: certpath.InPacket, Packet: &p, Wall: time.Now()}))
		return
	}
	n.step(send.Input{Kind: send.InReceived, Packet: &p, Wall: time.Now()})
}

// say sends a message that it signs.
func (n *sendNode) say(packet, answers []byte, to ipv6.LinkAddr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.step(send.Input{Kind: send.InSend, Octets: packet, LinkDst: to, Answers: answers, Wall: time.Now()})
}

// seal signs a message and gives it, to be sent by another hand.
func (n *sendNode) seal(packet []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sealing, n.sealed = true, nil
	n.step(send.Input{Kind: send.InSend, Octets: packet, Wall: time.Now()})
	n.sealing = false
	if len(n.sealed) != 1 {
		panic("a node's message could not be signed")
	}
	return n.sealed[0]
}

func (n *sendNode) step(in send.Input) {
	for _, e := range n.endpoint.Step(time.Now(), in) {
		switch e.Kind {
		case send.EffectSign:
			n.step(send.Input{Kind: send.InSigned, Job: e.Job, Signature: n.sign(e.Digest)})
		case send.EffectVerify:
			n.step(send.Input{Kind: send.InVerified, Job: e.Job, OK: verify(e.PublicKey, e.Digest, e.Signature) == nil})
		case send.EffectPath:
			if n.paths != nil {
				n.carryPath(n.paths.Step(time.Now(), certpath.Input{Kind: certpath.InWanted, KeyHash: e.KeyHash, Router: e.Router, Wall: time.Now()}))
				continue
			}
			prefixes, ok := n.trusted[e.KeyHash]
			n.step(send.Input{Kind: send.InPath, KeyHash: e.KeyHash, OK: ok, Prefixes: prefixes})
		case send.EffectSend:
			if n.sealing {
				n.sealed = append(n.sealed, slices.Clone(e.Packet))
			} else if n.on != nil {
				n.on.send(n.Hardware, e.LinkDst, e.Packet)
			}
		case send.EffectDeliver:
			n.take(e.Received, e.Security)
		}
	}
}

func (n *sendNode) carryPath(effects []certpath.Effect) {
	for _, e := range effects {
		switch e.Kind {
		case certpath.EffectSend:
			n.on.send(n.Hardware, e.LinkDst, e.Packet)
		case certpath.EffectPath:
			n.step(send.Input{Kind: send.InPath, KeyHash: e.KeyHash, OK: e.OK, Prefixes: e.Prefixes, PublicKey: e.SPKI})
		}
	}
}

// take keeps a message, and answers a solicitation for an address of the node.
func (n *sendNode) take(p *ipv6.Packet, s send.Security) {
	n.got = append(n.got, received{*p, s, time.Now()})
	m, reason := ndp.ParseNeighborSolicit(p)
	if p.Payload[0] != ndp.TypeNeighborSolicit || reason != ndp.ReasonNone || !slices.Contains(n.own, m.Target) || p.Src.IsUnspecified() || n.silent {
		return
	}
	n.probed++
	msg := ndp.AppendNeighborAdvert(nil, m.Target, p.Src, ndp.FlagSolicited|ndp.FlagOverride, m.Target, ndp.TargetLinkOption(n.Hardware))
	n.step(send.Input{Kind: send.InSend, Octets: icmp(m.Target, p.Src, msg), LinkDst: p.LinkSource, Answers: s.Nonce, Wall: time.Now()})
}

// mark remembers a moment; since gives what came after it.
func (n *sendNode) mark() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.got)
}

func (n *sendNode) since(mark int, typ uint8) (all []received) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.got[mark:] {
		if r.Payload[0] == typ {
			all = append(all, r)
		}
	}
	return all
}

// await waits for a message of a type that is as it should be.
func (n *sendNode) await(mark int, typ uint8, what string, ok func(*received) bool) received {
	n.t.Helper()
	var found received
	eventually(n.t, what, func() bool {
		for _, r := range n.since(mark, typ) {
			if ok(&r) {
				found = r
				return true
			}
		}
		return false
	})
	return found
}

func secured(r *received) bool { return r.Secured }

// answersProbes tells how often the node answered a neighbour solicitation.
func (n *sendNode) answersProbes() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.probed
}
