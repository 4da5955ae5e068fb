package daemon

import (
	"time"

	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/firmware/config"
)

// rereadEvery is how often the settings of access points are read again. A change of them restarts hostapd, which takes
// seconds.
const rereadEvery = time.Minute

// hides gives all that keeps Duplicate Address Detection on a device from reaching every station (LKE-resolution-w): what the
// kernel has, and what access points are told, of which the kernel shows nothing.
func (d *Daemon) hides(device string) []hostnet.Finding {
	all := d.host.HidesDAD(device)
	now := d.now()
	if d.accessPoints == nil || now.Sub(d.accessRead) >= rereadEvery {
		d.accessPoints, d.accessRead = make(map[string][]hostnet.Finding), now
	}
	found, ok := d.accessPoints[device]
	if !ok {
		found = d.readAccessPoints(device)
		d.accessPoints[device] = found
	}
	return append(all, found...)
}

func (d *Daemon) readAccessPoints(device string) []hostnet.Finding {
	problems, err := config.Others{Dir: d.options.Etc}.HideDAD(device)
	if err != nil {
		d.complain("look for client isolation on "+device, err)
	}
	var all []hostnet.Finding
	for _, p := range problems {
		text := p.What
		if p.Where != "" {
			text = p.Where + ": " + p.What
		}
		all = append(all, hostnet.Finding{Link: device, File: p.Position.String(), Value: "on", Text: text, Fix: p.Fix})
	}
	return all
}
