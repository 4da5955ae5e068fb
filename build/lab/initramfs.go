package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// initramfs collects a root file system in memory and writes it as a gzipped cpio archive of the "newc" form, the one form that
// the kernel unpacks.
type initramfs struct {
	buf  bytes.Buffer
	dirs map[string]bool
	ino  int
}

func newInitramfs() *initramfs { return &initramfs{dirs: make(map[string]bool)} }

const (
	modeDir  = 0o040000
	modeFile = 0o100000
)

// add puts a file with its parent directories into the archive.
func (a *initramfs) add(name string, mode int, content []byte) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	a.mkdir(path.Dir(name))
	a.entry(name, modeFile|mode, content)
}

// addFile puts a file of the host's into the archive.
func (a *initramfs) addFile(name string, mode int, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	a.add(name, mode, content)
	return nil
}

func (a *initramfs) mkdir(name string) {
	if name == "." || name == "" || a.dirs[name] {
		return
	}
	a.mkdir(path.Dir(name))
	a.dirs[name] = true
	a.entry(name, modeDir|0o755, nil)
}

func (a *initramfs) entry(name string, mode int, content []byte) {
	a.ino++
	links := 1
	if mode&modeDir != 0 {
		links = 2
	}
	// Fields: ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check.
	fmt.Fprintf(&a.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.ino, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	a.buf.WriteString(name)
	a.buf.WriteByte(0)
	a.pad()
	a.buf.Write(content)
	a.pad()
}

func (a *initramfs) pad() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}

// write ends the archive and writes it.
func (a *initramfs) write(to string) error {
	a.entry("TRAILER!!!", 0, nil)
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err == nil {
		_, err = io.Copy(z, &a.buf)
	}
	if err == nil {
		err = z.Close()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
