package mobilenode

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/neighbors"
	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/drivers/station"
	"github.com/roamkey/roamkey/ipv6"
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
	// Neighbors is the kernel's neighbour table, which is this program's under SEND; not needed otherwise.
	Neighbors neighbors.Driver
	Clock     func() time.Time // never goes back
}

// Node is a running mobile node.
type Node struct {
	cfg   Config
	parts Parts
	side  protocol

	done     chan func() // what is to be done with the result of work beside the loop
	ended    chan struct{}
	calls    chan func()
	reporter reporter
	control  *controlServer

	open map[netip.Addr]forward.Binding // ends of tunnels, by home address
	down time.Time                      // when the link went down last, on the clock of rawip
}

// protocol is what a node speaks with its routers. All is called in the loop.
type protocol interface {
	attached() // the link came up, or is another one
	detached()
	address(addr netip.Addr, failed bool) // the answer to station.Interface's SetAddress
	packet(p *ipv6.Packet)                // good until it returns
	asked(a neighbors.Ask)
	tick()
	deadline() time.Time // of the next tick; the zero Time: none is needed
	settled() bool       // a move is over: the node can be reached, and what it asked of routers is answered
	prepare(point ipv6.LinkAddr) error
	fill(s *Status, now time.Time)
	count(yield func(name string, value uint64))
	close() error
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
	table, guardErr := guard.OpenNode(cfg.authRequest(), cfg.secured()...)
	if guardErr == nil {
		p.Guard = table
	}
	if cfg.Protocol == HandoverKey {
		if guardErr != nil {
			return fail(fmt.Errorf("keep unsigned Neighbour Discovery from the kernel: %w", guardErr))
		}
		if p.Neighbors, err = openNeighbors(link.Index); err != nil {
			return fail(err)
		}
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

// openNeighbors takes the kernel's neighbour table of the link over.
func openNeighbors(link int) (neighbors.Driver, error) {
	d, err := neighbors.Open()
	if err != nil {
		return nil, err
	}
	if err := d.Take(link); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// New gives a node on parts, which are the node's from then on.
func New(cfg Config, p Parts) (*Node, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if p.Clock == nil {
		p.Clock = bootTime
	}
	n := &Node{
		cfg:      cfg,
		parts:    p,
		done:     make(chan func(), 4),
		ended:    make(chan struct{}),
		calls:    make(chan func()),
		open:     make(map[netip.Addr]forward.Binding),
		reporter: reporter{out: cfg.Events, json: cfg.JSON},
	}
	var err error
	switch cfg.Protocol {
	case HandoverKey:
		n.side, err = newFastNode(n)
	default:
		n.side = newExchanger(n)
	}
	if err != nil {
		return nil, err
	}
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
	close(n.ended)
	n.control.close()
	return errors.Join(err, n.side.close(), n.parts.close())
}

// beside does work in a goroutine of its own, and then what it gives in the loop.
func (n *Node) beside(work func() (then func())) {
	go func() {
		select {
		case n.done <- work():
		case <-n.ended:
		}
	}()
}

func (n *Node) loop(ctx context.Context) error {
	if n.parts.Station.Link().Up {
		n.reporter.say("link-up", "it was up already")
		n.side.attached()
	} else {
		n.reporter.say("link-down", "waiting for the link")
	}
	var asked <-chan neighbors.Ask
	if n.parts.Neighbors != nil {
		asked = n.parts.Neighbors.Asked()
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
		case then := <-n.done:
			then()
		case a := <-asked:
			n.side.asked(a)
		case call := <-n.calls:
			call()
		case <-timer.C:
			n.side.tick()
		}
	}
}

// arm sets the timer to the protocol's deadline.
func (n *Node) arm(timer *time.Timer) {
	wait := time.Hour
	if at := n.side.deadline(); !at.IsZero() {
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
		n.side.detached()
	case station.LinkUp:
		n.reporter.sayAt(c.At, c.Kind.String(), "")
		n.side.attached()
	case station.LinkGone:
		n.reporter.sayAt(c.At, c.Kind.String(), "")
		return false
	case station.AddressReady:
		n.reporter.address(c)
		n.side.address(c.Addr, false)
	case station.AddressDuplicate:
		n.reporter.address(c)
		n.side.address(c.Addr, true)
	}
	return true
}

// packet gives a packet to the protocol. What waited since before the link went down says nothing about this one.
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
	n.side.packet(&r.Packet)
}

// moved tells the node that its link is another one, which it finds out by asking for a router.
func (n *Node) moved() {
	n.reporter.say("moved", "told so")
	n.side.detached()
	n.side.attached()
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
	if p.Neighbors != nil {
		errs = append(errs, p.Neighbors.Close())
	}
	if p.Station != nil {
		errs = append(errs, p.Station.Close())
	}
	if p.Guard != nil {
		errs = append(errs, p.Guard.Close(false))
	}
	return errors.Join(errs...)
}
