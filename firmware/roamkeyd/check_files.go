package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/firmware/config"
)

// files tries each file that run opens, as the user who runs it.
func (r *report) files(settings *config.Config, file string, who identity, facts kernelFacts) {
	// The kernel itself is asked, with this user's rights: modes alone do not tell, as there are directories above, groups and
	// access lists.
	if err := as(who, func() {
		r.settingsFile(file, who)
		r.keyFile(settings, who)
		r.sendFiles(settings, who)
		r.directory(settings.Global.StateDir, "state_dir", who)
		if dir := filepath.Dir(settings.Global.Control); dir != filepath.Clean(settings.Global.StateDir) {
			r.directory(dir, "control", who)
		}
		r.tun(settings.Global.Tunnel, who, facts)
	}); err != nil {
		r.error("the files could not be tried as user %s: %v", who.name, err)
	}
	if who.self && who.uid != 0 {
		r.capabilities(who)
	}
}

// as runs f with the rights of a user to files. Only f's own thread changes, and it ends with f.
func as(who identity, f func()) error {
	if who.self {
		f()
		return nil
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is not used again
		err := unix.Setgroups(who.groups)
		if err == nil {
			_, err = unix.SetfsgidRetGid(who.gid)
		}
		if err == nil {
			_, err = unix.SetfsuidRetUid(who.uid) // takes CAP_DAC_OVERRIDE away, too
		}
		if now, _ := unix.SetfsuidRetUid(-1); err == nil && now != who.uid {
			err = errors.New("the kernel does not allow it")
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	return <-done
}

func (r *report) settingsFile(path string, who identity) {
	f, err := os.Open(path)
	if err != nil {
		r.error("user %s cannot open %s: %v: chgrp %s %s; chmod 640 %s", who.name, path, reason(err), who.name, path, path)
		return
	}
	f.Close()
}

func (r *report) keyFile(settings *config.Config, who identity) {
	path := settings.Global.LKEKey
	_, err := engine.LoadKey(path)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		r.error("there is no key %s: roamkeyd keygen", path)
	case errors.Is(err, fs.ErrPermission):
		r.error("user %s cannot open %s: %v: chown %s %s; %s", who.name, path, reason(err), who.name, path, above(path))
	default:
		r.error("%v", err)
	}
}

// above tells the user of the directories above a path, one of which may be what is closed.
func above(path string) string { return "and see that the user can enter " + filepath.Dir(path) }

// directory tries a directory in which files are made, and the files that are in it.
func (r *report) directory(path, option string, who identity) {
	const enter = unix.W_OK | unix.X_OK
	err := unix.Faccessat(unix.AT_FDCWD, path, enter, unix.AT_EACCESS)
	switch {
	case errors.Is(err, unix.ENOENT):
		parent := existing(filepath.Dir(path))
		if unix.Faccessat(unix.AT_FDCWD, parent, enter, unix.AT_EACCESS) != nil {
			r.error("user %s cannot make the directory %s (%s) in %s: mkdir -p %s; chown %s %s; again at each boot where it is in memory", who.name, path, option, parent, path, who.name, path)
		}
		return
	case err != nil:
		r.error("user %s cannot write in %s (%s): %v: chown %s %s", who.name, path, option, err, who.name, path)
		return
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		r.error("user %s cannot open %s (%s): %v: chown %s %s", who.name, path, option, reason(err), who.name, path)
		return
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		name := filepath.Join(path, e.Name())
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			r.error("user %s cannot open %s: %v: chown %s %s", who.name, name, reason(err), who.name, name)
			continue
		}
		f.Close()
	}
}

// existing gives the nearest directory above a path that is there.
func existing(path string) string {
	for path != "/" && path != "." {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path
		}
		path = filepath.Dir(path)
	}
	return path
}

// tun tries the device of the TUN backend. It is needed where it is asked for, and where the kernel has no tunnels of its own.
func (r *report) tun(tunnel string, who identity, facts kernelFacts) {
	if tunnel == "kernel" {
		return
	}
	f, err := os.OpenFile(tunPath, os.O_RDWR, 0)
	if err == nil {
		f.Close()
		return
	}
	if errors.Is(err, fs.ErrNotExist) {
		return // the kernel's part tells
	}
	text := fmt.Sprintf("user %s cannot open %s: %v: chown %s %s; again at each boot", who.name, tunPath, reason(err), who.name, tunPath)
	if tunnel == "tun" || facts.unknown == nil && facts.info.Backend == forward.TUN {
		r.error("%s", text)
	} else {
		r.warning("%s, or set tunnel 'kernel'", text)
	}
}

// reason is what the kernel said, without the path that stands before it already.
func reason(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// capabilities tells a user other than root what run needs beside files.
func (r *report) capabilities(who identity) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return
	}
	if missing := missingCapabilities(string(text)); len(missing) > 0 {
		r.note("user %s has no %s here: roamkeyd run is to be started with them (procd and systemd can)", who.name, strings.Join(missing, " and no "))
	}
}

// missingCapabilities reads the line CapEff of /proc/self/status.
func missingCapabilities(status string) []string {
	for line := range strings.SplitSeq(status, "\n") {
		digits, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(digits), 16, 64)
		if err != nil {
			return nil
		}
		var missing []string
		if set&(1<<unix.CAP_NET_ADMIN) == 0 {
			missing = append(missing, "CAP_NET_ADMIN")
		}
		if set&(1<<unix.CAP_NET_RAW) == 0 {
			missing = append(missing, "CAP_NET_RAW")
		}
		return missing
	}
	return nil
}
