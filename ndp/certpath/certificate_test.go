package certpath_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
)

// agree checks that x509 found the same in a certificate.
func agree(t testing.TB, ours *certpath.Certificate, theirs *x509.Certificate) {
	t.Helper()
	same := func(what string, ok bool, got, want any) {
		t.Helper()
		if !ok {
			t.Errorf("%s: %v, x509 says %v", what, got, want)
		}
	}
	octets := func(what string, got, want []byte) {
		t.Helper()
		same(what, bytes.Equal(got, want), got, want)
	}
	octets("whole", ours.Raw, theirs.Raw)
	octets("what is signed", ours.RawTBS, theirs.RawTBSCertificate)
	octets("signature", ours.Signature, theirs.Signature)
	octets("issuer", ours.Issuer, theirs.RawIssuer)
	octets("subject", ours.Subject, theirs.RawSubject)
	octets("key", ours.SPKI, theirs.RawSubjectPublicKeyInfo)
	octets("subject key identifier", ours.SubjectKeyID, theirs.SubjectKeyId)
	octets("authority key identifier", ours.AuthorityKeyID, theirs.AuthorityKeyId)
	same("serial number", new(big.Int).SetBytes(ours.Serial).Cmp(theirs.SerialNumber) == 0, ours.Serial, theirs.SerialNumber)
	same("begin", ours.NotBefore.Equal(theirs.NotBefore), ours.NotBefore, theirs.NotBefore)
	same("end", ours.NotAfter.Equal(theirs.NotAfter), ours.NotAfter, theirs.NotAfter)
	same("version", theirs.Version == 3, 3, theirs.Version)
	same("authority", ours.IsCA == theirs.IsCA, ours.IsCA, theirs.IsCA)
	if theirs.BasicConstraintsValid {
		same("path length", ours.MaxPathLen == theirs.MaxPathLen, ours.MaxPathLen, theirs.MaxPathLen)
	} else {
		same("path length", ours.MaxPathLen == -1, ours.MaxPathLen, "no basic constraints")
	}
	same("key usage", int(ours.KeyUsage) == int(theirs.KeyUsage), ours.KeyUsage, theirs.KeyUsage)
	same("names in DNS", strings.Join(ours.DNSNames, "\n") == strings.Join(theirs.DNSNames, "\n"), ours.DNSNames, theirs.DNSNames)
	same("number of purposes", len(ours.KeyPurposes) == len(theirs.ExtKeyUsage)+len(theirs.UnknownExtKeyUsage), ours.KeyPurposes, theirs.UnknownExtKeyUsage)
	unknown := 0
	for _, oid := range ours.KeyPurposes {
		if unknown < len(theirs.UnknownExtKeyUsage) && oid.String() == theirs.UnknownExtKeyUsage[unknown].String() {
			unknown++
		}
	}
	same("purposes", unknown == len(theirs.UnknownExtKeyUsage), ours.KeyPurposes, theirs.UnknownExtKeyUsage)
	if theirs.SignatureAlgorithm == x509.SHA256WithRSA || theirs.SignatureAlgorithm == x509.SHA1WithRSA {
		same("signature algorithm", ours.SignatureAlgorithm.String() == theirs.SignatureAlgorithm.String(), ours.SignatureAlgorithm, theirs.SignatureAlgorithm)
	}
	if key, ok := theirs.PublicKey.(*rsa.PublicKey); ok {
		same("key length", ours.KeyBits() == key.N.BitLen(), ours.KeyBits(), key.N.BitLen())
		same("key algorithm", ours.KeyAlgorithm.String() == "RSA", ours.KeyAlgorithm, "RSA")
	} else {
		same("key length", ours.KeyBits() == 0, ours.KeyBits(), theirs.PublicKeyAlgorithm)
	}
	same("number of extensions", len(ours.Extensions) == len(theirs.Extensions), len(ours.Extensions), len(theirs.Extensions))
	for i, e := range ours.Extensions {
		if i < len(theirs.Extensions) {
			o := theirs.Extensions[i]
			same("extension", e.ID.String() == o.Id.String() && e.Critical == o.Critical && bytes.Equal(e.Value, o.Value), e, o)
		}
	}
}

