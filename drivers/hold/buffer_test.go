package hold

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// clocked is a buffer whose time a test makes pass.
type clocked struct {
	*buffer
	t     testing.TB
	now   int64
	sent  []uint32 // numbers of the packets that left
	when  []int64
	deaf  bool // the kernel takes nothing
	hops  []uint8
	ended []netip.Addr
}

var (
	alice = netip.MustParseAddr("2001:db8:1::a")
	bob   = netip.MustParseAddr("2001:db8:1::b")
	far   = netip.MustParseAddr("2001:db8:c::2")
)

func newClocked(t testing.TB, cfg Config) *clocked {
	t.Helper()
	if err := cfg.complete(); err != nil {
		t.Fatal(err)
	}
	c := &clocked{t: t, now: 12345}
	c.buffer = newBuffer(cfg, func(p []byte) bool {
		if !c.deaf {
			c.sent, c.when = append(c.sent, binary.BigEndian.Uint32(p[48:])), append(c.when, c.now)
			c.hops = append(c.hops, p[hopLimitAt])
		}
		return !c.deaf
	})
	return c
}

// numbered builds a UDP packet of a length, with a number in it.
func numbered(dst netip.Addr, number uint32, length int) []byte {
	b := make([]byte, max(length-headerLen, 12))
	binary.BigEndian.PutUint32(b[8:], number)
	return ipv6.Append(nil, ipv6.Header{Src: far, Dst: dst, HopLimit: 63}, 17, b)
}

func (c *clocked) take(dst netip.Addr, number uint32) { c.arrive(numbered(dst, number, 0), c.now) }

// pass lets time pass in steps of a timer's grain, and ends holds as the driver does.
func (c *clocked) pass(d time.Duration) {
	for end := c.now + int64(d); c.now < end; {
		c.now += grain
		for {
			h := c.run(c.now)
			if h == nil {
				break
			}
			if yes, again := h.quiet(c.now); !yes {
				c.schedule(h, max(again, c.now+leastPass))
				continue
			}
			c.end(h, c.now)
			c.ended = append(c.ended, h.addr)
		}
	}
}

const leastPass = 50_000

// flow lets n packets arrive at a rate, from number first.
func (c *clocked) flow(dst netip.Addr, first uint32, n, perSecond int) {
	for i := range n {
		c.take(dst, first+uint32(i))
		c.pass(time.Second / time.Duration(perSecond))
	}
}

func (c *clocked) counts(name string, want uint64) {
	c.t.Helper()
	found := false
	c.counters(func(n string, v uint64) {
		if n != name {
			return
		}
		if found = true; v != want {
			c.t.Errorf("%s = %d, want %d", name, v, want)
		}
	})
	if !found {
		c.t.Errorf("no counter %s", name)
	}
}

func upTo(first, n uint32) (all []uint32) {
	for i := range n {
		all = append(all, first+i)
	}
	return all
}

// RFC 5568 section 4.5: "A maximum of 5 packets MAY be sent one after another, but all subsequent packets SHOULD use a sending
// rate that is determined by metering the rate at which packets have entered the buffer".
func TestFiveAtOnceThenTheMeteredRate(t *testing.T) {
	for _, percent := range []int{100, 200} {
		c := newClocked(t, Config{DrainPercent: percent})
		c.hold(alice, false, time.Time{})
		c.flow(alice, 0, 200, 500)
		if len(c.sent) != 0 {
			t.Fatalf("%d packets left while they are held", len(c.sent))
		}
		begin := c.now
		c.drain(alice, c.now)
		if !slices.Equal(c.sent, upTo(0, 5)) {
			t.Fatalf("at once: packets %v", c.sent)
		}
		// Nothing arrives any more, so that the rate of the last second falls: look at the first 100 ms only.
		c.pass(100 * time.Millisecond)
		want := 5 + 50*percent/100
		if got := len(c.sent); got < want*85/100 || got > want+1 {
			t.Errorf("at %d %%: %d packets left in 100 ms, want about %d", percent, got, want)
		}
		for i := 5; i < len(c.when); i++ {
			if gap := c.when[i] - c.when[i-1]; gap < grain {
				t.Errorf("packets %d and %d left within %d ns", i-1, i, gap)
			}
		}
		if c.when[5]-begin < grain {
			t.Errorf("the sixth packet left %d ns after the burst", c.when[5]-begin)
		}
	}
}

