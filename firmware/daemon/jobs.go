package daemon

import (
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// Owners of RSA jobs: the cores that ask for them, each with numbers of its own.
const (
	ownerLKE uint32 = 1 + iota
)

// submit hands a job to the engine. The core whose job is lost for that, be it this one or another, learns of it.
func (d *Daemon) submit(j engine.Job) {
	if lost, dropped := d.engine.Submit(j); dropped {
		d.lost(lost)
	}
}

// finished hands the result of a job to the core that asked for it.
func (d *Daemon) finished(r *engine.Result) {
	switch r.Owner {
	case ownerLKE:
		d.step(lke.Input{Kind: lke.InKey, Job: r.Job, Key: r.Key})
	}
}

// lost tells the core whose job it was that a job will not be done.
func (d *Daemon) lost(t engine.Ticket) {
	switch t.Owner {
	case ownerLKE:
		d.step(lke.Input{Kind: lke.InKeyLost, Job: t.Job})
	}
}
