package send_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/send"
)

// at gives a message with a timestamp of its own, signed by its source's key.
func (k *rsaKey) at(t testing.TB, packet []byte, when time.Time, nonce []byte) []byte {
	t.Helper()
	options := [][]byte{cgaOption(k, "fe80::/64"), ndp.TimestampOption(when)}
	if nonce != nil {
		options = append(options, ndp.NonceOption(nonce))
	}
	return k.seal(t, with(t, packet, options...))
}

// A peer that is not known has to be less than Delta off, either way (RFC 3971 section 5.3.4.2).
func TestUnknownPeer(t *testing.T) {
	for _, c := range []struct {
		off time.Duration
		ok  bool
	}{
		{0, true}, {299 * time.Second, true}, {-299 * time.Second, true}, {300 * time.Second, false},
		{-300 * time.Second, false}, {-20 * 365 * 24 * time.Hour, false}, {1 << 62, false},
	} {
		p := newPair(t)
		msg := p.a.key.at(t, advert(p.a.local, ipv6.AllNodes()), p.wall.Add(c.off), nil)
		if c.ok {
			p.b.secured(msg)
			continue
		}
		p.b.drops(msg, "dropped_timestamp") // in mixed mode, too
		if p.b.end.Peers() != 0 {
			t.Errorf("%v: remembered", c.off)
		}
	}
	// The largest timestamps there are.
	for _, high := range []byte{0x7f, 0x80, 0xff} {
		p := newPair(t)
		msg := p.a.key.at(t, advert(p.a.local, ipv6.AllNodes()), p.wall, nil)
		msg[ipv6.HeaderLen+option(t, msg, ndp.OptTimestamp).Offset+8] = high
		p.b.drops(recheck(msg), "dropped_timestamp")
	}
}

// A solicitation for a neighbour that is too old or too new may be answered, but nothing is remembered of it.
func TestStaleSolicitation(t *testing.T) {
	p := newPair(t, secured)
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		msg := p.a.key.at(t, solicit(p.a.local, p.b.local), p.wall.Add(off), []byte("abcdef"))
		d := p.b.secured(msg)
		if !d.security.Stale || d.security.Fresh() || !bytes.Equal(d.security.Nonce, []byte("abcdef")) {
			t.Errorf("%+v", d.security)
		}
		// So nodes whose clocks are far apart can talk: the answer is known by its nonce.
		if p.b.end.Peers() != 0 {
			t.Error("remembered")
		}
		p.b.drops(p.a.key.at(t, routerSolicit(p.a.local), p.wall.Add(off), []byte("abcdef")), "dropped_timestamp")
	}
	p.a.skew = -time.Hour
	nonce := p.b.secured(p.a.say(solicit(p.a.local, p.b.local))).security.Nonce
	if d := p.a.secured(p.b.say(advert(p.b.local, p.a.local), answering(nonce))); !d.security.Fresh() || !d.security.Reply {
		t.Errorf("%+v", d.security)
	}
	if p.a.end.Peers() != 0 {
		t.Error("a clock that is an hour off is remembered: when it is put right the peer would be shut out")
	}
}

// A known peer's timestamps have to go on as time does, less fuzz and drift.
func TestKnownPeer(t *testing.T) {
	for _, c := range []struct {
		name    string
		elapsed time.Duration
		off     time.Duration // of the second timestamp, against the first and elapsed
		result  string
	}{
		{"a new one", 10 * time.Second, 0, ""},
		{"almost in order", time.Second, -1900 * time.Millisecond, ""},
		{"replayed after 3 s", 3 * time.Second, -3 * time.Second, "dropped_replayed"},
		{"a clock with 1 % drift", 1000 * time.Second, -10 * time.Second, ""},
		{"a clock with 2 % drift", 1000 * time.Second, -20 * time.Second, "dropped_replayed"},
		{"a clock that ran ahead", time.Second, 200 * time.Second, ""},
		// [R] nothing in the RFC bounds a known peer's clock from above.
		{"a clock ahead by more than Delta", time.Second, 400 * time.Second, "dropped_timestamp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t)
			na := advert(p.a.local, ipv6.AllNodes())
			first := p.wall
			p.b.secured(p.a.key.at(t, na, first, nil))
			p.advance(c.elapsed)
			msg := p.a.key.at(t, na, first.Add(c.elapsed+c.off), nil)
			if c.result != "" {
				p.b.drops(msg, c.result)
				return
			}
			if d := p.b.secured(msg); !d.security.Fresh() {
				t.Errorf("%+v", d.security)
			}
		})
	}
}

