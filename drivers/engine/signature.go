package engine

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"sync"

	"github.com/roamkey/roamkey/ndp"
)

var (
	errNoSendKey = errors.New("there is no key to sign with: make send.key with roamkeyd keygen --send")
	errTrailing  = errors.New("octets after the public key")
)

// Sign implements Operations.
//
// The digest is one of SHA-1 because RFC 3971 section 5.2 has it so, and every node that verifies expects it; what a forger
// needs is a second preimage, or a node that signs what others choose.
//
// crypto/rsa raises each signature to the public exponent and compares before it gives it away (decrypt with withCheck in
// crypto/internal/fips140/rsa, called by signPKCS1v15), so that a fault in the computation gives an error here.
func (s *Software) Sign(digest [DigestLen]byte) ([]byte, error) {
	key := s.send.Load()
	if key == nil {
		return nil, errNoSendKey
	}
	// No random source: the signature depends on key and digest alone, and blinding is crypto/rsa's own affair.
	return rsa.SignPKCS1v15(nil, key, crypto.SHA1, digest[:])
}

// Verify implements Operations. The last keys that were asked for are kept, so that their DER is read once.
func (s *Software) Verify(spki []byte, digest [DigestLen]byte, signature []byte) bool {
	key, err := s.keys.get(spki)
	return err == nil && rsa.VerifyPKCS1v15(key, crypto.SHA1, digest[:], signature) == nil
}

// Encrypt implements Operations.
//
// Go deprecates this padding (from Go 1.26 on), and for good reason: who decrypts must not let anyone see whether it was
// right. It is used here, for the handover keys of RFC 5269 alone, because that protocol has no other: its section 4.2
// defines RSAES-PKCS1-v1_5 as the one way in which a router encrypts a handover key for a node.
func (s *Software) Encrypt(spki, plain []byte) ([]byte, error) {
	key, err := parsePublic(spki) // made for one handover key: to keep it would push out those that sign
	if err != nil {
		return nil, err
	}
	return rsa.EncryptPKCS1v15(s.rand, key, plain)
}

func parsePublic(spki []byte) (*rsa.PublicKey, error) {
	key, length, err := ndp.ParseSPKI(spki)
	if err != nil {
		return nil, err
	}
	if length != len(spki) {
		return nil, fmt.Errorf("read a public key: %w", errTrailing)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(key.Modulus), E: key.Exponent}, nil
}

// maxPublicKeys is how many public keys are kept: with 2048 bits each some 60 KB. A served link has about as many neighbours
// that speak at one time.
const maxPublicKeys = 64

// publicKeys keeps the public keys that were used last. The zero value has none.
type publicKeys struct {
	mu   sync.Mutex
	keys map[string]*publicKey // by SPKI
	uses uint64
}

type publicKey struct {
	key  *rsa.PublicKey
	used uint64 // the value of uses when it was last asked for
}

func (k *publicKeys) get(spki []byte) (*rsa.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.uses++
	if p := k.keys[string(spki)]; p != nil {
		p.used = k.uses
		return p.key, nil
	}
	key, err := parsePublic(spki)
	if err != nil {
		return nil, err // not kept: there is no end of wrong ones
	}
	if len(k.keys) >= maxPublicKeys {
		k.forgetOldest()
	}
	if k.keys == nil {
		k.keys = make(map[string]*publicKey)
	}
	k.keys[string(spki)] = &publicKey{key, k.uses}
	return key, nil
}

func (k *publicKeys) forgetOldest() {
	var oldest string
	least := k.uses
	for spki, p := range k.keys {
		if p.used < least {
			oldest, least = spki, p.used
		}
	}
	delete(k.keys, oldest)
}
