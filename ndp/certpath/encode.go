package certpath

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"io"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/roamkey/roamkey/ndp"
)

// contents is a certificate that is to be signed (RFC 5280 section 4.1).
type contents struct {
	serial          []byte // big-endian, positive, in its shortest form
	issuer, subject []byte // names, DER
	from, until     time.Time
	spki            []byte
	addresses       []byte // blocks, DER
	extensions      []func(b *cryptobyte.Builder)
}

// contents gives what all certificates of this package have: names, times, key, addresses.
func (r Request) contents(rand io.Reader, key *rsa.PublicKey) (*contents, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	blocks := AddressBlocks{Set: NewAddressSet(r.Prefixes...)}
	blocks.Inherit = blocks.Set.IsEmpty()
	addresses, err := blocks.Marshal()
	if err != nil {
		return nil, err
	}
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		return nil, err
	}
	c := &contents{serial: make([]byte, 16), from: r.NotBefore.UTC(), until: r.NotAfter.UTC(), spki: spki, addresses: addresses}
	if _, err := io.ReadFull(rand, c.serial); err != nil {
		return nil, err
	}
	c.serial[0] = c.serial[0]&0x7f | 0x40 // positive, and of one length
	if c.subject, err = commonName(r.Name); err != nil {
		return nil, err
	}
	return c, nil
}

// commonName gives a name of one part, a PrintableString (RFC 6487 section 4.4).
func commonName(name string) ([]byte, error) {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addOID(b, oidCommonName)
				b.AddASN1(asn1.PrintableString, func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
			})
		})
	})
	return b.Bytes()
}

// add adds an extension.
func (c *contents) add(oid OID, critical bool, value func(b *cryptobyte.Builder)) {
	c.extensions = append(c.extensions, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addOID(b, oid)
			if critical {
				b.AddASN1Boolean(true)
			}
			b.AddASN1(asn1.OCTET_STRING, value)
		})
	})
}

// addKeyUsage adds a key usage of up to eight bits, of which so many behind the last one that is set are left out.
func (c *contents) addKeyUsage(unused, bits uint8) {
	c.add(oidKeyUsage, true, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.BIT_STRING, func(b *cryptobyte.Builder) { b.AddBytes([]byte{unused, bits}) })
	})
}

// addLast adds what all certificates have behind their other extensions: identifiers of their key and of the issuer's, nil for
// their own, and the addresses.
func (c *contents) addLast(issuerKeyID []byte) {
	c.add(oidSubjectKeyID, false, func(b *cryptobyte.Builder) { b.AddASN1OctetString(keyID(c.spki)) })
	if issuerKeyID != nil {
		c.add(oidAuthorityKeyID, false, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(issuerKeyID) })
			})
		})
	}
	c.add(oidAddressBlocks, true, func(b *cryptobyte.Builder) { b.AddBytes(c.addresses) })
}

// sign gives the certificate, signed by sha256WithRSAEncryption (RFC 6485 section 2).
func (c *contents) sign(key *rsa.PrivateKey) ([]byte, error) {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1.SEQUENCE, c.write)
	signed, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(signed)
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		return nil, err
	}
	b = cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(signed)
		addAlgorithm(b)
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}

func (c *contents) write(b *cryptobyte.Builder) {
	b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) }) // version 3
	b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(c.serial) })
	addAlgorithm(b)
	b.AddBytes(c.issuer)
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addTime(b, c.from)
		addTime(b, c.until)
	})
	b.AddBytes(c.subject)
	b.AddBytes(c.spki)
	b.AddASN1(asn1.Tag(3).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, add := range c.extensions {
				add(b)
			}
		})
	})
}

func addAlgorithm(b *cryptobyte.Builder) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, oidSHA256WithRSA)
		b.AddASN1NULL()
	})
}

// addTime adds a time as RFC 5280 section 4.1.2.5 has it: with two digits of the year until 2049, with four from then on.
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t.Year() >= 1950 && t.Year() < 2050 {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
}
