package mobility_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"hash"
	"net/netip"
	"testing"

	"github.com/roamkey/roamkey/mipsec/mobility"
)

// authenticated is a message with its authenticator, and how it is verified.
type authenticated struct {
	name   string
	mh     []byte
	mac    int // octets of the authenticator
	tail   int // octets after it
	verify func(mh, key []byte, first, second netip.Addr) bool
}

func authenticatedMessages(t *testing.T) []authenticated {
	t.Helper()
	sign := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	bu := mobility.BindingUpdate{Seq: 7, Flags: mobility.FlagAck, Lifetime: 9, AlternateCareOf: other, HasAuth: true}.Append(nil)
	sign(mobility.SignBAD(bu, kbm, careOf, router))
	ba := mobility.BindingAck{Seq: 7, FinishedRequest: true, FinishedNonce: 3, HasAuth: true}.Append(nil, cp)
	sign(mobility.SignBAD(ba, kbm, careOf, router))
	finished := mobility.Finished{Seq: 7, Nonce: 3, HasAuth: true}.Append(nil, cp)
	sign(mobility.SignBAD(finished, kbm, careOf, router))
	fbu := mobility.FastBindingUpdate{Seq: 7, AlternateCareOf: other, Auth: mobility.FastAuth{Present: true}}.Append(nil)
	sign(mobility.SignBADF(fbu, kbm, careOf, router, mobility.HMACSHA1))
	fback := mobility.FastBindingAck{Seq: 7, Auth: mobility.FastAuth{Present: true, MAC: mobility.HMACSHA256}}.Append(nil)
	sign(mobility.SignBADF(fback, kbm, careOf, router, mobility.HMACSHA256))
	pair := mobility.FastAuth{Present: true, SPI: mobility.SPIPairKey, MAC: mobility.HMACSHA256}
	hi := mobility.HandoverInitiate{Seq: 7, LinkAddr: link, PreviousCareOf: home, NewCareOf: other, Number: 9, HasNumber: true, Auth: pair}.Append(nil)
	sign(mobility.SignHandover(hi, kbm, careOf, router))
	hack := mobility.HandoverAck{Seq: 7, Code: mobility.HandoverUsePrevious, Number: 9, HasNumber: true, Auth: pair}.Append(nil)
	sign(mobility.SignHandover(hack, kbm, careOf, router))
	ack := mobility.KeyExchangeAck{Seq: 7, Lifetime: 9, Router: router}.Append(nil, cp)
	sign(mobility.SignKeyExchangeAck(ack, kbm, careOf, router, home))

	fast := func(alg mobility.FastMAC) func(mh, key []byte, first, second netip.Addr) bool {
		return func(mh, key []byte, first, second netip.Addr) bool {
			return mobility.VerifyBADF(mh, key, first, second, alg)
		}
	}
	keyExchange := func(mh, key []byte, first, second netip.Addr) bool {
		return mobility.VerifyKeyExchangeAck(mh, key, first, second, home)
	}
	return []authenticated{
		{name: "BU", mh: bu, mac: 12, verify: mobility.VerifyBAD},
		{name: "BA", mh: ba, mac: 12, verify: mobility.VerifyBAD},
		{name: "Finished", mh: finished, mac: 12, verify: mobility.VerifyBAD},
		{name: "FBU", mh: fbu, mac: 12, verify: fast(mobility.HMACSHA1)},
		{name: "FBack", mh: fback, mac: 16, verify: fast(mobility.HMACSHA256)},
		{name: "HI", mh: hi, mac: 16, verify: mobility.VerifyHandover},
		{name: "HAck", mh: hack, mac: 16, verify: mobility.VerifyHandover},
		{name: "KeyExchangeAck", mh: ack, mac: 20, tail: 2, verify: keyExchange},
	}
}