// At factor 1 the queue of a flow that goes on never empties; above it does.
func TestAFlowsQueueEmptiesAboveFactorOneOnly(t *testing.T) {
	for percent, empties := range map[int]bool{100: false, 200: true} {
		c := newClocked(t, Config{DrainPercent: percent})
		c.hold(alice, false, time.Time{})
		c.flow(alice, 0, 100, 1000)
		c.drain(alice, c.now)
		c.flow(alice, 100, 1900, 1000)
		if (len(c.ended) == 1) != empties {
			t.Errorf("at %d %%: %d holds ended, %d packets are kept", percent, len(c.ended), c.packets)
		}
		if left := c.packets; !empties && (left < 80 || left > 100) {
			t.Errorf("%d packets are kept after 2 s, of 95 at the beginning", left)
		}
		if n := uint32(len(c.sent)); !slices.Equal(c.sent, upTo(0, n)) {
			t.Errorf("at %d %%: packets left out of order", percent)
		}
		// Nothing arrives any more: what is left is sent all the same.
		c.pass(2 * time.Second)
		if c.packets != 0 || len(c.ended) != 1 || len(c.holds) != 0 {
			t.Errorf("at %d %%: %d packets and %d holds are left", percent, c.packets, len(c.holds))
		}
	}
}

func TestAQueueWithoutArrivalsDrains(t *testing.T) {
	c := newClocked(t, Config{})
	c.hold(alice, false, time.Time{})
	c.flow(alice, 0, 3, 1000)
	c.pass(10 * time.Second)
	for i := range uint32(197) {
		c.take(alice, 3+i)
	}
	c.pass(5 * time.Second)
	c.drain(alice, c.now)
	begin := c.now
	c.pass(2 * time.Second)
	if len(c.sent) != 200 || len(c.ended) != 1 {
		t.Fatalf("%d packets left, %d holds ended", len(c.sent), len(c.ended))
	}
	if took := c.when[199] - begin; took < 900*millisecond || took > 1000*millisecond {
		t.Errorf("195 packets took %d ms, want them at %d a second", took/millisecond, minRate)
	}
}

// A timer that comes late is made up for, but never by more packets at once than a burst.
func TestALateTimerMakesNoBurst(t *testing.T) {
	c := newClocked(t, Config{PacketsPerNode: 1000, DrainPercent: 100})
	c.hold(alice, false, time.Time{})
	c.flow(alice, 0, 1000, 1000)
	c.drain(alice, c.now)
	c.pass(50 * time.Millisecond)
	before := len(c.sent)
	c.now += 40 * millisecond // nobody runs
	c.pass(20 * time.Millisecond)
	if got := len(c.sent) - before; got < 45 || got > 62 {
		t.Errorf("%d packets left in 60 ms at about 1,000 a second", got)
	}
	at := make(map[int64]int)
	for _, when := range c.when[5:] {
		if at[when]++; at[when] > burst {
			t.Fatalf("more than %d packets left at once", burst)
		}
	}
}

// More than a burst goes at once only where the rate asks for more within the time that timers are exact to.
func TestAFastFlowDrains(t *testing.T) {
	c := newClocked(t, Config{PacketsPerNode: 10000, OctetsPerNode: 1 << 22, DrainPercent: 200})
	c.hold(alice, false, time.Time{})
	for i := range uint32(100) { // 20,000 a second
		for j := range uint32(20) {
			c.take(alice, i*20+j)
		}
		c.pass(time.Millisecond)
	}
	c.drain(alice, c.now)
	number := uint32(2000)
	for range 200 {
		for range 20 {
			c.take(alice, number)
			number++
		}
		c.pass(time.Millisecond)
	}
	if c.packets > 100 {
		t.Errorf("%d packets are kept", c.packets)
	}
	if n := uint32(len(c.sent)); !slices.Equal(c.sent, upTo(0, n)) {
		t.Error("packets left out of order")
	}
}

