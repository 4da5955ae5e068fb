package rig

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"net/netip"

	"github.com/roamkey/roamkey/firmware/mobilenode"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// Router is what nodes know of their access router: its global address in the prefix of the link, its link-local one, and
// its link-layer address there.
type Router struct {
	Addr, Local netip.Addr
	Hardware    ipv6.LinkAddr
}

// Node is one mobile node, reduced to the packets that it sends. Its fields may be changed at any time.
type Node struct {
	Router      Router
	Hardware    ipv6.LinkAddr
	Local, Home netip.Addr
	CareOf      netip.Addr // where it is when it has moved
	Key         [lke.KeyLen]byte
	Seq         uint16 // of the last message that has one
}

// NewNode gives node number of a router, with a random key. Its addresses come from the number.
func NewNode(number int, r Router) *Node {
	m := &Node{Router: r, Hardware: ipv6.LinkAddr{0x02, 0xbe}}
	binary.BigEndian.PutUint32(m.Hardware[2:], uint32(number))
	m.Local = ipv6.LinkLocalFrom(m.Hardware)
	m.Home = ipv6.WithEUI64(r.Addr, m.Hardware)
	rand.Read(m.Key[:])
	return m
}

// Encrypt encrypts the node's key for a router's public key.
func (m *Node) Encrypt(key *rsa.PublicKey) ([]byte, error) {
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		return nil, err
	}
	return mobilenode.Encrypt(spki, m.Key, false)
}

// KeyRequest is the next Key Exchange Request, with the encrypted key as data.
func (m *Node) KeyRequest(data []byte) []byte {
	m.Seq++
	mh := mobility.KeyExchangeRequest{Seq: m.Seq, Data: data, Lifetime: 3600}.Append(nil, mobility.DefaultCodePoints())
	mobility.FixChecksum(mh, m.Home, m.Router.Local)
	return ipv6.Append(nil, ipv6.Header{
		Src: m.Local, Dst: m.Router.Local, TrafficClass: 0xf0, HopLimit: 255, HomeAddress: m.Home,
	}, ipv6.ProtoMobility, mh)
}

// Defend is the advertisement that answers the router's authenticated solicitation.
func (m *Node) Defend(nonce uint32) []byte {
	cp := ndp.DefaultCodePoints()
	auth := ndp.DADAuth{Nonce: nonce, Router: m.Router.Addr}.Append(nil, cp.AuthReply)
	msg := ndp.AppendNeighborAdvert(nil, m.Home, ipv6.AllNodes(), ndp.FlagOverride, m.Home, ndp.TargetLinkOption(m.Hardware), auth)
	if err := ndp.SignDADAuth(msg, m.Key[:], m.Home, ipv6.AllNodes(), len(msg)-len(auth)); err != nil {
		panic(err) // the option is where it was put
	}
	return ipv6.Append(nil, ipv6.Header{Src: m.Home, Dst: ipv6.AllNodes(), HopLimit: 255}, ipv6.ProtoICMPv6, msg)
}

// Nonce finds the nonce of the router's DAD Authentication Request in a solicitation.
func Nonce(ns ndp.NeighborSolicit) (nonce uint32, ok bool) {
	for options := ns.Options; ; {
		o, ok := options.Next()
		if !ok {
			return 0, false
		}
		if o.Type == ndp.DefaultCodePoints().AuthRequest {
			a, err := ndp.ParseDADAuth(o)
			return a.Nonce, err == nil
		}
	}
}

// Update is the next Binding Update from the care-of address. The lifetime is in units of 4 s.
func (m *Node) Update(lifetime uint16) []byte {
	m.Seq++
	return m.Sign(mobility.BindingUpdate{
		Seq: m.Seq, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: lifetime, HasAuth: true,
	}.Append(nil))
}

// Finished confirms an acknowledgement.
func (m *Node) Finished(ack mobility.BindingAck) []byte {
	return m.Sign(mobility.Finished{
		Status: ack.Status, Seq: ack.Seq, Lifetime: ack.Lifetime, Nonce: ack.FinishedNonce, HasAuth: true,
	}.Append(nil, mobility.DefaultCodePoints()))
}

// Sign makes a packet from the care-of address of a mobility header that ends with an authorization option.
func (m *Node) Sign(mh []byte) []byte {
	if err := mobility.SignBAD(mh, m.Key[:], m.CareOf, m.Router.Addr); err != nil {
		panic(err) // the option is there
	}
	return m.Packet(mh)
}

// Packet makes a packet from the care-of address of a mobility header, and sets its checksum.
func (m *Node) Packet(mh []byte) []byte {
	mobility.FixChecksum(mh, m.Home, m.Router.Addr)
	return ipv6.Append(nil, ipv6.Header{Src: m.CareOf, Dst: m.Router.Addr, HopLimit: 64, HomeAddress: m.Home}, ipv6.ProtoMobility, mh)
}
