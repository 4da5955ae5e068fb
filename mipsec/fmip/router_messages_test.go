package fmip_test

import (
	"net/netip"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// fbu is a Fast Binding Update that the lab's node sends.
type fbu struct {
	seq      uint16
	lifetime uint16 // seconds
	src      netip.Addr
	careOf   netip.Addr // of the Alternate Care-of Address option, if valid
	dst      netip.Addr
	key      []byte
	change   func(m *mobility.FastBindingUpdate)
	spoil    func(mh []byte)
	macOver  netip.Addr // the zero Addr: as the protocol has it
}

// predictive is an update from the old link, reactive one from the new.
func predictive(seq uint16) fbu {
	return fbu{seq: seq, lifetime: 30, src: labHome, careOf: labNew, dst: parAddr, key: labKey}
}
func reactive(seq uint16) fbu {
	return fbu{seq: seq, lifetime: 30, src: labNew, dst: parAddr, key: labKey}
}
func returned(seq uint16) fbu {
	return fbu{seq: seq, src: labHome, careOf: labNew, dst: parAddr, key: labKey}
}

func (f fbu) packet(t testing.TB) *ipv6.Packet {
	m := mobility.FastBindingUpdate{
		Seq: f.seq, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: f.lifetime, AlternateCareOf: f.careOf,
		Auth: mobility.FastAuth{Present: true, MAC: mobility.HMACSHA1},
	}
	if f.change != nil {
		f.change(&m)
	}
	mh := m.Append(nil)
	over := f.macOver
	if !over.IsValid() {
		over = m.AlternateCareOf
		if !over.IsValid() {
			over = f.src
		}
		if m.Lifetime == 0 {
			over = labHome
		}
	}
	_ = mobility.SignBADF(mh, f.key, over, f.dst, mobility.HMACSHA1)
	if f.spoil != nil {
		f.spoil(mh)
	}
	mobility.FixChecksum(mh, labHome, f.dst)
	raw := ipv6.Append(nil, ipv6.Header{Src: f.src, Dst: f.dst, HopLimit: 64, HomeAddress: labHome}, ipv6.ProtoMobility, mh)
	p := &ipv6.Packet{Interface: labUplink}
	if f.src == labHome {
		p.Interface, p.LinkSource = labLink, nodeLink
	}
	if problem := ipv6.Parse(raw, p); problem != ipv6.OK {
		t.Fatal(problem)
	}
	return p
}

// update sends an update from the node.
func (l *lab) update(f fbu) {
	p := f.packet(l.t)
	if l.careOf = f.careOf; !l.careOf.IsValid() {
		l.careOf = f.src
	}
	if f.lifetime == 0 {
		l.careOf = labHome
	}
	if l.lose != nil && l.lose("MN FBU") {
		l.note("MN FBU from %v LOST", f.src)
		return
	}
	l.note("MN FBU from %v", f.src)
	l.after(labHop, func() { l.receive(l.par, p, nil) })
}

// naPacket is a neighbour advertisement on the NAR's link.
func naPacket(t testing.TB, src, target netip.Addr, flags ndp.NAFlags, source ipv6.LinkAddr) *ipv6.Packet {
	dst := ipv6.AllNodes()
	icmp := ndp.AppendNeighborAdvert(nil, src, dst, flags, target, ndp.TargetLinkOption(source))
	raw := ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 255}, ipv6.ProtoICMPv6, icmp)
	p := &ipv6.Packet{Interface: labLink, LinkSource: source}
	if problem := ipv6.Parse(raw, p); problem != ipv6.OK {
		t.Fatal(problem)
	}
	return p
}

// handover is an HI or HAck made by hand.
func handover(t testing.TB, src, dst netip.Addr, mh, key []byte) *ipv6.Packet {
	if len(key) > 0 {
		if err := mobility.SignHandover(mh, key, src, dst); err != nil {
			t.Fatal(err)
		}
	}
	mobility.FixChecksum(mh, src, dst)
	p := &ipv6.Packet{Interface: labUplink}
	if problem := ipv6.Parse(ipv6.Append(nil, ipv6.Header{Src: src, Dst: dst, HopLimit: 64}, ipv6.ProtoMobility, mh), p); problem != ipv6.OK {
		t.Fatal(problem)
	}
	return p
}

// pairAuth is the option for an authenticator under the key of two routers.
func pairAuth() mobility.FastAuth {
	return mobility.FastAuth{Present: true, SPI: mobility.SPIPairKey, MAC: mobility.HMACSHA256}
}
