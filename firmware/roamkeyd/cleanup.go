package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/hold"
	"github.com/roamkey/roamkey/drivers/neighbors"
	"github.com/roamkey/roamkey/firmware/control"
)

func cleanupCommand() command {
	return command{
		name:    "cleanup",
		summary: "remove what a daemon that died left in the kernel",
		details: `It removes routes of protocol 82, tunnel devices with the alias roamkey, and the
nftables table "ip6 roamkey". It does nothing while roamkeyd runs.`,
		run: (*program).cleanup,
	}
}

func (p *program) cleanup(c *command, args []string) int {
	o := newOptions(c)
	if _, code, done := p.read(o, args, 0); done {
		return code
	}
	release, err := keepOut(control.LockPath(controlSocket(o.config)))
	var running *control.RunningError
	switch {
	case errors.As(err, &running):
		p.fail("roamkeyd runs (process %d): stop it first, it then removes everything itself", running.PID)
		return exitFailed
	case err != nil:
		p.fail("%v", err)
		return exitFailed
	}
	defer release()
	code := exitOK
	total := 0
	for _, remove := range []func() ([]string, error){forward.Cleanup, hold.Cleanup, neighbors.Cleanup, guard.Cleanup} {
		removed, err := remove()
		for _, what := range removed {
			fmt.Fprintln(p.stdout, "removed", what)
		}
		total += len(removed)
		if err != nil {
			p.fail("%v", err)
			code = exitFailed
		}
	}
	if total == 0 && code == exitOK {
		fmt.Fprintln(p.stdout, "nothing to remove")
	}
	return code
}

// keepOut takes the daemon's lock, so that none starts meanwhile. Where there is no lock no daemon ever ran.
func keepOut(path string) (release func() error, err error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	lock, err := control.Acquire(path)
	if err != nil {
		return nil, err
	}
	return lock.Release, nil
}
