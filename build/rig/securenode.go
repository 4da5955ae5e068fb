package rig

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/send"
)

// KeyPairs are the RSA keys of nodes with SEND: one that their addresses are made of and that signs, and one, as long as it,
// under which they are given handover keys (RFC 5269 section 3.1). Many nodes may have the same ones: the modifier tells their
// addresses apart.
type KeyPairs struct {
	sign, decrypt *rsa.PrivateKey
	own, other    []byte // SPKIs of the two
	verify        engine.Operations
}

// NewKeyPairs makes two keys of that many bits.
func NewKeyPairs(bits int) (*KeyPairs, error) {
	k := &KeyPairs{}
	for _, pair := range []struct {
		key  **rsa.PrivateKey
		spki *[]byte
	}{{&k.sign, &k.own}, {&k.decrypt, &k.other}} {
		key, err := engine.GenerateKey(bits)
		if err != nil {
			return nil, err
		}
		spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
		if err != nil {
			return nil, err
		}
		*pair.key, *pair.spki = key, spki
	}
	k.verify = engine.NewSoftware(nil, k.sign, engine.PKCS1v15, rand.Reader)
	return k, nil
}

// SecureNode is one mobile node with SEND and fast handovers, reduced to the packets that it sends. Home is its previous
// care-of address, a CGA in the prefix of the router's link.
type SecureNode struct {
	Router   Router
	Hardware ipv6.LinkAddr
	Home     netip.Addr
	CareOf   netip.Addr // new care-of address
	Key      []byte     // handover key; nil until the router gave one
	Seq      uint16     // of the last Fast Binding Update

	keys     *KeyPairs
	endpoint *send.Endpoint
	nonce    []byte // of the last solicitation
}

// handoverAT is the algorithm that nodes ask for.
const handoverAT = uint8(mobility.HMACSHA256)

// NewSecureNode gives node number of a router. Its address comes from the number and the keys.
func NewSecureNode(number int, r Router, keys *KeyPairs) (*SecureNode, error) {
	m := &SecureNode{Router: r, Hardware: ipv6.LinkAddr{0x02, 0x5e}, keys: keys}
	binary.BigEndian.PutUint32(m.Hardware[2:], uint32(number))
	params := cga.Params{PublicKey: keys.own}.In(netip.PrefixFrom(r.Addr, 64))
	binary.BigEndian.PutUint64(params.Modifier[8:], uint64(number))
	m.Home = params.Address(0)
	cfg := send.Config{Identity: send.Identity{Params: params}, MaxPeers: 1, MaxPending: 4, MaxNonces: 1, Rand: rand.Reader}
	cfg.Methods[send.MessageProxyAdvert] = send.ByCGA // it knows its router
	var err error
	m.endpoint, err = send.NewEndpoint(cfg)
	return m, err
}

// Solicit is a signed solicitation for the router's link-local address.
func (m *SecureNode) Solicit() ([]byte, error) { return m.say(m.solicit(), m.signature) }

// ForgedSolicit is the same with octets in place of the signature that pass every test but RSA's.
func (m *SecureNode) ForgedSolicit() ([]byte, error) { return m.say(m.solicit(), m.forgery) }

// ProxySolicit is a signed RtSolPr that asks for what is behind an access point, and for a handover key.
func (m *SecureNode) ProxySolicit(point ipv6.LinkAddr) ([]byte, error) {
	return m.say(m.proxySolicit(point), m.signature)
}

// ForgedProxySolicit is the same with octets in place of the signature that pass every test but RSA's.
func (m *SecureNode) ForgedProxySolicit(point ipv6.LinkAddr) ([]byte, error) {
	return m.say(m.proxySolicit(point), m.forgery)
}

func (m *SecureNode) solicit() []byte {
	return ndp.AppendNeighborSolicit(nil, m.Home, m.Router.Local, m.Router.Local, ndp.SourceLinkOption(m.Hardware))
}

func (m *SecureNode) proxySolicit(point ipv6.LinkAddr) []byte {
	message := ndp.ProxySolicit{Identifier: 1, SourceLink: m.Hardware}
	message.Points.Add(point)
	request := ndp.KeyRequest{AT: handoverAT, PublicKey: m.keys.other}.Append(nil)
	return message.Append(nil, m.Home, m.Router.Local, request)
}

// say makes a packet to the router's link-local address of a message, with the options of SEND.
func (m *SecureNode) say(message []byte, sign func(digest []byte) ([]byte, error)) ([]byte, error) {
	packet := ipv6.Append(nil, ipv6.Header{Src: m.Home, Dst: m.Router.Local, HopLimit: 255}, ipv6.ProtoICMPv6, message)
	for _, e := range m.endpoint.Step(time.Now(), send.Input{Kind: send.InSend, Octets: packet, Wall: time.Now()}) {
		if e.Kind != send.EffectSign {
			continue
		}
		signature, err := sign(e.Digest[:])
		if err != nil {
			return nil, err
		}
		for _, e := range m.endpoint.Step(time.Now(), send.Input{Kind: send.InSigned, Job: e.Job, Signature: signature}) {
			if e.Kind == send.EffectSend {
				m.nonce = e.Nonce
				return e.Packet, nil
			}
		}
	}
	return nil, errors.New("the node could not sign what it says")
}

