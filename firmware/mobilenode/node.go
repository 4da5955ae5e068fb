package mobilenode

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/drivers/station"
	"github.com/roamkey/roamkey/mipsec/lke"
)

// Guard is what keeps the kernel from answering for the core. *guard.Node is one.
type Guard interface {
	Counters(yield func(name string, value uint64))
	Close(leave bool) error
}

// Parts are what a node stands on. Tests put fakes there.
type Parts struct {
	Conn    rawip.Conn
	Station station.Interface
	Tunnel  forward.NodeTunnel
	Guard   Guard
	Clock   func() time.Time // never goes back
}

// Node is a running mobile node.
type Node struct {
	cfg   Config
	parts Parts
	core  *lke.Node

	encrypted chan lke.Input
	calls     chan func()
	reporter  reporter
	control   *controlServer

	inputs []lke.Input                    // of the step that is going on
	open   map[netip.Addr]forward.Binding // ends of tunnels, by home address
	down   time.Time                      // when the link went down last, on the clock of rawip
}

// Open opens the interface and all that a node needs of the kernel. It needs CAP_NET_ADMIN and CAP_NET_RAW.
func Open(cfg Config) (*Node, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	var p Parts
	var err error
	fail := func(err error) (*Node, error) { return nil, errors.Join(err, p.close()) }
	if p.Station, err = openStation(cfg.Interface); err != nil {
		return fail(err)
	}
	link := p.Station.Link()
	if link.Hardware.IsZero() {
		return fail(fmt.Errorf("%s has no Ethernet address: a node attaches by Ethernet or Wi-Fi", cfg.Interface))
	}
	p.Conn, err = rawip.Open(rawip.Config{Links: []rawip.Link{{Index: link.Index, Name: link.Name, Hardware: link.Hardware}}})
	if err != nil {
		return fail(err)
	}
	table, guardErr := guard.OpenNode(cfg.authRequest())
	if guardErr == nil {
		p.Guard = table
	}
	if p.Tunnel, err = forward.OpenNode(forward.NodeConfig{Backend: cfg.Tunnel, Guard: table}); err != nil {
		return fail(err)
	}
	n, err := New(cfg, p)
	if err != nil {
		return fail(err)
	}
	if guardErr != nil {
		n.reporter.complain("keep the kernel from answering a router's duplicate address detection; keys will not become valid", guardErr)
	}
	return n, nil
}

// openStation gives a nil interface with its error.
func openStation(name string) (station.Interface, error) {
	s, err := station.Open(name)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// New gives a node on parts, which are the node's from then on.
func New(cfg Config, p Parts) (*Node, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if p.Clock == nil {
		p.Clock = bootTime
	}
	link := p.Station.Link()
	n := &Node{
		cfg:       cfg,
		parts:     p,
		encrypted: make(chan lke.Input, 4),
		calls:     make(chan func()),
		open:      make(map[netip.Addr]forward.Binding),
		reporter:  reporter{out: cfg.Events, json: cfg.JSON},
	}
	n.core = lke.NewNode(lke.NodeConfig{
		Link: link.Index, Hardware: link.Hardware, LinkLocal: link.LinkLocal,
		HomeAgent: cfg.HomeAgent, HomeAddress: cfg.HomeAddress,
		Lifetime: cfg.Lifetime, MinBits: cfg.minBits(),
		CodePoints: cfg.CodePoints, NDCodePoints: cfg.NDCodePoints,
		Rand: rand.Reader,
	})
	var err error
	if n.control, err = listenControl(cfg.Control, n); err != nil {
		return nil, err
	}
	return n, nil
}

// bootTime is a clock that goes on in suspend, as lifetimes do, and never jumps.
func bootTime() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("CLOCK_BOOTTIME: " + err.Error()) // every kernel since 2.6.39 has it
	}
	return time.Unix(0, ts.Nano())
}

