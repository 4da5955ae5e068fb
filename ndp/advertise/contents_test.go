package advertise

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	oracle "github.com/mdlayher/ndp"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

// everything is a router that says all there is.
func everything(t testing.TB) Config {
	cfg := mobile(t)
	cfg.Managed, cfg.Other = true, true
	cfg.RouterLifetime = 9000 * time.Second
	cfg.Preference = Low
	cfg.Reachable, cfg.Retrans = 30*time.Second, time.Second
	cfg.MTU = 1480
	cfg.AdvertiseInterval = true
	cfg.HomeAgentInfo = &HomeAgentInfo{Preference: 0x0102, Lifetime: 8000 * time.Second}
	cfg.Capability.MaximumLifetime = 7200 * time.Second
	cfg.Prefixes[0].Valid, cfg.Prefixes[0].Preferred = 5400*time.Second, 2700*time.Second
	cfg.Prefixes = append(cfg.Prefixes, Prefix{Prefix: twoPrefix, OnLink: true, Valid: Infinite, Preferred: Infinite})
	cfg.Routes = []Route{
		{Prefix: netip.MustParsePrefix("::/0"), Preference: High, Lifetime: 600 * time.Second},
		{Prefix: netip.MustParsePrefix("2001:db8::/32"), Preference: Low, Lifetime: Infinite},
		{Prefix: netip.MustParsePrefix("2001:db8:0:1:8000::/65"), Lifetime: 0},
	}
	cfg.Servers = []Servers{{Addrs: []netip.Addr{oneRouter, routerLL}, Lifetime: 1800 * time.Second}}
	cfg.Search = []Search{{Domains: []string{"a.example", "b.example."}, Lifetime: Default}}
	return cfg
}

func TestEveryFieldStandsWhereItsRFCSays(t *testing.T) {
	key := vectorKey(t)
	option6 := append([]byte{6, 21, 0x1c, 0x20}, key...) // Type, Length, Maximum Lifetime 7200 s
	option6 = append(option6, make([]byte, 21*8-len(option6))...)
	want := slices.Concat(
		unhex(t, "60000000"), []byte{0x01, 0xc0, 58, 255}, // IPv6: payload 448, ICMPv6, hop limit 255
		unhex(t, "fe800000000000000000000000000001"+"ff020000000000000000000000000001"),
		unhex(t, "8600"+"0000"+"40"), // RA, checksum, Cur Hop Limit 64
		unhex(t, "f8"),               // M O H, preference 11: low (RFC 4191 section 2.2)
		unhex(t, "2328"),             // Router Lifetime 9000 s
		unhex(t, "00007530"+"000003e8"),
		unhex(t, "0101020000000001"), // Source Link-Layer Address
		unhex(t, "0304"+"40"+"e0"+"00001518"+"00000a8c"+"00000000"+"20010db8000100000000000000000001"), // L A R: whole address
		unhex(t, "0801"+"0000"+"0102"+"1f40"), // Home Agent Information
		unhex(t, "0701"+"0000"+"000927c0"),    // Advertisement Interval 600,000 ms
		option6,
		unhex(t, "0501"+"0000"+"000005c8"), // MTU 1480
		unhex(t, "0304"+"40"+"80"+"ffffffff"+"ffffffff"+"00000000"+"20010db8000200000000000000000000"), // L, infinite
		unhex(t, "1801"+"00"+"08"+"00000258"),                                    // ::/0, high
		unhex(t, "1802"+"20"+"18"+"ffffffff"+"20010db800000000"),                 // /32, low
		unhex(t, "1803"+"41"+"00"+"00000000"+"20010db8000000018000000000000000"), // /65, medium
		unhex(t, "1905"+"0000"+"00000708"+"20010db8000100000000000000000001"+"fe800000000000000000000000000001"),
		unhex(t, "1f04"+"0000"+"00000708"), []byte("\x01a\x07example\x00\x01b\x07example\x00"), make([]byte, 2),
	)
	binary.BigEndian.PutUint16(want[4:], uint16(len(want)-ipv6.HeaderLen))
	ndp.FixChecksum(want[ipv6.HeaderLen:], routerLL, ipv6.AllNodes())

	l := started(t, everything(t))
	if len(l.sent) != 1 {
		t.Fatalf("%d packets were sent, want 1", len(l.sent))
	}
	got := l.sent[0].packet
	if !bytes.Equal(got, want) {
		t.Errorf("the advertisement is\n%x, want\n%x", got, want)
	}
}

