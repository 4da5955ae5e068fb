package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp/advertise"
)

// listen opens the control socket. Its lock also keeps a second daemon from starting.
func (d *Daemon) listen() error {
	server, err := control.Listen(control.Options{
		Path: d.config.Global.Control, Version: d.options.Version, Log: d.log,
		Snapshot: func(ctx context.Context) (s control.Snapshot, err error) {
			err = d.ask(ctx, func() { s = d.snapshot() })
			return s, err
		},
		Handover: d.handover,
	})
	d.control = server
	return err
}

// publish hands an event to those who watch.
func (d *Daemon) publish(e lke.Event) {
	d.publishEvent(control.Event{Time: time.Now(), Kind: e.Kind.String(), Home: e.Home, CareOf: e.CareOf, Router: e.Router, Detail: e.Detail}, e.Link, e.Node)
}

func (d *Daemon) publishEvent(out control.Event, link int, node ipv6.LinkAddr) {
	if d.control == nil || !d.control.Watched() {
		return
	}
	if l := d.byIndex[link]; l != nil {
		out.Link = l.config.Name
	}
	if !node.IsZero() {
		out.Node = node.String()
	}
	d.control.Publish(out)
}

// snapshot is all that status says, as of now.
func (d *Daemon) snapshot() control.Snapshot {
	now := d.now()
	g := &d.config.Global
	s := control.Snapshot{
		Version: d.options.Version, PID: os.Getpid(), Uptime: control.Seconds(now.Sub(d.started)),
		Key:      control.Key{Path: g.LKEKey, Bits: 8 * d.modulusLen, Fingerprint: control.Fingerprint(d.publicKey)},
		Engine:   control.Engine{Name: "software", Workers: d.workers, Queue: g.Queue},
		LBSAs:    d.associations(now),
		Counters: d.allCounters(),
		Findings: d.findings,
		Restart:  d.restart,
	}
	info := d.forward.Describe()
	s.Tunnel = control.Tunnel{Backend: string(info.Backend), Device: info.Device, MTU: info.MTU, Reasons: info.Reasons}
	s.SEND, s.Fast = d.sendStatus(), d.fastStatus(now)
	s.Findings = slices.Concat(s.Findings, d.secureFindings(time.Now()))
	for _, l := range d.links {
		s.Links = append(s.Links, l.status(now))
		s.Findings = append(s.Findings, l.findings()...)
	}
	d.handovers.each(func(h *handover) {
		s.Handovers = append(s.Handovers, control.Handover{
			Protocol: h.protocol, Home: h.home, CareOf: h.careOf, Age: control.Seconds(now.Sub(h.at)), RouterUS: max(h.router.Microseconds(), 1),
			Finished: control.Seconds(h.finished), Ended: h.ended,
		})
	})
	return s
}

func (d *Daemon) associations(now time.Time) control.LBSAs {
	all := control.LBSAs{Max: d.nodeLimit()}
	d.router.Associations(func(a lke.Association) bool {
		all.Total++
		out := control.LBSA{Home: a.Home, Router: a.Router, Link: a.Link, Node: a.Node.String(), State: a.State, Expires: control.Seconds(a.Expires.Sub(now))}
		switch a.State {
		case "dad":
			all.DAD++
		case "valid":
			all.Valid++
		case "bound":
			all.Bound++
			out.Binding = &control.Binding{CareOf: a.CareOf, Expires: control.Seconds(a.BoundUntil.Sub(now)), Verified: a.Verified}
		}
		if len(all.List) < control.MaxListed {
			all.List = append(all.List, out)
		}
		return true
	})
	return all
}

// allCounters collects what every part counts. Counters that are zero are there, too: a reader then knows their names.
func (d *Daemon) allCounters() map[string]map[string]uint64 {
	all := make(map[string]map[string]uint64)
	collect := func(who string, counters func(func(string, uint64))) {
		m := make(map[string]uint64)
		counters(func(name string, value uint64) { m[name] = value })
		all[who] = m
	}
	collect("lke", d.router.Counters)
	collect("rawip", d.socket.Counters)
	collect("engine", d.engine.Counters)
	collect("forward", d.forward.Counters)
	collect("guard", d.guard.Counters)
	collect("hostnet", d.host.Counters)
	collect("daemon", d.ownCounters)
	if d.identity != nil {
		collect("handoverkey", d.keys.Counters)
		collect("fmip", d.fast.Counters)
	}
	if d.neighbors != nil {
		collect("neighbors", d.neighbors.Counters)
	}
	if d.hold != nil {
		collect("hold", d.hold.Counters)
	}
	for _, l := range d.links {
		if s := l.secured; s != nil {
			collect("send "+l.config.Name, s.endpoint.Counters)
			collect("neighbor "+l.config.Name, s.cache.Counters)
			collect("path "+l.config.Name, s.server.Counters)
		}
		if l.speaker != nil {
			collect("ra "+l.config.Name, l.speaker.Counters)
		}
	}
	return all
}

