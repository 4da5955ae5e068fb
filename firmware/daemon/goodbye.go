package daemon

import (
	"slices"
	"time"

	"github.com/roamkey/roamkey/ndp/advertise"
)

// goodbyeTime bounds how long final router advertisements may take: init systems kill after five seconds.
const goodbyeTime = 3 * time.Second

// goodbye tells hosts on the served links that this is no default router any more (RFC 4861 section 6.2.5).
func (d *Daemon) goodbye() {
	for _, l := range d.links {
		d.speak(l, advertise.Input{Kind: advertise.InStop})
	}
	for end := d.now().Add(goodbyeTime); ; {
		now := d.now()
		var next time.Time
		d.speaking(func(l *link) {
			if l.speaker.Phase() != advertise.Silent {
				next = earlier(next, l.speaker.Deadline())
			}
		})
		if next.IsZero() || next.After(end) {
			d.awaitSignatures(end)
			return
		}
		d.pause(next.Sub(now))
		d.speaking(func(l *link) { d.speak(l, advertise.Input{Kind: advertise.InTick}) })
	}
}

// pause lets time pass, in which only what is signed goes out.
func (d *Daemon) pause(t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	for {
		select {
		case r := <-d.engine.Results():
			d.finished(&r)
		case <-timer.C:
			return
		}
	}
}

// awaitSignatures waits until all that was said on links with SEND is signed and sent.
func (d *Daemon) awaitSignatures(end time.Time) {
	for _, l := range d.endpoints {
		for d.now().Before(end) {
			if _, signing := l.secured.endpoint.Waiting(); signing == 0 {
				break
			}
			d.pause(time.Millisecond)
		}
	}
}

// leave says goodbye on links that the settings name no more, while the others go on. Until that is over their sockets stay.
func (d *Daemon) leave(links []*link) {
	for _, l := range links {
		if l.speaker == nil {
			if l.secured != nil {
				d.unsecure(l)
			}
			continue
		}
		d.speak(l, advertise.Input{Kind: advertise.InStop})
		l.until = d.now().Add(goodbyeTime)
		d.leaving = append(d.leaving, l)
	}
}

// dropSilent forgets links on which goodbye is said, but for the prefixes that hosts may go on to hold: the link may come back.
// It reports whether there were any.
func (d *Daemon) dropSilent(now time.Time) bool {
	kept := d.leaving[:0]
	for _, l := range d.leaving {
		if l.speaker.Phase() != advertise.Silent && now.Before(l.until) {
			kept = append(kept, l)
			continue
		}
		named := func(other *link) bool { return other.config.Name == l.config.Name }
		if !slices.ContainsFunc(d.links, named) {
			d.stale[l.config.Name] = slices.Collect(l.speaker.Records)
		}
		if l.secured != nil {
			d.unsecure(l)
		}
	}
	dropped := len(kept) < len(d.leaving)
	clear(d.leaving[len(kept):])
	d.leaving = kept
	return dropped
}

// speaking calls f for each link that has a speaker, those that are being left among them.
func (d *Daemon) speaking(f func(*link)) {
	for _, links := range [...][]*link{d.links, d.leaving} {
		for _, l := range links {
			if l.speaker != nil {
				f(l)
			}
		}
	}
}
