package lke_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"

	"github.com/roamkey/roamkey/mipsec/lke/ladder"
)

// ladderKey is the RSA-1024 key of all routers of the plays.
func ladderKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile("../../testdata/vectors-key1024.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			return key.(*rsa.PrivateKey)
		}
	}
	t.Fatal("vectors-key1024.pem is not a private key")
	return nil
}

func inMemory(t testing.TB, top ladder.Topology) ladder.World {
	return ladder.NewMemory(t, ladderKey(t), top)
}

// The draft's figure, and what follows from it.
func TestLadderFigure(t *testing.T)   { ladder.Figure(t, inMemory) }
func TestLadderDefended(t *testing.T) { ladder.Defended(t, inMemory) }
func TestLadderRoam(t *testing.T)     { ladder.Roam(t, inMemory) }
func TestLadderHasty(t *testing.T)    { ladder.Hasty(t, inMemory) }
func TestLadderRenewed(t *testing.T)  { ladder.Renewed(t, inMemory) }
func TestLadderCrowd(t *testing.T)    { ladder.Crowd(t, inMemory, 200) }

// A network that loses, doubles and delays, and routers that die.
func TestLadderInterrupted(t *testing.T) { ladder.Interrupted(t, inMemory) }
func TestLadderDoubled(t *testing.T)     { ladder.Doubled(t, inMemory) }
func TestLadderShuffled(t *testing.T)    { ladder.Shuffled(t, inMemory) }
func TestLadderLossy(t *testing.T)       { ladder.Lossy(t, inMemory) }
func TestLadderUnheard(t *testing.T)     { ladder.Unheard(t, inMemory) }
func TestLadderRestarted(t *testing.T)   { ladder.Restarted(t, inMemory) }

// The attacks of the draft's section 6, and those that the resolutions are against.
func TestLadderSpoofedRequest(t *testing.T)  { ladder.SpoofedRequest(t, inMemory) }
func TestLadderSquatter(t *testing.T)        { ladder.Squatter(t, inMemory) }
func TestLadderKnownNeighbour(t *testing.T)  { ladder.KnownNeighbour(t, inMemory) }
func TestLadderReplayedRequest(t *testing.T) { ladder.ReplayedRequest(t, inMemory) }
func TestLadderAnsweredDAD(t *testing.T)     { ladder.AnsweredDAD(t, inMemory) }
func TestLadderHijack(t *testing.T)          { ladder.Hijack(t, inMemory) }
func TestLadderReflection(t *testing.T)      { ladder.Reflection(t, inMemory) }
func TestLadderOtherAddresses(t *testing.T)  { ladder.OtherAddresses(t, inMemory) }
