package mobilenode

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/neighbor"
	"github.com/roamkey/roamkey/ndp/send"
)

// secured is the node's link with SEND: what it says is signed, what it hears is checked, and the kernel's neighbours are
// what comes of that.
type secured struct {
	*fastNode
	id       *identity
	endpoint *send.Endpoint
	cache    *neighbor.Cache
	paths    *certpath.Client // nil where no anchors are given
	own      map[netip.Addr]bool
	keyHash  [16]byte
	workers  chan struct{} // one in it for each RSA operation that goes on
	signed   chan struct{} // closed when the last signature is made

	left       map[uint64]func(nonce []byte) // what is to be done when a message of ours has left, by cookie
	lastCookie uint64
	unread     uint64
	noRedirect uint64
}

// maxLeft bounds the messages of which somebody wants to know that they have left: one that can't be signed never does.
const maxLeft = 64

// rsaWorkers is how many RSA operations go on at one time. The endpoint bounds how many wait.
const rsaWorkers = 2

func newSecured(f *fastNode, id *identity) (*secured, error) {
	s := &secured{
		fastNode: f, id: id, own: make(map[netip.Addr]bool), keyHash: cga.KeyHash(id.params.PublicKey),
		workers: make(chan struct{}, rsaWorkers), left: make(map[uint64]func([]byte)),
	}
	link := f.parts.Station.Link()
	cfg := send.Config{
		Link: link.Index, Identity: send.Identity{Params: id.params, Sec: id.sec}, Secured: f.cfg.SecuredOnly, Rand: rand.Reader,
	}
	if f.cfg.Anchors != "" {
		text, err := os.ReadFile(f.cfg.Anchors)
		if err != nil {
			return nil, fmt.Errorf("read the trust anchors: %w", err)
		}
		anchors, err := certpath.LoadAnchors(text)
		if err != nil {
			return nil, fmt.Errorf("read the trust anchors in %s: %w", f.cfg.Anchors, err)
		}
		if s.paths, err = certpath.NewClient(certpath.ClientConfig{Link: link.Index, Anchors: anchors, Rand: rand.Reader}); err != nil {
			return nil, fmt.Errorf("trust anchors in %s: %w", f.cfg.Anchors, err)
		}
	} else {
		// Nobody says which routers there are. What a router says of itself is its own all the same.
		for _, m := range []send.Message{send.MessageRouterAdvert, send.MessageRedirect, send.MessageProxyAdvert} {
			cfg.Methods[m] = send.ByCGA
		}
	}
	var err error
	if s.endpoint, err = send.NewEndpoint(cfg); err != nil {
		return nil, err
	}
	s.newCache()
	return s, nil
}

// newCache begins without neighbours: those of the last link are none of this one.
func (s *secured) newCache() {
	link := s.parts.Station.Link()
	s.cache = neighbor.New(neighbor.Config{Link: link.Index, Hardware: link.Hardware, Secured: s.cfg.SecuredOnly, Rand: rand.Reader})
}

// arrive begins with the neighbours of what may be another link. Own addresses are looked for there anew.
func (s *secured) arrive() {
	for addr := range s.own {
		s.stepCache(neighbor.Input{Kind: neighbor.InDisown, Addr: addr})
	}
	s.newCache()
	for addr := range s.own {
		// An interface that was down altogether has lost them; one that is there stays as it is.
		if err := s.parts.Neighbors.AddAddress(s.link, netip.PrefixFrom(addr, 64)); err != nil {
			s.reporter.complain("attach", err)
		}
		s.stepCache(s.ownInput(addr))
	}
}

// take gives the interface an address, which can be used while the cache looks for duplicates of it (RFC 4429).
func (s *secured) take(addr netip.Addr) {
	if err := s.parts.Neighbors.AddAddress(s.link, netip.PrefixFrom(addr, 64)); err != nil {
		s.reporter.complain("attach", err)
		s.do(func() { s.addressSettled(addr, true) })
		return
	}
	s.own[addr] = true
	if s.paths != nil && addr.IsLinkLocalUnicast() {
		s.paths.SetSource(addr)
	}
	s.stepCache(s.ownInput(addr))
}

func (s *secured) ownInput(addr netip.Addr) neighbor.Input {
	in := neighbor.Input{Kind: neighbor.InOwn, Addr: addr, Optimistic: true, Plain: true}
	p := s.id.params.In(netip.PrefixFrom(addr, 64))
	for ; p.Collisions <= 2; p.Collisions++ {
		if p.Address(s.id.sec) == addr {
			in.Plain, in.Attempt = false, int(p.Collisions)
			break
		}
	}
	return in
}

// drop takes an address off the interface.
func (s *secured) drop(addr netip.Addr) {
	delete(s.own, addr)
	s.stepCache(neighbor.Input{Kind: neighbor.InDisown, Addr: addr})
	if err := s.parts.Neighbors.RemoveAddress(s.link, addr); err != nil {
		s.reporter.complain("leave the link", err)
	}
}

