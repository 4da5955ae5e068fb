package engine

import (
	"crypto/rsa"
	"errors"
	"math"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The private key structures are read and written here rather than by crypto/x509: it is most of a megabyte in a router's
// flash.

var (
	errPKCS8  = errors.New("not a PKCS #8 private key (RFC 5208 section 5)")
	errPKCS1  = errors.New("not an RSA private key (RFC 8017 appendix A.1.2)")
	errNotRSA = errors.New("a private key, but not an RSA key: make one with roamkeyd keygen")
)

// oidRSA is rsaEncryption, 1.2.840.113549.1.1.1, as the contents of an OBJECT IDENTIFIER.
const oidRSA = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"

func parsePKCS8(der []byte) (*rsa.PrivateKey, error) {
	input := cryptobyte.String(der)
	var info, algorithm, oid, key cryptobyte.String
	var version int
	if !input.ReadASN1(&info, asn1.SEQUENCE) || !input.Empty() ||
		!info.ReadASN1Integer(&version) || version < 0 || version > 1 ||
		!info.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) ||
		!info.ReadASN1(&key, asn1.OCTET_STRING) {
		return nil, errPKCS8
	}
	if string(oid) != oidRSA {
		return nil, errNotRSA
	}
	return parsePKCS1(key)
}

func parsePKCS1(der []byte) (*rsa.PrivateKey, error) {
	input := cryptobyte.String(der)
	var fields cryptobyte.String
	var version int
	if !input.ReadASN1(&fields, asn1.SEQUENCE) || !input.Empty() || !fields.ReadASN1Integer(&version) {
		return nil, errPKCS1
	}
	if version != 0 {
		return nil, errors.New("an RSA key with more than two primes cannot be used")
	}
	var n, e, d, p, q, dp, dq, qinv big.Int
	for _, v := range []*big.Int{&n, &e, &d, &p, &q, &dp, &dq, &qinv} {
		if !fields.ReadASN1Integer(v) || v.Sign() <= 0 {
			return nil, errPKCS1
		}
	}
	if !fields.Empty() || !e.IsInt64() || e.Int64() > math.MaxInt32 {
		return nil, errPKCS1
	}
	// The last three follow from the others; Precompute makes them.
	return &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: &n, E: int(e.Int64())},
		D:         &d,
		Primes:    []*big.Int{&p, &q},
	}, nil
}

func marshalPKCS8(key *rsa.PrivateKey) ([]byte, error) {
	if len(key.Primes) != 2 {
		return nil, errors.New("an RSA key with more than two primes cannot be saved")
	}
	key.Precompute()
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(oidRSA)) })
			b.AddASN1NULL()
		})
		b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(0)
				b.AddASN1BigInt(key.N)
				b.AddASN1Int64(int64(key.E))
				for _, v := range []*big.Int{key.D, key.Primes[0], key.Primes[1], key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv} {
					b.AddASN1BigInt(v)
				}
			})
		})
	})
	return b.Bytes()
}
