package daemon

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/ndp/advertise"
)

// reloads reads the settings anew for each signal and has the loop take them over. A file with errors changes nothing.
func (d *Daemon) reloads(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
		c, err := config.Load(d.options.ConfigPath)
		if err != nil {
			d.log.Error("reload: the settings in force stay", "err", err)
			continue
		}
		if d.ask(ctx, func() { d.reload(c) }) != nil {
			return
		}
	}
}

// reload takes over new settings without losing an association or a binding.
func (d *Daemon) reload(c *config.Config) {
	if d.identity == nil { // SEND may begin now, as what is new says
		d.config.Send.Key, d.config.Send.Sec = c.Send.Key, c.Send.Sec
	}
	for _, what := range fixed(d.config, c) {
		d.log.Warn("reload: this changes at the next start only", "option", what)
	}
	// What is fixed stays as it was, so that status says what is.
	c.Global.StateDir, c.Global.Control, c.Global.LKEKey = d.config.Global.StateDir, d.config.Global.Control, d.config.Global.LKEKey
	c.Global.Tunnel, c.Global.TunnelDevice, c.Global.TunnelMTU = d.config.Global.Tunnel, d.config.Global.TunnelDevice, d.config.Global.TunnelMTU
	c.Global.Workers, c.Global.Queue = d.config.Global.Workers, d.config.Global.Queue
	c.LKE.Padding = d.config.LKE.Padding
	c.Send.Key, c.Send.Sec = d.config.Send.Key, d.config.Send.Sec
	before := d.identity
	d.config = c
	d.beginSecure()
	if before != nil {
		d.takeCertificates()
	}
	d.takePeerKeys()
	d.keys.Reconfigure(d.now(), d.keysConfig())
	if d.options.Level != nil {
		d.options.Level.Set(c.Global.LogLevel)
	}
	// The interface tells which link it is: hosts on it know the prefixes, not the name of a section.
	kept := append(d.links, d.leaving...)
	d.links, d.leaving = nil, nil
	for _, lc := range c.Links {
		l := new(link)
		if i := slices.IndexFunc(kept, func(k *link) bool { return k.config.Device == lc.Device }); i >= 0 {
			l = kept[i]
			kept = slices.Delete(kept, i, i+1)
			if l.config.Name != lc.Name {
				l.saved = "" // what the journal has is under the old name
			}
		}
		if !l.until.IsZero() {
			l.until, l.planned = time.Time{}, advertise.Config{} // it said goodbye, and begins anew
		}
		l.config = lc
		d.links = append(d.links, l)
	}
	d.leave(kept)
	d.accessPoints = nil
	d.linked = false // limits and code points may have changed, too
	d.relink()
	d.log.Info("reloaded", "links", len(d.links), "warnings", len(c.Warnings))
}

// fixed names the options that only a start takes over.
func fixed(before, after *config.Config) []string {
	old, new := &before.Global, &after.Global
	var names []string
	for _, o := range []struct {
		name    string
		changed bool
	}{
		{"state_dir", old.StateDir != new.StateDir},
		{"control", old.Control != new.Control},
		{"lke_key", old.LKEKey != new.LKEKey},
		{"tunnel", old.Tunnel != new.Tunnel},
		{"tunnel_device", old.TunnelDevice != new.TunnelDevice},
		{"tunnel_mtu", old.TunnelMTU != new.TunnelMTU},
		{"workers", old.Workers != new.Workers},
		{"queue", old.Queue != new.Queue},
		{"padding", before.LKE.Padding != after.LKE.Padding},
		{"key", before.Send.Key != after.Send.Key},
		{"sec", before.Send.Sec != after.Send.Sec},
		{"buffer", before.Fast.Buffer != after.Fast.Buffer},
		{"buffer_packets", before.Fast.BufferPackets != after.Fast.BufferPackets},
		{"buffer_octets", before.Fast.BufferOctets != after.Fast.BufferOctets},
		{"buffer_total", before.Fast.BufferTotal != after.Fast.BufferTotal},
		{"drain_percent", before.Fast.DrainPercent != after.Fast.DrainPercent},
	} {
		if o.changed {
			names = append(names, o.name)
		}
	}
	return names
}
