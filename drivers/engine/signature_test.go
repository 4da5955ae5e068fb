package engine

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/ndp"
)

func spkiOf(t testing.TB, key *rsa.PrivateKey) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

func newKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := GenerateKey(bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// RFC 3971 section 5.2: RSASSA-PKCS1-v1_5 with SHA-1. The signature is deterministic, so that it can be compared with one
// that was put together by hand: 00 01 FF ... 00 | DigestInfo | digest.
func TestSign(t *testing.T) {
	key := vectorKey(t)
	digest := sha1.Sum([]byte("a message"))
	signature, err := NewSoftware(nil, key, PKCS1v15, rand.Reader).Sign(digest)
	if err != nil {
		t.Fatal(err)
	}
	em := append(bytes.Repeat([]byte{0xff}, key.Size()-36), 0)
	em[0], em[1] = 0, 1
	em = append(em, unhex(t, "3021300906052b0e03021a05000414")...)
	em = append(em, digest[:]...)
	want := new(big.Int).Exp(new(big.Int).SetBytes(em), key.D, key.N).FillBytes(make([]byte, key.Size()))
	if !bytes.Equal(signature, want) {
		t.Errorf("got  %x\nwant %x", signature, want)
	}
	if _, err := NewSoftware(key, nil, PKCS1v15, rand.Reader).Sign(digest); err == nil {
		t.Error("signed with LKE's key, or with none")
	}
}

func TestVerify(t *testing.T) {
	key := vectorKey(t)
	other := newKey(t, 1024)
	digest := sha1.Sum([]byte("a message"))
	s := NewSoftware(nil, key, PKCS1v15, rand.Reader)
	signature, err := s.Sign(digest)
	if err != nil {
		t.Fatal(err)
	}
	spki := spkiOf(t, key)
	changed := func(b []byte, i int) []byte { b = bytes.Clone(b); b[i] ^= 1; return b }
	ofSHA256, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	evenModulus := bytes.Clone(spki)
	evenModulus[len(evenModulus)-6] &^= 1 // the last octet before the exponent 02 03 01 00 01
	small := spkiOf(t, smallKey(t))
	for _, c := range []struct {
		name            string
		spki, signature []byte
		digest          [DigestLen]byte
		want            bool
	}{
		{"right", spki, signature, digest, true},
		{"right, from the cache", spki, signature, digest, true},
		{"another digest", spki, signature, sha1.Sum([]byte("another message")), false},
		{"another key", spkiOf(t, other), signature, digest, false},
		{"first octet changed", spki, changed(signature, 0), digest, false},
		{"last octet changed", spki, changed(signature, 127), digest, false},
		{"an octet short", spki, signature[:127], digest, false},
		{"padding behind", spki, append(bytes.Clone(signature), 0), digest, false},
		{"no signature", spki, nil, digest, false},
		{"of another hash", spki, ofSHA256, digest, false},
		{"no key", nil, signature, digest, false},
		{"octets after the key", append(bytes.Clone(spki), 0), signature, digest, false},
		{"key cut", spki[:len(spki)-1], signature, digest, false},
		{"even modulus", evenModulus, signature, digest, false},
		{"512 bits", small, signature[:64], digest, false},
		{"right, at the end", spki, signature, digest, true},
	} {
		if got := s.Verify(c.spki, c.digest, c.signature); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// The cache is bounded, forgets the key that was used longest ago, keeps none that cannot be used, and its octets are its
// own.
func TestPublicKeysAreKept(t *testing.T) {
	key := vectorKey(t)
	var k publicKeys
	spki := func(i int) []byte { // the modulus differs; it need not be a product of primes
		n := new(big.Int).Sub(key.N, big.NewInt(int64(2*i)))
		b, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: n.Bytes(), Exponent: key.E})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	get := func(i int) *rsa.PublicKey {
		t.Helper()
		b := spki(i)
		p, err := k.get(b)
		clear(b)
		if err != nil {
			t.Fatal(err)
		}
		if want := new(big.Int).Sub(key.N, big.NewInt(int64(2*i))); p.N.Cmp(want) != 0 || p.E != key.E {
			t.Fatalf("key %d is another one", i)
		}
		return p
	}
	first := get(0)
	for i := 1; i < maxPublicKeys; i++ {
		get(i)
	}
	if get(0) != first {
		t.Error("the key was read again")
	}
	for range 200 {
		if _, err := k.get([]byte{1}); err == nil {
			t.Error("an octet passed for a key")
		}
	}
	second := k.keys[string(spki(1))]
	get(maxPublicKeys) // pushes out key 1, for key 0 was used since
	if len(k.keys) != maxPublicKeys {
		t.Errorf("%d keys are kept", len(k.keys))
	}
	if get(0) != first || k.keys[string(spki(1))] == second {
		t.Error("not the key that was used longest ago is forgotten")
	}
}

// HK-AR-6: a handover key is encrypted under the key of the request, so that the node alone reads it (RFC 5269 section 4.2,
// RSAES-PKCS1-v1_5).
func TestEncrypt(t *testing.T) {
	key := vectorKey(t)
	s := NewSoftware(nil, nil, PKCS1v15, rand.Reader)
	plain := []byte("0123456789abcdef0123456789abcdef")
	ciphertext, err := s.Encrypt(spkiOf(t, key), plain)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(plain))
	if err := rsa.DecryptPKCS1v15SessionKey(nil, key, ciphertext, got); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("decrypted to %q, %v", got, err)
	}
	again, err := s.Encrypt(spkiOf(t, key), plain)
	if err != nil || bytes.Equal(again, ciphertext) {
		t.Errorf("the same ciphertext twice (%v)", err)
	}
	if _, err := s.Encrypt(spkiOf(t, key), make([]byte, 128-10)); err == nil {
		t.Error("encrypted more than the padding leaves room for")
	}
	if _, err := s.Encrypt(append(spkiOf(t, key), 0), plain); err == nil {
		t.Error("encrypted for a key with octets behind it")
	}
	if len(s.keys.keys) != 0 {
		t.Error("a key that encrypts pushes out those that verify")
	}
}

