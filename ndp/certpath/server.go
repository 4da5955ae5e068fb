package certpath

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// Bounds of a Server.
const (
	DefaultMaxRate = 10 // MAX_CPA_RATE of RFC 3971 section 10.2
	MaxChains      = 8

	maxNames     = 8 // Trust Anchor options that are looked at in one solicitation
	defaultMTU   = 1500
	advertOctets = ipv6.HeaderLen + 12 // of an advertisement before its options
)

// ServerConfig is what a router says on one link.
type ServerConfig struct {
	Link      int        // index of the interface
	LinkLocal netip.Addr // the router's own, from which it answers; without one it is silent
	Chains    []Chain    // at most MaxChains; of several from one anchor the first is sent
	MaxRate   int        // advertisements a second; 0 stands for DefaultMaxRate
	MTU       int        // of the link, octets; 0 stands for 1500
}

// Server is the router's side of Authorization Delegation Discovery on one link (RFC 3971 section 6.4.5): solicitations in,
// advertisements out, one certificate in each. One goroutine owns it.
type Server struct {
	cfg     ServerConfig
	each    time.Duration
	answers bucket
	pending []bool // chains that are owed to all nodes, since there were too many solicitations
	count   serverCounters
	effects []Effect // of the step under way
}

// NewServer makes a server. It fails if a certificate does not fit in one message: such an advertisement must not be sent in
// fragments (RFC 6980 section 5).
func NewServer(cfg ServerConfig) (*Server, error) {
	s := &Server{}
	if err := s.Reconfigure(cfg); err != nil {
		return nil, err
	}
	return s, nil
}

// Reconfigure changes what the server says; it fails as NewServer does, and then changes nothing.
func (s *Server) Reconfigure(cfg ServerConfig) error {
	if cfg.MaxRate <= 0 {
		cfg.MaxRate = DefaultMaxRate
	}
	if cfg.MTU <= 0 {
		cfg.MTU = defaultMTU
	}
	if len(cfg.Chains) > MaxChains {
		return fmt.Errorf("%d certification paths: at most %d", len(cfg.Chains), MaxChains)
	}
	if cfg.LinkLocal.IsValid() && !cfg.LinkLocal.IsLinkLocalUnicast() {
		return fmt.Errorf("%v is not a link-local address, which certification paths are sent from", cfg.LinkLocal)
	}
	for i := range cfg.Chains {
		if err := cfg.Chains[i].Fits(cfg.MTU); err != nil {
			return err
		}
	}
	s.cfg, s.each = cfg, time.Second/time.Duration(cfg.MaxRate)
	s.pending = make([]bool, len(cfg.Chains))
	return nil
}

// Fits reports as an error whether a certificate of the chain is too long for one packet of mtu octets, together with the name
// of the anchor in the first.
func (c *Chain) Fits(mtu int) error {
	if len(c.Certificates) == 0 || len(c.Certificates) > MaxCertificates {
		return errors.New("a certification path without certificates, or with too many")
	}
	for i, der := range c.Certificates {
		option := ndp.CertificateOption(der)
		n := advertOctets + len(option)
		if i == 0 {
			n += len(c.anchorOption())
		}
		if option == nil || n > mtu {
			return fmt.Errorf("certificate %d of the path (%d octets) does not fit in one packet of %d octets, and may not be sent in fragments (RFC 6980): make one with fewer prefixes, or a smaller key", i+1, len(der), mtu)
		}
	}
	return nil
}

func (c *Chain) anchorOption() []byte {
	return ndp.TrustAnchor{NameType: ndp.NameX501, Name: c.AnchorName}.Append(nil)
}

// Step handles one input that arrived at now, and returns the effects to carry out; nil where there is nothing to do.
func (s *Server) Step(now time.Time, in Input) []Effect {
	s.payDebts(now)
	if in.Kind == InPacket && in.Packet != nil {
		s.solicitation(now, in.Packet)
	}
	effects := s.effects
	s.effects = nil
	return effects
}

// Deadline is when Step wants an InTick next; the zero Time if never.
func (s *Server) Deadline() time.Time {
	for _, owed := range s.pending {
		if owed {
			return s.answers.next(s.each, s.cfg.MaxRate)
		}
	}
	return time.Time{}
}

