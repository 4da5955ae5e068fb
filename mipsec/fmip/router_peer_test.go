package fmip_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// handMade gives an HI to the NAR, signed with key.
func (l *lab) handMade(src netip.Addr, key []byte, change func(m *mobility.HandoverInitiate), in func(in *fmip.Input)) {
	l.t.Helper()
	m := mobility.HandoverInitiate{
		Seq: 9, LinkAddr: nodeLink, PreviousCareOf: labHome, NewCareOf: labNew, Buffer: true,
		Number: uint64(l.now.Unix()) << 16, HasNumber: true, Auth: pairAuth(),
	}
	if change != nil {
		change(&m)
	}
	if !m.Auth.Present {
		key = nil
	}
	l.receive(l.nar, handover(l.t, src, narAddr, m.Append(nil), key), in)
}

// nothingExpected checks that an HI did nothing, and was not answered.
func (l *lab) nothingExpected() {
	l.t.Helper()
	l.run(5 * time.Millisecond)
	if len(l.trace) != 0 || len(l.nar.saved) != 0 {
		l.t.Errorf("something was done: %v", l.trace)
	}
}

// HI and HAck are taken from configured neighbours alone, and only protected as the configuration says (RFC 5568 section
// 10). A stranger gets no answer.
func TestInitiateProtection(t *testing.T) {
	noAuth := func(m *mobility.HandoverInitiate) { m.Auth, m.HasNumber = mobility.FastAuth{}, false }
	with := func(p fmip.Protection) func(par, nar *fmip.RouterConfig) {
		return func(par, nar *fmip.RouterConfig) { par.Neighbors[0].Protection, nar.Neighbors[0].Protection = p, p }
	}
	for _, c := range []struct {
		name    string
		config  func(par, nar *fmip.RouterConfig)
		src     netip.Addr
		key     []byte
		change  func(m *mobility.HandoverInitiate)
		in      func(in *fmip.Input)
		counter string
	}{
		{name: "a stranger", src: netip.MustParseAddr("2001:db8:66::1"), key: labPairKey, counter: "peer_stranger"},
		{name: "another key", src: parAddr, key: []byte("some other key of 32 octets, yes"), counter: "peer_bad_mac"},
		{name: "no authenticator", src: parAddr, change: noAuth, counter: "peer_no_authenticator"},
		{name: "no number", src: parAddr, key: labPairKey, change: func(m *mobility.HandoverInitiate) { m.HasNumber = false }, counter: "peer_no_authenticator"},
		{name: "SPI of handover keys", src: parAddr, change: func(m *mobility.HandoverInitiate) { m.Auth.SPI = 0; m.Auth.Present = true }, counter: "peer_no_authenticator"},
		{name: "no key configured", src: parAddr, key: labPairKey, config: func(_, nar *fmip.RouterConfig) { nar.Neighbors[0].Key = nil }, counter: "peer_no_key"},
		{name: "IPsec is asked for and not there", src: parAddr, change: noAuth, config: with(fmip.ProtectIPsec), counter: "peer_no_ipsec"},
		{name: "a home address option", src: parAddr, key: labPairKey, in: func(in *fmip.Input) { in.Packet.HomeAddress = labHome }, counter: "peer_extension_header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var changes []func(par, nar *fmip.RouterConfig)
			if c.config != nil {
				changes = append(changes, c.config)
			}
			l := newLab(t, changes...)
			key := c.key
			if strings.HasPrefix(c.name, "SPI") {
				key = nil
				m := mobility.HandoverInitiate{Seq: 9, LinkAddr: nodeLink, NewCareOf: labNew, HasNumber: true, Auth: mobility.FastAuth{Present: true, MAC: mobility.HMACSHA256}}
				l.receive(l.nar, handover(t, parAddr, narAddr, m.Append(nil), nil), nil)
			} else {
				l.handMade(c.src, key, c.change, c.in)
			}
			l.nothingExpected()
			l.wantCounter(l.nar, c.counter, 1)
		})
	}
	for name, p := range map[string]fmip.Protection{"by ESP": fmip.ProtectIPsec, "": fmip.Unprotected} {
		l := newLab(t, with(p))
		l.update(predictive(1))
		l.run(10 * time.Millisecond)
		if _, ok := l.par.router.Bound(labHome); !ok {
			t.Errorf("protection %d: not bound", p)
		}
		for _, line := range l.trace {
			if strings.Contains(line, " HI ") || strings.Contains(line, " HAck ") {
				if strings.HasSuffix(line, "by ESP") != (name != "") {
					t.Errorf("protection %d: %s", p, line)
				}
			}
		}
	}
}

