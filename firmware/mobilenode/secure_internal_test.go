package mobilenode

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
)

// A signature counts under its key, for its digest, and in no other way.
func TestVerify(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	spki, _ := x509.MarshalPKIXPublicKey(&key.PublicKey)
	otherSPKI, _ := x509.MarshalPKIXPublicKey(&other.PublicKey)
	digest := [20]byte{1, 2, 3}
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA1, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	changed := append([]byte(nil), signature...)
	changed[9] ^= 1
	for name, c := range map[string]struct {
		spki      []byte
		digest    [20]byte
		signature []byte
		want      bool
	}{
		"right":              {spki, digest, signature, true},
		"another key":        {otherSPKI, digest, signature, false},
		"another digest":     {spki, [20]byte{9}, signature, false},
		"a changed octet":    {spki, digest, changed, false},
		"a short signature":  {spki, digest, signature[:100], false},
		"octets behind":      {append(append([]byte(nil), spki...), 0), digest, signature, false},
		"no key":             {nil, digest, signature, false},
		"no signature":       {spki, digest, nil, false},
		"half of a key":      {spki[:50], digest, signature, false},
		"a signature behind": {spki, digest, append(append([]byte(nil), signature...), 0), false},
	} {
		if got := verify(c.spki, c.digest, c.signature); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Keys are in nothing that a log could print.
func TestKeysAreHidden(t *testing.T) {
	id, err := newIdentity("", 0)
	if err != nil {
		t.Fatal(err)
	}
	k := &handoverKeys{pairs: map[uint64]*rsa.PrivateKey{1: id.private}}
	text := fmt.Sprintf("%v %+v %#v %v %+v %#v", id, id, id, k, k, k)
	if secret := id.private.D.String(); strings.Contains(text, secret) || strings.Contains(text, secret[:20]) || len(text) > 300 {
		t.Errorf("%d octets of text: %.200s", len(text), text)
	}
}