// lookedInto reports whether x509 looks no further into a certificate than is done here. It does at keys that are refused here
// when they are used, at names beside those in DNS, and at extensions that say nothing here: name constraints, revocation
// lists, policies and access to information.
func lookedInto(c *certpath.Certificate) bool {
	if _, _, err := ndp.ParseSPKI(c.SPKI); err != nil {
		return false
	}
	for _, e := range c.Extensions {
		switch e.ID.String() {
		case "2.5.29.17", "2.5.29.30", "2.5.29.31", "2.5.29.32", "2.5.29.33", "2.5.29.36", "2.5.29.54", "1.3.6.1.5.5.7.1.1":
			return false
		}
	}
	return true
}

// tlv is a value in DER with its head.
func tlv(tag byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	switch n := len(body); {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, body...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, body...)
	default:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, body...)
	}
}

// pieces are the fields of a certificate in DER, in their order. What signs it does not matter for reading it.
type pieces struct {
	version, serial, inner, issuer, from, until, subject, spki, ids, extensions, behind, outer, signature []byte
}

func (p *pieces) der() []byte {
	tbs := tlv(0x30, p.version, p.serial, p.inner, p.issuer, tlv(0x30, p.from, p.until), p.subject, p.spki, p.ids, p.extensions, p.behind)
	return tlv(0x30, tbs, p.outer, p.signature)
}

func nameOf(parts ...[]byte) []byte { return tlv(0x30, parts...) }

// part is a part of a name whose type is below 2.5.4.
func part(kind, tag byte, value string) []byte {
	return tlv(0x31, tlv(0x30, tlv(6, []byte{0x55, 4, kind}), tlv(tag, []byte(value))))
}

func listOf(extensions ...[]byte) []byte { return tlv(0xa3, tlv(0x30, extensions...)) }

// ext is an extension below 2.5.29.
func ext(id byte, value []byte) []byte {
	return tlv(0x30, tlv(6, []byte{0x55, 0x1d, id}), tlv(4, value))
}

func criticalExt(id byte, value []byte) []byte {
	return tlv(0x30, tlv(6, []byte{0x55, 0x1d, id}), []byte{1, 1, 0xff}, tlv(4, value))
}

func goodPieces(t testing.TB) *pieces {
	algorithm := tlv(0x30, unhex(t, "06092a864886f70d01010b0500"))
	return &pieces{
		version: unhex(t, "a003020102"), serial: tlv(2, []byte{7}), inner: algorithm, issuer: nameOf(part(3, 0x13, "anchor")),
		from: tlv(0x17, []byte("261120143110Z")), until: tlv(0x18, []byte("20511120143110Z")), subject: nameOf(part(3, 0x0c, "router")),
		spki: spki(t, &keyOf(t, "router").PublicKey), extensions: listOf(
			criticalExt(15, unhex(t, "03020780")), ext(37, unhex(t, "300a06082b06010505070317")), ext(14, tlv(4, []byte("us"))),
			ext(35, tlv(0x30, tlv(0x80, []byte("them")))), ext(17, tlv(0x30, tlv(0x82, []byte("a.example"))))),
		outer: algorithm, signature: tlv(3, []byte{0, 1, 2, 3}),
	}
}

