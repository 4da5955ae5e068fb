package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/roamkey/roamkey/firmware/config"
)

// binary is the program as users get it, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "roamkeyd")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		// Others have to reach it, too: some tests run it as nobody.
		if err := os.Chmod(dir, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		binary = filepath.Join(dir, "roamkeyd")
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-X main.version=9.8.7", "-o", binary, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// result is what a run of the program showed.
type result struct {
	out, err string
	code     int
}

// roamkeyd runs the program in a directory.
func roamkeyd(t *testing.T, dir string, args ...string) result {
	t.Helper()
	return finish(t, prepare(dir, args...))
}

func prepare(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	return cmd
}

func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// asNobody lets a command run as an ordinary user; only root can arrange that.
func asNobody(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		return cmd // an ordinary user already
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd
}

// rootOnly is for what an ordinary user cannot arrange.
func rootOnly(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to another user")
	}
}

// write makes a file for a test in a directory that others may enter.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// openDir makes a directory that others may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			break // not ours, and open then
		}
	}
	return dir
}

// TestVersionNeedsNothing: neither root nor settings.
func TestVersionNeedsNothing(t *testing.T) {
	for _, args := range [][]string{{"--version"}, {"-V"}, {"version"}} {
		cmd := asNobody(t, prepare("/", args...))
		cmd.Env = []string{}
		if got := finish(t, cmd); got != (result{"roamkeyd 9.8.7\n", "", 0}) {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

func TestCommandLines(t *testing.T) {
	for line, want := range map[string]result{
		"frobnicate":                  {"", "roamkeyd: there is no command \"frobnicate\": roamkeyd help lists all\n", 2},
		"--frobnicate":                {"", "roamkeyd: there is no command \"--frobnicate\": roamkeyd help lists all\n", 2},
		"version now":                 {"", "roamkeyd: version: \"now\" is too much\n", 2},
		"status --jsn":                {"", "roamkeyd: status: flag provided but not defined: -jsn: roamkeyd help status\n  tells what it takes\n", 2},
		"status now":                  {"", "roamkeyd: status: \"now\" is too much: roamkeyd help status tells what it takes\n", 2},
		"run -c":                      {"", "roamkeyd: run: flag needs an argument: -c: roamkeyd help run tells what it\n  takes\n", 2},
		"keygen a b":                  {"", "roamkeyd: keygen: \"b\" is too much: roamkeyd help keygen tells what it takes\n", 2},
		"keygen --bits 1023":          {"", "roamkeyd: keygen: --bits 1023: take a multiple of 8 from 1024 to 4096, 2048 if\n  in doubt\n", 2},
		"keygen --bits x":             {"", "roamkeyd: keygen: invalid value \"x\" for flag -bits: parse error: roamkeyd help\n  keygen tells what it takes\n", 2},
		"cleanup everything":          {"", "roamkeyd: cleanup: \"everything\" is too much: roamkeyd help cleanup tells what\n  it takes\n", 2},
		"help frobnicate":             {"", "roamkeyd: help: there is no command \"frobnicate\": roamkeyd help lists all\n", 2},
		"help run now":                {"", "roamkeyd: help: \"now\" is too much\n", 2},
		"help options":                {config.Reference(), "", 0},
		"run -c none":                 {"", "error: open none: no such file or directory: write one; roamkeyd help options prints a text to start from\n", 1},
		"check -c none":               {"error: open none: no such file or directory: write one; roamkeyd help options\n  prints a text to start from\n1 error, 0 warnings\n", "", 1},
		"status --socket nix":         {"", "roamkeyd: roamkeyd does not run: nobody answers at nix\n", 3},
		"status --quiet --socket nix": {"", "", 3},
	} {
		if got := roamkeyd(t, t.TempDir(), strings.Fields(line)...); got != want {
			t.Errorf("%s: got %q %q %d", line, got.out, got.err, got.code)
		}
	}
}

func TestHelp(t *testing.T) {
	all := roamkeyd(t, "/", "help")
	bare := roamkeyd(t, "/")
	if all.code != 0 || bare.code != 2 || bare.err != all.out || all.err != "" || bare.out != "" {
		t.Errorf("%+v, %+v", all, bare)
	}
	for _, c := range commands() {
		if !strings.Contains(all.out, "\n  "+c.name+" ") {
			t.Errorf("help does not list %s", c.name)
		}
		help := roamkeyd(t, "/", "help", c.name)
		if help.code != 0 || help.err != "" || !strings.HasPrefix(help.out, "usage: roamkeyd "+c.name) {
			t.Errorf("%s: %+v", c.name, help)
		}
		for _, line := range strings.Split(help.out, "\n") {
			if utf8.RuneCountInString(line) > 80 {
				t.Errorf("%s: %d columns: %s", c.name, utf8.RuneCountInString(line), line)
			}
		}
		if c.name == "help" || c.name == "version" {
			continue
		}
		if asked := roamkeyd(t, "/", c.name, "--help"); asked != help {
			t.Errorf("%s --help: %+v", c.name, asked)
		}
	}
	if status := roamkeyd(t, "/", "help", "status"); !strings.Contains(status.out, "3  roamkeyd does not run") {
		t.Error("the exit codes of status are not told")
	}
}

// unwrapped undoes the breaking of lines.
func unwrapped(s string) string {
	return strings.TrimSpace(strings.ReplaceAll(s, "\n  ", " "))
}

// TestBadSettings: check and run name every error of a file, with file, line, option, and what would be right.
func TestBadSettings(t *testing.T) {
	text, err := os.ReadFile("../config/testdata/bad.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases := strings.Split("\n"+string(text), "\n=== ")[1:]
	if len(cases) < 30 {
		t.Fatalf("only %d cases", len(cases))
	}
	dir := t.TempDir()
	for i, c := range cases {
		name, rest, _ := strings.Cut(c, "\n")
		settings, wanted, _ := strings.Cut("\n"+rest, "\n---\n")
		write(t, dir, "roamkey", strings.TrimPrefix(settings, "\n"))
		problems := strings.Split(strings.TrimSpace(wanted), "\n")
		want := "error: " + strings.Join(problems, "\nerror: ")

		got := roamkeyd(t, dir, "check", "-c", "roamkey", "--settings")
		count := counted(len(problems), "error") + ", 0 warnings"
		if unwrapped(got.out) != want+"\n"+count || got.err != "" || got.code != 1 {
			t.Errorf("check of %s: got %d\n%s%s\nwant\n%s", name, got.code, unwrapped(got.out), got.err, want)
		}
		for _, line := range strings.Split(got.out, "\n") {
			if utf8.RuneCountInString(line) > 80 && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("check of %s: %d columns: %s", name, utf8.RuneCountInString(line), line)
			}
		}
		if i%5 != 0 {
			continue // the same reader: a few will do
		}
		got = roamkeyd(t, dir, "run", "-c", "roamkey")
		if strings.TrimSpace(got.err) != want || got.out != "" || got.code != 1 {
			t.Errorf("run of %s: got %d\n%s", name, got.code, got.err)
		}
	}
}

func TestGoodSettings(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "roamkey", config.Reference())
	if got := roamkeyd(t, dir, "check", "--settings", "-c", "roamkey"); got != (result{"all is well\n", "", 0}) {
		t.Errorf("%+v", got)
	}
	write(t, dir, "roamkey", config.Reference()+"config link 'off'\n\toption device 'x'\n\toption lke '0'\n\toption ra '0'\n")
	got := roamkeyd(t, dir, "check", "--settings", "-c", "roamkey")
	if got.code != 0 || !strings.HasPrefix(got.out, "warning: roamkey:") || !strings.HasSuffix(got.out, "\n0 errors, 1 warning\n") {
		t.Errorf("a warning is no error: %+v", got)
	}
}
