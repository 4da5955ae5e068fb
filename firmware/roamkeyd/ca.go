package main

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/certpath"
	"github.com/roamkey/roamkey/ndp/cga"
)

// Files of a trust anchor in its directory.
const (
	anchorKeyFile  = "anchor.key"
	anchorCertFile = "anchor.pem"
	anchorDir      = "/etc/roamkey/ca"
)

// Validity of certificates if nothing else is said, in days.
const (
	anchorDays = 3650
	routerDays = 365
	mostDays   = 36500
)

// lateClocks is how long before its making a certificate is valid already: clocks of nodes may be late.
const lateClocks = 5 * time.Minute

func caCommand() command {
	return command{
		name:    "ca",
		args:    "init | router | show FILE",
		summary: "make and show the certificates with which nodes know their routers by SEND",
		details: `init makes a trust anchor: its key, which should not stay on a router, and its
certificate anchor.pem, which every node has to be given. The prefixes are those
that it may give to routers.

router makes the certificate of a router's SEND key, signed by the anchor in
--dir, and writes it with the anchor's to the file that the settings name
(option certificate of config send). The key is made if it is not there. With
--prefix inherit the router may advertise all that the anchor has.

show tells what is in a file of certificates, and whether they form a path.

Without --prefix the prefixes of the settings are taken.`,
		run: (*program).ca,
	}
}

// prefixList is an option that may be given several times.
type prefixList struct {
	list    []netip.Prefix
	inherit bool
}

func (l *prefixList) String() string { return "" }

func (l *prefixList) Set(value string) error {
	if value == "inherit" {
		l.inherit = true
		return nil
	}
	p, err := netip.ParsePrefix(value)
	switch {
	case err != nil || !p.Addr().Is6() || p.Addr().Is4In6():
		return errors.New("write an IPv6 prefix, as 2001:db8::/32")
	case p != p.Masked():
		return fmt.Errorf("it has bits set behind its length: write %v", p.Masked())
	case p.Bits() == 0:
		return errors.New("that is every address there is: name those that are yours")
	}
	l.list = append(l.list, p)
	return nil
}

// caOptions are those of all that ca does.
type caOptions struct {
	*options
	dir, name, key, out string
	days                int
	force               bool
	prefixes            prefixList
}

// caTakes names the options of each thing that ca does.
func caTakes() map[string][]string {
	return map[string][]string{
		"init":   {"c", "dir", "name", "days", "prefix"},
		"router": {"c", "dir", "name", "days", "prefix", "key", "out", "force"},
		"show":   {"c"},
	}
}

func (p *program) ca(c *command, args []string) int {
	o := &caOptions{options: newOptions(c)}
	o.StringVar(&o.dir, "dir", anchorDir, "`PATH` of the anchor's directory, otherwise "+anchorDir)
	o.StringVar(&o.name, "name", "", "`NAME` in the certificate, otherwise one that no other has")
	o.Var(&o.prefixes, "prefix", "IPv6 prefix `P` that the certificate is for; may be given several times")
	o.IntVar(&o.days, "days", 0, "`N` days of validity, otherwise 3650 for an anchor and 365 for a router")
	o.StringVar(&o.key, "key", "", "router: `FILE` of the SEND key, otherwise as the settings say")
	o.StringVar(&o.out, "out", "", "router: `FILE` of the certificate, otherwise as the settings say")
	o.BoolVar(&o.force, "force", false, "router: replace a certificate that is there")
	rest, code, done := p.read(o.options, args, 2)
	if done {
		return code
	}
	if len(rest) == 0 {
		p.fail("ca: say what to do: init, router, or show FILE; roamkeyd help ca tells more")
		return exitUsage
	}
	takes, ok := caTakes()[rest[0]]
	if !ok {
		p.fail("ca: %q is not known: it does init, router, and show FILE", rest[0])
		return exitUsage
	}
	switch show := rest[0] == "show"; {
	case show && len(rest) == 1:
		p.fail("ca show: name a file with certificates")
		return exitUsage
	case !show && len(rest) == 2:
		p.fail("ca %s: %q is too much: roamkeyd help ca tells what it takes", rest[0], rest[1])
		return exitUsage
	}
	foreign := ""
	o.Visit(func(f *flag.Flag) {
		if !slices.Contains(takes, f.Name) {
			foreign = f.Name
		}
	})
	switch {
	case foreign != "":
		p.fail("ca %s does not take --%s", rest[0], foreign)
		return exitUsage
	case o.days < 0 || o.days > mostDays:
		p.fail("ca %s: --days %d: take 1 to %d", rest[0], o.days, mostDays)
		return exitUsage
	}
	settings, err := caSettings(o.options)
	if err == nil {
		switch rest[0] {
		case "init":
			err = p.caInit(o, settings)
		case "router":
			err = p.caRouter(o, settings)
		default:
			err = p.caShow(rest[1], profileOf(settings))
		}
	}
	if err != nil {
		p.fail("ca %s: %v", rest[0], err)
		return exitFailed
	}
	return exitOK
}

