package main

import (
	"context"
	"fmt"
	"time"

	"github.com/roamkey/roamkey/build/scenario"
)

// showCrash plays a handover, kills the daemon that forwards, and tells what that cost: nothing with the kernel's tunnels,
// the time until the next start without.
func (d *demo) showCrash(ctx context.Context) error {
	o := d.options
	o.Protocol, o.Crash = scenario.LKE, true
	o.Home = 0 // a home agent would lead the flow past the old router before the daemon is killed
	o.Tell = func(text string) { fmt.Fprintf(d.text, "   %s\n", text) }
	fmt.Fprintln(d.text, "The old router's daemon is killed while it forwards")
	r, err := scenario.Run(ctx, o)
	if err != nil {
		return err
	}
	c := r.Crash
	kernel := r.Tunnel.Backend != "tun"
	fmt.Fprintf(d.text, "   the next daemon had the binding %v after the kill; it says that forwarding stood still for %v\n",
		c.Back.Sub(c.Killed).Round(time.Millisecond), time.Duration(c.Said.Pause).Round(time.Millisecond))
	fmt.Fprintf(d.text, "crash: backend=%s bindings=%d lost=%d pause_ms=%d\n", r.Tunnel.Backend, c.Said.Bindings, c.Lost, time.Duration(c.Said.Pause).Milliseconds())
	switch {
	case c.Said.Bindings != 1:
		return fmt.Errorf("the next daemon took up %d bindings, not one", c.Said.Bindings)
	case kernel && (c.Lost != 0 || c.Said.Pause != 0):
		return fmt.Errorf("%d packets were lost though the kernel forwards", c.Lost)
	case !kernel && (c.Lost == 0 || c.Said.Pause == 0):
		return fmt.Errorf("no pause was noticed, with the daemon gone that forwards")
	}
	return nil
}
