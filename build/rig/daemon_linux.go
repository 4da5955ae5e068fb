package rig

import (
	"crypto/rsa"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/firmware/control"
)

// Options say how roamkeyd is started.
type Options struct {
	Path string // of the program

	// Dir holds the files of the daemon: key, settings, state and log. A key that is there already is used.
	Dir  string
	Bits int // of a new key

	// Settings is the text of the settings, in which DIR stands for Dir. They have to name DIR/lke.key as lke_key and DIR
	// as the directory of the control socket control.sock.
	Settings string

	Before   []string         // stands before the program on its command line, as taskset does
	Identity *netlab.Identity // who it runs as; nil: as this process does
}

// Daemon is one run of roamkeyd.
type Daemon struct {
	*netlab.Program
	Key     *rsa.PrivateKey
	options Options
}

// Start starts roamkeyd in a namespace. It does not wait until it serves; Await does.
func Start(ns *netlab.Namespace, o Options) (*Daemon, error) {
	d := &Daemon{options: o}
	var err error
	keyPath := filepath.Join(o.Dir, "lke.key")
	if d.Key, err = engine.LoadKey(keyPath); err != nil {
		if d.Key, err = engine.GenerateKey(o.Bits); err != nil {
			return nil, err
		}
		if err := engine.SaveKey(keyPath, d.Key); err != nil {
			return nil, err
		}
	}
	if err := d.Configure(o.Settings); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(d.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the program has its own descriptor of it
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, err
	}
	line := append(append([]string(nil), o.Before...), path, "run", "-c", d.config())
	d.Program, err = ns.Start(netlab.Command{Path: line[0], Args: line[1:], Log: log, Identity: o.Identity})
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Daemon) logPath() string { return filepath.Join(d.options.Dir, "log") }

func (d *Daemon) config() string { return filepath.Join(d.options.Dir, "config") }

// Control is the path of the control socket.
func (d *Daemon) Control() string { return filepath.Join(d.options.Dir, "control.sock") }

// Configure writes other settings, to be taken over at a SIGHUP.
func (d *Daemon) Configure(settings string) error {
	return os.WriteFile(d.config(), []byte(strings.ReplaceAll(settings, "DIR", d.options.Dir)), 0o644)
}

// Status asks the daemon by its control socket.
func (d *Daemon) Status() (control.Snapshot, error) {
	c, err := control.Dial(d.Control())
	if err != nil {
		return control.Snapshot{}, err
	}
	defer c.Close()
	s, _, err := c.Status()
	return s, err
}

// Await asks until the status is as it should be. The error tells what the daemon wrote last.
func (d *Daemon) Await(limit time.Duration, what string, ok func(control.Snapshot) bool) (control.Snapshot, error) {
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		s, err := d.Status()
		if err == nil && ok(s) {
			return s, nil
		}
		select {
		case <-d.Done():
			return s, fmt.Errorf("roamkeyd ended before %s: %s", what, d.Tail())
		default:
		}
		if time.Now().After(end) {
			return s, fmt.Errorf("not within %v: %s (status: %v): %s", limit, what, err, d.Tail())
		}
	}
}

// Serves reports whether all links of a snapshot are served.
func Serves(s control.Snapshot) bool {
	for _, l := range s.Links {
		if !l.Served {
			return false
		}
	}
	return len(s.Links) > 0
}

// Log is all that the daemon wrote, with what earlier ones wrote in the same Dir.
func (d *Daemon) Log() string {
	text, err := os.ReadFile(d.logPath())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Tail is the end of the log.
func (d *Daemon) Tail() string {
	lines := strings.Split(strings.TrimSpace(d.Log()), "\n")
	return "\n  " + strings.Join(lines[max(len(lines)-12, 0):], "\n  ")
}
