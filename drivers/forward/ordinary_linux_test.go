package forward

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/guard"
)

const ordinaryEnv = "ROAMKEY_TEST_AS_ORDINARY_USER"

func TestMain(m *testing.M) {
	if backend := os.Getenv(ordinaryEnv); backend != "" {
		if err := asOrdinaryUser(Backend(backend)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// asOrdinaryUser is what the daemon does over its life.
func asOrdinaryUser(backend Backend) error {
	if os.Geteuid() == 0 {
		return errors.New("this is root")
	}
	g, err := guard.Open()
	if err != nil {
		return err
	}
	f, err := Open(Config{Backend: backend}, g)
	if err != nil {
		return err
	}
	err = errors.Join(
		g.SetRouters([]netip.Addr{routerAddr}, []string{"lan0"}),
		f.Bind(bound), f.Bind(Binding{Home: homeAddr, Router: routerAddr, CareOf: careOfTwo}), f.Unbind(homeAddr), f.Bind(bound),
	)
	info := f.Describe()
	fmt.Printf("backend %s, guard %v, reasons %q\n", info.Backend, g.Present(), info.Reasons)
	left, adoptErr := f.Adopt()
	err = errors.Join(err, adoptErr, f.Close(false), g.Close(false))
	if err != nil || len(left) != 0 {
		return fmt.Errorf("adopted %v: %w", left, err)
	}
	removed, err := Cleanup()
	if err != nil || len(removed) != 0 {
		return fmt.Errorf("left after Close: %q, %w", removed, err)
	}
	n, err := guard.OpenNode(7)
	if err != nil {
		return err
	}
	if backend == External {
		backend = Plain
	}
	t, err := OpenNode(NodeConfig{Backend: backend, Guard: n})
	if err != nil {
		return err
	}
	return errors.Join(t.Bind(Binding{Home: homeTwo, Router: peer, CareOf: netip.MustParseAddr("2001:db8:2::1")}), t.Unbind(homeTwo),
		t.Close(), n.Close(false))
}

// ordinary runs this test program again in ar, as nobody with CAP_NET_ADMIN and CAP_NET_RAW.
func (n *network) ordinary(backend Backend, caps ...uintptr) (string, error) {
	n.t.Helper()
	dir := n.t.TempDir()
	program := filepath.Join(dir, "program")
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		n.must(os.Chmod(d, 0o755))
	}
	n.must(copyFile(program, "/proc/self/exe"))
	var out []byte
	var failed error
	n.must(n.ar.Do(func() error {
		c := exec.Command(program)
		c.Env = []string{ordinaryEnv + "=" + string(backend)}
		c.SysProcAttr = &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
			AmbientCaps: caps,
		}
		out, failed = c.CombinedOutput()
		return nil
	}))
	return string(out), failed
}

// tunFile gives ar a /dev/net/tun of its own with these permissions.
func (n *network) tunFile(mode uint32) *network {
	n.t.Helper()
	file := filepath.Join(n.t.TempDir(), "tun")
	n.must(unix.Mknod(file, unix.S_IFCHR|mode, int(unix.Mkdev(10, 200))))
	n.must(os.Chmod(file, os.FileMode(mode)))
	n.must(n.ar.Do(func() error { return unix.Mount(file, "/dev/net/tun", "", unix.MS_BIND, "") }))
	n.t.Cleanup(func() { _ = n.ar.Do(func() error { return unix.Unmount("/dev/net/tun", unix.MNT_DETACH) }) })
	return n
}

func copyFile(to, from string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

func TestTUNAsOrdinaryUser(t *testing.T) {
	n := newNetwork(t)
	out, err := n.tunFile(0o600).ordinary(TUN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)
	if err == nil || !strings.Contains(out, "/dev/net/tun") || !strings.Contains(out, "read and write") {
		t.Errorf("without the right to %s: %v, which does not name it:\n%s", "/dev/net/tun", err, out)
	}
	n.tunFile(0o666)
	out, err = n.ordinary(TUN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)
	if err != nil || !strings.Contains(out, "backend tun, guard true, reasons []") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		lacks string
		has   uintptr
	}{{"CAP_NET_ADMIN", unix.CAP_NET_RAW}, {"CAP_NET_RAW", unix.CAP_NET_ADMIN}} {
		out, err := n.ordinary(TUN, c.has)
		if err == nil || !strings.Contains(out, c.lacks) {
			t.Errorf("without %s: %v, which does not name it:\n%s", c.lacks, err, out)
		}
	}
}

func TestKernelAsOrdinaryUser(t *testing.T) {
	needTunnels(t)
	for _, backend := range []Backend{External, Plain} {
		n := newTunnelNetwork(t)
		out, err := n.ordinary(backend, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)
		if err != nil || !strings.Contains(out, fmt.Sprintf("backend %s, guard true, reasons []", backend)) {
			t.Errorf("%s: %v\n%s", backend, err, out)
		}
	}
}
