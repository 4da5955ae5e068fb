package fmip_test

import (
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
)

// A restart of the PAR: forwarding goes on, the same update gets the same answer, and an older one is not taken again.
func TestBindingsOutlastRestart(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	l.update(reactive(10))
	l.run(20 * time.Millisecond)
	l.trace, l.acks = nil, nil
	l.start(l.par)
	l.run(time.Millisecond)
	l.expect("PAR bind 2001:db8:1::100 to 2001:db8:2::100") // adopted
	if b, ok := l.par.router.Bound(labHome); !ok || b.CareOf != labNew || b.Link != labLink {
		t.Errorf("binding %+v, %v", b, ok)
	}
	l.update(reactive(9))
	l.run(20 * time.Millisecond)
	l.expect("MN FBU from 2001:db8:2::100")
	l.wantCounter(l.par, "update_sequence", 1)
	l.update(reactive(10))
	l.run(20 * time.Millisecond)
	l.expect("MN FBU from 2001:db8:2::100", "PAR FBack 0 to 2001:db8:2::100 routed")
	if len(l.acks) != 1 || l.acks[0].Lifetime != 30 {
		t.Errorf("the node got %+v", l.acks)
	}
	// It ends when it would have ended.
	l.run(30 * time.Second)
	if len(l.par.bound) != 0 {
		t.Error("it goes on")
	}
}

// After a restart with a binding whose time is over meanwhile the forwarding ends, and with it the key (HK-AR-18).
func TestBindingExpiresWhileNothingRuns(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	l.update(reactive(1))
	l.run(20 * time.Millisecond)
	l.now = l.now.Add(time.Minute)
	l.trace = nil
	l.start(l.par)
	l.expect("PAR unbind 2001:db8:1::100 expired=true")
	l.run(2 * time.Minute)
	for name, r := range l.par.saved {
		if r.Kind == fmip.RecordNode {
			t.Errorf("left over: %s", name)
		}
	}
}

// Records without a key, of another key, or of no neighbour are forgotten.
func TestUselessRecordsAreForgotten(t *testing.T) {
	for name, spoil := range map[string]func(l *lab){
		"no key":      func(l *lab) { delete(l.par.keys, labHome) },
		"another key": func(l *lab) { l.par.keys[labHome] = []byte("another") },
		"no neighbour": func(l *lab) {
			l.par.cfg.Neighbors = nil
			delete(l.par.keys, labHome)
		},
	} {
		l := newLab(t)
		l.attach(l.nar, labLink)
		l.update(reactive(1))
		l.run(20 * time.Millisecond)
		spoil(l)
		l.trace = nil
		l.start(l.par)
		l.run(time.Second)
		if _, ok := l.par.router.Bound(labHome); ok {
			t.Errorf("%s: bound", name)
		}
		want := 1 // the neighbour's
		if name == "no neighbour" {
			want = 0
		}
		if len(l.par.saved) != want {
			t.Errorf("%s: records %v", name, l.par.saved)
		}
	}
}

