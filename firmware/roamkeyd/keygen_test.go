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

// lke.key and send.key are two keys in two files.
func TestKeygenSend(t *testing.T) {
	dir := t.TempDir()
	lke, send := filepath.Join(dir, "lke.key"), filepath.Join(dir, "send.key")
	write(t, dir, "roamkey", fmt.Sprintf("config roamkey\n\toption lke_key '%s'\nconfig lke\n\toption key_bits '1032'\nconfig send\n\toption key '%s'\nconfig link 'lan'\n\toption device 'br-lan'\n", lke, send))
	if got := roamkeyd(t, dir, "keygen", "--send", "-c", "roamkey"); got.code != 0 || !strings.Contains(got.out, "RSA 2048, to sign only") || !strings.Contains(got.out, send) {
		t.Fatalf("%+v", got)
	}
	key, err := engine.LoadKey(send)
	if err != nil || key.N.BitLen() != 2048 {
		t.Fatalf("%v", err)
	}
	if info, err := os.Stat(send); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(lke); err == nil {
		t.Error("LKE's key was made, too")
	}
	// Neither takes the other's place, by whatever path and even by force.
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--send", lke}, {"--send", "--force", filepath.Join(dir, "link", "lke.key")}, {"--send", dir + "/link/./lke.key"}, {"--send", "lke.key"},
		{send}, {"--force", send}, {"--force", filepath.Join(dir, "link", "send.key")},
	} {
		got := roamkeyd(t, dir, append([]string{"keygen", "-c", "roamkey", "--bits=1024"}, args...)...)
		if got.code != 1 || !strings.Contains(unwrapped(got.err), "never one for both") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	if again, err := engine.LoadKey(send); err != nil || !again.Equal(key) {
		t.Error("the key was replaced")
	}
	if _, err := os.Stat(lke); err == nil {
		t.Error("a key was made in LKE's place")
	}
	// A copy is told of, and replaced by force.
	if err := engine.SaveKey(lke, key); err != nil {
		t.Fatal(err)
	}
	if got := roamkeyd(t, dir, "keygen", "-c", "roamkey"); got.code != 1 || !strings.Contains(unwrapped(got.err), "is the same key as "+send) {
		t.Errorf("%+v", got)
	}
	if got := roamkeyd(t, dir, "keygen", "-c", "roamkey", "--force"); got.code != 0 || !strings.Contains(got.out, "RSA 1032, to decrypt only") {
		t.Errorf("%+v", got)
	}
	if got := roamkeyd(t, dir, "keygen", "-c", "roamkey"); got.code != 1 || strings.Contains(unwrapped(got.err), "same key") {
		t.Errorf("%+v", got)
	}
	// The length can be chosen.
	if got := roamkeyd(t, dir, "keygen", "-c", "roamkey", "--send", "--bits=1024", filepath.Join(dir, "short.key")); got.code != 0 || !strings.Contains(got.out, "RSA 1024, to sign only") {
		t.Errorf("%+v", got)
	}
}

// TestKeygenShared makes the key of two routers where the settings say, once.
func TestKeygenShared(t *testing.T) {
	dir := t.TempDir()
	path, conf := filepath.Join(dir, "up.key"), filepath.Join(dir, "conf")
	settings := "config link 'lan'\n\toption device 'br-lan'\nconfig neighbor 'up'\n\tlist prefix '2001:db8:2::/64'\n\toption key '" + path + "'\n"
	if err := os.WriteFile(conf, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	got := roamkeyd(t, dir, "keygen", "--neighbor", "up", "-c", conf)
	if got.code != 0 || !strings.Contains(got.out, path) || !strings.Contains(got.out, "shared with up") {
		t.Fatalf("%+v", got)
	}
	key, err := engine.LoadSharedKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); strings.Contains(got.out, strings.TrimSpace(string(text))) {
		t.Error("the key was printed")
	}
	if again := roamkeyd(t, dir, "keygen", "--neighbor", "up", "-c", conf); again.code != 1 || !strings.Contains(unwrapped(again.err), "is there already") {
		t.Errorf("%+v", again)
	}
	if same, _ := engine.LoadSharedKey(path); string(same) != string(key) {
		t.Error("the key was replaced")
	}
	if none := roamkeyd(t, dir, "keygen", "--neighbor", "down", "-c", conf); none.code != 2 || !strings.Contains(unwrapped(none.err), "no neighbor \"down\"") {
		t.Errorf("%+v", none)
	}
	if named := roamkeyd(t, dir, "keygen", "--neighbor", "down", filepath.Join(dir, "down.key"), "-c", "none"); named.code != 0 {
		t.Errorf("%+v", named)
	}
}
