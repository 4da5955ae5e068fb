package send_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
	"github.com/roamkey/roamkey/ndp/send"
)

type octets []byte

func (o *octets) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*o = b
	return err
}

// signedVector is a signed message that an implementation apart from this one has made.
type signedVector struct {
	Src, Dst, Target netip.Addr
	Signature        octets
	ICMPv6           octets
}

type vectors struct {
	CGA struct {
		Modifier octets
	} `json:"cga_sec0"`
	Sec1 struct {
		Modifier octets     `json:"final_modifier"`
		Address  netip.Addr `json:"address_cc0"`
	} `json:"cga_sec1"`
	NS  signedVector `json:"send_ns"`
	DAD signedVector `json:"send_dad_ns"`
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	text, err := os.ReadFile("../../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// vectorTime is the timestamp of the vectors.
var vectorTime = time.Unix(1700000000, 500000000)

// vectorNode has the key, modifier and nonces of the vectors.
func vectorNode(t testing.TB, v vectors) *node {
	l := newLab(t)
	l.wall = vectorTime
	n := l.node(vectorKey(), func(cfg *send.Config) {
		cfg.Identity.Params = cga.Params{Modifier: [16]byte(v.CGA.Modifier), PublicKey: vectorKey().spki}
		cfg.Rand = bytes.NewReader([]byte{0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6})
	})
	return n
}

// Signing gives the very octets of the vectors: PKCS #1 v1.5 has no randomness.
func TestVectorsAreSigned(t *testing.T) {
	v := readVectors(t)
	for name, vector := range map[string]signedVector{"send_ns": v.NS, "send_dad_ns": v.DAD} {
		t.Run(name, func(t *testing.T) {
			n := vectorNode(t, v)
			whole := join(vector.Src, vector.Dst, vector.ICMPv6)
			plain := without(t, whole, ndp.OptCGA, ndp.OptTimestamp, ndp.OptNonce, ndp.OptSignature)
			got := n.say(plain)
			if !bytes.Equal(got, whole) {
				t.Errorf("signed message\n%x\nwant\n%x", got, whole)
			}
			if !bytes.Equal(n.sent[0].Nonce, []byte{0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6}) {
				t.Errorf("nonce %x", n.sent[0].Nonce)
			}
		})
	}
}

// The vectors verify, and what is delivered is what was signed.
func TestVectorsVerify(t *testing.T) {
	v := readVectors(t)
	for name, vector := range map[string]signedVector{"send_ns": v.NS, "send_dad_ns": v.DAD} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.wall = vectorTime.Add(time.Second)
			n := l.node(otherKey(), secured)
			got := n.secured(join(vector.Src, vector.Dst, vector.ICMPv6))
			s := got.security
			if !s.Fresh() || !s.CGA || s.Authorized || !bytes.Equal(s.PublicKey, vectorKey().spki) ||
				s.KeyHash != cga.KeyHash(vectorKey().spki) ||
				!bytes.Equal(s.Nonce, []byte{0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6}) {
				t.Errorf("%+v", s)
			}
			m, reason := ndp.ParseNeighborSolicit(got.packet)
			if reason != ndp.ReasonNone {
				t.Fatal(reason)
			}
			if vector.Target.IsValid() && m.Target != vector.Target {
				t.Errorf("target %v", m.Target)
			}
		})
	}
}
