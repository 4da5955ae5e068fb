package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/neighbor"
	"github.com/roamkey/roamkey/ndp/send"
)

// fastConfig is the part of the settings that fast handovers need, with the links that are served now.
func (d *Daemon) fastConfig() fmip.RouterConfig {
	f := &d.config.Fast
	c := fmip.RouterConfig{
		Keys: d.keys, MaxNodes: d.nodeLimit(), MaxLifetime: f.MaxForwarding, RequestRate: f.RequestsPerSecond,
		HITimeout: f.InitiateTimeout, HIRetries: f.InitiateRetries, ProxyLifetime: f.ProxyLifetime, DADTransmits: f.DADTransmits,
		RetransTimer: d.config.LKE.RetransTimer, Buffer: f.Buffer && d.hold != nil, HostRoutes: d.neighbors != nil && d.forward.Describe().Serves, Rand: rand.Reader,
	}
	if c.DADTransmits == 0 {
		c.DADTransmits = -1 // of the settings 0 means none
	}
	for _, l := range d.links {
		if l.served.Index == 0 || !l.config.Fast {
			continue
		}
		link := fmip.Link{
			Name: l.config.Name, Index: l.served.Index, Hardware: l.served.Hardware, LinkLocal: l.served.LinkLocal,
			AccessPoints: l.config.AccessPoints, Routers: l.served.Routers, MTU: l.host.MTU,
			RequireSecuredUNA: l.config.Send == config.SendOnly,
		}
		if d.identity != nil {
			link.Reserve = send.Overhead(len(d.identity.params.PublicKey), d.identity.modulusLen)
		}
		for _, p := range l.served.Prefixes {
			link.Prefixes = append(link.Prefixes, fmip.LinkPrefix{Prefix: p.Prefix, Router: p.Router})
		}
		c.Links = append(c.Links, link)
	}
	for i := range d.config.Neighbors {
		n := &d.config.Neighbors[i]
		c.Neighbors = append(c.Neighbors, fmip.Neighbor{
			Name: n.Name, Router: n.Address, RouterLink: n.Hardware, Prefixes: n.Prefixes, AccessPoints: n.AccessPoints,
			Fast: n.Fast && (n.Protection != config.ProtectKey || d.peerKeys[n.Name] != nil), Protection: protection(n.Protection), Key: d.peerKeys[n.Name],
		})
	}
	return c
}

func protection(p config.Protection) fmip.Protection {
	switch p {
	case config.ProtectIPsec:
		return fmip.ProtectIPsec
	case config.Unprotected:
		return fmip.Unprotected
	}
	return fmip.ProtectKey
}

func (d *Daemon) keysConfig() handoverkey.RouterConfig {
	return handoverkey.RouterConfig{
		Lifetime: d.config.Fast.KeyLifetime, Algorithms: d.config.Fast.Algorithms, MaxKeys: d.nodeLimit(), Rand: rand.Reader,
	}
}

// takePeerKeys reads the keys that this router shares with its neighbours. Without its key a neighbour does no fast handovers.
func (d *Daemon) takePeerKeys() {
	d.peerKeys = make(map[string][]byte)
	for i := range d.config.Neighbors {
		n := &d.config.Neighbors[i]
		if !n.Fast || n.Protection != config.ProtectKey {
			continue
		}
		key, err := engine.LoadSharedKey(n.Key)
		if err != nil {
			d.complain("no fast handovers with neighbor "+n.Name, err)
			continue
		}
		d.peerKeys[n.Name] = key
	}
}

// stepFast gives the core of fast handovers one input and carries out what it answers. Inputs that arise meanwhile wait for their
// turn: a core is never entered twice.
func (d *Daemon) stepFast(in fmip.Input) {
	d.fastInputs = append(d.fastInputs, in)
	if len(d.fastInputs) > 1 {
		return // the loop below, further up the stack, takes it
	}
	for i := 0; i < len(d.fastInputs); i++ {
		effects := d.fast.Step(d.now(), d.fastInputs[i])
		d.carryFast(effects)
		d.fast.Recycle(effects)
	}
	clear(d.fastInputs)
	d.fastInputs = d.fastInputs[:0]
}