// Each operation by the engine, right and wrong: a wrong job is done, told and counted, never dropped in silence.
func TestEngineDoesAllOperations(t *testing.T) {
	lke, send := vectorKey(t), newKey(t, 1024)
	e := New(NewSoftware(lke, send, PKCS1v15, rand.Reader), 1, 64)
	defer e.Close()
	job := uint64(0)
	done := func(j Job) Result {
		t.Helper()
		job++
		j.Ticket = Ticket{Owner: 1 << 31, Job: job}
		j.Source = ipv6.LinkAddr{2}
		if _, dropped := e.Submit(j); dropped {
			t.Fatal("dropped")
		}
		select {
		case r := <-e.Results():
			if r.Ticket != j.Ticket || r.Op != j.Op {
				t.Fatalf("result of %v %v for %v %v", r.Op, r.Ticket, j.Op, j.Ticket)
			}
			if !r.OK && r.Octets != nil {
				t.Errorf("%v failed with octets", r.Op)
			}
			return r
		case <-time.After(10 * time.Second):
			t.Fatal("no result")
			panic("")
		}
	}
	digest := sha1.Sum([]byte("a message"))
	signature := done(Job{Op: Sign, Octets: digest[:]}).Octets
	if rsa.VerifyPKCS1v15(&send.PublicKey, crypto.SHA1, digest[:], signature) != nil {
		t.Error("not signed with the key of SEND")
	}
	kept := bytes.Clone(signature)
	ciphertext := done(Job{Op: Encrypt, PublicKey: spkiOf(t, lke), Octets: []byte("0123456789abcdef")}).Octets
	if r := done(Job{Op: Decrypt, Octets: ciphertext}); string(r.Key[:]) != "0123456789abcdef" {
		t.Errorf("decrypted to %q", r.Key)
	}
	if !bytes.Equal(signature, kept) {
		t.Error("a result changed after it was given away")
	}
	for _, c := range []struct {
		name string
		job  Job
		ok   bool
	}{
		{"verify", Job{Op: Verify, PublicKey: spkiOf(t, send), Octets: digest[:], Signature: signature}, true},
		{"verify a wrong one", Job{Op: Verify, PublicKey: spkiOf(t, send), Octets: digest[:], Signature: signature[1:]}, false},
		{"verify another digest", Job{Op: Verify, PublicKey: spkiOf(t, send), Octets: make([]byte, DigestLen), Signature: signature}, false},
		{"verify a short digest", Job{Op: Verify, PublicKey: spkiOf(t, send), Octets: digest[1:], Signature: signature}, false},
		{"verify without a key", Job{Op: Verify, Octets: digest[:], Signature: signature}, false},
		{"verify with a key beyond bounds", Job{Op: Verify, PublicKey: make([]byte, 601), Octets: digest[:], Signature: signature}, false},
		{"verify a signature beyond bounds", Job{Op: Verify, PublicKey: spkiOf(t, send), Octets: digest[:], Signature: make([]byte, 513)}, false},
		{"sign a short digest", Job{Op: Sign, Octets: digest[1:]}, false},
		{"sign nothing", Job{Op: Sign}, false},
		{"encrypt too much", Job{Op: Encrypt, PublicKey: spkiOf(t, lke), Octets: make([]byte, 120)}, false},
		{"encrypt beyond bounds", Job{Op: Encrypt, PublicKey: spkiOf(t, lke), Octets: make([]byte, 513)}, false},
		{"decrypt beyond bounds", Job{Op: Decrypt, Octets: make([]byte, 513)}, true},
		{"an operation that is none", Job{Op: opCount, Octets: digest[:]}, false},
	} {
		if r := done(c.job); r.OK != c.ok {
			t.Errorf("%s: %v", c.name, r.OK)
		}
	}
	counts := make(map[string]uint64)
	e.Counters(func(name string, value uint64) { counts[name] = value })
	for name, want := range map[string]uint64{
		"engine_submitted": 16, "engine_decrypted": 2, "engine_signed": 1, "engine_verified": 1, "engine_encrypted": 1, "engine_failed": 11, "engine_dropped": 0,
	} {
		if counts[name] != want {
			t.Errorf("%s = %d, want %d", name, counts[name], want)
		}
	}
}

