package send

import (
	"encoding/binary"
	"time"

	"github.com/roamkey/roamkey/ndp"
)

// stamp is a timestamp as it stands in its option: seconds since 1970 and 16 bits of fraction.
type stamp uint64

const (
	fractionBits = 16

	// maxStamp bounds what is looked at: differences of larger ones would not fit.
	maxStamp = stamp(1) << 62
)

// setSince is when a clock that was set can stand at the earliest: 2020-01-01.
const setSince = 1577836800

func isSet(wall time.Time) bool { return wall.Unix() >= setSince }

// stampOf gives t rounded down; times before 1970 become 1970.
func stampOf(t time.Time) stamp {
	seconds := t.Unix()
	if seconds < 0 {
		return 0
	}
	return stamp(seconds)<<fractionBits | stamp(uint64(t.Nanosecond())<<fractionBits/uint64(time.Second))
}

// fractions gives d in units of a stamp.
func fractions(d time.Duration) int64 {
	return int64(d/time.Second)<<fractionBits + int64(d%time.Second)<<fractionBits/int64(time.Second)
}

// sub gives s - u in units of a stamp.
func (s stamp) sub(u stamp) int64 { return int64(s - u) }

func readStamp(o ndp.Option) stamp {
	return stamp(binary.BigEndian.Uint64(o.Octets[timestampAt:timestampOctets]))
}

// within reports whether s is less than delta from the wall clock.
func (s stamp) within(wall time.Time, delta time.Duration) bool {
	d := s.sub(stampOf(wall))
	return s < maxStamp && d < fractions(delta) && -d < fractions(delta)
}

// goesOn is the inequality for known peers (RFC 3971 section 5.3.4.2): the stamp now has gone on since last by as much as
// elapsed between their receptions, less drift and twice fuzz.
func goesOn(now, last stamp, elapsed time.Duration, cfg *Config) bool {
	e := fractions(elapsed)
	e -= e / 100 * int64(cfg.DriftPercent)
	return now < maxStamp && now.sub(last)+2*fractions(cfg.Fuzz) > e
}

// sentClock gives timestamps for own messages: the wall clock, but never twice the same, and without a step back.
type sentClock struct {
	last stamp
	at   time.Duration
	told bool
}

// slew is how much slower than the caller's clock sent timestamps run while the wall clock is behind them: receivers bear
// a drift of 1 %.
const slew = 128

// next gives the timestamp of a message made at now. After a small step back of the wall clock timestamps run on at nearly
// their rate until the clock is ahead again: known peers would refuse smaller ones. A step of more than most is followed;
// then stepped is true, and only peers that ask with a nonce will believe us until they have forgotten.
func (c *sentClock) next(now time.Duration, wall time.Time, most time.Duration) (s stamp, stepped bool) {
	s = stampOf(wall)
	if c.told {
		elapsed := now - c.at
		floor := c.last + max(1, stamp(fractions(elapsed-elapsed/slew)))
		if ahead := floor.sub(s); ahead > fractions(most) {
			stepped = true
		} else if ahead > 0 {
			s = floor
		}
	}
	c.last, c.at, c.told = s, now, true
	return s, stepped
}
