package daemon

import (
	"strings"
	"testing"
)

func TestOneDaemonInANamespace(t *testing.T) {
	release, err := claim()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim(); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Fatalf("the second claim: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	release, err = claim()
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	release()
}
