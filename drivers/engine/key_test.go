package engine

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, mode fs.FileMode, blocks ...*pem.Block) string {
	t.Helper()
	var b bytes.Buffer
	for _, block := range blocks {
		if err := pem.Encode(&b, block); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "lke.key")
	if err := os.WriteFile(path, b.Bytes(), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

func pkcs8(t testing.TB, key any) *pem.Block {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &pem.Block{Type: pemPKCS8, Bytes: der}
}

func TestLoadKey(t *testing.T) {
	key := vectorKey(t)
	for name, blocks := range map[string][]*pem.Block{
		"PKCS #8":           {pkcs8(t, key)},
		"PKCS #1":           {{Type: pemPKCS1, Bytes: x509.MarshalPKCS1PrivateKey(key)}},
		"after another one": {{Type: "CERTIFICATE", Bytes: []byte{1}}, pkcs8(t, key)},
	} {
		got, err := LoadKey(writeFile(t, 0o600, blocks...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !got.Equal(key) {
			t.Errorf("%s: another key", name)
		}
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	key := vectorKey(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wrongD := *key
	wrongD.D = key.N
	for name, test := range map[string]struct {
		path, says string
	}{
		"no file":           {filepath.Join(t.TempDir(), "none"), "no such file"},
		"a directory":       {t.TempDir(), "not a file"},
		"no PEM":            {writeFile(t, 0o600), "keygen"},
		"a public key":      {writeFile(t, 0o600, &pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}}), "keygen"},
		"an EC key":         {writeFile(t, 0o600, pkcs8(t, ec)), "not an RSA key"},
		"broken PKCS #8":    {writeFile(t, 0o600, &pem.Block{Type: pemPKCS8, Bytes: []byte{0x30, 3, 2, 1, 0}}), "PKCS #8"},
		"broken PKCS #1":    {writeFile(t, 0o600, &pem.Block{Type: pemPKCS1, Bytes: []byte{0x30, 3, 2, 1, 0}}), "RSA private key"},
		"trailing octets":   {writeFile(t, 0o600, &pem.Block{Type: pemPKCS8, Bytes: append(pkcs8(t, key).Bytes, 0)}), "PKCS #8"},
		"a contradiction":   {writeFile(t, 0o600, &pem.Block{Type: pemPKCS1, Bytes: x509.MarshalPKCS1PrivateKey(&wrongD)}), "contradicts"},
		"a file too long":   {writeFile(t, 0o600, &pem.Block{Type: "X", Bytes: make([]byte, maxKeyFile)}), "too long"},
		"512 bits":          {writeFile(t, 0o600, &pem.Block{Type: pemPKCS1, Bytes: x509.MarshalPKCS1PrivateKey(smallKey(t))}), "1024 to 4096 bits"},
		"a key of 4 primes": {writeFile(t, 0o600, &pem.Block{Type: pemPKCS1, Bytes: []byte{0x30, 3, 2, 1, 1}}), "two primes"},
	} {
		_, err := LoadKey(test.path)
		if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), test.path) {
			t.Errorf("%s: error %v, want one that names the file and says %q", name, err, test.says)
		}
	}
}

// A key that others could read is not used; the error can be told from others and says what to do.
func TestLoadKeyChecksTheMode(t *testing.T) {
	block := pkcs8(t, vectorKey(t))
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o602, 0o644, 0o610} {
		_, err := LoadKey(writeFile(t, mode, block))
		if !errors.Is(err, ErrMode) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		if _, err := LoadKey(writeFile(t, mode, block)); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

// smallKey is a key that is too short for crypto/rsa to make.
func smallKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, 512)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestGenerateKey(t *testing.T) {
	for _, bits := range []int{-1, 0, 512, 1023, 4097, 1 << 20} {
		if _, err := GenerateKey(bits); err == nil || !strings.Contains(err.Error(), "1024 to 4096 bits") {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
	key, err := GenerateKey(1024)
	if err != nil || key.N.BitLen() != 1024 {
		t.Errorf("1024 bits: %v", err)
	}
}

func TestSaveKey(t *testing.T) {
	key := vectorKey(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "lke.key")
	if err := SaveKey(path, key); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, want 0600 (%v)", info.Mode(), err)
	}
	got, err := LoadKey(path)
	if err != nil || !got.Equal(key) {
		t.Errorf("not the key that was saved: %v", err)
	}
	block, rest := pem.Decode(readFile(t, path))
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) != 0 {
		t.Fatal("not one PEM block of a private key")
	}
	other, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil || !key.Equal(other.(*rsa.PrivateKey)) {
		t.Errorf("another implementation does not read it: %v", err)
	}
	// A key that is there is not lost by mistake, and nothing else is left behind.
	before := readFile(t, path)
	if err := SaveKey(path, key); !errors.Is(err, fs.ErrExist) {
		t.Errorf("saved over a key: %v", err)
	}
	if !bytes.Equal(before, readFile(t, path)) {
		t.Error("the key changed")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if err := SaveKey(filepath.Join(dir, "nowhere", "lke.key"), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("saved into a directory that is not there: %v", err)
	}
}

// FuzzKey shows that no file makes LoadKey do more than give an error, and that what it takes it can save.
func FuzzKey(f *testing.F) {
	text, err := os.ReadFile("testdata/key1024.pem")
	if err != nil {
		f.Fatal(err)
	}
	block, _ := pem.Decode(text)
	f.Add(block.Bytes, true)
	f.Add([]byte{0x30, 3, 2, 1, 0}, false)
	f.Fuzz(func(t *testing.T, der []byte, isPKCS8 bool) {
		kind := pemPKCS1
		if isPKCS8 {
			kind = pemPKCS8
		}
		key, err := parseKey(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
		if err != nil {
			return
		}
		if again, err := marshalPKCS8(key); err != nil {
			t.Fatal(err)
		} else if got, err := parsePKCS8(again); err != nil || !got.Equal(key) {
			t.Fatalf("cannot be read again: %v", err)
		}
	})
}