// The LKE option is that of an independent implementation, octet for octet (LKE-AR-1, LKE-AR-4).
func TestCapabilityIsTheVectors(t *testing.T) {
	_, want := vectors(t)
	l := started(t, mobile(t))
	a := l.last()
	if !a.HomeAgent { // LKE-AR-1: H bit ...
		t.Error("the H flag is missing")
	}
	if got := a.option(6); !bytes.Equal(got, want) { // ... and the option with the public key
		t.Errorf("option 6 is\n%x, want\n%x", got, want)
	}
	if p, _ := a.prefix(onePrefix); !p.RouterAddress || p.Address != oneRouter {
		t.Errorf("a home agent has to tell its address (RFC 6275 section 7.2), said %+v", p)
	}
	if a.Lifetime != 7200 {
		t.Errorf("LKE's recommended 7200 s need a router lifetime as long (LKE-AR-3), it is %d s", a.Lifetime)
	}
}

func TestCapabilityHasTheConfiguredNumber(t *testing.T) {
	cfg := mobile(t)
	cfg.CodePoints.Capability = 253
	l := started(t, cfg)
	if a := l.last(); a.option(6) != nil || a.option(253) == nil {
		t.Error("the capability is not under 253")
	}
}

// mdlayher/ndp was written by others: it reads all that it knows of, and finds what was configured.
func TestAnotherImplementationReadsTheSame(t *testing.T) {
	cfg := everything(t)
	l := started(t, cfg)
	m, err := oracle.ParseMessage(l.last().packet[ipv6.HeaderLen:])
	if err != nil {
		t.Fatal(err)
	}
	ra := m.(*oracle.RouterAdvertisement)
	check := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is read as %v, want %v", what, got, want)
		}
	}
	check("hop limit", ra.CurrentHopLimit, 64)
	check("M", ra.ManagedConfiguration, true)
	check("O", ra.OtherConfiguration, true)
	check("H", ra.MobileIPv6HomeAgent, true)
	check("preference", ra.RouterSelectionPreference, oracle.Low)
	check("router lifetime", ra.RouterLifetime, 9000*time.Second)
	check("reachable time", ra.ReachableTime, 30*time.Second)
	check("retrans timer", ra.RetransmitTimer, time.Second)
	var seen []string
	for _, o := range ra.Options {
		seen = append(seen, fmt.Sprint(o.Code()))
		switch o := o.(type) {
		case *oracle.LinkLayerAddress:
			check("link-layer address", o.Addr, routerHW)
			check("its direction", o.Direction, oracle.Source)
		case *oracle.MTU:
			check("MTU", o.MTU, 1480)
		case *oracle.PrefixInformation:
			if o.AutonomousAddressConfiguration {
				check("prefix", o.Prefix, "2001:db8:1::")
				check("valid lifetime", o.ValidLifetime, 5400*time.Second)
				check("preferred lifetime", o.PreferredLifetime, 2700*time.Second)
			} else {
				check("prefix", o.Prefix, "2001:db8:2::")
				check("valid lifetime", o.ValidLifetime, oracle.Infinity)
			}
			check("L", o.OnLink, true)
			check("prefix length", o.PrefixLength, 64)
		case *oracle.RouteInformation:
			switch o.PrefixLength {
			case 0:
				check("default route", fmt.Sprint(o.Prefix, o.Preference, o.RouteLifetime), ":: High 10m0s")
			case 32:
				check("route", fmt.Sprint(o.Prefix, o.Preference, o.RouteLifetime), "2001:db8:: Low "+oracle.Infinity.String())
			case 65:
				check("route", fmt.Sprint(o.Preference, o.RouteLifetime), "Medium 0s")
			}
		case *oracle.RecursiveDNSServer:
			check("servers", o.Servers, []netip.Addr{oneRouter, routerLL})
			check("their lifetime", o.Lifetime, 1800*time.Second)
		case *oracle.DNSSearchList:
			check("search list", o.DomainNames, []string{"a.example", "b.example"})
			check("its lifetime", o.Lifetime, 1800*time.Second)
		}
	}
	check("options", seen, strings.Fields("1 3 8 7 6 5 3 24 24 24 25 31"))
}

