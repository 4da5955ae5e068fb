package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// serve starts a server that gives snapshot, and stops it with the test.
func serve(t *testing.T, snapshot func(context.Context) (Snapshot, error)) (*Server, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "control.sock")
	s, err := Listen(Options{Path: path, Version: "1.2.3", Snapshot: snapshot, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Error("the socket is left behind")
		}
	})
	return s, path
}

func fixed(context.Context) (Snapshot, error) { return sample(), nil }

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestStatusAndVersion(t *testing.T) {
	_, path := serve(t, fixed)
	c := dial(t, path)
	for i := range 2 { // a client may ask again
		got, raw, err := c.Status()
		if err != nil {
			t.Fatal(err)
		}
		if want := sample(); !reflect.DeepEqual(got, want) {
			t.Errorf("%d: got\n%+v\nwant\n%+v", i, got, want)
		}
		if !strings.Contains(string(raw), `"router_us":212`) || !strings.Contains(string(raw), `"uptime_s":11520`) {
			t.Errorf("raw %s", raw)
		}
		if v, err := c.Version(); err != nil || v != "1.2.3" {
			t.Errorf("version %q, %v", v, err)
		}
	}
}

func TestSocketIsForItsUserAndGroup(t *testing.T) {
	_, path := serve(t, fixed)
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o660 || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("directory %v, %v", info.Mode(), err)
	}
	if _, err := os.Lstat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the name under which the socket was made is left")
	}
}

