package engine

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"testing"
)

// LKE-resolution-a: OAEP where both ends are told. Whatever is wrong gives what the random source gave, as with the other
// padding.
func TestOAEP(t *testing.T) {
	key, err := GenerateKey(1024)
	if err != nil {
		t.Fatal(err)
	}
	encrypt := func(octets []byte) []byte {
		c, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, octets, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	want := [KeyLen]byte{1, 2, 3, 15: 16}
	random := [KeyLen]byte{0: 0xaa, 15: 0xbb}
	old, err := rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, want[:])
	if err != nil {
		t.Fatal(err)
	}
	broken := encrypt(want[:])
	broken[20] ^= 1
	for _, c := range []struct {
		name       string
		ciphertext []byte
		want       [KeyLen]byte
	}{
		{"right", encrypt(want[:]), want},
		{"one octet too many", encrypt(append(want[:], 0)), random},
		{"one octet too few", encrypt(want[:KeyLen-1]), random},
		{"empty", encrypt(nil), random},
		{"changed", broken, random},
		{"the other padding", old, random},
		{"too short", make([]byte, 10), random},
		{"over the modulus", bytes.Repeat([]byte{0xff}, key.Size()), random},
	} {
		var got [KeyLen]byte
		NewSoftware(key, nil, OAEP, bytes.NewReader(random[:])).Decrypt(&got, c.ciphertext)
		if got != c.want {
			t.Errorf("%s: % x, want % x", c.name, got, c.want)
		}
	}
	var got [KeyLen]byte
	NewSoftware(key, nil, PKCS1v15, bytes.NewReader(random[:])).Decrypt(&got, encrypt(want[:]))
	if got == want {
		t.Error("OAEP was understood by a router that is not told of it")
	}
}
