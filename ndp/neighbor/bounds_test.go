package neighbor_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/neighbor"
)

func station(n int) ipv6.LinkAddr {
	hw := ipv6.LinkAddr{2, 1}
	binary.BigEndian.PutUint32(hw[2:], uint32(n))
	return hw
}

func host64(n int) netip.Addr {
	b := netip.MustParseAddr("2001:db8:1::").As16()
	b[8] = 0x70
	binary.BigEndian.PutUint32(b[12:], uint32(n))
	return netip.AddrFrom16(b)
}

// A flood of unsecured messages with addresses that vary keeps the cache bounded. It puts out no secured entry, and no
// unsecured one that is in use while there are unused ones; the kernel's table is kept as small.
func TestUnsecuredFlood(t *testing.T) {
	l := settled(t, func(c *neighbor.Config) { c.MaxEntries = 64 })
	for i := range 10 {
		l.resolve(host64(1000+i), station(1000+i), answered) // secured and reachable
	}
	for i := range 10 {
		l.hear(rs(station(2000+i), host64(2000+i), station(2000+i)), secured) // secured, unused
	}
	for i := range 10 {
		l.resolve(host64(3000+i), station(3000+i)) // unsecured, in use
	}
	kernel := 30
	for i := range 5000 {
		src := host64(10000 + i)
		p := rs(station(i), src, station(i))
		if i%2 == 1 {
			p = ns(station(i), src, ownLink, station(i))
		}
		for _, e := range l.hear(p) {
			if e.Kind == neighbor.EffectEntry && e.State == neighbor.StateFailed {
				kernel--
			} else if e.Kind == neighbor.EffectEntry {
				kernel++
			}
		}
		if l.c.Len() > 64 || kernel != l.c.Len() {
			t.Fatalf("%d entries, %d in the kernel", l.c.Len(), kernel)
		}
	}
	for i := range 10 {
		for _, base := range []int{1000, 2000, 3000} {
			if l.entry(host64(base+i)) == "" {
				t.Errorf("entry %d was put out by an unsecured flood", base+i)
			}
		}
	}
	if l.counter("neighbours_evicted") == 0 {
		t.Error("neighbours_evicted is not counted")
	}
}

// A flood of secured messages is a little dearer to make: it puts out what is not confirmed, and never what is.
func TestSecuredFlood(t *testing.T) {
	l := settled(t, func(c *neighbor.Config) { c.MaxEntries = 32 })
	for i := range 10 {
		l.resolve(host64(1000+i), station(1000+i), answered)
	}
	for i := range 1000 {
		l.hear(rs(station(i), host64(10000+i), station(i)), secured)
	}
	for i := range 10 {
		if l.entry(host64(1000+i)) == "" {
			t.Errorf("a secured reachable entry was put out")
		}
	}
	if l.c.Len() > 32 {
		t.Errorf("%d entries", l.c.Len())
	}
	// Secured ones that nobody has confirmed go for secured ones and for what the kernel wants, for nothing else.
	half := settled(t, func(c *neighbor.Config) { c.MaxEntries = 4 })
	for i := range 4 {
		half.hear(rs(station(i), host64(i), station(i)), secured)
	}
	half.want("unsecured", half.hear(rs(station(9), host64(9), station(9))), "report neighbours-full invalid IP")
	half.ask(host64(10), true)
	if half.entry(host64(0)) != "" || half.entry(host64(10)) == "" || half.c.Len() != 4 {
		t.Error("what the kernel wants has no room")
	}
	// Where all have to stay there is no room for another.
	full := settled(t, func(c *neighbor.Config) { c.MaxEntries = 4 })
	for i := range 4 {
		full.resolve(host64(i), station(i), answered)
	}
	full.want("full", full.hear(rs(station(9), host64(9), station(9)), secured), "report neighbours-full invalid IP")
	full.drops("drop_entries_full", func() []neighbor.Effect { return full.hear(rs(station(9), host64(9), station(9)), secured) })
	full.drops("drop_entries_full", func() []neighbor.Effect { return full.ask(host64(10), true) })
}