func TestSeveralClientsAtOnce(t *testing.T) {
	_, path := serve(t, fixed)
	var all sync.WaitGroup
	for range maxClients {
		c := dial(t, path)
		all.Go(func() {
			if _, _, err := c.Status(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// One more is told so, and finds room when another leaves.
	if _, _, err := dial(t, path).Status(); err == nil || err.Error() != "too many clients: try again later" {
		t.Errorf("got %v", err)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	_, path := serve(t, fixed)
	for request, want := range map[string]string{
		strings.Repeat("x", 10*maxRequest) + "\n": `{"error":"a request has at most 512 octets"}`,
		"hello\n":                   `{"error":"a request is a line such as {\"command\":\"status\"}"}`,
		`{"command":"stop"}` + "\n": `{"error":"unknown command: the commands are status, version, events and handover"}`,
		"{}\n":                      `{"error":"unknown command: the commands are status, version, events and handover"}`,
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, request)
		line, err := bufio.NewReader(conn).ReadString('\n')
		if strings.TrimSpace(line) != want {
			t.Errorf("%.20q: got %s, %v", request, line, err)
		}
		conn.Close()
	}
}

// TestDaemonThatHangs: a client gets an error within its patience, and the daemon's loop was told to forget the question.
func TestDaemonThatHangs(t *testing.T) {
	gaveUp := make(chan struct{})
	_, path := serve(t, func(ctx context.Context) (Snapshot, error) {
		deadline, ok := ctx.Deadline()
		if !ok || time.Until(deadline) > answerTime {
			t.Error("the daemon is asked without a limit")
		}
		close(gaveUp)
		return Snapshot{}, context.DeadlineExceeded
	})
	if _, _, err := dial(t, path).Status(); err == nil || !strings.HasPrefix(err.Error(), "the daemon does not answer") {
		t.Errorf("got %v", err)
	}
	<-gaveUp
}

func TestEvents(t *testing.T) {
	s, path := serve(t, fixed)
	if s.Watched() {
		t.Error("nobody watches yet")
	}
	c := dial(t, path)
	got := make(chan Event)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Events(func(e Event) error {
			got <- e
			return nil
		})
	}()
	await(t, s.Watched)
	for i := range 3 {
		s.Publish(Event{Kind: fmt.Sprint("event-", i), Link: "lan"})
	}
	for i := range 3 {
		if e := <-got; e.Kind != fmt.Sprint("event-", i) || e.Link != "lan" || e.Lost != 0 {
			t.Errorf("got %+v", e)
		}
	}
	c.Close()
	if err := <-ended; err == nil {
		t.Error("the stream goes on after Close")
	}
	await(t, func() bool { return !s.Watched() })
}

// TestSlowWatcherLosesEvents, and is told how many; the publisher never waits.
func TestSlowWatcherLosesEvents(t *testing.T) {
	s, path := serve(t, fixed)
	c := dial(t, path)
	if _, err := c.ask(CommandEvents); err != nil {
		t.Fatal(err)
	}
	await(t, s.Watched)
	lost := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		for w := range s.watchers {
			return int(w.lost)
		}
		return 0
	}
	sent := 0
	for pad := strings.Repeat("x", 4096); lost() <= 10; sent++ {
		s.Publish(Event{Kind: "flood", Detail: pad})
	}
	missing := lost()
	event := func() Event {
		r, err := c.line()
		if err != nil {
			t.Fatal(err)
		}
		return *r.Event
	}
	for range sent - missing {
		if e := event(); e.Kind != "flood" || e.Lost != 0 {
			t.Fatalf("got %s, %d lost", e.Kind, e.Lost)
		}
	}
	s.Publish(Event{Kind: "next"})
	s.Publish(Event{Kind: "after"})
	if e := event(); e.Kind != "next" || int(e.Lost) != missing {
		t.Errorf("got %+v, want %d lost", e, missing)
	}
	if e := event(); e.Kind != "after" || e.Lost != 0 {
		t.Errorf("got %+v: the same events are lost twice", e)
	}
}

func TestServerStopsWithItsWatchers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	s, err := Listen(Options{Path: path, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background()) }()
	c := dial(t, path)
	ended := make(chan error, 1)
	go func() { ended <- c.Events(func(Event) error { return nil }) }()
	await(t, s.Watched)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, ErrNotRunning) {
		t.Errorf("the watcher got %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, path := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "no", "directory"), stale, filepath.Join(stale, "below")} {
		if _, err := Dial(path); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// A stale socket is in nobody's way.
	s, err := Listen(Options{Path: stale, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestSocketReplacesNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Options{Path: path}); err == nil || !strings.Contains(err.Error(), "something else than a socket") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "x" {
		t.Error("the file is gone")
	}
}

// TestTwoDaemons: the second is told who the first is, and may start when that has died, even without a goodbye.
func TestTwoDaemons(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	if os.Getenv("CONTROL_TEST_HOLD") != "" {
		s, err := Listen(Options{Path: os.Getenv("CONTROL_TEST_HOLD")})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("listening")
		s.Serve(context.Background())
		return
	}
	first := exec.Command(os.Args[0], "-test.run=^TestTwoDaemons$")
	first.Env = append(os.Environ(), "CONTROL_TEST_HOLD="+path)
	out, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	defer first.Wait()
	defer first.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "listening\n" {
		t.Fatal(line, err)
	}
	_, err = Listen(Options{Path: path})
	var running *RunningError
	if !errors.As(err, &running) || running.PID != first.Process.Pid {
		t.Fatalf("got %v, want process %d", err, first.Process.Pid)
	}
	if pid, is, err := Holder(LockPath(path)); pid != first.Process.Pid || !is || err != nil {
		t.Errorf("holder %d %v %v", pid, is, err)
	}
	if _, err := net.Dial("unix", path); err != nil {
		t.Errorf("the second took the first one's socket: %v", err)
	}
	first.Process.Signal(syscall.SIGKILL)
	first.Wait()
	if _, is, err := Holder(LockPath(path)); is || err != nil {
		t.Errorf("a dead process holds the lock: %v", err)
	}
	s, err := Listen(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestHolderOfNoLock(t *testing.T) {
	if pid, running, err := Holder(filepath.Join(t.TempDir(), "none")); pid != 0 || running || err != nil {
		t.Error(pid, running, err)
	}
}

func TestLockDoesNotFollowLinks(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "lock")
	if err := os.WriteFile(target, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(link); err == nil {
		t.Error("a link was followed")
	}
	if b, _ := os.ReadFile(target); string(b) != "keep" {
		t.Error("what the link points to was overwritten")
	}
}

// await waits for a condition that another goroutine brings about.
func await(t *testing.T, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// TestHandover: who asks for a handover is told what became of it; without fast handovers there is no such command.
func TestHandover(t *testing.T) {
	s, path := serve(t, fixed)
	home, point := netip.MustParseAddr("2001:db8:1::9"), ipv6.LinkAddr{2, 0, 0, 0, 2, 1}
	if err := dial(t, path).Handover(home, point); err == nil || !strings.Contains(err.Error(), "unknown command") {
		t.Errorf("without fast handovers: %v", err)
	}
	var asked []string
	s.options.Handover = func(_ context.Context, home netip.Addr, point ipv6.LinkAddr) error {
		asked = append(asked, fmt.Sprint(home, " ", point))
		if point.IsZero() {
			return errors.New("nobody is there")
		}
		return nil
	}
	if err := dial(t, path).Handover(home, point); err != nil {
		t.Error(err)
	}
	if err := dial(t, path).Handover(home, ipv6.LinkAddr{}); err == nil || err.Error() != "nobody is there" {
		t.Errorf("a refusal: %v", err)
	}
	if want := []string{"2001:db8:1::9 02:00:00:00:02:01", "2001:db8:1::9 00:00:00:00:00:00"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}
}
