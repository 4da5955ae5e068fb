package engine

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSharedKey: what is saved is read again, in whatever of the two forms, and is never replaced.
func TestSharedKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "upstairs.key")
	if err := SaveSharedKey(path, rand.Reader); err != nil {
		t.Fatal(err)
	}
	key, err := LoadSharedKey(path)
	if err != nil || len(key) != SharedKeyLen {
		t.Fatalf("%d octets, %v", len(key), err)
	}
	if err := SaveSharedKey(path, rand.Reader); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a key that is there: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other.key")
	if err := SaveSharedKey(other, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if second, err := LoadSharedKey(other); err != nil || bytes.Equal(key, second) {
		t.Errorf("two keys are one, or %v", err)
	}
	digits := hex.EncodeToString(key)
	for _, text := range []string{digits, digits[:10] + "\n  " + digits[10:] + "\n\n", base64.StdEncoding.EncodeToString(key)} {
		if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if again, err := LoadSharedKey(other); err != nil || !bytes.Equal(again, key) {
			t.Errorf("%d octets of text: %v", len(text), err)
		}
	}
}

// TestSharedKeyRefused: what is too short, too long or no key, and what others may read. No message shows what stands there.
func TestSharedKeyRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k.key")
	secret := strings.Repeat("5e", 31)
	for name, text := range map[string]string{
		"short": secret, "empty": "", "no digits": strings.Repeat("secret! ", 8), "long": strings.Repeat("5e", 513), "odd": strings.Repeat("5", 65) + "!",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadSharedKey(path)
		if err == nil || !strings.Contains(err.Error(), "keygen --neighbor") || strings.Contains(err.Error(), "5e5e") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("5e", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSharedKey(path); !errors.Is(err, ErrMode) {
		t.Errorf("a key that a group can read: %v", err)
	}
}