func TestBounds(t *testing.T) {
	const size = 100
	each := size + PacketCost
	for _, c := range []struct {
		name    string
		cfg     Config
		counter string
		kept    int
	}{
		{"packets of a node", Config{PacketsPerNode: 7}, "dropped_node_packets", 7},
		{"octets of a node", Config{OctetsPerNode: 20 * each}, "dropped_node_octets", 20},
		{"octets in all", Config{Octets: 30*each + 1}, "dropped_octets", 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newClocked(t, c.cfg)
			h := b.hold(alice, false, time.Time{})
			for i := range uint32(40) {
				b.arrive(numbered(alice, i, size), b.now)
			}
			b.counts("held", uint64(c.kept))
			b.counts(c.counter, uint64(40-c.kept))
			b.counts("octets", uint64(c.kept*size))
			if s := h.status(); s.Packets != c.kept || s.Octets != c.kept*size || s.Dropped != uint64(40-c.kept) || s.Highest != c.kept {
				t.Errorf("status %+v", s)
			}
			b.drain(alice, b.now)
			b.pass(time.Second)
			if !slices.Equal(b.sent, upTo(0, uint32(c.kept))) {
				t.Errorf("the newest are to be dropped; these were sent: %v", b.sent)
			}
			b.counts("drained", uint64(c.kept))
			if b.cost != 0 || b.packets != 0 {
				t.Errorf("%d packets at a cost of %d are left", b.packets, b.cost)
			}
		})
	}
	t.Run("of others", func(t *testing.T) {
		b := newClocked(t, Config{Octets: 30 * each})
		b.hold(alice, false, time.Time{})
		b.hold(bob, true, time.Time{})
		for i := range uint32(29) {
			b.arrive(numbered(alice, i, size), b.now)
		}
		for i := range uint32(3) {
			b.arrive(numbered(bob, i, size), b.now)
		}
		if a := b.holds[alice].queue.n; a != 29 {
			t.Errorf("copies for one pushed out what is kept for another: %d are left", a)
		}
		if n := b.holds[bob].queue.n; n != 1 {
			t.Errorf("%d copies are kept where there is room for one", n)
		}
	})
}

// RFC 5568 section 4: "the PAR MUST continue forwarding the packets to the PCoA (i.e., buffer and forward)".
func TestCopiesGoOn(t *testing.T) {
	c := newClocked(t, Config{PacketsPerNode: 4})
	c.hold(alice, true, time.Time{})
	for i := range uint32(10) {
		c.take(alice, i)
	}
	if !slices.Equal(c.sent, upTo(0, 10)) {
		t.Fatalf("sent on: %v", c.sent)
	}
	c.counts("copied", 10)
	c.counts("aged", 6) // the last ones are those that the node may have missed
	if s := c.holds[alice].status(); !s.Copy || s.Draining {
		t.Errorf("%+v", s)
	}
	c.drain(alice, c.now)
	if s := c.holds[alice].status(); s.Copy || !s.Draining {
		t.Errorf("%+v", s)
	}
	c.pass(time.Second)
	if want := append(upTo(0, 10), upTo(6, 4)...); !slices.Equal(c.sent, want) {
		t.Errorf("sent: %v, want %v", c.sent, want)
	}
	// Once it is known that the node left, what arrives is kept only.
	c.hold(alice, true, time.Time{})
	c.take(alice, 20)
	c.hold(alice, false, time.Time{})
	c.take(alice, 21)
	if want := append(append(upTo(0, 10), upTo(6, 4)...), 20); !slices.Equal(c.sent, want) {
		t.Errorf("sent: %v, want %v", c.sent, want)
	}
}

func TestHeldAgainWhileItDrains(t *testing.T) {
	c := newClocked(t, Config{})
	c.hold(alice, false, time.Time{})
	c.flow(alice, 0, 50, 1000)
	c.drain(alice, c.now)
	c.hold(alice, false, time.Time{})
	c.pass(time.Second)
	if len(c.sent) != burst {
		t.Fatalf("%d packets left", len(c.sent))
	}
	c.flow(alice, 50, 50, 1000)
	c.drain(alice, c.now)
	c.pass(2 * time.Second)
	if !slices.Equal(c.sent, upTo(0, 100)) || len(c.ended) != 1 {
		t.Errorf("sent %v, %d ended", c.sent, len(c.ended))
	}
}

func TestHoldsDrainIndependently(t *testing.T) {
	c := newClocked(t, Config{Octets: 64 << 20})
	const n = 1000
	address := func(i int) netip.Addr {
		b := alice.As16()
		b[12], b[13] = byte(i>>8), byte(i)
		return netip.AddrFrom16(b)
	}
	for i := range n {
		c.hold(address(i), false, time.Time{})
		for j := range 10 {
			c.take(address(i), uint32(i*10+j))
		}
	}
	for i := 0; i < n; i += 2 {
		c.drain(address(i), c.now)
	}
	c.pass(100 * time.Millisecond)
	if c.packets != n/2*10 || len(c.ended) != n/2 {
		t.Errorf("%d packets are left and %d holds ended", c.packets, len(c.ended))
	}
	last := make(map[uint32]uint32)
	for _, number := range c.sent {
		if of := number / 10; of%2 != 0 || number%10 != last[of] {
			t.Fatalf("packet %d of the %dth node is out of order", number%10, of)
		} else {
			last[of]++
		}
	}
}

