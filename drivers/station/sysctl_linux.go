package station

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const optimisticSysctl = "optimistic_dad"

// wanted is what the interface's sysctls have to be while a mobile node has it. Old kernels lack the optional ones;
// without the others the kernel would get in the way.
var wanted = [...]struct {
	name, value string
	optional    bool
}{
	{"disable_ipv6", "0", false},
	{"accept_ra", "0", false}, // routers, prefixes and addresses are this program's
	{"autoconf", "0", false},
	{"accept_dad", "1", false}, // the kernel looks for duplicates of our addresses ...
	{"dad_transmits", "1", false},
	{optimisticSysctl, "1", true},        // ... while they are in use (RFC 4429),
	{"use_optimistic", "1", true},        // also as source
	{"router_solicitations", "0", false}, // this program solicits
	{"ndisc_notify", "0", true},          // no advertisements without the reply option
	{"use_tempaddr", "0", true},          // the care-of address is the source of what is sent
	{"ndisc_evict_nocarrier", "1", true}, // neighbours of the last link are none of this one
}

// sysctls remembers what was there before.
type sysctls struct {
	dir        string
	before     []setting
	optimistic bool
}

// setting is one changed sysctl. Its file stays open: it belongs to the network namespace that the interface is in, in
// which another thread of this process need not be.
type setting struct {
	file  *os.File
	value string
}

// takeOver sets the sysctls of an interface.
func takeOver(name string) (*sysctls, error) {
	if name == "" || strings.ContainsAny(name, "/") || name == "." || name == ".." {
		return nil, fmt.Errorf("%q is no interface name", name)
	}
	s := &sysctls{dir: filepath.Join("/proc/sys/net/ipv6/conf", name)}
	for _, w := range wanted {
		err := s.set(w.name, w.value)
		switch {
		case err == nil && w.name == optimisticSysctl:
			s.optimistic = true
		case err != nil && !w.optional:
			return nil, errors.Join(fmt.Errorf("take over %s: %w", name, err), s.restore())
		}
	}
	return s, nil
}

func (s *sysctls) set(name, value string) error {
	file, err := os.OpenFile(filepath.Join(s.dir, name), os.O_RDWR, 0)
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
	s.before = append(s.before, setting{file, was})
	return nil
}

// restore puts back what was there. An interface that is gone has nothing to be put back.
func (s *sysctls) restore() error {
	var errs []error
	for i := len(s.before) - 1; i >= 0; i-- {
		b := s.before[i]
		_, err := b.file.WriteAt([]byte(b.value), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("restore: %w", err))
		}
		b.file.Close()
	}
	s.before = nil
	return errors.Join(errs...)
}
