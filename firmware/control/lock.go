package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// RunningError says that another process holds a lock.
type RunningError struct {
	Path string // of the lock
	PID  int    // 0 if it is not known
}

// Error names the process.
func (e *RunningError) Error() string {
	who := "another roamkeyd"
	if e.PID != 0 {
		who += " (process " + strconv.Itoa(e.PID) + ")"
	}
	return who + " runs already: stop it first (" + e.Path + " is locked)"
}

// Lock keeps other processes out for as long as this one lives.
type Lock struct{ file *os.File }

// Acquire takes the lock that is a file of the given path, and makes the directory if there is none. A lock that a dead process
// left is free. The error is a *RunningError if another process holds it.
func Acquire(path string) (*Lock, error) {
	if err := makeDirectory(filepath.Dir(path)); err != nil {
		return nil, err
	}
	// Others may read it, to see who runs; O_NOFOLLOW, as the directory may be one where others can write.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		fix := writable(filepath.Dir(path))
		if _, there := os.Lstat(path); there == nil {
			fix = "it is another user's: let root remove it"
		}
		return nil, fmt.Errorf("lock: %w: %s", err, fix)
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &RunningError{Path: path, PID: pidIn(f)}
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock: %w", err)
	}
	return &Lock{f}, nil
}

// Release ends the lock. The file stays: to remove it would let two processes hold locks on two files of one name.
func (l *Lock) Release() error { return l.file.Close() }

// Holder tells which process holds a lock: running is false if none does. It takes nothing away from a process that
// starts at the same moment but a try: the lock is only asked for as a reader.
func Holder(path string) (pid int, running bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	defer f.Close()
	switch err := flock(f, unix.LOCK_SH); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return pidIn(f), true, nil
	case err != nil:
		return 0, false, fmt.Errorf("lock %s: %w", path, err)
	}
	return 0, false, nil
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != unix.EINTR {
			return err
		}
	}
}

func pidIn(f *os.File) int {
	b := make([]byte, 16)
	n, _ := f.ReadAt(b, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	return pid
}

// makeDirectory makes a directory that its group may enter.
func makeDirectory(dir string) error {
	err := os.MkdirAll(dir, 0o750)
	if err != nil {
		return fmt.Errorf("%w: %s", err, writable(dir))
	}
	return nil
}

// writable tells what to do about a directory in which nothing can be made.
func writable(dir string) string {
	return "let root make the directory " + dir + " and give it to the user that roamkeyd runs as"
}
