package engine

import (
	"crypto/rsa"
	"crypto/sha1"
	"io"
	"sync/atomic"
)

// Lengths in octets.
const (
	KeyLen    = 16        // of the keys that LKE exchanges
	DigestLen = sha1.Size // of what is signed
)

// Operations does all RSA operations of a router. Its methods may be called from several goroutines at once.
type Operations interface {
	Decrypter // with the private key of LKE

	// Sign gives the RSASSA-PKCS1-v1_5 signature (RFC 8017 section 8.2) of a SHA-1 digest under the private key of SEND, as
	// long as that key's modulus. A signature that does not verify under the public key must not be given: one that was made
	// by the Chinese Remainder Theorem with a fault in it tells the private key.
	Sign(digest [DigestLen]byte) ([]byte, error)

	// Verify reports whether signature is such a signature of digest under spki, an RSA key as a SubjectPublicKeyInfo in
	// DER (RFC 5280 section 4.1) that ndp.ParseSPKI takes, with nothing behind it.
	Verify(spki []byte, digest [DigestLen]byte, signature []byte) bool

	// Encrypt gives the RSAES-PKCS1-v1_5 ciphertext (RFC 8017 section 7.2) of plain under spki, an RSA key as for Verify.
	// plain is shorter than the modulus by 11 octets at least.
	Encrypt(spki, plain []byte) ([]byte, error)
}

// Software is the Operations by crypto/rsa.
type Software struct {
	lke     *rsa.PrivateKey                // nil where there is none
	send    atomic.Pointer[rsa.PrivateKey] // nil where there is none, or none yet
	padding Padding
	rand    io.Reader
	keys    publicKeys
}

var _ Operations = (*Software)(nil)

// NewSoftware gives the Operations that use crypto/rsa: lke is the key that decrypts, send the key that signs. Either may be
// nil; Decrypt gives random octets then, Sign an error. The two must not be one key ([SeparateKeys]). padding is that of
// Decrypt. Reads from rand must be safe for concurrent use and must not fail, as those of crypto/rand.Reader.
func NewSoftware(lke, send *rsa.PrivateKey, padding Padding, rand io.Reader) *Software {
	if lke != nil {
		lke.Precompute() // not at the first packet, and not by two workers at once
	}
	s := &Software{lke: lke, padding: padding, rand: rand}
	s.SignWith(send)
	return s
}

// SignWith changes the key that signs; nil takes it away. It may be called while others use the Operations.
func (s *Software) SignWith(send *rsa.PrivateKey) {
	if send != nil {
		send.Precompute()
	}
	s.send.Store(send)
}

// String hides the keys from %v and from any logger.
func (s *Software) String() string { return "RSA by software" }

// GoString hides the keys from %#v.
func (s *Software) GoString() string { return s.String() }
