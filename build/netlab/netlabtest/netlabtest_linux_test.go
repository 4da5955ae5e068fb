package netlabtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// ordinary is set where an ordinary user runs these tests, and no user namespace helps.
const ordinary = "NETLABTEST_ORDINARY_USER"

func TestMain(m *testing.M) {
	if os.Getenv(ordinary) != "" {
		os.Exit(m.Run())
	}
	os.Exit(Main(m))
}

// trial is a test whose end is looked at.
type trial struct {
	testing.TB
	verdict string
}

func (*trial) Helper()                        {}
func (r *trial) Skipf(f string, args ...any)  { r.end("skipped: " + fmt.Sprintf(f, args...)) }
func (r *trial) Fatalf(f string, args ...any) { r.end("failed: " + fmt.Sprintf(f, args...)) }
func (r *trial) end(verdict string)           { r.verdict = verdict; runtime.Goexit() }

// verdict runs a test to its end and tells how it ended.
func verdict(t *testing.T, f func(testing.TB)) string {
	t.Helper()
	r := &trial{TB: t, verdict: "passed"}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(r)
	}()
	<-ended
	return r.verdict
}

// What this machine lacks is a reason to skip a test, but none where everything has to be tested.
func TestWhatIsMissingFailsTheCI(t *testing.T) {
	for ci, want := range map[string]string{"": "skipped: no tool", "true": "failed: no tool"} {
		t.Setenv("CI", ci)
		if got := verdict(t, func(t testing.TB) { Missing(t, "no %s", "tool") }); got != want {
			t.Errorf("with CI=%q the test %s, want %s", ci, got, want)
		}
	}
}

// Who may make no namespaces is told so. This test plays the ordinary user, too.
func TestALabNeedsRights(t *testing.T) {
	if os.Getenv(ordinary) != "" {
		New(t, "refused")
		t.Error("an ordinary user made a namespace")
		return
	}
	if os.Getenv("NETLAB_IN_USER_NAMESPACE") != "" {
		t.Skip("there is no other user in this namespace")
	}
	dir, err := os.MkdirTemp("", "netlabtest")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program, err := os.ReadFile("/proc/self/exe")
	path := filepath.Join(dir, "program")
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(path, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	for ci, want := range map[string]string{"": "--- SKIP: TestALabNeedsRights", "true": "--- FAIL: TestALabNeedsRights"} {
		cmd := exec.Command(path, "-test.run=^TestALabNeedsRights$", "-test.v")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), ordinary+"=1", "CI="+ci)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if text := string(out); !strings.Contains(text, want) || !strings.Contains(text, "needs network namespaces, and so root") {
			t.Errorf("with CI=%q: %v\n%s", ci, err, text)
		}
	}
}

// A socket that is opened in a namespace stays there: a port that is taken in one is free in another.
func TestWhatIsOpenedBelongsToTheNamespace(t *testing.T) {
	_, ns := New(t, "one", "two")
	listen := func() (net.PacketConn, error) { return net.ListenPacket("udp6", "[::1]:7") }
	var socket net.PacketConn
	t.Run("while the test runs", func(t *testing.T) {
		socket = Open(t, ns[0], listen)
		Open(t, ns[1], listen)
		if err := ns[0].Do(func() error { _, err := listen(); return err }); err == nil {
			t.Error("the port is free, so that the socket is elsewhere")
		}
	})
	if err := socket.Close(); err == nil {
		t.Error("the socket was not closed with its test")
	}
}

func TestAwaitingACount(t *testing.T) {
	c := make(counters)
	c["asked"] = 1
	Await(t, "the third time", func() bool { c["asked"]++; return Counter(t, c, "asked") == 3 })
	if got := verdict(t, func(t testing.TB) { Counter(t, c, "answered") }); got != "failed: there is no counter answered" {
		t.Errorf("with a counter that is not there the test %s", got)
	}
}

type counters map[string]uint64

func (c counters) Counters(f func(string, uint64)) {
	for name, value := range c {
		f(name, value)
	}
}