// caSettings reads the settings. They may be missing: an anchor is best made on another machine.
func caSettings(o *options) (*config.Config, error) {
	settings, err := config.Load(o.config)
	if errors.Is(err, fs.ErrNotExist) {
		settings, _ = config.Parse(o.config, "")
		return settings, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w\nmend the settings first, or give -c a file that is not there", err)
	}
	return settings, nil
}

// profileOf is what the settings ask of certificates.
func profileOf(settings *config.Config) certpath.Profile {
	if settings.Send.LaxProfile {
		return certpath.RFC3971
	}
	return certpath.RFC6494
}

// request gives what both kinds of certificates are asked for with, but for a name that nobody gave.
func (o *caOptions) request(settings *config.Config, days int) (certpath.Request, error) {
	now := time.Now()
	if now.Year() < 2025 {
		return certpath.Request{}, fmt.Errorf("the clock says %s: set it first, for certificates hold for a time", now.Format("2006-01-02"))
	}
	if o.days != 0 {
		days = o.days
	}
	r := certpath.Request{Name: o.name, Prefixes: o.prefixes.list, NotBefore: now.Add(-lateClocks), NotAfter: now.AddDate(0, 0, days)}
	if r.Name != "" {
		if err := r.Check(); err != nil {
			return certpath.Request{}, err
		}
	}
	if len(r.Prefixes) > 0 || o.prefixes.inherit {
		return r, nil
	}
	for _, l := range settings.Links {
		for _, p := range l.RA.Prefixes {
			r.Prefixes = append(r.Prefixes, p.Prefix.Masked())
		}
	}
	if len(r.Prefixes) == 0 {
		return certpath.Request{}, errors.New("the settings name no prefixes: give --prefix with those that are yours, as --prefix 2001:db8::/48")
	}
	return r, nil
}

// uniqueName gives a name that no other key's certificate has (RFC 6487 section 4.5).
func uniqueName(kind string, key *rsa.PublicKey) (string, error) {
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		return "", err
	}
	hash := cga.KeyHash(spki)
	return fmt.Sprintf("%s %x", kind, hash[:4]), nil
}

// caInit makes a trust anchor.
func (p *program) caInit(o *caOptions, settings *config.Config) error {
	if o.prefixes.inherit {
		return errors.New("--prefix inherit: a trust anchor has nobody to inherit from")
	}
	keyPath, certPath := filepath.Join(o.dir, anchorKeyFile), filepath.Join(o.dir, anchorCertFile)
	for _, path := range []string{keyPath, certPath} {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s is there already, and a trust anchor is never replaced: give --dir another directory, or move this one away", path)
		}
	}
	request, err := o.request(settings, anchorDays) // before a key is made for nothing
	if err != nil {
		return err
	}
	if err := p.makeAnchorDir(o.dir, settings.Global.User); err != nil {
		return err
	}
	if isTerminal(p.stderr) {
		fmt.Fprintln(p.stderr, "making a key: this may take a minute on a small router")
	}
	key, err := engine.GenerateKey(sendBits)
	if err != nil {
		return err
	}
	if request.Name == "" {
		if request.Name, err = uniqueName("Roamkey anchor", &key.PublicKey); err != nil {
			return err
		}
	}
	der, err := certpath.NewAnchor(rand.Reader, key, request)
	if err != nil {
		return err
	}
	if err := engine.SaveKey(keyPath, key); err != nil {
		return err
	}
	if err := writeNew(certPath, certpath.EncodePEM(der), false); err != nil {
		return errors.Join(err, os.Remove(keyPath))
	}
	fmt.Fprintf(p.stdout, "key          %s\n", keyPath)
	fmt.Fprintf(p.stdout, "certificate  %s\n", certPath)
	if err := p.describeCertificate(der); err != nil {
		return err
	}
	p.wrapped(p.stdout, "next         ", "             ", "roamkeyd ca router on this machine for each router, and "+anchorCertFile+" to each node; keep "+anchorKeyFile+" where nobody else comes: who has it can be any router")
	return nil
}

