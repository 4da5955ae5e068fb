package hold

// Times here are in nanoseconds since the buffer was made.
const (
	millisecond = 1_000_000
	second      = 1000 * millisecond

	// burst is how many packets may be sent one after another (RFC 5568 section 4.5).
	burst = 5

	// minRate is the least pace of a queue, in packets each second. Where hardly anything arrives any more the metered
	// rate tends to nothing, and what is kept would never be sent. 200 packets of 1,400 octets are 2.2 Mbit/s, which every
	// link takes, and drain the usual queue in a good second.
	minRate = 200

	// leastStep is the least time between two packets, more than the kernel takes for one.
	leastStep = 1000

	// grain is how exactly timers wake; what falls due within it is sent at once.
	grain = millisecond

	// maxDebt is how much of the time that a timer came late is made up for, a burst at a time.
	maxDebt = 100 * millisecond

	// A hold ends when nothing has come for half the mean time between two packets, or this.
	maxQuiet = millisecond / 2
	// patience is how long such a moment is waited for.
	patience = 20 * millisecond
)

// pace says when the packets of a queue may be sent.
type pace struct {
	next    int64 // when the next one may
	percent int64
}

// step is the time between two packets.
func (p *pace) step(rate int64) int64 { return max(second/max(rate*p.percent/100, minRate), leastStep) }

// start is for a queue of which a burst was sent.
func (p *pace) start(now, step int64) { p.next = now + step }

// due says how many of n packets may be sent now.
func (p *pace) due(now, step int64, n int) int {
	p.next = max(p.next, now-maxDebt)
	if p.next > now {
		return 0
	}
	// More than a burst only where so many are due between two timers.
	most := max(burst, int(grain/step)+1)
	n = min(n, most, int((now-p.next)/step)+1)
	p.next += int64(n) * step
	return n
}

// idle is for a queue that became empty: time that passes then gives no more than a burst.
func (p *pace) idle(now, step int64) { p.next = max(p.next, now-(burst-1)*step) }
