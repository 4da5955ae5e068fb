package daemon

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/advertise"
)

// lanConfig is the settings of the one link.
func lanConfig(t *testing.T, text string) *config.Config {
	t.Helper()
	c, problems := config.Parse("test.conf", text)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return c
}

// reload takes over settings in which old is replaced by new.
func (b *bench) reload(old, new string) {
	b.t.Helper()
	text := strings.Replace(settings, old, new, 1)
	if text == settings {
		b.t.Fatalf("there is no %q in the settings", old)
	}
	c := lanConfig(b.t, strings.ReplaceAll(text, "DIR", b.dir))
	b.ask(func() { b.d.reload(c) })
}

// heard is one router advertisement, as it was sent on link.
type heard struct {
	link int
	ndp.RouterAdvert
}

// adverts takes all advertisements that were sent since the last call.
func (b *bench) adverts() (all []heard) {
	b.t.Helper()
	for {
		select {
		case sent := <-b.socket.Sent():
			var p ipv6.Packet
			if ipv6.Parse(sent.Packet, &p) != ipv6.OK || p.Proto != ipv6.ProtoICMPv6 || p.Payload[0] != ndp.TypeRouterAdvert {
				continue
			}
			m, reason := ndp.ParseRouterAdvert(&p)
			if reason != ndp.ReasonNone {
				b.t.Fatalf("advertisement with fault %v", reason)
			}
			all = append(all, heard{sent.Link, m})
		default:
			return all
		}
	}
}

// farewells counts those of them by which this is no default router.
func farewells(all []heard) (n int) {
	for _, m := range all {
		if m.Lifetime == 0 {
			n++
		}
	}
	return n
}

// left is the number of links that are being left.
func (b *bench) left() (n int) {
	b.ask(func() { n = len(b.d.leaving) })
	return n
}

func advertising(s control.Snapshot) bool { return s.Links[0].RA.Sent > 0 }

// RFC 4861 section 6.2.5: an interface that ceases to advertise says so.
func TestAdvertisementsSwitchedOff(t *testing.T) {
	b := newBench(t)
	b.await("advertisements", advertising)
	b.reload("option device 'br-lan'", "option device 'br-lan'\n\toption lke '0'\n\toption ra '0'")
	s := b.await("silence", func(s control.Snapshot) bool { return s.Links[0].RA.Phase == "silent" })
	if n := farewells(b.adverts()); n != 3 {
		t.Errorf("%d final advertisements, want 3", n)
	}
	if s.Links[0].RA.On {
		t.Error("status says that advertisements are on")
	}
	b.reload("option device 'br-lan'", "option device 'br-lan'\n")
	b.await("advertisements again", func(s control.Snapshot) bool { return s.Links[0].RA.Phase == "advertising" })
}

// A link that the settings name no more says goodbye before its socket is closed.
func TestLinkTakenOutOfTheSettings(t *testing.T) {
	b := newBench(t)
	other := lan("2001:db8:9::1/64")
	other.Index, other.Name = lanIndex+1, "eth9"
	b.host.SetLinks(lan("2001:db8:1::1/64"), other)
	b.await("advertisements", advertising)
	b.reload("option device 'br-lan'", "option device 'eth9'")
	var all []heard
	b.await("goodbye", func(control.Snapshot) bool {
		all = append(all, b.adverts()...)
		links := b.socket.Links()
		return farewells(all) == 3 && len(links) == 1 && links[0].Index == other.Index
	})
	for _, m := range all {
		if m.Lifetime == 0 && m.link != lanIndex {
			t.Errorf("final advertisement on link %d", m.link)
		}
	}
	if n := b.left(); n != 0 {
		t.Errorf("%d links are still kept", n)
	}
}

// A link that is left and comes back at once goes on where it was; nothing says goodbye later on.
func TestLinkThatIsLeftAndComesBack(t *testing.T) {
	b := newBench(t)
	b.await("advertisements", advertising)
	b.reload("\toption device 'br-lan'", "\toption device 'eth9'")
	b.reload("option retrans_timer '0.1'", "option retrans_timer '0.2'")
	b.adverts()
	b.await("advertisements again", func(s control.Snapshot) bool { return s.Links[0].RA.Phase == "advertising" && b.left() == 0 })
	time.Sleep(200 * time.Millisecond)
	all := b.adverts()
	if n := farewells(all[min(1, len(all)):]); n != 0 || len(all) < 2 {
		t.Errorf("%d of %d advertisements are final", n, len(all))
	}
}

// What went down hears nothing, so that nothing is said; and what comes up again is no new link.
func TestLinkDownIsNoStop(t *testing.T) {
	b := newBench(t)
	b.await("advertisements", advertising)
	down := lan("2001:db8:1::1/64")
	down.Up = false
	b.host.SetLinks(down)
	b.await("the link to be down", func(s control.Snapshot) bool { return !s.Links[0].Served })
	if n := farewells(b.adverts()); n != 0 {
		t.Errorf("%d final advertisements on a link that is down", n)
	}
}

