package daemon

import (
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp/send"
)

// Owners of RSA jobs: the cores that ask for them, each with numbers of its own.
const (
	ownerLKE   uint32 = 1 + iota
	ownerKeys         // handover keys
	ownerLinks        // and above: each SEND endpoint, with a number that is never used again
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
	case ownerKeys:
		d.stepKeys(handoverkey.Input{Kind: handoverkey.InEncrypted, Job: r.Job, Octets: r.Octets, Failed: !r.OK})
	default:
		l := d.endpoints[r.Owner]
		switch {
		case l == nil: // the link has no SEND any more
		case r.Op == engine.Verify:
			d.stepEndpoint(l, send.Input{Kind: send.InVerified, Job: r.Job, OK: r.OK})
		case r.OK:
			d.stepEndpoint(l, send.Input{Kind: send.InSigned, Job: r.Job, Signature: r.Octets})
		default:
			d.stepEndpoint(l, send.Input{Kind: send.InLost, Job: r.Job})
		}
	}
}

// lost tells the core whose job it was that a job will not be done.
func (d *Daemon) lost(t engine.Ticket) {
	switch t.Owner {
	case ownerLKE:
		d.step(lke.Input{Kind: lke.InKeyLost, Job: t.Job})
	case ownerKeys:
		d.stepKeys(handoverkey.Input{Kind: handoverkey.InLost, Job: t.Job})
	default:
		if l := d.endpoints[t.Owner]; l != nil {
			d.stepEndpoint(l, send.Input{Kind: send.InLost, Job: t.Job})
		}
	}
}
