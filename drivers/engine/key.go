package engine

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Types of the PEM blocks that are read.
const (
	pemPKCS8 = "PRIVATE KEY"
	pemPKCS1 = "RSA PRIVATE KEY"
)

// maxKeyFile is more than any key file of MaxBits needs, in octets.
const maxKeyFile = 64 << 10

// ErrMode is what LoadKey's error wraps when others than its owner could read the key.
var ErrMode = errors.New("others can read this key")

// ErrSameKey is what SeparateKeys says of one key for two purposes.
var ErrSameKey = errors.New("one key serves both LKE and SEND: make another one with roamkeyd keygen --send")

// SeparateKeys checks that the key that decrypts (lke.key) and the key that signs (send.key) are two keys: it fails with
// ErrSameKey if they have the same modulus. Either may be nil.
func SeparateKeys(lke, send *rsa.PrivateKey) error {
	if lke != nil && send != nil && lke.N.Cmp(send.N) == 0 {
		return ErrSameKey
	}
	return nil
}

// GenerateKey makes an RSA key pair of that many bits.
func GenerateKey(bits int) (*rsa.PrivateKey, error) {
	if err := checkBits(bits); err != nil {
		return nil, err
	}
	return rsa.GenerateKey(rand.Reader, bits)
}

func checkBits(bits int) error {
	if bits < MinBits || bits > MaxBits {
		return fmt.Errorf("an RSA key of %d bits cannot be used: take %d to %d bits, 2048 if in doubt", bits, MinBits, MaxBits)
	}
	return nil
}

// LoadKey reads an RSA private key, lke.key or send.key, in PEM, PKCS #8 or PKCS #1. It refuses a file that its group or others may read or
// write: such a key is secret no more.
func LoadKey(path string) (*rsa.PrivateKey, error) {
	text, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(text)
	clear(text)
	if err != nil {
		return nil, fmt.Errorf("read the key %s: %w", path, err)
	}
	return key, nil
}

// readSecret reads a file that nobody but its owner may read.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read the key %s: not a file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("read the key %s: %w (mode %04o): chmod 600 it, and make a new key if it was seen", path, ErrMode, mode)
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("read the key %s: too long for a key (%d octets)", path, info.Size())
	}
	text := make([]byte, info.Size())
	if _, err := f.ReadAt(text, 0); err != nil {
		return nil, fmt.Errorf("read the key %s: %w", path, err)
	}
	return text, nil
}

func parseKey(text []byte) (*rsa.PrivateKey, error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("no PEM block with a private key in it: make one with roamkeyd keygen")
		}
		text = rest
		var key *rsa.PrivateKey
		var err error
		switch block.Type {
		case pemPKCS8:
			key, err = parsePKCS8(block.Bytes)
		case pemPKCS1:
			key, err = parsePKCS1(block.Bytes)
		default:
			continue // parameters or a certificate may stand before it
		}
		clear(block.Bytes)
		if err != nil {
			return nil, err
		}
		if err := checkBits(key.N.BitLen()); err != nil {
			return nil, err
		}
		if err := key.Validate(); err != nil {
			return nil, fmt.Errorf("the key contradicts itself: %w", err)
		}
		key.Precompute()
		return key, nil
	}
}

// SaveKey writes key to path in PEM, PKCS #8, readable by the owner alone. The file appears at once and whole. A file that
// is there already is not replaced: the error then wraps fs.ErrExist.
func SaveKey(path string, key *rsa.PrivateKey) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save the key: %w", err)
		}
	}()
	der, err := marshalPKCS8(key)
	if err != nil {
		return err
	}
	defer clear(der)
	text := pem.EncodeToMemory(&pem.Block{Type: pemPKCS8, Bytes: der})
	defer clear(text)
	return writeSecret(path, text)
}

// writeSecret makes a file that its owner alone can read. It appears at once and whole, and never in place of another one.
func writeSecret(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err = os.Link(f.Name(), path); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// Some file systems have no hard links.
	if _, statErr := os.Lstat(path); statErr == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return os.Rename(f.Name(), path)
}
