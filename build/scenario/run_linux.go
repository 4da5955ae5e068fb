package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/pcap"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/firmware/mobilenode"
)

// Options say how a run goes. All runs of a demo have the same but for the protocol.
type Options struct {
	Programs Programs
	Protocol Protocol
	Crash    bool          // kill the old router's daemon after the move, and start it again
	Rate     int           // packets a second
	Radio    time.Duration // how long the node's radio is between the cells
	Home     time.Duration // how far away the node's home agent is, one way; 0: it has none
	Apart    time.Duration // how far the new router is from the old one, one way
	Before   time.Duration // of traffic before the move
	After    time.Duration // of traffic after it
	Tell     func(text string)
}

// Report is all that a run gave.
type Report struct {
	Options    Options
	Topology   *Topology // its addresses; the namespaces are gone
	Interfaces []pcap.Interface
	Frames     []pcap.Frame
	Dropped    uint64     // frames that the capture missed
	CareOf     netip.Addr // the node's address at the old router
	Lines      []mobilenode.Line
	Flow       Flow
	Down, Up   time.Time         // the node's link
	Handover   *control.Handover // of the old router; nil if there was none
	Tunnel     control.Tunnel
	Crash      *Crash // nil without one
}

// Interfaces of the capture, in the order in which a run adds them.
const (
	atCorrespondent = iota
	atPARUplink
	atPARCell
	atNARUplink
	atNARCell
	atNode
	atHome // if there is a home agent
	places
)

// Run plays one handover.
func Run(ctx context.Context, o Options) (*Report, error) {
	lab := netlab.New()
	defer lab.Close()
	r := &run{options: o, report: &Report{Options: o}}
	steps := []func(context.Context) error{
		func(context.Context) (err error) {
			r.top, err = Build(lab, Distances{Home: o.Home, Apart: o.Apart})
			return err
		},
		r.record, r.startRouters, r.startHomeAgent, r.attach, r.begin, r.move, r.crash, r.end,
	}
	var err error
	for _, step := range steps {
		if err = ctx.Err(); err != nil {
			break
		}
		if err = step(ctx); err != nil {
			break
		}
	}
	// What was seen so far helps also where a step failed.
	r.report.Topology = r.top
	r.report.Dropped = r.recorder.Close()
	r.report.Interfaces, r.report.Frames = r.recorder.Interfaces(), r.recorder.Frames()
	if r.node != nil {
		r.report.Lines = r.node.Lines()
	}
	return r.report, err
}

// run is one handover that is being played.
type run struct {
	options  Options
	report   *Report
	top      *Topology
	recorder pcap.Recorder
	par, nar *Daemon
	node     *Mobile
	asking   *netlab.Program // asks the node to move; nil where nobody does
	home     *netlab.Program
	sender   *Sender
	receiver *Receiver
}

func (r *run) tell(format string, args ...any) {
	if r.options.Tell != nil {
		r.options.Tell(fmt.Sprintf(format, args...))
	}
}

func (r *run) record(context.Context) error {
	label := string(r.options.Protocol)
	for _, i := range []struct {
		ns           *netlab.Namespace
		device, name string
		description  string
	}{
		{r.top.Correspondent, uplink, "correspondent", "the correspondent"},
		{r.top.PAR.NS, uplink, "par-uplink", "old router, towards the core"},
		{r.top.PAR.NS, access, "par-cell", "old router, its cell"},
		{r.top.NAR.NS, uplink, "nar-uplink", "new router, towards the core and the old one"},
		{r.top.NAR.NS, access, "nar-cell", "new router, its cell"},
		{r.top.Node, radio, "node", "the mobile node"},
	} {
		add := r.recorder.Add
		if i.ns == r.top.NAR.NS && i.device == uplink && r.options.Apart > 0 {
			add = r.recorder.AddIP // a line is no Ethernet: what comes over it gets an Ethernet header in the capture
		}
		if err := add(i.ns, i.device, label+":"+i.name, i.description); err != nil {
			return err
		}
	}
	if r.top.Home == nil {
		return nil
	}
	return r.recorder.AddIP(r.top.Home, uplink, label+":home-agent", "the home agent, far away")
}

// startHomeAgent starts this very program as the home agent.
func (r *run) startHomeAgent(ctx context.Context) error {
	if r.top.Home == nil {
		return nil
	}
	log, err := os.Create(filepath.Join(r.options.Programs.Logs, string(r.options.Protocol)+"-home.log"))
	if err != nil {
		return err
	}
	r.home, err = r.top.Home.Start(netlab.Command{
		Path: "/proc/self/exe", Log: log,
		Env: append(os.Environ(), homeAgentRole+"="+r.top.HomeAgent.String()+","+r.options.Programs.Tunnel),
	})
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; {
		said, err := os.ReadFile(log.Name())
		if err != nil {
			return err
		}
		if bytes.Contains(said, []byte(homeAgentReady)) {
			return nil
		}
		select {
		case <-r.home.Done():
			return fmt.Errorf("the home agent ended:\n%s", tail(log.Name()))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the home agent is not ready after %v:\n%s", patience, tail(log.Name()))
		}
	}
}

// patience is how long anything may take that takes a moment: emulated machines need it.
const patience = 20 * time.Second

