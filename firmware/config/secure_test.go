package config

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestSecureSettings reads all that SEND and fast handovers are told.
func TestSecureSettings(t *testing.T) {
	c, problems := Parse("roamkey", `
config link 'lan'
	option device 'br-lan'
	option send 'only'
	list access_point '02:00:00:00:01:01'
config link 'guest'
	option device 'br-guest'
config send 'send'
	option sec '2'
	option timestamp_delta '1m'
	option certificate_profile 'rfc3971'
config fmip 'fmip'
	option key_lifetime '1h'
	list algorithm 'hmac-sha256-128'
	option drain_percent '300'
config neighbor 'up'
	option address '2001:db8:2::1'
	list prefix '2001:db8:2::/64'
	option hardware '02:00:00:00:02:00'
	list access_point '02:00:00:00:02:01'
	list access_point '02:00:00:00:02:02'
config neighbor 'down'
	list prefix '2001:db8:3::/64'
`)
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	lan, guest := c.Links[0], c.Links[1]
	if lan.Send != SendOnly || !lan.Fast || len(lan.AccessPoints) != 1 {
		t.Errorf("link lan: %v, fast %v, %v", lan.Send, lan.Fast, lan.AccessPoints)
	}
	if guest.Send != SendOff || guest.Fast {
		t.Errorf("a link without send: %v, fast %v", guest.Send, guest.Fast)
	}
	if s := c.Send; s.Sec != 2 || s.Delta != time.Minute || !s.LaxProfile || s.MinBits != 1024 || s.MaxBits != 2048 || s.Key != "/etc/roamkey/send.key" {
		t.Errorf("send: %+v", s)
	}
	if f := c.Fast; f.KeyLifetime != time.Hour || !slices.Equal(f.Algorithms, []uint8{1}) || f.DrainPercent != 300 || f.ProxyLifetime != 1500*time.Millisecond {
		t.Errorf("fmip: %+v", f)
	}
	up, down := c.Neighbors[0], c.Neighbors[1]
	if !up.Fast || up.Protection != ProtectKey || up.Key != "/etc/roamkey/up.key" || len(up.AccessPoints) != 2 || up.Hardware.String() != "02:00:00:00:02:00" ||
		up.Address != netip.MustParseAddr("2001:db8:2::1") {
		t.Errorf("neighbor up: %+v", up)
	}
	if down.Fast {
		t.Error("a neighbour without address and access points cannot do fast handovers")
	}
	if len(c.Warnings) != 1 {
		t.Errorf("warnings: %v", c.Warnings)
	}
}

// TestAllAlgorithms: none is listed, with and without the section.
func TestAllAlgorithms(t *testing.T) {
	for _, text := range []string{"", "config fmip 'fmip'\n"} {
		c, problems := Parse("roamkey", "config link 'lan'\n\toption device 'br-lan'\n"+text)
		if len(problems) != 0 || !slices.Equal(c.Fast.Algorithms, []uint8{0, 1}) {
			t.Errorf("%q: %v %v", text, problems, c.Fast.Algorithms)
		}
	}
}
