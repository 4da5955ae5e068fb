package fmip_test

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// untouched checks that nothing was done for an update: no forwarding, no message, no record (HK-AR-16).
func (l *lab) untouched() {
	l.t.Helper()
	l.run(2 * time.Second)
	if len(l.par.bound) != 0 || len(l.par.held) != 0 || len(l.acks) != 0 || len(l.sent) != 0 || len(l.par.saved) != 0 {
		l.t.Errorf("something was done: %v", l.trace)
	}
}

// What is not an acceptable and authentic FBU changes nothing, is counted under its reason, and is not answered (HK-AR-16).
func TestUpdateRefusedSilently(t *testing.T) {
	for _, c := range []struct {
		name    string
		counter string
		f       func() fbu
		change  func(l *lab, p *ipv6.Packet, in *fmip.Input)
	}{
		{"HK-AR-16 no key", "update_no_key", func() fbu { return predictive(1) },
			func(l *lab, _ *ipv6.Packet, _ *fmip.Input) { delete(l.par.keys, labHome) }},
		{"HK-AR-16 wrong MAC", "update_bad_mac", func() fbu {
			f := predictive(1)
			f.spoil = func(mh []byte) { mh[len(mh)-1] ^= 1 }
			return f
		}, nil},
		{"HK-AR-15 another node's key", "update_bad_mac", func() fbu {
			f := predictive(1)
			f.key = []byte("the key of some other")
			return f
		}, nil},
		{"MAC over another care-of address", "update_bad_mac", func() fbu {
			f := predictive(1)
			f.macOver = labHome
			return f
		}, nil},
		{"HK-AR-15 another algorithm than the recorded one", "update_bad_mac", func() fbu {
			f := predictive(1)
			f.change = func(m *mobility.FastBindingUpdate) { m.Auth.MAC = mobility.HMACSHA256 }
			return f
		}, nil},
		{"no authenticator", "update_no_authenticator", func() fbu {
			f := predictive(1)
			f.change = func(m *mobility.FastBindingUpdate) { m.Auth.Present = false }
			return f
		}, nil},
		{"SPI of another kind of key", "update_no_authenticator", func() fbu {
			f := predictive(1)
			f.change = func(m *mobility.FastBindingUpdate) { m.Auth.SPI = 1 }
			return f
		}, nil},
		{"no A flag", "update_flags", func() fbu {
			f := predictive(1)
			f.change = func(m *mobility.FastBindingUpdate) { m.Flags = mobility.FlagHome }
			return f
		}, nil},
		{"no H flag", "update_flags", func() fbu {
			f := predictive(1)
			f.change = func(m *mobility.FastBindingUpdate) { m.Flags = mobility.FlagAck }
			return f
		}, nil},
		{"a flag of another protocol", "update_flags", func() fbu {
			f := predictive(1)
			f.change = func(m *mobility.FastBindingUpdate) { m.Flags |= mobility.FlagMAP }
			return f
		}, nil},
		{"predictive without the new address", "update_alternate_care_of", func() fbu {
			f := predictive(1)
			f.careOf = netip.Addr{}
			return f
		}, nil},
		{"reactive with two new addresses", "update_alternate_care_of", func() fbu {
			f := reactive(1)
			f.careOf = labNew.Next()
			return f
		}, nil},
		{"reactive from the old link's prefix", "update_source", func() fbu {
			f := reactive(1)
			f.src = labHome.Next()
			return f
		}, nil},
		{"from an address of ours", "update_source", func() fbu {
			f := reactive(1)
			f.src = parAddr2
			return f
		}, nil},
		{"predictive from another link", "update_other_link", func() fbu { return predictive(1) },
			func(_ *lab, p *ipv6.Packet, _ *fmip.Input) { p.Interface = labUplink }},
		{"another link-layer source than the neighbour cache has", "update_neighbour_mismatch", func() fbu { return predictive(1) },
			func(_ *lab, _ *ipv6.Packet, in *fmip.Input) { in.Neighbour = ipv6.LinkAddr{2, 6, 6, 6, 6, 6} }},
		{"no home address option", "update_no_home_address", func() fbu { return predictive(1) },
			func(_ *lab, p *ipv6.Packet, _ *fmip.Input) { p.HomeAddress = netip.Addr{} }},
		{"home address of no link of ours", "update_not_in_prefix", func() fbu { return predictive(1) },
			func(l *lab, p *ipv6.Packet, _ *fmip.Input) {
				p.HomeAddress = netip.MustParseAddr("2001:db8:66::1")
				mobility.FixChecksum(p.Payload, p.HomeAddress, p.Dst)
			}},
		{"a routing header", "update_routing_header", func() fbu { return predictive(1) },
			func(_ *lab, p *ipv6.Packet, _ *fmip.Input) { p.RoutingHome = labNew }},
		{"checksum", "mh_bad_checksum", func() fbu { return predictive(1) },
			func(_ *lab, p *ipv6.Packet, _ *fmip.Input) { p.Payload[7] ^= 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			p := c.f().packet(t)
			l.receive(l.par, p, func(in *fmip.Input) {
				if c.change != nil {
					c.change(l, p, in)
				}
			})
			l.untouched()
			l.wantCounter(l.par, c.counter, 1)
		})
	}
	// A link-local source is another protocol's, and so is another destination.
	l := newLab(t)
	for _, change := range []func(p *ipv6.Packet){
		func(p *ipv6.Packet) { p.Src = netip.MustParseAddr("fe80::100") },
		func(p *ipv6.Packet) { p.Dst = narAddr },
	} {
		p := predictive(1).packet(t)
		change(p)
		if l.par.router.Owns(p) {
			t.Errorf("owns an FBU from %v to %v", p.Src, p.Dst)
		}
	}
}

