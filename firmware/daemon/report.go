package daemon

import (
	"context"
	"log/slog"
	"time"

	"github.com/roamkey/roamkey/firmware/control"
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
	if !d.log.Enabled(context.Background(), level) {
		return
	}
	attrs := make([]any, 0, 10)
	attrs = append(attrs, "home", e.Home)
	if e.CareOf.IsValid() {
		attrs = append(attrs, "careof", e.CareOf)
	}
	if !e.Node.IsZero() {
		attrs = append(attrs, "node", e.Node.String())
	}
	if e.Detail != "" {
		attrs = append(attrs, "why", e.Detail)
	}
	d.log.Log(context.Background(), level, e.Kind.String(), attrs...)
}
