package daemon

import (
	"slices"
	"time"

	"github.com/roamkey/roamkey/drivers/hold"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
	"github.com/roamkey/roamkey/ndp/neighbor"
)

// sendStatus tells of the key and certificate of SEND; nil where no link has SEND.
func (d *Daemon) sendStatus() *control.SEND {
	if d.identity == nil {
		return nil
	}
	s := &control.SEND{
		Key: control.Key{Path: d.config.Send.Key, Bits: 8 * d.identity.modulusLen, Fingerprint: control.Fingerprint(d.identity.params.PublicKey)},
		Sec: int(d.identity.sec), Making: d.identity.waits(),
	}
	for i := range d.chains {
		c := &d.chains[i]
		s.Certificate = &control.Certificate{
			Path: d.config.Send.Certificate, Length: len(c.Certificates), Prefixes: c.Prefixes, NotAfter: c.NotAfter, Ours: c.KeyHash == d.identity.hash,
		}
	}
	return s
}

// fastStatus tells of handover keys and fast handovers; nil where no link has them.
func (d *Daemon) fastStatus(now time.Time) *control.Fast {
	if d.identity == nil {
		return nil
	}
	f := &control.Fast{Keys: d.keys.Len()}
	d.keys.Grants(func(g handoverkey.Grant) bool {
		f.KeyList = append(f.KeyList, control.HandoverKey{Home: g.Home, AT: g.AT, Expires: control.Seconds(g.Expires.Sub(now))})
		return len(f.KeyList) < control.MaxListed
	})
	d.fast.Bindings(func(b fmip.Binding, until time.Time) bool {
		f.Bindings = append(f.Bindings, control.FastBinding{Home: b.Home, Router: b.Router, Exit: b.CareOf, Expires: control.Seconds(until.Sub(now))})
		return len(f.Bindings) < control.MaxListed
	})
	if d.hold != nil {
		d.hold.Held(func(h hold.Status) bool {
			f.Held = append(f.Held, control.Held{Addr: h.Addr, Packets: h.Packets, Octets: h.Octets, Dropped: h.Dropped, Draining: h.Draining})
			return len(f.Held) < control.MaxListed
		})
		slices.SortFunc(f.Held, func(a, b control.Held) int { return a.Addr.Compare(b.Addr) })
	}
	for i := range d.config.Neighbors {
		n := &d.config.Neighbors[i]
		problem, _ := d.neighborProblem(n)
		f.Neighbors = append(f.Neighbors, control.Neighbor{
			Name: n.Name, Router: n.Address, Protection: n.Protection.String(), Problem: problem,
			Fast: n.Fast && (n.Protection != config.ProtectKey || d.peerKeys[n.Name] != nil),
		})
	}
	return f
}

// neighborProblem says what is wrong with the protection of fast handovers with a neighbour, and what helps; empty if nothing is.
func (d *Daemon) neighborProblem(n *config.Neighbor) (problem, fix string) {
	switch {
	case !n.Fast:
	case n.Protection == config.ProtectKey && d.peerKeys[n.Name] == nil:
		return "its key " + n.Key + " could not be read", "make one with roamkeyd keygen --neighbor " + n.Name + ", and give the neighbour a copy"
	case n.Protection == config.ProtectIPsec && !d.covered(n):
		return "no IPsec policy covers the messages between the two", "have an IKE daemon or ip xfrm make policies for protocol 135, or set protection 'key'"
	case n.Protection == config.Unprotected:
		return "nothing protects the messages between the two", "set protection 'key' or 'ipsec'"
	}
	return "", ""
}

// secureFindings tells what keeps nodes from trusting this router, or its neighbours from working with it. wall is the time by
// the wall clock.
func (d *Daemon) secureFindings(wall time.Time) []control.Finding {
	if d.identity == nil {
		return nil
	}
	var all []control.Finding
	warn := func(what, fix string) {
		all = append(all, control.Finding{Level: control.Warning, What: what, Fix: fix})
	}
	unset := wall.Before(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
	if unset {
		warn("the clock is not set: nodes do not believe what this router signs, nor can it judge what they sign", "set the clock, or let NTP do so")
	}
	path := d.config.Send.Certificate
	if d.noCertificate != nil {
		warn("certificate "+path+": "+d.noCertificate.Error()+"; nodes that ask for one do not trust this router", "make one with roamkeyd ca router")
	}
	for i := range d.chains {
		c := &d.chains[i]
		switch {
		case c.KeyHash != d.identity.hash:
			warn("certificate "+path+" is for another key than "+d.config.Send.Key, "make one for it with roamkeyd ca router")
		case !unset && wall.After(c.NotAfter):
			warn("certificate "+path+" is valid no more since "+c.NotAfter.UTC().Format("2006-01-02"), "make a new one with roamkeyd ca router")
		case !unset && wall.Before(c.NotBefore):
			warn("certificate "+path+" is not valid before "+c.NotBefore.UTC().Format("2006-01-02"), "set the clock, or make a new one with roamkeyd ca router")
		}
	}
	for i := range d.config.Neighbors {
		n := &d.config.Neighbors[i]
		problem, fix := d.neighborProblem(n)
		if problem == "" {
			continue
		}
		level := control.Warning
		if n.Protection == config.Unprotected {
			level = control.Note // somebody has asked for that
		}
		all = append(all, control.Finding{Level: level, What: "neighbor " + n.Name + ": " + problem, Fix: fix})
	}
	return all
}

// covered reports whether a policy of the kernel covers the messages to and from a neighbour, from whichever address of ours.
func (d *Daemon) covered(n *config.Neighbor) bool {
	for _, l := range d.links {
		for _, p := range l.served.Prefixes {
			if p.Router.IsValid() && d.host.Covers(p.Router, n.Address) {
				return true
			}
		}
	}
	return false
}

// sendStatus tells of SEND on one link; nil where it has none.
func (l *link) sendStatus() *control.LinkSEND {
	if l.config.Send == config.SendOff {
		return nil
	}
	out := &control.LinkSEND{Mode: l.config.Send.String()}
	s := l.secured
	if s == nil {
		return out
	}
	out.Peers = s.endpoint.Peers()
	out.Verifying, out.Signing = s.endpoint.Waiting()
	s.cache.Addresses(func(a neighbor.Address) bool {
		out.Addresses = append(out.Addresses, control.OwnAddress{Addr: a.Addr, Tentative: a.Tentative, CGA: !a.Plain})
		return true
	})
	s.cache.Entries(func(e neighbor.Entry) bool {
		if e.Secured {
			out.Secured++
		} else {
			out.Unsecured++
		}
		return true
	})
	return out
}
