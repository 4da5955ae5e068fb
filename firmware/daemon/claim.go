package daemon

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// claimName is an abstract Unix socket: such a name lives in a network namespace and ends with the process that bound it.
const claimName = "@roamkeyd"

// claim makes this process the one daemon of its network namespace, whatever its state directory is: the tunnel device, the
// nftables table and the router advertisements of a link can be one daemon's only. release ends it.
func claim() (release func() error, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: claimName}); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, errors.New("another roamkeyd, with a state_dir of its own, serves this machine: stop it first")
		}
		return nil, fmt.Errorf("claim the network namespace: %w", err)
	}
	return func() error { return unix.Close(fd) }, nil
}
