package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLoadOrderPutsDependenciesFirst(t *testing.T) {
	dir := t.TempDir()
	dep := "kernel/net/ip6_tunnel.ko: kernel/net/tunnel6.ko kernel/net/ip_tunnel.ko\nkernel/net/tunnel6.ko:\nkernel/net/ip_tunnel.ko:\n" +
		"kernel/net/esp6.ko.xz: kernel/net/tunnel6.ko\n"
	os.WriteFile(filepath.Join(dir, "modules.dep"), []byte(dep), 0o644)
	os.WriteFile(filepath.Join(dir, "modules.builtin"), []byte("kernel/net/af-packet.ko\n"), 0o644)
	k := kernel{version: "6.1", modules: dir}
	order, err := k.loadOrder([]string{"ip6_tunnel", "af_packet", "esp6"})
	want := "kernel/net/ip_tunnel.ko kernel/net/tunnel6.ko kernel/net/ip6_tunnel.ko kernel/net/esp6.ko.xz"
	if err != nil || strings.Join(order, " ") != want {
		t.Fatalf("got %q, %v", order, err)
	}
	if _, err := k.loadOrder([]string{"gone"}); err == nil || !strings.Contains(err.Error(), "no module gone") {
		t.Fatalf("a module that is not there: %v", err)
	}
}

// cpio, which nobody here wrote, reads the archive.
func TestInitramfsIsACpioArchive(t *testing.T) {
	tool, err := exec.LookPath("cpio")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("cpio is missing: apt-get install cpio")
		}
		t.Skip("cpio is missing: apt-get install cpio")
	}
	a := newInitramfs()
	a.add("/a/b/c", 0o755, []byte("content"))
	a.add("/a/odd", 0o644, []byte("1"))
	path := filepath.Join(t.TempDir(), "initrd")
	if err := a.write(path); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", "zcat "+path+" | "+tool+" -tv --quiet").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"drwxr-xr-x", "-rwxr-xr-x", "7 Jan  1  1970 a/b/c", "1 Jan  1  1970 a/odd"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func TestConsoleTellsHowStepsEnded(t *testing.T) {
	console := "\x1bc\x1b[?7l\x1b[2Jboot noise\r\nLAB-STEP one\r\nresult: x\r\n    --- SKIP: TestX (0.00s)\r\nLAB-DONE one 0 1s\r\nLAB-DONE two 3 2s\r\nLAB-EXIT 1\r\n"
	var out bytes.Buffer
	r, ended := follow(strings.NewReader(console), &out)
	if !ended || r.codes["one"] != 0 || r.codes["two"] != 3 || !strings.Contains(out.String(), "result: x\n") || strings.ContainsAny(out.String(), "\x1b\r") {
		t.Fatalf("ended %v, results %v, output %q", ended, r, out.String())
	}
	steps := []step{{name: "one"}, {name: "two"}, {name: "three"}}
	err := r.judge(steps)
	if err == nil || !strings.Contains(err.Error(), "two failed with code 3") || !strings.Contains(err.Error(), "three did not run") ||
		!strings.Contains(err.Error(), "SKIP: TestX") {
		t.Fatalf("judge: %v", err)
	}
	if _, ended := follow(strings.NewReader("LAB-STEP one\nKernel panic"), &out); ended {
		t.Fatal("a guest that stopped counts as ended")
	}
}

func TestPlan(t *testing.T) {
	got := string(plan([]string{"kernel/a.ko"}, []step{{"s", 90 * time.Second, []string{"/bin/x", "-v"}}}))
	if got != "module /modules/kernel/a.ko\nstep s 90 /bin/x -v\n" {
		t.Fatalf("%q", got)
	}
}
