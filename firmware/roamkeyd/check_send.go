package main

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
	"github.com/roamkey/roamkey/ndp/cga"
)

// secured reports whether a link has SEND.
func secured(l config.Link) bool { return l.Send != config.SendOff }

// sendFiles tries the keys and certificates of SEND and of fast handovers.
func (r *report) sendFiles(settings *config.Config, who identity) {
	if !slices.ContainsFunc(settings.Links, secured) {
		return
	}
	hash, ok := r.sendKey(settings, who)
	r.certificate(settings, who, hash, ok)
	for _, n := range settings.Neighbors {
		if !n.Fast || n.Protection != config.ProtectKey {
			continue
		}
		_, err := engine.LoadSharedKey(n.Key)
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist):
			r.error("%v: there is no key %s, so that there are no fast handovers with neighbor %s: roamkeyd keygen --neighbor %s, and copy it there", n.Position, n.Key, n.Name, n.Name)
		case errors.Is(err, fs.ErrPermission):
			r.error("user %s cannot open %s: %v: chown %s %s; %s", who.name, n.Key, reason(err), who.name, n.Key, above(n.Key))
		default:
			r.error("%v: %v", n.Position, err)
		}
	}
}

// sendKey tries the key that signs, and gives the name that messages have for it.
func (r *report) sendKey(settings *config.Config, who identity) (hash [16]byte, ok bool) {
	path := settings.Send.Key
	key, err := engine.LoadKey(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.error("there is no key %s, and SEND needs one: roamkeyd keygen --send", path)
		return hash, false
	case errors.Is(err, fs.ErrPermission):
		r.error("user %s cannot open %s: %v: chown %s %s; %s", who.name, path, reason(err), who.name, path, above(path))
		return hash, false
	case err != nil:
		r.error("%v", err)
		return hash, false
	}
	if other, err := engine.LoadKey(settings.Global.LKEKey); err == nil {
		if err := engine.SeparateKeys(other, key); err != nil {
			r.error("%s and %s: %v", settings.Global.LKEKey, path, err)
		}
	}
	if bits := key.N.BitLen(); bits > 2048 {
		r.warning("%s has %d bits, and nodes need not take keys of more than 2048 (RFC 3971 section 5.1.3)", path, bits)
	}
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		r.error("%s: %v", path, err)
		return hash, false
	}
	return cga.KeyHash(spki), true
}

// certificate looks whether the certificate says what nodes will want to know.
func (r *report) certificate(settings *config.Config, who identity, hash [16]byte, known bool) {
	path := settings.Send.Certificate
	chain, err := loadChain(settings)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.warning("there is no certificate %s: nodes that ask for one do not trust this router, and get no handover key: roamkeyd ca", path)
		return
	case errors.Is(err, fs.ErrPermission):
		r.error("user %s cannot open %s: %v: chmod 644 %s; %s", who.name, path, reason(err), path, above(path))
		return
	case err != nil:
		r.error("%s: %v", path, err)
		return
	}
	if known && chain.KeyHash != hash {
		r.error("%s is the certificate of another key than %s: roamkeyd ca router", path, settings.Send.Key)
	}
	switch now := time.Now(); {
	case now.After(chain.NotAfter):
		r.error("%s was valid until %s: roamkeyd ca router --force", path, chain.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(chain.NotBefore):
		r.warning("%s is valid from %s on, and this machine's clock says %s", path, chain.NotBefore.UTC().Format(time.DateOnly), now.UTC().Format(time.DateOnly))
	case now.Add(30 * 24 * time.Hour).After(chain.NotAfter):
		r.warning("%s ends on %s: roamkeyd ca router --force", path, chain.NotAfter.UTC().Format(time.DateOnly))
	}
}

// loadChain reads the router's certificate and those above it.
func loadChain(settings *config.Config) (certpath.Chain, error) {
	text, err := os.ReadFile(settings.Send.Certificate)
	if err != nil {
		return certpath.Chain{}, err
	}
	return certpath.LoadChain(text, profileOf(settings))
}

// sendMachine compares what SEND and fast handovers are told with what this machine has.
func (r *report) sendMachine(settings *config.Config, view hostnet.View) {
	if !slices.ContainsFunc(settings.Links, secured) {
		return
	}
	// Timestamps are half of SEND's protection against old messages (RFC 3971 section 5.3).
	if now := time.Now(); now.Year() < 2020 {
		r.warning("the clock says %s: nodes drop what this router signs, until it is set (NTP)", now.UTC().Format(time.DateOnly))
	}
	chain, err := loadChain(settings)
	var own []netip.Addr
	for _, l := range settings.Links {
		if !secured(l) {
			continue
		}
		host, _ := view.Link(l.Device)
		for _, a := range host.Addresses {
			if ipv6.IsRoutableUnicast(a.Addr) {
				own = append(own, a.Addr)
			}
		}
		if err == nil {
			r.certified(l, host, &chain)
		}
	}
	for _, n := range settings.Neighbors {
		if !n.Fast || n.Protection != config.ProtectIPsec {
			continue
		}
		if !slices.ContainsFunc(own, func(a netip.Addr) bool { return view.Covers(a, n.Address) }) {
			r.warning("%v: no IPsec policy of the kernel covers the messages to and from neighbor %s (%v): install one for protocol 135 with ESP, or set protection 'key'",
				n.Position, n.Name, n.Address)
		}
	}
}

// certified looks for prefixes of a link that the certificate does not cover: nodes take them for unsecured ones.
func (r *report) certified(l config.Link, host hostnet.Link, chain *certpath.Chain) {
	check := func(p netip.Prefix) {
		if !slices.ContainsFunc(chain.Prefixes, func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }) {
			r.warning("link %s: the certificate does not cover %v, so that nodes take it for a prefix that anyone may have advertised: roamkeyd ca router --prefix %v --force", l.Name, p, p)
		}
	}
	var seen []netip.Prefix
	for _, p := range l.RA.Prefixes {
		seen = append(seen, p.Prefix)
		check(p.Prefix)
	}
	if !l.RA.PrefixesFromDevice {
		return
	}
	for _, a := range host.Addresses {
		if p := a.Prefix.Masked(); ipv6.IsRoutableUnicast(a.Addr) && !slices.Contains(seen, p) {
			seen = append(seen, p)
			check(p)
		}
	}
}
