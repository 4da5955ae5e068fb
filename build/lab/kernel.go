package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernel is one of Debian's kernels, unpacked.
type kernel struct {
	name    string // of Debian's package
	dir     string // where the package is unpacked
	version string // as uname -r says it
	image   string // path of vmlinuz
	modules string // path of lib/modules/VERSION
}

// fetchKernel downloads and unpacks the kernel that meta, a package such as linux-image-amd64, stands for. What is in cache is
// not fetched again.
func fetchKernel(meta, cache string) (kernel, error) {
	k, err := unpackedKernel(meta, cache)
	if err == nil {
		return k, nil
	}
	// A fresh machine has no package lists yet, and those of an old one name kernels that are gone.
	if os.Getuid() != 0 {
		return kernel{}, fmt.Errorf("%w: if apt's package lists are missing or old: sudo apt-get update", err)
	}
	if err := command("apt-get", "-qq", "update").Run(); err != nil {
		return kernel{}, fmt.Errorf("fetch apt's package lists: %w", err)
	}
	return unpackedKernel(meta, cache)
}

func unpackedKernel(meta, cache string) (kernel, error) {
	k, err := kernelOf(meta, cache)
	if err == nil && !k.unpacked() {
		err = k.unpack()
	}
	return k, err
}

// kernelOf says which kernel meta stands for now, and where in cache it belongs.
func kernelOf(meta, cache string) (kernel, error) {
	name, err := dependency(meta)
	if err != nil {
		return kernel{}, err
	}
	version := strings.TrimPrefix(name, "linux-image-")
	dir := filepath.Join(cache, name)
	return kernel{
		name:    name,
		dir:     dir,
		version: version,
		image:   filepath.Join(dir, "boot", "vmlinuz-"+version),
		modules: filepath.Join(dir, "lib", "modules", version),
	}, nil
}

// unpacked reports whether the kernel is there. The list of modules is what unpack makes last.
func (k kernel) unpacked() bool {
	_, err := os.Stat(filepath.Join(k.modules, "modules.dep"))
	return err == nil
}

// unpack downloads the kernel's package and unpacks it.
func (k kernel) unpack() error {
	fmt.Println("lab: fetching", k.name)
	// Next to its place, and moved there when all is well: what a run leaves that was broken off must not pass for a kernel.
	work := k.dir + ".new"
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o755)); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	// As root apt would download as a user of its own, who may not be able to write here, and warns of that.
	download := command("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", k.name)
	download.Dir = work
	if err := download.Run(); err != nil {
		return fmt.Errorf("download %s: %w", k.name, err)
	}
	files, err := os.ReadDir(work)
	if err != nil {
		return err
	}
	if len(files) != 1 {
		return fmt.Errorf("apt-get left %d files in %s, want the package of %s alone", len(files), work, k.name)
	}
	deb := filepath.Join(work, files[0].Name())
	if err := command("dpkg-deb", "-x", deb, work).Run(); err != nil {
		return fmt.Errorf("unpack %s: %w", k.name, err)
	}
	if err := command("depmod", "-b", work, k.version).Run(); err != nil {
		return fmt.Errorf("depmod: %w", err)
	}
	return errors.Join(os.Remove(deb), os.RemoveAll(k.dir), os.Rename(work, k.dir))
}

// dependency gives the kernel package that a meta package depends on.
func dependency(meta string) (string, error) {
	out, err := exec.Command("apt-cache", "depends", meta).Output()
	if err == nil {
		for line := range strings.Lines(string(out)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok && strings.HasPrefix(name, "linux-image-") {
				return name, nil
			}
		}
		err = errors.New("it depends on no kernel")
	}
	return "", fmt.Errorf("look up package %s: %w", meta, err)
}

// loadOrder gives the files of the modules and of all that they depend on, in the order in which they can be loaded. A module
// that is built into the kernel is left out.
func (k kernel) loadOrder(names []string) ([]string, error) {
	dep, err := os.ReadFile(filepath.Join(k.modules, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(k.modules, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	paths := make(map[string]string)   // module name -> file
	needs := make(map[string][]string) // file -> files, the last to be loaded first
	for s := bufio.NewScanner(bytes.NewReader(dep)); s.Scan(); {
		file, rest, _ := strings.Cut(s.Text(), ":")
		paths[moduleName(file)] = file
		needs[file] = strings.Fields(rest)
	}
	in := make(map[string]bool)
	for line := range strings.Lines(string(builtin)) {
		in[moduleName(strings.TrimSpace(line))] = true
	}
	var order []string
	seen := make(map[string]bool)
	add := func(file string) {
		if !seen[file] {
			seen[file] = true
			order = append(order, file)
		}
	}
	for _, name := range names {
		name = strings.ReplaceAll(name, "-", "_")
		file, ok := paths[name]
		if !ok {
			if in[name] {
				continue
			}
			return nil, fmt.Errorf("kernel %s has no module %s", k.version, name)
		}
		for i := len(needs[file]) - 1; i >= 0; i-- {
			add(needs[file][i])
		}
		add(file)
	}
	return order, nil
}

func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Stderr = os.Stderr
	return c
}
