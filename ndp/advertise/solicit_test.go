package advertise

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// host gives the n-th of many hosts.
func host(n int) (netip.Addr, ipv6.LinkAddr) {
	hw := ipv6.LinkAddr{0x02, 0x10}
	binary.BigEndian.PutUint32(hw[2:], uint32(n))
	return ipv6.LinkLocalFrom(hw), hw
}

// RFC 7772 section 5.1: a host that has an address and tells its link-layer address is answered alone.
func TestHostWithAddressIsAnsweredAlone(t *testing.T) {
	l := settled(t, mobile(t))
	before := l.s.due()
	asked := l.now
	l.hear(solicit(hostLL, hostHW))
	if len(l.sent) != 0 && l.sent[0].at == asked {
		t.Log("the random delay was zero")
	}
	l.pass(time.Second)
	if len(l.sent) != 1 {
		t.Fatalf("%d were sent, want 1", len(l.sent))
	}
	a := l.last()
	if a.dst != hostLL || a.hardware != hostHW || a.at.Sub(asked) > 500*time.Millisecond {
		t.Errorf("the answer went to %v (%v) after %v", a.dst, a.hardware, a.at.Sub(asked))
	}
	if a.option(6) == nil || a.count(3) != 1 { // RFC 4861 section 6.2.3: with all options
		t.Error("the answer lacks options")
	}
	if l.s.due() != before {
		t.Error("an answer to one host reset the interval timer")
	}
	if l.counter("ra_sent_unicast") != 1 || l.counter("rs_received") != 1 {
		t.Error("it was not counted")
	}
}

func TestOthersAreAnsweredByMulticast(t *testing.T) {
	for _, c := range []struct {
		what string
		rs   *ipv6.Packet
		set  func(*Config)
	}{
		{"no address", solicit(netip.IPv6Unspecified(), ipv6.LinkAddr{}), nil},
		{"no link-layer address", solicit(hostLL, ipv6.LinkAddr{}), nil},
		{"another station's link-layer address", func() *ipv6.Packet {
			p := solicit(hostLL, otherHW)
			p.LinkSource = hostHW
			return p
		}(), nil},
		{"a group as link-layer address", func() *ipv6.Packet {
			p := solicit(hostLL, ipv6.LinkAddr{0x33, 0x33, 0, 0, 0, 1})
			p.LinkSource = ipv6.LinkAddr{}
			return p
		}(), nil},
		{"configured so", solicit(hostLL, hostHW), func(cfg *Config) { cfg.Unicast = false }},
	} {
		cfg := plain()
		if c.set != nil {
			c.set(&cfg)
		}
		l := settled(t, cfg)
		asked := l.now
		l.hear(c.rs)
		l.pass(time.Second)
		if len(l.sent) != 1 || !l.sent[0].multicast() || l.sent[0].at.Sub(asked) > 500*time.Millisecond {
			t.Errorf("%s: %d were sent", c.what, len(l.sent))
			continue
		}
		// RFC 4861 section 6.2.6: the interval timer is reset as by an unsolicited one.
		if d := l.s.Deadline().Sub(l.sent[0].at); d < 198*time.Second || d > 600*time.Second {
			t.Errorf("%s: the next comes after %v", c.what, d)
		}
		if l.counter("ra_sent_solicited") != 1 {
			t.Errorf("%s: it was not counted", c.what)
		}
	}
}

// RFC 4861 section 6.2.6: one answer to several solicitations, its delay counted from the first.
func TestSeveralSolicitationsHaveOneAnswer(t *testing.T) {
	l := settled(t, plain())
	l.hear(solicit(netip.IPv6Unspecified(), ipv6.LinkAddr{}))
	at := l.s.Deadline()
	for range 10 {
		if next := l.now.Add(10 * time.Millisecond); next.Before(at) {
			l.now = next
		}
		l.hear(solicit(netip.IPv6Unspecified(), ipv6.LinkAddr{}))
		if l.s.Deadline() != at {
			t.Fatal("a later solicitation moved the answer")
		}
	}
	l.hear(solicit(hostLL, hostHW))
	l.hear(solicit(hostLL, hostHW))
	l.pass(10 * time.Second)
	var multicast, unicast int
	for _, a := range l.sent {
		if a.multicast() {
			multicast++
		} else {
			unicast++
		}
	}
	if multicast != 1 || unicast != 1 || l.counter("rs_joined") != 11 {
		t.Errorf("%d multicast and %d unicast answers, %d joined", multicast, unicast, l.counter("rs_joined"))
	}
}

