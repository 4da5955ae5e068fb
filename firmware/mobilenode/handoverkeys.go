package mobilenode

import (
	"crypto/rand"
	"crypto/rsa"
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
	"github.com/roamkey/roamkey/ndp"
)

// handoverKeys are the keys that routers gave, and the key pairs that they were encrypted with. The pairs are in memory
// alone, and serve nothing else (HK-MN-1).
type handoverKeys struct {
	*fastNode
	core  *handoverkey.Node
	pairs map[uint64]*rsa.PrivateKey
}

func newHandoverKeys(f *fastNode, id *identity) *handoverKeys {
	bits := id.private.N.BitLen() // same algorithm and size as the SEND key (RFC 5269 section 3.1)
	return &handoverKeys{
		fastNode: f, core: handoverkey.NewNode(handoverkey.NodeConfig{AT: preferredAT, Bits: bits}),
		pairs: make(map[uint64]*rsa.PrivateKey),
	}
}

// preferredAT asks for HMAC-SHA256, which is the stronger one.
const preferredAT = 1

// String hides the keys from %v.
func (k *handoverKeys) String() string { return "handover keys" }

// GoString hides the keys from %#v.
func (k *handoverKeys) GoString() string { return k.String() }

func (k *handoverKeys) step(in handoverkey.NodeInput) {
	for _, e := range k.core.Step(k.now(), in) {
		k.carry(&e)
	}
}

func (k *handoverKeys) carry(e *handoverkey.NodeEffect) {
	switch e.Kind {
	case handoverkey.EffectMakePair:
		k.makePair(e.Pair, e.Bits)
	case handoverkey.EffectDropPair:
		delete(k.pairs, e.Pair)
	case handoverkey.EffectRequest:
		in := fmip.NodeInput{Kind: fmip.InKeyRequest, Router: e.Router, Home: e.Home, Pair: e.Pair, Option: e.Option}
		k.do(func() { k.stepMove(in) })
	case handoverkey.EffectDecrypt:
		k.decrypt(e.Job, k.pairs[e.Pair], e.Ciphertext, e.KeyLen)
	case handoverkey.EffectKey:
		k.reporter.write(Line{Time: time.Now(), Event: "handover-key", Home: e.Home, Router: e.Router})
		in := fmip.NodeInput{Kind: fmip.InKey, Router: e.Router, Home: e.Home}
		k.do(func() { k.stepMove(in) })
	case handoverkey.EffectNodeReport:
		if e.Event.Kind != handoverkey.EventGranted { // told above
			k.reporter.write(Line{
				Time: time.Now(), Event: e.Event.Kind.String(), Home: e.Event.Home, Router: e.Event.Router, Detail: e.Event.Detail,
			})
		}
	}
}

// makePair makes an RSA key pair beside the loop.
func (k *handoverKeys) makePair(number uint64, bits int) {
	k.beside(func() func() {
		private, err := engine.GenerateKey(bits)
		var spki []byte
		if err == nil {
			spki, err = ndp.MarshalSPKI(ndp.PublicKey{Modulus: private.N.Bytes(), Exponent: private.E})
		}
		return func() {
			k.do(func() {
				if err != nil {
					k.reporter.complain("make a key pair", err)
				} else {
					k.pairs[number] = private
				}
				k.step(handoverkey.NodeInput{Kind: handoverkey.InPair, Pair: number, PublicKey: spki, Failed: err != nil})
			})
		}
	})
}

// decrypt does RSAES-PKCS1-v1_5, which RFC 5269 section 4.2 asks for. A wrong padding gives a random key, so that nobody
// can see from outside that it was wrong (resolution l).
func (k *handoverKeys) decrypt(job uint64, private *rsa.PrivateKey, ciphertext []byte, length int) {
	k.secured.rsa(func() func() {
		key := make([]byte, length)
		_, _ = rand.Read(key) // it does not fail
		if private != nil {
			if err := rsa.DecryptPKCS1v15SessionKey(nil, private, ciphertext, key); err != nil {
				_, _ = rand.Read(key) // a ciphertext of another length, which anybody can see
			}
		}
		return func() {
			k.do(func() {
				k.step(handoverkey.NodeInput{Kind: handoverkey.InDecrypted, Job: job, Octets: key})
				clear(key)
			})
		}
	})
}
