package daemon

import (
	"time"

	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/firmware/config"
)

// rereadEvery is how often the settings of access points are read again. A change of them restarts hostapd, which takes
// seconds.
const rereadEvery = time.Minute

// accessPoints is what the settings of a device's access points say.
type accessPoints struct {
	found   []hostnet.Finding
	unknown error // which settings are there and cannot be read
}

// hides gives all that keeps Duplicate Address Detection on a device from reaching every station (LKE-resolution-w): what the
// kernel has, and what access points are told, of which the kernel shows nothing. unknown says which of their settings cannot be read.
func (d *Daemon) hides(device string) (all []hostnet.Finding, unknown error) {
	all = d.host.HidesDAD(device)
	now := d.now()
	if d.accessPoints == nil || now.Sub(d.accessRead) >= rereadEvery {
		d.accessPoints, d.accessRead = make(map[string]accessPoints), now
	}
	points, ok := d.accessPoints[device]
	if !ok {
		points = d.readAccessPoints(device)
		d.accessPoints[device] = points
	}
	return append(all, points.found...), points.unknown
}

func (d *Daemon) readAccessPoints(device string) accessPoints {
	problems, err := config.Others{Dir: d.options.Etc}.HideDAD(device)
	if err != nil {
		d.complain("look for client isolation on "+device, err)
	}
	points := accessPoints{unknown: err}
	for _, p := range problems {
		text := p.What
		if p.Where != "" {
			text = p.Where + ": " + p.What
		}
		points.found = append(points.found, hostnet.Finding{Link: device, File: p.Position.String(), Value: "on", Text: text, Fix: p.Fix})
	}
	return points
}
