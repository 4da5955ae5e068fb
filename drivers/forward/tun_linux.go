package forward

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	tunPath  = "/dev/net/tun"
	tunQueue = 1000 // packets that wait while the engine is not running
)

// openTUN makes the TUN device name. It is gone when the file is closed, or its process dies.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, explainTUN(err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("device name %q: it must have 1 to %d characters", name, unix.IFNAMSIZ-1)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(request))); errno != 0 {
		unix.Close(fd)
		hint := ""
		switch errno {
		case unix.EBUSY:
			hint = " (a device of that name exists)"
		case unix.EPERM:
			hint = " (CAP_NET_ADMIN is needed)"
		}
		return nil, fmt.Errorf("make TUN device %s: %w%s", name, errno, hint)
	}
	return os.NewFile(uintptr(fd), tunPath), nil
}

// explainTUN says what to do about a /dev/net/tun that cannot be opened.
func explainTUN(err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV):
		hint = " (load or install the kernel module tun)"
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
		hint = " (let the user that this runs as read and write it)"
	}
	return fmt.Errorf("open %s: %w%s", tunPath, err, hint)
}

// makeTUN makes the TUN device name, ours and up, and gives its index.
func makeTUN(nl *rtnl, name, alias string, mtu int) (*os.File, int, error) {
	tun, err := openTUN(name)
	if err != nil {
		return nil, 0, err
	}
	d, err := nl.device(name)
	if err == nil {
		err = nl.configure(d.Index, settings{Alias: alias, MTU: mtu, Queue: tunQueue})
	}
	if err != nil {
		tun.Close()
		return nil, 0, err
	}
	return tun, d.Index, nil
}

// tunReasons says what does not work beside a kernel that handles tunnel packets too.
func tunReasons(guarded bool) []string {
	// The module is there if any of ip6_tunnel, ip6_vti or the like is.
	if _, err := os.Stat("/sys/module/tunnel6"); err != nil || guarded {
		return nil
	}
	return []string{"the kernel's tunnel6 answers tunnel packets with Port Unreachable, and there is no nftables to drop that"}
}

func checkDeviceName(name string) error {
	if name == "" || len(name) >= unix.IFNAMSIZ || strings.ContainsAny(name, "/ :\t\n%") || name == "." || name == ".." {
		return fmt.Errorf("device name %q: it must have 1 to %d characters, no blank, colon, slash or %%", name, unix.IFNAMSIZ-1)
	}
	return nil
}

// deviceMTU is the tunnel device's MTU: the one configured, or that of the widest link less the tunnel header. For a
// binding whose path is narrower the backend sends Packet Too Big.
func deviceMTU(nl *rtnl, configured int) (int, error) {
	if configured != 0 {
		if configured < minMTU || configured > maxDeviceMTU {
			return 0, fmt.Errorf("tunnel MTU %d: it must be %d to %d", configured, minMTU, maxDeviceMTU)
		}
		return configured, nil
	}
	all, err := nl.devices()
	if err != nil {
		return 0, err
	}
	widest := 0
	for _, d := range all {
		if !d.Loopback && d.Alias != Alias && d.Alias != NodeAlias && d.Kind != kindIP6Tnl && d.Up {
			widest = max(widest, d.MTU)
		}
	}
	if widest == 0 {
		widest = 1500
	}
	return min(max(widest-headerLen, minMTU), maxDeviceMTU), nil
}
