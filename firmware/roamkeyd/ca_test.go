package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/ndp/certpath"
)

// caIn runs roamkeyd ca without settings.
func caIn(t *testing.T, dir string, args ...string) result {
	t.Helper()
	got := roamkeyd(t, dir, append(append([]string{"ca"}, args...), "-c", "none")...)
	for line := range strings.Lines(got.out + got.err) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > 80 {
			t.Errorf("%v: wider than 80 columns: %s", args, line)
		}
	}
	return got
}

// A trust anchor, a certificate for a router whose key is made with it, and what show says of both; openssl agrees.
func TestCA(t *testing.T) {
	dir := t.TempDir()
	made := caIn(t, dir, "init", "--dir", "ca", "--prefix", "2001:db8::/32", "--prefix", "fd00:1::/32", "--name", "test anchor")
	if made.code != 0 || made.err != "" || !strings.Contains(made.out, "\nsubject      CN=test anchor\nissuer       itself\nkind         trust anchor\naddresses    2001:db8::/32, fd00:1::/32\n") {
		t.Fatalf("%+v", made)
	}
	for path, mode := range map[string]os.FileMode{"ca": 0o700, "ca/anchor.key": 0o600, "ca/anchor.pem": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	router := caIn(t, dir, "router", "--dir", "ca", "--prefix", "2001:db8:1::/64", "--key", "rk/send.key", "--out", "rk/send.pem")
	if router.code != 0 || router.err != "" || !strings.Contains(router.out, "type         RSA 2048, to sign only\n") ||
		!strings.Contains(router.out, "\nissuer       CN=test anchor\nkind         node, for sendRouter\naddresses    2001:db8:1::/64\n") {
		t.Fatalf("%+v", router)
	}
	key, err := engine.LoadKey(filepath.Join(dir, "rk/send.key"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "rk/send.pem"))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := certpath.LoadChain(text, certpath.RFC6494)
	if err != nil || !chain.HasAnchor || len(chain.Certificates) != 1 || len(chain.Certificates[0]) > 1000 {
		t.Fatalf("%v, %d octets", err, len(chain.Certificates[0]))
	}
	if year := time.Until(chain.NotAfter); year < 364*24*time.Hour || year > 367*24*time.Hour || !chain.ValidAt(time.Now()) {
		t.Errorf("valid from %v until %v", chain.NotBefore, chain.NotAfter)
	}
	shown := caIn(t, dir, "show", "rk/send.pem")
	if shown.code != 0 || !strings.HasSuffix(shown.out, "\n\nverdict      good: a path from the anchor, by rfc6494\n") || !strings.Contains(router.out, shown.out[:strings.Index(shown.out, "\n\n")]) {
		t.Errorf("%+v", shown)
	}
	if shown := caIn(t, dir, "show", "ca/anchor.pem"); shown.code != 0 || !strings.HasSuffix(shown.out, "\nverdict      good: 1 trust anchor\n") {
		t.Errorf("%+v", shown)
	}
	for _, secret := range []string{"ca/anchor.key", "rk/send.key"} {
		text, err := os.ReadFile(filepath.Join(dir, secret))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
			if strings.Contains(made.out+router.out+shown.out, line) {
				t.Error("a private key was printed")
			}
		}
	}
	// Of the file openssl takes the first, the router's.
	verify := exec.Command("openssl", "verify", "-x509_strict", "-CAfile", "ca/anchor.pem", "rk/send.pem")
	verify.Dir = dir
	if out, err := verify.CombinedOutput(); err != nil || string(out) != "rk/send.pem: OK\n" {
		t.Errorf("openssl (apt-get install openssl): %v\n%s", err, out)
	}

	// A new certificate for the same key, on demand only, and all that the anchor has on demand.
	again := []string{"router", "--dir", "ca", "--prefix", "inherit", "--key", "rk/send.key", "--out", "rk/send.pem", "--days", "7", "--name", "ar1"}
	if got := caIn(t, dir, again...); got.code != 1 || !strings.HasSuffix(unwrapped(got.err), "rk/send.pem is there already: give --force to replace it, and restart roamkeyd") {
		t.Errorf("%+v", got)
	}
	if got := caIn(t, dir, append(again, "--force")...); got.code != 0 || !strings.Contains(got.out, "subject      CN=ar1\n") || !strings.Contains(got.out, "addresses    those of the issuer\n") {
		t.Errorf("%+v", got)
	}
	if same, err := engine.LoadKey(filepath.Join(dir, "rk/send.key")); err != nil || !same.Equal(key) {
		t.Error("the key was replaced")
	}
	for _, d := range []string{"rk", "ca"} {
		if files, _ := os.ReadDir(filepath.Join(dir, d)); len(files) != 2 {
			t.Errorf("left behind in %s: %v", d, files)
		}
	}
}

