package ladderlab_test

import (
	"crypto/rsa"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/roamkey/roamkey/build/ladderlab"
	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/mipsec/lke/ladder"
)

var (
	options ladderlab.Options
	refused error // why no world can be made here
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	// Plays wait most of the time: more of them than there are CPUs can be played at once.
	if err := flag.Set("test.parallel", strconv.Itoa(8*runtime.NumCPU())); err != nil {
		panic(err)
	}
	if refused = allowed(); refused != nil {
		if os.Getenv("CI") == "true" {
			fmt.Fprintln(os.Stderr, "ladderlab:", refused)
			return 1
		}
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "roamkey-ladderlab-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ladderlab:", err)
		return 1
	}
	return m.Run()
}

// allowed tells whether worlds can be made here.
func allowed() error {
	if os.Geteuid() != 0 {
		return errors.New("these tests make network namespaces: run them as root")
	}
	lab := netlab.New()
	defer lab.Close()
	ns, err := lab.Namespace("probe")
	if err != nil {
		return err
	}
	return ns.CheckTUN()
}

// prepare builds the program and makes the key of all routers.
func prepare(dir string) error {
	options.Roamkeyd = filepath.Join(dir, "roamkeyd")
	out, err := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", options.Roamkeyd, "../../firmware/roamkeyd").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build roamkeyd: %w\n%s", err, out)
	}
	var key *rsa.PrivateKey
	key, err = engine.GenerateKey(1024)
	options.Key = key
	return err
}

func onKernels(t testing.TB, top ladder.Topology) ladder.World { return ladderlab.New(t, options, top) }

// play runs a play beside others.
func play(t *testing.T, p func(*testing.T, ladder.Maker)) {
	if refused != nil {
		t.Skip(refused)
	}
	t.Parallel()
	p(t, onKernels)
}

// The attacks of the draft's section 6, and those that the resolutions are against. Those that take longest come first.
func TestLadderSquatter(t *testing.T)        { play(t, ladder.Squatter) }
func TestLadderAnsweredDAD(t *testing.T)     { play(t, ladder.AnsweredDAD) }
func TestLadderSpoofedRequest(t *testing.T)  { play(t, ladder.SpoofedRequest) }
func TestLadderReflection(t *testing.T)      { play(t, ladder.Reflection) }
func TestLadderHijack(t *testing.T)          { play(t, ladder.Hijack) }
func TestLadderKnownNeighbour(t *testing.T)  { play(t, ladder.KnownNeighbour) }
func TestLadderReplayedRequest(t *testing.T) { play(t, ladder.ReplayedRequest) }
func TestLadderOtherAddresses(t *testing.T)  { play(t, ladder.OtherAddresses) }

// Loss and doubling, and routers that die.
func TestLadderRestarted(t *testing.T) { play(t, ladder.Restarted) }
func TestLadderUnheard(t *testing.T)   { play(t, ladder.Unheard) }
func TestLadderDoubled(t *testing.T)   { play(t, ladder.Doubled) }

// The draft's figure, and what follows from it.
func TestLadderFigure(t *testing.T)   { play(t, ladder.Figure) }
func TestLadderDefended(t *testing.T) { play(t, ladder.Defended) }
func TestLadderRoam(t *testing.T)     { play(t, ladder.Roam) }
func TestLadderHasty(t *testing.T)    { play(t, ladder.Hasty) }

func TestLadderCrowd(t *testing.T) {
	play(t, func(t *testing.T, make ladder.Maker) { ladder.Crowd(t, make, 50) })
}
