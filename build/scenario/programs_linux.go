package scenario

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/firmware/mobilenode"
)

// Programs are the programs that a run starts, and where their files go.
type Programs struct {
	Roamkeyd  string // path of the program
	RoamkeyMN string
	Work      string // directory for settings, keys, state and sockets; its path is short, for the sockets' sake
	Logs      string // directory for what the programs say
	Tunnel    string // backend: auto, kernel or tun
}

// settings is what a router is told. The times between advertisements are the shortest that RFC 6275 section 7.5 allows: a mobile node hears of a new router within 70 ms.
const settings = `config roamkey 'global'
	option state_dir '%[1]s/state'
	option lke_key '%[1]s/lke.key'
	option tunnel '%[2]s'
	option log_level 'debug'

config link 'lan'
	option device '%[3]s'
	option ra_max_interval '70ms'
	option ra_min_interval '30ms'
	option ra_min_delay '30ms'
	option advertisement_interval '1'
`

// dir is where a router's files are.
func (p Programs) dir(r *Router) string { return filepath.Join(p.Work, r.Name) }

// prepare writes the settings of a router and makes its key, if it has none.
func (p Programs) prepare(r *Router, protocol Protocol) error {
	dir := p.dir(r)
	// State of an earlier run would be taken up; its bindings are those of namespaces that are no more.
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text := fmt.Sprintf(settings, dir, p.Tunnel, access)
	if protocol.Fast() {
		text += fmt.Sprintf(fastSettings, dir, r.AccessPoint)
	}
	if err := os.WriteFile(p.conf(r), []byte(text), 0o600); err != nil {
		return err
	}
	if err := p.make(r, filepath.Join(dir, "lke.key"), "keygen", "-c", p.conf(r)); err != nil {
		return err
	}
	if protocol.Fast() {
		return p.prepareFast(r)
	}
	return nil
}

// make has roamkeyd make a file, unless an earlier run did.
func (p Programs) make(r *Router, file string, args ...string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	if _, err := r.NS.Run(20*time.Second, p.Roamkeyd, args...); err != nil {
		return fmt.Errorf("make %s of %s: %w", filepath.Base(file), r.Name, err)
	}
	return nil
}

// conf is the path of a router's settings.
func (p Programs) conf(r *Router) string { return filepath.Join(p.dir(r), "roamkey.conf") }

// Daemon is a running roamkeyd.
type Daemon struct {
	*netlab.Program
	router *Router
	socket string
	log    *os.File
}

// startDaemon starts roamkeyd in a router's namespace.
func (p Programs) startDaemon(r *Router, label string) (*Daemon, error) {
	log, err := os.Create(filepath.Join(p.Logs, fmt.Sprintf("%s-%s.log", label, r.Name)))
	if err != nil {
		return nil, err
	}
	program, err := r.NS.Start(netlab.Command{
		Path: p.Roamkeyd, Args: []string{"run", "-c", p.conf(r)}, Log: log,
	})
	if err != nil {
		log.Close()
		return nil, err
	}
	return &Daemon{Program: program, router: r, socket: filepath.Join(p.dir(r), "state", "control.sock"), log: log}, nil
}

// Status asks the daemon what it has.
func (d *Daemon) Status() (control.Snapshot, error) {
	client, err := control.Dial(d.socket)
	if err != nil {
		return control.Snapshot{}, err
	}
	defer client.Close()
	s, _, err := client.Status()
	return s, err
}

// await asks for the status until it is as it should be.
func (d *Daemon) await(ctx context.Context, limit time.Duration, what string, ready func(control.Snapshot) bool) (control.Snapshot, error) {
	deadline := time.Now().Add(limit)
	for {
		s, err := d.Status()
		if err == nil && ready(s) {
			return s, nil
		}
		select {
		case <-d.Done():
			return s, fmt.Errorf("roamkeyd of %s ended before %s:\n%s", d.router.Name, what, tail(d.log.Name()))
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return s, fmt.Errorf("roamkeyd of %s: not %s after %v (last answer: %v):\n%s", d.router.Name, what, limit, err, tail(d.log.Name()))
		}
	}
}

// tail gives the last lines of a log.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	lines = lines[max(len(lines)-8, 0):]
	return "  " + strings.Join(lines, "\n  ") + "\n  (all of it: " + path + ")"
}

// Mobile is a running roamkey-mn.
type Mobile struct {
	*netlab.Program
	log    *os.File
	reader sync.WaitGroup

	mu    sync.Mutex
	lines []mobilenode.Line
	more  chan struct{} // closed at the next line
}

// nodeSocket is where the node listens to who says where it goes.
func (p Programs) nodeSocket() string { return filepath.Join(p.Work, "mn.sock") }

// startMobile starts roamkey-mn attach in the node's namespace.
func (p Programs) startMobile(ns *netlab.Namespace, label string, args ...string) (*Mobile, error) {
	log, err := os.Create(filepath.Join(p.Logs, label+"-node.log"))
	if err != nil {
		return nil, err
	}
	m := &Mobile{log: log, more: make(chan struct{})}
	in, out := io.Pipe()
	args = append([]string{"attach", "-interface", radio, "-status-json", "-tunnel", p.Tunnel,
		"-control", p.nodeSocket()}, args...)
	if m.Program, err = ns.Start(netlab.Command{Path: p.RoamkeyMN, Args: args, Log: log, Out: out}); err != nil {
		log.Close()
		return nil, err
	}
	m.reader.Go(func() { m.read(in) })
	go func() {
		<-m.Done()
		out.Close()
	}()
	return m, nil
}

// read takes the node's lines, and copies them into its log.
func (m *Mobile) read(in io.Reader) {
	scanner := bufio.NewScanner(in)
	for scanner.Scan() {
		fmt.Fprintf(m.log, "%s\n", scanner.Bytes())
		var l mobilenode.Line
		if json.Unmarshal(scanner.Bytes(), &l) == nil {
			m.mu.Lock()
			m.lines = append(m.lines, l)
			close(m.more)
			m.more = make(chan struct{})
			m.mu.Unlock()
		}
	}
	_, _ = io.Copy(io.Discard, in)
}

// Lines gives what the node has told so far.
func (m *Mobile) Lines() []mobilenode.Line {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]mobilenode.Line(nil), m.lines...)
}

// since gives the lines from a number on, and what is closed when there are more.
func (m *Mobile) since(from int) ([]mobilenode.Line, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]mobilenode.Line(nil), m.lines[from:]...), m.more
}

// await waits for a line with an event, and gives it. fits may want more of it; nil takes the first.
func (m *Mobile) await(ctx context.Context, limit time.Duration, event string, fits func(mobilenode.Line) bool) (mobilenode.Line, error) {
	return m.awaitFrom(ctx, 0, limit, event, fits)
}

// awaitFrom does the same from a line on: no line before that number counts.
func (m *Mobile) awaitFrom(ctx context.Context, from int, limit time.Duration, event string, fits func(mobilenode.Line) bool) (mobilenode.Line, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		lines, more := m.since(from)
		for _, l := range lines {
			if l.Event == event && (fits == nil || fits(l)) {
				return l, nil
			}
		}
		from += len(lines)
		select {
		case <-more:
		case <-m.Done():
			return mobilenode.Line{}, fmt.Errorf("roamkey-mn ended before it told of %s:\n%s", event, tail(m.log.Name()))
		case <-ctx.Done():
			return mobilenode.Line{}, ctx.Err()
		case <-timer.C:
			return mobilenode.Line{}, fmt.Errorf("roamkey-mn told of no %s within %v:\n%s", event, limit, tail(m.log.Name()))
		}
	}
}