// A message is taken once. A replayed one changes nothing and gets the number with which its sender can go on; that answer
// is limited and does nothing to a sender which is not behind.
func TestReplayedInitiate(t *testing.T) {
	l := newLab(t)
	l.update(predictive(1))
	l.run(10 * time.Millisecond)
	var hi []byte
	for _, packet := range l.sent {
		var p ipv6.Packet
		ipv6.Parse(packet, &p)
		if p.Dst == narAddr {
			hi = packet
		}
	}
	l.run(5 * time.Second) // nothing of the first is left
	l.trace = nil
	for range 100 {
		p := &ipv6.Packet{Interface: labUplink}
		ipv6.Parse(hi, p)
		l.receive(l.nar, p, nil)
	}
	l.wantCounter(l.nar, "initiate_number", 100)
	l.wantCounter(l.nar, "arrivals_prepared", 1)
	for _, line := range l.trace {
		if line != "NAR HAck 128 to 2001:db8:1::1 routed" {
			t.Errorf("a replay did %s", line)
		}
	}
	if len(l.trace) != 20 {
		t.Errorf("%d answers to 100 replays, want 20", len(l.trace))
	}
	l.run(10 * time.Millisecond)
	l.wantCounter(l.par, "handover_ack_not_awaited", 20)
	l.wantCounter(l.par, "peer_numbers_adjusted", 0)
}

// A neighbour that has lost its numbers, or whose clock is wrong, learns them and goes on (as in RFC 4285); one whose clock
// is ahead of ours is not taken before anything is known of it.
func TestNumbersAreAdjusted(t *testing.T) {
	t.Run("its clock is behind", func(t *testing.T) {
		l := newLab(t)
		l.par.wall = -24 * time.Hour
		l.update(predictive(1))
		l.run(20 * time.Millisecond)
		l.wantCounter(l.nar, "initiate_number", 1)
		l.wantCounter(l.par, "peer_numbers_adjusted", 1)
		if _, ok := l.par.router.Bound(labHome); !ok || len(l.acks) != 1 || l.acks[0].Status != 0 {
			t.Errorf("not bound: %+v", l.acks)
		}
	})
	t.Run("it has lost its numbers, and its clock was put back", func(t *testing.T) {
		l := newLab(t)
		l.attach(l.nar, labLink)
		l.update(reactive(1))
		l.run(20 * time.Millisecond)
		l.par.saved, l.par.bound = map[string]fmip.Record{}, nil
		l.par.wall = -time.Minute
		l.start(l.par)
		l.update(predictive(2))
		l.run(50 * time.Millisecond)
		l.wantCounter(l.par, "peer_numbers_adjusted", 1)
		if _, ok := l.par.router.Bound(labHome); !ok {
			t.Error("not bound")
		}
	})
	t.Run("its clock is ahead of a neighbour that was never heard of", func(t *testing.T) {
		l := newLab(t)
		l.par.wall = 24 * time.Hour
		l.update(predictive(1))
		l.run(2 * time.Second)
		if _, ok := l.par.router.Bound(labHome); ok {
			t.Error("bound")
		}
		l.wantCounter(l.par, "peer_numbers_adjusted", 0)
	})
	t.Run("an answer that is not for us to follow", func(t *testing.T) {
		l := newLab(t)
		forge := func(change func(a *mobility.HandoverAck)) {
			l.lose = func(message string) bool { return strings.HasPrefix(message, "NAR HAck") }
			l.update(predictive(uint16(l.par.counter("fast_updates_taken") + 1)))
			l.run(3 * time.Millisecond)
			ack := mobility.HandoverAck{Seq: l.hi.Seq, Code: 128, Number: 1<<64 - 1, HasNumber: true, Auth: pairAuth()}
			change(&ack)
			l.receive(l.par, handover(t, narAddr, parAddr, ack.Append(nil), labPairKey), nil)
			l.wantCounter(l.par, "peer_numbers_adjusted", 0)
		}
		forge(func(a *mobility.HandoverAck) {})                          // it would leave no numbers
		forge(func(a *mobility.HandoverAck) { a.Number = 5 })            // older than ours
		forge(func(a *mobility.HandoverAck) { a.Number, a.Code = 5, 0 }) // an old acceptance
		l.wantCounter(l.par, "handover_ack_number", 3)
		if _, ok := l.par.router.Bound(labHome); ok {
			t.Error("bound")
		}
	})
}

