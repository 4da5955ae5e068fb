package engine

import (
	"crypto/rsa"
	"io"
)

// KeyLen is the length in octets of the keys that are exchanged.
const KeyLen = 16

// MaxBits and MinBits bound the RSA modulus: below it is not safe, above it is too slow for a router.
const (
	MinBits = 1024
	MaxBits = 4096
)

// Decrypter does RSAES-PKCS1-v1_5 decryptions of session keys. It may be called from several goroutines at once.
type Decrypter interface {
	// Decrypt puts the 16 octets that ciphertext holds into dst. Where ciphertext is not the encryption of 16 octets, be it by
	// its length, its value or its padding, dst gets 16 random octets instead. It returns nothing, so that nobody can tell
	// the two apart.
	Decrypt(dst *[KeyLen]byte, ciphertext []byte)
}

type software struct {
	key  *rsa.PrivateKey
	rand io.Reader
}

// NewSoftware gives a Decrypter that uses crypto/rsa. Reads from rand must be safe for concurrent use and must not fail, as
// those of crypto/rand.Reader.
func NewSoftware(key *rsa.PrivateKey, rand io.Reader) Decrypter {
	return &software{key: key, rand: rand}
}

// Decrypt implements Decrypter. A ciphertext whose length or value no encryption under the key can have is answered without
// a private operation: that depends on public values alone.
func (s *software) Decrypt(dst *[KeyLen]byte, ciphertext []byte) {
	var key [KeyLen]byte
	if _, err := io.ReadFull(s.rand, key[:]); err != nil {
		// Without random octets a padding error would show itself by a known key.
		panic("engine: the random source failed: " + err.Error())
	}
	// The random octets stay in place on any error, and where the padding is wrong they do so in constant time: this
	// function exists for just that (RFC 3218 section 2.3.2). The error is dropped on purpose.
	//
	// The key exchange is encrypted under PKCS #1 v1.5: that is what the nodes send, and OAEP would not be understood. So
	// the padding that Go deprecates (from Go 1.26 on: a linter that targets it says SA1019) has to be used, in the one
	// form that is no oracle.
	_ = rsa.DecryptPKCS1v15SessionKey(s.rand, s.key, ciphertext, key[:])
	*dst = key
}