// An authentic FBU that cannot be followed is answered with its reason (RFC 5568 section 6.2.3), signed (HK-AR-21).
func TestUpdateRefused(t *testing.T) {
	long := netip.MustParsePrefix("2001:db8:5:0:ab00::/72")
	for _, c := range []struct {
		name   string
		careOf netip.Addr
		change func(par, nar *fmip.RouterConfig)
		status uint8
	}{
		{"no neighbour has that prefix", netip.MustParseAddr("2001:db8:77::5"), nil, mobility.StatusUnspecified},
		{"the neighbour's own address", narAddr, nil, mobility.StatusUnspecified},
		{"our own address", parAddr2, nil, mobility.StatusUnspecified},
		{"no routable address", netip.MustParseAddr("fe80::5"), nil, mobility.StatusUnspecified},
		{"a neighbour without fast handover", labNew, func(par, _ *fmip.RouterConfig) { par.Neighbors[0].Fast = false }, mobility.StatusProhibited},
		{"interface identifier of a wrong length", netip.MustParseAddr("2001:db8:5::1:2:3"),
			func(par, _ *fmip.RouterConfig) { par.Neighbors[0].Prefixes = []netip.Prefix{long} }, mobility.FastStatusInterfaceID},
	} {
		t.Run(c.name, func(t *testing.T) {
			var changes []func(par, nar *fmip.RouterConfig)
			if c.change != nil {
				changes = append(changes, c.change)
			}
			l := newLab(t, changes...)
			f := predictive(1)
			f.careOf = c.careOf
			l.update(f)
			l.run(time.Second)
			if len(l.acks) != 1 || l.acks[0].Status != c.status || l.acks[0].Seq != 1 || l.acks[0].Lifetime != 0 {
				t.Fatalf("the node got %+v, want status %d", l.acks, c.status)
			}
			if len(l.par.bound) != 0 || len(l.par.held) != 0 {
				t.Error("forwarding has changed")
			}
			// The same update once more gets the same answer.
			l.update(f)
			l.run(time.Second)
			if len(l.acks) != 2 || l.acks[1].Status != c.status {
				t.Errorf("the node got %+v", l.acks)
			}
		})
	}
}

