package certpath

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Profile says what a certificate has to look like.
type Profile uint8

// Profiles.
const (
	// RFC6494 is the profile of RFC 6494 and RFC 6487, but for what only a public registry can fill in: revocation lists,
	// access to issuer and subject information, and certificate policies may be missing.
	RFC6494 Profile = iota
	// RFC3971 is the older and softer one, for certificates from before: SHA-1 beside SHA-256; key usage, key purpose and key
	// identifiers only as far as they are there; missing addresses and ::/0 stand for the issuer's, and of addresses that
	// the issuer has not only those count that it has (RFC 3971 section 6.3.1).
	RFC3971
)

// String is the name that the settings have for it.
func (p Profile) String() string {
	if p == RFC3971 {
		return "rfc3971"
	}
	return "rfc6494"
}

// Purpose is a set of key purposes of SEND (RFC 6494 section 7).
type Purpose uint8

// Purposes.
const (
	PurposeRouter        Purpose = 1 << iota // router advertisements and redirects
	PurposeProxiedRouter                     // these in the name of others
	PurposeOwner                             // neighbour and router solicitations, neighbour advertisements
	PurposeProxiedOwner                      // these in the name of others
)

var purposeNames = [...]string{"sendRouter", "sendProxiedRouter", "sendOwner", "sendProxiedOwner"}

// String lists the names of RFC 6494.
func (p Purpose) String() string {
	var names []byte
	for i, name := range purposeNames {
		if p&(1<<i) == 0 {
			continue
		}
		if names != nil {
			names = append(names, ", "...)
		}
		names = append(names, name...)
	}
	if names == nil {
		return "none"
	}
	return string(names)
}

// firstPurpose is the last arc of id-kp-sendRouter; the others follow it.
const firstPurpose = 23

func (p Purpose) oids() []OID {
	var oids []OID
	for i := range purposeNames {
		if p&(1<<i) != 0 {
			oids = append(oids, oidKeyPurpose+OID(rune(firstPurpose+i)))
		}
	}
	return oids
}

// Purposes gives the key purposes of SEND that cert names. Any extended key usage is none of them.
func Purposes(cert *Certificate) Purpose {
	var found Purpose
	for i := range purposeNames {
		if p := Purpose(1 << i); slices.Contains(cert.KeyPurposes, p.oids()[0]) {
			found |= p
		}
	}
	return found
}

// keyID gives the 160-bit key identifier of a public key: SHA-1 over its BIT STRING, without the octet that tells the unused
// bits (RFC 6487 section 4.8.2, RFC 5280 section 4.2.1.2).
func keyID(spki []byte) []byte {
	input := cryptobyte.String(spki)
	var info, key cryptobyte.String
	if !input.ReadASN1(&info, asn1.SEQUENCE) || !info.SkipASN1(asn1.SEQUENCE) ||
		!info.ReadASN1(&key, asn1.BIT_STRING) || !key.Skip(1) {
		return nil
	}
	id := sha1.Sum(key)
	return id[:]
}

// checkExtensions refuses critical extensions that are not processed here. A certificate policy restricts nothing as long as
// nobody demands one.
func checkExtensions(cert *Certificate) error {
	for i := range cert.Extensions {
		e := &cert.Extensions[i]
		switch e.ID {
		case oidAddressBlocks, oidKeyUsage, oidBasicConstraints, oidPolicies, oidExtKeyUsage:
		default:
			if e.Critical {
				return fmt.Errorf("%w (%v)", ReasonCritical, e.ID)
			}
		}
	}
	return nil
}

// checkAuthority checks that cert may issue others (RFC 6487 section 4.8; RFC 5280 section 6.1.4, k and n).
func (p Profile) checkAuthority(cert *Certificate) error {
	_, critical, _ := cert.extension(oidBasicConstraints)
	if !cert.IsCA || p == RFC6494 && !critical {
		return ReasonNoAuthority
	}
	_, critical, found := cert.extension(oidKeyUsage)
	if found && cert.KeyUsage&UsageCertSign == 0 {
		return fmt.Errorf("%w: an authority may not sign certificates", ReasonKeyUsage)
	}
	if p == RFC3971 {
		return nil
	}
	if !found || !critical || cert.KeyUsage != UsageCertSign|UsageCRLSign {
		return fmt.Errorf("%w: an authority's has keyCertSign and cRLSign alone, and is critical", ReasonKeyUsage)
	}
	if cert.MaxPathLen >= 0 {
		return fmt.Errorf("%w: a path length constraint", ReasonProfile)
	}
	if _, _, found := cert.extension(oidExtKeyUsage); found {
		return fmt.Errorf("%w: an authority with key purposes", ReasonProfile)
	}
	return nil
}