// A change of the configuration loses no binding. What waits for a neighbour that is gone ends, and so does what is
// prepared on a link that is gone.
func TestReconfigure(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	l.update(reactive(1))
	l.run(20 * time.Millisecond)
	l.trace = nil
	l.do(l.par, l.par.router.Reconfigure(l.now, l.par.cfg))
	l.expect()
	if _, ok := l.par.router.Bound(labHome); !ok {
		t.Error("the binding is lost")
	}
	moved := l.par.cfg
	moved.Links = append([]fmip.Link(nil), moved.Links...)
	moved.Links[0].Index = 5
	l.do(l.par, l.par.router.Reconfigure(l.now, moved))
	l.run(time.Millisecond)
	l.expect("PAR bind 2001:db8:1::100 to 2001:db8:2::100") // an interface that was made anew has lost its routes
	if b, _ := l.par.router.Bound(labHome); b.Link != 5 {
		t.Errorf("bound on link %d", b.Link)
	}

	l = newLab(t)
	l.lose = func(message string) bool { return message == "NAR HAck 0" }
	l.update(predictive(1))
	l.run(20 * time.Millisecond)
	l.trace = nil
	alone := l.par.cfg
	alone.Neighbors = nil
	l.do(l.par, l.par.router.Reconfigure(l.now, alone))
	l.run(5 * time.Millisecond)
	l.expect("PAR discard 2001:db8:1::100", "PAR FBack 128 to 2001:db8:1::100 on 1")
	l.wantCounter(l.par, "initiate_neighbor_gone", 1)

	gone := l.nar.cfg
	gone.Links = nil
	l.do(l.nar, l.nar.router.Reconfigure(l.now, gone))
	l.expect("NAR unproxy 2001:db8:2::100", "NAR discard 2001:db8:2::100")
	if l.nar.router.Owns(naPacket(t, labNew, labNew, 0, nodeLink)) {
		t.Error("owns what is on no link any more")
	}

	l = newLab(t) // an RtSolPr that waits on a link that is gone gets no answer on it
	l.par.noGrant = true
	l.solicit(solicitation{secured: true, request: true, points: []ipv6.LinkAddr{narPoint}})
	gone = l.par.cfg
	gone.Links = gone.Links[1:]
	l.do(l.par, l.par.router.Reconfigure(l.now, gone))
	l.step(l.par, fmip.Input{Kind: fmip.InGrant, Cookie: 1})
	l.run(3 * time.Second)
	if len(l.adverts) != 0 {
		t.Error("answered on a link that is gone")
	}
}

// What must not be forgotten is saved before anybody hears of it: the sequence number before all else, the binding before
// its acknowledgement, a neighbour's number before the answer to it, and ours before the message that has it.
func TestRecordsComeFirst(t *testing.T) {
	l := newLab(t)
	first := func(effects []fmip.Effect, save fmip.RecordKind, before ...fmip.EffectKind) {
		t.Helper()
		saved := false
		for _, e := range effects {
			if e.Kind == fmip.EffectSave && e.Record.Kind == save {
				saved = true
			}
			for _, kind := range before {
				if e.Kind == kind && !saved {
					t.Errorf("%v before the record", e)
				}
			}
		}
		if !saved {
			t.Error("no record")
		}
	}
	par := func(in fmip.Input) []fmip.Effect {
		in.Wall = l.now
		return l.par.router.Step(l.now, in)
	}
	update := par(fmip.Input{Kind: fmip.InPacket, Packet: predictive(7).packet(t)})
	first(update, fmip.RecordNode, fmip.EffectHold, fmip.EffectSend)
	first(update, fmip.RecordPeer, fmip.EffectSend)
	for _, e := range update {
		if e.Kind == fmip.EffectSave && e.Record.Kind == fmip.RecordNode && (e.Record.Seq != 7 || e.Record.Bound) {
			t.Errorf("record %+v", *e.Record)
		}
		if e.Kind != fmip.EffectSend {
			continue
		}
		p := &ipv6.Packet{Interface: labUplink}
		ipv6.Parse(e.Packet, p)
		answer := l.nar.router.Step(l.now, fmip.Input{Kind: fmip.InPacket, Packet: p, Wall: l.now})
		first(answer, fmip.RecordPeer, fmip.EffectSend)
		for _, e := range answer {
			if e.Kind == fmip.EffectSend {
				q := &ipv6.Packet{Interface: labUplink}
				ipv6.Parse(e.Packet, q)
				par(fmip.Input{Kind: fmip.InPacket, Packet: q})
			}
		}
	}
	bound := par(fmip.Input{Kind: fmip.InForwarding, Home: labHome})
	first(bound, fmip.RecordNode, fmip.EffectSend)
	sent := 0
	for _, e := range bound {
		if e.Kind == fmip.EffectSend {
			sent++
		}
	}
	if sent != 2 {
		t.Errorf("%d acknowledgements, want one on each link", sent)
	}
}
