package neighbor_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/neighbor"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// FuzzStep drives a small cache by a script of octets and holds it to what must be true whatever happens: it is consistent,
// within its bounds, comes to rest, sends valid messages only, and no unsecured packet changes a secured entry.
func FuzzStep(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Add([]byte{1, 3, 0, 2, 3, 0x11, 4, 3, 0x20, 0, 200, 1, 1, 3, 0})
	f.Add([]byte("\x05\x01\x10\x02\x41\x0f\x03\x51\x1f\x02\x62\x07\x06\x03\x01\x00\xff\x00\x04\x22\x33"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 600 {
			return
		}
		l := bare(t, func(c *neighbor.Config) {
			c.MaxEntries, c.MaxPerSource, c.AskRate = 6, 3, 3
			c.Router = len(script)%2 == 0
		})
		octet := func() (b byte) {
			if len(script) > 0 {
				b, script = script[0], script[1:]
			}
			return b
		}
		addr := func() netip.Addr {
			n := octet()
			if n%16 == 0 {
				return ownLink
			}
			return host64(int(n % 16))
		}
		for len(script) > 0 {
			in := neighbor.Input{Kind: neighbor.InputKind(octet() % 8), Addr: addr()}
			flags := octet()
			switch in.Kind {
			case neighbor.InTick:
				l.pass(time.Duration(flags) * 100 * time.Millisecond)
				continue
			case neighbor.InPacket:
				in.Packet = fuzzPacket(octet(), station(int(flags)%5), addr(), addr())
				in.Secured, in.Repeat, in.Stale = flags&1 != 0, flags&3 == 3, flags&5 == 5
				in.Reply, in.OwnKey, in.Nonce = flags&9 == 9, flags&0xf1 == 0xf1, nonce
			case neighbor.InAsk:
				in.Missing = flags&1 != 0
			case neighbor.InOwn:
				in.Attempt, in.Optimistic, in.Plain, in.InUse = int(flags%3), flags&4 != 0, flags&8 != 0, flags&16 != 0
			default:
				in.Neighbour, in.Secured = station(int(flags)%5), flags&128 != 0
			}
			before := map[netip.Addr]neighbor.Entry{}
			l.c.Entries(func(e neighbor.Entry) bool { before[e.Addr] = e; return true })
			effects := l.step(in)
			if err := l.c.Consistent(); err != nil {
				t.Fatal(err)
			}
			for _, e := range effects {
				if e.Kind == neighbor.EffectSend {
					p := parsed(ownHW, e.Packet)
					_, solicit := ndp.ParseNeighborSolicit(p)
					_, advert := ndp.ParseNeighborAdvert(p)
					if solicit != ndp.ReasonNone && advert != ndp.ReasonNone {
						t.Fatalf("sent %x: %s, %s", e.Packet, solicit, advert)
					}
				}
			}
			if in.Kind != neighbor.InPacket || in.Secured && !in.Repeat && !in.Stale {
				continue
			}
			for addr, was := range before {
				if now, there := l.c.Lookup(addr); was.Secured && (!there || now != was) {
					t.Fatalf("a packet that is not secured and fresh changed %+v to %+v", was, now)
				}
			}
		}
		l.pass(24 * time.Hour)
		if err := l.c.Consistent(); err != nil {
			t.Fatal(err)
		}
		if l.c.Len() != 0 || !l.c.Deadline().IsZero() {
			t.Fatalf("after a day %d entries are left, and the deadline %v", l.c.Len(), l.c.Deadline())
		}
	})
}

func fuzzPacket(kind byte, hw ipv6.LinkAddr, src, target netip.Addr) *ipv6.Packet {
	given := hw
	if kind&0x10 != 0 {
		given = ipv6.LinkAddr{}
	}
	switch kind % 6 {
	case 0:
		return dad(hw, target)
	case 1:
		return ns(hw, src, target, given)
	case 2:
		return rs(hw, src, given)
	case 3:
		return ra(hw, ipv6.LinkLocalFrom(hw), given)
	}
	return na(hw, target, ndp.NAFlags(kind)&(ndp.FlagRouter|ndp.FlagOverride)|ndp.NAFlags(kind%2)<<6, given)
}