// The delay is uniform over 0 to 0.5 s, for answers of either kind.
func TestDelaysAreUniform(t *testing.T) {
	for _, hw := range []ipv6.LinkAddr{hostHW, {}} {
		l := settled(t, plain())
		const n = 2000
		var sum, least, greatest time.Duration = 0, time.Second, 0
		for range n {
			l.pass(10 * time.Second)
			l.sent = nil
			asked := l.now
			l.hear(solicit(hostLL, hw))
			l.pass(time.Second)
			if len(l.sent) == 0 {
				t.Fatal("no answer")
			}
			d := l.sent[0].at.Sub(asked)
			sum, least, greatest = sum+d, min(least, d), max(greatest, d)
		}
		if mean := sum / n; mean < 240*time.Millisecond || mean > 260*time.Millisecond || least > 2*time.Millisecond ||
			greatest < 498*time.Millisecond || greatest > 500*time.Millisecond {
			t.Errorf("delays are %v to %v, mean %v", least, greatest, mean)
		}
	}
}

// RFC 4861 section 6.2.6: within MIN_DELAY_BETWEEN_RAS of a multicast advertisement the answer waits for the end of that
// time and then for the random delay.
func TestMulticastAnswersAreRateLimited(t *testing.T) {
	l := settled(t, plain())
	for range 1000 {
		l.hear(solicit(netip.IPv6Unspecified(), ipv6.LinkAddr{}))
		l.pass(100 * time.Millisecond)
	}
	late := false
	for _, gap := range gaps(l.sent) {
		if gap < 3*time.Second || gap > 3600*time.Millisecond {
			t.Fatalf("answers are %v apart", gap)
		}
		late = late || gap > 3100*time.Millisecond
	}
	if len(l.sent) < 27 || !late {
		t.Errorf("%d answers in 100 s; random delay after the limit: %v", len(l.sent), late)
	}
}

// RFC 6275 section 13: MinDelayBetweenRAs may be lowered for mobile nodes.
func TestRateLimitCanBeLowered(t *testing.T) {
	cfg := plain()
	cfg.MinDelay = 30 * time.Millisecond
	l := settled(t, cfg)
	for range 1000 {
		l.hear(solicit(netip.IPv6Unspecified(), ipv6.LinkAddr{}))
		l.pass(10 * time.Millisecond)
	}
	for _, gap := range gaps(l.sent) {
		if gap < 30*time.Millisecond || gap > 540*time.Millisecond {
			t.Fatalf("answers are %v apart", gap)
		}
	}
	if len(l.sent) < 25 {
		t.Errorf("%d answers in 10 s", len(l.sent))
	}
}

// RFC 4861 section 6.2.6: where the scheduled advertisement comes before the random delay is over, it is the answer.
func TestScheduledAdvertisementAnswers(t *testing.T) {
	for range 50 {
		l := settled(t, plain())
		due := l.s.Deadline()
		l.now = due.Add(-time.Millisecond)
		l.hear(solicit(netip.IPv6Unspecified(), ipv6.LinkAddr{}))
		l.pass(10 * time.Second)
		if len(l.sent) != 1 || l.sent[0].at.After(due) {
			t.Fatalf("%d were sent, the first %v after it was due", len(l.sent), l.sent[0].at.Sub(due))
		}
	}
}

func TestOneHostIsAnsweredAloneOnceInThreeSeconds(t *testing.T) {
	l := settled(t, plain())
	for range 100 {
		l.hear(solicit(hostLL, hostHW))
		l.pass(100 * time.Millisecond)
	}
	var unicast, multicast []advert
	for _, a := range l.sent {
		if a.multicast() {
			multicast = append(multicast, a)
		} else {
			unicast = append(unicast, a)
		}
	}
	if len(unicast) != 4 || len(multicast) == 0 || len(multicast) > 4 {
		t.Errorf("in 10 s %d unicast and %d multicast answers", len(unicast), len(multicast))
	}
	if l.counter("rs_over_host_limit") == 0 {
		t.Error("the limit was not counted")
	}
	// Another station that uses the host's address does not use up the host's answers.
	l.sent = nil
	l.pass(10 * time.Second)
	forged := solicit(hostLL, otherHW)
	l.hear(forged)
	l.hear(solicit(hostLL, hostHW))
	l.sent = nil
	l.pass(time.Second)
	answered := false
	for _, a := range l.sent {
		answered = answered || a.dst == hostLL && a.hardware == hostHW
	}
	if !answered {
		t.Error("the host was not answered")
	}
}