func TestWhatIsNoPacketForANode(t *testing.T) {
	c := newClocked(t, Config{})
	c.hold(alice, false, time.Time{})
	whole := numbered(alice, 1, 0)
	for _, bad := range [][]byte{nil, whole[:39], whole[:len(whole)-1], append(slices.Clone(whole), 0), append([]byte{0x45}, whole[1:]...)} {
		c.arrive(slices.Clone(bad), c.now)
	}
	c.counts("malformed", 5)
	c.take(bob, 1)
	c.counts("stray", 1)
	c.take(netip.MustParseAddr("ff02::16"), 1)
	c.counts("multicast", 1)
	if len(c.sent) != 0 || c.packets != 0 {
		t.Errorf("%d sent, %d kept", len(c.sent), c.packets)
	}
}

func TestHopLimits(t *testing.T) {
	c := newClocked(t, Config{})
	c.hold(alice, true, time.Time{})
	for _, limit := range []uint8{63, 254, 255} {
		p := numbered(alice, 0, 0)
		p[hopLimitAt] = limit
		c.arrive(p, c.now)
	}
	c.drain(alice, c.now)
	if want := []uint8{64, 255, 255, 64, 255, 255}; !slices.Equal(c.hops, want) {
		t.Errorf("hop limits %v, want %v", c.hops, want)
	}
}

// What was under way when the route went is sent on; nothing is forgotten before that can be.
func TestAnEndedHoldSendsWhatIsLate(t *testing.T) {
	c := newClocked(t, Config{})
	c.hold(alice, false, time.Time{})
	c.take(alice, 0)
	c.drain(alice, c.now)
	c.pass(100 * time.Millisecond)
	if len(c.ended) != 1 {
		t.Fatal("it did not end")
	}
	c.take(alice, 1)
	c.counts("late", 1)
	c.counts("holds", 0)
	if !slices.Equal(c.sent, upTo(0, 2)) {
		t.Errorf("sent %v", c.sent)
	}
	c.pass(2 * time.Second)
	if len(c.holds) != 0 || len(c.timetable) != 0 {
		t.Error("it is not forgotten")
	}
}

func TestWhatTheKernelDoesNotTake(t *testing.T) {
	c := newClocked(t, Config{})
	c.hold(alice, false, time.Time{})
	c.flow(alice, 0, 10, 1000)
	c.deaf = true
	c.drain(alice, c.now)
	c.pass(time.Second)
	c.counts("not_sent", 10)
	c.counts("packets", 0)
}

// A packet that is dropped costs nothing, and what was kept is given back.
func TestMemory(t *testing.T) {
	c := newClocked(t, Config{PacketsPerNode: 8})
	c.hold(alice, false, time.Time{})
	for i := range uint32(8) {
		c.take(alice, i)
	}
	full, stray := numbered(alice, 9, 1400), numbered(bob, 9, 1400)
	if n := testing.AllocsPerRun(100, func() { c.arrive(full, c.now); c.arrive(stray, c.now) }); n != 0 {
		t.Errorf("%v allocations for packets that are dropped", n)
	}
	big := newClocked(t, Config{PacketsPerNode: 10000, OctetsPerNode: 1 << 24, Octets: 1 << 24})
	h := big.hold(alice, false, time.Time{})
	for i := range uint32(10000) {
		big.take(alice, i)
	}
	for range 9990 {
		big.buffer.take(h)
	}
	if got := len(h.queue.ring); got > 64 {
		t.Errorf("room for %d packets is left for 10", got)
	}
	big.drop(h)
	if h.queue.ring != nil || big.cost != 0 {
		t.Error("room is left for nothing")
	}
}

