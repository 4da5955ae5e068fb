package engine

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"io"
)

// MaxBits and MinBits bound the RSA modulus: below it is not safe, above it is too slow for a router.
const (
	MinBits = 1024
	MaxBits = 4096
)

// Padding is how a session key is padded before it is encrypted. Both ends must use the same.
type Padding uint8

// Paddings.
const (
	PKCS1v15 Padding = iota // RSAES-PKCS1-v1_5 (RFC 8017 section 7.2), as RFC 5269 has it
	OAEP                    // RSAES-OAEP with SHA-256 and an empty label (RFC 8017 section 7.1)
)

// Decrypter does RSA decryptions of session keys. It may be called from several goroutines at once.
type Decrypter interface {
	// Decrypt puts the 16 octets that ciphertext holds into dst. Where ciphertext is not the encryption of 16 octets, be it by
	// its length, its value or its padding, dst gets 16 random octets instead. It returns nothing, so that nobody can tell
	// the two apart.
	Decrypt(dst *[KeyLen]byte, ciphertext []byte)
}

// Decrypt implements Decrypter. A ciphertext whose length or value no encryption under the key can have is answered without
// a private operation: that depends on public values alone.
func (s *Software) Decrypt(dst *[KeyLen]byte, ciphertext []byte) {
	var key [KeyLen]byte
	if _, err := io.ReadFull(s.rand, key[:]); err != nil {
		// Without random octets a padding error would show itself by a known key.
		panic("engine: the random source failed: " + err.Error())
	}
	switch {
	case s.lke == nil:
		*dst = key
		return
	case s.padding == OAEP:
		s.decryptOAEP(&key, ciphertext)
		*dst = key
		return
	}
	// The random octets stay in place on any error, and where the padding is wrong they do so in constant time: this
	// function exists for just that (RFC 3218 section 2.3.2). The error is dropped on purpose.
	//
	// The key exchange is encrypted under PKCS #1 v1.5 unless both ends are told otherwise: the draft leaves it open, and
	// RFC 5269 has it so. So the padding that Go deprecates (from Go 1.26 on: a linter that targets it says SA1019) has to
	// be used, in the one form that is no oracle.
	_ = rsa.DecryptPKCS1v15SessionKey(s.rand, s.lke, ciphertext, key[:])
	*dst = key
}

// decryptOAEP replaces the random octets in key where the padding is right. crypto/rsa looks for that in constant time; here
// the outcome, one bit, selects the octets in constant time, too.
func (s *Software) decryptOAEP(key *[KeyLen]byte, ciphertext []byte) {
	found, err := rsa.DecryptOAEP(sha256.New(), nil, s.lke, ciphertext, nil)
	var octets [KeyLen]byte
	copy(octets[:], found)
	clear(found)
	right := 0
	if err == nil && len(found) == KeyLen {
		right = 1
	}
	subtle.ConstantTimeCopy(right, key[:], octets[:])
}