func TestShortIntervalsAreToldWithSlack(t *testing.T) {
	// RFC 6275 section 7.5: 20 ms are added under 200 ms.
	for _, c := range []struct {
		longest time.Duration
		want    uint32
	}{{70 * time.Millisecond, 90}, {199 * time.Millisecond, 219}, {200 * time.Millisecond, 200}, {600 * time.Second, 600000}} {
		cfg := plain()
		cfg.MaxInterval, cfg.MinDelay, cfg.AdvertiseInterval = c.longest, 30*time.Millisecond, true
		if got := started(t, cfg).last().Interval; got != c.want {
			t.Errorf("with %v the option says %d ms, want %d", c.longest, got, c.want)
		}
	}
}

func TestRouterLifetimeIsNeverZeroByShortIntervals(t *testing.T) {
	cfg := plain()
	cfg.MaxInterval, cfg.MinDelay = 70*time.Millisecond, 30*time.Millisecond
	if got := started(t, cfg).last().Lifetime; got != 1 { // RFC 6275 section 7.5
		t.Errorf("router lifetime is %d s, want 1", got)
	}
}

func TestHomeAgentInformationIsSentOnlyWhenItSaysSomething(t *testing.T) {
	// RFC 6275 section 7.4: not where both values are the defaults.
	for _, c := range []struct {
		info *HomeAgentInfo
		sent bool
	}{
		{nil, false},
		{&HomeAgentInfo{}, false},
		{&HomeAgentInfo{Lifetime: 7200 * time.Second}, false},
		{&HomeAgentInfo{Preference: 1}, true},
		{&HomeAgentInfo{Lifetime: 7300 * time.Second}, true},
	} {
		cfg := mobile(t)
		cfg.HomeAgentInfo = c.info
		if got := started(t, cfg).last().HasHomeAgentInfo; got != c.sent {
			t.Errorf("%+v is sent: %v, want %v", c.info, got, c.sent)
		}
	}
}

func TestPreferenceWithoutLifetimeIsMedium(t *testing.T) {
	cfg := plain()
	cfg.RouterLifetime, cfg.Preference = 0, High
	if flags := started(t, cfg).last().packet[ipv6.HeaderLen+5]; flags != 0 { // RFC 4191 section 2.2
		t.Errorf("flags are %#x, want 0", flags)
	}
}

