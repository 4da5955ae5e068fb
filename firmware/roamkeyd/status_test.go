package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roamkey/roamkey/firmware/control"
)

// answering starts a control socket that gives a snapshot.
func answering(t *testing.T, snapshot control.Snapshot) (socket string) {
	t.Helper()
	socket = filepath.Join(openDir(t), "control.sock")
	s, err := control.Listen(control.Options{
		Path: socket, Version: "1", Log: slog.New(slog.DiscardHandler),
		Snapshot: func(context.Context) (control.Snapshot, error) { return snapshot, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background()) }()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return socket
}

// TestStatusIsAHealthCheck by its exit code.
func TestStatusIsAHealthCheck(t *testing.T) {
	well := answering(t, control.Snapshot{Version: "1", Links: []control.Link{{Name: "lan", Served: true}}})
	ill := answering(t, control.Snapshot{Links: []control.Link{{Name: "lan", Waiting: "there is no interface br-lan"}}})
	if got := roamkeyd(t, "/", "status", "--socket", well); got.code != 0 || !strings.Contains(got.out, "LINK lan") || got.err != "" {
		t.Errorf("%+v", got)
	}
	if got := roamkeyd(t, "/", "status", "--socket", ill); got.code != 1 || !strings.Contains(got.out, "there is no interface br-lan") {
		t.Errorf("%+v", got)
	}
	if got := roamkeyd(t, "/", "status", "--quiet", "--socket", ill); got != (result{"", "", 1}) {
		t.Errorf("%+v", got)
	}
	closed := t.TempDir()
	if err := os.Chmod(closed, 0); err != nil {
		t.Fatal(err)
	}
	if got := finish(t, asNobody(t, prepare("/", "status", "--socket", closed+"/control.sock"))); got.code != 4 || !strings.Contains(unwrapped(got.err), "ask as root") {
		t.Errorf("%+v", got)
	}
}

func TestStatusForPrograms(t *testing.T) {
	socket := answering(t, control.Snapshot{Version: "1", Links: []control.Link{{Name: "lan", Served: true}}, Handovers: []control.Handover{{RouterUS: 77}}})
	got := roamkeyd(t, "/", "status", "--json", "--socket", socket)
	var s control.Snapshot
	if err := json.Unmarshal([]byte(got.out), &s); err != nil || got.code != 0 || s.Handovers[0].RouterUS != 77 {
		t.Errorf("%v\n%+v", err, got)
	}
	if !strings.Contains(got.out, "\n  \"links\": [\n") {
		t.Error("nobody can read that")
	}
}

// TestStatusFindsTheSocket by the settings, even by those that have errors: the daemon still runs with the old ones.
func TestStatusFindsTheSocket(t *testing.T) {
	socket := answering(t, control.Snapshot{Links: []control.Link{{Name: "lan", Served: true}}})
	dir := t.TempDir()
	for _, errors := range []string{"", "config link\n\toption nonsense\n"} {
		write(t, dir, "roamkey", "config roamkey\n\toption control '"+socket+"'\n"+errors)
		if got := roamkeyd(t, dir, "status", "-c", "roamkey"); got.code != 0 {
			t.Errorf("%+v", got)
		}
	}
}

// TestCleanupLeavesARunningDaemonAlone.
func TestCleanupLeavesARunningDaemonAlone(t *testing.T) {
	socket := answering(t, control.Snapshot{})
	dir := t.TempDir()
	write(t, dir, "roamkey", "config roamkey\n\toption control '"+socket+"'\n")
	got := roamkeyd(t, dir, "cleanup", "-c", "roamkey")
	if got.code != 1 || got.out != "" || !strings.Contains(unwrapped(got.err), "stop it first") {
		t.Errorf("%+v", got)
	}
}
