package engine

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
)

// keyExchangeData is the Key Exchange Data of a Key Exchange Request that an independent implementation made, under the key
// of testdata/key1024.pem. It holds keyExchanged.
const (
	keyExchangeData = "2345631590b1f285ff2117e580af327b611859619ab0279697bf95b3482fe05587a05920c61202f7b581f7e491a83db9217301786707f52617aaf4ed9cc0a885b64153c9123ec32654a7f5866ec29545aad3d2c7bec86b464b73dc2fcd646646b9fad1a6ecff0e8b3b30f848c6e1fc578caf855c3fad5481a510d476b4a36998"
	keyExchanged    = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vectorKey reads the key of the vectors. A checkout does not keep file modes.
func vectorKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := parseKey(readFile(t, "testdata/key1024.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// LKE-AR-6: the Key Exchange Data is decrypted to the 16 octets of Kbm.
func TestDecryptVector(t *testing.T) {
	var key [KeyLen]byte
	NewSoftware(vectorKey(t), nil, PKCS1v15, rand.Reader).Decrypt(&key, unhex(t, keyExchangeData))
	if hex.EncodeToString(key[:]) != keyExchanged {
		t.Errorf("got %x, want %s", key, keyExchanged)
	}
}

// wrong gives ciphertexts that hold no key of 16 octets, by what is wrong with them.
func wrong(t testing.TB, key *rsa.PrivateKey) map[string][]byte {
	t.Helper()
	size := key.Size()
	raw := func(em []byte) []byte { // the textbook operation on a padded message of our own
		c := new(big.Int).Exp(new(big.Int).SetBytes(em), big.NewInt(int64(key.E)), key.N)
		return c.FillBytes(make([]byte, size))
	}
	padded := func(octets int) []byte { // 00 02 | nonzero octets | 00 | message
		em := bytes.Repeat([]byte{0x5a}, size)
		em[0], em[1], em[size-octets-1] = 0, 2, 0
		return em
	}
	blockType := padded(KeyLen)
	blockType[1] = 1
	noSeparator := padded(KeyLen)
	noSeparator[size-KeyLen-1] = 7
	earlyZero := padded(KeyLen)
	earlyZero[5] = 0
	valid := raw(padded(KeyLen))
	above := key.N.FillBytes(make([]byte, size))
	return map[string][]byte{
		"block type 1":             raw(blockType),
		"no separator":             raw(noSeparator),
		"zero in the padding":      raw(earlyZero),
		"15 octets":                raw(padded(KeyLen - 1)),
		"17 octets":                raw(padded(KeyLen + 1)),
		"empty message":            raw(padded(0)),
		"nothing":                  nil,
		"an octet short":           valid[1:],
		"an octet long":            append([]byte{1}, valid...),
		"the modulus":              above,
		"zero":                     make([]byte, size),
		"far too long":             make([]byte, 4*maxOctets),
		"random":                   raw(bytes.Repeat([]byte{0x11}, size)),
		"another key's ciphertext": bytes.Repeat([]byte{0x42}, size),
	}
}

// LKE-AR-6, LKE-resolution-a: whatever is wrong, the key is what the random source gave, as if there had been nothing to
// decrypt, and the caller learns no more.
func TestWrongCiphertextGivesRandomOctets(t *testing.T) {
	key := vectorKey(t)
	for name, ciphertext := range wrong(t, key) {
		octets := bytes.Repeat([]byte{0xc3}, KeyLen)
		var got [KeyLen]byte
		// crypto/rsa may read from the source on its own account after we did.
		NewSoftware(key, nil, PKCS1v15, io.MultiReader(bytes.NewReader(octets), rand.Reader)).Decrypt(&got, ciphertext)
		if !bytes.Equal(got[:], octets) {
			t.Errorf("%s: got %x, not the random octets", name, got)
		}
		var a, b [KeyLen]byte
		d := NewSoftware(key, nil, PKCS1v15, rand.Reader)
		d.Decrypt(&a, ciphertext)
		d.Decrypt(&b, ciphertext)
		if a == b {
			t.Errorf("%s: the same key twice", name)
		}
	}
}

// LKE-AR-6: no counter and no result tells a right ciphertext from a wrong one.
func TestEngineDoesNotTellErrorsApart(t *testing.T) {
	key := vectorKey(t)
	e := New(NewSoftware(key, nil, PKCS1v15, rand.Reader), 1, 64)
	defer e.Close()
	ciphertexts := wrong(t, key)
	ciphertexts["right"] = unhex(t, keyExchangeData)
	type count struct {
		name  string
		value uint64
	}
	counters := func() (all []count) {
		e.Counters(func(name string, value uint64) { all = append(all, count{name, value}) })
		return all
	}
	var first []count
	for name, ciphertext := range ciphertexts {
		before := counters()
		e.Submit(Job{Ticket: Ticket{Owner: 5, Job: 1}, Source: ipv6.LinkAddr{2}, Octets: ciphertext})
		if r := <-e.Results(); r.Ticket != (Ticket{Owner: 5, Job: 1}) || !r.OK || r.Octets != nil {
			t.Fatalf("%s: result of job %v, %v", name, r.Ticket, r.OK)
		}
		after := counters()
		for i := range after {
			after[i].value -= before[i].value
		}
		if first == nil {
			first = after
		}
		if !slices.Equal(after, first) {
			t.Errorf("%s: counted as %v, others as %v", name, after, first)
		}
	}
}

// A Decrypter serves several workers at once.
func TestDecryptConcurrently(t *testing.T) {
	d, ciphertext := NewSoftware(vectorKey(t), nil, PKCS1v15, rand.Reader), unhex(t, keyExchangeData)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				var key [KeyLen]byte
				if d.Decrypt(&key, ciphertext); hex.EncodeToString(key[:]) != keyExchanged {
					t.Errorf("got %x", key)
				}
			}
		})
	}
	wg.Wait()
}

func TestNoKeyIsPrinted(t *testing.T) {
	key := vectorKey(t)
	secret := [KeyLen]byte{0xab, 0xcd, 0xef}
	for _, v := range []any{
		Result{Ticket: Ticket{Job: 1}, Key: secret},
		&Result{Ticket: Ticket{Job: 1}, Key: secret},
		Job{Op: Encrypt, Octets: secret[:]},
		&Job{Op: Encrypt, Octets: secret[:]},
		NewSoftware(key, key, PKCS1v15, rand.Reader),
	} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
			text := fmt.Sprintf(format, v)
			for _, octets := range []string{"171", "0xab", "abcd", key.D.String()[:10], fmt.Sprintf("%x", key.Primes[0].Bytes()[:4])} {
				if strings.Contains(text, octets) {
					t.Errorf("%s of %T prints %q", format, v, text)
				}
			}
		}
	}
}

// Without a key of LKE's nothing is decrypted, and no one learns that.
func TestDecryptWithoutKey(t *testing.T) {
	var a, b [KeyLen]byte
	s := NewSoftware(nil, nil, PKCS1v15, rand.Reader)
	s.Decrypt(&a, unhex(t, keyExchangeData))
	s.Decrypt(&b, unhex(t, keyExchangeData))
	if a == b || a == [KeyLen]byte{} {
		t.Errorf("got %x, %x", a, b)
	}
}
