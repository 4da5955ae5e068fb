package control

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// SEND tells of secure Neighbour Discovery as a whole.
type SEND struct {
	Key         Key          `json:"key"`
	Sec         int          `json:"sec"`
	Making      string       `json:"making,omitempty"`      // why there are no addresses yet
	Certificate *Certificate `json:"certificate,omitempty"` // nil: nodes get no certification path
}

// Certificate is what nodes are told of this router by those who certify.
type Certificate struct {
	Path     string         `json:"path"`
	Length   int            `json:"length"` // certificates that are sent
	Prefixes []netip.Prefix `json:"prefixes"`
	NotAfter time.Time      `json:"not_after"`
	Ours     bool           `json:"ours"` // it is for the key that this router signs with
}

// LinkSEND tells of SEND on one link.
type LinkSEND struct {
	Mode      string       `json:"mode"` // "mixed" or "only"
	Addresses []OwnAddress `json:"addresses"`
	Peers     int          `json:"peers"`     // whose clocks are remembered
	Secured   int          `json:"secured"`   // neighbours known by signed messages
	Unsecured int          `json:"unsecured"` // and others
	Verifying int          `json:"verifying"` // messages that wait for a verification
	Signing   int          `json:"signing"`   // and for a signature
}

// OwnAddress is one address of this router on a link with SEND.
type OwnAddress struct {
	Addr      netip.Addr `json:"addr"`
	Tentative bool       `json:"tentative,omitempty"` // it is being made sure that nobody else has it
	CGA       bool       `json:"cga"`                 // made of the key, so that what is said from it is signed
}

// Fast tells of handover keys and fast handovers.
type Fast struct {
	Keys      int           `json:"keys"`
	KeyList   []HandoverKey `json:"key_list,omitempty"` // at most MaxListed, as the other lists
	Bindings  []FastBinding `json:"bindings,omitempty"`
	Held      []Held        `json:"held,omitempty"`
	Neighbors []Neighbor    `json:"neighbors,omitempty"`
}

// HandoverKey is one handover key, without the key.
type HandoverKey struct {
	Home    netip.Addr `json:"home"`
	AT      uint8      `json:"at"` // algorithm type: 0 HMAC-SHA1-96, 1 HMAC-SHA256-128
	Expires Seconds    `json:"expires_s"`
}

// FastBinding is a previous care-of address that is forwarded after a fast handover.
type FastBinding struct {
	Home    netip.Addr `json:"home"`
	Router  netip.Addr `json:"router"` // of ours
	Exit    netip.Addr `json:"exit"`   // the other end of the tunnel
	Expires Seconds    `json:"expires_s"`
}

// Held is what is kept for a node that is on its way.
type Held struct {
	Addr     netip.Addr `json:"addr"`
	Packets  int        `json:"packets"`
	Octets   int        `json:"octets"`
	Dropped  uint64     `json:"dropped"`
	Draining bool       `json:"draining,omitempty"`
}

// Neighbor is another router of the settings.
type Neighbor struct {
	Name       string     `json:"name"`
	Router     netip.Addr `json:"router,omitzero"`
	Fast       bool       `json:"fast"`
	Protection string     `json:"protection"`
	Problem    string     `json:"problem,omitempty"`
}

func (s *SEND) write(p *page) {
	p.line("SEND    RSA %d, %s", s.Key.Bits, s.Key.Fingerprint)
	if s.Making != "" {
		p.wrap("        ", "        ", s.Making)
	}
	c := s.Certificate
	if c == nil {
		p.line("        no certificate: nodes that ask for one do not trust this router")
		return
	}
	whose := ""
	if !c.Ours {
		whose = ", FOR ANOTHER KEY"
	}
	p.line("        %s sent, until %s%s", count(c.Length, "certificate"), c.NotAfter.UTC().Format("2006-01-02"), whose)
	for _, prefix := range c.Prefixes {
		p.line("        for %s", prefix)
	}
}

func (s *LinkSEND) write(p *page) {
	mode := "signed messages and others"
	if s.Mode == "only" {
		mode = "signed messages only"
	}
	p.line("  SEND %s: %s", s.Mode, mode)
	p.line("  neighbours: %d secured, %d not; %d to verify, %d to sign", s.Secured, s.Unsecured, s.Verifying, s.Signing)
	for _, a := range s.Addresses {
		what := ""
		switch {
		case a.Tentative:
			what = "is looked for on the link"
		case !a.CGA:
			what = "is no CGA"
		}
		if what != "" {
			p.line("    %-39s %s", a.Addr, what)
		}
	}
}

// algorithm names an algorithm type of RFC 5269 as the settings do.
func algorithm(at uint8) string {
	switch at {
	case 0:
		return "hmac-sha1-96"
	case 1:
		return "hmac-sha256-128"
	}
	return fmt.Sprintf("type %d", at)
}

func (f *Fast) write(p *page) {
	p.line("")
	p.line("HANDOVER KEYS  %d", f.Keys)
	for _, k := range f.KeyList {
		p.line("  %-39s %-15s expires %s", k.Home, algorithm(k.AT), Rough(time.Duration(k.Expires)))
	}
	if rest := f.Keys - len(f.KeyList); rest > 0 && len(f.KeyList) > 0 {
		p.line("  and %d more", rest)
	}
	if len(f.Bindings) > 0 {
		p.line("")
		p.line("FAST BINDINGS  %d", len(f.Bindings))
	}
	for _, b := range f.Bindings {
		p.line("  %s", b.Home)
		p.line("    -> %-39s expires %s", b.Exit, Rough(time.Duration(b.Expires)))
	}
	if len(f.Held) > 0 {
		p.line("")
		p.line("KEPT FOR NODES ON THEIR WAY")
	}
	for _, h := range f.Held {
		state := ""
		if h.Draining {
			state = ", being sent"
		}
		p.line("  %-39s %s%s", h.Addr, count(h.Packets, "packet"), state)
		if h.Dropped > 0 {
			p.line("    %s dropped for want of room", count(int(h.Dropped), "packet"))
		}
	}
	if len(f.Neighbors) == 0 {
		return
	}
	p.line("")
	p.line("NEIGHBOURS")
	for _, n := range f.Neighbors {
		what := "no fast handover"
		if n.Fast {
			what = "fast handover, protected by " + strings.Replace(n.Protection, "none", "nothing", 1)
		}
		p.line("  %-15s %s", n.Name, n.Router)
		p.line("    %s", what)
		if n.Problem != "" {
			p.wrap("    ", "    ", n.Problem)
		}
	}
}

// ended says why a handover that stood does not any more; empty while it does.
func ended(why string) string {
	if why == "" {
		return ""
	}
	return ", " + why
}