// hear takes a message of Neighbour Discovery.
func (s *secured) hear(p *ipv6.Packet) {
	switch p.Payload[0] {
	case ndp.TypePathSolicit, ndp.TypePathAdvert:
		if s.paths != nil {
			s.stepPaths(certpath.Input{Kind: certpath.InPacket, Packet: p, Wall: time.Now()})
		}
	default:
		s.stepEndpoint(send.Input{Kind: send.InReceived, Packet: p, Wall: time.Now()})
	}
}

// say signs a message and sends it. then, if not nil, is called when it leaves, with the nonce that it asks with.
func (s *secured) say(in send.Input, then func(nonce []byte)) {
	in.Kind, in.Wall = send.InSend, time.Now()
	if then != nil && len(s.left) < maxLeft {
		s.lastCookie++
		in.Cookie = s.lastCookie
		s.left[in.Cookie] = then
	}
	s.stepEndpoint(in)
}

// stepEndpoint gives the endpoint an input, and the queue what follows.
func (s *secured) stepEndpoint(in send.Input) {
	for _, e := range s.endpoint.Step(s.now(), in) {
		s.carryEndpoint(&e)
	}
}

func (s *secured) carryEndpoint(e *send.Effect) {
	switch e.Kind {
	case send.EffectVerify:
		job, digest, spki, signature := e.Job, e.Digest, append([]byte(nil), e.PublicKey...), append([]byte(nil), e.Signature...)
		s.rsa(func() func() {
			ok := verify(spki, digest, signature)
			return func() { s.do(func() { s.stepEndpoint(send.Input{Kind: send.InVerified, Job: job, OK: ok}) }) }
		})
	case send.EffectSign:
		job, digest := e.Job, e.Digest
		s.sign(func() func() {
			// SHA-1 because RFC 3971 section 5.2 has it so: a forger would need a second preimage.
			signature, err := rsa.SignPKCS1v15(nil, s.id.private, crypto.SHA1, digest[:])
			return func() {
				s.do(func() {
					if err != nil {
						s.reporter.complain("sign", err)
						s.stepEndpoint(send.Input{Kind: send.InLost, Job: job})
						return
					}
					s.stepEndpoint(send.Input{Kind: send.InSigned, Job: job, Signature: signature})
				})
			}
		})
	case send.EffectSend:
		s.transmit(e.LinkDst, e.Packet)
		if then := s.left[e.Cookie]; then != nil {
			delete(s.left, e.Cookie)
			then(e.Nonce)
		}
	case send.EffectDeliver:
		p, security := e.Received, e.Security
		s.do(func() { s.deliver(p, security) })
	case send.EffectPath:
		if s.paths != nil {
			in := certpath.Input{Kind: certpath.InWanted, KeyHash: e.KeyHash, Router: e.Router, Wall: time.Now()}
			s.do(func() { s.stepPaths(in) })
		}
	case send.EffectReport:
		s.reporter.write(Line{Time: time.Now(), Event: e.Event.Kind.String(), Home: e.Event.Addr, Detail: e.Event.Detail})
	}
}

// sign does work beside the loop, in the order in which it comes: the announcement before the solicitation behind it.
func (s *secured) sign(work func() (then func())) {
	before, done := s.signed, make(chan struct{})
	s.signed = done
	s.beside(func() func() {
		if before != nil {
			<-before
		}
		defer close(done)
		return work()
	})
}

// rsa does work beside the loop, not much at one time.
func (s *secured) rsa(work func() (then func())) {
	s.beside(func() func() {
		s.workers <- struct{}{}
		defer func() { <-s.workers }()
		return work()
	})
}

// verify reports whether signature is the PKCS #1 v1.5 signature of digest under the key spki.
func verify(spki []byte, digest [20]byte, signature []byte) bool {
	key, n, err := ndp.ParseSPKI(spki)
	if err != nil || n != len(spki) {
		return false
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(key.Modulus), E: key.Exponent}
	return rsa.VerifyPKCS1v15(public, crypto.SHA1, digest[:], signature) == nil
}

// deliver gives a message that was checked to those that it is for.
func (s *secured) deliver(p *ipv6.Packet, security send.Security) {
	if len(p.Payload) == 0 {
		return
	}
	typ := p.Payload[0]
	if typ != ndp.TypeFast {
		s.stepCache(neighbor.Input{
			Kind: neighbor.InPacket, Packet: p, Secured: security.Secured, Repeat: security.Repeat, Stale: security.Stale,
			Reply: security.Reply, OwnKey: security.Secured && security.KeyHash == s.keyHash, Nonce: security.Nonce,
		})
	}
	if typ != ndp.TypeRouterAdvert && typ != ndp.TypeFast {
		return
	}
	if security.Secured && !security.Fresh() {
		s.unread++ // it says nothing new, and without its signature it must not be read
		return
	}
	s.heard(p, security)
}

