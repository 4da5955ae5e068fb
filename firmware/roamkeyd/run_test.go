package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// running is a daemon in a network namespace of its own, without a link.
type running struct {
	cmd   *exec.Cmd
	log   safeBuffer
	ended chan struct{}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start starts roamkeyd run, and waits until it serves.
func start(t *testing.T, dir string) *running {
	t.Helper()
	if tun, err := os.OpenFile(tunPath, os.O_RDWR, 0); err != nil {
		t.Skip("the daemon needs TUN here: ", err)
	} else {
		tun.Close()
	}
	r := &running{cmd: prepare(dir, "run", "-c", "roamkey"), ended: make(chan struct{})}
	r.cmd.Stderr = &r.log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		r.cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		r.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	}
	if err := r.cmd.Start(); err != nil {
		t.Skip("no network namespace can be made here: ", err)
	}
	go func() {
		r.cmd.Wait()
		close(r.ended)
	}()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		<-r.ended
	})
	r.await(t, "running")
	return r
}

// await waits for a word in the log.
func (r *running) await(t *testing.T, word string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(r.log.String(), word); time.Sleep(2 * time.Millisecond) {
		select {
		case <-r.ended:
			t.Fatalf("it ended:\n%s", r.log.String())
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("no %q in\n%s", word, r.log.String())
		}
	}
}

// end sends a signal and gives the exit code.
func (r *running) end(t *testing.T, signal os.Signal) int {
	t.Helper()
	r.cmd.Process.Signal(signal)
	select {
	case <-r.ended:
	case <-time.After(10 * time.Second):
		t.Fatalf("it goes on:\n%s", r.log.String())
	}
	return r.cmd.ProcessState.ExitCode()
}

// daemonFiles makes what a daemon needs.
func daemonFiles(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write(t, dir, "roamkey", "config roamkey\n\toption lke_key '"+dir+"/lke.key'\n\toption state_dir '"+dir+"/state'\n\toption tunnel 'tun'\nconfig link 'lan'\n\toption device 'none0'\n")
	if got := roamkeyd(t, dir, "keygen", "-c", "roamkey", "--bits", "1024"); got.code != 0 {
		t.Fatal(got)
	}
	return dir
}

func TestRun(t *testing.T) {
	dir := daemonFiles(t)
	r := start(t, dir)
	for line := range strings.Lines(r.log.String()) {
		if !strings.HasPrefix(line, "info: ") && !strings.HasPrefix(line, "warn: ") {
			t.Errorf("procd puts a time and a name before a line, this one has %q", line)
		}
	}

	// It is asked through its socket.
	status := roamkeyd(t, dir, "status", "-c", "roamkey")
	if status.code != 1 || !strings.Contains(status.out, "roamkeyd 9.8.7, process "+strconv.Itoa(r.cmd.Process.Pid)) || !strings.Contains(status.out, "LINK lan (none0)  not served") {
		t.Errorf("%+v", status)
	}
	// No core file, no debugger.
	limits, err := os.ReadFile("/proc/" + strconv.Itoa(r.cmd.Process.Pid) + "/limits")
	if err != nil || !strings.Contains(string(limits), "Max core file size        0                    0") {
		t.Errorf("%v\n%s", err, limits)
	}

	// A second one is turned away, and disturbs nothing.
	second := roamkeyd(t, dir, "run", "-c", "roamkey")
	if second.code != 1 || !strings.Contains(second.err, "another roamkeyd (process "+strconv.Itoa(r.cmd.Process.Pid)+") runs already") {
		t.Errorf("%+v", second)
	}
	if again := roamkeyd(t, dir, "status", "--quiet", "-c", "roamkey"); again.code != 1 {
		t.Errorf("%+v", again)
	}

	// A reload with errors changes nothing and says why; a good one is taken.
	good, err := os.ReadFile(filepath.Join(dir, "roamkey"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "roamkey", string(good)+"\toption colour 'red'\n")
	r.cmd.Process.Signal(syscall.SIGHUP)
	r.await(t, "option colour: there is no such option")
	write(t, dir, "roamkey", string(good)+"config link 'guest'\n\toption device 'none1'\n")
	r.cmd.Process.Signal(syscall.SIGHUP)
	r.await(t, "reloaded")
	if status := roamkeyd(t, dir, "status", "-c", "roamkey"); !strings.Contains(status.out, "LINK guest (none1)") {
		t.Errorf("%+v", status)
	}

	if code := r.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, r.log.String())
	}
	if status := roamkeyd(t, dir, "status", "-c", "roamkey"); status.code != 3 {
		t.Errorf("%+v", status)
	}
}

// TestRunAfterKill: what a dead daemon left is in nobody's way.
func TestRunAfterKill(t *testing.T) {
	dir := daemonFiles(t)
	start(t, dir).end(t, syscall.SIGKILL)
	if status := roamkeyd(t, dir, "status", "-c", "roamkey"); status.code != 3 {
		t.Errorf("%+v", status)
	}
	r := start(t, dir)
	if status := roamkeyd(t, dir, "status", "-c", "roamkey"); status.code != 1 {
		t.Errorf("%+v", status)
	}
	// The end for a restart leaves the journal to the next one; a real end does not.
	journal := func() bool {
		files, _ := filepath.Glob(dir + "/state/*journal*")
		return len(files) > 0
	}
	if code := r.end(t, syscall.SIGUSR2); code != 0 || !journal() {
		t.Errorf("exit code %d, journal %v\n%s", code, journal(), r.log.String())
	}
	if code := start(t, dir).end(t, syscall.SIGINT); code != 0 || journal() {
		t.Errorf("exit code %d, journal %v", code, journal())
	}
}

func TestRunWithoutAKey(t *testing.T) {
	dir := daemonFiles(t)
	if err := os.Remove(filepath.Join(dir, "lke.key")); err != nil {
		t.Fatal(err)
	}
	got := roamkeyd(t, dir, "run", "-c", "roamkey")
	if got != (result{"", "error: there is no key " + dir + "/lke.key: make one with roamkeyd keygen\n", 1}) {
		t.Errorf("%+v", got)
	}
}

// TestNoCore: neither a core file nor a debugger gets at the keys. It runs in a process of its own, as it cannot be undone.
func TestNoCore(t *testing.T) {
	if os.Getenv("ROAMKEYD_TEST_NOCORE") == "" {
		child := exec.Command(os.Args[0], "-test.run=^TestNoCore$", "-test.v")
		child.Env = append(os.Environ(), "ROAMKEYD_TEST_NOCORE=1")
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := noCore(); err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 || limit.Max != 0 {
		t.Errorf("core files of %+v octets, %v", limit, err)
	}
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 0 {
		t.Errorf("dumpable is %d, %v", dumpable, err)
	}
}
