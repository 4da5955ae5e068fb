package certpath

import (
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/roamkey/roamkey/ndp"
)

// Request says what a certificate is to hold.
type Request struct {
	Name                string         // common name of the subject: letters, digits, blanks and '()+,-./:=? (PrintableString, RFC 6487 section 4.4)
	Prefixes            []netip.Prefix // IPv6; for a router none stands for all of the anchor's ("inherit")
	NotBefore, NotAfter time.Time
}

// MaxCertificate is the length in octets of the longest certificate that a router can send: with the anchor's name in a
// message of 1,500 octets, which must not be fragmented (RFC 6980 section 5).
const MaxCertificate = 1400

// NewAnchor makes the certificate of a trust anchor with key, signed by itself: basic constraints, key usage and addresses
// critical, SHA-256 (RFC 6487). It gives DER.
func NewAnchor(rand io.Reader, key *rsa.PrivateKey, r Request) ([]byte, error) {
	if len(r.Prefixes) == 0 {
		return nil, errors.New("a trust anchor needs the prefixes that it may give to routers")
	}
	c, err := r.contents(rand, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	c.issuer = c.subject
	c.addKeyUsage(1, 0x06) // keyCertSign, cRLSign
	c.add(oidBasicConstraints, true, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1Boolean(true) })
	})
	c.addLast(nil)
	return c.sign(key)
}

// NewRouterCertificate makes the certificate of a router with the SEND key given, issued by the anchor whose key is signer: key
// usage digitalSignature and addresses critical, key purpose sendRouter, key identifiers, SHA-256 (RFC 6494). It gives DER. It
// refuses prefixes that the anchor has not, a time that the anchor's certificate does not cover, and a certificate that would
// not fit in one message.
func NewRouterCertificate(rand io.Reader, anchor Anchor, signer *rsa.PrivateKey, key *rsa.PublicKey, r Request) ([]byte, error) {
	if public, err := anchor.Certificate.rsaKey(ndp.MinKeyBits, ndp.MaxKeyBits); err != nil || !signer.PublicKey.Equal(public) {
		return nil, errors.New("the key is not that of the trust anchor's certificate")
	}
	if signer.PublicKey.Equal(key) {
		return nil, errors.New("the router's key is the anchor's: each needs one of its own")
	}
	if r.NotAfter.After(anchor.Certificate.NotAfter) {
		return nil, fmt.Errorf("the trust anchor is valid until %s only: take fewer days, or make a new anchor", stamp(anchor.Certificate.NotAfter))
	}
	c, err := r.contents(rand, key)
	if err != nil {
		return nil, err
	}
	c.issuer = anchor.Certificate.Subject
	c.addKeyUsage(7, 0x80) // digitalSignature
	c.add(oidExtKeyUsage, false, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			// No purpose of a proxy (RFC 6496): Roamkey signs in nobody else's name.
			for _, oid := range PurposeRouter.oids() {
				addOID(b, oid)
			}
		})
	})
	c.addLast(anchor.Certificate.SubjectKeyID)
	der, err := c.sign(signer)
	if err != nil {
		return nil, err
	}
	if len(der) > MaxCertificate {
		return nil, fmt.Errorf("the certificate has %d octets, more than the %d that fit in one message: take fewer prefixes, or a smaller key", len(der), MaxCertificate)
	}
	// Whoever has to believe it decides: addresses, sizes and all else as they will be looked at.
	if _, err := Verify([][]byte{der}, Options{Anchors: []Anchor{anchor}, MaxBits: ndp.MaxKeyBits}); err != nil {
		return nil, err
	}
	return der, nil
}

// Check tells what no certificate can be made of.
func (r Request) Check() error {
	if r.Name == "" || len(r.Name) > 64 || strings.ContainsFunc(r.Name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(" '()+,-./:=?", c)
	}) {
		return fmt.Errorf("%q cannot be the name of a certificate: take 1 to 64 letters, digits, blanks or '()+,-./:=?", r.Name)
	}
	if !r.NotAfter.After(r.NotBefore) {
		return errors.New("the certificate would end before it begins")
	}
	for _, p := range r.Prefixes {
		if !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6() || p != p.Masked() {
			return fmt.Errorf("%v is no IPv6 prefix, or has bits set behind it", p)
		}
	}
	return nil
}

// EncodePEM gives certificates in PEM, in the order given.
func EncodePEM(certificates ...[]byte) []byte {
	var text []byte
	for _, der := range certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}