// checkEnd checks that cert is that of a node with the purposes wanted (RFC 6494 section 7, RFC 6487 section 4.8).
func (p Profile) checkEnd(cert *Certificate, wanted Purpose) (Purpose, error) {
	_, _, found := cert.extension(oidBasicConstraints)
	if cert.IsCA {
		return 0, ReasonAuthority
	}
	if found && p == RFC6494 {
		return 0, fmt.Errorf("%w: basic constraints in a node's certificate", ReasonProfile)
	}
	_, critical, found := cert.extension(oidKeyUsage)
	switch {
	case p == RFC6494 && (!found || !critical || cert.KeyUsage != UsageDigitalSignature):
		return 0, fmt.Errorf("%w: a node's has digitalSignature alone, and is critical", ReasonKeyUsage)
	case found && cert.KeyUsage&UsageDigitalSignature == 0:
		return 0, fmt.Errorf("%w: the key may not sign messages", ReasonKeyUsage)
	}
	_, critical, found = cert.extension(oidExtKeyUsage)
	purposes := Purposes(cert)
	if p == RFC3971 && (!found || purposes == 0 && slices.Contains(cert.KeyPurposes, oidAnyPurpose)) {
		return wanted, nil // from before there were purposes
	}
	switch {
	case purposes == 0:
		return 0, ReasonNoPurpose
	case purposes&wanted != wanted:
		return 0, fmt.Errorf("%w: it has %v", ReasonPurpose, purposes)
	case critical && p == RFC6494:
		return 0, fmt.Errorf("%w: critical key purposes", ReasonProfile)
	}
	return purposes, nil
}

// checkKeyIDs compares key identifiers with the keys and with the issuer (RFC 6487 sections 4.8.2 and 4.8.3).
func (p Profile) checkKeyIDs(cert, issuer *Certificate) error {
	if p == RFC6494 && !bytes.Equal(cert.SubjectKeyID, keyID(cert.SPKI)) {
		return fmt.Errorf("%w: subject key identifier", ReasonKeyID)
	}
	if !namesKeyOf(cert, issuer) || p == RFC6494 && len(cert.AuthorityKeyID) == 0 {
		return fmt.Errorf("%w: authority key identifier", ReasonKeyID)
	}
	return nil
}

// namesKeyOf reports whether the authority key identifier of cert, if both have one, is the key identifier of issuer.
func namesKeyOf(cert, issuer *Certificate) bool {
	return len(cert.AuthorityKeyID) == 0 || len(issuer.SubjectKeyID) == 0 || bytes.Equal(cert.AuthorityKeyID, issuer.SubjectKeyID)
}

// Addresses gives what the IP address delegation extension of cert says, and false if it has none.
func Addresses(cert *Certificate) (AddressBlocks, bool, error) {
	value, _, found := cert.extension(oidAddressBlocks)
	if !found {
		return AddressBlocks{}, false, nil
	}
	blocks, err := ParseAddressBlocks(value)
	return blocks, true, err
}

// addresses gives the addresses of cert under an issuer that has those of above.
func (p Profile) addresses(cert *Certificate, above AddressSet) (AddressSet, error) {
	value, critical, found := cert.extension(oidAddressBlocks)
	if !found && p == RFC3971 {
		return above, nil
	}
	if !found || !critical && p == RFC6494 {
		return AddressSet{}, ReasonNoAddresses
	}
	blocks, err := ParseAddressBlocks(value)
	switch {
	case err != nil:
		return AddressSet{}, fmt.Errorf("%w: %w", ReasonAddressBlocks, err)
	case blocks.SAFI && p == RFC6494:
		return AddressSet{}, fmt.Errorf("%w: a subsequent address family", ReasonProfile)
	case blocks.Inherit:
		return above, nil
	case above.Contains(blocks.Set):
		return blocks.Set, nil
	case p == RFC6494:
		return AddressSet{}, fmt.Errorf("%w: it has %v, the issuer %v", ReasonAddresses, blocks.Set, above)
	}
	// RFC 3971 section 6.3.1: the null prefix stands for the issuer's, of others the part that both have may be used.
	set := above.Intersect(blocks.Set)
	if set.IsEmpty() {
		return AddressSet{}, fmt.Errorf("%w: it has %v, the issuer %v", ReasonAddresses, blocks.Set, above)
	}
	return set, nil
}