// Any bit of the message, of the key and of the addresses counts, but for the checksum (LKE-AR-19, LKE-AR-25,
// LKE-MN-6). Verifying writes nothing: packets share memory.
func TestAuthenticatorCoversAll(t *testing.T) {
	for _, m := range authenticatedMessages(t) {
		t.Run(m.name, func(t *testing.T) {
			if !m.verify(m.mh, kbm, careOf, router) {
				t.Fatal("own authenticator refused")
			}
			for i := range len(m.mh) * 8 {
				mh := bytes.Clone(m.mh)
				mh[i/8] ^= 1 << (i % 8)
				before := bytes.Clone(mh)
				if inChecksum := i/8 == 4 || i/8 == 5; m.verify(mh, kbm, careOf, router) != inChecksum {
					t.Errorf("octet %d, bit %d: changed message accepted: %v", i/8, i%8, !inChecksum)
				}
				if !bytes.Equal(mh, before) {
					t.Fatal("Verify wrote to the message")
				}
			}
			key := bytes.Clone(kbm)
			key[15] ^= 1
			if m.verify(m.mh, key, careOf, router) || m.verify(m.mh, nil, careOf, router) {
				t.Error("another key accepted")
			}
			if m.verify(m.mh, kbm, other, router) || m.verify(m.mh, kbm, careOf, other) || m.verify(m.mh, kbm, router, careOf) {
				t.Error("other addresses accepted")
			}
			for n := range len(m.mh) {
				if m.verify(m.mh[:n], kbm, careOf, router) {
					t.Errorf("cut to %d octets and accepted", n)
				}
			}
		})
	}
}

// The formulas of RFC 6275 section 6.2.7, RFC 5568 section 6.4.5 and LKE-resolution-e, spelled out.
func TestAuthenticatorFormula(t *testing.T) {
	c, r, h := careOf.As16(), router.As16(), home.As16()
	for _, m := range authenticatedMessages(t) {
		at := len(m.mh) - m.tail - m.mac
		algorithm := func() hash.Hash { return sha1.New() }
		if m.mac == 16 {
			algorithm = func() hash.Hash { return sha256.New() }
		}
		mh := bytes.Clone(m.mh)
		mh[4], mh[5] = 0, 0
		mac := hmac.New(algorithm, kbm)
		mac.Write(c[:])
		mac.Write(r[:])
		if m.mac == 20 { // all of the message, its own field as zero
			mac.Write(h[:])
			copy(mh[at:], make([]byte, m.mac))
			mac.Write(mh)
		} else {
			mac.Write(mh[:at])
		}
		same(t, m.mh[at:at+m.mac], mac.Sum(nil)[:m.mac])
	}
}

// RFC 6275 section 6.2.7: the option must be the last, and without trailing padding. A message that ends with octets that
// look like it, inside of another option, has none.
func TestBindingAuthMustBeLast(t *testing.T) {
	const bad = "050c 000000000000000000000000"
	for _, tt := range []struct {
		name     string
		octets   string
		has, end bool
	}{
		{"last", "3b 03 05 00 0000 0102 8000 0069 0104 00000000" + bad, true, true},
		{"after Pad1", "3b 03 05 00 0000 0102 8000 0069 0000 0000 0000" + bad, true, true},
		{"padding after it", "3b 03 05 00 0000 0102 8000 0069" + bad + "0104 00000000", true, false},
		{"an option after it", "3b 03 05 00 0000 0102 8000 0069" + bad + "fa04 00000000", true, false},
		{"twice", "3b 04 05 00 0000 0102 8000 0069" + bad + bad, true, false},
		{"none", "3b 01 05 00 0000 0102 8000 0069 0102 0000", false, false},
		{"inside of PadN", "3b 03 05 00 0000 0102 8000 0069 0112 00000000" + bad, false, false},
		{"inside of an unknown option", "3b 03 06 00 0000 0000 0102 0069 fa12 00000000" + bad, false, false},
		{"options cut", "3b 03 06 00 0000 0000 0102 0069 0000 fa40 0000" + bad, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mh := unhex(t, tt.octets)
			h := header(t, mh)
			m, err := mobility.ParseBindingUpdate(h)
			if h.Type == mobility.TypeBU && (err != nil || m.HasAuth != tt.has || m.AuthLast != tt.end) {
				t.Errorf("has authenticator %v, last %v, %v", m.HasAuth, m.AuthLast, err)
			}
			switch err := mobility.SignBAD(mh, kbm, careOf, router); {
			case tt.end && (err != nil || !mobility.VerifyBAD(mh, kbm, careOf, router)):
				t.Errorf("signing: %v", err)
			case !tt.end && !errors.Is(err, mobility.ErrMissing):
				t.Errorf("signed all the same: %v", err)
			case !tt.end && mobility.VerifyBAD(mh, kbm, careOf, router):
				t.Error("verified all the same")
			}
		})
	}
	finished := unhex(t, "3b 03 0a 00 0000 00 00 0102 0069 0a0b0c0d", bad, "0100")
	if m, err := mobility.ParseFinished(header(t, finished), cp); err != nil || !m.HasAuth || m.AuthLast {
		t.Errorf("Finished with padding behind: %+v, %v", m, err)
	}
}