// The last accepted message once more is a repeat for about 2 s, then it is dropped; it costs no RSA.
func TestRepeat(t *testing.T) {
	p := newPair(t)
	msg := p.a.say(routerSolicit(p.a.local))
	if d := p.b.secured(msg); !d.security.Fresh() {
		t.Errorf("%+v", d.security)
	}
	p.advance(1900 * time.Millisecond)
	before := p.b.counters()
	if d := p.b.secured(msg); !d.security.Repeat || d.security.Fresh() {
		t.Errorf("%+v", d.security)
	}
	after := p.b.counters()
	if after["verify_jobs"] != before["verify_jobs"] || after["repeats_without_rsa"] != 1 || after["secured_repeats"] != 1 {
		t.Error(p.b.nonzero())
	}
	p.advance(200 * time.Millisecond)
	p.b.drops(msg, "dropped_replayed")

	// Two copies that are verified at the same time: only one makes state.
	p.b.hold = true
	again := p.a.say(routerSolicit(p.a.local))
	p.b.hear(stranger, again)
	p.b.hear(p.a.hw, again)
	n := len(p.b.delivered)
	p.b.work()
	got := p.b.delivered[n:]
	if len(got) != 2 || !got[0].security.Fresh() || got[1].security.Fresh() || !got[1].security.Repeat {
		t.Errorf("%+v", got)
	}

	// An old message that waits beside a new one of a peer that was not known is dropped when the new one verified first.
	c := p.lab.node(strangeKey())
	old := c.say(advert(c.local, ipv6.AllNodes()))
	p.advance(5 * time.Second)
	p.b.hold = true
	p.b.hear(stranger, c.say(advert(c.local, ipv6.AllNodes())))
	p.b.hear(stranger, old)
	n = len(p.b.delivered)
	p.b.work()
	if len(p.b.delivered) != n+1 || p.b.counters()["dropped_replayed"] != 2 {
		t.Error(p.b.nonzero())
	}

	// Another message with the same timestamp and nonce is one, too; with another nonce it is not.
	first := p.wall.Add(time.Second)
	p.b.secured(p.a.key.at(t, solicit(p.a.local, p.b.local), first, []byte("nonce1")))
	if d := p.b.secured(p.a.key.at(t, solicit(p.a.local, p.b.global), first, []byte("nonce1"))); !d.security.Repeat {
		t.Errorf("%+v", d.security)
	}
	if d := p.b.secured(p.a.key.at(t, solicit(p.a.local, p.b.global), first, []byte("nonce2"))); d.security.Repeat {
		t.Errorf("%+v", d.security)
	}
}

// Only what verified changes what is known of a peer: a forged message from the future does not shut the peer out.
func TestForgedTimestamp(t *testing.T) {
	p := newPair(t)
	p.b.secured(p.a.say(advert(p.a.local, ipv6.AllNodes())))
	p.advance(time.Second)
	forged := p.a.key.at(t, advert(p.a.local, ipv6.AllNodes()), p.wall.Add(290*time.Second), nil)
	at := ipv6.HeaderLen + option(t, forged, ndp.OptSignature).Offset + 40
	forged[at] ^= 1
	p.b.unsecured(recheck(forged), send.ReasonSignature)
	if d := p.b.secured(p.a.say(advert(p.a.local, ipv6.AllNodes()))); !d.security.Fresh() {
		t.Errorf("%+v", d.security)
	}
}

// An older message that is let through by fuzz does not set the peer's clock back.
func TestTimestampsNeverGoBack(t *testing.T) {
	p := newPair(t)
	na := advert(p.a.local, ipv6.AllNodes())
	first := p.wall
	p.b.secured(p.a.key.at(t, na, first, nil))
	p.b.secured(p.a.key.at(t, na, first.Add(-1500*time.Millisecond), nil))
	p.b.drops(p.a.key.at(t, na, first.Add(-3*time.Second), nil), "dropped_replayed")
}

