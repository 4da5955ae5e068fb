package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/roamkey/roamkey/firmware/control"
)

// Crash is what killing the old router's daemon in mid-flow came to.
type Crash struct {
	Killed time.Time       // kill -9
	Back   time.Time       // the next process had taken up the binding
	Said   control.Restart // what that process says of it
	Lost   int             // packets sent since the first one came through the tunnel, and never received
}

// absence is how long the old router has no daemon.
const absence = 300 * time.Millisecond

// crash kills the old router's daemon while it forwards, starts another one, and waits until that has the binding.
func (r *run) crash(ctx context.Context) error {
	if !r.options.Crash {
		return nil
	}
	if err := r.noteHandover(); err != nil {
		return err
	}
	r.tell("the old router's daemon is killed (kill -9), and started again after %v", absence)
	c := &Crash{Killed: time.Now()}
	r.par.Kill()
	if err := pause(ctx, absence); err != nil {
		return err
	}
	var err error
	if r.par, err = r.options.Programs.startDaemon(r.top.PAR, string(r.options.Protocol)+"-again"); err != nil {
		return err
	}
	s, err := r.par.await(ctx, 10*time.Second, "taking up the binding", func(s control.Snapshot) bool { return s.LBSAs.Bound == 1 })
	if err != nil {
		return err
	}
	c.Back = time.Now()
	if s.Restart == nil {
		return fmt.Errorf("the restarted daemon says nothing of what it took up")
	}
	c.Said = *s.Restart
	r.report.Crash = c
	return pause(ctx, r.options.After/2)
}

// lostSince counts the packets that were sent after the first one came through the tunnel and never arrived.
func (f Flow) lostSince(l Loss) int {
	lost := 0
	for i, sent := range f.Sent {
		if !l.First.IsZero() && sent.After(l.First) && l.Fates[i] == Lost {
			lost++
		}
	}
	return lost
}