func TestSettings(t *testing.T) {
	for _, bad := range []Config{
		{PacketsPerNode: -1}, {OctetsPerNode: 1000}, {Octets: -5}, {DrainPercent: -100}, {DrainPercent: 10001},
	} {
		if err := bad.complete(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	for _, bad := range []string{"192.0.2.1", "::ffff:192.0.2.1", "fe80::1", "ff02::1", "::", "::1", "2001:db8::1%eth0"} {
		if check(netip.MustParseAddr(bad)) == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if check(netip.Addr{}) == nil || check(alice) != nil {
		t.Error("check is wrong")
	}
}

// Rates that nobody meets still leave time between two packets.
func TestPaceIsBounded(t *testing.T) {
	p := pace{percent: 10000}
	if s := p.step(1 << 40); s != leastStep {
		t.Errorf("%d ns between packets", s)
	}
	if s := p.step(0); s != second/minRate {
		t.Errorf("%d ns between packets", s)
	}
	p.start(0, leastStep)
	if n := p.due(1<<40, leastStep, 1<<20); n != grain/leastStep+1 {
		t.Errorf("%d packets at once", n)
	}
}

// The time that nobody ran is made up for, but not more of it than maxDebt.
func TestDebtIsBounded(t *testing.T) {
	p := pace{percent: 100}
	p.start(0, millisecond)
	sent := 0
	for i := range int64(200) {
		n := p.due(10*second+i*grain, millisecond, 1000)
		if n > burst {
			t.Fatalf("%d packets at once", n)
		}
		sent += n
	}
	if sent < 295 || sent > 305 {
		t.Errorf("%d packets were sent in 200 ms after 10 s, want 300", sent)
	}
}

// What arrives while nothing is queued is sent at once, but a burst of it is none of more than 5.
func TestAnEmptyQueueSavesNothing(t *testing.T) {
	c := newClocked(t, Config{DrainPercent: 200})
	h := c.hold(alice, false, time.Time{})
	c.flow(alice, 0, 100, 1000)
	c.drain(alice, c.now)
	number := uint32(100)
	for range 1000 {
		c.take(alice, number)
		number++
		if h.empty != 0 && c.now-h.empty >= 15*millisecond {
			break
		}
		c.now += grain
		c.run(c.now)
	}
	if h.state != draining || h.queue.n != 0 {
		t.Fatalf("state %d, %d packets queued", h.state, h.queue.n)
	}
	before := len(c.sent)
	for range 20 {
		c.take(alice, number)
		number++
	}
	if got := len(c.sent) - before; got > burst || got+h.queue.n != 20 {
		t.Errorf("%d packets left at once, %d are queued", got, h.queue.n)
	}
	c.pass(100 * time.Millisecond)
	if !slices.Equal(c.sent, upTo(0, number)) {
		t.Errorf("%d of %d packets left, or out of order", len(c.sent), number)
	}
}

func TestMeter(t *testing.T) {
	var m meter
	if m.perSecond(5) != 0 {
		t.Error("a rate of nothing")
	}
	now := int64(777)
	for range 100 {
		m.add(now) // together
	}
	if got := m.perSecond(now); got != 2000 {
		t.Errorf("100 packets at once are %d each second", got)
	}
	m = meter{}
	near := func(want int64) {
		t.Helper()
		if got := m.perSecond(now); got < want*95/100 || got > want*105/100 {
			t.Errorf("%d packets each second, want about %d", got, want)
		}
	}
	run := func(perSecond int64, d time.Duration) {
		for end := now + int64(d); now < end; now += second / perSecond {
			m.add(now)
		}
	}
	run(1000, 50*time.Millisecond)
	near(1000)
	run(1000, 5*time.Second)
	near(1000)
	run(100, 1100*time.Millisecond)
	near(100)
	now += 3 * second
	near(0)
	run(4000, 1100*time.Millisecond)
	near(4000)
	now += 1 << 60
	near(0)
}

func TestTeller(t *testing.T) {
	tell := newTeller()
	// Nobody listens, not even the teller's own goroutine: it does not wait, and has a bound.
	for i := range maxPending + 10 {
		b := alice.As16()
		b[12], b[13] = byte(i>>8), byte(i)
		tell.tell(netip.AddrFrom16(b))
	}
	first := alice.As16()
	first[12], first[13] = 0, 0
	tell.tell(netip.AddrFrom16(first)) // is told already
	if tell.lost() != 10 || len(tell.pending) != maxPending {
		t.Errorf("%d lost, %d pending", tell.lost(), len(tell.pending))
	}
	tell.untell(netip.AddrFrom16(first))
	done := make(chan struct{})
	over := make(chan struct{})
	go func() { tell.run(done); close(over) }()
	for i := 1; i < maxPending; i++ {
		b := (<-tell.out).As16()
		if int(b[12])<<8|int(b[13]) != i {
			t.Fatalf("%dth: %x", i, b)
		}
	}
	tell.tell(alice)
	tell.tell(bob)
	tell.untell(alice)
	if got := <-tell.out; got != bob {
		t.Errorf("%s was taken back, and told", got)
	}
	close(done)
	<-over
}
