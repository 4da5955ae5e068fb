package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

func main() {
	cache := flag.String("cache", "build/cache", "directory for kernels")
	bin := flag.String("bin", "bin", "directory with roamkeyd, roamkey-mn and demo, static, for amd64")
	goTool := flag.String("go", "go", "the go command")
	flag.Parse()
	start := time.Now()
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") // depmod; Debian's ordinary users have it not on theirs
	if err := run(*goTool, *bin, *cache); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
	fmt.Printf("lab: all guests passed in %v\n", time.Since(start).Round(time.Second))
}

// modulesAMD64 is what the guest needs of Debian's kernel: what a router has, and the networks that the demo and the tests
// build.
func modulesAMD64() []string {
	return []string{
		"crc32c_generic", "ecb", "af_packet", "veth", "bridge", "tun", "8021q", "dummy", "ip6_tunnel",
		"nf_tables", "nft_ct", "nf_conntrack", "nf_conntrack_netlink", "nft_xfrm",
		"xfrm_user", "esp6", "authenc", "echainiv", "seqiv", "drbg", "cbc", "sha1_generic", "sha256_generic", "hmac", "aes_generic",
	}
}

func run(goTool, bin, cache string) error {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "roamkey-lab-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	k, err := fetchKernel("linux-image-amd64", cache)
	if err != nil {
		return err
	}
	fs := newInitramfs()
	if err := build(goTool, filepath.Join(work, "init"), "./build/lab/init"); err != nil {
		return err
	}
	if err := fs.addFile("/init", 0o755, filepath.Join(work, "init")); err != nil {
		return err
	}
	for _, program := range []string{"roamkeyd", "roamkey-mn", "demo"} {
		if err := fs.addFile("/bin/"+program, 0o755, filepath.Join(bin, program)); err != nil {
			return fmt.Errorf("%w; run make first", err)
		}
	}
	steps := []step{
		{"handover", 3 * time.Minute, demo()},
		{"crash", 2 * time.Minute, append(demo(), "-crash")},
	}
	built := make(map[string]bool)
	for _, t := range guestTests() {
		steps = append(steps, step{"test-" + t.name, 3 * time.Minute, []string{"/bin/" + t.pkg + ".test", "-test.v", "-test.run=" + t.run, "-test.timeout=170s"}})
		if built[t.pkg] {
			continue
		}
		built[t.pkg] = true
		binary := filepath.Join(work, t.pkg+".test")
		c := command(goTool, "test", "-c", "-o", binary, "./drivers/"+t.pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if err := c.Run(); err != nil {
			return fmt.Errorf("build the tests of drivers/%s: %w", t.pkg, err)
		}
		if err := fs.addFile("/bin/"+t.pkg+".test", 0o755, binary); err != nil {
			return err
		}
	}
	order, err := k.loadOrder(modulesAMD64())
	if err != nil {
		return err
	}
	for _, file := range order {
		if err := fs.addFile("/modules/"+file, 0o644, filepath.Join(k.modules, file)); err != nil {
			return err
		}
	}
	fs.add("/plan", 0o644, plan(order, steps))
	fs.add("/etc/passwd", 0o644, []byte("root:x:0:0::/tmp:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n"))
	fs.add("/etc/hosts", 0o644, []byte("::1 localhost\n"))
	initrd := filepath.Join(work, "initrd")
	if err := fs.write(initrd); err != nil {
		return err
	}
	fmt.Printf("lab: booting amd64 with kernel %s (emulated; a few seconds)\n", k.version)
	r, err := amd64().boot(k, initrd, 8*time.Minute, os.Stdout)
	return errors.Join(err, r.judge(steps))
}

// demo is the demo's command line in a guest. The guest's processor is emulated, so that the router's share is not held to its
// limit; the flow is slower for the same reason.
func demo() []string {
	return []string{"/bin/demo", "-roamkeyd", "/bin/roamkeyd", "-roamkey-mn", "/bin/roamkey-mn", "-out", "/tmp/out", "-tunnel", "kernel",
		"-router-limit", "500ms", "-rate", "200", "-limit", "170s"}
}

// guestTest is what of a package's tests needs a kernel like a router's.
type guestTest struct{ name, pkg, run string }

func guestTests() []guestTest {
	return []guestTest{
		{"forward", "forward", "Kernel"},
		{"forward-serve", "forward", "Serve"},
		{"guard", "guard", "OnlyBoundPairs|OnlyServedPairs|KernelIsSilent|PairsOutliveACrash"},
		{"hostnet", "hostnet", "SecurityAssociationsOfTheKernel"},
		{"rawip", "rawip", "VLANInterface|HandoverUnderESP"},
	}
}

// judge finds the steps that failed or never ran, and tests that skipped: a guest has all that they need.
func (r results) judge(steps []step) error {
	var errs []error
	for _, line := range r.skipped {
		errs = append(errs, fmt.Errorf("a test did not run in the guest: %s", line))
	}
	for _, s := range steps {
		code, ok := r.codes[s.name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("step %s did not run to its end", s.name))
		case code != 0:
			errs = append(errs, fmt.Errorf("step %s failed with code %d", s.name, code))
		}
	}
	return errors.Join(errs...)
}

// build compiles a static program for the guest.
func build(goTool, to, pkg string) error {
	c := exec.Command(goTool, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", to, pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("build %s: %w", pkg, err)
	}
	return nil
}
