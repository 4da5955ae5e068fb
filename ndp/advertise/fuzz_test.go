package advertise

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// FuzzSpeaker runs a speaker through any sequence of inputs. Each operation is one octet and what it needs of those that
// follow. However they come: no panic, multicast advertisements keep their distance, all that is sent is valid and fits the
// MTU, tables are bounded.
func FuzzSpeaker(f *testing.F) {
	rs := solicit(hostLL, hostHW).Raw
	f.Add([]byte{0, 1, 200, 1, 200})
	f.Add([]byte{0, 3, 5, 1, 100, 3, 200, 1, 100, 2})
	f.Add(append([]byte{0, 5, uint8(len(rs))}, rs...))
	f.Add([]byte{0, 4, 1, 4, 2, 1, 9, 4, 0, 4, 7, 1, 255, 2, 1, 10, 1, 10})
	f.Add([]byte{0, 6, 2, 6, 3, 1, 1, 7, 0, 2, 1, 50})
	base := everything(f)
	base.LinkMTU, base.MTU = 1280, 1280
	f.Fuzz(func(t *testing.T, ops []byte) {
		cfg := base
		cfg.Rand = rand.NewChaCha8([32]byte{3})
		s, err := NewSpeaker(cfg)
		if err != nil {
			t.Fatal(err)
		}
		now := begin()
		var last time.Time
		multicasts := 0
		take := func(effects []Effect) {
			for _, e := range effects {
				if e.Kind != EffectSend {
					continue
				}
				a := parse(t, e.Packet)
				if len(e.Packet) > 1280 {
					t.Fatalf("a packet has %d octets", len(e.Packet))
				}
				if a.Lifetime == 0 && (a.HomeAgent || a.option(6) != nil) || a.option(6) != nil && !a.HomeAgent {
					t.Fatalf("LKE-AR-2, LKE-AR-3: %+v", a.RouterAdvert)
				}
				if !a.multicast() {
					continue
				}
				multicasts++
				if d := now.Sub(last); !last.IsZero() && d != 0 && d < 3*time.Second {
					t.Fatalf("multicast advertisements %v apart", d)
				}
				last = now
			}
		}
		next := func() byte {
			if len(ops) == 0 {
				return 0
			}
			b := ops[0]
			ops = ops[1:]
			return b
		}
		for steps := 0; len(ops) > 0 && steps < 300; steps++ {
			switch next() % 8 {
			case 0:
				take(s.Step(now, Input{Kind: InStart}))
			case 1: // time passes
				now = now.Add(time.Duration(next()) * 100 * time.Millisecond)
				take(s.Step(now, Input{Kind: InTick}))
			case 2:
				take(s.Step(now, Input{Kind: []InputKind{InStop, InHalt}[next()%2]}))
			case 3: // a host asks
				addr, hw := host(int(next()))
				take(s.Step(now, Input{Kind: InPacket, Packet: solicit(addr, hw)}))
			case 4: // the configuration changes
				b := next()
				changed := cfg
				changed.Prefixes = changed.Prefixes[:b%3]
				changed.Routes = changed.Routes[:b/3%4]
				if b&64 != 0 {
					changed.LinkLocal = otherLL
				}
				effects, err := s.Reconfigure(now, changed)
				if err != nil {
					t.Fatal(err)
				}
				take(effects)
			case 5: // any octets
				n := min(int(next()), len(ops))
				p := ipv6.Packet{Interface: linkIndex, LinkSource: hostHW}
				if ipv6.Parse(ops[:n], &p) == ipv6.OK {
					take(s.Step(now, Input{Kind: InPacket, Packet: &p}))
				}
				ops = ops[n:]
			case 6: // another router speaks
				there := neighbour()
				there.LinkLocal = netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: next()})
				there.Rand = rand.NewChaCha8([32]byte{})
				if other, err := NewSpeaker(there); err == nil {
					for _, e := range other.Step(now, Input{Kind: InStart}) {
						var p ipv6.Packet
						if ipv6.Parse(e.Packet, &p) == ipv6.OK {
							take(s.Step(now, Input{Kind: InPacket, Packet: &p}))
						}
					}
				}
			case 7: // the daemon is restarted
				var records []Record
				for r := range s.Records {
					records = append(records, r)
				}
				again, err := NewSpeaker(s.Config())
				if err != nil {
					t.Fatal(err)
				}
				again.Restore(now, records)
				s, last = again, time.Time{}
			}
			if len(s.held) > maxHeld || len(s.others.table) > maxOthers || len(s.answers.waiting) > maxAnswers ||
				len(s.answers.answered) > maxAnswered || len(s.leaving) > maxLeaving {
				t.Fatal("a table grew over its bound")
			}
			if at := s.Deadline(); s.phase != Silent && (at.IsZero() || at.Before(now)) {
				t.Fatalf("deadline %v at %v in phase %v", at, now, s.phase)
			}
		}
	})
}
