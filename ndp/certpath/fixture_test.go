package certpath_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ndp/certpath"
)

var (
	wall     = time.Date(2026, 11, 20, 14, 31, 10, 0, time.UTC)
	oidIP    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 7}
	oidSend  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 23}
	oidOwner = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 25}
)

var keys struct {
	sync.Mutex
	made map[string]*rsa.PrivateKey
}

// keyOf gives the RSA key of a name, the same all the time.
func keyOf(t testing.TB, name string) *rsa.PrivateKey { return keyOfBits(t, name, 1024) }

func keyOfBits(t testing.TB, name string, bits int) *rsa.PrivateKey {
	t.Helper()
	keys.Lock()
	defer keys.Unlock()
	if keys.made[name] == nil {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		if keys.made == nil {
			keys.made = make(map[string]*rsa.PrivateKey)
		}
		keys.made[name] = key
	}
	return keys.made[name]
}

// node is somebody with a certificate.
type node struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

func (n node) anchors() []certpath.Anchor {
	cert, err := certpath.ParseCertificate(n.cert.Raw)
	if err != nil {
		panic(err)
	}
	return []certpath.Anchor{{Certificate: cert}}
}

// addressBlocks gives the extension for prefixes, "inherit" for none.
func addressBlocks(t testing.TB, list ...netip.Prefix) pkix.Extension {
	t.Helper()
	blocks := certpath.AddressBlocks{Inherit: len(list) == 0, Set: certpath.NewAddressSet(list...)}
	der, err := blocks.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: oidIP, Critical: true, Value: der}
}

// newAnchor makes an anchor for 2001:db8::/32 and fd00::/8 that is valid around wall.
func newAnchor(t testing.TB, name string) node {
	t.Helper()
	key := keyOf(t, name)
	der, err := certpath.NewAnchor(rand.Reader, key, certpath.Request{
		Name: name, Prefixes: prefixes("2001:db8::/32", "fd00::/8"), NotBefore: wall.AddDate(-1, 0, 0), NotAfter: wall.AddDate(1, 0, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	return node{read(t, der), key}
}

// read gives a certificate as x509 reads it, which is as it is read here.
func read(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := certpath.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, ours, cert)
	return cert
}

// issue gives name a certificate with all that RFC 6494 wants, but for what change makes of it. Its key is that of the name, or
// of RSA 1024 bits otherwise. A profile of an authority is made by authority.
func (n node) issue(t testing.TB, name string, list []netip.Prefix, change ...func(*x509.Certificate)) node {
	t.Helper()
	key := keyOf(t, name)
	template := &x509.Certificate{
		SerialNumber:       big.NewInt(7),
		Subject:            pkix.Name{CommonName: name},
		NotBefore:          wall.Add(-time.Hour),
		NotAfter:           wall.Add(time.Hour),
		KeyUsage:           x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{oidSend},
		SubjectKeyId:       certpath.KeyID(spki(t, &key.PublicKey)),
		ExtraExtensions:    []pkix.Extension{addressBlocks(t, list...)},
		SignatureAlgorithm: x509.SHA256WithRSA,
	}
	for _, c := range change {
		c(template)
	}
	return n.sign(t, template, &key.PublicKey, key)
}

func (n node) sign(t testing.TB, template *x509.Certificate, public any, key *rsa.PrivateKey) node {
	t.Helper()
	parent := *n.cert
	parent.PublicKey = &n.key.PublicKey // or else x509 would make no certificate for an impostor
	der, err := x509.CreateCertificate(rand.Reader, template, &parent, public, n.key)
	if err != nil {
		t.Fatal(err)
	}
	return node{read(t, der), key}
}

// as gives n as it would be with another certificate.
func (n node) as(change func(*x509.Certificate)) node {
	cert := *n.cert
	change(&cert)
	return node{&cert, n.key}
}

func spki(t testing.TB, key *rsa.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// authority makes a certificate one of an authority.
func authority(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid, c.MaxPathLen = true, true, -1
	c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	c.UnknownExtKeyUsage = nil
}

// bare leaves out all that certificates from before RFC 6494 had not.
func bare(c *x509.Certificate) {
	c.KeyUsage, c.UnknownExtKeyUsage, c.SubjectKeyId = 0, nil, nil
}

func der(nodes ...node) [][]byte {
	var all [][]byte
	for _, n := range nodes {
		all = append(all, n.cert.Raw)
	}
	return all
}

// prefixOf gives the /64 of an address.
func prefixOf(a [16]byte) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom16(a), 64) }

func samePrefixes(got []netip.Prefix, want ...string) bool {
	return slices.Equal(got, prefixes(want...))
}
