package neighbor_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/neighbor"
)

const nodeStale = "entry 2001:db8:1::a:a 02:00:00:00:00:0a stale"

// RFC 4861 section 7.2.5, and appendix C: what an advertisement does to an entry.
func TestAdvertisements(t *testing.T) {
	const S, O, R = ndp.FlagSolicited, ndp.FlagOverride, ndp.FlagRouter
	none := ipv6.LinkAddr{}
	for _, c := range []struct {
		name   string
		before string // of the entry: none, incomplete, reachable, stale
		flags  ndp.NAFlags
		hw     ipv6.LinkAddr
		want   string // of the entry
	}{
		{"no entry", "none", S | O, nodeHW, ""},
		{"incomplete, solicited", "incomplete", S, nodeHW, "02:00:00:00:00:0a reachable"},
		{"incomplete, unsolicited", "incomplete", O, nodeHW, "02:00:00:00:00:0a stale"},
		{"incomplete, without a link-layer address", "incomplete", S | O, none, "00:00:00:00:00:00 incomplete"},
		{"incomplete, of a router", "incomplete", S | R, nodeHW, "02:00:00:00:00:0a reachable router"},
		{"reachable, other address, no override", "reachable", 0, liarHW, "02:00:00:00:00:0a stale"},
		{"reachable, other address, override", "reachable", O, liarHW, "02:00:00:00:66:66 stale"},
		{"reachable, same address", "reachable", O, nodeHW, "02:00:00:00:00:0a reachable"},
		{"stale, other address, no override", "stale", 0, liarHW, "02:00:00:00:00:0a stale"},
		{"stale, other address, override", "stale", O, liarHW, "02:00:00:00:66:66 stale"},
		{"stale, same address, unsolicited", "stale", O, nodeHW, "02:00:00:00:00:0a stale"},
		{"stale, solicited by nobody", "stale", S | O, nodeHW, "02:00:00:00:00:0a stale"},
		{"probe, solicited", "probe", S, nodeHW, "02:00:00:00:00:0a reachable"},
		{"probe, solicited, without a link-layer address", "probe", S, none, "02:00:00:00:00:0a reachable"},
		{"probe, other address, no override", "probe", S, liarHW, "02:00:00:00:00:0a probe"},
		{"probe, other address, solicited override", "probe", S | O, liarHW, "02:00:00:00:66:66 reachable"},
		{"stale, becomes a router", "stale", R, nodeHW, "02:00:00:00:00:0a stale router"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := settled(t)
			switch c.before {
			case "incomplete":
				l.ask(nodeAddr, true)
			case "reachable", "stale", "probe":
				l.resolve(nodeAddr, nodeHW)
			}
			if c.before == "stale" {
				l.pass(time.Minute)
			}
			if c.before == "probe" {
				l.ask(nodeAddr, false)
			}
			l.hear(na(c.hw, nodeAddr, c.flags, c.hw))
			l.expect(nodeAddr, c.want)
		})
	}
}

// RFC 3971 section 8, mixed mode: unsecured messages do not change secured entries; secured messages change the entry and
// make it secured. What was said before, or when cannot be judged, changes nothing.
func TestMixedMode(t *testing.T) {
	const S, O = ndp.FlagSolicited, ndp.FlagOverride
	none := func(*neighbor.Input) {}
	for _, c := range []struct {
		name    string
		before  func(*neighbor.Input) // how the entry with nodeHW was made
		packet  *ipv6.Packet
		how     func(*neighbor.Input)
		want    string
		counter string
	}{
		{"unsecured advertisement, secured entry", answered, na(liarHW, nodeAddr, O, liarHW), none,
			"02:00:00:00:00:0a reachable secured", "drop_unsecured_of_secured"},
		{"unsecured solicitation, secured entry", answered, ns(liarHW, nodeAddr, ownLink, liarHW), none,
			"02:00:00:00:00:0a reachable secured", "drop_unsecured_of_secured"},
		{"unsecured router solicitation, secured entry", answered, rs(liarHW, nodeAddr, liarHW), none,
			"02:00:00:00:00:0a reachable secured", "drop_unsecured_of_secured"},
		{"unsecured advertisement with the same address, secured entry", answered, na(nodeHW, nodeAddr, O, nodeHW), none,
			"02:00:00:00:00:0a reachable secured", "drop_unsecured_of_secured"},
		{"secured advertisement, unsecured entry", none, na(nodeHW, nodeAddr, O, nodeHW), secured,
			"02:00:00:00:00:0a reachable secured", "neighbours_secured"},
		{"secured advertisement without override, a liar's entry", none, na(liarHW, nodeAddr, 0, liarHW), secured,
			"02:00:00:00:66:66 stale secured", "neighbours_secured"},
		{"secured solicitation, unsecured entry", none, ns(nodeHW, nodeAddr, ownLink, nodeHW), secured,
			"02:00:00:00:00:0a reachable secured", "neighbours_secured"},
		{"secured router solicitation, a liar's entry", none, rs(liarHW, nodeAddr, liarHW), secured,
			"02:00:00:00:66:66 stale secured", "neighbours_secured"},
		{"secured solicitation of fast handovers, a liar's entry", none, proxy(liarHW, nodeAddr, liarHW), secured,
			"02:00:00:00:66:66 stale secured", "neighbours_secured"},
		{"secured solicitation of fast handovers, said once more", answered, proxy(liarHW, nodeAddr, liarHW), repeated,
			"02:00:00:00:00:0a reachable secured", "drop_repeat_or_stale"},
		{"unsecured solicitation of fast handovers", none, proxy(liarHW, nodeAddr, liarHW), none,
			"02:00:00:00:00:0a reachable", "drop_other_role"},
		{"unsecured solicitation, unsecured entry", none, ns(liarHW, nodeAddr, ownLink, liarHW), none,
			"02:00:00:00:66:66 stale", "solicitations_answered"},
		{"secured advertisement, secured entry that moved", answered, na(liarHW, nodeAddr, O, liarHW), secured,
			"02:00:00:00:66:66 stale secured", "drop_other_type"},
		{"advertisement said once more", none, na(liarHW, nodeAddr, O, liarHW), repeated,
			"02:00:00:00:00:0a reachable", "drop_repeat_or_stale"},
		{"advertisement of an unknown time", none, na(liarHW, nodeAddr, O, liarHW), stale,
			"02:00:00:00:00:0a reachable", "drop_repeat_or_stale"},
		{"solicitation said once more", answered, ns(liarHW, nodeAddr, ownLink, liarHW), repeated,
			"02:00:00:00:00:0a reachable secured", "drop_repeat_or_stale"},
		{"solicited flag without our nonce", answered, na(liarHW, nodeAddr, S|O, liarHW), secured,
			"02:00:00:00:66:66 stale secured", "drop_other_type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := settled(t)
			l.resolve(nodeAddr, nodeHW, c.before)
			before := l.counter(c.counter)
			l.hear(c.packet, c.how)
			l.expect(nodeAddr, c.want)
			if c.counter != "drop_other_type" && l.counter(c.counter) == before {
				t.Errorf("%s is not counted", c.counter)
			}
		})
	}
}

