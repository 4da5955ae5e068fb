package ndp_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"math/big"
	"testing"

	"github.com/roamkey/roamkey/ndp"
)

// modulus is an odd number of bits bits; nothing here needs it to be a product of primes.
func modulus(bits int) []byte {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return n.Or(n, big.NewInt(0xabcd01)).Bytes()
}

// Keys of all sizes that are allowed are written as crypto/x509 writes them, and read again.
func TestSPKI(t *testing.T) {
	for _, bits := range []int{1024, 1025, 1031, 2048, 3072, 4096} {
		for _, exponent := range []int{3, 17, 127, 129, 255, 257, 65537, 1<<31 - 1} {
			key := ndp.PublicKey{Modulus: modulus(bits), Exponent: exponent}
			der, err := ndp.MarshalSPKI(key)
			if err != nil {
				t.Fatal(err)
			}
			want, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(key.Modulus), E: exponent})
			if err != nil {
				t.Fatal(err)
			}
			same(t, der, want)
			got, length, err := ndp.ParseSPKI(append(bytes.Clone(der), 0, 0, 0))
			if err != nil || length != len(der) || !bytes.Equal(got.Modulus, key.Modulus) || got.Exponent != exponent || got.Bits() != bits {
				t.Errorf("%d bits, exponent %d: %d octets, %v", bits, exponent, length, err)
			}
		}
	}
}

// A part of SubjectPublicKeyInfo in DER.
func der(tag byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	switch n := len(body); {
	case n < 128:
		return append([]byte{tag, byte(n)}, body...)
	case n < 256:
		return append([]byte{tag, 0x81, byte(n)}, body...)
	default:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, body...)
	}
}

func TestSPKIRefuses(t *testing.T) {
	var (
		rsaOID = der(6, []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1})
		pssOID = der(6, []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10})
		null   = []byte{5, 0}
		zero   = []byte{0}
		n      = der(2, zero, modulus(2048))
		e      = der(2, []byte{1, 0, 1})
	)
	spki := func(algorithm, numbers []byte) []byte {
		return der(0x30, algorithm, der(3, zero, numbers))
	}
	good := der(0x30, rsaOID, null)
	for _, tt := range []struct {
		name string
		der  []byte
		want error
	}{
		{"good", spki(good, der(0x30, n, e)), nil},
		{"nothing", nil, ndp.ErrSPKI},
		{"cut", spki(good, der(0x30, n, e))[:100], ndp.ErrSPKI},
		{"not a sequence", der(0x31, good), ndp.ErrSPKI},
		{"RSASSA-PSS", spki(der(0x30, pssOID, null), der(0x30, n, e)), ndp.ErrAlgorithm},
		{"no parameters", spki(der(0x30, rsaOID), der(0x30, n, e)), ndp.ErrAlgorithm},
		{"parameters that are not NULL", spki(der(0x30, rsaOID, der(5, zero)), der(0x30, n, e)), ndp.ErrAlgorithm},
		{"no key", der(0x30, good), ndp.ErrSPKI},
		{"something after the key", der(0x30, good, der(3, zero, der(0x30, n, e)), null), ndp.ErrSPKI},
		{"unused bits", der(0x30, good, der(3, []byte{1}, der(0x30, n, e))), ndp.ErrSPKI},
		{"empty bit string", der(0x30, good, der(3)), ndp.ErrSPKI},
		{"something after the numbers", der(0x30, good, der(3, zero, der(0x30, n, e), null)), ndp.ErrSPKI},
		{"a third number", spki(good, der(0x30, n, e, e)), ndp.ErrSPKI},
		{"no exponent", spki(good, der(0x30, n)), ndp.ErrSPKI},
		{"modulus negative", spki(good, der(0x30, der(2, []byte{0x80}, modulus(2048)), e)), ndp.ErrSPKI},
		{"modulus zero", spki(good, der(0x30, der(2, zero), e)), ndp.ErrSPKI},
		{"modulus empty", spki(good, der(0x30, der(2), e)), ndp.ErrSPKI},
		{"modulus not in its shortest form", spki(good, der(0x30, der(2, zero, zero, modulus(2048)), e)), ndp.ErrSPKI},
		{"modulus of 1023 bits", spki(good, der(0x30, der(2, modulus(1023)), e)), ndp.ErrKeySize},
		{"modulus of 4097 bits", spki(good, der(0x30, der(2, modulus(4097)), e)), ndp.ErrKeySize},
		{"modulus even", spki(good, der(0x30, der(2, zero, append(modulus(2040), 0)), e)), ndp.ErrKeyExponent},
		{"exponent 1", spki(good, der(0x30, n, der(2, []byte{1}))), ndp.ErrKeyExponent},
		{"exponent even", spki(good, der(0x30, n, der(2, []byte{4}))), ndp.ErrKeyExponent},
		{"exponent of 32 bits", spki(good, der(0x30, n, der(2, []byte{0, 0x80, 0, 0, 1}))), ndp.ErrKeyExponent},
		{"exponent of 40 bits", spki(good, der(0x30, n, der(2, []byte{1, 0, 0, 0, 1}))), ndp.ErrKeyExponent},
		{"exponent negative", spki(good, der(0x30, n, der(2, []byte{0x81}))), ndp.ErrSPKI},
	} {
		if _, _, err := ndp.ParseSPKI(tt.der); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	for name, key := range map[string]ndp.PublicKey{
		"no modulus":      {Exponent: 65537},
		"leading zero":    {Modulus: append([]byte{0}, modulus(2048)...), Exponent: 65537},
		"too small":       {Modulus: modulus(1023), Exponent: 65537},
		"exponent even":   {Modulus: modulus(2048), Exponent: 65536},
		"exponent 1":      {Modulus: modulus(2048), Exponent: 1},
		"exponent absent": {Modulus: modulus(2048)},
	} {
		if b, err := ndp.MarshalSPKI(key); err == nil {
			t.Errorf("%s: marshalled %x", name, b)
		}
	}
}

// Reading the options of LKE and a key costs no memory, whether they are good or not.
func TestParseAllocatesNothing(t *testing.T) {
	v := readVectors(t).LKE
	capability := option(t, v.Option6.Octets)
	auth := option(t, ndp.DADAuth{Router: router}.Append(nil, 7))
	for name, parse := range map[string]func(){
		"capability":       func() { ndp.ParseCapability(capability) },
		"no capability":    func() { ndp.ParseCapability(auth) },
		"authentication":   func() { ndp.ParseDADAuth(auth) },
		"key":              func() { ndp.ParseSPKI(v.SPKI) },
		"no key":           func() { ndp.ParseSPKI(v.SPKI[:40]) },
		"no RSA key":       func() { ndp.ParseSPKI(v.SPKI[3:]) },
		"no authenticator": func() { ndp.ParseDADAuth(capability) },
	} {
		if allocs := testing.AllocsPerRun(20, parse); allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}
