package mobility_test

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

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/mobility"
)

// octets is hex in the vectors.
type octets []byte

func (o *octets) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*o = b
	return err
}

// vectors are messages that an implementation apart from this one has made; all lengths, paddings, checksums and
// authenticators are in them.
type vectors struct {
	RR struct {
		Kcn, Nonce    octets
		HoA, CoA, CN  netip.Addr
		HomeToken     octets `json:"home_token"`
		CareOfToken   octets `json:"careof_token"`
		Kbm           octets
		KbmDeletion   octets `json:"kbm_dereg"`
		Authenticator octets
		Header        octets `json:"mobility_header"`
	} `json:"rr_bu"`
	FBU struct {
		PCoA, NCoA, PAR netip.Addr
		Key             octets `json:"handover_key"`
		Seq             uint16
		Lifetime        uint16 `json:"lifetime_s"`
		Header          octets `json:"mobility_header"`
	} `json:"fbu_predictive"`
	FBUShort struct {
		Header octets `json:"mobility_header"`
	} `json:"fbu_predictive_optlen12"`
	LKE struct {
		Kbm       octets
		Addresses struct {
			NodeLink   netip.Addr `json:"mn_link_local"`
			RouterLink netip.Addr `json:"ar_link_local"`
			CareOf     netip.Addr `json:"coa"`
			Router     netip.Addr `json:"ar"`
			NewCareOf  netip.Addr `json:"new_coa"`
		}
		Request struct {
			Seq      uint16
			Lifetime uint16 `json:"requested_lifetime_s"`
			Data     octets `json:"key_exchange_data"`
			Header   octets `json:"mobility_header"`
		} `json:"kereq"`
		Ack struct {
			Status   uint8
			Seq      uint16
			Lifetime uint16 `json:"lifetime_4s"`
			HMAC     octets
			Header   octets `json:"mobility_header"`
		} `json:"keack"`
		BU, BA, Finished struct {
			Header octets `json:"mobility_header"`
		}
	}
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	text, err := os.ReadFile("../../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// received parses a vector as a received packet: the checksum is verified under the addresses that the vector names.
func received(t testing.TB, h ipv6.Header, mh []byte, minLen func(uint8) (uint8, bool)) mobility.Header {
	t.Helper()
	var p ipv6.Packet
	if problem := ipv6.Parse(ipv6.Append(nil, h, ipv6.ProtoMobility, mh), &p); problem != ipv6.OK {
		t.Fatalf("packet: %v", problem)
	}
	got, fault := mobility.Check(&p, minLen)
	if fault != mobility.FaultNone {
		t.Fatalf("mobility header: %v", fault)
	}
	return got
}

func same(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("built octets\ngot  %x\nwant %x", got, want)
	}
}

// LKE-AR-5, LKE-AR-6, LKE-MN-4, LKE-resolution-c, -d, -g: the Key Exchange Request.
func TestVectorKeyExchangeRequest(t *testing.T) {
	v := readVectors(t).LKE
	a, cp := v.Addresses, mobility.DefaultCodePoints()

	mh := mobility.KeyExchangeRequest{Seq: v.Request.Seq, Data: v.Request.Data, Lifetime: v.Request.Lifetime}.Append(nil, cp)
	mobility.FixChecksum(mh, a.CareOf, a.RouterLink)
	same(t, mh, v.Request.Header)

	h := received(t, ipv6.Header{Src: a.NodeLink, Dst: a.RouterLink, HopLimit: 255, HomeAddress: a.CareOf}, v.Request.Header, cp.MinHeaderLen)
	m, err := mobility.ParseKeyExchangeRequest(h, len(v.Request.Data), cp)
	if err != nil || m.Seq != v.Request.Seq || m.Lifetime != v.Request.Lifetime || !bytes.Equal(m.Data, v.Request.Data) {
		t.Errorf("read %+v, %v", m, err)
	}

	text, err := os.ReadFile("../../testdata/vectors-key1024.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	// LKE-resolution-a: RSAES-PKCS1-v1_5.
	kbm, err := rsa.DecryptPKCS1v15(nil, key.(*rsa.PrivateKey), m.Data)
	if err != nil || !bytes.Equal(kbm, v.Kbm) {
		t.Errorf("the data that was cut out does not hold the key: %v", err)
	}
}

// LKE-AR-8, LKE-resolution-e, -f: the Key Exchange Acknowledgement, with its HMAC.
func TestVectorKeyExchangeAck(t *testing.T) {
	v := readVectors(t).LKE
	a, cp := v.Addresses, mobility.DefaultCodePoints()
	want := mobility.KeyExchangeAck{Status: v.Ack.Status, Seq: v.Ack.Seq, Lifetime: v.Ack.Lifetime, Router: a.Router}

	mh := want.Append(nil, cp)
	if err := mobility.SignKeyExchangeAck(mh, v.Kbm, a.RouterLink, a.NodeLink, a.CareOf); err != nil {
		t.Fatal(err)
	}
	mobility.FixChecksum(mh, a.RouterLink, a.CareOf)
	same(t, mh, v.Ack.Header)

	h := received(t, ipv6.Header{Src: a.RouterLink, Dst: a.NodeLink, HopLimit: 255, RoutingHome: a.CareOf}, v.Ack.Header, cp.MinHeaderLen)
	if m, err := mobility.ParseKeyExchangeAck(h, cp); err != nil || m != want {
		t.Errorf("read %+v, %v", m, err)
	}
	if !mobility.VerifyKeyExchangeAck(h.Octets, v.Kbm, a.RouterLink, a.NodeLink, a.CareOf) {
		t.Error("HMAC of the vector refused")
	}
	if mobility.VerifyKeyExchangeAck(h.Octets, v.Kbm, a.RouterLink, a.NodeLink, a.NewCareOf) {
		t.Error("HMAC does not cover the home address")
	}
}

// LKE-AR-19, LKE-MN-11, LKE-resolution-i: the Binding Update under an LBSA.
func TestVectorBindingUpdate(t *testing.T) {
	v := readVectors(t).LKE
	a := v.Addresses
	want := mobility.BindingUpdate{Seq: 0x1234, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: 900, HasAuth: true}

	mh := want.Append(nil)
	if err := mobility.SignBAD(mh, v.Kbm, a.NewCareOf, a.Router); err != nil {
		t.Fatal(err)
	}
	mobility.FixChecksum(mh, a.CareOf, a.Router)
	same(t, mh, v.BU.Header)

	h := received(t, ipv6.Header{Src: a.NewCareOf, Dst: a.Router, HopLimit: 64, HomeAddress: a.CareOf}, v.BU.Header, mobility.MinHeaderLen)
	want.AuthLast = true
	if m, err := mobility.ParseBindingUpdate(h); err != nil || m != want {
		t.Errorf("read %+v, %v", m, err)
	}
	if !mobility.VerifyBAD(h.Octets, v.Kbm, a.NewCareOf, a.Router) {
		t.Error("authenticator of the vector refused")
	}
	if mobility.VerifyBAD(h.Octets, v.Kbm, a.Router, a.NewCareOf) {
		t.Error("the order of the addresses does not count")
	}
}

// LKE-AR-22, LKE-resolution-i: the Binding Acknowledgement, whose authenticator has the router's address first.
func TestVectorBindingAck(t *testing.T) {
	v := readVectors(t).LKE
	a, cp := v.Addresses, mobility.DefaultCodePoints()
	want := mobility.BindingAck{Seq: 0x1234, Lifetime: 900, FinishedRequest: true, FinishedNonce: 0x0a0b0c0d, HasAuth: true}

	mh := want.Append(nil, cp)
	if err := mobility.SignBAD(mh, v.Kbm, a.Router, a.NewCareOf); err != nil {
		t.Fatal(err)
	}
	mobility.FixChecksum(mh, a.Router, a.CareOf)
	same(t, mh, v.BA.Header)

	h := received(t, ipv6.Header{Src: a.Router, Dst: a.NewCareOf, HopLimit: 64, RoutingHome: a.CareOf}, v.BA.Header, mobility.MinHeaderLen)
	want.AuthLast = true
	if m, err := mobility.ParseBindingAck(h, cp); err != nil || m != want {
		t.Errorf("read %+v, %v", m, err)
	}
	if !mobility.VerifyBAD(h.Octets, v.Kbm, a.Router, a.NewCareOf) {
		t.Error("authenticator of the vector refused")
	}
}

// LKE-AR-25, LKE-MN-12: the Finished message.
func TestVectorFinished(t *testing.T) {
	v := readVectors(t).LKE
	a, cp := v.Addresses, mobility.DefaultCodePoints()
	want := mobility.Finished{Seq: 0x1234, Lifetime: 900, Nonce: 0x0a0b0c0d, HasAuth: true}

	mh := want.Append(nil, cp)
	if err := mobility.SignBAD(mh, v.Kbm, a.NewCareOf, a.Router); err != nil {
		t.Fatal(err)
	}
	mobility.FixChecksum(mh, a.CareOf, a.Router)
	same(t, mh, v.Finished.Header)

	h := received(t, ipv6.Header{Src: a.NewCareOf, Dst: a.Router, HopLimit: 64, HomeAddress: a.CareOf}, v.Finished.Header, cp.MinHeaderLen)
	want.AuthLast = true
	if m, err := mobility.ParseFinished(h, cp); err != nil || m != want {
		t.Errorf("read %+v, %v", m, err)
	}
	if !mobility.VerifyBAD(h.Octets, v.Kbm, a.NewCareOf, a.Router) {
		t.Error("authenticator of the vector refused")
	}
}

// Return routability (RFC 6275 section 5.2.5 and 6.2.7): tokens, Kbm, and a Binding Update with nonce indices.
func TestVectorReturnRoutability(t *testing.T) {
	v := readVectors(t).RR
	homeToken := mobility.HomeKeygenToken(v.Kcn, v.HoA, v.Nonce)
	careOfToken := mobility.CareOfKeygenToken(v.Kcn, v.CoA, v.Nonce)
	same(t, homeToken[:], v.HomeToken)
	same(t, careOfToken[:], v.CareOfToken)
	kbm := mobility.BindingKey(homeToken, careOfToken)
	same(t, kbm[:], v.Kbm)
	deletion := mobility.DeletionKey(homeToken)
	same(t, deletion[:], v.KbmDeletion)

	h := received(t, ipv6.Header{Src: v.CoA, Dst: v.CN, HopLimit: 64, HomeAddress: v.HoA}, v.Header, mobility.MinHeaderLen)
	m, err := mobility.ParseBindingUpdate(h)
	want := mobility.NonceIndices{Present: true, Home: 7, CareOf: 9}
	if err != nil || m.NonceIndices != want || m.Lifetime != 105 || !m.AuthLast {
		t.Errorf("read %+v, %v", m, err)
	}
	if !mobility.VerifyBAD(h.Octets, kbm[:], v.CoA, v.CN) || mobility.VerifyBAD(h.Octets, deletion[:], v.CoA, v.CN) {
		t.Error("authenticator of the vector refused, or accepted under another key")
	}

	mh := mobility.BindingUpdate{
		Seq: m.Seq, Flags: m.Flags, Lifetime: 105, NonceIndices: want, HasAuth: true,
	}.Append(nil)
	if err := mobility.SignBAD(mh, kbm[:], v.CoA, v.CN); err != nil {
		t.Fatal(err)
	}
	mobility.FixChecksum(mh, v.HoA, v.CN)
	same(t, mh, v.Header)
	same(t, mh[len(mh)-12:], v.Authenticator)
}

// RFC 5568 section 6.4.5: a Fast Binding Update with both readings of the Option Length.
func TestVectorFastBindingUpdate(t *testing.T) {
	all := readVectors(t)
	v := all.FBU
	for _, tt := range []struct {
		name   string
		short  bool
		header []byte
	}{
		{"length counts the SPI", false, v.Header},
		{"length of the authenticator alone", true, all.FBUShort.Header},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := mobility.FastBindingUpdate{
				Seq: v.Seq, Flags: mobility.FlagAck | mobility.FlagHome, Lifetime: v.Lifetime, AlternateCareOf: v.NCoA,
				Auth: mobility.FastAuth{Present: true, Short: tt.short},
			}
			mh := want.Append(nil)
			if err := mobility.SignBADF(mh, v.Key, v.NCoA, v.PAR, mobility.HMACSHA1); err != nil {
				t.Fatal(err)
			}
			mobility.FixChecksum(mh, v.PCoA, v.PAR)
			same(t, mh, tt.header)

			h := received(t, ipv6.Header{Src: v.PCoA, Dst: v.PAR, HopLimit: 64, HomeAddress: v.PCoA}, tt.header, mobility.MinHeaderLen)
			want.Auth.Last = true
			if m, err := mobility.ParseFastBindingUpdate(h); err != nil || m != want {
				t.Errorf("read %+v, %v", m, err)
			}
			if !mobility.VerifyBADF(h.Octets, v.Key, v.NCoA, v.PAR, mobility.HMACSHA1) {
				t.Error("authenticator of the vector refused")
			}
			if mobility.VerifyBADF(h.Octets, v.Key, v.PCoA, v.PAR, mobility.HMACSHA1) {
				t.Error("authenticator does not cover the care-of address")
			}
			if mobility.VerifyBADF(h.Octets, v.Key, v.NCoA, v.PAR, mobility.HMACSHA256) {
				t.Error("the sender chose the algorithm")
			}
		})
	}
}