// An address that is itself forwarded is nobody's new care-of address: two of them could make a loop.
func TestUpdateToForwardedAddress(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	l.update(reactive(1))
	l.run(10 * time.Millisecond)
	other := labNew2 // a node of the router's other link, which would go to labHome's old place
	l.par.keys[other] = labKey
	m := mobility.FastBindingUpdate{
		Seq: 1, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: 30,
		Auth: mobility.FastAuth{Present: true, MAC: mobility.HMACSHA1},
	}
	mh := m.Append(nil)
	if err := mobility.SignBADF(mh, labKey, labHome, parAddr, mobility.HMACSHA1); err != nil {
		t.Fatal(err)
	}
	mobility.FixChecksum(mh, other, parAddr)
	p := &ipv6.Packet{Interface: labUplink}
	ipv6.Parse(ipv6.Append(nil, ipv6.Header{Src: labHome, Dst: parAddr, HopLimit: 64, HomeAddress: other}, ipv6.ProtoMobility, mh), p)
	l.receive(l.par, p, nil)
	l.wantCounter(l.par, "update_care_of", 1)
	if _, ok := l.par.router.Bound(other); ok {
		t.Error("bound")
	}
}

// The longest matching prefix names the new router (RFC 5568 section 4).
func TestNewRouterByLongestPrefix(t *testing.T) {
	for _, place := range []int{0, 1} {
		l := newLab(t, func(par, _ *fmip.RouterConfig) {
			par.Neighbors = slices.Insert(par.Neighbors, place, fmip.Neighbor{
				Name: "all", Router: netip.MustParseAddr("2001:db8:66::1"), Fast: true, Key: labPairKey,
				Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
			})
		})
		l.update(predictive(1))
		l.run(10 * time.Millisecond)
		if _, ok := l.par.router.Bound(labHome); !ok {
			t.Errorf("not bound with the shorter prefix at place %d", place)
		}
	}
}

// Sequence numbers are those of RFC 6275 section 9.5.1, for each key: an older one is dropped, the same one is answered the
// same and does nothing again, and a new key begins anew.
func TestUpdateSequence(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	accept := func(seq uint16, want bool) {
		t.Helper()
		updates := l.par.counter("fast_updates_taken")
		l.update(reactive(seq))
		l.run(time.Second)
		if got := l.par.counter("fast_updates_taken") > updates; got != want {
			t.Errorf("number %d: taken %v, want %v", seq, got, want)
		}
	}
	accept(0xfff0, true)
	accept(0xffef, false)
	accept(5, true) // beyond zero
	accept(0xfff0, false)
	accept(5+0x8000, false) // half way round is older
	accept(5+0x7fff, true)
	l.wantCounter(l.par, "update_sequence", 3)
	l.trace, l.acks = nil, nil
	l.update(reactive(5 + 0x7fff))
	l.run(10 * time.Millisecond)
	l.expect("MN FBU from 2001:db8:2::100", "PAR FBack 0 to 2001:db8:2::100 routed")
	if len(l.acks) != 1 || l.acks[0].Lifetime != 30 {
		t.Errorf("the node got %+v", l.acks)
	}
	l.wantCounter(l.par, "fast_updates_repeated", 1)
	// The same number with another wish is no repetition.
	f := reactive(5 + 0x7fff)
	f.src = labNew.Next()
	l.update(f)
	l.run(10 * time.Millisecond)
	l.wantCounter(l.par, "update_sequence", 4)
	if b, _ := l.par.router.Bound(labHome); b.CareOf != labNew {
		t.Errorf("bound to %v", b.CareOf)
	}
	// A new key: its numbers begin anew.
	l.par.keys[labHome] = []byte("another key of 20 oc")
	f = reactive(1)
	f.key = l.par.keys[labHome]
	updates := l.par.counter("fast_updates_taken")
	p := f.packet(t)
	l.receive(l.par, p, nil)
	if l.par.counter("fast_updates_taken") != updates+1 {
		t.Error("number 1 of a new key is not taken")
	}
}

