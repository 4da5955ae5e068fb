package certpath

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/roamkey/roamkey/ndp"
)

// Anchor is a trust anchor: an authority's certificate that is trusted because a person said so.
type Anchor struct{ Certificate *Certificate }

// blocks gives the value of its IP address delegation extension.
func (a *Anchor) blocks() []byte {
	value, _, _ := a.Certificate.extension(oidAddressBlocks)
	return value
}

// Option gives the Trust Anchor option that names it, by its X.501 name, which all routers have to know.
func (a *Anchor) Option() []byte {
	return ndp.TrustAnchor{NameType: ndp.NameX501, Name: a.Certificate.Subject}.Append(nil)
}

// LoadAnchors reads trust anchors in PEM: certificates of authorities with an RSA key. Self-signed ones must have signed
// themselves. It fails if there is none, or one that could issue nothing.
func LoadAnchors(text []byte) ([]Anchor, error) {
	certs, err := readPEM(text, MaxAnchors)
	if err != nil {
		return nil, err
	}
	anchors := make([]Anchor, 0, len(certs))
	for _, c := range certs {
		err := RFC3971.checkAuthority(c)
		if err == nil {
			err = checkExtensions(c)
		}
		if err == nil {
			_, err = c.rsaKey(ndp.MinKeyBits, ndp.MaxKeyBits)
		}
		if err == nil {
			_, err = RFC3971.addresses(c, everything())
		}
		if err == nil && bytes.Equal(c.Issuer, c.Subject) && !isSelfSigned(c) {
			err = ReasonSignature
		}
		if err != nil {
			return nil, fmt.Errorf("trust anchor \"%v\": %w", c.Subject, err)
		}
		anchors = append(anchors, Anchor{c})
	}
	return anchors, nil
}

// isSelfSigned reports whether c has signed itself.
func isSelfSigned(c *Certificate) bool {
	key, err := c.rsaKey(ndp.MinKeyBits, ndp.MaxKeyBits)
	return err == nil && bytes.Equal(c.Issuer, c.Subject) && RFC3971.checkSignature(c, key) == nil
}

// Certificates reads certificates in PEM, as many as a path with its anchor can have or anchors there can be.
func Certificates(text []byte) ([]*Certificate, error) { return readPEM(text, MaxAnchors) }

// readPEM reads up to most certificates.
func readPEM(text []byte, most int) ([]*Certificate, error) {
	var certs []*Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if text = rest; block.Type != "CERTIFICATE" {
			continue
		}
		c, err := ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the file: %w", len(certs)+1, err)
		}
		if certs = append(certs, c); len(certs) > most {
			return nil, fmt.Errorf("more than %d certificates", most)
		}
	}
	if certs == nil {
		return nil, errors.New("no certificate in it: it has to be PEM, with BEGIN CERTIFICATE")
	}
	return certs, nil
}

// Chain is the certification path that a router sends.
type Chain struct {
	Path
	// Certificates in DER in the order in which they are sent: the one that the anchor issued first, the router's own last.
	Certificates [][]byte
	// AnchorName is the X.501 name of the anchor, DER; AnchorKeyID the identifier of its key if it is known.
	AnchorName  []byte
	AnchorKeyID []byte
	// HasAnchor tells that the file has the anchor, too, so that Path was verified from it. Without it Path holds what the
	// certificates say from the first on.
	HasAnchor bool
}

// LoadChain reads the certification path of a router in PEM: its certificate and those between it and the anchor, in any order.
// Where the anchor's own certificate is among them the path is verified from it, otherwise from the topmost one, whose
// issuer then counts as the anchor. Whether it is valid by now is left to ValidAt.
func LoadChain(text []byte, profile Profile) (Chain, error) {
	certs, err := readPEM(text, MaxCertificates+1)
	if err != nil {
		return Chain{}, err
	}
	order, err := orderPath(certs)
	if err != nil {
		return Chain{}, err
	}
	top := order[0]
	c := Chain{AnchorName: top.Issuer, AnchorKeyID: top.AuthorityKeyID}
	o := Options{Profile: profile, MaxBits: ndp.MaxKeyBits}
	if isSelfSigned(top) {
		c.HasAnchor, c.AnchorKeyID = true, top.SubjectKeyID
		if order = order[1:]; len(order) == 0 {
			return Chain{}, errors.New("only an anchor in it, no certificate of a router: make one with roamkeyd ca router")
		}
		if err := profile.checkAuthority(top); err != nil {
			return Chain{}, fmt.Errorf("trust anchor \"%v\": %w", top.Subject, err)
		}
		o.Anchors = []Anchor{{top}}
	}
	for _, cert := range order {
		c.Certificates = append(c.Certificates, cert.Raw)
	}
	if c.HasAnchor {
		c.Path, err = Verify(c.Certificates, o)
	} else {
		c.Path, err = o.verifyHeadless(order)
	}
	return c, err
}

