package netlab

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Command is a program to run in a namespace.
type Command struct {
	Path string
	Args []string
	Env  []string  // nil: that of this process
	Dir  string    // "": that of this process
	Log  io.Writer // takes stdout and stderr; nil: nowhere
	Out  io.Writer // takes stdout instead of Log, if not nil

	Identity *Identity // nil: that of this process
}

// Identity is whom a program runs as: an ordinary user that may have capabilities nevertheless, as service managers grant
// them.
type Identity struct {
	UID, GID     uint32
	Capabilities []uintptr // such as unix.CAP_NET_ADMIN, as ambient ones
}

// Program is a program that was started in a namespace.
type Program struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait, once done is closed
}

// Start starts a program in the namespace. It dies with the namespace, and with this process, if it does not end before.
func (ns *Namespace) Start(c Command) (*Program, error) {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Dir = c.Env, c.Dir
	cmd.Stdout, cmd.Stderr = c.Log, c.Log
	if c.Out != nil {
		cmd.Stdout = c.Out
	}
	// The signal is sent when the thread that starts the program ends, and that is the namespace's own thread. Own process
	// group: an interrupt from the terminal is for this process, which then stops its programs in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if id := c.Identity; id != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: id.UID, Gid: id.GID}
		cmd.SysProcAttr.AmbientCaps = id.Capabilities
	}
	cmd.WaitDelay = time.Second
	if err := ns.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", filepath.Base(c.Path), ns.name, err)
	}
	p := &Program{name: filepath.Base(c.Path) + " in " + ns.name, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	ns.mu.Lock()
	ns.programs = append(ns.programs, p)
	ns.mu.Unlock()
	return p, nil
}

// Run runs a program in the namespace to its end, at most for the given time, and gives what it wrote to stdout. An
// error holds what it wrote to stderr.
func (ns *Namespace) Run(limit time.Duration, path string, args ...string) (string, error) {
	var out, log strings.Builder
	p, err := ns.Start(Command{Path: path, Args: args, Log: &log, Out: &out})
	if err != nil {
		return "", err
	}
	if err := p.Wait(limit); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, strings.TrimSpace(log.String()))
	}
	return out.String(), nil
}

// PID is the process id.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Program) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the program.
func (p *Program) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Wait waits for the program's end, at most for the given time: it is killed then.
func (p *Program) Wait(limit time.Duration) error {
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s: %w", p.name, p.err)
		}
		return nil
	case <-time.After(limit):
		p.Kill()
		return fmt.Errorf("%s: killed, it had not ended after %v", p.name, limit)
	}
}

// Stop asks the program to end (SIGTERM) and waits; it is killed if it has not ended after the given time.
func (p *Program) Stop(limit time.Duration) error {
	select {
	case <-p.done:
	default:
		_ = p.Signal(syscall.SIGTERM)
	}
	return p.Wait(limit)
}

// Kill ends the program at once and waits until it is gone.
func (p *Program) Kill() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}
