package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/rig"
	"github.com/roamkey/roamkey/drivers/engine"
)

// nobody is an ordinary user.
const nobody = 65534

// asNobody makes the daemon run as nobody with these capabilities. Its files are its own; /dev/net/tun is whose the mode
// says.
func (w *world) asNobody(tunMode uint32, capabilities ...uintptr) {
	w.t.Helper()
	w.options.Identity = &netlab.Identity{UID: nobody, GID: nobody, Capabilities: capabilities}
	key, err := engine.GenerateKey(1024)
	check(w.t, err)
	path := filepath.Join(w.options.Dir, "lke.key")
	check(w.t, engine.SaveKey(path, key))
	check(w.t, os.Chown(path, nobody, nobody))
	check(w.t, os.Chown(w.options.Dir, nobody, nobody))
	// The directories above it are root's alone.
	for dir := filepath.Dir(w.options.Dir); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		check(w.t, err)
		check(w.t, os.Chmod(dir, info.Mode()|0o011))
	}
	// A device file of this namespace alone: the machine's own stays what it is.
	device := filepath.Join(w.options.Dir, "tun")
	check(w.t, w.router.Do(func() error {
		return errors.Join(
			unix.Mknod(device, unix.S_IFCHR, int(unix.Mkdev(10, 200))),
			os.Chmod(device, os.FileMode(tunMode)),
			unix.Mount(device, "/dev/net/tun", "", unix.MS_BIND, ""),
		)
	}))
}

// TestOrdinaryUser has no more than CAP_NET_ADMIN and CAP_NET_RAW, and does all that a router does.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.asNobody(0o666, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)
	w.start()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.d.PID()))
	check(t, err)
	const both = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW
	for _, want := range []string{"Uid:\t65534\t65534", fmt.Sprintf("CapEff:\t%016x\n", both), fmt.Sprintf("CapAmb:\t%016x\n", both)} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the daemon's status lacks %q", want)
		}
	}
	thinThread(w)
	if log := w.d.Log(); strings.Contains(log, "error:") || strings.Contains(log, "warn:") {
		t.Errorf("the daemon complains:\n%s", log)
	}
}

// TestOrdinaryUserRestarts takes up what it left, with no more rights than before.
func TestOrdinaryUserRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.asNobody(0o666, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)
	w.start()
	n := w.node()
	w.associate(n)
	w.move(n, 1000)
	w.d.Kill()
	s := w.start()
	if stateOf(s, n) != "bound" || s.Restart == nil || s.Restart.Bindings != 1 {
		t.Errorf("association %q, restart %+v", stateOf(s, n), s.Restart)
	}
	p := w.peer()
	mark := w.away.mark()
	p.send(n, "still")
	w.away.hear(mark, "the datagram in the tunnel", inTunnel(datagramTo(n.Home, "still")))
}

// TestMissingPrivileges: one line tells what is missing, and nothing is left behind.
func TestMissingPrivileges(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		capabilities []uintptr
		tunMode      uint32
		prepare      func(w *world)
		want         []string
	}{
		"no capabilities":        {nil, 0o666, nil, []string{"CAP_NET_ADMIN and CAP_NET_RAW missing"}},
		"CAP_NET_ADMIN missing":  {[]uintptr{unix.CAP_NET_RAW}, 0o666, nil, []string{"CAP_NET_ADMIN missing"}},
		"CAP_NET_RAW missing":    {[]uintptr{unix.CAP_NET_ADMIN}, 0o666, nil, []string{"CAP_NET_RAW missing"}},
		"TUN device not allowed": {[]uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}, 0o600, nil, []string{"/dev/net/tun", "permission denied"}},
		"key not readable": {[]uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}, 0o666, func(w *world) {
			check(w.t, os.Chown(w.options.Dir+"/lke.key", 0, 0))
		}, []string{"lke.key", "permission denied"}},
		"state directory not writable": {[]uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}, 0o666, func(w *world) {
			check(w.t, os.Chown(w.options.Dir, 0, 0))
		}, []string{"permission denied", "give it to the user"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.asNobody(tt.tunMode, tt.capabilities...)
			if tt.prepare != nil {
				tt.prepare(w)
			}
			var err error
			w.d, err = rig.Start(w.router, w.options)
			check(t, err)
			if err := w.d.Wait(5 * time.Second); err == nil || !strings.Contains(err.Error(), "exit status 1") {
				t.Errorf("it ended with: %v", err)
			}
			said := strings.TrimSpace(w.d.Log())
			if strings.Contains(said, "\n") || !strings.HasPrefix(said, "error: ") {
				t.Errorf("it says more or less than one line:\n%s", said)
			}
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("there is no %q in what it says: %s", want, said)
				}
			}
			if got := w.installed(); len(got) > 0 {
				t.Errorf("there is still %v", got)
			}
		})
	}
}
