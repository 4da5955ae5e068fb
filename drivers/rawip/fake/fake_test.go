package fake

import (
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/ipv6"
)

var (
	lan    = rawip.Link{Index: 3, Name: "lan0", Hardware: ipv6.LinkAddr{2, 0, 0, 0, 0, 1}}
	source = ipv6.LinkAddr{2, 0, 0, 0, 0, 2}
)

func message(dst string, proto uint8, payload ...byte) []byte {
	return ipv6.Append(nil, ipv6.Header{Src: netip.MustParseAddr("2001:db8::9"), Dst: netip.MustParseAddr(dst), HopLimit: 64}, proto, payload)
}

func TestArriveCountsWhatItDrops(t *testing.T) {
	at := time.Unix(1000, 0)
	c := New(lan)
	c.Now = func() time.Time { return at }
	update := message("2001:db8::1", ipv6.ProtoMobility, 59, 0, 5, 0, 0, 0, 0, 0)
	if !c.Arrive(99, source, update) {
		t.Fatal("a binding update on an uplink did not come")
	}
	if r := <-c.Urgent(); r.At != at || r.Packet.LinkSource != source || r.Packet.Interface != 99 {
		t.Errorf("came at %v from %v on %d", r.At, r.Packet.LinkSource, r.Packet.Interface)
	}
	if c.Arrive(99, source, message("ff02::1", ipv6.ProtoICMPv6, 135, 0, 0, 0)) {
		t.Error("a solicitation came from a link that is not served")
	}
	if c.Arrive(lan.Index, source, update[:30]) {
		t.Error("a truncated packet came")
	}
	c.Counters(func(name string, value uint64) {
		if want := map[string]uint64{"received_urgent": 1, "drop_truncated": 1}[name]; value != want {
			t.Errorf("%s = %d, want %d", name, value, want)
		}
	})
}

func TestSentCanBeRead(t *testing.T) {
	c := New(lan)
	routed := 0
	c.Routes = func([]byte) { routed++ }
	raw := message("2001:db8::1", ipv6.ProtoMobility, 59, 0, 6, 0, 0, 0, 0, 0)
	if err := c.SendRouted(raw); err != nil {
		t.Fatal(err)
	}
	if err := c.SendLink(lan.Index, source, raw); err != nil {
		t.Fatal(err)
	}
	if s := <-c.Sent(); s.Link != 0 || routed != 1 {
		t.Errorf("sent %+v, routed %d", s, routed)
	}
	if s := <-c.Sent(); s.Link != lan.Index || s.Dst != source {
		t.Errorf("sent %+v", s)
	}
}

func TestWatches(t *testing.T) {
	c := New(lan)
	home := netip.MustParseAddr("2001:db8::7")
	if err := c.Watch(lan.Index, home); err != nil || !c.Watches(lan.Index, home) {
		t.Errorf("not watched: %v", err)
	}
	if err := c.SetLinks(nil); err != nil || c.Watches(lan.Index, home) {
		t.Error("watched on a link that is served no more")
	}
}

func TestSegmentLosesAndForgets(t *testing.T) {
	a, b := New(lan), New(rawip.Link{Index: 4, Hardware: source})
	s := Segment{Drop: func(_, _ ipv6.LinkAddr, packet []byte) bool { return packet[40] == 134 }}
	s.Join(a, lan.Index)
	s.Join(b, 4)
	send := func(typ byte) int {
		if err := a.SendLink(lan.Index, source, message("ff02::1", ipv6.ProtoICMPv6, typ, 0, 0, 0)); err != nil {
			t.Fatal(err)
		}
		return len(b.Packets())
	}
	if send(134) != 0 {
		t.Error("a frame that gets lost came")
	}
	if send(136) != 1 {
		t.Error("a frame did not come")
	}
	s.Leave(b, 4)
	if send(136) != 1 {
		t.Error("a frame came after the station left")
	}
}
