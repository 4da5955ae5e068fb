package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/roamkey/roamkey/ipv6"
)

// Limits of the socket.
const (
	maxClients   = 8
	maxRequest   = 512              // octets of a line
	idleTime     = 10 * time.Second // between requests
	answerTime   = 5 * time.Second  // for the daemon's answer
	writeTime    = 5 * time.Second  // for a client to take it
	eventBacklog = 256              // events that wait for one client
)

// Commands.
const (
	CommandStatus   = "status"
	CommandVersion  = "version"
	CommandEvents   = "events"
	CommandHandover = "handover" // with home, and the access point to go to
)

// Options are what a Server needs.
type Options struct {
	Path    string // of the socket
	Version string

	// Snapshot asks the daemon. It may be called from several goroutines at once, and gives up with ctx.
	Snapshot func(ctx context.Context) (Snapshot, error)

	// Handover asks a node to move to an access point, or tells it what is nearby where that is zero. nil: there is no such
	// thing.
	Handover func(ctx context.Context, home netip.Addr, point ipv6.LinkAddr) error

	Log *slog.Logger
}

// Server answers on the control socket.
type Server struct {
	options  Options
	lock     *Lock
	listener *net.UnixListener

	mu       sync.Mutex
	closed   bool
	clients  map[net.Conn]bool
	watchers map[*watcher]bool
	serving  sync.WaitGroup
}

// watcher is one client that wants events.
type watcher struct {
	events chan Event
	lost   uint64 // since the last one that found room; guarded by Server.mu
}

// LockPath is the lock that goes with a socket: who holds it is the daemon.
func LockPath(socket string) string { return socket + ".lock" }

// Listen opens the socket, for the user and the group of this process. A socket that a dead daemon left is replaced; where
// a living one holds it, the error is a *RunningError. So this comes before anything of which there may be only one.
func Listen(o Options) (*Server, error) {
	lock, err := Acquire(LockPath(o.Path))
	if err != nil {
		return nil, err
	}
	l, err := listen(o.Path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), lock.Release())
	}
	return &Server{options: o, lock: lock, listener: l, clients: make(map[net.Conn]bool), watchers: make(map[*watcher]bool)}, nil
}

// listen makes the socket under another name and puts it in place when its mode is right.
func listen(path string) (*net.UnixListener, error) {
	for _, p := range []string{path, path + ".new"} {
		switch info, err := os.Lstat(p); {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case info.Mode().Type() != fs.ModeSocket:
			return nil, fmt.Errorf("%s is something else than a socket: move it away, or set another path (option control)", p)
		}
	}
	name := path + ".new"
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(name, 0o660); err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(name))
	}
	return l, nil
}

// Serve answers clients until ctx ends or Close is called.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, s.hangUp)
	defer stop()
	defer s.serving.Wait()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of descriptors: what runs goes on, and the next client waits.
			s.options.Log.Warn("control socket", "err", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		if !s.admit(conn) {
			continue
		}
		go func() {
			defer s.serving.Done()
			defer s.dismiss(conn)
			s.serve(ctx, conn)
		}()
	}
}

// admit counts a client in, or sends it away where there are enough.
func (s *Server) admit(conn net.Conn) bool {
	s.mu.Lock()
	room := !s.closed && len(s.clients) < maxClients
	if room {
		s.clients[conn] = true
		s.serving.Add(1)
	}
	s.mu.Unlock()
	if !room {
		answer(conn, response{Error: "too many clients: try again later"})
		conn.Close()
	}
	return room
}

func (s *Server) dismiss(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	delete(s.clients, conn)
	s.mu.Unlock()
}

type request struct {
	Command string        `json:"command"`
	Home    netip.Addr    `json:"home,omitzero"`
	Point   ipv6.LinkAddr `json:"access_point,omitzero"`
}

type response struct {
	Result json.RawMessage `json:"result,omitempty"`
	Event  *Event          `json:"event,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// serve answers one client.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	lines := bufio.NewReaderSize(conn, maxRequest)
	for ctx.Err() == nil {
		if conn.SetReadDeadline(time.Now().Add(idleTime)) != nil {
			return
		}
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			answer(conn, response{Error: fmt.Sprintf("a request has at most %d octets", maxRequest)})
			return
		}
		if err != nil {
			return
		}
		var q request
		if err := json.Unmarshal(line, &q); err != nil {
			answer(conn, response{Error: `a request is a line such as {"command":"status"}`})
			return
		}
		if q.Command == CommandEvents {
			s.stream(ctx, conn, lines)
			return
		}
		if answer(conn, s.result(ctx, &q)) != nil {
			return
		}
	}
}

func (s *Server) result(ctx context.Context, q *request) response {
	switch q.Command {
	case CommandVersion:
		return marshal(s.options.Version)
	case CommandStatus:
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		snapshot, err := s.options.Snapshot(ctx)
		if err != nil {
			return response{Error: "the daemon does not answer: " + err.Error()}
		}
		return marshal(&snapshot)
	case CommandHandover:
		if s.options.Handover == nil {
			break
		}
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		if err := s.options.Handover(ctx, q.Home, q.Point); err != nil {
			return response{Error: err.Error()}
		}
		return marshal("asked")
	}
	return response{Error: "unknown command: the commands are status, version, events and handover"}
}

func marshal(v any) response {
	b, err := json.Marshal(v)
	if err != nil {
		return response{Error: err.Error()}
	}
	return response{Result: b}
}

func answer(conn net.Conn, r response) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err = conn.Write(append(b, '\n'))
	return err
}

// stream sends events until the client closes its end.
func (s *Server) stream(ctx context.Context, conn net.Conn, lines *bufio.Reader) {
	w := &watcher{events: make(chan Event, eventBacklog)}
	s.mu.Lock()
	s.watchers[w] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, w)
		s.mu.Unlock()
	}()
	if marshalled := marshal("events follow"); answer(conn, marshalled) != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// Whatever it says now, or nothing any more: it is done. The read ends with the connection.
		if conn.SetReadDeadline(time.Time{}) == nil {
			lines.ReadByte()
		}
		cancel()
	}()
	for {
		select {
		case e := <-w.events:
			if answer(conn, response{Event: &e}) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// Watched reports whether anybody wants events, so that none need be made for nobody.
func (s *Server) Watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watchers) > 0
}

// Publish hands an event to all who watch. It never waits: who is too slow loses events, and is told how many.
func (s *Server) Publish(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		e.Lost = w.lost
		select {
		case w.events <- e:
			w.lost = 0
		default:
			w.lost++
		}
	}
}

// hangUp closes the listener and all connections.
func (s *Server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.listener.Close()
	for conn := range s.clients {
		conn.Close()
	}
}

// Close hangs up, removes the socket and gives the lock to the next daemon.
func (s *Server) Close() error {
	s.hangUp()
	s.serving.Wait()
	err := os.Remove(s.options.Path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.lock.Release())
}
