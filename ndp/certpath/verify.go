package certpath

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// Bounds.
const (
	MaxCertificates = 10  // in a path, without the anchor
	MaxPrefixes     = 256 // of the last certificate
	MaxAnchors      = 64
)

// Options say against what a path is verified.
type Options struct {
	Anchors []Anchor
	Profile Profile
	// At is the wall-clock time at which the certificates have to be valid. The zero Time leaves that open.
	At time.Time
	// MinBits and MaxBits bound the RSA modulus of the last certificate; 0 stands for 1024 and 2048. Those above it have from
	// 1024 to 4096 bits.
	MinBits, MaxBits int
	// Purpose is what the key has to be certified for; 0 stands for PurposeRouter.
	Purpose Purpose
}

func (o *Options) bits() (least, most int) {
	least, most = o.MinBits, o.MaxBits
	if least == 0 {
		least = ndp.MinKeyBits
	}
	if most == 0 {
		most = 2048
	}
	return least, most
}

func (o *Options) purpose() Purpose {
	if o.Purpose == 0 {
		return PurposeRouter
	}
	return o.Purpose
}

// Path is what a verified certification path says of its last certificate.
type Path struct {
	SPKI                []byte         // SubjectPublicKeyInfo of the certified key, DER
	KeyHash             [16]byte       // the first 128 bits of SHA-1 over it, as messages name it (RFC 3971 section 5.2)
	Prefixes            []netip.Prefix // what the owner of the key may advertise, in order
	Purposes            Purpose
	NotBefore, NotAfter time.Time // when all certificates and the anchor are valid
	Anchor              Anchor
}

// ValidAt reports whether all certificates of the path are valid at a wall-clock time.
func (p *Path) ValidAt(wall time.Time) bool {
	return !wall.Before(p.NotBefore) && !wall.After(p.NotAfter)
}

// Verify verifies a certification path: certificates in DER, the one that an anchor issued first, the node's own last (the
// order in which they are sent). The anchor itself may stand before them. An error wraps the Reason.
func Verify(certificates [][]byte, o Options) (Path, error) {
	if len(certificates) > 0 {
		for i := range o.Anchors {
			if bytes.Equal(certificates[0], o.Anchors[i].Certificate.Raw) {
				certificates = certificates[1:]
				break
			}
		}
	}
	switch n := len(certificates); {
	case n == 0:
		return Path{}, ReasonEmpty
	case n > MaxCertificates:
		return Path{}, fmt.Errorf("%w: %d, at most %d are taken", ReasonTooLong, n, MaxCertificates)
	}
	cert, err := ParseCertificate(certificates[0])
	if err != nil {
		return Path{}, err
	}
	last := len(certificates) == 1
	above, err := o.fromAnchor(cert, last)
	for i := 1; err == nil && i < len(certificates); i++ {
		if cert, err = ParseCertificate(certificates[i]); err == nil {
			last = i == len(certificates)-1
			above, err = o.below(above, cert, last)
		}
	}
	if err != nil {
		return Path{}, err
	}
	return above.path()
}

// authority is a certificate that was verified, with what follows from all above it. The last of a path is one, too.
type authority struct {
	anchor              *Anchor
	cert                *Certificate
	key                 *rsa.PublicKey
	set                 AddressSet
	purposes            Purpose
	depth               int // certificates from the anchor on, without it
	limit               int // the greatest depth that path length constraints allow an authority; only RFC 3971 has them
	notBefore, notAfter time.Time
}

// fromAnchor verifies a certificate that an anchor has issued, the last of its path or not.
func (o *Options) fromAnchor(cert *Certificate, last bool) (*authority, error) {
	var failed error
	for i := range o.Anchors {
		a := &o.Anchors[i]
		if !bytes.Equal(cert.Issuer, a.Certificate.Subject) {
			continue
		}
		top, err := o.top(a)
		if err == nil {
			var found *authority
			if found, err = o.below(top, cert, last); err == nil {
				return found, nil
			}
		}
		// Of anchors of one name, the one whose key is meant tells best what is wrong.
		if failed == nil || !errors.Is(err, ReasonKeyID) {
			failed = err
		}
	}
	if failed == nil {
		failed = fmt.Errorf("%w: its issuer is \"%v\"", ReasonAnchor, cert.Issuer)
	}
	return nil, failed
}