// takenRows are certificates that are taken, and as x509 reads them.
var takenRows = []struct {
	name   string
	change func(t testing.TB, p *pieces)
}{
	{"as it is", func(t testing.TB, p *pieces) {}},
	{"no extensions", func(t testing.TB, p *pieces) { p.extensions = nil }},
	{"serial number 0", func(t testing.TB, p *pieces) { p.serial = []byte{2, 1, 0} }},
	{"a serial number of 20 octets and a zero", func(t testing.TB, p *pieces) { p.serial = tlv(2, []byte{0}, bytes.Repeat([]byte{0xff}, 20)) }},
	{"SHA-1", func(t testing.TB, p *pieces) {
		p.inner = tlv(0x30, unhex(t, "06092a864886f70d0101050500"))
		p.outer = p.inner
	}},
	{"no parameters of the algorithm", func(t testing.TB, p *pieces) {
		p.inner = tlv(0x30, unhex(t, "06092a864886f70d01010b"))
		p.outer = p.inner
	}},
	{"another algorithm", func(t testing.TB, p *pieces) { p.inner = tlv(0x30, unhex(t, "06032a0304")); p.outer = p.inner }},
	{"1950", func(t testing.TB, p *pieces) { p.from = tlv(0x17, []byte("500101000000Z")) }},
	{"2049", func(t testing.TB, p *pieces) { p.until = tlv(0x17, []byte("491231235959Z")) }},
	{"29th of February", func(t testing.TB, p *pieces) { p.until = tlv(0x17, []byte("280229000000Z")) }},
	{"year 0", func(t testing.TB, p *pieces) { p.from = tlv(0x18, []byte("00000101000000Z")) }},
	{"for ever (RFC 5280 section 4.1.2.5)", func(t testing.TB, p *pieces) { p.until = tlv(0x18, []byte("99991231235959Z")) }},
	{"unique identifiers", func(t testing.TB, p *pieces) { p.ids = unhex(t, "810200ff 820200fe") }},
	{"an empty subject", func(t testing.TB, p *pieces) { p.subject = nameOf() }},
	{"all types of text", func(t testing.TB, p *pieces) {
		p.subject = nameOf(part(6, 0x13, "DE"), part(10, 0x1e, "\x00R\x20\xac"), part(11, 0x14, "caf\xe9"), part(3, 0x0c, "caf\u00e9"), part(5, 0x12, "12 3"), part(7, 0x16, "x@y"))
	}},
	{"an authority with a path length", func(t testing.TB, p *pieces) { p.extensions = listOf(criticalExt(19, unhex(t, "30060101ff020103"))) }},
	{"a long path length", func(t testing.TB, p *pieces) { p.extensions = listOf(ext(19, unhex(t, "30090101ff02047fffffff"))) }},
	{"no authority", func(t testing.TB, p *pieces) { p.extensions = listOf(ext(19, unhex(t, "3000"))) }},
	{"all nine usages", func(t testing.TB, p *pieces) { p.extensions = listOf(ext(15, unhex(t, "030307ff80"))) }},
	{"no usage", func(t testing.TB, p *pieces) { p.extensions = listOf(ext(15, unhex(t, "030100"))) }},
	{"any purpose, and a server's", func(t testing.TB, p *pieces) {
		p.extensions = listOf(ext(37, unhex(t, "3010 0604551d2500 06082b06010505070301")))
	}},
	{"an issuer by name and number", func(t testing.TB, p *pieces) {
		p.extensions = listOf(ext(35, tlv(0x30, tlv(0x80, []byte("id")), tlv(0xa1, tlv(0xa4, p.issuer)), tlv(0x82, []byte{7}))))
	}},
	{"names of other kinds", func(t testing.TB, p *pieces) {
		p.extensions = listOf(ext(17, tlv(0x30, tlv(0x87, make([]byte, 16)), tlv(0x82, []byte("b.example")), tlv(0x81, []byte("a@b.example")))))
	}},
	{"unknown extensions", func(t testing.TB, p *pieces) { p.extensions = listOf(ext(99, nil), criticalExt(98, []byte{1})) }},
	{"32 extensions", func(t testing.TB, p *pieces) { p.extensions = manyExtensions(32) }},
	{"512 bits", func(t testing.TB, p *pieces) {
		p.spki = spki(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(5), 511, 1), E: 3})
	}},
	{"not an RSA key", func(t testing.TB, p *pieces) { p.spki = unhex(t, ed25519Key) }},
}