// Run attaches and follows the link until ctx ends. Then it puts back what it changed.
func (n *Node) Run(ctx context.Context) error {
	go n.control.serve()
	err := n.loop(ctx)
	n.control.close()
	return errors.Join(err, n.parts.close())
}

func (n *Node) loop(ctx context.Context) error {
	if n.parts.Station.Link().Up {
		n.reporter.say("link-up", "it was up already")
		n.step(lke.Input{Kind: lke.InAttached})
	} else {
		n.reporter.say("link-down", "waiting for the link")
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		n.arm(timer)
		select {
		case <-ctx.Done():
			return nil
		case c := <-n.parts.Station.Changes():
			if !n.change(c) {
				return fmt.Errorf("interface %s is gone", n.cfg.Interface)
			}
		case r := <-n.parts.Conn.Urgent():
			n.packet(r)
		case r := <-n.parts.Conn.Packets():
			n.packet(r)
		case in := <-n.encrypted:
			n.step(in)
		case call := <-n.calls:
			call()
		case <-timer.C:
			n.step(lke.Input{Kind: lke.InTick})
		}
	}
}

// arm sets the timer to the core's deadline.
func (n *Node) arm(timer *time.Timer) {
	wait := time.Hour
	if at := n.core.Deadline(); !at.IsZero() {
		wait = max(at.Sub(n.parts.Clock()), 0)
	}
	timer.Reset(wait)
}

// change takes a change of the interface. It is false when there is no interface any more.
func (n *Node) change(c station.Change) bool {
	switch c.Kind {
	case station.LinkDown:
		n.down = c.At
		n.reporter.sayAt(c.At, c.Kind.String(), "")
	case station.LinkUp:
		n.reporter.sayAt(c.At, c.Kind.String(), "")
		n.step(lke.Input{Kind: lke.InAttached})
	case station.LinkGone:
		n.reporter.sayAt(c.At, c.Kind.String(), "")
		return false
	case station.AddressReady:
		n.reporter.address(c)
		n.step(lke.Input{Kind: lke.InAddress, Home: c.Addr})
	case station.AddressDuplicate:
		n.reporter.address(c)
		n.step(lke.Input{Kind: lke.InAddress, Home: c.Addr, Failed: true})
	}
	return true
}

// packet gives a packet to the core. What waited since before the link went down says nothing about this one.
func (n *Node) packet(r *rawip.Received) {
	defer r.Release()
	// A change that has come first has to be seen first: else the first advertisement of a new link would be taken for
	// one of the last.
	for pending := true; pending; {
		select {
		case c := <-n.parts.Station.Changes():
			n.change(c)
		default:
			pending = false
		}
	}
	if r.At.Before(n.down) {
		return
	}
	n.step(lke.Input{Kind: lke.InPacket, Packet: &r.Packet})
}

// moved tells the node that its link is another one, which it finds out by asking for a router.
func (n *Node) moved() {
	n.reporter.say("moved", "told so")
	n.step(lke.Input{Kind: lke.InAttached})
}

// call runs f in the loop and waits for it.
func (n *Node) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case n.calls <- func() { f(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}

// close puts back what the node changed, in the order in which it does least harm: no traffic into a tunnel that is gone.
func (p *Parts) close() error {
	var errs []error
	if p.Tunnel != nil {
		errs = append(errs, p.Tunnel.Close())
	}
	if p.Conn != nil {
		errs = append(errs, p.Conn.Close())
	}
	if p.Station != nil {
		errs = append(errs, p.Station.Close())
	}
	if p.Guard != nil {
		errs = append(errs, p.Guard.Close(false))
	}
	return errors.Join(errs...)
}

// settled reports whether a move is over: the node can be reached, and its bindings are acknowledged.
func (n *Node) settled() bool {
	s := n.core.State()
	if !s.Attached || !s.Usable {
		return false
	}
	for _, a := range s.Associations {
		if a.State == "updating" || a.State == "leaving" {
			return false
		}
	}
	return true
}