// Sent timestamps are never the same twice and never go back, whatever the wall clock does in the small.
func TestSentTimestamps(t *testing.T) {
	p := newPair(t)
	var last uint64
	next := func() uint64 {
		t.Helper()
		msg := p.a.say(advert(p.a.local, ipv6.AllNodes()))
		body := option(t, msg, ndp.OptTimestamp).Octets
		v := binary.BigEndian.Uint64(body[8:16])
		if v <= last {
			t.Fatalf("timestamp %d after %d", v, last)
		}
		last = v
		p.b.secured(msg)
		return v
	}
	first := next()
	for range 100 {
		next() // at the same moment
	}
	if last != first+100 {
		t.Errorf("%d steps of 1/65536 s in no time", last-first)
	}
	// The wall clock is put back by a minute; peers go on to believe us.
	p.a.skew = -time.Minute
	for range 10 {
		p.advance(10 * time.Second)
		next()
	}
	if ahead := float64(last)/65536 - float64(p.wall.Add(p.a.skew).UnixMilli())/1000; ahead < 55 || ahead > 60 {
		t.Errorf("%v s ahead of the wall clock", ahead)
	}
	// It is put ahead: then its time counts.
	p.a.skew = 100 * time.Second
	if v := next(); v>>16 != uint64(p.wall.Add(p.a.skew).Unix()) {
		t.Errorf("timestamp %d", v>>16)
	}
	// It is put back by an hour: that can't be helped, but is told.
	p.a.skew = -time.Hour
	msg := p.a.say(advert(p.a.local, ipv6.AllNodes()))
	when, _ := ndp.ParseTimestamp(option(t, msg, ndp.OptTimestamp))
	if when.Unix() != p.wall.Add(p.a.skew).Unix() || len(p.a.events) != 1 || p.a.events[0].Kind != send.EventClockBack {
		t.Errorf("%v, events %+v", when, p.a.events)
	}
}

// A router whose clock stands at 1970 says so once, and can be talked to: what can't be judged is stale, answers are known
// by their nonce, and then the peer's timestamps by their own rate.
func TestClockUnset(t *testing.T) {
	p := newPair(t, secured)
	p.b.skew = -p.wall.Sub(time.Unix(40, 0))
	for range 3 {
		if d := p.b.secured(p.a.say(solicit(p.a.local, p.b.local))); !d.security.Stale {
			t.Errorf("%+v", d.security)
		}
		if d := p.b.secured(p.a.say(routerSolicit(p.a.local))); !d.security.Stale {
			t.Errorf("%+v", d.security)
		}
		p.b.drops(p.a.say(advert(p.a.local, ipv6.AllNodes())), "dropped_timestamp")
	}
	if len(p.b.events) != 1 || p.b.events[0].Kind != send.EventClockUnset || p.b.events[0].Kind.String() != "send-clock-unset" {
		t.Errorf("events %+v", p.b.events)
	}
	asked := p.b.say(solicit(p.b.local, p.a.local))
	nonce := p.a.secured(asked).security.Nonce // stale for a, whose clock is right
	if d := p.b.secured(p.a.say(advert(p.a.local, p.b.local), answering(nonce))); !d.security.Fresh() || !d.security.Reply {
		t.Errorf("%+v", d.security)
	}
	p.advance(5 * time.Second)
	announced := p.a.say(advert(p.a.local, ipv6.AllNodes()))
	if d := p.b.secured(announced); !d.security.Fresh() {
		t.Errorf("%+v", d.security)
	}
	p.advance(5 * time.Second)
	p.b.drops(announced, "dropped_replayed")
	// The clock is set: nothing has to be forgotten.
	p.b.skew = 0
	if d := p.b.secured(p.a.say(routerSolicit(p.a.local))); !d.security.Fresh() {
		t.Errorf("%+v", d.security)
	}
	if d := p.a.secured(p.b.say(routerSolicit(p.b.local))); !d.security.Fresh() {
		t.Errorf("%+v", d.security)
	}
}