// HK-resolution-c: RFC 5568 section 6.4.5 with either Option Length: which algorithm it is follows from the octets that
// remain, and what is not the end of the message is no authenticator.
func TestFastAuthLengths(t *testing.T) {
	const fixed, spi = "3b 00 08 00 0000 0102 c000 003c", "00000007"
	mac12, mac16 := "000102030405060708090a0b", "000102030405060708090a0b0c0d0e0f"
	for _, tt := range []struct {
		name   string
		octets string
		want   mobility.FastAuth
	}{
		{"12 octets, SPI counted", "0000 1510" + spi + mac12, mobility.FastAuth{Present: true, Last: true, SPI: 7}},
		{"12 octets, SPI not counted", "0000 150c" + spi + mac12, mobility.FastAuth{Present: true, Last: true, SPI: 7, Short: true}},
		{"16 octets, SPI counted", "0104 00000000 1514" + spi + mac16, mobility.FastAuth{Present: true, Last: true, SPI: 7, MAC: mobility.HMACSHA256}},
		{"16 octets, SPI not counted", "0104 00000000 1510" + spi + mac16, mobility.FastAuth{Present: true, Last: true, SPI: 7, MAC: mobility.HMACSHA256, Short: true}},
		{"another length", "0000 150e" + spi + mac12, mobility.FastAuth{Present: true, SPI: 7}},
		{"padding behind", "1510" + spi + mac12 + "0100", mobility.FastAuth{Present: true, SPI: 7}},
		{"no SPI", "1500 0000", mobility.FastAuth{Present: true}},
		{"none", "0102 0000", mobility.FastAuth{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mh := unhex(t, fixed, tt.octets)
			mh[1] = uint8(len(mh)/8 - 1)
			m, err := mobility.ParseFastBindingUpdate(header(t, mh))
			if err != nil || m.Auth != tt.want {
				t.Errorf("read %+v, %v", m.Auth, err)
			}
			err = mobility.SignBADF(mh, kbm, careOf, router, tt.want.MAC)
			if tt.want.Last != (err == nil) || tt.want.Last != mobility.VerifyBADF(mh, kbm, careOf, router, tt.want.MAC) {
				t.Errorf("signing: %v", err)
			}
		})
	}
	fbu := mobility.FastBindingUpdate{Auth: mobility.FastAuth{Present: true, MAC: mobility.HMACSHA256}}.Append(nil)
	if err := mobility.SignBADF(fbu, kbm, careOf, router, mobility.HMACSHA1); !errors.Is(err, mobility.ErrMissing) {
		t.Errorf("place for another algorithm: %v", err)
	}
	if err := mobility.SignBADF(nil, kbm, careOf, router, mobility.FastMAC(2)); !errors.Is(err, mobility.ErrMissing) {
		t.Errorf("unknown algorithm: %v", err)
	}
}