func (d *Daemon) ownCounters(yield func(string, uint64)) {
	yield("steps_unsaved", d.counters.unsaved)
	yield("packets_unsent", d.counters.unsent)
	yield("neighbours_unwritten", d.counters.unwritten)
	yield("events_unlogged", d.counters.unlogged)
	yield("redirects_said", d.counters.redirects)
	yield("drop_redirect_form", d.counters.redirectForm)
	yield("drop_redirect_limited", d.counters.redirectLimited)
	yield("drop_redirect_unresolved", d.counters.redirectUnresolved)
	yield("drop_link_not_served", d.counters.unserved)
	yield("drop_unexpected", d.counters.unexpected)
	yield("drop_not_for_us", d.counters.foreign)
	yield("drop_mh_not_served", d.faults[mobility.FaultNone]) // well formed, of a protocol that this router does not speak
	for f := mobility.FaultTruncated; int(f) < mobility.Faults; f++ {
		yield("drop_"+f.String(), d.faults[f])
	}
	file, live := d.journal.Size()
	yield("journal_octets", uint64(file))
	yield("journal_live_octets", uint64(live))
}

func (l *link) status(now time.Time) control.Link {
	out := control.Link{
		Name: l.config.Name, Device: l.config.Device, Served: l.served.Index != 0, Waiting: l.waiting,
		LKE: l.config.LKE, LinkLocal: l.served.LinkLocal, Prefixes: []control.Prefix{},
		SEND: l.sendStatus(),
	}
	if l.config.LKE && l.served.Index != 0 && l.served.Refuse {
		out.Refused = "Duplicate Address Detection is hidden on it, see the findings"
	}
	if l.speaker == nil {
		return out
	}
	out.RA = control.RA{On: l.config.RA.Enabled, Phase: l.speaker.Phase().String(), Next: -1}
	if at := l.speaker.Deadline(); !at.IsZero() {
		out.RA.Next = control.Seconds(max(at.Sub(now), 0))
	}
	l.speaker.Counters(func(name string, value uint64) {
		if name == "ra_sent_packets" {
			out.RA.Sent = value
		}
	})
	l.speaker.Others(func(o advertise.Other) bool {
		other := control.OtherRouter{Router: o.Router, Last: control.Seconds(now.Sub(o.Last))}
		if !o.Hardware.IsZero() {
			other.Hardware = o.Hardware.String()
		}
		out.RA.Others = append(out.RA.Others, other)
		return true
	})
	advertised := make(map[netip.Prefix]bool)
	for _, p := range l.speaker.Config().Prefixes {
		advertised[p.Prefix] = true
		valid, preferred := p.Lifetimes(now)
		out.Prefixes = append(out.Prefixes, control.Prefix{
			Prefix: p.Prefix, Router: p.Router, Valid: rest(valid), Preferred: rest(preferred),
		})
	}
	l.speaker.Records(func(r advertise.Record) bool {
		if !advertised[r.Prefix] {
			valid := control.Forever
			if !r.Until.IsZero() {
				valid = control.Seconds(max(r.Until.Sub(now), 0))
			}
			out.Prefixes = append(out.Prefixes, control.Prefix{Prefix: r.Prefix, Valid: valid, Stale: true})
		}
		return true
	})
	return out
}

func rest(d time.Duration) control.Seconds {
	if d == advertise.Infinite {
		return -1
	}
	return control.Seconds(d)
}

// findings tells what keeps the link from being served as configured.
func (l *link) findings() []control.Finding {
	var all []control.Finding
	for _, f := range l.refusal {
		level := control.Warning
		if l.config.AllowHiddenDAD {
			level = control.Note
		}
		all = append(all, control.Finding{Level: level, Link: l.config.Name, What: hiding(f), Fix: f.Fix})
	}
	if l.unknown != nil && !l.config.AllowHiddenDAD {
		all = append(all, control.Finding{
			Level: control.Warning, Link: l.config.Name, What: fmt.Sprintf("whether clients are isolated from each other is not known: %v", l.unknown),
			Fix: "let the user that roamkeyd runs as read that file, or set allow_hidden_dad '1' if they are not",
		})
	}
	if l.config.LKE && l.served.Index != 0 && len(l.served.Prefixes) == 0 {
		all = append(all, control.Finding{
			Level: control.Warning, Link: l.config.Name, What: "no prefix of " + l.config.Device + " has an address of this router in it, so that no key can be agreed on",
			Fix: "give " + l.config.Device + " a global address",
		})
	}
	return all
}

func hiding(f hostnet.Finding) string {
	return fmt.Sprintf("%s (%s is %s)", f.Text, f.File, f.Value)
}

// nodeLimit is how many home addresses are served at one time.
func (d *Daemon) nodeLimit() int {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return d.config.Global.NodeLimit(0)
	}
	return d.config.Global.NodeLimit(uint64(info.Totalram) * uint64(info.Unit))
}