func (m *SecureNode) signature(digest []byte) ([]byte, error) {
	return rsa.SignPKCS1v15(nil, m.keys.sign, crypto.SHA1, digest)
}

func (m *SecureNode) forgery([]byte) ([]byte, error) {
	b := make([]byte, m.keys.sign.Size())
	_, err := rand.Read(b)
	b[0] = 0 // below the modulus, so that RSA has to be done
	return b, err
}

// TakeKey takes the handover key from a PrRtAdv that is signed, answers the node's last RtSolPr, and holds one. It reports false
// for any other packet, and what is wrong where an answer is there.
func (m *SecureNode) TakeKey(p *ipv6.Packet) (bool, error) {
	if p.Proto != ipv6.ProtoICMPv6 || p.Dst != m.Home || len(p.Payload) == 0 || p.Payload[0] != ndp.TypeFast {
		return false, nil
	}
	for _, e := range m.endpoint.Step(time.Now(), send.Input{Kind: send.InReceived, Packet: p, Wall: time.Now()}) {
		if e.Kind != send.EffectVerify {
			continue
		}
		ok := m.keys.verify.Verify(e.PublicKey, e.Digest, e.Signature)
		for _, e := range m.endpoint.Step(time.Now(), send.Input{Kind: send.InVerified, Job: e.Job, OK: ok}) {
			if e.Kind == send.EffectDeliver && e.Security.Secured && e.Security.Reply && bytes.Equal(e.Security.Nonce, m.nonce) {
				return m.takeReply(e.Received)
			}
		}
	}
	return false, nil
}

func (m *SecureNode) takeReply(p *ipv6.Packet) (bool, error) {
	advert, reason := ndp.ParseProxyAdvert(p)
	if reason != ndp.ReasonNone {
		return false, fmt.Errorf("proxy router advertisement: %v", reason)
	}
	if !advert.HasKeyReply {
		return false, nil
	}
	reply, err := ndp.ParseKeyReply(advert.KeyReply)
	if err != nil {
		return false, err
	}
	key, err := rsa.DecryptPKCS1v15(nil, m.keys.decrypt, reply.EncryptedKey)
	if err != nil || reply.AT != handoverAT || len(key) != handoverkey.KeyLen(handoverAT) {
		return false, fmt.Errorf("handover key of %d octets for algorithm %d: %w", len(key), reply.AT, err)
	}
	m.Key = key
	return true, nil
}

// FastUpdate is the next Fast Binding Update for the new care-of address: predictive from the previous one, reactive from the
// new one. The lifetime is in seconds.
func (m *SecureNode) FastUpdate(predictive bool, lifetime uint16) []byte {
	m.Seq++
	mh := mobility.FastBindingUpdate{
		Seq: m.Seq, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: lifetime, AlternateCareOf: m.CareOf, LinkAddr: m.Hardware,
		Auth: mobility.FastAuth{Present: true, SPI: mobility.SPIHandoverKey, MAC: mobility.HMACSHA256},
	}.Append(nil)
	if err := mobility.SignBADF(mh, m.Key, m.CareOf, m.Router.Addr, mobility.HMACSHA256); err != nil {
		panic(err) // the option is there
	}
	mobility.FixChecksum(mh, m.Home, m.Router.Addr)
	src := m.CareOf
	if predictive {
		src = m.Home
	}
	return ipv6.Append(nil, ipv6.Header{Src: src, Dst: m.Router.Addr, HopLimit: 64, HomeAddress: m.Home}, ipv6.ProtoMobility, mh)
}

// Acknowledged reports whether a packet acknowledges the last Fast Binding Update, under the handover key (HK-AR-21), and with
// which status.
func (m *SecureNode) Acknowledged(p *ipv6.Packet) (status uint8, ok bool) {
	if p.Proto != ipv6.ProtoMobility || p.Src != m.Router.Addr || p.Dst != m.Home && p.Dst != m.CareOf {
		return 0, false
	}
	h, err := mobility.ParseHeader(p.Payload)
	if err != nil {
		return 0, false
	}
	ack, err := mobility.ParseFastBindingAck(h)
	if err != nil || ack.Seq != m.Seq {
		return 0, false
	}
	careOf := m.CareOf
	if ack.AlternateCareOf.IsValid() {
		careOf = ack.AlternateCareOf
	}
	return ack.Status, mobility.VerifyBADF(h.Octets, m.Key, careOf, m.Router.Addr, mobility.HMACSHA256)
}

// VerifySigned reports whether an advertisement of the router has a signature of the router's key, which its own CGA option
// tells: a test of samples, not of who the router is.
func (m *SecureNode) VerifySigned(p *ipv6.Packet) bool {
	for _, e := range m.endpoint.Step(time.Now(), send.Input{Kind: send.InReceived, Packet: p, Wall: time.Now()}) {
		if e.Kind == send.EffectVerify {
			ok := m.keys.verify.Verify(e.PublicKey, e.Digest, e.Signature)
			m.endpoint.Step(time.Now(), send.Input{Kind: send.InVerified, Job: e.Job, OK: ok})
			return ok
		}
	}
	return false
}
