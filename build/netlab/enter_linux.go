package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// entered marks the environment of a program that Enter has started again.
const entered = "NETLAB_IN_USER_NAMESPACE"

// ErrPrivilege says that this process can neither make network namespaces nor get the right to.
var ErrPrivilege = errors.New("network namespaces need root or unprivileged user namespaces, and this machine allows the latter not: use sudo")

// Enter makes sure that this process may make network namespaces. It is to be called first thing in main. With the
// capability there (as root) it does nothing. Else it runs this program again as root of a new user namespace, waits,
// and gives done and its exit code. An error tells what to do in one line.
func Enter() (code int, done bool, err error) {
	if mayUnshare() {
		return 0, false, nil
	}
	if os.Getenv(entered) != "" {
		return 0, false, ErrPrivilege
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), entered+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	// The child is in this process group and gets the terminal's signals itself; it decides.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	if err := cmd.Start(); err != nil {
		return 0, false, fmt.Errorf("%w (%v)", ErrPrivilege, err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, true, nil
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode(), true, nil
	case errors.As(err, &exit):
		return 1, true, nil
	}
	return 0, false, err
}

// mayUnshare tries it, on a thread that is thrown away.
func mayUnshare() bool {
	ns, err := newNamespace("probe")
	if err != nil {
		return false
	}
	ns.Close()
	return true
}

// CheckTUN tells whether the namespace can have a TUN device. The error says what to do.
func (ns *Namespace) CheckTUN() error {
	return ns.Do(func() error {
		const path = "/dev/net/tun"
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(fd)
			var req *unix.Ifreq
			if req, err = unix.NewIfreq("probe0"); err == nil {
				req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
				err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
			}
		}
		switch {
		case err == nil:
			return nil
		case os.Getenv(entered) != "":
			return fmt.Errorf("no TUN device in a user namespace here (%s: %w): use sudo", path, err)
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
			return fmt.Errorf("no TUN device (%s: %w): load the kernel's tun module (modprobe tun)", path, err)
		}
		return fmt.Errorf("no TUN device (%s: %w)", path, err)
	})
}
