package mobilenode

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Requests of the control socket, a line each. The answer is lines of JSON: for a move each Line until it is over, then
// the Status; for status the Status. Each is one Answer.
const (
	requestMove   = "move"
	requestStatus = "status"
)

// Answer is one line of the control socket. One of its fields is set.
type Answer struct {
	Line   *Line   `json:"line,omitempty"`
	Status *Status `json:"status,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// moveLimit is how long a move is followed before its Status is given in any case.
const moveLimit = 8 * time.Second

type controlServer struct {
	node     *Node
	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	clients  sync.WaitGroup
}

// listenControl opens the control socket. A socket that nobody listens on any more is replaced.
func listenControl(path string, n *Node) (*controlServer, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("another roamkey-mn is attached by %s (it listens on %s): stop it first", n.cfg.Interface, path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the control socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the stale control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("protect the control socket: %w", err)
	}
	s := &controlServer{node: n, listener: l}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

func (s *controlServer) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.clients.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(s.ctx, func() { conn.Close() })()
			s.answer(conn)
		})
	}
}

// close ends the server before the loop's parts are closed. Its requests are not answered any more.
func (s *controlServer) close() {
	s.cancel()
	s.listener.Close() // removes the socket, too
	s.clients.Wait()
}

func (s *controlServer) answer(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(moveLimit + 2*time.Second))
	line, err := bufio.NewReaderSize(conn, 256).ReadSlice('\n')
	if err != nil {
		return
	}
	out := json.NewEncoder(conn)
	switch string(line[:len(line)-1]) {
	case requestMove:
		s.follow(out)
	case requestStatus:
	default:
		_ = out.Encode(Answer{Error: "requests are move and status"})
		return
	}
	var status Status
	if err := s.node.call(s.ctx, func() { status = s.node.status() }); err != nil {
		return
	}
	_ = out.Encode(Answer{Status: &status})
}

// follow tells the node of a move and hands on what happens, until it is over.
func (s *controlServer) follow(out *json.Encoder) {
	ctx, cancel := context.WithTimeout(s.ctx, moveLimit)
	defer cancel()
	lines := make(chan Line, 64)
	over := make(chan struct{})
	watch := func(l Line) {
		select {
		case lines <- l:
		default: // a client that does not read misses some
		}
	}
	n := s.node
	if n.call(ctx, func() {
		if n.reporter.watchers == nil {
			n.reporter.watchers = make(map[*json.Encoder]func(Line))
		}
		n.reporter.watchers[out] = watch
		n.moved()
	}) != nil {
		return
	}
	defer func() {
		_ = n.call(s.ctx, func() { delete(n.reporter.watchers, out) })
	}()
	// A router answers a solicitation within half a second at the latest; only then "nothing to do" means anything.
	quiet := time.AfterFunc(time.Second, func() {
		for ctx.Err() == nil {
			settled := false
			if n.call(ctx, func() { settled = n.settled() }) != nil {
				return
			}
			if settled {
				close(over)
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	defer quiet.Stop()
	for {
		select {
		case l := <-lines:
			if out.Encode(Answer{Line: &l}) != nil {
				return
			}
		case <-over:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Request asks the node that listens on a control socket for a move or for its status. Each Line of a move goes to tell
// (nil: nowhere).
func Request(ctx context.Context, path string, move bool, tell func(Line)) (Status, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return Status{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	request := requestStatus
	if move {
		request = requestMove
	}
	if _, err := fmt.Fprintln(conn, request); err != nil {
		return Status{}, err
	}
	in := json.NewDecoder(conn)
	for {
		var a Answer
		if err := in.Decode(&a); err != nil {
			return Status{}, fmt.Errorf("the node on %s did not answer: %w", path, err)
		}
		switch {
		case a.Error != "":
			return Status{}, errors.New(a.Error)
		case a.Line != nil && tell != nil:
			tell(*a.Line)
		case a.Status != nil:
			return *a.Status, nil
		}
	}
}