// RFC 4861 section 6.2.6: a router learns of hosts by their solicitations; hosts are not told of by them.
func TestRouterSolicitations(t *testing.T) {
	l := settled(t)
	l.want("with its address", l.hear(rs(nodeHW, nodeAddr, nodeHW)), nodeStale)
	l.want("once more", l.hear(rs(nodeHW, nodeAddr, nodeHW)))
	l.want("another address", l.hear(rs(liarHW, nodeAddr, liarHW)), "entry 2001:db8:1::a:a 02:00:00:00:66:66 stale")
	l.want("without an address", l.hear(rs(nodeHW, nodeLink, ipv6.LinkAddr{})))
	l.want("from nobody", l.hear(rs(nodeHW, netip.IPv6Unspecified(), ipv6.LinkAddr{}), secured))
	l.expect(nodeLink, "")
	// Who solicits routers is none.
	l.hear(na(nodeHW, nodeAddr, ndp.FlagRouter|ndp.FlagOverride, nodeHW), secured)
	l.expect(nodeAddr, "02:00:00:00:00:0a stale secured router")
	l.hear(rs(nodeHW, nodeAddr, nodeHW))
	l.hear(rs(nodeHW, nodeAddr, nodeHW), repeated)
	l.expect(nodeAddr, "02:00:00:00:00:0a stale secured router")
	l.hear(rs(nodeHW, nodeAddr, nodeHW), secured)
	l.expect(nodeAddr, "02:00:00:00:00:0a stale secured")
	h := settled(t, host)
	h.drops("drop_other_role", func() []neighbor.Effect { return h.hear(rs(nodeHW, nodeAddr, nodeHW)) })
}

// RFC 4861 section 6.3.4: a host learns of routers by their advertisements, secured ones too.
func TestRouterAdvertisements(t *testing.T) {
	l := settled(t, host)
	l.want("learned", l.hear(ra(nodeHW, nodeLink, nodeHW)), "entry fe80::a:a 02:00:00:00:00:0a stale")
	l.expect(nodeLink, "02:00:00:00:00:0a stale router")
	l.hear(ra(nodeHW, nodeLink, nodeHW), secured)
	l.expect(nodeLink, "02:00:00:00:00:0a stale secured router")
	l.drops("drop_unsecured_of_secured", func() []neighbor.Effect { return l.hear(ra(liarHW, nodeLink, liarHW)) })
	l.hear(na(nodeHW, nodeLink, 0, nodeHW), secured)
	l.expect(nodeLink, "02:00:00:00:00:0a stale secured") // it says that it is none any more
	l.hear(ra(nodeHW, nodeLink, ipv6.LinkAddr{}))
	l.hear(ra(nodeHW, nodeLink, ipv6.LinkAddr{}), stale)
	l.expect(nodeLink, "02:00:00:00:00:0a stale secured")
	l.hear(ra(nodeHW, nodeLink, ipv6.LinkAddr{}), secured)
	l.expect(nodeLink, "02:00:00:00:00:0a stale secured router")
	r := settled(t)
	r.drops("drop_other_role", func() []neighbor.Effect { return r.hear(ra(nodeHW, nodeLink, nodeHW)) })
}

