package main

import (
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
		summary: "make the RSA key that nodes encrypt their keys for",
		details: `PATH and the length follow the settings if they are not given (lke_key and
key_bits). Where root runs it, the key belongs to the user of the settings, if
there is that user. Nodes agree on new keys when the daemon was restarted.`,
		run: (*program).keygen,
	}
}

func (p *program) keygen(c *command, args []string) int {
	o := newOptions(c)
	bits := o.Int("bits", 0, "length `N` of the key, 1024 to 4096, otherwise as the settings say (2048)")
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
	path := settings.Global.LKEKey
	if len(rest) > 0 {
		path = rest[0]
	}
	if *bits == 0 {
		*bits = settings.LKE.KeyBits
	}
	if *bits < engine.MinBits || *bits > engine.MaxBits || *bits%8 != 0 {
		p.fail("keygen: --bits %d: take a multiple of 8 from %d to %d, 2048 if in doubt", *bits, engine.MinBits, engine.MaxBits)
		return exitUsage
	}
	if !*force {
		// Before the work, not after it. SaveKey looks again.
		if _, err := os.Lstat(path); err == nil {
			p.fail("%s is there already: give --force to replace it, and restart roamkeyd", path)
			return exitFailed
		}
	}
	if err := p.makeKey(path, *bits, *force, settings.Global.User); err != nil {
		p.fail("%v", err)
		return exitFailed
	}
	return exitOK
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

func (p *program) makeKey(path string, bits int, force bool, owner string) error {
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
	key, err := engine.GenerateKey(bits)
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
	return p.describeKey(path, key, owner)
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

func (p *program) describeKey(path string, key *rsa.PrivateKey, owner string) error {
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "key          %s\n", path)
	fmt.Fprintf(p.stdout, "type         RSA %d, to decrypt only\n", key.N.BitLen())
	fmt.Fprintf(p.stdout, "fingerprint  %s\n", control.Fingerprint(spki))
	if owner != "" {
		fmt.Fprintf(p.stdout, "owner        %s\n", owner)
	}
	return nil
}