// The lifetime granted is what was asked for, within the router's bound, in seconds.
func TestUpdateLifetime(t *testing.T) {
	for asked, want := range map[uint16]uint16{10: 10, 60: 60, 61: 60, 0xffff: 60} {
		l := newLab(t)
		l.attach(l.nar, labLink)
		f := reactive(1)
		f.lifetime = asked
		l.update(f)
		l.run(10 * time.Millisecond)
		if len(l.acks) != 1 || l.acks[0].Lifetime != want {
			t.Errorf("asked for %d s: the node got %+v", asked, l.acks)
		}
		l.run(time.Duration(want)*time.Second - 100*time.Millisecond)
		if _, ok := l.par.bound[labHome]; !ok {
			t.Errorf("asked for %d s: it ended too early", asked)
		}
		l.run(200 * time.Millisecond)
		if _, ok := l.par.bound[labHome]; ok {
			t.Errorf("asked for %d s: it goes on", asked)
		}
	}
}

// A node that leaves but never signs anything wrong cannot make the router work without end: its authentic updates are
// limited, too.
func TestUpdateRate(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	for seq := range 100 {
		l.update(reactive(uint16(seq + 1)))
	}
	l.run(10 * time.Millisecond)
	if n := l.par.counter("fast_updates_taken"); n != 8 {
		t.Errorf("%d updates taken at one time, want 8", n)
	}
	l.wantCounter(l.par, "update_rate", 92)
}

// A node for which there is no room is told so (status 130); one that has a key and a number keeps its place.
func TestUpdateNodeLimit(t *testing.T) {
	l := newLab(t, func(par, _ *fmip.RouterConfig) { par.MaxNodes = 1 })
	other := labHome.Next()
	l.par.keys[other] = labKey
	l.attach(l.nar, labLink)
	l.update(reactive(1))
	l.run(10 * time.Millisecond)
	l.sent, l.acks = nil, nil
	f := reactive(1)
	p := f.packet(t)
	raw := slices.Clone(p.Raw)
	copy(raw[48:64], other.AsSlice())
	var q ipv6.Packet
	if problem := ipv6.Parse(raw, &q); problem != ipv6.OK || q.HomeAddress != other {
		t.Fatal(problem, q.HomeAddress)
	}
	mobility.FixChecksum(q.Payload, other, q.Dst)
	q.Interface = labUplink
	l.receive(l.par, &q, nil)
	l.run(10 * time.Millisecond)
	if len(l.acks) != 1 || l.acks[0].Status != mobility.StatusResources {
		t.Errorf("the node got %+v", l.acks)
	}
	// When the first one's key is gone, there is room.
	l.par.router.Release(l.now, labHome)
	delete(l.par.keys, labHome)
	l.receive(l.par, &q, nil)
	l.run(10 * time.Millisecond)
	if _, ok := l.par.router.Bound(other); !ok {
		t.Error("no room after the first one has gone")
	}
}

// Forwarding that cannot be installed is told to the node (status 130), and nothing is left of it.
func TestForwardingFails(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	l.par.failForwarding = true
	l.update(reactive(1))
	l.run(10 * time.Millisecond)
	if len(l.acks) != 1 || l.acks[0].Status != mobility.StatusResources || len(l.par.bound) != 0 {
		t.Errorf("the node got %+v; bound %v", l.acks, l.par.bound)
	}
	// So is one that nobody answers for.
	l.par.failForwarding, l.par.holdForwarding = false, true
	l.update(reactive(2))
	l.run(4 * time.Second)
	if len(l.acks) != 1 {
		t.Error("answered before the forwarding stood")
	}
	l.run(2 * time.Second)
	if len(l.acks) != 2 || l.acks[1].Status != mobility.StatusResources || len(l.par.bound) != 0 {
		t.Errorf("the node got %+v; bound %v", l.acks, l.par.bound)
	}
}

