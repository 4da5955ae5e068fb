package mobilenode

import (
	"crypto/rand"
	"testing"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp"
)

// LKE-resolution-a, LKE-MN-3: what a node encrypts a router decrypts, with either padding if both are told the same.
func TestRouterUnderstandsTheNode(t *testing.T) {
	private, err := engine.GenerateKey(1024)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: private.N.Bytes(), Exponent: private.E})
	if err != nil {
		t.Fatal(err)
	}
	want := [lke.KeyLen]byte{7: 7}
	for _, node := range []bool{false, true} {
		ciphertext, err := Encrypt(spki, want, node)
		if err != nil {
			t.Fatal(err)
		}
		for padding, router := range map[engine.Padding]bool{engine.PKCS1v15: false, engine.OAEP: true} {
			var got [lke.KeyLen]byte
			engine.NewSoftware(private, nil, padding, rand.Reader).Decrypt(&got, ciphertext)
			if (got == want) != (node == router) {
				t.Errorf("node OAEP %v, router OAEP %v: understood %v", node, router, got == want)
			}
		}
	}
}
