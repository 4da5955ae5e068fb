package main

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

// node is one mobile node, reduced to the packets that it sends.
type node struct {
	hw          ipv6.LinkAddr
	local, home netip.Addr
	careOf      netip.Addr
	key         [lke.KeyLen]byte
	request     []byte // made beforehand, as its RSA is not what is measured
	seq         uint16
}

// nodes makes nodes with their key requests, encrypted for key. first numbers them, so that none occurs twice in a run.
func nodes(first, count int, key *rsa.PublicKey, n *network) ([]*node, error) {
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		return nil, err
	}
	all := make([]*node, count)
	for i := range all {
		m := newNode(first + i)
		rand.Read(m.key[:])
		data, err := mobilenode.Encrypt(spki, m.key)
		if err != nil {
			return nil, err
		}
		m.request = m.keyRequest(data, n)
		all[i] = m
	}
	return all, nil
}

func newNode(number int) *node {
	m := &node{hw: ipv6.LinkAddr{0x02, 0xbe}}
	binary.BigEndian.PutUint32(m.hw[2:], uint32(number))
	m.local = ipv6.LinkLocalFrom(m.hw)
	m.home = ipv6.WithEUI64(routerAddr, m.hw)
	m.careOf = ipv6.WithEUI64(netip.MustParseAddr("2001:db8:c::"), m.hw)
	return m
}

func (m *node) keyRequest(data []byte, n *network) []byte {
	m.seq++
	mh := mobility.KeyExchangeRequest{Seq: m.seq, Data: data, Lifetime: 3600}.Append(nil, mobility.DefaultCodePoints())
	mobility.FixChecksum(mh, m.home, n.routerLocal)
	return ipv6.Append(nil, ipv6.Header{Src: m.local, Dst: n.routerLocal, TrafficClass: 0xf0, HopLimit: 255, HomeAddress: m.home}, ipv6.ProtoMobility, mh)
}

// defend is the advertisement that answers the router's authenticated solicitation.
func (m *node) defend(nonce uint32) []byte {
	cp := ndp.DefaultCodePoints()
	target := ndp.TargetLinkOption(m.hw)
	auth := ndp.DADAuth{Nonce: nonce, Router: routerAddr}.Append(nil, cp.AuthReply)
	msg := ndp.AppendNeighborAdvert(nil, m.home, ipv6.AllNodes(), ndp.FlagOverride, m.home, target, auth)
	if err := ndp.SignDADAuth(msg, m.key[:], m.home, ipv6.AllNodes(), len(msg)-len(auth)); err != nil {
		panic(err) // the option is where it was put
	}
	return ipv6.Append(nil, ipv6.Header{Src: m.home, Dst: ipv6.AllNodes(), HopLimit: 255}, ipv6.ProtoICMPv6, msg)
}

// update is the next Binding Update from the care-of address.
func (m *node) update(lifetime uint16) []byte {
	m.seq++
	mh := mobility.BindingUpdate{Seq: m.seq, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: lifetime, HasAuth: true}.Append(nil)
	return m.signed(mh)
}

func (m *node) finished(ack mobility.BindingAck) []byte {
	mh := mobility.Finished{Status: ack.Status, Seq: ack.Seq, Lifetime: ack.Lifetime, Nonce: ack.FinishedNonce, HasAuth: true}.Append(nil, mobility.DefaultCodePoints())
	return m.signed(mh)
}

func (m *node) signed(mh []byte) []byte {
	if err := mobility.SignBAD(mh, m.key[:], m.careOf, routerAddr); err != nil {
		panic(err) // the option is there
	}
	mobility.FixChecksum(mh, m.home, routerAddr)
	return ipv6.Append(nil, ipv6.Header{Src: m.careOf, Dst: routerAddr, HopLimit: 64, HomeAddress: m.home}, ipv6.ProtoMobility, mh)
}
