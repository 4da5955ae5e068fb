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
	version string // as uname -r says it
	image   string // path of vmlinuz
	modules string // path of lib/modules/VERSION
}

// fetchKernel downloads and unpacks the kernel that meta, a package such as linux-image-amd64, stands for. What is in cache is
// not fetched again.
func fetchKernel(meta, cache string) (kernel, error) {
	name, err := dependency(meta)
	if err != nil { // a fresh machine has no package lists yet
		if err := command("apt-get", "-qq", "update").Run(); err != nil {
			return kernel{}, err
		}
		if name, err = dependency(meta); err != nil {
			return kernel{}, err
		}
	}
	version := strings.TrimPrefix(name, "linux-image-")
	dir := filepath.Join(cache, name)
	k := kernel{
		version: version,
		image:   filepath.Join(dir, "boot", "vmlinuz-"+version),
		modules: filepath.Join(dir, "lib", "modules", version),
	}
	if _, err := os.Stat(filepath.Join(k.modules, "modules.dep")); err == nil {
		return k, nil
	}
	fmt.Println("lab: fetching", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return kernel{}, err
	}
	download := command("apt-get", "-qq", "download", name)
	download.Dir = cache
	if err := retry(download); err != nil {
		return kernel{}, fmt.Errorf("download %s: %w", name, err)
	}
	debs, err := filepath.Glob(filepath.Join(cache, name+"_*.deb"))
	if err != nil || len(debs) == 0 {
		return kernel{}, fmt.Errorf("apt-get left no package of %s in %s", name, cache)
	}
	if err := command("dpkg-deb", "-x", debs[len(debs)-1], dir).Run(); err != nil {
		return kernel{}, fmt.Errorf("unpack %s: %w", name, err)
	}
	for _, deb := range debs {
		os.Remove(deb)
	}
	if err := command("depmod", "-b", dir, version).Run(); err != nil {
		return kernel{}, fmt.Errorf("depmod: %w", err)
	}
	return k, nil
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

// retry runs a download a second time after new package lists: a mirror that is just being updated fails once.
func retry(c *exec.Cmd) error {
	again := command(c.Path, c.Args[1:]...)
	again.Dir = c.Dir
	if c.Run() == nil {
		return nil
	}
	if err := command("apt-get", "-qq", "update").Run(); err != nil {
		return err
	}
	return again.Run()
}