const ed25519Key = "302a300506032b6570032100" + "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

func manyExtensions(n int) []byte {
	var all [][]byte
	for i := range n {
		all = append(all, ext(byte(64+i), nil))
	}
	return listOf(all...)
}

// What is read here x509 reads, and finds the same in it: the capture, all that is made and issued in these tests, and these.
func TestCertificateAgreesWithX509(t *testing.T) {
	for _, tt := range takenRows {
		p := goodPieces(t)
		tt.change(t, p)
		t.Run(tt.name, func(t *testing.T) { read(t, p.der()) })
	}
	captured, _ := capturedCertificate(t)
	read(t, captured)
	text, err := os.ReadFile(captures + "send-trust-anchor.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	read(t, block.Bytes)
}

// against checks that x509 takes what is taken here, and finds the same.
func against(t testing.TB, der []byte) {
	t.Helper()
	ours, err := certpath.ParseCertificate(der)
	if err != nil {
		if !errors.Is(err, certpath.ReasonParse) {
			t.Errorf("%x: %v", der, err)
		}
		return
	}
	theirs, err := x509.ParseCertificate(der)
	switch {
	case err == nil:
		agree(t, ours, theirs)
	case lookedInto(ours):
		t.Errorf("x509 refuses %x: %v", der, err)
	}
}

// That holds with any one octet changed, too.
func TestChangedCertificateAgreesWithX509(t *testing.T) {
	for row, tt := range takenRows {
		p := goodPieces(t)
		tt.change(t, p)
		der := p.der()
		key := bytes.Index(der, p.spki)
		for i, old := range der {
			if i > key+40 && i < key+len(p.spki)-20 {
				continue // one modulus is as good as another
			}
			others := []byte{old ^ 1, old ^ 0x80, old ^ 2, old ^ 0x20, 0, 0xff}
			if row > 0 {
				others = others[:2]
			}
			for _, octet := range others {
				der[i] = octet
				against(t, der)
			}
			der[i] = old
			if t.Failed() {
				t.Fatalf("%s, octet %d changed", tt.name, i)
			}
		}
	}
}

// DER has one form for each certificate, and a certificate has bounds. What is behind the words x509 does not see.
func TestParseCertificateRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(p *pieces)
		says   string
	}{
		{"version 1", func(p *pieces) { p.version = nil }, "not version 3"},
		{"version 2", func(p *pieces) { p.version = unhex(t, "a003020101") }, "not version 3"},
		{"version 4", func(p *pieces) { p.version = unhex(t, "a003020103") }, "not version 3"},
		{"version 3, longer", func(p *pieces) { p.version = unhex(t, "a00402020002") }, "not version 3"},
		{"no serial number", func(p *pieces) { p.serial = []byte{2, 0} }, "serial number"},
		{"a negative serial number", func(p *pieces) { p.serial = []byte{2, 1, 0x80} }, "serial number"},
		{"a serial number with a zero too many", func(p *pieces) { p.serial = []byte{2, 2, 0, 1} }, "serial number"},
		{"a serial number of 22 octets", func(p *pieces) { p.serial = tlv(2, bytes.Repeat([]byte{1}, 22)) }, "serial number"},
		{"two algorithms", func(p *pieces) { p.outer = tlv(0x30, unhex(t, "06092a864886f70d0101050500")) }, "two signature algorithms"},
		{"parameters where there are none", func(p *pieces) {
			p.inner = tlv(0x30, unhex(t, "06092a864886f70d01010b020101"))
			p.outer = p.inner
		}, "signature algorithm"},
		{"more behind the parameters", func(p *pieces) {
			p.inner = tlv(0x30, unhex(t, "06092a864886f70d01010b05000500"))
			p.outer = p.inner
		}, "signature algorithm"},
		{"an identifier with a zero too many", func(p *pieces) { p.inner = tlv(0x30, unhex(t, "06032a8003")); p.outer = p.inner }, "signature algorithm"},
		{"an identifier that does not end", func(p *pieces) { p.inner = tlv(0x30, unhex(t, "06022a83")); p.outer = p.inner }, "signature algorithm"},
		{"an identifier over 2^31", func(p *pieces) { p.inner = tlv(0x30, unhex(t, "06062a8880808000")); p.outer = p.inner }, "signature algorithm"},
		{"no identifier", func(p *pieces) { p.inner = tlv(0x30, unhex(t, "0600")); p.outer = p.inner }, "signature algorithm"},
		{"a long identifier", func(p *pieces) { p.inner = tlv(0x30, tlv(6, bytes.Repeat([]byte{1}, 65))); p.outer = p.inner }, "signature algorithm"},
		{"a part without a value", func(p *pieces) { p.issuer = nameOf(tlv(0x31, tlv(0x30, unhex(t, "0603550403")))) }, "issuer"},
		{"an empty set", func(p *pieces) { p.issuer = nameOf(tlv(0x31)) }, "issuer"},
		{"a part that is a number", func(p *pieces) { p.issuer = nameOf(part(3, 2, "1")) }, "issuer"},
		{"more behind a part", func(p *pieces) {
			p.issuer = nameOf(tlv(0x31, tlv(0x30, unhex(t, "0603550403 130141 130142"))))
		}, "issuer"},
		{"33 parts", func(p *pieces) { p.subject = nameOf(bytes.Repeat(part(3, 0x13, "a"), 33)) }, "subject"},
		{"not printable", func(p *pieces) { p.subject = nameOf(part(3, 0x13, "a_b")) }, "subject"},
		{"not UTF-8", func(p *pieces) { p.subject = nameOf(part(3, 0x0c, "\xff")) }, "subject"},
		{"not ASCII", func(p *pieces) { p.subject = nameOf(part(3, 0x16, "\x80")) }, "subject"},
		{"not numbers", func(p *pieces) { p.subject = nameOf(part(3, 0x12, "1a")) }, "subject"},
		{"half a character", func(p *pieces) { p.subject = nameOf(part(3, 0x1e, "\x00a\x00")) }, "subject"},
		{"a surrogate", func(p *pieces) { p.subject = nameOf(part(3, 0x1e, "\xd8\x00")) }, "subject"},
		{"a time without seconds", func(p *pieces) { p.from = tlv(0x17, []byte("2611201431Z")) }, "times"},
		{"a time of another zone", func(p *pieces) { p.from = tlv(0x17, []byte("261120143110+0100")) }, "times"},
		{"a time without a zone", func(p *pieces) { p.until = tlv(0x18, []byte("205111201431100")) }, "times"},
		{"fractions of seconds", func(p *pieces) { p.until = tlv(0x18, []byte("20511120143110.5Z")) }, "times"},
		{"30th of February", func(p *pieces) { p.from = tlv(0x17, []byte("260230000000Z")) }, "times"},
		{"month 0", func(p *pieces) { p.from = tlv(0x17, []byte("260001000000Z")) }, "times"},
		{"month 13", func(p *pieces) { p.from = tlv(0x17, []byte("261301000000Z")) }, "times"},
		{"24 hours", func(p *pieces) { p.from = tlv(0x17, []byte("261120240000Z")) }, "times"},
		{"second 60", func(p *pieces) { p.from = tlv(0x17, []byte("261120143160Z")) }, "times"},
		{"a sign", func(p *pieces) { p.from = tlv(0x17, []byte("26112014311-Z")) }, "times"},
		{"a year with a sign", func(p *pieces) { p.from = tlv(0x17, []byte("2/1120143110Z")) }, "times"},
		{"a third time", func(p *pieces) { p.until = append(p.until, p.from...) }, "times"},
		{"a key that is none", func(p *pieces) { p.spki = tlv(0x30, p.inner) }, "public key"},
		{"RSA with parameters", func(p *pieces) {
			p.spki = tlv(0x30, tlv(0x30, unhex(t, "06092a864886f70d0101010101ff")), p.spki[18:])
		}, "public key"},
		{"RSA without numbers", func(p *pieces) { p.spki = tlv(0x30, unhex(t, "300d06092a864886f70d0101010500 03020000")) }, "public key"},
		{"more behind the key", func(p *pieces) { p.spki = tlv(0x30, unhex(t, ed25519Key)[2:], []byte{5, 0}) }, "public key"},
		{"an empty list of extensions", func(p *pieces) { p.extensions = listOf() }, "extensions"},
		{"more behind the list", func(p *pieces) { p.extensions = tlv(0xa3, tlv(0x30, ext(99, nil)), []byte{5, 0}) }, "extensions"},
		{"more behind all", func(p *pieces) { p.behind = []byte{5, 0} }, "more behind the extensions"},
		{"an extension twice", func(p *pieces) { p.extensions = listOf(ext(99, nil), ext(98, nil), ext(99, []byte{1})) }, "extension 2.5.29.99 twice"},
		{"33 extensions", func(p *pieces) { p.extensions = manyExtensions(33) }, "too many extensions"},
		{"more behind an extension", func(p *pieces) { p.extensions = listOf(tlv(0x30, unhex(t, "0603551d63 0400 0500"))) }, "an extension"},
		{"critical as 1", func(p *pieces) { p.extensions = listOf(tlv(0x30, unhex(t, "0603551d63 010101 0400"))) }, "an extension"},
		{"not critical, in words", func(p *pieces) { p.extensions = listOf(tlv(0x30, unhex(t, "0603551d63 010100 0400"))) }, "an extension"},
		{"basic constraints with more", func(p *pieces) { p.extensions = listOf(ext(19, unhex(t, "30030101ff0500"))) }, "extension 2.5.29.19"},
		{"a path length with more", func(p *pieces) { p.extensions = listOf(ext(19, unhex(t, "30080101ff0201030500"))) }, "extension 2.5.29.19"},
		{"a negative path length", func(p *pieces) { p.extensions = listOf(ext(19, unhex(t, "30060101ff0201ff"))) }, "extension 2.5.29.19"},
		{"a path length of 2^31", func(p *pieces) { p.extensions = listOf(ext(19, unhex(t, "300a0101ff02050080000000"))) }, "extension 2.5.29.19"},
		{"a usage with more", func(p *pieces) { p.extensions = listOf(ext(15, unhex(t, "030207800500"))) }, "extension 2.5.29.15"},
		{"a usage of three octets", func(p *pieces) { p.extensions = listOf(ext(15, unhex(t, "030400800001"))) }, "extension 2.5.29.15"},
		{"a usage with zeros behind", func(p *pieces) { p.extensions = listOf(ext(15, unhex(t, "03020080"))) }, "extension 2.5.29.15"},
		{"a usage whose rest is set", func(p *pieces) { p.extensions = listOf(ext(15, unhex(t, "030207c0"))) }, "extension 2.5.29.15"},
		{"a usage with eight unused bits", func(p *pieces) { p.extensions = listOf(ext(15, unhex(t, "03020800"))) }, "extension 2.5.29.15"},
		{"a tenth usage", func(p *pieces) { p.extensions = listOf(ext(15, unhex(t, "0303068040"))) }, "extension 2.5.29.15"},
		{"no octets of usage", func(p *pieces) { p.extensions = listOf(ext(15, unhex(t, "0300"))) }, "extension 2.5.29.15"},
		{"no purposes", func(p *pieces) { p.extensions = listOf(ext(37, unhex(t, "3000"))) }, "extension 2.5.29.37"},
		{"17 purposes", func(p *pieces) { p.extensions = listOf(ext(37, tlv(0x30, bytes.Repeat([]byte{6, 1, 42}, 17)))) }, "extension 2.5.29.37"},
		{"a key identifier with more", func(p *pieces) { p.extensions = listOf(ext(14, unhex(t, "0401aa0500"))) }, "extension 2.5.29.14"},
		{"a critical key identifier", func(p *pieces) { p.extensions = listOf(criticalExt(14, unhex(t, "0401aa"))) }, "extension 2.5.29.14"},
		{"a critical identifier of the issuer's key", func(p *pieces) { p.extensions = listOf(criticalExt(35, unhex(t, "30038001aa"))) }, "extension 2.5.29.35"},
		{"an identifier of the issuer's key with more", func(p *pieces) { p.extensions = listOf(ext(35, unhex(t, "30058001aa0500"))) }, "extension 2.5.29.35"},
		{"more behind an identifier of the issuer's key", func(p *pieces) { p.extensions = listOf(ext(35, unhex(t, "30038001aa0500"))) }, "extension 2.5.29.35"},
		{"no names", func(p *pieces) { p.extensions = listOf(ext(17, unhex(t, "3000"))) }, "extension 2.5.29.17"},
		{"a name in DNS that is not ASCII", func(p *pieces) { p.extensions = listOf(ext(17, unhex(t, "30038201ff"))) }, "extension 2.5.29.17"},
		{"17 names in DNS", func(p *pieces) { p.extensions = listOf(ext(17, tlv(0x30, bytes.Repeat([]byte{0x82, 1, 'a'}, 17)))) }, "extension 2.5.29.17"},
		{"a signature of bits", func(p *pieces) { p.signature = unhex(t, "03020480") }, "signature"},
		{"more behind the signature", func(p *pieces) { p.signature = append(p.signature, 5, 0) }, "signature"},
	} {
		p := goodPieces(t)
		tt.change(p)
		_, err := certpath.ParseCertificate(p.der())
		if !errors.Is(err, certpath.ReasonParse) || !strings.Contains(err.Error(), certpath.ReasonParse.Error()+": "+tt.says) {
			t.Errorf("%s: %v, want one that says %q", tt.name, err, tt.says)
		}
	}
	good := goodPieces(t).der()
	for i := range good {
		if _, err := certpath.ParseCertificate(good[:i]); !errors.Is(err, certpath.ReasonParse) {
			t.Fatalf("the first %d octets: %v", i, err)
		}
	}
	// The longest, and one octet more.
	p := goodPieces(t)
	p.extensions = listOf(ext(99, make([]byte, 10000)))
	p.extensions = listOf(ext(99, make([]byte, 10000+certpath.MaxOctets-len(p.der()))))
	if _, err := certpath.ParseCertificate(p.der()); err != nil || len(p.der()) != certpath.MaxOctets {
		t.Errorf("%d octets: %v", len(p.der()), err)
	}
	p.signature = tlv(3, []byte{0, 1, 2, 3, 4})
	if _, err := certpath.ParseCertificate(p.der()); !errors.Is(err, certpath.ReasonParse) {
		t.Errorf("%d octets: %v", len(p.der()), err)
	}
	if _, err := certpath.ParseCertificate(append(good, 0)); !errors.Is(err, certpath.ReasonParse) {
		t.Error("an octet behind it")
	}
}

