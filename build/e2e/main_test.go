// Package e2e tests the router as it is: roamkeyd in a network namespace, with real packets, good and hostile. What the
// cores' and the drivers' own tests show of a part is shown here of the whole, from frame to frame.
//
//	cell0 ──── lan0 router wan0 ──── up0
//	(stations)    (roamkeyd)         (a correspondent's kernel, and where nodes have moved to)
//
// Both far ends are wires on which the test is any number of stations. Behind up0 there is a kernel, too: it has
// correspondent's address, and gives up care-of addresses to the test by not knowing them.
package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/roamkey/roamkey/build/netlab"
)

var (
	built   struct{ roamkeyd, mobile string } // paths of what is tested
	refused error                             // why no namespaces can be made here
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if refused = allowed(); refused != nil {
		if os.Getenv("CI") == "true" {
			fmt.Fprintln(os.Stderr, "e2e:", refused)
			return 1
		}
		return m.Run()
	}
	// An ordinary user starts the programs, too, so that it must get at them.
	dir, err := os.MkdirTemp("", "roamkey-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = errors.Join(os.Chmod(dir, 0o755), build(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

// allowed tells whether the tests can be run here.
func allowed() error {
	if os.Geteuid() != 0 {
		return errors.New("these tests make network namespaces and start programs as other users: run them as root")
	}
	lab := netlab.New()
	defer lab.Close()
	ns, err := lab.Namespace("probe")
	if err != nil {
		return err
	}
	return ns.CheckTUN()
}

func build(dir string) error {
	out, err := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", dir+"/", "../../firmware/roamkeyd", "../../firmware/roamkey-mn").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	built.roamkeyd, built.mobile = filepath.Join(dir, "roamkeyd"), filepath.Join(dir, "roamkey-mn")
	return nil
}