// carryFast carries effects out, in order. What could not be made to last must not be acted on: the rest of the step is left.
func (d *Daemon) carryFast(effects []fmip.Effect) {
	for i := range effects {
		e := &effects[i]
		switch e.Kind {
		case fmip.EffectSend:
			d.sendFast(e)
		case fmip.EffectSendND:
			if l := d.byIndex[e.Link]; l != nil {
				d.say(l, e.LinkDst, e.Packet, e.Answers, e.LinkDst)
			}
		case fmip.EffectKeyRequest:
			d.stepKeys(handoverkey.Input{
				Kind: handoverkey.InRequest, Cookie: e.Cookie, Home: e.Home, Secured: true, CGAKey: e.CGAKey, KeyHash: cga.KeyHash(e.CGAKey), Request: e.Option, Source: e.Source,
			})
		case fmip.EffectBind:
			d.bindFast(e.Binding)
		case fmip.EffectUnbind:
			if err := d.forward.Unbind(e.Binding.Home); err != nil {
				d.complain("stop forwarding "+e.Binding.Home.String(), err)
			}
			if e.Expired {
				d.stepKeys(handoverkey.Input{Kind: handoverkey.InTimedOut, Home: e.Binding.Home})
			}
		case fmip.EffectHold, fmip.EffectDrain, fmip.EffectFreeze, fmip.EffectDiscard:
			d.holdFast(e)
		case fmip.EffectProxy, fmip.EffectUnproxy:
			d.proxyFast(e)
		case fmip.EffectRoute:
			d.serveFast(e)
		case fmip.EffectUnroute:
			// The tunnel ends first: without the host route its packets would have no way to go.
			if err := errors.Join(d.forward.Unserve(e.Addr), d.neighbors.RemoveRoute(e.Link, e.Addr)); err != nil {
				d.complain("stop serving "+e.Addr.String(), err)
			}
		case fmip.EffectNeighbour:
			if l := d.byIndex[e.Link]; l != nil && l.secured != nil {
				d.stepCache(l, neighbor.Input{Kind: neighbor.InKnown, Addr: e.Addr, Neighbour: e.LinkAddr, Secured: e.Secured})
			}
		case fmip.EffectSave:
			if err := d.saveFast(e.Record); err != nil {
				d.counters.unsaved++
				d.complain("journal", err)
				return
			}
		case fmip.EffectForget:
			if err := d.journal.Delete(kindFast, fastKey(e.Record)); err != nil {
				d.complain("journal", err)
			}
		case fmip.EffectReport:
			d.reportFast(e.Event)
		}
	}
}

func (d *Daemon) sendFast(e *fmip.Effect) {
	var err error
	switch {
	case e.Link != 0:
		err = d.socket.SendLink(e.Link, e.LinkDst, e.Packet)
	case e.Protect:
		var p ipv6.Packet
		if problem := ipv6.Parse(e.Packet, &p); problem != ipv6.OK {
			err = fmt.Errorf("handover message: %v", problem)
			break
		}
		err = d.socket.SendProtected(p.Src, p.Dst, p.Payload)
	default:
		err = d.socket.SendRouted(e.Packet)
	}
	if err != nil {
		d.counters.unsent++
		d.log.Debug("send", "err", err)
	}
}

// bindFast puts forwarding in place and tells the core. LKE may have a binding for the same address: this one is the newer of
// the two, and both were authenticated, so that it counts.
func (d *Daemon) bindFast(b fmip.Binding) {
	err := d.forward.Bind(forward.Binding{Home: b.Home, Router: b.Router, CareOf: b.CareOf, Link: b.Link})
	if err != nil {
		d.complain("forward "+b.Home.String(), err)
	} else {
		d.carry(d.router.Release(d.now(), b.Home))
	}
	d.stepFast(fmip.Input{Kind: fmip.InForwarding, Home: b.Home, Failed: err != nil})
}

// serveFast makes a node be reached here at its previous care-of address: a host route leads to the link, and what the node sends
// goes back to its previous router. The one without the other is of no use.
func (d *Daemon) serveFast(e *fmip.Effect) {
	b := e.Binding
	err := d.neighbors.AddRoute(e.Link, e.Addr)
	if err == nil {
		err = d.forward.Serve(forward.Binding{Home: b.Home, Router: b.Router, CareOf: b.CareOf, Link: b.Link})
		if err != nil {
			err = errors.Join(err, d.neighbors.RemoveRoute(e.Link, e.Addr))
		}
	}
	if err != nil {
		d.complain("serve "+e.Addr.String(), err)
	}
}

// holdFast keeps packets of a node that is away, or sends what was kept.
func (d *Daemon) holdFast(e *fmip.Effect) {
	if d.hold == nil {
		return
	}
	var err error
	switch e.Kind {
	case fmip.EffectHold:
		err = d.hold.Hold(e.Addr, e.Copy)
	case fmip.EffectDrain:
		err = d.hold.Drain(e.Addr)
	case fmip.EffectFreeze:
		err = d.hold.Freeze(e.Addr)
	case fmip.EffectDiscard:
		err = d.hold.Discard(e.Addr)
	}
	if err != nil {
		d.complain("keep packets for "+e.Addr.String(), err)
	}
}

// proxyFast answers for a node that is on its way.
func (d *Daemon) proxyFast(e *fmip.Effect) {
	l := d.byIndex[e.Link]
	if l == nil || l.secured == nil {
		return
	}
	kind := neighbor.InProxy
	if e.Kind == fmip.EffectUnproxy {
		kind = neighbor.InUnproxy
	}
	d.stepCache(l, neighbor.Input{Kind: kind, Addr: e.Addr, Neighbour: e.LinkAddr})
}

