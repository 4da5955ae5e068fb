package tun

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/rtnl"
)

const (
	devicePath = "/dev/net/tun"
	queueLen   = 1000 // packets that wait while nobody reads
)

// open makes the TUN device name. It is gone when the file is closed, or its process dies.
func open(name string) (*os.File, error) {
	fd, err := unix.Open(devicePath, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, explain(err)
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
	return os.NewFile(uintptr(fd), devicePath), nil
}

// explain says what to do about a /dev/net/tun that cannot be opened.
func explain(err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV):
		hint = " (load or install the kernel module tun)"
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
		hint = " (let the user that this runs as read and write it)"
	}
	return fmt.Errorf("open %s: %w%s", devicePath, err, hint)
}

// Open makes the TUN device name, marked as ours by an alias and up, and gives its index. It is gone when the file is closed,
// or its process dies.
func Open(nl *rtnl.Conn, name, alias string, mtu int) (*os.File, int, error) {
	tun, err := open(name)
	if err != nil {
		return nil, 0, err
	}
	d, err := nl.Device(name)
	if err == nil {
		err = nl.Configure(d.Index, rtnl.Settings{Alias: alias, MTU: mtu, Queue: queueLen})
	}
	if err != nil {
		tun.Close()
		return nil, 0, err
	}
	return tun, d.Index, nil
}

// CheckName says what is wrong with a device name.
func CheckName(name string) error {
	if name == "" || len(name) >= unix.IFNAMSIZ || strings.ContainsAny(name, "/ :\t\n%") || name == "." || name == ".." {
		return fmt.Errorf("device name %q: it must have 1 to %d characters, no blank, colon, slash or %%", name, unix.IFNAMSIZ-1)
	}
	return nil
}
