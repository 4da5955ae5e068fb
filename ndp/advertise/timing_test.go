package advertise

import (
	"math"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// gaps gives the times between advertisements.
func gaps(sent []advert) []time.Duration {
	var list []time.Duration
	for i := 1; i < len(sent); i++ {
		list = append(list, sent[i].at.Sub(sent[i-1].at))
	}
	return list
}

func TestNothingIsSaidBeforeTheStart(t *testing.T) {
	l := newLink(t, mobile(t))
	l.step(InTick)
	l.hear(solicit(hostLL, hostHW))
	l.pass(time.Hour)
	if len(l.sent) != 0 || !l.s.Deadline().IsZero() || l.s.Phase() != Silent {
		t.Errorf("a silent speaker sent %d, phase %v", len(l.sent), l.s.Phase())
	}
	if l.counter("rs_not_advertising") != 1 {
		t.Error("the solicitation was not counted")
	}
}

// RFC 4861 section 6.2.4: three initial advertisements, no more than 16 s apart; then between Min and Max.
func TestInitialAdvertisementsComeQuickly(t *testing.T) {
	l := started(t, plain())
	l.pass(time.Hour)
	if l.sent[0].at != begin() {
		t.Errorf("the first came after %v", l.sent[0].at.Sub(begin()))
	}
	for i, gap := range gaps(l.sent) {
		if i < 2 && gap != 16*time.Second {
			t.Errorf("gap %d is %v, want 16 s", i, gap)
		}
		if i >= 2 && (gap < 198*time.Second || gap > 600*time.Second) {
			t.Errorf("gap %d is %v, want 198 s to 600 s", i, gap)
		}
	}
	if l.counter("ra_sent_unsolicited") != uint64(len(l.sent)) {
		t.Errorf("%d were counted, %d sent", l.counter("ra_sent_unsolicited"), len(l.sent))
	}
}

func TestInitialIntervalsShorterThan16SecondsStayRandom(t *testing.T) {
	cfg := plain()
	cfg.MaxInterval, cfg.MinInterval = 10*time.Second, 4*time.Second
	l := started(t, cfg)
	l.pass(time.Minute)
	for i, gap := range gaps(l.sent) {
		if gap < 4*time.Second || gap > 10*time.Second {
			t.Errorf("gap %d is %v", i, gap)
		}
	}
}

// RFC 4861 section 6.2.4: intervals are uniformly distributed between Min and Max. Chi-squared over 20 bins of 20,000
// intervals: 43.8 is exceeded by one in a thousand of truly uniform samples (19 degrees of freedom); the seed is fixed.
func TestIntervalsAreUniform(t *testing.T) {
	l := settled(t, plain())
	for len(l.sent) <= 20_000 {
		l.pass(24 * time.Hour)
	}
	const bins = 20
	var count [bins]int
	least, greatest, sum := time.Hour, time.Duration(0), time.Duration(0)
	list := gaps(l.sent)
	for _, gap := range list {
		if gap < 198*time.Second || gap > 600*time.Second {
			t.Fatalf("an interval is %v", gap)
		}
		least, greatest, sum = min(least, gap), max(greatest, gap), sum+gap
		count[min(int((gap-198*time.Second)*bins/(402*time.Second)), bins-1)]++
	}
	want := float64(len(list)) / bins
	chi := 0.0
	for _, n := range count {
		chi += (float64(n) - want) * (float64(n) - want) / want
	}
	if chi > 43.8 {
		t.Errorf("intervals are not uniform: chi-squared is %.1f, bins %v", chi, count)
	}
	if mean := sum / time.Duration(len(list)); math.Abs((mean - 399*time.Second).Seconds()) > 3 {
		t.Errorf("the mean interval is %v, want 399 s", mean)
	}
	if least > 199*time.Second || greatest < 599*time.Second {
		t.Errorf("intervals reach from %v to %v only", least, greatest)
	}
}

// RFC 6275 section 7.5: with the least intervals the mean time between advertisements is 50 ms.
func TestFastestIntervals(t *testing.T) {
	cfg := plain()
	cfg.MaxInterval, cfg.MinInterval, cfg.MinDelay = 70*time.Millisecond, 30*time.Millisecond, 30*time.Millisecond
	l := started(t, cfg)
	l.pass(time.Minute)
	for _, gap := range gaps(l.sent) {
		if gap < 30*time.Millisecond || gap > 70*time.Millisecond {
			t.Fatalf("an interval is %v", gap)
		}
	}
	if mean := time.Minute / time.Duration(len(l.sent)); mean < 48*time.Millisecond || mean > 52*time.Millisecond {
		t.Errorf("the mean interval is %v", mean)
	}
}

// A clock that jumps ahead, as after a suspend, leads to one advertisement and not to all that were missed.
func TestMissedAdvertisementsAreNotMadeUpFor(t *testing.T) {
	l := settled(t, plain())
	l.now = l.now.Add(24 * time.Hour)
	l.step(InTick)
	l.step(InTick)
	if len(l.sent) != 1 {
		t.Errorf("%d were sent at once", len(l.sent))
	}
	if d := l.s.Deadline().Sub(l.now); d < 198*time.Second {
		t.Errorf("the next comes in %v", d)
	}
}

// RFC 4861 section 6.2.5: a stop is told by no more than three final advertisements with router lifetime zero.
func TestStopIsToldThreeTimes(t *testing.T) {
	cfg := everything(t)
	l := settled(t, cfg)
	l.pass(time.Hour)
	l.sent = nil
	l.step(InStop)
	if len(l.sent) != 1 {
		t.Fatalf("%d were sent at once, want 1: a process that cannot wait has told it all the same", len(l.sent))
	}
	if l.s.Phase() != Ceasing {
		t.Errorf("phase is %v", l.s.Phase())
	}
	l.hear(solicit(hostLL, hostHW))
	l.pass(time.Hour)
	if len(l.sent) != 3 || l.s.Phase() != Silent || !l.s.Deadline().IsZero() {
		t.Fatalf("%d were sent, want 3; phase %v", len(l.sent), l.s.Phase())
	}
	for _, gap := range gaps(l.sent) {
		if gap != 3*time.Second { // MIN_DELAY_BETWEEN_RAS holds for them, too
			t.Errorf("they are %v apart", gap)
		}
	}
	for _, a := range l.sent {
		if a.Lifetime != 0 || !a.multicast() || a.packet[ipv6.HeaderLen+5]&0x18 != 0 {
			t.Errorf("router lifetime is %d", a.Lifetime)
		}
		// LKE-AR-3: no Maximum Lifetime over a router lifetime of zero; LKE-AR-2: none without H.
		if a.HomeAgent || a.option(6) != nil || a.option(8) != nil {
			t.Error("a router that ceases offers to be a home agent")
		}
		options := a.Options
		for o, ok := options.Next(); ok; o, ok = options.Next() {
			// RFC 4191 section 4; RFC 8106 section 5.1.
			if o.Type == optRoute || o.Type == optServers || o.Type == optSearch {
				if life := [4]byte(o.Octets[4:8]); life != [4]byte{} {
					t.Errorf("option %d has lifetime %v", o.Type, life)
				}
			}
		}
		// Addresses stay: another router may serve the prefix.
		if p, ok := a.prefix(onePrefix); !ok || p.Valid != 5400 {
			t.Errorf("the prefix is told as %+v", p)
		}
	}
	if l.counter("ra_sent_final") != 3 {
		t.Errorf("%d were counted", l.counter("ra_sent_final"))
	}
}

func TestStopKeepsTheRateLimit(t *testing.T) {
	l := started(t, plain())
	l.now = l.now.Add(time.Second)
	l.sent = nil
	l.step(InStop)
	l.pass(time.Minute)
	if len(l.sent) != 3 || l.sent[0].at.Sub(begin()) != 3*time.Second {
		t.Errorf("%d were sent, the first %v after the last regular one", len(l.sent), l.sent[0].at.Sub(begin()))
	}
}

// A restart is told by nothing: hosts keep the router.
func TestHaltIsSilent(t *testing.T) {
	l := settled(t, plain())
	l.hear(solicit(hostLL, hostHW))
	l.hear(solicit(hostLL, ipv6.LinkAddr{}))
	l.step(InHalt)
	l.pass(time.Hour)
	if len(l.sent) != 0 || l.s.Phase() != Silent {
		t.Errorf("%d were sent", len(l.sent))
	}
	l.step(InStart)
	if l.pass(2 * time.Second); len(l.sent) != 1 || !l.sent[0].multicast() {
		t.Error("who asked before the restart is answered after it")
	}
}

func TestStartAgainWhileCeasing(t *testing.T) {
	l := settled(t, plain())
	l.step(InStop)
	l.pass(time.Second)
	l.step(InStart)
	l.sent = nil
	l.pass(time.Minute)
	if len(l.sent) != 3 || l.sent[0].Lifetime != 1800 || l.sent[0].at.Sub(begin()) != settling+3*time.Second {
		t.Fatalf("%d were sent, the first %+v", len(l.sent), l.sent[0])
	}
	l.step(InStart) // is nothing new
	if d := l.s.Deadline().Sub(l.now); d < time.Minute {
		t.Errorf("a start of what is started leads to another advertisement in %v", d)
	}
}