// 4096 bits, the longest key, fits the bounds of a job.
func TestBoundsFitTheLongestKey(t *testing.T) {
	n := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), MaxBits), big.NewInt(1))
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: n.Bytes(), Exponent: 1<<31 - 1})
	if err != nil {
		t.Fatal(err)
	}
	if j := (Job{Octets: make([]byte, MaxBits/8), PublicKey: spki, Signature: make([]byte, MaxBits/8)}); !j.fits() {
		t.Errorf("a key of %d octets does not fit", len(spki))
	}
}

func TestSignRate(t *testing.T) {
	s := NewSoftware(nil, vectorKey(t), PKCS1v15, rand.Reader)
	if r := SignRate(s, 1, 50*time.Millisecond); r <= 0 {
		t.Errorf("rate %v", r)
	}
	if r := SignRate(NewSoftware(nil, nil, PKCS1v15, rand.Reader), 1, time.Hour); r != 0 {
		t.Errorf("rate %v without a key", r)
	}
}

// lke.key only decrypts and send.key only signs.
func TestSeparateKeys(t *testing.T) {
	a, b := vectorKey(t), newKey(t, 1024)
	for _, c := range []struct {
		lke, send *rsa.PrivateKey
		want      error
	}{{a, b, nil}, {a, a, ErrSameKey}, {a, vectorKey(t), ErrSameKey}, {nil, a, nil}, {a, nil, nil}, {nil, nil, nil}} {
		if err := SeparateKeys(c.lke, c.send); err != c.want {
			t.Errorf("%v", err)
		}
	}
}
