package lke_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// labVectors is the part of the vectors that an access router sees. An implementation that was written from the draft and
// the resolutions alone made them.
type labVectors struct {
	KBM       labHex `json:"kbm"`
	Addresses struct {
		NodeLocal   netip.Addr `json:"mn_link_local"`
		RouterLocal netip.Addr `json:"ar_link_local"`
		Home        netip.Addr `json:"coa"`
		Router      netip.Addr `json:"ar"`
		CareOf      netip.Addr `json:"new_coa"`
	} `json:"addresses"`
	Request labMessage `json:"kereq"`
	Ack     labMessage `json:"keack"`
	Solicit labMessage `json:"dad_ns"`
	Advert  labMessage `json:"dad_na"`
	Update  labMessage `json:"bu"`
	Bound   labMessage `json:"ba"`
	Done    labMessage `json:"finished"`
}

type labMessage struct {
	Mobility labHex `json:"mobility_header"`
	ICMPv6   labHex `json:"icmpv6"`
	Nonce    labHex `json:"nonce"`
	Asked    labHex `json:"finished_request_nonce"`
}

type labHex []byte

func (h *labHex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func loadLabVectors(t *testing.T) labVectors {
	t.Helper()
	raw, err := os.ReadFile("../../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		LKE labVectors `json:"lke"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	return all.LKE
}

// labDecrypt is what a driver does with an EffectDecrypt, with the key of the vectors.
func labDecrypt(t *testing.T, ciphertext []byte) (key [lke.KeyLen]byte) {
	t.Helper()
	raw, err := os.ReadFile("../../testdata/vectors-key1024.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	var private *rsa.PrivateKey
	if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		private = parsed.(*rsa.PrivateKey)
	} else if private, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
		t.Fatal(err)
	}
	if err := rsa.DecryptPKCS1v15SessionKey(nil, private, ciphertext, key[:]); err != nil {
		t.Fatal(err)
	}
	return key
}

// Every message of the ladder, octet for octet: LKE-resolution-c (lifetimes in seconds in the request, in units of 4 s in the
// acknowledgement), LKE-resolution-d (mobility header of RFC 6275), LKE-resolution-e (what the HMACs cover, padding of 48
// octets), LKE-resolution-f (routing header), LKE-resolution-g (checksum with the home address), LKE-resolution-i
// (authenticators), LKE-resolution-n (global router address).
func TestRouterVectors(t *testing.T) {
	v := loadLabVectors(t)
	hw := ipv6.LinkAddr{2, 1, 2, 3, 4, 5}
	vectors := func(c *lke.RouterConfig) {
		c.Links = []lke.Link{{
			Name: "lan0", Index: labLink, Hardware: labHardware, LinkLocal: v.Addresses.RouterLocal,
			Prefixes: []lke.LinkPrefix{{Prefix: netip.MustParsePrefix("2001:db8:1::/64"), Router: v.Addresses.Router}},
		}}
	}
	receive := func(l *routerLab, link int, h ipv6.Header, proto uint8, payload []byte) []lke.Effect {
		p := labParse(t, ipv6.Append(nil, h, proto, payload))
		p.Interface, p.LinkSource = link, hw
		effects := l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: p})
		return effects
	}
	sent := func(effects []lke.Effect, i int) *ipv6.Packet {
		for _, e := range effects {
			if e.Kind == lke.EffectSend {
				if i == 0 {
					return labParse(t, e.Packet)
				}
				i--
			}
		}
		t.Fatalf("nothing was sent: %+v", effects)
		return nil
	}
	same := func(what string, got, want []byte) {
		t.Helper()
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n  %x\nwant\n  %x", what, got, want)
		}
	}

	l := newRouterLab(t, vectors)
	l.rand.script = append(l.rand.script, v.Solicit.Nonce...)
	effects := receive(l, labLink, ipv6.Header{
		Src: v.Addresses.NodeLocal, Dst: v.Addresses.RouterLocal, HopLimit: 255, TrafficClass: 0xf0, HomeAddress: v.Addresses.Home,
	}, ipv6.ProtoMobility, v.Request.Mobility)
	if len(effects) == 0 || effects[0].Kind != lke.EffectDecrypt {
		t.Fatalf("the request was not taken: %v", l.counters())
	}
	key := labDecrypt(t, effects[0].Ciphertext) // LKE-AR-6, LKE-resolution-a
	same("key", key[:], v.KBM)

	effects = l.router.Step(l.now, lke.Input{Kind: lke.InKey, Job: effects[0].Job, Key: key})
	same("KEAck", sent(effects, 0).Payload, v.Ack.Mobility)
	same("DAD solicitation", sent(effects, 1).Payload, v.Solicit.ICMPv6)

	receive(l, labLink, ipv6.Header{Src: v.Addresses.Home, Dst: ipv6.AllNodes(), HopLimit: 255}, ipv6.ProtoICMPv6, v.Advert.ICMPv6)
	l.advance(time.Second)
	if a := l.association(v.Addresses.Home); a.State != "valid" || a.Node != hw {
		t.Fatalf("the vector's advertisement was not believed: %+v, %v", a, l.counters())
	}
	replay := l.router.Step(l.now, lke.Input{Kind: lke.InPacket, Packet: l.host(9).detection(v.Addresses.Home)})
	same("replayed advertisement", sent(replay, 0).Payload, v.Advert.ICMPv6)

	// The vectors' update asks for as long as the association lasted from its start; it goes to one that lasts longer.
	l = newRouterLab(t, vectors)
	l.rand.script = append(l.rand.script, v.Bound.Asked...)
	l.router.Restore(l.now, []lke.Record{{
		Home: v.Addresses.Home, Router: v.Addresses.Router, Link: "lan0", Node: hw, Key: key, Expires: l.now.Add(2 * time.Hour),
	}})
	home := ipv6.Header{Src: v.Addresses.CareOf, Dst: v.Addresses.Router, HopLimit: 60, HomeAddress: v.Addresses.Home}
	receive(l, labUplink, home, ipv6.ProtoMobility, v.Update.Mobility)
	// The nonce of a restored router's first draw would be the vector's, had it not been for the update's own.
	effects = l.router.Step(l.now, lke.Input{Kind: lke.InForwarding, Home: v.Addresses.Home})
	same("BA", sent(effects, 0).Payload, v.Bound.Mobility)
	receive(l, labUplink, home, ipv6.ProtoMobility, v.Done.Mobility)
	if a := l.association(v.Addresses.Home); !a.Verified || a.CareOf != v.Addresses.CareOf {
		t.Errorf("the vector's Finished message was not believed: %+v, %v", a, l.counters())
	}
}