// An answer is known for 10 s after the solicitation left, from the one who was asked, and by several (HK-resolution-g).
func TestNonces(t *testing.T) {
	p := newPair(t)
	c := p.lab.node(strangeKey())
	// Two routers answer one solicitation.
	rs := p.a.say(routerSolicit(p.a.local))
	for _, router := range []*node{p.b, c} {
		nonce := router.secured(rs).security.Nonce
		if d := p.a.secured(router.say(routerAdvert(router.local, p.a.local), answering(nonce))); !d.security.Reply {
			t.Errorf("%+v", d.security)
		}
	}
	rtsolpr := p.a.say(proxySolicit(p.a.global, ipv6.AllRouters()))
	for _, router := range []*node{p.b, c} {
		nonce := router.secured(rtsolpr).security.Nonce
		if d := p.a.secured(router.say(proxyAdvert(router.local, p.a.global), answering(nonce))); !d.security.Reply {
			t.Errorf("%+v", d.security)
		}
	}
	// A nonce is good for answers of its kind, from whom was asked.
	ns := p.a.say(solicit(p.a.local, p.b.local))
	nonce := p.b.secured(ns).security.Nonce
	p.a.drops(c.say(advert(c.local, p.a.local), answering(nonce)), "dropped_nonce")
	p.a.drops(p.b.say(routerAdvert(p.b.local, p.a.local), answering(nonce)), "dropped_nonce")
	p.a.drops(p.b.say(advert(p.b.local, p.a.local), answering([]byte("abcdef"))), "dropped_nonce")
	p.a.drops(p.b.say(advert(p.b.local, p.a.local), answering([]byte("abcdefghijklmn"))), "dropped_nonce")
	p.advance(9900 * time.Millisecond)
	if d := p.a.secured(p.b.say(advert(p.b.local, p.a.local), answering(nonce))); !d.security.Reply {
		t.Errorf("%+v", d.security)
	}
	p.advance(200 * time.Millisecond)
	p.a.drops(p.b.say(advert(p.b.local, p.a.local), answering(nonce)), "dropped_nonce")
	// One that was asked with later than that counts from when it left.
	p.a.hold = true
	p.a.step(send.Input{Kind: send.InSend, Octets: solicit(p.a.local, p.b.local)})
	p.advance(9 * time.Second)
	p.a.work()
	nonce = p.a.sent[len(p.a.sent)-1].Nonce
	p.advance(9 * time.Second)
	if d := p.a.secured(p.b.say(advert(p.b.local, p.a.local), answering(nonce))); !d.security.Reply {
		t.Errorf("%+v", d.security)
	}
}

// An advertisement that was answered in time and verified late still is an answer.
func TestAnswerVerifiedLate(t *testing.T) {
	p := newPair(t)
	nonce := p.b.secured(p.a.say(solicit(p.a.local, p.b.local))).security.Nonce
	msg := p.b.say(advert(p.b.local, p.a.local), answering(nonce))
	p.advance(9 * time.Second)
	p.a.hold = true
	p.a.hear(stranger, msg)
	p.advance(5 * time.Second)
	p.a.work()
	if got := p.a.delivered; len(got) != 1 || !got[0].security.Reply || !got[0].security.Fresh() {
		t.Errorf("%+v", got)
	}
}

// Our own solicitation that comes back is not somebody else's (RFC 7527), signed or not.
func TestLoopedBack(t *testing.T) {
	p := newPair(t)
	msg := p.a.say(solicit(unspecified, p.a.local))
	p.a.drops(msg, "dropped_looped_back")
	p.a.drops(without(t, msg, ndp.OptCGA, ndp.OptTimestamp, ndp.OptSignature), "dropped_looped_back")
	p.a.unsecured(solicit(unspecified, p.a.local, ndp.NonceOption([]byte("lonely"))), send.ReasonUnsigned)
}

// The nonces that are remembered are bounded; the newest count.
func TestNoncesAreBounded(t *testing.T) {
	p := newPair(t, func(cfg *send.Config) { cfg.MaxNonces = 4 })
	var asked [][]byte
	for range 6 {
		p.a.say(solicit(p.a.local, p.b.local))
		asked = append(asked, p.a.sent[len(p.a.sent)-1].Nonce)
	}
	for i, nonce := range asked {
		msg := p.b.say(advert(p.b.local, p.a.local), answering(nonce))
		if i < 2 {
			p.a.drops(msg, "dropped_nonce")
		} else {
			p.a.secured(msg)
		}
	}
}