// stepKeys gives the core of handover keys one input. It answers fast handovers, never itself.
func (d *Daemon) stepKeys(in handoverkey.Input) { d.carryKeys(d.keys.Step(d.now(), in)) }

func (d *Daemon) carryKeys(effects []handoverkey.Effect) {
	for i := range effects {
		e := &effects[i]
		switch e.Kind {
		case handoverkey.EffectEncrypt:
			d.submit(engine.Job{
				Ticket: engine.Ticket{Owner: ownerKeys, Job: e.Job}, Op: engine.Encrypt, Source: e.Source, PublicKey: e.PublicKey, Octets: e.Plain,
			})
			clear(e.Plain)
		case handoverkey.EffectGrant:
			d.stepFast(fmip.Input{Kind: fmip.InGrant, Cookie: e.Cookie, Octets: e.Option})
		case handoverkey.EffectSave:
			if err := d.saveKey(e.Record); err != nil {
				d.counters.unsaved++
				d.complain("journal", err)
				return
			}
		case handoverkey.EffectForget:
			key := e.Home.As16()
			if err := d.journal.Delete(kindKey, key[:]); err != nil {
				d.complain("journal", err)
			}
		case handoverkey.EffectReport:
			d.reportKey(e.Event)
		}
	}
}

// protected takes a message of a neighbouring router that the kernel's IPsec let through.
func (d *Daemon) protected(r *rawip.Received) {
	defer r.Release()
	if d.fast.Owns(&r.Packet) {
		// Only the guard makes sure that what comes here came through ESP.
		d.fastPacket(&r.Packet, &send.Security{}, d.guard != nil)
		return
	}
	d.counters.foreign++
}

// drained gives the addresses of which all packets are sent that were kept; nil where none can be kept.
func (d *Daemon) drained() <-chan netip.Addr {
	if d.hold == nil {
		return nil
	}
	return d.hold.Drained()
}

// reportFast logs an event of fast handovers, notes what it says of a handover, and hands it to whoever watches.
func (d *Daemon) reportFast(e fmip.Event) {
	switch e.Kind {
	case fmip.EventUpdated:
		d.startHandover(e.Home)
	case fmip.EventBound:
		if since, ok := d.updated[e.Home]; ok {
			delete(d.updated, e.Home)
			d.handovers.forwarding("fmip", e.Home, e.CareOf, time.Since(since))
		}
	case fmip.EventRefused:
		delete(d.updated, e.Home)
	case fmip.EventUnbound, fmip.EventExpired, fmip.EventReturned:
		d.handovers.end(e.Home, e.Kind.String())
	}
	d.publishEvent(control.Event{
		Time: time.Now(), Kind: e.Kind.String(), Home: e.Home, CareOf: e.CareOf, Router: e.Router, Detail: e.Detail,
	}, e.Link, e.Node)
	level := slog.LevelDebug
	switch e.Kind {
	case fmip.EventBound, fmip.EventAnnounced, fmip.EventRefused, fmip.EventConflict: // how a handover went, once at each router
		level = slog.LevelInfo
	case fmip.EventPeerRefused, fmip.EventPeerAdjusted:
		level = slog.LevelWarn
	}
	d.tell(level, e.Kind.String(), "home", e.Home, "careof", e.CareOf, "router", e.Router, "node", e.Node, "why", e.Detail)
}

// mostUpdates bounds the memory of updates that are being worked on; what is beyond is not timed.
const mostUpdates = 1024

// startHandover notes when the packet came that asks for a handover: with HI and HAck it takes more than one packet.
func (d *Daemon) startHandover(home netip.Addr) {
	at := d.received
	if at.IsZero() {
		at = time.Now()
	}
	if len(d.updated) >= mostUpdates {
		clear(d.updated)
	}
	d.updated[home] = at
}

// reportKey logs an event of handover keys. A key lasts for hours; that none was given strangers can bring about.
func (d *Daemon) reportKey(e handoverkey.Event) {
	level := slog.LevelDebug
	if e.Kind == handoverkey.EventGranted {
		level = slog.LevelInfo
	}
	d.tell(level, e.Kind.String(), "home", e.Home, "node", e.Node, "why", e.Detail)
}

// handover asks a node to move, at an operator's wish (RFC 5568 section 3.3: network-initiated).
func (d *Daemon) handover(ctx context.Context, home netip.Addr, point ipv6.LinkAddr) error {
	var refused error
	err := d.ask(ctx, func() {
		effects, err := d.fast.Trigger(d.now(), home, point)
		if err != nil {
			refused = err
			return
		}
		d.carryFast(effects)
	})
	if err != nil {
		return err
	}
	return refused
}
