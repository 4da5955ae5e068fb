package daemon

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// complaintInterval is how often one complaint is logged at the most.
const complaintInterval = time.Minute

// maxComplaints bounds the memory for what was complained of: some of it names addresses.
const maxComplaints = 256

// complain logs what went wrong with a driver, each thing once a minute.
func (d *Daemon) complain(what string, err error) {
	now := d.now()
	if last, ok := d.said[what]; ok && now.Sub(last) < complaintInterval {
		return
	}
	if len(d.said) >= maxComplaints {
		clear(d.said)
	}
	d.said[what] = now
	d.log.Error(what, "err", err)
}

// found notes something that stays true for as long as the daemon runs.
func (d *Daemon) found(level control.Level, what, fix string) {
	d.findings = append(d.findings, control.Finding{Level: level, What: what, Fix: fix})
	if level == control.Note {
		d.log.Info(what)
		return
	}
	d.log.Warn(what, "fix", fix)
}

// report logs an event of the LKE core and hands it to whoever watches.
func (d *Daemon) report(e lke.Event) {
	d.handovers.event(e)
	d.publish(e)
	level := slog.LevelInfo
	switch e.Kind {
	case lke.EventRequested, lke.EventAcknowledge, lke.EventDADStarted, lke.EventReplayed, lke.EventUpdated:
		level = slog.LevelDebug
	}
	d.tell(level, e.Kind.String(), "home", e.Home, "careof", e.CareOf, "node", e.Node, "why", e.Detail)
}

// tell logs an event, without those of its attributes that say nothing.
func (d *Daemon) tell(level slog.Level, what string, attrs ...any) {
	if !d.log.Enabled(context.Background(), level) || !d.worthTelling(level) {
		return
	}
	said := make([]any, 0, len(attrs))
	for i := 0; i+1 < len(attrs); i += 2 {
		switch v := attrs[i+1].(type) {
		case netip.Addr:
			if v.IsValid() {
				said = append(said, attrs[i], v)
			}
		case ipv6.LinkAddr:
			if !v.IsZero() {
				said = append(said, attrs[i], v.String())
			}
		case string:
			if v != "" {
				said = append(said, attrs[i], v)
			}
		}
	}
	d.log.Log(context.Background(), level, what, said...)
}

// worthTelling limits how many events are logged: strangers can bring them about, and a router's log is short. Whoever looks
// for an error, and logs at debug level, gets all of them.
func (d *Daemon) worthTelling(level slog.Level) bool {
	if level == slog.LevelDebug || d.log.Enabled(context.Background(), slog.LevelDebug) {
		return true
	}
	if !d.events.Take(d.now()) {
		d.counters.unlogged++
		return false
	}
	if n := d.counters.unlogged - d.told; n > 0 {
		d.told = d.counters.unlogged
		d.log.Warn("events were not logged, as there were too many", "count", n)
	}
	return true
}
