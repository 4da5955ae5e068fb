package daemon

import (
	"errors"
	"net/netip"
	"os"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/advertise"
	"github.com/roamkey/roamkey/ndp/certpath"
	"github.com/roamkey/roamkey/ndp/neighbor"
	"github.com/roamkey/roamkey/ndp/send"
)

// discovery takes Neighbour Discovery from served links: through SEND where the link has it.
func (d *Daemon) discovery(p *ipv6.Packet) {
	l := d.byIndex[p.Interface]
	if l == nil || len(p.Payload) == 0 {
		d.counters.unserved++
		return
	}
	switch {
	case l.secured == nil:
		d.deliver(l, p, &send.Security{})
	case p.Payload[0] == ndp.TypeFast && !d.fast.Admit(d.now(), p):
		// Its cheap tests, the rate among them, come before the work of checking a signature (HK-AR-20).
	default:
		d.stepEndpoint(l, send.Input{Kind: send.InReceived, Packet: p, Wall: time.Now()})
	}
}

// deliver hands a message of Neighbour Discovery to those that it is for. Which option means what depends on the message, so
// that each core reads its own.
func (d *Daemon) deliver(l *link, p *ipv6.Packet, s *send.Security) {
	switch p.Payload[0] {
	case ndp.TypeRouterSolicit:
		if l.secured != nil {
			l.secured.asked.note(d.now(), p, s)
			d.hear(l, p, s)
		}
		d.speak(l, advertise.Input{Kind: advertise.InPacket, Packet: p})
	case ndp.TypeRouterAdvert:
		d.speak(l, advertise.Input{Kind: advertise.InPacket, Packet: p})
	case ndp.TypeNeighborSolicit, ndp.TypeNeighborAdvert:
		if l.secured != nil {
			d.hear(l, p, s)
		}
		d.step(lke.Input{Kind: lke.InPacket, Packet: p})
		if d.fast.Owns(p) {
			d.fastPacket(p, s, false)
		}
	case ndp.TypeFast:
		if l.secured == nil || !l.config.Fast {
			d.counters.unexpected++
			return
		}
		if s.Secured {
			d.hear(l, p, s) // who has a handover key must not be taken for another station
		}
		d.fastPacket(p, s, false)
	case ndp.TypePathSolicit:
		if l.secured == nil {
			d.counters.unexpected++
			return
		}
		d.stepPaths(l, certpath.Input{Kind: certpath.InPacket, Packet: p})
	default:
		d.counters.unexpected++
	}
}

// hear gives the neighbour cache of a link with SEND what it may learn from.
func (d *Daemon) hear(l *link, p *ipv6.Packet, s *send.Security) {
	d.stepCache(l, neighbor.Input{
		Kind: neighbor.InPacket, Packet: p, Secured: s.Secured, Repeat: s.Repeat, Stale: s.Stale, Reply: s.Reply, Nonce: s.Nonce,
		OwnKey: s.Secured && s.KeyHash == d.identity.hash,
	})
}

// fastPacket gives the core of fast handovers a packet, with what SEND and the kernel know of its sender.
func (d *Daemon) fastPacket(p *ipv6.Packet, s *send.Security, ipsec bool) {
	var about ipv6.LinkAddr
	if link, addr, ok := d.fast.NeighbourWanted(p); ok {
		about = d.host.Neighbour(link, addr)
	}
	d.stepFast(fmip.Input{
		Kind: fmip.InPacket, Packet: p, Secured: s.Secured, Repeat: s.Repeat || s.Stale, Authorized: s.Authorized, Nonce: s.Nonce, KeyHash: s.KeyHash,
		CGAKey: s.PublicKey, IPsec: ipsec, Neighbour: about, Admitted: true, Wall: time.Now(),
	})
}

// solicitors are the last hosts whose signed router solicitation came, with the nonce that an answer to one of them has to copy
// (RFC 3971 section 5.3.3). The speaker of advertisements, which decides when to answer and whether each for itself, knows
// nothing of nonces.
type solicitors struct {
	ring [16]solicitor
	next int
}

type solicitor struct {
	addr  netip.Addr
	nonce []byte
	link  ipv6.LinkAddr
	until time.Time
}

// answerTime is for how long a solicitation may wait for its answer: half a second, and three under the rate limit (RFC 4861
// section 6.2.6).
const answerTime = 5 * time.Second

func (s *solicitors) note(now time.Time, p *ipv6.Packet, security *send.Security) {
	if !security.Secured || p.Src.IsUnspecified() {
		return
	}
	e := &s.ring[s.next%len(s.ring)]
	for i := range s.ring {
		if s.ring[i].addr == p.Src {
			e = &s.ring[i]
		}
	}
	if e.addr != p.Src {
		s.next++
	}
	*e = solicitor{p.Src, append(e.nonce[:0], security.Nonce...), p.LinkSource, now.Add(answerTime)}
}

// answers gives the nonce that an advertisement to addr has to copy, and the station that it answers.
func (s *solicitors) answers(now time.Time, addr netip.Addr) ([]byte, ipv6.LinkAddr) {
	for i := range s.ring {
		if e := &s.ring[i]; e.addr == addr && now.Before(e.until) && len(e.nonce) > 0 {
			return e.nonce, e.link
		}
	}
	return nil, ipv6.LinkAddr{}
}

// takeCertificates reads the router's certificate and those above it. Without any, hosts are told that there is no path.
func (d *Daemon) takeCertificates() {
	d.chains, d.noCertificate = nil, nil
	path := d.config.Send.Certificate
	chain, err := readChain(path, d.config.Send.LaxProfile)
	if err != nil {
		d.noCertificate = err
		d.complain("certificate "+path, err)
		return
	}
	d.chains = []certpath.Chain{chain}
}

func readChain(path string, lax bool) (certpath.Chain, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return certpath.Chain{}, errors.New("there is none")
	}
	if err != nil {
		return certpath.Chain{}, err
	}
	profile := certpath.RFC6494
	if lax {
		profile = certpath.RFC3971
	}
	return certpath.LoadChain(text, profile)
}

func (d *Daemon) pathConfig(p *securePlan) certpath.ServerConfig {
	return certpath.ServerConfig{Link: p.index, LinkLocal: p.linkLocal, Chains: d.chains}
}

// errDuplicate says that somebody else has an address of ours.
type errDuplicate netip.Addr

func (e errDuplicate) Error() string {
	return "somebody else on the link has " + netip.Addr(e).String() + ": is the same send.key on another router?"
}