// verifyHeadless verifies what there is of a path whose anchor is not at hand: nothing tells whether that has signed the first
// certificate.
func (o *Options) verifyHeadless(order []*Certificate) (Path, error) {
	top := order[0]
	set, err := o.Profile.addresses(top, everything())
	value, _, _ := top.extension(oidAddressBlocks)
	if blocks, _ := ParseAddressBlocks(value); err == nil && blocks.Set.IsEmpty() {
		err = errors.New("it has the addresses of its issuer: put the anchor's certificate into the file, too")
	}
	last := len(order) == 1
	a := &authority{anchor: &Anchor{}, cert: top, set: set, depth: 1, limit: MaxCertificates, notBefore: top.NotBefore, notAfter: top.NotAfter}
	if err == nil {
		err = checkExtensions(top)
	}
	if err == nil {
		a.key, err = top.rsaKey(ndp.MinKeyBits, ndp.MaxKeyBits)
	}
	if err == nil {
		if last {
			a.purposes, err = o.Profile.checkEnd(top, o.purpose())
		} else {
			err = o.Profile.checkAuthority(top)
		}
	}
	if err != nil {
		return Path{}, fmt.Errorf("certificate of \"%v\": %w", top.Subject, err)
	}
	for i := 1; i < len(order); i++ {
		if a, err = o.below(a, order[i], i == len(order)-1); err != nil {
			return Path{}, err
		}
	}
	return a.path()
}

// orderPath gives certificates of one path in their order from the top, each of them once.
func orderPath(certs []*Certificate) ([]*Certificate, error) {
	var order []*Certificate
	for _, c := range certs {
		if c.IsCA {
			continue
		}
		if order != nil {
			return nil, fmt.Errorf("two certificates of routers, \"%v\" and \"%v\": keep one", order[0].Subject, c.Subject)
		}
		order = append(order, c)
	}
	if order == nil {
		if len(certs) == 1 {
			return nil, errors.New("only an authority's certificate in it, no router's: make one with roamkeyd ca router")
		}
		return nil, errors.New("no certificate of a router in it: make one with roamkeyd ca router")
	}
	left := make([]*Certificate, 0, len(certs))
	for _, c := range certs {
		if c != order[0] {
			left = append(left, c)
		}
	}
	// Each round takes one certificate out, so that issuers who issue each other come to an end, too.
	for cert := order[0]; len(left) > 0; {
		found := -1
		for i, c := range left {
			if bytes.Equal(cert.Issuer, c.Subject) && namesKeyOf(cert, c) {
				found = i
				break
			}
		}
		if found < 0 {
			return nil, fmt.Errorf("the certificate of \"%v\" is not on the way from the anchor to the router: remove it", left[0].Subject)
		}
		cert = left[found]
		order = append([]*Certificate{cert}, order...)
		left = append(left[:found], left[found+1:]...)
	}
	for _, c := range order[1:] {
		if bytes.Equal(c.Subject, order[0].Issuer) {
			return nil, fmt.Errorf("\"%v\" and \"%v\" issued each other: this path comes from no anchor", c.Subject, order[0].Subject)
		}
	}
	return order, nil
}

// keyIDLengths are the lengths of the key identifiers that a Trust Anchor option may hold (RFC 6495 section 3), by name type.
var keyIDLengths = [...]int{
	ndp.NameKeySHA1: sha1.Size, ndp.NameKeySHA224: sha256.Size224, ndp.NameKeySHA256: sha256.Size,
	ndp.NameKeySHA384: sha512.Size384, ndp.NameKeySHA512: sha512.Size,
}

// Matches reports whether the chain leads from the anchor that a Trust Anchor option names (RFC 3971 section 6.4.5, RFC 6495
// section 4). A name that only the anchor's certificate has is found only if that is known.
func (c *Chain) Matches(name ndp.TrustAnchor) bool {
	switch {
	case name.NameType == ndp.NameX501:
		return bytes.Equal(name.Name, c.AnchorName)
	case name.NameType == ndp.NameDNS:
		wanted, ok := domainName(name.Name)
		return ok && c.HasAnchor && slices.ContainsFunc(c.Anchor.Certificate.DNSNames, func(dns string) bool {
			return strings.EqualFold(strings.TrimSuffix(dns, "."), wanted)
		})
	case int(name.NameType) < len(keyIDLengths):
		n := keyIDLengths[name.NameType]
		return n > 0 && len(name.Name) == n && bytes.Equal(name.Name, c.AnchorKeyID)
	}
	return false
}

// domainName reads a name in the wire format of DNS (RFC 1034 section 3.1): labels with their lengths, ended by an empty one.
func domainName(wire []byte) (string, bool) {
	if len(wire) > 255 {
		return "", false
	}
	var name strings.Builder
	for len(wire) > 0 {
		n := int(wire[0])
		if n == 0 {
			return name.String(), len(wire) == 1 && name.Len() > 0
		}
		if n > 63 || n >= len(wire) {
			return "", false
		}
		if name.Len() > 0 {
			name.WriteByte('.')
		}
		name.Write(wire[1 : 1+n])
		wire = wire[1+n:]
	}
	return "", false
}
