package fmip_test

import (
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
)

// RFC 3971 section 8: what is not secured makes no secured neighbour entry. Whoever carries the entry out is told which it was.
func TestNeighbourEntryIsAsSecuredAsItsAnnouncement(t *testing.T) {
	for _, secured := range []bool{false, true} {
		l := newLab(t, func(_, _ *fmip.RouterConfig) {})
		l.initiate(nil, ipv6.LinkAddr{})
		in := fmip.Input{Kind: fmip.InPacket, Packet: naPacket(t, labNew, labNew, 0, nodeLink), Secured: secured, Wall: l.now}
		entries := 0
		for _, e := range l.nar.router.Step(l.now, in) {
			if e.Kind != fmip.EffectNeighbour {
				continue
			}
			entries++
			if e.Addr != labNew || e.LinkAddr != nodeLink || e.Secured != secured {
				t.Errorf("a UNA that is secured %v makes the entry %v of %v, secured %v", secured, e.LinkAddr, e.Addr, e.Secured)
			}
		}
		if entries != 1 {
			t.Errorf("secured %v: %d entries", secured, entries)
		}
	}
}