// One station makes as many entries as it may; another of its own goes for each more.
func TestOneStationWithManyAddresses(t *testing.T) {
	l := settled(t, func(c *neighbor.Config) { c.MaxPerSource = 5 })
	for i := range 100 {
		l.hear(rs(liarHW, host64(i), liarHW))
	}
	l.hear(rs(nodeHW, nodeAddr, nodeHW))
	if l.c.Len() != 6 {
		t.Errorf("%d entries, want 5 and one of another station", l.c.Len())
	}
	for i := 95; i < 100; i++ {
		if l.entry(host64(i)) == "" {
			t.Errorf("the %d. address is not there", i)
		}
	}
	// A liar with the station's address puts out nothing of it that is secured.
	s := settled(t, func(c *neighbor.Config) { c.MaxPerSource = 2 })
	s.hear(rs(nodeHW, host64(0), nodeHW), secured)
	s.hear(rs(nodeHW, host64(1), nodeHW), secured)
	s.drops("drop_entries_source", func() []neighbor.Effect { return s.hear(rs(nodeHW, host64(2), nodeHW)) })
}

// Settings with less room take effect at once.
func TestReconfigureToLess(t *testing.T) {
	l := settled(t)
	for i := range 20 {
		l.hear(rs(station(i), host64(i), station(i)))
	}
	l.resolve(nodeAddr, nodeHW, answered)
	cfg := l.cfg
	cfg.MaxEntries = 3
	l.c.Reconfigure(l.now, cfg)
	if l.c.Len() != 3 || l.entry(nodeAddr) == "" {
		t.Errorf("%d entries, want 3 with the secured one", l.c.Len())
	}
}

// A packet that is dropped costs no memory.
func TestDropsAllocateNothing(t *testing.T) {
	l := settled(t)
	l.resolve(nodeAddr, nodeHW, answered)
	l.ask(host64(1), true)
	bad := rs(nodeHW, nodeAddr, nodeHW)
	bad.HopLimit = 1
	for name, in := range map[string]neighbor.Input{
		"other target":     {Kind: neighbor.InPacket, Packet: ns(nodeHW, nodeAddr, host64(5), nodeHW)},
		"unsecured":        {Kind: neighbor.InPacket, Packet: na(liarHW, nodeAddr, ndp.FlagOverride, liarHW)},
		"repeat":           {Kind: neighbor.InPacket, Packet: na(liarHW, nodeAddr, ndp.FlagOverride, liarHW), Secured: true, Repeat: true},
		"unknown":          {Kind: neighbor.InPacket, Packet: na(liarHW, host64(7), ndp.FlagOverride, liarHW)},
		"hop limit":        {Kind: neighbor.InPacket, Packet: bad},
		"nothing new":      {Kind: neighbor.InPacket, Packet: rs(nodeHW, nodeAddr, nodeHW), Secured: true},
		"asked once more":  {Kind: neighbor.InAsk, Addr: host64(1), Missing: true},
		"own echo":         {Kind: neighbor.InPacket, Packet: dad(nodeHW, ownLink), Secured: true, OwnKey: true},
		"a router's":       {Kind: neighbor.InPacket, Packet: ra(nodeHW, nodeLink, nodeHW)},
		"nothing to do":    {Kind: neighbor.InTick},
		"not an own group": {Kind: neighbor.InAsk, Addr: ipv6.AllNodes()},
	} {
		if allocations := testing.AllocsPerRun(100, func() {
			if effects := l.step(in); effects != nil {
				t.Fatalf("%s has effects %v", name, describe(effects))
			}
		}); allocations != 0 {
			t.Errorf("%s: %v allocations", name, allocations)
		}
	}
}

func TestEveryCounterHasAName(t *testing.T) {
	seen := map[string]bool{}
	settled(t).c.Counters(func(name string, _ uint64) {
		if name == "" || seen[name] || strings.ContainsAny(name, " -") {
			t.Errorf("counter %q", name)
		}
		seen[name] = true
	})
	if len(seen) < 50 {
		t.Errorf("only %d counters", len(seen))
	}
}

func TestStatus(t *testing.T) {
	l := settled(t)
	l.resolve(nodeAddr, nodeHW, answered)
	at := l.now
	l.now = l.now.Add(time.Second)
	l.ask(host64(1), true)
	var all []neighbor.Entry
	l.c.Entries(func(e neighbor.Entry) bool { all = append(all, e); return true })
	if len(all) != 2 || all[0].Addr != nodeAddr || !all[0].Since.Equal(at) || all[1].State != neighbor.StateIncomplete {
		t.Errorf("entries: %+v", all)
	}
	l.c.Entries(func(neighbor.Entry) bool { return false })
	if neighbor.State(99).String() != "unknown" || neighbor.EventKind(99).String() != "unknown" {
		t.Error("what is not there has a name")
	}
}