// LKE-AR-2: where the router cannot call itself a home agent, for want of an address to tell, it offers no LKE either.
func TestNoAddressNoHomeAgentNoLKE(t *testing.T) {
	cfg := mobile(t)
	cfg.HomeAgentInfo = &HomeAgentInfo{Preference: 9}
	cfg.Prefixes[0].ValidUntil = begin().Add(time.Minute)
	l := started(t, cfg)
	if a := l.last(); !a.HomeAgent || a.option(6) == nil || !a.HasHomeAgentInfo {
		t.Fatal("while there is an address LKE is offered")
	}
	l.pass(time.Minute)
	l.sent = nil
	l.pass(10 * time.Minute)
	if a := l.last(); a.HomeAgent || a.option(6) != nil || a.option(8) != nil {
		t.Error("the prefix has ended, but H, option 6 or option 8 is still there")
	}

	cfg.Prefixes = nil
	l = started(t, cfg)
	if a := l.last(); a.HomeAgent || a.option(6) != nil || a.option(8) != nil {
		t.Error("there is no prefix, but H, option 6 or option 8 is there")
	}
	if len(l.reports) != 1 || l.reports[0].Kind != EventNoAddress {
		t.Errorf("reports are %+v, want no-router-address", l.reports)
	}
}

func TestLifetimesThatDecrementAndThatDoNot(t *testing.T) {
	cfg := plain()
	cfg.Prefixes = []Prefix{
		DefaultPrefix(onePrefix),
		{
			Prefix: twoPrefix, Valid: LimitValid, Preferred: LimitPreferred,
			ValidUntil: begin().Add(2 * time.Hour), PreferredUntil: begin().Add(time.Hour),
		},
		{Prefix: netip.MustParsePrefix("2001:db8:3::/64"), Valid: Infinite, Preferred: Infinite, ValidUntil: begin().Add(time.Hour)},
	}
	l := started(t, cfg)
	l.pass(3 * time.Hour)
	for _, a := range l.sent {
		if p, _ := a.prefix(onePrefix); p.Valid != 2592000 || p.Preferred != 604800 { // RFC 4861 section 6.2.1: fixed
			t.Errorf("fixed lifetimes are %d, %d after %v", p.Valid, p.Preferred, a.at.Sub(begin()))
		}
		if p, _ := a.prefix(netip.MustParsePrefix("2001:db8:3::/64")); p.Preferred != p.Valid || p.Valid > 3600 {
			t.Errorf("after %v preferred is %d and valid %d", a.at.Sub(begin()), p.Preferred, p.Valid)
		}
		// The lesser of what is left and of the limit (RFC 9096 section 3.4), never over what is left (section 3.3, L-15).
		left := func(d time.Duration) time.Duration { return max(d-a.at.Sub(begin()), 0) }
		valid := uint32(min(left(2*time.Hour), LimitValid) / time.Second)
		preferred := uint32(min(left(time.Hour), LimitPreferred) / time.Second)
		if p, _ := a.prefix(twoPrefix); p.Valid != valid || p.Preferred != preferred {
			t.Errorf("after %v lifetimes are %d, %d, want %d, %d", a.at.Sub(begin()), p.Valid, p.Preferred, valid, preferred)
		}
	}
}