// A link that comes up with its link-local address only is held back until the others are there: hosts are not told in
// between that the prefix is gone.
func TestLinkThatComesUpInParts(t *testing.T) {
	b := newBench(t)
	b.await("advertisements", advertising)
	b.host.SetLinks()
	b.await("the link to be gone", func(s control.Snapshot) bool { return !s.Links[0].Served })
	b.host.SetLinks(lan())
	b.await("the link to be held", func(s control.Snapshot) bool {
		return strings.Contains(s.Links[0].Waiting, "no address in 2001:db8:1::/64 yet")
	})
	tentative := lan("2001:db8:1::1/64")
	tentative.Addresses[1].Tentative = true
	b.host.SetLinks(tentative)
	b.await("the link to be held", func(s control.Snapshot) bool {
		return strings.Contains(s.Links[0].Waiting, "making sure that nobody else has 2001:db8:1::1")
	})
	b.host.SetLinks(lan("2001:db8:1::1/64"))
	b.await("the link to be served", func(s control.Snapshot) bool { return s.Links[0].Served })
	for _, m := range b.adverts() {
		prefixes := m.Prefixes()
		for p, ok := prefixes.Next(); ok; p, ok = prefixes.Next() {
			if p.Preferred == 0 {
				t.Fatalf("%v is told as gone", p.Prefix)
			}
		}
	}
}

// A prefix that is gone for good, or an address whose duplicate address detection never ends, does not hold a link for long.
func TestLinkIsHeldForThreeSecondsAtTheMost(t *testing.T) {
	b := newBench(t)
	b.await("advertisements", advertising)
	now := time.Unix(1000, 0)
	b.ask(func() {
		l := b.d.links[0]
		l.served.Index = 0
		host := lan()
		for _, c := range []struct {
			after time.Duration
			held  bool
		}{{0, true}, {2999 * time.Millisecond, true}, {3 * time.Second, false}} {
			b.d.settles = time.Time{}
			p := planLink(l.config, host, true, nil, nil, now)
			b.d.holdBack(l, &p, host, now.Add(c.after))
			if held := p.waiting != ""; held != c.held || held && b.d.settles != now.Add(settleTime) {
				t.Errorf("after %v: waiting %q until %v", c.after, p.waiting, b.d.settles)
			}
		}
	})
}

// RFC 4291 section 2.6.1: the first address of a prefix is every router's, so that no answer to it need come here.
func TestSubnetRouterAnycastAddressIsNoRouterAddress(t *testing.T) {
	c := lanConfig(t, strings.ReplaceAll(settings, "DIR", "/x")).Links[0]
	for name, tt := range map[string]struct {
		addrs []string
		want  string
	}{
		"beside another": {[]string{"2001:db8:1::/64", "2001:db8:1::1/64"}, "2001:db8:1::1"},
		"alone":          {[]string{"2001:db8:1::/64"}, "invalid IP"},
	} {
		t.Run(name, func(t *testing.T) {
			p := planLink(c, lan(tt.addrs...), true, nil, nil, time.Time{})
			if got := p.adverts.Prefixes[0].Router.String(); got != tt.want {
				t.Errorf("router address %s, want %s", got, tt.want)
			}
		})
	}
}

// A stale prefix that hosts never forget is valid forever, not since the year 1.
func TestStatusOfAnEndlessStalePrefix(t *testing.T) {
	c := lanConfig(t, strings.ReplaceAll(settings, "DIR", "/x")).Links[0]
	now := time.Unix(1000, 0)
	p := planLink(c, lan("2001:db8:1::1/64"), true, nil, nil, now)
	speaker, err := advertise.NewSpeaker(p.adverts)
	if err != nil {
		t.Fatal(err)
	}
	endless, ending := netip.MustParsePrefix("2001:db8:8::/64"), netip.MustParsePrefix("2001:db8:9::/64")
	speaker.Restore(now, []advertise.Record{{Prefix: endless}, {Prefix: ending, Until: now.Add(time.Minute)}})
	l := &link{config: c, speaker: speaker}
	want := map[netip.Prefix]control.Seconds{endless: control.Forever, ending: control.Seconds(time.Minute)}
	for _, got := range l.status(now).Prefixes {
		if valid, stale := want[got.Prefix]; stale && (!got.Stale || got.Valid != valid) {
			t.Errorf("%+v, want it stale and valid for %v s", got, time.Duration(valid).Seconds())
		}
		delete(want, got.Prefix)
	}
	if len(want) > 0 {
		t.Errorf("status does not show %v", want)
	}
}
