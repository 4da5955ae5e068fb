package daemon

import (
	"net/netip"
	"reflect"
	"time"

	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp/advertise"
	"github.com/roamkey/roamkey/ndp/send"
)

// relink looks at every configured link anew and makes what is served follow: sockets, speakers, the LKE core, the guard. It
// changes nothing where nothing changed.
func (d *Daemon) relink() {
	now := d.now()
	changed := d.dropSilent(now)
	d.settles = time.Time{}
	plans := make([]plan, len(d.links))
	for i, l := range d.links {
		host, there := d.host.Link(l.config.Device)
		l.refusal, l.unknown = nil, nil
		if there && l.config.LKE {
			l.refusal, l.unknown = d.hides(l.config.Device)
		}
		plans[i] = planLink(l.config, host, there, l.refusal, d.identity, now)
		d.holdBack(l, &plans[i], host, now)
		if plans[i].waiting != l.waiting {
			l.waiting = plans[i].waiting
			if l.waiting != "" {
				d.log.Warn("link is not served", "link", l.config.Name, "why", l.waiting)
			}
		}
		if !reflect.DeepEqual(plans[i].lke, l.served) {
			l.served = plans[i].lke
			changed = true
		}
		l.host = host
		if d.secure(l, &plans[i]) {
			changed = true
		}
	}
	if changed || !d.linked {
		d.linked = true
		d.serve()
	}
	for i, l := range d.links {
		if l.secured != nil {
			d.updateSecured(l, plans[i].secure)
		}
		d.advertise(l, plans[i])
	}
}

// serve tells the drivers and the LKE core which links there are.
func (d *Daemon) serve() {
	var sockets []rawip.Link
	var names, withSEND []string
	d.byIndex = make(map[int]*link)
	d.own = make(map[netip.Addr]bool)
	var routers []netip.Addr
	for _, l := range d.links {
		if l.secured != nil {
			withSEND = append(withSEND, l.config.Device)
		}
		// On a link with SEND there has to be an ear before there is an address.
		if l.served.Index == 0 && l.secured == nil {
			continue
		}
		d.byIndex[l.host.Index] = l
		sockets = append(sockets, rawip.Link{Index: l.host.Index, Name: l.config.Device, Hardware: l.host.Hardware})
		if l.served.Index == 0 {
			continue
		}
		names = append(names, l.config.Device)
		for _, p := range l.served.Prefixes {
			routers = append(routers, p.Router)
		}
		for _, a := range l.served.Routers {
			d.own[a] = true
		}
	}
	for _, l := range d.leaving {
		if d.byIndex[l.host.Index] == nil {
			sockets = append(sockets, rawip.Link{Index: l.host.Index, Name: l.host.Name, Hardware: l.host.Hardware})
		}
	}
	if err := d.socket.SetLinks(sockets); err != nil {
		d.complain("links", err)
	}
	if err := d.guard.SetRouters(routers, names); err != nil {
		d.complain("guard", err)
	}
	if err := d.guard.SetSecured(withSEND); err != nil {
		d.complain("guard", err)
	}
	d.carry(d.router.Reconfigure(d.now(), d.routerConfig()))
	d.carryFast(d.fast.Reconfigure(d.now(), d.fastConfig()))
}

// advertise makes the link's speaker follow its plan.
func (d *Daemon) advertise(l *link, p plan) {
	switch {
	case p.waiting != "":
		d.speak(l, advertise.Input{Kind: advertise.InHalt}) // nobody would hear a farewell
		l.planned = advertise.Config{}
		return
	case !l.config.RA.Enabled:
		d.speak(l, advertise.Input{Kind: advertise.InStop})
		l.planned = advertise.Config{}
		return
	}
	c := p.adverts
	if l.config.LKE && !p.lke.Refuse && len(p.lke.Prefixes) > 0 {
		c.Capability = &advertise.Capability{MaximumLifetime: l.config.KeyLifetime, PublicKey: d.publicKey}
	}
	c.CodePoints = d.config.CodePoints.ND
	if p.secure != nil {
		c.Reserve = send.Overhead(len(d.identity.params.PublicKey), d.identity.modulusLen)
	}
	steady(c.Prefixes, l.planned.Prefixes)
	if reflect.DeepEqual(c, l.planned) {
		return
	}
	l.planned = c
	if l.speaker == nil {
		speaker, err := advertise.NewSpeaker(c)
		if err != nil {
			d.complain("router advertisements on "+l.config.Name, err)
			return
		}
		l.speaker = speaker
		l.speaker.Restore(d.now(), d.stale[l.config.Name])
		if former := linkLocal(l.host); p.secure != nil && former.IsValid() && former != c.LinkLocal {
			// Hosts may know this router by the address that it had without SEND.
			l.speaker.Left(former, l.host.Hardware)
		}
		delete(d.stale, l.config.Name)
	} else {
		before, silent := l.speaker.Config(), l.speaker.Phase() == advertise.Silent
		effects, err := l.speaker.Reconfigure(d.now(), c)
		if err != nil {
			d.complain("router advertisements on "+l.config.Name, err)
			return
		}
		if silent {
			// The link waited for its address: hosts know the router by the one before.
			l.speaker.Left(before.LinkLocal, before.Hardware)
		}
		d.voice(l, effects)
	}
	if l.speaker.Phase() != advertise.Advertising {
		d.voice(l, l.speaker.Step(d.now(), advertise.Input{Kind: advertise.InStart}))
	}
	d.savePrefixes(l)
}

// speak gives a link's speaker one input.
func (d *Daemon) speak(l *link, in advertise.Input) {
	if l.speaker != nil {
		d.voice(l, l.speaker.Step(d.now(), in))
	}
}

// voice carries out a speaker's effects.
func (d *Daemon) voice(l *link, effects []advertise.Effect) {
	for i := range effects {
		e := &effects[i]
		switch e.Kind {
		case advertise.EffectSend:
			d.sayAdvert(l, e)
		case advertise.EffectReport:
			d.log.Warn(e.Event.Kind.String(), "link", l.config.Name, "router", e.Event.Router, "hardware", e.Event.Hardware.String(), "what", e.Event.Detail)
		}
	}
}

// sayAdvert sends an advertisement. One that answers a host alone copies the nonce of its solicitation.
func (d *Daemon) sayAdvert(l *link, e *advertise.Effect) {
	if l.secured == nil {
		d.sendLink(l, e.LinkDst, e.Packet)
		return
	}
	var nonce []byte
	source := ipv6.LinkAddr{} // an advertisement to all is nobody's wish
	if dst := netip.AddrFrom16([16]byte(e.Packet[24:40])); !dst.IsMulticast() {
		nonce, source = l.secured.asked.answers(d.now(), dst)
	}
	d.say(l, e.LinkDst, e.Packet, nonce, source)
}
