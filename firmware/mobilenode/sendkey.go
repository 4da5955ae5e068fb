package mobilenode

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// sendKeyBits is the length of a key that is made.
const sendKeyBits = 2048

// identity is the key that the node signs with, and what its addresses follow from.
type identity struct {
	private *rsa.PrivateKey
	params  cga.Params
	sec     uint8
}

// String hides the key from %v.
func (id *identity) String() string { return "the node's identity" }

// GoString hides the key from %#v.
func (id *identity) GoString() string { return id.String() }

// newIdentity reads the key from path, where it makes one if there is none, or makes one for this run. Then it looks for
// the modifier, for Sec 1 among 65,536 on average: a few hundredths of a second.
func newIdentity(path string, sec int) (*identity, error) {
	private, err := sendKey(path)
	if err != nil {
		return nil, err
	}
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: private.N.Bytes(), Exponent: private.E})
	if err != nil {
		return nil, fmt.Errorf("encode the public key: %w", err)
	}
	id := &identity{private: private, params: cga.Params{PublicKey: spki}, sec: uint8(sec)}
	var start [16]byte
	if path == "" {
		_, _ = rand.Read(start[:]) // it does not fail
	} else {
		// The same key has the same addresses the next time.
		hash := cga.KeyHash(spki)
		copy(start[:], hash[:])
	}
	search := cga.NewSearch(spki, nil, uint8(sec), start)
	for {
		modifier, found := search.Try(1 << 12)
		if found {
			id.params.Modifier = modifier
			return id, nil
		}
	}
}

func sendKey(path string) (*rsa.PrivateKey, error) {
	if path == "" {
		return engine.GenerateKey(sendKeyBits)
	}
	key, err := engine.LoadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = engine.GenerateKey(sendKeyBits); err != nil {
		return nil, err
	}
	return key, engine.SaveKey(path, key)
}
