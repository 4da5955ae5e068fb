package rig

import (
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// Peer plays another access router towards a daemon, under the key that the two share.
type Peer struct {
	Addr   netip.Addr // its own
	Router netip.Addr // the daemon's
	Key    []byte

	seq    uint16
	number uint64
}

// Answer is the Handover Acknowledge for a packet, if that is a Handover Initiate for this peer: it agrees to everything.
func (r *Peer) Answer(p *ipv6.Packet) ([]byte, bool) {
	if p.Proto != ipv6.ProtoMobility || p.Src != r.Router || p.Dst != r.Addr {
		return nil, false
	}
	h, err := mobility.ParseHeader(p.Payload)
	if err != nil {
		return nil, false
	}
	m, err := mobility.ParseHandoverInitiate(h)
	if err != nil || !mobility.VerifyHandover(h.Octets, r.Key, p.Src, p.Dst) {
		return nil, false
	}
	return r.packet(mobility.HandoverAck{
		Seq: m.Seq, Code: mobility.HandoverAccepted, NewCareOf: m.NewCareOf, Number: m.Number, HasNumber: true, Auth: pairAuth(),
	}.Append(nil)), true
}

// Initiate is a Handover Initiate for a node that is to come to the daemon's link: its packets are to be kept until then.
func (r *Peer) Initiate(node ipv6.LinkAddr, previous, careOf netip.Addr) []byte {
	r.seq++
	now := time.Now()
	// In units of 1/65536 s since 1970; numbers only grow.
	r.number = max(r.number+1, uint64(now.Unix())<<16+uint64(now.Nanosecond())<<16/uint64(time.Second))
	return r.packet(mobility.HandoverInitiate{
		Seq: r.seq, Buffer: true, LinkAddr: node, PreviousCareOf: previous, NewCareOf: careOf, Number: r.number, HasNumber: true, Auth: pairAuth(),
	}.Append(nil))
}

// Accepted reports whether a packet is the daemon's answer to the last Initiate, and accepts the node.
func (r *Peer) Accepted(p *ipv6.Packet) bool {
	if p.Proto != ipv6.ProtoMobility || p.Src != r.Router || p.Dst != r.Addr {
		return false
	}
	h, err := mobility.ParseHeader(p.Payload)
	if err != nil {
		return false
	}
	m, err := mobility.ParseHandoverAck(h)
	return err == nil && mobility.VerifyHandover(h.Octets, r.Key, p.Src, p.Dst) && m.Seq == r.seq && m.Code < mobility.HandoverRefused
}

func pairAuth() mobility.FastAuth {
	return mobility.FastAuth{Present: true, SPI: mobility.SPIPairKey, MAC: mobility.HMACSHA256}
}

func (r *Peer) packet(mh []byte) []byte {
	if err := mobility.SignHandover(mh, r.Key, r.Addr, r.Router); err != nil {
		panic(err) // the option is there
	}
	mobility.FixChecksum(mh, r.Addr, r.Router)
	return ipv6.Append(nil, ipv6.Header{Src: r.Addr, Dst: r.Router, HopLimit: 64}, ipv6.ProtoMobility, mh)
}
