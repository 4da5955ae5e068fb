package daemon

import (
	"time"

	"github.com/roamkey/roamkey/ndp/advertise"
)

// goodbyeTime bounds how long a real stop waits for its final router advertisements: init systems kill after five seconds.
const goodbyeTime = 3 * time.Second

// goodbye tells hosts on the served links that this is no default router any more (RFC 4861 section 6.2.5).
func (d *Daemon) goodbye() {
	for _, l := range d.links {
		d.speak(l, advertise.Input{Kind: advertise.InStop})
	}
	for end := d.now().Add(goodbyeTime); ; {
		now := d.now()
		var next time.Time
		for _, l := range d.links {
			if l.speaker == nil || l.speaker.Phase() == advertise.Silent {
				continue
			}
			if at := l.speaker.Deadline(); !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
		if next.IsZero() || next.After(end) {
			return
		}
		time.Sleep(next.Sub(now))
		for _, l := range d.links {
			d.speak(l, advertise.Input{Kind: advertise.InTick})
		}
	}
}
