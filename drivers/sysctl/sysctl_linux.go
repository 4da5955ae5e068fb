package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const root = "/proc/sys"

// Changes are the settings that were changed, in their order. The zero Changes has none. It is for one goroutine.
type Changes struct {
	made []change
}

// change is one changed setting. Its file stays open: it belongs to the network namespace that the setting is in, in which
// another thread of this process need not be.
type change struct {
	file *os.File
	was  string
}

// OfLink gives the name of a setting of an interface: that of "conf", "lan0" and "accept_ra" is
// net/ipv6/conf/lan0/accept_ra. The error tells of what cannot be an interface's name.
func OfLink(table, link, name string) (string, error) {
	if link == "" || strings.ContainsAny(link, "/") || link == "." || link == ".." {
		return "", fmt.Errorf("%q is no interface name", link)
	}
	return filepath.Join("net/ipv6", table, link, name), nil
}

// Set gives a setting, as in net/ipv6/conf/lan0/accept_ra, a value, in the network namespace of the calling thread. One
// that has the value already is left alone, also later. The error is fs.ErrNotExist where the kernel has no such setting.
func (c *Changes) Set(name, value string) error {
	file, err := os.OpenFile(filepath.Join(root, name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	before := make([]byte, 64)
	n, err := file.Read(before)
	if err != nil {
		file.Close()
		return err
	}
	was := strings.TrimSpace(string(before[:n]))
	if was == value {
		return file.Close()
	}
	if _, err := file.WriteAt([]byte(value), 0); err != nil {
		file.Close()
		return err
	}
	c.made = append(c.made, change{file, was})
	return nil
}

// Restore puts back what was there. An interface that is gone has nothing to be put back.
func (c *Changes) Restore() error {
	var errs []error
	for i := len(c.made) - 1; i >= 0; i-- {
		m := c.made[i]
		_, err := m.file.WriteAt([]byte(m.was), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("restore: %w", err))
		}
		m.file.Close()
	}
	c.made = nil
	return errors.Join(errs...)
}

// Forget leaves what was changed as it is.
func (c *Changes) Forget() error {
	var errs []error
	for _, m := range c.made {
		errs = append(errs, m.file.Close())
	}
	c.made = nil
	return errors.Join(errs...)
}