// Resolution of two protocols for one address: the newest authentic binding counts; the daemon asks Bound and Release.
func TestRelease(t *testing.T) {
	l := newLab(t)
	l.attach(l.nar, labLink)
	l.update(reactive(1))
	l.run(10 * time.Millisecond)
	l.trace = nil
	l.do(l.par, l.par.router.Release(l.now, labHome))
	l.expect() // above all no unbind: what stands is the other's
	if _, ok := l.par.router.Bound(labHome); ok {
		t.Error("still bound")
	}
	l.run(time.Minute)
	l.expect()
	l.update(reactive(1)) // the number is still known
	l.run(time.Second)
	if len(l.par.bound) == 2 {
		t.Error("a number is taken twice")
	}
	if n := l.par.counter("update_sequence"); n != 1 {
		t.Errorf("update_sequence is %d", n)
	}
}

// The messages of another implementation: a predictive FBU with the Option Length of BADF as a walker needs it, and as RFC
// 5568 has it in words. Both are accepted, bound, and answered.
func TestVectorUpdates(t *testing.T) {
	var vectors map[string]struct {
		PCoA string `json:"pcoa"`
		NCoA string `json:"ncoa"`
		PAR  string `json:"par"`
		Key  string `json:"handover_key"`
		MH   string `json:"mobility_header"`
	}
	octets, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(octets, &vectors); err != nil {
		t.Fatal(err)
	}
	first := vectors["fbu_predictive"]
	home, careOf, par := netip.MustParseAddr(first.PCoA), netip.MustParseAddr(first.NCoA), netip.MustParseAddr(first.PAR)
	key, _ := hex.DecodeString(first.Key)
	for _, name := range []string{"fbu_predictive", "fbu_predictive_optlen12"} {
		for _, spoil := range []bool{false, true} {
			mh, err := hex.DecodeString(vectors[name].MH)
			if err != nil || len(mh) == 0 {
				t.Fatalf("%s: %v", name, err)
			}
			if spoil {
				mh[len(mh)-1] ^= 1
				mobility.FixChecksum(mh, home, par)
			}
			r := fmip.NewRouter(fmip.RouterConfig{
				Links: []fmip.Link{{Name: "lan0", Index: 1, Hardware: parLink, LinkLocal: parLocal,
					Prefixes: []fmip.LinkPrefix{{Prefix: netip.MustParsePrefix("2001:db8:1:2::/64"), Router: par}}}},
				Neighbors: []fmip.Neighbor{{Name: "nar", Router: netip.MustParseAddr("2001:db8:3:4::1"), Fast: true, Protection: fmip.Unprotected,
					Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:3:4::/64")}}},
				Keys: labKeys{home: key}, Rand: newLab(t).rand,
			})
			p := &ipv6.Packet{Interface: 1, LinkSource: nodeLink}
			raw := ipv6.Append(nil, ipv6.Header{Src: home, Dst: par, HopLimit: 64, HomeAddress: home}, ipv6.ProtoMobility, mh)
			if problem := ipv6.Parse(raw, p); problem != ipv6.OK {
				t.Fatal(problem)
			}
			sent := 0
			for _, e := range r.Step(labBase, fmip.Input{Kind: fmip.InPacket, Packet: p}) {
				if e.Kind != fmip.EffectSend {
					continue
				}
				sent++
				var q ipv6.Packet
				ipv6.Parse(e.Packet, &q)
				h, _ := mobility.ParseHeader(q.Payload)
				m, err := mobility.ParseHandoverInitiate(h)
				if err != nil || m.NewCareOf != careOf || m.PreviousCareOf != home || m.LinkAddr != nodeLink || m.Code != 0 {
					t.Errorf("%s: HI %+v, %v", name, m, err)
				}
			}
			if want := map[bool]int{false: 1, true: 0}[spoil]; sent != want {
				t.Errorf("%s, spoiled %v: %d messages sent, want %d", name, spoil, sent, want)
			}
		}
	}
}