// Names read as usual, and cannot drive a terminal (RFC 4514).
func TestNameForPeople(t *testing.T) {
	for _, tt := range []struct {
		name []byte
		want string
	}{
		{nameOf(), ""},
		{nameOf(part(6, 0x13, "DE"), part(10, 0x13, "Roamkey"), part(3, 0x13, "router 1")), "CN=router 1,O=Roamkey,C=DE"},
		{nameOf(part(8, 0x13, "a"), part(9, 0x13, "b"), part(7, 0x13, "c"), part(17, 0x12, "1"), part(5, 0x13, "2")), "SERIALNUMBER=2,POSTALCODE=1,L=c,STREET=b,ST=a"},
		{nameOf(tlv(0x31, part(3, 0x13, "a")[2:], part(11, 0x13, "b")[2:])), "CN=a+OU=b"},
		{nameOf(part(3, 0x0c, ` a,b+"c"\<d>;# `)), `CN=\ a\,b\+\"c\"\\\<d\>\;#\ `},
		{nameOf(part(3, 0x0c, "#a")), `CN=\#a`},
		{nameOf(part(3, 0x0c, "\x1b[2Jevil\u202e\n")), `CN=\1B[2Jevil\E2\80\AE\0A`},
		{nameOf(part(3, 0x14, "caf\xe9")), `CN=caf\C3\A9`},
		{nameOf(part(3, 0x1e, "\x00a\x20\xac\x00\x00")), `CN=a\E2\82\AC`},
		{nameOf(part(65, 0x13, "x")), "2.5.4.65=#130178"},
		{nameOf(tlv(0x31, tlv(0x30, unhex(t, "06092a864886f70d010901 1601 61")))), "1.2.840.113549.1.9.1=#160161"},
		{nameOf(part(3, 0x13, strings.Repeat("x", 600))), "CN=" + strings.Repeat("x", 509) + "..."},
	} {
		p := goodPieces(t)
		p.subject = tt.name
		c, err := certpath.ParseCertificate(p.der())
		if err != nil {
			t.Errorf("%s: %v", tt.want, err)
			continue
		}
		if got := c.Subject.String(); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
		// Without characters that are written in hex, and the cut, x509 has the same text for it.
		var parts pkix.RDNSequence
		if _, err := asn1.Unmarshal(tt.name, &parts); err != nil {
			t.Fatal(err)
		}
		if theirs := parts.String(); theirs != tt.want && !strings.ContainsFunc(theirs, func(r rune) bool { return r < ' ' || r > '~' }) &&
			!strings.HasSuffix(tt.want, "...") && !strings.Contains(tt.want, "#16") {
			t.Errorf("%s, x509 says %s", tt.want, theirs)
		}
	}
}