// Messages may overtake each other; each is taken once; what is older than what is remembered is not taken.
func TestNumberWindow(t *testing.T) {
	l := newLab(t)
	base := uint64(l.now.Unix()) << 16
	take := func(number uint64) bool {
		before := l.nar.counter("initiates_taken")
		l.handMade(parAddr, labPairKey, func(m *mobility.HandoverInitiate) { m.Number = number }, nil)
		return l.nar.counter("initiates_taken") == before+1
	}
	for _, c := range []struct {
		number uint64
		want   bool
	}{
		{base - 301<<16, false}, {base + 301<<16, false}, // far from our clock
		{base, true}, {base, false},
		{base - 1<<15, true}, // overtaken
		{base - 1<<15, false},
		{base - 2<<16, false}, // too old for that
		{base + 400<<16, true},
		{base + 1, true},
	} {
		if got := take(c.number); got != c.want {
			t.Errorf("number %d: taken %v, want %v", int64(c.number-base), got, c.want)
		}
	}
	for i := range uint64(64) {
		if !take(base + 500<<16 + i) {
			t.Fatalf("number %d is not taken", i)
		}
	}
	if take(base+2) || take(base+400<<16-1) {
		t.Error("a number is taken that is older than what is remembered")
	}
}

// A restart: the numbers of both sides go on, an old HI is not taken again, and no number of ours is used twice.
func TestPeerNumbersOutlastRestart(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	l.update(reactive(1))
	l.run(20 * time.Millisecond)
	first := l.hi.Number
	number := uint64(l.now.Unix())<<16 + 77<<16
	l.handMade(parAddr, labPairKey, func(m *mobility.HandoverInitiate) { m.Number = number }, nil)
	l.wantCounter(l.nar, "initiates_taken", 2)
	l.start(l.par)
	l.start(l.nar)
	l.par.wall = -time.Hour // and the clock was put back meanwhile
	l.handMade(parAddr, labPairKey, func(m *mobility.HandoverInitiate) { m.Number = number }, nil)
	l.wantCounter(l.nar, "initiates_taken", 0)
	l.wantCounter(l.nar, "initiate_number", 1)
	l.update(reactive(2))
	l.run(20 * time.Millisecond)
	if l.hi.Number <= first {
		t.Errorf("number %d after %d", l.hi.Number, first)
	}
}

// Keys are in none of the texts that a logger could make.
func TestKeysAreNotPrinted(t *testing.T) {
	l := newLab(t)
	l.update(predictive(1))
	l.run(20 * time.Millisecond)
	neighbor := l.par.cfg.Neighbors[0]
	record := fmip.Record{Addr: labHome, KeyTag: [8]byte([]byte("tag-tag-"))}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		text := fmt.Sprintf(format+format+format, neighbor, l.par.router, &record)
		if strings.Contains(text, string(labPairKey)) || strings.Contains(text, "97, 32, 107") || strings.Contains(text, "61206b") || strings.Contains(text, "0x61, 0x20") ||
			strings.Contains(text, "tag-") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}
