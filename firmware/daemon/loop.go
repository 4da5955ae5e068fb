package daemon

import (
	"context"
	"time"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp/advertise"
)

// housekeeping is how often what has no deadline of its own is looked after.
const housekeeping = 5 * time.Second

// loop runs until ctx ends. All protocol state is touched here and nowhere else.
func (d *Daemon) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	d.search()
	beats := d.beats()
	defer beats.Stop()
	for {
		// Mobility headers from the uplinks come first, whatever else waits.
		select {
		case r := <-d.socket.Urgent():
			d.packet(r)
			continue
		default:
		}
		d.arm(timer)
		select {
		case r := <-d.socket.Urgent():
			d.packet(r)
		case r := <-d.socket.Packets():
			d.packet(r)
		case r := <-d.socket.Protected():
			d.protected(r)
		case result := <-d.engine.Results():
			d.finished(&result)
		case <-timer.C:
			d.tick()
		case a := <-d.asks():
			d.resolve(a)
		case r := <-d.guard.Redirects():
			d.redirect(r)
		case a := <-d.drained():
			d.stepFast(fmip.Input{Kind: fmip.InDrained, Home: a})
		case modifier := <-d.identity.results():
			d.identified(modifier)
		case <-d.host.Changes():
			d.relink()
		case f := <-d.asked:
			f()
		case <-tick.C:
			d.keepHouse()
		case <-beats.C:
			d.beat()
		case <-ctx.Done():
			return nil
		}
	}
}

// arm sets the timer to the next deadline of any core.
func (d *Daemon) arm(timer *time.Timer) {
	next := earlier(d.router.Deadline(), d.settles)
	d.speaking(func(l *link) { next = earlier(next, l.speaker.Deadline()) })
	next = earlier(next, earlier(d.fast.Deadline(), d.keys.Deadline()))
	for _, l := range d.endpoints {
		next = earlier(next, l.secured.deadline())
	}
	for _, l := range d.leaving {
		next = earlier(next, l.until)
	}
	if next.IsZero() {
		timer.Stop()
		return
	}
	timer.Reset(next.Sub(d.now()))
}

// earlier gives the earlier of two moments, of which each may be zero for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// tick gives each core whose deadline has come its tick.
func (d *Daemon) tick() {
	now := d.now()
	if now.Sub(d.garbage.last) >= time.Second { // many nodes at once are many ticks
		d.garbage.last = now
		d.garbage.adjust()
	}
	due := func(at time.Time) bool { return !at.IsZero() && !at.After(now) }
	if due(d.router.Deadline()) {
		d.step(lke.Input{Kind: lke.InTick})
	}
	d.speaking(func(l *link) {
		if due(l.speaker.Deadline()) {
			d.speak(l, advertise.Input{Kind: advertise.InTick})
		}
	})
	if due(d.fast.Deadline()) {
		d.stepFast(fmip.Input{Kind: fmip.InTick, Wall: time.Now()})
	}
	if due(d.keys.Deadline()) {
		d.stepKeys(handoverkey.Input{Kind: handoverkey.InTick})
	}
	for _, l := range d.links {
		if l.secured != nil {
			d.tickSecured(l, due)
		}
	}
	relink := due(d.settles)
	for _, l := range d.leaving {
		relink = relink || due(l.until) || l.speaker.Phase() == advertise.Silent
	}
	if relink {
		d.relink()
	}
}

// keepHouse does what is not urgent: a journal full of dead entries is written anew, a link that could not be served is tried
// again.
func (d *Daemon) keepHouse() {
	d.garbage.adjust()
	if d.journal.Wasteful() {
		if err := d.journal.Compact(); err != nil {
			d.complain("journal", err)
		}
	}
	d.relink()
	for _, l := range d.links {
		d.savePrefixes(l)
	}
}

// beats ticks as often as the pause of forwarding over a restart has to be known. With the kernel's tunnels there is none.
func (d *Daemon) beats() *time.Ticker {
	if d.forward.Describe().Backend == forward.TUN {
		return time.NewTicker(250 * time.Millisecond)
	}
	return time.NewTicker(time.Hour)
}

// ask has the loop run f and waits for it.
func (d *Daemon) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case d.asked <- func() { f(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}
