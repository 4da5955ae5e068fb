package certpath

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/roamkey/roamkey/ndp"
)

// Certificates are read here rather than by crypto/x509: it is most of a megabyte in a router's flash, for keys and
// constraints that these certificates do not have.

// MaxOctets is the length of the longest certificate that is read.
const MaxOctets = 16 << 10

// Bounds of what is in a certificate.
const (
	maxSerial     = 21 // 20 octets (RFC 5280 section 4.1.2.2), and those who put a zero before them
	maxExtensions = 32
	maxPurposes   = 16
	maxDNSNames   = 16
)

// Certificate is an X.509 certificate of version 3 (RFC 5280 section 4.1). Its octets share memory with what it was read from.
type Certificate struct {
	Raw, RawTBS        []byte // the whole, and what is signed, DER
	Serial             []byte // big-endian, not negative, in its shortest form
	SignatureAlgorithm Algorithm
	Signature          []byte
	Issuer, Subject    Name
	// Valid at both times and between them.
	NotBefore, NotAfter time.Time
	KeyAlgorithm        Algorithm
	SPKI                []byte // SubjectPublicKeyInfo, DER
	Extensions          []Extension

	// What the extensions say that are read.
	IsCA                         bool
	MaxPathLen                   int // -1 if there is no constraint
	KeyUsage                     KeyUsage
	KeyPurposes                  []OID
	SubjectKeyID, AuthorityKeyID []byte
	DNSNames                     []string

	key    ndp.PublicKey
	keyErr error // why key is none
}

// Extension is an extension of a certificate. No two of one certificate have the same ID.
type Extension struct {
	ID       OID
	Critical bool
	Value    []byte
}

// KeyUsage is a set of key usages (RFC 5280 section 4.2.1.3).
type KeyUsage uint16

// Key usages that count here; the others are the bits between and beside them.
const (
	usages = 9

	UsageDigitalSignature KeyUsage = 1 << 0
	UsageCertSign         KeyUsage = 1 << 5
	UsageCRLSign          KeyUsage = 1 << 6
)

func malformed(what string) error { return fmt.Errorf("%w: %s", ReasonParse, what) }

// ParseCertificate reads one certificate of version 3 in DER, and nothing behind it. An error wraps ReasonParse. Keys other than
// RSA, other signature algorithms and unknown extensions are read over: whether they will do is for who uses it.
func ParseCertificate(der []byte) (*Certificate, error) {
	if len(der) > MaxOctets {
		return nil, malformed(fmt.Sprintf("%d octets, at most %d are taken", len(der), MaxOctets))
	}
	input := cryptobyte.String(der)
	var whole, signed, tbs, algorithm, inner cryptobyte.String
	if !input.ReadASN1(&whole, asn1.SEQUENCE) || !input.Empty() || !whole.ReadASN1Element(&signed, asn1.SEQUENCE) ||
		!whole.ReadASN1(&algorithm, asn1.SEQUENCE) {
		return nil, malformed("not one sequence of contents, algorithm and signature")
	}
	c := &Certificate{Raw: der, RawTBS: signed, MaxPathLen: -1}
	var ok bool
	if c.Signature, ok = readBitString(&whole); !ok || !whole.Empty() {
		return nil, malformed("signature")
	}
	if !signed.ReadASN1(&tbs, asn1.SEQUENCE) {
		return nil, malformed("contents")
	}
	var version, serial cryptobyte.String
	if !tbs.ReadASN1(&version, asn1.Tag(0).ContextSpecific().Constructed()) || string(version) != "\x02\x01\x02" {
		return nil, malformed("not version 3")
	}
	if !tbs.ReadASN1(&serial, asn1.INTEGER) || len(serial) > maxSerial || !isNatural(serial) {
		return nil, malformed("serial number")
	}
	c.Serial = serial
	if !tbs.ReadASN1(&inner, asn1.SEQUENCE) || !bytes.Equal(inner, algorithm) {
		return nil, malformed("two signature algorithms")
	}
	if c.SignatureAlgorithm, ok = readAlgorithm(inner); !ok {
		return nil, malformed("signature algorithm")
	}
	if c.Issuer, ok = readName(&tbs); !ok {
		return nil, malformed("issuer")
	}
	var validity cryptobyte.String
	if !tbs.ReadASN1(&validity, asn1.SEQUENCE) || !readTime(&validity, &c.NotBefore) || !readTime(&validity, &c.NotAfter) || !validity.Empty() {
		return nil, malformed("times of validity")
	}
	if c.Subject, ok = readName(&tbs); !ok {
		return nil, malformed("subject")
	}
	if !c.readKey(&tbs) {
		return nil, malformed("public key")
	}
	if !tbs.SkipOptionalASN1(asn1.Tag(1).ContextSpecific()) || !tbs.SkipOptionalASN1(asn1.Tag(2).ContextSpecific()) {
		return nil, malformed("unique identifiers")
	}
	if err := c.readExtensions(&tbs); err != nil {
		return nil, err
	}
	if !tbs.Empty() {
		return nil, malformed("more behind the extensions")
	}
	return c, nil
}

// isNatural reports whether the contents of an INTEGER are not negative and as short as can be.
func isNatural(b []byte) bool {
	return len(b) > 0 && b[0]&0x80 == 0 && (len(b) == 1 || b[0] != 0 || b[1]&0x80 != 0)
}

// readBitString reads a BIT STRING of whole octets.
func readBitString(s *cryptobyte.String) ([]byte, bool) {
	var bits cryptobyte.String
	var unused uint8
	return bits, s.ReadASN1(&bits, asn1.BIT_STRING) && bits.ReadUint8(&unused) && unused == 0
}