// stepCache gives the neighbour cache an input.
func (s *secured) stepCache(in neighbor.Input) {
	for _, e := range s.cache.Step(s.now(), in) {
		s.carryCache(&e)
	}
}

func (s *secured) carryCache(e *neighbor.Effect) {
	var err error
	switch e.Kind {
	case neighbor.EffectSend:
		if e.Unsigned {
			s.transmit(e.LinkDst, e.Packet)
			return
		}
		s.say(send.Input{Octets: e.Packet, LinkDst: e.LinkDst, Answers: e.Answers, Source: e.Source}, nil)
	case neighbor.EffectEntry:
		if e.State == neighbor.StateFailed {
			err = s.parts.Neighbors.RemoveEntry(s.link, e.Addr)
		} else {
			err = s.parts.Neighbors.SetEntry(s.link, e.Addr, e.Neighbour, e.State == neighbor.StateReachable)
		}
	case neighbor.EffectAddress:
		addr, failed := e.Addr, !e.OK
		s.do(func() { s.addressSettled(addr, failed) })
	case neighbor.EffectWatch:
		err = s.parts.Conn.Watch(s.link, e.Addr)
	case neighbor.EffectUnwatch:
		err = s.parts.Conn.Unwatch(s.link, e.Addr)
	case neighbor.EffectRedirect:
		s.noRedirect++ // all goes by the router, or by the tunnel
	case neighbor.EffectReport:
		s.reporter.write(Line{Time: time.Now(), Event: e.Event.Kind.String(), Home: e.Event.Addr, Detail: "by " + e.Event.Neighbour.String()})
	}
	if err != nil {
		s.reporter.complain("neighbours", err)
	}
}

// stepPaths gives the search for certification paths an input.
func (s *secured) stepPaths(in certpath.Input) {
	for _, e := range s.paths.Step(s.now(), in) {
		switch e.Kind {
		case certpath.EffectSend:
			s.transmit(e.LinkDst, e.Packet) // neither solicitations nor advertisements of paths are signed
		case certpath.EffectPath:
			s.pathFound(&e)
		}
	}
}

// maxPathLife is how long a path is believed before it is verified anew.
const maxPathLife = time.Hour

func (s *secured) pathFound(e *certpath.Effect) {
	in := send.Input{Kind: send.InPath, KeyHash: e.KeyHash, OK: e.OK && e.Purposes&certpath.PurposeRouter != 0, Prefixes: e.Prefixes, PublicKey: e.SPKI, Wall: time.Now()}
	if e.OK {
		in.Lifetime = min(maxPathLife, time.Until(e.Until))
		in.OK = in.OK && in.Lifetime > 0
	}
	event, detail := "router-certified", ""
	switch {
	case !e.OK:
		event, detail = "router-not-certified", "no path of certificates to an anchor"
	case !in.OK:
		event, detail = "router-not-certified", "its certificate is not for a router, or is over"
	case len(e.Prefixes) > 0:
		detail = "for " + e.Prefixes[0].String()
	}
	s.reporter.say(event, detail)
	s.do(func() { s.stepEndpoint(in) })
}

// transmit puts a packet on the link.
func (s *secured) transmit(dst ipv6.LinkAddr, packet []byte) {
	if err := s.parts.Conn.SendLink(s.link, dst, packet); err != nil {
		s.reporter.complain("send", err)
	}
}

// tickSecured does what is due.
func (s *secured) tickSecured() {
	s.stepEndpoint(send.Input{Kind: send.InTick, Wall: time.Now()})
	s.stepCache(neighbor.Input{Kind: neighbor.InTick})
	if s.paths != nil {
		s.stepPaths(certpath.Input{Kind: certpath.InTick, Wall: time.Now()})
	}
}

func (s *secured) deadlineSecured() time.Time {
	at := sooner(s.endpoint.Deadline(), s.cache.Deadline())
	if s.paths != nil {
		at = sooner(at, s.paths.Deadline())
	}
	return at
}

// sooner gives the earlier of two times, of which the zero Time is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// ask answers the kernel about a neighbour.
func (s *secured) ask(addr netip.Addr, missing bool) {
	s.stepCache(neighbor.Input{Kind: neighbor.InAsk, Addr: addr, Missing: missing})
}

func (s *secured) countSecured(yield func(name string, value uint64)) {
	prefixed := func(prefix string) func(string, uint64) {
		return func(name string, value uint64) { yield(prefix+name, value) }
	}
	s.endpoint.Counters(prefixed("send_"))
	s.cache.Counters(prefixed("neighbor_"))
	if s.paths != nil {
		s.paths.Counters(yield)
	}
	s.parts.Neighbors.Counters(prefixed("neighbors_"))
	yield("message_repeated", s.unread)
	yield("redirect_not_followed", s.noRedirect)
}

var errNoNeighbors = errors.New("SEND needs the kernel's neighbour table")
