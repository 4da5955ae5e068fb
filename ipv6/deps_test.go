package ipv6_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The cores also build with TinyGo and stay small; what these packages stand on must not draw in a network stack, X.509,
// or the packages that drag reflection over everything.
func TestCoresStandOnLittle(t *testing.T) {
	if host, err := exec.Command("go", "env", "GOHOSTARCH").Output(); err != nil || strings.TrimSpace(string(host)) != runtime.GOARCH {
		if err != nil && os.Getenv("CI") == "true" && runtime.GOARCH == "amd64" {
			t.Fatalf("the go command is needed: %v", err)
		}
		t.Skipf("asks the go command, which does not run where tests are emulated (this is %s)", runtime.GOARCH)
	}
	forbidden := []string{
		"net", "golang.org/x/net", "crypto/x509", "crypto/tls", "os/signal", "encoding/json", "log/slog",
	}
	for _, core := range []string{
		"ipv6", "ndp", "ndp/cga", "ndp/send", "ndp/neighbor", "ndp/certpath", "mipsec/pacing", "mipsec/mobility", "mipsec/lke", "mipsec/handoverkey", "mipsec/fmip",
	} {
		dir := filepath.Join("..", core)
		if sources, _ := filepath.Glob(filepath.Join(dir, "*.go")); len(sources) == 0 {
			continue // not built yet
		}
		t.Run(core, func(t *testing.T) {
			list := exec.Command("go", "list", "-deps", ".")
			list.Dir = dir
			list.Stderr = os.Stderr
			out, err := list.Output()
			if err != nil {
				t.Fatal(err)
			}
			deps := strings.Fields(string(out))
			if len(deps) < 2 {
				t.Fatalf("no dependencies at all: %q", out)
			}
			for _, dep := range deps {
				path := strings.TrimPrefix(dep, "vendor/")
				for _, f := range forbidden {
					if path == f || f == "golang.org/x/net" && strings.HasPrefix(path, f+"/") {
						t.Errorf("stands on %s", dep)
					}
				}
			}
		})
	}
}