// 10,000 sources ask at once and go on asking: advertisements stay within their rates, memory within its bounds, and what
// is not answered alone is answered by the multicast advertisement.
func TestFloodOfSolicitations(t *testing.T) {
	l := settled(t, plain())
	flood := make([]*ipv6.Packet, 10_000)
	for i := range flood {
		flood[i] = solicit(host(i))
	}
	begun := l.now
	for i := range 3 * len(flood) { // for 30 s
		l.hear(flood[i%len(flood)])
		l.pass(time.Millisecond)
		if len(l.s.answers.waiting) > 32 || len(l.s.answers.answered) > 128 {
			t.Fatalf("%d answers wait, %d are remembered", len(l.s.answers.waiting), len(l.s.answers.answered))
		}
	}
	flooded := l.now.Sub(begun)
	var unicast, multicast int
	var before time.Time
	for _, a := range l.sent {
		if !a.multicast() {
			unicast++
			continue
		}
		multicast++
		if !before.IsZero() && a.at.Sub(before) < 3*time.Second {
			t.Errorf("multicast advertisements %v apart", a.at.Sub(before))
		}
		before = a.at
	}
	if most := 32 + int(16*flooded.Seconds()) + 1; unicast > most || unicast < most/2 {
		t.Errorf("%d unicast answers, want at most %d and not none", unicast, most)
	}
	if multicast < 8 || multicast > 10 {
		t.Errorf("%d multicast answers in %v", multicast, flooded)
	}
	if got := l.counter("rs_received"); got != uint64(3*len(flood)) {
		t.Errorf("%d were counted", got)
	}
	if l.counter("rs_over_limit") == 0 {
		t.Error("the limit was not counted")
	}
	// One more costs nothing: it allocates nothing and adds no answer.
	if n := testing.AllocsPerRun(100, func() { l.s.Step(l.now, Input{Kind: InPacket, Packet: flood[5]}) }); n > 0 {
		t.Errorf("a solicitation over the limits allocates %v times", n)
	}
	// After it a host is answered as before.
	l.pass(10 * time.Second)
	l.sent = nil
	l.hear(solicit(hostLL, hostHW))
	l.pass(time.Second)
	if len(l.sent) != 1 || l.sent[0].dst != hostLL {
		t.Error("after the flood a host is not answered")
	}
}

// RFC 4861 section 6.1.1: each invalid solicitation is dropped under its reason, and costs nothing.
func TestInvalidSolicitations(t *testing.T) {
	good := func() *ipv6.Packet { return solicit(hostLL, hostHW) }
	from := func(src netip.Addr, msg []byte) *ipv6.Packet {
		ndp.FixChecksum(msg, src, ipv6.AllRouters())
		return packet(src, ipv6.AllRouters(), hostHW, msg)
	}
	hops := good()
	hops.HopLimit = 254
	fragment := good()
	fragment.Fragmented = true
	sum := good()
	sum.Payload[2] ^= 1
	for _, c := range []struct {
		counter string
		p       *ipv6.Packet
	}{
		{"rs_bad_hop_limit", hops},
		{"rs_fragment", fragment},
		{"rs_bad_checksum", sum},
		{"rs_bad_code", from(hostLL, []byte{133, 1, 0, 0, 0, 0, 0, 0})},
		{"rs_bad_length", from(hostLL, []byte{133, 0, 0, 0, 0, 0, 0})},
		{"rs_bad_option", from(hostLL, []byte{133, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})},
		{"rs_bad_option", from(hostLL, []byte{133, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0})},
		{"rs_bad_source", solicit(netip.IPv6Unspecified(), hostHW)},
		{"nd_other_link", func() *ipv6.Packet { p := good(); p.Interface++; return p }()},
		{"nd_not_for_speaker", from(hostLL, []byte{135, 0, 0, 0, 0, 0, 0, 0})},
		{"nd_not_for_speaker", packet(hostLL, ipv6.AllRouters(), hostHW, nil)},
	} {
		l := settled(t, plain())
		due := l.s.Deadline()
		l.hear(c.p)
		if l.counter(c.counter) != 1 || l.counter("rs_received") != 0 {
			t.Errorf("%s: counted %d, and %d as received", c.counter, l.counter(c.counter), l.counter("rs_received"))
		}
		if l.s.Deadline() != due || len(l.sent) != 0 {
			t.Errorf("%s: it was acted on", c.counter)
		}
		if n := testing.AllocsPerRun(10, func() { l.s.Step(l.now, Input{Kind: InPacket, Packet: c.p}) }); n > 0 {
			t.Errorf("%s: a dropped packet allocates %v times", c.counter, n)
		}
	}
}

// A solicitation with an option or reserved bits that nobody knows is valid (RFC 4861 section 6.1.1).
func TestUnknownOptionsAreIgnored(t *testing.T) {
	l := settled(t, plain())
	msg := []byte{133, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xfa, 1, 0, 0, 0, 0, 0, 0}
	msg = append(msg, ndp.SourceLinkOption(hostHW)...)
	ndp.FixChecksum(msg, hostLL, routerLL)
	l.hear(packet(hostLL, routerLL, hostHW, msg))
	l.pass(time.Second)
	if len(l.sent) != 1 || l.sent[0].dst != hostLL {
		t.Error("it was not answered")
	}
}

// Even if no tick comes, so that no answer leaves, few wait.
func TestWaitingAnswersAreBounded(t *testing.T) {
	l := settled(t, plain())
	for i := range 1000 {
		l.s.solicit(l.now, solicit(host(i)))
		l.now = l.now.Add(100 * time.Millisecond)
	}
	if n := len(l.s.answers.waiting); n != 32 {
		t.Errorf("%d answers wait, want 32", n)
	}
}
