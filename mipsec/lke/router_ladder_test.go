package lke_test

import (
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// The ladder of the draft's figure 2.1, from the access router's side.
func TestRouterLadder(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	h := mn.home.String()

	// MN -> AR: Key exchange request. The one RSA operation is counted to the station that asked for it.
	l.expect(l.receive(mn.request()), "decrypt for "+mn.hw.String())

	// AR -> MN: Key exchange acknowledgement, and at once the DAD Neighbor Solicitation for MN (LKE-AR-8, LKE-AR-12).
	// The address is watched before the question goes out.
	l.nonces(0x01020304)
	l.expect(l.step(lke.Input{Kind: lke.InKey, Job: 1, Key: mn.key}),
		"KEAck 0 seq 7 lifetime 900 on 1 to "+mn.hw.String(),
		"watch "+h+" on 1",
		"NS for "+h+" on 1 to "+ipv6.MulticastLinkAddr(ipv6.SolicitedNode(mn.home)).String())
	l.expect(l.associations(), h+" dad "+mn.hw.String()+" at lan0")

	// MN -> all nodes: Multicast DAD Neighbor Advertisement, authenticated. It is not answered, and makes nothing valid
	// before the detection is over: another one could still come.
	advert := mn.advert(solicitation(mn, 0x01020304))
	l.expect(l.receive(advert))
	l.expect(l.advance(999 * time.Millisecond))
	l.expect(l.advance(time.Millisecond), "1ms: save "+h) // LKE-AR-16
	l.expect(l.associations(), h+" valid "+mn.hw.String()+" at lan0")

	// "Cache DAD adv from MN and forward it later for DAD solicitations" (LKE-AR-17)
	l.expect(l.receive(l.host(2).detection(mn.home)), "NA O for "+h+" at "+mn.hw.String()+" on 1 to 33:33:00:00:00:01")

	// MN moves. MN -> AR: Binding Update. The sequence number is saved before anything answers, there is no DAD
	// (LKE-AR-23), and the acknowledgement leaves when forwarding stands and its record is written.
	l.expect(l.receive(mn.update()),
		"save "+h,
		"bind "+h+" to 2001:db8:77::beef",
		"save "+h+" bound to 2001:db8:77::beef",
		"BA 0 seq 4660 lifetime 100 finished? routed to 2001:db8:77::beef",
		"NA O for "+h+" at "+labHardware.String()+" on 1 to 33:33:00:00:00:01")
	l.expect(l.associations(), h+" bound "+mn.hw.String()+" at lan0")
}

// The Finished message ends the ladder; without trouble nothing else is sent until the binding ends.
func TestRouterLadderFinished(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	h := mn.home.String()
	mn.attach()
	ack := mn.bind()

	l.expect(l.receive(mn.finished(ack)), "save "+h+" bound to 2001:db8:77::beef")
	if a := l.association(mn.home); !a.Verified || a.CareOf != labCareOf || a.UpdateSeq != 0x1234 {
		t.Errorf("association %+v", a)
	}
	// The binding ends after the granted 400 s.
	l.expect(l.advance(10*time.Minute), "6m40s: unbind "+h, "6m40s: save "+h)

	// The association goes on until the 3,600 s of the acknowledgement are over (LKE-AR-27), then nothing is left.
	l.expect(l.advance(time.Hour), "49m59s: forget "+h, "49m59s: unwatch "+h+" on 1")
	if !l.router.Deadline().IsZero() || len(l.watched) != 0 || len(l.saved) != 0 {
		t.Errorf("left over: deadline %v, watched %v, saved %v", l.router.Deadline(), l.watched, l.saved)
	}
}

// A node that comes back asks from its home address for the end of the binding.
func TestRouterLadderReturn(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	h := mn.home.String()
	mn.attach()
	l.receive(mn.finished(mn.bind()))

	l.expect(l.receive(mn.update(returning)),
		"unbind "+h, "save "+h,
		"BA 0 seq 4661 lifetime 0 on 1 to "+mn.hw.String()+" to "+h)
	l.expect(l.associations(), h+" valid "+mn.hw.String()+" at lan0")
	if _, ok := l.router.Bound(mn.home); ok {
		t.Error("still bound")
	}
}

// A node that moves on further sends the same router its next care-of address.
func TestRouterLadderMovesOn(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	h := mn.home.String()
	mn.attach()
	l.receive(mn.finished(mn.bind()))

	mn.careOf = labAddr("2001:db8:78::1")
	l.expect(l.receive(mn.update()),
		"save "+h+" bound to 2001:db8:77::beef",
		"bind "+h+" to 2001:db8:78::1",
		"save "+h+" bound to 2001:db8:78::1",
		"BA 0 seq 4661 lifetime 100 finished? routed to 2001:db8:78::1")
	if b, _ := l.router.Bound(mn.home); b.CareOf != mn.careOf || b.Router != labRouter || b.Link != labLink {
		t.Errorf("binding %+v", b)
	}
}

// returning makes an update a deregistration from the home address on its own link.
func returning(u *labUpdate) {
	u.src, u.home, u.link, u.Lifetime = u.home, labNone, labLink, 0
}

// solicitation builds what the router sends for mn with that nonce; that it is right to the octet is shown by the vectors.
func solicitation(mn *labHost, nonce uint32) []byte {
	src, dst := labAddr("::"), ipv6.SolicitedNode(mn.home)
	msg := ndp.AppendNeighborSolicit(nil, src, dst, mn.home,
		ndp.DADAuth{Nonce: nonce, Router: mn.router}.Append(nil, ndp.DefaultCodePoints().AuthRequest))
	if err := ndp.SignDADAuth(msg, mn.key[:], src, dst, 24); err != nil {
		panic(err)
	}
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, msg)
}

// The acknowledgement can be verified by whoever has the key, and only so (LKE-AR-8, LKE-AR-22).
func TestRouterAnswersAreAuthentic(t *testing.T) {
	l := newRouterLab(t)
	mn := l.host(1)
	raw, _ := mn.exchange(mn.request())
	p := labParse(t, raw)
	if !mobility.VerifyKeyExchangeAck(p.Payload, mn.key[:], labLocal, mn.local, mn.home) {
		t.Error("LKE-AR-8: the acknowledgement does not verify under the node's key")
	}
	other := l.host(2)
	if mobility.VerifyKeyExchangeAck(p.Payload, other.key[:], labLocal, mn.local, mn.home) {
		t.Error("LKE-AR-8: the acknowledgement verifies under any key")
	}
}