// The authenticator of two routers, with either Option Length; with another SPI, another algorithm, or as no other message
// than HI and HAck, it is none.
func TestHandoverAuth(t *testing.T) {
	const spi, handoverKey = "00000001", "00000000"
	mac12, mac16 := "000102030405060708090a0b", "000102030405060708090a0b0c0d0e0f"
	const hi = "3b 00 0e 00 0000 0102 c0 00"
	for _, tt := range []struct {
		name   string
		octets string
		want   mobility.FastAuth
		ok     bool
	}{
		{"SPI counted", hi + "1514" + spi + mac16, mobility.FastAuth{Present: true, Last: true, SPI: 1, MAC: mobility.HMACSHA256}, true},
		{"SPI not counted", hi + "1510" + spi + mac16, mobility.FastAuth{Present: true, Last: true, SPI: 1, MAC: mobility.HMACSHA256, Short: true}, true},
		{"HMAC-SHA1", hi + "0102 0000 1510" + spi + mac12, mobility.FastAuth{Present: true, Last: true, SPI: 1}, false},
		{"a handover key's", hi + "1514" + handoverKey + mac16, mobility.FastAuth{Present: true, Last: true, MAC: mobility.HMACSHA256}, false},
		{"padding behind", hi + "1514" + spi + mac16 + "0106 000000000000", mobility.FastAuth{Present: true, SPI: 1}, false},
		{"an option behind", hi + "1514" + spi + mac16 + "fa06 000000000000", mobility.FastAuth{Present: true, SPI: 1}, false},
		{"cut", hi + "1514 0000", mobility.FastAuth{}, false},
		{"none", hi + "0104 00000000", mobility.FastAuth{}, false},
		{"inside of another option", hi + "fa16" + "1514" + spi + mac16, mobility.FastAuth{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mh := unhex(t, tt.octets)
			mh = append(mh, make([]byte, (8-len(mh)%8)%8)...)
			mh[1] = uint8(len(mh)/8 - 1)
			m, err := mobility.ParseHandoverInitiate(header(t, mh))
			if (err != nil) != (tt.name == "cut") || err == nil && m.Auth != tt.want {
				t.Errorf("read %+v, %v", m.Auth, err)
			}
			err = mobility.SignHandover(mh, kbm, careOf, router)
			if tt.ok != (err == nil) || tt.ok != mobility.VerifyHandover(mh, kbm, careOf, router) {
				t.Errorf("signing: %v", err)
			}
			if mobility.VerifyHandover(mh, kbm, router, careOf) {
				t.Error("good in the other direction, too")
			}
		})
	}
	fbu := mobility.FastBindingUpdate{Auth: mobility.FastAuth{Present: true, SPI: mobility.SPIPairKey, MAC: mobility.HMACSHA256}}.Append(nil)
	if err := mobility.SignHandover(fbu, kbm, careOf, router); !errors.Is(err, mobility.ErrType) {
		t.Errorf("signed an FBU with the key of two routers: %v", err)
	}
}

// Only what a message means counts as a number against replays.
func TestHandoverNumber(t *testing.T) {
	for _, tt := range []struct {
		octets string
		number uint64
		err    error
	}{
		{"0a08 0102030405060708 0102 0000", 0x0102030405060708, nil},
		{"0a08 ffffffffffffffff 0102 0000", 1<<64 - 1, nil},
		{"0a04 01020304", 0, mobility.ErrOption},
		{"0a0c 010203040506070801020304", 0, mobility.ErrOption},
		{"0a08 0102030405060708 0a08 0102030405060708 0100", 0, mobility.ErrOption},
	} {
		for _, typ := range []uint8{mobility.TypeHI, mobility.TypeHAck} {
			mh := unhex(t, "3b 00 00 00 0000 0102 00 00", tt.octets)
			mh = append(mh, make([]byte, (8-len(mh)%8)%8)...)
			mh[1], mh[2] = uint8(len(mh)/8-1), typ
			var number uint64
			var has bool
			var err error
			if typ == mobility.TypeHI {
				m, e := mobility.ParseHandoverInitiate(header(t, mh))
				number, has, err = m.Number, m.HasNumber, e
			} else {
				m, e := mobility.ParseHandoverAck(header(t, mh))
				number, has, err = m.Number, m.HasNumber, e
			}
			if number != tt.number || !errors.Is(err, tt.err) || has != (tt.err == nil) {
				t.Errorf("type %d, %s: %x (%v), %v", typ, tt.octets, number, has, err)
			}
		}
	}
}

// asMissing takes ErrType for ErrMissing: SignHandover looks at the type first.
func asMissing(err error) error {
	if errors.Is(err, mobility.ErrType) {
		return mobility.ErrMissing
	}
	return err
}

// Signing a message that has no place for it changes nothing.
func TestSignNeedsTheOption(t *testing.T) {
	bu := mobility.BindingUpdate{Seq: 1}.Append(nil)
	before := bytes.Clone(bu)
	for name, err := range map[string]error{
		"BAD":             mobility.SignBAD(bu, kbm, careOf, router),
		"BADF":            mobility.SignBADF(bu, kbm, careOf, router, mobility.HMACSHA1),
		"handover type":   asMissing(mobility.SignHandover(bu, kbm, careOf, router)),
		"handover":        mobility.SignHandover(mobility.HandoverInitiate{Seq: 1}.Append(nil), kbm, careOf, router),
		"key exchange":    mobility.SignKeyExchangeAck(bu, kbm, careOf, router, home),
		"nothing at all":  mobility.SignBAD(nil, kbm, careOf, router),
		"nothing, either": mobility.SignKeyExchangeAck(nil, kbm, careOf, router, home),
	} {
		if !errors.Is(err, mobility.ErrMissing) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !bytes.Equal(bu, before) {
		t.Error("message changed")
	}
}