// What cannot be is refused, before a key is made, and the text says what to do.
func TestCARefuses(t *testing.T) {
	dir := t.TempDir()
	if got := caIn(t, dir, "init", "--dir", "ca", "--prefix", "2001:db8::/32", "--days", "30"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if got := caIn(t, dir, "router", "--dir", "ca", "--prefix", "2001:db8::/32", "--key", "send.key", "--out", "send.pem", "--days", "7"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"", 2, "say what to do: init, router, or show FILE"},
		{"sign", 2, `"sign" is not known`},
		{"show", 2, "name a file"},
		{"init now", 2, `"now" is too much`},
		{"router now", 2, `"now" is too much`},
		{"show a b", 2, `"b" is too much`},
		{"show x --prefix 2001:db8::/32", 2, "does not take --prefix"},
		{"init --key x", 2, "does not take --key"},
		{"init --days -1 --dir new", 2, "take 1 to 36500"},
		{"init --prefix 10.0.0.0/8 --dir new", 2, "write an IPv6 prefix"},
		{"init --prefix 2001:db8::1/32 --dir new", 2, "write 2001:db8::/32"},
		{"init --prefix ::/0 --dir new", 2, "name those that are yours"},
		{"init --dir new", 1, "give --prefix with those that are yours"},
		{"init --dir new --prefix inherit", 1, "nobody to inherit from"},
		{"init --dir new --prefix 2001:db8::/32 --name a_b", 1, "cannot be the name of a certificate"},
		{"init --dir ca --prefix 2001:db8::/32", 1, "ca/anchor.key is there already, and a trust anchor is never replaced"},
		{"router --dir new --prefix 2001:db8::/32", 1, "make one with roamkeyd ca init"},
		{"router --dir ca --key new.key --out new.pem", 1, "give --prefix"},
		{"router --dir ca --key new.key --out new.pem --prefix 2001:db8::/31", 1, "2001:db8::/31 is not the anchor's to give: it has 2001:db8::/32"},
		{"router --dir ca --key new.key --out new.pem --prefix 2001:db8:1::/48 --prefix fd00::/16", 1, "fd00::/16 is not the anchor's"},
		{"router --dir ca --key new.key --out new.pem --prefix 2001:db8::/48 --prefix inherit", 1, "give it alone"},
		{"router --dir ca --key send.key --out new.pem --prefix 2001:db8::/48 --days 31", 1, "take fewer days, or make a new anchor"},
		{"router --dir ca --key ca/anchor.key --out new.pem --prefix 2001:db8::/48 --days 7", 1, "each needs one of its own"},
		{"router --dir ca --key ca/anchor.pem --out new.pem --prefix 2001:db8::/48 --days 7", 1, "others can read this key"},
		{"show none", 1, "no such file"},
		{"show .", 1, "no file of certificates"},
		{"show send.key", 1, "no certificate in it"},
	} {
		got := caIn(t, dir, strings.Fields(tt.args)...)
		if got.code != tt.code || got.out != "" || !strings.Contains(strings.ReplaceAll(got.err, "\n  ", " "), tt.says) {
			t.Errorf("%s: %+v, want %q", tt.args, got, tt.says)
		}
	}
	for _, made := range []string{"new", "new.key", "new.pem"} {
		if _, err := os.Stat(filepath.Join(dir, made)); err == nil {
			t.Errorf("%s was made", made)
		}
	}
	// The key of LKE only decrypts.
	write(t, dir, "roamkey", fmt.Sprintf("config roamkey\n\toption lke_key '%s'\nconfig link 'lan'\n\toption device 'br-lan'\n", filepath.Join(dir, "send.key")))
	got := roamkeyd(t, dir, "ca", "router", "--dir", "ca", "--key", "send.key", "--out", "new.pem", "--prefix", "2001:db8::/48", "--days", "7", "-c", "roamkey")
	if got.code != 1 || !strings.Contains(unwrapped(got.err), engine.ErrSameKey.Error()) {
		t.Errorf("%+v", got)
	}
}

