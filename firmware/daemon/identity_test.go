package daemon

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/ndp/cga"
)

// TestIdentity: at the first start the modifier is looked for, with progress; a later start finds it where it was written.
// All addresses are CGAs of the key.
func TestIdentity(t *testing.T) {
	for _, sec := range []uint8{0, 1} {
		dir, state := t.TempDir(), t.TempDir()
		path := filepath.Join(dir, "send.key")
		key, err := engine.GenerateKey(1024)
		if err != nil {
			t.Fatal(err)
		}
		if err := engine.SaveKey(path, key); err != nil {
			t.Fatal(err)
		}
		id, err := loadIdentity(path, state, sec)
		if err != nil {
			t.Fatal(err)
		}
		if id.ready || id.waits() == "" || id.results() != nil {
			t.Error("an identity out of nothing")
		}
		if err := id.find(context.Background()); err != nil {
			t.Fatal(err)
		}
		select {
		case id.params.Modifier = <-id.results():
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing found: %s", id.waits())
		}
		id.ready = true
		if err := id.saveModifier(path, state); err != nil {
			t.Fatal(err)
		}
		prefix := netip.MustParsePrefix("2001:db8:1::/64")
		addr := id.address(prefix)
		if !prefix.Contains(addr) || cga.Sec(addr) != sec || cga.Verify(addr, id.params.In(prefix)) != nil {
			t.Errorf("sec %d: %v is no CGA", sec, addr)
		}
		again, err := loadIdentity(path, state, sec)
		if err != nil || !again.ready || again.address(prefix) != addr {
			t.Errorf("sec %d: the next start has %v, %v", sec, again, err)
		}
		if other, err := loadIdentity(path, state, sec+1); err != nil || sec == 0 && other.ready {
			t.Errorf("a modifier of sec %d is taken for %d (%v)", sec, sec+1, err)
		}
	}
}

// TestModifierElsewhere: where the key's directory cannot be written the state directory is taken, and a file that is damaged
// is not believed.
func TestModifierElsewhere(t *testing.T) {
	state := t.TempDir()
	key, err := engine.GenerateKey(1024)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "send.key")
	if err := engine.SaveKey(path, key); err != nil {
		t.Fatal(err)
	}
	id, err := loadIdentity(path, state, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.find(context.Background()); err != nil {
		t.Fatal(err)
	}
	id.params.Modifier = <-id.results()
	missing := filepath.Join(dir, "gone", "send.key")
	if err := id.saveModifier(missing, state); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(state, "send.cga")
	if again, err := loadIdentity(path, state, 1); err != nil || !again.ready {
		t.Errorf("not found in the state directory: %v", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"other modifier": strings.Replace(string(text), "modifier ", "modifier 00", 1)[:len(text)],
		"short":          string(text[:len(text)-3]),
		"empty":          "",
		"no hex":         strings.Replace(string(text), "modifier ", "modifier zz", 1),
	} {
		if err := os.WriteFile(file, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if again, err := loadIdentity(path, state, 1); err != nil || again.ready {
			t.Errorf("%s: believed, or %v", name, err)
		}
	}
}

func TestIdentityWithoutKey(t *testing.T) {
	if _, err := loadIdentity(filepath.Join(t.TempDir(), "send.key"), t.TempDir(), 1); err == nil {
		t.Error("no error without a key")
	}
}
