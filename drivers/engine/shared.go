package engine

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// SharedKeyLen is the length in octets of the keys that SaveSharedKey makes, and the least that LoadSharedKey takes; the most is
// maxSharedKey.
const (
	SharedKeyLen = 32
	maxSharedKey = 512
)

var errSharedKey = errors.New("no key of two routers, 32 octets and more in hexadecimal digits or base64: make one with roamkeyd keygen --neighbor")

// LoadSharedKey reads a key that two routers share, in hexadecimal digits or base64 with white space wherever there is any. It
// refuses a file that its group or others may read or write.
func LoadSharedKey(path string) ([]byte, error) {
	text, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	compact := bytes.Join(bytes.Fields(text), nil)
	defer clear(compact)
	key := make([]byte, max(hex.DecodedLen(len(compact)), base64.StdEncoding.DecodedLen(len(compact))))
	n, err := hex.Decode(key, compact)
	if err != nil {
		n, err = base64.StdEncoding.Decode(key, compact)
	}
	if err != nil || n < SharedKeyLen || n > maxSharedKey {
		clear(key)
		return nil, fmt.Errorf("read the key %s: %w", path, errSharedKey)
	}
	return key[:n], nil
}

// SaveSharedKey makes a key for two routers and writes it to path, readable by the owner alone. A file that is there already is
// not replaced: the error then wraps fs.ErrExist.
func SaveSharedKey(path string, rand io.Reader) error {
	key := make([]byte, SharedKeyLen)
	defer clear(key)
	if _, err := io.ReadFull(rand, key); err != nil {
		return fmt.Errorf("save the key: %w", err)
	}
	text := append(hex.AppendEncode(nil, key), '\n')
	defer clear(text)
	if err := writeSecret(path, text); err != nil {
		return fmt.Errorf("save the key: %w", err)
	}
	return nil
}
