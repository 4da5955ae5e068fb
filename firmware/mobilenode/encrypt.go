package mobilenode

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"

	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp"
)

// encrypt does the core's encryption job beside the loop; the answer comes back to it.
func (x *exchanger) encrypt(e *lke.Effect) {
	job, der, key, oaep := e.Job, append([]byte(nil), e.PublicKey...), e.Key, x.cfg.OAEP
	x.beside(func() func() {
		ciphertext, err := Encrypt(der, key, oaep)
		clear(key[:])
		return func() { x.step(lke.Input{Kind: lke.InCiphertext, Job: job, Octets: ciphertext, Failed: err != nil}) }
	})
}

// Encrypt encrypts a key under the public key that a router advertised (SPKI in DER), padded as PKCS #1 v1.5 or OAEP with
// SHA-256 say.
func Encrypt(der []byte, key [lke.KeyLen]byte, oaep bool) ([]byte, error) {
	parsed, _, err := ndp.ParseSPKI(der)
	if err != nil {
		return nil, err
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(parsed.Modulus), E: parsed.Exponent}
	if oaep {
		ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, key[:], nil)
		if err != nil {
			return nil, fmt.Errorf("encrypt the key: %w", err)
		}
		return ciphertext, nil
	}
	// The draft leaves the padding open; routers take PKCS #1 v1.5 (as RFC 5269's do), so nothing else is understood unless both ends are told. The
	// weakness for which Go deprecates it, a padding oracle, is one of the decrypting side, which answers a wrong padding
	// as it does a wrong key. (For staticcheck that is SA1019, as soon as go.mod names a Go that deprecates it.)
	ciphertext, err := rsa.EncryptPKCS1v15(rand.Reader, public, key[:])
	if err != nil {
		return nil, fmt.Errorf("encrypt the key: %w", err)
	}
	return ciphertext, nil
}