// solicitation answers a Certification Path Solicitation.
func (s *Server) solicitation(now time.Time, p *ipv6.Packet) {
	m, reason := ndp.ParsePathSolicit(p)
	switch {
	case reason != ndp.ReasonNone:
		s.count.bad[reason]++
		return
	case p.Interface != s.cfg.Link:
		s.count.otherLink++
		return
	case p.Dst.IsMulticast() && p.Dst != ipv6.AllRouters() && p.Dst != ipv6.SolicitedNode(s.cfg.LinkLocal):
		s.count.otherNode++
		return
	case !s.cfg.LinkLocal.IsValid():
		s.count.noAddress++
		return
	}
	chain, ok := s.find(m.Options)
	if !ok {
		return
	}
	s.count.received++
	if chain >= 0 && m.Component != ndp.AllComponents && int(m.Component) >= len(s.cfg.Chains[chain].Certificates) {
		s.count.noComponent++
		return
	}
	if !s.answers.allows(now, s.each, s.cfg.MaxRate) {
		// RFC 3971 section 6.4.5: more of them are answered together, to all nodes, whoever asked.
		s.count.overRate++
		if chain >= 0 {
			s.pending[chain] = true
		} else {
			s.count.noPathOverRate++
		}
		return
	}
	s.answers.take(now, s.each)
	dst, id := ipv6.AllNodes(), uint16(0)
	if !p.Src.IsUnspecified() {
		dst, id = ipv6.SolicitedNode(p.Src), m.Identifier
	}
	if chain < 0 {
		s.count.noPath++
		s.send(dst, ndp.PathAdvert{Identifier: id}, s.fitting(advertOctets, m.Options, func(ndp.TrustAnchor) bool { return true })...)
		return
	}
	s.answer(dst, id, &s.cfg.Chains[chain], m.Component, m.Options)
}

// find gives the chain for the first anchor that a solicitation names and there is one for, -1 if there is none. A
// solicitation that names no anchor, or whose first one is not an X.501 name, is not valid (section 6.4.1).
func (s *Server) find(options ndp.Options) (chain int, ok bool) {
	chain = -1
	names := 0
	for o, more := options.Next(); more && names < maxNames; o, more = options.Next() {
		if o.Type != ndp.OptTrustAnchor {
			continue
		}
		name, err := ndp.ParseTrustAnchor(o)
		switch {
		case err != nil:
			s.count.badAnchor++
			return -1, false
		case names == 0 && name.NameType != ndp.NameX501:
			s.count.firstAnchor++
			return -1, false
		}
		names++
		for i := 0; chain < 0 && i < len(s.cfg.Chains); i++ {
			if s.cfg.Chains[i].Matches(name) {
				chain = i
			}
		}
	}
	if names == 0 {
		s.count.noAnchor++
		return -1, false
	}
	return chain, true
}

// answer sends a chain or one component of it, the topmost first.
func (s *Server) answer(dst netip.Addr, id uint16, c *Chain, component uint16, asked ndp.Options) {
	all := len(c.Certificates)
	for i, der := range c.Certificates {
		m := ndp.PathAdvert{Identifier: id, All: uint16(all), Component: uint16(all - 1 - i)}
		if component != ndp.AllComponents && m.Component != component {
			continue
		}
		option := ndp.CertificateOption(der)
		var options [][]byte
		if i == 0 {
			options = s.fitting(advertOctets+len(option), asked, c.Matches)
			if options == nil {
				options = [][]byte{c.anchorOption()}
			}
		}
		s.send(dst, m, append(options, option)...)
	}
}

// fitting gives those Trust Anchor options of a solicitation that are wanted, as far as they fit behind so many octets: the
// asker chose their length.
func (s *Server) fitting(octets int, asked ndp.Options, wanted func(ndp.TrustAnchor) bool) [][]byte {
	var options [][]byte
	names := 0
	for o, ok := asked.Next(); ok && names < maxNames; o, ok = asked.Next() {
		if o.Type != ndp.OptTrustAnchor {
			continue
		}
		names++
		if name, err := ndp.ParseTrustAnchor(o); err == nil && octets+len(o.Octets) <= s.cfg.MTU && wanted(name) {
			options = append(options, o.Octets)
			octets += len(o.Octets)
		}
	}
	return options
}

// payDebts sends to all nodes what was put off, as soon as the rate lets.
func (s *Server) payDebts(now time.Time) {
	for i, owed := range s.pending {
		if owed && s.answers.allows(now, s.each, s.cfg.MaxRate) {
			s.pending[i] = false
			s.answers.take(now, s.each)
			s.count.toAll++
			s.answer(ipv6.AllNodes(), 0, &s.cfg.Chains[i], ndp.AllComponents, ndp.Options{})
		}
	}
}

func (s *Server) send(dst netip.Addr, m ndp.PathAdvert, options ...[]byte) {
	s.count.sent++
	msg := m.Append(nil, s.cfg.LinkLocal, dst, options...)
	packet := ipv6.Append(nil, ipv6.Header{Src: s.cfg.LinkLocal, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
	s.effects = append(s.effects, Effect{Kind: EffectSend, Link: s.cfg.Link, LinkDst: ipv6.MulticastLinkAddr(dst), Packet: packet})
}
