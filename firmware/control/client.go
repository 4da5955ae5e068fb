package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/ipv6"
)

// ErrNotRunning is what an error of Dial wraps if there is nobody behind the socket.
var ErrNotRunning = errors.New("roamkeyd does not run")

// maxAnswer bounds one line of an answer in octets.
const maxAnswer = 4 << 20

// clientTime is how long an answer may take.
const clientTime = answerTime + writeTime

// Client asks a running daemon.
type Client struct {
	conn  net.Conn
	lines *bufio.Scanner
}

// Dial connects to the daemon behind the socket. Errors wrap ErrNotRunning, or fs.ErrPermission where this user may not ask.
func Dial(path string) (*Client, error) {
	// Not by a Dialer: that would link the resolver of domain names into a program for small flashes.
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOTDIR):
		return nil, fmt.Errorf("%w: nobody answers at %s", ErrNotRunning, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: %w: ask as root, or as a member of the socket's group", path, fs.ErrPermission)
	case err != nil:
		return nil, err
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxAnswer)
	return &Client{conn, lines}, nil
}

// Close hangs up.
func (c *Client) Close() error { return c.conn.Close() }

// Status asks what there is. raw is the same as the daemon sent it, for programs: a daemon of another version may say more.
func (c *Client) Status() (s Snapshot, raw json.RawMessage, err error) {
	if raw, err = c.ask(CommandStatus); err == nil {
		err = json.Unmarshal(raw, &s)
	}
	return s, raw, err
}

// Version asks for the version of the daemon.
func (c *Client) Version() (version string, err error) {
	raw, err := c.ask(CommandVersion)
	if err == nil {
		err = json.Unmarshal(raw, &version)
	}
	return version, err
}

// Handover asks the node with that care-of address to move to an access point; with a zero one it tells it what is nearby.
func (c *Client) Handover(home netip.Addr, point ipv6.LinkAddr) error {
	_, err := c.request(request{Command: CommandHandover, Home: home, Point: point})
	return err
}

// Events hands each event to yield, until that gives an error, the daemon ends or the client is closed.
func (c *Client) Events(yield func(Event) error) error {
	if _, err := c.ask(CommandEvents); err != nil {
		return err
	}
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	for {
		r, err := c.line()
		if err != nil {
			return err
		}
		if r.Event == nil {
			continue
		}
		if err := yield(*r.Event); err != nil {
			return err
		}
	}
}

func (c *Client) ask(command string) (json.RawMessage, error) {
	return c.request(request{Command: command})
}

func (c *Client) request(q request) (json.RawMessage, error) {
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	if err := c.conn.SetDeadline(time.Now().Add(clientTime)); err != nil {
		return nil, err
	}
	// A daemon that has too many clients says so at once and hangs up: its words count more than the failed write.
	_, writeErr := c.conn.Write(append(b, '\n'))
	r, err := c.line()
	if err != nil && r.Error == "" {
		err = errors.Join(writeErr, err)
	}
	return r.Result, err
}

// line reads one line of an answer.
func (c *Client) line() (r response, err error) {
	if !c.lines.Scan() {
		if err := c.lines.Err(); err != nil {
			return r, fmt.Errorf("roamkeyd does not answer: %w", err)
		}
		return r, fmt.Errorf("%w any more", ErrNotRunning)
	}
	if err := json.Unmarshal(c.lines.Bytes(), &r); err != nil {
		return r, fmt.Errorf("answer of roamkeyd: %w", err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}
