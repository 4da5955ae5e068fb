package daemon

import (
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// step gives the LKE router one input and carries out what it answers, and what follows from that in turn.
func (d *Daemon) step(in lke.Input) {
	d.inputs = append(d.inputs, in)
	if len(d.inputs) > 1 {
		return // called from carry: the loop below, further up the stack, takes it
	}
	for i := 0; i < len(d.inputs); i++ {
		effects := d.router.Step(d.now(), d.inputs[i])
		d.carry(effects)
		d.router.Recycle(effects)
		d.inputs[i] = lke.Input{} // it may hold a key
	}
	d.inputs = d.inputs[:0]
}

// carry carries out effects in their order. Where a record cannot be written, what stands behind it must not leave: the
// node will ask again, and a restarted daemon must know of each key and sequence number that anyone was told of.
func (d *Daemon) carry(effects []lke.Effect) {
	for i := range effects {
		e := &effects[i]
		switch e.Kind {
		case lke.EffectSend:
			d.send(e)
		case lke.EffectDecrypt:
			d.submit(engine.Job{
				Ticket: engine.Ticket{Owner: ownerLKE, Job: e.Job}, Op: engine.Decrypt, Source: e.Source, Octets: e.Ciphertext,
			})
		case lke.EffectBind:
			d.bind(e.Binding)
		case lke.EffectUnbind:
			d.unbind(e)
		case lke.EffectSave:
			if err := d.save(e.Record); err != nil {
				d.counters.unsaved++
				d.complain("journal", err)
				return
			}
		case lke.EffectForget:
			key := e.Home.As16()
			if err := d.journal.Delete(kindLKE, key[:]); err != nil {
				d.complain("journal", err)
			}
		case lke.EffectWatch:
			if err := d.socket.Watch(e.Link, e.Home); err != nil {
				d.complain("watch "+e.Home.String(), err)
			}
		case lke.EffectUnwatch:
			if err := d.socket.Unwatch(e.Link, e.Home); err != nil {
				d.log.Debug("unwatch", "address", e.Home, "err", err)
			}
		case lke.EffectReport:
			d.report(e.Event)
		}
	}
}

func (d *Daemon) send(e *lke.Effect) {
	var err error
	if e.Link != 0 {
		err = d.socket.SendLink(e.Link, e.LinkDst, e.Packet)
	} else {
		err = d.socket.SendRouted(e.Packet)
	}
	if err != nil {
		d.counters.unsent++
		d.log.Debug("send", "err", err)
	}
}

// save writes one record. The octets in between are wiped: they hold the key.
func (d *Daemon) save(r *lke.Record) error {
	d.recordBuf = appendRecord(d.recordBuf[:0], r)
	key := r.Home.As16()
	err := d.journal.Put(kindLKE, key[:], d.recordBuf)
	clear(d.recordBuf)
	return err
}

// bind puts forwarding in place and tells the core. The time from the packet that asked for it is the router's share of
// the handover gap.
func (d *Daemon) bind(b lke.Binding) {
	err := d.forward.Bind(forward.Binding{Home: b.Home, Router: b.Router, CareOf: b.CareOf, Link: b.Link})
	if err != nil {
		d.complain("forward "+b.Home.String(), err)
	} else {
		if !d.received.IsZero() {
			d.handovers.forwarding("lke", b.Home, b.CareOf, time.Since(d.received))
		}
		// A fast handover may have bound the same address: the newer of the two counts.
		d.carryFast(d.fast.Release(d.now(), b.Home))
	}
	d.step(lke.Input{Kind: lke.InForwarding, Home: b.Home, Failed: err != nil})
}

func (d *Daemon) unbind(e *lke.Effect) {
	home := e.Binding.Home
	if !home.IsValid() {
		home = e.Home
	}
	if err := d.forward.Unbind(home); err != nil {
		d.complain("stop forwarding "+home.String(), err)
	}
}