func (r *run) startRouters(ctx context.Context) error {
	r.tell("starting roamkeyd on both routers")
	p := r.options.Programs
	if r.options.Protocol.Fast() {
		if err := p.prepareAnchor(r.top.PAR); err != nil {
			return err
		}
	}
	prepared := make(chan error, 2)
	for _, router := range []*Router{r.top.PAR, r.top.NAR} {
		go func() { prepared <- p.prepare(router, r.options.Protocol) }()
	}
	if err := errors.Join(<-prepared, <-prepared); err != nil {
		return err
	}
	var err error
	if r.par, err = p.startDaemon(r.top.PAR, string(r.options.Protocol)); err != nil {
		return err
	}
	if r.nar, err = p.startDaemon(r.top.NAR, string(r.options.Protocol)); err != nil {
		return err
	}
	for _, d := range []*Daemon{r.par, r.nar} {
		s, err := d.await(ctx, patience, "serving its link", func(s control.Snapshot) bool {
			return len(s.Links) == 1 && s.Links[0].Served && s.Links[0].RA.Sent > 0
		})
		if err != nil {
			return err
		}
		r.report.Tunnel = s.Tunnel
	}
	if r.options.Protocol.Fast() {
		return r.introduce(ctx)
	}
	return nil
}

// attach starts the node in the cell of the old router, and waits until it has there all that it can have.
func (r *run) attach(ctx context.Context) error {
	var args []string
	if r.top.Home != nil {
		args = append(args, "-home-agent", r.top.HomeAgent.String(), "-home-address", r.top.HomeAddress().String())
	}
	switch {
	case r.options.Protocol == None:
		args = append(args, "-plain")
	case r.options.Protocol.Fast():
		args = append(args, fastArgs(r.options.Programs)...)
	}
	var err error
	if r.node, err = r.options.Programs.startMobile(r.top.Node, string(r.options.Protocol), args...); err != nil {
		return err
	}
	ready, err := r.node.await(ctx, patience, "address-ready", func(l mobilenode.Line) bool { return r.top.PAR.Prefix.Contains(l.Home) })
	if err != nil {
		return err
	}
	r.report.CareOf = ready.Home
	if r.top.Home != nil {
		r.tell("the node registers with its home agent, %v away", r.options.Home)
		if _, err := r.node.await(ctx, patience, "home-bound", nil); err != nil {
			return err
		}
	}
	switch {
	case r.options.Protocol == None:
		return nil
	case r.options.Protocol.Fast():
		return r.awaitHandoverKey(ctx)
	}
	r.tell("the node agrees on a key with the old router, which proves the address (1 s)")
	_, err = r.par.await(ctx, patience, "sharing a key with the node", func(s control.Snapshot) bool {
		for _, a := range s.LBSAs.List {
			if a.Home == r.report.CareOf && a.State == "valid" {
				return true
			}
		}
		return false
	})
	return err
}

// begin starts the flow and waits until it is steady.
func (r *run) begin(ctx context.Context) error {
	r.tell("the correspondent sends %d packets a second to %v", r.options.Rate, r.target())
	var err error
	if r.receiver, err = StartReceiver(r.top.Node); err != nil {
		return err
	}
	if r.sender, err = StartSender(r.top.Correspondent, r.target(), r.options.Rate); err != nil {
		return err
	}
	for deadline := time.Now().Add(5 * time.Second); len(r.receiver.Arrivals()) == 0; {
		if time.Now().After(deadline) {
			return fmt.Errorf("no packet of the correspondent reached the node before the move: see %s", filepath.Join(r.options.Programs.Logs, "*.log"))
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return pause(ctx, r.options.Before)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// target is where the correspondent sends to: the node's home address, or its address at the old router.
func (r *run) target() netip.Addr {
	if r.top.Home != nil {
		return r.top.HomeAddress()
	}
	return r.report.CareOf
}

func (r *run) move(ctx context.Context) (err error) {
	if r.options.Protocol.Fast() {
		if err := r.prepareMove(ctx); err != nil {
			return err
		}
	}
	r.tell("the node moves to the new router (its radio is away for %v)", r.options.Radio)
	if r.report.Down, r.report.Up, err = r.top.Move(r.top.NAR, r.options.Radio); err != nil {
		return err
	}
	return pause(ctx, r.options.After-r.options.Radio)
}

// end stops the flow, then asks the old router, then stops the programs.
func (r *run) end(ctx context.Context) error {
	sent, err := r.sender.Stop()
	if err != nil {
		return err
	}
	// What is under way still counts, to the home agent and back; and what is kept on the way, for as long as it comes.
	if err := pause(ctx, 100*time.Millisecond+2*r.options.Home); err != nil {
		return err
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		before := r.receiver.Count()
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		if r.receiver.Count() == before {
			break
		}
	}
	r.report.Flow = Flow{Sent: sent, Arrivals: r.receiver.Stop(), End: time.Now()}
	if c := r.report.Crash; c != nil {
		c.Lost = r.report.Flow.lostSince(r.report.Flow.Measure(r.report.Down))
	} else if err := r.noteHandover(); err != nil {
		return err
	}
	if err := r.askedToMove(); err != nil {
		return err
	}
	for _, p := range []*netlab.Program{r.node.Program, r.par.Program, r.nar.Program, r.home} {
		if p == nil {
			continue
		}
		if err := p.Stop(5 * time.Second); err != nil {
			return fmt.Errorf("stop: %w", err)
		}
	}
	return nil
}

// noteHandover asks the old router what it says of the handover.
func (r *run) noteHandover() error {
	s, err := r.par.Status()
	if err != nil {
		return fmt.Errorf("ask the old router: %w", err)
	}
	// The latest is the first. A node that left too early tells its router once more, which changes nothing then.
	for _, h := range slices.Backward(s.Handovers) {
		if h.Home == r.report.CareOf {
			r.report.Handover = &h
			break
		}
	}
	return nil
}
