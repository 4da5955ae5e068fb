package certpath

import (
	"strconv"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// OID is an object identifier: the contents of its DER.
type OID string

// Object identifiers of RFC 5280 (names, extensions, purposes), RFC 3779, and RFC 3279, 4055, 5758 and 8410 (keys and
// signatures).
const (
	oidCommonName       OID = "\x55\x04\x03"
	oidSubjectKeyID     OID = "\x55\x1d\x0e"
	oidKeyUsage         OID = "\x55\x1d\x0f"
	oidAltName          OID = "\x55\x1d\x11"
	oidBasicConstraints OID = "\x55\x1d\x13"
	oidPolicies         OID = "\x55\x1d\x20"
	oidAuthorityKeyID   OID = "\x55\x1d\x23"
	oidExtKeyUsage      OID = "\x55\x1d\x25"
	oidAnyPurpose       OID = "\x55\x1d\x25\x00"
	oidKeyPurpose       OID = "\x2b\x06\x01\x05\x05\x07\x03" // purposes are below it
	oidAddressBlocks    OID = "\x2b\x06\x01\x05\x05\x07\x01\x07"
	oidRSA              OID = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
	oidMD5WithRSA       OID = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04"
	oidSHA1WithRSA      OID = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"
	oidPSS              OID = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"
	oidSHA256WithRSA    OID = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
	oidSHA384WithRSA    OID = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c"
	oidSHA512WithRSA    OID = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d"
	oidEC               OID = "\x2a\x86\x48\xce\x3d\x02\x01"
	oidECDSAWithSHA256  OID = "\x2a\x86\x48\xce\x3d\x04\x03\x02"
	oidECDSAWithSHA384  OID = "\x2a\x86\x48\xce\x3d\x04\x03\x03"
	oidEd25519          OID = "\x2b\x65\x70"
)

// maxOID is the length of the longest object identifier that is read, and maxArc the greatest arc.
const (
	maxOID = 64
	maxArc = 1<<31 - 1
)

// readOID reads an OBJECT IDENTIFIER in the one form that DER has for it.
func readOID(s *cryptobyte.String) (OID, bool) {
	var contents cryptobyte.String
	if !s.ReadASN1(&contents, asn1.OBJECT_IDENTIFIER) || len(contents) > maxOID {
		return "", false
	}
	arc, begin := uint64(0), true
	for _, octet := range contents {
		if begin && octet == 0x80 {
			return "", false
		}
		begin = octet&0x80 == 0
		if arc = arc<<7 | uint64(octet&0x7f); arc > maxArc {
			return "", false
		}
		if begin {
			arc = 0
		}
	}
	return OID(contents), begin && len(contents) > 0
}

func addOID(b *cryptobyte.Builder, oid OID) {
	b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(oid)) })
}

// String gives the arcs with dots between them.
func (o OID) String() string {
	var text []byte
	arc := uint64(0)
	for i := range len(o) {
		arc = arc<<7 | uint64(o[i]&0x7f)
		if o[i]&0x80 != 0 {
			continue
		}
		if text == nil {
			// The first two arcs are one number.
			first := min(arc/40, 2)
			text = strconv.AppendUint(text, first, 10)
			arc -= 40 * first
		}
		text = append(text, '.')
		text = strconv.AppendUint(text, arc, 10)
		arc = 0
	}
	return string(text)
}

// Algorithm is what a key or a signature is made by.
type Algorithm OID

// String is its usual name, or else its object identifier.
func (a Algorithm) String() string {
	switch OID(a) {
	case oidRSA:
		return "RSA"
	case oidEC:
		return "ECDSA"
	case oidEd25519:
		return "Ed25519"
	case oidMD5WithRSA:
		return "MD5-RSA"
	case oidSHA1WithRSA:
		return "SHA1-RSA"
	case oidSHA256WithRSA:
		return "SHA256-RSA"
	case oidSHA384WithRSA:
		return "SHA384-RSA"
	case oidSHA512WithRSA:
		return "SHA512-RSA"
	case oidPSS:
		return "RSAPSS"
	case oidECDSAWithSHA256:
		return "ECDSA-SHA256"
	case oidECDSAWithSHA384:
		return "ECDSA-SHA384"
	}
	return OID(a).String()
}