// top gives the anchor as the authority that a path begins with. That it is trusted needs no proof, but it must not be
// expired, and it tells the addresses that paths begin with (RFC 3779 section 2.3).
func (o *Options) top(a *Anchor) (*authority, error) {
	c := a.Certificate
	if err := o.checkTime(c); err != nil {
		return nil, fmt.Errorf("trust anchor \"%v\": %w", c.Subject, err)
	}
	// For the anchor inherit makes no sense: nothing contains an empty set's.
	set, err := o.Profile.addresses(c, everything())
	if err == nil && o.Profile == RFC6494 {
		if blocks, _ := ParseAddressBlocks(a.blocks()); blocks.Inherit {
			err = fmt.Errorf("%w: it inherits, from nobody", ReasonNoAddresses)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("trust anchor \"%v\": %w", c.Subject, err)
	}
	key, err := c.rsaKey(ndp.MinKeyBits, ndp.MaxKeyBits)
	if err != nil {
		return nil, fmt.Errorf("trust anchor \"%v\": %w", c.Subject, err)
	}
	top := &authority{anchor: a, cert: c, key: key, set: set, limit: MaxCertificates, notBefore: c.NotBefore, notAfter: c.NotAfter}
	top.constrain()
	return top, nil
}

// below verifies a certificate that stands below another one. The signature comes before all that the certificate says of
// itself (RFC 3971 section 6.3.1).
func (o *Options) below(above *authority, cert *Certificate, last bool) (*authority, error) {
	found, err := o.checkBelow(above, cert, last)
	if err != nil {
		return nil, fmt.Errorf("certificate of \"%v\": %w", cert.Subject, err)
	}
	return found, nil
}

func (o *Options) checkBelow(above *authority, cert *Certificate, last bool) (*authority, error) {
	a := &authority{anchor: above.anchor, cert: cert, depth: above.depth + 1, limit: above.limit}
	switch {
	case a.depth > MaxCertificates:
		return nil, ReasonTooLong
	// RFC 5280 section 7.1 would let names differ in case and blanks; those of one authority come from one program.
	case !bytes.Equal(cert.Issuer, above.cert.Subject):
		return nil, ReasonIssuer
	}
	if err := o.Profile.checkKeyIDs(cert, above.cert); err != nil {
		return nil, err
	}
	if err := o.Profile.checkSignature(cert, above.key); err != nil {
		return nil, err
	}
	if err := o.checkTime(cert); err != nil {
		return nil, err
	}
	if err := checkExtensions(cert); err != nil {
		return nil, err
	}
	least, most := ndp.MinKeyBits, ndp.MaxKeyBits
	var err error
	if last {
		least, most = o.bits()
		a.purposes, err = o.Profile.checkEnd(cert, o.purpose())
	} else {
		err = o.Profile.checkAuthority(cert)
		// An authority that gave its own key a new certificate counts as any other: at worst a path is refused.
		if err == nil && a.depth > a.limit {
			err = ReasonPathLength
		}
		a.constrain()
	}
	if err != nil {
		return nil, err
	}
	if a.key, err = cert.rsaKey(least, most); err != nil {
		return nil, err
	}
	if a.set, err = o.Profile.addresses(cert, above.set); err != nil {
		return nil, err
	}
	a.notBefore, a.notAfter = later(above.notBefore, cert.NotBefore), earlier(above.notAfter, cert.NotAfter)
	return a, nil
}

// constrain takes over a path length constraint.
func (a *authority) constrain() {
	if n := a.cert.MaxPathLen; n >= 0 && n < a.limit-a.depth { // a sum could overflow
		a.limit = a.depth + n
	}
}

// checkSignature verifies the signature of cert under the issuer's key. Under SHA-1 somebody who may choose what an authority
// certifies could have it sign a certificate of their own. Certificates of old installations of SEND have it, so that the lax
// profile takes it, and nothing else does.
func (p Profile) checkSignature(cert *Certificate, issuer *rsa.PublicKey) error {
	var hash crypto.Hash
	var digest []byte
	switch {
	case OID(cert.SignatureAlgorithm) == oidSHA256WithRSA:
		sum := sha256.Sum256(cert.RawTBS)
		hash, digest = crypto.SHA256, sum[:]
	case OID(cert.SignatureAlgorithm) == oidSHA1WithRSA && p == RFC3971:
		sum := sha1.Sum(cert.RawTBS)
		hash, digest = crypto.SHA1, sum[:]
	default:
		return fmt.Errorf("%w (%v)", ReasonAlgorithm, cert.SignatureAlgorithm)
	}
	if err := rsa.VerifyPKCS1v15(issuer, hash, digest, cert.Signature); err != nil {
		return ReasonSignature
	}
	return nil
}

func (o *Options) checkTime(cert *Certificate) error {
	switch {
	case o.At.IsZero():
	case o.At.Before(cert.NotBefore):
		return fmt.Errorf("%w: valid from %s", ReasonNotYet, stamp(cert.NotBefore))
	case o.At.After(cert.NotAfter):
		return fmt.Errorf("%w: valid until %s", ReasonExpired, stamp(cert.NotAfter))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// path gives what the last certificate of a path is good for.
func (a *authority) path() (Path, error) {
	prefixes, ok := a.set.Prefixes(MaxPrefixes)
	if !ok {
		return Path{}, fmt.Errorf("certificate of \"%v\": %w: at most %d are taken", a.cert.Subject, ReasonTooManyAddresses, MaxPrefixes)
	}
	return Path{
		SPKI: a.cert.SPKI, KeyHash: cga.KeyHash(a.cert.SPKI), Prefixes: prefixes,
		Purposes: a.purposes, NotBefore: a.notBefore, NotAfter: a.notAfter, Anchor: *a.anchor,
	}, nil
}
