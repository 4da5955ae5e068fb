package lke_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// LKE-AR-6, LKE-resolution-a: whoever sends key exchange data must not learn whether its padding was right. The driver gives
// the same kind of answer for all, so what is shown here is that the router goes on in the same way with each of them: the
// same effects of the same sizes to the same places at the same times, and the same counters. The sender that knows the key
// can end the exchange well; one that does not cannot, whether its padding was right or not.
func TestRouterIsNoPaddingOracle(t *testing.T) {
	run := func(key [lke.KeyLen]byte, answer bool) (trace []string, counters map[string]uint64) {
		l := newRouterLab(t)
		mn := l.host(1)
		effects := l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: mn.request()})
		trace = append(trace, shapes(effects)...)
		effects = l.router.Step(l.now, lke.Input{Kind: lke.InKey, Job: labJob(effects), Key: key})
		trace = append(trace, shapes(effects)...)
		if answer {
			// The attacker answers under the key that it meant to send.
			for _, e := range effects {
				if e.Kind == lke.EffectSend && labParse(t, e.Packet).Proto == ipv6.ProtoICMPv6 {
					trace = append(trace, shapes(l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: mn.advert(e.Packet)}))...)
				}
			}
		}
		for range 20 {
			l.now = l.now.Add(100 * time.Millisecond)
			trace = append(trace, shapes(l.router.Step(l.now, lke.Input{Kind: lke.InTick}))...)
		}
		trace = append(trace, shapes(l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: mn.update()}))...)
		return append(trace, fmt.Sprint(l.associations(), l.router.Deadline())), l.counters()
	}

	right := newRouterLab(t).host(1).key
	wrong := right // the padding was right, but the key in it is another one
	wrong[7] ^= 0x55
	random := [lke.KeyLen]byte{0x3b, 0x91, 0x5c, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13} // the padding was wrong

	for _, answer := range []bool{true, false} {
		wrongTrace, wrongCounters := run(wrong, answer)
		randomTrace, randomCounters := run(random, answer)
		if a, b := strings.Join(wrongTrace, "\n"), strings.Join(randomTrace, "\n"); a != b {
			t.Errorf("answer %v: wrong key:\n%s\n\nwrong padding:\n%s", answer, a, b)
		}
		if !maps.Equal(wrongCounters, randomCounters) {
			t.Errorf("answer %v: wrong key %v, wrong padding %v", answer, wrongCounters, randomCounters)
		}
		if answer {
			continue
		}
		// Without an answer not even the right key shows.
		rightTrace, rightCounters := run(right, false)
		if a, b := strings.Join(rightTrace, "\n"), strings.Join(randomTrace, "\n"); a != b {
			t.Errorf("right key:\n%s\n\nwrong padding:\n%s", a, b)
		}
		if !maps.Equal(rightCounters, randomCounters) {
			t.Errorf("right key %v, wrong padding %v", rightCounters, randomCounters)
		}
	}
	// The test can tell success from failure.
	if trace, _ := run(right, true); !strings.Contains(strings.Join(trace, "\n"), "valid") {
		t.Error("the right key with its answer makes no association")
	}
	for _, name := range []string{"padding", "decrypt"} {
		newRouterLab(t).router.Counters(func(n string, _ uint64) {
			if strings.Contains(n, name) {
				t.Errorf("LKE-AR-6: counter %s", n)
			}
		})
	}
}

// shapes describes effects without the octets that a key or nonce makes different: kind, place, sizes, event.
func shapes(effects []lke.Effect) (lines []string) {
	for _, e := range effects {
		line := fmt.Sprintf("%d on %d to %v, %d octets, job %d", e.Kind, e.Link, e.LinkDst, len(e.Packet), e.Job)
		if e.Kind == lke.EffectReport {
			line += fmt.Sprintf(" %+v", e.Event)
		}
		lines = append(lines, line)
	}
	return lines
}