func TestWhatDoesNotFitIsSpreadOverSeveral(t *testing.T) {
	cfg := everything(t)
	cfg.LinkMTU, cfg.MTU = 1280, 1280
	cfg.Capability.PublicKey = keyOf(t, 2048)
	for i := range 26 {
		p := DefaultPrefix(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0xff, byte(i)}), 64))
		cfg.Prefixes = append(cfg.Prefixes, p)
	}
	l := started(t, cfg)
	if len(l.sent) != 2 {
		t.Fatalf("%d packets were sent, want 2", len(l.sent))
	}
	count := make(map[uint8]int)
	prefixes := make(map[netip.Prefix]int)
	for _, a := range l.sent {
		if len(a.packet) > 1280 {
			t.Errorf("a packet has %d octets", len(a.packet))
		}
		// RFC 6275: source link-layer address in all (section 7.5), the same router address in all (7.2), home agent
		// information in all with the R bit (7.4).
		p, _ := a.prefix(onePrefix)
		if !a.HomeAgent || !p.RouterAddress || p.Address != oneRouter || a.SourceLink != routerHW || a.HomeAgentPreference != 0x0102 {
			t.Errorf("one of the advertisements lacks what each has to say: %+v", a.RouterAdvert)
		}
		if a.Lifetime != 9000 || a.HopLimit != 64 {
			t.Errorf("the fixed part differs: %+v", a.RouterAdvert)
		}
		options := a.Options
		for o, ok := options.Next(); ok; o, ok = options.Next() {
			count[o.Type]++
		}
		walk := a.Prefixes()
		for p, ok := walk.Next(); ok; p, ok = walk.Next() {
			prefixes[p.Prefix]++
		}
	}
	if len(prefixes) != len(cfg.Prefixes) {
		t.Errorf("%d prefixes were told, want %d", len(prefixes), len(cfg.Prefixes))
	}
	for typ, want := range map[uint8]int{5: 1, 6: 1, 24: 3, 25: 1, 31: 1, 1: 2, 7: 2, 8: 2} {
		if count[typ] != want {
			t.Errorf("option %d was sent %d times, want %d", typ, count[typ], want)
		}
	}
	// The option that mdlayher/ndp cannot read, 304 octets of RSA-2048, comes through whole.
	options := l.sent[0].Options
	for o, ok := options.Next(); ok; o, ok = options.Next() {
		if o.Type != 6 {
			continue
		}
		if len(o.Octets) != 304 {
			t.Errorf("option 6 has %d octets, want 304", len(o.Octets))
		}
		if c, err := ndp.ParseCapability(o); err != nil || !bytes.Equal(c.PublicKey, cfg.Capability.PublicKey) {
			t.Errorf("the key does not come out of it again: %v", err)
		}
	}
}

func TestRoomIsLeftForASignature(t *testing.T) {
	// LKE-AR-28: with SEND the advertisement may be signed; its options must fit behind ours.
	cfg := mobile(t)
	cfg.LinkMTU, cfg.Reserve = 1280, 950
	l := started(t, cfg)
	for _, a := range l.sent {
		if len(a.packet)+950 > 1280 {
			t.Errorf("%d octets leave no room", len(a.packet))
		}
	}
	cfg.Reserve = 1100
	_, wrong := cfg.Complete()
	if len(wrong) != 1 || wrong[0].Field != "LinkMTU" || !strings.Contains(wrong[0].Right, "1364 octets of MTU") {
		t.Errorf("an option with no room is told as %v", wrong)
	}
	cfg = plain()
	cfg.LinkMTU, cfg.Reserve = 1280, 1240
	if _, wrong := cfg.Complete(); len(wrong) != 1 || wrong[0].Field != "LinkMTU" && wrong[0].Field != "Reserve" {
		t.Errorf("no room at all is told as %v", wrong)
	}
}

func TestLongListsOfNamesAreSplitIntoOptions(t *testing.T) {
	cfg := plain()
	var names []string
	for i := range 8 {
		names = append(names, fmt.Sprintf("%s.%d.example", strings.Repeat("a", 60), i))
	}
	cfg.Search = []Search{{Domains: names, Lifetime: Default}}
	var addrs []netip.Addr
	for i := range 10 {
		addrs = append(addrs, netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 15: byte(i + 1)}))
	}
	cfg.Servers = []Servers{{Addrs: addrs, Lifetime: Default}}
	m, err := oracle.ParseMessage(started(t, cfg).last().packet[ipv6.HeaderLen:])
	if err != nil { // as with any option of 256 octets or more
		t.Fatal(err)
	}
	var gotNames []string
	var gotAddrs []netip.Addr
	for _, o := range m.(*oracle.RouterAdvertisement).Options {
		switch o := o.(type) {
		case *oracle.DNSSearchList:
			gotNames = append(gotNames, o.DomainNames...)
		case *oracle.RecursiveDNSServer:
			gotAddrs = append(gotAddrs, o.Servers...)
		}
	}
	if !slices.Equal(gotNames, names) || !slices.Equal(gotAddrs, addrs) {
		t.Errorf("read were %v and %v", gotNames, gotAddrs)
	}
}
