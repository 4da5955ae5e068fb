package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// machine is how to emulate one kind of computer.
type machine struct {
	name   string
	qemu   string   // program
	args   []string // CPU and board
	append string   // kernel command line
	memory int      // MiB
}

// amd64 is emulated without KVM: hypervisors that nest it badly hang, and the tests' machine is often one.
func amd64() machine {
	return machine{
		name: "amd64", qemu: "qemu-system-x86_64", memory: 768,
		args:   []string{"-accel", "tcg,thread=multi", "-M", "q35", "-cpu", "max", "-smp", "2"},
		append: "console=ttyS0 quiet panic=-1 random.trust_cpu=on",
	}
}

// boot starts a guest, copies its console to out line by line, and returns how its steps ended.
func (m machine) boot(k kernel, initrd string, timeout time.Duration, out io.Writer) (results, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	args := append(append([]string(nil), m.args...),
		"-m", strconv.Itoa(m.memory), "-nographic", "-nodefaults", "-serial", "stdio", "-monitor", "none", "-no-reboot",
		"-kernel", k.image, "-initrd", initrd, "-append", m.append)
	qemu := exec.CommandContext(ctx, m.qemu, args...)
	console, err := qemu.StdoutPipe()
	if err != nil {
		return results{}, err
	}
	qemu.Stderr = out
	if err := qemu.Start(); err != nil {
		return results{}, fmt.Errorf("start %s: %w", m.qemu, err)
	}
	r, ended := follow(console, out)
	err = qemu.Wait()
	if ctx.Err() != nil {
		return r, fmt.Errorf("guest %s did not end within %v", m.name, timeout)
	}
	if !ended {
		return r, errors.Join(fmt.Errorf("guest %s stopped before its plan was done", m.name), err)
	}
	return r, nil
}

// results is what a guest's console told.
type results struct {
	codes   map[string]int // exit code of each step
	skipped []string       // lines of tests that did not run
}

// follow reads the guest's console. Lines that begin with LAB- are its init's: LAB-DONE NAME CODE, LAB-EXIT CODE.
func follow(console io.Reader, out io.Writer) (r results, ended bool) {
	r.codes = make(map[string]int)
	for s := bufio.NewScanner(console); s.Scan(); {
		line := printable(s.Text())
		words := strings.Fields(line)
		switch {
		case len(words) >= 3 && words[0] == "LAB-DONE":
			if code, err := strconv.Atoi(words[2]); err == nil {
				r.codes[words[1]] = code
			}
		case len(words) == 2 && words[0] == "LAB-EXIT":
			ended = true
			continue
		case strings.Contains(line, "--- SKIP") || strings.Contains(line, "no tests to run"):
			r.skipped = append(r.skipped, strings.TrimSpace(line))
		}
		fmt.Fprintln(out, "  |", line)
	}
	return r, ended
}

// printable leaves out what a console does to a terminal: the firmware clears the screen.
func printable(line string) string {
	var b strings.Builder
	escape := false
	for _, c := range line {
		switch {
		case c == 0x1b:
			escape = true
		case escape:
			escape = !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z')
		case c == '\t' || c >= ' ':
			b.WriteRune(c)
		}
	}
	return b.String()
}