// Without --prefix, --key and --out the settings tell.
func TestCAFollowsTheSettings(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "roamkey", fmt.Sprintf(`config send
	option key '%[1]s/s.key'
	option certificate '%[1]s/s.pem'
config link 'lan'
	option device 'br-lan'
	list prefix '2001:db8:7:1::/64'
`, dir))
	if got := roamkeyd(t, dir, "ca", "init", "--dir", "ca", "-c", "roamkey"); got.code != 0 || !strings.Contains(got.out, "addresses    2001:db8:7:1::/64\n") {
		t.Fatalf("%+v", got)
	}
	if got := roamkeyd(t, dir, "ca", "router", "--dir", "ca", "-c", "roamkey"); got.code != 0 || !strings.Contains(got.out, "certificate  "+dir+"/s.pem\n") {
		t.Fatalf("%+v", got)
	}
	if got := roamkeyd(t, dir, "ca", "show", "s.pem", "-c", "roamkey"); got.code != 0 {
		t.Errorf("%+v", got)
	}
	write(t, dir, "bad", "config nonsense\n")
	if got := roamkeyd(t, dir, "ca", "init", "--dir", "other", "-c", "bad"); got.code != 1 || !strings.Contains(got.err, "mend the settings first") {
		t.Errorf("%+v", got)
	}
}

// What another implementation made is shown, too, and judged by the profile of the settings. Names cannot drive the terminal.
func TestCAShowsOthers(t *testing.T) {
	anchor := "../../testdata/captures/send-trust-anchor.pem"
	if got := roamkeyd(t, ".", "ca", "show", anchor, "-c", "none"); got.code != 0 || !strings.Contains(got.out, "key          RSA 1024, signed with SHA1-RSA\n") {
		t.Errorf("%+v", got)
	}
	if got := printable("CN=\x1b[2Jevil\u202e"); got != "CN=?[2Jevil?" {
		t.Errorf("%q", got)
	}
	dir := t.TempDir()
	if got := caIn(t, dir, "init", "--dir", "one", "--prefix", "2001:db8::/32"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if got := caIn(t, dir, "init", "--dir", "two", "--prefix", "2001:db8::/32"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if got := caIn(t, dir, "router", "--dir", "one", "--key", "k", "--out", "r.pem", "--prefix", "inherit"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	router, err := os.ReadFile(filepath.Join(dir, "r.pem"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(filepath.Join(dir, "two/anchor.pem"))
	if err != nil {
		t.Fatal(err)
	}
	end := strings.Index(string(router), "-----END CERTIFICATE-----\n") + len("-----END CERTIFICATE-----\n")
	write(t, dir, "mixed.pem", string(router[:end])+string(other))
	if got := caIn(t, dir, "show", "mixed.pem"); got.code != 1 || !strings.Contains(unwrapped(got.err), "is not on the way from the anchor to the router") {
		t.Errorf("%+v", got)
	}
}
