package main

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/ndp"
)

func keygenCommand() command {
	return command{
		name:    "keygen",
		args:    "[PATH]",
		summary: "make the RSA key that nodes encrypt their keys for, or that of SEND",
		details: `PATH and the length follow the settings if they are not given (lke_key and
key_bits). Where root runs it, the key belongs to the user of the settings, if
there is that user. Nodes agree on new keys when the daemon was restarted.

With --send it is the key that signs, of which the router's addresses on links
with SEND are made (option key of config send, 2048 bits). A new one means new
addresses and a new certificate. The two keys are never one.

With --neighbor NAME it is the key that this router shares with that one, which
protects the messages between the two (option key of config neighbor). It is 32
random octets; copy the file to the other router by a safe way.`,
		run: (*program).keygen,
	}
}

func (p *program) keygen(c *command, args []string) int {
	o := newOptions(c)
	bits := o.Int("bits", 0, "length `N` of the key, 1024 to 4096, otherwise as the settings say (2048; with --send 2048)")
	send := o.Bool("send", false, "make the key of SEND, which signs, instead of that of LKE")
	neighbor := o.String("neighbor", "", "make the key that is shared with the neighbor of that `NAME` in the settings")
	force := o.Bool("force", false, "replace a key that is there")
	rest, code, done := p.read(o, args, 1)
	if done {
		return code
	}
	settings, err := keygenSettings(o.config, len(rest) > 0)
	if err != nil {
		p.fail("%v", err)
		return exitFailed
	}
	if *neighbor != "" {
		return p.keygenShared(settings, *neighbor, rest)
	}
	k := newKey{path: settings.Global.LKEKey, bits: settings.LKE.KeyBits, purpose: "to decrypt only", other: settings.Send.Key, force: *force}
	if *send {
		k.path, k.bits, k.purpose, k.other = settings.Send.Key, sendBits, "to sign only", settings.Global.LKEKey
	}
	if len(rest) > 0 {
		k.path = rest[0]
	}
	if *bits != 0 {
		k.bits = *bits
	}
	if k.bits < engine.MinBits || k.bits > engine.MaxBits || k.bits%8 != 0 {
		p.fail("keygen: --bits %d: take a multiple of 8 from %d to %d, 2048 if in doubt", k.bits, engine.MinBits, engine.MaxBits)
		return exitUsage
	}
	// Before the work, not after it. SaveKey looks again.
	if err := k.check(); err != nil {
		p.fail("%v", err)
		return exitFailed
	}
	if err := p.makeKey(k, settings.Global.User); err != nil {
		p.fail("%v", err)
		return exitFailed
	}
	return exitOK
}

// keygenShared makes the key that two routers share.
func (p *program) keygenShared(settings *config.Config, neighbor string, rest []string) int {
	path := ""
	for _, n := range settings.Neighbors {
		if n.Name == neighbor {
			path = n.Key
		}
	}
	if len(rest) > 0 {
		path = rest[0]
	}
	if path == "" {
		p.fail("keygen: the settings have no neighbor %q: add it, or name the key's path", neighbor)
		return exitUsage
	}
	err := engine.SaveSharedKey(path, rand.Reader)
	switch {
	case errors.Is(err, fs.ErrExist):
		p.fail("%s is there already: remove it first on both routers, if it is to be another one", path)
		return exitFailed
	case err != nil:
		p.fail("%v", err)
		return exitFailed
	}
	owner, err := giveTo(settings.Global.User, []string{path})
	if err != nil {
		p.fail("%v", err)
		return exitFailed
	}
	fmt.Fprintf(p.stdout, "key          %s\n", path)
	fmt.Fprintf(p.stdout, "type         %d random octets, shared with %s\n", engine.SharedKeyLen, neighbor)
	if owner != "" {
		fmt.Fprintf(p.stdout, "owner        %s\n", owner)
	}
	fmt.Fprintln(p.stdout, "next         copy it to the other router, readable by its roamkeyd alone")
	return exitOK
}

// sendBits is the length of SEND's key if nothing else is said: the longest that every node takes (RFC 3971 section 5.1.3, and
// the default of max_bits).
const sendBits = 2048

// newKey is a key to be made.
type newKey struct {
	path    string
	bits    int
	purpose string
	other   string // path of the key for the other purpose
	force   bool   // replace what is there
}

// check looks whether the key may be made there.
func (k newKey) check() error {
	if sameFile(k.path, k.other) {
		return fmt.Errorf("%s is the place of the key for the other purpose in the settings: LKE's only decrypts, SEND's only signs, never one for both; name another path", k.path)
	}
	if _, err := os.Lstat(k.path); err != nil || k.force {
		return nil
	}
	mine, errMine := engine.LoadKey(k.path)
	other, errOther := engine.LoadKey(k.other)
	if errMine == nil && errOther == nil && engine.SeparateKeys(mine, other) != nil {
		return fmt.Errorf("%s is there already, and is the same key as %s: give --force to replace it, and restart roamkeyd", k.path, k.other)
	}
	return fmt.Errorf("%s is there already: give --force to replace it, and restart roamkeyd", k.path)
}

// sameFile reports whether two paths lead to one file, or will when there is one.
func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errA == nil && errB == nil {
		return os.SameFile(infoA, infoB)
	}
	return resolved(a) == resolved(b)
}

// resolved is an absolute path without symbolic links in its directories, as far as these exist.
func resolved(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return filepath.Clean(path)
}

// keygenSettings reads the settings. With a path on the command line they may be missing: a key can be made for any machine.
func keygenSettings(file string, named bool) (*config.Config, error) {
	settings, err := config.Load(file)
	switch {
	case err == nil:
		return settings, nil
	case named || errors.Is(err, fs.ErrNotExist):
		settings, _ = config.Parse(file, "")
		return settings, nil
	}
	return nil, fmt.Errorf("%w\nmend the settings first, or name the key's path", err)
}

func (p *program) makeKey(k newKey, owner string) error {
	path, force := k.path, k.force
	dir := filepath.Dir(path)
	var made bool
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		made = true
	}
	if isTerminal(p.stderr) {
		fmt.Fprintln(p.stderr, "making a key: this may take a minute on a small router")
	}
	key, err := engine.GenerateKey(k.bits)
	if err != nil {
		return err
	}
	name := path
	if force {
		name = filepath.Join(dir, "."+filepath.Base(path)+".new")
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := engine.SaveKey(name, key); err != nil {
		return err
	}
	paths := []string{name}
	if made {
		paths = append(paths, dir)
	}
	owner, err = giveTo(owner, paths)
	if err == nil && force {
		err = os.Rename(name, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return p.describeKey(k, key, owner)
}

// giveTo makes files those of a user, where root may do that and there is the user. It tells whose they are now.
func giveTo(name string, paths []string) (owner string, err error) {
	if os.Geteuid() != 0 {
		return "", nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return "root: there is no user " + name, nil
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	if err := errors.Join(errUID, errGID); err != nil {
		return "", err
	}
	for _, path := range paths {
		if err := os.Lchown(path, uid, gid); err != nil {
			return "", err
		}
	}
	return name, nil
}

func (p *program) describeKey(k newKey, key *rsa.PrivateKey, owner string) error {
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "key          %s\n", k.path)
	fmt.Fprintf(p.stdout, "type         RSA %d, %s\n", key.N.BitLen(), k.purpose)
	fmt.Fprintf(p.stdout, "fingerprint  %s\n", control.Fingerprint(spki))
	if owner != "" {
		fmt.Fprintf(p.stdout, "owner        %s\n", owner)
	}
	return nil
}
