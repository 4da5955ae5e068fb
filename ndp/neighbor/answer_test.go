package neighbor_test

import (
	"net/netip"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/neighbor"
)

// Which solicitation gets which answer: RFC 4861 section 7.2.4, and RFC 3971 section 5.3.3 and 8 (the table of section 5's
// options: NA solicited, NA in reply to an unsecured NS, NA to the DAD of another).
func TestAnswers(t *testing.T) {
	const toNode = "na 2001:db8:1::1:1 > 2001:db8:1::a:a target 2001:db8:1::1:1 to 02:00:00:00:00:0a R S O tlla"
	const toAll = "na 2001:db8:1::1:1 > ff02::1 target 2001:db8:1::1:1 to 33:33:00:00:00:01 R O tlla"
	const learned = "entry 2001:db8:1::a:a 02:00:00:00:00:0a stale"
	none := func(*neighbor.Input) {}
	for _, c := range []struct {
		name   string
		packet *ipv6.Packet
		how    func(*neighbor.Input)
		want   []string
		entry  string
	}{
		{"secured: its nonce comes back", ns(nodeHW, nodeAddr, ownGlobal, nodeHW), secured,
			[]string{learned, toNode + " answers=010203040506"}, "02:00:00:00:00:0a stale secured"},
		{"unsecured: no nonce", ns(nodeHW, nodeAddr, ownGlobal, nodeHW), none,
			[]string{learned, toNode}, "02:00:00:00:00:0a stale"},
		{"unsecured with a nonce that proves nothing", ns(nodeHW, nodeAddr, ownGlobal, nodeHW),
			func(in *neighbor.Input) { in.Nonce = nonce }, []string{learned, toNode}, "02:00:00:00:00:0a stale"},
		{"of a time that cannot be judged: answered, and no entry is made", ns(nodeHW, nodeAddr, ownGlobal, nodeHW), stale,
			[]string{toNode + " answers=010203040506"}, ""},
		{"said once more: answered, and no entry is made", ns(nodeHW, nodeAddr, ownGlobal, nodeHW), repeated,
			[]string{toNode + " answers=010203040506"}, ""},
		{"without a link-layer address: to where it came from", ns(nodeHW, nodeAddr, ownGlobal, ipv6.LinkAddr{}), secured,
			[]string{toNode + " answers=010203040506"}, ""},
		{"secured DAD of another", dad(nodeHW, ownGlobal), secured, []string{toAll + " answers=010203040506"}, ""},
		{"unsecured DAD of another", dad(nodeHW, ownGlobal), none, []string{toAll}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := settled(t)
			effects := l.hear(c.packet, c.how)
			l.want("answer", effects, c.want...)
			if sent := effects[len(effects)-1]; sent.Source != nodeHW {
				t.Errorf("the signature is counted to %v", sent.Source)
			}
			l.expect(nodeAddr, c.entry)
		})
	}
}

// A host's answers do not say that it is a router.
func TestAnswerOfAHost(t *testing.T) {
	l := settled(t, host)
	l.want("answer", l.hear(ns(nodeHW, nodeAddr, ownGlobal, ipv6.LinkAddr{})),
		"na 2001:db8:1::1:1 > 2001:db8:1::a:a target 2001:db8:1::1:1 to 02:00:00:00:00:0a S O tlla")
}

// The nonce of an answer is a copy: the packet's memory is used again.
func TestAnswerKeepsNothingOfThePacket(t *testing.T) {
	l := settled(t)
	mine := []byte{9, 9, 9, 9, 9, 9}
	effects := l.hear(dad(nodeHW, ownGlobal), func(in *neighbor.Input) { in.Secured, in.Nonce = true, mine })
	clear(mine)
	if effects[0].Answers[0] != 9 {
		t.Error("the nonce of the answer has changed with the packet")
	}
}

// Addresses that are no CGAs, such as the kernel's own link-local one, are defended too: unsigned, for nobody could sign it.
func TestPlainAddressIsDefendedUnsigned(t *testing.T) {
	l := settled(t)
	eui := ipv6.LinkLocalFrom(ownHW)
	l.step(neighbor.Input{Kind: neighbor.InOwn, Addr: eui, Plain: true, InUse: true})
	l.want("DAD of another", l.hear(dad(nodeHW, eui), secured),
		"na fe80::ff:fe00:1 > ff02::1 target fe80::ff:fe00:1 to 33:33:00:00:00:01 R O tlla unsigned")
}

