package certpath

import (
	"math/bits"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// readExtensions reads the extensions, if there are any (RFC 5280 section 4.1.2.9).
func (c *Certificate) readExtensions(tbs *cryptobyte.String) error {
	var explicit, list cryptobyte.String
	var present bool
	if !tbs.ReadOptionalASN1(&explicit, &present, asn1.Tag(3).ContextSpecific().Constructed()) {
		return malformed("extensions")
	}
	if !present {
		return nil
	}
	if !explicit.ReadASN1(&list, asn1.SEQUENCE) || !explicit.Empty() || list.Empty() {
		return malformed("extensions")
	}
	for !list.Empty() {
		e, ok := readExtension(&list)
		if !ok {
			return malformed("an extension")
		}
		if len(c.Extensions) == maxExtensions {
			return malformed("too many extensions")
		}
		if _, _, found := c.extension(e.ID); found {
			return malformed("extension " + e.ID.String() + " twice")
		}
		c.Extensions = append(c.Extensions, e)
		if !c.apply(&e) {
			return malformed("extension " + e.ID.String())
		}
	}
	return nil
}

func readExtension(list *cryptobyte.String) (e Extension, ok bool) {
	var fields, value cryptobyte.String
	if !list.ReadASN1(&fields, asn1.SEQUENCE) {
		return e, false
	}
	if e.ID, ok = readOID(&fields); !ok {
		return e, false
	}
	if e.Critical, ok = readTrue(&fields); !ok || !fields.ReadASN1(&value, asn1.OCTET_STRING) || !fields.Empty() {
		return e, false
	}
	e.Value = value
	return e, true
}

// readTrue reads a BOOLEAN that is false if it is left out. DER leaves out a false one always.
func readTrue(s *cryptobyte.String) (value, ok bool) {
	if !s.PeekASN1Tag(asn1.BOOLEAN) {
		return false, true
	}
	var contents cryptobyte.String
	return true, s.ReadASN1(&contents, asn1.BOOLEAN) && string(contents) == "\xff"
}

// extension tells whether c has an extension, what it says, and whether it is critical.
func (c *Certificate) extension(id OID) (value []byte, critical, found bool) {
	for i := range c.Extensions {
		if e := &c.Extensions[i]; e.ID == id {
			return e.Value, e.Critical, true
		}
	}
	return nil, false, false
}

// apply takes over what an extension says, if it is one that is read. It reports false if that one is malformed.
func (c *Certificate) apply(e *Extension) bool {
	value := cryptobyte.String(e.Value)
	var contents cryptobyte.String
	switch e.ID {
	case oidKeyUsage:
		return readUsage(&value, &c.KeyUsage) && value.Empty()
	case oidSubjectKeyID: // never critical, as the next (RFC 5280 section 4.2.1.1)
		if e.Critical || !value.ReadASN1(&contents, asn1.OCTET_STRING) || !value.Empty() {
			return false
		}
		c.SubjectKeyID = contents
		return true
	case oidAuthorityKeyID:
		return !e.Critical && value.ReadASN1(&contents, asn1.SEQUENCE) && value.Empty() && c.applyAuthorityKeyID(contents)
	}
	// The others are a sequence each.
	switch e.ID {
	case oidBasicConstraints, oidExtKeyUsage, oidAltName:
		if !value.ReadASN1(&contents, asn1.SEQUENCE) || !value.Empty() {
			return false
		}
	}
	switch e.ID {
	case oidBasicConstraints:
		return c.applyBasicConstraints(contents)
	case oidExtKeyUsage:
		return c.applyPurposes(contents)
	case oidAltName:
		return c.applyAltNames(contents)
	}
	return true
}

// readUsage reads a key usage, as short as can be (X.690 section 11.2.2).
func readUsage(s *cryptobyte.String, usage *KeyUsage) bool {
	var octets cryptobyte.String
	var unused uint8
	if !s.ReadASN1(&octets, asn1.BIT_STRING) || !octets.ReadUint8(&unused) || unused > 7 || len(octets) > 2 {
		return false
	}
	if len(octets) == 0 {
		return unused == 0
	}
	for i := range 8 * len(octets) {
		if octets[i/8]&(0x80>>(i%8)) != 0 {
			*usage |= 1 << i
		}
	}
	return *usage < 1<<usages && bits.TrailingZeros8(octets[len(octets)-1]) == int(unused)
}

// applyBasicConstraints takes over RFC 5280 section 4.2.1.9.
func (c *Certificate) applyBasicConstraints(s cryptobyte.String) (ok bool) {
	if c.IsCA, ok = readTrue(&s); !ok || s.Empty() {
		return ok
	}
	var length cryptobyte.String
	if !s.ReadASN1(&length, asn1.INTEGER) || !s.Empty() || !isNatural(length) || len(length) > 4 {
		return false
	}
	n := uint32(0)
	for _, octet := range length {
		n = n<<8 | uint32(octet)
	}
	c.MaxPathLen = int(n)
	return true
}

// applyPurposes takes over RFC 5280 section 4.2.1.12.
func (c *Certificate) applyPurposes(s cryptobyte.String) bool {
	for !s.Empty() {
		oid, ok := readOID(&s)
		if !ok || len(c.KeyPurposes) == maxPurposes {
			return false
		}
		c.KeyPurposes = append(c.KeyPurposes, oid)
	}
	return c.KeyPurposes != nil
}

// applyAuthorityKeyID takes over RFC 5280 section 4.2.1.1: the key identifier, without the name and number of a certificate.
func (c *Certificate) applyAuthorityKeyID(s cryptobyte.String) bool {
	var id cryptobyte.String
	var present bool
	if !s.ReadOptionalASN1(&id, &present, asn1.Tag(0).ContextSpecific()) ||
		!s.SkipOptionalASN1(asn1.Tag(1).ContextSpecific().Constructed()) || !s.SkipOptionalASN1(asn1.Tag(2).ContextSpecific()) {
		return false
	}
	c.AuthorityKeyID = id
	return s.Empty()
}

// applyAltNames takes over the names in DNS of RFC 5280 section 4.2.1.6, and reads over all others.
func (c *Certificate) applyAltNames(s cryptobyte.String) bool {
	if s.Empty() {
		return false
	}
	for !s.Empty() {
		var name cryptobyte.String
		var tag asn1.Tag
		if !s.ReadAnyASN1(&name, &tag) {
			return false
		}
		if tag != asn1.Tag(2).ContextSpecific() {
			continue
		}
		if len(c.DNSNames) == maxDNSNames {
			return false
		}
		for _, octet := range name {
			if octet >= 0x80 {
				return false
			}
		}
		c.DNSNames = append(c.DNSNames, string(name))
	}
	return true
}
