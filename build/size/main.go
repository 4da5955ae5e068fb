// Size cross-builds roamkeyd for every kind of router, prints what each takes, and fails where one is over its budget. Flash
// is what users of such routers run out of first; what counts there is the size under xz, which squashfs uses.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// target is one kind of router.
type target struct {
	name  string // file name of the binary
	board string // a device of that kind
	flash bool   // it has no more than some megabytes of flash: the budget counts
	env   []string
}

func targets() []target {
	return []target{
		{"mips", "ath79 (24Kc)", true, []string{"GOARCH=mips", "GOMIPS=softfloat"}},
		{"mipsle", "ramips (24KEc)", true, []string{"GOARCH=mipsle", "GOMIPS=softfloat"}},
		{"arm5", "kirkwood", true, []string{"GOARCH=arm", "GOARM=5"}},
		{"arm7", "ipq40xx, mvebu", true, []string{"GOARCH=arm", "GOARM=7"}},
		{"arm64", "filogic", true, []string{"GOARCH=arm64"}},
		{"amd64", "x86/64", false, []string{"GOARCH=amd64"}},
	}
}

// Budgets in octets. They are stated for MIPS; the other boards with flash have to keep within them, too. A machine with a disk
// is told of, and not bounded.
const (
	budgetRaw = 7_500_000
	budgetXZ  = 2_000_000
)

func main() {
	out := flag.String("o", "bin/cross", "directory for the binaries")
	pkg := flag.String("pkg", "./firmware/roamkeyd", "package to build")
	ldflags := flag.String("ldflags", "-s -w", "as for go build")
	goTool := flag.String("go", "go", "the go command")
	flag.Parse()
	if err := run(*goTool, *out, *pkg, *ldflags); err != nil {
		fmt.Fprintln(os.Stderr, "size:", err)
		os.Exit(1)
	}
}

func run(goTool, out, pkg, ldflags string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	fmt.Printf("%-8s %-16s %12s %6s %12s %6s  %s\n", "target", "routers", "raw", "of", "xz -9", "of", "")
	var over []string
	for _, t := range targets() {
		raw, xz, err := measure(goTool, t, filepath.Join(out, "roamkeyd-"+t.name), pkg, ldflags)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		verdict := "ok"
		switch {
		case !t.flash:
			verdict = "has a disk"
		case raw > budgetRaw || xz > budgetXZ:
			verdict = "OVER"
			over = append(over, t.name)
		}
		fmt.Printf("%-8s %-16s %12d %5.1fM %12d %5.1fM  %s\n", t.name, t.board, raw, budgetRaw/1e6, xz, budgetXZ/1e6, verdict)
	}
	if over != nil {
		return errors.New("over budget: " + strings.Join(over, ", "))
	}
	return nil
}

// measure builds one target and gives its size as it is and under xz -9.
func measure(goTool string, t target, path, pkg, ldflags string) (raw, xz int64, err error) {
	build := exec.Command(goTool, "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", path, pkg)
	build.Env = append(append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0"), t.env...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return 0, 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	var packed count
	compress := exec.Command("xz", "-9", "--stdout", path)
	compress.Stdout, compress.Stderr = &packed, os.Stderr
	if err := compress.Run(); err != nil {
		return 0, 0, fmt.Errorf("xz: %w", err)
	}
	return info.Size(), int64(packed), nil
}

// count is a writer that only counts.
type count int64

func (c *count) Write(b []byte) (int, error) {
	*c += count(len(b))
	return len(b), nil
}
