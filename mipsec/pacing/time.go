// Package pacing is what the protocol machines that own many nodes keep time and measure with: moments, a heap of timers,
// rate limits, and tables with a bound. It reads no clock.
package pacing

import (
	"math"
	"time"
)

// Time is a moment in nanoseconds since a machine's first step. A third of a time.Time's size, it keeps the monotonic
// reading where there is one.
type Time int64

// Never is later than every moment.
const Never = Time(math.MaxInt64)

// Add gives the moment d later, Never if that is too far away.
func (t Time) Add(d time.Duration) Time {
	if d > time.Duration(Never-max(t, 0)) {
		return Never
	}
	return t + Time(d)
}

// Sub gives the time from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Clock translates between the moments of a machine and those of its caller. The zero Clock begins with its first At.
type Clock struct {
	base    time.Time
	started bool
}

// At gives now as a Time.
func (c *Clock) At(now time.Time) Time {
	if !c.started {
		c.base, c.started = now, true
	}
	return Time(now.Sub(c.base))
}

// Moment gives t on the caller's clock.
func (c *Clock) Moment(t Time) time.Time { return c.base.Add(time.Duration(t)) }