// makeAnchorDir makes the directory of an anchor, for its owner alone. The daemon's own directory above it, if that is not there
// either, is the daemon's user's, as keygen makes it.
func (p *program) makeAnchorDir(dir, user string) error {
	if above := filepath.Dir(dir); dir == anchorDir {
		if _, err := os.Stat(above); errors.Is(err, fs.ErrNotExist) {
			if err := os.MkdirAll(above, 0o700); err != nil {
				return err
			}
			if _, err := giveTo(user, []string{above}); err != nil {
				return err
			}
		}
	}
	return os.MkdirAll(dir, 0o700)
}

// caRouter makes a certificate for a router's key.
func (p *program) caRouter(o *caOptions, settings *config.Config) error {
	if o.prefixes.inherit && len(o.prefixes.list) > 0 {
		return errors.New("--prefix inherit stands for all prefixes of the anchor: give it alone, or leave it out")
	}
	anchor, signer, err := loadAnchor(o.dir)
	if err != nil {
		return err
	}
	keyPath, out := o.key, o.out
	if keyPath == "" {
		keyPath = settings.Send.Key
	}
	if out == "" {
		out = settings.Send.Certificate
	}
	if _, err := os.Lstat(out); err == nil && !o.force {
		return fmt.Errorf("%s is there already: give --force to replace it, and restart roamkeyd", out)
	}
	request, err := o.request(settings, routerDays) // before a key is made for nothing
	if err != nil {
		return err
	}
	if err := ownedBy(anchor, request.Prefixes, filepath.Join(o.dir, anchorCertFile)); err != nil {
		return err
	}
	if _, err := os.Lstat(keyPath); errors.Is(err, fs.ErrNotExist) {
		k := newKey{path: keyPath, bits: sendBits, purpose: "to sign only", other: settings.Global.LKEKey}
		if err := k.check(); err != nil {
			return err
		}
		if err := p.makeKey(k, settings.Global.User); err != nil {
			return err
		}
	}
	key, err := engine.LoadKey(keyPath)
	if err != nil {
		return err
	}
	if lke, err := engine.LoadKey(settings.Global.LKEKey); err == nil {
		if err := engine.SeparateKeys(lke, key); err != nil {
			return err
		}
	}
	if request.Name == "" {
		if request.Name, err = uniqueName("router", &key.PublicKey); err != nil {
			return err
		}
	}
	der, err := certpath.NewRouterCertificate(rand.Reader, anchor, signer, &key.PublicKey, request)
	if err != nil {
		return err
	}
	text := certpath.EncodePEM(der, anchor.Certificate.Raw)
	if _, err := certpath.LoadChain(text, certpath.RFC6494); err != nil {
		return err
	}
	if err := writeNew(out, text, o.force); err != nil {
		return err
	}
	if n := key.N.BitLen(); n > sendBits {
		p.wrapped(p.stderr, "note: ", "  ", fmt.Sprintf("the key has %d bits, and nodes take up to %d if they are not told otherwise (max_bits)", n, sendBits))
	}
	fmt.Fprintf(p.stdout, "certificate  %s\n", out)
	return p.describeCertificate(der)
}

// loadAnchor reads the trust anchor in dir.
func loadAnchor(dir string) (certpath.Anchor, *rsa.PrivateKey, error) {
	keyPath, certPath := filepath.Join(dir, anchorKeyFile), filepath.Join(dir, anchorCertFile)
	text, err := os.ReadFile(certPath)
	if errors.Is(err, fs.ErrNotExist) {
		return certpath.Anchor{}, nil, fmt.Errorf("there is no trust anchor in %s: make one with roamkeyd ca init, or give --dir", dir)
	}
	if err != nil {
		return certpath.Anchor{}, nil, err
	}
	anchors, err := certpath.LoadAnchors(text)
	if err != nil {
		return certpath.Anchor{}, nil, fmt.Errorf("%s: %w", certPath, err)
	}
	if len(anchors) != 1 {
		return certpath.Anchor{}, nil, fmt.Errorf("%s: %d certificates where one is expected: leave that of %s", certPath, len(anchors), anchorKeyFile)
	}
	key, err := engine.LoadKey(keyPath)
	return anchors[0], key, err
}

// ownedBy checks that the anchor may give out the prefixes.
func ownedBy(anchor certpath.Anchor, prefixes []netip.Prefix, file string) error {
	blocks, _, err := certpath.Addresses(anchor.Certificate)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, prefix := range prefixes {
		if !blocks.Set.ContainsPrefix(prefix) {
			return fmt.Errorf("%v is not the anchor's to give: it has %v (%s); take a prefix of these, or make another anchor", prefix, blocks.Set, file)
		}
	}
	return nil
}

// writeNew writes a file that all may read; it appears at once and whole. Another one is replaced only if that is wanted.
func writeNew(path string, text []byte, replace bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".cert-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if _, there := os.Lstat(path); there == nil && !replace {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return os.Rename(f.Name(), path)
}
