// Init is the first process of a lab guest: it mounts what programs expect, loads kernel modules, runs the steps of /plan, says
// how each ended, and reboots, which ends the emulator.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	code := 0
	if err := run(); err != nil {
		fmt.Println("LAB-ERROR", err)
		code = 1
	}
	fmt.Println("LAB-EXIT", code)
	unix.Sync()
	time.Sleep(100 * time.Millisecond) // the serial line is slow
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

func run() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}, {"tmpfs", "/tmp"}, {"tmpfs", "/var"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	os.Setenv("PATH", "/bin")
	os.Setenv("HOME", "/tmp")
	plan, err := os.Open("/plan")
	if err != nil {
		return err
	}
	defer plan.Close()
	failed := false
	for lines := bufio.NewScanner(plan); lines.Scan(); {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 2 && words[0] == "module":
			if err := load(words[1]); err != nil {
				return err
			}
		case len(words) >= 4 && words[0] == "step":
			failed = !step(words[1], words[2], words[3:]) || failed
		default:
			return fmt.Errorf("bad line in the plan: %q", lines.Text())
		}
	}
	if failed {
		return errors.New("a step failed")
	}
	return nil
}

func load(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", file, err)
	}
	return nil
}

// step runs one program and reports whether it ended well.
func step(name, seconds string, args []string) bool {
	limit, err := strconv.Atoi(seconds)
	if err != nil {
		fmt.Println("LAB-ERROR bad timeout", seconds)
		return false
	}
	fmt.Println("LAB-STEP", name)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(limit)*time.Second)
	defer cancel()
	start := time.Now()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stdout
	c.Dir = "/tmp"
	c.Env = append(os.Environ(), "ROAMKEY_LAB=1", "CI=true")
	c.WaitDelay = 2 * time.Second
	err = c.Run()
	code := 0
	if err != nil {
		code = 1 // also where it could not be started
		if c.ProcessState != nil && c.ProcessState.ExitCode() > 0 {
			code = c.ProcessState.ExitCode()
		}
		fmt.Println("LAB-ERROR", name, err)
	}
	fmt.Println("LAB-DONE", name, code, time.Since(start).Round(time.Millisecond))
	return code == 0
}
