package daemon

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/cga"
)

// identity is what this router's addresses on links with SEND are made of: the public half of send.key, and the modifier that
// was found for it. Its addresses differ in their prefix only (RFC 3972 section 4).
type identity struct {
	private    *rsa.PrivateKey
	params     cga.Params // the prefix is zero
	hash       [16]byte   // by which messages name the key
	sec        uint8
	modulusLen int
	ready      bool // the modifier is found

	// collisions is how many addresses in a prefix were somebody else's (RFC 3972 section 4, step 8). Another process begins
	// anew.
	collisions map[netip.Prefix]uint8

	search *search // that goes on; nil if none does
}

// search is a search for a modifier in the background.
type search struct {
	found    chan [16]byte
	tried    atomic.Uint64
	expected uint64
}

// address gives the router's address in a prefix of which the first 64 bits count.
func (id *identity) address(prefix netip.Prefix) netip.Addr {
	p := id.params.In(prefix)
	p.Collisions = id.collisions[half(prefix)]
	return p.Address(id.sec)
}

// half gives the first 64 bits of a prefix, which are all that counts.
func half(prefix netip.Prefix) netip.Prefix { return netip.PrefixFrom(prefix.Addr(), 64).Masked() }

// mostCollisions is the greatest collision count: after one more the address is given up (RFC 3972 section 4, step 8).
const mostCollisions = 2

// collide notes that the address in a prefix is somebody else's, and reports whether there is another to try.
func (id *identity) collide(prefix netip.Prefix) bool {
	if id.collisions[half(prefix)] == mostCollisions {
		return false
	}
	id.collisions[half(prefix)]++
	return true
}

// loadIdentity reads the key, and the modifier if it was found before.
func loadIdentity(keyPath, stateDir string, sec uint8) (*identity, error) {
	key, err := engine.LoadKey(keyPath)
	if err != nil {
		return nil, err
	}
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		return nil, fmt.Errorf("public key of %s: %w", keyPath, err)
	}
	id := &identity{private: key, params: cga.Params{PublicKey: spki}, hash: cga.KeyHash(spki), sec: sec, collisions: make(map[netip.Prefix]uint8), modulusLen: key.Size()}
	for _, path := range modifierPaths(keyPath, stateDir) {
		modifier, err := readModifier(path, spki, sec)
		if err == nil {
			id.params.Modifier, id.ready = modifier, true
			return id, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errModifier) {
			return nil, err
		}
	}
	return id, nil
}

// modifierPaths are where the modifier may stand: beside the key, so that it outlives a start of the machine, and otherwise
// where the daemon can surely write.
func modifierPaths(keyPath, stateDir string) []string {
	name := strings.TrimSuffix(filepath.Base(keyPath), ".key") + ".cga"
	return []string{filepath.Join(filepath.Dir(keyPath), name), filepath.Join(stateDir, name)}
}

// errModifier: the file is not about this key and Sec value. That is no reason to stop: another one is looked for.
var errModifier = errors.New("no modifier for this key and sec")

// readModifier reads what saveModifier wrote. The modifier is no secret, and is checked: an address must follow from it.
func readModifier(path string, spki []byte, sec uint8) ([16]byte, error) {
	var modifier [16]byte
	f, err := os.Open(path)
	if err != nil {
		return modifier, err
	}
	defer f.Close()
	found := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok && name == "modifier" {
			n, err := hex.Decode(modifier[:], []byte(value))
			found = err == nil && n == len(modifier) && len(value) == 2*len(modifier)
		}
	}
	p := cga.Params{Modifier: modifier, PublicKey: spki}
	if !found || cga.Verify(p.In(linkLocalPrefix()).Address(sec), p.In(linkLocalPrefix())) != nil {
		return modifier, errModifier
	}
	return modifier, nil
}

func linkLocalPrefix() netip.Prefix { return netip.MustParsePrefix("fe80::/64") }

// saveModifier writes the modifier where it can be written, for the next start.
func (id *identity) saveModifier(keyPath, stateDir string) error {
	text := "# What the router's addresses on links with SEND are made of, beside the key.\nsec " + strconv.Itoa(int(id.sec)) +
		"\nmodifier " + hex.EncodeToString(id.params.Modifier[:]) + "\n"
	var errs []error
	for _, path := range modifierPaths(keyPath, stateDir) {
		err := writeWhole(path, text)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// writeWhole writes a file that appears at once and whole.
func writeWhole(path, text string) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(text), 0o644); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		os.Remove(temporary)
		return err
	}
	return nil
}

// find looks for a modifier in the background (RFC 3972 section 4). With Sec 0 any will do.
func (id *identity) find(ctx context.Context) error {
	var start [16]byte
	if _, err := rand.Read(start[:]); err != nil {
		return err
	}
	work := cga.NewSearch(id.params.PublicKey, nil, id.sec, start)
	s := &search{found: make(chan [16]byte, 1), expected: work.Expected()}
	id.search = s
	go func() {
		for ctx.Err() == nil {
			modifier, found := work.Try(searchStep)
			s.tried.Store(work.Tried())
			if found {
				s.found <- modifier
				return
			}
		}
	}()
	return nil
}

// searchStep is how many attempts are made before the search looks whether it shall go on: some milliseconds' worth.
const searchStep = 256

// results gives the channel on which a search that goes on tells what it found; nil if none does.
func (id *identity) results() <-chan [16]byte {
	if id == nil || id.search == nil {
		return nil
	}
	return id.search.found
}

// waits says why there are no addresses yet; empty if there are.
func (id *identity) waits() string {
	if id.ready {
		return ""
	}
	if id.search == nil {
		return "its address is still to be made"
	}
	return fmt.Sprintf("its address is being made: %d of about %d attempts", id.search.tried.Load(), id.search.expected)
}
