package pacing

import "time"

// Bucket limits a rate (generic cell rate algorithm): burst events at once, then one an interval.
type Bucket struct {
	due Time // when the events so far would have been spread out evenly
}

// Allows reports whether an event may happen at now.
func (b *Bucket) Allows(now Time, interval time.Duration, burst int) bool {
	return b.due <= now || b.due.Sub(now) <= interval*time.Duration(burst-1)
}

// Take counts an event that Allows has permitted.
func (b *Bucket) Take(now Time, interval time.Duration) {
	b.due = max(b.due, now).Add(interval)
}