// readAlgorithm reads the contents of an AlgorithmIdentifier. Signatures by RSA have no parameters, written as NULL or left out
// (RFC 4055 section 5).
func readAlgorithm(s cryptobyte.String) (Algorithm, bool) {
	oid, ok := readOID(&s)
	if !ok {
		return "", false
	}
	if s.Empty() {
		return Algorithm(oid), true
	}
	var parameters cryptobyte.String
	var tag asn1.Tag
	if !s.ReadAnyASN1(&parameters, &tag) || !s.Empty() {
		return "", false
	}
	switch oid {
	case oidSHA1WithRSA, oidSHA256WithRSA:
		return Algorithm(oid), tag == asn1.NULL && parameters.Empty()
	}
	return Algorithm(oid), true
}

// readKey reads the SubjectPublicKeyInfo. An RSA key whose numbers cannot be used is noted: it is refused where it would be.
func (c *Certificate) readKey(tbs *cryptobyte.String) bool {
	var spki, info, algorithm cryptobyte.String
	if !tbs.ReadASN1Element(&spki, asn1.SEQUENCE) {
		return false
	}
	c.SPKI = spki
	if !spki.ReadASN1(&info, asn1.SEQUENCE) || !info.ReadASN1(&algorithm, asn1.SEQUENCE) {
		return false
	}
	var ok bool
	if c.KeyAlgorithm, ok = readAlgorithm(algorithm); !ok {
		return false
	}
	if _, ok := readBitString(&info); !ok || !info.Empty() {
		return false
	}
	if OID(c.KeyAlgorithm) != oidRSA {
		return true
	}
	c.key, _, c.keyErr = ndp.ParseSPKI(c.SPKI)
	return !errors.Is(c.keyErr, ndp.ErrSPKI) && !errors.Is(c.keyErr, ndp.ErrAlgorithm)
}

// rsaKey gives the RSA key of c, if its modulus has from least to most bits. The bounds of ndp.ParseSPKI hold in any case: work
// grows with modulus and exponent, and certificates come from anybody.
func (c *Certificate) rsaKey(least, most int) (*rsa.PublicKey, error) {
	switch {
	case OID(c.KeyAlgorithm) != oidRSA:
		return nil, fmt.Errorf("%w (%v)", ReasonKeyType, c.KeyAlgorithm)
	case c.keyErr != nil:
		return nil, fmt.Errorf("%w: %w", ReasonKeySize, c.keyErr)
	}
	if n := c.key.Bits(); n < least || n > most {
		return nil, fmt.Errorf("%w: %d bits, taken are %d to %d", ReasonKeySize, n, least, most)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(c.key.Modulus), E: c.key.Exponent}, nil
}

// KeyBits gives the length of an RSA modulus in bits, also of one that is refused; 0 for another key.
func (c *Certificate) KeyBits() int {
	if OID(c.KeyAlgorithm) != oidRSA {
		return 0
	}
	spki := cryptobyte.String(c.SPKI)
	var info, octets, numbers, modulus cryptobyte.String
	if !spki.ReadASN1(&info, asn1.SEQUENCE) || !info.SkipASN1(asn1.SEQUENCE) || !info.ReadASN1(&octets, asn1.BIT_STRING) ||
		!octets.Skip(1) || !octets.ReadASN1(&numbers, asn1.SEQUENCE) || !numbers.ReadASN1(&modulus, asn1.INTEGER) {
		return 0
	}
	return ndp.PublicKey{Modulus: bytes.TrimLeft(modulus, "\x00")}.Bits()
}

// readTime reads a UTCTime or a GeneralizedTime in the one form that RFC 5280 section 4.1.2.5 has for it: with seconds, without
// their fractions, and with Z for the zone.
func readTime(s *cryptobyte.String, t *time.Time) bool {
	var text cryptobyte.String
	var tag asn1.Tag
	if !s.ReadAnyASN1(&text, &tag) {
		return false
	}
	year := 0
	switch {
	case tag == asn1.UTCTime && len(text) == len("YYMMDDHHMMSSZ"):
		n, ok := readDigits(&text)
		if !ok {
			return false
		}
		year = 1900 + n
		if n < 50 {
			year = 2000 + n
		}
	case tag == asn1.GeneralizedTime && len(text) == len("YYYYMMDDHHMMSSZ"):
		high, ok := readDigits(&text)
		low, ok2 := readDigits(&text)
		if !ok || !ok2 {
			return false
		}
		year = 100*high + low
	default:
		return false
	}
	var fields [5]int // month, day, hour, minute, second
	for i := range fields {
		var ok bool
		if fields[i], ok = readDigits(&text); !ok {
			return false
		}
	}
	month, day, hour, minute, second := time.Month(fields[0]), fields[1], fields[2], fields[3], fields[4]
	*t = time.Date(year, month, day, hour, minute, second, 0, time.UTC)
	// Date would carry a 30th of February over to March, and that 24 hours are over to the next day.
	return string(text) == "Z" && t.Month() == month && t.Day() == day && t.Hour() == hour && t.Minute() == minute && t.Second() == second
}

// readDigits reads a number of two digits.
func readDigits(s *cryptobyte.String) (int, bool) {
	var d []byte
	if !s.ReadBytes(&d, 2) || d[0] < '0' || d[0] > '9' || d[1] < '0' || d[1] > '9' {
		return 0, false
	}
	return 10*int(d[0]-'0') + int(d[1]-'0'), true
}