// Object identifiers and algorithms have the names that people know.
func TestAlgorithmNames(t *testing.T) {
	for der, want := range map[string]string{
		"2a864886f70d010105": "SHA1-RSA", "2a864886f70d01010b": "SHA256-RSA", "2a864886f70d01010c": "SHA384-RSA",
		"2a864886f70d01010d": "SHA512-RSA", "2a864886f70d010101": "RSA", "2a8648ce3d0201": "ECDSA", "2b6570": "Ed25519",
		"00": "0.0", "27": "0.39", "28": "1.0", "50": "2.0", "8837": "2.999", "5501": "2.5.1", "2a87ffffff7f": "1.2.2147483647",
	} {
		if got := certpath.Algorithm(unhex(t, der)).String(); got != want {
			t.Errorf("%s: %s, want %s", der, got, want)
		}
	}
}

// Reading costs a few allocations, and a claim of more than there is costs none of its size.
func TestParseCertificateAllocations(t *testing.T) {
	der := goodPieces(t).der()
	if n := testing.AllocsPerRun(100, func() { _, _ = certpath.ParseCertificate(der) }); n > 40 {
		t.Errorf("%v allocations", n)
	}
	began := time.Now()
	huge := append([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, der...)
	if n := testing.AllocsPerRun(100, func() { _, _ = certpath.ParseCertificate(huge) }); n > 10 || time.Since(began) > time.Second {
		t.Errorf("%v allocations for a length that is not there", n)
	}
}

// FuzzCertificate holds what is read here against x509: it takes all of that, and finds the same.
func FuzzCertificate(f *testing.F) {
	for _, tt := range takenRows {
		p := goodPieces(f)
		tt.change(f, p)
		f.Add(p.der())
	}
	captured, _ := capturedCertificate(f)
	f.Add(captured)
	f.Add(newAnchor(f, "anchor").cert.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		against(t, der)
		ours, err := certpath.ParseCertificate(der)
		if err != nil {
			return
		}
		for _, name := range []string{ours.Subject.String(), ours.Issuer.String()} {
			if len(name) > 515 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("the text of a name: %q", name)
			}
		}
	})
}
