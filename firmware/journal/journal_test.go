package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

var boot = BootID{1, 2, 3}

func open(t *testing.T, dir string) (*Journal, map[string]string) {
	t.Helper()
	j, entries, _, err := Open(dir, boot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, asMap(entries)
}

func asMap(entries []Entry) map[string]string {
	m := make(map[string]string)
	for _, e := range entries {
		m[fmt.Sprintf("%d/%s", e.Kind, e.Key)] = string(e.Value)
	}
	return m
}

func put(t *testing.T, j *Journal, kind uint8, key, value string) {
	t.Helper()
	if err := j.Put(kind, []byte(key), []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func TestEntriesOutlastTheProcess(t *testing.T) {
	dir := t.TempDir()
	j, got := open(t, dir)
	if len(got) != 0 {
		t.Fatalf("a new journal has entries: %v", got)
	}
	put(t, j, 1, "a", "one")
	put(t, j, 1, "b", "two")
	put(t, j, 2, "a", "other kind")
	put(t, j, 1, "a", "three")
	if err := j.Delete(1, []byte("b")); err != nil {
		t.Fatal(err)
	}
	// No Close: the process was killed.
	_, got = open(t, dir)
	want := map[string]string{"1/a": "three", "2/a": "other kind"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	info, err := os.Stat(filepath.Join(dir, "journal"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; keys are in it", info.Mode(), err)
	}
}

// Whatever octet the process was killed at, all entries before it are there and the next one can be written.
func TestTornTailIsDropped(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	put(t, j, 1, "first", "value")
	whole, _ := j.Size()
	put(t, j, 1, "second", "value")
	all, err := os.ReadFile(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	for cut := int(whole); cut < len(all); cut++ {
		d := t.TempDir()
		if err := os.WriteFile(filepath.Join(d, "journal"), all[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j, entries, dropped, err := Open(d, boot)
		if err != nil {
			t.Fatal(err)
		}
		if got := asMap(entries); len(got) != 1 || got["1/first"] != "value" || dropped != int64(cut)-whole {
			t.Fatalf("cut at %d: %v, dropped %d", cut, got, dropped)
		}
		put(t, j, 1, "third", "v")
		j.Close()
		if _, got := open(t, d); got["1/third"] != "v" || got["1/first"] != "value" {
			t.Fatalf("cut at %d: after the next entry %v", cut, got)
		}
	}
}

func TestChangedOctetIsFound(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	put(t, j, 1, "first", "value")
	whole, _ := j.Size()
	put(t, j, 1, "second", "value")
	path := filepath.Join(dir, "journal")
	all, _ := os.ReadFile(path)
	for at := int(whole); at < len(all); at++ {
		broken := bytes.Clone(all)
		broken[at] ^= 0x10
		if err := os.WriteFile(path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		_, entries, dropped, err := Open(dir, boot)
		if err != nil || len(entries) != 1 || dropped == 0 {
			t.Fatalf("octet %d changed: %v, dropped %d, %v", at, asMap(entries), dropped, err)
		}
	}
}

func TestOtherBootAndForeignFileStartEmpty(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	put(t, j, 1, "a", "one")
	other, entries, _, err := Open(dir, BootID{9})
	if err != nil || len(entries) != 0 {
		t.Fatalf("entries of another boot: %v, %v", entries, err)
	}
	other.Close()
	os.WriteFile(filepath.Join(dir, "journal"), []byte("this is some other file"), 0o644)
	j2, got := open(t, dir)
	if len(got) != 0 {
		t.Fatal("entries from a foreign file")
	}
	put(t, j2, 1, "k", "v")
	if _, got := open(t, dir); got["1/k"] != "v" {
		t.Fatalf("after a foreign file: %v", got)
	}
}

func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	put(t, j, 1, "stays", "yes")
	for i := 0; !j.Wasteful(); i++ {
		put(t, j, 1, "changes", fmt.Sprint(i))
		if i > 100_000 {
			t.Fatal("never wasteful")
		}
	}
	put(t, j, 1, "changes", "last")
	put(t, j, 1, "goes", "x")
	if err := j.Delete(1, []byte("goes")); err != nil {
		t.Fatal(err)
	}
	before, _ := j.Size()
	if err := j.Compact(); err != nil {
		t.Fatal(err)
	}
	after, live := j.Size()
	if after >= before/10 || after != live+int64(headerLen) || j.Wasteful() {
		t.Fatalf("size %d after %d, live %d", after, before, live)
	}
	put(t, j, 1, "new", "entry")
	_, got := open(t, dir)
	want := map[string]string{"1/stays": "yes", "1/changes": "last", "1/new": "entry"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v", got)
	}
}

// A full file system fails the Put, so that no reply leaves, and harms nothing that stands.
func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		if os.Getenv("CI") == "true" && os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skip("needs the right to mount a small tmpfs: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	j, _ := open(t, dir)
	value := string(make([]byte, 3000))
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		err = j.Put(1, fmt.Append(nil, n), []byte(value))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("put %d entries: %v", n, err)
	}
	for i := range 10 {
		if err := j.Delete(1, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	_, got := open(t, dir)
	if len(got) != n-1-10 {
		t.Fatalf("%d entries, want %d", len(got), n-1-10)
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir)
	put(t, j, 1, "a", "key")
	if err := j.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "journal")); !os.IsNotExist(err) {
		t.Fatal("the journal is still there")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(append(header(boot), appendEntry(appendEntry(nil, 1, []byte("k"), []byte("v")), 1|0x80, []byte("k"), nil)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "journal"), file, 0o600); err != nil {
			t.Fatal(err)
		}
		j, before, _, err := Open(dir, boot)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Put(1, []byte("probe"), []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := j.Compact(); err != nil {
			t.Fatal(err)
		}
		j.Close()
		_, after := open(t, dir)
		want := asMap(before)
		want["1/probe"] = "x"
		if fmt.Sprint(after) != fmt.Sprint(want) {
			t.Fatalf("before %v, after %v", want, after)
		}
	})
}
