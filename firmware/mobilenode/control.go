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
	"strings"
	"sync"
	"time"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
)

// Requests of the control socket, a line each. The answer is lines of JSON: for a move each Line until it is over, then
// the Status; for status the Status. Each is one Answer. "prepare" has the link-layer address of an access point behind it;
// it is over when the node may leave, or with an Error when it can't be prepared.
const (
	requestMove    = "move"
	requestPrepare = "prepare"
	requestStatus  = "status"
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
	request, argument, _ := strings.Cut(string(line[:len(line)-1]), " ")
	switch request {
	case requestMove:
		s.follow(out)
	case requestPrepare:
		if err := s.prepare(out, argument); err != nil {
			_ = out.Encode(Answer{Error: err.Error()})
			return
		}
	case requestStatus:
	default:
		_ = out.Encode(Answer{Error: "requests are move, prepare and status"})
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
	n := s.node
	over := make(chan struct{})
	lines, stop := s.watch(ctx, n.moved)
	if lines == nil {
		return
	}
	defer stop()
	// A router answers a solicitation within half a second at the latest; only then "nothing to do" means anything.
	quiet := time.AfterFunc(time.Second, func() {
		for ctx.Err() == nil {
			settled := false
			if n.call(ctx, func() { settled = n.side.settled() }) != nil {
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

// watch has f called in the loop, and gives all Lines from then on until stop is called; nil where the node has ended.
func (s *controlServer) watch(ctx context.Context, f func()) (lines chan Line, stop func()) {
	lines = make(chan Line, 64)
	tell := func(l Line) {
		select {
		case lines <- l:
		default: // a client that does not read misses some
		}
	}
	n, key := s.node, new(int)
	if n.call(ctx, func() {
		if n.reporter.watchers == nil {
			n.reporter.watchers = make(map[*int]func(Line))
		}
		n.reporter.watchers[key] = tell
		f()
	}) != nil {
		return nil, nil
	}
	return lines, func() {
		_ = n.call(s.ctx, func() { delete(n.reporter.watchers, key) })
	}
}

// prepare prepares a move to an access point, and hands on what happens until the node may leave; where it has left too early
// until its traffic follows.
func (s *controlServer) prepare(out *json.Encoder, argument string) error {
	point, err := ParsePoint(argument)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, moveLimit)
	defer cancel()
	n := s.node
	var refused error
	lines, stop := s.watch(ctx, func() { refused = n.side.prepare(point) })
	if lines == nil {
		return errors.New("the node has ended")
	}
	defer stop()
	if refused != nil {
		return refused
	}
	for {
		select {
		case l := <-lines:
			if err := out.Encode(Answer{Line: &l}); err != nil {
				return err
			}
			switch {
			case l.Event == fmip.NodeEventReady.String() && l.Point == point.String():
				return nil
			case l.Event == fmip.NodeEventStopped.String():
				return errors.New(l.Detail)
			case l.Event == fmip.NodeEventBound.String():
				return nil // it left too early, and the acknowledgement came behind it
			}
		case <-ctx.Done():
			return errors.New("no answer in time")
		}
	}
}

// ParsePoint reads the link-layer address (BSSID) of an access point, six octets with colons between.
func ParsePoint(text string) (ipv6.LinkAddr, error) {
	a, err := ipv6.ParseLinkAddr(text)
	if err != nil || !a.IsUnicast() {
		return ipv6.LinkAddr{}, fmt.Errorf("%q is no access point's address: six octets with colons between, as 02:00:00:00:00:01", text)
	}
	return a, nil
}

// Prepare asks the node that listens on a control socket to prepare a move to an access point. Without an error it may leave
// now. Each Line goes to tell (nil: nowhere).
func Prepare(ctx context.Context, path string, point ipv6.LinkAddr, tell func(Line)) (Status, error) {
	return ask(ctx, path, requestPrepare+" "+point.String(), tell)
}

// Request asks the node that listens on a control socket for a move or for its status. Each Line of a move goes to tell
// (nil: nowhere).
func Request(ctx context.Context, path string, move bool, tell func(Line)) (Status, error) {
	if move {
		return ask(ctx, path, requestMove, tell)
	}
	return ask(ctx, path, requestStatus, tell)
}

func ask(ctx context.Context, path, request string, tell func(Line)) (Status, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return Status{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
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
