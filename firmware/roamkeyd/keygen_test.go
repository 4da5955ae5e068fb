package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/roamkey/roamkey/drivers/engine"
)

func TestKeygen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keys", "lke.key")
	got := roamkeyd(t, dir, "keygen", path, "--bits", "1024", "-c", "none")
	shape := regexp.MustCompile(`^key          ` + regexp.QuoteMeta(path) + `\ntype         RSA 1024, to decrypt only\nfingerprint  SHA256:[A-Za-z0-9+/]{43}\n(owner .*\n)?$`)
	if got.code != 0 || got.err != "" || !shape.MatchString(got.out) {
		t.Fatalf("%+v", got)
	}
	for p, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
	key, err := engine.LoadKey(path)
	if err != nil || key.N.BitLen() != 1024 {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
		if strings.Contains(got.out, line) {
			t.Error("the private key was printed")
		}
	}

	// It is not replaced by accident, ...
	again := roamkeyd(t, dir, "keygen", path, "--bits", "1024", "-c", "none")
	if again.code != 1 || !strings.HasSuffix(unwrapped(again.err), "is there already: give --force to replace it, and restart roamkeyd") {
		t.Errorf("%+v", again)
	}
	if same, err := engine.LoadKey(path); err != nil || !same.Equal(key) {
		t.Error("the key was replaced")
	}
	// ... but on demand, and nothing is left beside it.
	if forced := roamkeyd(t, dir, "keygen", "--force", path, "--bits=1024", "-c", "none"); forced.code != 0 {
		t.Errorf("%+v", forced)
	}
	if other, err := engine.LoadKey(path); err != nil || other.Equal(key) {
		t.Error("the key was not replaced")
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

func TestKeygenFollowsTheSettings(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "from-settings.key")
	write(t, dir, "roamkey", fmt.Sprintf("config roamkey\n\toption lke_key '%s'\n\toption user 'nobody'\nconfig lke\n\toption key_bits '1032'\nconfig link 'lan'\n\toption device 'br-lan'\n", path))
	if got := roamkeyd(t, dir, "keygen", "-c", "roamkey"); got.code != 0 || !strings.Contains(got.out, "RSA 1032") {
		t.Fatalf("%+v", got)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		if uid := fmt.Sprint(info.Sys().(*syscall.Stat_t).Uid); uid != nobody.Uid {
			t.Errorf("the key belongs to %s", uid)
		}
	}
	write(t, dir, "roamkey", "config nonsense\n")
	if got := roamkeyd(t, dir, "keygen", "-c", "roamkey"); got.code != 1 || !strings.Contains(got.err, "mend the settings first") {
		t.Errorf("%+v", got)
	}
}