// RFC 4861 section 7.2.8: an answer for another overrides nothing; it cannot be signed. RFC 5568: the owner's own Duplicate
// Address Detection is not answered, for that would keep it from its address.
func TestProxy(t *testing.T) {
	l := settled(t)
	l.resolve(nodeAddr, liarHW)
	proxy := neighbor.Input{Kind: neighbor.InProxy, Addr: nodeAddr}
	l.want("proxying begins", l.step(proxy), "entry 2001:db8:1::a:a 02:00:00:00:66:66 failed", "watch 2001:db8:1::a:a")
	l.want("once more", l.step(proxy))
	const toPeer = "na fe80::1:1 > 2001:db8:1::b:b target 2001:db8:1::a:a to 02:00:00:00:00:0b R S tlla unsigned"
	peer, peerHW := netip.MustParseAddr("2001:db8:1::b:b"), ipv6.LinkAddr{2, 0, 0, 0, 0, 0xb}
	l.want("asked", l.hear(ns(peerHW, peer, nodeAddr, ipv6.LinkAddr{}), secured), toPeer)
	l.drops("drop_solicit_owner_dad", func() []neighbor.Effect { return l.hear(dad(nodeHW, nodeAddr), secured) })
	l.drops("drop_ask_address", func() []neighbor.Effect { return l.ask(nodeAddr, true) }) // it is not here yet

	proxy.Neighbour = nodeHW
	l.want("now the owner is known", l.step(proxy))
	l.drops("drop_solicit_owner_dad", func() []neighbor.Effect { return l.hear(dad(nodeHW, nodeAddr)) })
	l.want("DAD of somebody else", l.hear(dad(liarHW, nodeAddr)),
		"na fe80::1:1 > ff02::1 target 2001:db8:1::a:a to 33:33:00:00:00:01 R tlla unsigned")

	// The owner comes: a protocol tells of it, and its entry stands although it is proxied still.
	l.want("told", l.step(neighbor.Input{Kind: neighbor.InKnown, Addr: nodeAddr, Neighbour: nodeHW, Secured: true}),
		"entry 2001:db8:1::a:a 02:00:00:00:00:0a stale")
	unproxy := neighbor.Input{Kind: neighbor.InUnproxy, Addr: nodeAddr}
	l.want("proxying ends", l.step(unproxy), "unwatch 2001:db8:1::a:a")
	l.want("once more", l.step(unproxy))
	l.drops("drop_solicit_other_target", func() []neighbor.Effect { return l.hear(ns(peerHW, peer, nodeAddr, peerHW)) })

	without := bare(t)
	without.step(proxy)
	without.drops("drop_no_own_address", func() []neighbor.Effect {
		return without.hear(ns(peerHW, peer, nodeAddr, ipv6.LinkAddr{}))
	})
}

// A secured neighbour is answered where its secured entry says, whatever an unsecured message says.
func TestAnswerGoesToTheSecuredEntry(t *testing.T) {
	l := settled(t)
	l.resolve(nodeAddr, nodeHW, answered)
	l.want("a liar asks in its name", l.hear(ns(liarHW, nodeAddr, ownGlobal, liarHW)),
		"na 2001:db8:1::1:1 > 2001:db8:1::a:a target 2001:db8:1::1:1 to 02:00:00:00:00:0a R S O tlla")
	l.expect(nodeAddr, "02:00:00:00:00:0a reachable secured")
}

// With secured-only, unsecured messages are as if they had not come: none is answered, none makes an entry or a conflict.
func TestSecuredOnly(t *testing.T) {
	for name, p := range map[string]*ipv6.Packet{
		"solicitation":        ns(nodeHW, nodeAddr, ownGlobal, nodeHW),
		"DAD":                 dad(nodeHW, ownGlobal),
		"advertisement":       na(nodeHW, nodeAddr, ndp.FlagOverride, nodeHW),
		"router solicitation": rs(nodeHW, nodeAddr, nodeHW),
	} {
		l := settled(t, securedOnly)
		l.drops("drop_unsecured", func() []neighbor.Effect { return l.hear(p) })
		if l.c.Len() != 0 {
			t.Errorf("%s made an entry", name)
		}
	}
	l := bare(t, securedOnly)
	l.step(own(ownGlobal))
	l.drops("drop_unsecured", func() []neighbor.Effect { return l.hear(dad(nodeHW, ownGlobal)) })
}