// RFC 4861 section 8: redirects are a host's affair; it is told how far one can be believed, and nothing is learned here.
func TestRedirects(t *testing.T) {
	dst := netip.MustParseAddr("2001:db8:9::9")
	p := wrap(nodeHW, nodeLink, ownLink, ndp.AppendRedirect(nil, nodeLink, ownLink, nodeLink, dst, ndp.TargetLinkOption(liarHW)))
	const passed = "redirect 2001:db8:9::9 to fe80::a:a (02:00:00:00:66:66) by fe80::a:a secured="
	l := settled(t, host)
	l.want("secured", l.hear(p, secured), passed+"true")
	l.want("unsecured", l.hear(p), passed+"false")
	l.drops("drop_repeat_or_stale", func() []neighbor.Effect { return l.hear(p, repeated) })
	l.expect(nodeLink, "")
	only := settled(t, host, securedOnly)
	only.drops("drop_unsecured", func() []neighbor.Effect { return only.hear(p) })
	r := settled(t)
	r.drops("drop_other_role", func() []neighbor.Effect { return r.hear(p, secured) })
}

// A protocol tells of a neighbour: the kernel gets it as what is to be confirmed, for its packets wait (RFC 5568 section
// 6.4.1: a UNA makes the entry stale). Not even a protocol changes what is secured by what is not.
func TestToldByAProtocol(t *testing.T) {
	known := func(hw ipv6.LinkAddr, secured bool) neighbor.Input {
		return neighbor.Input{Kind: neighbor.InKnown, Addr: nodeAddr, Neighbour: hw, Secured: secured}
	}
	l := settled(t)
	l.ask(nodeAddr, true)
	l.want("while it is being resolved", l.step(known(nodeHW, false)), nodeStale)
	l.expect(nodeAddr, "02:00:00:00:00:0a stale")
	l.want("once more", l.step(known(nodeHW, true)), nodeStale)
	l.expect(nodeAddr, "02:00:00:00:00:0a stale secured")
	l.drops("drop_unsecured_of_secured", func() []neighbor.Effect { return l.step(known(liarHW, false)) })
	l.drops("drop_link_address", func() []neighbor.Effect { return l.step(known(ipv6.LinkAddr{}, true)) })
	l.drops("drop_known_address", func() []neighbor.Effect {
		return l.step(neighbor.Input{Kind: neighbor.InKnown, Addr: ownLink, Neighbour: liarHW, Secured: true})
	})
}

func TestWhatIsNoMessage(t *testing.T) {
	l := settled(t)
	bad := na(nodeHW, nodeAddr, 0, nodeHW)
	bad.HopLimit = 254
	l.drops("nd_bad_hop_limit", func() []neighbor.Effect { return l.hear(bad) })
	bad = ns(nodeHW, nodeAddr, ownLink, nodeHW)
	bad.Payload[3] ^= 1
	l.drops("nd_bad_checksum", func() []neighbor.Effect { return l.hear(bad) })
	bad = rs(nodeHW, nodeAddr, nodeHW)
	bad.Fragmented = true
	l.drops("nd_fragment", func() []neighbor.Effect { return l.hear(bad, secured) })
	echo := rs(nodeHW, nodeAddr, nodeHW)
	echo.Payload[0] = 128
	l.drops("drop_other_type", func() []neighbor.Effect { return l.hear(echo) })
	echo.Proto = 17
	l.drops("drop_other_type", func() []neighbor.Effect { return l.hear(echo) })
	for _, hw := range []ipv6.LinkAddr{{0x33, 0x33, 0, 0, 0, 1}, ownHW} {
		l.drops("drop_link_address", func() []neighbor.Effect { return l.hear(rs(nodeHW, nodeAddr, hw)) })
	}
	l.ask(nodeAddr, true)
	l.drops("drop_link_address", func() []neighbor.Effect { return l.hear(na(nodeHW, nodeAddr, ndp.FlagOverride, ownHW)) })
	l.drops("drop_advert_no_link_address", func() []neighbor.Effect {
		return l.hear(na(nodeHW, nodeAddr, ndp.FlagSolicited, ipv6.LinkAddr{}))
	})
	l.drops("drop_advert_unknown", func() []neighbor.Effect { return l.hear(na(nodeHW, nodeLink, 0, nodeHW)) })
	if effects := l.step(neighbor.Input{Kind: neighbor.InPacket}); effects != nil {
		t.Error("no packet has effects")
	}
}

func TestReconfigureToSecuredOnly(t *testing.T) {
	l := settled(t)
	other := netip.MustParseAddr("2001:db8:1::b:b")
	l.resolve(nodeAddr, nodeHW)
	l.resolve(other, liarHW, answered)
	cfg := l.cfg
	cfg.Secured = true
	l.want("reconfigured", l.c.Reconfigure(l.now, cfg), nodeGone)
	l.expect(other, "02:00:00:00:66:66 reachable secured")
}
